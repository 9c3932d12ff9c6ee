//! TLS and DTLS.

use super::Fate::{Carried, Needless};
use super::{Row, unsupported};

const GROUPS: &str = "keys are exchanged over elliptic curves, which need no parameters";

pub(super) const ROWS: &[Row] = &[
    Row::value("cert", Carried("[tls] certificate")),
    Row::value("pkey", Carried("[tls] key")),
    Row::secret(
        "pkey-pwd",
        unsupported(
            "a key is read without a passphrase, for nobody is there to type it",
            "take it off: openssl pkey -in old.pem -out key.pem, readable by hairpin's user only",
        ),
    ),
    Row::flag(
        "raw-public-keys",
        unsupported("clients are shown certificates (RFC 7443)", "nothing: no browser asks for it"),
    ),
    Row::value(
        "CA-file",
        unsupported(
            "clients are not asked for certificates: they show credentials of TURN",
            "have the firewall or a proxy before hairpin ask for them",
        ),
    ),
    Row::value(
        "cipher-list",
        Needless("only cipher suites that are thought safe are offered, of TLS 1.2 and 1.3"),
    ),
    Row::value("ec-curve-name", Needless("client and server agree on a curve")),
    Row::value("dh-file", Needless(GROUPS)),
    Row::flag("dh566", Needless(GROUPS)),
    Row::flag("dh1066", Needless(GROUPS)),
    Row::flag(
        "tlsv1",
        unsupported("TLS 1.0 is broken and forbidden (RFC 8996)", "update the clients"),
    ),
    Row::flag(
        "tlsv1_1",
        unsupported("TLS 1.1 is broken and forbidden (RFC 8996)", "update the clients"),
    ),
    Row::flag("no-tlsv1", Needless("TLS begins at 1.2")),
    Row::flag("no-tlsv1_1", Needless("TLS begins at 1.2")),
    Row::flag(
        "no-tlsv1_2",
        unsupported(
            "TLS 1.2 is served beside 1.3, with forward secrecy only",
            "nothing: clients that can take 1.3 do",
        ),
    ),
    Row::flag("no-sslv2", Needless("TLS begins at 1.2")),
    Row::flag("no-sslv3", Needless("TLS begins at 1.2")),
    Row::value(
        "acme-redirect",
        unsupported(
            "port 80 is not hairpin's, and nothing is redirected",
            "have the ACME client answer by itself (certbot --standalone), or by DNS",
        ),
    ),
];
