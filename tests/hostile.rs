//! A million messages that nobody should send: noise, mutations of good messages, and requests
//! that are well signed but whose attributes make no sense. Nothing may panic, and whatever comes
//! out must be well-formed.

mod common;

use std::net::{IpAddr, SocketAddr};

use common::packet::padding_is_zero;
use common::{
    AttributeType, Class, Client, ConnectError, ConnectionId, IntegrityKey, Method, OpenError, Sim,
    Transport, addr, secs,
};
use hairpin::turn::config::{Discovery, Pair};
use hairpin::turn::{
    CoreId, FiveTuple, Moment, Now, PeerAddr, RelayId, RelayedAddr, Server,
    Transport as CoreTransport, Verdict,
};
use hairpin::wire::stream::frame_length;
use hairpin::wire::{ChannelData, Message, MessageWriter, kind_of};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// Messages of each session; the four of them make a million.
const MESSAGES: usize = 250_000;

const METHODS: [Method; 10] = [
    Method::BINDING,
    Method::ALLOCATE,
    Method::REFRESH,
    Method::SEND,
    Method::DATA,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::CONNECT,
    Method::CONNECTION_BIND,
    Method::CONNECTION_ATTEMPT,
];

const KINDS: [AttributeType; 29] = [
    AttributeType::USERNAME,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::ERROR_CODE,
    AttributeType::UNKNOWN_ATTRIBUTES,
    AttributeType::CHANNEL_NUMBER,
    AttributeType::LIFETIME,
    AttributeType::XOR_PEER_ADDRESS,
    AttributeType::XOR_PEER_ADDRESS,
    AttributeType::DATA,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::XOR_RELAYED_ADDRESS,
    AttributeType::REQUESTED_ADDRESS_FAMILY,
    AttributeType::EVEN_PORT,
    AttributeType::REQUESTED_TRANSPORT,
    AttributeType::DONT_FRAGMENT,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::PASSWORD_ALGORITHM,
    AttributeType::USERHASH,
    AttributeType::CHANGE_REQUEST,
    AttributeType::RESPONSE_PORT,
    AttributeType::PADDING,
    AttributeType::RESERVATION_TOKEN,
    AttributeType::CONNECTION_ID,
    AttributeType::ADDITIONAL_ADDRESS_FAMILY,
    AttributeType::SOFTWARE,
    AttributeType::MOBILITY_TICKET,
    AttributeType::FINGERPRINT,
    AttributeType(0x7F31),
];

/// A core in some state, and what an attacker knows of it.
struct Target {
    sim: Sim,
    clients: Vec<Client>,
    rng: StdRng,
    key: IntegrityKey,
    parsed: usize,
    replies: usize,
    relayed: usize,
}

