//! Listeners at relayed addresses (RFC 6062 §5.1): opening and closing them, and the peers that
//! come by them.

use std::collections::HashMap;
use std::io;

use crate::net::peer::{PeerStream, RelayListener};
use crate::net::tcp::lacks_room;
use crate::turn::{Moment, OpenError, PeerAddr, Protocol, RelayId, RelayedAddr, Username};
use crate::worker::Worker;
use crate::worker::peers::Stage;
use crate::worker::places::Places;
use crate::worker::streams::{ACCEPT_PAUSE, ACCEPTS_PER_TURN};
use crate::worker::token::{Place, Token};

/// Listeners by the names that the core gave them.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    places: Places<Listener>,
    place_by_relay: HashMap<RelayId, Place>,
    /// When to accept again, after accepting failed for lack of descriptors.
    pub again: Option<Moment>,
}

/// An open listener.
#[derive(Debug)]
pub(super) struct Listener {
    pub socket: RelayListener,
    pub relay: RelayId,
    /// It stands in the queue of sockets that have something.
    pub queued: bool,
}

impl Listeners {
    /// Listeners that are open.
    pub(super) fn len(&self) -> usize {
        self.place_by_relay.len()
    }

    /// The listener of this name.
    pub(super) fn get(&mut self, place: Place) -> Option<&mut Listener> {
        self.places.get(place)
    }

    /// The listener that the core means.
    pub(super) fn of(&mut self, relay: RelayId) -> Option<&mut Listener> {
        self.places.get(*self.place_by_relay.get(&relay)?)
    }

    /// Every listener's name.
    fn all(&self) -> Vec<Place> {
        self.place_by_relay.values().copied().collect()
    }

    fn insert(&mut self, relay: RelayId, socket: RelayListener) -> Place {
        let place = self.places.insert(Listener { socket, relay, queued: false });
        self.place_by_relay.insert(relay, place);
        place
    }

    fn remove(&mut self, relay: RelayId) -> Option<Listener> {
        self.places.remove(self.place_by_relay.remove(&relay)?)
    }
}

impl Worker {
    pub(super) fn open_listener(
        &mut self,
        relay: RelayId,
        local: RelayedAddr,
        charge: Option<Username>,
    ) -> Result<RelayedAddr, OpenError> {
        self.charged(&[charge], |worker| {
            let socket = RelayListener::open(local)?;
            let address = socket.local_addr();
            let place = worker.listeners.insert(relay, socket);
            let token = Token::Listener(place).into();
            let registry = worker.poll.registry();
            let registered =
                worker.listeners.get(place).map(|it| it.socket.register(registry, token));
            if !matches!(registered, Some(Ok(()))) {
                worker.listeners.remove(relay);
                return Err(OpenError::Failed);
            }
            worker.announce(Protocol::Tcp, address, true);
            Ok(address)
        })
    }

    pub(super) fn close_listener(&mut self, relay: RelayId) {
        if let Some(listener) = self.listeners.remove(relay) {
            self.announce(Protocol::Tcp, listener.socket.local_addr(), false);
        }
    }

    /// Accepts peers at a relayed address; the core says which of them may stay.
    pub(super) fn accept_peers(&mut self, place: Place) {
        let Some(listener) = self.listeners.get(place) else { return };
        listener.queued = false;
        for _ in 0..ACCEPTS_PER_TURN {
            // What the core thinks of one peer may end the allocation.
            let Some(listener) = self.listeners.get(place) else { return };
            let relay = listener.relay;
            match listener.socket.accept() {
                Ok((stream, peer)) => self.peer_came(relay, peer, stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.stats.accept_errors += 1;
                    if lacks_room(&error) {
                        self.listeners.again = Some(self.now.moment + ACCEPT_PAUSE);
                        return;
                    }
                }
            }
        }
        self.queue(Token::Listener(place));
    }

    /// Accepts again where it had failed.
    pub(super) fn accept_peers_again(&mut self) {
        if self.listeners.again.is_some_and(|moment| moment <= self.now.moment) {
            self.listeners.again = None;
            for place in self.listeners.all() {
                self.queue(Token::Listener(place));
            }
        }
    }

    fn peer_came(&mut self, relay: RelayId, peer: PeerAddr, stream: PeerStream) {
        if self.shared.crowd.enter_peer().is_err() {
            self.stats.peers_over_limit += 1;
            return;
        }
        match self.core.handle_peer_connected(self.now, relay, peer) {
            Some(connection) => {
                let kept = self.keep_peer(connection, Stage::Unbound { stream, accepted: true });
                match kept {
                    Ok(()) => self.stats.peers_accepted += 1,
                    Err(_) => {
                        self.stats.accept_errors += 1;
                        self.shared.crowd.leave_peer();
                        self.core.handle_connection_gone(connection);
                    }
                }
            }
            None => self.shared.crowd.leave_peer(),
        }
        self.act();
    }
}
