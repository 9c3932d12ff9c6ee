//! Every limit is hit, every counter moves, every error and drop has a cause: a counter that
//! nobody can move is one that nobody should read.

mod common;

use common::{
    AttributeType, Client, ConnectError, Drop, ErrorCode, Method, OTHER_PEER, OpenError, PEER,
    PEER_V6, Sim, V6, addr, secs,
};
use hairpin::turn::{Moment, Now, Stats};
use hairpin::wire::Icmp;

const ERRORS: [ErrorCode; 14] = [
    ErrorCode::BAD_REQUEST,
    ErrorCode::UNAUTHENTICATED,
    ErrorCode::FORBIDDEN,
    ErrorCode::UNKNOWN_ATTRIBUTE,
    ErrorCode::ALLOCATION_MISMATCH,
    ErrorCode::STALE_NONCE,
    ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED,
    ErrorCode::WRONG_CREDENTIALS,
    ErrorCode::UNSUPPORTED_TRANSPORT,
    ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH,
    ErrorCode::CONNECTION_ALREADY_EXISTS,
    ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE,
    ErrorCode::ALLOCATION_QUOTA_REACHED,
    ErrorCode::INSUFFICIENT_CAPACITY,
];

/// What a step of the script must count, and nothing else.
#[track_caller]
fn counts_error(sim: &mut Sim, code: ErrorCode, step: impl FnOnce(&mut Sim)) {
    let before = sim.stats();
    step(sim);
    let after = sim.stats();
    for other in ERRORS {
        let expected = before.errors(other) + u64::from(other == code);
        assert_eq!(after.errors(other), expected, "{}", other.get());
    }
    assert_eq!(all_drops(&after), all_drops(&before));
}

#[track_caller]
fn counts_drop(sim: &mut Sim, reason: Drop, step: impl FnOnce(&mut Sim)) {
    let before = sim.stats();
    step(sim);
    let after = sim.stats();
    for other in Drop::ALL {
        let expected = before.drops(other) + u64::from(other == reason);
        assert_eq!(after.drops(other), expected, "{other:?}");
    }
    let errors = |stats: &Stats| ERRORS.map(|code| stats.errors(code));
    assert_eq!(errors(&after), errors(&before));
}

fn all_drops(stats: &Stats) -> u64 {
    Drop::ALL.iter().map(|reason| stats.drops(*reason)).sum()
}

fn allocated(sim: &mut Sim) -> Client {
    let client = sim.client("198.51.100.1:4000");
    sim.allocate(client).success();
    client
}

