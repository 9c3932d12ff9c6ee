//! Strangers get little and keep nothing: short answers or none, no memory, no descriptors, and
//! no moment in which a client of ours has to wait for them.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::client::{Client, PATIENCE, eventually, hear, peer, write};
use common::server::Server;
use hairpin::wire::password_algorithm::userhash;
use hairpin::wire::{
    AttributeType, Class, ErrorCode, Integrity, IntegrityKey, Message, Method, PasswordAlgorithm,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How much the server may grow, in KiB, by whatever strangers do.
const GROWTH_KIB: u64 = 1024;

/// What is answered with a challenge.
const AUTHENTICATED: [Method; 6] = [
    Method::ALLOCATE,
    Method::REFRESH,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::CONNECT,
    Method::CONNECTION_BIND,
];

// What is answered, and how long the answer is.

/// The answer to these bytes from a port of its own.
fn ask(server: SocketAddr, request: &[u8]) -> Vec<u8> {
    Client::udp(server).exchange(request).unwrap()
}

fn request(method: Method) -> Vec<u8> {
    write(method, Class::Request, &|_| {})
}

fn has(answer: &[u8], kind: AttributeType) -> bool {
    Message::parse(answer).unwrap().has(kind)
}

#[test]
fn a_binding_answer_is_little_longer_than_its_request() {
    let server = Server::start();
    let plain = request(Method::BINDING);
    let answer = ask(server.address(), &plain);
    assert!(answer.len() * 10 <= plain.len() * 16, "{} for {}", answer.len(), plain.len());
    assert!(!has(&answer, AttributeType::SOFTWARE));
    assert!(!has(&answer, AttributeType::FINGERPRINT));

    let printed = write(Method::BINDING, Class::Request, &|writer| {
        writer.fingerprint();
    });
    let answer = ask(server.address(), &printed);
    assert!(answer.len() * 10 <= printed.len() * 16, "{} for {}", answer.len(), printed.len());
    assert!(has(&answer, AttributeType::FINGERPRINT), "as it was asked");
    assert!(!has(&answer, AttributeType::SOFTWARE));
}

#[test]
fn a_challenge_is_at_most_three_times_as_long_as_its_request() {
    let server = Server::start();
    for method in AUTHENTICATED {
        let bare = request(method);
        assert_eq!(bare.len(), 20);
        let answer = ask(server.address(), &bare);
        assert!(answer.len() <= 60, "{method}: {} bytes", answer.len());
        assert!(!has(&answer, AttributeType::SOFTWARE));
        assert!(!has(&answer, AttributeType::FINGERPRINT));
        assert!(!has(&answer, AttributeType::PASSWORD_ALGORITHMS));

        // What may be a real Allocate is told of all that RFC 8489 has.
        let real = write(method, Class::Request, &|writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        });
        assert_eq!(real.len(), 28);
        let answer = ask(server.address(), &real);
        assert!(answer.len() <= 84, "{method}: {} bytes", answer.len());
        assert!(has(&answer, AttributeType::PASSWORD_ALGORITHMS));
    }
}

#[test]
fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let server = Server::start();
    for (user, password) in [("user1", "guess"), ("nobody", "test"), ("99999999999:x", "test")] {
        let mut client = Client::udp(server.address()).user(user, password);
        assert_eq!(client.try_allocate(), Err(401), "{user}");
        assert_eq!(client.challenges, [401], "{user}");
    }
}

#[test]
fn a_classic_client_learns_its_address() {
    let server = Server::start();
    let socket = peer(V4);
    // No cookie: the transaction id of RFC 3489 has 16 bytes.
    socket.send_to(b"\x00\x01\x00\x00sixteen bytes id", server.address()).unwrap();
    let (from, answer) = hear(&socket);
    assert_eq!(from, server.address());
    assert!(answer.len() <= 32 && answer[4..20] == *b"sixteen bytes id");
    let port = socket.local_addr().unwrap().port().to_be_bytes();
    assert_eq!(answer[20..32], [0, 1, 0, 8, 0, 1, port[0], port[1], 127, 0, 0, 1]);
}

