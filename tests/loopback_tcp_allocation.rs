//! TCP allocations (RFC 6062) from outside: what passes, at whose pace, and how it ends.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use common::client::{Client, PATIENCE, eventually, is_timeout};
use common::server::Server;
use hairpin::wire::{AttributeType, Method};
use socket2::{SockRef, Socket};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Two workers, however many CPUs there are: connections of one client come to both.
const TWO_WORKERS: &str = "workers = 2";

fn server() -> Server {
    Server::with(TWO_WORKERS)
}

/// A client with a TCP allocation, and its relayed address.
fn control(server: &Server, ip: IpAddr) -> (Client, SocketAddr) {
    let mut client = Client::tcp(server.at(ip));
    let relayed = client.try_allocate_tcp(ip).unwrap();
    (client, relayed)
}

fn listener(ip: IpAddr) -> TcpListener {
    TcpListener::bind((ip, 0)).unwrap()
}

/// The next connection to a peer, and where it comes from.
fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    eventually("a connection for the peer", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (stream, from) = accepted.unwrap();
    stream.set_nonblocking(false).unwrap();
    (patient(stream), from)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A client data connection for this CONNECTION-ID, over which nothing has come yet.
fn data(server: &Server, ip: IpAddr, id: [u8; 4]) -> TcpStream {
    let (stream, kept) = data_and_kept(server, ip, id);
    assert!(kept.is_empty(), "nothing came yet");
    stream
}

/// A client data connection, and what came right behind the answer to its ConnectionBind.
fn data_and_kept(server: &Server, ip: IpAddr, id: [u8; 4]) -> (TcpStream, Vec<u8>) {
    let mut client = Client::tcp(server.at(ip));
    client.bind_connection(id).unwrap();
    let (stream, kept) = client.into_stream();
    (patient(stream), kept)
}

/// A control connection, and both ends of a pipe: the client's and the peer's.
fn pipe(server: &Server) -> (Client, TcpStream, TcpStream) {
    let (mut client, _) = control(server, V4);
    let listener = listener(V4);
    let id = client.connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = accept(&listener);
    let near = data(server, V4, id);
    (client, near, peer)
}

fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert!(bytes == expected, "other bytes came than were sent");
}

fn passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    expect(to, bytes);
}

fn ends(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
}

// What passes.

#[test]
fn a_client_connects_to_a_peer_from_its_relayed_address() {
    let server = server();
    for ip in [V4, V6] {
        let (mut client, relayed) = control(&server, ip);
        let listener = listener(ip);
        let id = client.connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, from) = accept(&listener);
        assert_eq!(from, relayed);
        let mut near = data(&server, ip, id);
        // What looks like messages of TURN is data like any other.
        for bytes in [&b"\x00\x01odd \xff"[..], b"\x40\x01\x00\x04", &[0; 100], &[0xff; 70_000]] {
            passes(&mut near, &mut peer, bytes);
            passes(&mut peer, &mut near, bytes);
        }
    }
}

#[test]
fn a_permitted_peer_connects_to_the_relayed_address() {
    let server = server();
    for ip in [V4, V6] {
        let (mut client, relayed) = control(&server, ip);
        client.permit(SocketAddr::new(ip, 9));
        let mut peer = patient(TcpStream::connect(relayed).unwrap());
        let (from, id) = client.attempted();
        assert_eq!(from, peer.local_addr().unwrap());
        let mut near = data(&server, ip, id);
        passes(&mut near, &mut peer, b"come in");
        passes(&mut peer, &mut near, b"thank you");
    }
}

/// Through two relayed addresses, which may be two workers'.
#[test]
fn clients_of_this_server_are_each_others_peers() {
    let server = server();
    for _ in 0..8 {
        let ((mut left, _), (mut right, right_addr)) = (control(&server, V4), control(&server, V4));
        right.permit(SocketAddr::new(V4, 9));
        let id = left.connect(right_addr).unwrap();
        let (_, attempt) = right.attempted();
        let mut left = data(&server, V4, id);
        let mut right = data(&server, V4, attempt);
        passes(&mut left, &mut right, b"hello");
        passes(&mut right, &mut left, b"well met");
    }
}

