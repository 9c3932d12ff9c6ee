//! Permissions (RFC 8656 §9) and CreatePermission (§10.2).

mod common;

use common::{
    AttributeType, Client, Drop, ErrorCode, Method, OTHER_PEER, PEER, PEER_V6, Sim, V6, addr, secs,
};

fn allocated() -> (Sim, Client) {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate(client).success();
    (sim, client)
}

/// RFC 8656 §9: "If no match is found, relaying is not permitted".
#[test]
fn nothing_passes_without_a_permission() {
    let (mut sim, client) = allocated();
    sim.peer_sends(PEER, client, b"x").dropped();
    sim.send(client, PEER, b"x").dropped();
    assert_eq!(sim.drops(Drop::NoPermission), 2);
}

#[test]
fn a_permission_lets_both_directions_pass() {
    let (mut sim, client) = allocated();
    sim.permit(client, PEER).success();
    assert_eq!(sim.peer_sends(PEER, client, b"in").arrives_from(PEER), b"in");
    assert_eq!(sim.send(client, PEER, b"out").reaches(PEER), b"out");
    assert_eq!(sim.stats().create_permissions, 1);
}

/// RFC 8656 §9: "only addresses are compared and port numbers are not considered".
#[test]
fn a_permission_is_for_an_address_and_all_its_ports() {
    let (mut sim, client) = allocated();
    sim.permit(client, "9.0.0.1:0").success();
    for port in [1, 53, 7000, 65535] {
        let peer = format!("9.0.0.1:{port}");
        sim.peer_sends(&peer, client, b"x").arrives_from(&peer);
        sim.send(client, &peer, b"x").reaches(&peer);
    }
    sim.peer_sends(OTHER_PEER, client, b"x").dropped();
    sim.send(client, OTHER_PEER, b"x").dropped();
    // Another port of the same address is the same permission.
    sim.permit(client, PEER).success();
    assert_eq!(sim.stats().permissions, 1);
}

/// RFC 8656 §9: "The Permission Lifetime MUST be 300 seconds".
#[test]
fn a_permission_lasts_exactly_300_seconds() {
    let (mut sim, client) = allocated();
    sim.permit(client, PEER).success();
    sim.pass(secs(300) - 1);
    sim.peer_sends(PEER, client, b"x").arrives_from(PEER);
    sim.send(client, PEER, b"x").reaches(PEER);
    sim.pass(1);
    assert_eq!(sim.stats().permissions, 0);
    sim.peer_sends(PEER, client, b"x").dropped();
    sim.send(client, PEER, b"x").dropped();
}

#[test]
fn a_permission_ends_in_time_even_when_its_timer_is_late() {
    let (mut sim, client) = allocated();
    sim.permit(client, PEER).success();
    sim.pass_without_timers(secs(300));
    sim.peer_sends(PEER, client, b"x").dropped();
    sim.send(client, PEER, b"x").dropped();
}

/// RFC 8656 §9: "If a permission for that IP address already exists, then the time-to-expiry …
/// is reset".
#[test]
fn a_second_request_begins_the_300_seconds_anew() {
    let (mut sim, client) = allocated();
    sim.permit(client, PEER).success();
    sim.pass(secs(200));
    sim.permit(client, PEER).success();
    sim.pass(secs(300) - 1);
    sim.peer_sends(PEER, client, b"x").arrives_from(PEER);
    sim.pass(1);
    sim.peer_sends(PEER, client, b"x").dropped();
}

/// RFC 8489 §6.3.1: what is repeated is done again, and does no harm.
#[test]
fn a_retransmitted_request_succeeds_again() {
    let (mut sim, client) = allocated();
    let packet = sim.packet(Method::CREATE_PERMISSION).peer(addr(PEER));
    let packet = sim.sign(client, packet);
    let first = sim.ask(client, &packet).success();
    assert_eq!(sim.ask(client, &packet).success().bytes, first.bytes);
    assert_eq!(sim.stats().permissions, 1);
}

/// RFC 8489 §14.1: the first eight bits of an address "MUST be ignored by receivers".
#[test]
fn the_first_byte_of_an_address_is_ignored() {
    let (mut sim, client) = allocated();
    let answer = sim.request_with(client, Method::CREATE_PERMISSION, |packet| {
        let mut value = common::xor(addr(PEER), &packet.transaction);
        value[0] = 0xFF;
        packet.with(AttributeType::XOR_PEER_ADDRESS, value)
    });
    answer.success();
    sim.send(client, PEER, b"x").reaches(PEER);
}

/// RFC 8656 §11.2: "a Send indication never causes the server to refresh the permission".
#[test]
fn traffic_does_not_refresh_a_permission() {
    let (mut sim, client) = allocated();
    sim.permit(client, PEER).success();
    sim.bind_channel(client, 0x4000, OTHER_PEER).success();
    for _ in 0..6 {
        sim.send(client, PEER, b"x").reaches(PEER);
        sim.peer_sends(PEER, client, b"x").arrives_from(PEER);
        sim.send_on(client, 0x4000, b"x").reaches(OTHER_PEER);
        sim.peer_sends(OTHER_PEER, client, b"x").arrives_on(0x4000);
        sim.pass(secs(50));
    }
    sim.peer_sends(PEER, client, b"x").dropped();
    sim.peer_sends(OTHER_PEER, client, b"x").dropped();
    sim.send(client, PEER, b"x").dropped();
}

