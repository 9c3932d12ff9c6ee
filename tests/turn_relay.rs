//! What passes and how: Send and Data indications (RFC 8656 §11), ChannelData (§12), and the road
//! from one relayed address of this server to another.

mod common;

use std::collections::BTreeSet;

use common::{
    AttributeType, Class, Client, Drop, Method, OTHER_PEER, Out, PEER, PEER_V6, Packet, Response,
    Sim, Transport, V6, addr, secs,
};
use hairpin::turn::FiveTuple;

const AND_V6: (AttributeType, &[u8]) = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6);

fn permitted() -> (Sim, Client) {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate(client).success();
    sim.permit(client, PEER).success();
    (sim, client)
}

/// Two clients, each with an allocation and a permission for the other's relayed address.
fn pair(sim: &mut Sim, cores: [usize; 2]) -> [(Client, String); 2] {
    let clients = [(cores[0], "198.51.100.1:4000"), (cores[1], "198.51.100.2:4000")]
        .map(|(core, address)| sim.client_on(core, Transport::Udp, address));
    let both = clients.map(|client| (client, sim.allocate(client).success().relayed().to_string()));
    sim.permit(both[0].0, &both[1].1).success();
    sim.permit(both[1].0, &both[0].1).success();
    both
}

// ---- from the client

/// RFC 8656 §11.2.
#[test]
fn a_send_indication_leaves_from_the_relayed_address() {
    let (mut sim, client) = permitted();
    let out = sim.send(client, PEER, b"payload");
    assert_eq!(
        out,
        Out::ToPeer {
            from: sim.relayed(client)[0],
            to: addr(PEER),
            payload: b"payload".to_vec(),
            dont_fragment: false,
        }
    );
    let stats = sim.stats();
    assert_eq!((stats.packets_to_peer, stats.bytes_to_peer), (1, 7));
}

/// RFC 8656 §11.2: "the DATA attribute is allowed to contain zero bytes of data".
#[test]
fn payloads_of_every_length_pass_whole() {
    let (mut sim, client) = permitted();
    sim.bind_channel(client, 0x4000, PEER).success();
    for length in (0..64).chain([508, 1200, 1472, 9000, 16_385, 65_000, 65_507]) {
        let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
        if length <= 65_000 {
            assert_eq!(sim.send(client, PEER, &payload).reaches(PEER), payload);
        }
        assert_eq!(sim.send_on(client, 0x4000, &payload).reaches(PEER), payload);
        assert_eq!(sim.peer_sends(PEER, client, &payload).arrives_on(0x4000), payload);
        if length <= 65_000 {
            let other_port = "9.0.0.1:9";
            let out = sim.peer_sends(other_port, client, &payload);
            assert_eq!(out.arrives_from(other_port), payload);
        }
    }
}

/// RFC 8656 §11.2: "If one of these attributes is missing or invalid, then the message is
/// discarded".
#[test]
fn a_send_without_a_peer_or_data_dropped() {
    let (mut sim, client) = permitted();
    let bare = || Packet::new(Class::Indication, Method::SEND, [5; 12]);
    let invalid = AttributeType::XOR_PEER_ADDRESS;
    for packet in [
        bare(),
        bare().peer(addr(PEER)),
        bare().with(AttributeType::DATA, b"x"),
        bare().with(invalid, b"").with(AttributeType::DATA, b"x"),
        bare().with(invalid, [0, 1, 2, 3]).with(AttributeType::DATA, b"x"),
        bare().with(invalid, [0, 7, 2, 3, 4, 5, 6, 7]).with(AttributeType::DATA, b"x"),
    ] {
        sim.send_as(client, &packet, b"x").dropped();
    }
    assert_eq!(sim.drops(Drop::BadSend), 6);
}

/// RFC 8489 §6.3.2: an indication with unknown comprehension-required attributes is discarded.
#[test]
fn a_send_with_an_unknown_required_attribute_dropped() {
    let (mut sim, client) = permitted();
    let packet = sim.send_packet(PEER, b"x").with(AttributeType(0x7F31), b"");
    sim.send_as(client, &packet, b"x").dropped();
    let packet = sim.send_packet(PEER, b"x").with(AttributeType(0xFF31), b"");
    sim.send_as(client, &packet, b"x").reaches(PEER);
    assert_eq!(sim.drops(Drop::BadSend), 1);
}

