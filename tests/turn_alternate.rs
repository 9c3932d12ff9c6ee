//! Try Alternate (RFC 8656 §7.2 step 11, RFC 8489 §10): new clients are sent to other servers.

mod common;

use std::net::SocketAddr;

use common::{AttributeType, Client, ErrorCode, Method, PEER, Response, Sim, Transport, addr};
use hairpin::turn::FiveTuple;
use hairpin::turn::config::{Alternate, Alternates};

const V4_SERVERS: [&str; 3] = ["192.0.2.1:3478", "192.0.2.2:3478", "192.0.2.3:3479"];
const V6_SERVERS: [&str; 2] = ["[2001:db8::1]:3478", "[2001:db8::2]:3478"];
const OVER_TCP: &str = "192.0.2.4:443";
const OVER_TLS: &str = "192.0.2.5:5349";

/// A server that knows of others.
fn server(always: bool) -> Sim {
    let over_udp = V4_SERVERS.iter().chain(&V6_SERVERS).map(|it| other(Transport::Udp, false, it));
    let over_streams = [(false, OVER_TCP), (true, OVER_TLS)];
    let over_streams = over_streams.map(|(tls, it)| other(Transport::Tcp, tls, it));
    Sim::with(|config| {
        config.alternates = Alternates {
            servers: over_udp.chain(over_streams).collect(),
            domain: Some("other.example.org".to_owned()),
            tls_listeners: vec![addr("8.0.0.1:5349"), addr("[::]:443")],
            always,
        }
    })
}

fn other(transport: Transport, tls: bool, address: &str) -> Alternate {
    Alternate { transport, tls, address: addr(address) }
}

fn client(sim: &mut Sim, n: usize) -> Client {
    sim.client(&format!("198.51.100.{n}:4000"))
}

/// The servers that a 300 names, encoded as MAPPED-ADDRESS is (RFC 8489 §14.15).
fn named(response: &Response) -> Vec<SocketAddr> {
    assert_eq!(response.code(), Some(300));
    let all = response.kinds().into_iter().filter(|kind| *kind == AttributeType::ALTERNATE_SERVER);
    let count = all.count();
    let servers = response.plain_addresses(AttributeType::ALTERNATE_SERVER);
    assert_eq!(servers.len(), count);
    servers
}

/// RFC 8489 §10: one of the client's own family first, and one of the other.
#[test]
fn a_new_client_is_sent_to_a_server_of_its_family_and_told_of_one_of_the_other() {
    let mut sim = server(true);
    let v4 = client(&mut sim, 1);
    let response = sim.allocate(v4).rejected(300);
    assert_eq!(named(&response), [addr(V4_SERVERS[0]), addr(V6_SERVERS[0])]);
    let v6 = sim.client("[2001:db8::77]:4000");
    let response = sim.allocate(v6).rejected(300);
    assert_eq!(named(&response), [addr(V6_SERVERS[1]), addr(V4_SERVERS[1])]);
    assert_eq!(sim.errors(ErrorCode::TRY_ALTERNATE), 2);
    sim.nothing_left();
}

#[test]
fn each_server_has_its_turn() {
    let mut sim = server(true);
    for n in 0..9 {
        let client = client(&mut sim, n);
        let response = sim.allocate(client).rejected(300);
        assert_eq!(named(&response)[0], addr(V4_SERVERS[n % 3]));
    }
}

#[test]
fn cores_do_not_all_begin_with_the_same_server() {
    let servers: Vec<_> = V4_SERVERS.map(|server| other(Transport::Udp, false, server)).into();
    let mut sim = Sim::cores(3, 1, |config| {
        let servers = servers.clone();
        config.alternates = Alternates { servers, always: true, ..Alternates::default() };
    });
    for (core, server) in V4_SERVERS.iter().enumerate() {
        let client = sim.client_on(core, Transport::Udp, &format!("198.51.100.{core}:4000"));
        assert_eq!(named(&sim.allocate(client).rejected(300)), [addr(server)]);
    }
}

