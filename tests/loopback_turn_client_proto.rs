//! An independent client, turn-client-proto, against the running server: what its author understood
//! the RFCs to say, we must have understood as well.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod server;
    pub(crate) mod tls;
}

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::server::Server;
use common::tls::Authority;
use hairpin::control::credentials::time_limited;
use hairpin::wire::{AttributeType, Integrity, Message};
use rustls::{ClientConnection, StreamOwned};
use turn_client_proto::api::{Transmit, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::client::TurnClient;
use turn_client_proto::prelude::*;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::stun::message::IntegrityAlgorithm;
use turn_client_proto::types::{AddressFamily, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(20);

/// How the client reaches the server.
enum Road {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Road {
    fn udp() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        Self::Udp(socket)
    }

    fn tcp(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(TICK)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::Tcp(stream)
    }

    /// This client has no TLS of its own: its stream goes through somebody else's.
    fn tls(server: &Server, authority: &Authority) -> Self {
        let stream = TcpStream::connect(server.secure_at(Ipv4Addr::LOCALHOST)).unwrap();
        stream.set_read_timeout(Some(TICK)).unwrap();
        stream.set_nodelay(true).unwrap();
        let config = authority.client(&["stun.turn"]);
        let tls = ClientConnection::new(config, "turn.example.org".try_into().unwrap()).unwrap();
        Self::Tls(Box::new(StreamOwned::new(tls, stream)))
    }

    fn local(&self) -> SocketAddr {
        match self {
            Self::Tls(stream) => stream.sock.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(stream) => stream.local_addr(),
        }
        .unwrap()
    }

    fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        match self {
            Self::Udp(socket) => drop(socket.send_to(bytes, to).unwrap()),
            Self::Tcp(stream) => stream.write_all(bytes).unwrap(),
            Self::Tls(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    /// What has come, if anything comes within a tick.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let received = match self {
            Self::Udp(socket) => socket.recv(&mut buffer),
            Self::Tcp(stream) => stream.read(&mut buffer),
            Self::Tls(stream) => stream.read(&mut buffer),
        };
        match received {
            Ok(length) => {
                buffer.truncate(length);
                Some(buffer)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => panic!("the road to the server is broken: {error}"),
        }
    }
}

/// Brings the client, which does no I/O of its own, together with its road and the clock.
struct Driver {
    client: TurnClient,
    road: Road,
    server: SocketAddr,
    began: Instant,
    events: VecDeque<TurnEvent>,
    received: VecDeque<(SocketAddr, Vec<u8>)>,
    /// What the client has sent to the server, as it was.
    sent: Vec<Vec<u8>>,
    /// Answers that the client did not trust, such as a second 401 without integrity.
    ignored: usize,
    closed: bool,
}

impl Driver {
    fn new(server: &Server, road: Road, config: TurnConfig) -> Self {
        let to = match &road {
            Road::Tls(stream) => stream.sock.peer_addr().unwrap(),
            _ => server.address(),
        };
        let from = road.local();
        let client = match road {
            Road::Udp(_) => TurnClientUdp::allocate(from, to, config).into(),
            Road::Tcp(_) | Road::Tls(_) => TurnClientTcp::allocate(from, to, config).into(),
        };
        let (events, received) = (VecDeque::new(), VecDeque::new());
        let (began, sent, ignored, closed) = (Instant::now(), Vec::new(), 0, false);
        Self { client, road, server: to, began, events, received, sent, ignored, closed }
    }

    fn now(&self) -> turn_client_proto::stun::Instant {
        let nanos = self.began.elapsed().as_nanos().try_into().unwrap();
        turn_client_proto::stun::Instant::from_nanos(nanos)
    }

    /// Sends what is to be sent and takes in what comes, for a tick.
    fn turn(&mut self) {
        let now = self.now();
        // A client that is about to close has still to say so.
        let next = self.client.poll(now);
        while let Some(transmit) = self.client.poll_transmit(now) {
            self.road.send(&transmit.data, transmit.to);
            self.sent.push(transmit.data.to_vec());
        }
        self.closed = matches!(next, TurnPollRet::Closed);
        if !self.closed
            && let Some(bytes) = self.road.receive()
        {
            let now = self.now();
            let (from, to) = (self.server, self.road.local());
            let transmit = Transmit::new(bytes, self.client.transport(), from, to);
            match self.client.recv(transmit, now) {
                TurnRecvRet::Handled => {}
                TurnRecvRet::Ignored(_) => self.ignored += 1,
                TurnRecvRet::PeerData(data) => {
                    self.received.push_back((data.peer, data.data().to_vec()));
                }
                other => panic!("the client makes nothing of what the server sent: {other:?}"),
            }
            while let Some(data) = self.client.poll_recv(now) {
                self.received.push_back((data.peer, data.data().to_vec()));
            }
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push_back(event);
        }
    }

    /// Turns until this has come about.
    fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            self.turn();
        }
    }

    fn event(&mut self, what: &str) -> TurnEvent {
        self.until(what, |driver| driver.events.pop_front())
    }

    /// The relayed address.
    fn allocated(&mut self) -> SocketAddr {
        match self.event("an allocation") {
            TurnEvent::AllocationCreated(TransportType::Udp, relayed) => relayed,
            other => panic!("expected an allocation, got {other:?}"),
        }
    }

    fn permit(&mut self, peer: SocketAddr) {
        let now = self.now();
        self.client.create_permission(TransportType::Udp, peer.ip(), now).unwrap();
        match self.event("a permission") {
            TurnEvent::PermissionCreated(_, address) => assert_eq!(address, peer.ip()),
            other => panic!("expected a permission, got {other:?}"),
        }
    }

    fn bind(&mut self, peer: SocketAddr) {
        let now = self.now();
        self.client.bind_channel(TransportType::Udp, peer, now).unwrap();
        self.until("a channel", |driver| match driver.events.pop_front()? {
            TurnEvent::ChannelCreated(_, address) => {
                assert_eq!(address, peer);
                Some(())
            }
            // The client asks for the permission along with the channel.
            TurnEvent::PermissionCreated(..) => None,
            other => panic!("expected a channel, got {other:?}"),
        });
    }

    fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        let now = self.now();
        if let Some(transmit) = self.client.send_to(TransportType::Udp, peer, data, now).unwrap() {
            let transmit = transmit.build();
            self.road.send(&transmit.data, transmit.to);
        }
    }

    /// Sends to the peer, has the peer answer, and compares both ways.
    fn exchange(&mut self, peer: &UdpSocket, relayed: SocketAddr, data: &[u8]) {
        let address = peer.local_addr().unwrap();
        let mut buffer = vec![0; 65536];
        self.send(address, data);
        let (length, from) = peer.recv_from(&mut buffer).expect("the peer hears the client");
        assert_eq!((from, &buffer[..length]), (relayed, data), "from the client to the peer");

        let answer: Vec<u8> = data.iter().rev().copied().collect();
        peer.send_to(&answer, relayed).unwrap();
        let received = self.until("data of the peer", |driver| driver.received.pop_front());
        assert_eq!(received, (address, answer), "from the peer to the client");
    }

    /// The attributes of each request that the client has signed.
    fn signed(&self) -> Vec<Vec<AttributeType>> {
        let requests = self.sent.iter().filter_map(|bytes| Message::parse(bytes).ok());
        let signed = requests.filter(|message| Integrity::of(message).is_some());
        let kinds = [
            AttributeType::USERNAME,
            AttributeType::USERHASH,
            AttributeType::MESSAGE_INTEGRITY,
            AttributeType::MESSAGE_INTEGRITY_SHA256,
        ];
        signed
            .map(|message| kinds.into_iter().filter(|kind| message.has(*kind)).collect())
            .collect()
    }

    fn delete(&mut self) {
        let now = self.now();
        self.client.delete(now).unwrap();
        self.until("the end of the allocation", |driver| driver.closed.then_some(()));
    }
}

