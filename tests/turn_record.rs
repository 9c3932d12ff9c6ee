//! What is told of allocations and of those who were refused: to the log and to the operator.

mod common;

use common::{Action, AttributeType, Client, Method, OTHER_PEER, PEER, Sim, addr, secs};
use hairpin::turn::{Ending, LoginFailure, Record, Volume};

const ADDRESS: &str = "198.51.100.1:4000";

/// A client that has relayed something both ways.
fn busy(sim: &mut Sim) -> Client {
    let client = sim.client(ADDRESS);
    sim.allocate(client).success();
    sim.permit(client, OTHER_PEER).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.permit(client, OTHER_PEER).success();
    for _ in 0..3 {
        sim.send_on(client, 0x4000, b"to a peer").reaches(PEER);
    }
    let _ = sim.peer_sends(PEER, client, b"back");
    client
}

fn ends(sim: &Sim) -> Vec<(Record, Ending)> {
    let end = |action: &Action| match action {
        Action::AllocationEnded { record, ending } => Some((*record.clone(), *ending)),
        _ => None,
    };
    sim.actions.iter().filter_map(end).collect()
}

fn records(sim: &Sim) -> Vec<Record> {
    sim.cores.iter().flat_map(|core| core.records(sim.now(), |_| true)).collect()
}

#[test]
fn an_allocation_is_told_with_all_that_it_did() {
    let mut sim = Sim::new();
    let client = busy(&mut sim);
    let stranger = sim.client("198.51.100.2:4000");
    sim.send_on(stranger, 0x4000, b"of nobody's").dropped();
    sim.pass(secs(10));
    let [record] = &records(&sim)[..] else { panic!("there is one") };
    assert_eq!(&*record.user.0, b"alice");
    assert_eq!(record.tuple.client, addr(ADDRESS));
    assert_eq!(record.relayed, [Some(sim.relayed(client)[0]), None]);
    assert_eq!((record.age_millis, record.expires_in_secs), (secs(10), 590));
    assert_eq!((record.permissions, record.channels, record.peers), (2, 1, 2));
    assert_eq!(record.to_peers, Volume { packets: 3, bytes: 27 });
    assert_eq!(record.to_client, Volume { packets: 1, bytes: 4 });
}

#[test]
fn payloads_between_two_clients_count_at_both() {
    let mut sim = Sim::new();
    let [one, two] = [ADDRESS, "198.51.100.2:4000"].map(|address| sim.client(address));
    sim.allocate(one).success();
    sim.allocate(two).success();
    let (at_one, at_two) = (sim.relayed(one)[0].to_string(), sim.relayed(two)[0].to_string());
    sim.bind_channel(one, 0x4000, &at_two).success();
    sim.bind_channel(two, 0x4001, &at_one).success();
    let _ = sim.send_on(one, 0x4000, b"hello");
    let records = records(&sim);
    let of = |client: &str| records.iter().find(|it| it.tuple.client == addr(client)).unwrap();
    let hello = Volume { packets: 1, bytes: 5 };
    let none = Volume::default();
    assert_eq!((of(ADDRESS).to_peers, of(ADDRESS).to_client), (hello, none));
    let two = of("198.51.100.2:4000");
    assert_eq!((two.to_peers, two.to_client), (none, hello));
}

#[test]
fn the_end_of_an_allocation_says_why() {
    let mut sim = Sim::new();
    let client = busy(&mut sim);
    sim.refresh(client, 0).success();
    let client = busy(&mut sim);
    sim.pass(secs(600));
    let stream = sim.tcp_client(ADDRESS);
    sim.allocate(stream).success();
    sim.hang_up(stream);
    let _ = (client, busy(&mut sim));
    let id = records(&sim)[0].id;
    assert!(sim.revoke(0, id));
    assert!(!sim.revoke(0, id), "it is gone");
    let endings: Vec<_> = ends(&sim).into_iter().map(|(_, ending)| ending).collect();
    let expected = [Ending::Deleted, Ending::Expired, Ending::ClientGone, Ending::Revoked];
    assert_eq!(endings, expected);
    let (record, _) = &ends(&sim)[0];
    assert_eq!(record.to_peers, Volume { packets: 3, bytes: 27 });
    assert!(record.relayed[0].is_some(), "its address is told although it is closed");
    sim.nothing_left();
}

