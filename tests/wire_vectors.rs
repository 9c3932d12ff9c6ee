//! The vectors of RFC 5769, byte for byte: read, verified, and written again.

use std::net::SocketAddr;

use hairpin::wire::writer::data_indication_header;
use hairpin::wire::{
    AttributeType, ChannelNumber, Class, ErrorCode, IntegrityKey, Message, MessageWriter, Method,
    ParseError, channel_data::channel_data_header,
};

const SHORT_TERM_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const ICE_TRANSACTION: [u8; 16] =
    *b"\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
const LONG_TERM_TRANSACTION: [u8; 16] =
    *b"\x21\x12\xa4\x42\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e";
const PRIORITY: AttributeType = AttributeType(0x0024);
const ICE_CONTROLLED: AttributeType = AttributeType(0x8029);

/// RFC 5769 §2.1.
const REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\
    \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x10STUN test client\
    \x00\x24\x00\x04\x6e\x00\x01\xff\
    \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
    \x00\x06\x00\x09evtj:h6vY\x20\x20\x20\
    \x00\x08\x00\x14\
    \x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\
    \xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
    \x80\x28\x00\x04\xe5\x7a\x3b\xcf";

/// RFC 5769 §2.2. Its padding is a space, which writers may choose and readers ignore.
const RESPONSE_V4: &[u8] = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\
    \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0btest vector\x20\
    \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
    \x00\x08\x00\x14\
    \x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\
    \x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
    \x80\x28\x00\x04\xc0\x7d\x4c\x96";

/// RFC 5769 §2.3.
const RESPONSE_V6: &[u8] = b"\x01\x01\x00\x48\x21\x12\xa4\x42\
    \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0btest vector\x20\
    \x00\x20\x00\x14\x00\x02\xa1\x47\
    \x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\
    \x00\x08\x00\x14\
    \xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\
    \xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41\
    \x80\x28\x00\x04\xc8\xfb\x0b\x4c";

/// RFC 5769 §2.4.
const LONG_TERM_REQUEST: &[u8] = b"\x00\x01\x00\x60\x21\x12\xa4\x42\
    \x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e\
    \x00\x06\x00\x12\
    \xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\
    \x83\x83\xe3\x82\xaf\xe3\x82\xb9\x00\x00\
    \x00\x15\x00\x1cf//499k954d6OL34oL9FSTvy64sA\
    \x00\x14\x00\x0bexample.org\x00\
    \x00\x08\x00\x14\
    \xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\
    \xe0\x71\x2e\x85\xc9\xa2\x8c\xa8\x96\x66";

fn short_term() -> IntegrityKey {
    IntegrityKey::from_bytes(SHORT_TERM_PASSWORD)
}

fn long_term() -> IntegrityKey {
    // "Unaffected by SASLprep", and the password after it.
    IntegrityKey::long_term("マトリックス".as_bytes(), b"example.org", b"TheMatrIX")
}

fn written(fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut buffer = vec![0xEE; 512];
    let length = fill(&mut buffer).expect("it fits");
    buffer.truncate(length);
    buffer
}

/// The vector with zeros where it pads with spaces, and what signs it left out.
fn unsigned_zero_padded(vector: &[u8], padding: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = vector[..vector.len() - 32].to_vec();
    bytes[padding].fill(0);
    bytes
}

/// RFC 5769 §2.1.
#[test]
fn the_sample_request_is_read_and_verifies() {
    let message = Message::parse(REQUEST).expect("a message");
    assert_eq!((message.method(), message.class()), (Method::BINDING, Class::Request));
    assert_eq!(*message.transaction(), ICE_TRANSACTION);
    assert!(!message.is_classic());
    assert_eq!(message.find(AttributeType::SOFTWARE), Some(&b"STUN test client"[..]));
    assert_eq!(message.find(AttributeType::USERNAME), Some(&b"evtj:h6vY"[..]));
    assert!(message.has(AttributeType::FINGERPRINT));
    let all: Vec<_> = message.attributes().collect();
    assert_eq!(
        all,
        [
            (AttributeType::SOFTWARE, &b"STUN test client"[..]),
            (PRIORITY, b"\x6e\x00\x01\xff"),
            (ICE_CONTROLLED, b"\x93\x2f\xf9\xb1\x51\x26\x3b\x36"),
            (AttributeType::USERNAME, b"evtj:h6vY"),
        ]
    );
    // PRIORITY belongs to ICE and must be understood; a TURN server does not.
    assert_eq!(message.unknown_required().collect::<Vec<_>>(), [PRIORITY]);
    assert!(short_term().verifies(&message));
    assert!(!long_term().verifies(&message));
}

