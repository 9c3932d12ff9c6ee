//! Workers with real sockets on loopback, driven by a client that speaks just enough TURN.

mod crossing;
mod mobility;
mod order;
mod proxied;
mod streams;
mod tcp_relay;
mod tls;
mod turns;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::*;
use crate::net::steering::Steering;
use crate::net::{bind_tcp, bind_udp};
use crate::turn::acl::Acl;
use crate::turn::config::{
    Alternates, Config, Credentials, Discovery, Limits, Relay, Software, User,
};
use crate::turn::config::{SharedKey, ThirdParty};
use crate::turn::{Lifetime, stats};
use crate::wire::address::XorKey;
use crate::wire::stream::frame_length;
use crate::wire::{AttributeType, Class, IntegrityKey, Message, MessageWriter, Method};
use crate::wire::{TokenAlgorithm, TokenKey};

const REALM: &str = "example.org";
const PATIENCE: Duration = Duration::from_secs(5);

/// A server of some workers on one port of 127.0.0.1, UDP and TCP.
struct Running {
    address: SocketAddr,
    workers: Vec<WorkerHandle>,
}

#[derive(Clone, Copy)]
struct Options {
    workers: usize,
    quota: QuotaLimits,
    crowd: CrowdLimits,
    idle: Lifetime,
    tls: TlsLimits,
    ports: (u16, u16),
    /// Who must say by the PROXY protocol whom it speaks for.
    balancers: &'static [&'static str],
    /// Whether tokens are taken (RFC 7635).
    third_party: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            quota: QuotaLimits::default(),
            crowd: CrowdLimits::default(),
            idle: Lifetime::from_secs(60),
            tls: TlsLimits::default(),
            balancers: &[],
            third_party: false,
            ports: {
                // Each server its own: a port that one has freed is not taken by another.
                static NEXT: AtomicU16 = AtomicU16::new(20_000);
                let first = NEXT.fetch_add(200, Ordering::Relaxed);
                (first, first + 199)
            },
        }
    }
}

fn third_party() -> ThirdParty {
    let key = TokenKey::new(TokenAlgorithm::A256Gcm, &[7; 32]).unwrap();
    let keys = vec![SharedKey { kid: "north".into(), key, expires_unix: None }];
    ThirdParty { server_name: "turn.example.org".into(), keys, coturn_clients: false }
}

fn start(options: Options) -> Running {
    start_with(options, None)
}

/// What TLS listeners need: with it the connections are TLS, and there is no TCP.
struct Secured {
    keyring: Arc<Keyring>,
    guests: Option<mpsc::Sender<Guest>>,
}

fn start_with(options: Options, secured: Option<Secured>) -> Running {
    let (address, prepared) = prepare(options, secured);
    let workers = prepared.into_iter().map(|(seat, setup)| spawn(seat, setup).unwrap());
    Running { address, workers: workers.collect() }
}

/// Everything but the threads.
fn prepare(options: Options, secured: Option<Secured>) -> (SocketAddr, Vec<(Seat, WorkerSetup)>) {
    let any = "127.0.0.1:0".parse().unwrap();
    let (mut udp, mut tcp, address) = loop {
        let steering = Some(Steering::new([9; 32]));
        let how = udp::Options { steering, ..udp::Options::default() };
        let udp = bind_udp(any, options.workers as u16, how).unwrap();
        let address = udp[0].requests.local_addr();
        // Somebody else may have the same port over TCP.
        if let Ok(tcp) = bind_tcp(address, options.workers) {
            break (udp, tcp, address);
        }
    };
    let user = |name: &str| User { name: name.into(), password: "secret".into() };
    let core = |share| Config {
        realm: REALM.into(),
        credentials: Credentials {
            users: vec![user("alice"), user("bob")],
            nonce_key: [7; 32],
            third_party: options.third_party.then(third_party),
            ..Credentials::default()
        },
        relay: Relay {
            addresses: vec![address.ip()],
            found: vec![address.ip()],
            external: Vec::new(),
            port_min: options.ports.0,
            port_max: options.ports.1,
            share,
            shares: options.workers as u16,
        },
        acl: Acl { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Acl::default() },
        limits: Limits::default(),
        software: Software::default(),
        discovery: Discovery::default(),
        alternates: Alternates::default(),
    };
    let seats = seats(options.workers, options.quota, options.crowd).unwrap();
    let prepared = seats.into_iter().enumerate().map(|(index, seat)| {
        let (tcp, tls) = match &secured {
            None => (vec![tcp.remove(0)], Vec::new()),
            Some(_) => (Vec::new(), vec![tcp.remove(0)]),
        };
        let setup = WorkerSetup {
            core: core(index as u16),
            seed: [index as u8; 32],
            udp: vec![udp.remove(0)],
            tcp,
            tls,
            keyring: secured.as_ref().map(|it| Arc::clone(&it.keyring)),
            guests: secured.as_ref().and_then(|it| it.guests.clone()),
            tls_limits: options.tls,
            dtls: None,
            balancers: options.balancers.iter().map(|net| net.parse().unwrap()).collect(),
            relay: relay::Options::default(),
            idle: options.idle,
            gather: true,
        };
        (seat, setup)
    });
    (address, prepared.collect())
}

