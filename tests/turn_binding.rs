//! Binding (RFC 8489 §12): the client's own address, to whoever asks.

mod common;

use common::{
    AttributeType, Class, Drop, ErrorCode, Method, Out, Packet, Response, Sim, Transport, addr,
};
use hairpin::wire::Message;

fn binding(sim: &mut Sim, address: &str) -> Response {
    let client = sim.client(address);
    let packet = sim.packet(Method::BINDING);
    sim.ask(client, &packet).response.expect("an answer")
}

/// RFC 8489 §6.3.1.1: "the server MUST … add an XOR-MAPPED-ADDRESS attribute … with the source
/// transport address of the request".
#[test]
fn a_client_is_told_where_it_comes_from() {
    let mut sim = Sim::new();
    for address in ["198.51.100.1:4000", "[2001:db8::77]:4000"] {
        let response = binding(&mut sim, address);
        assert_eq!(response.class, Class::Success);
        assert_eq!(response.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
        assert_eq!(response.addresses(AttributeType::XOR_MAPPED_ADDRESS), [addr(address)]);
    }
    assert_eq!(sim.stats().bindings, 2);
}

/// RFC 8489 §6.3.1: transaction id and method of a response are the request's.
#[test]
fn the_answer_carries_the_requests_transaction_id() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let packet = sim.packet(Method::BINDING);
    let response = sim.ask(client, &packet).response.expect("an answer");
    assert_eq!(response.transaction, packet.transaction);
    assert_eq!(response.method, Method::BINDING.get());
}

/// RFC 8489 §6.3.1: Binding may be repeated; whichever answer arrives, it says the same.
#[test]
fn the_same_request_again_gets_the_same_answer() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let packet = sim.packet(Method::BINDING);
    let first = sim.ask(client, &packet).response.expect("an answer");
    let again = sim.ask(client, &packet).response.expect("an answer");
    assert_eq!(first.bytes, again.bytes);
}

/// RFC 8489 §12: a basic server uses no credential mechanism, whatever a client tries.
#[test]
fn credentials_are_neither_asked_for_nor_minded() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let good = sim.packet(Method::BINDING);
    let good = sim.sign(client, good);
    sim.log_in(client, "nobody", "guess");
    let wrong = sim.packet(Method::BINDING);
    let wrong = sim.sign(client, wrong);
    for packet in [good, wrong] {
        let response = sim.ask(client, &packet).response.expect("an answer");
        assert_eq!(response.class, Class::Success);
        assert_eq!(response.kinds(), [AttributeType::XOR_MAPPED_ADDRESS]);
    }
}

/// An answer of 32 bytes to a request of 20 (44 for IPv6): 1.6 times, which nobody falls short of.
#[test]
fn an_answer_is_at_most_1_6_times_as_long_as_the_request() {
    let mut sim = Sim::new();
    assert_eq!(binding(&mut sim, "198.51.100.1:4000").bytes.len(), 32);
    assert_eq!(binding(&mut sim, "[2001:db8::77]:4000").bytes.len(), 44);
    for extra in (0..400).step_by(7) {
        let client = sim.client("198.51.100.1:4000");
        let packet = sim.packet(Method::BINDING).with(AttributeType::SOFTWARE, vec![b'x'; extra]);
        for packet in [packet.clone(), packet.fingerprint()] {
            let bytes = packet.encode();
            let response = sim.ask(client, &packet).response.expect("an answer");
            assert!(response.bytes.len() * 10 <= bytes.len() * 16);
        }
    }
}

/// RFC 8489 §7: FINGERPRINT where the request has one.
#[test]
fn a_fingerprint_is_answered_with_a_fingerprint() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let packet = sim.packet(Method::BINDING).fingerprint();
    let response = sim.ask(client, &packet).response.expect("an answer");
    assert_eq!(response.kinds().last(), Some(&AttributeType::FINGERPRINT));
    assert!(Message::parse(&response.bytes).is_ok());
}

/// RFC 8489 §6.3: "if the FINGERPRINT extension is being used, the agent checks that the
/// FINGERPRINT attribute is present and contains the correct value"; else silently discarded.
#[test]
fn a_wrong_fingerprint_dropped() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let mut bytes = sim.packet(Method::BINDING).fingerprint().encode();
    *bytes.last_mut().expect("bytes") ^= 1;
    sim.deliver(client, &bytes).dropped();
    assert_eq!(sim.drops(Drop::Fingerprint), 1);
}

