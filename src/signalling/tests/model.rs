//! Random interleavings of a few sockets in a few rooms, against a model of the rules.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_interleaving_keeps_order_and_privacy_and_leaks_nothing(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        Model::run(&steps);
    }
}

/// What may happen next, to sockets 0 to 5 and rooms 0 to 3.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open(u64),
    Close(u64),
    Join(u64, u8),
    Leave(u64, u8),
    Signal(u64, u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (socket, room) = (0..6_u64, 0..4_u8);
    prop_oneof![
        3 => socket.clone().prop_map(Step::Open),
        1 => socket.clone().prop_map(Step::Close),
        4 => (socket.clone(), room.clone()).prop_map(|(s, r)| Step::Join(s, r)),
        2 => (socket.clone(), room).prop_map(|(s, r)| Step::Leave(s, r)),
        8 => (socket.clone(), socket).prop_map(|(a, b)| Step::Signal(a, b)),
        1 => (0..3000_u64).prop_map(Step::Wait),
    ]
}

/// Who is where by the rules, and what each has heard so far.
#[derive(Default)]
struct Model {
    sim: Sim,
    next_id: u64,
    /// Slot to the socket and peer in it.
    live: BTreeMap<u64, (u64, String)>,
    /// By the rules: socket to rooms.
    rooms_of: BTreeMap<u64, BTreeSet<u8>>,
    /// By what it heard: socket and room to the peers there.
    heard: BTreeMap<(u64, String), BTreeSet<String>>,
    /// The last sequence number sent and heard, by sending peer and receiving socket.
    sent: BTreeMap<(String, u64), u64>,
    got: BTreeMap<(String, u64), u64>,
    /// Every id ever given, with its socket.
    socket_of: BTreeMap<String, u64>,
}

impl Model {
    fn run(steps: &[Step]) {
        let mut model = Self::default();
        for step in steps {
            model.step(*step);
            model.check_what_was_sent();
            model.check_state();
        }
        for slot in 0..6 {
            model.step(Step::Close(slot));
            model.check_what_was_sent();
            model.check_state();
        }
        model.sim.now.0 += 1_000_000;
        model.sim.rooms.handle_timeout(model.sim.now);
        let stats = model.sim.rooms.stats();
        assert_eq!((stats.sockets, stats.rooms, stats.sources), (0, 0, 0));
        assert!(model.sim.rooms.socket_by_peer.is_empty());
        assert!(model.sim.rooms.rooms_by_source.is_empty());
        assert_eq!(model.sim.rooms.poll_timeout(), None);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open(slot) if !self.live.contains_key(&slot) => {
                let socket = self.next_id;
                self.next_id += 1;
                // A source of its own each time: the rates have tests of their own.
                let address = IpAddr::from([10, 0, (socket >> 8) as u8, socket as u8]);
                let now = self.sim.now;
                let peer = self.sim.rooms.handle_open(now, SocketId(socket), address, &offer());
                let peer = peer.unwrap().to_string();
                self.socket_of.insert(peer.clone(), socket);
                self.live.insert(slot, (socket, peer));
                self.rooms_of.insert(socket, BTreeSet::new());
            }
            Step::Close(slot) => {
                if let Some((socket, _)) = self.live.remove(&slot) {
                    self.sim.close(socket, Departure::Closed);
                    self.rooms_of.remove(&socket);
                    self.heard.retain(|(of, _), _| *of != socket);
                }
            }
            Step::Join(slot, room) => {
                if let Some((socket, _)) = self.live.get(&slot) {
                    self.sim.join(*socket, &room.to_string());
                    self.rooms_of.get_mut(socket).unwrap().insert(room);
                }
            }
            Step::Leave(slot, room) => {
                if let Some((socket, _)) = self.live.get(&slot) {
                    self.sim.send(*socket, json!({"type": "leave", "room": room.to_string()}));
                    self.rooms_of.get_mut(socket).unwrap().remove(&room);
                    self.heard.remove(&(*socket, room.to_string()));
                }
            }
            Step::Signal(from, to) => {
                if let (Some((socket, peer)), Some((receiver, to))) =
                    (self.live.get(&from), self.live.get(&to))
                {
                    let seq = self.sent.entry((peer.clone(), *receiver)).or_default();
                    let shared = !self.rooms_of[socket].is_disjoint(&self.rooms_of[receiver]);
                    *seq += u64::from(shared && socket != receiver);
                    let seq = *seq;
                    self.sim.send(
                        *socket,
                        json!({"type": "signal", "to": to, "seq": seq, "data": null}),
                    );
                }
            }
            Step::Wait(ms) => {
                self.sim.now.0 += ms;
                self.sim.rooms.handle_timeout(self.sim.now);
            }
            Step::Open(_) => {}
        }
    }

    /// Everything that came out is something its receiver may hear, in an order that makes sense.
    fn check_what_was_sent(&mut self) {
        while let Some(action) = self.sim.rooms.poll_action() {
            let (SocketId(socket), frame) = match action {
                Action::Send { socket, frame } | Action::Pass { socket, frame, .. } => {
                    (socket, frame)
                }
                // Over the rate for long enough: not what is tested here.
                Action::Close { .. } => continue,
            };
            let frame: Value = serde_json::from_str(&frame).unwrap();
            let text = |key: &str| frame[key].as_str().unwrap().to_owned();
            match frame["type"].as_str().unwrap() {
                "joined" => {
                    let peers = frame["peers"].as_array().unwrap().iter();
                    let ids = peers.map(|p| p["id"].as_str().unwrap().to_owned()).collect();
                    assert_eq!(self.heard.insert((socket, text("room")), ids), None);
                }
                "peer+" => {
                    let room = self.heard.get_mut(&(socket, text("room")));
                    assert!(room.expect("hears of its rooms only").insert(text("id")), "once");
                }
                "peer-" => {
                    let room = self.heard.get_mut(&(socket, text("room")));
                    assert!(
                        room.expect("hears of its rooms only").remove(&text("id")),
                        "was there"
                    );
                }
                "signal" => {
                    let known = self.heard.iter().any(|((of, _), peers)| {
                        *of == socket && peers.contains(frame["from"].as_str().unwrap())
                    });
                    assert!(known, "a signal comes from somebody the receiver was told of");
                    let got = self.got.entry((text("from"), socket)).or_default();
                    *got += 1;
                    assert_eq!(frame["seq"], *got, "in order, none lost, none twice");
                }
                _ => {}
            }
        }
    }

    /// What each was told equals who is there.
    fn check_state(&self) {
        for ((socket, room), peers) in &self.heard {
            let number: u8 = room.parse().unwrap();
            let there: BTreeSet<_> = self
                .live
                .values()
                .filter(|(other, _)| other != socket && self.rooms_of[other].contains(&number))
                .map(|(_, peer)| peer.clone())
                .collect();
            assert_eq!(*peers, there, "socket {socket}, room {room}");
        }
        let rooms: BTreeSet<_> = self.rooms_of.values().flatten().collect();
        assert_eq!(self.sim.rooms.stats().rooms, rooms.len() as u64);
        assert_eq!(self.sim.rooms.stats().sockets, self.live.len() as u64);
        assert_eq!(self.sim.rooms.socket_by_peer.len(), self.live.len());
    }
}
