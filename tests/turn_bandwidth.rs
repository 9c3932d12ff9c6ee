//! `bandwidth_per_allocation`: what is too much is dropped and counted, each way by itself.

mod common;

use common::{Client, Drop, Out, PEER, Sim, secs};

const RATE: u64 = 100_000;

fn limited(rate: u64) -> Sim {
    Sim::with(|config| config.limits.bandwidth_per_allocation = rate)
}

fn bound(sim: &mut Sim, address: &str) -> Client {
    let client = sim.client(address);
    sim.allocate(client).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    client
}

/// How many of so many payloads of 1000 bytes reach the peer, all at once.
fn up(sim: &mut Sim, client: Client, count: usize) -> usize {
    let through = |_: &usize| !matches!(sim.send_on(client, 0x4000, &[7; 1000]), Out::Nothing);
    (0..count).filter(through).count()
}

fn down(sim: &mut Sim, client: Client, count: usize) -> usize {
    let through = |_: &usize| !matches!(sim.peer_sends(PEER, client, &[7; 1000]), Out::Nothing);
    (0..count).filter(through).count()
}

#[test]
fn each_way_has_a_second_at_once_and_then_its_rate() {
    let mut sim = limited(RATE);
    let client = bound(&mut sim, "198.51.100.1:4000");
    assert_eq!(up(&mut sim, client, 150), 100);
    assert_eq!(down(&mut sim, client, 150), 100, "the other way is another");
    assert_eq!(sim.stats().drops(Drop::Bandwidth), 100);
    assert_eq!((sim.stats().packets_to_peer, sim.stats().bytes_to_peer), (100, 100_000));
    sim.pass(500);
    assert_eq!((up(&mut sim, client, 150), down(&mut sim, client, 150)), (50, 50));
    // What was not used does not add up.
    sim.pass(secs(60));
    assert_eq!(up(&mut sim, client, 150), 100);
}

#[test]
fn one_who_sends_too_much_costs_nobody_else_anything() {
    let mut sim = limited(RATE);
    let [one, two] = ["198.51.100.1:4000", "198.51.100.2:4000"].map(|a| bound(&mut sim, a));
    assert_eq!(up(&mut sim, one, 1000), 100);
    assert_eq!(up(&mut sim, two, 100), 100);
    // Requests are not counted: it can still refresh.
    sim.refresh(one, 600).success();
    sim.bind_channel(one, 0x4000, PEER).success();
}

#[test]
fn between_two_clients_of_the_server_both_ends_count() {
    let mut sim = limited(RATE);
    let [one, two] = ["198.51.100.1:4000", "198.51.100.2:4000"].map(|address| {
        let client = sim.client(address);
        sim.allocate(client).success();
        client
    });
    let (at_one, at_two) = (sim.relayed(one)[0].to_string(), sim.relayed(two)[0].to_string());
    sim.bind_channel(one, 0x4001, &at_two).success();
    sim.bind_channel(two, 0x4001, &at_one).success();
    sim.permit(two, PEER).success();
    assert_eq!(down(&mut sim, two, 60), 60);
    let mut crossed = 0;
    for _ in 0..100 {
        crossed += usize::from(!matches!(sim.send_on(one, 0x4001, &[7; 1000]), Out::Nothing));
    }
    assert_eq!(crossed, 40, "the far end has no more");
}

#[test]
fn without_a_limit_there_is_none() {
    let mut sim = Sim::new();
    let client = bound(&mut sim, "198.51.100.1:4000");
    assert_eq!((up(&mut sim, client, 5000), down(&mut sim, client, 5000)), (5000, 5000));
}
