//! Clients behind a load balancer that says by the PROXY protocol whom it speaks for.

use super::*;
use crate::net::batch::Sender;
use crate::worker::lobby::WAITING_MAX;

/// These tests come from 127.0.0.1; a balancer of 127.0.0.2 is none of them.
pub(super) const BALANCED: &[&str] = &["127.0.0.1/32"];
const CLIENT: &str = "198.51.100.7:4444";

pub(super) fn balanced(workers: usize) -> Running {
    start(Options { workers, balancers: BALANCED, ..Options::default() })
}

/// A header of version 2; STREAM is 1 and DGRAM is 2.
fn v2(client: &str, protocol: u8) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let addresses = match client {
        SocketAddr::V4(client) => {
            header.extend([0x10 | protocol, 0, 12]);
            [&client.ip().octets()[..], &[192, 0, 2, 1]].concat()
        }
        SocketAddr::V6(client) => {
            header.extend([0x20 | protocol, 0, 36]);
            [&client.ip().octets()[..], &[1; 16]].concat()
        }
    };
    header.extend(addresses);
    header.extend(client.port().to_be_bytes());
    header.extend([0x0D, 0x96]);
    header
}

pub(super) fn v1(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    format!("PROXY TCP4 {} 192.0.2.1 {} 3478\r\n", client.ip(), client.port()).into_bytes()
}

pub(super) fn proxied_udp(server: &Running, client: &str) -> Client {
    Client { header: v2(client, 2), ..Client::udp(server.address, "alice") }
}

pub(super) fn proxied_tcp(server: &Running, header: &[u8]) -> Client {
    let mut client = Client::tcp(server.address, "alice");
    client.write(header);
    client
}

pub(super) fn mapped(client: &mut Client) -> SocketAddr {
    let answer = client.request(Method::BINDING, &[], None);
    success(&answer).xor_address(AttributeType::XOR_MAPPED_ADDRESS).unwrap().unwrap()
}

fn is_closed(client: Client) -> bool {
    let Socket::Tcp(mut stream, _) = client.socket else { unreachable!() };
    match stream.read(&mut [0; 8]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn the_client_that_a_header_names_is_told_its_own_address() {
    let server = balanced(1);
    for client in [CLIENT, "[2001:db8::7]:4444"] {
        let expected: SocketAddr = client.parse().unwrap();
        assert_eq!(mapped(&mut proxied_udp(&server, client)), expected);
        assert_eq!(mapped(&mut proxied_tcp(&server, &v2(client, 1))), expected);
    }
    assert_eq!(mapped(&mut proxied_tcp(&server, &v1(CLIENT))), CLIENT.parse().unwrap());
    let snapshot = &server.stop()[0];
    assert_eq!(snapshot.stats.proxied_connections, 3);
    assert_eq!(snapshot.stats.drops.no_proxy_header, 0);
}

#[test]
fn a_balancer_that_speaks_for_itself_is_told_its_own_address() {
    let server = balanced(1);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
    let mut udp = Client { header: local.to_vec(), ..Client::udp(server.address, "alice") };
    let Socket::Udp(socket) = &udp.socket else { unreachable!() };
    let own = socket.local_addr().unwrap();
    assert_eq!(mapped(&mut udp), own);
    let mut tcp = proxied_tcp(&server, b"PROXY UNKNOWN\r\n");
    let Socket::Tcp(stream, _) = &tcp.socket else { unreachable!() };
    let own = stream.local_addr().unwrap();
    assert_eq!(mapped(&mut tcp), own);
    server.stop();
}

#[test]
fn clients_behind_a_balancer_relay_both_ways() {
    let server = balanced(1);
    let (peer, peer_addr) = peer();
    let clients = [proxied_udp(&server, CLIENT), proxied_tcp(&server, &v2(CLIENT, 1))];
    for mut client in clients {
        let relayed = client.allocate();
        client.bind_channel(0x4000, peer_addr);
        client.write(&padded(channel_data(0x4000, b"to the peer")));
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"to the peer"[..], relayed));
        peer.send_to(b"to the client", relayed).unwrap();
        let received = client.read();
        assert_eq!(&received[4..17], b"to the client");
    }
    server.stop();
}

