//! A core with live allocations in it, and the packets of its hot path made beforehand: what the
//! benches measure, and what must take no memory. Its shell opens every socket at once.
#![allow(dead_code, reason = "each test and bench uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hairpin::turn::acl::Acl;
use hairpin::turn::config::{
    Alternates, Credentials, Discovery, Limits, Pair, Relay, Software, User,
};
use hairpin::turn::{
    Action, Config, FiveTuple, Link, Moment, Now, Path, PeerAddr, RelayId, Server, Transport,
    Verdict,
};
use hairpin::wire::message::MAGIC_COOKIE;
use hairpin::wire::{
    AttributeType, ChannelNumber, Class, IntegrityKey, Message, MessageWriter, Method,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

/// The bytes of application data in each packet.
pub(crate) const PAYLOAD: usize = 160;
/// The channel that each call has bound.
pub(crate) const CHANNEL: u16 = ChannelNumber::MIN;

const REALM: &str = "example.org";
const USER: &str = "alice";
const PASSWORD: &str = "wonderland";
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(8, 0, 0, 1)), 3478);

/// One client with its allocation, and the peer that its channel is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    path: Path,
    relay: RelayId,
    pub(crate) peer: SocketAddr,
}

/// A client that has not allocated, with its two requests.
#[derive(Debug)]
pub(crate) struct Visitor {
    path: Path,
    nonce: Vec<u8>,
    allocate: Vec<u8>,
    end: Vec<u8>,
}

/// A core and its calls.
#[derive(Debug)]
pub(crate) struct Calls {
    core: Server,
    pub(crate) calls: Vec<Call>,
    reply: [u8; 2048],
}

fn config() -> Config {
    let own = vec![SERVER.ip()];
    let relay = Relay {
        addresses: own.clone(),
        found: vec![],
        external: vec![],
        port_min: 4096,
        port_max: 65535,
        share: 0,
        shares: 1,
    };
    let users = vec![User { name: USER.into(), password: PASSWORD.into() }];
    Config {
        realm: REALM.into(),
        credentials: Credentials { users, nonce_key: [7; 32], ..Credentials::default() },
        relay,
        acl: Acl { allow: vec![], deny: vec![], own, listening_ports: vec![3478] },
        limits: Limits::default(),
        software: Software::default(),
        alternates: Alternates::default(),
        discovery: Discovery::default(),
    }
}

/// Time stands still: nothing expires, and nothing has to be refreshed.
const NOW: Now = Now { moment: Moment::from_millis(1000), unix_secs: 1_790_000_000 };

impl Calls {
    /// A core without allocations, but with room for some 60 000.
    pub(crate) fn none() -> Self {
        Self { core: Server::new(config(), [1; 32]), calls: Vec::new(), reply: [0; 2048] }
    }

    /// A core with one client, and NAT discovery at the address that it reaches.
    pub(crate) fn with_discovery() -> Self {
        let mut calls = Self::with_peers(1);
        let alternate = SocketAddr::new(Ipv4Addr::new(8, 0, 0, 2).into(), 3479);
        let pairs = vec![Pair { primary: SERVER, alternate }];
        let discovery = Discovery { pairs, streams: false, requests_per_sec: 1_000_000 };
        calls.core = Server::new(Config { discovery, ..config() }, [1; 32]);
        calls
    }

    /// A core with so many allocations, each with a channel to a peer of its own; they lie in
    /// another order than they were made in, so that no cache foresees which is next.
    pub(crate) fn with_peers(count: usize) -> Self {
        let mut calls = Self::none();
        for index in 0..count {
            let visitor = calls.visitor(index);
            let (relay, _) = calls.allocate(&visitor);
            calls.bind(&visitor, peer(index));
            calls.calls.push(Call { path: visitor.path, relay, peer: peer(index) });
        }
        calls.calls.shuffle(&mut StdRng::seed_from_u64(1));
        calls
    }