#[test]
fn the_attributes_of_a_send_may_come_in_any_order() {
    let (mut sim, client) = permitted();
    let packet = Packet::new(Class::Indication, Method::SEND, [5; 12])
        .with(AttributeType::DATA, b"payload")
        .with(AttributeType::SOFTWARE, b"client")
        .peer(addr(PEER));
    sim.send_as(client, &packet, b"payload").reaches(PEER);
    let packet = packet.fingerprint();
    sim.send_as(client, &packet, b"payload").reaches(PEER);
    // RFC 8489 §14: only the first of a type counts.
    let packet = sim.send_packet(PEER, b"first").with(AttributeType::DATA, b"second");
    sim.send_as(client, &packet.peer(addr(OTHER_PEER)), b"first").reaches(PEER);
}

/// RFC 8656 §14: DONT-FRAGMENT sets DF on this datagram; without it DF is clear.
#[test]
fn dont_fragment_is_for_one_datagram() {
    let (mut sim, client) = permitted();
    let packet = sim.send_packet(PEER, b"x").with(AttributeType::DONT_FRAGMENT, b"");
    for (packet, expected) in [(packet, true), (sim.send_packet(PEER, b"x"), false)] {
        match sim.send_as(client, &packet, b"x") {
            Out::ToPeer { dont_fragment, .. } => assert_eq!(dont_fragment, expected),
            other => panic!("{other:?}"),
        }
    }
    sim.bind_channel(client, 0x4000, PEER).success();
    let Out::ToPeer { dont_fragment, .. } = sim.send_on(client, 0x4000, b"x") else { panic!() };
    assert!(!dont_fragment);
}

/// RFC 8656 §13.1 to §13.3: between families, and in IPv6, it "MUST be ignored by the server"; but
/// "only … for UDP-to-UDP relay" (§13).
#[test]
fn dont_fragment_is_ignored_where_there_is_ipv6_on_either_side() {
    for address in ["198.51.100.1:4000", "[2001:db8::1]:4000"] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut sim = Sim::new();
            let client = sim.client_on(0, transport, address);
            sim.allocate_with(client, &[AND_V6]).success();
            sim.permit_all(client, &[PEER, PEER_V6]).success();
            for peer in [PEER, PEER_V6] {
                let packet = sim.send_packet(peer, b"x").with(AttributeType::DONT_FRAGMENT, b"");
                let out = sim.send_as(client, &packet, b"x");
                let Out::ToPeer { dont_fragment, .. } = out else { panic!("{out:?}") };
                let is_ipv4 = addr(address).is_ipv4() && addr(peer).is_ipv4();
                let expected = is_ipv4 || transport == Transport::Tcp;
                assert_eq!(dont_fragment, expected, "{address} {transport:?} {peer}");
            }
        }
    }
}

/// One packet to where nobody can be must not stop an allocation.
#[test]
fn a_packet_to_nowhere_is_dropped_and_the_rest_goes_on() {
    let (mut sim, client) = permitted();
    for nowhere in ["9.0.0.1:0", "255.255.255.255:9", "0.0.0.0:9", "224.0.0.1:9"] {
        sim.send(client, nowhere, b"x").dropped();
        sim.peer_sends(nowhere, client, b"x");
        sim.send(client, PEER, b"x").reaches(PEER);
    }
}

#[test]
fn a_peer_of_a_family_that_was_not_allocated_dropped() {
    let (mut sim, client) = permitted();
    sim.send(client, PEER_V6, b"x").dropped();
    assert_eq!(sim.drops(Drop::BadSend), 1);
}

/// RFC 8656 §5: indications and ChannelData without an allocation are silently ignored.
#[test]
fn without_an_allocation_nothing_is_relayed_or_answered() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.send(client, PEER, b"x").dropped();
    sim.send_on(client, 0x4000, b"x").dropped();
    assert_eq!(sim.drops(Drop::NoAllocation), 2);
}

