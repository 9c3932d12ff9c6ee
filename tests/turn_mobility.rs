//! Mobility (RFC 8016): a client whose address has changed takes its allocation along.

mod common;

use common::{
    Action, AttributeType, Client, ConnectError, Drop, ErrorCode, Method, OTHER_PEER, Out, PEER,
    PEER_V6, Packet, Response, Sim, Transport, V6, addr, secs,
};
use hairpin::turn::CoreId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const EMPTY: (AttributeType, &[u8]) = (AttributeType::MOBILITY_TICKET, b"");
const ZERO: (AttributeType, &[u8]) = (AttributeType::LIFETIME, &[0; 4]);
const HOME: &str = "198.51.100.1:4000";
const AWAY: &str = "203.0.113.5:5000";
const FAR: &str = "[2001:db8::77]:6000";

/// A client with a mobile allocation and what it may reach, its ticket, and where it will be.
fn mobile(sim: &mut Sim) -> (Client, Vec<u8>, Client) {
    let home = sim.client(HOME);
    let ticket = sim.allocate_mobile(home);
    sim.permit(home, OTHER_PEER).success();
    sim.bind_channel(home, 0x4000, PEER).success();
    let away = sim.client(AWAY);
    (home, ticket, away)
}

/// The same with a TCP allocation.
fn mobile_tcp(sim: &mut Sim) -> (Client, Vec<u8>) {
    let home = sim.tcp_client(HOME);
    let response = sim.allocate_tcp_with(home, &[EMPTY]).success();
    sim.permit(home, OTHER_PEER).success();
    (home, response.get(AttributeType::MOBILITY_TICKET).to_vec())
}

/// Asserts that data of a peer comes to this client, and that its own leaves.
#[track_caller]
fn is_at(sim: &mut Sim, client: Client) {
    sim.send_on(client, 0x4000, b"up").reaches(PEER);
    let out = sim.peer_sends(PEER, client, b"down");
    let Out::ToClient { path, .. } = &out else { panic!("{out:?}") };
    assert_eq!(*path, sim.path(client));
    assert_eq!(out.arrives_on(0x4000), b"down");
}

fn with_ticket(ticket: &[u8]) -> (AttributeType, &[u8]) {
    (AttributeType::MOBILITY_TICKET, ticket)
}

/// RFC 8016 §3.1.2.
#[test]
fn a_client_that_asks_for_a_ticket_gets_one_and_nobody_else_does() {
    let mut sim = Sim::new();
    let (one, two) = (sim.client(HOME), sim.client(AWAY));
    let response = sim.allocate_with(one, &[EMPTY]).success();
    assert_eq!(response.get(AttributeType::MOBILITY_TICKET).len(), 46);
    assert!(!sim.allocate(two).success().has(AttributeType::MOBILITY_TICKET));
    assert!(!sim.refresh(one, 600).success().has(AttributeType::MOBILITY_TICKET));
}

/// RFC 8016 §3.1.2: the path's MTU is not known, so 548 bytes at most (RFC 8489 §6.1).
#[test]
fn the_longest_success_with_a_ticket_passes_every_path() {
    let mut sim = Sim::new();
    let client = sim.client(FAR);
    let dual = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6[..]);
    let response = sim.allocate_with(client, &[EMPTY, dual]).success();
    assert!(response.bytes.len() <= 548, "{} bytes", response.bytes.len());
}

/// RFC 8016 §3.1.2: a ticket in an Allocate must be empty.
#[test]
fn an_allocate_with_a_ticket_that_is_not_empty_is_a_bad_request() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    sim.allocate_with(away, &[with_ticket(&ticket)]).rejected(400);
    sim.allocate_with(away, &[with_ticket(b"x")]).rejected(400);
    assert_eq!(sim.stats().allocations, 1);
    is_at(&mut sim, home);
}

/// RFC 8016 §3.1.2, §3.2.2: 405 where the operator forbids it.
#[test]
fn where_mobility_is_forbidden_it_is_405_and_other_allocations_are_as_ever() {
    let mut sim = Sim::with(|config| config.limits.mobility = false);
    let client = sim.client(HOME);
    sim.allocate_with(client, &[EMPTY]).rejected(405);
    sim.allocate_with(client, &[with_ticket(b"x")]).rejected(400);
    sim.allocate(client).success();
    sim.show(client, &[7; 46]).rejected(405);
    sim.refresh(client, 600).success();
    assert_eq!(sim.errors(ErrorCode::MOBILITY_FORBIDDEN), 2);
}