fn config() -> TurnConfig {
    TurnConfig::new(TurnCredentials::new("user1", "test"))
}

fn peer() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Payloads of these lengths, each with bytes of its own.
fn payloads(lengths: &[usize]) -> Vec<Vec<u8>> {
    lengths.iter().map(|&length| (0..length).map(|i| (i * 7 + length) as u8).collect()).collect()
}

#[test]
fn over_udp_indications_reach_a_peer_and_its_answers_return() {
    let server = Server::start();
    let mut driver = Driver::new(&server, Road::udp(), config());
    let (relayed, peer) = (driver.allocated(), peer());
    driver.permit(peer.local_addr().unwrap());
    for data in payloads(&[1, 2, 3, 4, 170, 1200]) {
        driver.exchange(&peer, relayed, &data);
    }
}

#[test]
fn over_udp_a_channel_reaches_a_peer_and_its_answers_return() {
    let server = Server::start();
    let mut driver = Driver::new(&server, Road::udp(), config());
    let (relayed, peer) = (driver.allocated(), peer());
    driver.bind(peer.local_addr().unwrap());
    for data in payloads(&[1, 2, 3, 4, 170, 1200]) {
        driver.exchange(&peer, relayed, &data);
    }
}

#[test]
fn over_tcp_indications_reach_a_peer_and_its_answers_return() {
    let server = Server::start();
    let mut driver = Driver::new(&server, Road::tcp(&server), config());
    let (relayed, peer) = (driver.allocated(), peer());
    driver.permit(peer.local_addr().unwrap());
    for data in payloads(&[1, 2, 3, 4, 170, 1200]) {
        driver.exchange(&peer, relayed, &data);
    }
}

