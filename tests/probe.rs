//! `hairpin probe` against servers that are well, and against all that may be wrong with one.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod far;
    #[allow(dead_code, reason = "a part of it is enough here")]
    pub(crate) mod packet;
    pub(crate) mod server;
    pub(crate) mod tls;
}

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use common::far::far_away;
use common::packet::{Packet, Response, addr, xor};
use common::server::{Server, free_port};
use common::tls::Authority;
use hairpin::wire::address::encode;
use hairpin::wire::{AttributeType, Class, IntegrityKey, Method};
use serde_json::Value;

const USER: &str = "--user user1 --password test";

fn probe(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .arg("probe")
        .args(line.split_whitespace())
        .env_remove("HAIRPIN_PASSWORD")
        .env_remove("HAIRPIN_SECRET")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What it found; the exit code tells whether that is well.
#[track_caller]
fn report(line: &str) -> Value {
    let output = probe(&format!("{line} --json"));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{line}: {error}: {output:?}"));
    let code = if report["ok"] == true { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(code), "{line}: {report}");
    report
}

#[track_caller]
fn all_well(line: &str) -> Value {
    let report = report(line);
    assert_eq!(report["ok"], true, "{line}: {report}");
    report
}

/// The one failure of the one leg.
#[track_caller]
fn failure(line: &str) -> Value {
    let report = report(line);
    assert_eq!(report["ok"], false, "{line}: {report}");
    let failures: Vec<&Value> =
        legs(&report).iter().flat_map(|leg| leg["failures"].as_array().unwrap()).collect();
    let [failure] = failures.as_slice() else { panic!("{line}: {report}") };
    for words in ["cause", "cure"] {
        assert!(!failure[words].as_str().unwrap().is_empty(), "{failure}");
    }
    (*failure).clone()
}

fn legs(report: &Value) -> &Vec<Value> {
    report["legs"].as_array().unwrap()
}

fn turn(server: &Server) -> String {
    format!("turn:{}", server.address())
}

#[test]
fn a_server_that_is_well_is_asked_for_everything_over_each_transport() {
    let server = Server::start();
    let report = all_well(&format!("{} {USER}", turn(&server)));
    let transports: Vec<&str> =
        legs(&report).iter().map(|leg| leg["transport"].as_str().unwrap()).collect();
    assert_eq!(transports, ["udp", "tcp"]);
    for leg in legs(&report) {
        assert_eq!(leg["server"], server.address().to_string());
        assert_eq!(leg["reflexive"], leg["local"], "there is no NAT on loopback");
        assert!(leg["relayed"].as_str().unwrap().starts_with("127.0.0.1:"), "{leg}");
        assert_eq!((&leg["realm"], &leg["lifetime_secs"]), (&"example.org".into(), &600.into()));
        assert!(leg["software"].as_str().unwrap().starts_with("hairpin "), "{leg}");
        assert_eq!(leg["peer"], "socket");
        for time in ["binding_ms", "allocate_ms", "round_trip_ms"] {
            assert!(leg[time].as_f64().unwrap() < 3000.0, "{time}: {leg}");
        }
        assert_eq!(leg["connect_ms"].is_null(), leg["transport"] == "udp");
    }
    assert_eq!(report["nat"], Value::Array(vec![]), "this server has no other address");
}

#[test]
fn both_families_and_time_limited_credentials_work() {
    let server = Server::start();
    let port = server.address().port();
    let report = all_well(&format!("turn:[::1]:{port} turn:localhost:{port} --secret s3cret"));
    let v6 = legs(&report).iter().filter(|leg| leg["server"] == format!("[::1]:{port}"));
    for leg in v6 {
        assert!(leg["relayed"].as_str().unwrap().starts_with("[::1]:"), "{leg}");
    }
    assert!(legs(&report).iter().any(|leg| leg["server"] == format!("127.0.0.1:{port}")));
}

/// Allocations that were made are given up: the next one is not refused.
#[test]
fn nothing_is_left_behind() {
    let server = Server::with("[limits]\nallocations_per_user = 1");
    for _ in 0..3 {
        all_well(&format!("{} {USER}", turn(&server)));
    }
}

#[test]
fn where_peers_here_are_not_allowed_the_far_end_is_a_second_allocation() {
    let server = Server::with("[peers]\nallow = []");
    let report = all_well(&format!("{} {USER}", turn(&server)));
    for leg in legs(&report) {
        assert_eq!(leg["peer"], "allocation", "{leg}");
        assert!(leg["round_trip_ms"].is_number(), "{leg}");
    }
}

/// Twice the delay is more than every wait after which something is sent again.
#[test]
fn a_server_that_is_far_away_is_well_and_no_time_is_shorter_than_the_way() {
    for (changes, peer) in [("", "socket"), ("[peers]\nallow = []", "allocation")] {
        let server = Server::with(changes);
        let address = far_away(server.address(), Duration::from_millis(210));
        let report = all_well(&format!("turn:{address}?transport=udp {USER}"));
        let leg = &legs(&report)[0];
        assert_eq!(leg["peer"], peer);
        for time in ["binding_ms", "allocate_ms", "round_trip_ms"] {
            assert!(leg[time].as_f64().unwrap() >= 420.0, "{time}: {leg}");
        }
    }
}

#[test]
fn stun_alone_asks_for_no_relay() {
    let server = Server::start();
    let report = all_well(&format!("stun:{}", server.address()));
    let [leg] = legs(&report).as_slice() else { panic!("{report}") };
    assert!(leg["reflexive"].is_string() && leg["relayed"].is_null());
}

#[test]
fn without_credentials_the_realm_is_told_and_nothing_has_failed() {
    let server = Server::start();
    let report = all_well(&turn(&server));
    for leg in legs(&report) {
        assert_eq!((&leg["realm"], &leg["relayed"]), (&"example.org".into(), &Value::Null));
    }
    let said = String::from_utf8(probe(&turn(&server)).stdout).unwrap();
    assert!(said.contains("say --user and --password"), "{said}");
}

#[test]
fn a_wrong_password_is_told_with_the_realm() {
    let server = Server::start();
    let uri = format!("turn:{}?transport=udp", server.address());
    let failure = failure(&format!("{uri} --user user1 --password hush"));
    assert_eq!(failure["step"], "allocate");
    assert_eq!((&failure["kind"], &failure["code"]), (&"credentials".into(), &401.into()));
    assert!(failure["cause"].as_str().unwrap().contains("example.org"), "{failure}");
    assert!(failure["cure"].as_str().unwrap().contains("--password"), "{failure}");
    let output = probe(&format!("{uri} --user user1 --password hush"));
    assert_eq!(output.status.code(), Some(1));
    for said in [output.stdout, output.stderr] {
        assert!(!String::from_utf8(said).unwrap().contains("hush"));
    }
}

/// A server over UDP that answers each request by itself, from one socket.
fn stranger(answer: impl Fn(&Response, SocketAddr) -> Packet + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut bytes) {
            let answer = answer(&Response::read(&bytes[..length]), client);
            socket.send_to(&answer.encode(), client).unwrap();
        }
    });
    address
}

