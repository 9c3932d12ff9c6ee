//! Allocate (RFC 8656 §7): the checks of §7.2 in their order, the ports, and what happens when a
//! socket cannot be had.

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use common::{
    Action, Answer, AttributeType, Client, ErrorCode, Lifetime, Method, OpenError, Sim, Transport,
    UDP, V4, V6, addr, secs,
};
use hairpin::turn::{CoreId, RelayedAddr, ReservationToken};

const EVEN: (AttributeType, &[u8]) = (AttributeType::EVEN_PORT, &[0x00]);
const EVEN_PAIR: (AttributeType, &[u8]) = (AttributeType::EVEN_PORT, &[0x80]);
const WANT_V4: (AttributeType, &[u8]) = (AttributeType::REQUESTED_ADDRESS_FAMILY, &V4);
const WANT_V6: (AttributeType, &[u8]) = (AttributeType::REQUESTED_ADDRESS_FAMILY, &V6);
const AND_V4: (AttributeType, &[u8]) = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V4);
const AND_V6: (AttributeType, &[u8]) = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6);

fn client(sim: &mut Sim) -> Client {
    sim.client("198.51.100.1:4000")
}

/// A client with a reservation, its relayed address and the token.
fn reserve(sim: &mut Sim, client: Client) -> (SocketAddr, Vec<u8>) {
    let response = sim.allocate_with(client, &[EVEN_PAIR]).success();
    (response.relayed(), response.get(AttributeType::RESERVATION_TOKEN).to_vec())
}

fn with_token(sim: &mut Sim, client: Client, token: &[u8]) -> Answer {
    sim.allocate_with(client, &[(AttributeType::RESERVATION_TOKEN, token)])
}

/// RFC 8656 §7.2: what the success contains.
#[test]
fn a_success_tells_both_addresses_and_the_lifetime() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let response = sim.allocate(client).success();
    assert_eq!(
        response.kinds(),
        [
            AttributeType::XOR_RELAYED_ADDRESS,
            AttributeType::LIFETIME,
            AttributeType::XOR_MAPPED_ADDRESS,
            AttributeType::SOFTWARE,
            AttributeType::MESSAGE_INTEGRITY,
        ]
    );
    assert_eq!(response.lifetime(), 600);
    assert_eq!(response.addresses(AttributeType::XOR_MAPPED_ADDRESS), [addr("198.51.100.1:4000")]);
    assert_eq!(response.relayed().ip(), addr("8.0.0.1:0").ip());
    assert!(sim.sockets.values().any(|socket| *socket == response.relayed()));
    assert_eq!(sim.stats().allocations_created, 1);
}

#[test]
fn a_fingerprint_is_answered_with_a_fingerprint_even_when_the_answer_comes_later() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    for transport in [17, 132] {
        let packet = sim
            .packet(Method::ALLOCATE)
            .with(AttributeType::REQUESTED_TRANSPORT, [transport, 0, 0, 0]);
        let packet = sim.sign(client, packet).fingerprint();
        let response = sim.ask(client, &packet).response.expect("an answer");
        assert_eq!(response.kinds().last(), Some(&AttributeType::FINGERPRINT));
        // The first one once more: repeated with its fingerprint.
        let again = sim.ask(client, &packet).response.expect("an answer");
        assert_eq!(again.kinds().last(), Some(&AttributeType::FINGERPRINT));
    }
}

/// The success waits for the socket (RFC 8656 §7.2: "Once the allocation is created, the server
/// replies").
#[test]
fn nothing_is_answered_before_the_socket_exists() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    sim.slow_shell = true;
    sim.allocate(client).nothing();
    // Nor does anything else work on an allocation that is being opened.
    sim.permit(client, common::PEER).rejected(437);
    sim.refresh(client, 600).rejected(437);
    sim.send(client, common::PEER, b"early").dropped();
    assert_eq!(sim.stats().allocations_created, 0);
    sim.open_pending();
    let bytes = sim.heard(client);
    sim.answer(client, bytes).success();
    sim.permit(client, common::PEER).success();
}

// ---- step 2: the 5-tuple

/// RFC 8656 §7.2 step 2.
#[test]
fn a_second_allocate_on_the_5_tuple_is_a_mismatch() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.allocate(client).success();
    sim.allocate(client).rejected(437);
    // Before the other checks.
    sim.request(client, Method::ALLOCATE, &[]).rejected(437);
    assert_eq!(sim.sockets.len(), 1);
}