    /// A core with two allocations that have a channel to each other.
    pub(crate) fn with_each_other() -> Self {
        let mut calls = Self::none();
        let visitors = [calls.visitor(0), calls.visitor(1)];
        let opened = [0, 1].map(|index| calls.allocate(&visitors[index]));
        for near in [0, 1] {
            let ((relay, _), (_, peer)) = (opened[near], opened[1 - near]);
            calls.bind(&visitors[near], peer);
            calls.calls.push(Call { path: visitors[near].path, relay, peer });
        }
        calls
    }

    // Packets, each way.

    /// A Send indication of each call to its peer.
    pub(crate) fn send_indications(&self) -> Vec<Vec<u8>> {
        self.calls.iter().map(|call| send_indication(call.peer)).collect()
    }

    /// What a client has sent.
    pub(crate) fn client_sends(&mut self, index: usize, packet: &[u8]) -> Verdict {
        self.core.handle_client(NOW, self.calls[index].path, packet, &mut self.reply)
    }

    /// A datagram that the channel's peer has sent to the relayed address.
    pub(crate) fn peer_sends(&mut self, index: usize) -> Verdict {
        let Call { relay, peer, .. } = self.calls[index];
        self.core.handle_peer(NOW, relay, PeerAddr(peer), PAYLOAD)
    }

    /// One from another port of the peer: permitted, but without a channel.
    pub(crate) fn peer_sends_beside(&mut self, index: usize) -> Verdict {
        let Call { relay, mut peer, .. } = self.calls[index];
        peer.set_port(peer.port() ^ 1);
        self.core.handle_peer(NOW, relay, PeerAddr(peer), PAYLOAD)
    }

    // Allocations.

    /// A client with a nonce of its own, which has not allocated yet.
    pub(crate) fn visitor(&mut self, index: usize) -> Visitor {
        let tuple = FiveTuple { transport: Transport::Udp, client: client(index), server: SERVER };
        let path = Path { link: Link(0), tuple };
        let stranger = message(Method::ALLOCATE, Class::Request, &requested_transport);
        let verdict = self.core.handle_client(NOW, path, &stranger, &mut self.reply);
        let Verdict::Reply { len } = verdict else { panic!("no challenge: {verdict:?}") };
        let challenge = Message::parse(&self.reply[..len]).expect("a challenge is a message");
        let nonce = challenge.find(AttributeType::NONCE).expect("it has a nonce").to_vec();
        let allocate = signed(Method::ALLOCATE, &nonce, &requested_transport);
        let end = signed(Method::REFRESH, &nonce, &|writer| {
            writer.attribute(AttributeType::LIFETIME, &[0; 4]);
        });
        Visitor { path, nonce, allocate, end }
    }