fn success(request: &Response, client: SocketAddr) -> Packet {
    let seen = xor(client, &request.transaction);
    Packet::new(Class::Success, Method::BINDING, request.transaction)
        .with(AttributeType::XOR_MAPPED_ADDRESS, seen)
}

/// As coturn does with --secure-stun.
#[test]
fn a_server_that_answers_nobody_without_a_name_is_asked_with_one() {
    let server = stranger(|request, client| {
        if request.has(AttributeType::USERNAME) {
            let key = IntegrityKey::long_term(b"user1", b"example.org", b"test");
            return success(request, client).signed(&key);
        }
        Packet::new(Class::Error, Method::BINDING, request.transaction)
            .with(AttributeType::ERROR_CODE, [0, 0, 4, 1])
            .with(AttributeType::REALM, "example.org")
            .with(AttributeType::NONCE, "once")
    });
    let report = all_well(&format!("stun:{server} {USER}"));
    let leg = &legs(&report)[0];
    assert_eq!((&leg["realm"], &leg["reflexive"]), (&"example.org".into(), &leg["local"]));
    let failure = failure(&format!("stun:{server}"));
    assert_eq!((&failure["step"], &failure["code"]), (&"binding".into(), &401.into()));
    assert!(failure["cure"].as_str().unwrap().contains("say --user"), "{failure}");
}

