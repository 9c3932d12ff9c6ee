//! What systemd is told: the socket of sd_notify(3), and we are who listens.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use common::client::Client;
use common::server::Server;
use nix::sys::signal::Signal;

/// A server, and what it tells.
fn told(variables: &[(&str, &str)]) -> (Server, UnixDatagram, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let notify = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let server = Server::with_env("drain_secs = 30", &[&notify[..], variables].concat());
    (server, socket, directory)
}

fn next(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("a message in time");
    String::from_utf8(buffer[..length].to_vec()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn systemd_hears_of_start_reload_and_drain() {
    let (server, socket, _directory) = told(&[]);
    assert_eq!(next(&socket), ["READY=1", "STATUS=serving"]);
    let mut client = Client::udp(server.address());
    client.allocate();
    server.signal(Signal::SIGHUP);
    let reloading = next(&socket);
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(next(&socket), ["READY=1", "STATUS=serving"]);
    server.signal(Signal::SIGTERM);
    assert_eq!(next(&socket), ["STOPPING=1", "STATUS=draining"]);
    client.refresh(0).unwrap();
}

#[test]
fn signs_of_life_come_as_often_as_the_watchdog_wants() {
    // The watchdog's own process is asked for as well; without it any is meant.
    let (server, socket, _directory) = told(&[("WATCHDOG_USEC", "300000")]);
    assert_eq!(next(&socket), ["READY=1", "STATUS=serving"]);
    for _ in 0..5 {
        assert_eq!(next(&socket), ["WATCHDOG=1"]);
    }
    // While it drains as well.
    let mut client = Client::udp(server.address());
    client.allocate();
    server.signal(Signal::SIGTERM);
    while next(&socket) != ["STOPPING=1", "STATUS=draining"] {}
    for _ in 0..5 {
        assert_eq!(next(&socket), ["WATCHDOG=1"]);
    }
}

#[test]
fn without_a_watchdog_there_are_none() {
    let (server, socket, _directory) = told(&[]);
    assert_eq!(next(&socket), ["READY=1", "STATUS=serving"]);
    server.signal(Signal::SIGHUP);
    assert_eq!(next(&socket)[0], "RELOADING=1", "the next that it tells");
}