impl Running {
    fn snapshot(&self, worker: usize) -> Snapshot {
        self.workers[worker].mailbox().snapshot().unwrap().blocking_recv().unwrap()
    }

    /// Snapshots until one pleases, for as long as the test is patient; each is one turn of the
    /// worker's loop.
    fn until(&self, pleases: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        self.until_at(0, pleases)
    }

    fn until_at(&self, worker: usize, mut pleases: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        for _ in 0..100_000 {
            let snapshot = self.snapshot(worker);
            if pleases(&snapshot) {
                return snapshot;
            }
            std::thread::yield_now();
        }
        panic!("it never came: {:?}", self.snapshot(worker));
    }

    fn stop(self) -> Vec<Snapshot> {
        self.workers.iter().for_each(|worker| worker.stop().unwrap());
        self.workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    }
}

/// A client over either transport, one message at a time.
struct Client {
    user: &'static str,
    socket: Socket,
    nonce: Vec<u8>,
    count: u8,
    /// What goes before each datagram.
    header: Vec<u8>,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

impl Client {
    fn udp(server: SocketAddr, user: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { user, socket: Socket::Udp(socket), nonce: Vec::new(), count: 0, header: Vec::new() }
    }

    fn tcp(server: SocketAddr, user: &'static str) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            user,
            socket: Socket::Tcp(stream, Vec::new()),
            nonce: Vec::new(),
            count: 0,
            header: Vec::new(),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.socket {
            Socket::Udp(socket) => {
                let bytes = [&self.header, bytes].concat();
                assert_eq!(socket.send(&bytes).unwrap(), bytes.len());
            }
            Socket::Tcp(stream, _) => stream.write_all(bytes).unwrap(),
        }
    }

    /// The next message; padding included on a stream.
    fn read(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        match &mut self.socket {
            Socket::Udp(socket) => {
                let length = socket.recv(&mut buffer).unwrap();
                buffer.truncate(length);
                buffer
            }
            Socket::Tcp(stream, kept) => loop {
                if let Some(length) = frame_length(kept).unwrap() {
                    return kept.drain(..length).collect();
                }
                let length = stream.read(&mut buffer).unwrap();
                assert_ne!(length, 0, "the connection has ended");
                kept.extend(&buffer[..length]);
            },
        }
    }

    fn transaction(&mut self) -> XorKey {
        self.count += 1;
        let mut transaction = [self.count; 16];
        transaction[..4].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
        transaction
    }

    fn message(
        &mut self,
        method: Method,
        class: Class,
        attributes: &[(AttributeType, &[u8])],
        peer: Option<SocketAddr>,
    ) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let transaction = self.transaction();
        let mut writer = MessageWriter::new(&mut buffer, method, class, &transaction);
        if let Some(peer) = peer {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        }
        for (kind, value) in attributes {
            writer.attribute(*kind, value);
        }
        if class == Class::Request && !self.nonce.is_empty() {
            writer.attribute(AttributeType::USERNAME, self.user.as_bytes());
            writer.attribute(AttributeType::REALM, REALM.as_bytes());
            writer.attribute(AttributeType::NONCE, &self.nonce);
            let key = IntegrityKey::long_term(self.user.as_bytes(), REALM.as_bytes(), b"secret");
            writer.integrity(&key);
        }
        let length = writer.finish().unwrap();
        buffer.truncate(length);
        buffer
    }

