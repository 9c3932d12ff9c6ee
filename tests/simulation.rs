//! Random sessions against a model that knows nothing of the core: what is there, until when, and
//! what may pass. Two cores, many clients, sockets that fail, time that jumps.
//!
//! A failure prints its seed; `run(seed)` repeats it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use common::{
    Answer, AttributeType, Class, Client, Method, OpenError, Out, Packet, Response, SERVER_V4,
    SERVER_V6, Sim, Transport, UDP, V6, addr, secs,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

const PERMISSIONS_MAX: usize = 4;
const CHANNELS_MAX: usize = 3;
const QUOTA: usize = 6;
const LISTENER: &str = "8.0.0.1:3478";
const PEERS: [&str; 9] = [
    "9.0.0.1:7000",
    "9.0.0.1:7001",
    "9.0.0.2:7000",
    "9.0.0.3:7000",
    "[2600:9::1]:7000",
    "[2600:9::2]:7000",
    "10.0.0.1:7000",
    "[::ffff:9.0.0.1]:7000",
    LISTENER,
];

/// What the model believes of one client.
#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Nothing,
    /// The shell has not answered; the lifetime counts from the request.
    Opening {
        expires: u64,
        gone: bool,
    },
    Live(Allocation),
}

#[derive(Clone, Debug)]
struct Allocation {
    expires: u64,
    relayed: Vec<SocketAddr>,
    permissions: BTreeMap<IpAddr, u64>,
    channels: BTreeMap<u16, (SocketAddr, u64)>,
}

impl Allocation {
    fn has_family_of(&self, peer: SocketAddr) -> bool {
        self.relayed.iter().any(|relayed| relayed.is_ipv4() == peer.is_ipv4())
    }
}

struct World {
    sim: Sim,
    rng: StdRng,
    clients: Vec<Client>,
    states: Vec<State>,
    /// Which core has each client's allocation; one that has moved may send to another's sockets.
    homes: Vec<usize>,
    /// What each client must show to move.
    tickets: Vec<Option<Vec<u8>>>,
    moves: u64,
    /// When the ports that a core has reserved fall back.
    reservations: Vec<(usize, u64)>,
    tokens: Vec<Vec<u8>>,
}

/// Tells the seed when a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation failed with seed {}", self.0);
        }
    }
}

