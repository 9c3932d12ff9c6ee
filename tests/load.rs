//! `hairpin load` against the running server: what it says adds up, in each mode.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod server;
    pub(crate) mod tls;
}

use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::server::Server;
use common::tls::Authority;
use serde_json::Value;

fn load(uri: &str, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["load", uri])
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs shortly and gently, and checks what holds for every run.
fn report(uri: &str, line: &str) -> Value {
    let line = format!("{line} --seconds 0.3 --warmup 0.1 --json");
    let output = load(uri, &line);
    assert!(output.status.success(), "{line}: {output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert!(count("delivered") > 0, "{line}: {report}");
    assert_eq!(count("sent"), count("delivered") + count("lost"), "{line}: {report}");
    for clean in ["duplicated", "foreign", "left_behind"] {
        assert_eq!(count(clean), 0, "{line}: {report}");
    }
    assert!(report["latency_us"]["p50"].as_f64() <= report["latency_us"]["p99.9"].as_f64());
    report
}

fn turn(server: &Server, transport: &str) -> String {
    format!("turn:{}?transport={transport}", server.address())
}

const USER: &str = "--user user1 --password test";

#[test]
fn packets_flow_in_each_mode() {
    let server = Server::start();
    for mode in ["up", "down", "both", "echo", "hairpin", "binding", "allocate", "refresh"] {
        let line = format!("{USER} --mode {mode} --flows 3 --rate 2000");
        let report = report(&turn(&server, "udp"), &line);
        assert_eq!(report["mode"], mode);
        assert_eq!(report["lost"], 0, "{report}");
        let sent = report["sent"].as_u64().unwrap();
        // A busy machine may keep us from sending all that is due; nothing makes us send more.
        assert!((1..=640).contains(&sent), "{mode}: {report}");
    }
}

#[test]
fn packets_flow_over_tls_in_each_mode_that_has_connections() {
    let authority = Authority::new();
    authority.issue("first", &["127.0.0.1"]);
    let server = Server::with(&authority.listeners(&["first"]));
    let uri = format!("turns:{}", server.secure_at([127, 0, 0, 1]));
    let ca = authority.issuer();
    for mode in ["up", "down", "both", "echo", "hairpin", "binding", "refresh"] {
        let line = format!("{USER} --mode {mode} --flows 3 --rate 2000 --ca {}", ca.display());
        let report = report(&uri, &line);
        assert_eq!((&report["transport"], &report["lost"]), (&"tls".into(), &0.into()), "{report}");
    }
    // As fast as it goes, with frames longer than a record.
    for size in [160, 20_000] {
        report(&uri, &format!("{USER} --mode both --size {size}"));
    }
}

#[test]
fn with_an_authority_named_a_server_that_it_does_not_know_is_refused() {
    let authority = Authority::new();
    authority.issue("first", &["127.0.0.1"]);
    let server = Server::with(&authority.listeners(&["first"]));
    let uri = format!("turns:{}", server.secure_at([127, 0, 0, 1]));
    let other = Authority::new().issuer_text();
    authority.put("other.pem", &other);
    let line = format!("{USER} --ca {}", authority.path("other.pem").display());
    let output = load(&uri, &line);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("invalid peer certificate"), "{said}");
    let name = format!("turns:localhost:{}", server.secure_at([127, 0, 0, 1]).port());
    let line = format!("{USER} --ca {}", authority.issuer().display());
    let output = load(&name, &line);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not valid for name"), "{said}");
}

#[test]
fn an_authority_without_a_certificate_is_told_with_its_file() {
    let authority = Authority::new();
    authority.put("empty.pem", "no certificate\n");
    for (file, words) in [("empty.pem", "has no certificate in it"), ("none", "cannot be read")] {
        let line = format!("{USER} --ca {}", authority.path(file).display());
        let output = load("turns:127.0.0.1:9", &line);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("{file} {words}")), "{said}");
    }
}

#[test]
fn idle_allocations_are_held_and_deleted_or_left_to_expire() {
    let server = Server::start();
    let line = format!("{USER} --mode echo --flows 2 --rate 500 --idle 40");
    let held = report(&turn(&server, "udp"), &line);
    assert_eq!((&held["idle"], &held["lost"]), (&40.into(), &0.into()), "{held}");
    assert_eq!(held["idle_expires_secs"], Value::Null);
    let left = report(&turn(&server, "udp"), &format!("{line} --leave"));
    // No server lets an allocation live for less than ten minutes.
    assert!((590.0..700.0).contains(&left["idle_expires_secs"].as_f64().unwrap()), "{left}");
    assert_eq!(left["left_behind"], 0);
}

#[test]
fn idle_allocations_take_no_descriptors_and_flows_that_would_are_refused() {
    let server = Server::start();
    let run = |line: &str| {
        let (program, uri) = (env!("CARGO_BIN_EXE_hairpin"), turn(&server, "udp"));
        let script = format!(
            "ulimit -n 64 && exec '{program}' load '{uri}' {USER} {line} --rate 200 --seconds 0.2"
        );
        Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap()
    };
    let idle = run("--mode up --idle 150");
    assert!(idle.status.success(), "{idle:?}");
    let flows = run("--mode up --flows 150");
    assert_eq!(flows.status.code(), Some(2), "{flows:?}");
    assert!(String::from_utf8_lossy(&flows.stderr).contains("151 sockets"), "{flows:?}");
}