/// RFC 5769 §2.2 and §2.3.
#[test]
fn the_sample_responses_are_read_and_verify() {
    for (vector, address) in [
        (RESPONSE_V4, "192.0.2.1:32853"),
        (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let message = Message::parse(vector).expect("a message");
        assert_eq!((message.method(), message.class()), (Method::BINDING, Class::Success));
        assert_eq!(*message.transaction(), ICE_TRANSACTION);
        assert_eq!(message.find(AttributeType::SOFTWARE), Some(&b"test vector"[..]));
        let address: SocketAddr = address.parse().expect("an address");
        assert_eq!(message.xor_address(AttributeType::XOR_MAPPED_ADDRESS), Some(Ok(address)));
        assert!(!message.has_unknown_required());
        assert!(short_term().verifies(&message));
    }
}

/// RFC 5769 §2.4.
#[test]
fn the_long_term_request_is_read_and_verifies() {
    let message = Message::parse(LONG_TERM_REQUEST).expect("a message");
    assert_eq!(*message.transaction(), LONG_TERM_TRANSACTION);
    assert_eq!(message.find(AttributeType::USERNAME), Some("マトリックス".as_bytes()));
    assert_eq!(message.find(AttributeType::NONCE), Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..]));
    assert_eq!(message.find(AttributeType::REALM), Some(&b"example.org"[..]));
    assert!(long_term().verifies(&message));
    assert!(!short_term().verifies(&message));
}

/// RFC 5769 §2.4 pads with zeros as we do: written again, it is the vector.
#[test]
fn the_long_term_request_is_written_byte_for_byte() {
    let bytes = written(|buffer| {
        MessageWriter::new(buffer, Method::BINDING, Class::Request, &LONG_TERM_TRANSACTION)
            .attribute(AttributeType::USERNAME, "マトリックス".as_bytes())
            .attribute(AttributeType::NONCE, b"f//499k954d6OL34oL9FSTvy64sA")
            .attribute(AttributeType::REALM, b"example.org")
            .integrity(&long_term())
            .finish()
    });
    assert_eq!(bytes, LONG_TERM_REQUEST);
}

/// The others pad with spaces, so that only what stands before the integrity can be equal.
#[test]
fn the_sample_responses_are_written_but_for_their_padding() {
    for (vector, address) in [
        (RESPONSE_V4, "192.0.2.1:32853"),
        (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let address = address.parse().expect("an address");
        let bytes = written(|buffer| {
            MessageWriter::new(buffer, Method::BINDING, Class::Success, &ICE_TRANSACTION)
                .attribute(AttributeType::SOFTWARE, b"test vector")
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, address)
                .integrity(&short_term())
                .fingerprint()
                .finish()
        });
        assert_eq!(bytes.len(), vector.len());
        assert_eq!(bytes[..vector.len() - 32], unsigned_zero_padded(vector, 35..36));
        let message = Message::parse(&bytes).expect("our own message");
        assert!(short_term().verifies(&message));
    }
}

/// RFC 8489 §14.5: "the length … MUST then be set to point to the length of the message up to,
/// and including, the MESSAGE-INTEGRITY"; so a vector without its FINGERPRINT still verifies.
#[test]
fn integrity_does_not_cover_what_stands_behind_it() {
    for vector in [REQUEST, RESPONSE_V4, RESPONSE_V6] {
        let mut bytes = vector[..vector.len() - 8].to_vec();
        bytes[3] -= 8;
        let message = Message::parse(&bytes).expect("a message");
        assert!(short_term().verifies(&message));
    }
}

#[test]
fn a_vector_with_any_bit_changed_fails_one_of_its_checks() {
    for (vector, key) in [
        (REQUEST, short_term()),
        (RESPONSE_V4, short_term()),
        (RESPONSE_V6, short_term()),
        (LONG_TERM_REQUEST, long_term()),
    ] {
        for bit in 0..vector.len() * 8 {
            let mut bytes = vector.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verified = Message::parse(&bytes).is_ok_and(|message| key.verifies(&message));
            // FINGERPRINT with another type is some attribute behind the integrity: ignored.
            let is_fingerprints_type = vector[vector.len() - 8..].starts_with(b"\x80\x28")
                && (vector.len() - 8..vector.len() - 6).contains(&(bit / 8));
            assert_eq!(verified, is_fingerprints_type, "bit {bit}");
        }
    }
}

#[test]
fn a_vector_cut_short_or_drawn_out_is_no_message() {
    for vector in [REQUEST, RESPONSE_V4, RESPONSE_V6, LONG_TERM_REQUEST] {
        for end in 0..vector.len() {
            let expected = if end < 20 { ParseError::Short } else { ParseError::Length };
            assert_eq!(Message::parse(&vector[..end]).err(), Some(expected));
        }
        let longer = [vector, &[0; 4]].concat();
        assert_eq!(Message::parse(&longer).err(), Some(ParseError::Length));
    }
}

