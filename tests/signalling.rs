//! The signalling relay and its HTTP side over real sockets: what clients see, every limit reached,
//! and clients that mean harm.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use futures_util::{SinkExt, StreamExt};
use hairpin::control::access::Access;
use hairpin::control::credentials::time_limited;
use hairpin::control::http::{HttpSettings, serve};
use hairpin::control::ice::IceSource;
use hairpin::signalling::{Limits, Stats};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

// ---- the page, health and credentials --------------------------------------------------------

#[tokio::test]
async fn the_page_and_its_parts_carry_a_strict_policy_and_nothing_from_elsewhere() {
    let server = Server::start(settings()).await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/peer.js", "text/javascript"),
        ("/returning.js", "text/javascript"),
        ("/signal.js", "text/javascript"),
        ("/style.css", "text/css"),
    ] {
        let answer = server.get(path, &[]).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").starts_with(kind));
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(!answer.body.contains("https://"), "{path} refers to elsewhere");
    }
}

#[tokio::test]
async fn health_is_answered_to_everybody() {
    let server = Server::start(HttpSettings { access: Access::Nobody, ..settings() }).await;
    let answer = server.get("/healthz", &[("X-Forwarded-For", "192.0.2.1")]).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("ok")));
    assert_eq!(answer.json()["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn what_is_closed_says_how_to_open_it() {
    let server = Server::start(HttpSettings { access: Access::Nobody, ..settings() }).await;
    for path in ["/", "/app.js", "/ice", "/v1/signal"] {
        let answer = server.get(path, &[]).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.json()["message"].as_str().unwrap().contains("demo = true"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(server.get("/elsewhere", &[]).await.status, 404);
}

#[tokio::test]
async fn local_access_needs_a_local_name_and_no_proxy() {
    let server = Server::start(settings()).await;
    assert_eq!(server.get("/ice", &[]).await.status, 200);
    assert_eq!(server.get("/ice", &[("X-Forwarded-For", "127.0.0.1")]).await.status, 403);
    assert_eq!(server.get_as("evil.example", "/ice", &[]).await.status, 403);
    assert_eq!(server.get_as("localhost:1", "/ice", &[]).await.status, 200);
    let mut bare_proxy = TcpStream::connect(server.address).await.unwrap();
    bare_proxy.write_all(b"GET /ice HTTP/1.0\r\nHost: localhost:8080\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(bare_proxy.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 403"), "{answer}");
    let open = Server::start(HttpSettings { access: Access::Everybody, ..settings() }).await;
    assert_eq!(open.get_as("turn.example", "/ice", &[]).await.status, 200);
}

#[tokio::test]
async fn ice_servers_come_with_credentials_of_the_secret_and_are_not_cached() {
    let server = Server::start(settings()).await;
    let answer = server.get("/ice?user=ada&ttl=600", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    let turn = &body["iceServers"][1];
    let username = turn["username"].as_str().unwrap();
    assert!(username.contains(":ada."), "{username}");
    let (expiry, user) = username.split_once(':').unwrap();
    let (_, credential) = time_limited(b"north", user, expiry.parse().unwrap());
    assert_eq!(turn["credential"], credential);
    assert_eq!(turn["urls"][0], "turn:127.0.0.1:3478?transport=udp");
    assert_eq!(body["ttl"], 600);
    assert!(body["expiresAt"].as_str().unwrap().ends_with('Z'));

    for path in ["/ice", "/ice?user=ada"] {
        let mut names = Vec::new();
        for _ in 0..2 {
            let body = server.get(path, &[]).await.json();
            names.push(body["iceServers"][1]["username"].as_str().unwrap().to_owned());
        }
        assert_ne!(names[0], names[1], "each visitor has a quota of its own");
    }
}

#[tokio::test]
async fn ice_refuses_what_it_cannot_mean() {
    let server = Server::start(settings()).await;
    for query in
        ["ttl=59", "ttl=86401", "ttl=x", "ttl=-1", "user=", "user=a:b", "user=%00", "user=%ff"]
    {
        let answer = server.get(&format!("/ice?{query}"), &[]).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["message"].is_string());
    }
    let long = server.get(&format!("/ice?user={}", "x".repeat(65)), &[]).await;
    assert_eq!(long.status, 400);
}

#[tokio::test]
async fn without_a_secret_ice_says_what_to_configure_and_the_socket_offers_stun() {
    let ice = IceSource { secret: None, ..settings().ice };
    let server = Server::start(HttpSettings { ice, ..settings() }).await;
    let answer = server.get("/ice", &[]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["message"].as_str().unwrap().contains("[auth] secrets"));
    let mut client = server.connect().await;
    let welcome = client.next().await;
    assert_eq!(welcome["iceServers"], json!([{"urls": ["stun:127.0.0.1:3478"]}]));
    assert_eq!(welcome["iceExpiresAt"], Value::Null);
}

#[tokio::test]
async fn ice_is_readable_for_listed_origins_only() {
    let origins = vec!["https://app.example".to_owned()];
    let server = Server::start(HttpSettings { origins, ..settings() }).await;
    let listed = server.get("/ice", &[("Origin", "https://app.example")]).await;
    assert_eq!(listed.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(listed.header("vary"), "Origin");
    let stranger = server.get("/ice", &[("Origin", "https://evil.example")]).await;
    assert_eq!(stranger.status, 403);
    assert!(!stranger.head.to_lowercase().contains("access-control"));
    assert!(!server.get("/ice", &[]).await.head.to_lowercase().contains("access-control"));
}

#[tokio::test]
async fn requests_for_credentials_are_at_the_rate_of_their_source() {
    let limits =
        Limits { open_burst_per_source: 3, opens_per_sec_per_source: 1, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    for _ in 0..3 {
        assert_eq!(server.get("/ice", &[]).await.status, 200);
    }
    let answer = server.get("/ice", &[]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
}

// ---- connections -----------------------------------------------------------------------------

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_ends_the_connection() {
    let header_timeout = Duration::from_millis(200);
    let server = Server::start(HttpSettings { header_timeout, ..settings() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::start(settings()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ").await.unwrap();
    let _ = stream.write_all(&[b'x'; 32 * 1024]).await;
    let mut answer = vec![0; 64];
    // The refusal may be overtaken by the reset that unread bytes cause.
    if let Ok(read) = within(stream.read(&mut answer)).await {
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn connections_over_the_limits_are_turned_away_and_a_closed_one_makes_room() {
    for settings in [
        HttpSettings { connections: 2, ..settings() },
        HttpSettings { connections_per_source: 2, ..settings() },
    ] {
        let server = Server::start(settings).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            // An answered request shows that the connection has been let in.
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            within(stream.read_u8()).await.unwrap();
            held.push(stream);
        }
        let mut third = TcpStream::connect(server.address).await.unwrap();
        let mut answer = Vec::new();
        within(third.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer));
        drop(held);
        within(async { while server.try_get("/healthz").await != Some(200) {} }).await;
    }
}

#[tokio::test]
async fn a_plain_request_for_the_socket_is_told_so() {
    let server = Server::start(settings()).await;
    let answer = server.get("/v1/signal", &[]).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("not-a-websocket")));
}

// ---- meeting ---------------------------------------------------------------------------------

#[tokio::test]
async fn two_clients_meet_and_exchange_signals_in_order() {
    let server = Server::start(settings()).await;
    let (mut a, mut b) = (server.welcomed().await, server.welcomed().await);
    a.send(json!({"type": "join", "room": "r", "meta": {"name": "Ada"}})).await;
    assert_eq!(a.next().await["peers"], json!([]));
    b.send(json!({"type": "join", "room": "r"})).await;
    let joined = b.next().await;
    assert_eq!(joined["you"], json!({"polite": true}));
    assert_eq!(joined["peers"], json!([{"id": a.id, "meta": {"name": "Ada"}, "polite": false}]));
    let came = a.next().await;
    assert_eq!((&came["type"], &came["id"]), (&json!("peer+"), &json!(b.id)));
    for seq in 0..50 {
        b.send(json!({"type": "signal", "to": a.id, "seq": seq, "data": {"n": seq}})).await;
    }
    for seq in 0..50 {
        let expected = json!({"type": "signal", "from": b.id, "seq": seq, "data": {"n": seq}});
        assert_eq!(a.next().await, expected);
    }
    b.send(json!({"type": "leave", "room": "r"})).await;
    let went = json!({"type": "peer-", "room": "r", "id": b.id, "reason": "left"});
    assert_eq!(a.next().await, went);
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_to_the_room() {
    let server = Server::start(settings()).await;
    let (mut a, mut b) = (server.joined("r").await, server.joined("r").await);
    a.next().await;
    b.break_off().await;
    assert_eq!(a.next().await["reason"], "closed");
    let c = server.joined("r").await;
    a.next().await;
    let id = c.id.clone();
    c.close().await;
    assert_eq!(a.next().await["id"], id);
    server.stats(|stats| stats.sockets == 1).await;
}

#[tokio::test]
async fn the_subprotocol_is_confirmed_to_those_who_ask() {
    let server = Server::start(settings()).await;
    let asked = [("Sec-WebSocket-Protocol", "other, hairpin.v1")];
    let (_, answer) = server.try_connect(&asked).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "hairpin.v1");
}

#[tokio::test]
async fn pages_of_other_origins_cannot_open_a_socket() {
    let origins = vec!["https://app.example".to_owned()];
    let server = Server::start(HttpSettings { origins, ..settings() }).await;
    let own = format!("http://{}", server.address);
    for origin in [own.as_str(), "https://app.example"] {
        assert!(server.try_connect(&[("Origin", origin)]).await.is_ok(), "{origin}");
    }
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(server.refused(&[("Origin", origin)]).await, 403, "{origin}");
    }
    assert_eq!(server.refused(&[("X-Real-IP", "127.0.0.1")]).await, 403);
}

// ---- limits ----------------------------------------------------------------------------------

#[tokio::test]
async fn sockets_of_one_source_are_bounded_and_a_closed_one_makes_room() {
    let limits = Limits { sockets_per_source: 2, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let (first, _second) = (server.welcomed().await, server.welcomed().await);
    assert_eq!(server.refused(&[]).await, 429);
    first.close().await;
    server.stats(|stats| stats.sockets == 1).await;
    server.welcomed().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_is_its_own_source() {
    let limits = Limits { sockets_per_source: 1, ..Limits::default() };
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let access = Access::Everybody;
    let server =
        Server::start(HttpSettings { limits, trusted_proxies, access, ..settings() }).await;
    let _one = server.try_connect(&[("X-Forwarded-For", "192.0.2.1")]).await.unwrap();
    let _two = server.try_connect(&[("X-Forwarded-For", "192.0.2.2")]).await.unwrap();
    assert_eq!(server.refused(&[("X-Forwarded-For", "192.0.2.2")]).await, 429);
}

#[tokio::test]
async fn sockets_in_all_are_bounded() {
    let limits = Limits { sockets: 1, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let _held = server.welcomed().await;
    assert_eq!(server.refused(&[]).await, 503);
}

#[tokio::test]
async fn sockets_are_opened_at_a_bounded_rate() {
    let limits =
        Limits { open_burst_per_source: 2, opens_per_sec_per_source: 1, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let _held = (server.welcomed().await, server.welcomed().await);
    assert_eq!(server.refused(&[]).await, 429);
    let limits = Limits { open_burst: 2, opens_per_sec: 1, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let _held = (server.welcomed().await, server.welcomed().await);
    assert_eq!(server.refused(&[]).await, 503);
}

#[tokio::test]
async fn a_handshake_that_is_given_up_holds_no_seat() {
    let limits = Limits { sockets_per_source: 1, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    for round in 1..=5 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(server.handshake().as_bytes()).await.unwrap();
        server.stats(|stats| stats.opened == round).await;
        drop(stream);
        server.stats(|stats| stats.sockets == 0).await;
    }
}

#[tokio::test]
async fn rooms_are_bounded_for_the_room_the_socket_and_the_server() {
    let limits = Limits { room_peers: 1, rooms_per_socket: 2, rooms: 3, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let (mut a, mut b) = (server.joined("r0").await, server.welcomed().await);
    a.send(json!({"type": "join", "room": "r1"})).await;
    a.next().await;
    a.send(json!({"type": "join", "room": "r2"})).await;
    assert_eq!(a.next().await["code"], "too-many-rooms");
    b.send(json!({"type": "join", "room": "r0"})).await;
    assert_eq!(b.next().await["code"], "room-full");
    b.send(json!({"type": "join", "room": "r3"})).await;
    b.next().await;
    b.send(json!({"type": "join", "room": "r4"})).await;
    assert_eq!(b.next().await["code"], "busy");
}

#[tokio::test]
async fn who_sends_too_fast_hears_errors_and_is_closed_if_it_goes_on() {
    let limits = Limits { message_burst: 5, messages_per_sec: 1, strikes: 3, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let mut client = server.welcomed().await;
    for _ in 0..12 {
        client.send(json!({"type": "leave", "room": "r"})).await;
    }
    for _ in 0..5 {
        assert_eq!(client.next().await["code"], "not-joined");
    }
    let error = client.next().await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("too-many-requests"), &json!(true)));
    assert_eq!(client.close_code().await, (4013, "too many requests".to_owned()));
}

#[tokio::test]
async fn pings_count_as_messages() {
    let limits = Limits { message_burst: 5, messages_per_sec: 1, strikes: 3, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let mut client = server.welcomed().await;
    for _ in 0..20 {
        let _ = client.socket.send(Message::Ping(Default::default())).await;
    }
    assert_eq!(client.close_code().await.0, 4013);
}

#[tokio::test]
async fn fragments_without_end_and_without_content_are_too_many_bytes() {
    let limits = Limits { bytes_per_sec: 1000, messages_per_sec: 1, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let mut other = server.joined("r").await;
    let mut stream = server.raw_socket().await;
    stream.write_all(&masked(0x81, br#"{"type":"join","room":"r"}"#)).await.unwrap();
    other.next().await;
    stream.write_all(&masked(0x01, b"{")).await.unwrap();
    let nothing = masked(0x00, b"").repeat(1000);
    let mut sent = 0;
    while sent < 50_000_000 && stream.write_all(&nothing).await.is_ok() {
        sent += nothing.len();
    }
    // What the kernels hold of it comes on top of the burst.
    assert!(sent < 20_000_000, "{sent} bytes were read");
    assert_eq!(other.next().await["reason"], "expelled");
}

#[tokio::test]
async fn a_frame_that_dribbles_in_is_paid_by_the_read() {
    let limits = Limits {
        frame_bytes: 4096,
        byte_burst: 4096,
        bytes_per_sec: 1,
        message_burst: 1,
        messages_per_sec: 1,
        ..Limits::default()
    };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let mut stream = server.raw_socket().await;
    stream.set_nodelay(true).unwrap();
    let mut sent = 0;
    // 41 KB as 64 bytes a read are 640 reads.
    for byte in masked(0x01, &[b' '; 4000]) {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    assert!(sent < 4000, "all {sent} were read");
}

#[tokio::test]
async fn who_sends_too_many_bytes_hears_errors() {
    let server = Server::start(settings()).await;
    let mut client = server.welcomed().await;
    let padding = "x".repeat(60_000);
    for _ in 0..5 {
        client.send(json!({"type": "leave", "room": "r", "padding": padding})).await;
    }
    for _ in 0..4 {
        assert_eq!(client.next().await["code"], "not-joined");
    }
    assert_eq!(client.next().await["code"], "too-many-requests");
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_nobody_else_waits_for_it() {
    let limits = Limits { stalled_after_ms: 1_000, ..unhurried().limits };
    let server = Server::start(HttpSettings { limits, ..unhurried() }).await;
    let mut slow = server.joined_with_small_buffer("r").await;
    let (mut fast, mut sender) = (server.joined("r").await, server.joined("r").await);
    fast.next().await;
    slow.next().await;
    slow.next().await;
    // From here on the slow one does not read. Frames go to both in turn; the fast one must get
    // all of its own whatever becomes of the other.
    let padding = "x".repeat(30_000);
    let (mut sent, mut refused) = (0, Vec::new());
    let went = loop {
        for to in [&slow.id, &fast.id] {
            let frame = json!({"type": "signal", "to": to, "seq": sent, "data": padding});
            sender.send(frame).await;
        }
        let heard = fast.next().await;
        if heard["type"] == "peer-" {
            break heard;
        }
        assert_eq!(heard["seq"], sent);
        while let Ok(error) = timeout(Duration::from_millis(1), sender.next()).await {
            if error["type"] == "error" && error["code"] == "peer-busy" {
                assert_eq!((&error["to"], &error["retryable"]), (&json!(slow.id), &json!(true)));
                refused.push(error["seq"].as_u64().unwrap());
            }
        }
        sent += 1;
    };
    assert_eq!((&went["id"], &went["reason"]), (&json!(slow.id), &json!("slow")));
    assert_eq!(server.stats(|stats| stats.closed_slow == 1).await.sockets, 2);
    assert!(!refused.is_empty());
    // What was not refused arrives without a gap, as far as it got.
    let mut expected = (0_u64..).filter(|seq| !refused.contains(seq));
    while let Some(Ok(message)) = within(slow.socket.next()).await {
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(frame["seq"], expected.next().unwrap());
    }
}

#[tokio::test]
async fn nobody_can_have_a_reader_closed_by_sending_to_it() {
    let server = Server::start(settings()).await;
    let mut victim = server.joined("r").await;
    let mut senders = Vec::new();
    for _ in 0..8 {
        senders.push(server.joined("r").await);
    }
    let padding = "x".repeat(65_300);
    let frame = json!({"type": "signal", "to": victim.id, "data": padding});
    for sender in &mut senders {
        for _ in 0..3 {
            sender.socket.feed(Message::text(frame.to_string())).await.unwrap();
        }
    }
    let flushed = senders.iter_mut().map(|sender| sender.socket.flush());
    within(futures_util::future::join_all(flushed)).await;
    // Each of the 24 was passed on or refused to its sender.
    let stats = server.stats(|stats| stats.signals + stats.undelivered == 24).await;
    for _ in 0..stats.signals {
        while victim.next().await["type"] != "signal" {}
    }
    let mut refused = 0;
    for sender in &mut senders {
        sender.send(json!({"type": "leave", "room": "elsewhere"})).await;
        loop {
            match sender.next().await["code"].as_str() {
                Some("peer-busy") => refused += 1,
                Some("not-joined") => break,
                _ => {}
            }
        }
    }
    assert_eq!(refused, stats.undelivered);
    victim.send(json!({"type": "leave", "room": "r"})).await;
    assert_eq!(server.stats(|stats| stats.sockets == 9).await.closed_slow, 0);
}

#[tokio::test]
async fn a_queue_of_many_small_frames_is_bounded_by_their_number() {
    let limits = Limits { queue_frames: 8, ..unhurried().limits };
    let server = Server::start(HttpSettings { limits, ..unhurried() }).await;
    let slow = server.joined_with_small_buffer("r").await;
    let mut sender = server.joined("r").await;
    // 4 KB each: the bytes of eight are far below the other bound.
    let padding = "x".repeat(4_000);
    let frame = json!({"type": "signal", "to": slow.id, "data": padding});
    let mut sent = 0;
    let heard = loop {
        sender.send(frame.clone()).await;
        sent += 1;
        assert!(sent < 5000);
        if let Ok(heard) = timeout(Duration::from_millis(1), sender.next()).await {
            break heard;
        }
    };
    assert_eq!(heard["code"], "peer-busy");
}

#[tokio::test]
async fn the_servers_own_frames_are_queued_to_a_limit_too() {
    let limits = Limits { queue_frames: 2, stalled_after_ms: 60_000, ..unhurried().limits };
    let server = Server::start(HttpSettings { limits, ..unhurried() }).await;
    let slow = server.joined_with_small_buffer("r").await;
    let mut flapping = server.joined("r").await;
    let meta = "x".repeat(1_000);
    let mut rounds = 0;
    while server.stats.borrow().closed_slow == 0 {
        flapping.send(json!({"type": "leave", "room": "r"})).await;
        flapping.send(json!({"type": "join", "room": "r", "meta": meta})).await;
        flapping.next().await;
        rounds += 1;
        assert!(rounds < 5000, "5 MB were taken in for somebody who reads nothing");
    }
    drop(slow);
}

#[tokio::test]
async fn the_server_pings_and_a_client_that_never_answers_is_dead() {
    let limits = Limits { heartbeat_ms: 50, dead_after_ms: 400, ..Limits::default() };
    let server = Server::start(HttpSettings { limits, ..settings() }).await;
    let mut other = server.joined("r").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(server.handshake().as_bytes()).await.unwrap();
    stream.write_all(&masked(0x81, br#"{"type":"join","room":"r"}"#)).await.unwrap();
    let came = other.next().await;
    let went = other.next().await;
    assert_eq!((&went["id"], &went["reason"]), (&came["id"], &json!("dead")));
    // The one whose library answers pings is alive.
    other.send(json!({"type": "leave", "room": "r"})).await;
    server.stats(|stats| stats.sockets == 1 && stats.rooms == 0).await;
    let mut heard = Vec::new();
    within(stream.read_to_end(&mut heard)).await.unwrap();
    let pings = heard.windows(2).filter(|bytes| *bytes == [0x89, 0]).count();
    assert!(pings >= 2, "{pings} pings");
    let close = heard.windows(2).position(|bytes| bytes == 4012_u16.to_be_bytes());
    assert!(close.is_some(), "no close frame with 4012");
}

// ---- hostile frames --------------------------------------------------------------------------

#[tokio::test]
async fn the_largest_frame_passes_and_one_byte_more_closes() {
    let server = Server::start(settings()).await;
    for (bytes, fits) in [(65_536, true), (65_537, false), (131_072, false), (1 << 20, false)] {
        let mut client = server.welcomed().await;
        let head = r#"{"type":"join","room":"r","padding":""#;
        let frame = format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2));
        let _ = client.socket.send(Message::text(frame)).await;
        if fits {
            assert_eq!(client.next().await["type"], "joined");
        } else {
            assert_eq!(client.close_code().await, (1009, "frame too large".to_owned()), "{bytes}");
        }
    }
}

#[tokio::test]
async fn fragments_count_as_one_frame() {
    let server = Server::start(settings()).await;
    let mut stream = server.raw_socket().await;
    let part = vec![b' '; 30_000];
    stream.write_all(&masked(0x01, &part)).await.unwrap();
    for _ in 0..4 {
        let _ = stream.write_all(&masked(0x00, &part)).await;
    }
    let _ = stream.write_all(&masked(0x80, &part)).await;
    assert_eq!(raw_close_code(&mut stream).await, 1009);
}

#[tokio::test]
async fn binary_frames_bad_utf8_and_unmasked_frames_close() {
    let server = Server::start(settings()).await;
    let mut client = server.welcomed().await;
    client.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.close_code().await, (1003, "text frames only".to_owned()));
    for (frame, code) in [
        (masked(0x81, b"\xff\xfe"), 1007),
        (masked(0x81, b"\xed\xa0\x80"), 1007), // half a surrogate pair as UTF-8
        (b"\x81\x02{}".to_vec(), 1002),
        (masked(0xf1, b"{}"), 1002), // reserved bits
        (masked(0x83, b"{}"), 1002), // a reserved opcode
    ] {
        let mut stream = server.raw_socket().await;
        stream.write_all(&frame).await.unwrap();
        assert_eq!(raw_close_code(&mut stream).await, code, "{frame:x?}");
    }
}

#[tokio::test]
async fn hostile_text_is_answered_with_an_error_and_reaches_nobody() {
    let server = Server::start(settings()).await;
    let (mut a, mut b) = (server.joined("r").await, server.joined("r").await);
    a.next().await;
    let signal = |data: &str| format!(r#"{{"type":"signal","to":"{}","data":{data}}}"#, a.id);
    let deep = signal(&format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)));
    for (frame, code) in [
        (deep.as_str(), "too-deep"),
        (&signal(r#""\ud800""#), "bad-frame"),
        (&signal(r#"{"\udfff":1}"#), "bad-frame"),
        (&signal("[1,"), "bad-frame"),
        (&signal("1,\"to\":\"x\""), "bad-frame"),
        (r#"{"type":"join","room":"a\u0000b"}"#, "bad-name"),
        (r#"{"type":"join","room":"a\nb"}"#, "bad-name"),
        (r#"{"type":"join","room":""}"#, "bad-name"),
        (r#"{"type":"leave","room":"\u202egnp.exe"}"#, "bad-name"),
        (r#"{"type":"signal","to":"\u0007","data":1}"#, "no-such-peer"),
        (r#"{"type":"signal","to":["x"],"data":1}"#, "bad-frame"),
        (r#"{"type":"\u0000"}"#, "unknown-type"),
        ("\u{0}", "bad-frame"),
    ] {
        b.socket.send(Message::text(frame)).await.unwrap();
        assert_eq!(b.next().await["code"], code, "{frame:.60}");
    }
    b.send(json!({"type": "signal", "to": a.id, "data": "fine"})).await;
    assert_eq!(a.next().await["data"], "fine", "nothing before it reached the other");
}

#[tokio::test]
async fn nonsense_without_end_is_closed_for_good() {
    let server = Server::start(settings()).await;
    let mut client = server.welcomed().await;
    for _ in 0..40 {
        let _ = client.socket.send(Message::text("nonsense")).await;
    }
    assert_eq!(client.close_code().await, (4500, "bad frames".to_owned()));
}

#[tokio::test]
async fn a_shutdown_is_told_and_waited_for() {
    let mut server = Server::start(settings()).await;
    let (mut a, mut b) = (server.joined("r").await, server.joined("r").await);
    a.next().await;
    server.shutdown.take().unwrap().send(()).unwrap();
    for client in [&mut a, &mut b] {
        assert_eq!(client.close_code().await, (4001, "shutdown".to_owned()));
    }
    within(&mut server.task).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn limits_that_contradict_each_other_stop_the_start() {
    let limits = Limits { room_peers: 5000, ..Limits::default() };
    let served = serve(Vec::new(), HttpSettings { limits, ..settings() }, async {}).await;
    assert!(served.unwrap_err().to_string().contains("room_peers"));
}

// ---- helpers ---------------------------------------------------------------------------------

/// Local access, a secret and TURN ports, and rates that do not get into the way of a test that
/// opens many sockets from one address.
fn settings() -> HttpSettings {
    HttpSettings {
        ice: IceSource {
            secret: Some(b"north".to_vec()),
            stun_udp_port: Some(3478),
            turn_udp_port: Some(3478),
            turn_tcp_port: Some(3478),
            ..IceSource::default()
        },
        ..HttpSettings::default()
    }
}

/// The same without rates on what a socket sends.
fn unhurried() -> HttpSettings {
    let fast = 1_000_000_000;
    let limits = Limits {
        messages_per_sec: fast,
        message_burst: fast,
        bytes_per_sec: fast,
        byte_burst: fast,
        ..Limits::default()
    };
    HttpSettings { limits, ..settings() }
}

struct Server {
    address: SocketAddr,
    stats: watch::Receiver<Stats>,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(settings: HttpSettings) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stats = settings.stats.subscribe();
        let (shutdown, down) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let down = async {
                let _ = down.await;
            };
            serve(vec![listener], settings, down).await.unwrap();
        });
        Self { address, stats, shutdown: Some(shutdown), task }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.get_as(&self.address.to_string(), path, headers).await
    }

    async fn get_as(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// The status, if the connection was let in at all.
    async fn try_get(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.ok()?;
        std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
    }

    async fn try_connect(
        &self,
        headers: &[(&'static str, &str)],
    ) -> Result<(Socket, tokio_tungstenite::tungstenite::handshake::client::Response), Error> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.upgrade(stream, headers).await
    }

    async fn upgrade(
        &self,
        stream: TcpStream,
        headers: &[(&'static str, &str)],
    ) -> Result<(Socket, tokio_tungstenite::tungstenite::handshake::client::Response), Error> {
        let url = format!("ws://{}/v1/signal", self.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        within(client_async(request, stream)).await
    }

    /// The status with which a socket was refused.
    async fn refused(&self, headers: &[(&'static str, &str)]) -> u16 {
        match self.try_connect(headers).await {
            Err(Error::Http(answer)) => answer.status().as_u16(),
            other => panic!("not refused: {other:?}"),
        }
    }

    async fn connect(&self) -> Client {
        let (socket, _) = self.try_connect(&[]).await.unwrap();
        Client { socket, id: String::new() }
    }

    async fn welcomed(&self) -> Client {
        self.connect().await.past_welcome().await
    }

    async fn joined(&self, room: &str) -> Client {
        self.welcomed().await.past_join(room).await
    }

    /// A client whose kernel takes in little for it.
    async fn joined_with_small_buffer(&self, room: &str) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let (socket, _) = self.upgrade(stream, &[]).await.unwrap();
        let client = Client { socket, id: String::new() };
        client.past_welcome().await.past_join(room).await
    }

    fn handshake(&self) -> String {
        let key = base64::engine::general_purpose::STANDARD.encode([7; 16]);
        format!(
            "GET /v1/signal HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
            self.address
        )
    }

    /// A WebSocket without a library, past the answer to its handshake.
    async fn raw_socket(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(self.handshake().as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(stream.read_u8()).await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        stream
    }

    /// Waits until the relay's counters are as wanted.
    async fn stats(&self, wanted: impl Fn(&Stats) -> bool) -> Stats {
        *within(self.stats.clone().wait_for(wanted)).await.unwrap()
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

type Socket = WebSocketStream<TcpStream>;

struct Client {
    socket: Socket,
    id: String,
}

impl Client {
    async fn past_welcome(mut self) -> Self {
        let welcome = self.next().await;
        assert_eq!(welcome["type"], "welcome");
        self.id = welcome["peer"].as_str().unwrap().to_owned();
        self
    }

    async fn past_join(mut self, room: &str) -> Self {
        self.send(json!({"type": "join", "room": room})).await;
        assert_eq!(self.next().await["type"], "joined");
        self
    }

    async fn send(&mut self, frame: Value) {
        within(self.socket.send(Message::text(frame.to_string()))).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        loop {
            match within(self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no text frame: {other:?}"),
            }
        }
    }

    /// The close frame, after whatever stands before it.
    async fn close_code(&mut self) -> (u16, String) {
        loop {
            match within(self.socket.next()).await {
                Some(Ok(Message::Close(Some(close)))) => {
                    return (close.code.into(), close.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }

    async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = within(self.socket.next()).await {}
    }

    /// Breaks the connection without a closing handshake.
    async fn break_off(&mut self) {
        self.socket.get_mut().shutdown().await.unwrap();
    }
}

/// A frame as a client sends it, with a mask of zeros.
fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The code of the close frame that ends what the server sends.
async fn raw_close_code(stream: &mut TcpStream) -> u16 {
    let mut heard = Vec::new();
    let _ = within(stream.read_to_end(&mut heard)).await;
    let close = heard.iter().rposition(|byte| *byte == 0x88).expect("a close frame");
    u16::from_be_bytes([heard[close + 2], heard[close + 3]])
}

/// Waits for an event, and not for ever.
async fn within<T>(event: impl Future<Output = T>) -> T {
    timeout(DEADLINE, event).await.expect("this takes far less time when it works")
}

const DEADLINE: Duration = Duration::from_secs(20);
