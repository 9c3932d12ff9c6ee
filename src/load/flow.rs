//! The packet loop: fill the lanes' windows, or send what is due; take what has arrived; never
//! wait where something can be done.
//!
//! A lane's packets leave one datagram each, many to a call, so that no kernel on the way has
//! reason to merge them; bursts leave as one send that the kernel segments (`UDP_SEGMENT`), which
//! is how a busy sender's packets come.

use std::io;
use std::time::Duration;

use crate::load::Clock;
use crate::load::histogram::Histogram;
use crate::load::lane::{Counts, Lane};
use crate::load::mirror::Mirror;
use crate::load::options::Options;
use crate::load::pace::Pace;
use crate::load::port::{Arrival, Exits, Port, Ports};
use crate::load::stamp::{LATENCY_BYTES, SEQUENCE_BYTES, Stamp};
use crate::load::unwrap::{self, Shape};
use crate::load::watch::{Watch, Watched};
use crate::net::{Envelope, RecvBatch, SendBatch, SocketKey, TrafficClass};

/// Segments of one send: what every kernel takes that can do this at all.
const SEGMENTS_MAX: usize = 64;
/// Bytes of one send: less than the longest datagram.
const SEGMENTS_BYTES: usize = 64_000;
/// Lanes that are looked at in one turn, so that arrivals are not kept waiting.
const LANES_PER_TURN: usize = 1024;
/// Packets that leave in one turn, so that arrivals are not kept waiting.
const PACKETS_PER_TURN: u64 = 128;
/// How long a loop that has nothing to do asks again and again before it sleeps: waking it would
/// cost the server.
const SPIN_NS: u64 = 300_000;
/// How long the last packets are waited for, each arrival anew.
const DRAIN_NS: u64 = 300_000_000;