/// A run of equal lengths arrives joined and leaves as segments; each has its own header.
#[test]
fn a_burst_of_datagrams_with_headers_leaves_in_order_without_them() {
    let server = balanced(1);
    let (peer, peer_addr) = peer();
    let mut client = proxied_udp(&server, CLIENT);
    client.allocate();
    client.bind_channel(0x4000, peer_addr);
    for number in 0..100_u8 {
        client.write(&padded(channel_data(0x4000, &[number; 160])));
    }
    for number in 0..100_u8 {
        let mut buffer = [0; 512];
        let length = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], [number; 160]);
    }
    server.stop();
}

#[test]
fn two_clients_of_one_balancers_port_are_told_apart() {
    let server = balanced(1);
    let mut one = proxied_udp(&server, CLIENT);
    let relayed = one.allocate();
    let Socket::Udp(socket) = &one.socket else { unreachable!() };
    let same_port = socket.try_clone().unwrap();
    let mut other = proxied_udp(&server, "198.51.100.8:4444");
    other.socket = Socket::Udp(same_port);
    assert_ne!(other.allocate(), relayed);
    assert_eq!(server.snapshot(0).core.allocations, 2);
    server.stop();
}

#[test]
fn a_client_is_answered_by_the_balancers_port_that_brought_its_last_datagram() {
    let server = balanced(1);
    let (peer, peer_addr) = peer();
    let mut before = proxied_udp(&server, CLIENT);
    let relayed = before.allocate();
    before.bind_channel(0x4000, peer_addr);
    let mut after = proxied_udp(&server, CLIENT);
    after.write(&padded(channel_data(0x4000, b"by another way")));
    let mut buffer = [0; 64];
    peer.recv(&mut buffer).unwrap();
    peer.send_to(b"back by it", relayed).unwrap();
    assert_eq!(&after.read()[4..14], b"back by it");
    server.stop();
}

#[test]
fn a_balancer_must_say_whom_it_speaks_for() {
    let server = balanced(1);
    let mut udp = Client::udp(server.address, "alice");
    let request = udp.message(Method::BINDING, Class::Request, &[], None);
    let line = [v1(CLIENT), request.clone()].concat();
    let stream = [v2(CLIENT, 1), request.clone()].concat();
    let cut = v2(CLIENT, 2)[..20].to_vec();
    for bad in [&request, &line, &stream, &cut, &b"x".to_vec()] {
        udp.write(bad);
    }
    server.until(|snapshot| snapshot.stats.drops.no_proxy_header == 5);
    let Socket::Udp(socket) = &udp.socket else { unreachable!() };
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock);

    let mut closed = 0;
    for bad in [request, v2(CLIENT, 2), b"PROXY TCP4 x\r\n".to_vec(), vec![b'P'; 200]] {
        assert!(is_closed(proxied_tcp(&server, &bad)));
        closed += 1;
        assert_eq!(server.snapshot(0).stats.proxy_headers_wrong, closed);
    }
    let snapshot = &server.stop()[0];
    assert_eq!((snapshot.stats.proxied_connections, snapshot.connections), (0, 0));
}

#[test]
fn nobody_else_gets_to_say_who_they_are() {
    let server = start(Options { balancers: &["127.0.0.2/32"], ..Options::default() });
    let mut udp = proxied_udp(&server, CLIENT);
    let request = udp.message(Method::BINDING, Class::Request, &[], None);
    udp.write(&request);
    server.until(|snapshot| snapshot.core.drops(stats::Drop::Malformed) == 1);
    assert!(is_closed(proxied_tcp(&server, &v1(CLIENT))));
    assert!(is_closed(proxied_tcp(&server, &v2(CLIENT, 1))));
    // And they are served as ever.
    let mut udp = Client::udp(server.address, "alice");
    let Socket::Udp(socket) = &udp.socket else { unreachable!() };
    let own = socket.local_addr().unwrap();
    assert_eq!(mapped(&mut udp), own);
    let snapshot = &server.stop()[0];
    assert_eq!(snapshot.stats.connections_out_of_step, 2);
    assert_eq!(snapshot.stats.drops.no_proxy_header, 0);
}

#[test]
fn a_header_cut_at_every_byte_is_read() {
    let server = balanced(1);
    let mut author = Client::udp(server.address, "alice");
    let request = author.message(Method::BINDING, Class::Request, &[], None);
    for header in [v1(CLIENT), v2(CLIENT, 1)] {
        for cut in 1..header.len() {
            let before = server.snapshot(0).stats.turns;
            let mut client = proxied_tcp(&server, &header[..cut]);
            server.until(|snapshot| snapshot.stats.turns > before + 2);
            client.write(&[&header[cut..], &request].concat());
            success(&client.read());
        }
    }
    server.stop();
}