impl Target {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::with(|config| {
            let (primary, alternate) = (addr(common::SERVER_V4), addr("8.0.0.2:3479"));
            let pairs = vec![Pair { primary, alternate }];
            config.discovery = Discovery { pairs, streams: true, requests_per_sec: 1000 };
        });
        let mut clients = vec![
            sim.client("198.51.100.1:4000"),
            sim.tcp_client("198.51.100.2:4000"),
            sim.client("[2001:db8::1]:4000"),
            sim.client("198.51.100.4:4000"),
            sim.client("198.51.100.5:4000"),
            sim.tcp_client("198.51.100.6:4000"),
            sim.tcp_client("198.51.100.7:4000"),
        ];
        for client in &clients {
            sim.challenge(*client);
        }
        // One with everything, on a stream too; one dual; one being opened; two with nothing.
        for client in &clients[..2] {
            sim.allocate(*client).success();
            sim.permit(*client, common::PEER).success();
            sim.bind_channel(*client, 0x4000, common::PEER).success();
        }
        let both = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &common::V6[..]);
        sim.allocate_with(clients[2], &[both]).success();
        sim.permit_all(clients[2], &[common::PEER, common::PEER_V6]).success();
        sim.bind_channel(clients[2], 0x4001, common::PEER_V6).success();
        // One with connections, for those of the last.
        sim.allocate_tcp(clients[5]).success();
        sim.permit(clients[5], common::PEER).success();
        sim.connect_to(clients[5], common::PEER);
        sim.slow_shell = true;
        sim.allocate(clients[3]).nothing();
        let count = clients.len();
        clients.rotate_left(seed as usize % count);
        let key = sim.key(clients[0]).clone();
        let rng = StdRng::seed_from_u64(seed);
        Self { sim, clients, rng, key, parsed: 0, replies: 0, relayed: 0 }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_ratio(1, n)
    }

    fn noise(&mut self, longest: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.random_range(0..=longest)];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A value that may even be right for its type.
    fn value(&mut self, kind: AttributeType) -> Vec<u8> {
        if self.one_in(8) {
            return self.noise(40);
        }
        let byte: u8 = self.rng.random();
        match kind {
            AttributeType::USERNAME => b"alice".to_vec(),
            AttributeType::REALM => b"example.org".to_vec(),
            AttributeType::CHANNEL_NUMBER => vec![0x40, byte & 7, 0, 0],
            AttributeType::LIFETIME => vec![0, 0, byte & 7, byte],
            AttributeType::REQUESTED_TRANSPORT => vec![if byte < 192 { 17 } else { 6 }, 0, 0, 0],
            AttributeType::CONNECTION_ID => {
                let ids: Vec<_> = self.sim.connections.keys().map(|(_, id)| id.0).collect();
                let id = ids.choose(&mut self.rng).copied().unwrap_or_default();
                id.to_be_bytes().to_vec()
            }
            AttributeType::EVEN_PORT => vec![byte & 0x80],
            AttributeType::RESERVATION_TOKEN => vec![byte; 8],
            AttributeType::DONT_FRAGMENT => vec![],
            AttributeType::REQUESTED_ADDRESS_FAMILY | AttributeType::ADDITIONAL_ADDRESS_FAMILY => {
                vec![1 + (byte & 1), 0, 0, 0]
            }
            AttributeType::XOR_PEER_ADDRESS if byte < 128 => {
                common::xor(addr(common::PEER), &[9; 12])
            }
            AttributeType::XOR_PEER_ADDRESS if byte < 192 => {
                common::xor(addr(common::PEER_V6), &[9; 12])
            }
            AttributeType::XOR_PEER_ADDRESS => {
                let ip = IpAddr::V6(self.rng.random::<u128>().into());
                common::xor(SocketAddr::new(ip, byte.into()), &[9; 12])
            }
            _ => self.noise(64),
        }
    }

    /// A message of any attributes; signed as its sender's, most times.
    fn message(&mut self, client: Client) -> Vec<u8> {
        let class = match self.rng.random_range(0..8) {
            0 => Class::Success,
            1 => Class::Error,
            2 | 3 => Class::Indication,
            _ => Class::Request,
        };
        let method = *METHODS.choose(&mut self.rng).expect("some");
        let mut transaction = [9; 16];
        transaction[..4].copy_from_slice(&common::packet::COOKIE);
        let attributes: Vec<_> = (0..self.rng.random_range(0..7))
            .map(|_| {
                let kind = *KINDS.choose(&mut self.rng).expect("some");
                (kind, self.value(kind))
            })
            .collect();
        let (signed, fingerprint) = (!self.one_in(4), self.one_in(3));
        let mut bytes = vec![0; 2048];
        let mut writer = MessageWriter::new(&mut bytes, method, class, &transaction);
        for (kind, value) in &attributes {
            // What would end the message must not come by chance in each second one.
            if ![AttributeType::MESSAGE_INTEGRITY, AttributeType::FINGERPRINT].contains(kind)
                || value.first().is_some_and(|byte| *byte < 16)
            {
                writer.attribute(*kind, value);
            }
        }
        if signed {
            writer.attribute(AttributeType::USERNAME, b"alice");
            writer.attribute(AttributeType::REALM, b"example.org");
            writer.attribute(AttributeType::NONCE, self.sim.nonce(client));
            writer.integrity(&self.key);
        }
        if fingerprint {
            writer.fingerprint();
        }
        let length = writer.finish().expect("it fits");
        bytes.truncate(length);
        bytes
    }

    /// ChannelData, more or less.
    fn channel_data(&mut self) -> Vec<u8> {
        let payload = self.noise(64);
        let length = if self.one_in(4) { self.rng.random() } else { payload.len() as u16 };
        let number: u16 = self.rng.random_range(0x4000..0x4004);
        [&number.to_be_bytes()[..], &length.to_be_bytes(), &payload].concat()
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.rng.random_range(1..4) {
            let length = bytes.len();
            if length < 4 {
                return;
            }
            let at = self.rng.random_range(0..length);
            match self.rng.random_range(0..8) {
                0 => bytes[at] ^= 1 << self.rng.random_range(0..8),
                1 => bytes[at] = self.rng.random(),
                2 => bytes.truncate(at),
                3 => drop(bytes.splice(at..at, [0; 4])),
                4 => drop(bytes.drain(at..(at + 4).min(length))),
                // Lengths and types at their extremes.
                5 => {
                    let at = (at & !1).min(length - 2);
                    let extremes = [0u16, 1, 3, 4, 0x7FFF, 0x8000, 0xFFFC, 0xFFFF];
                    let value = *extremes.choose(&mut self.rng).expect("some");
                    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
                }
                // A part of it twice.
                6 => {
                    let part = bytes[at & !3..].to_vec();
                    bytes.extend(part);
                }
                _ => {
                    let body = bytes.len().saturating_sub(20) as u16;
                    bytes[2..4].copy_from_slice(&body.to_be_bytes());
                }
            }
        }
    }

    /// Throws one packet at the core, and looks at what comes out.
    fn throw(&mut self, client: Client, bytes: &[u8]) {
        self.parsed += usize::from(Message::parse(bytes).is_ok());
        let _ = frame_length(bytes);
        let mut reply = [0xEE; 1700];
        let (now, path) = (self.sim.now(), self.sim.path(client));
        match self.sim.cores[0].handle_client(now, path, bytes, &mut reply) {
            Verdict::Nothing => {}
            Verdict::Reply { len } | Verdict::ReplyElsewhere { len, .. } => {
                let message = Message::parse(&reply[..len]).expect("we send STUN");
                assert!(matches!(message.class(), Class::Success | Class::Error));
                assert!(padding_is_zero(&reply[..len]));
                assert_eq!(reply[4..20], bytes[4..20]);
                self.replies += 1;
            }
            Verdict::ToPeer { payload, .. } | Verdict::ToNeighbour { payload, .. } => {
                assert!(payload.start <= payload.end && payload.end as usize <= bytes.len());
                self.relayed += 1;
            }
            Verdict::ToCore { .. } => panic!("there is no other core"),
            // Through two relayed addresses of this core.
            Verdict::ToClient { payload, .. } => {
                assert!(payload.start <= payload.end && payload.end as usize <= bytes.len());
                self.relayed += 1;
            }
        }
        if self.one_in(64) {
            self.disturb();
        }
        self.sim.do_actions();
        self.sim.outbox.clear();
        self.sim.actions.clear();
    }

    /// Everything else that may happen to a core, in any order.
    fn disturb(&mut self) {
        let now = self.sim.now();
        let address = SocketAddr::new(addr("8.0.0.1:0").ip(), self.rng.random());
        let (relay, length) =
            (RelayId(self.rng.random_range(0..9)), self.rng.random_range(0..70_000));
        match self.rng.random_range(0..13) {
            0 => self.sim.pass(self.rng.random_range(0..2000)),
            1 => self.sim.pass_without_timers(self.rng.random_range(0..2000)),
            2 => self.sim.open_pending(),
            3 => {
                let peer = if self.rng.random() { addr(common::PEER) } else { address };
                let core = &mut self.sim.cores[0];
                match core.handle_peer(now, relay, PeerAddr(peer), length) {
                    Verdict::ToClient { header, padding, path, .. } => {
                        let whole = header.len() + length + usize::from(padding);
                        let padded = header.len() > 4 || path.tuple.transport.is_stream();
                        assert!(padding < 4 && (!padded || whole % 4 == 0));
                    }
                    verdict => assert_eq!(verdict, Verdict::Nothing),
                }
            }
            4 => {
                let open = self.rng.random();
                self.sim.cores[0].handle_relay_elsewhere(RelayedAddr(address), CoreId(1), open);
            }
            5 => {
                let result = if self.rng.random() { OpenError::InUse } else { OpenError::Failed };
                self.sim.failures.push_back(result);
            }
            6 if !self.sim.connecting.is_empty() => {
                let result = if self.rng.random() { Ok(()) } else { Err(ConnectError::Failed) };
                self.sim.connected(result);
            }
            7 => {
                let port = self.rng.random_range(1..100);
                let peer = SocketAddr::new(addr(common::PEER).ip(), port);
                self.sim.peer_comes(0, relay, peer);
            }
            8 => {
                let first = self.sim.connections.keys().next().copied();
                if let Some((core, id)) = first
                    && !self.sim.connecting.iter().any(|(_, other, ..)| *other == id)
                {
                    self.sim.connection_ends(core, id);
                }
            }
            9 => {
                // Whoever lost their TCP allocation gets another.
                let client = *self.clients.choose(&mut self.rng).expect("some");
                self.sim.slow_shell = false;
                self.sim.allocate_tcp(client);
                self.sim.permit(client, common::PEER);
                self.sim.connect(client, common::PEER);
            }
            10 if self.one_in(16) => {
                let client = *self.clients.choose(&mut self.rng).expect("some");
                self.sim.hang_up(client);
            }
            _ => {
                // Whoever lost their allocation gets another.
                let client = *self.clients.choose(&mut self.rng).expect("some");
                self.sim.slow_shell = self.rng.random_ratio(1, 8);
                self.sim.allocate(client);
                self.sim.permit(client, common::PEER);
                self.sim.bind_channel(client, 0x4000, common::PEER);
            }
        }
    }
}

