//! What the NAT between us and a server does (RFC 5780 §4), in the words of RFC 4787.
//!
//! Each test has a socket of its own, for what a NAT does depends on what it has seen.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde::Serialize;

use crate::client::Session;
use crate::client::message::error_code;
use crate::probe::leg::{Prober, mapped, other_address};
use crate::probe::link::{local_ip, now};
use crate::wire::{AttributeType, Class, Message, Method};

/// How long each transmission is waited for.
const AGAIN: Duration = Duration::from_millis(400);
/// How often a request is sent before silence is believed.
const TRIES: usize = 4;
/// CHANGE-REQUEST's flags (RFC 5780 §7.2).
const CHANGE_IP: u8 = 4;
const CHANGE_PORT: u8 = 2;

/// How far a NAT tells peers apart (RFC 4787 §4.1, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dependence {
    /// Not at all.
    EndpointIndependent,
    /// By their addresses.
    AddressDependent,
    /// By their addresses and ports.
    AddressAndPortDependent,
}

/// What was found out for one family. What could not be is null; `notes` tell why.
#[derive(Clone, Debug, Serialize)]
pub struct Nat {
    /// The server that was asked.
    pub server: SocketAddr,
    /// Our own address in the test of mappings.
    pub local: Option<SocketAddr>,
    /// The same as the server sees it.
    pub reflexive: Option<SocketAddr>,
    /// Whether the two differ.
    pub translated: Option<bool>,
    /// By what the address depends that others see.
    pub mapping: Option<Dependence>,
    /// On what it depends whose packets are let in.
    pub filtering: Option<Dependence>,
    /// Whether packets to our own outside address come back in.
    pub hairpinning: Option<bool>,
    /// Why something could not be found out.
    pub notes: Vec<String>,
}

/// The pieces of a success to Binding.
struct Told {
    /// Who says it.
    from: SocketAddr,
    mapped: SocketAddr,
    other: Option<SocketAddr>,
}

impl Prober<'_> {
    /// Asks a server that has another address, which is `other`.
    pub(super) fn discover(&self, server: SocketAddr, other: SocketAddr) -> Nat {
        let mut nat = Nat {
            server,
            local: None,
            reflexive: None,
            translated: None,
            mapping: None,
            filtering: None,
            hairpinning: None,
            notes: Vec::new(),
        };
        let ip = match local_ip(server) {
            Ok(ip) => ip,
            Err(error) => {
                nat.notes.push(format!("no socket: {error}"));
                return nat;
            }
        };
        let say = |what: &str| (self.progress)(&format!("NAT, by {server}: {what}"));
        say("mapping");
        mapping(&mut nat, ip, other).unwrap_or_else(|why| nat.note(why));
        say("filtering");
        let found = filtering(server, ip);
        nat.filtering = found.map_err(|why| nat.note(why)).ok();
        say("hairpinning");
        let found = hairpinning(server, ip);
        nat.hairpinning = found.map_err(|why| nat.note(why)).ok();
        nat
    }
}

impl Nat {
    /// Tells why, once.
    fn note(&mut self, why: String) {
        if !self.notes.contains(&why) {
            self.notes.push(why);
        }
    }
}

/// RFC 5780 §4.3.
fn mapping(nat: &mut Nat, ip: IpAddr, other: SocketAddr) -> Result<(), String> {
    let socket = socket(ip)?;
    let first = told(&socket, nat.server, None)?;
    let local = socket.local_addr().map_err(|error| error.to_string())?;
    nat.local = Some(local);
    nat.reflexive = Some(first.mapped);
    nat.translated = Some(local != first.mapped);
    let second = told(&socket, SocketAddr::new(other.ip(), nat.server.port()), None)?;
    nat.mapping = Some(if second.mapped == first.mapped {
        Dependence::EndpointIndependent
    } else if told(&socket, other, None)?.mapped == second.mapped {
        Dependence::AddressDependent
    } else {
        Dependence::AddressAndPortDependent
    });
    Ok(())
}

