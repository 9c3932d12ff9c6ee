//! One way to one server: everything that can be asked by it, step by step.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Serialize;

use crate::client::message::{self, Attributes};
use crate::client::uri::Carrier;
use crate::client::{Login, Outcome, Scheme, Session, Uri};
use crate::probe::failure::{Failure, Kind};
use crate::probe::link::{self, Answer, Link};
use crate::probe::tls::{Authorities, Certificate, Secured};
use crate::wire::{AttributeType, Class, Message, Method};

/// How often a request is asked again with what the server has given: a nonce, and a newer one.
const CHALLENGES_MAX: usize = 3;
/// How long allocations live, should we not come to delete them: what each client may have.
const LIFETIME_SECS: u32 = 600;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Looking the name up.
    Resolve,
    /// Opening a connection, TLS included.
    Connect,
    /// Looking at the server's certificate.
    Certificate,
    /// Asking for our own address.
    Binding,
    /// Asking for a relayed address.
    Allocate,
    /// Sending through the relay and back.
    Relay,
}

/// Who was at the far end of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// A socket of this machine.
    Socket,
    /// Another allocation at the same server: it does not let its clients reach this machine.
    Allocation,
}

/// What came of it. The names in JSON stay what they are; what is not known is null.
#[derive(Clone, Debug, Serialize)]
pub struct Leg {
    /// The URI as it was given.
    pub uri: String,
    /// What carries the messages.
    pub transport: Carrier,
    /// The server's address.
    pub server: Option<SocketAddr>,
    /// Our own address.
    pub local: Option<SocketAddr>,
    /// How long it took to open the connection, TLS included.
    pub connect_ms: Option<f64>,
    /// What the server has proved itself with.
    pub certificate: Option<Certificate>,
    /// Our address as the server sees it.
    pub reflexive: Option<SocketAddr>,
    /// How long the answer to Binding took.
    pub binding_ms: Option<f64>,
    /// The realm of the server's credentials.
    pub realm: Option<String>,
    /// The relayed address.
    pub relayed: Option<SocketAddr>,
    /// How long the allocation lives without a refresh.
    pub lifetime_secs: Option<u32>,
    /// How long the answer to the signed Allocate took.
    pub allocate_ms: Option<f64>,
    /// How long it took through the relay to a peer and back.
    pub round_trip_ms: Option<f64>,
    /// To which peer.
    pub peer: Option<Peer>,
    /// What the server says that it is.
    pub software: Option<String>,
    /// What failed; after the first failure little else is asked.
    pub failures: Vec<Failed>,
    /// RFC 5780's OTHER-ADDRESS.
    #[serde(skip)]
    pub(super) other: Option<SocketAddr>,
    /// Whether this machine itself knows no way to the server.
    #[serde(skip)]
    pub(super) no_route: bool,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// Which.
    pub step: Step,
    /// Why.
    #[serde(flatten)]
    pub failure: Failure,
}

/// What a leg is probed with.
pub(super) struct Prober<'a> {
    pub(super) login: Option<&'a Login>,
    pub(super) patience: Duration,
    pub(super) authorities: &'a Authorities,
    pub(super) progress: &'a dyn Fn(&str),
}

impl Leg {
    pub(super) fn new(uri: &str, transport: Carrier, server: Option<SocketAddr>) -> Self {
        Self {
            uri: uri.to_owned(),
            transport,
            server,
            local: None,
            connect_ms: None,
            certificate: None,
            reflexive: None,
            binding_ms: None,
            realm: None,
            relayed: None,
            lifetime_secs: None,
            allocate_ms: None,
            round_trip_ms: None,
            peer: None,
            software: None,
            failures: Vec::new(),
            other: None,
            no_route: false,
        }
    }

    /// Notes that a step has failed.
    pub(super) fn failed(&mut self, step: Step, failure: Failure) {
        self.failures.push(Failed { step, failure });
    }
}

/// A way to the server, and what it has proved itself with.
struct Opened {
    link: Link,
    certificate: Option<Certificate>,
    problem: Option<Failure>,
}

/// An allocation of ours, with the way to it.
pub(super) struct Allocated {
    pub(super) link: Link,
    session: Session,
    pub(super) relayed: SocketAddr,
}

