//! The DTLS sessions of one worker, and until when they stay.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::net::dtls::{ClientHello, Cookies, Keyring, MESSAGE_MAX, Session, Unsent, Wires};
use crate::net::udp;
use crate::turn::{FiveTuple, Lifetime, Moment, Path};
use crate::worker::crowd::{Crowd, CrowdLimits, Refused};
use crate::worker::line::{Line, Number};
use crate::worker::stats::DtlsStats;
use crate::worker::token::{CONNECTIONS_MAX, Place, Way};
use crate::worker::watch::Watch;

/// What the workers of a process share of DTLS.
#[derive(Debug)]
pub struct Dtls {
    /// Certificate and key.
    pub keyring: Arc<Keyring>,
    /// Handshakes by their source; how many there may be in all, each worker sees to for its part.
    handshakes: Crowd,
    sessions: Crowd,
    handshakes_max: usize,
    handshake: Lifetime,
}

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsLimits {
    /// Sessions in all.
    pub sessions: usize,
    /// Sessions from one source: an IPv4 address, or an IPv6 /64.
    pub sessions_per_source: usize,
    /// Handshakes under way in all, as many at each worker; the oldest makes way for one more.
    pub handshakes: usize,
    /// Handshakes under way from one source.
    pub handshakes_per_source: usize,
    /// How long a handshake may take.
    pub handshake: Lifetime,
}

/// What one worker is given.
pub struct DtlsSetup {
    /// Its listeners, one for each address.
    pub listeners: Vec<udp::Listener>,
    /// What it shares with the others.
    pub shared: Arc<Dtls>,
    /// Keys the cookies of its clients: secret.
    pub cookie_secret: [u8; 32],
}

/// The table of sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    /// `None` where there are no listeners, and so no sessions.
    setup: Option<(Arc<Dtls>, Cookies)>,
    /// How long a session without an allocation may go without a message.
    idle: Lifetime,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_tuple: HashMap<FiveTuple, Place>,
    /// Those whose handshake is under way, in the order in which they began.
    begun: Line,
    /// How many of them there may be.
    begun_max: usize,
    /// Handshakes that were begun in this turn of the worker's loop.
    in_turn: (u64, u32),
    /// When to look at which place.
    watch: Watch,
    /// Lent to one session after the other.
    pub wires: Wires,
    /// Where messages are read to.
    pub plain: Vec<u8>,
    /// Where one that leaves is put together.
    joined: Vec<u8>,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    client: Option<Box<Client>>,
}

/// A session and what its worker knows of it.
#[derive(Debug)]
pub(super) struct Client {
    pub session: Session,
    pub tuple: FiveTuple,
    /// The listener that it came by.
    pub listener: u32,
    /// When a message last arrived.
    pub last_message: Moment,
    /// Until when the handshake must be through; `None` when it is.
    pub handshake: Option<Moment>,
    /// Where it stands in the line of handshakes.
    begun: Option<Number>,
    /// When the last flight must be sent again.
    again: Option<Moment>,
}

/// What is due at a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Its last flight must be sent again.
    Flight,
    /// Its handshake has taken too long.
    Handshake,
    /// It had no allocation and nothing to say for too long.
    Idle,
}

impl Dtls {
    /// Nobody yet.
    pub fn new(keyring: Arc<Keyring>, limits: DtlsLimits) -> Self {
        let crowd = |total, per_source| Crowd::new(CrowdLimits { total, per_source, peers: 0 });
        Self {
            keyring,
            handshakes: crowd(usize::MAX, limits.handshakes_per_source),
            sessions: crowd(limits.sessions, limits.sessions_per_source),
            handshakes_max: limits.handshakes,
            handshake: limits.handshake,
        }
    }

    /// Counts a session that begins; answers whether it may.
    fn enter(&self, client: IpAddr, stats: &mut DtlsStats) -> bool {
        if self.handshakes.enter(client).is_err() {
            stats.handshakes_over_source_limit += 1;
            return false;
        }
        if let Err(refused) = self.sessions.enter(client) {
            self.handshakes.leave(client);
            match refused {
                Refused::Total => stats.sessions_over_limit += 1,
                Refused::PerSource => stats.sessions_over_source_limit += 1,
            }
            return false;
        }
        true
    }

    /// Takes a session from the count.
    fn leave(&self, client: &Client) {
        let ip = client.tuple.client.ip();
        self.sessions.leave(ip);
        if client.handshake.is_some() {
            self.handshakes.leave(ip);
        }
    }
}