/// Indications are not authenticated (RFC 8656 §5), so the 5-tuple alone says whose they are.
#[test]
fn another_5_tuple_cannot_use_an_allocation() {
    let (mut sim, client) = permitted();
    sim.bind_channel(client, 0x4000, PEER).success();
    let others = [
        sim.client("198.51.100.1:4001"),
        sim.client("198.51.100.9:4000"),
        sim.tcp_client("198.51.100.1:4000"),
    ];
    for other in others {
        sim.send(other, PEER, b"x").dropped();
        sim.send_on(other, 0x4000, b"x").dropped();
    }
}

/// Data comes from servers only, and Send is no request.
#[test]
fn methods_in_the_wrong_class_are_dropped() {
    let (mut sim, client) = permitted();
    for (class, method) in [
        (Class::Indication, Method::DATA),
        (Class::Request, Method::DATA),
        (Class::Request, Method::SEND),
        (Class::Indication, Method::ALLOCATE),
        (Class::Indication, Method::REFRESH),
        (Class::Indication, Method::CREATE_PERMISSION),
        (Class::Indication, Method::CHANNEL_BIND),
    ] {
        let packet =
            Packet::new(class, method, [5; 12]).peer(addr(PEER)).with(AttributeType::DATA, b"x");
        sim.deliver(client, &packet.encode()).dropped();
    }
    assert_eq!(sim.drops(Drop::Unsupported), 7);
    assert_eq!(sim.stats().allocations, 1);
}

// ---- from the peer

/// RFC 8656 §11.3: XOR-PEER-ADDRESS and DATA, nothing else.
#[test]
fn a_peers_datagram_comes_as_a_data_indication() {
    let (mut sim, client) = permitted();
    let out = sim.peer_sends(PEER, client, b"payload");
    let Out::ToClient { path, bytes } = out else { panic!("{out:?}") };
    assert_eq!(path, sim.path(client));
    let response = Response::read(&bytes);
    assert_eq!(response.kinds(), [AttributeType::XOR_PEER_ADDRESS, AttributeType::DATA]);
    assert_eq!(response.get(AttributeType::DATA), b"payload");
    let stats = sim.stats();
    assert_eq!((stats.packets_to_client, stats.bytes_to_client), (1, 7));
}

