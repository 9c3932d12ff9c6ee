//! Clients that take their allocations along (RFC 8016), at the server as a user starts it.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use common::client::{Answer, Client, Via, eventually, hear, peer};
use common::server::Server;
use hairpin::wire::{AttributeType, Method};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const CHANNEL: u16 = 0x4001;
const TICKET: AttributeType = AttributeType::MOBILITY_TICKET;

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

fn ticket(answer: &Answer) -> Vec<u8> {
    answer.message().find(TICKET).expect("a ticket").to_vec()
}

/// An allocation that may be taken along: its relayed address and its ticket.
fn allocate(client: &mut Client) -> (SocketAddr, Vec<u8>) {
    let answer = client.allocate_with(&|writer| {
        writer.attribute(TICKET, b"");
    });
    let answer = answer.expect("an allocation");
    (answer.relayed(), ticket(&answer))
}

/// Refresh with a ticket.
fn show(client: &mut Client, shown: &[u8]) -> Result<Vec<u8>, u16> {
    let answer = client.request(Method::REFRESH, &|writer| {
        writer.attribute(TICKET, shown);
    });
    answer.map(|answer| ticket(&answer))
}

/// Data both ways, by the channel.
fn talk(client: &mut Client, peer: &UdpSocket, relayed: SocketAddr, words: &str) {
    client.channel_data(CHANNEL, words.as_bytes());
    assert_eq!(hear(peer), (relayed, words.as_bytes().to_vec()));
    peer.send_to(b"yes?", relayed).unwrap();
    assert_eq!(client.receive(), (Via::Channel(CHANNEL), b"yes?".to_vec()), "{words}");
}

/// One of four ways to the server, and each time another port, so that the kernel takes it to this
/// worker or that.
fn another_way(server: &Server, step: usize) -> Client {
    let at = server.at(if step % 4 < 2 { V6 } else { V4 });
    if step.is_multiple_of(2) { Client::tcp(at) } else { Client::udp(at) }
}

#[test]
fn a_call_goes_on_while_its_client_changes_address_family_transport_and_worker() {
    for workers in [1, 2, 3] {
        let server = Server::with(&format!("workers = {workers}"));
        let peer = peer(V4);
        let mut client = Client::udp(server.address());
        let (relayed, mut shown) = allocate(&mut client);
        client.bind(CHANNEL, address(&peer));
        for step in 0..24 {
            let mut next = another_way(&server, step);
            shown = show(&mut next, &shown).expect("the allocation");
            talk(&mut client, &peer, relayed, "by the old way");
            talk(&mut next, &peer, relayed, "by the new way");
            assert_eq!(client.refresh(600), Err(437));
            assert_eq!(next.refresh(600), Ok(600));
            client = next;
        }
        assert_eq!(client.refresh(0), Ok(0));
        eventually("its port is free", || UdpSocket::bind(relayed).is_ok());
        assert_eq!(show(&mut another_way(&server, 0), &shown), Err(437));
    }
}

#[test]
fn a_client_that_has_lost_its_connection_finds_its_allocation_again() {
    let server = Server::with("workers = 2");
    let peer = peer(V4);
    let mut client = Client::tcp(server.address());
    let (relayed, mut shown) = allocate(&mut client);
    client.bind(CHANNEL, address(&peer));
    for step in 0..16 {
        client.reset();
        client = another_way(&server, step * 2);
        shown = show(&mut client, &shown).expect("the allocation");
        talk(&mut client, &peer, relayed, "here again");
    }
}

/// RFC 6062: what peers have connected to, and what was bound, outlives the control connection.
#[test]
fn tcp_connections_with_peers_outlive_the_control_connection() {
    let server = Server::with("workers = 2");
    for _ in 0..8 {
        let listener = TcpListener::bind((V4, 0)).unwrap();
        let mut control = Client::tcp(server.address());
        let answer = control.request(Method::ALLOCATE, &|writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
            writer.attribute(TICKET, b"");
        });
        let shown = ticket(&answer.expect("an allocation"));
        let id = control.connect(listener.local_addr().unwrap()).unwrap();
        let mut data = Client::tcp(server.address());
        data.bind_connection(id).unwrap();
        let (mut near, kept) = data.into_stream();
        assert!(kept.is_empty());
        let (mut far, _) = listener.accept().unwrap();
        let other = TcpListener::bind((V4, 0)).unwrap();
        let waiting = control.connect(other.local_addr().unwrap()).unwrap();
        control.reset();

        let mut control = Client::tcp(server.address());
        show(&mut control, &shown).expect("the allocation");
        let mut bytes = [0; 5];
        near.write_all(b"there").unwrap();
        far.read_exact(&mut bytes).unwrap();
        far.write_all(b"back.").unwrap();
        near.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"back.");
        Client::tcp(server.address()).bind_connection(waiting).unwrap();
        assert_eq!(control.connect(listener.local_addr().unwrap()), Err(446));
        assert_eq!(control.refresh(0), Ok(0));
        assert_eq!(near.read(&mut bytes).unwrap_or(0), 0);
    }
}

#[test]
fn a_ticket_is_of_no_use_to_others_nor_twice() {
    let server = Server::with("workers = 2");
    let mut client = Client::udp(server.address());
    let (_, first) = allocate(&mut client);
    for step in 0..8 {
        let mut thief = another_way(&server, step).user("user2", "test2");
        assert_eq!(show(&mut thief, &first), Err(441));
        let mut guesser = another_way(&server, step).user("user1", "guessed");
        assert_eq!(show(&mut guesser, &first), Err(401));
    }
    let mut next = another_way(&server, 1);
    let second = show(&mut next, &first).expect("the allocation");
    for step in 0..8 {
        assert_eq!(show(&mut another_way(&server, step), &first), Err(400));
    }
    show(&mut another_way(&server, 2), &second).expect("the allocation");
}

#[test]
fn the_operator_may_forbid_it() {
    let server = Server::with("[auth]\nmobility = false");
    let mut client = Client::udp(server.address());
    let refused = client.allocate_with(&|writer| {
        writer.attribute(TICKET, b"");
    });
    assert_eq!(refused.err(), Some(405));
    client.allocate();
    assert_eq!(show(&mut client, &[7; 46]), Err(405));
}

#[test]
fn a_restart_leaves_tickets_of_no_use_and_harms_nobody() {
    let config = "workers = 1\n[auth]\nnonce_secret = \"the same on each start\"";
    let mut server = Server::with(config);
    let mut client = Client::udp(server.address());
    let (_, shown) = allocate(&mut client);
    server.start_again(config);
    allocate(&mut client);
    // The new allocation has the place of the old one, but no ticket of its.
    assert_eq!(show(&mut Client::udp(server.address()), &shown), Err(400));
    assert_eq!(client.refresh(600), Ok(600));
}
