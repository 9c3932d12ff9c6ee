//! The TCP connections of one worker, and until when they stay.

use std::collections::HashSet;
use std::sync::Arc;

use crate::net::tcp::Connection;
use crate::turn::{FiveTuple, Lifetime, Moment, Path, Transport};
use crate::worker::crowd::Refused;
use crate::worker::line::{Line, Number};
use crate::worker::mailbox::Errand;
use crate::worker::setup::{Shared, TlsLimits};
use crate::worker::token::{CONNECTIONS_MAX, Place, Way};
use crate::worker::watch::Watch;

/// The table of connections.
#[derive(Debug)]
pub(super) struct Connections {
    shared: Arc<Shared>,
    /// How long a connection without an allocation may go without a whole frame.
    idle: Lifetime,
    /// How long a handshake may take.
    handshake: Lifetime,
    /// Handshakes that may be under way.
    handshakes_max: usize,
    /// Connections in their handshake, in the order in which they came.
    opening: Line,
    /// Those of them that have something to read. They do not stand in the queue of sockets, where
    /// most of them would only take the places of others: few are served in a turn.
    opening_ready: Line,
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
    /// Everybody's, where there are load balancers. Of other connections the kernel sees to it that
    /// no two have the same; of those that balancers bring, one may have come by two ways.
    tuples: Option<HashSet<FiveTuple>>,
    /// When to look at which place.
    watch: Watch,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    client: Option<Client>,
}

/// A connection and what its worker knows of it.
#[derive(Debug)]
pub(super) struct Client {
    pub connection: Connection,
    /// When a whole frame, or the connection, last arrived, or its handshake was done.
    pub last_frame: Moment,
    /// It stands in the queue of sockets that have something to read.
    pub queued: bool,
    /// It stands in the list of connections to write to.
    pub dirty: bool,
    /// The stream took no more; it will be announced as writable.
    pub blocked: bool,
    /// What was read holds more frames than one turn serves.
    pub backlog: bool,
    /// The client has said that it will send no more: only then can a short read hide the end.
    pub ending: bool,
    /// Nothing more is read; when the output is gone, or at this moment, it is closed.
    pub closing: Option<Moment>,
    /// What its last frame asks for, mostly of another worker; what follows is not read here.
    pub errand: Option<Errand>,
    /// It may yet turn out to speak something else than STUN.
    pub undecided: bool,
    /// Its handshake is under way: which one it is.
    opening: Option<Number>,
    /// It stands in the line of those that go on with their handshake.
    opening_ready: Option<Number>,
    /// It came from another worker.
    pub moved: bool,
}

impl Client {
    /// Whether its handshake is under way.
    pub(super) fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// The client's 5-tuple.
    pub(super) fn tuple(&self) -> FiveTuple {
        tuple_of(&self.connection)
    }
}

fn tuple_of(connection: &Connection) -> FiveTuple {
    FiveTuple {
        transport: Transport::Tcp,
        client: connection.client_addr(),
        server: connection.server_addr(),
    }
}

impl Connections {
    /// None yet; `proxied` says whether load balancers may bring some.
    pub(super) fn new(shared: Arc<Shared>, idle: Lifetime, tls: TlsLimits, proxied: bool) -> Self {
        Self {
            handshakes_max: tls.handshakes.div_ceil(shared.mailboxes.len()),
            handshake: tls.handshake,
            opening: Line::default(),
            opening_ready: Line::default(),
            shared,
            idle,
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
            tuples: proxied.then(HashSet::new),
            watch: Watch::default(),
        }
    }

    /// Connections that are open.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Whether there is one of the same client's address and port already, which only a load
    /// balancer can bring about. It may not be taken in: each would end the other's allocation.
    pub(super) fn has_tuple_of(&self, connection: &Connection) -> bool {
        self.tuples.as_ref().is_some_and(|tuples| tuples.contains(&tuple_of(connection)))
    }

    /// Takes a connection in, if the limits allow it.
    pub(super) fn insert(&mut self, now: Moment, connection: Connection) -> Result<Place, Refused> {
        let client = connection.client_addr().ip();
        self.shared.crowd.enter(client)?;
        self.adopt(now, connection).inspect_err(|_| self.shared.crowd.leave(client))
    }

