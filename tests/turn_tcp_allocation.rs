//! TCP allocations (RFC 6062), in the order of its §5: Allocate, Connect, peers that come,
//! ConnectionBind, and the end of data connections.

mod common;

use common::{
    AttributeType, Class, Client, ConnectError, ConnectionId, Drop, ErrorCode, Method, OTHER_PEER,
    OpenError, PEER, PEER_V6, Sim, TCP, Transport, V6, addr, connection_id, secs,
};
use hairpin::turn::{CoreId, RelayedAddr};

const WANT_V6: (AttributeType, &[u8]) = (AttributeType::REQUESTED_ADDRESS_FAMILY, &V6);
const AND_V6: (AttributeType, &[u8]) = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6);

/// A client with a TCP allocation.
fn control(sim: &mut Sim) -> Client {
    let client = sim.tcp_client("198.51.100.1:4000");
    sim.allocate_tcp(client).success();
    client
}

/// Another connection of the same client.
fn data(sim: &mut Sim) -> Client {
    sim.tcp_client("198.51.100.1:4001")
}

fn joined(sim: &Sim, id: ConnectionId) -> Option<Option<hairpin::turn::Path>> {
    sim.connections.get(&(0, id)).copied()
}

// §5.1 Receiving a TCP Allocate Request

#[test]
fn a_success_tells_the_address_and_no_token() {
    let mut sim = Sim::new();
    let client = sim.tcp_client("198.51.100.1:4000");
    let response = sim.allocate_tcp(client).success();
    assert!(!response.has(AttributeType::RESERVATION_TOKEN));
    assert_eq!(response.lifetime(), 600);
    assert_eq!(sim.listeners.values().copied().collect::<Vec<_>>(), [response.relayed()]);
    assert!(sim.sockets.is_empty(), "a TCP relayed transport address instead of a UDP one");
    sim.refresh(client, 0).success();
    sim.nothing_left();
}

/// RFC 6062 §4.2: "identical to those for UDP".
#[test]
fn a_refresh_prolongs_it_and_one_with_lifetime_zero_ends_it() {
    let mut sim = Sim::new();
    let client = sim.tcp_client("198.51.100.1:4000");
    let relayed = sim.allocate_tcp(client).success().relayed();
    sim.pass(secs(500));
    assert_eq!(sim.refresh(client, 1800).success().lifetime(), 1800);
    sim.pass(secs(1799));
    assert!(sim.is_listened_at(relayed), "the first lifetime has passed, and the second not yet");
    assert_eq!(sim.refresh(client, 0).success().lifetime(), 0);
    assert!(!sim.is_listened_at(relayed));
    sim.nothing_left();
}

#[test]
fn over_udp_there_is_none() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate_tcp(client).rejected(400);
    sim.nothing_left();
}

#[test]
fn what_is_about_datagrams_is_refused() {
    for (kind, value) in [
        (AttributeType::DONT_FRAGMENT, &b""[..]),
        (AttributeType::EVEN_PORT, &[0x00]),
        (AttributeType::EVEN_PORT, &[0x80]),
        (AttributeType::RESERVATION_TOKEN, b"12345678"),
    ] {
        let mut sim = Sim::new();
        let client = sim.tcp_client("198.51.100.1:4000");
        sim.allocate_tcp_with(client, &[(kind, value)]).rejected(400);
        sim.nothing_left();
    }
}

#[test]
fn both_families_can_be_had_alone_and_together() {
    let mut sim = Sim::new();
    let alone = sim.tcp_client("198.51.100.1:4000");
    assert!(sim.allocate_tcp_with(alone, &[WANT_V6]).success().relayed().is_ipv6());
    let both = sim.tcp_client("198.51.100.2:4000");
    sim.allocate_tcp_with(both, &[AND_V6]).success();
    let relayed = sim.relayed(both);
    assert_eq!((relayed.len(), sim.listeners.len()), (2, 3));
    let connections = [sim.connect_to(both, PEER), sim.connect_to(both, PEER_V6)];
    // One family ends with what was connected by it, and the other goes on.
    let v6 = [(AttributeType::LIFETIME, &[0; 4][..]), WANT_V6];
    sim.request(both, Method::REFRESH, &v6).success();
    assert_eq!(connections.map(|id| joined(&sim, id)), [Some(None), None]);
    sim.connect(both, PEER_V6).rejected(443);
    sim.hang_up(both);
    sim.hang_up(alone);
    sim.nothing_left();
}

