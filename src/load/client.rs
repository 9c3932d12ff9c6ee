//! A client that waits for each answer: how a run is set up and cleared away.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::client::message::{self, Attributes, Login, Outcome, Session, peer_address};
use crate::load::port::{Connection, Port, Ports};
use crate::load::{Clock, is_interrupted};
use crate::net::Endpoint;
use crate::net::tls::{self, Visit};
use crate::turn::Transport;
use crate::wire::{AttributeType, Kind, Message, Method, kind_of};

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long each transmission of a request is waited for (RFC 8489 §6.2.1, but shorter at first).
const WAITS_MS: [u64; 5] = [200, 400, 800, 1600, 1600];
/// How often a request is asked again with what the server has given: a nonce, and a newer one.
const CHALLENGES_MAX: usize = 3;

/// An allocation that is ours.
#[derive(Debug)]
pub(super) struct Allocation {
    /// The port that it belongs to.
    pub(super) port: usize,
    /// How to sign for it.
    pub(super) session: Session,
    /// Its relayed address.
    pub(super) relayed: SocketAddr,
}

/// What all clients of a run have in common.
#[derive(Debug)]
pub(super) struct Clients {
    /// The server.
    pub(super) server: SocketAddr,
    /// How to get there.
    pub(super) transport: Transport,
    /// Where it is by TLS: whom we believe to be the server.
    pub(super) tls: Option<Visit>,
    /// Who we are, where the server is to know.
    pub(super) login: Option<Login>,
    /// What peers are like: their family decides that of the relayed addresses.
    pub(super) peer: SocketAddr,
    /// How long allocations live, should we not come to delete them.
    pub(super) lifetime_secs: u32,
    /// Whether datagrams that came together may be received as one.
    pub(super) merge: bool,
    /// The clock.
    pub(super) clock: Clock,
}

impl Clients {
    /// A way to the server.
    pub(super) fn open(&self) -> io::Result<Port> {
        match self.transport {
            Transport::Udp => {
                let any = if self.server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let mut local: SocketAddr = any.parse().expect("an address");
                if self.server.ip().is_loopback() {
                    local.set_ip(self.server.ip());
                }
                Ok(Port::Udp(self.endpoint(local)?))
            }
            Transport::Tcp => {
                let stream = TcpStream::connect_timeout(&self.server, CONNECT_WITHIN)?;
                stream.set_nodelay(true)?;
                let session = self.tls.as_ref().map(|visit| self.shake_hands(visit, &stream));
                Ok(Port::Tcp(Connection::new(stream, session.transpose()?)))
            }
            // No URI that is accepted leads here.
            Transport::Dtls => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn shake_hands(&self, visit: &Visit, mut stream: &TcpStream) -> io::Result<Box<tls::Session>> {
        stream.set_read_timeout(Some(CONNECT_WITHIN))?;
        let mut session = visit.session()?;
        session.shake_hands(&mut stream)?;
        Ok(Box::new(session))
    }

    /// A UDP socket of ours.
    pub(super) fn endpoint(&self, local: SocketAddr) -> io::Result<Endpoint> {
        let endpoint = Endpoint::bind(local)?;
        if self.merge {
            // An old kernel cannot; then they come one by one.
            let _ = endpoint.merge_received();
        }
        Ok(endpoint)
    }

    /// Makes an allocation by a port of ours.
    pub(super) fn allocate(&self, ports: &mut Ports, port: usize) -> io::Result<Allocation> {
        let mut session = Session::new(self.login.clone());
        let relayed = self.allocate_by(ports.get(port), &mut session, self.lifetime_secs)?;
        Ok(Allocation { port, session, relayed })
    }

    /// Makes an allocation for so many seconds; returns its relayed address.
    pub(super) fn allocate_by(
        &self,
        port: &mut Port,
        session: &mut Session,
        lifetime_secs: u32,
    ) -> io::Result<SocketAddr> {
        let attributes = |_: &[u8; 12]| message::allocate(self.peer, lifetime_secs);
        let response = self.ask(port, session, Method::ALLOCATE, attributes)?;
        let response = Message::parse(&response).map_err(|_| ErrorKind::InvalidData)?;
        match response.xor_address(AttributeType::XOR_RELAYED_ADDRESS) {
            Some(Ok(relayed)) => Ok(relayed),
            _ => Err(io::Error::other("Allocate: the response has no XOR-RELAYED-ADDRESS")),
        }
    }

    /// Binds a channel to `peer`, or installs a permission for it where no channel is given.
    pub(super) fn admit(
        &self,
        ports: &mut Ports,
        allocation: &mut Allocation,
        channel: Option<u16>,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let number = channel.map(|number| {
            let [high, low] = number.to_be_bytes();
            (AttributeType::CHANNEL_NUMBER, vec![high, low, 0, 0])
        });
        let method =
            if channel.is_some() { Method::CHANNEL_BIND } else { Method::CREATE_PERMISSION };
        let attributes = |transaction: &[u8; 12]| {
            number.clone().into_iter().chain([peer_address(peer, transaction)]).collect()
        };
        let port = ports.get(allocation.port);
        self.ask(port, &mut allocation.session, method, attributes).map(drop)
    }

    /// Deletes allocations. Gives up where the server has not answered several times.
    pub(super) fn delete(&self, ports: &mut Ports, allocations: Vec<Allocation>) -> usize {
        let (mut left, mut failures) = (0, 0);
        for mut allocation in allocations {
            let attributes = |_: &[u8; 12]| message::refresh(self.peer, 0);
            let port = ports.get(allocation.port);
            let (session, method) = (&mut allocation.session, Method::REFRESH);
            if failures < 3 && self.ask(port, session, method, attributes).is_ok() {
                failures = 0;
            } else {
                failures += 1;
                left += 1;
            }
        }
        left
    }

    /// Asks until there is an answer: again after silence, and again with the nonce.
    pub(super) fn ask(
        &self,
        port: &mut Port,
        session: &mut Session,
        method: Method,
        attributes: impl Fn(&[u8; 12]) -> Attributes,
    ) -> io::Result<Vec<u8>> {
        let mut code = 0;
        for _ in 0..CHALLENGES_MAX {
            let transaction = rand::random();
            let request = session.request(method, transaction, attributes(&transaction));
            let response = self.exchange(port, &request)?;
            let message = Message::parse(&response).map_err(|_| ErrorKind::InvalidData)?;
            match session.take(&message) {
                Outcome::Success => return Ok(response),
                Outcome::Again => code = 401,
                Outcome::Refused(refused) => {
                    code = refused;
                    break;
                }
            }
        }
        Err(message::refused(method, code))
    }

    /// Sends a request and returns its response.
    fn exchange(&self, port: &mut Port, request: &[u8]) -> io::Result<Vec<u8>> {
        for wait in WAITS_MS {
            match port {
                Port::Udp(endpoint) => drop(endpoint.socket().send_to(request, self.server)?),
                // A stream is reliable: it is asked once, below only waited for.
                Port::Tcp(connection) if wait == WAITS_MS[0] => {
                    connection.push(request);
                    connection.flush()?;
                }
                Port::Tcp(_) => {}
            }
            let deadline = self.clock.ns() + wait * 1_000_000;
            loop {
                let left = deadline.saturating_sub(self.clock.ns());
                if left == 0 || is_interrupted() && wait > WAITS_MS[0] {
                    break;
                }
                if let Some(response) = response(port, request, Duration::from_nanos(left))? {
                    return Ok(response);
                }
            }
        }
        Err(io::Error::new(ErrorKind::TimedOut, format!("{} does not answer", self.server)))
    }
}

/// The messages in what one receive brought: the kernel may have joined answers to a request and
/// to its repetition.
fn joined(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let &[first, _, high, low, ..] = bytes else { return None };
        let header = if kind_of(&[first]) == Kind::Stun { 20 } else { 4 };
        let length = header + usize::from(u16::from_be_bytes([high, low]));
        let (message, rest) = bytes.split_at(length.min(bytes.len()));
        bytes = rest;
        Some(message)
    })
}