/// RFC 8489 §6.3.1: "the server … MUST … handle the retransmissions"; RFC 8656 §7.2, last note.
/// RFC 7350 §3 has the same over DTLS.
#[test]
fn a_retransmission_gets_the_same_answer_and_no_second_allocation() {
    for transport in [Transport::Udp, Transport::Dtls] {
        let mut sim = Sim::new();
        let client = sim.client_on(0, transport, "198.51.100.1:4000");
        sim.challenge(client);
        let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
        let packet = sim.sign(client, packet.with(EVEN_PAIR.0, EVEN_PAIR.1));
        let first = sim.ask(client, &packet).success();
        let second = sim.ask(client, &packet).success();
        assert_eq!(first.bytes, second.bytes);
        assert!(second.has(AttributeType::RESERVATION_TOKEN));

        sim.pass(secs(10));
        let third = sim.ask(client, &packet).success();
        assert_eq!(third.relayed(), first.relayed());
        assert_eq!(third.lifetime(), 590, "what is left of it");
        assert_eq!(
            third.get(AttributeType::RESERVATION_TOKEN),
            first.get(AttributeType::RESERVATION_TOKEN)
        );
        let stats = sim.stats();
        assert_eq!(
            (stats.allocations, stats.allocations_created, stats.retransmissions),
            (1, 1, 2)
        );
        assert_eq!(sim.sockets.len(), 1);
        assert_eq!(sim.charged.values().sum::<usize>(), 1);
    }
}

#[test]
fn a_retransmission_repeats_both_addresses_and_what_a_token_gave() {
    let mut sim = Sim::new();
    let (first, second) = (client(&mut sim), sim.client("198.51.100.2:4000"));
    let (_, token) = reserve(&mut sim, first);
    sim.challenge(second);
    let third = sim.client("198.51.100.3:4000");
    sim.challenge(third);
    let with_token = (AttributeType::RESERVATION_TOKEN, &token[..]);
    for (client, (kind, value), count) in [(second, with_token, 1), (third, AND_V6, 2)] {
        let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
        let packet = sim.sign(client, packet.with(kind, value));
        let answer = sim.ask(client, &packet).success();
        assert_eq!(answer.addresses(AttributeType::XOR_RELAYED_ADDRESS).len(), count);
        assert_eq!(sim.ask(client, &packet).success().bytes, answer.bytes);
    }
    assert_eq!((sim.stats().allocations, sim.stats().retransmissions), (3, 2));
}

#[test]
fn every_truncation_of_a_signed_allocate_is_survived_and_none_succeeds() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
    let whole = sim.sign(client, packet).encode();
    for end in 0..whole.len() {
        sim.deliver(client, &whole[..end]).dropped();
        if end >= 20 && end % 4 == 0 {
            // With a length field that fits, at best an error comes.
            let mut cut = whole[..end].to_vec();
            cut[2..4].copy_from_slice(&(end as u16 - 20).to_be_bytes());
            let answer = sim.ask_bytes(client, &cut);
            assert!(answer.response.is_none_or(|response| response.code().is_some()));
        }
    }
    sim.nothing_left();
    sim.ask_bytes(client, &whole).success();
}

/// Each attribute at sizes that it must not have, in a request whose sender is good.
#[test]
fn wrong_sized_values_get_an_error_or_are_ignored() {
    for kind in (0x0001..0x0030).chain(0x8000..0x8003).map(AttributeType) {
        for size in [0, 1, 2, 3, 5, 7, 9, 19, 21] {
            let mut sim = Sim::new();
            let client = client(&mut sim);
            let value = vec![0x11; size];
            let response = sim.allocate_with(client, &[(kind, &value)]).response;
            let Some(response) = response else { continue };
            let codes = [None, Some(400), Some(401), Some(420), Some(438), Some(440), Some(508)];
            assert!(codes.contains(&response.code()), "{kind} {size}: {:?}", response.code());
            sim.refresh(client, 0);
            sim.pass(secs(30));
            sim.nothing_left();
        }
    }
}

#[test]
fn a_retransmission_while_the_socket_is_opened_is_answered_once() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    sim.slow_shell = true;
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
    let packet = sim.sign(client, packet);
    for _ in 0..3 {
        sim.ask(client, &packet).nothing();
    }
    sim.open_pending();
    assert!(sim.heard(client).is_some());
    assert!(sim.heard(client).is_none());
    assert_eq!(sim.sockets.len(), 1);
}

#[test]
fn another_users_request_with_the_same_transaction_id_is_a_mismatch() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
    let signed = sim.sign(client, packet.clone());
    sim.ask(client, &signed).success();
    sim.log_in(client, "bob", "builder");
    let signed = sim.sign(client, packet);
    sim.ask(client, &signed).rejected(437);
}

// ---- step 3: REQUESTED-TRANSPORT

/// RFC 8656 §7.2 step 3: missing or malformed: 400.
#[test]
fn requested_transport_must_be_there_and_well_formed() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.request(client, Method::ALLOCATE, &[]).rejected(400);
    for value in [&b""[..], &[17], &[17, 0], &[17, 0, 0], &[17, 0, 0, 0, 0]] {
        let attribute = (AttributeType::REQUESTED_TRANSPORT, value);
        sim.request(client, Method::ALLOCATE, &[attribute]).rejected(400);
    }
    sim.nothing_left();
}

