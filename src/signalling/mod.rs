//! Rooms, in which peers find each other: the deterministic core of the signalling relay.
//!
//! ```text
//! handle_open(now, socket, source, ice) -> Result<PeerId, Refused>    handle_timeout(now)
//! handle_frame(now, socket, Received)                                 handle_shutdown(now)
//! handle_close(now, socket, Departure)         poll_action() -> Option<Action>
//! handle_visit(now, source) -> Result          poll_timeout() -> Option<Millis>
//! handle_undelivered(now, Letter)
//! ```
//!
//! - After each `handle_*`, drain `poll_action`, then read `poll_timeout`.
//! - Actions come out in the order in which they happened, and the shell keeps one queue for each
//!   socket: so frames from A to B never overtake, and whoever is told of a peer is told before
//!   that peer's first signal and never after its last.
//! - How much waits in a queue only the shell knows. A signal that finds too much there comes back
//!   by `handle_undelivered` and is refused to its sender: what peers send cannot close a socket,
//!   and nothing is dropped in silence.
//! - A socket for which [`Action::Close`] came out is gone from here already. A socket that the
//!   shell loses or gives up is reported by `handle_close`.
//! - No clock, socket, lock, `async` or OS randomness: the same seed and inputs give the same
//!   actions.
//!
//! The protocol is JSON text, one object to a frame, told apart by `type`:
//!
//! ```text
//! S→C welcome {peer, heartbeatMs, limits, iceServers, iceExpiresAt}
//! C→S join    {room, meta?}        S→C joined {room, peers: [{id, meta, polite}], you: {polite}}
//! C→S leave   {room}               S→C peer+  {room, id, meta, polite}
//!                                  S→C peer-  {room, id, reason}
//! C→S signal  {to, seq?, data}     S→C signal {from, seq?, data}
//!                                  S→C error  {code, retryable, message, room?, to?, seq?}
//! ```
//!
//! `polite` is the role of the peer beside whose id it stands, for the perfect negotiation of
//! WebRTC: who joins later is polite towards those present. Two peers who share several rooms keep
//! the role that they heard first; both heard it from the same room, because everybody hears of
//! joins in the same order.

mod action;
mod limits;
mod message;
mod rate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::value::RawValue;

pub use self::action::{
    Action, CloseReason, Departure, IceOffer, Letter, Millis, Received, Refused, SocketId, Stats,
};
pub use self::limits::Limits;
pub use self::message::{Fault, PeerId};
pub use self::rate::{Bucket, Source};

use self::message::{Reply, Request, ToldPeer, ToldYou};
use self::rate::Sources;

/// All rooms and everybody in them.
#[derive(Debug)]
pub struct Rooms {
    limits: Limits,
    rng: StdRng,
    member_by_socket: BTreeMap<SocketId, Member>,
    socket_by_peer: BTreeMap<PeerId, SocketId>,
    /// Names are chosen by strangers; an ordered map gives them no collisions to choose.
    room_by_name: BTreeMap<String, Room>,
    /// How many of the rooms each source has founded.
    rooms_by_source: BTreeMap<Source, usize>,
    sources: Sources,
    actions: VecDeque<Action>,
    stats: Stats,
}

/// One socket and what it may still do.
#[derive(Debug)]
struct Member {
    peer: PeerId,
    source: Source,
    rooms: BTreeSet<String>,
    messages: Bucket,
    bytes: Bucket,
    /// Bytes that its joins may have the server say, at the rate and with the burst of `bytes`:
    /// a join of a few bytes is told to a whole room, and it of the whole room.
    told: Bucket,
    strikes: Bucket,
}

/// Who is in a room, with what each said about itself.
#[derive(Debug)]
struct Room {
    /// For whom the room counts as long as anybody is in it.
    founder: Source,
    seat_by_socket: BTreeMap<SocketId, Seat>,
}

#[derive(Debug)]
struct Seat {
    peer: PeerId,
    meta: Option<Box<RawValue>>,
}