/// It tells of another address and answers from its own: no NAT has let anything in by that.
#[test]
fn an_answer_from_where_the_request_went_tells_nothing_of_filtering() {
    let other = encode(addr("127.0.0.2:9"), None);
    let server = stranger(move |request, client| {
        success(request, client).with(AttributeType::OTHER_ADDRESS, other.as_bytes())
    });
    let report = all_well(&format!("stun:{server}"));
    let nat = &report["nat"][0];
    assert_eq!(nat["filtering"], Value::Null, "{nat}");
    let notes = nat["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains("from elsewhere")), "{nat}");
}

#[test]
fn a_closed_port_is_refused_over_each_transport() {
    let port = free_port();
    for transport in ["udp", "tcp"] {
        let failure = failure(&format!("turn:127.0.0.1:{port}?transport={transport}"));
        assert_eq!(failure["kind"], "refused", "{failure}");
        assert!(failure["cure"].as_str().unwrap().contains("server runs"), "{failure}");
    }
}

#[test]
fn silence_is_told_from_a_refusal() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let failure = failure(&format!("stun:{} --timeout 0.5", silent.local_addr().unwrap()));
    assert_eq!((&failure["step"], &failure["kind"]), (&"binding".into(), &"timeout".into()));
    assert!(failure["cure"].as_str().unwrap().contains("firewall"), "{failure}");
}

#[test]
fn a_port_where_something_else_listens_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let web = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        stream
    });
    let failure = failure(&format!("turn:{address}?transport=tcp"));
    assert_eq!((&failure["step"], &failure["kind"]), (&"binding".into(), &"answer".into()));
    drop(web.join().unwrap());
}

/// A server with a certificate for this host, the URI to reach it by, and how to trust it.
fn secured(host: &str) -> (Server, Authority, String, String) {
    let authority = Authority::new();
    authority.issue("first", &[host]);
    let server = Server::with(&authority.listeners(&["first"]));
    let uri = format!("turns:{}", server.secure_at(Ipv4Addr::LOCALHOST));
    let trust = format!("--ca {}", authority.issuer().display());
    (server, authority, uri, trust)
}

