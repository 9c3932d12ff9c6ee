use super::*;

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// Noon of the first of July 2030.
const NOW: u64 = 1_909_137_600;

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// A certificate to be, good in all of 2030.
fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2031, 1, 1));
    params
}

fn authority(common_name: &str) -> CertificateParams {
    let mut params = params(common_name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A root, what it has certified, and what that has certified.
struct Chain {
    root: String,
    middle: String,
    leaf: String,
    key: String,
}

fn issued(leaf: CertificateParams) -> Chain {
    let root = CertifiedIssuer::self_signed(authority("the root"), key()).unwrap();
    let middle = CertifiedIssuer::signed_by(authority("the middle"), key(), &root).unwrap();
    let own = key();
    let leaf = leaf.signed_by(&own, &middle).unwrap();
    Chain { root: root.pem(), middle: middle.pem(), leaf: leaf.pem(), key: own.serialize_pem() }
}

fn chain() -> Chain {
    issued(params("a server", &["turn.example.org"]))
}

/// A directory with a certificate and a key.
struct Case {
    directory: TempDir,
}

impl Case {
    fn new(certificate: &str, key: &str) -> Self {
        let case = Self { directory: tempfile::tempdir().unwrap() };
        case.put("cert.pem", certificate);
        case.put("key.pem", key);
        case
    }

    fn put(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o640)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn files(&self) -> CertificateFiles {
        let (certificate, key) = (self.path("cert.pem"), self.path("key.pem"));
        CertificateFiles { certificate, key, line: Some(7) }
    }

    /// Doubts, or cause and cure.
    fn judged(&self) -> Result<Vec<String>, String> {
        match read_all("t.toml", &[self.files()], NOW) {
            Ok((identities, doubts)) => {
                assert_eq!(identities.len(), 1);
                Ok(doubts)
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn refused(certificate: &str, key: &str, cause: &str, cure: &str) {
    let error = Case::new(certificate, key).judged().unwrap_err();
    assert!(error.starts_with("t.toml:7: [tls] "), "{error}");
    assert!(error.contains(cause) && error.contains(cure), "{error}\nlacks: {cause} / {cure}");
    assert!(!error.contains("PRIVATE KEY-----\n"), "a key was shown: {error}");
}

fn doubted(certificate: &str, key: &str, doubt: &str) {
    let doubts = Case::new(certificate, key).judged().unwrap();
    assert!(matches!(&doubts[..], [one] if one.contains(doubt)), "{doubts:?} lacks: {doubt}");
}

#[test]
fn a_whole_chain_leaves_no_doubt_with_its_root_and_without() {
    let Chain { root, middle, leaf, key } = chain();
    let none = [""; 0];
    assert_eq!(Case::new(&format!("{leaf}{middle}"), &key).judged().unwrap(), none);
    assert_eq!(Case::new(&format!("{leaf}{middle}{root}"), &key).judged().unwrap(), none);
}

#[test]
fn files_that_no_client_could_use_are_refused_with_cause_and_cure() {
    let Chain { root, middle, leaf, key: own } = chain();
    let whole = format!("{leaf}{middle}");
    refused("", &own, "has no PEM certificate", "fullchain.pem");
    refused(&own, &own, "has no PEM certificate", "fullchain.pem");
    refused(&leaf.replace("MII", "!II"), &own, "cert.pem", "BEGIN CERTIFICATE");
    let short = "-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----\n";
    refused(short, &own, "number 1", "is not an X.509 certificate");
    refused(&format!("{leaf}{short}"), &own, "number 2", "is not an X.509 certificate");
    refused(&whole, "", "has no PEM private key", "privkey.pem");
    refused(&whole, &leaf, "has no PEM private key", "privkey.pem");
    let encrypted = own.replace("PRIVATE", "ENCRYPTED PRIVATE");
    refused(&whole, &encrypted, "has no PEM private key", "passphrase");
    refused(&whole, &key().serialize_pem(), "is not the key of the first", "comes first");
    refused(&format!("{middle}{leaf}"), &own, "out of order", "own certificate first");
    refused(&format!("{leaf}{root}{middle}"), &own, "number 1 was issued by number 3", "first");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let Chain { leaf, key, .. } = chain();
    for name in ["cert.pem", "key.pem"] {
        let case = Case::new(&leaf, &key);
        fs::remove_file(case.path(name)).unwrap();
        let error = case.judged().unwrap_err();
        let path = case.path(name).display().to_string();
        assert!(error.contains(&format!("{path} cannot be read: No such file")), "{error}");
        assert!(error.contains("cure: write "), "{error}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let (one, other) = (Case::new("", ""), Case::new(&chain().leaf, ""));
    let error = read_all("t.toml", &[one.files(), other.files()], NOW).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
}

#[test]
fn what_clients_may_refuse_is_doubted_and_no_more() {
    let Chain { middle, leaf, key: own, root } = chain();
    doubted(&leaf, &own, "does not hold its issuer's certificate");
    doubted(&format!("{leaf}{root}"), &own, "does not hold its issuer's certificate");
    let made = key();
    let alone = params("alone", &["turn.example.org"]).self_signed(&made).unwrap().pem();
    doubted(&alone, &made.serialize_pem(), "self-signed");
    let nameless = issued(params("nobody", &[]));
    doubted(&format!("{}{}", nameless.leaf, nameless.middle), &nameless.key, "names no host");
    let case = Case::new(&format!("{leaf}{middle}"), &own);
    case.put("other.pem", "");
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(case.path("key.pem"), readable).unwrap();
    assert!(case.judged().unwrap()[0].contains("may read"));
}

#[test]
fn a_certificate_out_of_its_time_is_doubted_with_the_date() {
    for (from, until, doubt) in [
        ((2030, 1, 1), (2030, 6, 30), "expired at 2030-06-30T00:00:00Z"),
        ((2030, 7, 2), (2031, 1, 1), "is not valid before 2030-07-02T00:00:00Z"),
        ((2030, 1, 1), (2030, 7, 15), "expires at 2030-07-15T00:00:00Z"),
        // A week's certificate with a day left.
        ((2030, 6, 25), (2030, 7, 2), "expires at 2030-07-02T00:00:00Z"),
    ] {
        let mut leaf = params("a server", &["turn.example.org"]);
        leaf.not_before = date_time_ymd(from.0, from.1, from.2);
        leaf.not_after = date_time_ymd(until.0, until.1, until.2);
        let Chain { middle, leaf, key, .. } = issued(leaf);
        doubted(&format!("{leaf}{middle}"), &key, doubt);
    }
    // A week's certificate with four days left is in its prime.
    let mut leaf = params("a server", &["turn.example.org"]);
    (leaf.not_before, leaf.not_after) = (date_time_ymd(2030, 6, 28), date_time_ymd(2030, 7, 5));
    let Chain { middle, leaf, key, .. } = issued(leaf);
    assert_eq!(Case::new(&format!("{leaf}{middle}"), &key).judged().unwrap(), [""; 0]);
}

#[test]
fn files_are_read_again_when_they_have_changed_and_rest() {
    let Chain { middle, leaf, key, .. } = chain();
    let case = Case::new(&format!("{leaf}{middle}"), &key);
    let files = vec![case.files()];
    let keyring = Arc::new(Keyring::new(Vec::new(), false).unwrap());
    let stamps = stamps(&files);
    let config = "t.toml".to_owned();
    let mut certificates = Certificates {
        config,
        files,
        keyring,
        dtls: None,
        read: stamps.clone(),
        seen: stamps.clone(),
        ends: watch::Sender::default(),
    };
    certificates.look();
    assert_eq!(certificates.read, stamps);
    // Another inode, however coarse the clock of the file system is.
    case.put("new.pem", &format!("{leaf}{middle}"));
    fs::rename(case.path("new.pem"), case.path("cert.pem")).unwrap();
    certificates.look();
    assert_eq!(certificates.read, stamps, "the key may be about to follow");
    certificates.look();
    assert_ne!(certificates.read, stamps);
}
