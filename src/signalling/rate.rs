//! Token buckets, and the table of sources that have one each.
//!
//! A source is what an address plan hands out as one thing: an IPv4 address, or an IPv6 /64. The
//! table forgets a source as soon as it holds no socket and its bucket is full again, because by
//! then a new entry would say the same.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use super::{Limits, Millis, Refused};

/// Tokens that come back at a steady rate up to a ceiling.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Thousandths of a token, so that a millisecond's share is a whole number. Negative: owed.
    level: i64,
    ceiling: i64,
    per_sec: i64,
    filled_at: Millis,
}

impl Bucket {
    /// A bucket that rested long enough.
    #[must_use]
    pub fn full(now: Millis, per_sec: u32, burst: u32) -> Self {
        let ceiling = i64::from(burst) * 1000;
        Self { level: ceiling, ceiling, per_sec: per_sec.into(), filled_at: now }
    }

    /// Takes `tokens`, or nothing and says no.
    pub fn take(&mut self, now: Millis, tokens: usize) -> bool {
        self.fill(now);
        let wanted = thousandths(tokens);
        let enough = self.level >= wanted;
        if enough {
            self.level -= wanted;
        }
        enough
    }

    /// Whether a token is there.
    pub fn has_any(&mut self, now: Millis) -> bool {
        self.fill(now);
        self.level >= 1000
    }

    /// Takes `tokens`, and be it on credit.
    pub fn owe(&mut self, tokens: usize) {
        self.level = self.level.saturating_sub(thousandths(tokens));
    }

    fn is_full(&mut self, now: Millis) -> bool {
        self.fill(now);
        self.level == self.ceiling
    }

    /// How long an empty bucket takes to fill.
    fn refill_ms(&self) -> u64 {
        self.ceiling.unsigned_abs().div_ceil(self.per_sec.max(1).unsigned_abs())
    }

    fn fill(&mut self, now: Millis) {
        let elapsed = i64::try_from(now.0.saturating_sub(self.filled_at.0)).unwrap_or(i64::MAX);
        self.level =
            self.level.saturating_add(elapsed.saturating_mul(self.per_sec)).min(self.ceiling);
        self.filled_at = self.filled_at.max(now);
    }
}

fn thousandths(tokens: usize) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// Who counts as one when sockets are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let prefix = u128::from(v6) & !u128::from(u64::MAX);
                Ipv6Addr::from(prefix).into()
            }
            v4 => v4,
        })
    }
}

/// How many sockets each source has, and how fast it opens them.
#[derive(Debug)]
pub(super) struct Sources {
    entry_by_source: BTreeMap<Source, Entry>,
    /// When to look whether a source can be forgotten; each source is in here at most once, and
    /// as the delay is constant the order of arrival is the order of time.
    forget_at: VecDeque<(Millis, Source)>,
    all: Bucket,
}

#[derive(Debug)]
struct Entry {
    sockets: usize,
    opens: Bucket,
    queued: bool,
}

