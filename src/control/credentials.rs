//! Time-limited credentials, as coturn's `use-auth-secret` and draft-uberti-behave-turn-rest-00
//! have them: the username carries its expiry, the password is a MAC of the username.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::control::config::Config;

/// Username and password for `user`, good until `expires_unix` (seconds since 1970).
pub fn time_limited(secret: &[u8], user: &str, expires_unix: u64) -> (String, String) {
    let username = format!("{expires_unix}:{user}");
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("any length is a key");
    mac.update(username.as_bytes());
    let password = STANDARD.encode(mac.finalize().into_bytes());
    (username, password)
}

/// The URIs (RFC 7064, RFC 7065) that lead to this server: first STUN, then TURN. Few, because
/// browsers are slow with five and more.
pub fn uris(config: &Config, found: &[IpAddr]) -> (Vec<String>, Vec<String>) {
    let host = host(config, found);
    let port = |listeners: &[SocketAddr]| listeners.first().map(SocketAddr::port);
    let [udp, tcp, tls] =
        [&config.listen.udp, &config.listen.tcp, &config.listen.tls].map(|l| port(l));
    let stun = udp.map(|port| format!("stun:{host}:{port}"));
    let turn_udp = udp.map(|port| format!("turn:{host}:{port}?transport=udp"));
    let turn_tcp = tcp.map(|port| format!("turn:{host}:{port}?transport=tcp"));
    let turns = tls.map(|port| format!("turns:{host}:{port}?transport=tcp"));
    let turn = [turn_udp, turn_tcp, turns].into_iter().flatten();
    (stun.into_iter().collect(), turn.collect())
}

/// What clients call this server: what is configured, else what the world sees, else what it
/// listens on, else the first address of the host. IPv6 in brackets, as URIs want it.
fn host(config: &Config, found: &[IpAddr]) -> String {
    let outside = || config.relay.external.first().map(|(_, outside)| *outside);
    let listening = || config.listen.udp.iter().map(SocketAddr::ip).find(|ip| !ip.is_unspecified());
    let any = || found.iter().find(|ip| ip.is_ipv4()).or_else(|| found.first()).copied();
    let ip = || outside().or_else(listening).or_else(any).map(|ip| ip.to_string());
    let host = config.signalling.public_host.clone().or_else(ip);
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64`
    #[test]
    fn the_password_is_what_openssl_computes() {
        let (username, password) = time_limited(b"north", "alice", 1_700_000_000);
        assert_eq!(username, "1700000000:alice");
        assert_eq!(password, "Cd/49soE35ICqcJF/bCTn8Z4OyE=");
    }

    #[test]
    fn uris_name_the_address_that_the_world_sees() {
        let text = "[listen]\nudp = [\"[2001:db8::1]:3479\"]\ntcp = []";
        let mut config = Config::parse("t", text, &mut rand::rng()).expect("fine");
        let (stun, turn) = uris(&config, &[]);
        assert_eq!(stun, ["stun:[2001:db8::1]:3479"]);
        assert_eq!(turn, ["turn:[2001:db8::1]:3479?transport=udp"]);
        config.signalling.public_host = Some("turn.example.org".to_owned());
        assert_eq!(uris(&config, &[]).0, ["stun:turn.example.org:3479"]);
    }
}