    /// The answer to a request, which may be an error.
    fn request(
        &mut self,
        method: Method,
        attributes: &[(AttributeType, &[u8])],
        peer: Option<SocketAddr>,
    ) -> Vec<u8> {
        let request = self.message(method, Class::Request, attributes, peer);
        self.write(&request);
        self.read()
    }

    /// Allocates, with whatever else is asked for; the whole answer.
    fn try_allocate(&mut self, attributes: &[(AttributeType, &[u8])]) -> Vec<u8> {
        let udp: (AttributeType, &[u8]) = (AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        let attributes = [&[udp], attributes].concat();
        if self.nonce.is_empty() {
            let challenge = self.request(Method::ALLOCATE, &attributes, None);
            let challenge = Message::parse(&challenge).unwrap();
            self.nonce = challenge.find(AttributeType::NONCE).unwrap().to_vec();
        }
        self.request(Method::ALLOCATE, &attributes, None)
    }

    fn allocate(&mut self) -> SocketAddr {
        relayed(&self.try_allocate(&[]))
    }

    fn bind_channel(&mut self, number: u16, peer: SocketAddr) {
        let [high, low] = number.to_be_bytes();
        let number = (AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0][..]);
        success(&self.request(Method::CHANNEL_BIND, &[number], Some(peer)));
    }
}

fn success(answer: &[u8]) -> Message<'_> {
    let message = Message::parse(answer).unwrap();
    assert_eq!(message.class(), Class::Success, "error {:?}", error(answer));
    message
}

fn error(answer: &[u8]) -> Option<u16> {
    let message = Message::parse(answer).unwrap();
    let code = message.find(AttributeType::ERROR_CODE)?;
    Some(u16::from(code[2]) * 100 + u16::from(code[3]))
}

fn relayed(answer: &[u8]) -> SocketAddr {
    success(answer).xor_address(AttributeType::XOR_RELAYED_ADDRESS).unwrap().unwrap()
}

fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    [&number.to_be_bytes(), &length.to_be_bytes(), payload].concat()
}