impl Sources {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            entry_by_source: BTreeMap::new(),
            forget_at: VecDeque::new(),
            all: Bucket::full(Millis(0), limits.opens_per_sec, limits.open_burst),
        }
    }

    /// Charges one visit of `source`, without a socket.
    pub(super) fn visit(
        &mut self,
        now: Millis,
        source: Source,
        limits: &Limits,
    ) -> Result<(), Refused> {
        // The table is bounded by what the global rate lets in; this is its ceiling by number.
        let known = self.entry_by_source.contains_key(&source);
        let ceiling = limits.sockets.saturating_add(limits.open_burst as usize);
        if !known && self.entry_by_source.len() >= ceiling {
            return Err(Refused::Full);
        }
        let fresh =
            Bucket::full(now, limits.opens_per_sec_per_source, limits.open_burst_per_source);
        let entry = self.entry_by_source.entry(source).or_insert(Entry {
            sockets: 0,
            opens: fresh,
            queued: false,
        });
        // A source over its own rate must not use up what belongs to all, so it is asked first.
        let result = if !entry.opens.take(now, 1) {
            Err(Refused::SourceTooFast)
        } else if !self.all.take(now, 1) {
            Err(Refused::TooFast)
        } else {
            Ok(())
        };
        self.schedule(now, source);
        result
    }

    /// Charges one visit of `source` and counts a socket to it.
    pub(super) fn open(
        &mut self,
        now: Millis,
        source: Source,
        limits: &Limits,
    ) -> Result<(), Refused> {
        let held = self.entry_by_source.get(&source).map_or(0, |entry| entry.sockets);
        if held >= limits.sockets_per_source {
            return Err(Refused::SourceFull);
        }
        self.visit(now, source, limits)?;
        if let Some(entry) = self.entry_by_source.get_mut(&source) {
            entry.sockets += 1;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, now: Millis, source: Source) {
        if let Some(entry) = self.entry_by_source.get_mut(&source) {
            entry.sockets = entry.sockets.saturating_sub(1);
        }
        self.schedule(now, source);
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.forget_at.front().map(|(at, _)| *at)
    }

    pub(super) fn handle_timeout(&mut self, now: Millis) {
        while let Some((at, source)) = self.forget_at.front().copied()
            && at <= now
        {
            self.forget_at.pop_front();
            let Some(entry) = self.entry_by_source.get_mut(&source) else { continue };
            entry.queued = false;
            if entry.sockets == 0 && entry.opens.is_full(now) {
                self.entry_by_source.remove(&source);
            } else {
                self.schedule(now, source);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entry_by_source.len()
    }

    /// Puts a source that holds no socket into the queue of those to be forgotten.
    fn schedule(&mut self, now: Millis, source: Source) {
        if let Some(entry) = self.entry_by_source.get_mut(&source)
            && entry.sockets == 0
            && !entry.queued
        {
            entry.queued = true;
            let at = Millis(now.0 + entry.opens.refill_ms());
            self.forget_at.push_back((at, source));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_bucket_allows_the_burst_and_then_the_rate() {
        let mut bucket = Bucket::full(Millis(0), 50, 200);
        assert_eq!((0..300).filter(|_| bucket.take(Millis(0), 1)).count(), 200);
        assert!(!bucket.take(Millis(19), 1));
        assert!(bucket.take(Millis(20), 1));
        assert_eq!((0..300).filter(|_| bucket.take(Millis(1020), 1)).count(), 50);
    }

    #[test]
    fn what_was_taken_on_credit_is_owed() {
        let mut bucket = Bucket::full(Millis(0), 10, 20);
        bucket.owe(50); // more than there ever is
        assert!(!bucket.has_any(Millis(3_000)), "thirty were owed");
        assert!(bucket.has_any(Millis(3_100)));
        assert!(bucket.take(Millis(3_100), 1) && !bucket.take(Millis(3_100), 1));
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_tokens() {
        let mut bucket = Bucket::full(Millis(1000), 1, 1);
        assert!(bucket.take(Millis(1000), 1));
        assert!(!bucket.take(Millis(0), 1));
        assert!(!bucket.take(Millis(1999), 1));
        assert!(bucket.take(Millis(2000), 1));
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_64() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn a_source_is_forgotten_when_its_bucket_is_full_again() {
        let limits = Limits::default();
        let mut sources = Sources::new(&limits);
        sources.open(Millis(0), source("192.0.2.1"), &limits).unwrap();
        sources.visit(Millis(0), source("192.0.2.2"), &limits).unwrap();
        let at = sources.poll_timeout().unwrap();
        sources.handle_timeout(at);
        assert_eq!(sources.len(), 1, "the one with a socket stays");
        assert_eq!(sources.poll_timeout(), None);
        sources.close(at, source("192.0.2.1"));
        sources.handle_timeout(Millis(at.0 + 1_999));
        assert_eq!(sources.len(), 1);
        sources.handle_timeout(Millis(at.0 + 2_000));
        assert_eq!(sources.len(), 0);
        assert_eq!(sources.poll_timeout(), None);
    }

    #[test]
    fn all_sources_together_are_bounded_too() {
        let limits = Limits { opens_per_sec: 1, open_burst: 3, ..Limits::default() };
        let mut sources = Sources::new(&limits);
        for host in 0..3 {
            sources.open(Millis(0), IpAddr::from([192, 0, 2, host]).into(), &limits).unwrap();
        }
        let refused = sources.open(Millis(0), source("192.0.2.9"), &limits);
        assert_eq!(refused, Err(Refused::TooFast));
    }

    #[test]
    fn the_table_of_sources_has_a_ceiling() {
        let limits = Limits { sockets: 2, open_burst: 1000, ..Limits::default() };
        let mut sources = Sources::new(&limits);
        let refused = (0..2000u32)
            .map(|n| Source::from(IpAddr::from((0x0a00_0000 + n).to_be_bytes())))
            // Slowly enough for the rate, fast enough that nobody is forgotten.
            .filter(|one| sources.visit(Millis(0), *one, &limits) == Err(Refused::Full))
            .count();
        assert!(sources.len() <= 1002);
        assert!(refused > 0);
    }
}
