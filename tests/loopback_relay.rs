//! The relay is real: somebody who speaks no STUN exchanges datagrams with a client, byte for
//! byte, whatever their size, the client's road and the family of the relayed address.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use common::client::{Client, Via, has_heard, hear, longest_data, peer};
use common::server::Server;
use hairpin::wire::AttributeType;
use socket2::SockRef;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const CHANNEL: u16 = 0x4001;
/// The longest payload of UDP over IPv4.
const UDP_MAX: usize = 65_507;

/// Bytes that no other length and no shift has.
fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251 + length) as u8).collect()
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// The two forms in which data goes between client and server.
#[derive(Clone, Copy, Debug)]
enum Form {
    Indication,
    Channel,
}

const FORMS: [Form; 2] = [Form::Indication, Form::Channel];

/// An allocation with one peer that it may talk to in one form.
struct Relay {
    client: Client,
    relayed: SocketAddr,
    peer: UdpSocket,
    form: Form,
}

impl Relay {
    fn new(mut client: Client, family: IpAddr, form: Form) -> Self {
        let (relayed, peer) = (client.allocate_like(family), peer(family));
        assert_eq!(relayed.is_ipv4(), family.is_ipv4());
        match form {
            Form::Indication => client.permit(address(&peer)),
            Form::Channel => client.bind(CHANNEL, address(&peer)),
        }
        Self { client, relayed, peer, form }
    }

    fn send(&mut self, data: &[u8]) {
        match self.form {
            Form::Indication => self.client.send(address(&self.peer), data),
            Form::Channel => self.client.channel_data(CHANNEL, data),
        }
    }

    /// The payload reaches the peer whole, and from the relayed address.
    fn passes_out(&mut self, length: usize) {
        self.send(&payload(length));
        let (from, data) = hear(&self.peer);
        assert_eq!((from, data.len()), (self.relayed, length), "out, {:?}", self.form);
        assert!(data == payload(length), "{length} bytes out, {:?}", self.form);
    }

    /// The peer's payload reaches the client whole, and says whose it is.
    fn passes_in(&mut self, length: usize) {
        self.peer.send_to(&payload(length), self.relayed).unwrap();
        let (via, data) = self.client.receive();
        let expected = match self.form {
            Form::Indication => Via::Data(address(&self.peer)),
            Form::Channel => Via::Channel(CHANNEL),
        };
        assert_eq!((via, data.len()), (expected, length), "in, {:?}", self.form);
        assert!(data == payload(length), "{length} bytes in, {:?}", self.form);
    }

    /// Nothing of it arrives, and what comes behind it does.
    fn is_dropped_on_the_way_out(&mut self, length: usize) {
        self.send(&payload(length));
        self.passes_out(17);
        self.client.fence();
        assert!(!has_heard(&self.peer), "a piece of {length} bytes out, {:?}", self.form);
    }

    fn is_dropped_on_the_way_in(&mut self, length: usize) {
        self.peer.send_to(&payload(length), self.relayed).unwrap();
        self.passes_in(17);
        self.client.fence();
        assert!(!self.client.has_data(), "a piece of {length} bytes in, {:?}", self.form);
    }
}

// Every size.

fn every_size_passes(client: impl Fn(&Server) -> Client, family: IpAddr) {
    let server = Server::start();
    for form in FORMS {
        let mut relay = Relay::new(client(&server), family, form);
        for length in 0..=1472 {
            relay.passes_out(length);
            relay.passes_in(length);
        }
    }
}

#[test]
fn every_size_passes_between_udp_and_ipv4() {
    every_size_passes(|server| Client::udp(server.address()), V4);
}

#[test]
fn every_size_passes_between_udp_and_ipv6() {
    every_size_passes(|server| Client::udp(server.address()), V6);
}

#[test]
fn every_size_passes_between_tcp_and_ipv4() {
    every_size_passes(|server| Client::tcp(server.address()), V4);
}

#[test]
fn every_size_passes_between_tcp_and_ipv6() {
    every_size_passes(|server| Client::tcp(server.address()), V6);
}