/// RFC 5780 §4.4. An answer that comes from where the request went says nothing of whom the NAT
/// lets in.
fn filtering(server: SocketAddr, ip: IpAddr) -> Result<Dependence, String> {
    let socket = socket(ip)?;
    if told(&socket, server, None)?.other.is_none() {
        return Err("the server does not tell its other address any more".to_owned());
    }
    let unchanged = |from| {
        format!("filtering: the server was asked to answer from elsewhere, and did from {from}")
    };
    if let Some(Told { from, .. }) = asked(&socket, server, Some(CHANGE_IP | CHANGE_PORT))? {
        let changed = from.ip() != server.ip() && from.port() != server.port();
        return if changed { Ok(Dependence::EndpointIndependent) } else { Err(unchanged(from)) };
    }
    match asked(&socket, server, Some(CHANGE_PORT))? {
        Some(Told { from, .. }) if from.ip() == server.ip() && from.port() != server.port() => {
            Ok(Dependence::AddressDependent)
        }
        Some(Told { from, .. }) => Err(unchanged(from)),
        None => Ok(Dependence::AddressAndPortDependent),
    }
}

/// RFC 5780 §3.4.
fn hairpinning(server: SocketAddr, ip: IpAddr) -> Result<bool, String> {
    let (socket, sender) = (socket(ip)?, socket(ip)?);
    let outside = told(&socket, server, None)?.mapped;
    let request = binding(None);
    for _ in 0..TRIES {
        // Where it cannot even be sent there is no way back in either.
        let _ = sender.send_to(&request, outside);
        if comes(&socket, |bytes| bytes == request)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A success, from wherever it comes; silence is an error.
fn told(socket: &UdpSocket, to: SocketAddr, change: Option<u8>) -> Result<Told, String> {
    asked(socket, to, change)?.ok_or_else(|| format!("{to} does not answer"))
}

/// A success, from wherever it comes; `None` where there is silence.
fn asked(socket: &UdpSocket, to: SocketAddr, change: Option<u8>) -> Result<Option<Told>, String> {
    let request = binding(change);
    for _ in 0..TRIES {
        socket.send_to(&request, to).map_err(|error| format!("{to}: {error}"))?;
        let is_answer = |bytes: &[u8]| {
            bytes.len() >= 20 && bytes[0] & 0xC1 == 1 && bytes[4..20] == request[4..20]
        };
        let Some((bytes, from)) = comes(socket, is_answer)? else { continue };
        let Ok(response) = Message::parse(&bytes) else { continue };
        if response.class() != Class::Success {
            return Err(match error_code(&response) {
                Some(401) => format!("{to} wants credentials, and these questions have none"),
                _ => format!("{to} refuses: it may be asked too often"),
            });
        }
        let mapped = mapped(&response).map_err(|failure| failure.cause)?;
        return Ok(Some(Told { from, mapped, other: other_address(&response) }));
    }
    Ok(None)
}

/// Waits for one transmission's time; what came, and from where.
fn comes(
    socket: &UdpSocket,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<Option<(Vec<u8>, SocketAddr)>, String> {
    let deadline = now() + AGAIN;
    let mut bytes = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        // An error belongs to something sent before: ICMP of a NAT that lets nothing in.
        if let Ok((length, from)) = socket.recv_from(&mut bytes)
            && wanted(&bytes[..length])
        {
            return Ok(Some((bytes[..length].to_vec(), from)));
        }
    }
}

fn binding(change: Option<u8>) -> Vec<u8> {
    let change = change.map(|flags| (AttributeType::CHANGE_REQUEST, vec![0, 0, 0, flags]));
    Session::new(None).request(Method::BINDING, rand::random(), change.into_iter().collect())
}

fn socket(ip: IpAddr) -> Result<UdpSocket, String> {
    UdpSocket::bind((ip, 0)).map_err(|error| format!("no socket: {error}"))
}