impl Rooms {
    /// No rooms yet. The generator makes the peers' ids, so it must be seeded from what nobody can
    /// guess; `limits` should have passed [`Limits::check`].
    #[must_use]
    pub fn new(limits: Limits, rng: StdRng) -> Self {
        Self {
            sources: Sources::new(&limits),
            limits,
            rng,
            member_by_socket: BTreeMap::new(),
            socket_by_peer: BTreeMap::new(),
            room_by_name: BTreeMap::new(),
            rooms_by_source: BTreeMap::new(),
            actions: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Charges `source` for a request that opens no socket, at the same rate as if it did.
    ///
    /// # Errors
    ///
    /// When that, or all sources together, were too fast.
    pub fn handle_visit(&mut self, now: Millis, source: IpAddr) -> Result<(), Refused> {
        let result = self.sources.visit(now, source.into(), &self.limits);
        self.count_refusal(result)
    }

    /// Lets a socket in and welcomes it.
    ///
    /// # Errors
    ///
    /// When a limit is reached; nothing is kept of the socket then.
    pub fn handle_open(
        &mut self,
        now: Millis,
        socket: SocketId,
        source: IpAddr,
        ice: &IceOffer,
    ) -> Result<PeerId, Refused> {
        debug_assert!(!self.member_by_socket.contains_key(&socket), "the shell repeated an id");
        let source = Source::from(source);
        let result = if self.member_by_socket.len() >= self.limits.sockets {
            Err(Refused::Full)
        } else {
            self.sources.open(now, source, &self.limits)
        };
        self.count_refusal(result)?;

        let mut peer = PeerId([0; 16]);
        self.rng.fill_bytes(&mut peer.0);
        let Limits { messages_per_sec, message_burst, bytes_per_sec, byte_burst, strikes, .. } =
            self.limits;
        self.member_by_socket.insert(
            socket,
            Member {
                peer,
                source,
                rooms: BTreeSet::new(),
                messages: Bucket::full(now, messages_per_sec, message_burst),
                bytes: Bucket::full(now, bytes_per_sec, byte_burst),
                told: Bucket::full(now, bytes_per_sec, byte_burst),
                strikes: Bucket::full(now, 1, strikes),
            },
        );
        self.socket_by_peer.insert(peer, socket);
        self.stats.opened += 1;
        let welcome = Reply::Welcome {
            peer,
            heartbeat_ms: self.limits.heartbeat_ms,
            limits: (&self.limits).into(),
            ice_servers: &ice.servers,
            ice_expires_at: ice.expires_at.as_deref(),
        };
        self.actions.push_back(Action::Send { socket, frame: welcome.emit() });
        Ok(peer)
    }

    /// Carries out one frame. Frames of sockets that are gone are ignored: they were under way.
    pub fn handle_frame(&mut self, now: Millis, socket: SocketId, received: Received<'_>) {
        let Some(member) = self.member_by_socket.get_mut(&socket) else { return };
        let (text, bytes) = match received {
            Received::Text(text) => (Some(text), text.len()),
            Received::Binary => return self.close(now, socket, CloseReason::NotText),
            Received::Control => (None, 0),
        };
        if bytes > self.limits.frame_bytes {
            return self.close(now, socket, CloseReason::TooLarge);
        }
        // Not `&&`: a frame costs its bytes even if it is one too many.
        if !(member.messages.take(now, 1) & member.bytes.take(now, bytes)) {
            self.stats.over_rate += 1;
            return self.fail(now, socket, Fault::TooManyRequests, Context::default());
        }
        let Some(text) = text else { return };
        self.stats.frames += 1;
        match Request::parse(text, &self.limits) {
            Err(fault) => self.fail(now, socket, fault, Context::default()),
            Ok(Request::Join { room, meta }) => {
                if let Err(fault) = self.join(now, socket, &room, meta) {
                    self.fail(
                        now,
                        socket,
                        fault,
                        Context { room: Some(&room), ..Context::default() },
                    );
                }
            }
            Ok(Request::Leave { room }) => {
                if !self.leave(socket, &room, Departure::Left) {
                    let context = Context { room: Some(&room), ..Context::default() };
                    self.fail(now, socket, Fault::NotJoined, context);
                }
            }
            Ok(Request::Signal { to, seq, data }) => {
                if let Err(fault) = self.signal(socket, &to, seq, data) {
                    // An id that is none is not repeated: it could be as long as a frame.
                    let to = to.parse::<PeerId>().is_ok().then_some(to.as_str());
                    self.fail(now, socket, fault, Context { to, seq, ..Context::default() });
                }
            }
        }
    }

    /// Forgets a socket that the shell lost or gave up, and tells its rooms.
    pub fn handle_close(&mut self, now: Millis, socket: SocketId, how: Departure) {
        let Some(member) = self.member_by_socket.get(&socket) else { return };
        for room in member.rooms.clone() {
            self.leave(socket, &room, how);
        }
        if let Some(member) = self.member_by_socket.remove(&socket) {
            self.socket_by_peer.remove(&member.peer);
            self.sources.close(now, member.source);
        }
        match how {
            Departure::Slow => self.stats.closed_slow += 1,
            Departure::Dead => self.stats.closed_dead += 1,
            Departure::Expelled => self.stats.closed_expelled += 1,
            Departure::Left | Departure::Closed => {}
        }
    }

    /// Refuses a signal to its sender, who may have gone meanwhile.
    pub fn handle_undelivered(&mut self, now: Millis, letter: Letter) {
        let Letter { from, to, seq } = letter;
        self.stats.signals -= 1;
        self.stats.undelivered += 1;
        let to = to.to_string();
        self.fail(now, from, Fault::PeerBusy, Context { to: Some(&to), seq, room: None });
    }

    /// Closes every socket, without telling anybody of anybody: all hear the same.
    pub fn handle_shutdown(&mut self, now: Millis) {
        self.room_by_name.clear();
        self.rooms_by_source.clear();
        self.socket_by_peer.clear();
        for (socket, member) in std::mem::take(&mut self.member_by_socket) {
            self.sources.close(now, member.source);
            self.actions.push_back(Action::Close { socket, reason: CloseReason::Shutdown });
        }
    }

    /// Forgets what time has made forgettable.
    pub fn handle_timeout(&mut self, now: Millis) {
        self.sources.handle_timeout(now);
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.sources.poll_timeout()
    }

    /// The counters, with the gauges as of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sockets: self.member_by_socket.len() as u64,
            rooms: self.room_by_name.len() as u64,
            sources: self.sources.len() as u64,
            ..self.stats
        }
    }