#[test]
fn a_ring_goes_from_each_client_to_the_next() {
    let server = Server::start();
    for line in ["--flows 2", "--flows 7", "--flows 3 --framing indication"] {
        let line = format!("{USER} --mode hairpin --ring --rate 2000 {line}");
        let report = report(&turn(&server, "udp"), &line);
        assert_eq!(report["lost"], 0, "{report}");
        assert_eq!(report["directions"]["across"]["sent"], report["sent"]);
    }
}

#[test]
fn full_speed_is_bounded_by_the_window() {
    let server = Server::start();
    for line in ["--mode up", "--mode down --flows 5", "--mode hairpin", "--mode binding"] {
        let report = report(&turn(&server, "udp"), &format!("{USER} {line} --window 8"));
        assert_eq!(report["rate"], Value::Null);
        assert!(report["latency_us"]["p99"].as_f64().unwrap() > 0.0, "{report}");
    }
}

#[test]
fn bursts_and_indications_and_odd_sizes_pass() {
    let server = Server::start();
    for line in [
        "--mode both --burst 16 --size 1200",
        "--mode both --burst 16 --size 161 --no-gro",
        "--mode both --framing indication --size 1199",
        "--mode hairpin --framing indication --burst 5 --size 33",
        "--mode both --size 20000 --burst 3",
        "--mode echo --burst 16 --size 1200 --flows 4 --peers 2",
        "--mode echo --framing indication --size 33",
    ] {
        // Slow enough for the kernel's default buffer, which holds a few of the longest.
        let report = report(&turn(&server, "udp"), &format!("{USER} {line} --rate 600"));
        assert_eq!(report["lost"], 0, "{line}: {report}");
    }
    let output = load(&turn(&server, "udp"), &format!("{USER} --size 12 --seconds 0.2 --json"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["latency_us"], Value::Null, "there is no room for the time");
}

#[test]
fn streams_carry_the_same() {
    let server = Server::start();
    for line in [
        "--mode up",
        "--mode down --rate 2000",
        "--mode both --size 161 --framing indication --rate 2000",
        "--mode echo --size 160 --rate 2000",
        "--mode hairpin --flows 2 --size 13 --rate 2000",
        "--mode refresh",
        "--mode binding",
    ] {
        let report = report(&turn(&server, "tcp"), &format!("{USER} {line}"));
        assert_eq!(report["transport"], "tcp");
    }
}

#[test]
fn both_families_and_both_kinds_of_credentials_work() {
    let server = Server::start();
    let port = server.address().port();
    report(&format!("turn:[::1]:{port}"), &format!("{USER} --rate 1000"));
    report(&turn(&server, "udp"), "--secret s3cret --rate 1000");
    let report = report(&format!("stun:127.0.0.1:{port}"), "--rate 1000");
    assert_eq!(report["directions"]["echo"]["sent"], report["sent"]);
}

#[test]
fn a_local_server_s_cpu_time_is_told() {
    let server = Server::start();
    let Some(pid) = server.process() else { return };
    let report = report(&turn(&server, "udp"), &format!("{USER} --server-pid {pid}"));
    let cpu = &report["server_cpu"];
    assert!(cpu["us_per_packet"].as_f64().unwrap() > 0.0, "{report}");
    let both = report["directions"]["up"]["sent"].as_u64().unwrap()
        + report["directions"]["down"]["sent"].as_u64().unwrap();
    assert_eq!(report["sent"], both);
}

#[test]
fn what_merely_forwards_is_measured_alike() {
    let (forwarder, peer) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (from, to) = (forwarder.local_addr().unwrap(), peer.local_addr().unwrap());
    drop(peer);
    forwarder.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let mut count = 0;
        // Every tenth packet is withheld: it must be missed.
        while let Ok((length, _)) = forwarder.recv_from(&mut buffer)
            && length > 1
        {
            count += 1;
            if count % 10 != 0 {
                forwarder.send_to(&buffer[..length], to).unwrap();
            }
        }
    });
    let report = report(&format!("udp:{from}"), &format!("--peer {to} --rate 2000"));
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[0], from).unwrap();
    thread.join().unwrap();
    let loss = report["loss"].as_f64().unwrap();
    assert!((0.08..0.12).contains(&loss), "{report}");
}

#[test]
fn nothing_delivered_is_a_failure_and_says_why() {
    let server = Server::start();
    let wrong = load(&turn(&server, "udp"), "--user user1 --password wrong --seconds 0.1");
    assert_eq!(wrong.status.code(), Some(1));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("does not take this name and password"), "{said}");

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("stun:{}", silent.local_addr().unwrap());
    let output = load(&uri, "--seconds 0.1 --warmup 0 --rate 100 --json");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["delivered"], &report["lost"]), (&Value::from(0), &report["sent"]));

    let usage = load(&turn(&server, "udp"), "--mode up");
    assert_eq!(usage.status.code(), Some(2));
}