/// RFC 8656 §7.2 step 3: a protocol that is not supported: 442.
#[test]
fn every_transport_but_udp_and_tcp_is_unsupported() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    for protocol in (0..=255).filter(|protocol| ![6, 17].contains(protocol)) {
        let attribute = (AttributeType::REQUESTED_TRANSPORT, &[protocol, 0, 0, 0][..]);
        sim.request(client, Method::ALLOCATE, &[attribute]).rejected(442);
    }
    assert_eq!(sim.errors(ErrorCode::UNSUPPORTED_TRANSPORT), 254);
    sim.nothing_left();
}

/// RFC 8656 §18.6 to §18.8: reserved bits "MUST be ignored".
#[test]
fn reserved_bits_are_ignored() {
    let reserved: [[(AttributeType, &[u8]); 1]; 3] = [
        [(AttributeType::REQUESTED_ADDRESS_FAMILY, &[1, 0xFF, 0xFF, 0xFF])],
        [(AttributeType::EVEN_PORT, &[0x7F])],
        [(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0xFF, 0xFF, 0xFF])],
    ];
    for attributes in reserved {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        let response = sim.allocate_with(client, &attributes).success();
        assert!(!response.has(AttributeType::RESERVATION_TOKEN));
    }
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let attribute = (AttributeType::REQUESTED_TRANSPORT, &[17, 0xFF, 0xFF, 0xFF][..]);
    sim.request(client, Method::ALLOCATE, &[attribute]).success();
}

/// RFC 8656 §7.2 step 4.
#[test]
fn dont_fragment_is_supported() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.allocate_with(client, &[(AttributeType::DONT_FRAGMENT, b"")]).success();
}

// ---- step 5, and the reservations

/// RFC 8656 §7.2 step 5 and §18.7.
#[test]
fn malformed_wishes_are_bad_requests() {
    let wrong: [(AttributeType, &[u8]); 8] = [
        (AttributeType::EVEN_PORT, b""),
        (AttributeType::EVEN_PORT, &[0x80, 0]),
        (AttributeType::RESERVATION_TOKEN, &[1; 7]),
        (AttributeType::RESERVATION_TOKEN, &[1; 9]),
        (AttributeType::REQUESTED_ADDRESS_FAMILY, &[1]),
        (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0]),
        (AttributeType::LIFETIME, &[0; 3]),
        (AttributeType::LIFETIME, &[0; 5]),
    ];
    for attribute in wrong {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        sim.allocate_with(client, &[attribute]).rejected(400);
        sim.nothing_left();
    }
}

/// RFC 8656 §7.2 steps 5, 6, 8 and 9: what does not go together is a 400.
#[test]
fn wishes_that_exclude_each_other_are_bad_requests() {
    let token: (AttributeType, &[u8]) = (AttributeType::RESERVATION_TOKEN, &[1; 8]);
    for pair in [
        [token, EVEN],
        [token, EVEN_PAIR],
        [token, WANT_V4],
        [token, WANT_V6],
        [token, AND_V6],
        [WANT_V4, AND_V6],
        [WANT_V6, AND_V6],
        [EVEN_PAIR, AND_V6],
    ] {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        sim.allocate_with(client, &pair).rejected(400);
        let reversed = [pair[1], pair[0]];
        sim.allocate_with(client, &reversed).rejected(400);
        sim.nothing_left();
    }
}

/// RFC 8656 §7.2: "the server allocates a relayed transport address with an even port number".
#[test]
fn an_even_port_is_even() {
    let mut sim = Sim::new();
    for port in 4000..4032 {
        let client = sim.client(&format!("198.51.100.1:{port}"));
        let response = sim.allocate_with(client, &[EVEN]).success();
        assert_eq!(response.relayed().port() % 2, 0);
        assert!(!response.has(AttributeType::RESERVATION_TOKEN));
    }
}

/// RFC 8656 §7.2: "a pair of port numbers N and N+1 … where N is even".
#[test]
fn a_reservation_gives_the_next_port_to_another_5_tuple() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut sim = Sim::new();
        let first = client(&mut sim);
        let (even, token) = reserve(&mut sim, first);
        assert_eq!((even.port() % 2, token.len()), (0, 8));
        assert_eq!(sim.shelf.len(), 1);
        let second = sim.client_on(0, transport, "198.51.100.2:4000");
        let odd = with_token(&mut sim, second, &token).success().relayed();
        assert_eq!(odd, SocketAddr::new(even.ip(), even.port() + 1));
        // It outlives the time for which it was held.
        sim.pass(secs(60));
        assert!(sim.sockets.values().any(|socket| *socket == odd));
        sim.refresh(second, 0).success();
        sim.refresh(first, 0).success();
        sim.nothing_left();
    }
}

#[test]
fn a_reservation_of_an_ipv6_port_is_of_ipv6() {
    let mut sim = Sim::new();
    let (first, second) = (client(&mut sim), sim.client("198.51.100.2:4000"));
    let response = sim.allocate_with(first, &[EVEN_PAIR, WANT_V6]).success();
    let token = response.get(AttributeType::RESERVATION_TOKEN).to_vec();
    let odd = with_token(&mut sim, second, &token).success().relayed();
    assert!(odd.is_ipv6());
    sim.permit(second, common::PEER_V6).success();
    sim.permit(second, common::PEER).rejected(443);
    sim.send(second, common::PEER_V6, b"x").reaches(common::PEER_V6);
}