#[test]
fn what_a_balancer_tells_beyond_the_addresses_is_passed_over() {
    let server = balanced(1);
    let mut header = v2(CLIENT, 1);
    let more = [0xEA, 0, 5, 1, b'v', b'p', b'c', b'e'];
    header[15] += more.len() as u8;
    header.extend(more);
    assert_eq!(mapped(&mut proxied_tcp(&server, &header)), CLIENT.parse().unwrap());
    server.stop();
}

/// The limit for each source is the client's, not the balancer's.
#[test]
fn limits_for_a_source_are_those_of_the_client_that_is_named() {
    let crowd = CrowdLimits { per_source: 2, ..CrowdLimits::default() };
    let server = start(Options { balancers: BALANCED, crowd, ..Options::default() });
    let mut kept = Vec::new();
    for host in 1..5 {
        for port in [4001, 4002] {
            let mut client = proxied_tcp(&server, &v1(&format!("198.51.100.{host}:{port}")));
            mapped(&mut client);
            kept.push(client);
        }
    }
    assert!(is_closed(proxied_tcp(&server, &v1("198.51.100.1:4003"))));
    assert_eq!(server.snapshot(0).stats.connections_over_source_limit, 1);
    drop(kept);
    server.until(|snapshot| snapshot.connections == 0);
    server.stop();
}

/// By two front addresses of a balancer two clients of one NAT may come from the same port. They
/// must not end each other's allocations.
#[test]
fn a_second_connection_of_the_same_address_and_port_is_closed_while_the_first_lives() {
    let server = balanced(1);
    let mut first = proxied_tcp(&server, &v1(CLIENT));
    let relayed = first.allocate();
    assert!(is_closed(proxied_tcp(&server, &v2(CLIENT, 1))));
    success(&first.request(Method::REFRESH, &[], None));
    drop(first);
    server.until(|snapshot| snapshot.connections == 0);
    assert!(UdpSocket::bind(relayed).is_ok(), "it was freed with its connection");
    let mut second = proxied_tcp(&server, &v2(CLIENT, 1));
    second.allocate();
    assert_eq!(server.stop()[0].stats.proxied_twice, 1);
}

/// By two balancers they may come to two workers, and then meet where one of them is handed over.
#[test]
fn a_connection_that_is_handed_over_to_where_its_address_and_port_are_taken_is_closed() {
    let crowd = CrowdLimits { per_source: 2, ..CrowdLimits::default() };
    let options = Options { workers: 2, balancers: BALANCED, crowd, ..Options::default() };
    let server = start(options);
    let mut first = proxied_tcp(&server, &v1(CLIENT));
    let relayed = first.allocate();
    let owner = usize::from(server.snapshot(1).relays == 1);
    let mut refused = 0;
    let mut second = loop {
        let mut second = proxied_tcp(&server, &v1(CLIENT));
        let request = second.message(Method::BINDING, Class::Request, &[], None);
        second.write(&request);
        let Socket::Tcp(stream, _) = &mut second.socket else { unreachable!() };
        if matches!(stream.read(&mut [0; 64]), Ok(1..)) {
            break second;
        }
        refused += 1;
        assert!(refused < 64, "all come to one worker");
    };
    second.nonce.clone_from(&first.nonce);
    let id = (AttributeType::CONNECTION_ID, &[0, 0, 0, owner as u8][..]);
    let bind = second.message(Method::CONNECTION_BIND, Class::Request, &[id], None);
    second.write(&bind);
    assert!(is_closed(second));
    let snapshot = server.snapshot(owner);
    assert_eq!(snapshot.stats.connections_handed_over, 1);
    assert_eq!((snapshot.stats.proxied_twice, snapshot.connections), (refused + 1, 1));
    success(&first.request(Method::REFRESH, &[], None));
    assert!(UdpSocket::bind(relayed).is_err(), "its allocation is there");
    // It does not count any more.
    mapped(&mut proxied_tcp(&server, &v1("198.51.100.7:4445")));
    server.stop();
}

