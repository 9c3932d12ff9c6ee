//! TURN over TLS from outside: what passes, which certificate is shown, how it is renewed, and that
//! whoever plays with handshakes costs nobody else anything.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
    pub(crate) mod tls;
}

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::client::{Client, PATIENCE, Via, eventually, hear, peer};
use common::server::Server;
use common::tls::Authority;
use nix::sys::signal::Signal;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const NAME: &str = "turn.example.org";
const CHANNEL: u16 = 0x4001;

/// A server with one certificate, for [`NAME`].
fn server() -> (Server, Authority) {
    let authority = Authority::new();
    authority.issue("first", &[NAME]);
    (Server::with(&authority.listeners(&["first"])), authority)
}

fn client(server: &Server, ip: IpAddr, config: &Arc<ClientConfig>) -> Client {
    named(server, ip, NAME, config).unwrap()
}

fn named(
    server: &Server,
    ip: IpAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<Client> {
    Client::try_tls(server.secure_at(ip), name, Arc::clone(config))
}

/// The certificate that a client was shown.
fn shown(client: &Client) -> CertificateDer<'static> {
    client.tls().peer_certificates().unwrap()[0].clone().into_owned()
}

fn echoes(client: &mut Client, peer: &std::net::UdpSocket, relayed: SocketAddr, data: &[u8]) {
    client.channel_data(CHANNEL, data);
    let (from, heard) = hear(peer);
    assert_eq!(from, relayed);
    assert!(heard == data, "{} bytes reached the peer changed", data.len());
    peer.send_to(data, relayed).unwrap();
    let (via, heard) = client.receive();
    assert_eq!(via, Via::Channel(CHANNEL));
    assert!(heard == data, "{} bytes came back changed", data.len());
}

// What passes.

#[test]
fn an_allocation_over_tls_relays_whatever_its_families_and_sizes() {
    let (server, authority) = server();
    for client_ip in [V4, V6] {
        for relay_ip in [V4, V6] {
            let mut client = client(&server, client_ip, &authority.client(&["stun.turn"]));
            let (relayed, peer) = (client.allocate_like(relay_ip), peer(relay_ip));
            client.bind(CHANNEL, peer.local_addr().unwrap());
            for size in [0, 1, 2, 3, 160, 1200, 16_380, 16_384, 20_000, 65_000] {
                eprintln!("{client_ip} {relay_ip} {size}");
                let data: Vec<u8> = (0..size).map(|at| (at * 7 + at / 251) as u8).collect();
                echoes(&mut client, &peer, relayed, &data);
            }
        }
    }
}

#[test]
fn both_versions_of_tls_are_spoken() {
    let (server, authority) = server();
    let versions = [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)];
    for (version, number) in versions {
        let config = authority.client_of(&[version], &["stun.turn"]);
        let mut client = client(&server, V4, &config);
        assert_eq!(client.tls().protocol_version(), Some(number));
        client.allocate();
    }
}

#[test]
fn clients_with_either_protocol_of_stun_or_with_none_are_served() {
    let (server, authority) = server();
    for (offered, agreed) in [
        (&["stun.turn"][..], Some("stun.turn")),
        (&["stun.nat-discovery"], Some("stun.nat-discovery")),
        (&["h2", "stun.nat-discovery", "stun.turn"], Some("stun.turn")),
        (&[], None),
    ] {
        let mut client = client(&server, V4, &authority.client(offered));
        let protocol = client.tls().alpn_protocol();
        assert_eq!(protocol, agreed.map(str::as_bytes), "{offered:?}");
        assert_eq!(client.try_binding().unwrap(), client.local_addr());
    }
}

#[test]
fn a_client_that_offers_other_protocols_only_is_refused() {
    let (server, authority) = server();
    let Err(error) = named(&server, V4, NAME, &authority.client(&["h2", "imap"])) else {
        panic!("a mail client was let in");
    };
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    client(&server, V4, &authority.client(&[])).allocate();
}

#[test]
fn a_client_that_speaks_no_tls_at_a_tls_port_is_told_so() {
    let (server, _authority) = server();
    let mut plain = TcpStream::connect(server.secure_at(V4)).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(b"\x00\x01\x00\x00\x21\x12\xa4\x42is this TLS?").unwrap();
    let mut said = Vec::new();
    plain.read_to_end(&mut said).unwrap();
    assert_eq!(said.first(), Some(&21), "the content type of alerts");
}