#[test]
fn every_size_passes_between_udp_over_ipv6_and_ipv4() {
    every_size_passes(|server| Client::udp(server.at(V6)), V4);
}

#[test]
fn every_size_passes_between_tcp_over_ipv6_and_ipv6() {
    every_size_passes(|server| Client::tcp(server.at(V6)), V6);
}

// The largest.

#[test]
fn over_udp_the_largest_datagrams_pass_whole_or_not_at_all() {
    let server = Server::start();
    let mut relay = Relay::new(Client::udp(server.address()), V4, Form::Indication);
    let longest = longest_data(address(&relay.peer), UDP_MAX);
    for length in [9000, 65_000, longest] {
        relay.passes_out(length);
        relay.passes_in(length);
    }
    for length in [longest + 1, UDP_MAX] {
        relay.is_dropped_on_the_way_in(length);
    }

    let mut relay = Relay::new(Client::udp(server.address()), V4, Form::Channel);
    for length in [9000, 65_000, UDP_MAX - 4] {
        relay.passes_out(length);
        relay.passes_in(length);
    }
    for length in [UDP_MAX - 3, UDP_MAX] {
        relay.is_dropped_on_the_way_in(length);
    }
}

#[test]
fn over_tcp_all_that_udp_can_carry_passes_whole() {
    let server = Server::start();
    for form in FORMS {
        let mut relay = Relay::new(Client::tcp(server.address()), V4, form);
        for length in [9000, 65_000, UDP_MAX - 1, UDP_MAX] {
            relay.passes_out(length);
            relay.passes_in(length);
        }
        // A peer cannot be sent these, and what follows on the stream stays in step.
        relay.is_dropped_on_the_way_out(UDP_MAX + 1);
        relay.is_dropped_on_the_way_out(65_516);
    }
    let mut relay = Relay::new(Client::tcp(server.address()), V4, Form::Channel);
    relay.is_dropped_on_the_way_out(65_535);
}

#[test]
fn over_tcp_all_that_udp_over_ipv6_can_carry_passes_whole_or_not_at_all() {
    const UDP_OVER_IPV6_MAX: usize = 65_527;
    let server = Server::start();
    let mut relay = Relay::new(Client::tcp(server.address()), V6, Form::Channel);
    for length in [65_000, UDP_MAX, UDP_OVER_IPV6_MAX] {
        relay.passes_out(length);
        relay.passes_in(length);
    }
    relay.is_dropped_on_the_way_out(UDP_OVER_IPV6_MAX + 1);

    // The length field of STUN cannot say more than this.
    let mut relay = Relay::new(Client::tcp(server.address()), V6, Form::Indication);
    let longest = longest_data(address(&relay.peer), 20 + 65_532);
    relay.passes_out(longest);
    relay.passes_in(longest);
    relay.is_dropped_on_the_way_in(longest + 1);
    relay.is_dropped_on_the_way_in(UDP_OVER_IPV6_MAX);
}

// Addresses.

#[test]
fn answers_and_data_come_from_the_address_that_was_asked() {
    let everywhere = "[listen]\nudp = [\"0.0.0.0:PORT\"]\ntcp = [\"0.0.0.0:PORT\"]";
    let server = Server::with(everywhere);
    // The client refuses whatever comes from elsewhere.
    for last in [1, 2, 3] {
        let asked = server.at([127, 0, 0, last]);
        for form in FORMS {
            let mut client = Client::udp(asked);
            assert_eq!(client.try_binding().unwrap(), client.local_addr());
            client = {
                let mut relay = Relay::new(client, V4, form);
                for length in [1, 1200] {
                    relay.passes_out(length);
                    relay.passes_in(length);
                }
                relay.client
            };
            assert_eq!(client.refresh(0), Ok(0));

            let mut relay = Relay::new(Client::tcp(asked), V4, form);
            relay.passes_out(1200);
            relay.passes_in(1200);
        }
    }
}