#[test]
fn ports_that_are_taken_and_quotas_count_as_for_udp() {
    let mut sim = Sim::with(|config| config.relay.port_max = config.relay.port_min + 1);
    sim.foreign.insert(addr("8.0.0.1:49152"));
    sim.quota = 1;
    let client = sim.tcp_client("198.51.100.1:4000");
    assert_eq!(sim.allocate_tcp(client).success().relayed(), addr("8.0.0.1:49153"));
    let other = sim.tcp_client("198.51.100.2:4000");
    sim.allocate_tcp(other).rejected(508);
    sim.hang_up(client);
    sim.foreign.clear();
    sim.allocate_tcp(other).success();
    sim.allocate_tcp(client).rejected(486);
    sim.failures.push_back(OpenError::Failed);
    sim.allocate_tcp(client).rejected(508);
    sim.hang_up(other);
    sim.nothing_left();
}

#[test]
fn a_client_that_hangs_up_while_the_listener_is_opened_leaves_nothing() {
    let mut sim = Sim::new();
    sim.slow_shell = true;
    let client = sim.tcp_client("198.51.100.1:4000");
    sim.allocate_tcp(client).nothing();
    sim.connect(client, PEER).rejected(437);
    sim.hang_up(client);
    sim.open_pending();
    sim.nothing_left();
}

/// §3: the control connection "only allows TURN messages and not application data".
#[test]
fn nothing_that_carries_datagrams_works() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.permit(client, PEER).success();
    sim.send(client, PEER, b"x").dropped();
    assert_eq!(sim.drops(Drop::BadSend), 1);
    sim.bind_channel(client, 0x4000, PEER).rejected(403);
    sim.send_on(client, 0x4000, b"x").dropped();
    assert_eq!(sim.drops(Drop::NoChannel), 1);
}

// §5.2 Receiving a Connect Request

#[test]
fn connect_is_answered_when_the_peer_has_accepted() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    // No permission is needed: it is the client that wants to.
    sim.connect(client, PEER).nothing();
    let (_, id, from, to) = sim.connecting[0];
    assert_eq!((from, to), (sim.relayed(client)[0], addr(PEER)));
    sim.connected(Ok(()));
    let bytes = sim.heard(client);
    let response = sim.answer(client, bytes).success();
    assert_eq!(response.method, Method::CONNECT.get());
    assert_eq!(connection_id(&response), id);
    assert_eq!(sim.heard(client), None);
}

#[test]
fn connect_without_a_tcp_allocation_is_a_mismatch() {
    let mut sim = Sim::new();
    let stranger = sim.tcp_client("198.51.100.1:4000");
    sim.connect(stranger, PEER).rejected(437);
    let udp = sim.tcp_client("198.51.100.2:4000");
    sim.allocate(udp).success();
    sim.connect(udp, PEER).rejected(437);
    let client = control(&mut sim);
    sim.log_in(client, "bob", "builder");
    sim.connect(client, PEER).rejected(441);
    sim.log_in(client, "alice", "wonderland");
    sim.pass_without_timers(secs(600));
    sim.connect(client, PEER).rejected(437);
}

#[test]
fn a_second_connect_to_the_same_peer_is_refused_for_as_long_as_the_first_lives() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.connect(client, PEER).nothing();
    sim.connect(client, PEER).rejected(446);
    // Another port is another peer.
    sim.connect(client, "9.0.0.1:7001").nothing();
    sim.connected(Ok(()));
    let bytes = sim.heard(client);
    let id = connection_id(&sim.answer(client, bytes).success());
    sim.connect(client, PEER).rejected(446);
    let data = data(&mut sim);
    sim.bind_connection(data, id).success();
    sim.connect(client, PEER).rejected(446);
    sim.connection_ends(0, id);
    sim.connect(client, PEER).nothing();
    // Somebody else's allocation may have one with the same peer.
    let other = sim.tcp_client("198.51.100.2:4000");
    sim.allocate_tcp(other).success();
    sim.connect(other, PEER).nothing();
}

