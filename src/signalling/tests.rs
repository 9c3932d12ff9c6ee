//! The core with simulated time.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;

#[test]
fn a_socket_is_welcomed_with_its_id_the_limits_and_ice_servers() {
    let mut sim = Sim::default();
    let peer = sim.rooms.handle_open(sim.now, SocketId(1), source(1), &offer()).unwrap();
    let welcome = sim.take(1).remove(0);
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(welcome["peer"], peer.to_string());
    assert_eq!(welcome["heartbeatMs"], 25_000);
    assert_eq!(welcome["limits"]["frameBytes"], 65_536);
    assert_eq!(welcome["iceServers"], json!([{"urls": ["stun:h:3478"]}]));
    assert_eq!(welcome["iceExpiresAt"], "2026-01-01T00:00:00Z");
}

#[test]
fn a_joiner_hears_of_those_present_and_they_of_it() {
    let mut sim = Sim::default();
    let (a, b) = (sim.open(1), sim.open(2));
    sim.send(1, json!({"type": "join", "room": "r", "meta": {"name": "Ada"}}));
    assert_eq!(
        sim.take(1),
        [json!({"type": "joined", "room": "r", "peers": [], "you": {"polite": true}})]
    );
    sim.send(2, json!({"type": "join", "room": "r"}));
    assert_eq!(
        sim.take(2),
        [json!({"type": "joined", "room": "r", "you": {"polite": true},
                "peers": [{"id": a, "meta": {"name": "Ada"}, "polite": false}]})]
    );
    assert_eq!(
        sim.take(1),
        [json!({"type": "peer+", "room": "r", "id": b, "meta": null, "polite": true})]
    );
}

#[test]
fn a_signal_passes_between_those_who_share_a_room_and_nobody_else() {
    let mut sim = Sim::default();
    let (a, b, c) = (sim.open(1), sim.open(2), sim.open(3));
    sim.join(1, "r");
    sim.join(2, "r");
    sim.join(3, "other");
    sim.clear();
    sim.send(1, json!({"type": "signal", "to": b, "seq": 9, "data": {"sdp": "v=0"}}));
    assert_eq!(
        sim.take(2),
        [json!({"type": "signal", "from": a, "seq": 9, "data": {"sdp": "v=0"}})]
    );
    for to in [c.as_str(), a.as_str(), "nobody", ""] {
        sim.send(1, json!({"type": "signal", "to": to, "seq": 1, "data": 0}));
        assert_eq!(sim.errors(1), ["no-such-peer"]);
    }
    assert!(sim.take(2).is_empty() && sim.take(3).is_empty());
}

