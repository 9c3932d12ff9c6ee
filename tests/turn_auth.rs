//! The long-term credential mechanism (RFC 8489 §9.2) as every request of TURN goes through it.

mod common;

use common::{
    AttributeType, Class, Client, ErrorCode, IntegrityKey, Lifetime, Method, PEER, Packet,
    Response, Sim, Transport, UDP, secs,
};
use hairpin::turn::Server;
use hairpin::turn::config::Software;

const METHODS: [Method; 6] = [
    Method::ALLOCATE,
    Method::REFRESH,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::CONNECT,
    Method::CONNECTION_BIND,
];

fn client(sim: &mut Sim) -> Client {
    sim.client("198.51.100.1:4000")
}

/// A request with everything an Allocate wants, not yet signed.
fn allocate(sim: &mut Sim) -> Packet {
    sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP)
}

/// RFC 8489 §9.2.4: no integrity: 401 with REALM, NONCE and what is offered, and no USERNAME or
/// integrity.
#[test]
fn a_request_without_integrity_is_challenged() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    for method in METHODS {
        let packet = sim.packet(method).with(AttributeType::USERNAME, "alice");
        let response = sim.ask(client, &packet).rejected(401);
        assert_eq!(
            response.kinds(),
            [
                AttributeType::ERROR_CODE,
                AttributeType::REALM,
                AttributeType::NONCE,
                AttributeType::PASSWORD_ALGORITHMS,
            ]
        );
        assert_eq!(response.get(AttributeType::REALM), b"example.org");
    }
    assert_eq!(sim.errors(ErrorCode::UNAUTHENTICATED), METHODS.len() as u64);
    sim.nothing_left();
}

/// A 401 is at most three times as long as the request, be it the barest one or one that is told
/// of everything that RFC 8489 has.
#[test]
fn a_challenge_is_at_most_three_times_as_long_as_the_request() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    for method in METHODS {
        let packet = sim.packet(method);
        let bare = sim.ask(client, &packet).rejected(401);
        assert!(bare.bytes.len() <= 60, "{} bytes", bare.bytes.len());
        for extra in 0..100 {
            let packet = sim.packet(method).with(AttributeType::SOFTWARE, vec![b'x'; extra]);
            for packet in [packet.clone(), packet.fingerprint()] {
                let length = packet.encode().len();
                let answer = sim.ask(client, &packet).rejected(401).bytes.len();
                assert!(answer <= 3 * length, "{answer} bytes for {length}");
            }
        }
    }
    let packet = allocate(&mut sim);
    let answer = sim.ask(client, &packet).rejected(401).bytes.len();
    assert!(answer <= 84, "{answer} bytes for {}", packet.encode().len());
}

/// RFC 8489 §9.2.4: integrity without USERNAME, REALM or NONCE: 400, without NONCE or REALM.
#[test]
fn integrity_without_what_it_is_made_from_is_a_bad_request() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let nonce = sim.challenge(client).get(AttributeType::NONCE).to_vec();
    let all = [
        (AttributeType::USERNAME, &b"alice"[..]),
        (AttributeType::REALM, b"example.org"),
        (AttributeType::NONCE, &nonce),
    ];
    for missing in 0..3 {
        let mut packet = allocate(&mut sim);
        for (at, (kind, value)) in all.iter().enumerate() {
            if at != missing {
                packet = packet.with(*kind, value);
            }
        }
        let packet = packet.signed(sim.key(client));
        let response = sim.ask(client, &packet).rejected(400);
        assert_eq!(response.kinds(), [AttributeType::ERROR_CODE]);
        assert!(response.bytes.len() <= packet.encode().len(), "strangers gain nothing");
    }
    sim.nothing_left();
}

#[test]
fn right_credentials_and_a_fresh_nonce_are_accepted() {
    for (user, password) in [("alice", "wonderland"), ("bob", "builder")] {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        sim.log_in(client, user, password);
        sim.allocate(client).success();
    }
}