#[test]
fn a_peer_that_is_none_is_refused() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.request(client, Method::CONNECT, &[]).rejected(400);
    for bad in [&b""[..], &[0, 1], &[0, 3, 0, 0, 1, 2, 3, 4], &[0, 1, 0, 0, 1, 2, 3, 4, 5]] {
        let peer = (AttributeType::XOR_PEER_ADDRESS, bad);
        sim.request(client, Method::CONNECT, &[peer]).rejected(400);
    }
    sim.connect(client, "9.0.0.1:0").rejected(400);
    sim.connect(client, PEER_V6).rejected(443);
    assert!(sim.connecting.is_empty());
}

/// The same ACL as for datagrams, with the port that is meant.
#[test]
fn a_peer_that_is_nobodys_business_is_forbidden() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    for peer in ["10.0.0.1:80", "127.0.0.1:80", "0.0.0.0:80", "169.254.169.254:80", "8.0.0.1:22"] {
        sim.connect(client, peer).rejected(403);
    }
    let own = sim.relayed(client)[0].to_string();
    sim.connect(client, &own).rejected(403);
    let six = sim.tcp_client("198.51.100.2:4000");
    sim.allocate_tcp_with(six, &[WANT_V6]).success();
    for peer in ["[::1]:80", "[::]:80", "[64:ff9b::a00:1]:80", "[2002:a00:1::]:80"] {
        sim.connect(six, peer).rejected(403);
    }
    assert!(sim.connecting.is_empty());
}

/// The ports of UDP and TCP are others: what relays datagrams is no reason to connect there.
#[test]
fn only_a_relayed_address_of_the_same_protocol_is_one() {
    let mut sim = Sim::cores(2, 1, |_| {});
    let udp = sim.client_on(1, Transport::Udp, "198.51.100.8:4000");
    let relayed_udp = sim.allocate(udp).success().relayed().to_string();
    let tcp = sim.client_on(1, Transport::Tcp, "198.51.100.9:4000");
    let relayed_tcp = sim.allocate_tcp(tcp).success().relayed().to_string();
    // Both are another core's; then both of the same core.
    for core in [0, 1] {
        let client = sim.client_on(core, Transport::Tcp, &format!("198.51.100.1{core}:4000"));
        sim.allocate_tcp(client).success();
        sim.connect(client, &relayed_udp).rejected(403);
        sim.permit(client, &relayed_udp).rejected(403);
        sim.connect(client, &relayed_tcp).nothing();
        sim.permit(client, &relayed_tcp).success();
        let sender = sim.client_on(core, Transport::Udp, &format!("198.51.100.2{core}:4000"));
        sim.allocate(sender).success();
        sim.permit(sender, &relayed_tcp).rejected(403);
        sim.permit(sender, &relayed_udp).success();
    }
    sim.hang_up(tcp);
    let client = control(&mut sim);
    sim.connect(client, &relayed_tcp).rejected(403);
}

/// Announcements travel: one that comes late must not take away what a third core, or this one, has
/// opened since, nor what the same port is for the other protocol.
#[test]
fn a_late_announcement_takes_no_listener_away() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    let far = RelayedAddr(addr("8.0.0.1:60000"));
    let heard = |sim: &mut Sim, core, open| {
        sim.cores[0].handle_listener_elsewhere(far, CoreId(core), open);
        sim.cores[0].check_invariants();
        sim.permit(client, &far.0.to_string())
    };
    heard(&mut sim, 1, true).success();
    heard(&mut sim, 2, true).success();
    heard(&mut sim, 1, false).success();
    for open in [true, false] {
        sim.cores[0].handle_relay_elsewhere(far, CoreId(2), open);
    }
    heard(&mut sim, 3, false).success();
    heard(&mut sim, 2, false).rejected(403);

    let own = sim.relayed(client)[0];
    let other = sim.tcp_client("198.51.100.2:4000");
    sim.allocate_tcp(other).success();
    for open in [true, false] {
        sim.cores[0].handle_listener_elsewhere(RelayedAddr(own), CoreId(1), open);
        sim.cores[0].check_invariants();
        sim.permit(other, &own.to_string()).success();
    }
}

