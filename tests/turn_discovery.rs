//! NAT behaviour discovery (RFC 5780) in the core: who is answered, from where, and how much.

mod common;

use std::net::SocketAddr;

use common::{
    Answer, AttributeType, Class, Client, ErrorCode, Method, Out, Packet, Response, Sim, Transport,
    addr, secs,
};
use hairpin::turn::FiveTuple;
use hairpin::turn::config::{Discovery, Pair};
use hairpin::wire::address;
use hairpin::wire::message::MAGIC_COOKIE;

const CLIENT: &str = "198.51.100.1:4000";
/// A1:P1, A1:P2, A2:P1, A2:P2.
const V4: [&str; 4] = ["8.0.0.1:3478", "8.0.0.1:3479", "8.0.0.2:3478", "8.0.0.2:3479"];
const V6: [&str; 4] =
    ["[2600:8::1]:3478", "[2600:8::1]:3479", "[2600:8::2]:3478", "[2600:8::2]:3479"];
const CHANGE_PORT: [u8; 4] = [0, 0, 0, 2];
const CHANGE_IP: [u8; 4] = [0, 0, 0, 4];
const CHANGE_BOTH: [u8; 4] = [0, 0, 0, 6];
/// By how much an answer to an IPv4 client is longer than its request, PADDING apart.
const ADDRESSES_V4: usize = 48;

fn pair([primary, _, _, alternate]: [&str; 4]) -> Pair {
    Pair { primary: addr(primary), alternate: addr(alternate) }
}

fn discovering() -> Sim {
    discovering_at(1000)
}

fn discovering_at(requests_per_sec: u32) -> Sim {
    let pairs = vec![pair(V4), pair(V6)];
    let mut sim = Sim::with(|config| {
        config.discovery = Discovery { pairs, streams: true, requests_per_sec };
    });
    sim.reply_room = 1700;
    sim
}

fn client_at(sim: &mut Sim, transport: Transport, client: &str, server: &str) -> Client {
    sim.client_at(0, FiveTuple { transport, client: addr(client), server: addr(server) })
}

fn at(sim: &mut Sim, server: &str) -> Client {
    let client = if server.starts_with('[') { "[2001:db8::77]:4000" } else { CLIENT };
    client_at(sim, Transport::Udp, client, server)
}

fn change(sim: &mut Sim, flags: [u8; 4]) -> Packet {
    sim.packet(Method::BINDING).with(AttributeType::CHANGE_REQUEST, flags)
}

/// The answer, the address that it leaves from, and where to.
#[track_caller]
fn told(sim: &mut Sim, client: Client, packet: &Packet) -> (Response, SocketAddr, SocketAddr) {
    let tuple = sim.path(client).tuple;
    let (bytes, from, to) = match sim.deliver(client, &packet.encode()) {
        Out::Reply(bytes) => (bytes, tuple.server, tuple.client),
        Out::Elsewhere { from, to, bytes } => (bytes, from, to),
        other => panic!("no answer: {other:?}"),
    };
    let response = Response::read(&bytes);
    assert_eq!(response.class, Class::Success, "{:?}", response.code());
    assert_eq!(response.transaction, packet.transaction);
    (response, from, to)
}

fn plain(response: &Response, kind: AttributeType) -> SocketAddr {
    address::decode_plain(response.get(kind)).expect("an address")
}

#[track_caller]
fn refused(sim: &mut Sim, client: Client, packet: &Packet, code: u16) -> Response {
    let response = sim.ask(client, packet).response.expect("an answer");
    assert_eq!((response.class, response.code()), (Class::Error, Some(code)));
    response
}