/// Packets that nobody answers.
fn unanswered() -> Vec<Vec<u8>> {
    let empty = |method, class| write(method, class, &|_| {});
    let mut packets = vec![
        Vec::new(),
        vec![0],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\xfe\xfd\x00\x00 a DTLS record".to_vec(),
        b"\x80\x00 an RTP packet".to_vec(),
        vec![0xff; 1200],
        vec![0x00; 1200],
        // ChannelData without an allocation, cut short, and of a channel that is none.
        b"\x40\x01\x00\x04data".to_vec(),
        b"\x40\x01\xff\xffdata".to_vec(),
        b"\x4f\xff\x00\x00".to_vec(),
        b"\x50\x00\x00\x04data".to_vec(),
    ];
    for number in 0..0x20 {
        let method = Method::new(number);
        packets.push(empty(method, Class::Indication));
        packets.push(empty(method, Class::Success));
        packets.push(empty(method, Class::Error));
        let known = [0x001, 0x003, 0x004, 0x008, 0x009, 0x00A, 0x00B].contains(&number);
        if !known {
            packets.push(empty(method, Class::Request));
        }
    }
    packets.push(empty(Method::new(0xfff), Class::Request));
    let send = write(Method::SEND, Class::Indication, &|writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, SocketAddr::from((V4, 9)));
        writer.attribute(AttributeType::DATA, b"for nobody");
    });
    packets.push(send);
    // A challenge of a server, sent back to one.
    packets.push(write(Method::ALLOCATE, Class::Error, &|writer| {
        writer.error(ErrorCode::UNAUTHENTICATED, "");
        writer.attribute(AttributeType::REALM, b"example.org");
        writer.attribute(AttributeType::NONCE, b"nonce");
    }));
    // Nearly requests: a byte less, a byte more, a wrong length, a wrong fingerprint, an attribute
    // that runs past the end.
    for method in [Method::BINDING, Method::ALLOCATE] {
        let whole = write(method, Class::Request, &|writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            writer.fingerprint();
        });
        packets.push(whole[..whole.len() - 1].to_vec());
        packets.push(whole[..19].to_vec());
        packets.push([&whole[..], &[0]].concat());
        for (at, value) in [(3, 0), (3, 0xff), (whole.len() - 1, !whole[whole.len() - 1]), (23, 8)]
        {
            let mut wrong = whole.clone();
            wrong[at] = value;
            packets.push(wrong);
        }
        // Without the cookie only Binding has a meaning.
        if method != Method::BINDING {
            let mut classic = request(method);
            classic[4] ^= 1;
            packets.push(classic);
        }
    }
    packets
}

#[test]
fn what_is_no_request_gets_no_answer() {
    let server = Server::start();
    for (at, packet) in unanswered().iter().enumerate() {
        let socket = peer(V4);
        let binding = request(Method::BINDING);
        socket.send_to(packet, server.address()).unwrap();
        for _ in 0..2 {
            socket.send_to(&binding, server.address()).unwrap();
            let (_, answer) = hear(&socket);
            assert_eq!(answer[4..20], binding[4..20], "packet {at} is answered: {packet:02x?}");
        }
    }
}

// What a flood costs.

/// Packets that strangers can send, answered or not.
fn flood() -> Vec<Vec<u8>> {
    let mut packets = unanswered();
    let key = IntegrityKey::long_term(b"user1", b"example.org", b"guess");
    let modern = PasswordAlgorithm::Sha256.key(b"user1", b"example.org", b"guess");
    let modern = modern.keyed(Integrity::Sha256);
    for method in AUTHENTICATED.into_iter().chain([Method::BINDING]) {
        for _ in 0..4 {
            packets.push(request(method));
        }
        for name in [&b"user1"[..], b"nobody", b"4000000000:somebody"] {
            packets.push(write(method, Class::Request, &|writer| {
                writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                writer.attribute(AttributeType::USERNAME, name);
                writer.attribute(AttributeType::REALM, b"example.org");
                writer.attribute(AttributeType::NONCE, b"obMatJos2AAAAabcdefghijk");
                writer.integrity(&key);
            }));
            packets.push(write(method, Class::Request, &|writer| {
                writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                writer.attribute(AttributeType::USERHASH, &userhash(name, b"example.org"));
                writer.attribute(AttributeType::REALM, b"example.org");
                writer.attribute(AttributeType::NONCE, b"obMatJos2wAAAabcdefghijk");
                writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &PasswordAlgorithm::OFFER);
                writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
                writer.integrity(&modern);
            }));
        }
    }
    packets
}

