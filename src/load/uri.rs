//! Where a server is: `stun:` and `turn:` URIs (RFC 7064 §3.1, RFC 7065 §3.1), and `udp:` for what
//! merely forwards. No TLS: `stuns:` and `turns:` are refused by name.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::turn::Transport;

/// The port of STUN and TURN where the URI names none.
const DEFAULT_PORT: u16 = 3478;

/// What the server is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `stun:` answers Binding requests.
    Stun,
    /// `turn:` relays.
    Turn,
    /// `udp:` passes each datagram on to a peer that it knows, as it is.
    Udp,
}

/// A server's URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// What it is.
    pub scheme: Scheme,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How to get there.
    pub transport: Transport,
}

impl Uri {
    /// The first address that the host has.
    ///
    /// # Errors
    ///
    /// Where it has none.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found.next().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

impl FromStr for Uri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').ok_or(EXAMPLES)?;
        let scheme = match scheme {
            "stun" => Scheme::Stun,
            "turn" => Scheme::Turn,
            "udp" => Scheme::Udp,
            "stuns" | "turns" => return Err("TLS is not spoken here".to_owned()),
            _ => return Err(EXAMPLES.to_owned()),
        };
        let (place, query) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
        let transport = match query {
            None | Some("transport=udp") => Transport::Udp,
            Some("transport=tcp") if scheme != Scheme::Udp => Transport::Tcp,
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
            None if port.is_empty() => DEFAULT_PORT,
            None => return Err(EXAMPLES.to_owned()),
        };
        Ok(Self { scheme, host: host.to_owned(), port, transport })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Stun => "stun",
            Scheme::Turn => "turn",
            Scheme::Udp => "udp",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}:{open}{}{close}:{}", self.host, self.port)?;
        match (self.scheme, self.transport) {
            (Scheme::Turn, Transport::Udp) => f.write_str("?transport=udp"),
            (_, Transport::Tcp) => f.write_str("?transport=tcp"),
            _ => Ok(()),
        }
    }
}

const EXAMPLES: &str = "write turn:HOST[:PORT][?transport=udp|tcp], stun:HOST[:PORT] or \
                        udp:HOST:PORT; an IPv6 address in brackets";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_the_rfcs_have_them() {
        for (text, host, port, transport) in [
            ("turn:example.org", "example.org", 3478, Transport::Udp),
            ("turn:127.0.0.1:3479?transport=udp", "127.0.0.1", 3479, Transport::Udp),
            ("turn:[2001:db8::1]:3479?transport=tcp", "2001:db8::1", 3479, Transport::Tcp),
            ("stun:[::1]", "::1", 3478, Transport::Udp),
            ("udp:127.0.0.1:9", "127.0.0.1", 9, Transport::Udp),
        ] {
            let uri: Uri = text.parse().expect(text);
            assert_eq!((uri.host.as_str(), uri.port, uri.transport), (host, port, transport));
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
            "turns:example.org",
            "http:example.org",
        ] {
            assert!(text.parse::<Uri>().is_err(), "{text}");
        }
    }
}
