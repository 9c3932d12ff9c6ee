//! What operators ask over HTTP, and what they read in the log, at the binary as it is started.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
    pub(crate) mod tls;
}

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use common::client::{Client, eventually, hear, peer};
use common::server::Server;
use serde_json::Value;

const OPEN: &str = "[listen]\nhttp = [\"127.0.0.1:HTTP\"]";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn with_admin(keys: &str) -> Server {
    Server::with(&format!("{OPEN}\n[admin]\n{keys}"))
}

/// An answer's status and body. `head` is more lines of the request's.
fn ask(server: &Server, request: &str, head: &str, body: &str) -> (u16, String) {
    ask_as(server, "localhost", request, head, body)
}

fn ask_as(server: &Server, host: &str, request: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.http()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{head}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn json(server: &Server, request: &str) -> Value {
    let (status, body) = ask(server, request, "", "");
    assert_eq!(status, 200, "{request}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// What the harness's secret makes of a name.
fn time_limited(name: &str) -> String {
    use base64::Engine as _;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"s3cret").unwrap();
    mac.update(name.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}

/// The value of a series as it is written, with its labels.
fn metric(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
}

fn metrics(server: &Server) -> String {
    let (status, text) = ask(server, "GET /metrics", "", "");
    assert_eq!(status, 200);
    text
}

#[test]
fn metrics_are_openmetrics_and_tell_what_is_now() {
    let server = with_admin("");
    let mut client = Client::udp(server.address());
    client.allocate();
    let peer = peer(Ipv4Addr::LOCALHOST);
    let address = peer.local_addr().unwrap();
    client.permit(address);
    client.bind(0x4000, address);
    for _ in 0..7 {
        client.channel_data(0x4000, b"payload");
        hear(&peer);
    }
    let text = metrics(&server);
    // The call goes on: nothing waits for its end.
    for (series, value) in [
        ("hairpin_allocations", 1.0),
        ("hairpin_permissions", 1.0),
        ("hairpin_channels", 1.0),
        ("hairpin_relayed_packets_total{direction=\"to_peer\"}", 7.0),
        ("hairpin_relayed_bytes_total{transport=\"udp\",direction=\"to_peer\"}", 49.0),
        ("hairpin_requests_total{method=\"allocate\",result=\"success\"}", 1.0),
        ("hairpin_requests_total{method=\"allocate\",result=\"401\"}", 1.0),
        ("hairpin_login_failures_total{reason=\"challenged\"}", 1.0),
        ("hairpin_drops_total{reason=\"no_permission\"}", 0.0),
        ("hairpin_draining", 0.0),
    ] {
        assert!((metric(&text, series) - value).abs() < 0.1, "{series} is not {value}:\n{text}");
    }
    // tests/clients/run has Prometheus' own parser read it.
    assert!(text.ends_with("# EOF\n"));
    client.refresh(0).unwrap();
    eventually("the allocation is gone", || metric(&metrics(&server), "hairpin_allocations") < 0.5);
}

/// Or a panel would stay empty, and nobody would know why.
#[test]
fn the_dashboard_asks_for_series_that_are_there() {
    let authority = common::tls::Authority::new();
    authority.issue("first", &["turn.example.org"]);
    let listeners = authority.listeners(&["first"]);
    let server = Server::with(&listeners.replacen("[listen]", OPEN, 1));
    let text = metrics(&server);
    let there: std::collections::BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let dashboard = include_str!("../packaging/grafana/hairpin.json");
    let parsed: Value = serde_json::from_str(dashboard).unwrap();
    let name = regex::Regex::new("hairpin_[a-z_]+").unwrap();
    let mut count = 0;
    for panel in parsed["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            for found in name.find_iter(expression) {
                assert!(there.contains(found.as_str()), "{expression}");
                count += 1;
            }
        }
    }
    assert!(count > 20);
}

#[test]
fn labels_are_as_many_however_many_users_and_clients_there_are() {
    let server = with_admin("");
    let series = |server: &Server| metrics(server).lines().count();
    let known = |server: &Server, number: u8| {
        let name = format!("4000000000:user-{number}");
        let from = (Ipv4Addr::new(127, 0, 0, number), 0).into();
        let client = Client::udp_from(from, server.address());
        let mut client = client.user(&name, &time_limited(&name));
        client.allocate();
        client
    };
    let first = known(&server, 20);
    let before = series(&server);
    let more: Vec<_> = (21..41).map(|number| known(&server, number)).collect();
    assert_eq!(series(&server), before);
    drop((first, more));
}

#[test]
fn nobody_but_this_machine_and_who_shows_the_token_may_ask() {
    let server = with_admin(&format!("token = \"{TOKEN}\""));
    let passed_on = "X-Forwarded-For: 203.0.113.5\r\n";
    let local = with_admin("");
    for path in ["/metrics", "/admin/v1/status", "/admin/v1/allocations"] {
        let request = format!("GET {path}");
        assert_eq!(ask(&local, &request, "", "").0, 200);
        assert_eq!(ask(&local, &request, passed_on, "").0, 403);
        // What a proxy on this machine asks for that tells nothing of itself.
        assert_eq!(ask_as(&local, "turn.example.org", &request, "", "").0, 403);
        // Where there is a token it is needed, from this machine as well.
        assert_eq!(ask(&server, &request, "", "").0, 403);
        assert_eq!(ask(&server, &request, passed_on, "").0, 403);
        let wrong = format!("{passed_on}Authorization: Bearer {TOKEN}0\r\n");
        assert_eq!(ask(&server, &request, &wrong, "").0, 403);
        let right = format!("{passed_on}Authorization: Bearer {TOKEN}\r\n");
        assert_eq!(ask(&server, &request, &right, "").0, 200);
        // A page of another origin in this machine's browser.
        let page = "Origin: https://example.org\r\n";
        assert_eq!(ask(&server, &request, page, "").0, 403);
    }
    let order = "POST /admin/v1/drain";
    assert_eq!(ask(&server, order, "Origin: https://example.org\r\n", "").0, 403);
    assert_eq!(ask(&server, order, passed_on, "").0, 403);
    assert!(!server.said().contains(TOKEN));
    let open = with_admin("metrics_from = [\"127.0.0.0/8\"]");
    assert_eq!(ask(&open, "GET /metrics", passed_on, "").0, 200);
    assert_eq!(ask(&open, "GET /admin/v1/status", passed_on, "").0, 403);
    let empty = format!("{passed_on}Authorization: Bearer \r\n");
    assert_eq!(ask(&local, "GET /admin/v1/status", &empty, "").0, 403);
    let proxied = "trusted_proxies = [\"127.0.0.0/8\"]";
    let proxied = Server::with(&format!("{OPEN}\n[signalling]\n{proxied}"));
    assert_eq!(ask(&proxied, "GET /admin/v1/status", "", "").0, 403);
}

#[test]
fn allocations_are_listed_and_ended() {
    let server = with_admin("");
    let mut clients: Vec<_> = (0..3).map(|_| Client::udp(server.address())).collect();
    clients.push(Client::tcp(server.address()).user("user2", "test2"));
    let relayed: Vec<_> = clients.iter_mut().map(Client::allocate).collect();
    let list = |query: &str| {
        let found = json(&server, &format!("GET /admin/v1/allocations{query}"));
        found["allocations"].as_array().unwrap().clone()
    };
    assert_eq!(list("").len(), 4);
    assert_eq!(list("?limit=2").len(), 2);
    assert_eq!(list("?user=user2").len(), 1);
    assert_eq!(list("?user=nobody").len(), 0);
    let first = list("").into_iter().find(|it| it["relayed"][0] == relayed[0].to_string());
    let first = first.unwrap();
    assert_eq!(first["client"], clients[0].local_addr().to_string());
    assert_eq!((&first["user"], &first["transport"]), (&"user1".into(), &"udp".into()));
    let path = format!("/admin/v1/allocations/{}", first["id"].as_str().unwrap());
    assert_eq!(json(&server, &format!("GET {path}"))["relayed"], first["relayed"]);
    assert_eq!(json(&server, &format!("DELETE {path}"))["ended"], 1);
    assert_eq!(clients[0].refresh(600), Err(437));
    assert_eq!(ask(&server, &format!("DELETE {path}"), "", "").0, 404);
    assert_eq!(ask(&server, "GET /admin/v1/allocations/not-one", "", "").0, 404);
    assert_eq!(json(&server, "DELETE /admin/v1/users/user1/allocations")["ended"], 2);
    assert_eq!(clients[1].refresh(600), Err(437));
    assert_eq!(clients[3].refresh(600), Ok(600));
    eventually("the log tells of it", || server.said().matches("why=revoked").count() == 3);
    // Of a time-limited name the part behind the expiry will do.
    let name = "4000000000:carol";
    let mut carol = Client::udp(server.address()).user(name, &time_limited(name));
    carol.allocate();
    assert_eq!(list("?user=carol").len(), 1);
    assert_eq!(json(&server, "DELETE /admin/v1/users/carol/allocations")["ended"], 1);
    assert_eq!(carol.refresh(600), Err(437));
}

#[test]
fn a_server_that_drains_is_not_ready_and_serves_those_that_it_has() {
    let mut server = Server::with(&format!("drain_secs = 60\n{OPEN}"));
    let mut client = Client::udp(server.address());
    client.allocate();
    assert_eq!(ask(&server, "GET /readyz", "", ""), (200, "{\"status\":\"ready\"}".to_owned()));
    assert_eq!(ask(&server, "POST /admin/v1/drain", "", "").0, 202);
    eventually("it is not ready", || ask(&server, "GET /readyz", "", "").0 == 503);
    assert_eq!(ask(&server, "GET /healthz", "", "").0, 200);
    assert!(metric(&metrics(&server), "hairpin_draining") > 0.5);
    let peer = peer(Ipv4Addr::LOCALHOST);
    client.permit(peer.local_addr().unwrap());
    client.send(peer.local_addr().unwrap(), b"goes on");
    assert_eq!(hear(&peer).1, b"goes on");
    assert_eq!(Client::udp(server.address()).try_allocate(), Err(508));
    client.refresh(0).unwrap();
    eventually("it ends", || server.ended().is_some());
    assert!(server.ended().unwrap().success());
}

#[test]
fn the_log_level_can_be_changed_while_the_server_runs() {
    let server = with_admin("");
    assert_eq!(json(&server, "GET /admin/v1/status")["log_level"], "info");
    let put = |body: &str| {
        ask(&server, "PUT /admin/v1/log-level", "Content-Type: application/json\r\n", body)
    };
    assert_eq!(put("{\"level\": \"warn\"}").0, 200);
    assert_eq!(json(&server, "GET /admin/v1/status")["log_level"], "warn");
    let mut client = Client::udp(server.address());
    client.allocate();
    client.refresh(0).unwrap();
    for bad in ["{\"level\": \"loud\"}", "{}", "nonsense"] {
        let (status, why) = put(bad);
        assert_eq!(status, 400, "{why}");
    }
    // A line that is told at this level comes behind those that are not.
    let mut stranger = Client::udp(server.address()).user("nobody", "x");
    assert_eq!(stranger.try_allocate(), Err(401));
    eventually("it is told", || server.said().contains("why=unknown-user"));
    assert!(!server.said().contains("hairpin::session"));
}

#[test]
fn the_description_names_every_route_and_no_other() {
    let server = with_admin("");
    let described = json(&server, "GET /admin/v1/openapi.json");
    let paths = described["paths"].as_object().unwrap();
    let source =
        [include_str!("../src/control/admin.rs"), include_str!("../src/control/http.rs")].concat();
    let routes = source.split(".route(").skip(1).filter_map(|it| it.split('"').nth(1));
    let ours =
        |path: &&str| path.starts_with("/admin") || path.ends_with('z') || *path == "/metrics";
    let mut routes: Vec<_> = routes.filter(ours).collect();
    routes.sort_unstable();
    let mut named: Vec<_> = paths.keys().map(String::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, routes);
    for (path, methods) in paths {
        for method in ["get", "put", "post", "delete"] {
            let described = methods.get(method).is_some();
            if described && path.ends_with("drain") {
                continue;
            }
            let path = path.replace(['{', '}'], "");
            let (status, _) = ask(&server, &format!("{} {path}", method.to_uppercase()), "", "");
            assert_eq!(status != 405, described, "{method} {path}: {status}");
        }
    }
}

#[test]
fn the_end_of_a_session_is_one_line_with_everything() {
    let server = with_admin("");
    let mut client = Client::udp(server.address());
    let relayed = client.allocate();
    let peer = peer(Ipv4Addr::LOCALHOST);
    client.permit(peer.local_addr().unwrap());
    client.send(peer.local_addr().unwrap(), b"four");
    hear(&peer);
    client.refresh(0).unwrap();
    let mut line = String::new();
    eventually("the line is there", || {
        let said = server.said();
        let found = said.lines().find(|line| line.contains("hairpin::session: ended"));
        line = found.unwrap_or_default().to_owned();
        !line.is_empty()
    });
    let (from, port) = (client.local_addr().ip(), client.local_addr().port());
    let expected = format!(
        "INFO hairpin::session: ended client={from} port={port} transport=udp user=\"user1\" \
         relay={relayed} secs=0 peers=1 packets_to_peers=1 bytes_to_peers=4 packets_to_client=0 \
         bytes_to_client=0 why=deleted"
    );
    assert!(line.ends_with(&expected), "{line}\n{expected}");
}

#[test]
fn a_refused_login_is_told_in_a_form_that_fail2ban_finds() {
    let server = with_admin("");
    for (name, password) in [("user1", "a guess"), ("\u{1b}[31mnobody\nclient=8.8.8.8", "x")] {
        let mut client = Client::udp(server.address()).user(name, password);
        assert_eq!(client.try_allocate(), Err(401));
    }
    let filter = include_str!("../packaging/fail2ban/hairpin.conf");
    let expression = filter.lines().find_map(|line| line.strip_prefix("failregex = ")).unwrap();
    let expression = expression.replace("<ADDR>", r"(?P<ip>[0-9a-fA-F:.]+)");
    let expression = regex::Regex::new(&expression).unwrap();
    let mut found = Vec::new();
    eventually("both are told", || {
        let said = server.said();
        let of = |line| Some(expression.captures(line)?["ip"].to_owned());
        found = said.lines().filter_map(of).collect();
        found.len() == 2
    });
    assert_eq!(found, ["127.0.0.1", "127.0.0.1"]);
    let said = server.said();
    assert!(said.contains("user=\"user1\" why=wrong-password"), "{said}");
    assert!(said.contains(r#"user="\x1b[31mnobody\nclient=8.8.8.8" why=unknown-user"#), "{said}");
    assert!(!said.contains("a guess"));
}

#[test]
fn a_log_in_json_is_an_object_for_each_line() {
    let server = Server::with("[log]\nformat = \"json\"");
    let mut client = Client::udp(server.address());
    client.allocate();
    client.refresh(0).unwrap();
    eventually("the line is there", || server.said().contains("hairpin::session"));
    let said = server.said();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = lines.iter().find(|line| line["target"] == "hairpin::session").unwrap();
    assert_eq!((&end["user"], &end["why"]), (&"\"user1\"".into(), &"deleted".into()));
    assert_eq!(end["message"], "ended");
}

/// `hairpin ctl` against the server: exit code, stdout, stderr.
fn ctl(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let address = server.http().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["ctl", "--server", &address])
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env_remove("HAIRPIN_CONFIG")
        .env_remove("HAIRPIN_TOKEN")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_person_asks_and_orders_by_hairpin_ctl() {
    let server = with_admin("");
    let mut client = Client::udp(server.address());
    let relayed = client.allocate().to_string();
    let (code, said, _) = ctl(&server, &["allocations"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{said}");
    let cells: Vec<_> = lines[1].split_whitespace().collect();
    let from = client.local_addr().to_string();
    assert_eq!(cells[1..5], ["user1", &from, "udp", &relayed], "{said}");
    let (_, said, _) = ctl(&server, &["status"]);
    assert!(said.lines().any(|line| line.split_whitespace().eq(["allocations", "1"])), "{said}");
    let (_, said, _) = ctl(&server, &["--json", "status"]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["allocations"], 1);
    let (_, said, _) = ctl(&server, &["metrics"]);
    assert!(said.ends_with("# EOF\n"), "{said}");
    assert_eq!(ctl(&server, &["end", cells[0]]).1, "ended: 1\n");
    assert_eq!(client.refresh(600), Err(437));
    let (code, _, why) = ctl(&server, &["end", cells[0]]);
    assert_eq!(code, 1);
    assert!(why.contains("there is no such allocation"), "{why}");
    client.allocate();
    assert_eq!(ctl(&server, &["end-user", "user1"]).1, "ended: 1\n");
    assert_eq!(ctl(&server, &["log-level", "debug"]).0, 0);
    assert_eq!(json(&server, "GET /admin/v1/status")["log_level"], "debug");
    assert_eq!(ctl(&server, &["log-level", "loud"]).0, 1);
    assert_eq!(ctl(&server, &["reload"]).0, 0);
    eventually("it is read", || server.said().contains("was read again"));
    assert_eq!(ctl(&server, &["drain"]).0, 0);
}

#[test]
fn hairpin_ctl_says_what_to_do_where_nobody_answers() {
    let mut server = with_admin("");
    server.kill();
    let (code, said, why) = ctl(&server, &["status"]);
    assert_eq!((code, &*said), (1, ""));
    assert!(why.contains("is the server running"), "{why}");
}
