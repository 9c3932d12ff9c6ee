//! Workers: each one thread, with its own core and its own sockets.
//!
//! Nothing on a packet's road is shared between workers. The kernel spreads clients over their
//! listeners (SO_REUSEPORT), and a client's allocation, its relay sockets and its timers all belong
//! to the worker that the client came to. One turn of the loop:
//!
//! ```text
//! 1  wait      for events, or not at all while sockets are known to hold more
//! 2  receive   a batch of datagrams, listeners first, then as many relay sockets as fit
//! 3  mailbox   what other workers opened and closed, and the payloads and connections (RFC 6062)
//!              that they hand over; what the control plane asks
//! 4  decide    each datagram goes to the core, its verdict into the batch that leaves;
//!    act       what the core asks for is done at once, so that order is never lost
//! 5  streams   connections are accepted and read, and their frames decided in the same way; pipes
//!              move what they can
//! 6  send      payloads for clients of other workers leave, then the batch, socket by socket, in
//!              runs; then what waits for each connection
//! 7  timers    the core's, and those of idle connections
//! ```
//!
//! The mailbox comes between receiving and deciding for a reason: a worker announces a relay socket
//! before the Allocate answer leaves, so whoever sends to that address has heard of it after the
//! news was posted, and is read after it.
//!
//! What is shared lies behind locks that only a beginning and an end touch: of an allocation the
//! [`Quota`] and the [`Shelf`] of reserved sockets, of a connection the [`Crowd`], of a session of
//! DTLS two more of these; and the keyrings, which TLS and DTLS ask as they begin.

mod act;
mod answer;
mod attention;
mod clock;
mod connections;
mod crowd;
mod data;
mod dtls;
mod elsewhere;
mod guest;
mod icmp;
mod journal;
mod line;
mod listeners;
mod lobby;
mod mailbox;
mod moderation;
mod outlets;
mod packet;
mod parcel;
mod peers;
mod places;
mod proxied;
mod quota;
mod relays;
mod sessions;
mod setup;
mod shelf;
mod stats;
mod streams;
#[cfg(test)]
mod tests;
mod token;
mod wake;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use tokio::sync::mpsc;

pub use crowd::{Crowd, CrowdLimits, Refused};
pub use guest::Guest;
pub use mailbox::{Mailbox, State, Unavailable};
pub use quota::{Exhausted, Quota, QuotaLimits};
pub use sessions::{Dtls, DtlsLimits, DtlsSetup};
pub use setup::{Failure, Seat, Shared, TlsLimits, WorkerHandle, WorkerSetup, seats, spawn};
pub use shelf::Shelf;
pub use stats::{Drops, DtlsStats, Snapshot, Stats, Traffic};

use crate::net::output::Kind;
use crate::net::tls::Keyring;
use crate::net::{Datagram, Envelope, Outlet, RecvBatch, SendBatch, TrafficClass};
use crate::net::{relay, tcp, udp};
use crate::turn::{FiveTuple, Moment, Now, Path, PeerAddr, RelayId, Server, Transport, Verdict};
use crate::wire::method::message_type;
use crate::wire::{Class, Header, Method};
use attention::Attention;
use clock::Clock;
use connections::Connections;
use icmp::Errors;
use journal::Journal;
use listeners::Listeners;
use lobby::Lobby;
use mailbox::Inbox;
use moderation::Moderation;
use outlets::Sockets;
use packet::Packet;
use parcel::{Bound, Parcels};
use peers::Peers;
use proxied::Proxied;
use relays::Relays;
use sessions::Sessions;
use token::{Place, Token, Way};

/// A core, its sockets and the loop that joins them. Lives on its own thread.
struct Worker {
    index: usize,
    shared: Arc<Shared>,
    inbox: Inbox,
    parcels: Parcels,
    state: State,
    poll: Poll,
    core: Server,
    clock: Clock,
    now: Now,
    moderation: Moderation,
    /// Those for requests first, so that a flood of media holds none of them up.
    udp: Vec<Udp>,
    /// How many of those are for requests alone.
    udp_requests: usize,
    tcp: Vec<Tcp>,
    relays: Relays,
    relay_options: relay::Options,
    connections: Connections,
    sessions: Sessions,
    lobby: Lobby,
    proxied: Proxied,
    listeners: Listeners,
    peers: Peers,
    /// Sockets that may hold more, each at most once, in the order in which they have their turn.
    ready: VecDeque<Token>,
    /// Listeners and connections whose turn it is.
    streams: Vec<Token>,
    /// Connections with frames that were not yet written.
    dirty: Vec<Place>,
    received: RecvBatch,
    /// The slots of what came by sockets for requests alone.
    requests: usize,
    /// Of them those that are decided behind the media of their batch.
    late: Vec<usize>,
    errors: Errors,
    journal: Journal,
    send: SendBatch,
    /// Packets that this turn has handed to the core, and the kernel's messages they came in.
    handled: (u32, u32),
    /// Where clients go who speak HTTP.
    guests: Option<mpsc::Sender<Guest>>,
    /// Where streams are read to, [`tcp::READ_BYTES`] long.
    scratch: Vec<u8>,
    /// When to accept again, after accepting failed.
    accept_again: Option<Moment>,
    stats: Stats,
}