/// RFC 5780 §6.1: "If the Binding Request does not contain any attributes from this document,
/// OTHER-ADDRESS and RESPONSE-ORIGIN are still included"; "The server MUST include both
/// MAPPED-ADDRESS and XOR-MAPPED-ADDRESS".
#[test]
fn each_of_the_four_addresses_names_itself_and_the_opposite_one() {
    let mut sim = discovering();
    for corners in [V4, V6] {
        for (here, other) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
            let client = at(&mut sim, corners[here]);
            let packet = sim.packet(Method::BINDING);
            let (response, from, to) = told(&mut sim, client, &packet);
            assert_eq!((from, to), (addr(corners[here]), sim.path(client).tuple.client));
            assert_eq!(
                response.kinds(),
                [
                    AttributeType::MAPPED_ADDRESS,
                    AttributeType::XOR_MAPPED_ADDRESS,
                    AttributeType::RESPONSE_ORIGIN,
                    AttributeType::OTHER_ADDRESS,
                ]
            );
            assert_eq!(plain(&response, AttributeType::MAPPED_ADDRESS), to);
            assert_eq!(response.addresses(AttributeType::XOR_MAPPED_ADDRESS), [to]);
            assert_eq!(plain(&response, AttributeType::RESPONSE_ORIGIN), from);
            assert_eq!(plain(&response, AttributeType::OTHER_ADDRESS), addr(corners[other]));
        }
    }
    assert_eq!((sim.stats().bindings, sim.stats().discoveries), (8, 0));
}

/// RFC 5780 §6.1, table 1, at each of the four addresses; OTHER-ADDRESS does not depend on the
/// flags.
#[test]
fn a_change_request_is_answered_from_where_it_says() {
    let mut sim = discovering();
    let asked = [[0; 4], CHANGE_PORT, CHANGE_IP, CHANGE_BOTH];
    for corners in [V4, V6] {
        for (here, sources) in
            [(0, [0, 1, 2, 3]), (1, [1, 0, 3, 2]), (2, [2, 3, 0, 1]), (3, [3, 2, 1, 0])]
        {
            let client = at(&mut sim, corners[here]);
            for (flags, source) in asked.into_iter().zip(sources) {
                let packet = change(&mut sim, flags);
                let (response, from, to) = told(&mut sim, client, &packet);
                assert_eq!((from, to), (addr(corners[source]), sim.path(client).tuple.client));
                assert_eq!(plain(&response, AttributeType::RESPONSE_ORIGIN), from);
                let other = addr(corners[sources[3]]);
                assert_eq!(plain(&response, AttributeType::OTHER_ADDRESS), other);
            }
        }
    }
    assert_eq!(sim.stats().discoveries, 32);
}

/// Behind a 1:1 NAT the answer leaves from a local address, and names what the world sees.
#[test]
fn the_addresses_that_are_told_are_those_that_the_world_sees() {
    let mut sim = Sim::with(|config| {
        config.discovery =
            Discovery { pairs: vec![pair(V4)], streams: false, requests_per_sec: 20 };
        config.relay.external = ["8.0.0.1", "8.0.0.2"]
            .map(|ip| (ip.parse().unwrap(), ip.replace("8.0", "9.9").parse().unwrap()))
            .into();
    });
    let client = at(&mut sim, V4[0]);
    let packet = change(&mut sim, CHANGE_PORT);
    let (response, from, _) = told(&mut sim, client, &packet);
    assert_eq!(from, addr(V4[1]));
    assert_eq!(plain(&response, AttributeType::RESPONSE_ORIGIN), addr("9.9.0.1:3479"));
    assert_eq!(plain(&response, AttributeType::OTHER_ADDRESS), addr("9.9.0.2:3479"));
}

