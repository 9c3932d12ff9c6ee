//! What a browser is given to gather candidates with: `iceServers` with time-limited credentials
//! in the form that coturn calls `use-auth-secret`.
//!
//! Everything here is a function of its arguments, the time included. The credentials are checked
//! elsewhere, by whoever knows the same secret.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::access::host_part;
use super::clock::rfc3339;
use super::config::Config;
use super::credentials::time_limited;

/// For how long credentials may be asked for, in seconds.
pub const TTL_SECS: RangeInclusive<u32> = 60..=86_400;

/// Where `iceServers` come from: the listeners that are up, and the secret they check with.
#[derive(Clone, Default)]
pub struct IceSource {
    /// The first of `[auth] secrets`. `None`: there are static users only, and credentials cannot
    /// be made for strangers.
    pub secret: Option<Vec<u8>>,
    /// The UDP port that answers Binding requests.
    pub stun_udp_port: Option<u16>,
    /// The UDP port for TURN.
    pub turn_udp_port: Option<u16>,
    /// The TCP port for TURN.
    pub turn_tcp_port: Option<u16>,
    /// The port for TURN over TLS.
    pub turns_tcp_port: Option<u16>,
    /// The name or address under which clients reach this server. `None`: the one by which they
    /// reached the page.
    pub public_host: Option<String>,
    /// How long credentials hold at most, and where nothing else is asked for, in seconds; 0 stands
    /// for 3600.
    pub ttl_max_secs: u32,
}

impl fmt::Debug for IceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceSource")
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .field("stun_udp_port", &self.stun_udp_port)
            .field("turn_udp_port", &self.turn_udp_port)
            .field("turn_tcp_port", &self.turn_tcp_port)
            .field("turns_tcp_port", &self.turns_tcp_port)
            .field("public_host", &self.public_host)
            .field("ttl_max_secs", &self.ttl_max_secs)
            .finish()
    }
}

/// An answer that can be handed to `new RTCPeerConnection()` as it is; the two members that it
/// does not know it ignores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// At most four URLs in all: browsers warn that more make gathering slow.
    pub ice_servers: Vec<IceServer>,
    /// Seconds until the credentials open nothing new.
    pub ttl: u32,
    /// The same as a date.
    pub expires_at: String,
}

/// One entry of `iceServers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IceServer {
    /// `stun:`, `turn:` and `turns:` URLs.
    pub urls: Vec<String>,
    /// `<expiry>:<user>`, for `turn:` and `turns:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// base64(HMAC-SHA1(secret, username)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// There is TURN, but no secret to make credentials with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSecret;

impl IceSource {
    /// For the listeners that are up at these addresses.
    #[must_use]
    pub fn from_config(
        config: &Config,
        udp: &[SocketAddr],
        tcp: &[SocketAddr],
        tls: &[SocketAddr],
    ) -> Self {
        let port = |addresses: &[SocketAddr]| addresses.first().map(SocketAddr::port);
        Self {
            secret: config.credentials.secrets.first().map(|secret| secret.as_bytes().to_vec()),
            stun_udp_port: port(udp),
            turn_udp_port: port(udp),
            turn_tcp_port: port(tcp),
            turns_tcp_port: port(tls),
            public_host: config.signalling.public_host.clone(),
            ttl_max_secs: config.signalling.ttl_secs,
        }
    }

    /// The lifetime that a request for `asked` seconds gets, which is never more than what the
    /// operator gives; `None` if it asks for what nobody is given.
    #[must_use]
    pub fn ttl_secs(&self, asked: Option<u32>) -> Option<u32> {
        let given = if self.ttl_max_secs == 0 { 3600 } else { self.ttl_max_secs };
        let given = given.clamp(*TTL_SECS.start(), *TTL_SECS.end());
        match asked {
            None => Some(given),
            Some(asked) => TTL_SECS.contains(&asked).then(|| asked.min(given)),
        }
    }

    /// The host for the URLs: the configured one, else that of the request's `Host` header, else
    /// the address that the request reached.
    #[must_use]
    pub fn host(&self, host_header: Option<&str>, reached: std::net::IpAddr) -> String {
        match (&self.public_host, host_header.and_then(host_part)) {
            (Some(host), _) => bracketed(host),
            (None, Some(host)) => host.to_owned(),
            (None, None) => bracketed(&reached.to_canonical().to_string()),
        }
    }

