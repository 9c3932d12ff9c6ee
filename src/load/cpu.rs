//! What a local server costs: the CPU time of its process, from /proc.
//!
//! The sum is in nanoseconds, from each task's `schedstat`; how much of it is user's and how much
//! the kernel's is known to a clock tick only, so the split of the sum is by that proportion.
//! Interrupts that the process was hit by count as its own, unless the kernel accounts for them
//! apart; a thread that ends takes its time with it.

use std::fs;
use std::io;
use std::path::Path;

/// The CPU time that a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// All of it, in nanoseconds.
    pub total_ns: u64,
    /// In user space, in clock ticks.
    pub user_ticks: u64,
    /// In the kernel, in clock ticks.
    pub system_ticks: u64,
}

impl CpuTime {
    /// Reads that of process `pid`.
    ///
    /// # Errors
    ///
    /// Where there is no such process, or /proc says something else than expected.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::below(&Path::new("/proc").join(pid.to_string()))
    }

    fn below(process: &Path) -> io::Result<Self> {
        let mut total_ns = 0;
        for task in fs::read_dir(process.join("task"))? {
            // A thread may have ended since it was listed.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            total_ns += text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0);
        }
        let stat = fs::read_to_string(process.join("stat"))?;
        let (user_ticks, system_ticks) = ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { total_ns, user_ticks, system_ticks })
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// The part of it that was used in user space, 0 to 1; `None` where no tick fell into it.
    pub fn user_share(self) -> Option<f64> {
        let ticks = self.user_ticks + self.system_ticks;
        (ticks > 0).then(|| self.user_ticks as f64 / ticks as f64)
    }
}

/// utime and stime, fields 14 and 15; the name before them may hold blanks and parentheses.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    Some((fields.nth(11)?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_time_goes_on() {
        let before = CpuTime::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while CpuTime::of(std::process::id()).unwrap().since(before).total_ns == 0 {
            sum = (0..1_000_000).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(CpuTime::of(u32::MAX).is_err());
    }

    #[test]
    fn the_ticks_stand_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 12 34 0 0 20 0 1 0 5";
        assert_eq!(ticks(stat), Some((12, 34)));
        assert_eq!(ticks("7 (a"), None);
        let time = CpuTime { total_ns: 9, user_ticks: 1, system_ticks: 3 };
        assert_eq!(time.user_share(), Some(0.25));
        assert_eq!(CpuTime::default().user_share(), None);
    }
}