/// One session in which each error and each reason to drop occurs, and is counted once.
#[test]
fn every_error_and_every_drop_is_counted_as_what_it_is() {
    let mut sim = Sim::with(|config| {
        config.limits.permissions_per_allocation = 2;
        config.limits.connections_per_allocation = 1;
        // Then 64 KiB at once.
        config.limits.bandwidth_per_allocation = 1;
        config.relay.addresses.retain(|ip| ip.is_ipv4());
    });
    sim.quota = 2;
    let stranger = sim.client("198.51.100.9:4000");
    let late = sim.client("198.51.100.8:4000");
    sim.challenge(late);
    counts_error(&mut sim, ErrorCode::UNAUTHENTICATED, |sim| drop(sim.challenge(stranger)));
    counts_error(&mut sim, ErrorCode::ALLOCATION_MISMATCH, |sim| {
        sim.refresh(stranger, 600).rejected(437);
    });
    counts_error(&mut sim, ErrorCode::UNSUPPORTED_TRANSPORT, |sim| {
        let sctp = (AttributeType::REQUESTED_TRANSPORT, &[132, 0, 0, 0][..]);
        sim.request(stranger, Method::ALLOCATE, &[sctp]).rejected(442);
    });
    counts_error(&mut sim, ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED, |sim| {
        let v6 = (AttributeType::REQUESTED_ADDRESS_FAMILY, &V6[..]);
        sim.allocate_with(stranger, &[v6]).rejected(440);
    });
    counts_error(&mut sim, ErrorCode::UNKNOWN_ATTRIBUTE, |sim| {
        sim.allocate_with(stranger, &[(AttributeType(0x7F31), b"")]).rejected(420);
    });
    counts_error(&mut sim, ErrorCode::INSUFFICIENT_CAPACITY, |sim| {
        sim.failures.push_back(OpenError::Failed);
        sim.allocate(stranger).rejected(508);
    });

    let client = allocated(&mut sim);
    let other = sim.client("198.51.100.2:4000");
    sim.allocate(other).success();
    counts_error(&mut sim, ErrorCode::ALLOCATION_QUOTA_REACHED, |sim| {
        sim.allocate(stranger).rejected(486);
    });
    counts_error(&mut sim, ErrorCode::BAD_REQUEST, |sim| {
        sim.permit_all(client, &[]).rejected(400);
    });
    counts_error(&mut sim, ErrorCode::FORBIDDEN, |sim| {
        sim.permit(client, "10.0.0.1:9").rejected(403);
    });
    counts_error(&mut sim, ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH, |sim| {
        sim.permit(client, PEER_V6).rejected(443);
    });
    counts_error(&mut sim, ErrorCode::INSUFFICIENT_CAPACITY, |sim| {
        sim.permit_all(client, &["9.0.0.5:1", "9.0.0.6:1", "9.0.0.7:1"]).rejected(508);
    });
    counts_error(&mut sim, ErrorCode::WRONG_CREDENTIALS, |sim| {
        sim.log_in(client, "bob", "builder");
        sim.refresh(client, 600).rejected(441);
        sim.log_in(client, "alice", "wonderland");
    });
    counts_error(&mut sim, ErrorCode::STALE_NONCE, |sim| {
        sim.pass_without_timers(secs(3700));
        let packet = sim.packet(Method::REFRESH);
        let packet = sim.sign(late, packet);
        sim.ask(late, &packet).rejected(438);
    });
    sim.pass(0);
    sim.nothing_left();

    let client = allocated(&mut sim);
    sim.permit(client, PEER).success();
    counts_drop(&mut sim, Drop::Malformed, |sim| sim.deliver(client, b"garbage").dropped());
    counts_drop(&mut sim, Drop::Malformed, |sim| sim.deliver(client, b"").dropped());
    counts_drop(&mut sim, Drop::Malformed, |sim| sim.deliver(client, &[0x40]).dropped());
    counts_drop(&mut sim, Drop::Fingerprint, |sim| {
        let packet = sim.packet(Method::BINDING).with(AttributeType::FINGERPRINT, [0; 4]);
        sim.deliver(client, &packet.encode()).dropped();
    });
    counts_drop(&mut sim, Drop::Unsupported, |sim| {
        let packet = sim.packet(Method::new(0x00D)).encode();
        sim.deliver(client, &packet).dropped();
    });
    counts_drop(&mut sim, Drop::Response, |sim| {
        let packet = common::Packet::new(common::Class::Success, Method::BINDING, [1; 12]);
        sim.deliver(client, &packet.encode()).dropped();
    });
    counts_drop(&mut sim, Drop::NoAllocation, |sim| sim.send(late, PEER, b"x").dropped());
    counts_drop(&mut sim, Drop::NoChannel, |sim| sim.send_on(client, 0x4000, b"x").dropped());
    let greedy = sim.client("198.51.100.66:4000");
    sim.allocate(greedy).success();
    sim.permit(greedy, PEER).success();
    sim.send(greedy, PEER, &[0; 60_000]).reaches(PEER);
    counts_drop(&mut sim, Drop::Bandwidth, |sim| sim.send(greedy, PEER, &[0; 60_000]).dropped());
    sim.refresh(greedy, 0).success();
    counts_drop(&mut sim, Drop::NoPermission, |sim| {
        sim.send(client, OTHER_PEER, b"x").dropped();
    });
    counts_drop(&mut sim, Drop::NoPermission, |sim| {
        sim.peer_sends(OTHER_PEER, client, b"x").dropped();
    });
    let neighbour = sim.client("198.51.100.77:4000");
    let relayed = sim.allocate(neighbour).success().relayed().to_string();
    sim.permit(client, &relayed).success();
    counts_drop(&mut sim, Drop::PeerRefused, |sim| {
        sim.send(client, "8.0.0.1:3478", b"x").dropped();
    });
    counts_drop(&mut sim, Drop::BadSend, |sim| sim.send(client, "9.0.0.1:0", b"x").dropped());
    let relayed = sim.relayed(client)[0];
    counts_drop(&mut sim, Drop::IcmpType, |sim| {
        sim.icmp(relayed, PEER, Icmp::v4(0, 0, 0)).dropped();
    });
    for _ in 0..10 {
        sim.icmp(relayed, PEER, Icmp::v4(3, 3, 0)).tells_of(PEER);
    }
    counts_drop(&mut sim, Drop::IcmpLimit, |sim| {
        sim.icmp(relayed, PEER, Icmp::v4(3, 3, 0)).dropped();
    });
    counts_drop(&mut sim, Drop::TooLong, |sim| {
        sim.peer_sends(PEER, client, &[0; 65_535]).dropped();
    });
    counts_drop(&mut sim, Drop::ReplyTooLong, |sim| {
        sim.reply_room = 40;
        let packet = sim.packet(Method::REFRESH);
        sim.deliver(client, &sim.sign(client, packet).encode()).dropped();
        sim.reply_room = 1500;
    });

    sim.quota = 3;
    let caller = sim.tcp_client("198.51.100.3:4000");
    sim.allocate_tcp(caller).success();
    sim.permit(caller, PEER).success();
    sim.connect(caller, PEER).nothing();
    counts_error(&mut sim, ErrorCode::CONNECTION_ALREADY_EXISTS, |sim| {
        sim.connect(caller, PEER).rejected(446);
    });
    counts_error(&mut sim, ErrorCode::INSUFFICIENT_CAPACITY, |sim| {
        sim.connect(caller, OTHER_PEER).rejected(508);
    });
    counts_drop(&mut sim, Drop::TooMany, |sim| {
        assert_eq!(sim.peer_connects("9.0.0.1:7001", caller), None);
    });
    counts_error(&mut sim, ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE, |sim| {
        sim.connected(Err(ConnectError::Failed));
    });

    sim.hang_up(caller);
    let mobile = sim.tcp_client("198.51.100.4:4000");
    sim.allocate_mobile(mobile);
    sim.permit(mobile, PEER).success();
    sim.hang_up(mobile);
    counts_drop(&mut sim, Drop::ClientAway, |sim| sim.peer_sends(PEER, mobile, b"x").dropped());

    // Not one was forgotten.
    let stats = sim.stats();
    for reason in Drop::ALL {
        assert!(stats.drops(reason) > 0, "nothing was dropped as {reason:?}");
    }
    for code in ERRORS {
        assert!(stats.errors(code) > 0, "nothing was refused with {}", code.get());
    }
}

