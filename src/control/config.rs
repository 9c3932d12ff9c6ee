//! turnserver.toml → [`Config`]: strict, and helpful about it.
//!
//! Reading goes in three steps: `source` (text to keys, lines kept), `file` (keys to serde types
//! with their defaults), `check` (what is written to what is meant). Every step collects what is
//! wrong instead of stopping at the first, each with line, cause and cure, and never quotes a
//! secret. What comes out is plain values; TOML does not leak to the floors below.

mod address;
mod bind;
mod change;
mod check;
mod discovery;
mod error;
mod file;
mod keys;
mod source;
mod summary;
mod third_party;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use ipnet::IpNet;
use rand::CryptoRng;
use sha2::Sha256;

pub use self::discovery::DISCOVERY;
pub use self::error::{ConfigError, Problem};
pub use self::file::{Limits, Log, Signalling};
pub(in crate::control) use self::keys::nearest;

use self::check::Check;
use self::file::File;
use self::source::Source;
use crate::control::admin::Keys;
use crate::net::Switch;
use crate::signalling;
use crate::turn;
use crate::turn::acl::Acl;
use crate::turn::config::{Alternates, Credentials, Software};
use crate::turn::moment::Lifetime;
use crate::worker::{DtlsLimits, TlsLimits};

/// Everything that the operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from; `None` for the built-in defaults.
    pub path: Option<PathBuf>,
    /// The realm of the credentials.
    pub realm: String,
    /// Number of workers; 0 stands for one for each CPU that this process may use.
    pub workers: u16,
    /// Where clients come in.
    pub listen: Listen,
    /// Where clients can find out what their NATs do.
    pub discovery: turn::config::Discovery,
    /// Where relayed addresses come from.
    pub relay: Relay,
    /// Certificates and their keys, the one for clients that ask for no name first.
    pub tls: Vec<CertificateFiles>,
    /// Who may allocate, and the key of the nonces.
    pub credentials: Credentials,
    /// Whether the file names what keys the nonces.
    pub nonce_is_written: bool,
    /// Whether the secret in `credentials` was made up at start, because none was configured: it
    /// is told once, and gone with the process.
    pub made_up: bool,
    /// The operator's rules about peers.
    pub peers: Peers,
    /// Limits of the relay.
    pub limits: Limits,
    /// Signalling, and the credentials that are handed out over HTTP.
    pub signalling: Signalling,
    /// Proxies whose X-Forwarded-For is believed.
    pub proxies: Vec<IpNet>,
    /// Who may ask for metrics, and give orders, over HTTP.
    pub admin: Keys,
    /// What is logged.
    pub log: Log,
    /// How long calls may go on after SIGTERM.
    pub drain_secs: u32,
    /// Whether runs of datagrams leave as segments of one message.
    pub gso: Switch,
    /// Whether datagrams that came together are handed over together.
    pub gro: Switch,
    /// Whether packets may wait for company at high rates.
    pub gather: bool,
    /// Whether payloads keep their traffic class.
    pub dscp: bool,
    /// Whether requests and media over UDP come by sockets of their own.
    pub steer: bool,
    /// Whether clients may take their allocations along.
    pub mobility: bool,
    /// Who is told what this server is.
    pub software: Software,
    /// Where new clients are sent to.
    pub alternates: Alternates,
}

/// Addresses to listen on. Port 0 leaves the choice to the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// STUN and TURN over UDP.
    pub udp: Vec<SocketAddr>,
    /// STUN and TURN over TCP.
    pub tcp: Vec<SocketAddr>,
    /// STUN and TURN over TLS.
    pub tls: Vec<SocketAddr>,
    /// STUN and TURN over DTLS.
    pub dtls: Vec<SocketAddr>,
    /// Signalling, console, credentials, metrics, health.
    pub http: Vec<SocketAddr>,
    /// Load balancers, which must say by the PROXY protocol whom they speak for.
    pub proxy_protocol: Vec<IpNet>,
    /// Where in the file each address stands, by the list it is in.
    lines: Vec<(&'static str, SocketAddr, usize)>,
}

/// Where a certificate chain and its key are. A relative path starts where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, PEM, its own certificate first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The line that names them, or that needs them.
    pub line: Option<usize>,
}

/// Where relayed addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Local addresses to relay from; empty: found out.
    pub addresses: Vec<IpAddr>,
    /// Local address to the address that the world sees.
    pub external: Vec<(IpAddr, IpAddr)>,
    /// First relayed port.
    pub port_min: u16,
    /// Last relayed port.
    pub port_max: u16,
}