#[test]
fn a_retransmitted_allocate_gets_the_same_ticket() {
    let mut sim = Sim::new();
    let client = sim.client(HOME);
    sim.challenge(client);
    let packet = sim
        .packet(Method::ALLOCATE)
        .with(AttributeType::REQUESTED_TRANSPORT, common::UDP)
        .with(EMPTY.0, EMPTY.1);
    let packet = sim.sign(client, packet);
    let first = sim.ask(client, &packet).success();
    assert_eq!(sim.ask(client, &packet).success().bytes, first.bytes);
}

/// RFC 8016 §3.2.2: "MUST continue transmitting data on the old-5 tuple until it receives a Send
/// Indication or ChannelData message from the client on the new 5-tuple".
#[test]
fn the_old_5_tuple_serves_until_the_client_sends_from_the_new_one() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    sim.resume(home, away, &ticket);
    is_at(&mut sim, home);
    // Requests are no data.
    sim.refresh(away, 900).success();
    sim.bind_channel(away, 0x4000, PEER).success();
    is_at(&mut sim, home);
    is_at(&mut sim, away);
    sim.send_on(home, 0x4000, b"x").dropped();
    sim.send(home, PEER, b"x").dropped();
    sim.refresh(home, 600).rejected(437);
    assert_eq!(sim.drops(Drop::NoAllocation), 2);
    assert_eq!((sim.stats().moves, sim.stats().allocations), (1, 1));
}

#[test]
fn a_send_indication_ends_the_old_way_as_channel_data_does() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    sim.resume(home, away, &ticket);
    sim.send(away, OTHER_PEER, b"here I am").reaches(OTHER_PEER);
    sim.peer_sends(OTHER_PEER, away, b"welcome").arrives_from(OTHER_PEER);
    sim.send(home, OTHER_PEER, b"x").dropped();
    is_at(&mut sim, away);
}

/// Nothing of the allocation is lost, and nothing is granted anew.
#[test]
fn permissions_channels_ports_and_times_are_those_from_before() {
    let mut sim = Sim::new();
    let home = sim.client(HOME);
    let dual = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6[..]);
    let response = sim.allocate_with(home, &[EMPTY, dual]).success();
    let ticket = response.get(AttributeType::MOBILITY_TICKET).to_vec();
    sim.permit_all(home, &[OTHER_PEER, PEER_V6]).success();
    sim.bind_channel(home, 0x4000, PEER).success();
    let sockets = sim.sockets.clone();
    sim.pass(secs(200));
    let before = sim.stats();
    let away = sim.client(AWAY);
    sim.resume(home, away, &ticket);
    is_at(&mut sim, away);
    let after = sim.stats();
    assert_eq!(sim.sockets, sockets);
    let held = |stats: hairpin::turn::Stats| {
        (stats.allocations, stats.permissions, stats.channels, stats.timers)
    };
    assert_eq!(held(after), held(before));
    sim.peer_to_relay(addr(PEER_V6), sim.relayed(home)[1], b"x").arrives_from(PEER_V6);
    // The permission's five minutes were not begun anew.
    sim.pass(secs(100));
    sim.send(away, OTHER_PEER, b"x").dropped();
    sim.send_on(away, 0x4000, b"x").reaches(PEER);
    sim.refresh(away, 0).success();
    sim.nothing_left();
}

/// A fast path in the kernel would have to know the way to the client.
#[test]
fn channels_are_told_again_when_their_client_has_moved() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    sim.resume(home, away, &ticket);
    sim.actions.clear();
    is_at(&mut sim, away);
    let told: Vec<_> = sim
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::ChannelUnbound { path, channel, .. } => Some((false, *path, channel.get())),
            Action::ChannelBound { path, channel, .. } => Some((true, *path, channel.get())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(false, sim.path(home), 0x4000), (true, sim.path(away), 0x4000)]);
}

