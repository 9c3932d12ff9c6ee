//! Where a server is: `stun:`, `stuns:`, `turn:` and `turns:` URIs (RFC 7064 §3.1, RFC 7065 §3.1),
//! and `udp:` for what merely forwards.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use serde::Serialize;

use crate::turn::Transport;

/// The port of STUN and TURN where the URI names none.
const DEFAULT_PORT: u16 = 3478;
/// The same over TLS and DTLS.
const DEFAULT_SECURE_PORT: u16 = 5349;

/// What the server is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `stun:` and `stuns:` answer Binding requests.
    Stun,
    /// `turn:` and `turns:` relay.
    Turn,
    /// `udp:` passes each datagram on to a peer that it knows, as it is.
    Udp,
}

/// What carries messages to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream with TLS over it.
    Tls,
    /// Datagrams with DTLS over them.
    Dtls,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Dtls => "dtls",
        })
    }
}

/// A server's URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// What it is.
    pub scheme: Scheme,
    /// Whether it is `stuns:` or `turns:`.
    pub secure: bool,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How to get there, if it says so.
    pub transport: Option<Transport>,
}

impl Uri {
    /// The first address that the host has.
    ///
    /// # Errors
    ///
    /// Where it has none.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = self.resolve_all()?;
        found.next().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// All addresses that the host has.
    ///
    /// # Errors
    ///
    /// Where the name cannot be looked up.
    pub fn resolve_all(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
        (self.host.as_str(), self.port).to_socket_addrs()
    }

    /// The same with a `turn:` URI's transport written down.
    #[must_use]
    pub fn in_full(&self) -> Self {
        let transport = match self.scheme {
            Scheme::Turn => Some(self.transport()),
            Scheme::Stun | Scheme::Udp => self.transport,
        };
        Self { transport, ..self.clone() }
    }

    /// How to get there; UDP where nothing is said, but for `stuns:` and `turns:`.
    pub fn transport(&self) -> Transport {
        let default = if self.secure { Transport::Tcp } else { Transport::Udp };
        self.transport.unwrap_or(default)
    }
}

impl FromStr for Uri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').ok_or(EXAMPLES)?;
        let (scheme, secure) = match scheme {
            "stun" => (Scheme::Stun, false),
            "stuns" => (Scheme::Stun, true),
            "turn" => (Scheme::Turn, false),
            "turns" => (Scheme::Turn, true),
            "udp" => (Scheme::Udp, false),
            _ => return Err(EXAMPLES.to_owned()),
        };
        let (place, query) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
        let transport = match query {
            None => None,
            Some("transport=udp") => Some(Transport::Udp),
            Some("transport=tcp") if scheme != Scheme::Udp => Some(Transport::Tcp),
            Some(_) => return Err("behind ? may stand transport=udp or transport=tcp".to_owned()),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(inside) => inside.split_once(']').ok_or("a ] is missing")?,
            None => place.find(':').map_or((place, ""), |colon| place.split_at(colon)),
        };
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(EXAMPLES.to_owned());
        }
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| format!("{port} is no port"))?,
            None if port.is_empty() && secure => DEFAULT_SECURE_PORT,
            None if port.is_empty() => DEFAULT_PORT,
            None => return Err(EXAMPLES.to_owned()),
        };
        Ok(Self { scheme, secure, host: host.to_owned(), port, transport })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.scheme, self.secure) {
            (Scheme::Stun, false) => "stun",
            (Scheme::Stun, true) => "stuns",
            (Scheme::Turn, false) => "turn",
            (Scheme::Turn, true) => "turns",
            (Scheme::Udp, _) => "udp",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}:{open}{}{close}:{}", self.host, self.port)?;
        match self.transport {
            // RFC 7350 §4.6.1: DTLS is what `turns:` with UDP stands for.
            Some(Transport::Udp | Transport::Dtls) => f.write_str("?transport=udp"),
            Some(Transport::Tcp) => f.write_str("?transport=tcp"),
            None => Ok(()),
        }
    }
}

const EXAMPLES: &str = "write turn:HOST[:PORT][?transport=udp|tcp], turns:HOST[:PORT], \
                        stun:HOST[:PORT], stuns:HOST[:PORT] or udp:HOST:PORT; an IPv6 address in \
                        brackets";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_the_rfcs_have_them() {
        let (udp, tcp) = (Some(Transport::Udp), Some(Transport::Tcp));
        for (text, secure, host, port, transport) in [
            ("turn:example.org", false, "example.org", 3478, None),
            ("turn:127.0.0.1:3479?transport=udp", false, "127.0.0.1", 3479, udp),
            ("turn:[2001:db8::1]:3479?transport=tcp", false, "2001:db8::1", 3479, tcp),
            ("turns:example.org", true, "example.org", 5349, None),
            ("turns:example.org:443?transport=tcp", true, "example.org", 443, tcp),
            ("stuns:[::1]", true, "::1", 5349, None),
            ("stun:[::1]", false, "::1", 3478, None),
            ("udp:127.0.0.1:9", false, "127.0.0.1", 9, None),
        ] {
            let uri: Uri = text.parse().expect(text);
            assert_eq!((uri.secure, uri.host.as_str(), uri.port), (secure, host, port));
            assert_eq!(uri.transport, transport);
            assert_eq!(uri.to_string().parse(), Ok(uri));
        }
        for text in [
            "",
            "example.org",
            "turn:",
            "turn://example.org",
            "turn:u@example.org",
            "turn:example.org:x",
            "turn:example.org:70000",
            "turn:[::1",
            "turn:[::1]3478",
            "turn:example.org?transport=sctp",
            "udp:example.org:9?transport=tcp",
            "http:example.org",
        ] {
            assert!(text.parse::<Uri>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_transport_it_is_udp_but_for_tls() {
        for (text, transport) in [
            ("turn:a", Transport::Udp),
            ("stun:a", Transport::Udp),
            ("turns:a", Transport::Tcp),
            ("turn:a?transport=tcp", Transport::Tcp),
        ] {
            assert_eq!(text.parse::<Uri>().expect(text).transport(), transport, "{text}");
        }
        let full = |text: &str| text.parse::<Uri>().expect(text).in_full().to_string();
        assert_eq!(full("turn:a"), "turn:a:3478?transport=udp");
        assert_eq!(full("turns:a"), "turns:a:5349?transport=tcp");
        assert_eq!(full("stun:a"), "stun:a:3478");
    }
}
