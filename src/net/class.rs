//! The traffic class of a datagram: what IPv4 has in its TOS octet and IPv6 by that name.

use std::fmt;

/// A differentiated services code point (RFC 2474) and two bits of ECN (RFC 3168).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficClass(u8);

impl TrafficClass {
    /// Best effort, no ECN: what a datagram of ours has that carries nobody's payload.
    pub const BEST_EFFORT: Self = Self(0);

    /// The class with which a payload leaves that has come with this octet (RFC 8656 §14): the
    /// same, but that of the network's own traffic (CS6 and CS7, RFC 4594 §3.1), which is best
    /// effort: where it is trusted the server is, and not its clients and their peers.
    #[inline]
    pub const fn carried(octet: u8) -> Self {
        if octet >= NETWORK_CONTROL { Self(octet & ECN) } else { Self(octet) }
    }

    /// The octet to send; `None` where it is the socket's own.
    #[inline]
    pub const fn marked(self) -> Option<u8> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl fmt::Debug for TrafficClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DSCP {} ECN {}", self.0 >> 2, self.0 & ECN)
    }
}

/// Class selector 6, and above it 7.
const NETWORK_CONTROL: u8 = 48 << 2;
const ECN: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_carried_as_it_is_but_for_the_networks_own() {
        for dscp in 0..64 {
            for ecn in 0..4 {
                let octet = dscp << 2 | ecn;
                let expected = if dscp < 48 { octet } else { ecn };
                let marked = (expected != 0).then_some(expected);
                assert_eq!(TrafficClass::carried(octet).marked(), marked);
            }
        }
        assert_eq!(TrafficClass::default(), TrafficClass::BEST_EFFORT);
    }
}