/// RFC 5780 §7.5: "the Binding Response MUST be transmitted to the source IP address of the Binding
/// Request and the port contained in RESPONSE-PORT"; what is told is still where it came from.
#[test]
fn a_response_port_changes_the_port_and_nothing_else() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    for value in [&[0x23, 0x28, 0, 0][..], &[0x23, 0x28]] {
        let packet = sim.packet(Method::BINDING).with(AttributeType::RESPONSE_PORT, value);
        let (response, from, to) = told(&mut sim, client, &packet);
        assert_eq!((from, to), (addr(V4[0]), addr("198.51.100.1:9000")));
        assert_eq!(response.addresses(AttributeType::XOR_MAPPED_ADDRESS), [addr(CLIENT)]);
        let (_, from, to) = {
            let packet = packet.with(AttributeType::CHANGE_REQUEST, CHANGE_BOTH);
            told(&mut sim, client, &packet)
        };
        assert_eq!((from, to), (addr(V4[3]), addr("198.51.100.1:9000")));
    }
}

/// RFC 5780 §6.1: "If the Request contained a PADDING attribute, PADDING MUST be included in the
/// Binding Response", of the length of the MTU; "a multiple of four bytes".
#[test]
fn padding_is_answered_with_padding() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    for (asked, answered) in [(0, 0), (1000, 1500), (1500, 1500), (40_000, 1500)] {
        let packet = sim.packet(Method::BINDING).with(AttributeType::PADDING, vec![b'x'; asked]);
        let (response, ..) = told(&mut sim, client, &packet);
        assert_eq!(response.get(AttributeType::PADDING), vec![0; answered]);
        let changed = packet.with(AttributeType::CHANGE_REQUEST, CHANGE_BOTH);
        let (response, from, _) = told(&mut sim, client, &changed);
        assert_eq!(from, addr(V4[3]));
        assert_eq!(response.get(AttributeType::PADDING).len(), answered);
    }
    let packet = sim.packet(Method::BINDING);
    assert!(told(&mut sim, client, &packet).0.find(AttributeType::PADDING).is_none());
}

/// Whoever asks in another's name gains little: some addresses, and half of the padding.
#[test]
fn an_answer_is_at_most_half_again_as_long_as_the_request_and_the_addresses() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    for padding in (0..2000).step_by(13) {
        let packet = sim.packet(Method::BINDING).with(AttributeType::PADDING, vec![b'x'; padding]);
        let asked = packet.encode().len();
        let (response, ..) = told(&mut sim, client, &packet);
        assert!(response.bytes.len() <= asked + asked / 2 + ADDRESSES_V4, "{padding}");
    }
    let packet = sim.packet(Method::BINDING);
    let (response, ..) = told(&mut sim, client, &packet);
    assert_eq!(response.bytes.len(), packet.encode().len() + ADDRESSES_V4);
}

/// RFC 5780 §7.5: "The server MUST NOT process a request containing a RESPONSE-PORT and a PADDING
/// attribute"; §6.1: 400.
#[test]
fn padding_to_another_port_is_refused() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    let packet = sim
        .packet(Method::BINDING)
        .with(AttributeType::RESPONSE_PORT, [0x23, 0x28, 0, 0])
        .with(AttributeType::PADDING, b"padding!");
    refused(&mut sim, client, &packet, 400);
}

#[test]
fn values_that_cannot_be_are_refused() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    for (kind, value) in [
        (AttributeType::CHANGE_REQUEST, &[0, 0, 6][..]),
        (AttributeType::CHANGE_REQUEST, &[]),
        (AttributeType::RESPONSE_PORT, &[]),
        (AttributeType::RESPONSE_PORT, &[9]),
        (AttributeType::RESPONSE_PORT, &[0, 0, 0, 0]),
    ] {
        let packet = sim.packet(Method::BINDING).with(kind, value);
        refused(&mut sim, client, &packet, 400);
    }
    assert_eq!(sim.stats().bindings, 0);
}

/// RFC 5780 §7.2: "although only two bits (A and B) are used".
#[test]
fn of_a_change_request_two_bits_count() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    let [change_ip, change_port] = [CHANGE_IP[3], CHANGE_PORT[3]];
    for (last, from) in [(0, V4[0]), (change_port, V4[1]), (change_ip, V4[2])] {
        // Every bit but those two.
        let rest = !(change_ip | change_port);
        let packet = change(&mut sim, [0xFF, 0xFF, 0xFF, rest | last]);
        let (_, source, _) = told(&mut sim, client, &packet);
        assert_eq!(source, addr(from), "{last}");
    }
}