/// The answer must not tell which usernames exist.
#[test]
fn an_unknown_user_and_a_wrong_password_get_the_same_bytes() {
    let mut answers = Vec::new();
    for (user, password) in [("alice", "wrong"), ("carol", "wrong"), ("1790009999:x", "wrong")] {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        sim.challenge(client);
        sim.log_in(client, user, password);
        let packet = allocate(&mut sim);
        let packet = sim.sign(client, packet);
        answers.push(sim.ask(client, &packet).rejected(401).bytes);
    }
    // Same transaction ids, same time: the same bytes.
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:02x?}");
}

/// RFC 8489 §9.2.4: a wrong integrity is answered with 401, REALM and NONCE.
#[test]
fn any_bit_changed_in_a_signed_request_spoils_it() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    let packet = allocate(&mut sim);
    let signed = sim.sign(client, packet).encode();
    for bit in 0..signed.len() * 8 {
        let mut bytes = signed.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let common::Out::Reply(reply) = sim.deliver(client, &bytes) {
            let response = Response::read(&reply);
            // With one bit more or less Allocate is Binding, which asks for no credentials.
            let is_binding = response.method == Method::BINDING.get();
            assert!(response.class == Class::Error || is_binding, "bit {bit}");
        }
        assert_eq!(sim.stats().allocations, 0, "bit {bit}");
        assert!(sim.outbox.is_empty(), "bit {bit}");
    }
    let out = sim.ask_bytes(client, &signed);
    out.success();
}

#[test]
fn the_wrong_realm_is_refused_whatever_the_key() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let nonce = sim.challenge(client).get(AttributeType::NONCE).to_vec();
    for key in [
        sim.key(client).clone(),
        IntegrityKey::long_term(b"alice", b"elsewhere.org", b"wonderland"),
    ] {
        let packet = allocate(&mut sim)
            .with(AttributeType::USERNAME, "alice")
            .with(AttributeType::REALM, "elsewhere.org")
            .with(AttributeType::NONCE, &nonce)
            .signed(&key);
        sim.ask(client, &packet).rejected(401);
    }
}

/// RFC 8489 §9.2.4: 438 with REALM and a NONCE that is valid.
#[test]
fn a_stale_nonce_is_replaced_by_a_good_one() {
    let mut sim = Sim::with(|config| config.limits.nonce_lifetime = Lifetime::from_secs(100));
    let client = client(&mut sim);
    let old = sim.challenge(client).get(AttributeType::NONCE).to_vec();
    sim.pass(secs(110));
    let packet = allocate(&mut sim);
    let packet = sim.sign(client, packet);
    let response = sim.ask(client, &packet).rejected(438);
    assert_ne!(response.get(AttributeType::NONCE), old);
    assert_eq!(response.get(AttributeType::REALM), b"example.org");
    assert!(!response.has(AttributeType::USERNAME));
    let packet = allocate(&mut sim);
    let packet = sim.sign(client, packet);
    sim.ask(client, &packet).success();
    assert_eq!(sim.errors(ErrorCode::STALE_NONCE), 1);
}

/// RFC 8489 §9.2.4: "The server MUST NOT choose the same NONCE for two requests unless they have
/// the same source IP address and port"; a nonce taken from the wire serves nobody else.
#[test]
fn a_nonce_is_bound_to_the_client_and_its_transport() {
    let mut sim = Sim::new();
    let alice = client(&mut sim);
    sim.challenge(alice);
    let packet = allocate(&mut sim);
    let captured = sim.sign(alice, packet).encode();
    let others = [
        sim.client("198.51.100.1:4001"),
        sim.client("198.51.100.2:4000"),
        sim.tcp_client("198.51.100.1:4000"),
    ];
    for other in others {
        sim.ask_bytes(other, &captured).rejected(438);
    }
    sim.nothing_left();
    sim.ask_bytes(alice, &captured).success();
}

