//! Certificates for a test, their files, and clients that believe them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

/// Who issues certificates, and the directory that they are put into.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Self { issuer, directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a certificate for these names, and its key, where [`Authority::keys`] says; what was
    /// there before is replaced as a whole. Gives the certificate.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> CertificateDer<'static> {
        self.issue_until(file, names, 4096)
    }

    /// The same, good until this year begins.
    pub(crate) fn issue_until(
        &self,
        file: &str,
        names: &[&str],
        year: i32,
    ) -> CertificateDer<'static> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names of hosts");
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = certificate.pem() + &self.issuer.pem();
        self.put(&format!("{file}.key"), &key.serialize_pem());
        self.put(&format!("{file}.pem"), &chain);
        certificate.der().clone()
    }

    /// The file of its own certificate.
    pub(crate) fn issuer(&self) -> PathBuf {
        self.put("issuer.pem", &self.issuer_text());
        self.path("issuer.pem")
    }

    pub(crate) fn issuer_text(&self) -> String {
        self.issuer.pem()
    }

    /// Writes a file beside the one of this name and renames it, as who renews certificates does.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let beside = self.path("beside");
        fs::write(&beside, text).expect("a file");
        fs::rename(beside, self.path(name)).expect("a new name");
    }

    /// The two keys of a configuration that name a certificate.
    pub(crate) fn keys(&self, file: &str) -> String {
        let path = |end: &str| self.path(&format!("{file}.{end}")).display().to_string();
        format!("certificate = {:?}, key = {:?}", path("pem"), path("key"))
    }

    /// What a configuration needs to listen for TLS at SECURE with these certificates.
    pub(crate) fn listeners(&self, files: &[&str]) -> String {
        let (first, more) = files.split_first().expect("a certificate");
        let more: Vec<_> = more.iter().map(|file| format!("{{ {} }}", self.keys(file))).collect();
        format!(
            "[listen]\ntls = [\"127.0.0.1:SECURE\", \"[::1]:SECURE\"]\n[tls]\n{}\nmore = [{}]\n",
            self.keys(first).replace(", ", "\n"),
            more.join(", ")
        )
    }

    /// A client that believes this authority, and offers these protocols.
    pub(crate) fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        self.client_of(rustls::ALL_VERSIONS, protocols)
    }

    /// The same, of these versions of TLS.
    pub(crate) fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions that there are")
            .with_webpki_verifier(verifier.build().expect("an authority"))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        // Each client is a new one.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }
}