/// RFC 8489 §14.5: attributes behind MESSAGE-INTEGRITY are ignored, but for
/// MESSAGE-INTEGRITY-SHA256 and FINGERPRINT.
#[test]
fn what_stands_behind_the_integrity_does_not_exist() {
    let bytes = written(|buffer| {
        MessageWriter::new(buffer, Method::REFRESH, Class::Request, &ICE_TRANSACTION)
            .attribute(AttributeType::USERNAME, b"alice")
            .integrity(&short_term())
            .attribute(AttributeType::LIFETIME, &[0; 4])
            .attribute(AttributeType(0x7F31), b"")
            .attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &[1; 32])
            .attribute(AttributeType::USERNAME, b"mallory")
            .fingerprint()
            .finish()
    });
    let message = Message::parse(&bytes).expect("a message");
    assert!(short_term().verifies(&message));
    assert_eq!(message.find(AttributeType::LIFETIME), None);
    assert_eq!(message.find(AttributeType::USERNAME), Some(&b"alice"[..]));
    assert_eq!(message.find(AttributeType::MESSAGE_INTEGRITY_SHA256), Some(&[1; 32][..]));
    assert!(message.has(AttributeType::FINGERPRINT));
    assert!(!message.has_unknown_required());
    assert_eq!(message.attributes().count(), 1);
}

/// RFC 8489 §14.7: "When present, the FINGERPRINT attribute MUST be the last attribute".
#[test]
fn a_fingerprint_that_is_not_the_last_is_refused() {
    let bytes = written(|buffer| {
        MessageWriter::new(buffer, Method::BINDING, Class::Request, &ICE_TRANSACTION)
            .fingerprint()
            .attribute(AttributeType::SOFTWARE, b"")
            .finish()
    });
    assert_eq!(Message::parse(&bytes).err(), Some(ParseError::Fingerprint));
}

/// RFC 8489 §14.8: class and number; §14.13: two bytes for each type.
#[test]
fn errors_are_written_as_the_rfc_draws_them() {
    let bytes = written(|buffer| {
        MessageWriter::new(buffer, Method::ALLOCATE, Class::Error, &ICE_TRANSACTION)
            .error(ErrorCode::UNKNOWN_ATTRIBUTE, "why")
            .unknown([AttributeType(0x7F31), AttributeType::DATA].into_iter())
            .finish()
    });
    assert_eq!(bytes[..4], [0x01, 0x13, 0x00, 0x14]);
    assert_eq!(bytes[20..32], *b"\x00\x09\x00\x07\x00\x00\x04\x14why\x00");
    assert_eq!(bytes[32..], *b"\x00\x0a\x00\x04\x7f\x31\x00\x13");
}

/// RFC 8656 §12.4 and §11.3.
#[test]
fn what_goes_before_a_payload_is_drawn_as_in_the_rfc() {
    let channel = ChannelNumber::new(0x4ABC).expect("a channel number");
    assert_eq!(channel_data_header(channel, 0x0102), [0x4A, 0xBC, 0x01, 0x02]);

    let peer = "192.0.2.1:32853".parse().expect("an address");
    let header =
        data_indication_header(&ICE_TRANSACTION, peer, AttributeType::DATA, 5).expect("it fits");
    let expected = [
        b"\x00\x17\x00\x18",
        &ICE_TRANSACTION[..],
        b"\x00\x12\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\x00\x13\x00\x05",
    ]
    .concat();
    assert_eq!(header[..], expected);
}

#[test]
fn what_does_not_fit_the_buffer_is_not_written() {
    for room in 0..64 {
        let mut buffer = vec![0; room];
        let finished =
            MessageWriter::new(&mut buffer, Method::BINDING, Class::Success, &ICE_TRANSACTION)
                .xor_address(
                    AttributeType::XOR_MAPPED_ADDRESS,
                    "192.0.2.1:1".parse().expect("an address"),
                )
                .integrity(&short_term())
                .fingerprint()
                .finish();
        assert_eq!(finished, (room >= 64).then_some(64));
    }
    // Nor what the length field cannot say.
    let mut buffer = vec![0; 200_000];
    let value = vec![0; 65_535];
    let mut writer =
        MessageWriter::new(&mut buffer, Method::BINDING, Class::Success, &ICE_TRANSACTION);
    assert_eq!(writer.attribute(AttributeType::DATA, &value).finish(), None);
}