#[test]
fn a_server_is_asked_over_tls_and_its_certificate_told() {
    let (_server, _authority, uri, trust) = secured("127.0.0.1");
    let report = all_well(&format!("{uri} {USER} {trust}"));
    let [leg] = legs(&report).as_slice() else { panic!("{report}") };
    assert_eq!(leg["transport"], "tls");
    assert!(leg["relayed"].is_string() && leg["round_trip_ms"].is_number(), "{leg}");
    let certificate = &leg["certificate"];
    assert_eq!(certificate["subject"], "first");
    assert_eq!(certificate["issuer"], "an authority for tests");
    assert_eq!(certificate["names"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(certificate["not_after"], "4096-01-01T00:00:00Z");
    assert_eq!(certificate["verified"], true);
    let stun = all_well(&format!("{} {trust}", uri.replace("turns:", "stuns:")));
    assert!(legs(&stun)[0]["reflexive"].is_string(), "{stun}");
}

/// A certificate that proves nothing is a failure, and what else there is to know is told as well.
#[test]
fn a_certificate_that_is_not_good_is_told_with_the_reason() {
    let (_server, _authority, uri, trust) = secured("turn.example.org");
    let unknown = failure(&format!("{uri} {USER}"));
    assert_eq!((&unknown["step"], &unknown["kind"]), (&"certificate".into(), &"tls".into()));
    assert!(unknown["cause"].as_str().unwrap().contains("nobody whom this machine trusts"));
    let other = report(&format!("{uri} {USER} {trust}"));
    let leg = &legs(&other)[0];
    assert_eq!(leg["certificate"]["verified"], false);
    assert!(leg["round_trip_ms"].is_number(), "{leg}");
    let cause = leg["failures"][0]["cause"].as_str().unwrap();
    assert!(cause.contains("is for turn.example.org"), "{cause}");
}

#[test]
fn a_certificate_that_is_signed_by_itself_is_told() {
    let authority = Authority::new();
    authority.issue("first", &["127.0.0.1"]);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    authority.put("first.pem", &params.self_signed(&key).unwrap().pem());
    authority.put("first.key", &key.serialize_pem());
    let server = Server::with(&authority.listeners(&["first"]));
    let uri = format!("turns:{} {USER}", server.secure_at(Ipv4Addr::LOCALHOST));
    let failure = failure(&uri);
    assert!(failure["cause"].as_str().unwrap().contains("has signed the certificate itself"));
    let table = String::from_utf8(probe(&uri).stdout).unwrap();
    assert!(table.contains(" ms, untrusted"), "{table}");
    assert!(table.contains("not verified"), "{table}");
}

#[test]
fn an_expired_certificate_is_told_with_its_date() {
    let authority = Authority::new();
    authority.issue_until("first", &["127.0.0.1"], 2001);
    let server = Server::with(&authority.listeners(&["first"]));
    let uri = format!("turns:{}", server.secure_at(Ipv4Addr::LOCALHOST));
    let failure = failure(&format!("{uri} --ca {}", authority.issuer().display()));
    assert!(failure["cause"].as_str().unwrap().contains("expired"), "{failure}");
    assert!(failure["cause"].as_str().unwrap().contains("2001-01-01"), "{failure}");
    assert!(failure["cure"].as_str().unwrap().contains("renew"), "{failure}");
}

#[test]
fn a_port_without_tls_is_told() {
    let server = Server::start();
    let failure = failure(&format!("turns:{}", server.address()));
    assert_eq!(failure["step"], "connect");
    assert!(["tls", "closed"].contains(&failure["kind"].as_str().unwrap()), "{failure}");
}

/// The head of a record, and then one byte of it at a time: something is always coming.
#[test]
fn a_handshake_that_trickles_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let slow = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut left =
            [&b"\x16\x03\x03\x20\x00\x02\x00\x1f\xfc"[..], &[0; 50]].concat().into_iter();
        while left.next().is_some_and(|byte| stream.write_all(&[byte]).is_ok()) {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let failure = failure(&format!("stuns:{address} --timeout 0.5"));
    assert_eq!((&failure["step"], &failure["kind"]), (&"connect".into(), &"timeout".into()));
    slow.join().unwrap();
}

#[test]
fn what_is_wrong_with_the_authorities_is_told() {
    let authority = Authority::new();
    authority.put("empty.pem", "no certificate\n");
    let output = probe(&format!("stun:a --ca {}", authority.path("empty.pem").display()));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("empty.pem has no certificate in it: name a PEM file"), "{said}");
    for (uri, told) in [("stuns:127.0.0.1:9", true), ("stun:127.0.0.1:9", false)] {
        let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(["probe", "--quiet", uri])
            .env("SSL_CERT_FILE", "/no/such/authorities.pem")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.contains("/no/such/authorities.pem"), told, "{said}");
    }
}

#[test]
fn dtls_is_not_spoken() {
    let failure = failure("turns:127.0.0.1:9?transport=udp");
    assert_eq!((&failure["step"], &failure["kind"]), (&"connect".into(), &"unsupported".into()));
}

#[test]
fn a_relay_that_nobody_reaches_is_told() {
    // What the server says that the world sees is an address that leads nowhere.
    let server = Server::with("[relay]\nexternal = { \"127.0.0.1\" = \"127.9.9.9\" }");
    let uri = format!("turn:{}?transport=udp", server.address());
    let failure = failure(&format!("{uri} {USER} --timeout 1"));
    assert_eq!((&failure["step"], &failure["kind"]), (&"relay".into(), &"lost".into()));
    assert!(failure["cure"].as_str().unwrap().contains("relay ports"), "{failure}");
}

#[test]
fn a_server_without_room_is_told_by_its_code() {
    // The far end would be a second allocation, of a user who may have one.
    let server = Server::with("[peers]\nallow = []\n[limits]\nallocations_per_user = 1");
    let failure = failure(&format!("turn:{}?transport=udp {USER}", server.address()));
    assert_eq!((&failure["step"], &failure["code"]), (&"relay".into(), &486.into()));
    assert!(failure["cure"].as_str().unwrap().contains("quota"), "{failure}");
}

#[test]
fn a_server_that_sends_its_clients_elsewhere_is_told_with_where() {
    let server = Server::with("[alternates]\nudp = [\"192.0.2.7:3478\"]\nalways = true");
    let failure = failure(&format!("turn:{}?transport=udp {USER}", server.address()));
    assert_eq!((&failure["step"], &failure["code"]), (&"allocate".into(), &300.into()));
    assert!(failure["cure"].as_str().unwrap().contains("192.0.2.7:3478"), "{failure}");
}

