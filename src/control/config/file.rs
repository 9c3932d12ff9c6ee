//! turnserver.toml as it is written: plain serde types, and every default in one place.
//!
//! Nothing here knows what a value means; `check` does. A key that no field names is refused, so
//! no type flattens another (serde cannot refuse through that).

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::value::Datetime;

use super::keys::{Fields, fields_of};
use crate::control::log::Format;

/// Every section with its keys. The top level has no name.
pub(super) const SECTIONS: &[(&str, Fields)] = &[
    ("", fields_of::<File>),
    ("listen", fields_of::<Listen>),
    ("nat_discovery", fields_of::<NatDiscovery>),
    ("alternates", fields_of::<Alternates>),
    ("relay", fields_of::<Relay>),
    ("tls", fields_of::<Tls>),
    ("auth", fields_of::<Auth>),
    ("third_party", fields_of::<ThirdParty>),
    ("peers", fields_of::<Peers>),
    ("limits", fields_of::<Limits>),
    ("signalling", fields_of::<Signalling>),
    ("admin", fields_of::<Admin>),
    ("log", fields_of::<Log>),
];

/// The whole file.
#[derive(Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) realm: String,
    pub(super) workers: u16,
    pub(super) drain_secs: u32,
    pub(super) gso: String,
    pub(super) gro: String,
    pub(super) gather: bool,
    pub(super) dscp: bool,
    pub(super) steer: bool,
    pub(super) software: String,
    pub(super) listen: Listen,
    pub(super) nat_discovery: NatDiscovery,
    pub(super) alternates: Alternates,
    pub(super) relay: Relay,
    pub(super) tls: Tls,
    pub(super) auth: Auth,
    pub(super) third_party: ThirdParty,
    pub(super) peers: Peers,
    pub(super) limits: Limits,
    pub(super) signalling: Signalling,
    pub(super) admin: Admin,
    pub(super) log: Log,
}

impl Default for File {
    fn default() -> Self {
        Self {
            realm: "hairpin".to_owned(),
            workers: 0,
            drain_secs: 3,
            gso: "auto".to_owned(),
            gro: "auto".to_owned(),
            gather: true,
            dscp: true,
            steer: true,
            software: "authenticated".to_owned(),
            listen: Listen::default(),
            nat_discovery: NatDiscovery::default(),
            alternates: Alternates::default(),
            relay: Relay::default(),
            tls: Tls::default(),
            auth: Auth::default(),
            third_party: ThirdParty::default(),
            peers: Peers::default(),
            limits: Limits::default(),
            signalling: Signalling::default(),
            admin: Admin::default(),
            log: Log::default(),
        }
    }
}

/// `[listen]`
#[derive(Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) udp: Vec<String>,
    pub(super) tcp: Vec<String>,
    pub(super) tls: Vec<String>,
    pub(super) dtls: Vec<String>,
    pub(super) http: Vec<String>,
    pub(super) proxy_protocol: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        let everywhere = || vec!["0.0.0.0:3478".to_owned(), "[::]:3478".to_owned()];
        Self {
            udp: everywhere(),
            tcp: everywhere(),
            tls: Vec::new(),
            dtls: Vec::new(),
            http: vec!["127.0.0.1:8080".to_owned()],
            proxy_protocol: Vec::new(),
        }
    }
}

/// `[nat_discovery]`
#[derive(Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NatDiscovery {
    pub(super) primary: Vec<String>,
    pub(super) alternate: Vec<String>,
    pub(super) tcp: bool,
    pub(super) requests_per_sec_per_source: u32,
}

impl Default for NatDiscovery {
    fn default() -> Self {
        // RFC 5780 §5 gives a client ten transactions a second; each may be sent again.
        let requests_per_sec_per_source = 20;
        let (primary, alternate) = (Vec::new(), Vec::new());
        Self { primary, alternate, tcp: false, requests_per_sec_per_source }
    }
}

/// `[alternates]`
#[derive(Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Alternates {
    pub(super) udp: Vec<String>,
    pub(super) tcp: Vec<String>,
    pub(super) tls: Vec<String>,
    pub(super) domain: String,
    pub(super) always: bool,
}

/// `[relay]`
#[derive(Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Relay {
    pub(super) addresses: Vec<String>,
    pub(super) external: BTreeMap<String, String>,
    pub(super) port_min: u16,
    pub(super) port_max: u16,
}

