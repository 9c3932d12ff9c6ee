//! Where clients come in, where relayed addresses come from, whom clients may reach.

use super::Fate::{Carried, Needless};
use super::{Row, unsupported};

pub(super) const ROWS: &[Row] = &[
    Row::value("listening-ip", Carried("[listen] udp and tcp and tls and dtls")),
    Row::value("listening-port", Carried("[listen] udp and tcp")),
    Row::value("tls-listening-port", Carried("[listen] tls and dtls")),
    Row::value("alt-listening-port", Carried("[nat_discovery] alternate")),
    Row::value(
        "alt-tls-listening-port",
        unsupported(
            "NAT discovery is over UDP, and over TCP where it is asked for",
            "have those who ask do so without TLS",
        ),
    ),
    Row::value(
        "tcp-proxy-port",
        unsupported(
            "the PROXY protocol is taken at every TCP listener, but from the load balancers only \
             that are listed, and coturn's file does not say which they are",
            "write their addresses in [listen], proxy_protocol = [\"10.0.0.0/28\"], and the port \
             in tcp",
        ),
    ),
    Row::value("aux-server", Carried("[listen] udp and tcp")),
    Row::flag(
        "udp-self-balance",
        Needless("the kernel spreads clients over the workers, and all share one address"),
    ),
    Row::value(
        "listening-device",
        unsupported(
            "listeners have addresses, not devices",
            "write the addresses of the device in [listen]; `ip address` tells them",
        ),
    ),
    Row::value(
        "relay-device",
        unsupported(
            "relays have addresses, not devices",
            "write the addresses of the device in [relay] addresses",
        ),
    ),
    Row::value("relay-ip", Carried("[relay] addresses")),
    Row::value("external-ip", Carried("[relay] external")),
    Row::value("min-port", Carried("[relay] port_min")),
    Row::value("max-port", Carried("[relay] port_max")),
    Row::flag("no-udp", Carried("[listen] udp")),
    Row::flag("no-tcp", Carried("[listen] tcp")),
    Row::flag("no-tls", Carried("[listen] tls")),
    Row::flag("dtls", Carried("[listen] dtls")),
    Row::flag("no-dtls", Carried("[listen] dtls")),
    Row::flag(
        "no-udp-relay",
        unsupported(
            "clients may always relay over UDP (RFC 8656)",
            "keep peers out of reach by [peers] deny, or by the firewall",
        ),
    ),
    Row::flag(
        "no-tcp-relay",
        unsupported(
            "clients may relay over TCP as well (RFC 6062), to the same peers as over UDP",
            "bound it by peer_connections in [limits], or have the firewall drop TCP between the \
             relayed ports and elsewhere",
        ),
    ),
    Row::flag("allow-loopback-peers", Carried("[peers] allow")),
    Row::flag("no-loopback-peers", Needless("loopback is denied unless [peers] allow names it")),
    Row::flag("no-multicast-peers", Needless("multicast is denied unless [peers] allow names it")),
    Row::value("allowed-peer-ip", Carried("[peers] allow")),
    Row::value("denied-peer-ip", Carried("[peers] deny")),
    Row::value("alternate-server", Carried("[alternates] udp and tcp and always")),
    Row::value("udp-alternate-server", Carried("[alternates] udp and always")),
    Row::value("tcp-alternate-server", Carried("[alternates] tcp and always")),
    Row::value("tls-alternate-server", Carried("[alternates] tls and always")),
    Row::flag("rfc5780", Carried("[nat_discovery] primary and alternate")),
    Row::flag("no-rfc5780", Needless("NAT discovery is off where [nat_discovery] names nothing")),
    Row::flag(
        "response-origin-only-with-rfc5780",
        Needless("RESPONSE-ORIGIN is only in answers of NAT discovery"),
    ),
    Row::flag(
        "keep-address-family",
        unsupported(
            "a client that names no family gets IPv4, as RFC 8656 §7.2 has it",
            "have clients ask for IPv6 by REQUESTED-ADDRESS-FAMILY, or for both",
        ),
    ),
    Row::value(
        "allocation-default-address-family",
        unsupported(
            "a client that names no family gets IPv4, as RFC 8656 §7.2 has it",
            "have clients ask for IPv6 by REQUESTED-ADDRESS-FAMILY, or for both",
        ),
    )
    .idle_at("ipv4"),
    Row::flag(
        "multiplex-peer",
        unsupported(
            "each allocation has a port of its own, so that two clients can talk to the same peer \
             and to each other",
            "open UDP port_min to port_max of [relay] in the firewall",
        ),
    ),
    Row::value("multiplex-peer-port", Needless("each allocation has a port of its own")),
    Row::value(
        "multiplex-peer-max-peers",
        Needless("[limits] permissions_per_allocation bounds whom an allocation reaches"),
    ),
];
