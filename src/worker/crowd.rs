//! How many TCP connections there are, clients' by their sources and peers', over all workers.
//!
//! One of the locks that workers share, for the kernel spreads the connections of one source over
//! all of them. It is taken when a connection begins or ends, and never on a packet's road. DTLS
//! has two more, for its sessions and for its handshakes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrowdLimits {
    /// Connections in all.
    pub total: usize,
    /// Connections from one source: an IPv4 address, or an IPv6 /64.
    pub per_source: usize,
    /// Connections with peers (RFC 6062), those being made included.
    pub peers: usize,
}

/// The count of connections.
#[derive(Debug)]
pub struct Crowd {
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    limits: CrowdLimits,
    by_source: HashMap<IpAddr, usize>,
    total: usize,
    peers: usize,
}

/// Why a connection is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as there may be.
    Total,
    /// There are as many of its source as there may be.
    PerSource,
}

impl Default for CrowdLimits {
    fn default() -> Self {
        Self { total: 10_000, per_source: 256, peers: 10_000 }
    }
}

impl Crowd {
    /// Nobody, under these limits.
    pub fn new(limits: CrowdLimits) -> Self {
        Self { present: Mutex::new(Present { limits, ..Present::default() }) }
    }

    /// Counts a connection from `client`.
    ///
    /// # Errors
    ///
    /// [`Refused`] where it would be one too many; nothing is counted then.
    pub fn enter(&self, client: IpAddr) -> Result<(), Refused> {
        let mut present = self.present();
        if present.total >= present.limits.total {
            return Err(Refused::Total);
        }
        // A limit of nothing would leave an entry of nothing behind.
        let most = present.limits.per_source.max(1);
        let count = present.by_source.entry(source(client)).or_insert(0);
        if *count >= most {
            return Err(Refused::PerSource);
        }
        *count += 1;
        present.total += 1;
        Ok(())
    }

    /// Takes a connection of `client` from the count.
    pub fn leave(&self, client: IpAddr) {
        let mut present = self.present();
        let source = source(client);
        let Some(count) = present.by_source.get_mut(&source) else {
            debug_assert!(false, "left without having entered");
            return;
        };
        *count -= 1;
        if *count == 0 {
            present.by_source.remove(&source);
        }
        present.total -= 1;
    }

    /// Counts a connection with a peer.
    ///
    /// # Errors
    ///
    /// [`Refused::Total`] where it would be one too many; it is not counted then.
    pub fn enter_peer(&self) -> Result<(), Refused> {
        let mut present = self.present();
        if present.peers >= present.limits.peers {
            return Err(Refused::Total);
        }
        present.peers += 1;
        Ok(())
    }

    /// Takes a connection with a peer from the count.
    pub fn leave_peer(&self) {
        let mut present = self.present();
        debug_assert!(present.peers > 0, "left without having entered");
        present.peers -= 1;
    }

    /// Goes by other limits from now on. Nobody who is there has to go.
    pub fn set_limits(&self, limits: CrowdLimits) {
        self.present().limits = limits;
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // A panic elsewhere can't leave the counts half-changed: nothing above panics between two
        // changes.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a connection counts for: an IPv6 host has a whole /64 to itself.
fn source(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_64() {
        let crowd = Crowd::new(CrowdLimits { total: 100, per_source: 1, peers: 0 });
        for first in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"] {
            assert_eq!(crowd.enter(ip(first)), Ok(()), "{first}");
        }
        for second in ["192.0.2.1", "2001:db8::2", "2001:db8:0:1:ffff::"] {
            assert_eq!(crowd.enter(ip(second)), Err(Refused::PerSource), "{second}");
        }
        crowd.leave(ip("2001:db8::1"));
        assert_eq!(crowd.enter(ip("2001:db8::2")), Ok(()));
    }

    #[test]
    fn all_sources_together_are_no_more_than_the_total() {
        let crowd = Crowd::new(CrowdLimits { total: 2, per_source: 2, peers: 0 });
        assert_eq!(crowd.enter(ip("192.0.2.1")), Ok(()));
        assert_eq!(crowd.enter(ip("192.0.2.2")), Ok(()));
        assert_eq!(crowd.enter(ip("192.0.2.3")), Err(Refused::Total));
        crowd.leave(ip("192.0.2.1"));
        assert_eq!(crowd.enter(ip("192.0.2.3")), Ok(()));
    }

    #[test]
    fn peers_are_counted_apart_from_clients() {
        let crowd = Crowd::new(CrowdLimits { total: 1, per_source: 1, peers: 1 });
        assert_eq!(crowd.enter_peer(), Ok(()));
        assert_eq!(crowd.enter_peer(), Err(Refused::Total));
        assert_eq!(crowd.enter(ip("192.0.2.1")), Ok(()));
        crowd.leave_peer();
        assert_eq!(crowd.enter_peer(), Ok(()));
    }

    #[test]
    fn a_source_that_has_left_costs_no_memory() {
        let crowd = Crowd::new(CrowdLimits::default());
        assert_eq!(crowd.enter(ip("192.0.2.1")), Ok(()));
        crowd.leave(ip("192.0.2.1"));
        assert!(crowd.present().by_source.is_empty());
        assert_eq!(crowd.present().total, 0);
    }
}