#[test]
fn over_tcp_a_channel_reaches_a_peer_and_its_answers_return() {
    let server = Server::start();
    let mut driver = Driver::new(&server, Road::tcp(&server), config());
    let (relayed, peer) = (driver.allocated(), peer());
    driver.bind(peer.local_addr().unwrap());
    // This client does not pad ChannelData over TCP to four bytes, as RFC 8656 section 12.5 has it.
    for data in payloads(&[4, 8, 172, 1200]) {
        driver.exchange(&peer, relayed, &data);
    }
}

/// A server that listens for TLS.
fn secured() -> (Server, Authority) {
    let authority = Authority::new();
    authority.issue("first", &["turn.example.org"]);
    (Server::with(&authority.listeners(&["first"])), authority)
}

#[test]
fn over_tls_indications_and_a_channel_reach_a_peer_and_its_answers_return() {
    let (server, authority) = secured();
    for by_channel in [false, true] {
        let mut driver = Driver::new(&server, Road::tls(&server, &authority), config());
        let (relayed, peer) = (driver.allocated(), peer());
        match by_channel {
            false => driver.permit(peer.local_addr().unwrap()),
            true => driver.bind(peer.local_addr().unwrap()),
        }
        for data in payloads(&[4, 8, 172, 1200]) {
            driver.exchange(&peer, relayed, &data);
        }
        driver.delete();
    }
}

#[test]
fn a_deleted_allocation_frees_its_five_tuple_at_once() {
    let server = Server::start();
    let road = Road::udp();
    let Road::Udp(socket) = &road else { unreachable!() };
    let same = Road::Udp(socket.try_clone().unwrap());
    let mut driver = Driver::new(&server, road, config());
    let first = driver.allocated();
    driver.delete();
    let mut driver = Driver::new(&server, same, config());
    let second = driver.allocated();
    assert_ne!(first, second);
}

#[test]
fn a_deleted_allocation_relays_nothing_any_more() {
    let server = Server::start();
    let mut driver = Driver::new(&server, Road::udp(), config());
    let (relayed, peer) = (driver.allocated(), peer());
    driver.permit(peer.local_addr().unwrap());
    driver.exchange(&peer, relayed, b"still here");
    driver.delete();
    // A second allocation tells when the server has seen all that was sent before it.
    peer.send_to(b"anybody?", relayed).unwrap();
    Driver::new(&server, Road::udp(), config()).allocated();
    assert_eq!(driver.road.receive(), None);
}

#[test]
fn over_tcp_an_allocation_can_be_deleted() {
    let server = Server::start();
    let mut driver = Driver::new(&server, Road::tcp(&server), config());
    driver.allocated();
    driver.delete();
}

#[test]
fn a_wrong_password_gets_no_allocation() {
    let server = Server::start();
    let wrong = TurnConfig::new(TurnCredentials::new("user1", "guess"));
    let mut driver = Driver::new(&server, Road::udp(), wrong);
    // The first 401 brings the nonce; this client gives no event for the second.
    driver.until("a refusal", |driver| (driver.ignored > 0).then_some(()));
    assert!(driver.events.is_empty(), "{:?}", driver.events);
}