/// All that is on its way.
pub(super) struct Traffic<'a> {
    pub(super) options: &'a Options,
    pub(super) clock: Clock,
    pub(super) run: u32,
    pub(super) ports: Ports,
    pub(super) shapes: Vec<Shape>,
    pub(super) lanes: Vec<Lane>,
    pub(super) latencies: Histogram,
    /// Datagrams that our own kernel did not take.
    pub(super) refused: u64,
    /// What came and was none of ours.
    pub(super) foreign: u64,
    /// All that has arrived, warm-up included.
    pub(super) arrived: u64,
    /// Which lane is next.
    cursor: usize,
    batch: SendBatch,
    burst: Vec<u8>,
    mirror: Mirror,
    can_segment: bool,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(options: &'a Options, clock: Clock) -> io::Result<Self> {
        Ok(Self {
            options,
            clock,
            run: rand::random(),
            ports: Ports::new(clock)?,
            shapes: Vec::new(),
            lanes: Vec::new(),
            latencies: Histogram::new(),
            refused: 0,
            foreign: 0,
            arrived: 0,
            cursor: 0,
            batch: SendBatch::new(),
            burst: Vec::new(),
            mirror: Mirror::default(),
            can_segment: options.burst > 1,
        })
    }

    /// Runs until `watch` says that it is time, then waits for what is still on its way.
    pub(super) fn go(&mut self, watch: &mut Watch<'_>) -> io::Result<()> {
        let nothing = RecvBatch::new();
        let mut pace = Pace::new(self.options.rate, self.options.burst, self.clock.ns());
        let mut moved_ns = self.clock.ns();
        let mut ends_ns = None;
        loop {
            let now = self.clock.ns();
            let going = watch.look(now, self)?;
            let sent = if going { self.send(&nothing, &mut pace, now)? } else { 0 };
            self.ports.wait(Duration::ZERO)?;
            let received = self.receive(&nothing)?;
            if sent > 0 || received {
                moved_ns = now;
            } else if going {
                self.rest(&pace, now, moved_ns)?;
            } else {
                self.ports.wait(Duration::from_millis(1))?;
            }
            if !going {
                if received || ends_ns.is_none() {
                    ends_ns = Some(now + DRAIN_NS);
                }
                let all_there = self.lanes.iter().all(|lane| lane.counts().lost == 0);
                if all_there || ends_ns.is_some_and(|ends| now >= ends) {
                    return Ok(());
                }
            }
        }
    }

    /// Sleeps where nothing can be due for a while.
    fn rest(&mut self, pace: &Pace, now: u64, moved_ns: u64) -> io::Result<()> {
        let sleep = match pace.pause_ns(self.options.burst.into(), now) {
            // The system may wake us a millisecond late.
            Some(pause) if pause > 2_000_000 => Duration::from_nanos(pause - 1_000_000),
            Some(_) => Duration::ZERO,
            None if now.saturating_sub(moved_ns) > SPIN_NS => Duration::from_millis(1),
            None => Duration::ZERO,
        };
        if sleep.is_zero() {
            std::hint::spin_loop();
            return Ok(());
        }
        self.ports.wait(sleep.min(Duration::from_millis(100)))
    }

    /// Sends what is due and has room, a batch at most; how many packets.
    fn send(&mut self, nothing: &RecvBatch, pace: &mut Pace, now: u64) -> io::Result<u64> {
        let burst = u64::from(self.options.burst);
        let window = self.options.window();
        let due = pace.due(now);
        let (mut sent, mut barren) = (0, 0);
        while sent + burst <= due
            && sent < PACKETS_PER_TURN
            && barren < self.lanes.len().min(LANES_PER_TURN)
        {
            let place = self.cursor;
            self.cursor = (place + 1) % self.lanes.len();
            if self.lanes[place].room(window, now) < burst || self.is_blocked(place)? {
                barren += 1;
                continue;
            }
            barren = 0;
            sent += burst;
            if self.can_segment {
                self.send_segments(nothing, place, now);
            } else {
                (0..burst).for_each(|_| self.push(nothing, place, now));
            }
        }
        pace.sent(sent);
        self.flush(nothing);
        self.flush_streams(sent)?;
        Ok(sent)
    }

    /// Whether the lane's stream has not even taken what it was given before.
    fn is_blocked(&mut self, lane: usize) -> io::Result<bool> {
        match self.ports.get(self.lanes[lane].source) {
            Port::Udp(_) => Ok(false),
            Port::Tcp(connection) => {
                if connection.is_blocked() {
                    connection.flush()?;
                }
                Ok(connection.is_blocked())
            }
        }
    }

    /// Puts one packet of a lane into the batch, or behind what its stream has to write.
    fn push(&mut self, nothing: &RecvBatch, lane: usize, now: u64) {
        let lane = &mut self.lanes[lane];
        match self.ports.get(lane.source) {
            Port::Udp(_) => {
                let socket = SocketKey(lane.source as u64);
                let length = lane.write(self.run, now, self.batch.space());
                let envelope = Envelope {
                    socket,
                    to: lane.to,
                    from: None,
                    dont_fragment: false,
                    class: TrafficClass::BEST_EFFORT,
                };
                self.batch.push_space(envelope, length);
                if self.batch.is_full() {
                    self.flush(nothing);
                }
            }
            Port::Tcp(connection) => {
                self.burst.resize(lane.template.len(), 0);
                lane.write(self.run, now, &mut self.burst);
                connection.push(&self.burst);
            }
        }
    }

    fn flush(&mut self, nothing: &RecvBatch) {
        let mut exits = Exits { ports: &mut self.ports, refused: &mut self.refused };
        self.batch.flush(nothing, &mut exits);
    }

    /// Writes what the lanes before the cursor have put into their streams.
    fn flush_streams(&mut self, sent: u64) -> io::Result<()> {
        let lanes = self.lanes.len();
        for back in 1..=lanes.min(sent as usize) {
            let lane = &self.lanes[(self.cursor + lanes - back) % lanes];
            if let Port::Tcp(connection) = self.ports.get(lane.source) {
                connection.flush()?;
            }
        }
        Ok(())
    }

    /// Sends a burst of one lane in as few calls as the kernel lets us.
    fn send_segments(&mut self, nothing: &RecvBatch, place: usize, now: u64) {
        let lane = &mut self.lanes[place];
        let length = lane.template.len();
        let most = SEGMENTS_MAX.min(SEGMENTS_BYTES / length).max(1);
        let mut left = self.options.burst as usize;
        while left > 0 {
            let Port::Udp(endpoint) = self.ports.get(lane.source) else { break };
            let count = left.min(most);
            self.burst.resize(count * length, 0);
            for packet in self.burst.chunks_exact_mut(length) {
                lane.write(self.run, now, packet);
            }
            left -= count;
            let segment = u16::try_from(length).expect("options bound the payload");
            match endpoint.send_segments(lane.to, &self.burst, segment) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.refused += count as u64;
                }
                Err(_) => {
                    self.refused += count as u64;
                    self.can_segment = false;
                    break;
                }
            }
        }
        // A stream, or a kernel that cannot: what is left goes the plain way.
        (0..left).for_each(|_| self.push(nothing, place, now));
    }

    /// Takes what has arrived at some ports; whether anything has.
    fn receive(&mut self, nothing: &RecvBatch) -> io::Result<bool> {
        let Self { ports, shapes, lanes, latencies, run, foreign, arrived, mirror, .. } = self;
        let size = (self.options.size as usize).max(SEQUENCE_BYTES);
        let mut count = 0;
        let mut note = |stamp: Option<Stamp>, now: u64, has_latency: bool| {
            let stamp = stamp.filter(|stamp| stamp.run == *run);
            let lane = stamp.and_then(|stamp| Some((stamp, lanes.get_mut(stamp.lane as usize)?)));
            match lane {
                Some((stamp, lane)) => {
                    count += u64::from(lane.arrived(stamp, now, has_latency, latencies));
                }
                None => *foreign += 1,
            }
        };
        for _ in 0..PORTS_PER_TURN {
            let any = ports.receive(|arrival| {
                let Arrival { port, source, bytes, now_ns: now } = arrival;
                match (shapes[port], source) {
                    (Shape::Bare, _) => {
                        for payload in bytes.chunks(size) {
                            note(Stamp::read(payload), now, payload.len() >= LATENCY_BYTES);
                        }
                    }
                    (Shape::Mirror, Some(source)) => {
                        bytes.chunks(size).for_each(|payload| mirror.note(port, source, payload));
                    }
                    (Shape::Mirror | Shape::Framed, _) => {
                        unwrap::each(bytes, |found| match found {
                            unwrap::Found::Payload(payload) => {
                                note(Stamp::read(payload), now, payload.len() >= LATENCY_BYTES);
                            }
                            unwrap::Found::Answer(id) => {
                                note(Some(Stamp::from_transaction(id, *run)), now, true);
                            }
                            unwrap::Found::Other => note(None, now, false),
                        })
                    }
                }
            })?;
            if !any {
                break;
            }
        }
        *arrived += count;
        let mirrored = !mirror.is_empty();
        let mut exits = Exits { ports: &mut self.ports, refused: &mut self.refused };
        self.mirror.send_back(&mut self.batch, nothing, &mut exits);
        Ok(count > 0 || mirrored)
    }
}

impl Watched for Traffic<'_> {
    fn begin(&mut self) {
        self.lanes.iter_mut().for_each(Lane::begin);
        self.latencies = Histogram::new();
        (self.refused, self.foreign) = (0, 0);
    }

    fn arrived(&self) -> u64 {
        self.arrived
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.lanes.iter().for_each(|lane| sum.add(lane.counts()));
        sum
    }

    fn latencies(&self) -> &Histogram {
        &self.latencies
    }
}

/// Ports that are read from in one turn, so that sending is not kept waiting.
const PORTS_PER_TURN: usize = 64;