/// Behind a 1:1 NAT peers and clients know the outer address; our own sockets the inner one.
#[test]
fn a_relayed_address_is_reached_by_its_outer_form() {
    let (inner, outer) = (addr("8.0.0.1:0").ip(), "203.0.114.7".parse().expect("an address"));
    let mut sim = Sim::with(|config| config.relay.external = vec![(inner, outer)]);
    let (first, second) = (control(&mut sim), sim.tcp_client("198.51.100.2:4000"));
    sim.allocate_tcp(second).success();
    let relayed = sim.relayed(second)[0];
    assert_eq!(relayed.ip(), outer);
    sim.connect(first, &relayed.to_string()).nothing();
    let (_, _, from, to) = sim.connecting[0];
    assert_eq!((from.ip(), to.ip(), to.port()), (inner, inner, relayed.port()));
}

#[test]
fn a_peer_that_does_not_accept_is_a_failure() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    for (error, code) in [(ConnectError::Failed, 447), (ConnectError::NoRoom, 508)] {
        sim.connect(client, PEER).nothing();
        sim.connected(Err(error));
        let bytes = sim.heard(client);
        let response = sim.answer(client, bytes).rejected(code);
        assert_eq!(response.method, Method::CONNECT.get());
    }
    // It may be tried again.
    sim.connect_to(client, PEER);
}

#[test]
fn a_peer_that_says_nothing_is_waited_for_thirty_seconds() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.connect(client, PEER).nothing();
    sim.pass(secs(30) - 1);
    assert_eq!(sim.heard(client), None);
    sim.pass(1);
    let bytes = sim.heard(client);
    sim.answer(client, bytes).rejected(447);
    assert!(sim.connections.is_empty());
    assert_eq!(sim.errors(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE), 1);
}

#[test]
fn an_allocation_has_no_more_connections_than_it_may() {
    let mut sim = Sim::with(|config| config.limits.connections_per_allocation = 2);
    let client = control(&mut sim);
    sim.permit(client, PEER).success();
    sim.connect(client, PEER).nothing();
    let id = sim.peer_connects("9.0.0.1:1", client).expect("there is room");
    assert_eq!(sim.attempted(client).1, id);
    sim.connect(client, OTHER_PEER).rejected(508);
    assert_eq!(sim.peer_connects("9.0.0.1:2", client), None);
    assert_eq!(sim.stats().connections_over_limit, 2);
    sim.connection_ends(0, id);
    sim.connect(client, OTHER_PEER).nothing();
}

#[test]
fn answers_carry_a_fingerprint_where_the_request_did() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    let packet = sim.packet(Method::CONNECT).peer(addr(PEER));
    let packet = sim.sign(client, packet).fingerprint();
    sim.ask(client, &packet).nothing();
    sim.connected(Ok(()));
    let bytes = sim.heard(client);
    let response = sim.answer(client, bytes).success();
    assert_eq!(response.kinds().last(), Some(&AttributeType::FINGERPRINT));
    let data = data(&mut sim);
    sim.challenge(data);
    let id = connection_id(&response).0.to_be_bytes();
    let packet = sim.packet(Method::CONNECTION_BIND).with(AttributeType::CONNECTION_ID, id);
    let packet = sim.sign(data, packet).fingerprint();
    let response = sim.ask(data, &packet).success();
    assert_eq!(response.kinds().last(), Some(&AttributeType::FINGERPRINT));
}

// §5.3 Receiving a TCP Connection on a Relayed Transport Address

#[test]
fn a_permitted_peer_is_announced() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.permit(client, PEER).success();
    // The permission is for the address, whatever the port.
    let first = sim.peer_connects("9.0.0.1:1234", client).expect("it may come");
    assert_eq!(sim.attempted(client), (addr("9.0.0.1:1234"), first));
    let second = sim.peer_connects("9.0.0.1:1235", client).expect("it may come");
    assert_eq!(sim.attempted(client), (addr("9.0.0.1:1235"), second));
    assert_ne!(first, second);
}

#[test]
fn a_peer_without_permission_is_closed_and_not_announced() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.permit(client, PEER).success();
    assert_eq!(sim.peer_connects(OTHER_PEER, client), None);
    sim.pass(secs(300));
    assert_eq!(sim.peer_connects(PEER, client), None);
    assert_eq!(sim.heard(client), None);
    assert_eq!(sim.drops(Drop::NoPermission), 2);
}