/// Sends `count` of the packets to the server, in runs from ever new ports of many addresses, and
/// waits after each run until the server is through with it.
fn strike(server: SocketAddr, packets: &[Vec<u8>], count: usize, mut between: impl FnMut(usize)) {
    const RUN: usize = 50;
    let binding = request(Method::BINDING);
    let mut packets = packets.iter().cycle();
    let mut buffer = [0; 2048];
    for run in 0..count / RUN {
        let source = Ipv4Addr::from(0x7f00_0001 + (run as u32 * 7919) % 0x00ff_0000);
        let socket = peer(source);
        for packet in packets.by_ref().take(RUN - 1) {
            socket.send_to(packet, server).unwrap();
        }
        socket.send_to(&binding, server).unwrap();
        loop {
            let (length, _) = socket.recv_from(&mut buffer).expect("the server goes on");
            if length >= 20 && buffer[4..20] == binding[4..20] {
                break;
            }
        }
        between(run);
    }
}

#[test]
fn two_hundred_thousand_packets_of_strangers_leave_nothing_behind() {
    let server = Server::with("workers = 2");
    let packets = flood();
    let (mut client, peer) = (Client::udp(server.address()), peer(V4));
    let relayed = client.allocate();
    let to = peer.local_addr().unwrap();
    client.bind(0x4001, to);
    let mut exchange = |run: usize| {
        if run.is_multiple_of(10) {
            client.channel_data(0x4001, &run.to_be_bytes());
            assert_eq!(hear(&peer), (relayed, run.to_be_bytes().to_vec()));
            peer.send_to(&run.to_be_bytes(), relayed).unwrap();
            assert_eq!(client.receive().1, run.to_be_bytes());
        }
    };

    strike(server.address(), &packets, 20_000, &mut exchange);
    let (memory, descriptors) = (server.memory(), server.descriptors());
    strike(server.address(), &packets, 200_000, &mut exchange);
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < GROWTH_KIB, "grown by {grown} KiB, from {memory} KiB");
    assert_eq!(server.descriptors(), descriptors);
}

// TCP.

/// A connection from this address.
fn connect(source: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Whether the server has closed the connection: reads to its end.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Whether a Binding request on this connection is answered.
fn is_served(stream: &mut TcpStream) -> bool {
    let binding = request(Method::BINDING);
    let mut answer = [0; 32];
    stream.write_all(&binding).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer[4..20] == binding[4..20]
}

#[test]
fn two_thousand_connections_that_vanish_leave_nothing_behind() {
    let server = Server::with("workers = 2");
    let mut legitimate = Client::tcp(server.address());
    legitimate.allocate();
    let half = &write(Method::ALLOCATE, Class::Request, &|writer| {
        writer.attribute(AttributeType::SOFTWARE, &[b'x'; 700]);
    })[..400];
    let bare = request(Method::ALLOCATE);
    let said: [&[u8]; 6] = [
        b"",
        b"\x00",
        half,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x40\x01\xff\xff a little of what was announced",
        &bare,
    ];
    let mut wave = |count: usize| {
        let before = server.descriptors();
        let mut streams = Vec::new();
        for at in 0..count {
            let source = Ipv4Addr::new(127, 0, 1, (at % 8) as u8 + 1);
            let mut stream = connect(source, server.address());
            // Garbage may be answered by an end before it is all sent.
            let _ = stream.write_all(said[at % said.len()]);
            streams.push(stream);
        }
        assert_eq!(legitimate.refresh(600), Ok(600), "others are served meanwhile");
        for (at, stream) in streams.into_iter().enumerate() {
            // Most by a reset: an end in due form keeps the port in TIME-WAIT, for a minute.
            let linger = (at % 8 != 0).then_some(Duration::ZERO);
            SockRef::from(&stream).set_linger(linger).unwrap();
        }
        eventually("the descriptors come back", || server.descriptors() == before);
    };
    for _ in 0..2 {
        wave(500);
    }
    let memory = server.memory();
    for _ in 0..4 {
        wave(500);
    }
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < GROWTH_KIB, "grown by {grown} KiB, from {memory} KiB");
}

