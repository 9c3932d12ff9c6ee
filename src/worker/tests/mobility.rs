//! Clients that move to where the kernel gives them to another worker (RFC 8016).

use super::proxied::{balanced, proxied_udp};
use super::*;

const EMPTY: (AttributeType, &[u8]) = (AttributeType::MOBILITY_TICKET, b"");
const ZERO: (AttributeType, &[u8]) = (AttributeType::LIFETIME, &[0; 4]);

impl Client {
    /// A mobile allocation: its relayed address and its ticket.
    fn allocate_mobile(&mut self) -> (SocketAddr, Vec<u8>) {
        let answer = self.try_allocate(&[EMPTY]);
        (relayed(&answer), ticket(&answer))
    }

    /// Refresh with a ticket; the whole answer.
    fn show(&mut self, shown: &[u8], more: &[(AttributeType, &[u8])]) -> Vec<u8> {
        let all = [&[(AttributeType::MOBILITY_TICKET, shown)], more].concat();
        if self.nonce.is_empty() {
            let challenge = self.request(Method::REFRESH, &all, None);
            assert_eq!(error(&challenge), Some(401));
            let challenge = Message::parse(&challenge).unwrap();
            self.nonce = challenge.find(AttributeType::NONCE).unwrap().to_vec();
        }
        self.request(Method::REFRESH, &all, None)
    }

    fn is_stream(&self) -> bool {
        matches!(self.socket, Socket::Tcp(..))
    }

    /// Sends to a peer and hears from it, by channel 0x4001.
    fn talks(&mut self, peer: &UdpSocket, relayed: SocketAddr) {
        let frame = |client: &Self, payload: &[u8]| {
            let message = channel_data(0x4001, payload);
            if client.is_stream() { padded(message) } else { message }
        };
        let (up, down) = (frame(self, b"upwards"), frame(self, b"down"));
        self.write(&up);
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"upwards"[..], relayed));
        peer.send_to(b"down", relayed).unwrap();
        assert_eq!(self.read(), down);
    }
}

fn ticket(answer: &[u8]) -> Vec<u8> {
    success(answer).find(AttributeType::MOBILITY_TICKET).expect("a ticket").to_vec()
}

/// Which worker a new client comes to the kernel says by its address, so there are many of them.
#[test]
fn a_client_goes_from_address_to_address_transport_to_transport_and_worker_to_worker() {
    let server = start(Options { workers: 2, ..Options::default() });
    let (peer, peer_addr) = peer();
    let mut client = Client::udp(server.address, "alice");
    let (relayed, mut shown) = client.allocate_mobile();
    client.bind_channel(0x4001, peer_addr);
    client.talks(&peer, relayed);
    let mut others = Vec::new();
    for step in 0..48 {
        let make = if step % 3 == 2 { Client::tcp } else { Client::udp };
        let mut next = make(server.address, "alice");
        shown = ticket(&next.show(&shown, &[]));
        // The old way goes on until the new one carries data; from then on there is no old way.
        client.talks(&peer, relayed);
        next.talks(&peer, relayed);
        success(&next.request(Method::CREATE_PERMISSION, &[], Some(peer_addr)));
        next.bind_channel(0x4001, peer_addr);
        assert_eq!(error(&client.request(Method::REFRESH, &[], None)), Some(437));
        others.push(mem::replace(&mut client, next));
    }
    success(&client.request(Method::REFRESH, &[ZERO], None));
    // Wherever it was, there is nobody now.
    for old in &mut others {
        assert_eq!(error(&old.request(Method::REFRESH, &[], None)), Some(437));
    }
    let snapshots = server.stop();
    let sum = |of: fn(&Snapshot) -> u64| snapshots.iter().map(of).sum::<u64>();
    assert!(sum(|s| s.stats.crossed) > 0, "no client came to the other worker");
    assert!(sum(|s| s.stats.connections_handed_over) > 0, "no connection did");
    assert_eq!(sum(|s| s.core.moves), 48);
    assert_eq!((sum(|s| s.core.allocations), sum(|s| s.relays as u64)), (0, 0));
    assert_eq!(sum(|s| s.stats.drops.passed_on_twice), 0);
}

#[test]
fn one_worker_moves_its_clients_as_many_do() {
    let server = start(Options::default());
    let (peer, peer_addr) = peer();
    let mut client = Client::tcp(server.address, "alice");
    let (relayed, mut shown) = client.allocate_mobile();
    client.bind_channel(0x4001, peer_addr);
    for make in [Client::udp, Client::tcp, Client::tcp, Client::udp] {
        let mut next = make(server.address, "alice");
        shown = ticket(&next.show(&shown, &[]));
        client.talks(&peer, relayed);
        next.talks(&peer, relayed);
        client = next;
    }
    let snapshots = server.stop();
    assert_eq!((snapshots[0].core.moves, snapshots[0].stats.crossed), (4, 0));
}

