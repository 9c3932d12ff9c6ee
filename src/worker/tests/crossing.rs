//! Calls between clients of two workers: nothing of theirs touches a relay socket, and nobody can
//! tell.

use super::*;

/// Two clients of different workers, and their relayed addresses. The kernel spreads clients by
/// their addresses, so which worker one comes to, only its allocation tells.
fn far_apart(
    server: &Running,
    make: fn(SocketAddr, &'static str) -> Client,
) -> [(Client, SocketAddr); 2] {
    let mut found = [None, None];
    let mut others = Vec::new();
    while found.iter().any(Option::is_none) {
        let before = server.snapshot(0).relays;
        let mut client = make(server.address, "alice");
        let relayed = client.allocate();
        let worker = usize::from(server.snapshot(0).relays == before);
        match &mut found[worker] {
            Some(_) => others.push(client),
            empty => *empty = Some((client, relayed)),
        }
        assert!(others.len() < 64, "all clients come to one worker");
    }
    for client in &mut others {
        let end = [(AttributeType::LIFETIME, &[0; 4][..])];
        success(&client.request(Method::REFRESH, &end, None));
    }
    found.map(|client| client.expect("both were found"))
}

#[test]
fn payloads_cross_between_workers_as_sockets_would_bring_them() {
    for (make, on_stream) in
        [(Client::udp as fn(SocketAddr, &'static str) -> Client, false), (Client::tcp, true)]
    {
        let server = start(Options { workers: 2, ..Options::default() });
        let [(mut a, at_a), (mut b, at_b)] = far_apart(&server, make);
        let (peer, peer_addr) = peer();
        a.bind_channel(0x4001, at_b);
        a.bind_channel(0x4002, peer_addr);
        let frame = |number, payload: &[u8]| {
            let message = channel_data(number, payload);
            if on_stream { padded(message) } else { message }
        };
        // Before B permits it, nothing arrives.
        a.write(&frame(0x4001, b"uninvited"));
        server.until_at(1, |snapshot| snapshot.core.drops(stats::Drop::NoPermission) == 1);
        b.bind_channel(0x4003, peer_addr);
        b.bind_channel(0x4004, at_a);
        let mut buffer = vec![0; 65_536];
        for size in [0, 1, 3, 160, 1200, 20_000, 65_000] {
            let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            // By hand, and, from an outside peer, by B's relay socket: the same but the channel.
            a.write(&frame(0x4001, &payload));
            assert!(b.read() == frame(0x4004, &payload), "{size} bytes by hand");
            assert_eq!(peer.send_to(&payload, at_b).unwrap(), size);
            assert!(b.read() == frame(0x4003, &payload), "{size} bytes by socket");
            // And what goes to an outside peer still comes from A's relayed address.
            a.write(&frame(0x4002, &payload));
            let (length, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((length, from), (size, at_a));
        }
        let snapshots = server.stop();
        let sum = |of: fn(&Snapshot) -> u64| snapshots.iter().map(of).sum::<u64>();
        assert_eq!(sum(|s| s.stats.crossed), 8);
        assert_eq!(sum(|s| s.core.drops(stats::Drop::NoPermission)), 1);
        // What peers sent and got is all that relay sockets saw.
        assert_eq!((sum(|s| s.stats.peers.packets_in), sum(|s| s.stats.peers.packets_out)), (7, 7));
        assert_eq!(sum(|s| s.stats.drops.neighbour_behind), 0);
    }
}

#[test]
fn without_a_channel_a_payload_crosses_as_a_data_indication() {
    let server = start(Options { workers: 2, ..Options::default() });
    let [(mut a, at_a), (mut b, at_b)] = far_apart(&server, Client::udp);
    success(&a.request(Method::CREATE_PERMISSION, &[], Some(at_b)));
    success(&b.request(Method::CREATE_PERMISSION, &[], Some(at_a)));
    let data = [(AttributeType::DATA, &b"hello"[..])];
    let message = a.message(Method::SEND, Class::Indication, &data, Some(at_b));
    a.write(&message);
    let arrived = b.read();
    let arrived = Message::parse(&arrived).unwrap();
    assert_eq!((arrived.class(), arrived.method()), (Class::Indication, Method::DATA));
    assert_eq!(arrived.find(AttributeType::DATA).unwrap(), b"hello");
    assert_eq!(arrived.xor_address(AttributeType::XOR_PEER_ADDRESS).unwrap().unwrap(), at_a);
    server.stop();
}

#[test]
fn what_crosses_keeps_its_order() {
    let server = start(Options { workers: 2, ..Options::default() });
    let [(mut a, at_a), (mut b, at_b)] = far_apart(&server, Client::udp);
    a.bind_channel(0x4001, at_b);
    b.bind_channel(0x4001, at_a);
    let mut next = 0_u32;
    for round in 0..50_u32 {
        for number in 0..40 {
            a.write(&channel_data(0x4001, &(round * 40 + number).to_be_bytes()));
        }
        for _ in 0..40 {
            assert_eq!(b.read(), channel_data(0x4001, &next.to_be_bytes()));
            next += 1;
        }
    }
    let snapshots = server.stop();
    assert_eq!(snapshots.iter().map(|s| s.stats.crossed).sum::<u64>(), 2000);
}

/// What another worker hands over while this one serves its connections must not wait for the next
/// event, which may never come.
#[test]
fn what_comes_while_a_worker_serves_its_connections_is_not_left_lying() {
    let server = start(Options { workers: 2, ..Options::default() });
    let [(mut a, at_a), (mut b, at_b)] = far_apart(&server, Client::tcp);
    a.bind_channel(0x4001, at_b);
    b.bind_channel(0x4001, at_a);
    for round in 0..3000_u32 {
        let message = channel_data(0x4001, &round.to_be_bytes());
        a.write(&message);
        b.write(&message);
        assert_eq!((a.read(), b.read()), (message.clone(), message), "round {round}");
    }
    server.stop();
}