fn padded(mut message: Vec<u8>) -> Vec<u8> {
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

fn peer() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[test]
fn binding_is_answered_over_udp_and_tcp() {
    let server = start(Options::default());
    for mut client in [Client::udp(server.address, "alice"), Client::tcp(server.address, "alice")] {
        let local = match &client.socket {
            Socket::Udp(socket) => socket.local_addr().unwrap(),
            Socket::Tcp(stream, _) => stream.local_addr().unwrap(),
        };
        let answer = client.request(Method::BINDING, &[], None);
        let mapped = success(&answer).xor_address(AttributeType::XOR_MAPPED_ADDRESS);
        assert_eq!(mapped.unwrap().unwrap(), local);
    }
    let stats = server.stop()[0].stats;
    assert_eq!((stats.udp.packets_in, stats.udp.packets_out), (1, 1));
    assert_eq!((stats.tcp.packets_in, stats.tcp.packets_out), (1, 1));
    assert_eq!(stats.tcp.bytes_in, 20);
    assert_eq!(stats.connections_accepted, 1);
}

#[test]
fn channel_data_crosses_the_server_both_ways_over_udp_and_tcp() {
    let server = start(Options::default());
    let (peer, peer_addr) = peer();
    let mut clients = [
        (Client::udp(server.address, "alice"), false),
        (Client::tcp(server.address, "alice"), true),
    ];
    for (client, on_stream) in &mut clients {
        let relayed = client.allocate();
        client.bind_channel(0x4001, peer_addr);
        let mut buffer = vec![0; 65_536];
        for size in [0, 1, 2, 3, 4, 160, 1200, 5000, 65_000] {
            let payload: Vec<u8> = (0..size).map(|i| (i % 253) as u8).collect();
            let message = channel_data(0x4001, &payload);
            let message = if *on_stream { padded(message) } else { message };
            client.write(&message);
            let (length, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((length, from), (size, relayed));
            assert_eq!(buffer[..length], payload[..]);
            assert_eq!(peer.send_to(&payload, relayed).unwrap(), size);
            assert!(client.read() == message, "{size} bytes came back changed");
        }
    }
    let snapshot = server.snapshot(0);
    assert_eq!(snapshot.stats.drops, Drops::default());
    assert_eq!((snapshot.stats.peers.packets_in, snapshot.stats.peers.packets_out), (18, 18));
    assert_eq!((snapshot.relays, snapshot.connections), (2, 1));
    server.stop();
}

#[test]
fn a_burst_leaves_in_order() {
    let server = start(Options::default());
    let (peer, peer_addr) = peer();
    let mut client = Client::udp(server.address, "alice");
    let relayed = client.allocate();
    client.bind_channel(0x4001, peer_addr);
    let mut buffer = [0; 64];
    for round in 0..50_u8 {
        for number in 0..50 {
            client.write(&channel_data(0x4001, &[round, number]));
        }
        for number in 0..50 {
            assert_eq!(peer.recv(&mut buffer).unwrap(), 2);
            assert_eq!(buffer[..2], [round, number]);
            peer.send_to(&[number, round], relayed).unwrap();
        }
        for number in 0..50 {
            assert_eq!(client.read(), channel_data(0x4001, &[number, round]));
        }
    }
    server.stop();
}

#[test]
fn a_send_indication_to_nowhere_leaves_the_allocation_relaying() {
    let server = start(Options::default());
    let (peer, peer_addr) = peer();
    let mut client = Client::udp(server.address, "alice");
    client.allocate();
    client.bind_channel(0x4001, peer_addr);
    let nowhere = SocketAddr::new([127, 255, 255, 255].into(), 9);
    success(&client.request(Method::CREATE_PERMISSION, &[], Some(nowhere)));
    let data = [(AttributeType::DATA, &b"lost"[..])];
    let lost = client.message(Method::SEND, Class::Indication, &data, Some(nowhere));
    for number in 0..20 {
        client.write(&lost);
        client.write(&channel_data(0x4001, &[number]));
        let mut buffer = [0; 8];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 1);
        assert_eq!(buffer[0], number);
    }
    assert_eq!(server.stop()[0].stats.drops.unreachable, 20);
}

#[test]
fn deleting_an_allocation_frees_its_port_and_its_quota_at_once() {
    let quota = QuotaLimits { per_user: 1, total: 0 };
    let server = start(Options { quota, ..Options::default() });
    let mut client = Client::udp(server.address, "alice");
    let relayed = client.allocate();
    assert_eq!(error(&Client::udp(server.address, "alice").try_allocate(&[])), Some(486));
    Client::udp(server.address, "bob").allocate();
    assert!(UdpSocket::bind(relayed).is_err());
    success(&client.request(Method::REFRESH, &[(AttributeType::LIFETIME, &[0; 4])], None));
    assert!(UdpSocket::bind(relayed).is_ok());
    assert_eq!(server.snapshot(0).relays, 1);
    Client::udp(server.address, "alice").allocate();
    assert_eq!(server.stop()[0].stats.quota_refusals, 1);
}

#[test]
fn a_reserved_port_is_had_by_its_user_at_any_worker() {
    let server = start(Options { workers: 2, ..Options::default() });
    let mut first = Client::udp(server.address, "alice");
    let answer = first.try_allocate(&[(AttributeType::EVEN_PORT, &[0x80])]);
    let even = relayed(&answer);
    assert_eq!(even.port() % 2, 0);
    let token = success(&answer).find(AttributeType::RESERVATION_TOKEN).unwrap().to_vec();
    let odd = SocketAddr::new(even.ip(), even.port() + 1);
    assert!(UdpSocket::bind(odd).is_err(), "the reserved port is free to everybody");
    let token = [(AttributeType::RESERVATION_TOKEN, &token[..])];
    assert_eq!(error(&Client::udp(server.address, "bob").try_allocate(&token)), Some(508));
    // Some of these come to the other worker; the first of all gets it.
    let answers: Vec<_> =
        (0..16).map(|_| Client::udp(server.address, "alice").try_allocate(&token)).collect();
    assert_eq!(relayed(&answers[0]), odd);
    assert!(answers[1..].iter().all(|answer| error(answer) == Some(508)));
    server.stop();
}

#[test]
fn workers_hear_of_each_others_relay_sockets() {
    let server = start(Options { workers: 2, ..Options::default() });
    // Enough clients for both workers to have some.
    let mut clients: Vec<_> = (0..16)
        .map(|_| {
            let mut client = Client::udp(server.address, "alice");
            let relayed = client.allocate();
            (client, relayed)
        })
        .collect();
    assert!((0..2).all(|worker| server.snapshot(worker).relays > 0));
    // Each sends to each: through two allocations, wherever they are.
    let addresses: Vec<_> = clients.iter().map(|(_, relayed)| *relayed).collect();
    for index in 1..clients.len() {
        let (others, one) = clients.split_at_mut(index);
        let ((a, _), (b, _)) = (&mut others[0], &mut one[0]);
        a.bind_channel(0x4000 + index as u16, addresses[index]);
        b.bind_channel(0x4001, addresses[0]);
        a.write(&channel_data(0x4000 + index as u16, b"hello"));
        assert_eq!(b.read(), channel_data(0x4001, b"hello"));
        b.write(&channel_data(0x4001, b"and back"));
        assert_eq!(a.read(), channel_data(0x4000 + index as u16, b"and back"));
    }
    let snapshots = server.stop();
    for snapshot in snapshots {
        assert_eq!(snapshot.core.drops(stats::Drop::NoPermission), 0);
    }
}

#[test]
fn a_range_without_a_free_port_is_told_as_such() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let server = start(Options { ports: (port, port), ..Options::default() });
    let mut client = Client::udp(server.address, "alice");
    assert_eq!(error(&client.try_allocate(&[])), Some(508));
    drop(taken);
    assert_eq!(relayed(&client.try_allocate(&[])).port(), port);
    let stats = server.stop()[0].stats;
    assert!(stats.relays_in_use > 0);
    assert_eq!(stats.relays_opened, 1);
}