#[test]
fn what_is_out_of_step_ends_the_connection() {
    let server = Server::start();
    // Not GET: that begins like ChannelData of 21 536 bytes, which may still come.
    for garbage in [&b"POST / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00 TLS", &[0xff; 64]] {
        let mut stream = connect(Ipv4Addr::LOCALHOST, server.address());
        assert!(is_served(&mut stream));
        stream.write_all(garbage).unwrap();
        assert!(is_closed(&mut stream));
    }
}

#[test]
fn a_source_gets_no_more_connections_than_its_limit_and_others_are_served() {
    let server = Server::with("workers = 4\n[limits]\ntcp_connections_per_source = 4");
    let greedy = Ipv4Addr::new(127, 0, 0, 7);
    let mut held: Vec<_> = (0..20).map(|_| connect(greedy, server.address())).collect();
    let served: Vec<_> = held.iter_mut().map(is_served).collect();
    assert_eq!(served.iter().filter(|served| **served).count(), 4, "{served:?}");
    let mut other = connect(Ipv4Addr::new(127, 0, 0, 8), server.address());
    assert!(is_served(&mut other));
    held.truncate(3);
    eventually("a place comes free", || is_served(&mut connect(greedy, server.address())));
}

#[test]
fn all_sources_together_get_no_more_connections_than_the_limit() {
    let server = Server::with("workers = 4\n[limits]\ntcp_connections = 10");
    let mut held: Vec<_> =
        (0..20).map(|at| connect(Ipv4Addr::new(127, 0, 0, at + 10), server.address())).collect();
    let served = held.iter_mut().map(is_served).filter(|served| *served).count();
    assert_eq!(served, 10);
    assert!(Client::udp(server.address()).try_binding().is_ok());
    drop(held);
    eventually("places come free", || {
        is_served(&mut connect(Ipv4Addr::LOCALHOST, server.address()))
    });
}

#[test]
fn who_is_silent_over_tcp_is_let_go_unless_there_is_an_allocation() {
    let server = Server::with("[limits]\ntcp_idle_secs = 1");
    let mut client = Client::tcp(server.address());
    let relayed = client.allocate();
    let peer = peer(V4);
    client.permit(peer.local_addr().unwrap());

    let began = Instant::now();
    let mut silent = connect(Ipv4Addr::LOCALHOST, server.address());
    let mut slow = connect(Ipv4Addr::LOCALHOST, server.address());
    slow.write_all(b"\x00\x01\x00").unwrap();
    let mut alive = connect(Ipv4Addr::LOCALHOST, server.address());
    let patient = |stream: &TcpStream, time| stream.set_read_timeout(Some(time)).unwrap();
    while began.elapsed() < Duration::from_millis(1800) {
        assert!(is_served(&mut alive), "who speaks stays");
        // A tenth of a second in which nothing comes.
        patient(&alive, Duration::from_millis(100));
        assert!(alive.read(&mut [0]).is_err());
        patient(&alive, PATIENCE);
    }
    assert!(is_closed(&mut silent) && is_closed(&mut slow));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");

    assert!(is_served(&mut alive));
    client.send(peer.local_addr().unwrap(), b"quiet, but here");
    assert_eq!(hear(&peer), (relayed, b"quiet, but here".to_vec()));
}

#[test]
fn a_client_that_does_not_read_costs_the_others_nothing() {
    let server = Server::with("workers = 1");
    let mut deaf = connect(Ipv4Addr::LOCALHOST, server.address());
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let many = request(Method::BINDING).repeat(1000);
    let mut client = Client::udp(server.address());
    // Until it is let go or nothing more of it is taken.
    for _ in 0..2000 {
        if deaf.write_all(&many).is_err() {
            break;
        }
    }
    let relayed = client.allocate();
    let stranger: UdpSocket = peer(V4);
    client.permit(stranger.local_addr().unwrap());
    stranger.send_to(b"hello", relayed).unwrap();
    assert_eq!(client.receive().1, b"hello");
    assert!(server.memory() < 64 * 1024, "{} KiB", server.memory());
}
