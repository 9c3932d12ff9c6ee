//! Addresses that are nobody's business: never relayed to unless the operator allows them.
//!
//! From the IANA special-purpose registries (RFC 6890 and its updates), multicast and the private
//! ranges of both families.

/// Every range that is denied by default, and what it is.
pub(super) const RESERVED: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "a private network"),
    ("100.64.0.0/10", "a carrier's shared address space"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, where clouds keep their metadata service"),
    ("172.16.0.0/12", "a private network"),
    ("192.0.0.0/24", "IETF protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.168.0.0/16", "a private network"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved, and broadcast"),
    ("::/128", "the unspecified address"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4-compatible addresses"),
    ("::ffff:0:0/96", "IPv4-mapped addresses"),
    ("::ffff:0:0:0/96", "IPv4-translated addresses"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64 for local use"),
    ("100::/64", "discard-only"),
    ("100:0:0:1::/64", "a dummy prefix"),
    ("2001::/23", "IETF protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "a private network"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
];

/// Tunnels between IPv4 and IPv6, which a server MUST NOT relay to (RFC 8656 §21.4).
pub(super) const TUNNELS: &[(&str, &str)] =
    &[("2001::/32", "Teredo tunnels"), ("2002::/16", "6to4 tunnels")];
