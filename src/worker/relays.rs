//! The relay sockets of one worker, by the names that its core gave them.

use crate::net::relay::RelaySocket;
use crate::turn::RelayId;
use crate::worker::attention::Attention;
use crate::worker::token::Place;

/// Relay sockets by [`RelayId`]. A place that is used again has another generation, so that
/// events and datagrams of the socket that was there before find nothing.
#[derive(Debug, Default)]
pub(super) struct Relays {
    slots: Vec<Slot>,
    open: usize,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    relay: Option<Relay>,
}

/// An open relay socket.
#[derive(Debug)]
pub(super) struct Relay {
    pub socket: RelaySocket,
    /// It stands in the queue of sockets that have something to read.
    pub queued: bool,
    /// The kernel has said that datagrams have met errors.
    pub failing: bool,
    /// Whether it is asked for traffic classes.
    pub attention: Attention,
}

impl Relays {
    /// Sockets that are open.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Puts a socket where the core wants it. What was there is closed.
    pub(super) fn insert(
        &mut self,
        id: RelayId,
        socket: RelaySocket,
        attention: Attention,
    ) -> Place {
        // The core numbers its relay sockets densely, so the table is as long as there were
        // sockets at a time.
        while self.slots.len() <= id.0 as usize {
            let place = Place::first(self.slots.len() as u32);
            self.slots.push(Slot { place, relay: None });
        }
        let slot = &mut self.slots[id.0 as usize];
        self.open += usize::from(slot.relay.is_none());
        slot.place = slot.place.next();
        slot.relay = Some(Relay { socket, queued: false, failing: false, attention });
        slot.place
    }

    /// Takes a socket out.
    pub(super) fn remove(&mut self, id: RelayId) -> Option<RelaySocket> {
        let relay = self.slots.get_mut(id.0 as usize)?.relay.take()?;
        self.open -= 1;
        Some(relay.socket)
    }

    /// The socket that a name of ours meant.
    pub(super) fn get(&mut self, place: Place) -> Option<&mut Relay> {
        let slot = self.slots.get_mut(place.index as usize)?;
        slot.relay.as_mut().filter(|_| slot.place == place)
    }

    /// The socket that the core means now.
    pub(super) fn place(&self, id: RelayId) -> Option<Place> {
        let slot = self.slots.get(id.0 as usize)?;
        slot.relay.is_some().then_some(slot.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::relay::Options;
    use crate::turn::{Moment, RelayedAddr};

    #[test]
    fn the_name_of_a_closed_socket_finds_nothing_when_its_place_is_used_again() {
        let open = || {
            let local = RelayedAddr("127.0.0.1:0".parse().unwrap());
            RelaySocket::open(local, Options::default()).unwrap()
        };
        let attention = Attention::new(Moment::default(), false);
        let mut relays = Relays::default();
        let old = relays.insert(RelayId(3), open(), attention);
        assert!(relays.get(old).is_some());
        assert!(relays.remove(RelayId(3)).is_some());
        assert!(relays.get(old).is_none());
        let new = relays.insert(RelayId(3), open(), attention);
        assert!(relays.get(old).is_none());
        assert!(relays.get(new).is_some());
        assert_eq!((relays.len(), relays.place(RelayId(2))), (1, None));
    }
}