/// RFC 8016 §3.2.2: "The new ticket sent in the refresh response MUST be different from the old".
#[test]
fn each_move_brings_a_new_ticket_and_the_old_one_is_good_for_nothing() {
    let mut sim = Sim::new();
    let (home, first, away) = mobile(&mut sim);
    let second = sim.resume(home, away, &first);
    assert_ne!(first, second);
    is_at(&mut sim, away);
    let thief = sim.client("203.0.113.66:6666");
    sim.show(thief, &first).rejected(400);
    let far = sim.client(FAR);
    let third = sim.resume(away, far, &second);
    // Before it has sent anything and after.
    sim.show(thief, &second).rejected(400);
    is_at(&mut sim, far);
    sim.show(thief, &second).rejected(400);
    sim.show(thief, &first).rejected(400);
    sim.resume(far, home, &third);
    is_at(&mut sim, home);
    assert_eq!((sim.stats().moves, sim.stats().allocations), (3, 1));
}

/// RFC 8016 §3.2.2: a server must "be able to recognize a retransmission of the Refresh request
/// with the old STUN MOBILITY-TICKET".
#[test]
fn a_retransmission_gets_the_same_answer_and_moves_nothing() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    sim.challenge(away);
    let packet = sim.packet(Method::REFRESH).with(AttributeType::MOBILITY_TICKET, &ticket);
    let packet = sim.sign(away, packet);
    let first = sim.ask(away, &packet).success();
    for pause in [0, secs(30)] {
        sim.pass(pause);
        assert_eq!(sim.ask(away, &packet).success().bytes, first.bytes);
        is_at(&mut sim, home);
    }
    // The same ticket in another request is no retransmission, from wherever it comes.
    sim.show(away, &ticket).rejected(400);
    let other = sim.client("203.0.113.6:5000");
    sim.show(other, &ticket).rejected(400);
    sim.send_on(away, 0x4000, b"x").reaches(PEER);
    assert_eq!(sim.ask(away, &packet).success().bytes, first.bytes);
    assert_eq!(sim.stats().moves, 1);
}

/// A client that moves on before it has sent anything is where it was last.
#[test]
fn a_move_that_nothing_came_of_is_forgotten_at_the_next() {
    let mut sim = Sim::new();
    let (home, first, away) = mobile(&mut sim);
    let second = sim.resume(home, away, &first);
    let far = sim.client(FAR);
    sim.resume(away, far, &second);
    sim.send_on(away, 0x4000, b"x").dropped();
    sim.refresh(away, 600).rejected(437);
    is_at(&mut sim, home);
    is_at(&mut sim, far);
}

/// RFC 8016 §3.2.2: the 5-tuple that the allocation has already: 400.
#[test]
fn a_ticket_from_where_the_allocation_is_already_is_a_bad_request() {
    let mut sim = Sim::new();
    let (home, first, away) = mobile(&mut sim);
    sim.show(home, &first).rejected(400);
    let second = sim.resume(home, away, &first);
    sim.show(home, &second).rejected(400);
    sim.show(away, &second).rejected(400);
    is_at(&mut sim, away);
    sim.show(away, &second).rejected(400);
    // It can go back to where it was.
    sim.resume(away, home, &second);
    is_at(&mut sim, home);
}

/// RFC 8016 §3.2.2: another user: 441; §5: without credentials nothing.
#[test]
fn a_ticket_is_good_for_its_user_only() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    sim.log_in(away, "bob", "builder");
    sim.show(away, &ticket).rejected(441);
    sim.log_in(away, "alice", "guessed");
    sim.show(away, &ticket).rejected(401);
    let packet = sim.packet(Method::REFRESH).with(AttributeType::MOBILITY_TICKET, &ticket);
    sim.ask(away, &packet).rejected(401);
    is_at(&mut sim, home);
    sim.log_in(away, "alice", "wonderland");
    sim.resume(home, away, &ticket);
}

/// As without mobility, a call outlives the credentials that began it.
#[test]
fn a_client_whose_time_limited_credentials_have_ended_may_still_move() {
    for core in [0, 1] {
        let mut sim = Sim::cores(2, 1, |_| {});
        let home = sim.client(HOME);
        sim.log_in_for(home, 300, "carol");
        let ticket = sim.allocate_mobile(home);
        let away = sim.client_on(core, Transport::Udp, AWAY);
        sim.log_in_for(away, 300, "carol");
        sim.pass(secs(400));
        let response = sim.allocate_with(away, &[]);
        response.rejected(401);
        sim.resume(home, away, &ticket);
    }
}

