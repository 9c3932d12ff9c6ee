//! Refresh (RFC 8656 §8.2): a new lifetime for an allocation, or its end.

mod common;

use common::{AttributeType, Client, ErrorCode, Method, PEER, PEER_V6, Sim, V4, V6, secs};

const AND_V6: (AttributeType, &[u8]) = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6);
const ZERO: (AttributeType, &[u8]) = (AttributeType::LIFETIME, &[0; 4]);
const OF_V4: (AttributeType, &[u8]) = (AttributeType::REQUESTED_ADDRESS_FAMILY, &V4);
const OF_V6: (AttributeType, &[u8]) = (AttributeType::REQUESTED_ADDRESS_FAMILY, &V6);

fn allocated() -> (Sim, Client) {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate(client).success();
    (sim, client)
}

fn dual() -> (Sim, Client) {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate_with(client, &[AND_V6]).success();
    (sim, client)
}

/// RFC 8656 §8.2: the "desired lifetime".
#[test]
fn the_lifetime_is_clamped_as_in_allocate() {
    for (wanted, granted) in [
        (None, 600),
        (Some(1), 600),
        (Some(600), 600),
        (Some(1800), 1800),
        (Some(3600), 3600),
        (Some(u32::MAX), 3600),
    ] {
        let (mut sim, client) = allocated();
        sim.pass(secs(300));
        assert_eq!(sim.refresh(client, wanted).success().lifetime(), granted);
        sim.pass(secs(granted.into()) - 1);
        assert_eq!(sim.stats().allocations, 1);
        sim.pass(1);
        sim.nothing_left();
    }
}

/// A later Refresh may shorten what an earlier one granted.
#[test]
fn a_refresh_sets_the_lifetime_and_does_not_add_to_it() {
    let (mut sim, client) = allocated();
    sim.refresh(client, 3600).success();
    assert_eq!(sim.refresh(client, None).success().lifetime(), 600);
    sim.pass(secs(600));
    sim.nothing_left();
}

/// RFC 8656 §8.2: "If the "desired lifetime" is zero, then the request succeeds and the
/// allocation is deleted": at once, not a second later.
#[test]
fn a_lifetime_of_zero_ends_the_allocation_before_the_answer_leaves() {
    let (mut sim, client) = allocated();
    sim.permit(client, PEER).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    let local = sim.relayed(client)[0];
    assert_eq!(sim.refresh(client, 0).success().lifetime(), 0);
    sim.nothing_left();
    sim.send(client, PEER, b"x").dropped();
    sim.send_on(client, 0x4000, b"x").dropped();
    sim.peer_to_relay(common::addr(PEER), local, b"x").dropped();
    sim.refresh(client, 600).rejected(437);
    sim.permit(client, PEER).rejected(437);
    sim.bind_channel(client, 0x4000, PEER).rejected(437);
    sim.allocate(client).success();
    assert_eq!(sim.stats().allocations_ended, 1);
}

/// RFC 8656 §8.2, last note: "will cause a 437 … if the allocation has already been deleted".
#[test]
fn a_retransmitted_refresh_is_harmless() {
    let (mut sim, client) = allocated();
    let packet = sim.packet(Method::REFRESH).with(AttributeType::LIFETIME, 900u32.to_be_bytes());
    let packet = sim.sign(client, packet);
    let first = sim.ask(client, &packet).success();
    assert_eq!(sim.ask(client, &packet).success().bytes, first.bytes);

    let packet = sim.packet(Method::REFRESH).with(ZERO.0, ZERO.1);
    let packet = sim.sign(client, packet);
    sim.ask(client, &packet).success();
    sim.ask(client, &packet).rejected(437);
    assert_eq!(sim.stats().refreshes, 3);
}

/// RFC 8656 §6: "sending data to a peer does not refresh an allocation", nor does what comes.
#[test]
fn traffic_does_not_refresh_an_allocation() {
    let (mut sim, client) = allocated();
    for _ in 0..6 {
        sim.bind_channel(client, 0x4000, PEER).success();
        sim.send(client, PEER, b"x").reaches(PEER);
        sim.send_on(client, 0x4000, b"x").reaches(PEER);
        sim.peer_sends(PEER, client, b"x").arrives_on(0x4000);
        sim.pass(secs(100));
    }
    sim.nothing_left();
}