/// RFC 6062 §4.3: a client opens more streams with the credentials that it has. RFC 8489 §9.2.4
/// wants another nonce for another port nonetheless, and what one host signs for its stream is
/// nothing that another behind the same NAT could use.
#[test]
fn a_nonce_of_a_stream_is_good_on_another_of_the_same_address_for_a_connection_bind_alone() {
    let mut sim = Sim::new();
    let first = sim.tcp_client("198.51.100.1:4000");
    sim.allocate_tcp(first).success();
    let id = sim.connect_to(first, "9.0.0.9:9");
    let second = sim.tcp_client("198.51.100.1:4001");
    sim.challenge(second);
    assert_ne!(sim.nonce(first), sim.nonce(second));
    let stranger = sim.tcp_client("198.51.100.2:4000");
    let packet = allocate(&mut sim);
    let asked = sim.sign(first, packet).encode();
    sim.ask_bytes(stranger, &asked).rejected(438);
    sim.ask_bytes(second, &asked).rejected(438);
    let packet = sim.packet(Method::CONNECTION_BIND);
    let packet = packet.with(AttributeType::CONNECTION_ID, id.0.to_be_bytes());
    let asked = sim.sign(first, packet).encode();
    sim.ask_bytes(stranger, &asked).rejected(438);
    sim.ask_bytes(second, &asked).success();
}

#[test]
fn a_made_up_nonce_is_stale() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let real = sim.challenge(client).get(AttributeType::NONCE).to_vec();
    let mut wrong = real.clone();
    *wrong.last_mut().expect("bytes") ^= 1;
    for nonce in [&b""[..], b"nonce", &wrong, &real[..real.len() - 1], &real[13..]] {
        let packet = allocate(&mut sim)
            .with(AttributeType::USERNAME, "alice")
            .with(AttributeType::REALM, "example.org")
            .with(AttributeType::NONCE, nonce)
            .signed(sim.key(client));
        sim.ask(client, &packet).rejected(438);
    }
}

/// A worker's clients go on after a restart, and may meet another worker.
#[test]
fn a_nonce_is_good_on_another_core_with_the_same_key() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    sim.cores[0] = Server::new(common::sim::config(), [99; 32]);
    let packet = allocate(&mut sim);
    let packet = sim.sign(client, packet);
    sim.ask(client, &packet).success();
}

#[test]
fn a_nonce_of_another_key_is_stale() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    let mut config = common::sim::config();
    config.credentials.nonce_key = [8; 32];
    sim.cores[0] = Server::new(config, [99; 32]);
    let packet = allocate(&mut sim);
    let packet = sim.sign(client, packet);
    sim.ask(client, &packet).rejected(438);
}

/// RFC 8489 §9.2: the nonce cookie tells that this is an RFC 8489 server.
#[test]
fn a_real_allocate_is_told_the_nonce_cookie() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    assert!(sim.challenge(client).get(AttributeType::NONCE).starts_with(b"obMatJos2"));
}

/// RFC 8489 §9.2.4: "Any response generated by the server MUST include … MESSAGE-INTEGRITY".
#[test]
fn errors_after_authentication_are_signed() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    // 437: no allocation.
    sim.refresh(client, 600).rejected(437);
    // 420, 442 and 400 on an Allocate; then 437 for a second one.
    let unknown = sim.allocate_with(client, &[(AttributeType(0x7F31), b"")]);
    assert_eq!(unknown.authentic, Some(true));
    let response = unknown.rejected(420);
    assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), [0x7F, 0x31]);
    let sctp = [(AttributeType::REQUESTED_TRANSPORT, &[132, 0, 0, 0][..])];
    sim.request(client, Method::ALLOCATE, &sctp).rejected(442);
    let bad = sim.request(client, Method::ALLOCATE, &[]);
    assert_eq!(bad.authentic, Some(true));
    bad.rejected(400);
    sim.allocate(client).success();
    sim.allocate(client).rejected(437);
}

