//! A lane: packets in one direction of one flow, from one of our ports to another. It knows what
//! its packets look like, how many are on their way, and what has become of them.

use std::net::SocketAddr;

use serde::Serialize;

use crate::load::histogram::Histogram;
use crate::load::stamp::{Arrived, Seen, Stamp};

/// Which way packets go, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To a peer.
    Up,
    /// From a peer.
    Down,
    /// To another client.
    Across,
    /// To the server, which answers.
    Echo,
    /// To a peer, which sends it back.
    Round,
}

/// Where in a packet its stamp stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// At the head of the payload, which begins here and is so long.
    Payload { at: usize, size: usize },
    /// In the transaction id.
    Transaction,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Packets sent, those that our own kernel refused included.
    pub sent: u64,
    /// Packets that arrived, each counted once.
    pub delivered: u64,
    /// Packets that did not: sent less delivered.
    pub lost: u64,
    /// Arrivals of what had arrived before, or so late that nobody can tell.
    pub duplicated: u64,
    /// Packets that a later one overtook.
    pub reordered: u64,
}

impl Counts {
    /// Adds another's.
    pub(super) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }
}

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Its name in stamps.
    pub(super) number: u32,
    /// Which way it goes.
    pub(super) direction: Direction,
    /// The port that its packets leave by.
    pub(super) source: usize,
    /// Where they are sent to.
    pub(super) to: SocketAddr,
    /// A packet without its stamp.
    pub(super) template: Vec<u8>,
    /// Where the stamp goes.
    pub(super) mark: Mark,
    /// Packets sent, so the next one's sequence number.
    sent: u64,
    /// Packets below this are not waited for any more.
    written_off: u64,
    seen: Seen,
    /// The first packet that counts.
    first: u64,
    counts: Counts,
    /// When a packet arrived last, or what was on its way was written off.
    moved_ns: u64,
}

/// How long a full window is waited for before what is in it counts as lost.
const STALL_NS: u64 = 100_000_000;

impl Lane {
    pub(super) fn new(
        number: usize,
        direction: Direction,
        source: usize,
        to: SocketAddr,
        (template, mark): (Vec<u8>, Mark),
    ) -> Self {
        let number = u32::try_from(number).expect("options bound the flows");
        let (sent, written_off, first, moved_ns) = (0, 0, 0, 0);
        let (seen, counts) = (Seen::new(), Counts::default());
        Self {
            number,
            direction,
            source,
            to,
            template,
            mark,
            sent,
            written_off,
            seen,
            first,
            counts,
            moved_ns,
        }
    }

    /// Packets that may be on their way: whatever an arrival has overtaken is not, nor what has
    /// been waited for too long.
    pub(super) fn in_flight(&self) -> u64 {
        self.sent - self.written_off.max(self.seen.next()).min(self.sent)
    }

    /// How many packets may be sent now.
    pub(super) fn room(&mut self, window: Option<u64>, now_ns: u64) -> u64 {
        let Some(window) = window else { return u64::MAX };
        if self.in_flight() >= window && now_ns.saturating_sub(self.moved_ns) > STALL_NS {
            self.written_off = self.sent;
            self.moved_ns = now_ns;
        }
        window.saturating_sub(self.in_flight())
    }

    /// Writes the next packet to the head of `space`; returns its length.
    #[inline]
    pub(super) fn write(&mut self, run: u32, now_ns: u64, space: &mut [u8]) -> usize {
        let packet = &mut space[..self.template.len()];
        packet.copy_from_slice(&self.template);
        let sequence = self.sent as u32;
        let stamp = Stamp { lane: self.number, run, sequence, sent_ns: Some(now_ns) };
        match self.mark {
            Mark::Payload { at, size } => stamp.write(&mut packet[at..at + size]),
            Mark::Transaction => packet[8..20].copy_from_slice(&stamp.to_transaction()),
        }
        if self.in_flight() == 0 {
            self.moved_ns = now_ns;
        }
        self.sent += 1;
        packet.len()
    }

    /// Takes note of an arrival and of how long it took; whether it was a packet of this lane
    /// that had not arrived before.
    #[inline]
    pub(super) fn arrived(
        &mut self,
        stamp: Stamp,
        now_ns: u64,
        has_latency: bool,
        latencies: &mut Histogram,
    ) -> bool {
        if u64::from(stamp.sequence) >= self.sent {
            return false;
        }
        let arrived = self.seen.note(stamp.sequence);
        self.moved_ns = now_ns;
        let counts = u64::from(stamp.sequence) >= self.first;
        match arrived {
            Arrived::Again => self.counts.duplicated += u64::from(counts),
            Arrived::Ahead | Arrived::Late if counts => {
                self.counts.delivered += 1;
                self.counts.reordered += u64::from(arrived == Arrived::Late);
                if let Some(sent_ns) = stamp.sent_ns.filter(|_| has_latency) {
                    latencies.record(now_ns.saturating_sub(sent_ns));
                }
            }
            Arrived::Ahead | Arrived::Late => {}
        }
        arrived != Arrived::Again
    }

    /// From now on packets count.
    pub(super) fn begin(&mut self) {
        self.first = self.sent;
        self.counts = Counts::default();
    }

    /// What became of the packets that count.
    pub(super) fn counts(&self) -> Counts {
        let sent = self.sent - self.first;
        Counts { sent, lost: sent - self.counts.delivered, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> Lane {
        let to = "127.0.0.1:9".parse().unwrap();
        let mark = Mark::Payload { at: 4, size: 24 };
        Lane::new(3, Direction::Up, 0, to, (vec![0; 28], mark))
    }

    fn send(lane: &mut Lane, now_ns: u64) -> Stamp {
        let mut space = [0xFF; 64];
        let length = lane.write(9, now_ns, &mut space);
        Stamp::read(&space[4..length]).unwrap()
    }

    #[test]
    fn what_is_sent_is_delivered_or_lost() {
        let (mut lane, mut latencies) = (lane(), Histogram::new());
        let early = send(&mut lane, 1);
        lane.begin();
        let stamps: Vec<Stamp> = (0..4).map(|n| send(&mut lane, 100 * n)).collect();
        assert_eq!(lane.in_flight(), 5);
        for stamp in [early, stamps[2], stamps[0], stamps[0]] {
            lane.arrived(stamp, 1000, true, &mut latencies);
        }
        let unsent = Stamp { sequence: 77, ..early };
        assert!(!lane.arrived(unsent, 1000, true, &mut latencies));
        let counts = Counts { sent: 4, delivered: 2, lost: 2, duplicated: 1, reordered: 1 };
        assert_eq!(lane.counts(), counts);
        assert_eq!((latencies.count(), latencies.max()), (2, 1000));
        // The last one may still come; what it has not overtaken will not.
        assert_eq!(lane.in_flight(), 1);
    }

    #[test]
    fn a_full_window_opens_when_nothing_comes_any_more() {
        let mut lane = lane();
        assert_eq!(lane.room(None, 0), u64::MAX);
        let now = 5_000_000_000;
        for _ in 0..8 {
            send(&mut lane, now);
        }
        assert_eq!(lane.room(Some(8), now + STALL_NS), 0);
        assert_eq!(lane.room(Some(8), now + STALL_NS + 1), 8);
        assert_eq!(lane.counts().lost, 8);
    }
}