/// A UDP listener.
struct Udp {
    listener: udp::Listener,
    queued: bool,
    is_dtls: bool,
    attention: Attention,
}

/// A listener for TCP, or for TLS where it has a keyring.
struct Tcp {
    listener: tcp::Listener,
    keyring: Option<Arc<Keyring>>,
    queued: bool,
}

impl Worker {
    /// The loop. Ends when it is told to stop, and not before: a socket that leaves the group of
    /// those that share a port would have the kernel send the clients of all others elsewhere.
    fn run(&mut self) -> io::Result<Snapshot> {
        let mut events = Events::with_capacity(EVENTS);
        while self.state < State::Stopping {
            self.turn(&mut events)?;
        }
        self.end_sessions();
        self.send();
        Ok(self.snapshot())
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.wait(events)?;
        self.receive();
        self.read_mailbox();
        self.take_handovers();
        self.decide();
        self.serve_streams();
        self.send();
        self.serve_timers();
        self.send();
        self.forget_strangers();
        Ok(())
    }

    // Stage 2.

    /// Gives the listeners one call each, with half of the room where others wait, then each socket
    /// in the queue one, with its share of what is left. Whoever was not emptied goes to the end of
    /// the queue. So a flood at relay sockets delays neither each other's nor new clients' packets
    /// by more than a turn.
    fn receive(&mut self) {
        self.stats.turns += 1;
        self.received.clear();
        self.requests = 0;
        let mut waiting = self.ready.len() + self.udp.iter().filter(|udp| udp.queued).count();
        for (index, udp) in self.udp.iter_mut().enumerate() {
            if udp.queued {
                waiting -= 1;
                let room = self.received.room();
                let share = if waiting > 0 { room / 2 } else { room };
                let key = Token::Udp(index as u32).into();
                let received = udp.listener.receive(&mut self.received, key, share);
                udp.queued = !received.emptied;
                if let Some(wanted) = udp.attention.learn(self.now.moment, &received) {
                    udp.listener.report_class(wanted);
                }
                self.stats.udp.received(received.datagrams as u64, received.bytes);
                self.stats.received(&received);
            }
            if index < self.udp_requests {
                self.requests = self.received.len();
            }
        }
        for left in (1..=self.ready.len()).rev() {
            if self.received.is_full() || self.streams.len() == STREAMS_PER_TURN {
                break;
            }
            let Some(token) = self.ready.pop_front() else { break };
            match token {
                Token::Relay(place) => {
                    let Some(relay) = self.relays.get(place) else { continue };
                    if relay.failing {
                        self.errors.read(place, relay);
                    }
                    let share = (self.received.room() / left).max(SHARE_MIN);
                    let received = relay.socket.receive(&mut self.received, token.into(), share);
                    relay.queued = !received.emptied || relay.failing;
                    if let Some(wanted) = relay.attention.learn(self.now.moment, &received) {
                        relay.socket.report_class(wanted);
                    }
                    if relay.queued {
                        self.ready.push_back(token);
                    }
                    self.stats.peers.received(received.datagrams as u64, received.bytes);
                    self.stats.received(&received);
                }
                Token::Tcp(_)
                | Token::Lobby(_)
                | Token::Connection(_)
                | Token::Listener(_)
                | Token::Peer(_)
                | Token::Data(_) => self.streams.push(token),
                Token::Udp(_) | Token::Waker => {}
            }
        }
    }

    // Stage 3.

    fn read_mailbox(&mut self) {
        if self.inbox.has_mail() {
            // Before the news: what a parcel's sender announced before it is then known.
            while !self.parcels.is_full()
                && let Some(parcel) = self.inbox.next_parcel()
            {
                self.parcels.arrive(parcel);
            }
            while let Some(news) = self.inbox.next_news() {
                self.hear(news);
            }
            while let Some(request) = self.inbox.next_request() {
                self.answer(request);
            }
        }
        let state = self.inbox.state();
        if state != self.state {
            self.state = state;
            // Closed listeners tell whoever balances load to send new clients elsewhere; those that
            // come nonetheless are told where to.
            self.tcp.clear();
            self.core.drain();
        }
    }