/// A permission for our own relayed address opens no other port of ours.
#[test]
fn a_peer_on_this_host_is_judged_by_its_port() {
    let mut sim = Sim::new();
    let (client, other) = (control(&mut sim), sim.tcp_client("198.51.100.2:4000"));
    let relayed = sim.allocate_tcp(other).success().relayed();
    sim.permit(client, &relayed.to_string()).success();
    assert_eq!(sim.peer_connects("8.0.0.1:1000", client), None);
    assert_eq!(sim.drops(Drop::PeerRefused), 1);
    assert!(sim.peer_connects(&relayed.to_string(), client).is_some());
}

#[test]
fn a_peer_is_there_once() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.permit(client, PEER).success();
    sim.connect_to(client, PEER);
    assert_eq!(sim.peer_connects(PEER, client), None);
    assert_eq!(sim.drops(Drop::TooMany), 1);
}

// §5.4 Receiving a ConnectionBind Request

#[test]
fn a_bound_connection_is_joined_to_the_peers() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.permit(client, OTHER_PEER).success();
    let made = sim.connect_to(client, PEER);
    let come = sim.peer_connects(OTHER_PEER, client).expect("it may come");
    for (id, address) in [(made, "198.51.100.1:4001"), (come, "198.51.100.1:4002")] {
        let data = sim.tcp_client(address);
        let response = sim.bind_connection(data, id).success();
        assert_eq!(response.method, Method::CONNECTION_BIND.get());
        assert_eq!(joined(&sim, id), Some(Some(sim.path(data))));
    }
    // Bound it has no deadline but the allocation's.
    sim.pass(secs(599));
    assert_eq!(sim.connections.len(), 2);
}

#[test]
fn only_a_connection_that_waits_can_be_bound_and_only_once() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    let data = data(&mut sim);
    sim.bind_connection(data, ConnectionId(0xDEAD_BEEF)).rejected(400);
    sim.request(data, Method::CONNECTION_BIND, &[]).rejected(400);
    for bad in [&b""[..], &[1, 2, 3], &[1, 2, 3, 4, 5]] {
        let id = (AttributeType::CONNECTION_ID, bad);
        sim.request(data, Method::CONNECTION_BIND, &[id]).rejected(400);
    }
    sim.connect(client, PEER).nothing();
    let (_, id, ..) = sim.connecting[0];
    sim.bind_connection(data, id).rejected(400);
    sim.connected(Ok(()));
    sim.bind_connection(data, id).success();
    let late = sim.tcp_client("198.51.100.1:4002");
    sim.bind_connection(late, id).rejected(400);
}

#[test]
fn a_connection_that_cannot_carry_data_is_not_bound() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    let id = sim.connect_to(client, PEER);
    let datagrams = sim.client("198.51.100.1:4001");
    sim.bind_connection(datagrams, id).rejected(400);
    sim.bind_connection(client, id).rejected(400);
    assert_eq!(joined(&sim, id), Some(None));
}

#[test]
fn nobody_else_can_bind_it() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    let id = sim.connect_to(client, PEER);
    let thief = data(&mut sim);
    let packet =
        sim.packet(Method::CONNECTION_BIND).with(AttributeType::CONNECTION_ID, id.0.to_be_bytes());
    sim.ask(thief, &packet).rejected(401);
    sim.log_in(thief, "alice", "guess");
    sim.bind_connection(thief, id).rejected(401);
    sim.log_in(thief, "bob", "builder");
    sim.bind_connection(thief, id).rejected(441);
    assert_eq!(joined(&sim, id), Some(None));
    sim.log_in(thief, "alice", "wonderland");
    sim.bind_connection(thief, id).success();
}

#[test]
fn a_connection_that_nobody_binds_is_closed_after_thirty_seconds() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.permit(client, OTHER_PEER).success();
    let made = sim.connect_to(client, PEER);
    sim.pass(secs(1));
    let come = sim.peer_connects(OTHER_PEER, client).expect("it may come");
    sim.pass(secs(29) - 1);
    assert_eq!((joined(&sim, made), joined(&sim, come)), (Some(None), Some(None)));
    sim.pass(1);
    assert_eq!((joined(&sim, made), joined(&sim, come)), (None, Some(None)));
    sim.pass(secs(1));
    assert!(sim.connections.is_empty());
    assert_eq!(sim.stats().connections_unbound, 2);
    let data = data(&mut sim);
    sim.bind_connection(data, come).rejected(400);
}