/// What comes for `request` in so much time; other things may come, and are left aside.
fn response(port: &mut Port, request: &[u8], patience: Duration) -> io::Result<Option<Vec<u8>>> {
    let is_ours = |bytes: &[u8]| {
        // A response: class bit 1 set, same transaction.
        bytes.len() >= 20 && bytes[0] & 0xC1 == 1 && bytes[4..20] == request[4..20]
    };
    let mut found = None;
    let result = match port {
        Port::Udp(endpoint) => {
            let mut buffer = vec![0; 65_535];
            endpoint.socket().set_read_timeout(Some(patience))?;
            endpoint.socket().recv(&mut buffer).map(|length| {
                found = joined(&buffer[..length]).find(|bytes| is_ours(bytes)).map(<[u8]>::to_vec);
            })
        }
        Port::Tcp(connection) => {
            connection.stream.set_read_timeout(Some(patience))?;
            connection
                .read(|frame| {
                    if is_ours(frame) {
                        found = Some(frame.to_vec());
                    }
                })
                .map(drop)
        }
    };
    match result {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ) =>
        {
            Err(error)
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_the_kernel_has_joined_are_told_apart() {
        let answer = |id: u8| [&[1, 1, 0, 4, 0x21, 0x12, 0xA4, 0x42][..], &[id; 16]].concat();
        let both = [answer(7), answer(9), vec![0x40, 1, 0, 2, 5, 5]].concat();
        let lengths: Vec<_> = joined(&both).map(<[u8]>::len).collect();
        assert_eq!(lengths, [24, 24, 6]);
        // What is cut short, or no message at all, is handed out as far as it goes.
        assert_eq!(joined(&both[..30]).map(<[u8]>::len).collect::<Vec<_>>(), [24, 6]);
        assert_eq!(joined(b"abc").count(), 0);
    }
}
