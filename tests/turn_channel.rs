//! Channels (RFC 8656 §12) and ChannelBind (§12.2).

mod common;

use common::{
    Action, AttributeType, Client, Drop, Method, OTHER_PEER, PEER, PEER_V6, Sim, addr, secs,
};

fn allocated() -> (Sim, Client) {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate(client).success();
    (sim, client)
}

fn bound() -> (Sim, Client) {
    let (mut sim, client) = allocated();
    sim.bind_channel(client, 0x4000, PEER).success();
    (sim, client)
}

#[test]
fn a_channel_carries_both_directions() {
    let (mut sim, client) = bound();
    assert_eq!(sim.send_on(client, 0x4000, b"out").reaches(PEER), b"out");
    assert_eq!(sim.peer_sends(PEER, client, b"in").arrives_on(0x4000), b"in");
    assert_eq!(sim.stats().channel_binds, 1);
}

/// RFC 8656 §12: 0x4000 to 0x4FFF, which is narrower than RFC 5766's.
#[test]
fn channel_numbers_lie_between_0x4000_and_0x4fff() {
    let (mut sim, client) = allocated();
    for number in [0, 1, 0x3FFF, 0x5000, 0x5001, 0x7FFE, 0x7FFF, 0x8000, 0xFFFF] {
        sim.bind_channel(client, number, PEER).rejected(400);
    }
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.bind_channel(client, 0x4FFF, OTHER_PEER).success();
}

/// RFC 8656 §12.2: both attributes, and valid.
#[test]
fn channel_bind_wants_a_number_and_a_peer() {
    let (mut sim, client) = allocated();
    let number = (AttributeType::CHANNEL_NUMBER, &[0x40, 0, 0, 0][..]);
    sim.request(client, Method::CHANNEL_BIND, &[]).rejected(400);
    sim.request(client, Method::CHANNEL_BIND, &[number]).rejected(400);
    sim.permit_all(client, &[]).rejected(400);
    for value in [&b""[..], &[0x40], &[0x40, 0], &[0x40, 0, 0], &[0x40, 0, 0, 0, 0]] {
        let answer = sim.request_with(client, Method::CHANNEL_BIND, |packet| {
            packet.with(AttributeType::CHANNEL_NUMBER, value).peer(addr(PEER))
        });
        answer.rejected(400);
    }
    for value in [&b""[..], &[0, 1, 2], &[0, 1, 2, 3, 4, 5, 6], &[0, 3, 2, 3, 4, 5, 6, 7]] {
        let peer = (AttributeType::XOR_PEER_ADDRESS, value);
        sim.request(client, Method::CHANNEL_BIND, &[number, peer]).rejected(400);
    }
    sim.bind_channel(client, 0x4000, "9.0.0.1:0").rejected(400);
    assert_eq!((sim.stats().channels, sim.stats().permissions), (0, 0));
}

/// RFC 8656 §18.1: the RFFU field behind the number is ignored.
#[test]
fn the_reserved_half_of_channel_number_is_ignored() {
    let (mut sim, client) = allocated();
    let answer = sim.request_with(client, Method::CHANNEL_BIND, |packet| {
        packet.with(AttributeType::CHANNEL_NUMBER, [0x40, 0, 0xFF, 0xFF]).peer(addr(PEER))
    });
    answer.success();
}

/// RFC 8656 §12.2: neither a bound number for another peer nor a bound peer for another number.
#[test]
fn a_binding_is_one_to_one() {
    let (mut sim, client) = bound();
    sim.bind_channel(client, 0x4000, OTHER_PEER).rejected(400);
    sim.bind_channel(client, 0x4000, "9.0.0.1:7001").rejected(400);
    sim.bind_channel(client, 0x4001, PEER).rejected(400);
    // Another port is another peer.
    sim.bind_channel(client, 0x4001, "9.0.0.1:7001").success();
    // Nothing has changed by what was refused.
    sim.send_on(client, 0x4000, b"x").reaches(PEER);
    sim.peer_sends(OTHER_PEER, client, b"x").dropped();
    assert_eq!((sim.stats().channels, sim.stats().permissions), (2, 1));
}

/// RFC 8656 §12: "Channel bindings last for 10 minutes unless refreshed".
#[test]
fn a_channel_lasts_exactly_600_seconds() {
    let (mut sim, client) = allocated();
    sim.refresh(client, 3600).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.pass(secs(600) - 1);
    sim.send_on(client, 0x4000, b"x").reaches(PEER);
    sim.pass(1);
    assert_eq!(sim.stats().channels, 0);
    sim.send_on(client, 0x4000, b"x").dropped();
    assert_eq!(sim.drops(Drop::NoChannel), 1);
}