/// RFC 8656 §5: the server SHOULD put SOFTWARE into Allocate and Refresh responses; strangers get
/// none, so that their answers stay short.
#[test]
fn software_is_told_to_those_who_are_authenticated() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    assert!(!sim.challenge(client).has(AttributeType::SOFTWARE));
    let software = sim.allocate(client).success().get(AttributeType::SOFTWARE).to_vec();
    assert!(software.starts_with(b"hairpin "));
    assert!(sim.refresh(client, 600).success().has(AttributeType::SOFTWARE));
    assert!(sim.allocate(client).rejected(437).has(AttributeType::SOFTWARE));
}

/// RFC 8489 §16.1.2: implementers SHOULD make usage of SOFTWARE a configurable option.
#[test]
fn whom_software_is_told_is_the_operators_choice() {
    for (software, strangers, others) in [
        (Software::Everybody, true, true),
        (Software::Authenticated, false, true),
        (Software::Nobody, false, false),
    ] {
        let mut sim = Sim::with(|config| config.software = software);
        let client = client(&mut sim);
        let is_told = |response: &Response| response.has(AttributeType::SOFTWARE);
        let packet = sim.packet(Method::BINDING);
        let binding = sim.ask(client, &packet).response.expect("an answer");
        assert_eq!((is_told(&binding), is_told(&sim.challenge(client))), (strangers, strangers));
        let answers = [
            sim.allocate(client).success(),
            sim.refresh(client, 600).success(),
            sim.allocate(client).rejected(437),
        ];
        assert!(answers.iter().all(|answer| is_told(answer) == others), "{software:?}");
    }
}

/// RFC 8489 §9.2.4 in its order: integrity before nonce, both before unknown attributes.
#[test]
fn unknown_attributes_are_told_only_to_the_authenticated() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    let packet = allocate(&mut sim).with(AttributeType(0x7F31), b"");
    sim.ask(client, &packet).rejected(401);
    sim.log_in(client, "alice", "wrong");
    sim.allocate_with(client, &[(AttributeType(0x7F31), b"")]).rejected(401);
}

/// An unsigned LIFETIME behind the integrity must not end an allocation (RFC 8489 §14.5).
#[test]
fn attributes_behind_the_integrity_are_not_obeyed() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.allocate(client).success();
    let packet = sim.packet(Method::REFRESH);
    let packet = sim.sign(client, packet).with(AttributeType::LIFETIME, [0; 4]);
    assert_eq!(sim.ask(client, &packet).success().lifetime(), 600);
    assert_eq!(sim.stats().allocations, 1);

    let packet = sim.packet(Method::CREATE_PERMISSION).peer(common::addr(PEER));
    let packet = sim.sign(client, packet).peer(common::addr("9.0.0.77:1"));
    sim.ask(client, &packet).success();
    assert_eq!(sim.stats().permissions, 1);
    sim.peer_sends("9.0.0.77:1", client, b"x").dropped();

    let packet = sim.packet(Method::CREATE_PERMISSION);
    let packet = sim.sign(client, packet).peer(common::addr("9.0.0.77:1"));
    let answer = sim.ask(client, &packet);
    answer.rejected(400);
}

/// RFC 8489 §14.5: the value is 20 bytes; a shorter one would be guessed.
#[test]
fn an_integrity_cut_short_or_drawn_out_is_wrong() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    for length in (0..40).filter(|length| *length != 20) {
        let packet = allocate(&mut sim)
            .with(AttributeType::USERNAME, "alice")
            .with(AttributeType::REALM, "example.org")
            .with(AttributeType::NONCE, sim.nonce(client));
        // As good as it can be: the right HMAC for a message of this length.
        let mut value = sim.key(client).sign(&packet.encode()).as_ref().to_vec();
        value.resize(length, 0);
        let packet = packet.with(AttributeType::MESSAGE_INTEGRITY, value);
        sim.ask(client, &packet).rejected(401);
    }
    sim.nothing_left();
}

/// RFC 8489 §14: of several attributes of a type the first counts.
#[test]
fn the_first_username_counts() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    for (names, code) in [(["alice", "bob"], None), (["bob", "alice"], Some(401))] {
        let packet = allocate(&mut sim)
            .with(AttributeType::USERNAME, names[0])
            .with(AttributeType::USERNAME, names[1])
            .with(AttributeType::NONCE, sim.nonce(client))
            .with(AttributeType::REALM, "example.org")
            .signed(sim.key(client));
        let answer = sim.ask(client, &packet);
        match code {
            Some(code) => drop(answer.rejected(code)),
            None => drop(answer.success()),
        }
    }
}