/// Also where the shell is late to serve the deadline.
#[test]
fn what_is_over_cannot_be_bound() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    let id = sim.connect_to(client, PEER);
    let data = data(&mut sim);
    sim.pass_without_timers(secs(30));
    sim.bind_connection(data, id).rejected(400);
    sim.pass(0);
    assert!(sim.connections.is_empty());
}

#[test]
fn the_core_that_made_the_id_binds_whichever_core_is_asked() {
    let mut sim = Sim::cores(3, 1, |_| {});
    for owner in 0..3 {
        let client = sim.client_on(owner, Transport::Tcp, &format!("198.51.100.{owner}:4000"));
        sim.allocate_tcp(client).success();
        for asked in 0..3 {
            let id = sim.connect_to(client, &format!("9.0.0.1:{}", 7000 + asked));
            let address = format!("198.51.100.{owner}:{}", 5000 + asked);
            let data = sim.client_on(asked, Transport::Tcp, &address);
            sim.bind_connection(data, id).success();
            assert_eq!(sim.connections[&(owner, id)], Some(sim.path(data)));
        }
    }
    sim.cut_off = true;
    let client = sim.client_on(1, Transport::Tcp, "198.51.100.7:4000");
    sim.allocate_tcp(client).success();
    let id = sim.connect_to(client, PEER);
    let data = sim.client_on(2, Transport::Tcp, "198.51.100.7:5000");
    sim.bind_connection(data, id).rejected(508);
    assert_eq!(sim.connections[&(1, id)], None);
}

// §5.5 Data Connection Maintenance

#[test]
fn whatever_ends_the_allocation_ends_its_connections() {
    type End = fn(&mut Sim, Client);
    let ends: [End; 3] = [
        |sim, client| drop(sim.refresh(client, 0).success()),
        |sim, client| sim.hang_up(client),
        |sim, _| sim.pass(secs(600)),
    ];
    for end in ends {
        let mut sim = Sim::new();
        let client = control(&mut sim);
        sim.permit(client, "9.0.0.3:1").success();
        let bound = sim.connect_to(client, PEER);
        let data = data(&mut sim);
        sim.bind_connection(data, bound).success();
        sim.connect(client, OTHER_PEER).nothing();
        assert!(sim.peer_connects("9.0.0.3:1", client).is_some());
        end(&mut sim, client);
        sim.nothing_left();
        assert!(sim.connecting.is_empty());
    }
}

/// The answers of the shell may come when nobody waits for them any more.
#[test]
fn late_news_of_connections_that_are_gone_change_nothing() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    sim.connect(client, PEER).nothing();
    let (_, id, ..) = sim.connecting[0];
    sim.refresh(client, 0).success();
    let now = sim.now();
    sim.cores[0].handle_connected(now, id, Ok(()));
    sim.cores[0].handle_connected(now, id, Err(ConnectError::Failed));
    sim.cores[0].handle_connection_gone(id);
    assert_eq!(sim.cores[0].poll_action(), None);
    sim.nothing_left();
}

#[test]
fn the_new_methods_are_discarded_in_other_classes() {
    let mut sim = Sim::new();
    let client = control(&mut sim);
    for (class, method) in [
        (Class::Indication, Method::CONNECT),
        (Class::Indication, Method::CONNECTION_BIND),
        (Class::Indication, Method::CONNECTION_ATTEMPT),
        (Class::Request, Method::CONNECTION_ATTEMPT),
    ] {
        let packet = common::Packet::new(class, method, [9; 12]).peer(addr(PEER));
        sim.deliver(client, &packet.encode()).dropped();
    }
    assert_eq!(sim.drops(Drop::Unsupported), 4);
}

#[test]
fn a_repeated_allocate_is_answered_as_before() {
    let mut sim = Sim::new();
    let client = sim.tcp_client("198.51.100.1:4000");
    sim.challenge(client);
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, TCP);
    let packet = sim.sign(client, packet);
    let first = sim.ask(client, &packet).success().relayed();
    assert_eq!(sim.ask(client, &packet).success().relayed(), first);
    assert_eq!(sim.listeners.len(), 1);
}