/// RFC 8656 §7.2: "MUST hold this reservation for at least 30 seconds".
#[test]
fn a_reservation_is_held_for_30_seconds_and_then_its_port_is_free() {
    let mut sim = Sim::new();
    let (first, second) = (client(&mut sim), sim.client("198.51.100.2:4000"));
    let (_, token) = reserve(&mut sim, first);
    sim.pass(secs(30) - 1);
    with_token(&mut sim, second, &token).success();

    let mut sim = Sim::new();
    let (first, second) = (client(&mut sim), sim.client("198.51.100.2:4000"));
    let (_, token) = reserve(&mut sim, first);
    sim.pass(secs(30));
    assert!(sim.shelf.is_empty());
    with_token(&mut sim, second, &token).rejected(508);
    sim.refresh(first, 0).success();
    sim.nothing_left();
}

#[test]
fn a_reservation_outlives_the_allocation_that_made_it() {
    let mut sim = Sim::new();
    let (first, second) = (client(&mut sim), sim.client("198.51.100.2:4000"));
    let (even, token) = reserve(&mut sim, first);
    sim.refresh(first, 0).success();
    let odd = with_token(&mut sim, second, &token).success().relayed();
    assert_eq!(odd.port(), even.port() + 1);
}

/// RFC 8656 §7.2 step 5: a token that is not valid: 508.
#[test]
fn a_token_serves_once_and_only_its_user() {
    let mut sim = Sim::new();
    let (first, second) = (client(&mut sim), sim.client("198.51.100.2:4000"));
    let (_, token) = reserve(&mut sim, first);
    with_token(&mut sim, second, &[9; 8]).rejected(508);
    sim.log_in(second, "bob", "builder");
    with_token(&mut sim, second, &token).rejected(508);
    sim.log_in(second, "alice", "wonderland");
    with_token(&mut sim, second, &token).success();
    let third = sim.client("198.51.100.3:4000");
    with_token(&mut sim, third, &token).rejected(508);
    assert_eq!(sim.errors(ErrorCode::INSUFFICIENT_CAPACITY), 3);
    assert_eq!(sim.stats().allocations, 2);
}

/// RFC 8656 §7.2: "the reservation is a server-wide reservation".
#[test]
fn a_token_serves_on_another_core() {
    let mut sim = Sim::cores(2, 1, |_| {});
    let first = sim.client_on(0, Transport::Udp, "198.51.100.1:4000");
    let second = sim.client_on(1, Transport::Udp, "198.51.100.2:4000");
    let (even, token) = reserve(&mut sim, first);
    let odd = with_token(&mut sim, second, &token).success().relayed();
    assert_eq!(odd.port(), even.port() + 1);
    // The end of the reservation's time takes nothing away from who has it.
    sim.pass(secs(60));
    sim.permit(second, common::PEER).success();
    sim.peer_sends(common::PEER, second, b"x").arrives_from(common::PEER);
    sim.refresh(second, 0).success();
    sim.refresh(first, 0).success();
    sim.nothing_left();
}

#[test]
fn tokens_do_not_repeat() {
    let mut sim = Sim::new();
    let tokens: BTreeSet<_> = (1..=64)
        .map(|port| {
            let client = sim.client(&format!("198.51.100.1:{port}"));
            reserve(&mut sim, client).1
        })
        .collect();
    assert_eq!(tokens.len(), 64);
}

// ---- steps 6, 7 and 9: address families

/// RFC 8656 §7.2 step 7: IPv4 unless another family is asked for.
#[test]
fn the_family_is_ipv4_unless_another_is_requested() {
    for (attributes, is_ipv4) in [(&[][..], true), (&[WANT_V4][..], true), (&[WANT_V6][..], false)]
    {
        for address in ["198.51.100.1:4000", "[2001:db8::1]:4000"] {
            let mut sim = Sim::new();
            let client = sim.client(address);
            let response = sim.allocate_with(client, attributes).success();
            assert_eq!(response.relayed().is_ipv4(), is_ipv4);
            assert_eq!(response.addresses(AttributeType::XOR_RELAYED_ADDRESS).len(), 1);
        }
    }
}

/// RFC 8656 §7.2 step 7: 440.
#[test]
fn a_family_that_is_not_relayed_here_is_not_supported() {
    let mut sim = Sim::with(|config| config.relay.addresses.retain(|ip| ip.is_ipv4()));
    let a = client(&mut sim);
    sim.allocate_with(a, &[WANT_V6]).rejected(440);
    sim.allocate_with(a, &[(AttributeType::REQUESTED_ADDRESS_FAMILY, &[7, 0, 0, 0])]).rejected(440);
    let mut sim = Sim::with(|config| config.relay.addresses.retain(|ip| ip.is_ipv6()));
    let a = client(&mut sim);
    sim.allocate(a).rejected(440);
    sim.allocate_with(a, &[WANT_V6]).success();
    assert_eq!(sim.errors(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED), 1);
}