#[test]
fn data_travels_as_the_bytes_that_came() {
    let mut sim = Sim::default();
    let (_, b) = (sim.open(1), sim.open(2));
    sim.join(1, "r");
    sim.join(2, "r");
    sim.clear();
    let data = r#"{"z":1.0,  "a":1e5,"\u00e9":[ ]}"#;
    sim.send_text(1, &format!(r#"{{"type":"signal","to":"{b}","data":{data}}}"#));
    let Some(Action::Pass { frame, .. }) = sim.rooms.poll_action() else { panic!() };
    assert!(frame.contains(data), "{frame}");
}

#[test]
fn a_signal_that_finds_no_room_is_refused_to_its_sender_and_to_nobody_else() {
    let mut sim = Sim::default();
    let (a, b, c) = (sim.open(1), sim.open(2), sim.open(3));
    for socket in 1..=3 {
        sim.join(socket, "r");
    }
    sim.clear();
    sim.busy.insert(2);
    // Again and again: it is no offence, as the sender cannot know.
    for seq in 0..50 {
        sim.send(1, json!({"type": "signal", "to": b, "seq": seq, "data": 0}));
        let error = sim.take(1).remove(0);
        assert_eq!((&error["code"], &error["retryable"]), (&json!("peer-busy"), &json!(true)));
        assert_eq!((&error["to"], &error["seq"]), (&json!(b), &json!(seq)));
    }
    assert!(sim.take(2).is_empty());
    sim.send(1, json!({"type": "signal", "to": c, "data": 0}));
    assert_eq!(sim.take(3), [json!({"type": "signal", "from": a, "data": 0})]);
    sim.send(3, json!({"type": "leave", "room": "r"}));
    assert_eq!(sim.take(2)[0]["type"], "peer-", "what the server says itself is queued");
    sim.busy.clear();
    sim.send(1, json!({"type": "signal", "to": b, "data": 1}));
    assert_eq!(sim.take(2), [json!({"type": "signal", "from": a, "data": 1})]);
    assert_eq!((sim.rooms.stats().signals, sim.rooms.stats().undelivered), (2, 50));
    assert_eq!(sim.closes(), []);
    // A sender who is gone by then hears nothing, and nothing breaks.
    sim.clear();
    sim.busy.insert(2);
    sim.send(1, json!({"type": "signal", "to": b, "data": 2}));
    sim.close(1, Departure::Closed);
    assert!(sim.take(1).is_empty());
}

#[test]
fn leaving_closing_and_dying_are_told_apart() {
    let mut sim = Sim::default();
    sim.open(1);
    for (socket, how) in [(2, "left"), (3, "closed"), (4, "slow"), (5, "dead"), (6, "expelled")] {
        let id = sim.open(socket);
        sim.join(1, "r");
        sim.join(socket, "r");
        sim.clear();
        match how {
            "left" => sim.send(socket, json!({"type": "leave", "room": "r"})),
            "closed" => sim.close(socket, Departure::Closed),
            "slow" => sim.close(socket, Departure::Slow),
            "dead" => sim.close(socket, Departure::Dead),
            _ => sim.rooms.handle_frame(sim.now, SocketId(socket), Received::Binary),
        }
        assert_eq!(sim.take(1), [json!({"type": "peer-", "room": "r", "id": id, "reason": how})]);
        sim.send(1, json!({"type": "leave", "room": "r"}));
        assert_eq!(sim.rooms.stats().rooms, 0);
    }
    let stats = sim.rooms.stats();
    assert_eq!((stats.closed_slow, stats.closed_dead, stats.closed_expelled), (1, 1, 1));
}

#[test]
fn who_has_left_hears_nothing_more_of_the_room() {
    let mut sim = Sim::default();
    let a = sim.open(1);
    sim.open(2);
    sim.join(1, "r");
    sim.join(2, "r");
    sim.send(1, json!({"type": "leave", "room": "r"}));
    sim.clear();
    sim.send(2, json!({"type": "signal", "to": a, "data": 0}));
    sim.send(2, json!({"type": "leave", "room": "r"}));
    assert!(sim.take(1).is_empty());
    sim.send(1, json!({"type": "leave", "room": "r"}));
    assert_eq!(sim.errors(1), ["not-joined"]);
}

#[test]
fn a_room_is_joined_once() {
    let mut sim = Sim::default();
    sim.open(1);
    sim.join(1, "r");
    sim.clear();
    sim.send(1, json!({"type": "join", "room": "r"}));
    assert_eq!(sim.errors(1), ["already-joined"]);
}

#[test]
fn a_full_room_takes_nobody_until_somebody_leaves() {
    let mut sim = Sim::with(Limits { room_peers: 2, ..Limits::default() });
    for socket in 1..=3 {
        sim.open(socket);
    }
    sim.join(1, "r");
    sim.join(2, "r");
    sim.clear();
    sim.join(3, "r");
    let error = sim.take(3).remove(0);
    assert_eq!((&error["code"], &error["retryable"]), (&json!("room-full"), &json!(true)));
    assert_eq!(error["room"], "r");
    sim.close(1, Departure::Closed);
    sim.join(3, "r");
    assert_eq!(sim.take(3)[0]["type"], "joined");
}

#[test]
fn a_socket_may_be_in_sixteen_rooms() {
    let mut sim = Sim::default();
    sim.open(1);
    for n in 0..17 {
        sim.join(1, &format!("r{n}"));
    }
    assert_eq!(sim.errors(1), ["too-many-rooms"]);
    assert_eq!(sim.rooms.stats().rooms, 16);
}

#[test]
fn rooms_in_all_are_bounded_and_an_empty_room_gives_its_place_back() {
    let mut sim = Sim::with(Limits { rooms: 2, ..Limits::default() });
    sim.open(1);
    sim.join(1, "a");
    sim.join(1, "b");
    sim.join(1, "c");
    assert_eq!(sim.errors(1), ["busy"]);
    sim.send(1, json!({"type": "leave", "room": "a"}));
    sim.join(1, "c");
    assert!(sim.errors(1).is_empty());
}

#[test]
fn rooms_of_one_source_are_bounded_until_the_last_one_leaves() {
    let mut sim = Sim::with(Limits { rooms_per_source: 2, ..Limits::default() });
    for socket in [1, 2] {
        sim.rooms.handle_open(sim.now, SocketId(socket), source(1), &offer()).unwrap();
    }
    sim.open(3);
    sim.join(1, "a");
    sim.join(2, "b");
    sim.clear();
    sim.join(2, "c");
    let error = sim.take(2).remove(0);
    assert_eq!((&error["code"], &error["retryable"]), (&json!("source-busy"), &json!(true)));
    sim.join(2, "a");
    sim.join(3, "c");
    assert!(sim.errors(2).is_empty() && sim.errors(3).is_empty(), "rooms of others are free");
    // The founder is gone, the room is not.
    sim.close(1, Departure::Closed);
    sim.join(2, "d");
    assert_eq!(sim.errors(2), ["source-busy"]);
    sim.send(2, json!({"type": "leave", "room": "a"}));
    sim.join(2, "d");
    assert!(sim.errors(2).is_empty());
}

#[test]
fn the_message_rate_is_fifty_after_a_burst_of_two_hundred() {
    let mut sim = Sim::default();
    sim.open(1);
    for n in 0..200 {
        sim.send(1, json!({"type": if n % 2 == 0 { "join" } else { "leave" }, "room": "r"}));
    }
    assert!(sim.errors(1).is_empty());
    sim.join(1, "r");
    assert_eq!(sim.errors(1), ["too-many-requests"]);
    assert_eq!(sim.rooms.stats().rooms, 0, "a frame over the rate is not carried out");
    sim.now.0 += 20;
    sim.join(1, "r");
    assert!(sim.errors(1).is_empty());
    assert_eq!(sim.rooms.stats().over_rate, 1);
}

#[test]
fn the_byte_rate_is_sixteen_kib_after_a_burst_of_256() {
    let mut sim = Sim::default();
    let (_, b) = (sim.open(1), sim.open(2));
    sim.join(1, "r");
    sim.join(2, "r");
    let data = "x".repeat(60 * 1024);
    for _ in 0..4 {
        sim.send(1, json!({"type": "signal", "to": b, "data": data}));
    }
    assert!(sim.errors(1).is_empty());
    sim.send(1, json!({"type": "signal", "to": b, "data": data}));
    assert_eq!(sim.errors(1), ["too-many-requests"]);
    sim.now.0 += 3_000;
    sim.send(1, json!({"type": "signal", "to": b, "data": data}));
    assert!(sim.errors(1).is_empty());
}

#[test]
fn a_join_costs_what_it_has_the_server_say() {
    let mut sim = Sim::default();
    let meta = "m".repeat(1000);
    let join = json!({"type": "join", "room": "r", "meta": meta});
    for socket in 1..=63 {
        sim.open(socket);
        sim.send(socket, join.clone());
        assert!(sim.errors(socket).is_empty(), "a room that fills is no offence");
        sim.clear();
    }
    // Somebody who comes and goes again and again, with small frames.
    sim.open(64);
    let said = |sim: &mut Sim| {
        sim.collect();
        let all = std::mem::take(&mut sim.inbox).into_values().flatten();
        all.map(|frame| frame.to_string().len()).sum::<usize>()
    };
    let mut bytes = 0;
    let mut refused = 0;
    while refused == 0 {
        sim.join(64, "r");
        sim.collect();
        let inbox = &sim.inbox[&64];
        refused = inbox.iter().filter(|frame| frame["code"] == "too-many-joins").count();
        sim.send(64, json!({"type": "leave", "room": "r"}));
        bytes += said(&mut sim);
    }
    // The burst, and one join more, on credit.
    assert!(bytes < (256 + 80) * 1024, "{bytes}");
    assert_eq!(sim.closes(), []);
    sim.now.0 += 10_000;
    sim.join(64, "r");
    assert!(sim.errors(64).is_empty());
}

#[test]
fn who_stays_over_the_rate_is_closed_and_may_return() {
    let mut sim = Sim::default();
    sim.open(1);
    for _ in 0..200 + 16 {
        sim.rooms.handle_frame(sim.now, SocketId(1), Received::Control);
    }
    assert_eq!(sim.errors(1).len(), 16);
    sim.rooms.handle_frame(sim.now, SocketId(1), Received::Control);
    assert_eq!(sim.closes(), [(1, CloseReason::TooManyRequests)]);
    assert!((4000..4500).contains(&CloseReason::TooManyRequests.code()));
    assert_eq!(sim.rooms.stats().sockets, 0);
}

#[test]
fn who_sends_nonsense_again_and_again_is_closed_for_good() {
    let mut sim = Sim::default();
    sim.open(1);
    for _ in 0..17 {
        sim.send_text(1, "nonsense");
    }
    assert_eq!(sim.closes(), [(1, CloseReason::BadFrames)]);
    assert!(CloseReason::BadFrames.code() >= 4500);
}

#[test]
fn nonsense_now_and_then_is_forgiven() {
    let mut sim = Sim::default();
    sim.open(1);
    for _ in 0..100 {
        sim.send_text(1, "nonsense");
        sim.now.0 += 1000;
    }
    assert_eq!(sim.closes(), []);
}

#[test]
fn a_frame_over_the_size_and_a_binary_frame_close_at_once() {
    let mut sim = Sim::default();
    sim.open(1);
    sim.open(2);
    let join = r#"{"type":"join","room":"r"}"#;
    let fits = format!("{join}{}", " ".repeat(65_536 - join.len()));
    sim.send_text(1, &fits);
    assert_eq!(sim.closes(), []);
    sim.send_text(1, &format!("{fits} "));
    sim.rooms.handle_frame(sim.now, SocketId(2), Received::Binary);
    assert_eq!(sim.closes(), [(1, CloseReason::TooLarge), (2, CloseReason::NotText)]);
}

#[test]
fn a_source_may_have_sixty_four_sockets() {
    let limits = Limits { open_burst_per_source: 1000, ..Limits::default() };
    let mut sim = Sim::with(limits);
    for socket in 0..64 {
        sim.rooms.handle_open(sim.now, SocketId(socket), source(1), &offer()).unwrap();
    }
    let refused = sim.rooms.handle_open(sim.now, SocketId(64), source(1), &offer());
    assert_eq!(refused, Err(Refused::SourceFull));
    assert!(sim.rooms.handle_open(sim.now, SocketId(64), source(2), &offer()).is_ok());
    sim.close(0, Departure::Closed);
    assert!(sim.rooms.handle_open(sim.now, SocketId(65), source(1), &offer()).is_ok());
    assert_eq!(sim.rooms.stats().refused_full, 1);
}

#[test]
fn a_source_opens_ten_sockets_a_second() {
    let mut sim = Sim::default();
    let mut next = 0;
    let mut opened = |sim: &mut Sim| {
        (0..30)
            .filter(|_| {
                next += 1;
                sim.rooms.handle_open(sim.now, SocketId(next), source(1), &offer()).is_ok()
            })
            .count()
    };
    assert_eq!(opened(&mut sim), 20, "the burst");
    sim.now.0 += 1000;
    assert_eq!(opened(&mut sim), 10);
    assert_eq!(sim.rooms.stats().refused_rate, 30);
    assert_eq!(sim.rooms.handle_visit(sim.now, source(1)), Err(Refused::SourceTooFast));
}

#[test]
fn sockets_in_all_are_bounded() {
    let mut sim = Sim::with(Limits { sockets: 2, ..Limits::default() });
    sim.open(1);
    sim.open(2);
    let refused = sim.rooms.handle_open(sim.now, SocketId(3), source(3), &offer());
    assert_eq!(refused, Err(Refused::Full));
}

#[test]
fn a_shutdown_closes_everybody_with_a_code_that_says_return() {
    let mut sim = Sim::default();
    sim.open(1);
    sim.open(2);
    sim.join(1, "r");
    sim.join(2, "r");
    sim.clear();
    sim.rooms.handle_shutdown(sim.now);
    assert_eq!(sim.closes(), [(1, CloseReason::Shutdown), (2, CloseReason::Shutdown)]);
    assert_eq!((sim.rooms.stats().sockets, sim.rooms.stats().rooms), (0, 0));
}

#[test]
fn the_same_seed_and_inputs_give_the_same_actions() {
    let run = || {
        let mut sim = Sim::default();
        for socket in 1..5 {
            sim.open(socket);
            sim.join(socket, "r");
        }
        std::iter::from_fn(|| sim.rooms.poll_action()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// A core with its clock and what came out of it, by socket.
struct Sim {
    rooms: Rooms,
    now: Millis,
    closes: Vec<(u64, CloseReason)>,
    inbox: BTreeMap<u64, Vec<Value>>,
    /// For whom too much waits.
    busy: BTreeSet<u64>,
}

impl Default for Sim {
    fn default() -> Self {
        Self::with(Limits { message_burst: 200, ..Limits::default() })
    }
}

impl Sim {
    fn with(limits: Limits) -> Self {
        Self {
            rooms: Rooms::new(limits, StdRng::seed_from_u64(7)),
            now: Millis(1_000),
            closes: Vec::new(),
            inbox: BTreeMap::new(),
            busy: BTreeSet::new(),
        }
    }

    /// Opens a socket from a source of its own, past its welcome.
    fn open(&mut self, socket: u64) -> String {
        let source = source(u8::try_from(socket).unwrap());
        let peer = self.rooms.handle_open(self.now, SocketId(socket), source, &offer()).unwrap();
        self.take(socket);
        peer.to_string()
    }

    fn join(&mut self, socket: u64, room: &str) {
        self.send(socket, json!({"type": "join", "room": room}));
    }

    fn send(&mut self, socket: u64, frame: Value) {
        self.send_text(socket, &frame.to_string());
    }

    fn send_text(&mut self, socket: u64, text: &str) {
        self.rooms.handle_frame(self.now, SocketId(socket), Received::Text(text));
    }

    fn close(&mut self, socket: u64, how: Departure) {
        self.rooms.handle_close(self.now, SocketId(socket), how);
    }

    /// What the socket was sent since the last look.
    fn take(&mut self, socket: u64) -> Vec<Value> {
        self.collect();
        self.inbox.remove(&socket).unwrap_or_default()
    }

    fn errors(&mut self, socket: u64) -> Vec<String> {
        let frames = self.take(socket).into_iter();
        frames
            .filter(|frame| frame["type"] == "error")
            .map(|frame| frame["code"].as_str().unwrap().to_owned())
            .collect()
    }

    fn closes(&mut self) -> Vec<(u64, CloseReason)> {
        self.collect();
        std::mem::take(&mut self.closes)
    }

    fn clear(&mut self) {
        self.collect();
        self.inbox.clear();
    }

    fn collect(&mut self) {
        while let Some(action) = self.rooms.poll_action() {
            match action {
                Action::Pass { socket, letter, .. } if self.busy.contains(&socket.0) => {
                    self.rooms.handle_undelivered(self.now, letter);
                }
                Action::Send { socket, frame } | Action::Pass { socket, frame, .. } => {
                    let frame = serde_json::from_str(&frame).unwrap();
                    self.inbox.entry(socket.0).or_default().push(frame);
                }
                Action::Close { socket, reason } => self.closes.push((socket.0, reason)),
            }
        }
    }
}

fn source(host: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, host])
}

fn offer() -> IceOffer {
    let servers = r#"[{"urls":["stun:h:3478"]}]"#.to_owned();
    IceOffer {
        servers: RawValue::from_string(servers).unwrap(),
        expires_at: Some("2026-01-01T00:00:00Z".to_owned()),
    }
}