#[test]
fn the_allocation_ends_with_its_connection_however_that_ends() {
    let (server, authority) = server();
    let config = authority.client(&[]);
    for says_so in [true, false] {
        let mut client = client(&server, V4, &config);
        let relayed = client.allocate();
        let (mut stream, _) = client.into_tls_stream();
        if says_so {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        drop(stream);
        eventually("the relayed port is free", || std::net::UdpSocket::bind(relayed).is_ok());
    }
}

// Which certificate is shown.

#[test]
fn the_certificate_is_the_one_for_the_name_that_is_asked_for() {
    let authority = Authority::new();
    let first = authority.issue("first", &[NAME]);
    let second = authority.issue("second", &["turn.example.net", "Stun.example.net"]);
    let wild = authority.issue("wild", &["*.example.com", NAME]);
    let server = Server::with(&authority.listeners(&["first", "second", "wild"]));
    let config = authority.client(&[]);
    for (name, certificate) in [
        (NAME, &first),
        ("turn.example.net", &second),
        ("stun.example.net", &second),
        ("TURN.EXAMPLE.NET", &second),
        ("any.example.com", &wild),
    ] {
        let client = named(&server, V4, name, &config).unwrap();
        assert!(shown(&client) == *certificate, "{name}");
    }
    // Whoever asks for another name sees the first, and does not believe it.
    for name in ["elsewhere.example", "a.b.example.com", "127.0.0.1"] {
        let Err(error) = named(&server, V4, name, &config) else { panic!("{name} was believed") };
        assert!(error.to_string().contains("not valid for name"), "{name}: {error}");
    }
}

// Renewal.

#[test]
fn a_renewal_reaches_the_next_client_and_no_other_loses_anything() {
    let authority = Authority::new();
    let old = authority.issue("first", &[NAME]);
    let server = Server::with(&authority.listeners(&["first"]));
    let config = authority.client(&["stun.turn"]);
    let mut calls: Vec<_> = [V4, V6, V4, V4]
        .into_iter()
        .map(|ip| {
            let mut client = client(&server, ip, &config);
            let (relayed, peer) = (client.allocate_like(V4), peer(V4));
            client.bind(CHANNEL, peer.local_addr().unwrap());
            assert!(shown(&client) == old);
            (client, peer, relayed)
        })
        .collect();
    let renewed = authority.issue("first", &[NAME]);
    let (mut round, mut seen) = (0_u32, false);
    // They go on relaying until the new certificate has been seen, and for a while after.
    eventually("a new client sees the new certificate", || {
        round += 1;
        for (client, peer, relayed) in &mut calls {
            echoes(client, peer, *relayed, &round.to_be_bytes().repeat(40));
        }
        seen = seen || shown(&client(&server, V4, &config)) == renewed;
        seen && round > 20
    });
    for (client, ..) in &mut calls {
        assert_eq!(client.refresh(600), Ok(600), "the allocation is still there");
        assert_eq!(client.challenges, [401], "nobody had to begin anew");
    }
}

#[test]
fn sighup_has_the_certificates_read_at_once() {
    let authority = Authority::new();
    authority.issue("first", &[NAME]);
    let server = Server::with(&authority.listeners(&["first"]));
    let renewed = authority.issue("first", &[NAME]);
    server.signal(Signal::SIGHUP);
    eventually("the log says so", || server.said().contains("the certificates were read again"));
    assert!(shown(&client(&server, V4, &authority.client(&[]))) == renewed);
}

#[test]
fn a_renewal_that_is_not_good_leaves_everything_as_it_was() {
    let authority = Authority::new();
    let old = authority.issue("first", &[NAME]);
    let server = Server::with(&authority.listeners(&["first"]));
    let config = authority.client(&[]);
    let mut before = client(&server, V4, &config);
    before.allocate();
    for (text, said) in [
        ("half a certif", "has no PEM certificate in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not an X.509"),
    ] {
        authority.put("first.pem", text);
        eventually("the log says why", || server.said().contains(said));
        assert!(shown(&client(&server, V4, &config)) == old);
    }
    // Somebody else's certificate.
    authority.issue("other", &[NAME]);
    let other = std::fs::read_to_string(authority.path("other.pem")).unwrap();
    authority.put("first.pem", &other);
    eventually("the log says why", || server.said().contains("is not the key of the first"));
    assert!(shown(&client(&server, V4, &config)) == old);
    assert_eq!(before.refresh(600), Ok(600));
    // And one that is good again is taken.
    let renewed = authority.issue("first", &[NAME]);
    eventually("a new client sees the new certificate", || {
        shown(&client(&server, V4, &config)) == renewed
    });
}

// TCP allocations (RFC 6062).

/// A control connection over TLS, and both ends of a pipe: the client's, inside TLS, and the
/// peer's.
fn pipe(
    server: &Server,
    config: &Arc<ClientConfig>,
) -> (Client, common::client::TlsStream, TcpStream) {
    let mut control = client(server, V4, config);
    control.try_allocate_tcp(V4).unwrap();
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let id = control.connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut data = client(server, V4, config);
    data.bind_connection(id).unwrap();
    let (near, kept) = data.into_tls_stream();
    assert!(kept.is_empty(), "nothing came yet");
    (control, near, peer)
}

/// Two workers, so that connections go from one to the other.
fn two_workers() -> (Server, Authority) {
    let authority = Authority::new();
    authority.issue("first", &[NAME]);
    let config = format!("workers = 2\n{}", authority.listeners(&["first"]));
    (Server::with(&config), authority)
}

fn passes(from: &mut impl Write, to: &mut impl Read, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    from.flush().unwrap();
    let mut heard = vec![0; bytes.len()];
    to.read_exact(&mut heard).unwrap();
    assert!(heard == bytes, "other bytes came than were sent");
}

#[test]
fn a_tcp_allocation_over_tls_carries_streams_whichever_worker_they_come_to() {
    let (server, authority) = two_workers();
    let config = authority.client(&["stun.turn"]);
    // Some of them are handed over, others not.
    for round in 0..8 {
        let (_control, mut near, mut peer) = pipe(&server, &config);
        for bytes in [&b"\x00\x01odd \xff"[..], &[round; 1], &[0x40; 50_000]] {
            passes(&mut near, &mut peer, bytes);
            passes(&mut peer, &mut near, bytes);
        }
        // One direction ends, the other goes on.
        near.conn.send_close_notify();
        near.flush().unwrap();
        near.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        passes(&mut peer, &mut near, b"still here");
        drop(peer);
        assert_eq!(near.read(&mut [0; 8]).unwrap(), 0, "the end is said inside TLS");
    }
}

#[test]
fn a_data_connection_that_was_cut_off_does_not_look_whole_to_the_peer() {
    let (server, authority) = two_workers();
    let (_control, mut near, mut peer) = pipe(&server, &authority.client(&[]));
    passes(&mut near, &mut peer, b"the first half");
    near.sock.shutdown(Shutdown::Write).unwrap();
    let error = peer.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_fast_peer_waits_for_a_slow_client_over_tls() {
    const BYTES: usize = 16 << 20;
    let (server, authority) = two_workers();
    let (_control, mut near, mut peer) = pipe(&server, &authority.client(&[]));
    let before = server.memory();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    let writer = std::thread::spawn(move || {
        for part in 0..BYTES / 65_536 {
            peer.write_all(&[part as u8; 65_536]).unwrap();
        }
    });
    // Nothing is read until the kernel's buffers and ours are full.
    std::thread::yield_now();
    let mut part = vec![0; 65_536];
    for number in 0..BYTES / 65_536 {
        near.read_exact(&mut part).unwrap();
        assert!(part.iter().all(|byte| *byte == number as u8), "part {number} came changed");
    }
    writer.join().unwrap();
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for a stream that waits");
    assert_eq!(near.read(&mut part).unwrap(), 0);
}

// Strangers.

/// A ClientHello as a real client sends it.
fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let mut tls = ClientConnection::new(Arc::clone(config), NAME.try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn forged_handshakes_cost_little_memory_and_nobody_else_anything() {
    const STRANGERS: usize = 4000;
    let authority = Authority::new();
    authority.issue("first", &[NAME]);
    let limits = "[limits]\ntls_handshakes = 200\ntls_handshake_secs = 5\n\
                  tcp_connections_per_source = 10000";
    let server = Server::with(&format!("{}{limits}", authority.listeners(&["first"])));
    let config = authority.client(&[]);
    let (mut bystander, peer) = (client(&server, V4, &config), peer(V4));
    let relayed = bystander.allocate();
    bystander.bind(CHANNEL, peer.local_addr().unwrap());
    let hello = client_hello(&config);
    let garbage: Vec<u8> = (0..2000_u32).map(|at| ((at * 31) >> 3) as u8).collect();
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 4000]].concat();
    let kinds = [&hello[..], &hello[..hello.len() / 2], &garbage, &endless, &hello[..3]];
    let mut held = Vec::new();
    let mut memory = 0;
    for number in 0..STRANGERS {
        let mut stranger = TcpStream::connect(server.secure_at(V4)).unwrap();
        // The server may have had enough of it already.
        let _ = stranger.write_all(kinds[number % kinds.len()]);
        held.push(stranger);
        if held.len() == 400 {
            held.drain(..100);
        }
        if number % 100 == 0 {
            echoes(&mut bystander, &peer, relayed, &number.to_be_bytes());
        }
        if number == STRANGERS / 4 {
            memory = server.memory();
        }
    }
    // Somebody who means it gets in while those that do not are still there.
    client(&server, V4, &config).allocate();
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 3000, "{grown} KiB more for three times as many strangers");
    drop(held);
    // The limit is what holds them, and it is for each worker's share of them.
    eventually("the strangers' sockets are closed", || server.descriptors() < 60);
    echoes(&mut bystander, &peer, relayed, b"still here");
}

#[test]
fn a_client_that_stops_within_its_handshake_is_let_go() {
    let authority = Authority::new();
    authority.issue("first", &[NAME]);
    let limits = "[limits]\ntls_handshake_secs = 1";
    let server = Server::with(&format!("{}{limits}", authority.listeners(&["first"])));
    let hello = client_hello(&authority.client(&[]));
    for part in [&hello[..], &hello[..1], &[]] {
        let mut stranger = TcpStream::connect(server.secure_at(V6)).unwrap();
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        stranger.write_all(part).unwrap();
        let mut said = Vec::new();
        // The end, and not the patience's.
        stranger.read_to_end(&mut said).unwrap();
    }
    assert!(PATIENCE > Duration::from_secs(1));
}