/// RFC 8656 §10.2: several peers in one request.
#[test]
fn one_request_may_permit_many_peers() {
    let (mut sim, client) = allocated();
    let peers: Vec<_> = (1..=16).map(|n| format!("9.0.1.{n}:9")).collect();
    let peers: Vec<_> = peers.iter().map(String::as_str).collect();
    sim.permit_all(client, &peers).success();
    for peer in &peers {
        sim.peer_sends(peer, client, b"x").arrives_from(peer);
    }
    assert_eq!((sim.stats().permissions, sim.stats().create_permissions), (16, 1));
    // The same one twice is one.
    sim.permit_all(client, &[PEER, PEER]).success();
    assert_eq!(sim.stats().permissions, 17);
}

/// RFC 8656 §10.2: none, or an invalid one among them: 400; and nothing of it is installed.
#[test]
fn one_invalid_peer_spoils_the_whole_request() {
    let (mut sim, client) = allocated();
    sim.permit_all(client, &[]).rejected(400);
    for invalid in
        [&b""[..], &[0], &[0, 1, 2, 3], &[0, 1, 2, 3, 4, 5, 6], &[0, 9, 2, 3, 4, 5, 6, 7]]
    {
        for invalid_first in [false, true] {
            let answer = sim.request_with(client, Method::CREATE_PERMISSION, |packet| {
                let kind = AttributeType::XOR_PEER_ADDRESS;
                if invalid_first {
                    packet.with(kind, invalid).peer(addr(PEER))
                } else {
                    packet.peer(addr(PEER)).with(kind, invalid)
                }
            });
            answer.rejected(400);
        }
    }
    assert_eq!(sim.stats().permissions, 0);
    sim.peer_sends(PEER, client, b"x").dropped();
}

/// RFC 8656 §10.2: a peer of a family that was not allocated: 443, and nothing is installed.
#[test]
fn a_peer_of_another_family_spoils_the_whole_request() {
    let (mut sim, client) = allocated();
    sim.permit(client, PEER_V6).rejected(443);
    sim.permit_all(client, &[PEER, PEER_V6]).rejected(443);
    assert_eq!(sim.stats().permissions, 0);
    assert_eq!(sim.errors(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH), 2);
}

/// RFC 8656 §10.2: an address that is not allowed: 403, and nothing is installed.
#[test]
fn a_forbidden_peer_spoils_the_whole_request() {
    let (mut sim, client) = allocated();
    sim.permit_all(client, &[PEER, "10.0.0.1:9"]).rejected(403);
    sim.permit_all(client, &["10.0.0.1:9", PEER]).rejected(403);
    assert_eq!(sim.stats().permissions, 0);
    assert_eq!(sim.errors(ErrorCode::FORBIDDEN), 2);
}

/// RFC 8656 §10.2: more than the server holds: 508, and nothing is installed.
#[test]
fn permissions_beyond_the_limit_are_508() {
    let mut sim = Sim::with(|config| config.limits.permissions_per_allocation = 3);
    let client = sim.client("198.51.100.1:4000");
    sim.allocate(client).success();
    sim.permit_all(client, &["9.0.1.1:1", "9.0.1.2:1", "9.0.1.3:1", "9.0.1.4:1"]).rejected(508);
    assert_eq!(sim.stats().permissions, 0);
    sim.permit_all(client, &["9.0.1.1:1", "9.0.1.2:1", "9.0.1.3:1", "9.0.1.1:2"]).success();
    sim.permit(client, "9.0.1.4:1").rejected(508);
    sim.bind_channel(client, 0x4000, "9.0.1.4:1").rejected(508);
    // What is there may be refreshed.
    sim.permit_all(client, &["9.0.1.1:1", "9.0.1.2:1"]).success();
    sim.bind_channel(client, 0x4000, "9.0.1.3:1").success();
    sim.pass(secs(300));
    sim.permit(client, "9.0.1.4:1").success();
}

/// RFC 8656 §9: "The permissions for one allocation are totally unrelated to the permissions for
/// a different allocation".
#[test]
fn a_permission_belongs_to_one_allocation() {
    let (mut sim, client) = allocated();
    let other = sim.client("198.51.100.2:4000");
    sim.allocate(other).success();
    sim.permit(client, PEER).success();
    sim.peer_sends(PEER, other, b"x").dropped();
    sim.send(other, PEER, b"x").dropped();
}

/// RFC 8656 §9: "If an allocation expires, all its permissions expire with it".
#[test]
fn permissions_end_with_their_allocation() {
    let (mut sim, client) = allocated();
    sim.pass(secs(500));
    sim.permit(client, PEER).success();
    sim.pass(secs(100));
    sim.nothing_left();
}

/// RFC 8656 §10.1: a dual allocation takes peers of both families in one request.
#[test]
fn a_dual_allocation_takes_peers_of_both_families() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate_with(client, &[(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6)]).success();
    sim.permit_all(client, &[PEER, PEER_V6]).success();
    let [v4, v6] = sim.relayed(client)[..] else { panic!("two addresses") };
    sim.peer_to_relay(addr(PEER), v4, b"x").arrives_from(PEER);
    sim.peer_to_relay(addr(PEER_V6), v6, b"x").arrives_from(PEER_V6);
    let common::Out::ToPeer { from, .. } = sim.send(client, PEER_V6, b"x") else { panic!() };
    assert_eq!(from, v6);
    let common::Out::ToPeer { from, .. } = sim.send(client, PEER, b"x") else { panic!() };
    assert_eq!(from, v4);
}
