//! How many packets are due: so many in a second, evenly, or as many as there is room for.

use crate::load::options::Rate;

/// How long a pause of ours, or of the system's, is made up for.
const ARREARS_NS: f64 = 10_000_000.0;

/// When packets are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Nanoseconds between two packets; `None`: no pause.
    interval_ns: Option<f64>,
    /// When the next one is due.
    next_ns: f64,
    /// What was missed by more than this is not made up for: a flood nobody asked for would follow.
    arrears_ns: f64,
}

impl Pace {
    /// Packets at this rate from now on, always `burst` at a time.
    pub(super) fn new(rate: Rate, burst: u32, now_ns: u64) -> Self {
        let interval_ns = match rate {
            Rate::Max => None,
            Rate::PerSecond(rate) => Some(1e9 / rate),
        };
        let arrears_ns = ARREARS_NS.max(2.0 * f64::from(burst) * interval_ns.unwrap_or(0.0));
        Self { interval_ns, next_ns: now_ns as f64, arrears_ns }
    }

    /// Packets that are due now.
    pub(super) fn due(&mut self, now_ns: u64) -> u64 {
        let Some(interval) = self.interval_ns else { return u64::MAX };
        let now = now_ns as f64;
        self.next_ns = self.next_ns.max(now - self.arrears_ns);
        if now < self.next_ns { 0 } else { ((now - self.next_ns) / interval) as u64 + 1 }
    }

    /// So many have been sent.
    pub(super) fn sent(&mut self, packets: u64) {
        self.next_ns += self.interval_ns.unwrap_or(0.0) * packets as f64;
    }

    /// Nanoseconds until something is due, for whom there is nothing else to wait for.
    pub(super) fn pause_ns(&self, packets: u64, now_ns: u64) -> Option<u64> {
        let interval = self.interval_ns?;
        let due = self.next_ns + interval * (packets - 1) as f64;
        Some((due - now_ns as f64).max(0.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_fall_due_evenly() {
        let mut pace = Pace::new(Rate::PerSecond(1000.0), 1, 0);
        assert_eq!(pace.due(0), 1);
        pace.sent(1);
        assert_eq!((pace.due(999_999), pace.pause_ns(1, 400_000)), (0, Some(600_000)));
        assert_eq!(pace.due(3_000_000), 3);
        pace.sent(3);
        assert_eq!(pace.due(3_500_000), 0);
        // A second was slept through: it is not made up for.
        assert_eq!(pace.due(1_000_000_000), 11);
    }

    #[test]
    fn a_slow_burst_falls_due_as_a_whole() {
        let mut pace = Pace::new(Rate::PerSecond(100.0), 16, 0);
        assert_eq!(pace.due(140_000_000), 15);
        assert_eq!(pace.due(150_000_000), 16);
        assert_eq!(pace.pause_ns(16, 100_000_000), Some(50_000_000));
    }

    #[test]
    fn full_speed_knows_no_pause() {
        let mut pace = Pace::new(Rate::Max, 1, 0);
        pace.sent(1000);
        assert_eq!((pace.due(0), pace.pause_ns(1, 0)), (u64::MAX, None));
    }
}
