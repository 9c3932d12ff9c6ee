//! Payloads keep their traffic class, DSCP and ECN, on the way through the server (RFC 8656 §14),
//! and nothing else of ours has one. Read off the datagrams that arrive.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use common::client::{Client, peer, write};
use common::server::Server;
use hairpin::wire::{AttributeType, Class, Message, Method};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const CHANNEL: u16 = 0x4001;

/// Octets as they are sent, and as they arrive behind the server: EF, AF41 with ECT(0), CS1,
/// congestion experienced, CS5 with ECT(1), best effort; and what is the network's own.
const CARRIED: [(u8, u8); 8] = [
    (0xB8, 0xB8),
    (0x8A, 0x8A),
    (0x20, 0x20),
    (0x03, 0x03),
    (0xA1, 0xA1),
    (0x00, 0x00),
    (0xC0, 0x00),
    (0xE2, 0x02),
];

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// Sends with this octet from now on.
fn mark(socket: &UdpSocket, octet: u8) {
    match address(socket) {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4Tos, &octet.into()).unwrap(),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6TClass, &octet.into()).unwrap(),
    }
}

/// Has a socket report the octet of what it receives.
fn look(socket: &UdpSocket) {
    match address(socket) {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::IpRecvTos, &true).unwrap(),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvTClass, &true).unwrap(),
    }
}

/// The next datagram and its octet.
fn seen(socket: &UdpSocket) -> (Vec<u8>, u8) {
    let (mut buffer, mut space) = ([0; 2048], nix::cmsg_space!(i32));
    let mut buffers = [IoSliceMut::new(&mut buffer)];
    let (descriptor, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    let message =
        recvmsg::<SockaddrStorage>(descriptor, &mut buffers, Some(&mut space), flags).unwrap();
    let octet = message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::Ipv4Tos(octet) => Some(octet),
        ControlMessageOwned::Ipv6TClass(octet) => u8::try_from(octet).ok(),
        _ => None,
    });
    let (octet, length) = (octet.expect("it was asked for"), message.bytes);
    (buffer[..length].to_vec(), octet)
}

/// A client with an allocation, and a peer to talk to, both of which see what arrives.
fn pair(mut client: Client, far: IpAddr) -> (Client, SocketAddr, UdpSocket) {
    let (relayed, peer) = (client.allocate_like(far), peer(far));
    client.permit(address(&peer));
    look(&peer);
    (client, relayed, peer)
}

#[test]
fn the_class_is_carried_both_ways_within_and_between_families() {
    let server = Server::start();
    for (near, far) in [(V4, V4), (V4, V6), (V6, V4), (V6, V6)] {
        for is_bound in [false, true] {
            let (mut client, relayed, peer) = pair(Client::udp(server.at(near)), far);
            look(client.socket());
            if is_bound {
                client.bind(CHANNEL, address(&peer));
            }
            for (sent, arrives) in CARRIED {
                mark(client.socket(), sent);
                match is_bound {
                    true => client.channel_data(CHANNEL, b"out"),
                    false => client.send(address(&peer), b"out"),
                }
                assert_eq!(seen(&peer), (b"out".to_vec(), arrives), "out, {near} to {far}");
                mark(&peer, sent);
                peer.send_to(b"in", relayed).unwrap();
                let (_, octet) = seen(client.socket());
                assert_eq!(octet, arrives, "in, {near} to {far}, {sent:#x}");
            }
        }
    }
}

/// Whatever leaves together, each has its own, and none overtakes another.
#[test]
fn a_burst_of_many_classes_arrives_in_order_each_with_its_own() {
    let server = Server::with("workers = 1");
    let (mut client, relayed, peer) = pair(Client::udp(server.address()), V4);
    client.bind(CHANNEL, address(&peer));
    look(client.socket());
    for round in 0..20_usize {
        let class = |number: usize| CARRIED[(number / (round % 3 + 1)) % 6].0;
        for number in 0..60 {
            mark(client.socket(), class(number));
            client.channel_data(CHANNEL, &[number as u8; 100]);
        }
        for number in 0..60 {
            assert_eq!(seen(&peer), (vec![number as u8; 100], class(number)));
        }
        for number in 0..60 {
            mark(&peer, class(number));
            peer.send_to(&[number as u8; 100], relayed).unwrap();
        }
        for number in 0..60 {
            let (bytes, octet) = seen(client.socket());
            assert_eq!((bytes[4], octet), (number as u8, class(number)));
        }
    }
}

#[test]
fn between_two_clients_of_the_server_the_class_is_carried_too() {
    // With two workers, some of these pairs are of one and some of two.
    let server = Server::with("workers = 2");
    for _ in 0..8 {
        let mut clients = [(); 2].map(|()| Client::udp(server.address()));
        let relayed = clients.each_mut().map(Client::allocate);
        clients[0].permit(relayed[1]);
        clients[1].permit(relayed[0]);
        let [from, to] = &mut clients;
        look(to.socket());
        for (sent, arrives) in CARRIED {
            mark(from.socket(), sent);
            from.send(relayed[1], b"hello");
            assert_eq!(seen(to.socket()).1, arrives);
        }
    }
}

/// RFC 8656 §15: a stream's datagrams have no class of their own; §16: and it takes none over.
#[test]
fn over_tcp_there_is_one_class_and_it_is_the_streams() {
    let server = Server::start();
    let (mut client, relayed, peer) = pair(Client::tcp(server.address()), V4);
    client.send(address(&peer), b"out");
    assert_eq!(seen(&peer), (b"out".to_vec(), 0));
    mark(&peer, 0xB8);
    peer.send_to(b"in", relayed).unwrap();
    assert_eq!(client.receive().1, b"in");
}

/// What a stranger sends has the network do nothing for the answers, and what is told of a peer
/// has no class either.
#[test]
fn no_answer_has_a_class() {
    let server = Server::start();
    let mut client = Client::udp(server.address());
    client.allocate();
    let deaf = peer(V4);
    deaf.connect(address(&deaf)).unwrap();
    client.permit(address(&deaf));
    look(client.socket());
    mark(client.socket(), 0xB8);
    client.write(&write(Method::BINDING, Class::Request, &|_| {})).unwrap();
    assert_eq!(seen(client.socket()).1, 0);
    client.write(&write(Method::ALLOCATE, Class::Request, &|_| {})).unwrap();
    assert_eq!(seen(client.socket()).1, 0);
    client.send(address(&deaf), b"anybody there?");
    let (bytes, octet) = seen(client.socket());
    assert!(Message::parse(&bytes).unwrap().has(AttributeType::ICMP));
    assert_eq!(octet, 0);
}

#[test]
fn the_operator_may_have_none_carried() {
    let server = Server::with("dscp = false");
    let (mut client, relayed, peer) = pair(Client::udp(server.address()), V4);
    look(client.socket());
    mark(client.socket(), 0xB8);
    mark(&peer, 0xB8);
    client.send(address(&peer), b"out");
    assert_eq!(seen(&peer), (b"out".to_vec(), 0));
    peer.send_to(b"in", relayed).unwrap();
    assert_eq!(seen(client.socket()).1, 0);
}