#[test]
fn a_client_that_has_lost_its_connection_finds_its_allocation_again() {
    let server = start(Options { workers: 2, ..Options::default() });
    let (peer, peer_addr) = peer();
    let mut client = Client::tcp(server.address, "alice");
    let (relayed, mut shown) = client.allocate_mobile();
    client.bind_channel(0x4001, peer_addr);
    for round in 1..=12 {
        drop(client);
        let until = |count: fn(&Snapshot) -> u64| {
            while (0..2).map(|worker| count(&server.snapshot(worker))).sum::<u64>() < round {
                std::thread::yield_now();
            }
        };
        until(|snapshot| snapshot.core.clients_lost);
        peer.send_to(b"nobody hears this", relayed).unwrap();
        until(|snapshot| snapshot.core.drops(stats::Drop::ClientAway));
        client = Client::tcp(server.address, "alice");
        shown = ticket(&client.show(&shown, &[]));
        client.talks(&peer, relayed);
    }
    server.stop();
}

/// Both ends of a call are the server's clients, and nothing between them touches a socket,
/// wherever they go.
#[test]
fn calls_between_clients_go_on_while_both_move() {
    let server = start(Options { workers: 2, ..Options::default() });
    let mut ends = [(); 2].map(|()| Client::udp(server.address, "alice"));
    let [a, b] = &mut ends;
    let ((at_a, ticket_a), (at_b, ticket_b)) = (a.allocate_mobile(), b.allocate_mobile());
    a.bind_channel(0x4001, at_b);
    b.bind_channel(0x4001, at_a);
    let mut tickets = [ticket_a, ticket_b];
    for step in 0..24_u32 {
        let at = step as usize % 2;
        let make = if step % 5 == 4 { Client::tcp } else { Client::udp };
        let mut next = make(server.address, "alice");
        tickets[at] = ticket(&next.show(&tickets[at], &[]));
        ends[at] = next;
        let message = channel_data(0x4001, &step.to_be_bytes());
        ends[at].write(&message);
        assert_eq!(ends[1 - at].read(), message);
        ends[1 - at].write(&message);
        assert_eq!(ends[at].read(), message);
    }
    let snapshots = server.stop();
    assert_eq!(snapshots.iter().map(|s| s.stats.peers.packets_in).sum::<u64>(), 0);
}

#[test]
fn tickets_that_nobody_has_issued_cross_to_no_other_worker() {
    let server = start(Options { workers: 2, ..Options::default() });
    let mut client = Client::udp(server.address, "alice");
    let (_, shown) = client.allocate_mobile();
    for step in 0..64 {
        let make = if step % 2 == 1 { Client::tcp } else { Client::udp };
        let mut stranger = make(server.address, "bob");
        let mut forged = shown.clone();
        let at = step % forged.len();
        forged[at] ^= 1;
        assert_eq!(error(&stranger.show(&forged, &[])), Some(400));
    }
    let snapshots = server.stop();
    let sum = |of: fn(&Snapshot) -> u64| snapshots.iter().map(of).sum::<u64>();
    assert_eq!((sum(|s| s.stats.crossed), sum(|s| s.stats.connections_handed_over)), (0, 0));
    assert_eq!((sum(|s| s.core.allocations), sum(|s| s.core.moves)), (1, 0));
}

/// A worker that has ended takes no connection; the client may try again, and nobody else minds.
#[test]
fn a_connection_that_its_worker_does_not_take_is_closed() {
    let server = start(Options { workers: 2, ..Options::default() });
    // A client of the second worker's.
    let mut shown = Vec::new();
    let mut clients = Vec::new();
    while shown.is_empty() {
        let before = server.snapshot(1).relays;
        let mut client = Client::tcp(server.address, "alice");
        let (_, ticket) = client.allocate_mobile();
        if server.snapshot(1).relays > before {
            shown = ticket;
        }
        clients.push(client);
    }
    let mut first = Vec::new();
    while first.is_empty() {
        let before = server.snapshot(0).connections;
        let mut client = Client::tcp(server.address, "alice");
        let challenge = client.show(b"", &[]);
        assert_eq!(error(&challenge), Some(400));
        if server.snapshot(0).connections > before {
            first.push(client);
        }
    }
    server.workers[1].stop().unwrap();
    while !server.workers[1].is_finished() {
        std::thread::yield_now();
    }
    let mut client = first.remove(0);
    let request = client.message(
        Method::REFRESH,
        Class::Request,
        &[(AttributeType::MOBILITY_TICKET, &shown)],
        None,
    );
    client.write(&request);
    let Socket::Tcp(stream, _) = &mut client.socket else { unreachable!("a stream") };
    let end = stream.read(&mut [0; 64]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let snapshot = server.until(|snapshot| snapshot.stats.handovers_refused == 1);
    assert_eq!(snapshot.core.moves, 0);
    server.stop();
}

/// What another worker passes on it passes on with the way back, which only it has seen.
#[test]
fn a_client_that_load_balancers_bring_goes_from_worker_to_worker() {
    let server = balanced(2);
    let (peer, peer_addr) = peer();
    let mut client = proxied_udp(&server, "198.51.100.1:4444");
    let (relayed, mut shown) = client.allocate_mobile();
    client.bind_channel(0x4001, peer_addr);
    for step in 2..26 {
        let mut next = proxied_udp(&server, &format!("198.51.100.{step}:4444"));
        shown = ticket(&next.show(&shown, &[]));
        next.talks(&peer, relayed);
        client = next;
    }
    success(&client.request(Method::REFRESH, &[ZERO], None));
    let snapshots = server.stop();
    let sum = |of: fn(&Snapshot) -> u64| snapshots.iter().map(of).sum::<u64>();
    assert!(sum(|s| s.stats.crossed) > 0, "no client came to the other worker");
}