/// RFC 8489 §6.3.1: "If the request contains one or more unknown comprehension-required
/// attributes, the server replies with … 420 … and includes an UNKNOWN-ATTRIBUTES attribute".
#[test]
fn unknown_required_attributes_are_named_and_optional_ones_ignored() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let packet = sim
        .packet(Method::BINDING)
        .with(AttributeType(0x7F31), b"abc")
        .with(AttributeType(0xFF31), b"")
        .with(AttributeType(0x7F32), b"");
    let response = sim.ask(client, &packet).rejected(420);
    assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), [0x7F, 0x31, 0x7F, 0x32]);

    let packet = sim.packet(Method::BINDING).with(AttributeType(0xFF31), b"abc");
    let response = sim.ask(client, &packet).response.expect("an answer");
    assert_eq!(response.class, Class::Success);
    assert_eq!(sim.errors(ErrorCode::UNKNOWN_ATTRIBUTE), 1);
}

/// RFC 5389 §12.2: a request without the cookie is RFC 3489's, and gets MAPPED-ADDRESS with its
/// transaction id of 128 bits.
#[test]
fn a_classic_client_is_told_in_plain() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let mut bytes = sim.packet(Method::BINDING).encode();
    bytes[4..8].copy_from_slice(b"1234");
    let Out::Reply(reply) = sim.deliver(client, &bytes) else { panic!("an answer") };
    assert_eq!(reply[4..20], bytes[4..20]);
    assert_eq!(reply[20..], [0, 1, 0, 8, 0, 1, 0x0F, 0xA0, 198, 51, 100, 1]);
}

/// RFC 3489 §8.1: what must be understood and is not is named, to a classic client too. Among it is
/// what would send the answer elsewhere (RESPONSE-ADDRESS, CHANGE-REQUEST, RFC 5780's
/// RESPONSE-PORT), which nobody may ask for.
#[test]
fn nobody_can_have_the_answer_sent_elsewhere() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    for (kind, value) in
        [(0x0002, &[0, 1, 0, 9, 9, 0, 0, 1][..]), (0x0003, &[0, 0, 0, 6]), (0x0027, &[0, 9, 0, 0])]
    {
        let packet = sim.packet(Method::BINDING).with(AttributeType(kind), value);
        let response = sim.ask(client, &packet).rejected(420);
        assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), kind.to_be_bytes());
        let mut classic = packet.encode();
        classic[4..8].copy_from_slice(b"1234");
        let Out::Reply(reply) = sim.deliver(client, &classic) else { panic!("an answer") };
        assert_eq!((&reply[..2], &reply[4..20]), (&[0x01, 0x11][..], &classic[4..20]));
        assert!(
            reply.ends_with(&[[0, 0x0A, 0, 2], [kind.to_be_bytes()[0], kind as u8, 0, 0]].concat())
        );
    }
}

/// A hundred unknown attributes are all named; more than the answer has room for are cut off.
#[test]
fn many_unknown_attributes_are_named_in_an_answer_that_is_shorter_than_the_request() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    for (count, named) in [(1, 1), (100, 100), (256, 256), (5000, 256)] {
        let packet = (0..count).fold(sim.packet(Method::BINDING), |packet, n| {
            packet.with(AttributeType(0x4000 + n), b"")
        });
        let length = packet.encode().len();
        let response = sim.ask(client, &packet).rejected(420);
        assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES).len(), 2 * named);
        assert!(response.bytes.len() <= 3 * length && response.bytes.len() < 1200);
    }
}

/// RFC 8489 §6.3: "Known-but-unexpected attributes SHOULD be ignored"; and padding "MUST be
/// ignored" whatever it holds (§14).
#[test]
fn unexpected_attributes_and_padding_are_ignored() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let packet = sim
        .packet(Method::BINDING)
        .with(AttributeType::ERROR_CODE, [0, 0, 4, 1])
        .with(AttributeType::XOR_MAPPED_ADDRESS, b"short")
        .with(AttributeType::DATA, b"data");
    let mut bytes = packet.encode();
    bytes[20 + 8 + 4 + 5..20 + 8 + 4 + 8].fill(0xFF);
    let response = sim.ask_bytes(client, &bytes).response.expect("an answer");
    assert_eq!(response.class, Class::Success);
}