/// RFC 8656 §7.2 step 9.
#[test]
fn a_dual_allocation_has_two_relayed_addresses() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    let response = sim.allocate_with(a, &[AND_V6]).success();
    let relayed = response.addresses(AttributeType::XOR_RELAYED_ADDRESS);
    assert_eq!(relayed.iter().map(SocketAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
    assert!(!response.has(AttributeType::ADDRESS_ERROR_CODE));
    assert_eq!(sim.sockets.len(), 2);
    assert_eq!(sim.charged.values().sum::<usize>(), 1, "it is one allocation");
}

/// coturn's clients of up to 4.6 have the number of a draft.
#[test]
fn the_number_that_the_drafts_had_for_the_additional_family_is_known() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    let draft = (AttributeType(0x8032), AND_V6.1);
    let response = sim.allocate_with(a, &[draft]).success();
    assert_eq!(response.addresses(AttributeType::XOR_RELAYED_ADDRESS).len(), 2);
    let b = sim.client("198.51.100.2:4000");
    sim.allocate_with(b, &[(AttributeType(0x8032), AND_V4.1)]).rejected(400);
}

#[test]
fn a_dual_allocation_may_ask_for_even_ports() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    let response = sim.allocate_with(a, &[AND_V6, EVEN]).success();
    for relayed in response.addresses(AttributeType::XOR_RELAYED_ADDRESS) {
        assert_eq!(relayed.port() % 2, 0);
    }
}

/// RFC 8656 §7.2 step 9: ADDITIONAL-ADDRESS-FAMILY with any family but IPv6 is a 400.
#[test]
fn the_additional_family_is_ipv6() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    sim.allocate_with(a, &[AND_V4]).rejected(400);
    sim.allocate_with(a, &[(AND_V4.0, &[7, 0, 0, 0])]).rejected(400);
}

/// RFC 8656 §7.2 step 9 and §18.12: the family that could not be had is told with 440 or 508.
#[test]
fn half_a_dual_allocation_tells_what_is_missing() {
    // Not relayed here at all: 440.
    for (without_v6, family) in [(true, 2), (false, 1)] {
        let mut sim =
            Sim::with(|config| config.relay.addresses.retain(|ip| ip.is_ipv4() == without_v6));
        let a = client(&mut sim);
        let response = sim.allocate_with(a, &[AND_V6]).success();
        assert_eq!(response.get(AttributeType::ADDRESS_ERROR_CODE), [family, 0, 4, 40]);
        assert_eq!(response.addresses(AttributeType::XOR_RELAYED_ADDRESS).len(), 1);
    }
    // No socket: 508.
    let mut sim = Sim::new();
    let a = client(&mut sim);
    sim.failures.push_back(OpenError::Failed);
    let response = sim.allocate_with(a, &[AND_V6]).success();
    assert_eq!(response.get(AttributeType::ADDRESS_ERROR_CODE), [1, 0, 5, 8]);
    assert!(response.relayed().is_ipv6());
    sim.refresh(a, 0).success();
    sim.nothing_left();
}

/// RFC 8656 §7.2 step 9: neither: 508.
#[test]
fn a_dual_allocation_with_neither_half_is_none() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    sim.failures.extend([OpenError::Failed, OpenError::Failed]);
    sim.allocate_with(a, &[AND_V6]).rejected(508);
    sim.nothing_left();
}

// ---- sockets that cannot be had

#[test]
fn a_socket_that_cannot_be_opened_is_508_and_leaves_nothing() {
    for attributes in [&[][..], &[EVEN], &[EVEN_PAIR], &[WANT_V6]] {
        let mut sim = Sim::with(|config| {
            (config.relay.port_min, config.relay.port_max) = (50000, 50001);
        });
        let a = client(&mut sim);
        sim.failures.push_back(OpenError::Failed);
        sim.allocate_with(a, attributes).rejected(508);
        sim.nothing_left();
        assert_eq!(sim.stats().allocations_created, 0);
        // The ports are free: of two ports, a pair can be had at once.
        sim.allocate_with(a, &[EVEN_PAIR]).success();
    }
}

#[test]
fn a_port_that_somebody_else_has_is_passed_over() {
    for (attributes, free) in [(&[][..], [50004, 50005]), (&[EVEN_PAIR][..], [50004, 50004])] {
        let mut sim = Sim::with(|config| {
            (config.relay.port_min, config.relay.port_max) = (50000, 50007);
        });
        for port in [50000, 50001, 50002, 50003, 50006, 50007] {
            sim.foreign.insert(SocketAddr::new(addr("8.0.0.1:0").ip(), port));
        }
        let a = client(&mut sim);
        let relayed = sim.allocate_with(a, attributes).success().relayed();
        assert!(free.contains(&relayed.port()), "{relayed}");
        // What was tried is tried again by the next client, once it is free.
        sim.foreign.clear();
        let b = sim.client("198.51.100.2:4000");
        sim.allocate_with(b, &[EVEN_PAIR]).success();
    }
}

