//! Same seed and same inputs, same bytes out: without it no simulation could be repeated.

mod common;

use common::{
    AttributeType, Client, ConnectError, ConnectionId, Drop, OpenError, Sim, Transport, V6, secs,
};
use hairpin::turn::Server;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A long session with something of everything; the journal of all verdicts and actions.
fn session(script_seed: u64, core_seed: u8) -> (Vec<String>, Sim) {
    let mut rng = StdRng::seed_from_u64(script_seed);
    let mut sim = Sim::cores(2, core_seed, |config| config.relay.port_max = 49_400);
    sim.journal = Some(Vec::new());
    let clients: Vec<Client> = (0..12)
        .map(|n| {
            let transport = if n % 2 == 1 { Transport::Tcp } else { Transport::Udp };
            sim.client_on(n / 2 % 2, transport, &format!("198.51.100.{}:4000", n + 1))
        })
        .collect();
    for _ in 0..4000 {
        let client = clients[rng.random_range(0..clients.len())];
        let peer = format!("9.0.0.{}:{}", rng.random_range(1..9), rng.random_range(1..4));
        let channel = rng.random_range(0x4000..0x4008);
        let id = sim.connections.keys().next().map(|(_, id)| *id);
        match rng.random_range(0..18) {
            0 | 1 => drop(sim.allocate(client)),
            2 => {
                let dual = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6[..]);
                drop(sim.allocate_with(client, &[dual]));
            }
            3 => drop(sim.allocate_with(client, &[(AttributeType::EVEN_PORT, &[0x80])])),
            4 => drop(sim.refresh(client, rng.random_range(0..3) * 700)),
            5 => drop(sim.permit(client, &peer)),
            6 => drop(sim.bind_channel(client, channel, &peer)),
            7 => drop(sim.send(client, &peer, b"payload")),
            8 => drop(sim.send_on(client, channel, b"payload")),
            9 if !sim.relayed(client).is_empty() => {
                drop(sim.peer_sends(&peer, client, b"payload"));
            }
            10 => sim.failures.push_back(OpenError::InUse),
            11 => drop(sim.allocate_tcp(client)),
            12 => drop(sim.connect(client, &peer)),
            13 if !sim.connecting.is_empty() => {
                sim.connected(if rng.random() { Ok(()) } else { Err(ConnectError::Failed) });
            }
            14 if sim.relayed(client).first().is_some_and(|r| sim.is_listened_at(*r)) => {
                sim.peer_connects(&peer, client);
            }
            15 => drop(sim.bind_connection(client, id.unwrap_or(ConnectionId(1)))),
            _ => sim.pass(secs(rng.random_range(0..60))),
        }
    }
    sim.pass(secs(4000));
    (sim.journal.take().expect("a journal"), sim)
}

#[test]
fn the_same_seed_and_inputs_give_the_same_bytes() {
    let (mut connects, mut attempts, mut binds) = (0, 0, 0);
    for script in 0..3 {
        let (first, sim) = session(script, 1);
        let (second, again) = session(script, 1);
        assert!(first.len() > 1500, "{} entries", first.len());
        for (at, (a, b)) in first.iter().zip(&second).enumerate() {
            assert_eq!(a, b, "entry {at}");
        }
        assert_eq!(first.len(), second.len());
        for (a, b) in sim.cores.iter().zip(&again.cores) {
            assert_eq!(a.stats(), b.stats());
        }
        // It was worth it: something passed, and something did not.
        let stats = sim.cores[0].stats();
        assert!(stats.packets_to_peer > 0 && stats.packets_to_client > 0);
        assert!(stats.drops(Drop::NoPermission) > 0 && stats.allocations_created > 3);
        for core in &sim.cores {
            let stats = core.stats();
            connects += stats.connects;
            attempts += stats.connection_attempts;
            binds += stats.connection_binds;
        }
    }
    assert!(connects > 0 && attempts > 0 && binds > 0, "{connects} {attempts} {binds}");
}

/// What differs with the seed: ports, tokens, the ids of indications. Not the nonces, which a
/// restart must not spoil.
#[test]
fn another_seed_gives_other_ports_and_tokens_but_the_same_nonces() {
    let run = |seed: u8| {
        let mut sim = Sim::of(vec![Server::new(common::sim::config(), [seed; 32])]);
        let client = sim.client("198.51.100.1:4000");
        let nonce = sim.challenge(client).get(AttributeType::NONCE).to_vec();
        let response = sim.allocate_with(client, &[(AttributeType::EVEN_PORT, &[0x80])]).success();
        let token = response.get(AttributeType::RESERVATION_TOKEN).to_vec();
        sim.permit(client, common::PEER).success();
        let common::Out::ToClient { bytes, .. } = sim.peer_sends(common::PEER, client, b"x") else {
            panic!("a Data indication")
        };
        (nonce, response.relayed().port(), token, bytes[8..20].to_vec())
    };
    let runs: Vec<_> = (0..8).map(run).collect();
    for (at, a) in runs.iter().enumerate() {
        assert_eq!(a, &run(at as u8));
        for b in &runs[..at] {
            assert_eq!(a.0, b.0);
            assert_ne!((a.1, &a.2, &a.3), (b.1, &b.2, &b.3));
            assert_ne!(a.2, b.2);
            assert_ne!(a.3, b.3);
        }
    }
}

/// Time alone decides what expires: how often the shell calls makes no difference.
#[test]
fn how_often_timers_are_served_makes_no_difference() {
    let run = |steps: u64| {
        let mut sim = Sim::new();
        let client = sim.client("198.51.100.1:4000");
        sim.allocate_with(client, &[(AttributeType::EVEN_PORT, &[0x80])]).success();
        sim.permit(client, common::PEER).success();
        sim.bind_channel(client, 0x4000, common::OTHER_PEER).success();
        for _ in 0..steps {
            sim.pass(secs(420) / steps);
        }
        (sim.actions.clone(), sim.stats(), sim.shelf.clone())
    };
    assert_eq!(run(1), run(420));
    assert_eq!(run(1), run(7));
}

/// Tickets are random, and so the same each time.
#[test]
fn clients_that_move_do_so_in_the_same_way_each_time() {
    let run = || {
        let mut sim = Sim::cores(2, 1, |_| {});
        sim.journal = Some(Vec::new());
        let mut at = sim.client("198.51.100.1:4000");
        let mut ticket = sim.allocate_mobile(at);
        sim.bind_channel(at, 0x4000, common::PEER).success();
        for step in 0..20 {
            let transport = if step % 3 == 2 { Transport::Tcp } else { Transport::Udp };
            let to = sim.client_on(step % 2, transport, &format!("203.0.113.1:{}", 5000 + step));
            ticket = sim.resume(at, to, &ticket);
            sim.send_on(to, 0x4000, b"payload").reaches(common::PEER);
            at = to;
        }
        (sim.journal.take().expect("a journal"), ticket)
    };
    let (journal, ticket) = run();
    assert!(journal.len() > 100, "{} entries", journal.len());
    assert_eq!((journal, ticket), run());
}
