//! Interrupt moderation: at high rates a worker lets a few packets gather before it looks again.
//!
//! A worker that is quicker than its clients would be woken for every handful of packets, and pay
//! for each waking as much as for several packets; what leaves in small batches also costs the
//! kernel more. Network cards wait some tens of microseconds before they interrupt; so does this,
//! above a rate that no single call comes near, and never where anything is known to wait.

use std::time::Duration;

use crate::turn::Moment;

/// How fast packets come, and how long it pays to let them gather.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moderation {
    /// The operator wants it.
    wanted: bool,
    /// The millisecond that is being counted.
    current: Moment,
    /// Packets in it so far, and the messages of the kernel that carried them.
    packets: u32,
    messages: u32,
    /// Datagrams that had left when it began, and the messages that carried them.
    left: Departures,
    /// Packets in the millisecond before; 0 where they came in runs that the kernel had joined.
    per_milli: u32,
    /// Whether they left one by one: then more of them would leave together if they waited longer.
    singly: bool,
}

/// What has left by UDP, in all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Departures {
    /// Datagrams.
    pub packets: u64,
    /// The kernel's messages that carried them.
    pub messages: u64,
}

impl Moderation {
    /// Knows of no packets yet; never pauses where it is not wanted.
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Counts what a turn has handled: packets, and the kernel's messages that carried them.
    pub(super) fn count(&mut self, now: Moment, packets: u32, messages: u32, left: Departures) {
        let passed = now.as_millis().saturating_sub(self.current.as_millis());
        if passed > 0 {
            // A rate is known only from one millisecond to the next: a gap is the end of it. And
            // what comes joined has been gathered already, by its sender.
            let is_known = passed == 1 && self.packets < JOINED * self.messages;
            let [packets, messages] =
                [left.packets - self.left.packets, left.messages - self.left.messages];
            *self = Self {
                current: now,
                packets: 0,
                messages: 0,
                left,
                per_milli: if is_known { self.packets } else { 0 },
                singly: packets < u64::from(JOINED) * messages,
                ..*self
            };
        }
        self.packets = self.packets.saturating_add(packets);
        self.messages = self.messages.saturating_add(messages);
    }

    /// How long to let packets gather before asking for them; `None`: not at all.
    pub(super) fn pause(&self) -> Option<Duration> {
        if !self.wanted || self.per_milli < PACKETS_PER_MILLI {
            return None;
        }
        let (gathered, longest) = match self.singly {
            false => (GATHERED, PAUSE_MAX_US),
            true => (GATHERED_SINGLY, PAUSE_MAX_SINGLY_US),
        };
        let pause = (gathered * 1000 / self.per_milli).min(longest);
        (pause >= PAUSE_MIN_US).then(|| Duration::from_micros(pause.into()))
    }
}

/// The rate above which packets are let gather: 50 000 in a second.
const PACKETS_PER_MILLI: u32 = 50;
/// So many packets to a message are runs.
const JOINED: u32 = 2;
/// How many are let gather: a socket's smallest buffer holds three times as many.
const GATHERED: u32 = 32;
/// The longest that a packet is held back.
const PAUSE_MAX_US: u32 = 60;
/// The same where packets leave one by one, for they are of many flows, and spread over sockets.
const GATHERED_SINGLY: u32 = 96;
const PAUSE_MAX_SINGLY_US: u32 = 250;
/// Below this a pause costs more than it brings.
const PAUSE_MIN_US: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// So many packets in a millisecond; `joined` of them came to a message, `run` left by one.
    fn at_rate(per_milli: u32, joined: u32, run: u64) -> Option<Duration> {
        let (mut moderation, mut left) = (Moderation::new(true), Departures::default());
        for milli in 1..=3 {
            for part in [per_milli / 2, per_milli - per_milli / 2] {
                moderation.count(Moment::from_millis(milli), part, part / joined, left);
                left.packets += u64::from(part);
                left.messages += u64::from(part) / run;
            }
        }
        moderation.pause()
    }

    #[test]
    fn at_the_rate_of_calls_nothing_waits() {
        for rate in [0, 1, 2, 49] {
            assert_eq!(at_rate(rate, 1, 1), None);
        }
    }

    #[test]
    fn what_comes_in_runs_does_not_wait() {
        assert_eq!(at_rate(800, 16, 16), None);
    }

    #[test]
    fn the_faster_packets_come_the_shorter_they_wait() {
        assert_eq!(at_rate(50, 1, 8), Some(Duration::from_micros(60)));
        assert_eq!(at_rate(1000, 1, 8), Some(Duration::from_micros(32)));
        assert_eq!(at_rate(2000, 1, 8), None);
    }

    #[test]
    fn what_leaves_one_by_one_waits_longer_for_company() {
        assert_eq!(at_rate(50, 1, 1), Some(Duration::from_micros(250)));
        assert_eq!(at_rate(640, 1, 1), Some(Duration::from_micros(150)));
    }

    #[test]
    fn nothing_waits_after_a_gap_nor_where_that_is_not_wanted() {
        let nothing = Departures::default();
        let mut unwanted = Moderation::new(false);
        unwanted.count(Moment::from_millis(1), 500, 500, nothing);
        unwanted.count(Moment::from_millis(2), 500, 500, nothing);
        assert_eq!(unwanted.pause(), None);
        let mut moderation = Moderation::new(true);
        moderation.count(Moment::from_millis(1), 500, 500, nothing);
        moderation.count(Moment::from_millis(2), 500, 500, nothing);
        assert!(moderation.pause().is_some());
        moderation.count(Moment::from_millis(9), 1, 1, nothing);
        assert_eq!(moderation.pause(), None);
    }
}