#[test]
fn odd_names_are_strangers_names() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.challenge(client);
    let long = vec![b'x'; 763];
    let longer = vec![b'x'; 4096];
    let names: [&[u8]; 8] =
        [b"", b"\0", b"alice\0", b"ALICE", b"alice ", b"\xFF\xFE", &long, &longer];
    for name in names {
        let packet = allocate(&mut sim)
            .with(AttributeType::USERNAME, name)
            .with(AttributeType::REALM, "example.org")
            .with(AttributeType::NONCE, sim.nonce(client))
            .signed(sim.key(client));
        sim.ask(client, &packet).rejected(401);
    }
    // Nor is there anything in being empty altogether.
    let packet = allocate(&mut sim)
        .with(AttributeType::USERNAME, "")
        .with(AttributeType::REALM, "")
        .with(AttributeType::NONCE, "")
        .with(AttributeType::MESSAGE_INTEGRITY, "");
    sim.ask(client, &packet).rejected(401);
}

/// RFC 8489 §14.10: a NONCE is fewer than 128 characters, and none that must be quoted.
#[test]
fn a_nonce_is_short_and_plain() {
    let mut sim = Sim::new();
    for port in 1..100 {
        let client = sim.client(&format!("198.51.100.1:{port}"));
        let nonce = sim.challenge(client).get(AttributeType::NONCE).to_vec();
        assert!(nonce.len() < 128);
        assert!(nonce.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_+/".contains(byte)));
    }
}

/// A nonce that ends during a call costs a round trip, and nothing else.
#[test]
fn a_stale_nonce_on_a_live_allocation_leaves_it_alone() {
    let mut sim = Sim::with(|config| config.limits.nonce_lifetime = Lifetime::from_secs(100));
    let client = client(&mut sim);
    sim.allocate(client).success();
    sim.permit(client, PEER).success();
    sim.pass(secs(200));
    let packet = sim.packet(Method::REFRESH).with(AttributeType::LIFETIME, [0; 4]);
    let packet = sim.sign(client, packet);
    sim.ask(client, &packet).rejected(438);
    sim.send(client, PEER, b"x").reaches(PEER);
    sim.refresh(client, 600).success();
}

/// Authentication that fails on somebody's 5-tuple must not harm their allocation.
#[test]
fn strangers_on_a_5_tuple_do_not_harm_its_allocation() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.allocate(client).success();
    sim.log_in(client, "alice", "wrong");
    sim.refresh(client, 0).rejected(401);
    sim.allocate(client).rejected(401);
    let packet = sim.packet(Method::REFRESH).with(AttributeType::LIFETIME, [0; 4]);
    sim.ask(client, &packet).rejected(401);
    sim.log_in(client, "alice", "wonderland");
    sim.refresh(client, 600).success();
}

// ---- time-limited credentials: expiry:name, base64(HMAC-SHA1(secret, username))

#[test]
fn any_of_the_secrets_makes_time_limited_credentials() {
    for secret in ["an older secret", common::sim::SECRET] {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        let user = format!("{}:alice", sim.unix_secs() + 60);
        sim.log_in(client, &user, &common::sim::time_limited_password(secret, &user));
        sim.allocate(client).success();
    }
}

