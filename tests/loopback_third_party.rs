//! Tokens of an authorisation server (RFC 7635) at a running server: from turnserver.toml to a
//! payload that arrives, over UDP and TCP, on several workers.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::SystemTime;

use common::client::{Client, hear, peer};
use common::server::Server;
use hairpin::wire::{AccessToken, AttributeType, MacKey, Method, TokenAlgorithm, TokenKey};

/// Sixteen and thirty-two letters.
const CONFIG: &str = "workers = 2\n\
    [third_party]\n\
    server_name = \"turn.example.org\"\n\
    keys = [\n\
      { kid = \"old\", key = \"YWFhYWFhYWFhYWFhYWFhYQ\", algorithm = \"A128GCM\" },\n\
      { kid = \"new\", key = \"YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=\" },\n\
      { kid = \"gone\", key = \"YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=\",\n\
        expires = 2020-01-01T00:00:00Z },\n\
    ]";

const MAC_KEY: &[u8; 20] = b"a key of 160 bits...";

/// What the authorisation server does.
fn token(kid: &str, lifetime: u32) -> Vec<u8> {
    let key = match kid {
        "old" => TokenKey::new(TokenAlgorithm::A128Gcm, &[b'a'; 16]),
        _ => TokenKey::new(TokenAlgorithm::A256Gcm, &[b'b'; 32]),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mac_key = MacKey::new(MAC_KEY).unwrap();
    let token = AccessToken { mac_key, timestamp: now.as_secs(), lifetime };
    key.unwrap().seal(b"turn.example.org", rand::random(), &token)
}

fn allocate(client: &mut Client, token: &[u8]) -> Result<SocketAddr, u16> {
    let answer = client.allocate_with(&|writer| {
        writer.attribute(AttributeType::ACCESS_TOKEN, token);
    });
    answer.map(|answer| answer.relayed())
}

fn roads(server: &Server) -> [Client; 2] {
    [Client::udp(server.address()), Client::tcp(server.address())]
}

#[test]
fn the_bearer_of_a_token_relays_and_renews_beside_a_user() {
    let server = Server::with(CONFIG);
    for (client, kid) in roads(&server).into_iter().zip(["old", "new"]) {
        let mut user = Client::udp(server.address());
        user.allocate();
        let mut client = client.bearing(kid, MAC_KEY);
        let relayed = allocate(&mut client, &token(kid, 700)).unwrap();
        let far = peer(Ipv4Addr::LOCALHOST);
        client.permit(far.local_addr().unwrap());
        client.send(far.local_addr().unwrap(), b"from the bearer");
        assert_eq!(hear(&far), (relayed, b"from the bearer".to_vec()));
        assert!((690..=700).contains(&client.refresh(3600).unwrap()), "the token's end");
        let renewed = client.request(Method::REFRESH, &|writer| {
            writer.attribute(AttributeType::LIFETIME, &1800_u32.to_be_bytes());
            writer.attribute(AttributeType::ACCESS_TOKEN, &token(kid, 3600));
        });
        assert_eq!(renewed.unwrap().lifetime(), 1800);
        assert_eq!(client.refresh(0), Ok(0));
    }
}

#[test]
fn what_is_no_good_token_is_refused_and_the_next_one_is_served() {
    let server = Server::with(CONFIG);
    for client in roads(&server) {
        let mut client = client.bearing("new", MAC_KEY);
        let good = token("new", 700);
        for bad in [&b""[..], b"token123", &good[..40], &token("old", 700), &[0; 400]] {
            assert_eq!(allocate(&mut client, bad), Err(401));
        }
        assert!(allocate(&mut client, &good).is_ok());
    }
    let mut client = Client::udp(server.address()).bearing("gone", MAC_KEY);
    assert_eq!(allocate(&mut client, &token("gone", 700)), Err(401));
    let mut user = Client::udp(server.address());
    assert_eq!(allocate(&mut user, &token("new", 700)), Err(401));
}

#[test]
fn where_no_key_is_configured_a_token_is_an_unknown_attribute() {
    let server = Server::start();
    for mut client in roads(&server) {
        assert_eq!(allocate(&mut client, &token("new", 700)), Err(420));
    }
}

/// The kernel gives each data connection to either worker.
#[test]
fn data_connections_are_bound_by_the_key_of_the_session_on_whichever_worker() {
    let server = Server::with(CONFIG);
    let mut control = Client::tcp(server.address()).bearing("new", MAC_KEY);
    let answer = control.request(Method::ALLOCATE, &|writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
        writer.attribute(AttributeType::ACCESS_TOKEN, &token("new", 3600));
    });
    answer.unwrap();
    for _ in 0..6 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let id = control.connect(listener.local_addr().unwrap()).unwrap();
        let stranger = Client::tcp(server.address());
        let mut stranger = stranger.bearing("new", b"another of 160 bits.");
        assert_eq!(stranger.bind_connection(id), Err(401));
        let (mut peer, _) = listener.accept().unwrap();
        let mut data = Client::tcp(server.address()).bearing("new", MAC_KEY);
        data.bind_connection(id).unwrap();
        let (mut stream, _) = data.into_stream();
        stream.write_all(b"by the session").unwrap();
        let mut heard = [0; 14];
        peer.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"by the session");
    }
}
