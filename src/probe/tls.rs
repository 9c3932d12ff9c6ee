//! TLS to a server, and what its certificate says.
//!
//! A certificate that is not good ends no probe: it is a failure, and the rest is asked all the
//! same. Nobody on the way gets more by that than over TCP, where nothing hides what is asked.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, StreamOwned,
};
use serde::Serialize;

use crate::client::authority::authorities;
use crate::client::uri::Carrier;
use crate::net::tls::x509::{Facts, date, readable};
use crate::probe::failure::{Failure, Kind};
use crate::probe::link::{Stream, now};

/// The label by which a server that listens for several protocols knows TURN (RFC 7443).
const TURN_ALPN: &[u8] = b"stun.turn";

/// What a server has proved itself with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// The first second in which it is good.
    pub not_before: String,
    /// The last.
    pub not_after: String,
    /// Whether it proves to this machine that the server is the host of the URI.
    pub verified: bool,
}

/// Whom we trust.
#[derive(Debug)]
pub(super) struct Authorities {
    provider: Arc<CryptoProvider>,
    verifier: Option<Arc<WebPkiServerVerifier>>,
    /// What could not be read of those of this machine.
    pub(super) doubts: Vec<String>,
}

impl Authorities {
    /// Those of this machine, and those in this file. What is wrong with the file is an error.
    pub(super) fn load(more: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        let doubts = native.errors.iter().map(ToString::to_string).collect();
        if let Some(path) = more {
            for certificate in authorities(path)? {
                let broken = |error| format!("--ca {} cannot be used: {error}", path.display());
                roots.add(certificate).map_err(broken)?;
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        // None at all is a machine that trusts nobody.
        Ok(Self { provider, verifier: verifier.build().ok(), doubts })
    }

    /// A connection with TLS over it, and what came of looking at the certificate.
    pub(super) fn connect(
        &self,
        host: &str,
        server: SocketAddr,
        is_turn: bool,
        patience: Duration,
    ) -> Result<Secured, Failure> {
        let seen = Arc::new(Seen {
            verifier: self.verifier.clone(),
            provider: Arc::clone(&self.provider),
            found: Mutex::default(),
        });
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| tls_failure(&error))?;
        let mut config = config
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        if is_turn {
            config.alpn_protocols = vec![TURN_ALPN.to_vec()];
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Failure::new(Kind::Name, format!("{host} is no name for TLS"), "write a host name")
        })?;
        let mut tls = ClientConnection::new(config.into(), name).map_err(|e| tls_failure(&e))?;
        let opened = TcpStream::connect_timeout(&server, patience).and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok((stream.local_addr()?, stream))
        });
        let (local, mut stream) = opened.map_err(|e| Failure::network(&e, Carrier::Tls))?;
        shake_hands(&mut tls, &mut stream, patience)?;
        let found = seen.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (certificate, problem) = found.unzip();
        let stream = Box::new(StreamOwned::new(tls, stream));
        Ok(Secured { stream, local, certificate, problem: problem.flatten() })
    }
}

/// All of the handshake within this time, however little of it comes at once.
fn shake_hands(
    tls: &mut ClientConnection,
    stream: &mut TcpStream,
    patience: Duration,
) -> Result<(), Failure> {
    let deadline = now() + patience;
    while tls.is_handshaking() || tls.wants_write() {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Err(handshake_failure(&ErrorKind::TimedOut.into()));
        }
        let moved = stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.set_write_timeout(Some(left)))
            .and_then(|()| match tls.wants_write() {
                true => tls.write_tls(stream),
                false => match tls.read_tls(stream)? {
                    0 => Err(ErrorKind::UnexpectedEof.into()),
                    length => Ok(length),
                },
            });
        match moved {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            moved => moved.map_err(|error| handshake_failure(&error))?,
        };
        if let Err(error) = tls.process_new_packets() {
            // The server may want to know why; we are told below.
            let _ = tls.write_tls(stream);
            return Err(tls_failure(&error));
        }
    }
    Ok(())
}

