//! The only place where clocks are read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::turn::{Moment, Now};

/// Both clocks of one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose moments count from now.
    #[expect(clippy::disallowed_methods, reason = "this is where clocks are read")]
    pub(super) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The CPU time that this thread has taken.
    pub(super) fn cpu(&self) -> Duration {
        // It fails for clocks that a kernel does not have, and every one has this.
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
    }

    /// Does nothing for as long.
    #[expect(clippy::disallowed_methods, reason = "the clock is what is waited for")]
    pub(super) fn pause(&self, pause: Duration) {
        std::thread::sleep(pause);
    }

    /// Reads both clocks: the monotonic one for timers, the wall clock for credentials and nonces.
    #[expect(clippy::disallowed_methods, reason = "this is where clocks are read")]
    pub(super) fn now(&self) -> Now {
        let elapsed = Instant::now().saturating_duration_since(self.origin);
        // A wall clock before 1970 is as good as 1970: no time-limited credential has expired.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            moment: Moment::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            unix_secs: unix.as_secs(),
        }
    }
}
