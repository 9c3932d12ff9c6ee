//! Ranges of addresses: coturn writes the first and the last, hairpin writes CIDR.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// All addresses from the first to the last, both in it and of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    is_v4: bool,
    first: u128,
    last: u128,
}

impl Range {
    /// `None` where the two are of different families, or the first is behind the last.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let ((is_v4, first), (other, last)) = (number(first), number(last));
        (is_v4 == other && first <= last).then_some(Self { is_v4, first, last })
    }

    fn of_v4(first: Ipv4Addr, last: Ipv4Addr) -> Self {
        Self { is_v4: true, first: u32::from(first).into(), last: u32::from(last).into() }
    }

    /// `a` or `a-b`, as `denied-peer-ip` has it.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(first.trim().parse().ok()?, last.trim().parse().ok()?)
    }

    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (is_v4, ip) = number(ip);
        is_v4 == self.is_v4 && (self.first..=self.last).contains(&ip)
    }

    /// What is left of it without `hole`: nothing, one range or two.
    pub fn without(self, hole: Self) -> Vec<Self> {
        if self.is_v4 != hole.is_v4 || hole.first > self.last || hole.last < self.first {
            return vec![self];
        }
        let mut left = Vec::new();
        if self.first < hole.first {
            left.push(Self { last: hole.first - 1, ..self });
        }
        if hole.last < self.last {
            left.push(Self { first: hole.last + 1, ..self });
        }
        left
    }

    /// The fewest CIDRs that are exactly this range, in order.
    pub fn cidrs(self) -> Vec<IpNet> {
        let width: u32 = if self.is_v4 { 32 } else { 128 };
        let mut cidrs = Vec::new();
        let mut next = Some(self.first);
        while let Some(first) = next.filter(|first| *first <= self.last) {
            // As large as its own alignment and what is left allow.
            let aligned = first.trailing_zeros().min(width);
            // A whole family of IPv6 is more than a u128 counts.
            let left = (self.last - first).checked_add(1).map_or(width, u128::ilog2);
            let host_bits = aligned.min(left);
            cidrs.push(net(self.is_v4, first, width - host_bits));
            next = 1_u128.checked_shl(host_bits).and_then(|size| first.checked_add(size));
        }
        cidrs
    }
}

impl From<IpNet> for Range {
    fn from(net: IpNet) -> Self {
        let (first, last) = match net {
            IpNet::V4(v4) => return Self::of_v4(v4.network(), v4.broadcast()),
            IpNet::V6(v6) => (v6.network(), v6.broadcast()),
        };
        // A wide range of IPv6 may begin or end at an address that is IPv4 in IPv6 clothes.
        match (first.to_ipv4_mapped(), last.to_ipv4_mapped()) {
            (Some(first), Some(last)) => Self::of_v4(first, last),
            _ => Self { is_v4: false, first: first.into(), last: last.into() },
        }
    }
}

/// An address as a number. IPv4 in IPv6 clothes is IPv4: each form of a peer is judged anyway.
fn number(ip: IpAddr) -> (bool, u128) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => (true, u32::from(v4).into()),
        IpAddr::V6(v6) => (false, v6.into()),
    }
}

fn net(is_v4: bool, first: u128, length: u32) -> IpNet {
    let proof = "128 bits at most, and 32 of IPv4";
    let length = u8::try_from(length).expect(proof);
    if is_v4 {
        let first = Ipv4Addr::from(u32::try_from(first).expect(proof));
        Ipv4Net::new(first, length).expect(proof).into()
    } else {
        Ipv6Net::new(Ipv6Addr::from(first), length).expect(proof).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidrs(text: &str) -> Vec<String> {
        let range = Range::parse(text).expect("a range");
        range.cidrs().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_range_becomes_the_cidrs_that_it_is() {
        for (text, written) in [
            ("10.0.0.0-10.255.255.255", &["10.0.0.0/8"][..]),
            ("192.0.2.7", &["192.0.2.7/32"]),
            ("83.166.64.0-83.166.95.255", &["83.166.64.0/19"]),
            ("192.0.2.1-192.0.2.4", &["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/32"]),
            ("0.0.0.0-255.255.255.255", &["0.0.0.0/0"]),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &["::/0"]),
            ("fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &["fc00::/7"]),
            ("::ffff:10.0.0.0-::ffff:10.0.0.255", &["10.0.0.0/24"]),
            ("2001:db8::ffff-2001:db8::1:0", &["2001:db8::ffff/128", "2001:db8::1:0/128"]),
        ] {
            assert_eq!(cidrs(text), written, "{text}");
        }
    }

    #[test]
    fn a_cidr_is_the_range_that_it_is() {
        for (net, text) in [
            ("10.0.0.0/8", "10.0.0.0-10.255.255.255"),
            ("2001:db8::/127", "2001:db8::-2001:db8::1"),
            ("::ffff:10.0.0.0/120", "10.0.0.0-10.0.0.255"),
            ("::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let net: IpNet = net.parse().expect("a CIDR");
            assert_eq!(Some(Range::from(net)), Range::parse(text), "{net}");
        }
        let net: IpNet = "::/80".parse().expect("a CIDR");
        assert_eq!(Range::from(net).last, u128::from(u64::MAX >> 16), "it ends in IPv4's clothes");
    }

    #[test]
    fn what_is_no_range_is_none() {
        for text in ["", "10.0.0.0/8", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "a-b", "10.0.0.1-"] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }

    fn any_range() -> impl Strategy<Value = Range> {
        let v4 = (any::<u32>(), any::<u32>()).prop_map(|(a, b)| {
            let (first, last) = (a.min(b).into(), a.max(b).into());
            Range { is_v4: true, first, last }
        });
        let v6 = (any::<u128>(), any::<u128>(), 0..128_u32).prop_map(|(a, b, near)| {
            let b = a ^ (b >> near);
            Range { is_v4: false, first: a.min(b), last: a.max(b) }
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn the_cidrs_of_a_range_are_that_range_without_gap_or_overlap(range in any_range()) {
            let parts: Vec<Range> = range.cidrs().into_iter().map(Range::from).collect();
            prop_assert_eq!(parts[0].first, range.first);
            prop_assert_eq!(parts[parts.len() - 1].last, range.last);
            for pair in parts.windows(2) {
                prop_assert_eq!(pair[0].last + 1, pair[1].first);
            }
            prop_assert!(parts.iter().all(|part| part.is_v4 == range.is_v4));
            // No two neighbours could have been one: never more than two of each size.
            prop_assert!(parts.len() <= 2 * 128);
        }

        #[test]
        fn what_is_cut_out_is_gone_and_nothing_else(
            range in any_range(), hole in any_range(), at in any::<u128>(),
        ) {
            let left = range.without(hole);
            let at = if range.is_v4 { at & u128::from(u32::MAX) } else { at };
            let has = |range: &Range| range.is_v4 == left.first().unwrap_or(range).is_v4
                && (range.first..=range.last).contains(&at);
            let is_in_hole = hole.is_v4 == range.is_v4 && (hole.first..=hole.last).contains(&at);
            prop_assert_eq!(left.iter().any(has), has(&range) && !is_in_hole);
        }
    }
}