    // Stage 4.

    /// Requests go before media, as what they ask for may be what the media needs. A Refresh may
    /// be the end of an allocation: it goes behind the media that its client may have sent before.
    fn decide(&mut self) {
        self.handled.0 += self.received.len() as u32;
        self.handled.1 += self.received.messages() as u32;
        if self.proxied.is_expected() {
            self.read_proxy_headers();
        }
        for slot in 0..self.requests {
            if self.received.datagram(slot).bytes.starts_with(&REFRESH) {
                self.late.push(slot);
            } else {
                self.decide_datagram(slot);
            }
        }
        for slot in self.requests..self.received.len() {
            self.decide_datagram(slot);
        }
        let mut late = mem::take(&mut self.late);
        late.drain(..).for_each(|slot| self.decide_datagram(slot));
        self.late = late;
        self.tell_errors();
        self.decide_parcels();
    }

    #[inline]
    fn decide_datagram(&mut self, slot: usize) {
        self.make_room();
        let Datagram { socket, source, destination, bytes, .. } = self.received.datagram(slot);
        match Token::from(socket) {
            Token::Udp(index) => {
                let udp = &self.udp[index as usize];
                let server = udp.listener.server_addr(destination);
                if udp.is_dtls {
                    return self.handle_dtls(index, server, slot);
                }
                let tuple = FiveTuple { transport: Transport::Udp, client: source, server };
                let path = Path { link: Way::Udp(index).into(), tuple };
                let space = self.send.space();
                let verdict = self.core.handle_client(self.now, path, bytes, space);
                self.carry(verdict, Packet::Slot(slot), Some(path));
            }
            Token::Relay(place) if self.relays.get(place).is_some() => {
                let relay = RelayId(place.index);
                let peer = PeerAddr(source);
                let verdict = self.core.handle_peer(self.now, relay, peer, bytes.len());
                self.carry(verdict, Packet::Slot(slot), None);
            }
            // An earlier datagram of this batch has closed the socket.
            _ => self.stats.drops.closed += 1,
        }
        self.act();
    }

    /// Puts what the core decided about a packet where it leaves from. `path` is where it came
    /// from, if that was a client.
    fn carry(&mut self, verdict: Verdict, packet: Packet<'_>, path: Option<Path>) {
        match verdict {
            Verdict::Nothing => {}
            Verdict::Reply { len } => {
                if let Some(path) = path {
                    self.reply(path, len);
                }
            }
            Verdict::ReplyElsewhere { len, from, to } => self.reply_elsewhere(len, from, to),
            Verdict::ToPeer { relay, peer, payload, dont_fragment } => {
                let Some(place) = self.relays.place(relay) else {
                    self.stats.drops.closed += 1;
                    return;
                };
                let socket = Token::Relay(place).into();
                let class = self.class_of(packet);
                let envelope = Envelope { socket, to: peer.0, from: None, dont_fragment, class };
                let range = payload.into();
                match packet {
                    Packet::Slot(slot) => self.send.push_slot(envelope, None, slot, range, 0),
                    Packet::Frame(frame, _) => {
                        self.send.push_bytes(envelope, None, &frame[range], 0);
                    }
                }
            }
            Verdict::ToNeighbour { core, from, to, payload } => {
                let bytes = match packet {
                    Packet::Slot(slot) => self.received.datagram(slot).bytes,
                    Packet::Frame(frame, _) => frame,
                };
                let class = self.class_of(packet);
                let bound = Bound::Relay { from, to };
                let packed = self.parcels.pack(core, bound, class, &bytes[Range::from(payload)]);
                self.packed(core, packed);
            }
            Verdict::ToCore { core } => {
                if let Some(path) = path {
                    self.pass_on(core, path, packet);
                }
            }
            Verdict::ToClient { path, header, payload, padding } => {
                self.send_to_client(path, header, packet, payload.into(), padding);
            }
        }
    }

    /// Answers with the first `len` bytes of the send batch's space.
    fn reply(&mut self, path: Path, len: usize) {
        match Way::from(path.link) {
            Way::Udp(index) => {
                if self.proxied.is_expected()
                    && ACCEPTED.iter().any(|begin| self.send.space().starts_with(begin))
                {
                    self.proxied.has_authenticated(path.tuple.client, path.tuple.server);
                }
                let envelope = self.envelope(index, &path.tuple, TrafficClass::BEST_EFFORT);
                self.send.push_space(envelope, len);
            }
            Way::Connection { .. } => {
                // Queues have frames of their own; the space is used again by the next answer.
                let pushed = self.connections.at_end_of(&path).map(|(place, client)| {
                    let answer = &self.send.space()[..len];
                    (place, client.connection.push([answer, &[], &[]], Kind::Control))
                });
                self.pushed(pushed);
            }
            Way::Dtls { .. } => {
                let answer = &self.send.space()[..len];
                let sealed = self.sessions.seal(&path, [answer, &[], &[]]);
                self.sealed(&path, TrafficClass::BEST_EFFORT, sealed);
            }
        }
    }