/// RFC 8489 §6.3.1: only what is not known is named; RFC 3489's RESPONSE-ADDRESS, which would send
/// answers to anybody, is not.
#[test]
fn what_is_not_known_is_named_and_what_is_known_is_not() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    let packet = change(&mut sim, CHANGE_BOTH)
        .with(AttributeType(0x0002), [0, 1, 0, 9, 9, 0, 0, 1])
        .with(AttributeType::PADDING, b"pad!")
        .with(AttributeType(0x7F31), b"");
    let response = refused(&mut sim, client, &packet, 420);
    assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), [0, 2, 0x7F, 0x31]);
}

/// RFC 5780 §7: "These attributes are all used only with Binding Requests".
#[test]
fn other_methods_do_not_know_the_attributes() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    sim.challenge(client);
    for (kind, value) in [
        (AttributeType::CHANGE_REQUEST, &CHANGE_BOTH[..]),
        (AttributeType::RESPONSE_PORT, &[0x0F, 0xA1]),
        (AttributeType::PADDING, b"pad!"),
    ] {
        let response = sim.allocate_with(client, &[(kind, value)]).rejected(420);
        assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), kind.0.to_be_bytes());
    }
}

/// RFC 5780 §6: "MUST NOT include an OTHER-ADDRESS attribute in any Response and MUST respond with
/// a 420"; so it is at every address that is none of the four, too.
#[test]
fn elsewhere_a_change_request_is_unknown_and_no_other_address_is_told() {
    let mut sim = discovering();
    for server in ["8.0.0.3:3478", "8.0.0.1:3480"] {
        let client = at(&mut sim, server);
        let packet = change(&mut sim, CHANGE_PORT);
        let response = refused(&mut sim, client, &packet, 420);
        assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), [0, 3]);
        let packet = sim.packet(Method::BINDING);
        let (response, ..) = told(&mut sim, client, &packet);
        assert_eq!(response.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
    }
}

/// RFC 5780 §3.1: mappings can be told over TCP too; §3.2, §3.3, §3.5: the rest "applies only to
/// UDP datagrams", for a server may not open a connection to the client.
#[test]
fn a_stream_is_told_the_other_address_and_can_be_answered_by_itself_only() {
    let mut sim = discovering();
    let client = client_at(&mut sim, Transport::Tcp, CLIENT, V4[1]);
    let packet = sim.packet(Method::BINDING);
    let (response, ..) = told(&mut sim, client, &packet);
    assert_eq!(plain(&response, AttributeType::OTHER_ADDRESS), addr(V4[2]));
    for (kind, value) in [
        (AttributeType::CHANGE_REQUEST, &[0, 0, 0, 0][..]),
        (AttributeType::RESPONSE_PORT, &[0x23, 0x28, 0, 0]),
        (AttributeType::PADDING, b"pad!"),
    ] {
        let packet = sim.packet(Method::BINDING).with(kind, value);
        let response = refused(&mut sim, client, &packet, 420);
        assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), kind.0.to_be_bytes());
    }
    let mut sim = Sim::with(|config| {
        config.discovery =
            Discovery { pairs: vec![pair(V4)], streams: false, requests_per_sec: 20 };
    });
    let client = client_at(&mut sim, Transport::Tcp, CLIENT, V4[0]);
    let packet = sim.packet(Method::BINDING);
    let (response, ..) = told(&mut sim, client, &packet);
    assert_eq!(response.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
}