/// The operator's rules about peers, on top of the built-in ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Reachable whatever else says no.
    pub allow: Vec<IpNet>,
    /// Not reachable.
    pub deny: Vec<IpNet>,
}

impl Config {
    /// The configuration to use: of `path`, else of ./turnserver.toml if there is one, else the
    /// built-in one.
    pub fn find(path: Option<&Path>, rng: &mut impl CryptoRng) -> Result<Self, ConfigError> {
        let here = Path::new(DEFAULT_FILE);
        match path {
            Some(path) => Self::load(path, rng),
            None if here.exists() => Self::load(here, rng),
            None => Ok(Self::made_up(rng)),
        }
    }

    /// Reads the file at `path`.
    pub fn load(path: &Path, rng: &mut impl CryptoRng) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let unreadable = |cause: String, cure: &str, line| ConfigError {
            file: name.clone(),
            problems: vec![Problem { line, cause, cure: cure.to_owned() }],
        };
        let bytes = std::fs::read(path).map_err(|error| {
            let cure = "name a file that this user may read with --config";
            unreadable(format!("cannot be read: {error}"), cure, None)
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            unreadable("this is not UTF-8".to_owned(), "save the file as UTF-8", Some(line))
        })?;
        let mut config = Self::parse(&name, &text, rng)?;
        if let Some(directory) = path.parent() {
            for files in &mut config.tls {
                files.certificate = directory.join(&files.certificate);
                files.key = directory.join(&files.key);
            }
        }
        Ok(Self { path: Some(path.to_owned()), ..config })
    }

    /// Reads `text`; `name` is what errors call it. Randomness is for what the file leaves to be
    /// made up: the secret where it names no credentials, the key of the nonces.
    pub fn parse(name: &str, text: &str, rng: &mut impl CryptoRng) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let (source, file) = Source::read(text, &mut problems);
        let config = Self::checked(file, &source, &mut problems, rng);
        if problems.is_empty() {
            return Ok(config);
        }
        problems.sort_by_key(|problem| problem.line);
        Err(ConfigError { file: name.to_owned(), problems })
    }

    /// The built-in defaults, with a secret made up.
    pub fn made_up(rng: &mut impl CryptoRng) -> Self {
        Self::parse("the built-in defaults", "", rng).expect("a test reads the empty file")
    }

    fn checked(
        file: File,
        source: &Source<'_>,
        problems: &mut Vec<Problem>,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut check = Check { source, problems };
        check.realm(&file);
        let mut listen = check.listen(&file.listen);
        let discovery = check.discovery(&file.nat_discovery, &mut listen);
        let alternates = check.alternates(&file.alternates, &listen);
        let relay = check.relay(&file.relay);
        let tls = check.tls(&file.tls);
        let users = check.auth(&file.auth);
        let username_anonymity = file.auth.username_anonymity;
        let third_party = check.third_party(&file);
        let peers = check.peers(&file.peers);
        check.limits(&file.limits);
        let proxies = check.signalling(&file.signalling);
        let admin = check.admin(&file.admin);
        check.log(&file.log.level);
        let software = check.software(&file.software);
        let (gso, gro) = (check.switch("gso", &file.gso), check.switch("gro", &file.gro));

        let made_up = file.auth.secrets.is_empty()
            && file.auth.users.is_empty()
            && file.third_party.keys.is_empty();
        let secrets = if made_up { vec![made_up_secret(rng)] } else { file.auth.secrets };
        let nonce_is_written = file.auth.nonce_secret.is_some();
        let nonce_key = nonce_key(file.auth.nonce_secret.as_deref(), &secrets, rng);
        Self {
            path: None,
            realm: file.realm,
            workers: file.workers,
            listen,
            discovery,
            relay,
            tls,
            credentials: Credentials { users, secrets, username_anonymity, nonce_key, third_party },
            made_up,
            nonce_is_written,
            peers,
            limits: file.limits,
            signalling: file.signalling,
            proxies,
            admin,
            log: file.log,
            drain_secs: file.drain_secs,
            gso,
            gro,
            gather: file.gather,
            dscp: file.dscp,
            steer: file.steer,
            mobility: file.auth.mobility,
            software,
            alternates,
        }
    }

    /// Whether the TLS listeners speak HTTP as well: where its pages are everybody's by the
    /// operator's own word.
    pub fn http_over_tls(&self) -> bool {
        !self.listen.tls.is_empty() && self.signalling.demo == Some(true)
    }

    /// The core's settings. `found` are the host's own addresses (see
    /// [`interfaces::found`](crate::control::interfaces::found)); the core takes `share` of
    /// `shares` of the relayed ports.
    pub fn turn(&self, found: &[IpAddr], share: u16, shares: u16) -> turn::Config {
        turn::Config {
            realm: self.realm.clone(),
            credentials: self.credentials.clone(),
            relay: turn::config::Relay {
                addresses: self.relay.addresses.clone(),
                found: found.to_vec(),
                external: self.relay.external.clone(),
                port_min: self.relay.port_min,
                port_max: self.relay.port_max,
                share,
                shares,
            },
            acl: self.acl(found),
            limits: turn::config::Limits { mobility: self.mobility, ..self.limits.turn() },
            software: self.software,
            discovery: self.discovery.clone(),
            alternates: self.alternates.clone(),
        }
    }

    /// The rules about peers. Own addresses are all that lead to this host: what was found, what
    /// it listens on and relays from, and what the world sees of it.
    pub fn acl(&self, found: &[IpAddr]) -> Acl {
        let sockets = || self.listen.all().chain(self.discovery.addresses());
        let mut own: Vec<IpAddr> = found.to_vec();
        own.extend(sockets().map(|socket| socket.ip()).filter(|ip| !ip.is_unspecified()));
        own.extend(&self.relay.addresses);
        own.extend(self.relay.external.iter().flat_map(|(local, outside)| [local, outside]));
        own.sort_unstable();
        own.dedup();
        let mut listening_ports: Vec<u16> =
            sockets().map(|socket| socket.port()).filter(|port| *port != 0).collect();
        listening_ports.sort_unstable();
        listening_ports.dedup();
        let Peers { allow, deny } = self.peers.clone();
        Acl { allow, deny, own, listening_ports }
    }
}