    /// Credentials for `user`, valid from `unix_secs` on for `ttl_secs`.
    ///
    /// # Errors
    ///
    /// Without a secret, if there is anything that needs credentials.
    pub fn grant(
        &self,
        unix_secs: u64,
        host: &str,
        user: &str,
        ttl_secs: u32,
    ) -> Result<Grant, NoSecret> {
        let expires = unix_secs + u64::from(ttl_secs);
        let mut ice_servers = self.stun_only(host);
        let urls: Vec<_> = [
            self.turn_udp_port.map(|port| format!("turn:{host}:{port}?transport=udp")),
            self.turn_tcp_port.map(|port| format!("turn:{host}:{port}?transport=tcp")),
            self.turns_tcp_port.map(|port| format!("turns:{host}:{port}?transport=tcp")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !urls.is_empty() {
            let secret = self.secret.as_deref().ok_or(NoSecret)?;
            let (username, credential) = time_limited(secret, user, expires);
            ice_servers.push(IceServer {
                urls,
                username: Some(username),
                credential: Some(credential),
            });
        }
        Ok(Grant { ice_servers, ttl: ttl_secs, expires_at: rfc3339(expires) })
    }

    /// What can be given without a secret.
    #[must_use]
    pub fn stun_only(&self, host: &str) -> Vec<IceServer> {
        let stun = |port| IceServer {
            urls: vec![format!("stun:{host}:{port}")],
            username: None,
            credential: None,
        };
        self.stun_udp_port.map(stun).into_iter().collect()
    }
}

/// Whether `name` may stand in a username: short, and nothing that separates, escapes or hides.
#[must_use]
pub fn is_user_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'-'))
}

fn bracketed(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> IceSource {
        IceSource {
            secret: Some(b"north".to_vec()),
            stun_udp_port: Some(3478),
            turn_udp_port: Some(3478),
            turn_tcp_port: Some(3479),
            turns_tcp_port: Some(5349),
            ..IceSource::default()
        }
    }

    #[test]
    fn the_answer_has_the_shape_that_browsers_take() {
        let grant = source().grant(1_790_000_000, "turn.example", "ada", 3600).unwrap();
        assert_eq!(
            serde_json::to_value(&grant).unwrap(),
            serde_json::json!({
                "iceServers": [
                    {"urls": ["stun:turn.example:3478"]},
                    {"urls": ["turn:turn.example:3478?transport=udp",
                              "turn:turn.example:3479?transport=tcp",
                              "turns:turn.example:5349?transport=tcp"],
                     "username": "1790003600:ada",
                     // printf '1790003600:ada' | openssl dgst -sha1 -hmac north -binary | base64
                     "credential": "FTaEGs9rvpPKf1TYn5b1gjWz5Sk="}
                ],
                "ttl": 3600,
                "expiresAt": "2026-09-21T15:13:20Z"
            })
        );
    }

    #[test]
    fn at_most_four_urls_and_only_of_what_is_up() {
        let count = |source: IceSource| {
            let grant = source.grant(0, "h", "u", 60).unwrap();
            grant.ice_servers.iter().map(|server| server.urls.len()).sum::<usize>()
        };
        assert_eq!(count(source()), 4);
        assert_eq!(count(IceSource { turns_tcp_port: None, ..source() }), 3);
        assert_eq!(count(IceSource::default()), 0);
    }

    #[test]
    fn without_a_secret_there_is_stun_but_no_turn() {
        let bare = IceSource { secret: None, ..source() };
        assert_eq!(bare.grant(0, "h", "u", 60), Err(NoSecret));
        assert_eq!(bare.stun_only("h")[0].urls, ["stun:h:3478"]);
        let stun = IceSource { stun_udp_port: Some(1), ..IceSource::default() };
        assert_eq!(stun.grant(0, "h", "u", 60).unwrap().ice_servers.len(), 1);
    }

    #[test]
    fn the_host_is_the_configured_one_or_the_one_that_was_asked_for() {
        let reached = "::1".parse().unwrap();
        let named = |name: &str| IceSource { public_host: Some(name.into()), ..source() };
        assert_eq!(named("turn.example").host(Some("page.example"), reached), "turn.example");
        assert_eq!(named("2001:db8::1").host(None, reached), "[2001:db8::1]");
        assert_eq!(source().host(Some("page.example:8080"), reached), "page.example");
        assert_eq!(source().host(Some("[::1]:8080"), reached), "[::1]");
        assert_eq!(source().host(Some("bad host"), reached), "[::1]");
        assert_eq!(source().host(None, "192.0.2.1".parse().unwrap()), "192.0.2.1");
    }

    #[test]
    fn lifetimes_are_bounded() {
        assert_eq!(source().ttl_secs(None), Some(3600));
        assert_eq!(source().ttl_secs(Some(60)), Some(60));
        let day = IceSource { ttl_max_secs: 86_400, ..source() };
        assert_eq!(day.ttl_secs(Some(86_400)), Some(86_400));
        assert_eq!(source().ttl_secs(Some(59)), None);
        assert_eq!(source().ttl_secs(Some(86_401)), None);
    }

    #[test]
    fn nobody_is_given_credentials_for_longer_than_the_operator_says() {
        let short = IceSource { ttl_max_secs: 300, ..source() };
        assert_eq!(short.ttl_secs(None), Some(300));
        assert_eq!(short.ttl_secs(Some(86_400)), Some(300));
        assert_eq!(short.ttl_secs(Some(301)), Some(300));
        assert_eq!(short.ttl_secs(Some(299)), Some(299));
        assert_eq!(source().ttl_secs(Some(86_400)), Some(3600));
    }

    #[test]
    fn user_names_are_plain() {
        assert!(is_user_name("ada.l-1_x@h"));
        for bad in ["", "a:b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_user_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_secret_is_not_in_the_debug_output() {
        assert!(!format!("{:?}", source()).contains("north"));
    }
}