#[test]
fn what_a_peer_sends_before_it_is_bound_is_kept() {
    let server = server();
    let (mut client, relayed) = control(&server, V4);
    client.permit(SocketAddr::new(V4, 9));
    let mut peer = patient(TcpStream::connect(relayed).unwrap());
    peer.write_all(b"early bird").unwrap();
    // The end may have come as well.
    peer.shutdown(Shutdown::Write).unwrap();
    let (_, id) = client.attempted();
    client.fence();
    // It may come together with the answer.
    let (mut near, mut bytes) = data_and_kept(&server, V4, id);
    let kept = bytes.len();
    bytes.resize(b"early bird".len(), 0);
    near.read_exact(&mut bytes[kept..]).unwrap();
    assert_eq!(bytes, b"early bird");
    ends(&mut near);
    passes(&mut near, &mut peer, b"worm");
}

/// A client that doesn't wait for the answer to its ConnectionBind, on a connection that goes from
/// one worker to another or stays.
#[test]
fn what_a_client_sends_behind_its_connection_bind_is_data() {
    let server = server();
    let (mut client, _) = control(&server, V4);
    for _ in 0..16 {
        let listener = listener(V4);
        let id = client.connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = accept(&listener);
        let mut near = Client::tcp(server.at(V4));
        // For its nonce.
        assert_eq!(near.refresh(0), Err(437));
        let mut bytes = near.signed(Method::CONNECTION_BIND, &|writer| {
            writer.attribute(AttributeType::CONNECTION_ID, &id);
        });
        bytes.extend_from_slice(b"no message at all");
        near.write(&bytes).unwrap();
        expect(&mut peer, b"no message at all");
    }
}

#[test]
fn a_connection_whose_bind_is_refused_can_be_used_again() {
    let server = server();
    let (mut client, _) = control(&server, V4);
    let listener = listener(V4);
    let id = client.connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = accept(&listener);
    for wrong in 1..=8_u8 {
        let mut near = Client::tcp(server.at(V4));
        let mut other = id;
        other[3] ^= wrong;
        assert_eq!(near.bind_connection(other), Err(400));
        near.try_binding().unwrap();
        if wrong == 8 {
            near.bind_connection(id).unwrap();
            let (mut near, _) = near.into_stream();
            passes(&mut near, &mut peer, b"at last");
        }
    }
}

