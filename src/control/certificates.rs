//! The certificates of the TLS and DTLS listeners: read and judged at start, and read again when
//! their files change.
//!
//! What no client could use stops the start. What only may be wrong, an expiry among it, is said
//! and no more: clients over UDP and TCP should not be without a server because a certificate was
//! not renewed. A renewal that is not good leaves everything as it was.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::control::clock::{rfc3339, unix_secs};
use crate::control::config::{CertificateFiles, Config, ConfigError, Problem};
use crate::net::dtls::{self, Flaw};
use crate::net::tls::x509::Facts;
use crate::net::tls::{Identity, Keyring, Unfit};

/// The certificates in use, and their files.
#[derive(Debug)]
pub struct Certificates {
    config: String,
    files: Vec<CertificateFiles>,
    keyring: Arc<Keyring>,
    /// `None` where no listener needs it. Sessions over DTLS are shown the first certificate.
    dtls: Option<Arc<dtls::Keyring>>,
    /// What the files were when they were last read, and when they were last looked at.
    read: Vec<Stamp>,
    seen: Vec<Stamp>,
    ends: watch::Sender<Vec<(String, i64)>>,
}

/// What tells one state of a file from another; `None` where there is no file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Certificates {
    /// Those that the configuration names, and what is doubtful about them, a sentence each. `None`
    /// where no listener needs any.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the files, with a cure for each.
    pub fn load(config: &Config) -> Result<Option<(Self, Vec<String>)>, ConfigError> {
        if config.listen.tls.is_empty() && config.listen.dtls.is_empty() {
            return Ok(None);
        }
        let name = config.path.as_ref().map(|path| path.display().to_string());
        let name = name.unwrap_or_else(|| "the built-in defaults".to_owned());
        let files = config.tls.clone();
        // Before they are read: what changes meanwhile is seen as a change.
        let stamps = stamps(&files);
        let (identities, doubts) = read_all(&name, &files, unix_secs())?;
        let keyring =
            Keyring::new(identities, config.http_over_tls()).map_err(|error| ConfigError {
                file: name.clone(),
                problems: vec![Problem {
                    line: None,
                    cause: format!("[tls]: TLS cannot be started: {error}"),
                    cure: format!("to do without {WITHOUT}"),
                }],
            })?;
        let keyring = Arc::new(keyring);
        let dtls = match config.listen.dtls.is_empty() {
            true => None,
            false => Some(Arc::new(dtls::Keyring::new(read_for_dtls(&name, &files)?))),
        };
        let (seen, read) = (stamps.clone(), stamps);
        let ends = watch::Sender::new(ends(&files));
        Ok(Some((Self { config: name, files, keyring, dtls, seen, read, ends }, doubts)))
    }

    /// The files, with the second since 1970 at which the certificate in each ends.
    pub fn ends(&self) -> watch::Receiver<Vec<(String, i64)>> {
        self.ends.subscribe()
    }

    /// What the DTLS listeners show, if there are any.
    pub fn dtls_keyring(&self) -> Option<&Arc<dtls::Keyring>> {
        self.dtls.as_ref()
    }

    /// What the listeners show.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Looks whether the files have changed, and reads them again when they do so no more: a chain
    /// and its key are rarely replaced in the same moment.
    pub fn look(&mut self) {
        let now = stamps(&self.files);
        let settled = now == self.seen;
        self.seen = now;
        if settled && self.seen != self.read {
            self.read_again();
        }
    }

    /// Reads these files from now on.
    pub fn set_files(&mut self, files: Vec<CertificateFiles>) {
        self.files = files;
    }

    /// Reads the files again. Where they are not good, what was there stays.
    pub fn read_again(&mut self) {
        self.read = stamps(&self.files);
        self.seen.clone_from(&self.read);
        let read = read_all(&self.config, &self.files, unix_secs()).and_then(|read| {
            let dtls = self.dtls.as_ref().map(|keyring| {
                read_for_dtls(&self.config, &self.files).map(|identity| (keyring, identity))
            });
            Ok((read, dtls.transpose()?))
        });
        let ((identities, doubts), dtls) = match read {
            Ok(read) => read,
            Err(error) => {
                warn!("the certificates stay as they were, for the new ones are not good: {error}");
                return;
            }
        };
        match self.keyring.replace(identities) {
            Ok(()) => {
                if let Some((keyring, identity)) = dtls {
                    keyring.replace(identity);
                }
                self.ends.send_replace(ends(&self.files));
                info!("the certificates were read again");
            }
            Err(error) => warn!("the certificates stay as they were: {error}"),
        }
        for doubt in doubts {
            warn!("{doubt}");
        }
    }
}

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    let paths = files.iter().flat_map(|files| [&files.certificate, &files.key]);
    let stamp = |path| {
        let it = fs::metadata(path).ok()?;
        Some((it.dev(), it.ino(), it.size(), it.mtime(), it.mtime_nsec()))
    };
    paths.map(stamp).collect()
}