#[test]
fn an_ipv6_relay_serves_an_ipv4_client() {
    let server = Server::start();
    let mut config = config();
    config.set_address_family(AddressFamily::IPV6);
    let mut driver = Driver::new(&server, Road::udp(), config);
    let relayed = driver.allocated();
    assert!(relayed.is_ipv6(), "{relayed}");
    let peer = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    driver.permit(peer.local_addr().unwrap());
    driver.exchange(&peer, relayed, b"from four to six");
}

#[test]
fn one_allocation_can_have_a_relay_of_either_family() {
    let server = Server::start();
    let mut config = config();
    config.add_address_family(AddressFamily::IPV6);
    let mut driver = Driver::new(&server, Road::udp(), config);
    let mut relayed = [driver.allocated(), driver.allocated()];
    relayed.sort_by_key(SocketAddr::is_ipv6);
    assert!(relayed[0].is_ipv4() && relayed[1].is_ipv6(), "{relayed:?}");
    let peer = peer();
    driver.permit(peer.local_addr().unwrap());
    driver.exchange(&peer, relayed[0], b"to the family of its peer");
}

/// What RFC 8489 has: the better algorithm, and a hash for a name.
fn modern(credentials: TurnCredentials, anonymous: Feature) -> TurnConfig {
    let mut config = TurnConfig::new(credentials);
    config.set_supported_integrity(IntegrityAlgorithm::Sha256);
    config.set_anonymous_username(anonymous);
    config
}

#[test]
fn a_client_that_insists_on_sha256_and_on_hiding_its_name_is_served() {
    let (server, authority) = secured();
    for road in [Road::udp(), Road::tcp(&server), Road::tls(&server, &authority)] {
        let config = modern(TurnCredentials::new("user1", "test"), Feature::Required);
        let mut driver = Driver::new(&server, road, config);
        let (relayed, peer) = (driver.allocated(), peer());
        driver.bind(peer.local_addr().unwrap());
        driver.exchange(&peer, relayed, b"four");
        driver.delete();
        let signed = driver.signed();
        assert!(signed.len() >= 3, "{signed:?}");
        for request in signed {
            let wanted = [AttributeType::USERHASH, AttributeType::MESSAGE_INTEGRITY_SHA256];
            assert_eq!(request, wanted);
        }
    }
}

#[test]
fn a_client_that_takes_the_best_of_what_is_offered_takes_sha256() {
    let server = Server::start();
    let mut config = config();
    config.add_supported_integrity(IntegrityAlgorithm::Sha256);
    let mut driver = Driver::new(&server, Road::udp(), config);
    driver.allocated();
    driver.delete();
    for request in driver.signed() {
        assert_eq!(request.last(), Some(&AttributeType::MESSAGE_INTEGRITY_SHA256));
    }
}

/// Nobody can find a time-limited name by its hash: the server asks for it, and the client that is
/// free to say it does.
#[test]
fn a_client_with_time_limited_credentials_says_its_name_when_it_is_asked_to() {
    let server = Server::start();
    let expires = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 600;
    let (user, password) = time_limited(b"s3cret", "somebody", expires);
    let config = modern(TurnCredentials::new(&user, &password), Feature::Auto);
    let mut driver = Driver::new(&server, Road::udp(), config);
    let (relayed, peer) = (driver.allocated(), peer());
    driver.permit(peer.local_addr().unwrap());
    driver.exchange(&peer, relayed, b"from a guest");
    let users: Vec<_> = driver.signed().iter().map(|request| request[0]).collect();
    assert_eq!(users[0], AttributeType::USERHASH);
    assert!(users[1..].iter().all(|user| *user == AttributeType::USERNAME), "{users:?}");
}

#[test]
fn where_no_name_can_be_found_none_is_hidden() {
    let expires = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 600;
    let guest = time_limited(b"s3cret", "somebody", expires);
    for (changes, (user, password)) in [
        ("[auth]\nusers = []", guest),
        ("[auth]\nusername_anonymity = false", ("user1".to_owned(), "test".to_owned())),
    ] {
        let server = Server::with(changes);
        let config = modern(TurnCredentials::new(&user, &password), Feature::Auto);
        let mut driver = Driver::new(&server, Road::udp(), config);
        driver.allocated();
        assert_eq!(driver.signed()[0][0], AttributeType::USERNAME, "{changes}");
    }
}