impl Prober<'_> {
    /// Asks for everything: for a relay only where one is wanted and there are credentials.
    pub(super) fn probe(&self, uri: &Uri, leg: &mut Leg) {
        let Some(server) = leg.server else { return };
        self.say(leg, "connecting");
        if let Err(error) = link::local_ip(server) {
            leg.no_route = true;
            return leg.failed(Step::Connect, Failure::no_route(&error));
        }
        let began = link::now();
        let mut link = match self.open(uri, leg.transport, server) {
            Ok(Opened { link, certificate, problem }) => {
                leg.certificate = certificate;
                // It is told, and the rest is asked all the same.
                problem.into_iter().for_each(|problem| leg.failed(Step::Certificate, problem));
                link
            }
            Err(failure) => return leg.failed(Step::Connect, failure),
        };
        leg.connect_ms = (leg.transport != Carrier::Udp).then(|| link::ms_since(began));
        leg.local = Some(link.local());
        self.say(leg, "asking for our address");
        if let Err(failure) = self.binding(&mut link, leg) {
            // Who lacks a login has yet to hear what else is refused for that.
            let goes_on = self.login.is_none() && failure.code == Some(401);
            leg.failed(Step::Binding, failure);
            if !goes_on {
                return;
            }
        }
        if uri.scheme != Scheme::Turn {
            return;
        }
        self.say(leg, "asking for a relay");
        let mut allocated = match self.allocate(link, server, leg) {
            Ok(Some(allocated)) => allocated,
            Ok(None) => return,
            Err(failure) => return leg.failed(Step::Allocate, failure),
        };
        self.say(leg, "sending through the relay and back");
        match self.round_trip(uri, &mut allocated, leg) {
            Ok((ms, peer)) => (leg.round_trip_ms, leg.peer) = (Some(ms), Some(peer)),
            Err(failure) => leg.failed(Step::Relay, failure),
        }
        allocated.delete();
    }

    fn say(&self, leg: &Leg, what: &str) {
        let server = leg.server.map(|server| format!(" at {server}")).unwrap_or_default();
        (self.progress)(&format!("{}{server} over {}: {what}", leg.uri, leg.transport));
    }

    /// A way to the server.
    fn open(&self, uri: &Uri, carrier: Carrier, server: SocketAddr) -> Result<Opened, Failure> {
        let opened = match carrier {
            Carrier::Udp => Link::udp(server, self.patience),
            Carrier::Tcp => TcpStream::connect_timeout(&server, self.patience).and_then(|stream| {
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                Ok(Link::stream(Box::new(stream), carrier, local, self.patience))
            }),
            Carrier::Tls => {
                let is_turn = uri.scheme == Scheme::Turn;
                let secured =
                    self.authorities.connect(&uri.host, server, is_turn, self.patience)?;
                let Secured { stream, local, certificate, problem } = secured;
                let link = Link::stream(stream, carrier, local, self.patience);
                return Ok(Opened { link, certificate, problem });
            }
            Carrier::Dtls => {
                return Err(Failure::new(
                    Kind::Unsupported,
                    "DTLS is not spoken here",
                    "probe the server over UDP, TCP or TLS",
                ));
            }
        };
        match opened {
            Ok(link) => Ok(Opened { link, certificate: None, problem: None }),
            Err(error) => Err(Failure::network(&error, carrier)),
        }
    }

    /// Asks for our own address. Few servers want credentials for that.
    fn binding(&self, link: &mut Link, leg: &mut Leg) -> Result<(), Failure> {
        let mut session = Session::new(self.login.cloned());
        let asked = ask(link, &mut session, Method::BINDING, |_| Vec::new());
        leg.realm = session.realm().map(text);
        let Answer { bytes, ms } = asked.map_err(|failure| match failure.code {
            Some(401) if self.login.is_none() => failure.without_login(),
            _ => failure,
        })?;
        let response = read(&bytes)?;
        leg.reflexive = Some(mapped(&response)?);
        leg.other = other_address(&response);
        leg.software = software(&response);
        leg.binding_ms = Some(ms);
        Ok(())
    }

    /// An allocation; `None` where the server wants credentials and we have none.
    fn allocate(
        &self,
        mut link: Link,
        server: SocketAddr,
        leg: &mut Leg,
    ) -> Result<Option<Allocated>, Failure> {
        let mut session = Session::new(self.login.cloned());
        let attributes = |_: &[u8; 12]| message::allocate(server, LIFETIME_SECS);
        let asked = ask(&mut link, &mut session, Method::ALLOCATE, attributes);
        leg.realm = session.realm().map(text).or_else(|| leg.realm.take());
        let Answer { bytes, ms } = match asked {
            Err(failure) if failure.code == Some(401) && self.login.is_none() => return Ok(None),
            asked => asked?,
        };
        let response = read(&bytes)?;
        let Some(Ok(relayed)) = response.xor_address(AttributeType::XOR_RELAYED_ADDRESS) else {
            return Err(nonsense("the answer to Allocate has no XOR-RELAYED-ADDRESS"));
        };
        leg.allocate_ms = Some(ms);
        leg.relayed = Some(relayed);
        let lifetime = response.find(AttributeType::LIFETIME).and_then(<[u8]>::first_chunk);
        leg.lifetime_secs = lifetime.map(|bytes| u32::from_be_bytes(*bytes));
        leg.software = software(&response).or_else(|| leg.software.take());
        Ok(Some(Allocated { link, session, relayed }))
    }

    /// A second allocation beside a leg's.
    pub(super) fn allocate_again(
        &self,
        uri: &Uri,
        leg: &Leg,
    ) -> Result<Option<Allocated>, Failure> {
        let Some(server) = leg.server else { return Ok(None) };
        let Opened { link, .. } = self.open(uri, leg.transport, server)?;
        self.allocate(link, server, &mut Leg::new(&leg.uri, leg.transport, leg.server))
    }
}