#[test]
fn a_channel_ends_in_time_even_when_its_timer_is_late() {
    let (mut sim, client) = allocated();
    sim.refresh(client, 3600).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.pass_without_timers(secs(600));
    sim.send_on(client, 0x4000, b"x").dropped();
    // Number and peer are free for others.
    sim.bind_channel(client, 0x4000, OTHER_PEER).success();
    sim.bind_channel(client, 0x4001, PEER).success();
    sim.permit(client, PEER).success();
    sim.peer_sends(PEER, client, b"x").arrives_on(0x4001);
    sim.peer_sends(OTHER_PEER, client, b"x").arrives_on(0x4000);
}

#[test]
fn a_peers_datagram_comes_as_an_indication_once_the_late_channel_is_over() {
    let (mut sim, client) = allocated();
    sim.refresh(client, 3600).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.pass_without_timers(secs(599));
    sim.permit(client, PEER).success();
    sim.pass_without_timers(secs(1));
    sim.peer_sends(PEER, client, b"x").arrives_from(PEER);
}

/// RFC 8656 §12.2: the same binding again refreshes it.
#[test]
fn the_same_binding_again_begins_the_600_seconds_anew() {
    let (mut sim, client) = allocated();
    sim.refresh(client, 3600).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.pass(secs(500));
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.pass(secs(600) - 1);
    sim.send_on(client, 0x4000, b"x").reaches(PEER);
    sim.pass(1);
    sim.send_on(client, 0x4000, b"x").dropped();
    assert_eq!(sim.stats().channels, 0);
}

/// RFC 8656 §9: the permission that comes with a channel lasts 300 seconds, not 600.
#[test]
fn the_permission_of_a_channel_lasts_300_seconds() {
    let (mut sim, client) = bound();
    sim.pass(secs(300) - 1);
    sim.peer_sends(PEER, client, b"x").arrives_on(0x4000);
    sim.send(client, PEER, b"x").reaches(PEER);
    sim.pass(1);
    sim.peer_sends(PEER, client, b"x").dropped();
    sim.send(client, PEER, b"x").dropped();
    // §12.6 lets the client's own packets pass as long as the channel is bound.
    sim.send_on(client, 0x4000, b"x").reaches(PEER);
    // With a new permission the channel carries both directions again.
    sim.permit(client, PEER).success();
    sim.peer_sends(PEER, client, b"x").arrives_on(0x4000);
}

/// RFC 8656 §9: ChannelBind also refreshes a permission.
#[test]
fn a_channel_bind_refreshes_the_permission() {
    let (mut sim, client) = allocated();
    sim.permit(client, PEER).success();
    sim.pass(secs(200));
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.pass(secs(300) - 1);
    sim.peer_sends("9.0.0.1:9", client, b"x").arrives_from("9.0.0.1:9");
    assert_eq!(sim.stats().permissions, 1);
}

/// RFC 8656 §12.6: "MUST NOT refresh either the channel binding or the permission".
#[test]
fn traffic_does_not_refresh_a_channel() {
    let (mut sim, client) = allocated();
    sim.refresh(client, 3600).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    for _ in 0..6 {
        sim.permit(client, PEER).success();
        sim.send_on(client, 0x4000, b"x").reaches(PEER);
        sim.peer_sends(PEER, client, b"x").arrives_on(0x4000);
        sim.pass(secs(100));
    }
    sim.send_on(client, 0x4000, b"x").dropped();
}

#[test]
fn a_channel_number_belongs_to_one_allocation() {
    let (mut sim, client) = bound();
    let other = sim.client("198.51.100.2:4000");
    sim.allocate(other).success();
    sim.send_on(other, 0x4000, b"x").dropped();
    sim.bind_channel(other, 0x4000, OTHER_PEER).success();
    sim.send_on(other, 0x4000, b"x").reaches(OTHER_PEER);
    sim.send_on(client, 0x4000, b"x").reaches(PEER);
    sim.peer_sends(PEER, other, b"x").dropped();
}

/// RFC 8489 §6.3.1: what is repeated is done again, and does no harm.
#[test]
fn a_retransmitted_channel_bind_succeeds_again() {
    let (mut sim, client) = allocated();
    let packet = sim
        .packet(Method::CHANNEL_BIND)
        .with(AttributeType::CHANNEL_NUMBER, [0x40, 0, 0, 0])
        .peer(addr(PEER));
    let packet = sim.sign(client, packet);
    let first = sim.ask(client, &packet).success();
    assert_eq!(sim.ask(client, &packet).success().bytes, first.bytes);
    assert_eq!((sim.stats().channels, sim.stats().permissions), (1, 1));
}

