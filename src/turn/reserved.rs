//! Addresses that are nobody's business: never relayed to unless the operator allows them.
//!
//! From the IANA special-purpose registries (RFC 6890 and its updates), multicast and the private
//! ranges of both families.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), length))
}

/// The first four segments, which all but the forms of IPv4 addresses need no more than.
const fn v6(a: u16, b: u16, c: u16, d: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length))
}

const fn v4_inside(e: u16, f: u16) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, e, f, 0, 0), 96))
}

/// ::1, the only range whose last segment counts.
const LOOPBACK: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));

/// Every range that is denied by default, and what it is.
pub(super) const RESERVED: &[(IpNet, &str)] = &[
    (v4(0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 8), "a private network"),
    (v4(100, 64, 0, 10), "a carrier's shared address space"),
    (v4(127, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 16), "link-local, where clouds keep their metadata service"),
    (v4(172, 16, 0, 12), "a private network"),
    (v4(192, 0, 0, 24), "IETF protocol assignments"),
    (v4(192, 0, 2, 24), "documentation"),
    (v4(192, 31, 196, 24), "AS112"),
    (v4(192, 52, 193, 24), "AMT"),
    (v4(192, 88, 99, 24), "6to4 relays"),
    (v4(192, 168, 0, 16), "a private network"),
    (v4(192, 175, 48, 24), "AS112"),
    (v4(198, 18, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 24), "documentation"),
    (v4(203, 0, 113, 24), "documentation"),
    (v4(224, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 4), "reserved, and broadcast"),
    (v6(0, 0, 0, 0, 128), "the unspecified address"),
    (LOOPBACK, "loopback"),
    (v4_inside(0, 0), "IPv4-compatible addresses"),
    (v4_inside(0, 0xffff), "IPv4-mapped addresses"),
    (v4_inside(0xffff, 0), "IPv4-translated addresses"),
    (v6(0x64, 0xff9b, 0, 0, 96), "NAT64"),
    (v6(0x64, 0xff9b, 0x1, 0, 48), "NAT64 for local use"),
    (v6(0x100, 0, 0, 0, 64), "discard-only"),
    (v6(0x100, 0, 0, 0x1, 64), "a dummy prefix"),
    (v6(0x2001, 0, 0, 0, 23), "IETF protocol assignments"),
    (v6(0x2001, 0xdb8, 0, 0, 32), "documentation"),
    (v6(0x2620, 0x4f, 0x8000, 0, 48), "AS112"),
    (v6(0x3fff, 0, 0, 0, 20), "documentation"),
    (v6(0x5f00, 0, 0, 0, 16), "segment routing"),
    (v6(0xfc00, 0, 0, 0, 7), "a private network"),
    (v6(0xfe80, 0, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 0, 8), "multicast"),
];

/// Tunnels between IPv4 and IPv6, which a server MUST NOT relay to (RFC 8656 §21.4).
pub(super) const TUNNELS: &[(IpNet, &str)] =
    &[(v6(0x2001, 0, 0, 0, 32), "Teredo tunnels"), (v6(0x2002, 0, 0, 0, 16), "6to4 tunnels")];
