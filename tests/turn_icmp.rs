//! What becomes of ICMP errors (RFC 8656 §11.5, §18.13).

mod common;

use common::{AttributeType, Client, Drop, OTHER_PEER, PEER, PEER_V6, Sim, V6, secs};
use hairpin::wire::Icmp;

const CLOSED: Icmp = Icmp::v4(3, 3, 0);

fn permitted() -> (Sim, Client) {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate(client).success();
    sim.permit(client, PEER).success();
    (sim, client)
}

#[test]
fn a_client_hears_of_a_peer_that_cannot_be_reached() {
    let (mut sim, client) = permitted();
    let relayed = sim.relayed(client)[0];
    let value = sim.icmp(relayed, PEER, CLOSED).tells_of(PEER);
    assert_eq!(value, [0, 0, 3, 3, 0, 0, 0, 0]);
    assert_eq!(sim.stats().icmp_to_client, 1);
    assert_eq!(sim.stats().packets_to_client, 0, "it is no payload");
}

#[test]
fn what_was_too_big_tells_what_is_not() {
    let (mut sim, client) = permitted();
    let relayed = sim.relayed(client)[0];
    let value = sim.icmp(relayed, PEER, Icmp::v4(3, 4, 1280)).tells_of(PEER);
    assert_eq!(value, [0, 0, 3, 4, 0, 0, 5, 0]);
}

/// Not the router's that has sent the error, and of it the address only.
#[test]
fn it_is_the_peers_permission_that_counts() {
    let (mut sim, client) = permitted();
    let relayed = sim.relayed(client)[0];
    sim.icmp(relayed, OTHER_PEER, CLOSED).dropped();
    assert_eq!(sim.drops(Drop::NoPermission), 1);
    let (ip, _) = PEER.rsplit_once(':').expect("an address with a port");
    for port in [0, 9] {
        let peer = format!("{ip}:{port}");
        sim.icmp(relayed, &peer, CLOSED).tells_of(&peer);
    }
    sim.pass(secs(301));
    sim.icmp(relayed, PEER, CLOSED).dropped();
    assert_eq!(sim.drops(Drop::NoPermission), 2);
}

/// §11.5: a Data indication, whatever carries the payloads.
#[test]
fn a_channel_does_not_carry_it() {
    let (mut sim, client) = permitted();
    sim.bind_channel(client, 0x4000, PEER).success();
    let relayed = sim.relayed(client)[0];
    sim.icmp(relayed, PEER, CLOSED).tells_of(PEER);
}

#[test]
fn a_client_over_tcp_hears_of_it_in_a_frame_of_its_own() {
    let mut sim = Sim::new();
    let client = sim.tcp_client("198.51.100.1:4000");
    sim.allocate(client).success();
    sim.permit(client, PEER).success();
    let relayed = sim.relayed(client)[0];
    assert_eq!(sim.icmp(relayed, PEER, CLOSED).tells_of(PEER)[2..4], [3, 3]);
}

#[test]
fn each_family_has_its_types() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.allocate_with(client, &[(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6)]).success();
    sim.permit_all(client, &[PEER, PEER_V6]).success();
    let [v4, v6] = sim.relayed(client)[..] else { panic!("two relayed addresses") };
    let mut dropped = 0;
    for kind in 0..=20 {
        // The clock goes on, lest there be too many.
        sim.pass(secs(1));
        if [3, 11].contains(&kind) {
            assert_eq!(sim.icmp(v4, PEER, Icmp::v4(kind, 1, 9)).tells_of(PEER)[2..4], [kind, 1]);
        } else {
            sim.icmp(v4, PEER, Icmp::v4(kind, 1, 9)).dropped();
            dropped += 1;
        }
        if [1, 2, 3].contains(&kind) {
            let value = sim.icmp(v6, PEER_V6, Icmp::v6(kind, 0, 1280)).tells_of(PEER_V6);
            let data = if kind == 2 { 1280_u32.to_be_bytes() } else { [0; 4] };
            assert_eq!((value[2], &value[4..]), (kind, &data[..]));
        } else {
            sim.icmp(v6, PEER_V6, Icmp::v6(kind, 0, 1280)).dropped();
            dropped += 1;
        }
    }
    assert_eq!(sim.drops(Drop::IcmpType), dropped);
}

#[test]
fn no_client_is_drowned_in_errors() {
    let (mut sim, client) = permitted();
    let other = sim.client("198.51.100.2:4000");
    sim.allocate(other).success();
    sim.permit(other, PEER).success();
    let relayed = sim.relayed(client)[0];
    for round in 1..=3 {
        for _ in 0..10 {
            sim.icmp(relayed, PEER, CLOSED).tells_of(PEER);
        }
        for _ in 0..100 {
            sim.icmp(relayed, PEER, CLOSED).dropped();
        }
        assert_eq!(sim.drops(Drop::IcmpLimit), round * 100);
        // Others are none the worse for it.
        let relayed = sim.relayed(other)[0];
        sim.icmp(relayed, PEER, CLOSED).tells_of(PEER);
        sim.pass(1000);
    }
}

#[test]
fn an_allocation_that_is_over_hears_of_nothing() {
    let (mut sim, client) = permitted();
    let relayed = sim.relayed(client)[0];
    sim.pass_without_timers(secs(601));
    sim.icmp(relayed, PEER, CLOSED).dropped();
    assert_eq!(sim.drops(Drop::NoAllocation), 1);
}

#[test]
fn an_error_about_a_neighbour_tells_no_more_than_a_payload_would() {
    // Relayed addresses of this server lie on it: of its other ports nobody is told anything.
    let (mut sim, client) = permitted();
    let relayed = sim.relayed(client)[0];
    let other = sim.client("198.51.100.2:4000");
    let neighbour = sim.allocate(other).success().relayed();
    sim.permit(client, &neighbour.to_string()).success();
    sim.icmp(relayed, &neighbour.to_string(), CLOSED).tells_of(&neighbour.to_string());
    sim.icmp(relayed, &format!("{}:22", neighbour.ip()), CLOSED).dropped();
    assert_eq!(sim.drops(Drop::PeerRefused), 1);
}
