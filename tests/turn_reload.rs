//! Settings that change while a core runs.

mod common;

use common::sim::{REALM, config};
use common::{Client, IntegrityKey, OTHER_PEER, PEER, Sim, secs};
use hairpin::turn::config::User;
use hairpin::turn::{Config, Reload};

const ADDRESS: &str = "198.51.100.1:4000";

fn reload(sim: &mut Sim, change: impl Fn(&mut Config)) {
    let mut config = config();
    change(&mut config);
    for core in 0..sim.cores.len() {
        sim.cores[core].reload(Reload::new(config.clone(), [9; 32]));
        sim.settle(core);
    }
}

/// Alice, who relays.
fn alice(sim: &mut Sim) -> Client {
    let alice = sim.client(ADDRESS);
    sim.allocate(alice).success();
    sim.permit(alice, OTHER_PEER).success();
    sim.bind_channel(alice, 0x4000, PEER).success();
    alice
}

#[track_caller]
fn relays(sim: &mut Sim, client: Client) {
    sim.send_on(client, 0x4000, b"up").reaches(PEER);
    assert_eq!(sim.peer_sends(PEER, client, b"down").arrives_on(0x4000), b"down");
}

fn without_alice(config: &mut Config) {
    config.credentials.users.retain(|user| user.name != "alice");
}

#[test]
fn users_come_and_go_and_no_call_stops() {
    let mut sim = Sim::new();
    let client = alice(&mut sim);
    let carol = sim.client("198.51.100.2:4000");
    sim.log_in(carol, "carol", "new here");
    sim.allocate(carol).rejected(401);
    reload(&mut sim, |config| {
        without_alice(config);
        let (name, password) = ("carol".into(), "new here".into());
        config.credentials.users.push(User { name, password });
    });
    sim.allocate(carol).success();
    relays(&mut sim, client);
    // Who is no user any more has what is left of the lifetime.
    sim.refresh(client, 600).rejected(401);
    sim.permit(client, PEER).rejected(401);
    relays(&mut sim, client);
    sim.pass(secs(600));
    assert_eq!(sim.stats().allocations, 0);
}

#[test]
fn a_user_with_a_new_password_goes_on_with_that_one() {
    let mut sim = Sim::new();
    let client = alice(&mut sim);
    reload(&mut sim, |config| {
        let users = &mut config.credentials.users;
        users.iter_mut().find(|user| user.name == "alice").unwrap().password = "changed".into();
    });
    sim.refresh(client, 600).rejected(401);
    sim.log_in(client, "alice", "changed");
    sim.refresh(client, 600).success();
    relays(&mut sim, client);
}

#[test]
fn the_same_settings_again_are_noticed_by_nobody() {
    let mut sim = Sim::new();
    let client = alice(&mut sim);
    let (before, packet) = (sim.stats(), sim.packet(common::Method::REFRESH));
    let packet = sim.sign(client, packet);
    reload(&mut sim, |_| {});
    assert_eq!(sim.stats(), before);
    relays(&mut sim, client);
    // Neither the nonce nor the credential is asked for again.
    sim.ask(client, &packet).success();
    sim.refresh(client, 0).success();
    sim.nothing_left();
}

#[test]
fn a_secret_can_be_taken_away_and_who_has_an_allocation_of_it_goes_on() {
    let mut sim = Sim::new();
    let client = sim.client(ADDRESS);
    sim.log_in_for(client, 300, "dave");
    sim.allocate(client).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    reload(&mut sim, |config| config.credentials.secrets = vec!["another".into()]);
    sim.refresh(client, 600).success();
    relays(&mut sim, client);
    let other = sim.client("198.51.100.2:4000");
    sim.log_in_for(other, 300, "erin");
    sim.allocate(other).rejected(401);
}

