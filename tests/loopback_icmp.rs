//! A peer that is not there is told, and costs nobody else anything (RFC 8656 §11.5).
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use common::client::{Client, hear, peer};
use common::server::Server;
use hairpin::wire::{AttributeType, Class, Kind, Message, Method, kind_of};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const CHANNEL: u16 = 0x4001;

/// A port that refuses whatever comes to it, and is nobody else's meanwhile: its socket listens to
/// itself alone.
fn nobody(ip: IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = peer(ip);
    let address = socket.local_addr().unwrap();
    socket.connect(address).unwrap();
    (socket, address)
}

/// The next Data indication with ICMP: about which peer, and its value.
fn told(client: &mut Client) -> (SocketAddr, Vec<u8>) {
    let bytes = client.read().unwrap();
    assert_eq!(kind_of(&bytes), Kind::Stun);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.method(), message.class()), (Method::DATA, Class::Indication));
    assert!(!message.has(AttributeType::DATA));
    let about = message.xor_address(AttributeType::XOR_PEER_ADDRESS).unwrap().unwrap();
    (about, message.find(AttributeType::ICMP).unwrap().to_vec())
}

#[test]
fn a_closed_port_is_told_over_each_road_and_family() {
    let server = Server::start();
    let unreachable = [(V4, [0, 0, 3, 3, 0, 0, 0, 0]), (V6, [0, 0, 1, 4, 0, 0, 0, 0])];
    for make in [Client::udp, Client::tcp] {
        for (family, value) in unreachable {
            let mut client = make(server.address());
            client.allocate_like(family);
            let [(_first, indication), (_second, channel)] = [nobody(family), nobody(family)];
            client.permit(indication);
            client.send(indication, b"anybody there?");
            assert_eq!(told(&mut client), (indication, value.to_vec()));
            client.bind(CHANNEL, channel);
            client.channel_data(CHANNEL, b"anybody there?");
            assert_eq!(told(&mut client), (channel, value.to_vec()));
        }
    }
}

#[test]
fn other_peers_of_the_same_socket_lose_nothing() {
    let server = Server::start();
    for family in [V4, V6] {
        let mut client = Client::udp(server.address());
        let relayed = client.allocate_like(family);
        let (there, (_deaf, gone)) = (peer(family), nobody(family));
        let address = there.local_addr().unwrap();
        client.permit(address);
        client.bind(CHANNEL, gone);
        let mut errors = 0;
        for number in 0..500_u16 {
            client.channel_data(CHANNEL, b"anybody there?");
            client.send(address, &number.to_be_bytes());
            client.channel_data(CHANNEL, b"nobody?");
            let (from, data) = hear(&there);
            assert_eq!((from, &data[..]), (relayed, &number.to_be_bytes()[..]));
            there.send_to(&data, relayed).unwrap();
            // The answer comes, maybe behind some errors.
            loop {
                let bytes = client.read().unwrap();
                let message = Message::parse(&bytes).unwrap();
                if let Some(answer) = message.find(AttributeType::DATA) {
                    assert_eq!(answer, data);
                    break;
                }
                assert!(message.has(AttributeType::ICMP));
                errors += 1;
            }
        }
        // The client is told, but not of each.
        assert!((1..1000).contains(&errors), "{errors} errors were told");
    }
}