#[test]
fn a_direct_and_a_proxied_connection_of_the_same_address_and_port_do_not_share_an_allocation() {
    let server = balanced(1);
    let direct = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&"127.0.0.2:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.connect(&server.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let client = |stream| {
        let address = TcpStream::local_addr(&stream).unwrap();
        let socket = Socket::Tcp(stream, Vec::new());
        (Client { user: "alice", socket, nonce: Vec::new(), count: 0, header: Vec::new() }, address)
    };
    let (mut first, address) = client(direct());
    first.allocate();
    assert!(is_closed(proxied_tcp(&server, &v1(&address.to_string()))));
    success(&first.request(Method::REFRESH, &[], None));
    assert_eq!(server.snapshot(0).stats.proxied_twice, 1);
    drop(first);
    server.until(|snapshot| snapshot.connections == 0);
    mapped(&mut proxied_tcp(&server, &v1(&address.to_string())));
    server.stop();
}

#[test]
fn a_connection_whose_header_does_not_come_is_closed_and_others_are_served_meanwhile() {
    let server = balanced(1);
    let silent = proxied_tcp(&server, &[]);
    let slow = proxied_tcp(&server, &v1(CLIENT)[..10]);
    mapped(&mut proxied_tcp(&server, &v1(CLIENT)));
    for client in [silent, slow] {
        let Socket::Tcp(stream, _) = &client.socket else { unreachable!() };
        stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
        assert!(is_closed(client));
    }
    assert_eq!(server.stop()[0].stats.proxy_headers_late, 2);
}

#[test]
fn the_oldest_that_wait_for_a_header_make_room() {
    let server = balanced(1);
    let oldest = proxied_tcp(&server, &[]);
    server.until(|snapshot| snapshot.stats.turns > 0);
    let others: Vec<_> = (0..WAITING_MAX).map(|_| proxied_tcp(&server, &[])).collect();
    assert!(is_closed(oldest));
    mapped(&mut proxied_tcp(&server, &v1(CLIENT)));
    drop(others);
    assert!(server.stop()[0].stats.proxy_headers_displaced >= 1);
}

/// Anybody can send a datagram in a client's name, nobody else its credentials.
#[test]
fn what_comes_past_the_balancer_takes_a_client_with_it_when_it_is_authenticated() {
    let server = balanced(1);
    let (peer, peer_addr) = peer();
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut client = proxied_udp(&server, &address.to_string());
    let relayed = client.allocate();
    client.bind_channel(0x4000, peer_addr);
    socket.connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let nonce = client.nonce.clone();
    let (header, socket) = (Vec::new(), Socket::Udp(socket));
    let mut direct = Client { user: "alice", socket, nonce, count: 100, header };

    let spoofed = direct.message(Method::SEND, Class::Indication, &[], Some(peer_addr));
    let unproven =
        Client::udp(server.address, "alice").message(Method::REFRESH, Class::Request, &[], None);
    for datagram in [&b"noise"[..], &channel_data(0x4000, b"spoofed"), &spoofed, &unproven] {
        direct.write(datagram);
    }
    assert_eq!(error(&client.read()), Some(401), "to the balancer, as ever");
    peer.send_to(b"by the balancer", relayed).unwrap();
    assert_eq!(client.read(), channel_data(0x4000, b"by the balancer"));

    success(&direct.request(Method::REFRESH, &[], None));
    peer.send_to(b"past it", relayed).unwrap();
    assert_eq!(direct.read(), channel_data(0x4000, b"past it"));
    server.stop();
}

/// Strangers behind a balancer cost no more state than others do.
#[test]
fn a_way_back_is_kept_for_nobody_without_an_allocation() {
    let mut proxied = Proxied::new(BALANCED.iter().map(|net| net.parse().unwrap()).collect());
    let server: SocketAddr = "192.0.2.1:3478".parse().unwrap();
    let balancer: SocketAddr = "127.0.0.1:5555".parse().unwrap();
    let client = |number: u16| SocketAddr::from(([198, 51, 100, 7], number));
    for round in 0..4 {
        for number in 1..=500 {
            let bytes = v2(&client(number).to_string(), 2);
            let source = client(number);
            let behind = Sender::Behind { header: bytes.len(), source };
            assert_eq!(proxied.sender(balancer, server, &bytes), behind);
            assert_eq!(proxied.way_to(client(number), server), balancer, "in this turn");
        }
        proxied.forget(|(client, _)| client.port() == 77);
        assert_eq!(proxied.way_to(client(77), server), balancer);
        assert_eq!(proxied.len(), 1, "round {round}");
    }
}
