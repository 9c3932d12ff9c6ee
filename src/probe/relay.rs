//! Through the relay and back.
//!
//! The peer is a socket of this machine. It sends first, so that a NAT in front of it lets in what
//! comes back. Where the server does not let its clients reach this machine's address, which many
//! do not if that is a private one, the peer is a second allocation at the same server.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::client::{Uri, message};
use crate::probe::failure::{Failure, Kind};
use crate::probe::leg::{Allocated, Leg, Peer, Prober, read};
use crate::probe::link::{ms_since, now, unspecified};
use crate::wire::{AttributeType, Class, Message, Method};

/// How long one packet is waited for before another is sent.
const AGAIN: Duration = Duration::from_millis(400);

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
        let network = |error: &std::io::Error| {
            Failure::new(Kind::Network, error.to_string(), "see this machine's own network")
        };
        let socket = UdpSocket::bind(unspecified(near.relayed)).map_err(|e| network(&e))?;
        let deadline = now() + self.patience;
        while now() < deadline {
            let (payload, began) = (rand::random::<[u8; 16]>(), now());
            socket.send_to(&payload, near.relayed).map_err(|e| network(&e))?;
            let next = (began + AGAIN).min(deadline);
            let Some(peer) = heard(near, &payload, next)? else { continue };
            near.link.send(&message::send_indication(peer, payload.to_vec()))?;
            if comes(&socket, &payload, next).map_err(|e| network(&e))? {
                return Ok(ms_since(began));
            }
        }
        Err(lost(near.relayed))
    }

    /// Client, relay, relay, other client, and back.
    fn to_allocation(&self, near: &mut Allocated, far: &mut Allocated) -> Result<f64, Failure> {
        near.permit(far.relayed)?;
        far.permit(near.relayed)?;
        let deadline = now() + self.patience;
        while now() < deadline {
            let (payload, began) = (rand::random::<[u8; 16]>(), now());
            near.link.send(&message::send_indication(far.relayed, payload.to_vec()))?;
            let next = (began + AGAIN).min(deadline);
            let Some(peer) = heard(far, &payload, next)? else { continue };
            far.link.send(&message::send_indication(peer, payload.to_vec()))?;
            if heard(near, &payload, next)?.is_some() {
                return Ok(ms_since(began));
            }
        }
        Err(Failure::new(
            Kind::Lost,
            format!("what was sent from {} to {} did not come", near.relayed, far.relayed),
            "the server does not relay between its own clients: see its addresses and its rules \
             about peers",
        ))
    }
}

/// Waits for a Data indication with this payload; from which peer it is.
fn heard(
    allocated: &mut Allocated,
    payload: &[u8],
    deadline: Instant,
) -> Result<Option<SocketAddr>, Failure> {
    while let Some(bytes) = allocated.link.stray(deadline)? {
        let Ok(message) = read(&bytes) else { continue };
        let is_data = (message.class(), message.method()) == (Class::Indication, Method::DATA);
        if is_data && message.find(AttributeType::DATA) == Some(payload) {
            return Ok(peer_of(&message));
        }
    }
    Ok(None)
}

fn peer_of(message: &Message<'_>) -> Option<SocketAddr> {
    message.xor_address(AttributeType::XOR_PEER_ADDRESS)?.ok()
}

/// Whether this payload comes to the socket in time.
fn comes(socket: &UdpSocket, payload: &[u8], deadline: Instant) -> std::io::Result<bool> {
    let mut bytes = [0; 64];
    loop {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        if socket.recv(&mut bytes).is_ok_and(|length| bytes[..length] == *payload) {
            return Ok(true);
        }
    }
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