/// RFC 8016 §3.2.2: no allocation: 437.
#[test]
fn a_ticket_whose_allocation_is_gone_is_a_mismatch() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    sim.refresh(home, 0).success();
    sim.show(away, &ticket).rejected(437);
    // Another one in its place is not meant.
    sim.allocate_mobile(home);
    sim.show(away, &ticket).rejected(437);
    sim.pass(secs(600));
    sim.show(away, &ticket).rejected(437);
    sim.nothing_left();
}

#[test]
fn an_allocation_that_has_expired_cannot_be_resumed_although_no_timer_was_served() {
    let mut sim = Sim::new();
    let (_, ticket, away) = mobile(&mut sim);
    sim.pass_without_timers(secs(600));
    sim.show(away, &ticket).rejected(437);
    assert_eq!(sim.stats().allocations, 0);
}

#[test]
fn a_ticket_of_a_server_with_other_secrets_or_of_one_before_a_restart_is_refused() {
    let (mut sim, mut other) =
        (Sim::new(), Sim::with(|config| config.credentials.nonce_key = [8; 32]));
    let (_, ticket, _) = mobile(&mut sim);
    let (_, _, away) = mobile(&mut other);
    other.show(away, &ticket).rejected(400);
    let mut again = Sim::new();
    let client = again.client(AWAY);
    again.show(client, &ticket).rejected(437);
    // Even where somebody has the very place of the one that is gone.
    let mut again = Sim::cores(1, 9, |_| {});
    let (_, own, away) = mobile(&mut again);
    assert_ne!(own, ticket);
    again.show(away, &ticket).rejected(400);
}

/// The 5-tuple must be free, as for Allocate.
#[test]
fn a_5_tuple_that_has_an_allocation_takes_no_second_one() {
    for core in [0, 1] {
        let mut sim = Sim::cores(2, 1, |_| {});
        let home = sim.client(HOME);
        let ticket = sim.allocate_mobile(home);
        let busy = sim.client_on(core, Transport::Udp, AWAY);
        sim.allocate(busy).success();
        sim.show(busy, &ticket).rejected(437);
        sim.refresh(busy, 600).success();
        sim.refresh(home, 600).success();
        // And the other way round.
        let away = sim.client_on(core, Transport::Udp, FAR);
        sim.resume(home, away, &ticket);
        sim.allocate(away).rejected(437);
    }
}

#[test]
fn refresh_with_a_ticket_and_lifetime_zero_frees_everything() {
    for core in [0, 1] {
        let mut sim = Sim::cores(2, 1, |_| {});
        let home = sim.client(HOME);
        let ticket = sim.allocate_mobile(home);
        let away = sim.client_on(core, Transport::Udp, AWAY);
        let all = [with_ticket(&ticket), ZERO];
        let response = sim.request(away, Method::REFRESH, &all).success();
        assert_eq!(response.lifetime(), 0);
        assert!(!response.has(AttributeType::MOBILITY_TICKET));
        sim.refresh(home, 600).rejected(437);
        sim.nothing_left();
    }
}

#[test]
fn a_client_that_deletes_one_half_from_a_new_5_tuple_takes_the_other_along() {
    let mut sim = Sim::new();
    let home = sim.client(HOME);
    let dual = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6[..]);
    let response = sim.allocate_with(home, &[EMPTY, dual]).success();
    let ticket = response.get(AttributeType::MOBILITY_TICKET).to_vec();
    sim.bind_channel(home, 0x4000, PEER).success();
    let away = sim.client(AWAY);
    let v6 = (AttributeType::REQUESTED_ADDRESS_FAMILY, &V6[..]);
    let response = sim.request(away, Method::REFRESH, &[with_ticket(&ticket), v6, ZERO]).success();
    assert_ne!(response.get(AttributeType::MOBILITY_TICKET), ticket);
    assert_eq!(sim.sockets.len(), 1);
    sim.send_on(away, 0x4000, b"x").reaches(PEER);
    sim.refresh(home, 600).rejected(437);
    sim.refresh(away, 0).success();
    sim.nothing_left();
}

