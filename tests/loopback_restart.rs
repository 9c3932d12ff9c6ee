//! A server that is started again: what its clients hold is good as long as its secret is the same.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::net::Ipv4Addr;

use common::client::{Client, eventually, hear, peer};
use common::server::Server;
use nix::sys::signal::Signal;

/// Beyond guessing, so that the nonces' key follows from it.
const STRONG: &str = "[auth]\nsecrets = [\"0123456789abcdef0123456789abcdef\"]";
const OTHER: &str = "[auth]\nsecrets = [\"fedcba9876543210fedcba9876543210\"]";

fn nonce_secret(secret: &str) -> String {
    format!("[auth]\nnonce_secret = \"{secret}\"")
}

/// A client that has been challenged once and holds an allocation.
fn known(server: &Server) -> Client {
    let mut client = Client::udp(server.address());
    client.allocate();
    assert_eq!(client.challenges, [401]);
    client
}

#[test]
fn a_nonce_survives_a_restart_with_the_same_secret() {
    for config in [STRONG, &nonce_secret("short, but of its own")] {
        let mut server = Server::with(config);
        let mut clients: Vec<_> = (0..8).map(|_| known(&server)).collect();
        server.start_again(config);
        for client in &mut clients {
            // The 5-tuple is free: allocations do not survive, and the client is told so.
            assert_eq!(client.refresh(600), Err(437));
            client.allocate();
            assert_eq!(client.challenges, [401], "the old nonce was as good as new");
        }
    }
}

#[test]
fn with_another_secret_a_client_is_given_a_new_nonce_and_goes_on() {
    let restarts = [
        (STRONG.to_owned(), OTHER.to_owned()),
        (nonce_secret("one"), nonce_secret("two")),
        // A secret that can be guessed keys nothing, so that each start has a key of its own.
        (String::new(), String::new()),
    ];
    for (before, after) in restarts {
        let mut server = Server::with(&before);
        let mut client = known(&server);
        server.start_again(&after);
        client.allocate();
        assert_eq!(client.challenges, [401, 438]);
        let peer = peer(Ipv4Addr::LOCALHOST);
        client.permit(peer.local_addr().unwrap());
        client.send(peer.local_addr().unwrap(), b"as before");
        assert_eq!(hear(&peer).1, b"as before");
        assert_eq!(client.challenges, [401, 438]);
    }
}

#[test]
fn a_nonce_is_good_at_every_worker() {
    let mut server = Server::with(&format!("workers = 1\n{STRONG}"));
    let mut clients: Vec<_> = (0..8).map(|_| known(&server)).collect();
    // With more workers most clients come to another one than before.
    server.start_again(&format!("workers = 4\n{STRONG}"));
    for client in &mut clients {
        client.allocate();
        assert_eq!(client.challenges, [401]);
    }
}

#[test]
fn sighup_does_not_end_the_server() {
    let mut server = Server::start();
    let mut client = known(&server);
    let peer = peer(Ipv4Addr::LOCALHOST);
    client.permit(peer.local_addr().unwrap());
    for times in 1..=3 {
        server.signal(Signal::SIGHUP);
        eventually("the signal is seen", || server.said().matches("SIGHUP").count() == times);
        assert_eq!(server.ended(), None);
        client.send(peer.local_addr().unwrap(), b"still there");
        assert_eq!(hear(&peer).1, b"still there");
        Client::tcp(server.address()).allocate();
    }
}

#[test]
fn a_crash_frees_the_ports_at_once() {
    let mut server = Server::start();
    for _ in 0..5 {
        let mut clients = [Client::udp(server.address()), Client::tcp(server.address())];
        for client in &mut clients {
            client.allocate();
        }
        // Connections in every state are left behind.
        server.start_again("");
        assert!(clients[1].read().is_err(), "a connection ends with its server");
    }
}
