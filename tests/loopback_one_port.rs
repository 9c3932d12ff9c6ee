//! One port for TURN over TLS and for the page and signalling: told apart by what the client names
//! or says first, and closed to everybody's HTTP until the operator opens it to everybody.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
    pub(crate) mod tls;
}

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::client::{Client, TlsStream, Via, hear, peer};
use common::server::Server;
use common::tls::Authority;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const NAME: &str = "turn.example.org";

/// A server with a TLS listener, and these lines in `[signalling]`.
fn server(signalling: &str) -> (Server, Authority) {
    let authority = Authority::new();
    authority.issue("first", &[NAME]);
    let config = format!("{}[signalling]\n{signalling}", authority.listeners(&["first"]));
    (Server::with(&config), authority)
}

fn connect(server: &Server, ip: IpAddr, config: &Arc<ClientConfig>) -> io::Result<TlsStream> {
    let client = Client::try_tls(server.secure_at(ip), NAME, Arc::clone(config))?;
    Ok(client.into_tls_stream().0)
}

/// Asks, and reads until the end.
fn get(stream: &mut TlsStream, path: &str, headers: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n{headers}\r\n")?;
    stream.flush()?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

fn body(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

const HTTP: &[&str] = &["h2", "http/1.1"];
const SILENT: &[&str] = &[];

#[test]
fn the_page_is_served_to_who_agrees_on_http_and_to_who_just_speaks_it() {
    let (server, authority) = server("demo = true");
    for ip in [V4, V6] {
        for offered in [HTTP, SILENT] {
            let mut stream = connect(&server, ip, &authority.client(offered)).unwrap();
            let agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(agreed.as_deref(), (offered == HTTP).then_some(&b"http/1.1"[..]));
            let answer = get(&mut stream, "/", "").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("<title>"), "{answer}");
        }
    }
}

#[test]
fn turn_is_served_at_the_same_port_to_who_agrees_on_it_and_to_who_just_speaks_it() {
    let (server, authority) = server("demo = true");
    for offered in [&["stun.turn"][..], &["http/1.1", "stun.turn"], SILENT] {
        let config = authority.client(offered);
        let mut client = Client::try_tls(server.secure_at(V4), NAME, config).unwrap();
        let (relayed, peer) = (client.allocate(), peer(V4));
        client.bind(0x4001, peer.local_addr().unwrap());
        client.channel_data(0x4001, b"by the port of the page");
        assert_eq!(hear(&peer), (relayed, b"by the port of the page".to_vec()));
        peer.send_to(b"and back", relayed).unwrap();
        assert_eq!(client.receive(), (Via::Channel(0x4001), b"and back".to_vec()));
    }
}

#[test]
fn what_is_handed_out_leads_to_the_tls_listener() {
    let (server, authority) = server("demo = true");
    let mut stream = connect(&server, V4, &authority.client(HTTP)).unwrap();
    let grant = body(&get(&mut stream, "/ice?user=ada", "").unwrap());
    let port = server.secure_at(V4).port();
    let urls = grant["iceServers"][1]["urls"].as_array().unwrap();
    let turns = json!(format!("turns:{NAME}:{port}?transport=tcp"));
    assert!(urls.contains(&turns), "{grant}");
    // And they are good there.
    let text = |key: &str| grant["iceServers"][1][key].as_str().unwrap().to_owned();
    let config = authority.client(SILENT);
    Client::try_tls(server.secure_at(V4), NAME, config)
        .unwrap()
        .user(&text("username"), &text("credential"))
        .allocate();
}

fn signalling(stream: TlsStream) -> WebSocket<TlsStream> {
    let mut request = format!("wss://{NAME}/v1/signal").into_client_request().unwrap();
    request.headers_mut().insert("origin", format!("https://{NAME}").parse().unwrap());
    tokio_tungstenite::tungstenite::client(request, stream).unwrap().0
}

/// The next frame of this type.
fn next(socket: &mut WebSocket<TlsStream>, kind: &str) -> Value {
    loop {
        let Message::Text(text) = socket.read().unwrap() else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["type"] == kind {
            return frame;
        }
    }
}

#[test]
fn two_pages_signal_over_tls_with_frames_of_every_size() {
    let (server, authority) = server("demo = true");
    let mut sockets = [HTTP, SILENT]
        .map(|offered| signalling(connect(&server, V4, &authority.client(offered)).unwrap()));
    let ids = sockets.each_mut().map(|socket| {
        let welcome = next(socket, "welcome");
        assert_eq!(welcome["iceServers"][0]["urls"][0].as_str().unwrap()[..5], *"stun:");
        socket.send(Message::text(json!({"type": "join", "room": "r"}).to_string())).unwrap();
        next(socket, "joined");
        welcome["peer"].clone()
    });
    for size in [1, 1000, 16_000, 40_000] {
        for (from, to) in [(0, 1), (1, 0)] {
            let data = json!({"sdp": "x".repeat(size)});
            let frame = json!({"type": "signal", "to": ids[to], "data": data});
            sockets[from].send(Message::text(frame.to_string())).unwrap();
            assert!(next(&mut sockets[to], "signal")["data"] == data, "{size} bytes changed");
        }
    }
    sockets[0].close(None).unwrap();
    while sockets[0].read().is_ok() {}
    next(&mut sockets[1], "peer-");
}

// What stays closed.

#[test]
fn until_it_is_opened_to_everybody_nobody_speaks_http_at_the_tls_port() {
    // The second is open to this machine, at a listener of its own.
    for closed in ["demo = false", ""] {
        let (server, authority) = server(closed);
        let Err(error) = connect(&server, V4, &authority.client(&["http/1.1"])) else {
            panic!("{closed}: HTTP was agreed on");
        };
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
        let mut stream = connect(&server, V4, &authority.client(SILENT)).unwrap();
        // Of POST this is known at once, GET could be the beginning of ChannelData.
        write!(stream, "POST /ice HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        match stream.read(&mut [0; 64]) {
            Ok(length) => assert_eq!(length, 0, "{closed}: there was an answer"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        Client::try_tls(server.secure_at(V4), NAME, authority.client(SILENT)).unwrap().allocate();
    }
}

#[test]
fn only_the_page_credentials_and_signalling_are_there() {
    let (server, authority) = server("demo = true");
    for path in ["/healthz", "/metrics", "/admin"] {
        let mut stream = connect(&server, V4, &authority.client(HTTP)).unwrap();
        let answer = get(&mut stream, path, "").unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
}

#[test]
fn the_limits_of_http_hold_inside_tls_and_turn_has_its_own() {
    let (server, authority) = server("demo = true\nhttp_connections_per_source = 2");
    let config = authority.client(HTTP);
    let held = [(); 2].map(|()| connect(&server, V4, &config).unwrap());
    common::client::eventually("the third is turned away", || {
        let mut stream = connect(&server, V4, &config).unwrap();
        // Before the others are shown in it may have a place itself: then nobody says anything.
        stream.sock.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // It is told without being asked, and the others have not asked either.
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 503")
    });
    Client::try_tls(server.secure_at(V4), NAME, authority.client(SILENT)).unwrap().allocate();
    let mut elsewhere = connect(&server, V6, &config).unwrap();
    assert!(get(&mut elsewhere, "/", "").unwrap().starts_with("HTTP/1.1 200"));
    drop(held);
    common::client::eventually("there is room again", || {
        let mut stream = connect(&server, V4, &config).unwrap();
        get(&mut stream, "/", "").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    });
}

/// Whoever fills the port that is the world's does not keep operators from theirs.
#[test]
fn places_are_kept_for_the_listeners_of_http_itself() {
    let authority = Authority::new();
    authority.issue("first", &[NAME]);
    let listeners = authority.listeners(&["first"]);
    let listeners = listeners.replacen("[listen]", "[listen]\nhttp = [\"127.0.0.1:HTTP\"]", 1);
    let server =
        Server::with(&format!("{listeners}[signalling]\ndemo = true\nhttp_connections = 4"));
    let config = authority.client(HTTP);
    let mut held = Vec::new();
    common::client::eventually("a guest is turned away", || {
        let mut stream = connect(&server, V4, &config).unwrap();
        stream.sock.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let refused = stream.read(&mut [0; 16]).is_ok_and(|length| length > 0);
        held.push(stream);
        refused
    });
    let mut stream = TcpStream::connect(server.http()).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn who_agrees_on_http_and_then_speaks_stun_gets_http() {
    let (server, authority) = server("demo = true");
    let mut stream = connect(&server, V4, &authority.client(&["http/1.1"])).unwrap();
    stream.write_all(b"\x00\x01\x00\x00\x21\x12\xa4\x42not of HTTP\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