/// Reads every certificate; collects all that is wrong.
fn read_all(
    config: &str,
    files: &[CertificateFiles],
    now: u64,
) -> Result<(Vec<Identity>, Vec<String>), ConfigError> {
    let (mut identities, mut doubts, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for files in files {
        match read(files, now, &mut doubts) {
            Ok(identity) => identities.push(identity),
            Err((cause, cure)) => {
                problems.push(Problem { line: files.line, cause: format!("[tls] {cause}"), cure });
            }
        }
    }
    if problems.is_empty() {
        return Ok((identities, doubts));
    }
    Err(ConfigError { file: config.to_owned(), problems })
}

/// Has OpenSSL read the first certificate, after [`read_all`] has found it good.
fn read_for_dtls(config: &str, files: &[CertificateFiles]) -> Result<dtls::Identity, ConfigError> {
    let read = |files: &CertificateFiles| {
        let chain = bytes("certificate", &files.certificate)?;
        let key = bytes("key", &files.key)?;
        dtls::Identity::from_pem(&chain, &key).map_err(|flaw| {
            let (what, path, cause) = match flaw {
                Flaw::Certificate(cause) => ("certificate", &files.certificate, cause),
                Flaw::Key(cause) => ("key", &files.key, cause),
            };
            let cause = format!("{what}: {}: for DTLS it {cause}", path.display());
            (cause, "use an RSA or ECDSA certificate, or [listen] dtls = []".to_owned())
        })
    };
    let Some(files) = files.first() else {
        return Err(ConfigError { file: config.to_owned(), problems: Vec::new() });
    };
    read(files).map_err(|(cause, cure)| ConfigError {
        file: config.to_owned(),
        problems: vec![Problem { line: files.line, cause: format!("[tls] {cause}"), cure }],
    })
}

/// When the server's own certificate in each file ends.
fn ends(files: &[CertificateFiles]) -> Vec<(String, i64)> {
    let end = |it: &CertificateFiles| {
        let chain = chain(&it.certificate).ok()?;
        let facts = Facts::read(chain.first()?)?;
        Some((it.certificate.display().to_string(), facts.not_after))
    };
    files.iter().filter_map(end).collect()
}

/// Cause and cure.
type Wrong = (String, String);

fn read(files: &CertificateFiles, now: u64, doubts: &mut Vec<String>) -> Result<Identity, Wrong> {
    let CertificateFiles { certificate, key, .. } = files;
    let chain = chain(certificate)?;
    let private = private_key(key)?;
    let not_one = |number: usize| {
        let cause = format!(
            "certificate: number {number} in {} is not an X.509 certificate",
            certificate.display()
        );
        (cause, "write the chain that your certificate authority gave you, as PEM".to_owned())
    };
    let mut facts = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        facts.push(Facts::read(der).ok_or_else(|| not_one(index + 1))?);
    }
    in_order(certificate, &facts)?;
    doubts.extend(doubtful(certificate, &facts, now));
    if others_may_read(key) {
        doubts.push(format!(
            "[tls] key: every user of this host may read {0}: chmod o= it",
            key.display()
        ));
    }
    let names = facts[0].names.clone();
    drop(facts);
    Identity::new(chain, private, &names).map_err(|unfit| match unfit {
        Unfit::Key => (
            format!("key: {} holds a key of a kind that TLS does not use", key.display()),
            "use an ECDSA (P-256, P-384), Ed25519 or RSA key of 2048 bits or more".to_owned(),
        ),
        Unfit::Mismatch => (
            format!(
                "key: {} is not the key of the first certificate in {}",
                key.display(),
                certificate.display()
            ),
            "name the key that the certificate was made for; in the chain the server's own \
             certificate comes first"
                .to_owned(),
        ),
        Unfit::Certificate(why) => {
            let (cause, cure) = not_one(1);
            (format!("{cause}: {why}"), cure)
        }
    })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let bytes = bytes("certificate", path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| error.to_string());
    let cause = match chain {
        Ok(chain) if !chain.is_empty() => return Ok(chain),
        Ok(_) => format!("certificate: {} has no PEM certificate in it", path.display()),
        Err(error) => format!("certificate: {} is not PEM: {error}", path.display()),
    };
    let cure = "write the file that begins with -----BEGIN CERTIFICATE-----; certbot calls it \
                fullchain.pem";
    Err((cause, cure.to_owned()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Wrong> {
    let bytes = bytes("key", path)?;
    // What is wrong with it is not told in detail: it may be the key itself.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let cause = format!("key: {} has no PEM private key in it", path.display());
        let encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let cure = if encrypted {
            "take its passphrase off, for nobody is there to type it: openssl pkey -in … -out …"
        } else {
            "write the file that begins with -----BEGIN PRIVATE KEY-----; certbot calls it \
             privkey.pem"
        };
        (cause, cure.to_owned())
    })
}

fn bytes(key: &str, path: &Path) -> Result<Vec<u8>, Wrong> {
    fs::read(path).map_err(|error| {
        let cause = format!("{key}: {} cannot be read: {error}", path.display());
        let cure = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the user that hairpin runs as read it, by its group for instance".to_owned()
            }
            _ => format!(
                "write {key} = \"…\" in [tls] with the file's path, or to do without {WITHOUT}"
            ),
        };
        (cause, cure)
    })
}

