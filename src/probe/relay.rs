//! Through the relay and back.
//!
//! The peer is a socket of this machine. It sends first, so that a NAT in front of it lets in what
//! comes back. Where the server does not let its clients reach this machine's address, which many
//! do not if that is a private one, the peer is a second allocation at the same server.
//!
//! One end sends, now and again, and takes whatever comes back; the other one sends back at once
//! what it hears. So the way may be as long as it likes, and what is measured is the way alone.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Uri, message};
use crate::probe::failure::{Failure, Kind};
use crate::probe::leg::{Allocated, Leg, Peer, Prober, read};
use crate::probe::link::{ms_since, now, unspecified};
use crate::wire::{AttributeType, Class, Message, Method};

/// How long after one packet another is sent, for it may be lost.
const AGAIN: Duration = Duration::from_millis(400);
/// How often the end that sends back looks whether it still has to.
const LOOK: Duration = Duration::from_millis(50);

impl Prober<'_> {
    /// The time of a packet to a peer through the relay and back, in milliseconds.
    pub(super) fn round_trip(
        &self,
        uri: &Uri,
        near: &mut Allocated,
        leg: &Leg,
    ) -> Result<(f64, Peer), Failure> {
        let ours = leg.reflexive.filter(|ours| ours.is_ipv4() == near.relayed.is_ipv4());
        let refused = match ours.map(|ours| near.permit(ours)) {
            Some(Ok(())) => return Ok((self.to_socket(near)?, Peer::Socket)),
            Some(Err(failure)) if failure.code != Some(403) => return Err(failure),
            refused => refused.and_then(Result::err),
        };
        let Some(mut far) = self.allocate_again(uri, leg)? else {
            return Err(refused.unwrap_or_else(|| lost(near.relayed)));
        };
        let ms = self.to_allocation(near, &mut far);
        far.delete();
        ms.map(|ms| (ms, Peer::Allocation))
    }

    /// Socket, relay, client, relay, socket.
    fn to_socket(&self, near: &mut Allocated) -> Result<f64, Failure> {
        let relayed = near.relayed;
        let socket = UdpSocket::bind(unspecified(relayed)).map_err(|error| network(&error))?;
        let ms = self.there_and_back(&mut Outside { socket, relayed }, near)?;
        ms.ok_or_else(|| lost(relayed))
    }

    /// Client, relay, relay, other client, and back.
    fn to_allocation(&self, near: &mut Allocated, far: &mut Allocated) -> Result<f64, Failure> {
        near.permit(far.relayed)?;
        far.permit(near.relayed)?;
        let (from, to) = (near.relayed, far.relayed);
        let ms = self.there_and_back(&mut Inside { allocated: near, peer: to }, far)?;
        ms.ok_or_else(|| {
            Failure::new(
                Kind::Lost,
                format!("what was sent from {from} to {to} did not come"),
                "the server does not relay between its own clients: see its addresses and its \
                 rules about peers",
            )
        })
    }

    /// How long a packet takes from one end to the other and back; `None` where none has come.
    fn there_and_back(
        &self,
        near: &mut impl End,
        far: &mut Allocated,
    ) -> Result<Option<f64>, Failure> {
        let mut flight = Flight { mark: rand::random(), sent: Vec::new() };
        let (mark, done) = (flight.mark, AtomicBool::new(false));
        thread::scope(|scope| {
            let echo = scope.spawn(|| echo(far, mark, &done));
            let found = self.send_and_hear(near, &mut flight, || echo.is_finished());
            done.store(true, Ordering::Relaxed);
            let echoed = echo.join().unwrap_or_else(|panic| resume_unwind(panic));
            match found? {
                Some(ms) => Ok(Some(ms)),
                None => echoed.map(|()| None),
            }
        })
    }

    fn send_and_hear(
        &self,
        near: &mut impl End,
        flight: &mut Flight,
        is_in_vain: impl Fn() -> bool,
    ) -> Result<Option<f64>, Failure> {
        let deadline = now() + self.patience;
        while now() < deadline && !is_in_vain() {
            let next = (now() + AGAIN).min(deadline);
            near.send(&flight.next())?;
            while let Some(payload) = near.hear(next)? {
                if let Some(ms) = flight.took(&payload) {
                    return Ok(Some(ms));
                }
            }
        }
        Ok(None)
    }
}