impl Default for Relay {
    fn default() -> Self {
        // RFC 8656 §7.2 recommends the dynamic ports.
        let (port_min, port_max) = (49152, 65535);
        Self { addresses: Vec::new(), external: BTreeMap::new(), port_min, port_max }
    }
}

/// `[tls]`
#[derive(Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) more: Vec<Certificate>,
}

impl Default for Tls {
    fn default() -> Self {
        let (certificate, key) = ("cert.pem".to_owned(), "key.pem".to_owned());
        Self { certificate, key, more: Vec::new() }
    }
}

/// One of `[tls] more`; both keys are needed, so there is no default.
#[derive(Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Certificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// `[auth]`. No `Debug`: nothing here may be shown.
#[derive(Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) secrets: Vec<String>,
    pub(super) users: Vec<User>,
    pub(super) username_anonymity: bool,
    pub(super) mobility: bool,
    pub(super) nonce_secret: Option<String>,
}

impl Default for Auth {
    fn default() -> Self {
        let (secrets, users) = (Vec::new(), Vec::new());
        Self { secrets, users, username_anonymity: true, mobility: true, nonce_secret: None }
    }
}

/// One of `[auth] users`; both keys are needed, so there is no default.
#[derive(Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
}

/// `[third_party]`. No `Debug`, as above.
#[derive(Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ThirdParty {
    pub(super) server_name: String,
    pub(super) keys: Vec<SharedKey>,
    pub(super) coturn_clients: bool,
}

/// One of `[third_party] keys`.
#[derive(Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct SharedKey {
    pub(super) kid: String,
    pub(super) key: String,
    /// RFC 7635 §4.1.1: the one that everybody has to know.
    #[serde(default = "a256gcm")]
    pub(super) algorithm: String,
    #[serde(default)]
    pub(super) expires: Option<Datetime>,
}

fn a256gcm() -> String {
    "A256GCM".to_owned()
}

/// `[peers]`
#[derive(Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Peers {
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
}

/// `[limits]`: each at least one. There is no "unlimited": a large number says the same, and is a
/// decision that somebody took.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Allocations that one user may hold. Of a time-limited name the part behind the expiry
    /// counts, so that a fresh credential is no fresh quota.
    pub allocations_per_user: usize,
    /// Allocations in all.
    pub allocations_total: usize,
    /// Permissions of one allocation.
    pub permissions_per_allocation: usize,
    /// Channels of one allocation.
    pub channels_per_allocation: usize,
    /// Connections with peers that one TCP allocation may have.
    pub peer_connections_per_allocation: usize,
    /// Bytes of payload that one allocation may relay in a second, each way; 0: no limit.
    pub bandwidth_per_allocation: u64,
    /// Connections with peers in all.
    pub peer_connections: usize,
    /// Longest lifetime granted to an allocation.
    pub lifetime_max_secs: u32,
    /// How long a nonce is good.
    pub nonce_lifetime_secs: u32,
    /// TCP clients in all.
    pub tcp_connections: usize,
    /// TCP clients from one address (IPv6: from one /64).
    pub tcp_connections_per_source: usize,
    /// How long a TCP or DTLS client without an allocation may be silent.
    pub tcp_idle_secs: u32,
    /// TLS handshakes under way in all; beyond that the oldest makes room.
    pub tls_handshakes: usize,
    /// How long a TLS handshake may take.
    pub tls_handshake_secs: u32,
    /// DTLS clients in all.
    pub dtls_sessions: usize,
    /// DTLS clients from one address (IPv6: from one /64).
    pub dtls_sessions_per_source: usize,
    /// DTLS handshakes that are under way in all.
    pub dtls_handshakes: usize,
    /// DTLS handshakes that are under way from one address (IPv6: from one /64).
    pub dtls_handshakes_per_source: usize,
    /// How long a DTLS handshake may take.
    pub dtls_handshake_secs: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Many give all their clients one user; where each person has a name, lower it.
            allocations_per_user: 50_000,
            allocations_total: 100_000,
            permissions_per_allocation: 512,
            channels_per_allocation: 512,
            peer_connections_per_allocation: 64,
            bandwidth_per_allocation: 0,
            peer_connections: 10_000,
            lifetime_max_secs: 3600,
            nonce_lifetime_secs: 3600,
            tcp_connections: 10_000,
            // An office full of browsers behind one NAT fits; one source alone cannot take all.
            tcp_connections_per_source: 1000,
            tcp_idle_secs: 60,
            tls_handshakes: 1000,
            tls_handshake_secs: 10,
            dtls_sessions: 10_000,
            dtls_sessions_per_source: 1000,
            // They take a round trip and a half: so many at a time are a thousand in a second, and
            // where more come, the oldest makes way.
            dtls_handshakes: 256,
            dtls_handshakes_per_source: 64,
            dtls_handshake_secs: 15,
        }
    }
}