fn run(seed: u64, mut make: impl FnMut(&mut Target, Client) -> Vec<u8>) -> Target {
    let mut target = Target::new(seed);
    for _ in 0..MESSAGES {
        let client = *target.clients.choose(&mut target.rng).expect("some");
        let bytes = make(&mut target, client);
        target.throw(client, &bytes);
    }
    target.sim.open_pending();
    target.sim.pass(secs(3700));
    target.sim.pass(secs(3700));
    target.sim.nothing_left();
    target
}

#[test]
fn noise_does_no_harm() {
    let target = run(1, |target, _| {
        let mut bytes = target.noise(200);
        // Half of it with a first byte that leads further, some with the rest of a header.
        if let Some(first) = bytes.first_mut()
            && target.rng.random()
        {
            *first = *[0x00, 0x01, 0x40, 0x4F].choose(&mut target.rng).expect("some");
        }
        if bytes.len() >= 20 && target.rng.random() {
            let length = (bytes.len() as u16 - 20).to_be_bytes();
            bytes[2..4].copy_from_slice(&length);
            bytes[4..8].copy_from_slice(&common::packet::COOKIE);
        }
        bytes
    });
    assert!(target.parsed > 100, "{}", target.parsed);
}

#[test]
fn mutated_messages_do_no_harm() {
    let target = run(2, |target, client| {
        let mut bytes =
            if target.one_in(8) { target.channel_data() } else { target.message(client) };
        target.mutate(&mut bytes);
        bytes
    });
    assert!(target.parsed > MESSAGES / 10, "{}", target.parsed);
    assert!(target.replies > MESSAGES / 50, "{}", target.replies);
}