/// As many at once that both workers have some of each kind: bound where they came, and handed
/// over.
#[test]
fn many_pipes_carry_much_without_a_byte_lost() {
    const PIPES: usize = 16;
    const BYTES: usize = 2 << 20;
    let server = server();
    let (mut client, _) = control(&server, V4);
    let listener = listener(V4);
    let mut pipes = Vec::new();
    for _ in 0..PIPES {
        // One connection for each peer, so each listens by itself.
        let listener = TcpListener::bind((V4, 0)).unwrap();
        let id = client.connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = accept(&listener);
        pipes.push((data(&server, V4, id), peer));
    }
    drop(listener);
    let pattern = |salt: usize| -> Vec<u8> { (0..BYTES).map(|n| (n * 31 + salt) as u8).collect() };
    let mut threads = Vec::new();
    for (salt, (near, peer)) in pipes.into_iter().enumerate() {
        for (from, to, salt) in [
            (near.try_clone().unwrap(), peer.try_clone().unwrap(), salt),
            (peer, near, salt + PIPES),
        ] {
            let (mut from, mut to) = (from, to);
            threads.push(thread::spawn(move || from.write_all(&pattern(salt)).unwrap()));
            threads.push(thread::spawn(move || expect(&mut to, &pattern(salt))));
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

// At whose pace.

/// Writes until the stream takes no more; gives how much it took.
fn fill(stream: &mut TcpStream, most: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (chunk, mut taken) = (vec![7; 1 << 16], 0);
    while taken < most {
        match stream.write(&chunk) {
            Ok(length) => taken += length,
            Err(error) if is_timeout(&error) => break,
            Err(error) => panic!("{error}"),
        }
    }
    taken
}

fn small_buffers(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    socket.set_recv_buffer_size(1 << 16).unwrap();
    socket.set_send_buffer_size(1 << 16).unwrap();
}

/// The kernel keeps some megabytes for each socket; the server keeps next to nothing. And what was
/// taken arrives, once it is read.
#[test]
fn a_slow_reader_slows_the_sender_down_and_costs_no_memory() {
    const MOST: usize = 256 << 20;
    let server = server();
    let (_control, near, peer) = pipe(&server);
    for (from, to) in [(&near, &peer), (&peer, &near)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        small_buffers(&from);
        small_buffers(&to);
        let before = server.memory();
        let taken = fill(&mut from, MOST);
        assert!(taken < 64 << 20, "{taken} bytes were taken for somebody who reads nothing");
        assert!(server.memory() < before + 1024, "{before} KiB became {}", server.memory());
        let mut left = taken;
        let mut buffer = vec![0; 1 << 20];
        while left > 0 {
            let length = to.read(&mut buffer).unwrap();
            assert!(length > 0 && buffer[..length].iter().all(|byte| *byte == 7));
            left -= length;
        }
    }
}

#[test]
fn a_pipe_that_stands_still_delays_nobody_else() {
    let server = server();
    let (mut client, mut near, peer) = pipe(&server);
    small_buffers(&peer);
    fill(&mut near, 256 << 20);
    client.try_binding().unwrap();
    let (_control, mut other, mut far) = pipe(&server);
    passes(&mut other, &mut far, b"in time");
    passes(&mut far, &mut other, b"as well");
}

#[test]
fn a_peer_that_is_not_bound_is_held_back() {
    let server = server();
    let (mut client, relayed) = control(&server, V4);
    client.permit(SocketAddr::new(V4, 9));
    let mut peer = patient(TcpStream::connect(relayed).unwrap());
    small_buffers(&peer);
    let (_, id) = client.attempted();
    let before = server.memory();
    let taken = fill(&mut peer, 256 << 20);
    assert!(taken < 32 << 20, "{taken} bytes were taken for nobody");
    assert!(server.memory() < before + 512);
    // What was held back may come together with the answer.
    let (mut near, mut buffer) = data_and_kept(&server, V4, id);
    let kept = buffer.len();
    buffer.resize(taken, 0);
    near.read_exact(&mut buffer[kept..]).unwrap();
    assert!(buffer.iter().all(|byte| *byte == 7));
}

// How it ends.

#[test]
fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let server = server();
    for client_first in [true, false] {
        let (_control, near, peer) = pipe(&server);
        let (mut first, mut last) = if client_first { (near, peer) } else { (peer, near) };
        first.write_all(b"that is all").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        expect(&mut last, b"that is all");
        ends(&mut last);
        passes(&mut last, &mut first, b"I had more to say");
        last.shutdown(Shutdown::Write).unwrap();
        ends(&mut first);
    }
}

#[test]
fn who_closes_has_its_last_words_delivered_and_the_other_hears_the_end() {
    let server = server();
    for client_first in [true, false] {
        let (_control, near, peer) = pipe(&server);
        let (mut first, mut last) = if client_first { (near, peer) } else { (peer, near) };
        let words = vec![5; 1 << 20];
        let writer = thread::spawn(move || first.write_all(&words).unwrap());
        expect(&mut last, &vec![5; 1 << 20]);
        writer.join().unwrap();
        ends(&mut last);
    }
}

#[test]
fn a_break_is_a_break_at_the_other_end() {
    let server = server();
    for client_first in [true, false] {
        let (_control, near, peer) = pipe(&server);
        let (first, mut last) = if client_first { (near, peer) } else { (peer, near) };
        Socket::from(first).set_linger(Some(Duration::ZERO)).unwrap();
        assert_eq!(last.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn the_end_of_the_allocation_ends_its_connections() {
    type End = fn(Client);
    let ends_of: [End; 3] = [
        |mut client| assert_eq!(client.refresh(0), Ok(0)),
        |client| client.finish(),
        |client| client.reset(),
    ];
    let server = server();
    for end in ends_of {
        let (client, mut near, mut peer) = pipe(&server);
        passes(&mut near, &mut peer, b"still here");
        end(client);
        ends(&mut near);
        ends(&mut peer);
    }
}

#[test]
fn an_allocation_that_has_ended_accepts_nobody() {
    let server = server();
    let (mut client, relayed) = control(&server, V4);
    drop(TcpStream::connect(relayed).unwrap());
    assert_eq!(client.refresh(0), Ok(0));
    let refused = TcpStream::connect(relayed).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_peer_that_has_gone_can_be_connected_again() {
    let server = server();
    let (mut client, near, peer) = pipe(&server);
    let peer_addr = peer.local_addr().unwrap();
    let listener = TcpListener::bind(SocketAddr::new(V4, 0)).unwrap();
    let other = listener.local_addr().unwrap();
    assert_eq!(client.connect(peer_addr), Err(446));
    drop((near, peer));
    // Gone is the listener too.
    eventually("the end of the pipe", || client.connect(peer_addr) == Err(447));
    let id = client.connect(other).unwrap();
    assert_eq!(client.connect(other), Err(446));
    let (mut far, _) = accept(&listener);
    passes(&mut data(&server, V4, id), &mut far, b"another one");
}

// Who may not.

#[test]
fn a_peer_without_permission_is_closed_at_once_and_not_announced() {
    let server = server();
    let (mut client, relayed) = control(&server, V4);
    let mut peer = patient(TcpStream::connect(relayed).unwrap());
    ends(&mut peer);
    client.fence();
    assert!(!client.has_data());
}

#[test]
fn a_peer_that_refuses_or_is_forbidden_is_an_error() {
    let server = server();
    let (mut client, relayed) = control(&server, V4);
    let nobody = listener(V4).local_addr().unwrap();
    assert_eq!(client.connect(nobody), Err(447));
    assert_eq!(client.connect("10.0.0.1:80".parse().unwrap()), Err(403));
    assert_eq!(client.connect(server.address()), Err(403));
    assert_eq!(client.connect(relayed), Err(403));
    assert_eq!(client.connect("[::1]:80".parse().unwrap()), Err(443));
}

#[test]
fn limits_hold_and_whoever_leaves_makes_room() {
    let limits = "[limits]\npeer_connections_per_allocation = 2\npeer_connections = 3";
    let server = Server::with(&format!("{TWO_WORKERS}\n{limits}"));
    let mut clients = [control(&server, V4).0, control(&server, V4).0];
    let listeners: Vec<_> = (0..3).map(|_| listener(V4)).collect();
    let addresses: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap()).collect();
    assert!(clients[0].connect(addresses[0]).is_ok());
    assert!(clients[0].connect(addresses[1]).is_ok());
    assert_eq!(clients[0].connect(addresses[2]), Err(508));
    assert!(clients[1].connect(addresses[0]).is_ok());
    // There is room in the allocation but not on the server.
    assert_eq!(clients[1].connect(addresses[1]), Err(508));
    assert_eq!(clients[0].refresh(0), Ok(0));
    assert!(clients[1].connect(addresses[1]).is_ok());
}

/// Descriptors show whatever was forgotten.
#[test]
fn nothing_is_left_of_a_hundred_pipes() {
    let server = server();
    let (mut client, relayed) = control(&server, V4);
    client.permit(SocketAddr::new(V4, 9));
    let before = server.descriptors();
    for round in 0..100 {
        let mut peer = patient(TcpStream::connect(relayed).unwrap());
        let (_, id) = client.attempted();
        if round % 4 == 0 {
            // Never bound.
            SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            continue;
        }
        let mut near = data(&server, V4, id);
        passes(&mut near, &mut peer, b"ping");
        if round % 4 == 1 {
            SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    eventually("all descriptors are closed", || server.descriptors() <= before);
}