/// Packets on their way.
struct Flight {
    /// What they begin with; a number follows.
    mark: [u8; 8],
    /// When each was sent, by its number.
    sent: Vec<Instant>,
}

impl Flight {
    /// Another packet, which is sent now.
    fn next(&mut self) -> Vec<u8> {
        let number = self.sent.len() as u64;
        self.sent.push(now());
        [self.mark, number.to_be_bytes()].concat()
    }

    /// How long a packet took that has come now, if it is one of these.
    fn took(&self, payload: &[u8]) -> Option<f64> {
        let number = payload.strip_prefix(&self.mark)?.try_into().ok()?;
        let number = usize::try_from(u64::from_be_bytes(number)).ok()?;
        self.sent.get(number).copied().map(ms_since)
    }
}

/// Where packets come from and come back to.
trait End {
    fn send(&mut self, payload: &[u8]) -> Result<(), Failure>;
    /// The next packet; `None` where none came in time.
    fn hear(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Failure>;
}

/// A socket of this machine.
struct Outside {
    socket: UdpSocket,
    relayed: SocketAddr,
}

impl End for Outside {
    fn send(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let sent = self.socket.send_to(payload, self.relayed);
        sent.map(drop).map_err(|error| network(&error))
    }

    fn hear(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Failure> {
        let mut bytes = [0; 64];
        loop {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left)).map_err(|error| network(&error))?;
            if let Ok(length) = self.socket.recv(&mut bytes) {
                return Ok(Some(bytes[..length].to_vec()));
            }
        }
    }
}

/// An allocation, with a peer that it may reach.
struct Inside<'a> {
    allocated: &'a mut Allocated,
    peer: SocketAddr,
}

impl End for Inside<'_> {
    fn send(&mut self, payload: &[u8]) -> Result<(), Failure> {
        self.allocated.link.send(&message::send_indication(self.peer, payload.to_vec()))
    }

    fn hear(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Failure> {
        Ok(heard(self.allocated, deadline)?.map(|(_, payload)| payload))
    }
}

/// Sends back what bears the mark, until it is said that nobody waits for more.
fn echo(far: &mut Allocated, mark: [u8; 8], done: &AtomicBool) -> Result<(), Failure> {
    while !done.load(Ordering::Relaxed) {
        if let Some((peer, payload)) = heard(far, now() + LOOK)?
            && payload.starts_with(&mark)
        {
            far.link.send(&message::send_indication(peer, payload))?;
        }
    }
    Ok(())
}

/// The next Data indication: of which peer, and what.
fn heard(
    allocated: &mut Allocated,
    deadline: Instant,
) -> Result<Option<(SocketAddr, Vec<u8>)>, Failure> {
    while let Some(bytes) = allocated.link.stray(deadline)? {
        let Ok(message) = read(&bytes) else { continue };
        let is_data = (message.class(), message.method()) == (Class::Indication, Method::DATA);
        if is_data
            && let (Some(peer), Some(payload)) =
                (peer_of(&message), message.find(AttributeType::DATA))
        {
            return Ok(Some((peer, payload.to_vec())));
        }
    }
    Ok(None)
}

fn peer_of(message: &Message<'_>) -> Option<SocketAddr> {
    message.xor_address(AttributeType::XOR_PEER_ADDRESS)?.ok()
}

fn network(error: &io::Error) -> Failure {
    Failure::new(Kind::Network, error.to_string(), "see this machine's own network")
}

fn lost(relayed: SocketAddr) -> Failure {
    Failure::new(
        Kind::Lost,
        format!("what was sent to the relay address {relayed} did not come through and back"),
        "let UDP through to the server's relay ports (49152 to 65535, unless it says otherwise); \
         behind a 1:1 NAT the server must be told its outside address; and this machine's own \
         firewall must let UDP out",
    )
}