#[test]
fn one_client_port_has_an_allocation_at_each_address_of_the_server() {
    let server = Server::with("[listen]\nudp = [\"0.0.0.0:PORT\"]\ntcp = [\"0.0.0.0:PORT\"]");
    let one = Client::udp(server.at([127, 0, 0, 2]));
    let two = one.at_another(server.at([127, 0, 0, 3]));
    let mut relays = [Relay::new(one, V4, Form::Channel), Relay::new(two, V4, Form::Indication)];
    assert_ne!(relays[0].relayed, relays[1].relayed);
    for relay in &mut relays {
        relay.passes_out(100);
        relay.passes_in(100);
    }
    assert_eq!(relays[0].client.refresh(0), Ok(0));
    relays[1].passes_out(100);
    relays[1].passes_in(100);
}

#[test]
fn a_client_behind_each_loopback_address_sees_its_own() {
    let server = Server::with("[listen]\nudp = [\"0.0.0.0:PORT\"]\ntcp = [\"0.0.0.0:PORT\"]");
    for last in [1, 77, 254] {
        let local = SocketAddr::from(([127, 0, 0, last], 0));
        let mut client = Client::udp_from(local, server.address());
        assert_eq!(client.try_binding().unwrap(), client.local_addr());
        let answer = client.allocate_with(&|_| {}).unwrap();
        assert_eq!(answer.mapped(), client.local_addr());
    }
}

// Relay to relay.

#[test]
fn clients_reach_each_other_through_two_relays_in_every_combination() {
    let server = Server::with("workers = 2");
    // So many that with any luck both workers have some: all at one is a chance of 1 in 2^15.
    let mut clients: Vec<_> = (0..16)
        .map(|index| match index % 4 {
            0 | 1 => Client::udp(server.address()),
            2 => Client::tcp(server.address()),
            _ => Client::udp(server.at(V6)),
        })
        .collect();
    let relayed: Vec<_> = clients.iter_mut().map(|client| client.allocate_like(V4)).collect();
    let channel = |to: usize| 0x4000 + to as u16;

    for (from, client) in clients.iter_mut().enumerate() {
        // A permission is for an address, whatever the port.
        client.permit(relayed[(from + 1) % relayed.len()]);
    }
    for from in 0..clients.len() {
        for to in (0..clients.len()).filter(|to| *to != from) {
            let data = payload(from * 100 + to);
            clients[from].send(relayed[to], &data);
            assert_eq!(clients[to].receive(), (Via::Data(relayed[from]), data), "{from} to {to}");
        }
    }

    for (from, client) in clients.iter_mut().enumerate() {
        for to in (0..relayed.len()).filter(|to| *to != from) {
            client.bind(channel(to), relayed[to]);
        }
    }
    for from in 0..clients.len() {
        for to in (0..clients.len()).filter(|to| *to != from) {
            let data = payload(from * 100 + to);
            clients[from].channel_data(channel(to), &data);
            let expected = (Via::Channel(channel(from)), data);
            assert_eq!(clients[to].receive(), expected, "{from} to {to}");
        }
    }
}

#[test]
fn relays_reach_each_other_where_nothing_else_of_the_host_is_reached() {
    let server = Server::with("workers = 2\n[peers]\nallow = []");
    let mut clients: Vec<_> = (0..8).map(|_| Client::udp(server.address())).collect();
    let relayed: Vec<_> = clients.iter_mut().map(Client::allocate).collect();
    let inside = peer(V4);
    for (from, to) in (0..clients.len()).zip((0..clients.len()).rev()) {
        clients[to].permit(relayed[from]);
        clients[from].permit(relayed[to]);
        clients[from].send(relayed[to], b"hello");
        assert_eq!(clients[to].receive(), (Via::Data(relayed[from]), b"hello".to_vec()));

        clients[from].send(address(&inside), b"let me in");
        clients[from].send(server.address(), b"let me in");
        inside.send_to(b"let me in", relayed[from]).unwrap();
        assert_eq!(clients[from].try_bind(CHANNEL, address(&inside)), Err(403));
        clients[from].fence();
        assert!(!has_heard(&inside) && !clients[from].has_data());
    }
}