#[test]
fn well_signed_nonsense_does_no_harm() {
    for seed in [3, 4] {
        let target = run(seed, |target, client| {
            if target.one_in(8) { target.channel_data() } else { target.message(client) }
        });
        assert!(target.replies > MESSAGES / 10, "{}", target.replies);
        assert!(target.relayed > MESSAGES / 1000, "{}", target.relayed);
    }
}

/// Calls that a shell would never make in this order.
#[test]
fn a_confused_shell_does_no_harm() {
    let mut rng = StdRng::seed_from_u64(5);
    let mut core = Server::new(common::sim::config(), [5; 32]);
    let tuple = FiveTuple {
        transport: CoreTransport::Udp,
        client: addr("198.51.100.1:4000"),
        server: addr("8.0.0.1:3478"),
    };
    for _ in 0..20_000 {
        // Time goes backwards too.
        let moment = Moment::from_millis(rng.random_range(0..10_000_000));
        let now = Now { moment, unix_secs: rng.random_range(0..u64::from(u32::MAX)) };
        let relay = RelayId(rng.random_range(0..4));
        let address = RelayedAddr(SocketAddr::new(addr("8.0.0.1:0").ip(), rng.random()));
        let connection = ConnectionId(rng.random_range(0..4));
        match rng.random_range(0..9) {
            0 => core.handle_timeout(now),
            5 => core.handle_connected(now, connection, Ok(())),
            6 => core.handle_connection_gone(connection),
            7 => core.handle_listener_elsewhere(address, CoreId(1), rng.random()),
            8 => assert_eq!(core.handle_peer_connected(now, relay, PeerAddr(address.0)), None),
            1 => core.handle_client_gone(now, tuple),
            2 => core.handle_relay_opened(now, relay, Ok(address)),
            3 => core.handle_relay_elsewhere(address, CoreId(1), rng.random()),
            _ => {
                let verdict = core.handle_peer(now, relay, PeerAddr(address.0), 9);
                assert_eq!(verdict, Verdict::Nothing);
            }
        }
        core.check_invariants();
    }
    assert_eq!(core.poll_action(), None);
}

/// ChannelData and STUN are told apart by their first byte alone (RFC 8656 §12, RFC 7983).
#[test]
fn every_first_byte_leads_somewhere() {
    let mut sim = Sim::new();
    let client = sim.client_on(0, Transport::Udp, "198.51.100.1:4000");
    for first in 0..=255 {
        let mut bytes = vec![0; 24];
        bytes[0] = first;
        let _ = (kind_of(&bytes), ChannelData::parse(&bytes), Message::parse(&bytes));
        sim.deliver(client, &bytes);
    }
    sim.nothing_left();
}