    /// Allocate, up to the success that leaves for the client: the socket and its address.
    pub(crate) fn allocate(&mut self, visitor: &Visitor) -> (RelayId, SocketAddr) {
        let packet = &visitor.allocate;
        let verdict = self.core.handle_client(NOW, visitor.path, packet, &mut self.reply);
        assert_eq!(verdict, Verdict::Nothing, "an Allocate waits for its socket");
        let (mut opened, mut answered) = (None, false);
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::OpenRelay { relay, local, .. } => {
                    self.core.handle_relay_opened(NOW, relay, Ok(local));
                    opened = Some((relay, local.0));
                }
                Action::Send { .. } => answered = true,
                _ => {}
            }
        }
        assert!(answered, "an Allocate is answered");
        opened.expect("an Allocate opens a socket")
    }

    /// Refresh with a lifetime of zero, up to the last action.
    pub(crate) fn end(&mut self, visitor: &Visitor) {
        let verdict = self.core.handle_client(NOW, visitor.path, &visitor.end, &mut self.reply);
        assert!(matches!(verdict, Verdict::Reply { .. }), "a Refresh is answered: {verdict:?}");
        let mut closed = false;
        while let Some(action) = self.core.poll_action() {
            closed |= matches!(action, Action::CloseRelay { .. });
        }
        assert!(closed, "a lifetime of zero closes the socket");
    }

    /// How many allocations there are.
    pub(crate) fn live(&self) -> u64 {
        self.core.stats().allocations
    }

    /// Binds [`CHANNEL`], and with it a permission.
    pub(crate) fn bind(&mut self, visitor: &Visitor, peer: SocketAddr) {
        let [high, low] = CHANNEL.to_be_bytes();
        let request = signed(Method::CHANNEL_BIND, &visitor.nonce, &|writer| {
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        let verdict = self.core.handle_client(NOW, visitor.path, &request, &mut self.reply);
        let Verdict::Reply { len } = verdict else { panic!("no answer: {verdict:?}") };
        let answer = Message::parse(&self.reply[..len]).expect("an answer is a message");
        assert_eq!(answer.class(), Class::Success, "a channel is bound");
        while self.core.poll_action().is_some() {}
    }
}

/// The address of a client. Multiplication by an odd number gives each its own, far from the
/// others'.
fn client(index: usize) -> SocketAddr {
    spread(16, index)
}

/// The address of its peer.
pub(crate) fn peer(index: usize) -> SocketAddr {
    spread(48, index)
}

fn spread(net: u8, index: usize) -> SocketAddr {
    let mixed = (index as u32).wrapping_mul(2_654_435_761);
    let [_, a, b, c] = mixed.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(net, a, b, c).into(), 1024 + (mixed >> 17) as u16)
}

/// ChannelData with a whole payload.
pub(crate) fn channel_data() -> Vec<u8> {
    let mut packet = [CHANNEL.to_be_bytes(), (PAYLOAD as u16).to_be_bytes()].concat();
    packet.resize(4 + PAYLOAD, 0xA5);
    packet
}

/// A Send indication with a whole payload.
pub(crate) fn send_indication(peer: SocketAddr) -> Vec<u8> {
    message(Method::SEND, Class::Indication, &|writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        writer.attribute(AttributeType::DATA, &[0xA5; PAYLOAD]);
    })
}

/// A Binding request.
pub(crate) fn binding() -> Vec<u8> {
    message(Method::BINDING, Class::Request, &|_| {})
}

/// One that wants the answer from another address, and padded.
pub(crate) fn padded_binding() -> Vec<u8> {
    message(Method::BINDING, Class::Request, &|writer| {
        writer.attribute(AttributeType::CHANGE_REQUEST, &[0, 0, 0, 6]);
        writer.attribute(AttributeType::PADDING, &[b'x'; 600]);
    })
}

/// A signed request like those of clients, and the key it is signed with.
pub(crate) fn signed_request() -> (Vec<u8>, IntegrityKey) {
    let request = signed(Method::REFRESH, &[b'n'; 40], &|writer| {
        writer.attribute(AttributeType::LIFETIME, &600_u32.to_be_bytes());
    });
    (request, key())
}

type Fill<'a> = &'a dyn Fn(&mut MessageWriter<'_>);

fn requested_transport(writer: &mut MessageWriter<'_>) {
    writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

fn key() -> IntegrityKey {
    IntegrityKey::long_term(USER.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes())
}

fn signed(method: Method, nonce: &[u8], fill: Fill<'_>) -> Vec<u8> {
    message(method, Class::Request, &|writer| {
        fill(writer);
        writer.attribute(AttributeType::USERNAME, USER.as_bytes());
        writer.attribute(AttributeType::REALM, REALM.as_bytes());
        writer.attribute(AttributeType::NONCE, nonce);
        writer.integrity(&key());
    })
}

fn message(method: Method, class: Class, fill: Fill<'_>) -> Vec<u8> {
    let mut transaction = [0x5A; 16];
    transaction[..4].copy_from_slice(&MAGIC_COOKIE);
    let mut bytes = vec![0; 1500];
    let mut writer = MessageWriter::new(&mut bytes, method, class, &transaction);
    fill(&mut writer);
    let length = writer.finish().expect("it fits");
    bytes.truncate(length);
    bytes
}
