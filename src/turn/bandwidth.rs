//! How many bytes an allocation may relay: what is too much is dropped and counted, never queued.
//! Each direction has its own count, and so have the two ends of a call.

use crate::turn::moment::Moment;

/// What one direction of one allocation has spent and not got back yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credit {
    /// In thousandths of a byte: a rate in bytes per second gives that many back in a millisecond.
    spent: u64,
    since: Moment,
}

/// At once an allocation may relay what it may in a second, and this much at least: a key frame.
const BURST_MIN: u64 = 65_536;

impl Credit {
    /// Takes what a payload of so many bytes costs at `rate` bytes per second; whether it was
    /// there. A rate of 0 is no limit.
    #[inline]
    pub(super) fn take(&mut self, now: Moment, rate: u64, bytes: u64) -> bool {
        rate == 0 || self.take_some(now, rate, bytes)
    }

    fn take_some(&mut self, now: Moment, rate: u64, bytes: u64) -> bool {
        let elapsed = now.as_millis() - self.since.as_millis();
        let most = rate.max(BURST_MIN).saturating_mul(1000);
        // The rate may have been lowered since: that costs no more than one burst of it.
        self.spent = self.spent.saturating_sub(elapsed.saturating_mul(rate)).min(most);
        self.since = now;
        let wanted = self.spent.saturating_add(bytes * 1000);
        let enough = wanted <= most;
        if enough {
            self.spent = wanted;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that get through of `bytes` sent in each millisecond of so many seconds.
    fn passed(rate: u64, bytes: u64, secs: u64) -> u64 {
        let mut credit = Credit::default();
        let through = |millis: &u64| credit.take(Moment::from_millis(*millis), rate, bytes);
        (0..secs * 1000).filter(through).count() as u64 * bytes
    }

    #[test]
    fn the_rate_holds_and_so_does_the_burst() {
        for rate in [1, 1000, 65_536, 1_000_000, u64::from(u32::MAX)] {
            let burst = rate.max(BURST_MIN);
            // The longest ones fit the burst once, and its rest is of no use to them.
            assert!(passed(rate, 65_507, 10) <= burst + 10 * rate);
            for bytes in [1, 160, 1200] {
                let passed = passed(rate, bytes, 10);
                let most = burst + 10 * rate;
                let least = (burst + 10 * rate).saturating_sub(rate / 1000 + bytes);
                assert!(passed <= most, "{passed} at {rate}");
                assert!(passed >= least.min(bytes * 10_000), "{passed} at {rate}");
            }
        }
    }

    #[test]
    fn without_a_rate_everything_passes() {
        assert_eq!(passed(0, 65_507, 10), 65_507 * 10_000);
    }

    #[test]
    fn a_rate_that_is_lowered_or_enormous_is_a_rate_nonetheless() {
        let mut credit = Credit::default();
        assert!(credit.take(Moment::from_millis(0), u64::MAX, 10_000_000));
        assert!(!credit.take(Moment::from_millis(1), 100_000, 1000));
        assert!(credit.take(Moment::from_millis(11), 100_000, 1000), "10 ms are 1000 bytes");
    }

    #[test]
    fn an_idle_year_gives_one_burst() {
        let mut credit = Credit::default();
        let later = Moment::from_millis(31_536_000_000);
        let count = (0..1000).filter(|_| credit.take(later, 100_000, 1000)).count();
        assert_eq!(count, 100);
    }
}