#[test]
fn a_refresh_that_is_refused_moves_nothing() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    for (kind, value, code) in [
        (AttributeType::LIFETIME, &[0; 3][..], 400),
        (AttributeType::REQUESTED_ADDRESS_FAMILY, &V6, 443),
        (AttributeType(0x7F31), b"", 420),
    ] {
        sim.request(away, Method::REFRESH, &[with_ticket(&ticket), (kind, value)]).rejected(code);
        sim.refresh(away, 600).rejected(437);
    }
    is_at(&mut sim, home);
    sim.resume(home, away, &ticket);
}

#[test]
fn a_move_grants_the_lifetime_that_it_asks_for() {
    let mut sim = Sim::new();
    let (_, ticket, away) = mobile(&mut sim);
    let lifetime = (AttributeType::LIFETIME, &1800u32.to_be_bytes()[..]);
    let response = sim.request(away, Method::REFRESH, &[with_ticket(&ticket), lifetime]).success();
    assert_eq!(response.lifetime(), 1800);
    sim.pass(secs(1800) - 1);
    assert_eq!(sim.stats().allocations, 1);
    sim.pass(1);
    sim.nothing_left();
}

// Streams.

#[test]
fn a_mobile_allocation_outlives_its_connection_and_ends_with_its_lifetime() {
    let mut sim = Sim::new();
    let home = sim.tcp_client(HOME);
    let ticket = sim.allocate_mobile(home);
    sim.bind_channel(home, 0x4000, PEER).success();
    sim.hang_up(home);
    assert_eq!((sim.stats().allocations, sim.stats().clients_lost), (1, 1));
    sim.peer_sends(PEER, home, b"x").dropped();
    assert_eq!(sim.drops(Drop::ClientAway), 1);
    // The same address and port once more is another connection, with nothing of its own.
    let again = sim.tcp_client(HOME);
    sim.refresh(again, 600).rejected(437);
    sim.send_on(again, 0x4000, b"x").dropped();
    sim.resume(home, again, &ticket);
    // There is no old way to serve: what comes from peers goes the new one at once.
    sim.peer_sends(PEER, again, b"x").arrives_on(0x4000);
    is_at(&mut sim, again);
    sim.hang_up(again);
    sim.pass(secs(600));
    sim.nothing_left();
}

#[test]
fn an_allocation_without_a_ticket_ends_with_its_connection() {
    let mut sim = Sim::new();
    let home = sim.tcp_client(HOME);
    sim.allocate(home).success();
    sim.hang_up(home);
    sim.nothing_left();
}

/// Somebody else may come by the 5-tuple of a client that is away.
#[test]
fn the_end_of_a_client_that_is_away_takes_nobody_elses_5_tuple() {
    let mut sim = Sim::new();
    let home = sim.tcp_client(HOME);
    sim.allocate_mobile(home);
    sim.hang_up(home);
    sim.pass(secs(300));
    let other = sim.tcp_client(HOME);
    sim.allocate(other).success();
    sim.pass(secs(300));
    assert_eq!(sim.stats().allocations, 1);
    sim.refresh(other, 0).success();
    sim.nothing_left();
}

/// RFC 8016 §3.2.2: "or a message from the client to close the old connection".
#[test]
fn the_end_of_the_old_connection_completes_the_move() {
    let mut sim = Sim::new();
    let home = sim.tcp_client(HOME);
    let ticket = sim.allocate_mobile(home);
    sim.bind_channel(home, 0x4000, PEER).success();
    let away = sim.client(AWAY);
    sim.resume(home, away, &ticket);
    sim.hang_up(home);
    sim.peer_sends(PEER, away, b"x").arrives_on(0x4000);
    is_at(&mut sim, away);
    assert_eq!(sim.stats().clients_lost, 0);
}

