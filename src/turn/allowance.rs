//! How much each source may ask for: counted in a table that never grows.

use std::hash::Hash;
use std::net::IpAddr;

use crate::turn::map::Hasher;
use crate::turn::moment::Moment;

/// A rate for each source, and twice as much at once.
///
/// Each source is counted in two places that it shares with strangers, and is refused only where
/// both are full. So whoever invents sources can use up others' allowance, but never get more than
/// their own, and never any memory.
#[derive(Debug)]
pub(super) struct Allowances {
    /// For each place until when what was taken from it is spent, in steps of the clock.
    spent_until: Box<[u64]>,
    per_sec: u64,
    hasher: Hasher,
}

/// Places: 64 KiB for each core.
const PLACES: usize = 8192;
/// More is no limit, and would have the clock of the places end one day.
const PER_SEC_MAX: u32 = 1_000_000;
/// One request takes so many steps of the clock, which makes `per_sec` of them in a millisecond.
const STEPS: u64 = 1000;

impl Allowances {
    /// So many requests a second for each source; 0: none, and no memory either.
    pub(super) fn new(per_sec: u32, hasher: Hasher) -> Self {
        let places = if per_sec == 0 { 0 } else { PLACES };
        let per_sec = per_sec.min(PER_SEC_MAX).into();
        Self { spent_until: vec![0; places].into(), per_sec, hasher }
    }

    /// Takes one request of this kind from the source's allowance; whether it had one left.
    pub(super) fn take(&mut self, now: Moment, kind: impl Hash, source: IpAddr) -> bool {
        if self.spent_until.is_empty() {
            return false;
        }
        let hash = self.hasher.hash_one((kind, network(source)));
        let places = [hash as usize % PLACES, (hash >> 32) as usize % PLACES];
        let now = now.as_millis() * self.per_sec;
        let at_once = 2 * self.per_sec * STEPS;
        let spent = places.map(|place| self.spent_until[place].max(now));
        if spent.iter().all(|until| until - now > at_once - STEPS) {
            return false;
        }
        for (place, until) in places.into_iter().zip(spent) {
            // A full place stays as full as it is: its own source waits no longer for our sake.
            self.spent_until[place] = (until + STEPS).min(now + at_once);
        }
        true
    }
}

/// Whom an address stands for: IPv6 hosts have a /64 to choose from.
fn network(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn allowances(per_sec: u32) -> Allowances {
        Allowances::new(per_sec, Hasher::with_seeds(1, 2, 3, 4))
    }

    fn taken(allowances: &mut Allowances, millis: u64, ip: IpAddr) -> usize {
        let now = Moment::from_millis(millis);
        (0..1000).take_while(|_| allowances.take(now, 0, ip)).count()
    }

    #[test]
    fn a_source_has_its_rate_and_twice_that_at_once() {
        let mut allowances = allowances(10);
        let ip = Ipv4Addr::new(198, 51, 100, 1).into();
        assert_eq!(taken(&mut allowances, 5000, ip), 20);
        assert_eq!(taken(&mut allowances, 5099, ip), 0);
        assert_eq!(taken(&mut allowances, 5100, ip), 1);
        assert_eq!(taken(&mut allowances, 6100, ip), 10);
        assert_eq!(taken(&mut allowances, 3_600_000, ip), 20);
    }

    #[test]
    fn kinds_are_counted_apart() {
        let mut allowances = allowances(1);
        let (now, ip) = (Moment::from_millis(0), Ipv4Addr::LOCALHOST.into());
        assert!((0..2).all(|kind| (0..2).all(|_| allowances.take(now, kind, ip))));
        assert!((0..2).all(|kind| !allowances.take(now, kind, ip)));
    }

    #[test]
    fn hosts_of_one_ipv6_network_share() {
        let mut allowances = allowances(10);
        let host = |net, host| Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host).into();
        assert_eq!(taken(&mut allowances, 0, host(1, 1)), 20);
        assert_eq!(taken(&mut allowances, 0, host(1, 2)), 0);
        assert_eq!(taken(&mut allowances, 0, host(2, 1)), 20);
    }

    #[test]
    fn a_crowd_of_sources_takes_no_more_memory_and_gets_no_more_than_its_own() {
        let mut allowances = allowances(1);
        let crowd = |n: u32| IpAddr::from(Ipv4Addr::from_bits(n));
        let got: usize = (0..50_000).map(|n| taken(&mut allowances, 0, crowd(n))).sum();
        assert_eq!(allowances.spent_until.len(), PLACES);
        // Two for each place; a request may find room in one of its two only.
        assert!((PLACES..=2 * PLACES).contains(&got), "{got}");
        assert!((0..50_000).all(|n| taken(&mut allowances, 0, crowd(n)) == 0));
        assert_eq!(taken(&mut allowances, 10_000, crowd(7)), 2, "and later it is as before");
    }

    #[test]
    fn no_rate_is_no_allowance() {
        assert_eq!(taken(&mut allowances(0), 0, Ipv4Addr::LOCALHOST.into()), 0);
    }
}