/// Whether the ACL lets anybody reach this peer; the server's own address is public here.
fn is_denied(peer: SocketAddr) -> bool {
    ["10.0.0.1:7000", "[::ffff:9.0.0.1]:7000"].map(addr).contains(&peer)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::cores(2, seed as u8, |config| {
            config.limits.permissions_per_allocation = PERMISSIONS_MAX;
            config.limits.channels_per_allocation = CHANNELS_MAX;
            if seed.is_multiple_of(3) {
                (config.relay.port_min, config.relay.port_max) = (50_000, 50_011);
            }
        });
        sim.quota = QUOTA;
        let clients: Vec<_> = (0..8)
            .map(|n| {
                let transport = if n % 3 == 2 { Transport::Tcp } else { Transport::Udp };
                let address = if n % 5 == 4 {
                    format!("[2001:db8::{n}]:4000")
                } else {
                    format!("198.51.100.{n}:4000")
                };
                sim.client_on(n % 2, transport, &address)
            })
            .collect();
        for client in &clients {
            sim.challenge(*client);
        }
        let states = vec![State::default(); clients.len()];
        let (homes, tickets) = (vec![0; clients.len()], vec![None; clients.len()]);
        let rng = StdRng::seed_from_u64(seed);
        let (reservations, tokens) = (Vec::new(), Vec::new());
        Self { sim, rng, clients, states, homes, tickets, moves: 0, reservations, tokens }
    }

    fn step(&mut self) {
        let n = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..42) {
            0..=2 => self.allocate(n),
            3 => self.refresh(n),
            4..=9 => self.permit(n),
            10..=14 => self.bind_channel(n),
            15..=20 => self.send(n),
            21..=26 => self.send_on(n),
            27..=32 => self.peer_sends(n),
            33 => self.stranger(n),
            34 => self.forgery(n),
            35 => self.spoil_sockets(),
            36 => self.hang_up(n),
            37 | 38 => self.moves(n),
            _ => self.pass(),
        }
        self.check();
    }

    // ---- what may happen

    fn allocate(&mut self, n: usize) {
        let client = self.clients[n];
        let wanted =
            *[None, Some(0), Some(900), Some(100_000)].choose(&mut self.rng).expect("some");
        let lifetime = wanted.unwrap_or(600u32).clamp(600, 3600);
        let token = self.tokens.choose(&mut self.rng).cloned();
        let choice = self.rng.random_range(0..5);
        let wanted = wanted.map(u32::to_be_bytes);
        let mut attributes: Vec<(AttributeType, &[u8])> = Vec::new();
        if let Some(wanted) = &wanted {
            attributes.push((AttributeType::LIFETIME, wanted));
        }
        if self.rng.random() {
            attributes.push((AttributeType::MOBILITY_TICKET, b""));
        }
        if matches!(self.states[n], State::Nothing) {
            self.homes[n] = self.sim.core_of(client);
        }
        match (choice, &token) {
            (0, _) => attributes.push((AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6)),
            (1, _) => attributes.push((AttributeType::REQUESTED_ADDRESS_FAMILY, &V6)),
            (2, _) => attributes.push((AttributeType::EVEN_PORT, &[0x80])),
            (3, Some(token)) => attributes.push((AttributeType::RESERVATION_TOKEN, token)),
            _ => {}
        }
        self.sim.slow_shell = self.rng.random_ratio(1, 4);
        let answer = self.sim.allocate_with(client, &attributes);
        self.sim.slow_shell = false;
        let expires = self.sim.millis() + secs(lifetime.into());
        match &self.states[n] {
            State::Nothing if answer.response.is_none() => {
                self.states[n] = State::Opening { expires, gone: false };
            }
            State::Nothing => self.allocated(n, expires, answer),
            State::Opening { .. } | State::Live(_) => drop(answer.rejected(437)),
        }
    }

    /// The answer to an Allocate on a free 5-tuple.
    fn allocated(&mut self, n: usize, expires: u64, answer: Answer) {
        let response = answer.response.clone().expect("an answer");
        self.states[n] = State::Nothing;
        match response.code() {
            None => {
                let response = answer.success();
                let relayed = response.addresses(AttributeType::XOR_RELAYED_ADDRESS);
                assert!(
                    relayed.iter().all(|address| self.sim.sockets.values().any(|s| s == address))
                );
                if let Some(token) = response.find(AttributeType::RESERVATION_TOKEN) {
                    self.tokens.push(token.to_vec());
                    self.reservations.push((self.homes[n], self.sim.millis() + secs(30)));
                }
                self.tickets[n] = response.find(AttributeType::MOBILITY_TICKET).map(<[u8]>::to_vec);
                self.states[n] = State::Live(Allocation {
                    expires,
                    relayed,
                    permissions: BTreeMap::new(),
                    channels: BTreeMap::new(),
                });
            }
            Some(code) => assert!([486, 508].contains(&code), "{code}"),
        }
    }

    fn refresh(&mut self, n: usize) {
        let client = self.clients[n];
        let (wanted, granted) = *[(None, 600), (Some(0), 0), (Some(10), 600), (Some(1000), 1000)]
            .choose(&mut self.rng)
            .expect("some");
        let answer = self.sim.refresh(client, wanted);
        match &mut self.states[n] {
            State::Live(allocation) => {
                assert_eq!(answer.success().lifetime(), granted);
                if granted == 0 {
                    self.states[n] = State::Nothing;
                } else {
                    allocation.expires = self.sim.millis() + secs(granted.into());
                }
            }
            _ => drop(answer.rejected(437)),
        }
    }

    fn permit(&mut self, n: usize) {
        let peers: Vec<_> = (0..*[1, 1, 1, 2, 3].choose(&mut self.rng).expect("some"))
            .map(|_| self.any_peer())
            .collect();
        let texts: Vec<_> = peers.iter().map(ToString::to_string).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let answer = self.sim.permit_all(self.clients[n], &texts);
        let nowhere = peers.iter().any(|peer| self.leads_nowhere(*peer));
        let now = self.sim.millis();
        let State::Live(allocation) = &mut self.states[n] else {
            answer.rejected(437);
            return;
        };
        let mut all: BTreeSet<_> = allocation.permissions.keys().copied().collect();
        all.extend(peers.iter().map(SocketAddr::ip));
        if !peers.iter().all(|peer| allocation.has_family_of(*peer)) {
            answer.rejected(443);
        } else if nowhere || peers.iter().any(|p| is_denied(*p) || allocation.relayed.contains(p)) {
            answer.rejected(403);
        } else if all.len() > PERMISSIONS_MAX {
            answer.rejected(508);
        } else {
            answer.success();
            for peer in peers {
                allocation.permissions.insert(peer.ip(), now + secs(300));
            }
        }
    }

    fn bind_channel(&mut self, n: usize) {
        let (peer, number) = (self.any_peer(), self.rng.random_range(0x3FFF..0x4006));
        let answer = self.sim.bind_channel(self.clients[n], number, &peer.to_string());
        let nowhere = self.leads_nowhere(peer);
        let now = self.sim.millis();
        let State::Live(allocation) = &mut self.states[n] else {
            answer.rejected(437);
            return;
        };
        let same_peer = allocation.channels.get(&number).is_none_or(|(p, _)| *p == peer);
        let same_number =
            allocation.channels.iter().all(|(other, (p, _))| *p != peer || *other == number);
        let is_new = !allocation.channels.contains_key(&number);
        let permission_is_new = !allocation.permissions.contains_key(&peer.ip());
        if number < 0x4000 {
            answer.rejected(400);
        } else if !allocation.has_family_of(peer) {
            answer.rejected(443);
        } else if !same_peer || !same_number {
            answer.rejected(400);
        } else if is_denied(peer) || allocation.relayed.contains(&peer) || nowhere {
            answer.rejected(403);
        } else if (is_new && allocation.channels.len() == CHANNELS_MAX)
            || (permission_is_new && allocation.permissions.len() == PERMISSIONS_MAX)
        {
            answer.rejected(508);
        } else {
            answer.success();
            allocation.permissions.insert(peer.ip(), now + secs(300));
            allocation.channels.insert(number, (peer, now + secs(600)));
        }
    }

    fn send(&mut self, n: usize) {
        let peer = self.likely_peer(n);
        let out = self.sim.send(self.clients[n], &peer.to_string(), b"payload");
        let may = match &self.states[n] {
            State::Live(allocation) => {
                allocation.permissions.contains_key(&peer.ip())
                    && allocation.has_family_of(peer)
                    && !allocation.relayed.contains(&peer)
                    && !self.leads_nowhere(peer)
            }
            _ => false,
        };
        self.on_its_way(n, out, may.then_some(peer));
    }

    fn send_on(&mut self, n: usize) {
        let bound: Vec<_> = match &self.states[n] {
            State::Live(allocation) => allocation.channels.keys().copied().collect(),
            _ => Vec::new(),
        };
        let number = match bound.choose(&mut self.rng) {
            Some(number) if self.rng.random_ratio(2, 3) => *number,
            _ => self.rng.random_range(0x4000..0x4006),
        };
        let out = self.sim.send_on(self.clients[n], number, b"payload");
        let peer = match &self.states[n] {
            State::Live(allocation) => allocation.channels.get(&number).map(|(peer, _)| *peer),
            _ => None,
        };
        // A channel to a relay of ours is of no use when that has closed.
        let peer = peer.filter(|peer| !self.leads_nowhere(*peer));
        self.on_its_way(n, out, peer);
    }

    /// The packet goes to this peer or nowhere; on to its client, where the peer is one of ours.
    fn on_its_way(&mut self, n: usize, out: Out, expected: Option<SocketAddr>) {
        let Some(peer) = expected else { return out.dropped() };
        if let Some(receiver) = self.owner_of(peer)
            && self.homes[receiver] == self.homes[n]
        {
            // Both are of one core: it takes no detour over sockets.
            let State::Live(allocation) = &self.states[n] else { unreachable!("it sends") };
            let from = allocation.relayed.iter().find(|r| r.is_ipv4() == peer.is_ipv4());
            let from = *from.expect("a relay of the peer's family");
            return self.arrives(receiver, from, out);
        }
        assert_eq!(out.clone().reaches(&peer.to_string()), b"payload");
        let Out::ToPeer { from, .. } = out else { unreachable!("reaches() has looked") };
        let State::Live(allocation) = &self.states[n] else { unreachable!("nothing else sends") };
        assert!(allocation.relayed.contains(&from));
        if let Some(receiver) = self.owner_of(peer) {
            let out = self.sim.carry(out);
            self.arrives(receiver, from, out);
        }
    }

    fn peer_sends(&mut self, n: usize) {
        let peer = self.likely_peer(n);
        let State::Live(allocation) = &self.states[n] else { return };
        let Some(local) = allocation.relayed.iter().find(|r| r.is_ipv4() == peer.is_ipv4()) else {
            return;
        };
        let out = self.sim.peer_to_relay(peer, *local, b"payload");
        self.arrives(n, peer, out);
    }

    /// A peer's datagram comes out as the model says: on a channel, as an indication, or not.
    fn arrives(&self, n: usize, peer: SocketAddr, out: Out) {
        let State::Live(allocation) = &self.states[n] else { return out.dropped() };
        if !allocation.permissions.contains_key(&peer.ip()) || self.leads_nowhere(peer) {
            return out.dropped();
        }
        if let Out::ToClient { path, .. } = &out {
            assert_eq!(*path, self.sim.path(self.clients[n]));
        }
        let channel = allocation.channels.iter().find(|(_, (p, _))| *p == peer);
        let payload = match channel {
            Some((number, _)) => out.arrives_on(*number),
            None => out.arrives_from(&peer.to_string()),
        };
        assert_eq!(payload, b"payload");
    }

    /// Somebody without credentials: no state, and no more bytes than three times their own.
    fn stranger(&mut self, n: usize) {
        let client = self.clients[n];
        let method = Method::new(self.rng.random_range(0..12));
        let class = *[Class::Request, Class::Indication, Class::Success, Class::Error]
            .choose(&mut self.rng)
            .expect("some");
        if (class, method) == (Class::Indication, Method::SEND) {
            return;
        }
        let mut packet = Packet::new(class, method, self.sim.transaction());
        for _ in 0..self.rng.random_range(0..4) {
            let kind = AttributeType(self.rng.random_range(0..0x30));
            // A made-up integrity, or a whole one that nobody has made.
            let value = vec![self.rng.random(); self.rng.random_range(0..24)];
            packet = packet.with(kind, value);
        }
        let bytes = packet.encode();
        let out = self.sim.deliver(client, &bytes);
        self.no_gain(&bytes, out);
    }

    /// A signed request with something changed, from the wire of another client or not.
    fn forgery(&mut self, n: usize) {
        let client = self.clients[n];
        let method =
            *[Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND]
                .choose(&mut self.rng)
                .expect("some");
        let packet = self
            .sim
            .packet(method)
            .with(AttributeType::REQUESTED_TRANSPORT, UDP)
            .with(AttributeType::CHANNEL_NUMBER, [0x40, 0, 0, 0])
            .peer(addr(PEERS[0]))
            .with(AttributeType::LIFETIME, [0; 4]);
        let mut bytes = self.sim.sign(client, packet).encode();
        let out = if self.rng.random() {
            let other = self.clients[(n + 1) % self.clients.len()];
            self.sim.deliver(other, &bytes)
        } else {
            // But for the first byte: that tells STUN from ChannelData, which nobody signs.
            let bit = self.rng.random_range(8..bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            self.sim.deliver(client, &bytes)
        };
        self.no_gain(&bytes, out);
    }

    fn no_gain(&self, bytes: &[u8], out: Out) {
        match out {
            Out::Nothing => {}
            Out::Reply(reply) => {
                assert!(reply.len() <= 3 * bytes.len(), "{} for {}", reply.len(), bytes.len());
                let binding = reply[..2] == [0x01, 0x01];
                assert!(binding || Response::read(&reply).class == Class::Error);
            }
            relayed => panic!("a stranger's packet was relayed: {relayed:?}"),
        }
    }

    fn spoil_sockets(&mut self) {
        let failure = *[OpenError::InUse, OpenError::InUse, OpenError::Failed]
            .choose(&mut self.rng)
            .expect("some");
        let times = if self.rng.random_ratio(1, 8) { 20 } else { 1 };
        self.sim.failures.extend(std::iter::repeat_n(failure, times));
    }

    fn hang_up(&mut self, n: usize) {
        if self.sim.path(self.clients[n]).tuple.transport.is_stream() && self.rng.random_ratio(1, 3)
        {
            self.sim.hang_up(self.clients[n]);
            match &mut self.states[n] {
                State::Opening { gone, .. } => *gone = true,
                // Who has a ticket comes back by another way.
                State::Live(_) if self.tickets[n].is_some() => self.moves(n),
                state => *state = State::Nothing,
            }
        }
    }

    /// A client goes on from another address, by another transport, at another core's sockets.
    fn moves(&mut self, n: usize) {
        let (State::Live(allocation), Some(ticket)) = (&mut self.states[n], &self.tickets[n])
        else {
            return;
        };
        self.moves += 1;
        let transport = if self.rng.random() { Transport::Udp } else { Transport::Tcp };
        let address = if self.rng.random() {
            format!("203.0.113.{n}:{}", 1024 + self.moves)
        } else {
            format!("[2001:db8::{n}]:{}", 1024 + self.moves)
        };
        let new = self.sim.client_on(self.rng.random_range(0..2), transport, &address);
        let old = std::mem::replace(&mut self.clients[n], new);
        self.tickets[n] = Some(self.sim.resume(old, new, ticket));
        allocation.expires = self.sim.millis() + secs(600);
        // With its first data the old way ends, whatever becomes of that.
        self.send(n);
        self.sim.refresh(old, 600).rejected(437);
    }

    fn pass(&mut self) {
        self.open_pending();
        let step = match self.rng.random_range(0..10) {
            0 => secs(self.rng.random_range(300..700)),
            1..=7 => secs(self.rng.random_range(0..60)),
            // To the very deadline, or the millisecond before it.
            _ => {
                let early = u64::from(self.rng.random::<bool>());
                let next = self.sim.cores.iter().filter_map(|core| core.poll_timeout()).min();
                next.map_or(0, |at| (at.as_millis() - early).saturating_sub(self.sim.millis()))
            }
        };
        self.sim.pass(step);
        let now = self.sim.millis();
        self.reservations.retain(|(_, until)| *until > now);
        for state in &mut self.states {
            if let State::Live(allocation) = state {
                allocation.permissions.retain(|_, expires| *expires > now);
                allocation.channels.retain(|_, (_, expires)| *expires > now);
                if allocation.expires <= now {
                    *state = State::Nothing;
                }
            }
        }
    }

    /// The shell catches up.
    fn open_pending(&mut self) {
        self.sim.open_pending();
        for n in 0..self.clients.len() {
            if let State::Opening { expires, gone } = self.states[n] {
                let heard = self.sim.heard(self.clients[n]);
                self.states[n] = State::Nothing;
                if gone {
                    assert_eq!(heard, None);
                } else {
                    let answer = self.sim.answer(self.clients[n], heard);
                    self.allocated(n, expires, answer);
                }
            }
        }
    }

    // ---- what there is

    fn any_peer(&mut self) -> SocketAddr {
        let relayed: Vec<_> = self.live().flat_map(|a| a.relayed.clone()).collect();
        match relayed.choose(&mut self.rng) {
            Some(relayed) if self.rng.random_ratio(1, 3) => *relayed,
            _ => addr(PEERS.choose(&mut self.rng).expect("some")),
        }
    }

    /// Often one that the client has a permission for.
    fn likely_peer(&mut self, n: usize) -> SocketAddr {
        let peer = self.any_peer();
        let State::Live(allocation) = &self.states[n] else { return peer };
        let permitted: Vec<_> = allocation.permissions.keys().copied().collect();
        match permitted.choose(&mut self.rng) {
            Some(ip) if !PEERS.iter().any(|p| addr(p).ip() == *ip) => peer,
            Some(ip) if self.rng.random_ratio(3, 4) => SocketAddr::new(*ip, 7000),
            _ => peer,
        }
    }

    fn live(&self) -> impl Iterator<Item = &Allocation> {
        self.states.iter().filter_map(|state| match state {
            State::Live(allocation) => Some(allocation),
            _ => None,
        })
    }

    /// Whether it is an address of the server where nothing relays.
    fn leads_nowhere(&self, peer: SocketAddr) -> bool {
        [SERVER_V4, SERVER_V6].map(addr).iter().any(|own| own.ip() == peer.ip())
            && self.owner_of(peer).is_none()
    }

    fn owner_of(&self, relayed: SocketAddr) -> Option<usize> {
        let relays = |allocation: &Allocation| allocation.relayed.contains(&relayed);
        self.states.iter().position(|state| matches!(state, State::Live(a) if relays(a)))
    }

    /// The cores hold what the model holds, and not a thing more.
    fn check(&self) {
        let now = self.sim.millis();
        for (core, server) in self.sim.cores.iter().enumerate() {
            let mine = || {
                self.states
                    .iter()
                    .zip(&self.homes)
                    .filter(move |(_, home)| **home == core)
                    .map(|(state, _)| state)
            };
            let live = || {
                mine().filter_map(|state| match state {
                    State::Live(allocation) => Some(allocation),
                    _ => None,
                })
            };
            let stats = server.stats();
            let allocations = mine().filter(|state| !matches!(state, State::Nothing)).count();
            let permissions: usize = live().map(|a| a.permissions.len()).sum();
            let channels: usize = live().map(|a| a.channels.len()).sum();
            let reservations = self.reservations.iter().filter(|(c, _)| *c == core).count();
            assert_eq!(stats.allocations, allocations as u64);
            assert_eq!(stats.permissions, permissions as u64);
            assert_eq!(stats.channels, channels as u64);
            let timers = allocations + permissions + channels + reservations;
            assert_eq!(stats.timers, timers as u64);
            assert!(server.poll_timeout().is_none_or(|at| at.as_millis() > now));
        }
        let addresses: BTreeSet<_> = self.sim.sockets.values().collect();
        assert_eq!(addresses.len(), self.sim.sockets.len(), "a port is used twice");
        let expected: BTreeSet<_> = self.live().flat_map(|a| &a.relayed).collect();
        assert_eq!(addresses, expected);
        for socket in &addresses {
            for server in &self.sim.cores {
                assert!(server.is_relayed_addr(hairpin::turn::PeerAddr(**socket)));
            }
        }
        let charged: usize = self.sim.charged.values().sum();
        assert_eq!(charged, self.live().count());
        assert!(charged <= QUOTA);
    }

    /// Everybody goes; nothing may stay.
    fn end(mut self, politely: bool) {
        self.open_pending();
        if politely {
            for n in 0..self.clients.len() {
                if matches!(self.states[n], State::Live(_)) {
                    self.sim.refresh(self.clients[n], 0).success();
                }
            }
            self.sim.pass(secs(30));
        } else {
            self.sim.pass(secs(3600));
        }
        self.sim.nothing_left();
    }
}

