//! SIGHUP: the configuration is read again while calls go on.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
    pub(crate) mod tls;
}

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use common::client::{Client, eventually, peer};
use common::server::Server;
use common::tls::Authority;
use nix::sys::signal::Signal;

/// A user of whom the harness does not know.
const CAROL: &str = "[auth]\nusers = [{ name = \"carol\", password = \"new here\" }]";

fn read_again(server: &Server, changes: &str) {
    let before = server.said().matches("was read again").count();
    server.write_config(changes);
    server.signal(Signal::SIGHUP);
    eventually("it is read", || server.said().matches("was read again").count() > before);
}

/// Sends so many numbered payloads on a channel, a thousand in a second, and gives those that the
/// peer has got by then, in their order.
fn flow(client: &UdpSocket, server: SocketAddr, peer: &UdpSocket, count: u32) -> Vec<u32> {
    thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            for number in 0..count {
                let frame = [[0x40, 0, 0, 4], number.to_be_bytes()].concat();
                client.send_to(&frame, server).unwrap();
                let due = began + Duration::from_millis(u64::from(number) + 1);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        peer.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut buffer = [0; 64];
        let mut got = Vec::new();
        while got.last() != Some(&(count - 1))
            && let Ok(4) = peer.recv(&mut buffer)
        {
            got.push(u32::from_be_bytes(buffer[..4].try_into().unwrap()));
        }
        got
    })
}

fn calling(server: SocketAddr) -> (Client, UdpSocket) {
    let mut client = Client::udp(server);
    client.allocate();
    let peer = peer(Ipv4Addr::LOCALHOST);
    client.bind(0x4000, peer.local_addr().unwrap());
    (client, peer)
}

#[test]
fn a_flow_loses_nothing_while_users_and_certificate_change() {
    let authority = Authority::new();
    authority.issue("first", &["turn.example.org"]);
    let listeners = authority.listeners(&["first"]);
    let server = Server::with(&listeners);
    let (client, peer) = calling(server.address());
    let (socket, at) = (client.socket().try_clone().unwrap(), server.address());
    let flow = thread::spawn(move || flow(&socket, at, &peer, 2000));
    // Its own user is gone, and comes back, and so on: the call takes no notice.
    for round in 0..6 {
        authority.issue("first", &["turn.example.org"]);
        let users = if round % 2 == 0 { CAROL } else { "" };
        read_again(&server, &format!("{listeners}\n{users}"));
    }
    assert_eq!(flow.join().unwrap(), (0..2000).collect::<Vec<_>>());
    assert_eq!(server.said().matches("the certificates were read again").count(), 6);
}

#[test]
fn a_flow_loses_nothing_while_the_server_drains() {
    let mut server = Server::with("drain_secs = 30");
    let (client, peer) = calling(server.address());
    let (socket, at) = (client.socket().try_clone().unwrap(), server.address());
    let flow = thread::spawn(move || flow(&socket, at, &peer, 2000));
    server.signal(Signal::SIGTERM);
    eventually("it drains", || server.said().contains("draining"));
    assert_eq!(Client::udp(server.address()).try_allocate(), Err(508));
    assert_eq!(flow.join().unwrap(), (0..2000).collect::<Vec<_>>());
    assert_eq!(server.ended(), None);
    // A second signal is for those who cannot wait.
    server.signal(Signal::SIGTERM);
    eventually("it ends", || server.ended().is_some());
}

#[test]
fn users_limits_and_peers_are_those_of_the_file() {
    let server = Server::start();
    let mut client = Client::udp(server.address());
    client.allocate();
    let other = peer(Ipv4Addr::new(127, 0, 0, 7)).local_addr().unwrap();
    client.permit(other);
    read_again(
        &server,
        &format!(
            "{CAROL}\n[limits]\nallocations_per_user = 1\n[peers]\nallow = [\"127.0.0.1/32\"]"
        ),
    );
    assert_eq!(client.try_permit(other), Err(401), "the user is gone");
    let carol = || Client::udp(server.address()).user("carol", "new here");
    let mut first = carol();
    first.allocate();
    assert_eq!(first.try_permit(other), Err(403));
    assert_eq!(carol().try_allocate(), Err(486));
}

/// What is handed out is what the workers take.
#[test]
fn credentials_are_made_of_the_new_secret() {
    let listen = "[listen]\nhttp = [\"127.0.0.1:HTTP\"]";
    let server = Server::with(listen);
    let granted = || {
        let mut stream = std::net::TcpStream::connect(server.http()).unwrap();
        let request = "GET /ice HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let grant: serde_json::Value = serde_json::from_str(body).unwrap();
        let servers = grant["iceServers"].as_array().unwrap().clone();
        let turn = servers.into_iter().find(|it| it["username"].is_string()).unwrap();
        let text = |key: &str| turn[key].as_str().unwrap().to_owned();
        Client::udp(server.address()).user(&text("username"), &text("credential"))
    };
    let mut old = granted();
    old.allocate();
    read_again(&server, &format!("{listen}\n[auth]\nsecrets = [\"another\"]"));
    granted().allocate();
    assert_eq!(old.refresh(600), Ok(600), "who has an allocation goes on");
}

#[test]
fn a_file_that_is_wrong_leaves_everything_as_it_was() {
    let mut server = Server::start();
    let mut client = Client::udp(server.address());
    client.allocate();
    for (text, said) in [
        ("realm = \"example.org\"\nrealms = 1\n", "realms"),
        ("realm = ", "turnserver.toml"),
        ("[limits]\nallocations_per_user = 0\n", "a limit of 0 would refuse everybody"),
    ] {
        let before = server.said().matches("all stays as it was").count();
        server.write_bad_config(text);
        server.signal(Signal::SIGHUP);
        eventually("it says why", || server.said().matches("all stays as it was").count() > before);
        assert!(server.said().contains(said), "{}", server.said());
        assert_eq!(client.refresh(600), Ok(600));
        Client::udp(server.address()).allocate();
    }
    assert_eq!(server.ended(), None);
}

#[test]
fn what_takes_a_restart_is_named() {
    let server = Server::start();
    read_again(&server, "realm = \"elsewhere.example\"\nworkers = 1\ndscp = false");
    for key in ["realm", "workers", "dscp"] {
        let line = format!("{key} has changed: that takes a restart");
        assert!(server.said().contains(&line), "{}", server.said());
    }
    Client::udp(server.address()).allocate();
}

#[test]
fn the_log_level_is_that_of_the_file() {
    let server = Server::start();
    let ended = |server: &Server| {
        let mut client = Client::udp(server.address());
        client.allocate();
        client.refresh(0).unwrap();
    };
    ended(&server);
    eventually("it is told", || server.said().matches("hairpin::session").count() == 1);
    server.write_config("[log]\nlevel = \"warn\"");
    server.signal(Signal::SIGHUP);
    // Nothing tells of it at that level: a wrong user does when it holds.
    eventually("it holds", || {
        let before = server.said().matches("hairpin::session").count();
        ended(&server);
        let mut stranger = Client::udp(server.address()).user("nobody", "x");
        assert_eq!(stranger.try_allocate(), Err(401));
        let told = server.said().matches("why=unknown-user").count() > 0;
        told && server.said().matches("hairpin::session").count() == before
    });
}