#[test]
fn two_relays_of_ipv6_reach_each_other() {
    let server = Server::with("workers = 2");
    let (mut a, mut b) = (Client::udp(server.address()), Client::tcp(server.at(V6)));
    let (at_a, at_b) = (a.allocate_like(V6), b.allocate_like(V6));
    a.permit(at_b);
    b.bind(CHANNEL, at_a);
    a.send(at_b, b"there");
    assert_eq!(b.receive(), (Via::Channel(CHANNEL), b"there".to_vec()));
    b.channel_data(CHANNEL, b"and back");
    assert_eq!(a.receive(), (Via::Data(at_b), b"and back".to_vec()));
}

#[test]
fn nobody_reaches_their_own_relayed_address() {
    // Not even where loopback is a network like any other.
    let server = Server::start();
    let mut client = Client::udp(server.address());
    let mut other = Client::udp(server.address());
    let (own, others) = (client.allocate(), other.allocate());
    client.permit(others);
    assert!(client.try_bind(CHANNEL, own).is_err());
    client.send(own, b"to myself");
    client.channel_data(CHANNEL, b"to myself");
    client.fence();
    assert!(!client.has_data());
    other.permit(own);
    client.send(others, b"to another");
    assert_eq!(other.receive(), (Via::Data(own), b"to another".to_vec()));
}

// What cannot be delivered.

#[test]
fn what_cannot_be_delivered_does_not_stop_what_follows() {
    let server = Server::with("[peers]\nallow = [\"127.0.0.0/8\", \"255.255.255.255/32\"]");
    let closed = {
        let socket = peer(V4);
        address(&socket)
    };
    let nowhere: Vec<SocketAddr> = [
        SocketAddr::from(([127, 0, 0, 1], 0)),
        SocketAddr::from(([255, 255, 255, 255], 0)),
        SocketAddr::from(([255, 255, 255, 255], 9)),
        SocketAddr::from(([127, 255, 255, 255], 9)),
        closed,
        "[::1]:9".parse().unwrap(),
        "[::ffff:127.0.0.1]:9".parse().unwrap(),
    ]
    .into();
    for client in [Client::udp(server.address()), Client::tcp(server.address())] {
        let mut relay = Relay::new(client, V4, Form::Indication);
        for to in &nowhere {
            // Whether it may is the server's affair.
            let _ = relay.client.try_permit(*to);
            for length in [0, 1, 1200, 60_000] {
                relay.client.send(*to, &payload(length));
            }
            relay.passes_out(100);
            relay.passes_in(100);
        }
        // A refusal of the closed port comes back as an error of the next call on that socket.
        for _ in 0..100 {
            relay.client.send(closed, b"is anybody there?");
            relay.passes_out(10);
            relay.passes_in(10);
        }
        relay.client.bind(CHANNEL + 1, closed);
        for _ in 0..100 {
            relay.client.channel_data(CHANNEL + 1, b"is anybody there?");
            relay.passes_out(10);
        }
    }
}

#[test]
fn a_stranger_and_a_denied_peer_reach_nobody() {
    let server = Server::with("[peers]\nallow = [\"127.0.0.0/9\", \"127.128.0.1/32\"]");
    for client in [Client::udp(server.address()), Client::tcp(server.address())] {
        let mut relay = Relay::new(client, V4, Form::Indication);
        let stranger = peer([127, 0, 0, 2]);
        stranger.send_to(b"who are you?", relay.relayed).unwrap();
        relay.client.send(address(&stranger), b"who are you?");

        let denied = peer([127, 128, 0, 2]);
        assert_eq!(relay.client.try_permit(address(&denied)), Err(403));
        assert_eq!(relay.client.try_bind(CHANNEL, address(&denied)), Err(403));
        relay.client.send(address(&denied), b"let me in");
        denied.send_to(b"let me in", relay.relayed).unwrap();

        relay.passes_out(10);
        relay.passes_in(10);
        relay.client.fence();
        assert!(!relay.client.has_data());
        assert!(!has_heard(&stranger) && !has_heard(&denied));
    }
}