/// RFC 8489 §10: the client tries the same transport there.
#[test]
fn a_client_is_sent_to_servers_of_its_transport_only() {
    let mut sim = server(true);
    let tcp = sim.tcp_client("198.51.100.1:4000");
    assert_eq!(named(&sim.allocate(tcp).rejected(300)), [addr(OVER_TCP)]);
    // Nobody of its family: RFC 8489 §10 wants one, so there is no redirection at all.
    let v6 = sim.tcp_client("[2001:db8::77]:4000");
    sim.allocate(v6).success();
}

/// RFC 8489 §10: "using the same transport protocol"; TLS is TCP to the 5-tuple, but not to whom it
/// would be sent to. ALTERNATE-DOMAIN says what to look for in the other certificate.
#[test]
fn a_client_over_tls_is_sent_to_servers_that_speak_it_and_told_their_name() {
    let mut sim = server(true);
    let over = |sim: &mut Sim, client: &str, server: &str| {
        let (client, server) = (addr(client), addr(server));
        sim.client_at(0, FiveTuple { transport: Transport::Tcp, client, server })
    };
    let tls = over(&mut sim, "198.51.100.1:4000", "8.0.0.1:5349");
    let response = sim.allocate(tls).rejected(300);
    assert_eq!(named(&response), [addr(OVER_TLS)]);
    assert_eq!(response.get(AttributeType::ALTERNATE_DOMAIN), b"other.example.org");
    // The same port elsewhere, and another port here.
    for server in ["8.0.0.2:5349", "8.0.0.1:443", "8.0.0.1:3478"] {
        let tcp = over(&mut sim, "198.51.100.2:4000", server);
        let response = sim.allocate(tcp).rejected(300);
        assert_eq!(named(&response), [addr(OVER_TCP)], "{server}");
        assert!(!response.has(AttributeType::ALTERNATE_DOMAIN));
    }
    // A listener at every address of its family; there is no server for these.
    let v6 = over(&mut sim, "[2001:db8::77]:4000", "[2600:8::1]:443");
    sim.allocate(v6).success();
}

#[test]
fn nobody_without_credentials_hears_of_other_servers() {
    let mut sim = server(true);
    let client = client(&mut sim, 1);
    assert!(!sim.challenge(client).has(AttributeType::ALTERNATE_SERVER));
    sim.log_in(client, "alice", "wrong");
    assert!(!sim.allocate(client).rejected(401).has(AttributeType::ALTERNATE_SERVER));
}

/// What is wrong with a request is told before where else to try it.
#[test]
fn a_bad_allocate_is_refused_for_what_it_is() {
    let mut sim = server(true);
    let client = client(&mut sim, 1);
    sim.request(client, Method::ALLOCATE, &[]).rejected(400);
    let sctp = (AttributeType::REQUESTED_TRANSPORT, &[132, 0, 0, 0][..]);
    sim.request(client, Method::ALLOCATE, &[sctp]).rejected(442);
}

#[test]
fn other_servers_are_named_only_once_this_one_drains_and_what_is_there_goes_on() {
    let mut sim = server(false);
    let (early, late) = (client(&mut sim, 1), client(&mut sim, 2));
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, common::UDP);
    sim.challenge(early);
    let allocate = sim.sign(early, packet);
    let success = sim.ask(early, &allocate).success();
    let pair = client(&mut sim, 3);
    let response = sim.allocate_with(pair, &[(AttributeType::EVEN_PORT, &[0x80])]).success();
    let token = response.get(AttributeType::RESERVATION_TOKEN).to_vec();

    sim.cores[0].drain();
    assert_eq!(named(&sim.allocate(late).rejected(300))[0], addr(V4_SERVERS[0]));
    // Retransmitted, the answer is what it was.
    assert_eq!(sim.ask(early, &allocate).success().bytes, success.bytes);
    sim.allocate(early).rejected(437);
    sim.refresh(early, 600).success();
    sim.permit(early, PEER).success();
    sim.send(early, PEER, b"x").reaches(PEER);
    // A reserved port is nowhere but here.
    sim.allocate_with(late, &[(AttributeType::RESERVATION_TOKEN, &token)]).success();
}

#[test]
fn a_draining_server_that_knows_no_other_redirects_nobody() {
    let mut sim = Sim::new();
    sim.cores[0].drain();
    let client = client(&mut sim, 1);
    // Its shell refuses.
    sim.failures.push_back(common::OpenError::Failed);
    sim.allocate(client).rejected(508);
}