/// Packets that were relayed, and moves.
fn run(seed: u64) -> (u64, u64) {
    let _guard = Seed(seed);
    let mut world = World::new(seed);
    for _ in 0..1000 {
        world.step();
    }
    let relayed = world.sim.cores.iter().map(|core| core.stats().packets_to_peer).sum();
    let moves = world.moves;
    world.end(seed.is_multiple_of(2));
    (relayed, moves)
}

/// Four threads of the test harness share 200 seeds.
fn run_all(seeds: std::ops::Range<u64>) {
    let count = seeds.end - seeds.start;
    let sum = |(packets, before), (relayed, moves)| (packets + relayed, before + moves);
    let (relayed, moves) = seeds.map(run).fold((0, 0), sum);
    assert!(moves > count, "clients move: {moves} times");
    assert!(relayed > 10 * count, "the sessions relay something: {relayed} packets");
}

#[test]
fn sessions_of_seeds_0_to_49_agree_with_the_model() {
    run_all(0..50);
}

#[test]
fn sessions_of_seeds_50_to_99_agree_with_the_model() {
    run_all(50..100);
}

#[test]
fn sessions_of_seeds_100_to_149_agree_with_the_model() {
    run_all(100..150);
}

#[test]
fn sessions_of_seeds_150_to_199_agree_with_the_model() {
    run_all(150..200);
}