/// Perhaps no answer has reached it.
#[test]
fn a_new_connection_that_breaks_before_any_data_leaves_all_as_it_was_and_both_tickets_good() {
    for which in [0, 1] {
        let mut sim = Sim::new();
        let (home, first, _) = mobile(&mut sim);
        let away = sim.tcp_client(AWAY);
        let second = sim.resume(home, away, &first);
        sim.hang_up(away);
        is_at(&mut sim, home);
        let third = sim.tcp_client("203.0.113.9:9000");
        sim.resume(home, third, [&first, &second][which]);
        is_at(&mut sim, third);
        let thief = sim.client("203.0.113.66:6666");
        sim.show(thief, &first).rejected(400);
        sim.show(thief, &second).rejected(400);
    }
}

/// A control connection is a stream (RFC 6062 §5.1); connections with peers outlive it.
#[test]
fn a_tcp_allocation_moves_to_streams_only_and_keeps_its_connections() {
    let mut sim = Sim::new();
    let (home, ticket) = mobile_tcp(&mut sim);
    let bound = sim.connect_to(home, PEER);
    let data = sim.tcp_client("198.51.100.1:4001");
    sim.bind_connection(data, bound).success();
    let waiting = sim.connect_to(home, OTHER_PEER);
    let udp = sim.client(AWAY);
    sim.show(udp, &ticket).rejected(400);
    sim.hang_up(home);
    assert_eq!(sim.connections.len(), 2);
    let away = sim.tcp_client(AWAY);
    sim.resume(home, away, &ticket);
    let data = sim.tcp_client("203.0.113.5:5001");
    sim.bind_connection(data, waiting).success();
    sim.connect(away, PEER).rejected(446);
    sim.peer_connects("9.0.0.2:7001", away).expect("it has a permission");
    assert_eq!(sim.attempted(away).0, addr("9.0.0.2:7001"));
    sim.refresh(away, 0).success();
    sim.nothing_left();
}

/// The old connection may be dead for long before anybody knows; a control connection carries no
/// data that could complete the move.
#[test]
fn a_client_that_has_moved_its_control_connection_is_answered_there() {
    let mut sim = Sim::new();
    let (home, ticket) = mobile_tcp(&mut sim);
    sim.connect(home, "9.0.0.3:3").nothing();
    let away = sim.tcp_client(AWAY);
    sim.resume(home, away, &ticket);
    // What was asked for at home is answered at home.
    sim.connected(Ok(()));
    let answer = sim.heard(home);
    sim.answer(home, answer).success();
    let id = sim.connect_to(away, PEER);
    let data = sim.tcp_client("203.0.113.5:5001");
    sim.bind_connection(data, id).success();
    sim.connect(away, "9.0.0.4:4").nothing();
    sim.connected(Err(ConnectError::Failed));
    let answer = sim.heard(away);
    sim.answer(away, answer).rejected(447);
    sim.peer_connects("9.0.0.2:7001", away).expect("it has a permission");
    assert_eq!(sim.attempted(away).0, addr("9.0.0.2:7001"));
    assert_eq!(sim.heard(home), None);
}

#[test]
fn nobody_is_kept_waiting_for_a_client_that_is_away() {
    let mut sim = Sim::new();
    let (home, ticket) = mobile_tcp(&mut sim);
    sim.connect(home, PEER).nothing();
    sim.hang_up(home);
    assert_eq!(sim.peer_connects("9.0.0.2:7001", home), None);
    assert_eq!(sim.stats().drops(Drop::ClientAway), 1);
    sim.connected(Ok(()));
    assert!(sim.connections.is_empty());
    // So it can ask again at once.
    let away = sim.tcp_client(AWAY);
    sim.resume(home, away, &ticket);
    sim.connect_to(away, PEER);
}

/// RFC 8656 §21.4: what holds for whoever allocates there holds for whoever moves there.
#[test]
fn nobody_moves_to_the_end_of_a_tunnel() {
    let mut sim = Sim::new();
    let (home, ticket, _) = mobile(&mut sim);
    for tunnel in ["[2002:808:808::1]:5000", "[2001:0:808:808:0:0:f5ff:fffe]:5000"] {
        let away = sim.client(tunnel);
        sim.show(away, &ticket).rejected(403);
    }
    is_at(&mut sim, home);
}

// Several cores.