impl Allocated {
    /// Lets a peer's packets in.
    pub(super) fn permit(&mut self, peer: SocketAddr) -> Result<(), Failure> {
        let attributes = |transaction: &[u8; 12]| vec![message::peer_address(peer, transaction)];
        let method = Method::CREATE_PERMISSION;
        ask(&mut self.link, &mut self.session, method, attributes).map(drop)
    }

    /// Gives the allocation up; the server will do it by itself if that fails.
    pub(super) fn delete(&mut self) {
        let attributes = |_: &[u8; 12]| vec![(AttributeType::LIFETIME, vec![0; 4])];
        let _ = ask(&mut self.link, &mut self.session, Method::REFRESH, attributes);
    }
}

/// Asks until there is a success, again with each nonce that the server has given.
fn ask(
    link: &mut Link,
    session: &mut Session,
    method: Method,
    attributes: impl Fn(&[u8; 12]) -> Attributes,
) -> Result<Answer, Failure> {
    for _ in 0..CHALLENGES_MAX {
        let transaction = rand::random();
        let request = session.request(method, transaction, attributes(&transaction));
        let answer = link.ask(&request)?;
        let response = read(&answer.bytes)?;
        match session.take(&response) {
            Outcome::Success => return Ok(answer),
            Outcome::Again => {}
            Outcome::Refused(0) if response.class() == Class::Success => {
                return Err(Failure::new(
                    Kind::Credentials,
                    format!("{method}: the answer is not signed with our password"),
                    "somebody on the way may have changed it, or the server has another password",
                ));
            }
            Outcome::Refused(code) => return Err(refusal(method, code, &response)),
        }
    }
    Err(Failure::error(method, 438, "Stale Nonce", None))
}

fn refusal(method: Method, code: u16, response: &Message<'_>) -> Failure {
    let phrase = response.find(AttributeType::ERROR_CODE).and_then(|value| value.get(4..));
    let phrase = text(phrase.unwrap_or_default());
    let realm = response.find(AttributeType::REALM).map(text);
    let mut failure = Failure::error(method, code, &phrase, realm.as_deref());
    let elsewhere = response.plain_address(AttributeType::ALTERNATE_SERVER);
    if let Some(Ok(server)) = elsewhere.filter(|_| code == 300) {
        failure.cure = format!("the server sends its clients to {server}: probe that one");
    }
    failure
}

pub(super) fn read(bytes: &[u8]) -> Result<Message<'_>, Failure> {
    Message::parse(bytes).map_err(|_| nonsense("the answer is a STUN message that is broken"))
}

pub(super) fn nonsense(cause: &str) -> Failure {
    Failure::new(Kind::Answer, cause, "see what listens there, and of which version it is")
}

/// XOR-MAPPED-ADDRESS, or what classic servers have in its place.
pub(super) fn mapped(response: &Message<'_>) -> Result<SocketAddr, Failure> {
    let xored = response.xor_address(AttributeType::XOR_MAPPED_ADDRESS);
    let plain = || response.plain_address(AttributeType::MAPPED_ADDRESS);
    match xored.or_else(plain) {
        Some(Ok(address)) => Ok(address),
        _ => Err(nonsense("the answer to Binding has no XOR-MAPPED-ADDRESS")),
    }
}

/// RFC 5780's OTHER-ADDRESS.
pub(super) fn other_address(response: &Message<'_>) -> Option<SocketAddr> {
    response.plain_address(AttributeType::OTHER_ADDRESS)?.ok()
}

fn software(response: &Message<'_>) -> Option<String> {
    response.find(AttributeType::SOFTWARE).map(text)
}

/// What a stranger says, fit for a terminal.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect()
}