/// Or whoever ends the halves one by one would leave no trace of the addresses.
#[test]
fn the_end_tells_the_addresses_of_halves_that_had_ended_before() {
    let mut sim = Sim::new();
    let client = sim.client(ADDRESS);
    let dual = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &common::V6[..]);
    sim.allocate_with(client, &[dual]).success();
    let relayed = sim.relayed(client);
    for family in [[2, 0, 0, 0], [1, 0, 0, 0]] {
        let zero = (AttributeType::LIFETIME, &[0; 4][..]);
        let one = (AttributeType::REQUESTED_ADDRESS_FAMILY, &family[..]);
        sim.request(client, Method::REFRESH, &[zero, one]).success();
    }
    let [(record, Ending::Deleted)] = &ends(&sim)[..] else { panic!("one has ended") };
    assert_eq!(record.relayed.iter().flatten().copied().collect::<Vec<_>>(), relayed);
}

#[test]
fn a_name_is_never_used_again() {
    let mut sim = Sim::new();
    let mut ids = Vec::new();
    for _ in 0..50 {
        let client = sim.client(ADDRESS);
        sim.allocate(client).success();
        ids.push(records(&sim)[0].id);
        sim.refresh(client, 0).success();
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 50);
}

#[test]
fn a_refusal_is_told_by_what_was_wrong() {
    let mut sim = Sim::new();
    let client = sim.client(ADDRESS);
    // Nobody has said who they are yet: that is no refusal.
    sim.challenge(client);
    assert_eq!(sim.stats().login_failures(LoginFailure::Challenged), 1);
    assert!(sim.refused.is_empty());
    for (user, password, why) in [
        ("alice", "a guess", LoginFailure::Password),
        ("mallory", "a guess", LoginFailure::UnknownUser),
        ("4000000000:alice", "a guess", LoginFailure::Password),
        ("1000000000:alice", "a guess", LoginFailure::Expired),
    ] {
        sim.log_in(client, user, password);
        sim.allocate(client).rejected(401);
        let (path, name, told) = sim.refused.pop().expect("it is told");
        assert_eq!((path, &*name.0, told), (sim.path(client), user.as_bytes(), why));
    }
    assert_eq!(sim.stats().login_failures(LoginFailure::Password), 2);
    assert_eq!(sim.stats().errors_to(Method::ALLOCATE, common::ErrorCode::UNAUTHENTICATED), 5);
    assert_eq!(sim.stats().errors_to(Method::REFRESH, common::ErrorCode::UNAUTHENTICATED), 0);
    sim.log_in(client, "alice", "wonderland");
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REALM, "elsewhere");
    let packet = sim.sign(client, packet);
    sim.ask(client, &packet).rejected(401);
    assert_eq!(sim.stats().login_failures(LoginFailure::Realm), 1);
}

/// Or a firewall that listens to the log would keep out whomever a stranger names.
#[test]
fn nobody_is_told_of_who_has_not_shown_to_be_where_they_say() {
    let mut sim = Sim::new();
    let known = sim.client(ADDRESS);
    sim.challenge(known);
    sim.log_in(known, "alice", "a guess");
    let packet = sim.packet(Method::ALLOCATE);
    let guess = sim.sign(known, packet).encode();
    let victim = sim.client("198.51.100.2:4000");
    sim.ask_bytes(victim, &guess).rejected(401);
    assert_eq!(sim.stats().login_failures(LoginFailure::Password), 1);
    assert!(sim.refused.is_empty());
    sim.ask_bytes(known, &guess).rejected(401);
    assert_eq!(sim.refused.len(), 1);
}
