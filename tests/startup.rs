//! The first minute with the server: it starts and says what to paste, or it does not and says
//! why, where and what to do.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Child;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::client::{Client, eventually};
use common::server::{Server, answers_binding, free_port, spawn};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha1::Sha1;
use tempfile::TempDir;

/// A server in a directory of its own, however it fares.
struct Attempt {
    child: Child,
    directory: TempDir,
}

impl Attempt {
    /// With this turnserver.toml, or with none.
    fn new(config: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if let Some(config) = config {
            fs::write(directory.path().join("turnserver.toml"), config).unwrap();
        }
        Self { child: spawn(directory.path(), &[], None), directory }
    }

    fn stdout(&self) -> String {
        fs::read_to_string(self.directory.path().join("stdout")).unwrap()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What a server that refuses to start has said.
    fn refusal(mut self) -> String {
        eventually("it refuses", || self.has_ended());
        let stderr = self.stderr();
        assert_eq!(self.child.wait().unwrap().code(), Some(1), "{stderr}");
        assert_eq!(self.stdout(), "", "stdout is for answers");
        stderr
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn listening(udp: u16, tcp: u16, http: u16) -> String {
    format!(
        "realm = \"example.org\"\n[listen]\nudp = [\"127.0.0.1:{udp}\"]\n\
         tcp = [\"127.0.0.1:{tcp}\"]\nhttp = [\"127.0.0.1:{http}\"]\n"
    )
}

// Refusals.

#[test]
fn a_wrong_file_stops_the_start_with_line_cause_and_cure() {
    for (config, place, cause) in [
        ("realm = \"x\"\nrelam = \"y\"\n", ":2: ", "relam"),
        ("[peers]\nallow = [\n\"10.0.0.0/8\",\n\"10.0.0.0/33\"]\n", ":4: ", "10.0.0.0/33"),
        ("[peers]\ndeny = [\"somewhere\"]\n", ":2: ", "somewhere"),
        ("[auth]\nusers = [{ name = \"a\", password = \"b\" }]\n", ":2: ", "realm"),
        ("[auth]\nsecrets = [\"s3cret-of-mine\"]\n", ":2: ", "realm"),
        ("[listen]\nudp = [\"127.0.0.1\"]\n", ":2: ", "no port"),
        ("workers = \"many\"\n", ":1: ", "workers"),
        ("[limits\n", ":1: ", ""),
        ("[listen]\ntls = [\"127.0.0.1:5349\"]\n", ":2: ", "tls"),
    ] {
        let said = Attempt::new(Some(config)).refusal();
        let head = format!("turnserver.toml{place}");
        assert!(said.starts_with(&head), "{config}: {said}");
        assert!(said.contains(cause) && said.contains("cure: "), "{config}: {said}");
        assert!(!said.contains("s3cret-of-mine") && !said.contains("panic"), "{said}");
    }
}

#[test]
fn a_busy_port_stops_the_start_with_line_cause_and_cure() {
    for (list, line) in [("udp", 3), ("tcp", 4), ("http", 5)] {
        let [udp, tcp, http] = [free_port(), free_port(), free_port()];
        let holds_udp = (list == "udp").then(|| UdpSocket::bind(local(udp)).unwrap());
        let tcp_port = if list == "http" { http } else { tcp };
        let holds_tcp = (list != "udp").then(|| TcpListener::bind(local(tcp_port)).unwrap());
        let said = Attempt::new(Some(&listening(udp, tcp, http))).refusal();
        let head = format!("turnserver.toml:{line}: [listen] {list}: cannot listen on 127.0.0.1:");
        assert!(said.contains(&head) && said.contains("cure: stop what listens there"), "{said}");
        drop((holds_udp, holds_tcp));
    }
}

#[test]
fn an_address_of_nat_discovery_that_cannot_be_had_stops_the_start() {
    let [udp, other] = [free_port(), free_port()];
    let with = |alternate: &str| {
        let base = listening(udp, free_port(), free_port());
        format!(
            "{base}[nat_discovery]\nprimary = [\"127.0.0.1:{udp}\"]\n\
             alternate = [\"{alternate}:{other}\"]\n"
        )
    };
    let said = Attempt::new(Some(&with("203.0.113.77"))).refusal();
    assert!(said.contains("turnserver.toml:8: [nat_discovery]: cannot listen on"), "{said}");
    assert!(said.contains("cure: write two addresses that this host has"), "{said}");
    let taken = SocketAddr::from(([127, 0, 0, 2], other));
    let _held = UdpSocket::bind(taken).unwrap();
    let said = Attempt::new(Some(&with("127.0.0.2"))).refusal();
    let head = format!("turnserver.toml:8: [nat_discovery]: cannot listen on {taken}");
    assert!(said.contains(&head) && said.contains("in use"), "{said}");
}

#[test]
fn a_second_server_on_the_same_port_does_not_start_and_leaves_the_first_alone() {
    let first = Server::with("workers = 4\n[listen]\nhttp = [\"127.0.0.1:HTTP\"]");
    let port = first.address().port();
    let others = [
        listening(port, free_port(), free_port()),
        listening(free_port(), port, free_port()),
        listening(free_port(), free_port(), first.http().port()),
        listening(port, port, first.http().port()),
        listening(port, port, free_port()).replace("127.0.0.1", "0.0.0.0"),
        listening(port, port, free_port()).replace("127.0.0.1", "[::1]"),
    ];
    for config in others {
        let said = Attempt::new(Some(&config)).refusal();
        assert!(said.contains("cannot listen on") && said.contains("in use"), "{said}");
        for _ in 0..8 {
            let mut client = Client::udp(first.address());
            client.allocate();
            assert_eq!(client.refresh(0), Ok(0));
        }
    }
}

// The snippet to paste.

/// What the server prints for whoever has configured no credentials.
fn snippet(stdout: &str) -> Option<Value> {
    let json = &stdout[stdout.find('{')?..=stdout.rfind('}')?];
    let value: Value = serde_json::from_str(json).ok()?;
    value.get("iceServers").cloned()
}

/// The port and the transport of each URL, and that its scheme is known.
fn urls(servers: &Value) -> Vec<(String, u16)> {
    let urls = servers.as_array().unwrap().iter().flat_map(|server| {
        let urls = server["urls"].as_array().unwrap();
        urls.iter().map(|url| url.as_str().unwrap().to_owned())
    });
    urls.map(|url| {
        let (head, query) = url.split_once('?').unwrap_or((&url, ""));
        let (scheme, _) = head.split_once(':').unwrap();
        let (_, port) = head.rsplit_once(':').unwrap();
        (format!("{scheme} {query}").trim().to_owned(), port.parse().unwrap())
    })
    .collect()
}

/// The entry that carries credentials.
fn credentials(servers: &Value) -> (String, String) {
    let mut servers = servers.as_array().unwrap().iter();
    let server = servers.find(|server| server.get("credential").is_some()).unwrap();
    let text = |key: &str| server[key].as_str().unwrap().to_owned();
    (text("username"), text("credential"))
}

/// Does with `iceServers` what a browser would: asks every URL, allocates at those for it.
fn work(servers: &Value) {
    let (user, password) = credentials(servers);
    for (kind, port) in urls(servers) {
        let client = || match kind.as_str() {
            "turn transport=udp" => Client::udp(local(port)),
            "turn transport=tcp" => Client::tcp(local(port)),
            other => panic!("nobody listens for {other}"),
        };
        if kind == "stun" {
            assert!(Client::udp(local(port)).try_binding().is_ok());
            continue;
        }
        client().user(&user, &password).allocate();
        assert_eq!(client().user(&user, "guess").try_allocate(), Err(401));
    }
}

/// The secret must stand nowhere: no word of `text` signs the name as the credential does.
fn no_word_is_the_secret(text: &str, servers: &Value) {
    let (user, password) = credentials(servers);
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut mac = Hmac::<Sha1>::new_from_slice(word.as_bytes()).unwrap();
        mac.update(user.as_bytes());
        assert_ne!(STANDARD.encode(mac.finalize().into_bytes()), password, "{word}");
    }
}

/// The address of the page that the server names.
fn page(stdout: &str) -> (String, u16) {
    let rest = &stdout[stdout.find("http://").expect("the page's address") + "http://".len()..];
    let authority = rest.split('/').next().unwrap();
    let (host, port) = authority.rsplit_once(':').unwrap();
    (host.to_owned(), port.parse().unwrap())
}

/// Everything that the made-up start promises.
fn keeps_its_promises(mut attempt: Attempt) {
    eventually("it says what to paste, or ends", || {
        snippet(&attempt.stdout()).is_some() && attempt.stdout().contains("http://")
            || attempt.has_ended()
    });
    let (stdout, stderr) = (attempt.stdout(), attempt.stderr());
    assert!(!attempt.has_ended(), "{stderr}");
    let servers = snippet(&stdout).unwrap();
    work(&servers);
    let kinds: Vec<_> = urls(&servers).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["stun", "turn transport=udp", "turn transport=tcp"]);
    let (host, port) = page(&stdout);
    assert_eq!(host, "localhost");
    let (status, body) = get(local(port), "/");
    assert!(status == 200 && body.contains("<html"), "{status}: {body}");
    for text in [&stdout, &stderr, &attempt.stderr()] {
        no_word_is_the_secret(text, &servers);
    }
    let (_, password) = credentials(&servers);
    assert!(!attempt.stderr().contains(&password), "credentials are told once, on stdout");
}

#[test]
fn without_credentials_it_prints_some_that_work() {
    let config = listening(free_port(), free_port(), free_port());
    let debug = format!("{config}[log]\nlevel = \"debug\"\n");
    for config in [config, debug] {
        keeps_its_promises(Attempt::new(Some(&config)));
    }
}

#[test]
fn without_any_configuration_it_prints_credentials_that_work() {
    // The built-in ports: where others have them, all that can be shown is a good refusal.
    let is_busy = UdpSocket::bind("0.0.0.0:3478").is_err()
        || TcpListener::bind("0.0.0.0:3478").is_err()
        || TcpListener::bind("127.0.0.1:8080").is_err();
    if is_busy {
        println!("NOT SHOWN: ports 3478 and 8080 are busy here; only the refusal is");
        let said = Attempt::new(None).refusal();
        assert!(said.contains("built-in defaults: [listen]") && said.contains("cure: "), "{said}");
        return;
    }
    keeps_its_promises(Attempt::new(None));
}

#[test]
fn two_starts_make_up_two_secrets() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let attempt = Attempt::new(Some(&listening(free_port(), free_port(), free_port())));
        eventually("it says what to paste", || snippet(&attempt.stdout()).is_some());
        seen.push(credentials(&snippet(&attempt.stdout()).unwrap()).1);
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn configured_secrets_stand_in_no_log() {
    let config = "[auth]\nsecrets = [\"0123456789abcdef0123456789abcdef\"]\n\
                  users = [{ name = \"user1\", password = \"pass-of-one\" }]\n\
                  nonce_secret = \"a-key-for-nonces\"\n[log]\nlevel = \"debug\"\n\
                  [listen]\nhttp = [\"127.0.0.1:HTTP\"]";
    let server = Server::with(config);
    Client::udp(server.address()).user("user1", "pass-of-one").allocate();
    assert_eq!(Client::udp(server.address()).user("user1", "wrong").try_allocate(), Err(401));
    assert_eq!(get(server.http(), "/ice").0, 200);
    let said = server.said();
    assert!(said.contains("INFO"), "{said}");
    for secret in ["0123456789abcdef", "pass-of-one", "a-key-for-nonces"] {
        assert!(!said.contains(secret), "{said}");
    }
}

// HTTP.

/// The status and the body of a GET.
fn get(server: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

#[test]
fn ice_hands_out_servers_that_are_up_and_credentials_that_work() {
    let server = Server::with("[listen]\nhttp = [\"127.0.0.1:HTTP\"]");
    for path in ["/ice", "/ice?user=alice", "/ice?ttl=60"] {
        let (status, body) = get(server.http(), path);
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let servers = &answer["iceServers"];
        work(servers);
        let port = server.address().port();
        assert!(urls(servers).iter().all(|(_, at)| *at == port), "{servers}");
        assert!(body.contains("127.0.0.1:"), "{body}");
    }
    assert_eq!(get(server.http(), "/ice?ttl=1").0, 400);
}

#[test]
fn ice_names_only_listeners_that_are_up() {
    let server = Server::with("[listen]\nhttp = [\"127.0.0.1:HTTP\"]\nudp = [\"127.0.0.1:PORT\"]");
    let kinds = |server: &Server| -> Vec<String> {
        let (_, body) = get(server.http(), "/ice");
        let answer: Value = serde_json::from_str(&body).unwrap();
        urls(&answer["iceServers"]).into_iter().map(|(kind, _)| kind).collect()
    };
    assert_eq!(kinds(&server), ["stun", "turn transport=udp", "turn transport=tcp"]);

    let [udp, http] = [free_port(), free_port()];
    let config =
        listening(udp, udp, http).replace(&format!("tcp = [\"127.0.0.1:{udp}\"]"), "tcp = []");
    let attempt = Attempt::new(Some(&config));
    eventually("it is up", || answers_binding(local(udp)));
    let (_, body) = get(local(http), "/ice");
    let answer: Value = serde_json::from_str(&body).unwrap();
    work(&answer["iceServers"]);
    let kinds: Vec<_> = urls(&answer["iceServers"]).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["stun", "turn transport=udp"]);
    drop(attempt);
}

#[test]
fn the_server_says_that_it_is_well() {
    let server = Server::with("[listen]\nhttp = [\"127.0.0.1:HTTP\"]");
    let (status, body) = get(server.http(), "/healthz");
    assert_eq!(status, 200, "{body}");
    assert_eq!(get(server.http(), "/nowhere").0, 404);
}
