//! What a client gives up is free at once, what cannot be had leaves nothing behind, and nobody
//! gets more than their share: ports and descriptors of the running server, seen from outside.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::client::{Answer, Client, Via, eventually, has_heard, hear, peer};
use common::server::Server;
use hairpin::wire::address::encode;
use hairpin::wire::{AttributeType, Message, Method};
use nix::sys::signal::Signal;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CHANNEL: u16 = 0x4001;
/// EVEN-PORT with and without the bit that reserves the next port.
const EVEN: u8 = 0x00;
const EVEN_AND_NEXT: u8 = 0x80;

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// Whether nobody holds this UDP port.
fn is_free(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok()
}

fn with_next(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port() + 1)
}

/// A client over UDP and one over TCP, whose connection the server has taken in.
fn either_road(server: &Server) -> [Client; 2] {
    let mut clients = [Client::udp(server.address()), Client::tcp(server.address())];
    clients.iter_mut().for_each(Client::fence);
    clients
}

fn even_port(client: &mut Client, bits: u8) -> Result<Answer, u16> {
    client.allocate_with(&|writer| {
        writer.attribute(AttributeType::EVEN_PORT, &[bits]);
    })
}

fn token(answer: &Answer) -> Vec<u8> {
    answer.message().find(AttributeType::RESERVATION_TOKEN).unwrap().to_vec()
}

fn take(client: &mut Client, token: &[u8]) -> Result<SocketAddr, u16> {
    let answer = client.allocate_with(&|writer| {
        writer.attribute(AttributeType::RESERVATION_TOKEN, token);
    });
    answer.map(|answer| answer.relayed())
}

// The end of an allocation.

#[test]
fn a_refresh_of_zero_ends_the_relaying_before_its_answer_leaves() {
    let server = Server::start();
    for mut client in either_road(&server) {
        // Again and again, for a race is not lost each time.
        for _ in 0..20 {
            let (relayed, peer) = (client.allocate(), peer(V4));
            client.permit(address(&peer));
            client.bind(CHANNEL, address(&peer));
            client.channel_data(CHANNEL, b"on time");
            assert_eq!(hear(&peer), (relayed, b"on time".to_vec()));

            assert_eq!(client.refresh(0), Ok(0));
            let successor = UdpSocket::bind(relayed).expect("the port is free with the answer");
            peer.send_to(b"too late", relayed).unwrap();
            client.channel_data(CHANNEL, b"too late");
            client.send(address(&peer), b"too late");
            client.fence();
            assert!(!client.has_data() && !has_heard(&peer));
            assert!(has_heard(&successor), "what is sent to the port is its new owner's");
        }
    }
}

#[test]
fn what_was_sent_before_a_refresh_of_zero_still_arrives() {
    let server = Server::start();
    for mut client in either_road(&server) {
        for _ in 0..20 {
            let (relayed, peer) = (client.allocate(), peer(V4));
            client.permit(address(&peer));
            for word in [b"one", b"two", b"six"] {
                client.send(address(&peer), word);
            }
            assert_eq!(client.refresh(0), Ok(0));
            for word in [b"one", b"two", b"six"] {
                assert_eq!(hear(&peer), (relayed, word.to_vec()));
            }
        }
    }
}

#[test]
fn the_same_5_tuple_can_allocate_again_at_once() {
    let server = Server::start();
    for mut client in either_road(&server) {
        for _ in 0..20 {
            let relayed = client.allocate();
            assert_eq!(client.try_allocate(), Err(437), "one at a time");
            assert_eq!(client.refresh(0), Ok(0));
            assert_eq!(client.refresh(600), Err(437), "it is gone");
            let peer = peer(V4);
            let again = client.allocate();
            client.send(address(&peer), b"by what was permitted before");
            client.fence();
            assert!(!has_heard(&peer), "a new allocation begins without permissions");
            client.permit(address(&peer));
            client.send(address(&peer), b"by what is permitted now");
            assert_eq!(hear(&peer).0, again);
            assert_eq!(client.refresh(0), Ok(0));
            assert!(is_free(relayed) && is_free(again));
        }
    }
}

