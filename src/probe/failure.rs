//! What went wrong, in words that say what to do.

use std::io::{self, ErrorKind};

use serde::Serialize;

use crate::client::uri::Carrier;
use crate::wire::Method;

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// For programs.
    pub kind: Kind,
    /// The code of the error response, if it was one.
    pub code: Option<u16>,
    /// What was seen.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
}

/// What kind of failure it was; the names in JSON stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The host's name has no address.
    Name,
    /// This client does not speak what the URI asks for.
    Unsupported,
    /// Nothing was heard.
    Timeout,
    /// The host says that nothing listens there.
    Refused,
    /// There is no way to the host.
    Unreachable,
    /// The server has ended the connection.
    Closed,
    /// The handshake failed.
    Tls,
    /// Another error of the network.
    Network,
    /// What was heard is no answer.
    Answer,
    /// The server does not take the name and the password.
    Credentials,
    /// The server has refused the request for another reason; `code` tells.
    Error,
    /// What was sent through the relay did not arrive.
    Lost,
}

impl Failure {
    pub(super) fn new(kind: Kind, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { kind, code: None, cause: cause.into(), cure: cure.into() }
    }

    /// Nobody has answered.
    pub(super) fn silence(carrier: Carrier) -> Self {
        let cure = match carrier {
            Carrier::Udp => {
                "either a firewall drops UDP on the way (then TCP or TLS may pass), or nothing \
                 listens there: see that the server runs, its port, and its host's firewall"
            }
            _ => {
                "the port is open, but what listens there does not speak STUN: see that it is the \
                 port of the TURN server and no other's"
            }
        };
        Self::new(Kind::Timeout, "no answer", cure)
    }

    /// What the network says.
    pub(super) fn network(error: &io::Error, carrier: Carrier) -> Self {
        let (kind, cause, cure) = match error.kind() {
            ErrorKind::ConnectionRefused => (
                Kind::Refused,
                "refused: nothing listens there".to_owned(),
                match carrier {
                    Carrier::Udp => "see that the server runs and listens on UDP at this port",
                    Carrier::Tcp => "see that the server runs and listens on TCP at this port",
                    _ => "see that the server runs and has a TLS listener at this port",
                },
            ),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => (
                Kind::Timeout,
                "no answer".to_owned(),
                "a firewall drops what is sent there, or the host is down",
            ),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => (
                Kind::Unreachable,
                format!("unreachable: {error}"),
                "this machine has a route, but a router on the way, or a firewall, says that \
                 there is no way on: see the address, and whether its host is up",
            ),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => (
                Kind::Closed,
                "the server has ended the connection".to_owned(),
                "what listens there may speak something else (TLS where TCP was tried, or HTTP), \
                 or has as many connections as it takes: see its log",
            ),
            ErrorKind::InvalidData => (
                Kind::Answer,
                "what came back is no STUN".to_owned(),
                "something else listens there: see that it is the TURN server's port",
            ),
            _ => (Kind::Network, error.to_string(), "see this machine's own network"),
        };
        Self::new(kind, cause, cure)
    }

    /// This machine itself knows no way.
    pub(super) fn no_route(error: &io::Error) -> Self {
        Self::new(
            Kind::Unreachable,
            format!("unreachable: {error}"),
            "this machine has no route there: see the address, and whether both ends have its \
             family",
        )
    }

    /// The same refusal to one who has said no name and no password.
    pub(super) fn without_login(self) -> Self {
        let cure = "the server answers nobody whom it does not know: say --user and --password, \
                    or --secret";
        Self { cure: cure.to_owned(), ..self }
    }

    /// The server has said no.
    pub(super) fn error(method: Method, code: u16, reason: &str, realm: Option<&str>) -> Self {
        let (kind, cure) = match code {
            401 => (
                Kind::Credentials,
                match realm {
                    Some(realm) => format!(
                        "the name and the password are not those of realm {realm:?}: see --user \
                         and --password; a name with an expiry may have expired, or the secret it \
                         was made with is another"
                    ),
                    None => "see --user and --password".to_owned(),
                },
            ),
            400 => (Kind::Error, "the server does not understand the request".to_owned()),
            403 => (
                Kind::Error,
                "the server does not let its clients reach that address: see its rules about \
                 peers ([peers] allow of hairpin, --allowed-peer-ip of coturn)"
                    .to_owned(),
            ),
            437 => (Kind::Error, "an older client had the same port; try again".to_owned()),
            438 => (Kind::Error, "the server calls each of its own nonces stale".to_owned()),
            440 => (
                Kind::Error,
                "the server has no relayed addresses of this family: give it some, or leave the \
                 family out"
                    .to_owned(),
            ),
            442 => (Kind::Error, "the server does not relay over UDP".to_owned()),
            486 => (
                Kind::Error,
                "the user has as many allocations as one may: end some, wait ten minutes for \
                 forgotten ones, or raise the server's quota"
                    .to_owned(),
            ),
            500 => (Kind::Error, "the server is busy or troubled: try again later".to_owned()),
            508 => (
                Kind::Error,
                "the server has no room left: more relayed ports, more descriptors, or it is about \
                 to stop"
                    .to_owned(),
            ),
            _ => (Kind::Error, "see the server's log".to_owned()),
        };
        let mut cause = format!("{method}: {code}");
        for word in [Some(reason.to_owned()), realm.map(|realm| format!("(realm {realm:?})"))] {
            if let Some(word) = word.filter(|word| !word.is_empty()) {
                cause += " ";
                cause += &word;
            }
        }
        Self { kind, code: Some(code), cause, cure }
    }
}