/// A connection, and what the server has proved itself with.
pub(super) struct Secured {
    pub(super) stream: Box<dyn Stream>,
    pub(super) local: SocketAddr,
    pub(super) certificate: Option<Certificate>,
    /// What is wrong with it.
    pub(super) problem: Option<Failure>,
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.sock.set_read_timeout(Some(patience))
    }
}

/// Looks at a certificate, notes what it finds, and lets the handshake go on.
#[derive(Debug)]
struct Seen {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<(Certificate, Option<Failure>)>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = match &self.verifier {
            None => Err(CertificateError::UnknownIssuer.into()),
            Some(verifier) => verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        };
        let certificate = Certificate::read(end_entity, verdict.is_ok());
        let problem = verdict.err().map(|error| problem(&error, &certificate, intermediates));
        let found = Some((certificate, problem));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Certificate {
    fn read(der: &[u8], verified: bool) -> Self {
        match Facts::read(der) {
            Some(facts) => Self {
                subject: readable(facts.subject),
                issuer: readable(facts.issuer),
                not_before: date(facts.not_before),
                not_after: date(facts.not_after),
                names: hosts(&facts),
                verified,
            },
            None => Self {
                subject: String::new(),
                issuer: String::new(),
                names: Vec::new(),
                not_before: String::new(),
                not_after: String::new(),
                verified,
            },
        }
    }
}

fn hosts(facts: &Facts<'_>) -> Vec<String> {
    let clean = |name: &String| name.chars().filter(|c| !c.is_control()).collect();
    let addresses = facts.addresses.iter().map(ToString::to_string);
    facts.names.iter().map(clean).chain(addresses).collect()
}

/// Why a certificate proves nothing to us.
fn problem(error: &Error, certificate: &Certificate, chain: &[CertificateDer<'_>]) -> Failure {
    let Certificate { names, issuer, not_before, not_after, .. } = certificate;
    let (cause, cure) = match error {
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => (
            format!("the certificate has expired: it was good until {not_after}"),
            "renew it, and see that the server reads the new one",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => (
            format!("the certificate is good from {not_before} only"),
            "see the clock of this machine, and of the one that made it",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            format!("the certificate is for {}", list(names)),
            "reach the server by one of these names, or have it certified for the one you use",
        ),
        // Nobody but its owner vouches for it, whatever else there is to say.
        _ if certificate.subject == *issuer && !issuer.is_empty() && chain.is_empty() => (
            format!("{issuer} has signed the certificate itself, so it proves nothing"),
            "have it signed by an authority that clients know, such as Let's Encrypt",
        ),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) if chain.is_empty() => (
            format!("nobody whom this machine trusts has signed the certificate ({issuer} has)"),
            "the server sends it alone: give it the whole chain (fullchain.pem); of an authority \
             of your own, name the certificate with --ca",
        ),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
            format!("nobody whom this machine trusts has signed the certificate ({issuer} has)"),
            "have it signed by an authority that clients know; of an authority of your own, name \
             the certificate with --ca",
        ),
        error => (format!("the certificate: {error}"), "have another one made"),
    };
    Failure::new(Kind::Tls, cause, cure)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") }
}

fn handshake_failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::new(
            Kind::Timeout,
            "the port is open, but nobody answers in TLS",
            "see that it is the port of the TLS listener",
        ),
        _ => Failure::network(error, Carrier::Tls),
    }
}

fn tls_failure(error: &Error) -> Failure {
    let cure = match error {
        Error::InvalidMessage(_) => {
            "what listens there does not speak TLS: see that it is the port of the TLS listener"
        }
        Error::AlertReceived(_) => "the server refuses: its log may tell why",
        _ => "see which versions of TLS the server speaks",
    };
    Failure::new(Kind::Tls, format!("no TLS: {error}"), cure)
}