impl Sessions {
    /// None yet, at one of so many workers.
    pub(super) fn new(setup: Option<&DtlsSetup>, idle: Lifetime, workers: usize) -> Self {
        let room = setup.map_or(0, |_| MESSAGE_MAX);
        let begun_max = setup.map_or(0, |setup| setup.shared.handshakes_max.div_ceil(workers));
        let setup =
            setup.map(|setup| (Arc::clone(&setup.shared), Cookies::new(&setup.cookie_secret)));
        Self {
            setup,
            idle,
            slots: Vec::new(),
            free: Vec::new(),
            by_tuple: HashMap::new(),
            begun: Line::default(),
            begun_max,
            in_turn: (0, 0),
            watch: Watch::default(),
            wires: Wires::default(),
            plain: vec![0; room],
            joined: Vec::new(),
        }
    }

    /// Sessions that are there, those that are still shaking hands included.
    pub(super) fn len(&self) -> usize {
        self.by_tuple.len()
    }

    /// The session of a client.
    pub(super) fn of(&self, tuple: &FiveTuple) -> Option<Place> {
        self.by_tuple.get(tuple).copied()
    }

    /// Every session's name.
    pub(super) fn all(&self) -> Vec<Place> {
        self.by_tuple.values().copied().collect()
    }

    /// Whether a session was begun with this ClientHello.
    pub(super) fn began_with(&mut self, place: Place, hello: &ClientHello<'_>) -> bool {
        let client = self.get(place);
        client.is_some_and(|(client, _)| client.session.random() == hello.random)
    }

    /// Writes to `answer` what a client without a good cookie is told; returns the length, or
    /// `None` where its cookie is good.
    pub(super) fn ask(
        &self,
        now: Moment,
        tuple: &FiveTuple,
        hello: &ClientHello<'_>,
        answer: &mut [u8],
    ) -> Option<usize> {
        let (_, cookies) = self.setup.as_ref()?;
        let (client, server) = (tuple.client, tuple.server);
        if cookies.accepts(now, client, server, hello) {
            return None;
        }
        Some(hello.verify_request(&cookies.mint(now, client, server, hello), answer))
    }

    /// Whether there is time for another handshake in this turn. One takes as long as hundreds of
    /// packets, which are not to wait for all who come at once; they will ask again.
    pub(super) fn has_time(&mut self, turn: u64) -> bool {
        if self.in_turn.0 != turn {
            self.in_turn = (turn, 0);
        }
        self.in_turn.1 += 1;
        self.in_turn.1 <= HANDSHAKES_PER_TURN
    }

    /// Begins a session for a client whose cookie is good, if the limits allow it. What is to be
    /// sent to it lies in the wires. [`Sessions::crowded_out`] says who makes way for it.
    pub(super) fn begin(
        &mut self,
        now: Moment,
        tuple: FiveTuple,
        listener: u32,
        hello: &ClientHello<'_>,
        stats: &mut DtlsStats,
    ) -> Option<Box<Client>> {
        let (shared, _) = self.setup.as_ref()?;
        if self.by_tuple.len() >= CONNECTIONS_MAX {
            stats.sessions_over_limit += 1;
            return None;
        }
        let ip = tuple.client.ip();
        if !shared.enter(ip, stats) {
            return None;
        }
        let identity = shared.keyring.identity();
        let Some(session) = Session::begin(&identity, hello, &mut self.wires) else {
            stats.handshakes_failed += 1;
            shared.handshakes.leave(ip);
            shared.sessions.leave(ip);
            return None;
        };
        let handshake = Some(now + shared.handshake);
        stats.handshakes_begun += 1;
        Some(Box::new(Client {
            session,
            tuple,
            listener,
            last_message: now,
            handshake,
            begun: None,
            again: None,
        }))
    }