/// RFC 8656 §7.2 step 8: ports there are, but no two beside each other.
#[test]
fn a_pair_that_cannot_be_had_is_508() {
    let mut sim = Sim::with(|config| {
        (config.relay.port_min, config.relay.port_max) = (50000, 50007);
    });
    for port in [50001, 50003, 50004, 50007] {
        sim.foreign.insert(SocketAddr::new(addr("8.0.0.1:0").ip(), port));
    }
    let a = client(&mut sim);
    sim.allocate_with(a, &[EVEN_PAIR]).rejected(508);
    sim.nothing_left();
    let even = sim.allocate_with(a, &[EVEN]).success().relayed().port();
    assert!([50000, 50002, 50006].contains(&even), "{even}");
}

#[test]
fn when_every_port_is_taken_the_answer_is_508_after_a_bounded_search() {
    let mut sim = Sim::new();
    for port in 49152..=65535 {
        sim.foreign.insert(SocketAddr::new(addr("8.0.0.1:0").ip(), port));
    }
    let a = client(&mut sim);
    sim.allocate(a).rejected(508);
    let asked = sim.actions.iter().filter(|a| matches!(a, Action::OpenRelay { .. })).count();
    assert!((2..=16).contains(&asked), "{asked} ports were tried");
    sim.nothing_left();
    sim.foreign.clear();
    sim.allocate(a).success();
}

#[test]
fn when_the_own_ports_are_used_up_the_answer_is_508() {
    let mut sim = Sim::with(|config| {
        (config.relay.port_min, config.relay.port_max) = (50000, 50003);
    });
    let clients: Vec<_> =
        (0..5).map(|n| sim.client(&format!("198.51.100.1:{}", 4000 + n))).collect();
    let mut ports: Vec<_> =
        clients[..4].iter().map(|c| sim.allocate(*c).success().relayed().port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [50000, 50001, 50002, 50003]);
    sim.allocate(clients[4]).rejected(508);
    sim.refresh(clients[2], 0).success();
    sim.allocate(clients[4]).success();
}

/// RFC 8656 §7.2 step 10.
#[test]
fn the_quota_is_486_and_leaves_nothing() {
    let mut sim = Sim::new();
    sim.quota = 2;
    let clients: Vec<_> =
        (0..4).map(|n| sim.client(&format!("198.51.100.1:{}", 4000 + n))).collect();
    sim.allocate(clients[0]).success();
    sim.allocate_with(clients[1], &[AND_V6]).success();
    for attributes in [&[][..], &[EVEN_PAIR], &[AND_V6]] {
        sim.allocate_with(clients[2], attributes).rejected(486);
        assert_eq!(sim.stats().allocations, 2);
        assert_eq!((sim.sockets.len(), sim.shelf.len()), (3, 0));
    }
    assert_eq!(sim.errors(ErrorCode::ALLOCATION_QUOTA_REACHED), 3);
    // By user, not by address.
    sim.log_in(clients[3], "bob", "builder");
    sim.allocate(clients[3]).success();
    // What is given up counts no longer.
    sim.refresh(clients[1], 0).success();
    sim.allocate(clients[2]).success();
}

#[test]
fn an_allocation_is_charged_once_and_given_back_once() {
    let mut sim = Sim::new();
    sim.foreign.extend((49152..=65000).map(|port| SocketAddr::new(addr("8.0.0.1:0").ip(), port)));
    for port in 1..=40 {
        let a = sim.client(&format!("198.51.100.1:{port}"));
        let response = sim.allocate_with(a, &[AND_V6]).response.expect("an answer");
        assert!(response.code().is_none() || response.code() == Some(508));
    }
    let live = sim.stats().allocations as usize;
    assert_eq!(sim.charged.values().sum::<usize>(), live);
    sim.pass(secs(600));
    sim.nothing_left();
}

// ---- the end of an allocation whose socket is still being opened

#[test]
fn a_client_that_goes_while_its_socket_is_opened_leaves_nothing() {
    for attributes in [&[][..], &[EVEN_PAIR], &[AND_V6]] {
        for failure in [None, Some(OpenError::Failed), Some(OpenError::InUse)] {
            let mut sim = Sim::with(|config| {
                (config.relay.port_min, config.relay.port_max) = (50000, 50001);
            });
            let a = sim.tcp_client("198.51.100.1:4000");
            sim.challenge(a);
            sim.slow_shell = true;
            sim.allocate_with(a, attributes).nothing();
            sim.hang_up(a);
            sim.failures.extend(failure);
            sim.open_pending();
            assert!(sim.sockets.is_empty());
            assert!(sim.heard(a).is_none(), "there is nobody to tell");
            sim.pass(secs(30));
            sim.nothing_left();
            // And the ports are free again.
            sim.slow_shell = false;
            let b = sim.client("198.51.100.2:4000");
            sim.allocate_with(b, &[EVEN_PAIR]).success();
        }
    }
}

