//! The other end: how a client of ours believes a server.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Session, dhe};

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Servers whose certificates one of these has issued, for the name that was asked for.
    Issuers(Vec<CertificateDer<'static>>),
    /// Whoever answers. For those who measure a server, and tell it nothing.
    Anybody,
}

/// What sessions with a server begin from.
#[derive(Clone, Debug)]
pub struct Visit {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Visit {
    /// To the server at `host`, a name or an address.
    ///
    /// # Errors
    ///
    /// Where `host` is neither, or there is nobody among the issuers.
    pub fn new(host: &str, trust: Trust) -> io::Result<Self> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidInput, error);
        let name = ServerName::try_from(host.to_owned()).map_err(|e| invalid(e.to_string()))?;
        let provider = Arc::new(dhe::provider());
        let verifier = verifier(trust, &provider).map_err(invalid)?;
        let builder = ClientConfig::builder_with_provider(provider);
        let mut config = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"stun.turn".to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    /// The client's side of a new session.
    ///
    /// # Errors
    ///
    /// What the library says of it.
    pub fn session(&self) -> io::Result<Session> {
        let begun = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        begun.map(Session::new).map_err(io::Error::other)
    }
}

fn verifier(
    trust: Trust,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let issuers = match trust {
        Trust::Issuers(issuers) => issuers,
        Trust::Anybody => {
            return Ok(Arc::new(Credulous(provider.signature_verification_algorithms)));
        }
    };
    let mut roots = RootCertStore::empty();
    for issuer in issuers {
        roots.add(issuer).map_err(|error| error.to_string())?;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(verifier.build().map_err(|error| error.to_string())?)
}

/// Believes that a certificate is the server's, but has it prove that it has the key.
#[derive(Debug)]
struct Credulous(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