/// RFC 8489 §6: the transaction id of an indication is random too.
#[test]
fn data_indications_have_transaction_ids_of_their_own() {
    let (mut sim, client) = permitted();
    let ids: BTreeSet<_> = (0..100)
        .map(|_| match sim.peer_sends(PEER, client, b"x") {
            Out::ToClient { bytes, .. } => Response::read(&bytes).transaction,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 100);
}

/// RFC 8656 §12.5: "The server … MUST use the ChannelData message if a channel has been bound to
/// the peer": to that very port.
#[test]
fn a_channel_is_used_for_its_peer_and_no_other_port() {
    let (mut sim, client) = permitted();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.peer_sends(PEER, client, b"x").arrives_on(0x4000);
    sim.peer_sends("9.0.0.1:7001", client, b"x").arrives_from("9.0.0.1:7001");
}

#[test]
fn what_no_message_can_carry_is_counted_and_dropped() {
    let (mut sim, client) = permitted();
    // 65535 bytes of attributes hold 12 for the peer, 4 for the header of DATA and 65516 of it.
    let longest = vec![7; 65_516];
    assert_eq!(sim.peer_sends(PEER, client, &longest).arrives_from(PEER), longest);
    sim.peer_sends(PEER, client, &vec![7; 65_517]).dropped();
    sim.peer_sends(PEER, client, &vec![7; 65_536]).dropped();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.peer_sends(PEER, client, &vec![7; 65_535]).arrives_on(0x4000);
    sim.peer_sends(PEER, client, &vec![7; 65_536]).dropped();
    assert_eq!(sim.drops(Drop::TooLong), 3);
}

#[test]
fn both_families_relay_for_clients_of_both_families() {
    for address in ["198.51.100.1:4000", "[2001:db8::1]:4000"] {
        let mut sim = Sim::new();
        let client = sim.client(address);
        sim.allocate_with(client, &[AND_V6]).success();
        sim.permit_all(client, &[PEER, PEER_V6]).success();
        sim.bind_channel(client, 0x4006, PEER_V6).success();
        let [v4, v6] = sim.relayed(client)[..] else { panic!("two addresses") };
        sim.send(client, PEER, b"x").reaches(PEER);
        sim.send_on(client, 0x4006, b"x").reaches(PEER_V6);
        sim.peer_to_relay(addr(PEER), v4, b"x").arrives_from(PEER);
        sim.peer_to_relay(addr(PEER_V6), v6, b"x").arrives_on(0x4006);
        let other_port = "[2600:9::1]:9";
        sim.peer_to_relay(addr(other_port), v6, b"1234567").arrives_from(other_port);
    }
}

#[test]
fn a_relay_that_is_gone_drops() {
    let (mut sim, client) = permitted();
    let (&(_, relay), _) = sim.sockets.iter().next().expect("one socket");
    sim.pass_without_timers(secs(600));
    sim.peer_sends(PEER, client, b"late").dropped();
    sim.refresh(client, 0).rejected(437);
    let now = sim.now();
    let peer = hairpin::turn::PeerAddr(addr(PEER));
    for id in [relay, hairpin::turn::RelayId(999)] {
        let verdict = sim.cores[0].handle_peer(now, id, peer, 1);
        assert_eq!(verdict, common::Verdict::Nothing);
    }
    assert_eq!(sim.drops(Drop::NoAllocation), 3);
}

// ---- hairpin

/// Both ends on this server: one's relayed address is the other's peer.
#[test]
fn relayed_addresses_of_this_server_reach_each_other() {
    for cores in [[0, 0], [0, 1]] {
        let mut sim = Sim::cores(2, 1, |_| {});
        let [(a, a_at), (b, b_at)] = pair(&mut sim, cores);
        let out = sim.send(a, &b_at, b"hello");
        assert_eq!(sim.carry(out).arrives_from(&a_at), b"hello");
        sim.bind_channel(b, 0x4000, &a_at).success();
        let out = sim.send_on(b, 0x4000, b"hello yourself");
        assert_eq!(sim.carry(out).arrives_from(&b_at), b"hello yourself");
        let out = sim.send(a, &b_at, b"on a channel");
        assert_eq!(sim.carry(out).arrives_on(0x4000), b"on a channel");
    }
}

/// Within one core no socket is touched; on the wire of both clients that must make no difference.
#[test]
fn within_a_core_and_between_two_the_receiver_sees_the_same() {
    let seen = [[0, 0], [0, 1]].map(|cores| {
        let mut sim = Sim::cores(2, 1, |_| {});
        let [(a, a_at), (b, b_at)] = pair(&mut sim, cores);
        let mut seen = Vec::new();
        for length in [0, 1, 2, 3, 4, 1200, 65_507] {
            let payload = vec![7; length];
            let out = sim.send(a, &b_at, &payload);
            let out = sim.carry(out);
            assert_eq!(out.clone().arrives_from(&a_at), payload);
            seen.push(match out {
                // The transaction id is random; header, padding and length are not.
                Out::ToClient { bytes, .. } => (bytes.len(), bytes[..2].to_vec()),
                other => panic!("{other:?}"),
            });
        }
        sim.bind_channel(a, 0x4001, &b_at).success();
        sim.bind_channel(b, 0x4002, &a_at).success();
        for length in [0, 1, 5, 1200] {
            let out = sim.send_on(a, 0x4001, &vec![7; length]);
            let Out::ToClient { bytes, .. } = sim.carry(out) else { panic!("not to a client") };
            seen.push((bytes.len(), bytes));
        }
        let counts = |core: usize| {
            let stats = sim.cores[core].stats();
            (stats.packets_to_peer, stats.bytes_to_peer)
        };
        (seen, counts(0))
    });
    assert_eq!(seen[0], seen[1]);
}

/// A relay's socket would not pass it, so the road through memory does not either.
#[test]
fn what_no_datagram_carries_does_not_pass_within_a_core() {
    let mut sim = Sim::cores(1, 1, |_| {});
    let clients = ["198.51.100.1:4000", "198.51.100.2:4000"]
        .map(|address| sim.client_on(0, Transport::Tcp, address));
    let [a_at, b_at] = clients.map(|client| sim.allocate(client).success().relayed().to_string());
    sim.bind_channel(clients[0], 0x4001, &b_at).success();
    sim.bind_channel(clients[1], 0x4001, &a_at).success();
    let out = sim.send_on(clients[0], 0x4001, &[0; 65_507]);
    assert_eq!(out.arrives_on(0x4001).len(), 65_507);
    sim.send_on(clients[0], 0x4001, &[0; 65_508]).dropped();
    assert_eq!(sim.drops(Drop::TooLong), 1);
}

/// Even where the server's addresses are nobody else's business.
#[test]
fn relayed_addresses_on_a_private_network_reach_each_other_and_nothing_beside() {
    let private = addr("10.0.0.5:0").ip();
    let mut sim = Sim::cores(2, 1, |config| {
        config.relay.addresses = vec![private];
        config.acl.own = vec![private];
    });
    let [(a, _), (b, b_at)] = pair(&mut sim, [0, 1]);
    let out = sim.send(a, &b_at, b"hello");
    sim.carry(out);
    // Another port of the same address is the private network again.
    sim.send(a, "10.0.0.5:22", b"x").dropped();
    sim.permit(a, "10.0.0.5:22").rejected(403);
    sim.bind_channel(a, 0x4000, "10.0.0.5:22").rejected(403);
    let local = sim.relayed(a)[0];
    sim.peer_to_relay(addr("10.0.0.5:22"), local, b"x").dropped();
    assert_eq!(sim.drops(Drop::PeerRefused), 2);
    // And so is the relayed address once it has closed.
    sim.bind_channel(a, 0x4000, &b_at).success();
    sim.refresh(b, 0).success();
    sim.send(a, &b_at, b"x").dropped();
    sim.send_on(a, 0x4000, b"x").dropped();
    sim.permit(a, &b_at).rejected(403);
    sim.peer_to_relay(addr(&b_at), local, b"x").dropped();
}

#[test]
fn the_receiver_needs_a_permission_for_the_senders_relayed_address() {
    let mut sim = Sim::new();
    let a = sim.client("198.51.100.1:4000");
    let b = sim.client("198.51.100.2:4000");
    sim.allocate(a).success();
    let b_at = sim.allocate(b).success().relayed().to_string();
    sim.permit(a, &b_at).success();
    let out = sim.send(a, &b_at, b"x");
    sim.carry(out).dropped();
    sim.permit(b, PEER).success();
    let out = sim.send(a, &b_at, b"x");
    sim.carry(out).dropped();
}

/// A client that could reach its own relayed address could make a packet run in circles.
#[test]
fn an_allocation_never_reaches_itself() {
    let mut sim = Sim::new();
    let (a, b) = (sim.client("198.51.100.1:4000"), sim.client("198.51.100.2:4000"));
    sim.allocate_with(a, &[AND_V6]).success();
    sim.allocate(b).success();
    for own in sim.relayed(a) {
        sim.permit(a, &own.to_string()).rejected(403);
        sim.bind_channel(a, 0x4000, &own.to_string()).rejected(403);
    }
    // Nor by a permission for another port of the same address.
    let other = sim.relayed(b)[0].to_string();
    sim.permit(a, &other).success();
    let own = sim.relayed(a)[0].to_string();
    sim.permit(b, &own).success();
    sim.send(a, &own, b"x").dropped();
    assert_eq!(sim.drops(Drop::PeerRefused), 1);
    assert_eq!(sim.send(a, &other, b"x").arrives_from(&own), b"x");
}

#[test]
fn the_ports_that_this_server_listens_on_are_never_reached() {
    // Even where the operator has opened the server's own addresses.
    let mut sim = Sim::with(|config| {
        config.acl.allow =
            ["8.0.0.1/32", "2600:8::1/128"].map(|net| net.parse().expect("a network")).to_vec();
    });
    let a = sim.client("198.51.100.1:4000");
    sim.allocate_with(a, &[AND_V6]).success();
    sim.permit_all(a, &["8.0.0.1:9", "[2600:8::1]:9"]).success();
    let [v4, v6] = sim.relayed(a)[..] else { panic!("two addresses") };
    for port in [3478, 5349] {
        for (listener, local) in [
            (format!("8.0.0.1:{port}"), v4),
            (format!("[2600:8::1]:{port}"), v6),
            (format!("[::ffff:8.0.0.1]:{port}"), v6),
        ] {
            sim.send(a, &listener, b"x").dropped();
            sim.bind_channel(a, 0x4000, &listener).rejected(403);
            sim.peer_to_relay(addr(&listener), local, b"x").dropped();
        }
    }
    sim.send(a, "8.0.0.1:9", b"x").reaches("8.0.0.1:9");
    sim.send(a, "[2600:8::1]:9", b"x").reaches("[2600:8::1]:9");
}

/// A host may get addresses after the server's start; what it relays from is its own at once.
#[test]
fn an_address_that_nobody_configured_is_own_as_soon_as_it_relays() {
    for nat in [false, true] {
        let mut sim = Sim::cores(2, 1, |config| {
            config.relay.addresses.clear();
            config.acl.own.clear();
            config.acl.allow = vec!["8.0.0.0/24".parse().expect("a network")];
            if nat {
                let (local, external) = (addr("8.0.0.1:0").ip(), addr("8.0.0.99:0").ip());
                config.relay.external = vec![(local, external)];
            }
        });
        let known_as = if nat { "8.0.0.99" } else { "8.0.0.1" };
        let a = sim.client("198.51.100.1:4000");
        let own = sim.allocate(a).success().relayed().to_string();
        assert!(own.starts_with(known_as));
        sim.permit(a, &format!("{known_as}:9")).success();
        sim.send(a, &own, b"x").dropped();
        sim.send(a, &format!("{known_as}:3478"), b"x").dropped();
        sim.bind_channel(a, 0x4000, &format!("{known_as}:3478")).rejected(403);
        sim.permit(a, "8.0.0.1:9").success();
        sim.send(a, "8.0.0.1:3478", b"x").dropped();
        // The other core has heard of it.
        let b = sim.client_at(1, FiveTuple { server: addr("8.0.0.7:3478"), ..sim.path(a).tuple });
        sim.allocate(b).success();
        sim.permit(b, "8.0.0.1:9").success();
        sim.send(b, "8.0.0.1:3478", b"x").dropped();
    }
}

#[test]
fn an_allow_opens_no_listener() {
    let mut sim = Sim::with(|config| {
        config.acl.allow =
            ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network")).to_vec();
        config.acl.own.push(addr("127.0.0.1:0").ip());
    });
    let a = sim.client("198.51.100.1:4000");
    sim.allocate_with(a, &[AND_V6]).success();
    sim.permit_all(a, &["8.0.0.1:9", "[::ffff:8.0.0.1]:9", "127.0.0.1:9"]).success();
    for listener in ["8.0.0.1:3478", "[::ffff:8.0.0.1]:3478", "127.0.0.1:5349", "[2600:8::1]:3478"]
    {
        sim.send(a, listener, b"x").dropped();
        sim.bind_channel(a, 0x4000, listener).rejected(403);
    }
    sim.send(a, "127.0.0.1:9", b"x").reaches("127.0.0.1:9");
}

// ---- behind a 1:1 NAT

fn behind_nat() -> Sim {
    let (local, external) = (addr("10.0.0.5:0").ip(), addr("8.0.0.1:0").ip());
    Sim::cores(2, 1, |config| {
        config.relay.addresses = vec![local];
        config.relay.external = vec![(local, external)];
        config.acl.own = vec![local, external];
    })
}

/// Clients and peers know the external address; the sockets know the local one.
#[test]
fn behind_a_nat_the_external_address_works_in_both_directions() {
    let mut sim = behind_nat();
    let [(a, a_at), (b, b_at)] = pair(&mut sim, [0, 1]);
    assert!(a_at.starts_with("8.0.0.1:"));
    let Out::ToPeer { from, to, payload, .. } = sim.send(a, &b_at, b"x") else { panic!() };
    // It leaves by the local addresses, so that it need not go out to the NAT and back.
    assert_eq!((from.ip(), to.ip()), (addr("10.0.0.5:0").ip(), addr("10.0.0.5:0").ip()));
    assert_eq!(to.port(), addr(&b_at).port());
    sim.peer_to_relay(from, to, &payload).arrives_from(&a_at);
    // A NAT that hairpins brings it from the external address: the same peer.
    sim.peer_to_relay(addr(&a_at), to, &payload).arrives_from(&a_at);
    sim.bind_channel(b, 0x4000, &a_at).success();
    sim.peer_to_relay(from, to, &payload).arrives_on(0x4000);
    let Out::ToPeer { to, .. } = sim.send_on(b, 0x4000, b"x") else { panic!() };
    assert_eq!(to, from);
}

#[test]
fn behind_a_nat_an_allocation_never_reaches_itself_nor_a_listener() {
    let mut sim = behind_nat();
    let [(a, a_at), (_, b_at)] = pair(&mut sim, [0, 1]);
    let port = addr(&a_at).port();
    sim.send(a, &a_at, b"x").dropped();
    for own in [a_at, format!("10.0.0.5:{port}")] {
        sim.permit(a, &own).rejected(403);
        sim.bind_channel(a, 0x4000, &own).rejected(403);
        sim.send(a, &own, b"x").dropped();
    }
    for listener in ["8.0.0.1:3478", "10.0.0.5:3478", "8.0.0.1:5349"] {
        sim.send(a, listener, b"x").dropped();
        sim.bind_channel(a, 0x4000, listener).rejected(403);
    }
    sim.send(a, &b_at, b"x").reaches(&b_at.replace("8.0.0.1", "10.0.0.5"));
}

/// The host's other services are behind the same NAT, and often behind its firewall: the external
/// address must not be a way around either.
#[test]
fn behind_a_nat_the_external_address_leads_to_relays_and_nowhere_else() {
    let mut sim = behind_nat();
    let [(a, _), (_, b_at)] = pair(&mut sim, [0, 1]);
    for service in ["8.0.0.1:161", "10.0.0.5:161", "8.0.0.1:49151"] {
        sim.permit(a, service).rejected(403);
        sim.bind_channel(a, 0x4000, service).rejected(403);
        sim.send(a, service, b"x").dropped();
        sim.peer_sends(service, a, b"x").dropped();
    }
    sim.bind_channel(a, 0x4000, &b_at).success();
}

/// Nothing is translated that is not a relay of ours, even where the operator allows the address.
#[test]
fn an_allowed_external_address_is_reached_as_it_is_written() {
    let (local, external) = (addr("10.0.0.5:0").ip(), addr("8.0.0.1:0").ip());
    let mut sim = Sim::with(|config| {
        config.relay.addresses = vec![local];
        config.relay.external = vec![(local, external)];
        config.acl.own = vec![local, external];
        config.acl.allow = vec!["8.0.0.1/32".parse().unwrap()];
    });
    let a = sim.client("8.8.4.1:4000");
    sim.allocate(a).success();
    sim.permit(a, "8.0.0.1:161").success();
    sim.send(a, "8.0.0.1:161", b"x").reaches("8.0.0.1:161");
    sim.send(a, "8.0.0.1:3478", b"x").dropped();
    sim.permit(a, "10.0.0.5:161").rejected(403);
}

/// A public address of ours is no public peer: what else runs on this host is not for clients.
#[test]
fn an_own_public_address_leads_to_relays_only_unless_it_is_allowed() {
    for (allow, may) in [(None, false), (Some("8.0.0.1/32"), true)] {
        let mut sim = Sim::with(|config| {
            config.relay.addresses = vec![addr("8.0.0.1:0").ip()];
            config.acl.own = vec![addr("8.0.0.1:0").ip()];
            config.acl.allow = allow.iter().map(|net| net.parse().unwrap()).collect();
        });
        let a = sim.client("8.8.4.1:4000");
        sim.allocate(a).success();
        let answer = sim.permit(a, "8.0.0.1:161");
        if may {
            answer.success();
            sim.send(a, "8.0.0.1:161", b"x").reaches("8.0.0.1:161");
        } else {
            answer.rejected(403);
            sim.send(a, "8.0.0.1:161", b"x").dropped();
        }
    }
}