#[test]
fn a_peer_that_is_denied_from_now_on_is_reached_no_more() {
    let mut sim = Sim::new();
    let client = alice(&mut sim);
    let before = sim.stats();
    reload(&mut sim, |config| config.acl.deny.push("9.0.0.0/8".parse().unwrap()));
    sim.send_on(client, 0x4000, b"up").dropped();
    sim.send(client, OTHER_PEER, b"up").dropped();
    sim.permit(client, PEER).rejected(403);
    let after = sim.stats();
    assert_eq!((before.permissions, before.channels), (2, 1));
    assert_eq!((after.permissions, after.channels), (0, 0));
    // And again, when it is not.
    reload(&mut sim, |_| {});
    sim.bind_channel(client, 0x4000, PEER).success();
    relays(&mut sim, client);
    sim.refresh(client, 0).success();
    sim.nothing_left();
}

#[test]
fn a_peer_that_stays_allowed_does_not_notice_that_another_is_denied() {
    let mut sim = Sim::new();
    let client = alice(&mut sim);
    reload(&mut sim, |config| config.acl.deny.push("198.18.0.0/15".parse().unwrap()));
    relays(&mut sim, client);
    sim.send(client, OTHER_PEER, b"up").reaches(OTHER_PEER);
}

#[test]
fn limits_hold_for_what_comes_and_take_nothing_away() {
    let mut sim = Sim::new();
    let client = alice(&mut sim);
    reload(&mut sim, |config| {
        config.limits.permissions_per_allocation = 1;
        config.limits.channels_per_allocation = 1;
    });
    relays(&mut sim, client);
    sim.permit(client, OTHER_PEER).success();
    sim.permit(client, "9.9.9.9:9").rejected(508);
    sim.bind_channel(client, 0x4001, OTHER_PEER).rejected(508);
    sim.bind_channel(client, 0x4000, PEER).success();
}

/// Nor by the connections of a TCP allocation (RFC 6062), made or being made.
#[test]
fn a_peer_that_is_denied_from_now_on_loses_its_connections() {
    let mut sim = Sim::new();
    let client = sim.tcp_client(ADDRESS);
    sim.allocate_tcp(client).success();
    let bound = sim.connect_to(client, "9.0.0.1:1");
    let data = sim.tcp_client("198.51.100.1:4001");
    sim.bind_connection(data, bound).success();
    let waiting = sim.connect_to(client, "9.0.0.2:2");
    let kept = sim.connect_to(client, "8.8.8.8:8");
    sim.connect(client, "9.0.0.3:3").nothing();
    reload(&mut sim, |config| config.acl.deny.push("9.0.0.0/8".parse().unwrap()));
    let answer = sim.heard(client);
    sim.answer(client, answer).rejected(403);
    assert_eq!(sim.connections.len(), 1, "the one that may stay");
    let data = sim.tcp_client("198.51.100.1:4002");
    sim.bind_connection(data, waiting).rejected(400);
    sim.bind_connection(data, kept).success();
    sim.refresh(client, 0).success();
    sim.nothing_left();
}

#[test]
fn two_clients_of_the_server_go_on_when_its_address_is_denied_otherwise() {
    let mut sim = Sim::with(|config| config.acl.allow.push("192.0.2.0/24".parse().unwrap()));
    let [one, two] = [ADDRESS, "198.51.100.2:4000"].map(|address| {
        let client = sim.client(address);
        sim.allocate(client).success();
        client
    });
    let (at_one, at_two) = (sim.relayed(one)[0].to_string(), sim.relayed(two)[0].to_string());
    sim.bind_channel(one, 0x4001, &at_two).success();
    sim.permit(two, &at_one).success();
    reload(&mut sim, |_| {});
    assert!(!matches!(sim.send_on(one, 0x4001, b"still"), common::Out::Nothing));
}

#[test]
fn no_key_of_a_session_is_lost() {
    let mut sim = Sim::new();
    let client = alice(&mut sim);
    // An allocation's own credential serves as before, whatever the tables hold.
    let key = IntegrityKey::long_term(b"alice", REALM.as_bytes(), b"wonderland");
    sim.log_in_by_key(client, "alice", key);
    reload(&mut sim, |config| config.credentials.secrets.clear());
    sim.refresh(client, 600).success();
}