#[test]
fn lifetimes_are_at_least_ten_minutes_and_at_most_what_is_configured() {
    let server = Server::with("[limits]\nlifetime_max_secs = 1000");
    let mut client = Client::udp(server.address());
    let lifetime = |asked: u32| {
        move |writer: &mut hairpin::wire::MessageWriter<'_>| {
            writer.attribute(AttributeType::LIFETIME, &asked.to_be_bytes());
        }
    };
    for (asked, granted) in [(1, 600), (600, 600), (999, 999), (u32::MAX, 1000)] {
        let answer = client.allocate_with(&lifetime(asked)).unwrap();
        assert_eq!(answer.lifetime(), granted);
        assert_eq!(client.refresh(asked), Ok(granted));
        assert_eq!(client.refresh(0), Ok(0));
    }
}

#[test]
fn fifty_allocations_leave_no_descriptor_and_no_port_behind() {
    let server = Server::with("workers = 2");
    let mut first = Client::udp(server.address());
    first.allocate();
    let before = server.descriptors();
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..50).map(|_| Client::udp(server.address())).collect();
        let relayed: Vec<_> = clients.iter_mut().map(Client::allocate).collect();
        assert_eq!(server.descriptors(), before + 50);
        assert!(!relayed.iter().any(|relayed| is_free(*relayed)));
        for client in &mut clients {
            assert_eq!(client.refresh(0), Ok(0));
        }
        assert_eq!(server.descriptors(), before);
        assert!(relayed.iter().all(|relayed| is_free(*relayed)));
    }
}

#[test]
fn tcp_clients_that_close_leave_no_descriptor_and_no_port_behind() {
    let server = Server::with("workers = 2");
    Client::udp(server.address()).fence();
    let before = server.descriptors();
    // Closing, ending one direction only, and a reset with data unread.
    for ending in 0..3 {
        let mut clients: Vec<_> = (0..50).map(|_| Client::tcp(server.address())).collect();
        let relayed: Vec<_> = clients.iter_mut().map(Client::allocate).collect();
        assert_eq!(server.descriptors(), before + 100);
        match ending {
            0 => drop(clients),
            1 => {
                clients.iter().for_each(Client::finish);
                for client in &mut clients {
                    let end = client.read().unwrap_err();
                    assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
                }
            }
            _ => clients.into_iter().for_each(Client::reset),
        }
        eventually("the descriptors are closed", || server.descriptors() == before);
        assert!(relayed.iter().all(|relayed| is_free(*relayed)));
    }
}

// The beginning of an allocation.

#[test]
fn a_retransmitted_allocate_gives_one_allocation_and_one_answer() {
    let server = Server::with("workers = 2");
    for mut client in either_road(&server) {
        // An attempt that is given up tells the client the nonce.
        client.allocate();
        client.refresh(0).unwrap();
        let before = server.descriptors();
        let request = client.signed(Method::ALLOCATE, &|writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            writer.attribute(AttributeType::EVEN_PORT, &[EVEN_AND_NEXT]);
        });
        let first = Answer(client.exchange(&request).unwrap());
        for _ in 0..5 {
            let again = Answer(client.exchange(&request).unwrap());
            assert_eq!(again.relayed(), first.relayed());
            assert_eq!(again.mapped(), first.mapped());
            assert_eq!(token(&again), token(&first));
            assert!(first.lifetime() - again.lifetime() <= 2);
        }
        assert_eq!(server.descriptors(), before + 2, "the relayed port and the reserved one");
        client.refresh(0).unwrap();
    }
}

#[test]
fn an_allocate_sent_many_times_at_once_gives_one_allocation() {
    let server = Server::with("workers = 2");
    let mut client = Client::udp(server.address());
    client.allocate();
    client.refresh(0).unwrap();
    let before = server.descriptors();
    let request = client.signed(Method::ALLOCATE, &|writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    });
    for _ in 0..10 {
        client.write(&request).unwrap();
    }
    let first = Answer(client.read().unwrap()).relayed();
    client.fence();
    assert_eq!(server.descriptors(), before + 1);
    assert!(!is_free(first));
    assert_eq!(client.refresh(0), Ok(0));
    assert!(is_free(first));
}