    /// A part of a packet goes to a client, behind `header`.
    fn send_to_client(
        &mut self,
        path: Path,
        header: Header,
        packet: Packet<'_>,
        range: Range<usize>,
        padding: u8,
    ) {
        let class = self.class_of(packet);
        match (Way::from(path.link), packet) {
            (Way::Udp(index), Packet::Slot(slot)) => {
                let envelope = self.envelope(index, &path.tuple, class);
                self.send.push_slot(envelope, Some(header), slot, range, padding);
            }
            (Way::Udp(index), Packet::Frame(frame, _)) => {
                let envelope = self.envelope(index, &path.tuple, class);
                self.send.push_bytes(envelope, Some(header), &frame[range], padding);
            }
            (way, packet) => {
                let bytes = match packet {
                    Packet::Slot(slot) => &self.received.datagram(slot).bytes[range],
                    Packet::Frame(frame, _) => &frame[range],
                };
                let parts = [&header[..], bytes, &[0; 3][..usize::from(padding)]];
                if let Way::Dtls { .. } = way {
                    let sealed = self.sessions.seal(&path, parts);
                    return self.sealed(&path, class, sealed);
                }
                let pushed = self
                    .connections
                    .at_end_of(&path)
                    .map(|(place, client)| (place, client.connection.push(parts, Kind::Media)));
                self.pushed(pushed);
            }
        }
    }

    // Stage 6.

    /// Before each packet: the send batch has room for what comes of it.
    fn make_room(&mut self) {
        if self.send.is_full() {
            self.send_datagrams();
        }
    }

    fn send_datagrams(&mut self) {
        let mut sockets =
            Sockets { udp: &mut self.udp, relays: &mut self.relays, stats: &mut self.stats };
        self.send.flush(&self.received, &mut sockets);
    }

    fn send(&mut self) {
        self.send_parcels();
        self.send_datagrams();
        self.send_streams();
    }

    // Stage 7.

    fn serve_timers(&mut self) {
        let now = self.now.moment;
        if self.core.poll_timeout().is_some_and(|moment| moment <= now) {
            self.core.handle_timeout(self.now);
            self.act();
        }
        for _ in 0..DEADLINES_PER_TURN {
            let core = &self.core;
            let due = self.connections.pop_due(now, |client| core.has_allocation(&client.tuple()));
            let Some(place) = due else { break };
            self.overdue(place);
        }
        self.serve_sessions();
        self.clear_lobby();
        self.accept_peers_again();
        if self.accept_again.is_some_and(|moment| moment <= now) {
            self.accept_again = None;
            for index in 0..self.tcp.len() as u32 {
                self.queue(Token::Tcp(index));
            }
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let deadlines = [
            self.core.poll_timeout(),
            self.connections.next_deadline(),
            self.sessions.next_deadline(),
            self.lobby.next_deadline(),
            self.accept_again,
            self.listeners.again,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Has everything announced that was there before the worker: the listeners.
    fn register_listeners(&mut self) -> io::Result<()> {
        let registry = self.poll.registry();
        for (index, udp) in self.udp.iter().enumerate() {
            let descriptor = udp.listener.descriptor();
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&descriptor);
            let token = Token::Udp(index as u32).into();
            registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        }
        for (index, tcp) in self.tcp.iter_mut().enumerate() {
            tcp.listener.register(registry, Token::Tcp(index as u32).into())?;
        }
        Ok(())
    }
}

/// How a Refresh request begins (RFC 8656 §7).
const REFRESH: [u8; 2] = message_type(Method::REFRESH, Class::Request).to_be_bytes();
/// How answers begin that only a client with an allocation gets, and only for its credentials.
const ACCEPTED: [[u8; 2]; 3] = [
    message_type(Method::REFRESH, Class::Success).to_be_bytes(),
    message_type(Method::CREATE_PERMISSION, Class::Success).to_be_bytes(),
    message_type(Method::CHANNEL_BIND, Class::Success).to_be_bytes(),
];
/// Datagrams that a relay socket may hand over in one turn, however many are ready.
const SHARE_MIN: usize = 4;
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;
/// Listeners and connections served in one turn.
const STREAMS_PER_TURN: usize = 32;
/// Connections whose deadlines are looked at in one turn.
const DEADLINES_PER_TURN: usize = 64;
