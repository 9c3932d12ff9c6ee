//! The core's own settings: plain values, no file format.

use std::net::{IpAddr, SocketAddr};

use crate::turn::acl::Acl;
use crate::turn::moment::Lifetime;
use crate::turn::tuple::Transport;
use crate::wire::TokenKey;

/// Everything a core is told once, at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The realm, sent in each 401 (RFC 8489 §14.9): at most 127 characters, no quotes.
    pub realm: String,
    /// Who may allocate.
    pub credentials: Credentials,
    /// Where relayed addresses come from.
    pub relay: Relay,
    /// Which peers may be reached.
    pub acl: Acl,
    /// What one client may hold.
    pub limits: Limits,
    /// Who is told what this server is.
    pub software: Software,
    /// Where clients can find out what their NATs do.
    pub discovery: Discovery,
    /// Where new clients are sent to.
    pub alternates: Alternates,
}

/// Other servers with the same realm and credentials (RFC 8489 §10). The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternates {
    /// In the order in which clients are sent there.
    pub servers: Vec<Alternate>,
    /// The name in the certificate of those that speak TLS, where it is another than this one's
    /// (ALTERNATE-DOMAIN, RFC 8489 §14.16).
    pub domain: Option<String>,
    /// Where clients over TLS come in: their 5-tuples are those of TCP.
    pub tls_listeners: Vec<SocketAddr>,
    /// Whether new clients are sent there from the start, and not only while this server drains.
    pub always: bool,
}

/// Another server, for clients of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternate {
    /// How they reach it.
    pub transport: Transport,
    /// Whether TLS is between.
    pub tls: bool,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Who is told which software this is and of which version (SOFTWARE, RFC 8489 §14.14), which its
/// §16.1.2 wants to be the operator's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Software {
    /// Whoever asks. Then answers to strangers are longer by 20 bytes.
    Everybody,
    /// Whoever has shown credentials.
    #[default]
    Authenticated,
    /// Nobody.
    Nobody,
}

impl Software {
    /// Whether a client is told.
    pub(super) const fn is_told(self, is_authenticated: bool) -> bool {
        match self {
            Self::Everybody => true,
            Self::Authenticated => is_authenticated,
            Self::Nobody => false,
        }
    }
}

impl std::str::FromStr for Software {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "everybody" => Ok(Self::Everybody),
            "authenticated" => Ok(Self::Authenticated),
            "nobody" => Ok(Self::Nobody),
            _ => Err(()),
        }
    }
}

/// NAT behaviour discovery (RFC 5780). The default is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// At most one for each family.
    pub pairs: Vec<Pair>,
    /// Whether TCP serves at these addresses as well: a stream tells of mappings only.
    pub streams: bool,
    /// Requests a second that one source may make of each core: of those that have the answer sent
    /// elsewhere or padded, and again of those that do not. An IPv6 /64 is one source.
    pub requests_per_sec: u32,
}

impl Discovery {
    /// Every address that answers come from.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.pairs.iter().flat_map(Pair::corners)
    }
}

/// Two addresses of this server that differ in IP address and port, as sockets are bound to them.
/// Clients are served at the other two combinations as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// RFC 5780's A1:P1.
    pub primary: SocketAddr,
    /// A2:P2.
    pub alternate: SocketAddr,
}

impl Pair {
    /// A1:P1, A1:P2, A2:P1 and A2:P2.
    pub fn corners(&self) -> [SocketAddr; 4] {
        let Self { primary: a, alternate: b } = self;
        [(a, a), (a, b), (b, a), (b, b)].map(|(ip, port)| SocketAddr::new(ip.ip(), port.port()))
    }
}

/// Both kinds of credentials, at the same time.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Users with a password of their own.
    pub users: Vec<User>,
    /// Secrets for time-limited credentials (`expiry:name`, password
    /// `base64(HMAC-SHA1(secret, username))`); any number, for rotation.
    pub secrets: Vec<String>,
    /// Whether `users` may log in by USERHASH instead of USERNAME (RFC 8489 §9.2.4).
    pub username_anonymity: bool,
    /// Whose tokens are taken as well (RFC 7635).
    pub third_party: Option<ThirdParty>,
    /// Keys the nonces. The same key on each worker, and after a restart, keeps nonces good.
    pub nonce_key: [u8; 32],
}

/// A user with a password.
#[derive(Clone)]
pub struct User {
    /// USERNAME.
    pub name: String,
    /// The password, in clear as the long-term mechanism needs it.
    pub password: String,
}

/// What authorisation servers and this one have agreed on (RFC 7635 §4.1).
#[derive(Clone, Debug)]
pub struct ThirdParty {
    /// What tokens are made for, told in THIRD-PARTY-AUTHORIZATION.
    pub server_name: String,
    /// The keys that tokens are sealed with; any number, for rotation.
    pub keys: Vec<SharedKey>,
    /// Whether requests may be signed with the first 128 of a key's 160 bits, as coturn's clients
    /// do.
    pub coturn_clients: bool,
}

/// A key that an authorisation server seals tokens with.
#[derive(Clone, Debug)]
pub struct SharedKey {
    /// What clients say in USERNAME.
    pub kid: String,
    /// The key with its algorithm.
    pub key: TokenKey,
    /// The second since 1970 from which on it opens nothing.
    pub expires_unix: Option<u64>,
}

impl std::fmt::Debug for Credentials {
    /// Never shows a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} users, {} secrets)", self.users.len(), self.secrets.len())
    }
}

impl std::fmt::Debug for User {
    /// Never shows the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.name)
    }
}

/// Where relayed transport addresses come from.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Local addresses to relay from. Empty: the address that the client reached, and for the
    /// other family the first of `found` that fits.
    pub addresses: Vec<IpAddr>,
    /// The host's own addresses, found at start.
    pub found: Vec<IpAddr>,
    /// Local address to the address that the world sees, behind a 1:1 NAT.
    pub external: Vec<(IpAddr, IpAddr)>,
    /// First relayed port.
    pub port_min: u16,
    /// Last relayed port.
    pub port_max: u16,
    /// This core's share of the ports: pairs whose number modulo `shares` is `share` are tried
    /// first, so that workers seldom meet at the same port.
    pub share: u16,
    /// Number of shares, one for each worker.
    pub shares: u16,
}

/// What one client may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest lifetime granted (RFC 8656 §7.2 recommends at most an hour).
    pub lifetime_max: Lifetime,
    /// How long a nonce is good (RFC 8656 §5: at most an hour).
    pub nonce_lifetime: Lifetime,
    /// Permissions of one allocation.
    pub permissions_per_allocation: usize,
    /// Channels of one allocation.
    pub channels_per_allocation: usize,
    /// Connections with peers of one allocation (RFC 6062), those being made included.
    pub connections_per_allocation: usize,
    /// Bytes of payload that one allocation may relay in a second, to peers and again to its
    /// client; 0: no limit. Connections (RFC 6062) are not counted.
    pub bandwidth_per_allocation: u64,
    /// Whether clients that ask for it may take their allocations along (RFC 8016).
    pub mobility: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lifetime_max: Lifetime::from_secs(3600),
            nonce_lifetime: Lifetime::from_secs(3600),
            permissions_per_allocation: 512,
            channels_per_allocation: 512,
            connections_per_allocation: 64,
            bandwidth_per_allocation: 0,
            mobility: true,
        }
    }
}