#[test]
fn without_a_free_port_there_is_508_and_nothing_stays_behind() {
    // Two neighbours that nobody else has.
    let held = loop {
        let one = peer(V4);
        if address(&one).port().is_multiple_of(2)
            && let Ok(two) = UdpSocket::bind(with_next(address(&one)))
        {
            break [one, two];
        }
    };
    let [min, max] = [address(&held[0]), address(&held[1])];
    let range = format!("[relay]\nport_min = {}\nport_max = {}", min.port(), max.port());
    let server = Server::with(&range);
    let mut clients = either_road(&server);
    let before = server.descriptors();
    for client in &mut clients {
        for _ in 0..20 {
            assert_eq!(client.try_allocate(), Err(508));
            assert_eq!(even_port(client, EVEN).map(|_| ()), Err(508));
            assert_eq!(even_port(client, EVEN_AND_NEXT).map(|_| ()), Err(508));
        }
    }
    assert_eq!(server.descriptors(), before);

    let [one, two] = held;
    drop(two);
    assert_eq!(even_port(&mut clients[0], EVEN_AND_NEXT).map(|_| ()), Err(508), "half a pair");
    assert_eq!(server.descriptors(), before);
    assert_eq!(clients[0].try_allocate(), Ok(max));
    assert_eq!(clients[1].try_allocate(), Err(508));
    drop(one);
    assert_eq!(clients[1].try_allocate(), Ok(min));
    for client in &mut clients {
        assert_eq!(client.refresh(0), Ok(0));
    }
    let pair = even_port(&mut clients[1], EVEN_AND_NEXT).unwrap();
    assert_eq!(pair.relayed(), min);
    assert!(!is_free(max));
}

#[test]
fn without_descriptors_there_is_508_until_some_are_free() {
    let server = Server::limited("workers = 1", Some(60));
    let mut clients: Vec<_> = (0..60).map(|_| Client::udp(server.address())).collect();
    let got: Vec<_> = clients.iter_mut().map(Client::try_allocate).collect();
    let room = got.iter().take_while(|got| got.is_ok()).count();
    assert!(room > 20, "{got:?}");
    assert!(room < 60 && got[room..].iter().all(|got| *got == Err(508)), "{got:?}");
    let full = server.descriptors();

    // Who has one is served as before.
    let peer = peer(V4);
    clients[0].permit(address(&peer));
    clients[0].send(address(&peer), b"still there");
    assert_eq!(hear(&peer).0, got[0].unwrap());

    // Whoever comes by TCP waits until there is a descriptor.
    let mut waiting = Client::tcp(server.address());
    for client in &mut clients[..room] {
        assert_eq!(client.refresh(0), Ok(0));
    }
    waiting.allocate();
    // Its connection is a descriptor, and its relay socket another.
    for client in &mut clients[..room - 2] {
        client.allocate();
    }
    assert_eq!(clients[room].try_allocate(), Err(508));
    assert_eq!(server.descriptors(), full);
}

// Reservations.

#[test]
fn an_even_port_is_even() {
    let server = Server::with("workers = 2");
    for _ in 0..20 {
        let mut client = Client::udp(server.address());
        let answer = even_port(&mut client, EVEN).unwrap();
        assert_eq!(answer.relayed().port() % 2, 0);
        assert!(!answer.message().has(AttributeType::RESERVATION_TOKEN));
    }
}

#[test]
fn a_reserved_port_is_held_until_its_token_takes_it() {
    let server = Server::with("workers = 2");
    // So often that with any luck the two clients are at different workers some time.
    for round in 0..16 {
        let mut one = Client::udp(server.address());
        let answer = even_port(&mut one, EVEN_AND_NEXT).unwrap();
        let (relayed, token) = (answer.relayed(), token(&answer));
        let next = with_next(relayed);
        assert_eq!(relayed.port() % 2, 0);
        assert!(!is_free(next), "the next port is held");

        let mut thief = Client::udp(server.address()).user("user2", "test2");
        assert_eq!(take(&mut thief, &token), Err(508), "a reservation is its user's");
        assert_eq!(take(&mut Client::udp(server.address()), b"somebody"), Err(508));
        if round % 2 == 0 {
            // The reservation outlives the allocation that made it.
            assert_eq!(one.refresh(0), Ok(0));
            assert!(!is_free(next));
        }

        let mut two = match round % 4 {
            0 => Client::tcp(server.address()),
            _ => Client::udp(server.address()),
        };
        assert_eq!(take(&mut two, &token), Ok(next));
        let peer = peer(V4);
        two.permit(address(&peer));
        two.send(address(&peer), b"from the next port");
        assert_eq!(hear(&peer), (next, b"from the next port".to_vec()));
        peer.send_to(b"and back", next).unwrap();
        assert_eq!(two.receive(), (Via::Data(address(&peer)), b"and back".to_vec()));

        let mut late = Client::udp(server.address());
        assert_eq!(take(&mut late, &token), Err(508), "a token is good once");
        assert_eq!(two.refresh(0), Ok(0));
        assert!(is_free(next));
    }
}