#[test]
fn a_client_that_goes_while_a_reserved_socket_is_taken_leaves_nothing() {
    let mut sim = Sim::new();
    let first = client(&mut sim);
    let (_, token) = reserve(&mut sim, first);
    let second = sim.tcp_client("198.51.100.2:4000");
    sim.challenge(second);
    sim.slow_shell = true;
    with_token(&mut sim, second, &token).nothing();
    sim.hang_up(second);
    sim.open_pending();
    sim.refresh(first, 0).success();
    sim.pass(secs(30));
    sim.nothing_left();
}

/// An answer about a socket that nobody waits for any more is no harm.
#[test]
fn an_answer_about_an_unknown_relay_changes_nothing() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    sim.allocate(a).success();
    let relay = *sim.sockets.keys().next().expect("one socket");
    let now = sim.now();
    for id in [relay.1, hairpin::turn::RelayId(77)] {
        for result in [Ok(RelayedAddr(addr("8.0.0.1:50000"))), Err(OpenError::Failed)] {
            sim.cores[0].handle_relay_opened(now, id, result);
            sim.cores[0].check_invariants();
            assert_eq!(sim.cores[0].poll_action(), None);
        }
    }
    sim.refresh(a, 600).success();
}

// ---- ports and lifetimes

/// RFC 8656 §7.2: the range, and RFC 6056: at random.
#[test]
fn ports_are_within_the_range_distinct_and_not_in_sequence() {
    let mut sim = Sim::new();
    let ports: Vec<_> = (1..=64)
        .map(|port| {
            let client = sim.client(&format!("198.51.100.1:{port}"));
            sim.allocate(client).success().relayed().port()
        })
        .collect();
    assert!(ports.iter().all(|port| *port >= 49152));
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 64);
    let steps: BTreeSet<_> = ports.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    assert!(steps.len() > 60, "{ports:?}");
}

/// RFC 8656 §7.2: min(wanted, maximum), but never less than the default.
#[test]
fn the_lifetime_is_clamped_between_the_default_and_the_maximum() {
    for (wanted, granted) in [
        (0, 600),
        (5, 600),
        (600, 600),
        (601, 601),
        (900, 900),
        (3600, 3600),
        (3601, 3600),
        (u32::MAX, 3600),
    ] {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        let lifetime = wanted.to_be_bytes();
        let attributes = [(AttributeType::LIFETIME, &lifetime[..])];
        let response = sim.allocate_with(client, &attributes).success();
        assert_eq!(response.lifetime(), granted, "for {wanted}");
        sim.pass(secs(granted.into()) - 1);
        assert_eq!(sim.stats().allocations, 1);
        sim.pass(1);
        sim.nothing_left();
        assert_eq!(sim.stats().allocations_expired, 1);
    }
}

/// RFC 8656 §3.2: the default lifetime is 600 s, and a smaller maximum does not lower it.
#[test]
fn a_small_maximum_still_leaves_the_default() {
    let mut sim = Sim::with(|config| config.limits.lifetime_max = Lifetime::from_secs(60));
    let client = client(&mut sim);
    assert_eq!(sim.allocate(client).success().lifetime(), 600);
}

#[test]
fn an_expired_5_tuple_is_free_even_before_the_timer_has_come_by() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    let before = sim.allocate(a).success().relayed();
    sim.pass_without_timers(secs(600));
    sim.send(a, common::PEER, b"x").dropped();
    let after = sim.allocate(a).success().relayed();
    assert_ne!(before, after);
    assert_eq!(sim.sockets.len(), 1);
    assert_eq!(sim.stats().allocations_expired, 1);
}

/// RFC 8656 §8.2 and 7.2: after the end the 5-tuple may allocate again, with nothing inherited.
#[test]
fn a_new_allocation_inherits_nothing() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    sim.allocate(a).success();
    sim.permit(a, common::PEER).success();
    sim.bind_channel(a, 0x4000, common::PEER).success();
    sim.refresh(a, 0).success();
    sim.allocate(a).success();
    sim.send(a, common::PEER, b"x").dropped();
    sim.send_on(a, 0x4000, b"x").dropped();
    sim.peer_sends(common::PEER, a, b"x").dropped();
}

#[test]
fn the_end_of_a_connection_ends_its_allocation() {
    let mut sim = Sim::new();
    let a = sim.tcp_client("198.51.100.1:4000");
    sim.allocate_with(a, &[AND_V6]).success();
    sim.permit(a, common::PEER).success();
    sim.bind_channel(a, 0x4000, common::PEER_V6).success();
    sim.hang_up(a);
    sim.nothing_left();
    assert_eq!(sim.stats().allocations_ended, 1);
    sim.hang_up(a);
}

// ---- where relayed addresses come from

