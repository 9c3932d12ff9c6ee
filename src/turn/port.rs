//! Choosing relayed ports (RFC 8656 §7.2): at random (RFC 6056), even where asked, none twice.
//!
//! The kernel has the last word when a socket is bound. This table keeps a core from asking for
//! what it knows to be taken, by itself or by another worker.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::turn::config::Relay;
use crate::turn::map::Hasher;

/// What kind of port a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortWish {
    /// Any.
    Any,
    /// EVEN-PORT with R = 0.
    Even,
    /// EVEN-PORT with R = 1: an even port with its odd neighbour.
    EvenPair,
}

/// The ports of each relay address.
#[derive(Debug)]
pub(super) struct Ports {
    first_pair: u32,
    pairs: u32,
    min: u16,
    max: u16,
    share: u32,
    shares: u32,
    taken: HashMap<IpAddr, Taken, Hasher>,
}

/// One bit for each port of one address.
#[derive(Debug)]
struct Taken(Box<[u64; 1024]>);

impl Taken {
    fn has(&self, port: u16) -> bool {
        self.0[usize::from(port >> 6)] >> (port & 63) & 1 != 0
    }

    fn set(&mut self, port: u16, taken: bool) {
        let word = &mut self.0[usize::from(port >> 6)];
        let bit = 1 << (port & 63);
        if taken { *word |= bit } else { *word &= !bit }
    }
}

impl Ports {
    pub(super) fn new(relay: &Relay, hasher: Hasher) -> Self {
        let first_pair = u32::from(relay.port_min / 2);
        Self {
            first_pair,
            pairs: u32::from(relay.port_max / 2) - first_pair + 1,
            min: relay.port_min,
            max: relay.port_max,
            share: u32::from(relay.share),
            shares: u32::from(relay.shares).max(1),
            taken: HashMap::with_hasher(hasher),
        }
    }

    /// Picks a free port at random and marks it taken; with [`PortWish::EvenPair`] its neighbour
    /// too. This core's own share of the range first, then everybody's. `None`: none is free.
    pub(super) fn take(&mut self, ip: IpAddr, wish: PortWish, rng: &mut StdRng) -> Option<u16> {
        let taken = self.taken.entry(ip).or_insert_with(|| Taken(Box::new([0; 1024])));
        let range = self.min..=self.max;
        let free = |port: u16| range.contains(&port) && !taken.has(port);
        let odd_first = rng.random::<bool>();
        let fit = |pair: u32| -> Option<u16> {
            let even = u16::try_from(pair * 2).ok()?;
            let odd = even + 1;
            match wish {
                PortWish::Any if odd_first => [odd, even].into_iter().find(|p| free(*p)),
                PortWish::Any => [even, odd].into_iter().find(|p| free(*p)),
                PortWish::Even => Some(even).filter(|p| free(*p)),
                PortWish::EvenPair => Some(even).filter(|p| free(*p) && free(odd)),
            }
        };
        let start = rng.random_range(0..self.pairs);
        let (first, pairs) = (self.first_pair, self.pairs);
        let around = || (0..pairs).map(|step| first + (start + step) % pairs);
        let mine = |pair: &u32| pair % self.shares == self.share;
        let port = around()
            .filter(mine)
            .find_map(fit)
            .or_else(|| around().filter(|pair| !mine(pair)).find_map(fit))?;
        taken.set(port, true);
        if wish == PortWish::EvenPair {
            taken.set(port + 1, true);
        }
        Some(port)
    }

    /// Marks an address as taken or free: another worker's, or one's own that has closed.
    pub(super) fn mark(&mut self, address: SocketAddr, is_taken: bool) {
        if let Some(taken) = self.taken.get_mut(&address.ip()) {
            taken.set(address.port(), is_taken);
        } else if is_taken {
            let mut taken = Taken(Box::new([0; 1024]));
            taken.set(address.port(), true);
            self.taken.insert(address.ip(), taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn ports(min: u16, max: u16, share: u16, shares: u16) -> Ports {
        let relay = Relay {
            addresses: vec![],
            found: vec![],
            external: vec![],
            port_min: min,
            port_max: max,
            share,
            shares,
        };
        Ports::new(&relay, Hasher::with_seeds(1, 2, 3, 4))
    }

    fn take_all(ports: &mut Ports, wish: PortWish) -> Vec<u16> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut all: Vec<_> = std::iter::from_fn(|| ports.take(IP, wish, &mut rng)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn each_port_of_the_range_is_given_once() {
        for (min, max) in [(50000, 50009), (50001, 50010), (50003, 50003), (65530, 65535)] {
            let all = take_all(&mut ports(min, max, 0, 1), PortWish::Any);
            assert_eq!(all, (min..=max).collect::<Vec<_>>());
        }
    }

    #[test]
    fn even_wishes_get_even_ports_only() {
        let all = take_all(&mut ports(50001, 50010, 0, 1), PortWish::Even);
        assert_eq!(all, [50002, 50004, 50006, 50008, 50010]);
    }

    #[test]
    fn a_pair_lies_whole_within_the_range() {
        let mut ports = ports(50001, 50010, 0, 1);
        assert_eq!(take_all(&mut ports, PortWish::EvenPair), [50002, 50004, 50006, 50008]);
        assert_eq!(take_all(&mut ports, PortWish::Any), [50001, 50010]);
    }

    #[test]
    fn the_own_share_comes_first_and_then_the_rest() {
        let mut ports = ports(50000, 50007, 1, 2);
        let mut rng = StdRng::seed_from_u64(5);
        let mut first: Vec<_> =
            (0..4).map(|_| ports.take(IP, PortWish::Any, &mut rng).unwrap()).collect();
        first.sort_unstable();
        assert_eq!(first, [50002, 50003, 50006, 50007]);
        assert_eq!(take_all(&mut ports, PortWish::Any), [50000, 50001, 50004, 50005]);
    }

    #[test]
    fn a_port_given_back_can_be_had_again() {
        let mut ports = ports(50000, 50000, 0, 1);
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(ports.take(IP, PortWish::Any, &mut rng), Some(50000));
        assert_eq!(ports.take(IP, PortWish::Any, &mut rng), None);
        ports.mark(SocketAddr::new(IP, 50000), false);
        assert_eq!(ports.take(IP, PortWish::Any, &mut rng), Some(50000));
    }

    #[test]
    fn ports_are_given_at_random() {
        let mut ports = ports(49152, 65535, 0, 1);
        let mut rng = StdRng::seed_from_u64(1);
        let some: Vec<_> =
            (0..32).map(|_| ports.take(IP, PortWish::Any, &mut rng).unwrap()).collect();
        let steps: std::collections::BTreeSet<_> =
            some.windows(2).map(|w| i32::from(w[1]) - i32::from(w[0])).collect();
        assert!(steps.len() > 28, "{some:?}");
    }
}
