//! Time as the core sees it: two numbers, handed in with every call.

use std::ops::Add;

/// A point on the server's monotonic clock, in milliseconds.
///
/// The origin is the shell's choice (`CLOCK_MONOTONIC` in production, zero in a simulation); only
/// differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment `millis` milliseconds after the clock's origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's origin.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds from `self` to `later`, rounded up; zero where `later` has passed.
    pub const fn secs_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0).div_ceil(1000)
    }
}

/// Adds seconds.
impl Add<Lifetime> for Moment {
    type Output = Self;

    fn add(self, lifetime: Lifetime) -> Self {
        Self(self.0 + u64::from(lifetime.as_secs()) * 1000)
    }
}

/// A duration in whole seconds, as LIFETIME carries it (RFC 8656 §18.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(u32);

impl Lifetime {
    /// A lifetime of `secs` seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs)
    }

    /// The lifetime in seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

/// Both clocks, read once per batch by the shell.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monotonic clock: every timer of the core runs on it.
    pub moment: Moment,
    /// The wall clock in seconds since 1970: time-limited credentials and nonces need it.
    pub unix_secs: u64,
}