/// RFC 3489 §8.1: SOURCE-ADDRESS and CHANGED-ADDRESS, and CHANGE-REQUEST as it was then; what
/// RFC 5780 has added is unknown to such a client.
#[test]
fn a_classic_client_is_served_by_the_names_that_it_knows() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    let classic = |packet: Packet| {
        let mut bytes = packet.encode();
        bytes[4..8].copy_from_slice(b"1234");
        bytes
    };
    let bytes = classic(change(&mut sim, CHANGE_PORT));
    let Out::Elsewhere { from, to, bytes: answer } = sim.deliver(client, &bytes) else {
        panic!("from another port")
    };
    assert_eq!((from, to), (addr(V4[1]), addr(CLIENT)));
    assert_eq!(answer[4..20], bytes[4..20]);
    // The codec of the tests knows no classic messages.
    let read = |mut answer: Vec<u8>| {
        answer[4..8].copy_from_slice(&MAGIC_COOKIE);
        Response::read(&answer)
    };
    let response = read(answer);
    assert_eq!(
        response.kinds(),
        [
            AttributeType::MAPPED_ADDRESS,
            AttributeType::SOURCE_ADDRESS,
            AttributeType::CHANGED_ADDRESS,
        ]
    );
    assert_eq!(plain(&response, AttributeType::CHANGED_ADDRESS), addr(V4[3]));
    let packet = sim.packet(Method::BINDING).with(AttributeType::RESPONSE_PORT, [0x23, 0x28, 0, 0]);
    let Out::Reply(answer) = sim.deliver(client, &classic(packet)) else { panic!("an answer") };
    assert_eq!(read(answer).code(), Some(420));
}

#[test]
fn a_fingerprint_is_answered_with_a_fingerprint() {
    let mut sim = discovering();
    let client = at(&mut sim, V4[0]);
    let packet = change(&mut sim, CHANGE_BOTH).fingerprint();
    let (response, ..) = told(&mut sim, client, &packet);
    assert_eq!(response.kinds().last(), Some(&AttributeType::FINGERPRINT));
    assert!(hairpin::wire::Message::parse(&response.bytes).is_ok());
}

/// Beyond its allowance a source hears 500, which is no longer than what it sent: silence would
/// look like a NAT that filters.
#[test]
fn a_source_is_served_so_often_a_second_and_no_more() {
    let mut sim = discovering_at(10);
    let client = at(&mut sim, V4[0]);
    let packet = change(&mut sim, CHANGE_BOTH);
    for _ in 0..20 {
        told(&mut sim, client, &packet);
    }
    let Answer { response, .. } = sim.ask(client, &packet);
    let response = response.expect("an answer");
    assert_eq!(response.code(), Some(500));
    assert!(response.bytes.len() <= packet.encode().len());
    assert_eq!(sim.errors(ErrorCode::SERVER_ERROR), 1);
    assert_eq!(sim.stats().discoveries_over_limit, 1);
    // Another port is the same source, at whatever address it asks.
    let same = client_at(&mut sim, Transport::Udp, "198.51.100.1:4001", V4[3]);
    refused(&mut sim, same, &packet, 500);
    let another = client_at(&mut sim, Transport::Udp, "198.51.100.2:4000", V4[0]);
    told(&mut sim, another, &packet);
    sim.pass(secs(1));
    for _ in 0..10 {
        told(&mut sim, client, &packet);
    }
    refused(&mut sim, client, &packet, 500);
}

/// A Binding request is always answered; beyond the allowance as shortly as anywhere.
#[test]
fn beyond_the_allowance_a_plain_request_gets_the_short_answer() {
    let mut sim = discovering_at(10);
    let client = at(&mut sim, V4[0]);
    let packet = sim.packet(Method::BINDING);
    for _ in 0..20 {
        let (response, ..) = told(&mut sim, client, &packet);
        assert!(response.find(AttributeType::OTHER_ADDRESS).is_some());
    }
    let (response, ..) = told(&mut sim, client, &packet);
    assert_eq!(response.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
    let changed = change(&mut sim, CHANGE_BOTH);
    told(&mut sim, client, &changed);
    assert_eq!(sim.stats().discoveries_over_limit, 1);
}
