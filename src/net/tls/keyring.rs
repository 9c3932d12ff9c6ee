//! What a TLS listener proves itself with: certificates, chosen by the name that a client asks for.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConnection};

use super::{Session, dhe};

/// A certificate with its chain and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    names: Vec<String>,
    certified: Arc<CertifiedKey>,
}

/// Why a certificate and a key are no identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The key is of a kind that TLS has no use for, or broken.
    Key,
    /// The key is another certificate's.
    Mismatch,
    /// The certificate is not one.
    Certificate(String),
}

impl Identity {
    /// A chain, its own certificate first, with the key to it. `names` are those that it speaks
    /// for, in which a leading `*.` stands for one label.
    ///
    /// # Errors
    ///
    /// [`Unfit`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        names: &[String],
    ) -> Result<Self, Unfit> {
        let provider = dhe::provider();
        let key = provider.key_provider.load_private_key(key).map_err(|_| Unfit::Key)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Keys that can't be compared are found out by the first client.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(Unfit::Mismatch),
            Err(error) => return Err(Unfit::Certificate(error.to_string())),
        }
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self { names, certified: Arc::new(certified) })
    }
}

/// The identities of a server's TLS listeners. Sessions that have begun keep what they began with.
pub struct Keyring {
    current: RwLock<Arc<ServerConfig>>,
    also_http: bool,
}

impl Keyring {
    /// One that shows the first of `identities` to whoever asks for none of their names. With
    /// `also_http` clients may agree on HTTP too.
    ///
    /// # Errors
    ///
    /// What the library says of it; nothing that a configuration could cause.
    pub fn new(identities: Vec<Identity>, also_http: bool) -> Result<Self, Error> {
        Ok(Self { current: RwLock::new(config(identities, also_http)?), also_http })
    }

    /// Shows these from now on. Tickets for earlier sessions are void: whoever comes again sees the
    /// new certificate.
    ///
    /// # Errors
    ///
    /// That of [`Keyring::new`]; nothing has changed then.
    pub fn replace(&self, identities: Vec<Identity>) -> Result<(), Error> {
        let fresh = config(identities, self.also_http)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The server's side of a session with a client that has just come.
    ///
    /// # Errors
    ///
    /// What the library says of it.
    pub fn session(&self) -> io::Result<Session> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        ServerConnection::new(current).map(Session::new).map_err(io::Error::other)
    }
}

fn config(identities: Vec<Identity>, also_http: bool) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(dhe::provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName::new(identities)));
    let protocols = PROTOCOLS.iter().chain(also_http.then_some(&HTTP));
    config.alpn_protocols = protocols.map(|name| name.to_vec()).collect();
    // Nothing is kept for a client that may come again: it keeps a ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = 1;
    // Ours begins with what is safest, and ends with what only the oldest clients need.
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}

/// Chooses by the server name (RFC 6066 §3) and by what signatures the client can verify.
#[derive(Debug)]
struct ByName {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(identities: Vec<Identity>) -> Self {
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for identity in &identities {
            for name in &identity.names {
                by_name.entry(name.clone()).or_default().push(Arc::clone(&identity.certified));
            }
        }
        Self { by_name, all: identities.into_iter().map(|identity| identity.certified).collect() }
    }

    /// Those that speak for `name`, or all where none does.
    fn named(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let name = name.to_ascii_lowercase();
        let any = || name.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        let found =
            self.by_name.get(&name).or_else(|| any().and_then(|any| self.by_name.get(&any)));
        found.unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fitting = hello.server_name().map_or(&self.all[..], |name| self.named(name));
        let verifiable =
            |it: &&Arc<CertifiedKey>| it.key.choose_scheme(hello.signature_schemes()).is_some();
        fitting.iter().find(verifiable).or_else(|| fitting.first()).cloned()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

/// What is spoken over TLS (RFC 7443 §3). A client that names protocols, but none of these, is
/// refused; one that names none is not.
const PROTOCOLS: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];

/// HTTP/1.1 (RFC 7301 §6).
pub(super) const HTTP: &[u8] = b"http/1.1";