    /// Takes a connection in that counts already.
    pub(super) fn adopt(&mut self, now: Moment, connection: Connection) -> Result<Place, Refused> {
        if self.open >= CONNECTIONS_MAX {
            return Err(Refused::Total);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len() as u32;
            self.slots.push(Slot { place: Place::first(index), client: None });
            index
        });
        if let Some(tuples) = &mut self.tuples {
            tuples.insert(tuple_of(&connection));
        }
        let slot = &mut self.slots[index as usize];
        slot.place = slot.place.next();
        let opening = connection.is_opening().then(|| self.opening.enter(slot.place));
        let patience = if opening.is_some() { self.handshake.min(self.idle) } else { self.idle };
        slot.client = Some(Client {
            connection,
            last_frame: now,
            queued: false,
            dirty: false,
            blocked: false,
            backlog: false,
            ending: false,
            closing: None,
            errand: None,
            undecided: opening.is_some(),
            opening,
            opening_ready: None,
            moved: false,
        });
        self.open += 1;
        let place = slot.place;
        self.watch.by(index, now + patience);
        Ok(place)
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, place: Place) -> Option<Client> {
        let client = self.release(place)?;
        self.shared.crowd.leave(client.connection.client_addr().ip());
        Some(client)
    }

    /// Takes a connection out that goes on elsewhere, and counts there.
    pub(super) fn release(&mut self, place: Place) -> Option<Client> {
        let slot = self.slots.get_mut(place.index as usize).filter(|slot| slot.place == place)?;
        let client = slot.client.take()?;
        self.free.push(place.index);
        self.open -= 1;
        if let Some(tuples) = &mut self.tuples {
            tuples.remove(&client.tuple());
        }
        if let Some(opening) = client.opening {
            self.opening.leave(opening);
        }
        if let Some(number) = client.opening_ready {
            self.opening_ready.leave(number);
        }
        Some(client)
    }

    /// The handshake of this connection is done.
    pub(super) fn opened(&mut self, now: Moment, place: Place) {
        let Some(client) = self.get(place) else { return };
        client.last_frame = now;
        if let Some(opening) = client.opening.take() {
            self.opening.leave(opening);
        }
    }

    /// Puts a connection that has something to read into the line of handshakes, where it is in
    /// one; answers whether it is.
    pub(super) fn line_up(&mut self, place: Place) -> bool {
        let Some(client) = self.get(place).filter(|client| client.is_opening()) else {
            return false;
        };
        if client.opening_ready.is_none() {
            let number = self.opening_ready.enter(place);
            if let Some(client) = self.get(place) {
                client.opening_ready = Some(number);
            }
        }
        true
    }

    /// Whether anybody stands in the line of handshakes.
    pub(super) fn has_line(&self) -> bool {
        !self.opening_ready.is_empty()
    }

    /// The next in the line of handshakes, which it leaves.
    pub(super) fn next_in_line(&mut self) -> Option<Place> {
        let place = self.opening_ready.first()?;
        if let Some(number) = self.get(place)?.opening_ready.take() {
            self.opening_ready.leave(number);
        }
        Some(place)
    }

    /// The oldest connection in its handshake, where there are more than there may be: it has had
    /// the most time, and whoever comes with honest intent needs little.
    pub(super) fn crowded_out(&self) -> Option<Place> {
        let too_many = self.opening.len() > self.handshakes_max;
        self.opening.first().filter(|_| too_many)
    }

    /// The connection of this name.
    pub(super) fn get(&mut self, place: Place) -> Option<&mut Client> {
        let slot = self.slots.get_mut(place.index as usize)?;
        slot.client.as_mut().filter(|_| slot.place == place)
    }

    /// The connection that a path leads to, if it is still the same client's.
    pub(super) fn at_end_of(&mut self, path: &Path) -> Option<(Place, &mut Client)> {
        let Way::Connection { index, .. } = Way::from(path.link) else { return None };
        let slot = self.slots.get_mut(index as usize)?;
        let client = slot.client.as_mut()?;
        let same = Way::to(slot.place) == Way::from(path.link)
            && client.connection.client_addr() == path.tuple.client;
        (same && client.closing.is_none()).then_some((slot.place, client))
    }

    /// Has a connection that is closing looked at when its time is over.
    pub(super) fn close_by(&mut self, place: Place, deadline: Moment) {
        if let Some(client) = self.get(place) {
            client.closing = Some(deadline);
            self.watch.by(place.index, deadline);
        }
    }

    /// When [`Connections::pop_due`] has something.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.watch.next()
    }

    /// The next connection whose time is over, which the caller must take out; `is_busy` says
    /// whether it may stay nonetheless.
    pub(super) fn pop_due(
        &mut self,
        now: Moment,
        mut is_busy: impl FnMut(&Client) -> bool,
    ) -> Option<Place> {
        while let Some(index) = self.watch.pop(now) {
            let slot = &self.slots[index as usize];
            let Some(client) = &slot.client else { continue };
            let (idle, handshake) = (self.idle, self.handshake);
            let deadline = match client.closing {
                Some(deadline) => deadline,
                None if client.is_opening() => client.last_frame + handshake.min(idle),
                None if is_busy(client) => now + idle,
                None => client.last_frame + idle,
            };
            if deadline <= now {
                return Some(slot.place);
            }
            self.watch.by(index, deadline);
        }
        None
    }
}
