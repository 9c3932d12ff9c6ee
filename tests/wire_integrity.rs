//! MESSAGE-INTEGRITY-SHA256, the password algorithms and USERHASH: the vector of RFC 8489 B.1, and
//! stun-types as an oracle.

use hairpin::wire::password_algorithm::userhash;
use hairpin::wire::{
    AttributeType, Class, Integrity, IntegrityKey, Message, MessageWriter, Method,
    PasswordAlgorithm,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use stun_types::attribute::Userhash;
use stun_types::message::{
    IntegrityAlgorithm, LongTermCredentials, Message as TypesMessage, MessageClass, MessageType,
    MessageWriteVec,
};
use stun_types::prelude::{MessageWrite, MessageWriteExt};

const TRANSACTION: [u8; 16] = *b"\x21\x12\xa4\x42\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e";
const USERNAME: &str = "マトリックス";
/// "After OpaqueString processing", says the RFC, and means SASLprep.
const PASSWORD: &[u8] = b"TheMatrIX";
const REALM: &[u8] = b"example.org";
const NONCE: &[u8] = b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA";

/// RFC 8489 B.1 as erratum 6268 has it: the RFC prints a length that is not the message's, and
/// leaves out PASSWORD-ALGORITHM.
const REQUEST: &[u8] = b"\x00\x01\x00\x90\x21\x12\xa4\x42\
    \x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e\
    \x00\x1e\x00\x20\
    \x4a\x3c\xf3\x8f\xef\x69\x92\xbd\xa9\x52\xc6\x78\x04\x17\xda\x0f\
    \x24\x81\x94\x15\x56\x9e\x60\xb2\x05\xc4\x6e\x41\x40\x7f\x17\x04\
    \x00\x15\x00\x29obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA\x00\x00\x00\
    \x00\x14\x00\x0bexample.org\x00\
    \x00\x1d\x00\x04\x00\x02\x00\x00\
    \x00\x1c\x00\x20\
    \xb5\xc7\xbf\x00\x5b\x6c\x52\xa2\x1c\x51\xc5\xe8\x92\xf8\x19\x24\
    \x13\x62\x96\xcb\x92\x7c\x43\x14\x93\x09\x27\x8c\xc6\x51\x8e\x65";

fn key() -> IntegrityKey {
    PasswordAlgorithm::Sha256.key(USERNAME.as_bytes(), REALM, PASSWORD).keyed(Integrity::Sha256)
}

fn written(fill: impl Fn(&mut MessageWriter<'_>)) -> Vec<u8> {
    let mut buffer = vec![0xEE; 1024];
    let mut writer = MessageWriter::new(&mut buffer, Method::BINDING, Class::Request, &TRANSACTION);
    fill(&mut writer);
    let length = writer.finish().expect("it fits");
    buffer.truncate(length);
    buffer
}

#[test]
fn the_sample_request_is_read_and_verifies() {
    let message = Message::parse(REQUEST).expect("a message");
    assert_eq!(Integrity::of(&message), Some(Integrity::Sha256));
    let hash = userhash(USERNAME.as_bytes(), REALM);
    assert_eq!(message.find(AttributeType::USERHASH), Some(&hash[..]));
    assert_eq!(message.find(AttributeType::NONCE), Some(NONCE));
    assert!(key().verifies(&message));
    let sha1 = IntegrityKey::long_term(USERNAME.as_bytes(), REALM, PASSWORD);
    assert!(!sha1.verifies(&message), "the other attribute's key finds nothing");
}

#[test]
fn the_sample_request_is_written_byte_for_byte() {
    let bytes = written(|writer| {
        writer.attribute(AttributeType::USERHASH, &userhash(USERNAME.as_bytes(), REALM));
        writer.attribute(AttributeType::NONCE, NONCE);
        writer.attribute(AttributeType::REALM, REALM);
        let algorithm = PasswordAlgorithm::Sha256.encode();
        writer.attribute(AttributeType::PASSWORD_ALGORITHM, &algorithm);
        writer.integrity(&key());
    });
    assert_eq!(bytes, REQUEST);
}

#[test]
fn any_bit_changed_spoils_the_sample_request() {
    for bit in 0..REQUEST.len() * 8 {
        let mut bytes = REQUEST.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let verified = Message::parse(&bytes).is_ok_and(|message| key().verifies(&message));
        assert!(!verified, "bit {bit}");
    }
}

/// RFC 8489 §14.6: "The value must be the full 32 bytes unless the STUN Usage explicitly specifies
/// that truncation is allowed"; TURN does not.
#[test]
fn a_truncated_integrity_does_not_verify() {
    let key_bytes = Sha256::digest("マトリックス:example.org:TheMatrIX");
    for length in 0..=32 {
        let with = |value: &[u8]| {
            written(|writer| {
                writer.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, value);
            })
        };
        // As a sender does who truncates: the length field is that of the shorter message.
        let mut mac = Hmac::<Sha256>::new_from_slice(&key_bytes).expect("any length");
        mac.update(&with(&[0; 32][..length])[..20]);
        let bytes = with(&mac.finalize().into_bytes()[..length]);
        let message = Message::parse(&bytes).expect("a message");
        assert_eq!(key().verifies(&message), length == 32, "{length} bytes");
    }
}

/// Both may be there; each covers what stands before it, and that of SHA-256 counts.
#[test]
fn of_two_integrities_each_verifies_and_the_longer_counts() {
    let sha1 = IntegrityKey::long_term(USERNAME.as_bytes(), REALM, PASSWORD);
    let bytes = written(|writer| {
        writer.attribute(AttributeType::NONCE, NONCE);
        writer.integrity(&sha1);
        writer.integrity(&key());
        writer.fingerprint();
    });
    let message = Message::parse(&bytes).expect("a message");
    assert_eq!(Integrity::of(&message), Some(Integrity::Sha256));
    assert!(sha1.verifies(&message) && key().verifies(&message));
}

/// RFC 8489 §14.6: what follows MESSAGE-INTEGRITY-SHA256, the FINGERPRINT aside, is ignored.
#[test]
fn a_message_integrity_behind_that_of_sha256_does_not_exist() {
    let sha1 = IntegrityKey::long_term(USERNAME.as_bytes(), REALM, PASSWORD);
    let bytes = written(|writer| {
        writer.integrity(&key());
        writer.integrity(&sha1);
    });
    let message = Message::parse(&bytes).expect("a message");
    assert!(!message.has(AttributeType::MESSAGE_INTEGRITY));
    assert!(key().verifies(&message) && !sha1.verifies(&message));
}

/// RFC 8489 §9.2.2 gives this one.
#[test]
fn keys_are_what_others_compute() {
    let sign = |algorithm: PasswordAlgorithm| {
        algorithm.key(b"user", b"realm", b"pass").keyed(Integrity::Sha1).sign(REQUEST)
    };
    let md5 = b"\x84\x93\xfb\xc5\x3b\xa5\x82\xfb\x4c\x04\x4c\x45\x6b\xdc\x40\xeb";
    let expected = IntegrityKey::from_bytes(md5).sign(REQUEST);
    assert_eq!(sign(PasswordAlgorithm::Md5).as_ref(), expected.as_ref());
    assert_ne!(sign(PasswordAlgorithm::Sha256).as_ref(), expected.as_ref());
}

#[test]
fn an_algorithm_is_read_as_it_is_written_and_nothing_else_is() {
    for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
        assert_eq!(PasswordAlgorithm::decode(&algorithm.encode()), Some(algorithm));
    }
    let offered: Vec<_> =
        PasswordAlgorithm::OFFER.chunks(4).map(PasswordAlgorithm::decode).collect();
    let both = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5].map(Some);
    assert_eq!(offered, both, "in the order of preference");
    for value in [&b""[..], b"\0\x02", b"\0\0\0\0", b"\0\x03\0\0", b"\x01\x02\0\0", b"\0\x02\0\x01"]
    {
        assert_eq!(PasswordAlgorithm::decode(value), None, "{value:?}");
    }
}