#[test]
fn a_name_that_nobody_has_is_told() {
    let failure = failure("turn:no..host?transport=udp");
    assert_eq!((&failure["step"], &failure["kind"]), (&"resolve".into(), &"name".into()));
}

#[test]
fn one_failure_leaves_the_other_transport_standing() {
    let server = Server::start();
    let closed = free_port();
    let uris = format!("{}?transport=udp turn:127.0.0.1:{closed}?transport=tcp", turn(&server));
    let report = report(&format!("{uris} {USER}"));
    assert_eq!(report["ok"], false);
    let failed: Vec<bool> =
        legs(&report).iter().map(|leg| leg["failures"] != Value::Array(vec![])).collect();
    assert_eq!(failed, [false, true]);
}

#[test]
fn a_server_with_another_address_tells_what_nats_do() {
    let server = Server::with(
        "[listen]\nhttp = [\"[::1]:HTTP\"]\n[nat_discovery]\nprimary = [\"127.0.0.1:PORT\"]\n\
         alternate = [\"127.0.0.2:HTTP\"]",
    );
    let report = all_well(&format!("stun:{}", server.address()));
    let nat = &report["nat"][0];
    assert_eq!((&nat["translated"], &nat["hairpinning"]), (&false.into(), &true.into()));
    for what in ["mapping", "filtering"] {
        assert_eq!(nat[what], "endpoint-independent", "{nat}");
    }
    assert_eq!(nat["notes"], Value::Array(vec![]));
    let said = String::from_utf8(probe(&format!("stun:{}", server.address())).stdout).unwrap();
    assert!(said.contains("mapping      endpoint-independent: whomever"), "{said}");
}

#[test]
fn the_table_has_a_line_for_each_way_and_the_progress_is_not_in_it() {
    let server = Server::start();
    let output = probe(&format!("{} {USER}", turn(&server)));
    let table = String::from_utf8(output.stdout).unwrap();
    let [head, udp, tcp, ..] = table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
    assert!(head.starts_with("over  server"), "{table}");
    assert!(udp.starts_with("udp   127.0.0.1:") && tcp.starts_with("tcp   127.0.0.1:"), "{table}");
    assert!(!table.contains("asking"), "{table}");
    assert!(table.contains("NAT: there is none; a server with a second address"), "{table}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("asking for a relay"));
    let output = probe(&format!("{} {USER} --quiet", turn(&server)));
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn what_cannot_be_asked_is_wrong_usage() {
    let local = Ipv4Addr::LOCALHOST;
    let lines = ["", "udp:127.0.0.1:9", "turn:", "stun:a --timeout 0", "stun:a --ca no/such/file"];
    for line in lines {
        let output = probe(line);
        assert_eq!(output.status.code(), Some(2), "{line}: {output:?}");
    }
    let line = format!("turn:{local} --user a --password b --secret c");
    assert_eq!(probe(&line).status.code(), Some(2));
}

/// Programs read the JSON: docs/probe.md names each key, and no other.
#[test]
fn the_document_names_each_key() {
    let server = Server::with(
        "[listen]\nhttp = [\"[::1]:HTTP\"]\n[nat_discovery]\nprimary = [\"127.0.0.1:PORT\"]\n\
         alternate = [\"127.0.0.2:HTTP\"]",
    );
    let (_secured, _authority, secured, _) = secured("127.0.0.1");
    let uri = format!("turn:{}?transport=udp", server.address());
    let report = report(&format!("{uri} stun:127.0.0.1:{} {secured}", free_port()));
    let document = include_str!("../docs/probe.md");
    let named = |heading: &str| -> BTreeSet<String> {
        let section = document.split(heading).nth(1).expect(heading);
        let rows = section.lines().skip(1).skip_while(|line| !line.starts_with("| `"));
        let rows = rows.take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
    };
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect();
    let failed = &legs(&report)[1]["failures"][0];
    for (heading, value) in [
        ("### The report", &report),
        ("### `legs`", &legs(&report)[0]),
        ("### `certificate`", &legs(&report)[2]["certificate"]),
        ("### `failures`", failed),
        ("### `nat`", &report["nat"][0]),
    ] {
        assert_eq!(named(heading), keys(value), "{heading}");
    }
}