#[test]
fn a_refresh_leaves_permissions_and_channels_alone() {
    let (mut sim, client) = allocated();
    sim.permit(client, "9.0.0.9:1").success();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.pass(secs(200));
    sim.refresh(client, 3600).success();
    sim.peer_sends("9.0.0.9:1", client, b"x").arrives_from("9.0.0.9:1");
    sim.peer_sends(PEER, client, b"x").arrives_on(0x4000);
    sim.pass(secs(100));
    sim.peer_sends("9.0.0.9:1", client, b"x").dropped();
    sim.pass(secs(300));
    sim.send_on(client, 0x4000, b"x").dropped();
}

#[test]
fn a_malformed_lifetime_or_family_is_a_bad_request() {
    let (mut sim, client) = allocated();
    for (kind, value) in [
        (AttributeType::LIFETIME, &[0; 3][..]),
        (AttributeType::LIFETIME, &[0; 8]),
        (AttributeType::REQUESTED_ADDRESS_FAMILY, &[1]),
    ] {
        sim.request(client, Method::REFRESH, &[(kind, value)]).rejected(400);
    }
    assert_eq!(sim.stats().allocations, 1);
}

/// RFC 8656 §8.2: a family that is not the allocation's: 443, and nothing is deleted.
#[test]
fn a_family_that_was_not_allocated_is_a_mismatch() {
    let (mut sim, client) = allocated();
    sim.request(client, Method::REFRESH, &[OF_V6]).rejected(443);
    sim.request(client, Method::REFRESH, &[OF_V6, ZERO]).rejected(443);
    sim.request(client, Method::REFRESH, &[(OF_V6.0, &[9, 0, 0, 0]), ZERO]).rejected(443);
    sim.request(client, Method::REFRESH, &[OF_V4]).success();
    assert_eq!(sim.errors(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH), 3);
}

/// RFC 8656 §8.1: without a family the request applies to all that there is.
#[test]
fn a_refresh_without_a_family_keeps_both_halves_of_a_dual_allocation() {
    let (mut sim, client) = dual();
    sim.request(client, Method::REFRESH, &[OF_V4]).success();
    sim.refresh(client, 1800).success();
    sim.pass(secs(1700));
    assert_eq!(sim.sockets.len(), 2);
    sim.pass(secs(100));
    sim.nothing_left();
}

/// RFC 8656 §6: a time-to-expiry for each relayed transport address; §8.1: a family that is named
/// is refreshed alone.
#[test]
fn the_half_that_nobody_refreshes_ends_and_the_other_goes_on() {
    for (family, gone, stays) in [(OF_V6, PEER, PEER_V6), (OF_V4, PEER_V6, PEER)] {
        let (mut sim, client) = dual();
        sim.pass(secs(500));
        sim.permit_all(client, &[PEER, PEER_V6]).success();
        sim.bind_channel(client, 0x4004, PEER).success();
        sim.bind_channel(client, 0x4006, PEER_V6).success();
        let lifetime = (AttributeType::LIFETIME, &900u32.to_be_bytes()[..]);
        let response = sim.request(client, Method::REFRESH, &[family, lifetime]).success();
        assert_eq!(response.lifetime(), 900);
        sim.pass(secs(100) - 1);
        assert_eq!(sim.sockets.len(), 2);
        sim.send(client, gone, b"x").reaches(gone);
        sim.pass(1);
        let stats = sim.stats();
        assert_eq!((stats.allocations, stats.permissions, stats.channels), (1, 1, 1));
        assert_eq!((stats.halves_expired, stats.allocations_expired), (1, 0));
        assert_eq!((sim.sockets.len(), stats.timers), (1, 3));
        sim.send(client, gone, b"x").dropped();
        sim.permit(client, gone).rejected(443);
        sim.request(client, Method::REFRESH, &[if family == OF_V4 { OF_V6 } else { OF_V4 }])
            .rejected(443);
        sim.send(client, stays, b"x").reaches(stays);
        sim.send_on(client, if stays == PEER { 0x4004 } else { 0x4006 }, b"x").reaches(stays);
        // Its own time runs from its own refresh.
        sim.pass(secs(800) - 1);
        assert_eq!(sim.stats().allocations, 1);
        sim.pass(1);
        sim.nothing_left();
        assert_eq!((sim.stats().halves_expired, sim.stats().allocations_expired), (1, 1));
    }
}