#[test]
fn without_configured_addresses_the_one_that_was_reached_relays() {
    let mut sim = Sim::with(|config| {
        config.relay.addresses.clear();
        config.relay.found = vec![addr("8.0.0.9:0").ip(), addr("[2600:8::9]:0").ip()];
    });
    for (address, relayed) in
        [("198.51.100.1:4000", "8.0.0.1:0"), ("[2001:db8::1]:4000", "8.0.0.9:0")]
    {
        let a = sim.client(address);
        assert_eq!(sim.allocate(a).success().relayed().ip(), addr(relayed).ip());
    }
    let a = sim.client("198.51.100.2:4000");
    let relayed = sim.allocate_with(a, &[WANT_V6]).success().relayed();
    assert_eq!(relayed.ip(), addr("[2600:8::9]:0").ip());
}

/// A 1:1 NAT in front of the server: the world sees another address than the sockets have.
#[test]
fn behind_a_nat_the_external_address_is_told() {
    let mut sim = Sim::with(|config| {
        config.relay.addresses = vec![addr("10.0.0.5:0").ip()];
        config.relay.external = vec![(addr("10.0.0.5:0").ip(), addr("8.0.0.1:0").ip())];
    });
    let a = client(&mut sim);
    let relayed = sim.allocate(a).success().relayed();
    assert_eq!(relayed.ip(), addr("8.0.0.1:0").ip());
    let bound = *sim.sockets.values().next().expect("one socket");
    assert_eq!(bound, SocketAddr::new(addr("10.0.0.5:0").ip(), relayed.port()));
}

/// RFC 8656 §21.4: the 6to4 and Teredo tunnels' clients get no allocation.
#[test]
fn a_client_at_a_tunnels_end_is_forbidden() {
    for address in ["[2002:c633:6401::1]:4000", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]:4000"] {
        let mut sim = Sim::new();
        let a = sim.client(address);
        sim.allocate(a).rejected(403);
        sim.nothing_left();
    }
}

// ---- two cores

#[test]
fn two_cores_never_have_the_same_port() {
    let mut sim = Sim::cores(2, 1, |config| {
        (config.relay.port_min, config.relay.port_max) = (50000, 50063);
    });
    let mut all = BTreeSet::new();
    for n in 0..64 {
        let a = sim.client_on(n % 2, Transport::Udp, &format!("198.51.100.1:{}", 4000 + n));
        assert!(all.insert(sim.allocate(a).success().relayed()));
    }
    let a = sim.client_on(0, Transport::Udp, "198.51.100.2:4000");
    sim.allocate(a).rejected(508);
}

/// Announcements travel: one that comes late must not take away what this core has opened since.
#[test]
fn a_late_announcement_does_not_take_an_own_relay_away() {
    let mut sim = Sim::new();
    let (a, b) = (client(&mut sim), sim.client("198.51.100.2:4000"));
    let relayed = sim.allocate(a).success().relayed();
    sim.allocate(b).success();
    sim.permit(a, &sim.relayed(b)[0].to_string()).success();
    for open in [true, false] {
        sim.cores[0].handle_relay_elsewhere(RelayedAddr(relayed), CoreId(1), open);
        sim.cores[0].check_invariants();
        sim.permit(b, &relayed.to_string()).success();
        let out = sim.send(b, &relayed.to_string(), b"hairpin");
        let from = sim.relayed(b)[0].to_string();
        assert_eq!(sim.carry(out).arrives_from(&from), b"hairpin");
    }
    // Nor may its port be given to another client.
    let mut sim = Sim::with(|config| {
        (config.relay.port_min, config.relay.port_max) = (50000, 50000);
    });
    let (a, b) = (client(&mut sim), sim.client("198.51.100.2:4000"));
    let relayed = sim.allocate(a).success().relayed();
    sim.cores[0].handle_relay_elsewhere(RelayedAddr(relayed), CoreId(1), false);
    sim.actions.clear();
    sim.allocate(b).rejected(508);
    assert!(!sim.actions.iter().any(|action| matches!(action, Action::OpenRelay { .. })));
}

#[test]
fn a_late_announcement_does_not_take_a_third_cores_relay_away() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    sim.allocate(a).success();
    let far = RelayedAddr(addr("8.0.0.1:60000"));
    for (core, open) in [(1, true), (2, true), (1, false)] {
        sim.cores[0].handle_relay_elsewhere(far, CoreId(core), open);
        sim.permit(a, &far.0.to_string()).success();
    }
    sim.cores[0].handle_relay_elsewhere(far, CoreId(2), false);
    sim.permit(a, &far.0.to_string()).rejected(403);
}

#[test]
fn a_reservation_token_is_eight_bytes_of_the_shells() {
    let mut sim = Sim::new();
    let a = client(&mut sim);
    let (even, token) = reserve(&mut sim, a);
    let token = ReservationToken(token.try_into().expect("eight bytes"));
    let (odd, user) = &sim.shelf[&token];
    assert_eq!(odd.port(), even.port() + 1);
    assert_eq!(&user.user.0[..], b"alice");
}