// Quotas.

#[test]
fn a_user_gets_no_more_allocations_than_the_quota_over_all_workers() {
    let server = Server::with("workers = 2\n[limits]\nallocations_per_user = 5");
    let mut clients: Vec<_> = (0..20).map(|_| Client::udp(server.address())).collect();
    let got: Vec<_> = clients.iter_mut().map(Client::try_allocate).collect();
    assert!(got[..5].iter().all(Result::is_ok), "{got:?}");
    assert!(got[5..].iter().all(|got| *got == Err(486)), "{got:?}");

    let mut other = Client::tcp(server.address()).user("user2", "test2");
    other.allocate();
    for at in 0..5 {
        assert_eq!(clients[at].refresh(0), Ok(0));
        clients[19 - at].allocate();
        assert_eq!(clients[at].try_allocate(), Err(486));
    }
}

/// Or one user could hold every odd port, half a minute each, with an allocation that is gone.
#[test]
fn a_reserved_port_counts_for_the_quota_until_it_is_taken_or_dropped() {
    let server = Server::with("workers = 2\n[limits]\nallocations_per_user = 3");
    let mut one = Client::udp(server.address());
    let reserved = token(&even_port(&mut one, EVEN_AND_NEXT).unwrap());
    assert_eq!(one.refresh(0), Ok(0));
    let mut two = Client::udp(server.address());
    assert_eq!(even_port(&mut two, EVEN_AND_NEXT).map(drop), Ok(()));
    // One for the first reservation, two for the second client.
    let mut more = Client::udp(server.address());
    assert_eq!(more.try_allocate(), Err(486));
    // The reservation becomes an allocation, which costs nothing more, and ends as one.
    let mut taker = Client::udp(server.address());
    take(&mut taker, &reserved).unwrap();
    assert_eq!(more.try_allocate(), Err(486));
    assert_eq!(taker.refresh(0), Ok(0));
    more.allocate();
}

#[test]
fn all_users_together_get_no_more_than_the_total() {
    let server = Server::with("workers = 2\n[limits]\nallocations_total = 6");
    let mut clients: Vec<_> = (0..12)
        .map(|at| match at % 2 {
            0 => Client::udp(server.address()),
            _ => Client::tcp(server.address()).user("user2", "test2"),
        })
        .collect();
    let got: Vec<_> = clients.iter_mut().map(Client::try_allocate).collect();
    assert!(got[..6].iter().all(Result::is_ok), "{got:?}");
    assert!(got[6..].iter().all(|got| matches!(got, Err(486 | 508))), "{got:?}");
    drop(clients);
    eventually("a TCP client's share comes back", || {
        Client::udp(server.address()).try_allocate().is_ok()
    });
}

// The end of the server.

/// Waits until the server has ended; says how and when.
fn end(server: &mut Server) -> (Option<i32>, Instant) {
    let mut code = None;
    eventually("the server ends", || match server.ended() {
        Some(status) => {
            code = status.code();
            true
        }
        None => false,
    });
    (code, Instant::now())
}

/// Each worker closes its listener when it hears of the end: where nobody accepts, all have.
fn is_draining(server: &Server) -> bool {
    TcpStream::connect(server.address()).is_err()
        && Client::udp(server.address()).try_allocate() == Err(508)
}

#[test]
fn a_server_without_allocations_ends_at_once_when_told_to() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::with("workers = 3\ndrain_secs = 60");
        server.signal(signal);
        assert_eq!(end(&mut server).0, Some(0));
    }
}