/// `[signalling]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Signalling {
    /// Whom the page, the relay and the credentials are open to: this machine (unset), everybody
    /// (true), nobody (false).
    pub demo: Option<bool>,
    /// The name or address that clients reach this server by.
    pub public_host: Option<String>,
    /// Pages that may connect, as the Origin header has them, beside the server's own.
    pub origins: Vec<String>,
    /// Proxies whose X-Forwarded-For is believed, as CIDR; see [`super::Config::proxies`].
    pub trusted_proxies: Vec<String>,
    /// How long credentials that are handed out are good, at most.
    pub ttl_secs: u32,
    /// The largest frame.
    pub max_frame_bytes: usize,
    /// Frames that a socket may send, sustained.
    pub messages_per_sec: u32,
    /// Frames that a socket may send at once.
    pub messages_burst: u32,
    /// Bytes that a socket may send, sustained.
    pub bytes_per_sec: u32,
    /// Bytes that a socket may send at once.
    pub bytes_burst: u32,
    /// Frames waiting for a socket that reads slowly; beyond that signals to it are refused.
    pub queue_frames: usize,
    /// Bytes waiting for a socket that reads slowly; beyond that signals to it are refused.
    pub queue_bytes: usize,
    /// Peers in one room.
    pub peers_per_room: usize,
    /// Rooms that one socket may be in.
    pub rooms_per_socket: usize,
    /// Rooms in all.
    pub rooms: usize,
    /// Rooms founded from one address (IPv6: from one /64).
    pub rooms_per_source: usize,
    /// Sockets in all.
    pub sockets: usize,
    /// Sockets from one address (IPv6: from one /64).
    pub sockets_per_source: usize,
    /// New sockets from one address (IPv6: from one /64).
    pub accepts_per_sec_per_source: u32,
    /// New sockets from all together, sustained.
    pub accepts_per_sec: u32,
    /// New sockets from all together at once.
    pub accepts_burst: u32,
    /// HTTP connections in all, beside the sockets.
    pub http_connections: usize,
    /// HTTP connections from one address (IPv6: from one /64) that is none of our proxies'.
    pub http_connections_per_source: usize,
}

impl Default for Signalling {
    fn default() -> Self {
        Self {
            demo: None,
            public_host: None,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            ttl_secs: 3600,
            // A description with many media lines reaches 30 KiB.
            max_frame_bytes: 65_536,
            messages_per_sec: 50,
            messages_burst: 200,
            bytes_per_sec: 16_384,
            bytes_burst: 262_144,
            queue_frames: 256,
            queue_bytes: 262_144,
            peers_per_room: 64,
            rooms_per_socket: 16,
            rooms: 10_000,
            rooms_per_source: 128,
            sockets: 10_000,
            sockets_per_source: 64,
            accepts_per_sec_per_source: 10,
            accepts_per_sec: 2000,
            accepts_burst: 4000,
            // Whoever holds connections open without asking for anything needs 128 sources to fill
            // it; a browser opens six for a moment.
            http_connections: 4096,
            http_connections_per_source: 32,
        }
    }
}

/// `[admin]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) token: Option<String>,
    pub(super) metrics_from: Vec<String>,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or levels by module: `info,hairpin::control=debug`.
    pub level: String,
    /// How lines are written.
    pub format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_says_what_the_defaults_are() {
        let shipped: File = toml::from_str(super::super::SHIPPED).expect("the shipped file parses");
        assert!(shipped == File::default());
    }

    /// The keys of the top level that are no sections.
    const SINGLE: [&str; 9] =
        ["realm", "workers", "drain_secs", "gso", "gro", "gather", "dscp", "steer", "software"];

    #[test]
    fn every_section_of_the_file_is_listed() {
        let top = fields_of::<File>();
        let listed: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).skip(1).collect();
        let sections: Vec<_> = top.iter().copied().filter(|key| !SINGLE.contains(key)).collect();
        assert_eq!(listed, sections);
    }
}