#[test]
fn a_draining_worker_serves_what_it_has_until_it_is_stopped() {
    let server = start(Options::default());
    let (peer, peer_addr) = peer();
    let mut client = Client::udp(server.address, "alice");
    client.allocate();
    client.bind_channel(0x4001, peer_addr);
    server.workers[0].drain().unwrap();
    // The snapshot is taken behind the drain.
    server.snapshot(0);
    assert_eq!(error(&Client::udp(server.address, "bob").try_allocate(&[])), Some(508));
    let refused = TcpStream::connect(server.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    client.write(&channel_data(0x4001, b"still here"));
    assert_eq!(peer.recv(&mut [0; 64]).unwrap(), 10);
    assert!(!server.workers[0].is_finished());
    let end = client.message(
        Method::REFRESH,
        Class::Request,
        &[(AttributeType::LIFETIME, &[0; 4])],
        None,
    );
    client.write(&end);
    success(&client.read());
    let snapshot = server.snapshot(0);
    assert_eq!((snapshot.relays, snapshot.core.allocations_ended), (0, 1));
    // Its socket stays in the group that shares the port, so that the others' clients stay theirs.
    assert!(!server.workers[0].is_finished());
    server.stop();
}

#[test]
fn a_stopped_worker_gives_its_ports_back() {
    let server = start(Options { workers: 2, ..Options::default() });
    let address = server.address;
    let relayed = Client::udp(address, "alice").allocate();
    let mailbox = server.workers[0].mailbox().clone();
    server.stop();
    assert!(mailbox.snapshot().is_err());
    assert!(UdpSocket::bind(relayed).is_ok());
    assert!(bind_udp(address, 1, udp::Options::default()).is_ok());
    assert!(bind_tcp(address, 1).is_ok());
}
