//! ICMP errors at relay sockets (RFC 8656 §11.5). The kernel keeps them in a queue of their own,
//! which is looked at only when it says that there is one: packets that meet no error pay nothing.

use std::mem;

use crate::net::TrafficClass;
use crate::net::relay::Undelivered;
use crate::turn::{PeerAddr, RelayId};
use crate::worker::Worker;
use crate::worker::packet::Packet;
use crate::worker::relays::Relay;
use crate::worker::token::Place;

/// Errors that were read in this turn, and at which socket.
#[derive(Debug, Default)]
pub(super) struct Errors {
    heard: Vec<(Place, Undelivered)>,
}

impl Errors {
    /// Reads what a socket has, as far as there is time for it in this turn.
    pub(super) fn read(&mut self, place: Place, relay: &mut Relay) {
        let room = ERRORS_PER_TURN.saturating_sub(self.heard.len()).min(ERRORS_PER_SOCKET);
        relay.failing = relay.socket.read_errors(room, |error| self.heard.push((place, error)));
    }
}

impl Worker {
    /// Has the core decide about the errors of this turn.
    pub(super) fn tell_errors(&mut self) {
        let mut heard = mem::take(&mut self.errors.heard);
        for (place, Undelivered { to, icmp }) in heard.drain(..) {
            // An answer of this turn may have closed the socket.
            if self.relays.get(place).is_some() {
                self.make_room();
                let relay = RelayId(place.index);
                let verdict = self.core.handle_icmp(self.now, relay, PeerAddr(to), icmp);
                self.carry(verdict, Packet::Frame(&icmp.value(), TrafficClass::BEST_EFFORT), None);
            }
        }
        self.errors.heard = heard;
    }
}

/// Errors that are read in one turn, and of them at one socket. What is left stays in the kernel,
/// which keeps no more than the socket's buffer holds.
const ERRORS_PER_TURN: usize = 64;
const ERRORS_PER_SOCKET: usize = 16;