#[test]
fn a_draining_server_serves_what_is_there_until_its_time_is_over() {
    let mut server = Server::with("workers = 8\ndrain_secs = 2");
    // Fewer than workers, so that some workers have nothing to do.
    let mut clients: Vec<_> = (0..3).flat_map(|_| either_road(&server)).collect();
    let peers: Vec<_> = clients.iter().map(|_| peer(V4)).collect();
    let mut relayed = Vec::new();
    for (client, peer) in clients.iter_mut().zip(&peers) {
        relayed.push(client.allocate());
        client.bind(CHANNEL, address(peer));
    }
    let mut early: Vec<_> = (0..16).map(|_| Client::udp(server.address())).collect();
    for client in &mut early {
        client.try_binding().unwrap();
    }

    let told = Instant::now();
    server.signal(Signal::SIGTERM);
    eventually("the server drains", || is_draining(&server));
    let mut rounds = 0;
    while told.elapsed() < Duration::from_millis(1500) {
        for ((client, peer), relayed) in clients.iter_mut().zip(&peers).zip(&relayed) {
            client.channel_data(CHANNEL, b"still talking");
            assert_eq!(hear(peer), (*relayed, b"still talking".to_vec()), "round {rounds}");
            peer.send_to(b"and listening", relayed).unwrap();
            assert_eq!(client.receive(), (Via::Channel(CHANNEL), b"and listening".to_vec()));
            assert_eq!(client.refresh(600), Ok(600));
        }
        let at = rounds % early.len();
        assert_eq!(early[at].try_allocate(), Err(508));
        assert_eq!(Client::udp(server.address()).try_allocate(), Err(508));
        assert!(TcpStream::connect(server.address()).is_err(), "new clients go elsewhere");
        rounds += 1;
    }
    assert!(rounds > 16, "{rounds} rounds");
    let (code, ended) = end(&mut server);
    assert_eq!(code, Some(0));
    let took = ended - told;
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(4), "{took:?}");
}

/// The answer to an Allocate with credentials: the error's code and the servers that it names, each
/// encoded as MAPPED-ADDRESS is.
fn redirection(server: SocketAddr) -> (u16, Vec<Vec<u8>>) {
    let mut client = Client::udp(server);
    let code = client.try_allocate().expect_err("no allocation");
    let allocate = client.signed(Method::ALLOCATE, &|writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    });
    let answer = client.exchange(&allocate).expect("an answer");
    let message = Message::parse(&answer).expect("a message");
    let others = message.attributes().filter(|(kind, _)| *kind == AttributeType::ALTERNATE_SERVER);
    (code, others.map(|(_, value)| value.to_vec()).collect())
}

/// RFC 8489 §10.
#[test]
fn a_draining_server_sends_new_clients_to_the_others() {
    let others = "alternates = { udp = [\"192.0.2.1:3478\", \"[2001:db8::1]:3478\"] }";
    let mut server = Server::with(&format!("workers = 2\ndrain_secs = 60\n{others}"));
    let mut clients: Vec<_> = (0..6).map(|_| Client::udp(server.address())).collect();
    let peer = peer(V4);
    for client in &mut clients {
        client.allocate();
        client.bind(CHANNEL, address(&peer));
    }
    server.signal(Signal::SIGTERM);
    eventually("every worker drains", || TcpStream::connect(server.address()).is_err());
    for _ in 0..8 {
        let [v4, v6] = ["192.0.2.1:3478", "[2001:db8::1]:3478"]
            .map(|it| encode(it.parse().unwrap(), None).as_bytes().to_vec());
        assert_eq!(redirection(server.address()), (300, vec![v4.clone(), v6.clone()]));
        assert_eq!(redirection(server.at(Ipv6Addr::LOCALHOST)), (300, vec![v6, v4]));
    }
    for client in &mut clients {
        client.channel_data(CHANNEL, b"still talking");
        assert_eq!(hear(&peer).1, b"still talking");
        assert_eq!(client.refresh(0), Ok(0));
    }
    assert_eq!(end(&mut server).0, Some(0));
}

#[test]
fn a_draining_server_ends_with_its_last_allocation() {
    let mut server = Server::with("workers = 2\ndrain_secs = 60");
    let mut clients: Vec<_> = (0..6).map(|_| Client::udp(server.address())).collect();
    for client in &mut clients {
        client.allocate();
    }
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        assert_eq!(server.ended(), None);
        assert_eq!(client.refresh(0), Ok(0));
    }
    assert_eq!(end(&mut server).0, Some(0));
}

#[test]
fn a_second_signal_ends_a_draining_server_at_once() {
    let mut server = Server::with("workers = 2\ndrain_secs = 60");
    let mut client = Client::udp(server.address());
    client.allocate();
    server.signal(Signal::SIGTERM);
    eventually("the server drains", || is_draining(&server));
    server.signal(Signal::SIGTERM);
    assert_eq!(end(&mut server).0, Some(0));
}