impl Listen {
    /// Every address, whatever the listener.
    pub fn all(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        [&self.udp, &self.tcp, &self.tls, &self.dtls, &self.http].into_iter().flatten().copied()
    }
}

impl Limits {
    /// The limits of TLS handshakes.
    pub fn tls(&self) -> TlsLimits {
        let handshake = Lifetime::from_secs(self.tls_handshake_secs);
        TlsLimits { handshakes: self.tls_handshakes, handshake }
    }

    /// The core's share of the limits.
    pub fn turn(&self) -> turn::config::Limits {
        turn::config::Limits {
            lifetime_max: Lifetime::from_secs(self.lifetime_max_secs),
            nonce_lifetime: Lifetime::from_secs(self.nonce_lifetime_secs),
            permissions_per_allocation: self.permissions_per_allocation,
            channels_per_allocation: self.channels_per_allocation,
            connections_per_allocation: self.peer_connections_per_allocation,
            bandwidth_per_allocation: self.bandwidth_per_allocation,
            ..turn::config::Limits::default()
        }
    }

    /// The limits of DTLS.
    pub fn dtls(&self) -> DtlsLimits {
        DtlsLimits {
            sessions: self.dtls_sessions,
            sessions_per_source: self.dtls_sessions_per_source,
            handshakes: self.dtls_handshakes,
            handshakes_per_source: self.dtls_handshakes_per_source,
            handshake: Lifetime::from_secs(self.dtls_handshake_secs),
        }
    }
}

impl Signalling {
    /// The bounds of the signalling relay; what has no key keeps its default.
    pub fn limits(&self) -> signalling::Limits {
        let defaults = signalling::Limits::default();
        signalling::Limits {
            frame_bytes: self.max_frame_bytes,
            messages_per_sec: self.messages_per_sec,
            message_burst: self.messages_burst,
            bytes_per_sec: self.bytes_per_sec,
            byte_burst: self.bytes_burst,
            queue_frames: self.queue_frames,
            queue_bytes: self.queue_bytes,
            room_peers: self.peers_per_room,
            rooms_per_socket: self.rooms_per_socket,
            rooms: self.rooms,
            rooms_per_source: self.rooms_per_source,
            sockets: self.sockets,
            sockets_per_source: self.sockets_per_source,
            opens_per_sec_per_source: self.accepts_per_sec_per_source,
            open_burst_per_source: self.accepts_per_sec_per_source.saturating_mul(2),
            opens_per_sec: self.accepts_per_sec,
            open_burst: self.accepts_burst,
            ..defaults
        }
    }
}