proptest! {
    #[test]
    fn what_stun_types_signs_we_verify_and_write(
        user in "\\PC{1,40}",
        password in "\\PC{1,40}",
        other in "\\PC{1,40}",
        with_sha1: bool,
        fingerprint: bool,
    ) {
        prop_assume!(password != other);
        let request = MessageType::from_class_method(
            MessageClass::Request,
            stun_types::message::BINDING,
        );
        let id = u128::from_be_bytes(TRANSACTION) & (u128::MAX >> 32);
        let mut message = TypesMessage::builder(request, id.into(), MessageWriteVec::new());
        let hash = Userhash::compute(&user, "example.org");
        message.add_attribute(&Userhash::new(hash)).expect("it fits");
        let credentials = LongTermCredentials::new(user.clone(), password.clone())
            .to_key("example.org".into());
        let sha1 = credentials.make_key(IntegrityAlgorithm::Sha1);
        let sha256 = credentials.make_key(IntegrityAlgorithm::Sha256);
        if with_sha1 {
            let algorithm = IntegrityAlgorithm::Sha1;
            message.add_message_integrity_with_key(&sha1, algorithm).expect("it fits");
        }
        message
            .add_message_integrity_with_key(&sha256, IntegrityAlgorithm::Sha256)
            .expect("it fits");
        if fingerprint {
            message.add_fingerprint().expect("it fits");
        }
        let theirs = message.finish();

        let key = |password: &str| {
            let password = password.as_bytes();
            PasswordAlgorithm::Sha256.key(user.as_bytes(), REALM, password).keyed(Integrity::Sha256)
        };
        let old = IntegrityKey::long_term(user.as_bytes(), REALM, password.as_bytes());
        prop_assert_eq!(userhash(user.as_bytes(), REALM), hash);
        let read = Message::parse(&theirs).expect("a message");
        prop_assert!(key(&password).verifies(&read));
        prop_assert!(!key(&other).verifies(&read));
        prop_assert_eq!(old.verifies(&read), with_sha1);

        let ours = written(|writer| {
            writer.attribute(AttributeType::USERHASH, &hash);
            if with_sha1 {
                writer.integrity(&old);
            }
            writer.integrity(&key(&password));
            if fingerprint {
                writer.fingerprint();
            }
        });
        prop_assert_eq!(ours, theirs);
    }
}