    fn join(
        &mut self,
        now: Millis,
        socket: SocketId,
        name: &str,
        meta: Option<&RawValue>,
    ) -> Result<(), Fault> {
        let Some(member) = self.member_by_socket.get_mut(&socket) else { return Ok(()) };
        if member.rooms.contains(name) {
            return Err(Fault::AlreadyJoined);
        }
        if member.rooms.len() >= self.limits.rooms_per_socket {
            return Err(Fault::TooManyRooms);
        }
        if !member.told.has_any(now) {
            return Err(Fault::TooManyJoins);
        }
        if !self.room_by_name.contains_key(name) {
            if self.room_by_name.len() >= self.limits.rooms {
                return Err(Fault::Busy);
            }
            let founded = self.rooms_by_source.entry(member.source).or_default();
            if *founded >= self.limits.rooms_per_source {
                return Err(Fault::SourceBusy);
            }
            *founded += 1;
            let room = Room { founder: member.source, seat_by_socket: BTreeMap::new() };
            self.room_by_name.insert(name.to_owned(), room);
        }
        let Some(room) = self.room_by_name.get_mut(name) else { return Ok(()) };
        if room.seat_by_socket.len() >= self.limits.room_peers {
            return Err(Fault::RoomFull);
        }

        let peers = room.seat_by_socket.values().map(Seat::told).collect();
        let joined = Reply::Joined { room: name, peers, you: ToldYou { polite: true } }.emit();
        let came = Reply::PeerCame { room: name, id: member.peer, meta, polite: true }.emit();
        // Its `peer-`, which nobody can be denied, is as long as its `peer+` without the meta.
        let each = 2 * came.len() - meta.map_or(0, |meta| meta.get().len());
        member.told.owe(joined.len() + each * room.seat_by_socket.len());
        self.actions.push_back(Action::Send { socket, frame: joined });
        for &other in room.seat_by_socket.keys() {
            self.actions.push_back(Action::Send { socket: other, frame: came.clone() });
        }
        let seat = Seat { peer: member.peer, meta: meta.map(ToOwned::to_owned) };
        room.seat_by_socket.insert(socket, seat);
        member.rooms.insert(name.to_owned());
        Ok(())
    }