/// Each certificate is followed by its issuer's, where the file has that (RFC 8446 §4.4.2).
fn in_order(path: &Path, facts: &[Facts<'_>]) -> Result<(), Wrong> {
    for (index, one) in facts.iter().enumerate().filter(|(_, one)| !one.is_self_signed()) {
        let issuer = facts.iter().position(|other| other.subject == one.issuer);
        let Some(issuer) = issuer.filter(|issuer| *issuer != index + 1) else { continue };
        let next = facts.get(index + 1).is_some_and(|next| next.subject == one.issuer);
        if !next {
            let cause = format!(
                "certificate: {} is out of order: number {} was issued by number {}",
                path.display(),
                index + 1,
                issuer + 1
            );
            let cure = "write the server's own certificate first, then its issuer's, and so on";
            return Err((cause, cure.to_owned()));
        }
    }
    Ok(())
}

/// What a client may refuse although the server can use it.
fn doubtful(path: &Path, facts: &[Facts<'_>], now: u64) -> Vec<String> {
    let name = path.display();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let date = |secs: i64| rfc3339(u64::try_from(secs).unwrap_or(0));
    let mut doubts = Vec::new();
    for (index, it) in facts.iter().enumerate() {
        let which = if index == 0 { String::new() } else { format!("number {} in ", index + 1) };
        let soon = SOON_SECS.min((it.not_after - it.not_before) / 5);
        let what = if it.not_after < now {
            format!("expired at {}: clients refuse it; renew it", date(it.not_after))
        } else if it.not_before > now {
            format!("is not valid before {}: is the clock right?", date(it.not_before))
        } else if it.not_after - now < soon {
            format!("expires at {}: has its renewal failed?", date(it.not_after))
        } else {
            continue;
        };
        doubts.push(format!("[tls] certificate: {which}{name} {what}"));
    }
    if facts[0].is_self_signed() {
        doubts.push(format!(
            "[tls] certificate: {name} is self-signed: browsers refuse it for turns: unless they \
             were told about it"
        ));
    } else if facts.get(1).is_none_or(|next| next.subject != facts[0].issuer) {
        doubts.push(format!(
            "[tls] certificate: {name} does not hold its issuer's certificate: most clients \
             refuse it; use the whole chain, which certbot calls fullchain.pem"
        ));
    }
    if facts[0].names.is_empty() {
        doubts.push(format!(
            "[tls] certificate: {name} names no host (subjectAltName): clients that look for a \
             name refuse it"
        ));
    }
    doubts
}

fn others_may_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

/// What no listener wants a certificate with.
const WITHOUT: &str = "write tls = [] and dtls = [] in [listen]";

/// A certificate with less time left, or less than a fifth of its time, should have been renewed.
const SOON_SECS: i64 = 14 * 86_400;

#[cfg(test)]
mod tests;