/// RFC 8656 §5: "TURN does not use the backwards-compatibility mechanism".
#[test]
fn nothing_but_binding_has_a_classic_form() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let methods = [Method::ALLOCATE, Method::REFRESH, Method::CHANNEL_BIND];
    for method in methods {
        let mut bytes = sim.packet(method).encode();
        bytes[4..8].copy_from_slice(b"1234");
        sim.deliver(client, &bytes).dropped();
    }
    assert_eq!(sim.drops(Drop::Unsupported), methods.len() as u64);
}

/// RFC 8489 §11: over DTLS "all requests MUST generate a 500 (Server Error) error response, and
/// indications MUST be ignored", where they lack the cookie.
#[test]
fn a_classic_request_over_dtls_gets_500_and_an_indication_nothing() {
    let mut sim = Sim::new();
    let client = sim.client_on(0, Transport::Dtls, "198.51.100.1:4000");
    let methods = [Method::BINDING, Method::ALLOCATE, Method::REFRESH, Method::CHANNEL_BIND];
    for method in methods {
        // Before anything else that is wrong with it.
        let unknown = AttributeType(0x0003);
        let mut bytes = sim.packet(method).with(unknown, [0, 0, 0, 6]).encode();
        bytes[4..8].copy_from_slice(b"1234");
        let Out::Reply(reply) = sim.deliver(client, &bytes) else { panic!("an answer") };
        assert_eq!(reply[4..20], bytes[4..20]);
        assert_eq!(reply[20..24], [0, 9, 0, 4], "{method}");
        assert_eq!(u16::from(reply[26]) * 100 + u16::from(reply[27]), 500, "{method}");
    }
    assert_eq!(sim.stats().errors(ErrorCode::SERVER_ERROR), methods.len() as u64);
    for method in [Method::BINDING, Method::SEND] {
        let mut bytes = Packet::new(Class::Indication, method, [3; 12]).encode();
        bytes[4..8].copy_from_slice(b"1234");
        sim.deliver(client, &bytes).dropped();
    }
    let packet = sim.packet(Method::BINDING);
    assert_eq!(sim.ask(client, &packet).response.expect("an answer").class, Class::Success);
}

/// RFC 8489 §12.1: a Binding indication has no response; it keeps a NAT's binding alive.
#[test]
fn indications_responses_and_unknown_methods_get_no_answer() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let mut unanswered = |class, method| {
        let packet = Packet::new(class, method, [3; 12]);
        sim.deliver(client, &packet.encode()).dropped();
    };
    unanswered(Class::Indication, Method::BINDING);
    for method in 0..16 {
        unanswered(Class::Success, Method::new(method));
        unanswered(Class::Error, Method::new(method));
        unanswered(Class::Indication, Method::new(method));
    }
    for method in [0x002, 0x005, 0x006, 0x007, 0x00C, 0x00D, 0x00E] {
        unanswered(Class::Request, Method::new(method));
    }
    assert_eq!(sim.drops(Drop::Response), 32);
    assert_eq!(sim.drops(Drop::NoAllocation), 1, "Send");
    assert_eq!(sim.drops(Drop::Unsupported), 14 + 7);
}

#[test]
fn garbage_gets_no_answer() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let whole = sim.packet(Method::BINDING).with(AttributeType::SOFTWARE, b"software").encode();
    let cut = (0..whole.len()).map(|end| whole[..end].to_vec());
    let others = (0..=255).map(|first| vec![first; 20]).filter(|bytes| bytes[0] != 0);
    let trailing = [whole.clone(), b"tail".to_vec()].concat();
    let mut count = 0;
    for bytes in cut.chain(others).chain([trailing]) {
        sim.deliver(client, &bytes).dropped();
        count += 1;
    }
    assert_eq!(sim.drops(Drop::Malformed), count);
}

#[test]
fn no_state_is_left_by_strangers() {
    let mut sim = Sim::new();
    for port in 1..500 {
        binding(&mut sim, &format!("198.51.100.1:{port}"));
        let client = sim.client(&format!("198.51.100.2:{port}"));
        sim.challenge(client);
    }
    sim.nothing_left();
}