/// Every section of turnserver.toml (the top level has no name) with its keys.
pub fn known_keys() -> Vec<(&'static str, &'static [&'static str])> {
    file::SECTIONS.iter().map(|(section, keys)| (*section, keys())).collect()
}

/// The key of the nonces. One that follows from the configuration keeps nonces good after a
/// restart and on another server that shares it.
///
/// Every stranger is given a nonce, and could try guesses against it at home. So the secrets lend
/// themselves to this only where one of them is beyond guessing, and passwords never do.
fn nonce_key(secret: Option<&str>, secrets: &[String], rng: &mut impl CryptoRng) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(b"hairpin nonce key").expect("any length is a key");
    if let Some(secret) = secret {
        mac.update(secret.as_bytes());
    } else if secrets.iter().any(|secret| secret.len() >= UNGUESSABLE_BYTES) {
        for secret in secrets {
            mac.update(&(secret.len() as u64).to_be_bytes());
            mac.update(secret.as_bytes());
        }
    } else {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        return key;
    }
    mac.finalize().into_bytes().into()
}

fn made_up_secret(rng: &mut impl CryptoRng) -> String {
    let mut secret = [0; 32];
    rng.fill_bytes(&mut secret);
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Read where no other file is named.
pub const DEFAULT_FILE: &str = "turnserver.toml";

/// The file that hairpin comes with: every key, its default, an example.
const SHIPPED: &str = include_str!("../../turnserver.toml");

/// A secret of this length was made by a machine: `openssl rand -hex 16` and up.
const UNGUESSABLE_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn rng(seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed)
    }

    fn key(text: &str, seed: u64) -> [u8; 32] {
        let text = format!("realm = \"example.org\"\n[auth]\n{text}");
        Config::parse("t", &text, &mut rng(seed)).expect("fine").credentials.nonce_key
    }

    #[test]
    fn made_up_credentials_differ_each_time() {
        let (a, b) = (Config::made_up(&mut rng(1)), Config::made_up(&mut rng(2)));
        assert!(a.made_up);
        assert_eq!(a.credentials.secrets[0].len(), 64);
        assert_ne!(a.credentials.secrets, b.credentials.secrets);
        assert_ne!(a.credentials.nonce_key, b.credentials.nonce_key);
    }

    #[test]
    fn what_one_source_and_all_together_may_open_is_the_operators_to_say() {
        let text = "[signalling]\nrooms_per_source = 1\naccepts_per_sec = 2\naccepts_burst = 3";
        let limits = Config::parse("t", text, &mut rng(1)).expect("fine").signalling.limits();
        let told = (limits.rooms_per_source, limits.opens_per_sec, limits.open_burst);
        assert_eq!(told, (1, 2, 3));
        let kept = Signalling::default().limits();
        assert_eq!(kept, signalling::Limits::default(), "the defaults of both are the same");
    }

    #[test]
    fn nonces_outlive_a_restart_where_the_secret_is_beyond_guessing() {
        let strong = "secrets = [\"0123456789abcdef0123456789abcdef\"]";
        assert_eq!(key(strong, 1), key(strong, 2));
        assert_eq!(key("nonce_secret = \"x\"", 1), key("nonce_secret = \"x\"", 2));
        assert_ne!(key("nonce_secret = \"x\"", 1), key("nonce_secret = \"y\"", 1));
    }

    #[test]
    fn no_nonce_can_be_used_to_guess_a_weak_secret_or_a_password() {
        let password =
            "users = [{ name = \"a\", password = \"0123456789abcdef0123456789abcdef\" }]";
        for text in ["secrets = [\"weak\"]", password] {
            assert_ne!(key(text, 1), key(text, 2), "{text}");
        }
    }

    #[test]
    fn every_address_that_leads_here_is_our_own() {
        let text = "[listen]\nudp = [\"192.0.2.1:3478\", \"0.0.0.0:3479\"]\ntcp = []\n\
                    [relay]\nexternal = { \"10.0.0.5\" = \"203.0.113.10\" }";
        let config = Config::parse("t", text, &mut rng(1)).expect("fine");
        let acl = config.acl(&["10.0.0.5".parse().expect("an address")]);
        let own: Vec<String> = acl.own.iter().map(ToString::to_string).collect();
        assert_eq!(own, ["10.0.0.5", "127.0.0.1", "192.0.2.1", "203.0.113.10"]);
        assert_eq!(acl.listening_ports, [3478, 3479, 8080]);
    }

    #[test]
    fn the_four_addresses_of_nat_discovery_are_nobodys_peers() {
        let text = "[nat_discovery]\nprimary = [\"192.0.2.1:3478\"]\n\
                    alternate = [\"192.0.2.2:3479\"]";
        let config = Config::parse("t", text, &mut rng(1)).expect("fine");
        let acl = config.acl(&[]);
        for corner in config.discovery.addresses() {
            assert!(!acl.judge(corner, false).allowed, "{corner}");
        }
        assert_eq!(config.discovery.addresses().count(), 4);
    }
}