/// RFC 8656 §11.3: a relayed address is no server; what comes there is somebody's payload.
#[test]
fn what_a_peer_sends_is_payload_whatever_it_looks_like() {
    use hairpin::wire::{Class, Method};
    let server = Server::start();
    let empty = |method, class| common::client::write(method, class, &|_| {});
    for form in FORMS {
        let mut relay = Relay::new(Client::udp(server.address()), V4, form);
        for look in [
            empty(Method::BINDING, Class::Request),
            empty(Method::ALLOCATE, Class::Request),
            empty(Method::SEND, Class::Indication),
            b"\x40\x01\x00\x04data".to_vec(),
            b"\x16\xfe\xfd\x00\x00 a DTLS record".to_vec(),
        ] {
            relay.peer.send_to(&look, relay.relayed).unwrap();
            assert_eq!(relay.client.receive().1, look, "{form:?}");
        }
        relay.client.fence();
        assert!(!has_heard(&relay.peer), "the relayed address answers");
    }
}

/// RFC 8656 §13: a hop limit is not carried over from one side to the other. A server that does so
/// can be talked out of being heard at all.
#[test]
fn what_is_relayed_has_the_hops_of_a_packet_of_our_own() {
    use nix::sys::socket::{setsockopt, sockopt};
    const FEW: u32 = 3;
    let server = Server::start();
    let few = |socket: &UdpSocket| match address(socket) {
        SocketAddr::V4(_) => SockRef::from(socket).set_ttl_v4(FEW).unwrap(),
        SocketAddr::V6(_) => SockRef::from(socket).set_unicast_hops_v6(FEW).unwrap(),
    };
    let told = |socket: &UdpSocket| match address(socket) {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvTtl, &true).unwrap(),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true).unwrap(),
    };
    let usual = |socket: &UdpSocket| match address(socket) {
        SocketAddr::V4(_) => SockRef::from(socket).ttl_v4().unwrap(),
        SocketAddr::V6(_) => SockRef::from(socket).unicast_hops_v6().unwrap(),
    };
    for (near, far) in [(V4, V4), (V4, V6), (V6, V4), (V6, V6)] {
        for form in FORMS {
            let mut relay = Relay::new(Client::udp(server.at(near)), far, form);
            let expected = [usual(&relay.peer), usual(relay.client.socket())];
            for socket in [&relay.peer, relay.client.socket()] {
                few(socket);
                told(socket);
            }
            relay.send(b"out");
            relay.peer.send_to(b"in", relay.relayed).unwrap();
            let hops = [hops_left(&relay.peer), hops_left(relay.client.socket())];
            assert_eq!(hops, expected, "{near} to {far}, {form:?}");
        }
    }
}

/// The hops that the next datagram had left when it came.
fn hops_left(socket: &UdpSocket) -> u32 {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
    let (mut buffer, mut space) = ([0; 256], nix::cmsg_space!(i32));
    let mut buffers = [IoSliceMut::new(&mut buffer)];
    let (descriptor, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    let message =
        recvmsg::<SockaddrStorage>(descriptor, &mut buffers, Some(&mut space), flags).unwrap();
    let hops = message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => Some(hops),
        _ => None,
    });
    hops.expect("it was asked for").try_into().unwrap()
}

#[test]
fn a_send_with_dont_fragment_arrives() {
    use hairpin::wire::{Class, Method};
    let server = Server::start();
    let mut relay = Relay::new(Client::udp(server.address()), V4, Form::Indication);
    let to = address(&relay.peer);
    for length in [10, 1400] {
        let message = common::client::write(Method::SEND, Class::Indication, &|writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, to);
            writer.attribute(AttributeType::DONT_FRAGMENT, &[]);
            writer.attribute(AttributeType::DATA, &payload(length));
        });
        relay.client.write(&message).unwrap();
        assert_eq!(hear(&relay.peer), (relay.relayed, payload(length)));
        relay.passes_out(UDP_MAX / 2);
    }
}