/// The shell may be late; time alone decides.
#[test]
fn a_half_whose_time_is_over_relays_nothing_although_no_timer_was_served() {
    let (mut sim, client) = dual();
    sim.pass(secs(400));
    sim.permit_all(client, &[PEER, PEER_V6]).success();
    sim.bind_channel(client, 0x4004, PEER).success();
    let relayed = sim.relayed(client);
    sim.request(client, Method::REFRESH, &[OF_V6]).success();
    sim.pass_without_timers(secs(200));
    sim.send(client, PEER, b"x").dropped();
    sim.send_on(client, 0x4004, b"x").dropped();
    sim.peer_to_relay(common::addr(PEER), relayed[0], b"x").dropped();
    sim.send(client, PEER_V6, b"x").reaches(PEER_V6);
    sim.peer_to_relay(common::addr(PEER_V6), relayed[1], b"x").arrives_from(PEER_V6);
    assert_eq!(sim.sockets.len(), 2, "nobody has looked yet");
    sim.request(client, Method::REFRESH, &[OF_V4]).rejected(443);
    assert_eq!(sim.sockets.len(), 1, "a request looks");
    sim.refresh(client, 0).success();
    sim.nothing_left();
}

/// Each half may be shortened and prolonged again, whatever the other's time is.
#[test]
fn each_half_keeps_its_own_time_through_many_refreshes() {
    let (mut sim, client) = dual();
    let refresh = |sim: &mut Sim, family, secs: u32| {
        let lifetime = (AttributeType::LIFETIME, &secs.to_be_bytes()[..]);
        sim.request(client, Method::REFRESH, &[family, lifetime]).success();
        assert_eq!(sim.stats().timers, 1, "one deadline for each allocation");
    };
    refresh(&mut sim, OF_V4, 3600);
    refresh(&mut sim, OF_V6, 1800);
    refresh(&mut sim, OF_V4, 700);
    sim.pass(secs(650));
    refresh(&mut sim, OF_V4, 600);
    sim.pass(secs(599));
    refresh(&mut sim, OF_V4, 3000);
    sim.pass(secs(1800 - 1249) - 1);
    assert_eq!(sim.sockets.len(), 2);
    sim.pass(1);
    assert_eq!((sim.sockets.len(), sim.stats().halves_expired), (1, 1));
    sim.pass(secs(1249 + 3000 - 1800));
    sim.nothing_left();
}

/// An allocation whose other family could not be had is a single one.
#[test]
fn a_half_that_was_never_there_keeps_nothing_alive() {
    let mut sim = Sim::with(|config| config.relay.addresses.retain(|ip| ip.is_ipv4()));
    let client = sim.client("198.51.100.1:4000");
    sim.allocate_with(client, &[AND_V6]).success();
    sim.pass(secs(300));
    sim.request(client, Method::REFRESH, &[OF_V4]).success();
    sim.pass(secs(600));
    sim.nothing_left();
    assert_eq!((sim.stats().halves_expired, sim.stats().allocations_expired), (0, 1));
}

/// RFC 8656 §8.1: a client may delete one half by naming its family.
#[test]
fn one_half_of_a_dual_allocation_may_end_alone() {
    for (family, gone, stays) in [(OF_V4, PEER, PEER_V6), (OF_V6, PEER_V6, PEER)] {
        let (mut sim, client) = dual();
        sim.permit_all(client, &[PEER, PEER_V6]).success();
        sim.bind_channel(client, 0x4004, PEER).success();
        sim.bind_channel(client, 0x4006, PEER_V6).success();
        sim.request(client, Method::REFRESH, &[family, ZERO]).success();
        let stats = sim.stats();
        assert_eq!((stats.allocations, stats.permissions, stats.channels), (1, 1, 1));
        assert_eq!((sim.sockets.len(), stats.timers), (1, 3));
        sim.send(client, gone, b"x").dropped();
        sim.permit(client, gone).rejected(443);
        sim.bind_channel(client, 0x4010, gone).rejected(443);
        sim.request(client, Method::REFRESH, &[family]).rejected(443);
        sim.send(client, stays, b"x").reaches(stays);
        let channel = if stays == PEER { 0x4004 } else { 0x4006 };
        sim.send_on(client, channel, b"x").reaches(stays);
        // The last half is the end of all.
        let other = if family == OF_V4 { OF_V6 } else { OF_V4 };
        sim.request(client, Method::REFRESH, &[other, ZERO]).success();
        sim.nothing_left();
        sim.refresh(client, 600).rejected(437);
    }
}

/// RFC 8489 §6.3.1.
#[test]
fn an_unknown_required_attribute_is_named_and_changes_nothing() {
    let (mut sim, client) = allocated();
    let response =
        sim.request(client, Method::REFRESH, &[ZERO, (AttributeType(0x7F31), b"x")]).rejected(420);
    assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), [0x7F, 0x31]);
    sim.request(client, Method::REFRESH, &[(AttributeType(0xFF31), b"x")]).success();
}