    /// Takes a socket out of a room and tells the rest; the last one to go takes the room along.
    fn leave(&mut self, socket: SocketId, name: &str, how: Departure) -> bool {
        let Some(room) = self.room_by_name.get_mut(name) else { return false };
        let Some(seat) = room.seat_by_socket.remove(&socket) else { return false };
        if let Some(member) = self.member_by_socket.get_mut(&socket) {
            member.rooms.remove(name);
        }
        let went = Reply::PeerWent { room: name, id: seat.peer, reason: how.text() }.emit();
        for &other in room.seat_by_socket.keys() {
            self.actions.push_back(Action::Send { socket: other, frame: went.clone() });
        }
        if room.seat_by_socket.is_empty() {
            let founder = room.founder;
            self.room_by_name.remove(name);
            if let Some(founded) = self.rooms_by_source.get_mut(&founder) {
                *founded -= 1;
                if *founded == 0 {
                    self.rooms_by_source.remove(&founder);
                }
            }
        }
        true
    }

    fn signal(
        &mut self,
        socket: SocketId,
        to: &str,
        seq: Option<u64>,
        data: &RawValue,
    ) -> Result<(), Fault> {
        // One answer for an id that is none, one that is unknown and one in other rooms only: who
        // is here is told to those who share a room.
        let to = to.parse::<PeerId>()?;
        let receiver = *self.socket_by_peer.get(&to).ok_or(Fault::NoSuchPeer)?;
        let (Some(from), Some(other)) =
            (self.member_by_socket.get(&socket), self.member_by_socket.get(&receiver))
        else {
            return Err(Fault::NoSuchPeer);
        };
        if receiver == socket || from.rooms.is_disjoint(&other.rooms) {
            return Err(Fault::NoSuchPeer);
        }
        let frame = Reply::Signal { from: from.peer, seq, data }.emit();
        let letter = Letter { from: socket, to, seq };
        self.actions.push_back(Action::Pass { socket: receiver, frame, letter });
        self.stats.signals += 1;
        Ok(())
    }

    /// Answers a request that was not carried out; the only place that does.
    fn fail(&mut self, now: Millis, socket: SocketId, fault: Fault, context: Context<'_>) {
        self.stats.faults += 1;
        let Some(member) = self.member_by_socket.get_mut(&socket) else { return };
        if fault.is_offence() && !member.strikes.take(now, 1) {
            return self.close(
                now,
                socket,
                match fault {
                    Fault::TooManyRequests | Fault::TooManyJoins => CloseReason::TooManyRequests,
                    _ => CloseReason::BadFrames,
                },
            );
        }
        let error = Reply::Error {
            code: fault.code(),
            retryable: fault.retryable(),
            message: fault.message(),
            room: context.room,
            to: context.to,
            seq: context.seq,
        };
        self.actions.push_back(Action::Send { socket, frame: error.emit() });
    }

    fn close(&mut self, now: Millis, socket: SocketId, reason: CloseReason) {
        self.handle_close(now, socket, Departure::Expelled);
        self.actions.push_back(Action::Close { socket, reason });
    }

    fn count_refusal(&mut self, result: Result<(), Refused>) -> Result<(), Refused> {
        match result {
            Ok(()) => {}
            Err(Refused::Full | Refused::SourceFull) => self.stats.refused_full += 1,
            Err(Refused::TooFast | Refused::SourceTooFast) => self.stats.refused_rate += 1,
        }
        result
    }
}

impl Seat {
    /// How a newcomer is told of this peer, who was there before and therefore is impolite.
    fn told(&self) -> ToldPeer<'_> {
        ToldPeer { id: self.peer, meta: self.meta.as_deref(), polite: false }
    }
}

/// Which request an error answers.
#[derive(Clone, Copy, Default)]
struct Context<'a> {
    room: Option<&'a str>,
    to: Option<&'a str>,
    seq: Option<u64>,
}

#[cfg(test)]
mod tests;
