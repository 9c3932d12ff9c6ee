//! What TLS is spoken, and what is not (RFC 8489 §6.2.3, BCP 195): seen by a client that is made by
//! hand, since no library of today would offer what must be refused.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
    pub(crate) mod tls;
}

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};

use common::client::PATIENCE;
use common::server::Server;
use common::tls::Authority;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TLS_1_2: u16 = 0x0303;
const ECDHE_ECDSA_AES128_GCM: u16 = 0xC02B;
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

fn server() -> (Server, Authority) {
    let authority = Authority::new();
    authority.issue("first", &["turn.example.org"]);
    (Server::with(&authority.listeners(&["first"])), authority)
}

/// A ClientHello of this version that offers these suites and compressions, as an old client's or
/// a forged one's.
fn hello_of(version: u16, suites: &[u16], compressions: &[u8]) -> Vec<u8> {
    let counted = |length: usize, bytes: &[u8]| {
        [&(bytes.len() as u32).to_be_bytes()[4 - length..], bytes].concat()
    };
    let words =
        |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let extension = |number: u16, list: &[u16]| {
        [&number.to_be_bytes()[..], &counted(2, &counted(2, &words(list)))].concat()
    };
    // Groups x25519 and P-256; signatures of ECDSA and RSA with SHA-256, and RSA-PSS.
    let extensions = [extension(10, &[0x001D, 0x0017]), extension(13, &[0x0403, 0x0401, 0x0804])];
    let body = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &counted(1, &[]),
        &counted(2, &words(suites)),
        &counted(1, compressions),
        &counted(2, &extensions.concat()),
    ]
    .concat();
    let handshake = [&[1][..], &counted(3, &body)].concat();
    [&[22, 3, 1][..], &counted(2, &handshake)].concat()
}

/// What a ServerHello has chosen: suite and compression; or the alert that came in its place.
fn chosen(server: &Server, hello: &[u8]) -> Result<(u16, u8), u8> {
    let mut stream = TcpStream::connect(server.secure_at(V4)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(hello).unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut record).unwrap();
    match (head[0], record[0]) {
        (22, 2) => {
            // Behind type and length, version and random: the session, then what was chosen.
            let at = 4 + 2 + 32 + 1 + usize::from(record[38]);
            Ok((u16::from_be_bytes([record[at], record[at + 1]]), record[at + 2]))
        }
        (21, _) => Err(record[1]),
        other => panic!("neither a ServerHello nor an alert: {other:?}"),
    }
}

#[test]
fn suites_that_are_weak_or_keep_no_secret_are_refused() {
    let (server, _authority) = server();
    let refused: [(&str, &[u16]); 6] = [
        ("RC4", &[0x0004, 0x0005, 0xC007, 0xC011]),
        ("DES", &[0x0009, 0x0015, 0x000A]),
        ("no encryption", &[0x0001, 0x0002, 0x003B, 0xC006]),
        ("for export", &[0x0003, 0x0006, 0x0008]),
        ("anonymous", &[0x0018, 0x0034, 0x006C, 0xC018]),
        ("no forward secrecy", &[0x002F, 0x0035, 0x009C, 0x009D]),
    ];
    for (what, suites) in refused {
        let hello = hello_of(TLS_1_2, suites, &[0]);
        assert_eq!(chosen(&server, &hello), Err(HANDSHAKE_FAILURE), "{what}");
        // Beside a good one they are passed over, whatever comes first.
        let hello = hello_of(TLS_1_2, &[suites, &[ECDHE_ECDSA_AES128_GCM]].concat(), &[0]);
        assert_eq!(chosen(&server, &hello), Ok((ECDHE_ECDSA_AES128_GCM, 0)), "{what}");
    }
}

#[test]
fn nothing_is_compressed() {
    let (server, _authority) = server();
    for compressions in [&[0, 1][..], &[1, 0]] {
        let hello = hello_of(TLS_1_2, &[ECDHE_ECDSA_AES128_GCM], compressions);
        assert_eq!(chosen(&server, &hello), Ok((ECDHE_ECDSA_AES128_GCM, 0)));
    }
}

#[test]
fn versions_before_tls_1_2_are_refused() {
    let (server, _authority) = server();
    for version in [0x0300, 0x0301, 0x0302] {
        let hello = hello_of(version, &[0xC009, 0xC00A, ECDHE_ECDSA_AES128_GCM], &[0]);
        assert_eq!(chosen(&server, &hello), Err(PROTOCOL_VERSION), "{version:#06x}");
    }
}