/// Two allocations that are bound to each other: what arrives goes to a client, never back.
#[test]
fn allocations_bound_to_each_other_make_no_loop() {
    let (mut sim, a) = allocated();
    let b = sim.client("198.51.100.2:4000");
    sim.allocate(b).success();
    let (a_at, b_at) = (sim.relayed(a)[0].to_string(), sim.relayed(b)[0].to_string());
    sim.bind_channel(a, 0x4000, &b_at).success();
    sim.bind_channel(b, 0x4001, &a_at).success();
    let out = sim.send_on(a, 0x4000, b"once");
    assert_eq!(sim.carry(out).arrives_on(0x4001), b"once");
}

#[test]
fn a_peer_of_another_family_is_443_and_a_forbidden_one_403() {
    let (mut sim, client) = allocated();
    sim.bind_channel(client, 0x4000, PEER_V6).rejected(443);
    sim.bind_channel(client, 0x4000, "10.0.0.1:9").rejected(403);
    assert_eq!((sim.stats().channels, sim.stats().permissions), (0, 0));
}

#[test]
fn channels_beyond_the_limit_are_508() {
    let mut sim = Sim::with(|config| config.limits.channels_per_allocation = 2);
    let client = sim.client("198.51.100.1:4000");
    sim.allocate(client).success();
    sim.bind_channel(client, 0x4000, "9.0.1.1:1").success();
    sim.bind_channel(client, 0x4001, "9.0.1.1:2").success();
    sim.bind_channel(client, 0x4002, "9.0.1.1:3").rejected(508);
    sim.bind_channel(client, 0x4002, "9.0.1.9:3").rejected(508);
    assert_eq!((sim.stats().channels, sim.stats().permissions), (2, 1));
    sim.bind_channel(client, 0x4001, "9.0.1.1:2").success();
}

/// RFC 8656 §12.6: "received on a channel that is not bound … silently discarded"; so is one that
/// is cut short or whose number is none.
#[test]
fn channel_data_that_says_too_much_dropped() {
    let (mut sim, client) = bound();
    sim.send_on(client, 0x4001, b"x").dropped();
    assert_eq!(sim.drops(Drop::NoChannel), 1);
    for bytes in [
        &[0x40, 0x00][..],
        &[0x40, 0x00, 0x00],
        &[0x40, 0x00, 0x00, 0x05, 1, 2, 3, 4],
        &[0x40, 0x00, 0xFF, 0xFF, 1, 2, 3, 4],
        &[0x50, 0x00, 0x00, 0x01, 1],
        &[0x7F, 0xFF, 0x00, 0x01, 1],
    ] {
        sim.deliver(client, bytes).dropped();
    }
    assert_eq!(sim.drops(Drop::Malformed), 6);
}

/// RFC 8656 §12.5: over UDP "the padding is not required but MAY be included"; none of it leaks.
#[test]
fn padding_is_no_payload() {
    let (mut sim, client) = bound();
    let out = sim.deliver(client, &[0x40, 0, 0, 1, b'x', 9, 9, 9]);
    assert_eq!(out.reaches(PEER), b"x");
}

/// RFC 8656 §12.6: "if the Length field … is 0 … the UDP datagram is still formed and sent".
#[test]
fn an_empty_datagram_passes_both_ways() {
    let (mut sim, client) = bound();
    assert_eq!(sim.send_on(client, 0x4000, b"").reaches(PEER), b"");
    assert_eq!(sim.peer_sends(PEER, client, b"").arrives_on(0x4000), b"");
}

/// RFC 8656 §12.5: "Over TCP … MUST be padded to a multiple of four bytes".
#[test]
fn channel_data_is_padded_on_a_stream() {
    let mut sim = Sim::new();
    let client = sim.tcp_client("198.51.100.1:4000");
    sim.allocate(client).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    for length in 0..9 {
        let payload = vec![0xAB; length];
        assert_eq!(sim.send_on(client, 0x4000, &payload).reaches(PEER), payload);
        // arrives_on() checks the padding.
        assert_eq!(sim.peer_sends(PEER, client, &payload).arrives_on(0x4000), payload);
    }
}

/// The seam for a kernel fast path: what is bound, refreshed and unbound is told.
#[test]
fn bindings_are_told_to_the_shell() {
    let (mut sim, client) = bound();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.bind_channel(client, 0x4001, OTHER_PEER).success();
    sim.refresh(client, 0).success();
    let told: Vec<_> = sim
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::ChannelBound { channel, .. } => Some((channel.get(), true)),
            Action::ChannelUnbound { channel, .. } => Some((channel.get(), false)),
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [(0x4000, true), (0x4000, true), (0x4001, true), (0x4000, false), (0x4001, false)]
    );
}