/// The kernel gives the new address to whichever worker it likes, in whichever transport.
#[test]
fn a_client_moves_across_addresses_families_transports_and_cores_and_back() {
    for (seed, mobile) in [(1, Transport::Udp), (2, Transport::Tcp)] {
        let mut sim = Sim::cores(3, seed, |_| {});
        let mut at = sim.client_on(0, mobile, HOME);
        let mut ticket = sim.allocate_mobile(at);
        sim.bind_channel(at, 0x4000, PEER).success();
        let mut rng = StdRng::seed_from_u64(seed.into());
        for step in 0..40 {
            let transport = if rng.random() { Transport::Udp } else { Transport::Tcp };
            let address = if rng.random() {
                format!("203.0.113.{step}:5000")
            } else {
                format!("[2001:db8::{step}]:5000")
            };
            let to = sim.client_on(rng.random_range(0..3), transport, &address);
            ticket = sim.resume(at, to, &ticket);
            is_at(&mut sim, at);
            is_at(&mut sim, to);
            at = to;
            sim.refresh(at, 600).success();
            sim.permit(at, OTHER_PEER).success();
            sim.bind_channel(at, 0x4000, PEER).success();
        }
        assert!(sim.passed_on > 20, "{} packets crossed", sim.passed_on);
        assert_eq!((sim.stats().moves, sim.stats().allocations), (40, 1));
        sim.refresh(at, 0).success();
        sim.nothing_left();
        // Nobody goes on sending to where there is nothing.
        let passed_on = sim.passed_on;
        sim.refresh(at, 600).rejected(437);
        sim.allocate(at).success();
        assert_eq!(sim.passed_on, passed_on);
    }
}

/// Both ends of a call on one server, one of which moves to another core's sockets.
#[test]
fn a_call_between_two_clients_of_the_server_goes_on() {
    for cores in [1, 2] {
        let mut sim = Sim::cores(cores, 1, |_| {});
        let last = usize::from(cores) - 1;
        let (left, right) =
            (sim.client_on(0, Transport::Udp, HOME), sim.client_on(last, Transport::Udp, FAR));
        let ticket = sim.allocate_mobile(left);
        sim.allocate(right).success();
        let (here, there) = (sim.relayed(left)[0].to_string(), sim.relayed(right)[0].to_string());
        sim.bind_channel(left, 0x4000, &there).success();
        sim.bind_channel(right, 0x4000, &here).success();
        let away = sim.client_on(last, Transport::Udp, AWAY);
        sim.resume(left, away, &ticket);
        let out = sim.send_on(away, 0x4000, b"to the right");
        assert_eq!(sim.carry(out).arrives_on(0x4000), b"to the right");
        let out = sim.send_on(right, 0x4000, b"to the left");
        let out = sim.carry(out);
        let Out::ToClient { path, .. } = &out else { panic!("{out:?}") };
        assert_eq!(*path, sim.path(away));
    }
}

/// Only a genuine ticket and a nonce of the sender's own let a packet cross.
#[test]
fn a_flood_of_resumes_crosses_to_no_other_core_and_leaves_nothing() {
    let mut sim = Sim::cores(2, 1, |_| {});
    let home = sim.client(HOME);
    let ticket = sim.allocate_mobile(home);
    let mut rng = StdRng::seed_from_u64(1);
    for n in 0..500 {
        let stranger =
            sim.client_on(1, Transport::Udp, &format!("203.0.113.{}:{}", n % 250, 1024 + n));
        let mut shown = ticket.clone();
        match n % 4 {
            // A ticket that is seen on the way, but no nonce.
            0 => {
                let packet =
                    sim.packet(Method::REFRESH).with(AttributeType::MOBILITY_TICKET, &shown);
                let packet = sim.sign(stranger, packet);
                sim.ask(stranger, &packet).rejected(438);
                continue;
            }
            // A nonce, but a ticket that was never issued.
            1 => shown[rng.random_range(0..46)] ^= 1 << rng.random_range(0..8),
            2 => rng.fill(&mut shown[..]),
            _ => shown.truncate(n % 46),
        }
        sim.show(stranger, &shown).rejected(400);
    }
    assert_eq!(sim.passed_on, 0);
    let stats = sim.cores[1].stats();
    assert_eq!((stats.allocations, stats.timers), (0, 0));
}