#[test]
fn a_code_that_is_never_sent_counts_nothing() {
    assert!(ERRORS.iter().all(|code| Stats::default().errors(*code) == 0));
}

#[test]
fn every_counter_and_gauge_moves() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let packet = sim.packet(Method::BINDING);
    assert!(sim.ask(client, &packet).response.is_some());
    sim.challenge(client);
    let packet = sim
        .packet(Method::ALLOCATE)
        .with(AttributeType::REQUESTED_TRANSPORT, common::UDP)
        .with(AttributeType::EVEN_PORT, [0x80]);
    let packet = sim.sign(client, packet);
    sim.ask(client, &packet).success();
    sim.ask(client, &packet).success();
    sim.refresh(client, 600).success();
    sim.permit_all(client, &[PEER, OTHER_PEER]).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.send(client, PEER, b"four").reaches(PEER);
    sim.peer_sends(PEER, client, b"seven..").arrives_on(0x4000);
    let stats = sim.stats();
    assert_eq!((stats.bindings, stats.retransmissions), (1, 1));
    assert_eq!((stats.allocations_created, stats.allocations_ended), (1, 0));
    assert_eq!((stats.refreshes, stats.create_permissions, stats.channel_binds), (1, 1, 1));
    assert_eq!((stats.packets_to_peer, stats.bytes_to_peer), (1, 4));
    assert_eq!((stats.packets_to_client, stats.bytes_to_client), (1, 7));
    assert_eq!((stats.allocations, stats.permissions, stats.channels), (1, 2, 1));
    // The allocation, two permissions, a channel and a reservation.
    assert_eq!(stats.timers, 5);
    sim.pass(secs(600));
    let stats = sim.stats();
    assert_eq!((stats.allocations_expired, stats.allocations_ended), (1, 1));
    sim.nothing_left();

    let client = sim.tcp_client("198.51.100.1:4000");
    sim.allocate_tcp(client).success();
    sim.permit(client, PEER).success();
    let id = sim.connect_to(client, PEER);
    let data = sim.tcp_client("198.51.100.1:4001");
    sim.bind_connection(data, id).success();
    assert!(sim.peer_connects("9.0.0.1:7001", client).is_some());
    let stats = sim.stats();
    assert_eq!((stats.connects, stats.connection_attempts, stats.connection_binds), (1, 1, 1));
    assert_eq!(stats.connections, 2);
    sim.pass(secs(30));
    let stats = sim.stats();
    assert_eq!((stats.connections_unbound, stats.connections), (1, 1));
}

/// An allocation that never came to be has not ended either.
#[test]
fn what_was_never_created_does_not_end() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    sim.failures.push_back(OpenError::Failed);
    sim.allocate(client).rejected(508);
    let stats = sim.stats();
    assert_eq!((stats.allocations_created, stats.allocations_ended), (0, 0));
}