    /// Takes in a session that has begun, and counts. The client has no other.
    pub(super) fn insert(&mut self, now: Moment, mut client: Box<Client>) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len() as u32;
            self.slots.push(Slot { place: Place::first(index), client: None });
            index
        });
        let slot = &mut self.slots[index as usize];
        slot.place = slot.place.next();
        let place = slot.place;
        self.by_tuple.insert(client.tuple, place);
        client.begun = Some(self.begun.enter(place));
        let slot = &mut self.slots[index as usize];
        slot.client = Some(client);
        self.look_at(now, place);
        place
    }

    /// The oldest handshake, where there are more than there may be. So whoever goes through with
    /// it finds room, however many do not; only the time for it gets short. The core has not heard
    /// of such a client yet.
    pub(super) fn crowded_out(&self) -> Option<Place> {
        self.begun.first().filter(|_| self.begun.len() > self.begun_max)
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, place: Place) -> Option<Box<Client>> {
        let slot = self.slots.get_mut(place.index as usize).filter(|slot| slot.place == place)?;
        let client = slot.client.take()?;
        self.free.push(place.index);
        self.by_tuple.remove(&client.tuple);
        if let Some(number) = client.begun {
            self.begun.leave(number);
        }
        if let Some((shared, _)) = &self.setup {
            shared.leave(&client);
        }
        Some(client)
    }

    /// The session of this name, and the wires for it.
    pub(super) fn get(&mut self, place: Place) -> Option<(&mut Client, &mut Wires)> {
        let slot = self.slots.get_mut(place.index as usize)?;
        let client = slot.client.as_deref_mut().filter(|_| slot.place == place)?;
        Some((client, &mut self.wires))
    }

    /// Encrypts a message that consists of `parts` for the client at the end of a path; returns
    /// the listener that it must leave by. `None` where the client is gone.
    pub(super) fn seal(&mut self, path: &Path, parts: [&[u8]; 3]) -> Option<Result<u32, Unsent>> {
        let Way::Dtls { index, .. } = Way::from(path.link) else { return None };
        let slot = self.slots.get_mut(index as usize)?;
        let same = Way::to_session(slot.place) == Way::from(path.link);
        let client = slot.client.as_mut().filter(|it| same && it.tuple == path.tuple)?;
        self.joined.clear();
        parts.iter().for_each(|part| self.joined.extend_from_slice(part));
        let sent = client.session.write(&mut self.wires, &self.joined);
        Some(sent.map(|()| client.listener))
    }

    /// After a session has done something: is its handshake through, and when must it be looked at?
    pub(super) fn advanced(&mut self, now: Moment, place: Place, stats: &mut DtlsStats) {
        if let Some((client, _)) = self.get(place)
            && client.session.is_open()
            && client.handshake.take().is_some()
        {
            client.last_message = now;
            let (ip, begun) = (client.tuple.client.ip(), client.begun.take());
            stats.sessions_opened += 1;
            if let Some(number) = begun {
                self.begun.leave(number);
            }
            if let Some((shared, _)) = &self.setup {
                shared.handshakes.leave(ip);
            }
        }
        self.look_at(now, place);
    }

    /// Notes when a session must be looked at next.
    fn look_at(&mut self, now: Moment, place: Place) {
        let idle = self.idle;
        let Some((client, _)) = self.get(place) else { return };
        // Rounded up, so that it is over when it comes.
        let millis = |left: Duration| now.as_millis() + left.as_millis() as u64 + 1;
        client.again = client.session.timeout().map(|left| Moment::from_millis(millis(left)));
        let last = client.handshake.unwrap_or(client.last_message + idle);
        let first = client.again.map_or(last, |again| again.min(last));
        self.watch.by(place.index, first);
    }

    /// When [`Sessions::pop_due`] has something.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.watch.next()
    }

    /// The next session that something is due at; `is_busy` says of a client whether it may be
    /// silent. Where a flight is due, the caller calls [`Sessions::advanced`] after it; else it
    /// must take the session out.
    pub(super) fn pop_due(
        &mut self,
        now: Moment,
        mut is_busy: impl FnMut(&FiveTuple) -> bool,
    ) -> Option<(Place, Due)> {
        while let Some(index) = self.watch.pop(now) {
            let slot = &self.slots[index as usize];
            let Some(client) = &slot.client else { continue };
            let (last, due) = match client.handshake {
                Some(last) => (last, Due::Handshake),
                None if is_busy(&client.tuple) => (now + self.idle, Due::Idle),
                None => (client.last_message + self.idle, Due::Idle),
            };
            if last <= now {
                return Some((slot.place, due));
            }
            match client.again {
                Some(again) if again <= now => return Some((slot.place, Due::Flight)),
                again => self.watch.by(index, again.map_or(last, |again| again.min(last))),
            }
        }
        None
    }
}

impl fmt::Debug for DtlsSetup {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsSetup")
            .field("listeners", &self.listeners)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// Handshakes that one turn of a worker's loop begins at most: some milliseconds.
const HANDSHAKES_PER_TURN: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_begins_so_many_handshakes_and_the_next_as_many_again() {
        let mut sessions = Sessions::new(None, Lifetime::from_secs(60), 1);
        for turn in [5, 6, 9] {
            let begun = (0..100).filter(|_| sessions.has_time(turn)).count();
            assert_eq!(begun, HANDSHAKES_PER_TURN as usize);
        }
    }
}
