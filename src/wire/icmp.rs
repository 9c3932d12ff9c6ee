//! The ICMP attribute (RFC 8656 §18.13): why a datagram did not get to its peer.

/// An ICMP error as a client is told it. What type and code mean depends on the peer's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    kind: u8,
    code: u8,
    data: u32,
}

impl Icmp {
    /// An error of ICMPv4 (RFC 792). `mtu` is that of the next hop, where the error tells one.
    pub const fn v4(kind: u8, code: u8, mtu: u32) -> Self {
        let tells_mtu = kind == V4_UNREACHABLE && code == V4_FRAGMENTATION_NEEDED;
        Self { kind, code, data: if tells_mtu { mtu } else { 0 } }
    }

    /// An error of ICMPv6 (RFC 4443). `mtu` is that of the next hop, where the error tells one.
    pub const fn v6(kind: u8, code: u8, mtu: u32) -> Self {
        Self { kind, code, data: if kind == V6_TOO_BIG { mtu } else { 0 } }
    }

    /// Whether a client is to hear of it (RFC 8656 §11.5): a peer that cannot be reached, a life
    /// that was too short or, over IPv6, a packet that was too big.
    pub const fn is_relayed(self, ipv6: bool) -> bool {
        match self.kind {
            V4_UNREACHABLE | V4_TIME_EXCEEDED if !ipv6 => true,
            V6_UNREACHABLE | V6_TOO_BIG | V6_TIME_EXCEEDED => ipv6,
            _ => false,
        }
    }

    /// The attribute's value.
    pub const fn value(self) -> [u8; Self::LENGTH] {
        let [a, b, c, d] = self.data.to_be_bytes();
        [0, 0, self.kind, self.code, a, b, c, d]
    }

    /// Bytes of the value.
    pub const LENGTH: usize = 8;
}

const V4_UNREACHABLE: u8 = 3;
const V4_FRAGMENTATION_NEEDED: u8 = 4;
const V4_TIME_EXCEEDED: u8 = 11;
const V6_UNREACHABLE: u8 = 1;
const V6_TOO_BIG: u8 = 2;
const V6_TIME_EXCEEDED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_has_a_byte_for_type_and_code_each() {
        assert_eq!(Icmp::v4(3, 3, 0).value(), [0, 0, 3, 3, 0, 0, 0, 0]);
        assert_eq!(Icmp::v4(3, 4, 1400).value(), [0, 0, 3, 4, 0, 0, 5, 120]);
        assert_eq!(Icmp::v6(2, 0, 0x0102_0304).value(), [0, 0, 2, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn only_what_was_too_big_has_data() {
        for kind in 0..=255 {
            for code in 0..=255 {
                let data = |icmp: Icmp| icmp.value()[4..] != [0; 4];
                assert_eq!(data(Icmp::v4(kind, code, 1400)), (kind, code) == (3, 4));
                assert_eq!(data(Icmp::v6(kind, code, 1400)), kind == 2);
            }
        }
    }

    #[test]
    fn the_types_of_the_rfc_are_relayed_and_no_others() {
        let relayed = |ipv6| (0..=255).filter(move |kind| Icmp::v4(*kind, 0, 0).is_relayed(ipv6));
        assert!(relayed(false).eq([3, 11]));
        assert!(relayed(true).eq([1, 2, 3]));
    }
}