/// A client that refreshes back and forth must not make anything grow.
#[test]
fn refreshing_a_thousand_times_leaves_as_many_deadlines_as_before() {
    let mut sim = Sim::new();
    let client = allocated(&mut sim);
    sim.permit(client, PEER).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    let before = sim.stats().timers;
    for n in 0..1000 {
        sim.refresh(client, if n % 2 == 0 { 3600 } else { 600 }).success();
        sim.permit(client, PEER).success();
        sim.bind_channel(client, 0x4000, PEER).success();
        sim.pass(1 + n % 7);
        assert_eq!(sim.stats().timers, before);
    }
}

#[test]
fn an_allocation_holds_512_permissions_and_512_channels() {
    let mut sim = Sim::new();
    let client = allocated(&mut sim);
    for n in 0..512 {
        let peer = format!("9.1.{}.{}:7000", n / 256, n % 256);
        sim.bind_channel(client, 0x4000 + n, &peer).success();
    }
    sim.permit(client, "9.2.0.1:1").rejected(508);
    sim.bind_channel(client, 0x4FFF, "9.1.0.0:1").rejected(508);
    assert_eq!((sim.stats().channels, sim.stats().permissions), (512, 512));
    sim.refresh(client, 0).success();
    sim.nothing_left();
}

/// Many deadlines at once hold nobody's packets up: each call serves some, and asks for more.
#[test]
fn one_call_serves_a_bounded_number_of_deadlines() {
    let mut sim = Sim::new();
    let client = allocated(&mut sim);
    for n in 0..500 {
        sim.permit(client, &format!("9.1.{}.{}:1", n / 256, n % 256)).success();
    }
    assert_eq!(sim.stats().timers, 501);
    sim.pass_without_timers(secs(300));
    let now = sim.now();
    let mut calls = 0;
    while sim.cores[0].poll_timeout().is_some_and(|at| at <= now.moment) {
        let before = sim.stats().timers;
        sim.cores[0].handle_timeout(now);
        let served = before - sim.stats().timers;
        assert!((1..=128).contains(&served), "{served}");
        calls += 1;
    }
    assert_eq!((calls, sim.stats().permissions), (4, 0));
}

#[test]
fn the_next_deadline_is_the_earliest() {
    let mut sim = Sim::new();
    assert_eq!(sim.cores[0].poll_timeout(), None);
    let start = sim.millis();
    let client = allocated(&mut sim);
    let due = |sim: &Sim| sim.cores[0].poll_timeout().expect("a deadline").as_millis() - start;
    assert_eq!(due(&sim), secs(600));
    sim.bind_channel(client, 0x4000, PEER).success();
    assert_eq!(due(&sim), secs(300), "the permission");
    sim.pass(secs(300));
    assert_eq!(due(&sim), secs(600));
    sim.refresh(client, 900).success();
    assert_eq!(due(&sim), secs(600), "the channel");
    sim.pass(secs(300));
    assert_eq!(due(&sim), secs(1200), "the allocation");
}

/// Nothing happens by being called too early, or twice.
#[test]
fn a_timeout_before_its_time_changes_nothing() {
    let mut sim = Sim::new();
    let client = allocated(&mut sim);
    sim.permit(client, PEER).success();
    let before = sim.stats();
    for _ in 0..3 {
        let now = sim.now();
        sim.cores[0].handle_timeout(now);
        let early = Now { moment: Moment::from_millis(0), ..now };
        sim.cores[0].handle_timeout(early);
    }
    assert_eq!(sim.stats(), before);
    assert_eq!(sim.cores[0].poll_action(), None);
}

/// The clock's end is as good as its beginning.
#[test]
fn a_server_that_has_run_for_a_century_goes_on() {
    let mut sim = Sim::new();
    sim.pass(secs(100 * 365 * 86_400));
    let client = allocated(&mut sim);
    sim.permit(client, PEER).success();
    sim.pass(secs(600));
    sim.nothing_left();
}

#[test]
fn a_thousand_allocations_come_and_go() {
    let mut sim = Sim::with(|config| config.relay.port_min = 1024);
    for n in 0..1000_u32 {
        let client = sim.client(&format!("198.51.{}.{}:4000", n / 200, n % 200 + 1));
        sim.allocate(client).success();
        sim.permit(client, PEER).success();
    }
    assert_eq!(sim.stats().allocations, 1000);
    sim.pass(secs(300));
    assert_eq!(sim.stats().permissions, 0);
    sim.pass(secs(300));
    sim.nothing_left();
    assert_eq!(sim.stats().allocations_expired, 1000);
    let client = sim.client("198.51.100.250:1");
    sim.allocate(client).success();
    assert_eq!(sim.peer_sends(&addr(PEER).to_string(), client, b"x"), common::Out::Nothing);
}