#[test]
fn a_time_limited_password_is_for_one_name_and_one_expiry() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let (soon, later) = (sim.unix_secs() + 60, sim.unix_secs() + 6000);
    let password = |user: &str| common::sim::time_limited_password(common::sim::SECRET, user);
    let bought = password(&format!("{soon}:alice"));
    for user in [format!("{later}:alice"), format!("{soon}:bob"), format!("{soon}")] {
        sim.log_in(client, &user, &bought);
        sim.allocate(client).rejected(401);
        let wrong = common::sim::time_limited_password("another secret", &user);
        sim.log_in(client, &user, &wrong);
        sim.allocate(client).rejected(401);
    }
    let long = "x".repeat(200);
    for name in ["", ":alice", ":a:b:c", ":マトリックス", &format!(":{long}")] {
        let user = format!("{soon}{name}");
        sim.log_in(client, &user, &password(&user));
        sim.allocate(client).success();
        // Another user of the same secret is another user.
        let other = format!("{later}:other");
        sim.log_in(client, &other, &password(&other));
        sim.refresh(client, 0).rejected(441);
        sim.log_in(client, &user, &password(&user));
        sim.refresh(client, 0).success();
    }
}

#[test]
fn time_limited_credentials_end_with_their_second() {
    for (lifetime, code) in [(0, Some(401)), (1, None)] {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        sim.log_in_for(client, lifetime, "alice");
        let answer = sim.allocate(client);
        match code {
            Some(code) => drop(answer.rejected(code)),
            None => drop(answer.success()),
        }
    }
}

/// A call goes on although its credentials have ended; a new one does not begin.
#[test]
fn expired_credentials_serve_a_live_allocation_and_no_new_one() {
    let mut sim = Sim::new();
    let (call, late) = (client(&mut sim), sim.client("198.51.100.1:4001"));
    sim.log_in_for(call, 60, "alice");
    sim.log_in_for(late, 60, "alice");
    sim.allocate(call).success();
    sim.pass(secs(120));
    sim.allocate(late).rejected(401);
    sim.refresh(call, 600).success();
    sim.permit(call, PEER).success();
    sim.bind_channel(call, 0x4000, PEER).success();
    sim.send(call, PEER, b"still here").reaches(PEER);
    sim.refresh(call, 0).success();
    sim.allocate(call).rejected(401);
}

#[test]
fn a_username_that_is_no_expiry_belongs_to_no_secret() {
    for user in ["never:alice", ":alice", "x", "", "99999999999999999999999:a"] {
        let mut sim = Sim::new();
        let client = client(&mut sim);
        let password = common::sim::time_limited_password(common::sim::SECRET, user);
        sim.log_in(client, user, &password);
        sim.allocate(client).rejected(401);
    }
}

// ---- whose allocation it is

/// RFC 8656 §5: another username than the allocation's: 441.
#[test]
fn good_credentials_of_another_user_are_wrong_credentials() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.allocate(client).success();
    sim.log_in(client, "bob", "builder");
    sim.refresh(client, 0).rejected(441);
    sim.permit(client, PEER).rejected(441);
    sim.bind_channel(client, 0x4000, PEER).rejected(441);
    assert_eq!(sim.stats().allocations, 1);
    assert_eq!(sim.errors(ErrorCode::WRONG_CREDENTIALS), 3);
    // An Allocate hears of the 5-tuple, not of the user (§7.2 step 2).
    sim.allocate(client).rejected(437);
}

/// RFC 8656 §5: "if the 5-tuple does not identify an existing allocation … 437", signed.
#[test]
fn without_an_allocation_all_but_allocate_are_a_mismatch() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    sim.refresh(client, 600).rejected(437);
    sim.refresh(client, 0).rejected(437);
    sim.permit(client, PEER).rejected(437);
    sim.bind_channel(client, 0x4000, PEER).rejected(437);
    assert_eq!(sim.errors(ErrorCode::ALLOCATION_MISMATCH), 4);
}

/// The transport is part of the 5-tuple (RFC 8656 §3.2).
#[test]
fn the_same_address_over_another_transport_is_another_client() {
    let mut sim = Sim::new();
    let udp = client(&mut sim);
    let tcp = sim.tcp_client("198.51.100.1:4000");
    assert_eq!(sim.path(tcp).tuple.transport, Transport::Tcp);
    sim.allocate(udp).success();
    sim.refresh(tcp, 0).rejected(437);
    sim.allocate(tcp).success();
    assert_eq!(sim.stats().allocations, 2);
}