/// Late news of a client that has long been somebody else's is no news.
#[test]
fn a_core_forgets_a_moved_client_only_at_the_word_of_the_core_that_has_it() {
    let mut sim = Sim::cores(3, 1, |_| {});
    let home = sim.client(HOME);
    let ticket = sim.allocate_mobile(home);
    let away = sim.client_on(1, Transport::Udp, AWAY);
    sim.resume(home, away, &ticket);
    let tuple = sim.path(away).tuple;
    sim.cores[1].handle_client_elsewhere(tuple, CoreId(2), false);
    sim.refresh(away, 600).success();
    sim.cores[1].handle_client_elsewhere(tuple, CoreId(0), false);
    sim.refresh(away, 600).rejected(437);
}

// Whatever arrives.

/// Tickets of every kind of wrong, between others that are right: no panic, no allocation lost or
/// won, and only the codes that the RFC has for it.
#[test]
fn hostile_tickets_take_nothing_from_anybody() {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut sim = Sim::cores(2, seed as u8, |_| {});
        let mut victims: Vec<(Client, Vec<u8>)> = Vec::new();
        for n in 0..4 {
            let victim = sim.client_on(n % 2, Transport::Udp, &format!("198.51.100.{n}:4000"));
            let ticket = sim.allocate_mobile(victim);
            sim.bind_channel(victim, 0x4000, PEER).success();
            victims.push((victim, ticket));
        }
        let mut seen: Vec<Vec<u8>> = victims.iter().map(|(_, ticket)| ticket.clone()).collect();
        for n in 0..200 {
            let transport = if rng.random() { Transport::Udp } else { Transport::Tcp };
            let address = format!("203.0.113.{}:{}", n % 200, 2000 + n);
            let enemy = sim.client_on(rng.random_range(0..2), transport, &address);
            sim.log_in(enemy, "bob", "builder");
            let mut ticket = seen[rng.random_range(0..seen.len())].clone();
            match rng.random_range(0..6) {
                0 => {}
                1 => ticket[rng.random_range(0..46)] ^= 1 << rng.random_range(0..8),
                2 => ticket.truncate(rng.random_range(0..46)),
                3 => ticket.extend_from_within(..rng.random_range(1..46)),
                4 => rng.fill(&mut ticket[..]),
                // The halves of two.
                _ => {
                    let other = &seen[rng.random_range(0..seen.len())];
                    let cut = rng.random_range(1..45);
                    ticket[cut..].copy_from_slice(&other[cut..]);
                }
            }
            let lifetime: u32 = *[0, 600].get(n % 2).expect("two");
            let lifetime = (AttributeType::LIFETIME, &lifetime.to_be_bytes()[..]);
            let answer = sim.request(enemy, Method::REFRESH, &[with_ticket(&ticket), lifetime]);
            let code = answer.response.as_ref().and_then(Response::code).expect("an error");
            assert!([400, 437, 441].contains(&code), "{code}");
            // Meanwhile somebody moves.
            if n % 20 == 0 {
                let at = rng.random_range(0..victims.len());
                let (from, ticket) = victims[at].clone();
                let address = format!("192.0.2.{}:{}", n % 200, 3000 + n);
                let to = sim.client_on(rng.random_range(0..2), transport, &address);
                let ticket = sim.resume(from, to, &ticket);
                is_at(&mut sim, to);
                seen.push(ticket.clone());
                victims[at] = (to, ticket);
            }
        }
        for (victim, _) in victims {
            is_at(&mut sim, victim);
            sim.refresh(victim, 0).success();
        }
        sim.nothing_left();
    }
}

/// A ticket attribute in other requests means nothing: it is comprehension-optional (§4).
#[test]
fn other_requests_ignore_tickets() {
    let mut sim = Sim::new();
    let (home, ticket, away) = mobile(&mut sim);
    let binding = sim.packet(Method::BINDING).with(AttributeType::MOBILITY_TICKET, &ticket);
    assert!(sim.ask(away, &binding).response.expect("an answer").code().is_none());
    let permit = |packet: Packet| {
        packet.with(AttributeType::MOBILITY_TICKET, &ticket).peer(addr(OTHER_PEER))
    };
    sim.request_with(away, Method::CREATE_PERMISSION, permit).rejected(437);
    sim.request_with(home, Method::CREATE_PERMISSION, permit).success();
}
