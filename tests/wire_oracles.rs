//! `wire` against two codecs that others wrote: what it writes both read alike, what they write it
//! reads alike, and of random bytes it accepts what they accept. Where they differ, the reason
//! stands beside it.

mod common;

use std::net::SocketAddr;

use bytecodec::{DecodeExt as _, EncodeExt as _};
use common::packet::padding_is_zero;
use hairpin::wire::channel_data::{CHANNEL_DATA_HEADER, channel_data_header};
use hairpin::wire::stream::{FRAME_MAX, OutOfStep, frame_length};
use hairpin::wire::{
    AttributeType, ChannelData, ChannelNumber, Class, IntegrityKey, Message, MessageWriter, Method,
    ParseError,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use stun_codec::rfc5389::attributes as codec;
use stun_codec::{Attribute as _, RawAttribute as CodecAttribute};
use stun_types::attribute::{RawAttribute as TypesAttribute, XorMappedAddress};
use stun_types::message::{
    IntegrityAlgorithm, LongTermCredentials, Message as TypesMessage, MessageClass as TypesClass,
    MessageIntegrityCredentials, MessageType, MessageWriteVec, ShortTermCredentials,
};
use stun_types::prelude::*;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const CLASSES: [Class; 4] = [Class::Request, Class::Indication, Class::Success, Class::Error];

/// A message before it is bytes.
#[derive(Clone, Debug)]
struct Plan {
    class: Class,
    method: u16,
    transaction: [u8; 12],
    attributes: Vec<(u16, Vec<u8>)>,
    signed: bool,
    fingerprint: bool,
}

/// What the codecs of all three agree to have read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    class: Class,
    method: u16,
    transaction: [u8; 12],
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Types that are looked up in messages, but those that end one.
const KNOWN: [u16; 18] = [
    0x0001, 0x0006, 0x0009, 0x000C, 0x000D, 0x0012, 0x0013, 0x0014, 0x0015, 0x0016, 0x0017, 0x0018,
    0x0019, 0x001A, 0x0020, 0x0022, 0x8000, 0x8022,
];

prop_compose! {
    /// Any type but those that end a message.
    fn a_kind()(kind in prop_oneof![select(KNOWN.to_vec()), any::<u16>()]) -> u16 {
        if [0x0008, 0x001C, 0x8028].contains(&kind) { 0x8022 } else { kind }
    }
}

prop_compose! {
    fn a_plan(methods: std::ops::Range<u16>)(
        class in select(CLASSES.to_vec()),
        method in methods,
        transaction: [u8; 12],
        attributes in vec((a_kind(), vec(any::<u8>(), 0..40)), 0..8),
        signed: bool,
        fingerprint: bool,
    ) -> Plan {
        Plan { class, method, transaction, attributes, signed, fingerprint }
    }
}

fn key() -> IntegrityKey {
    IntegrityKey::from_bytes(b"password")
}

fn write(plan: &Plan) -> Vec<u8> {
    let mut buffer = vec![0xEE; 4096];
    let mut transaction = [0; 16];
    transaction[..4].copy_from_slice(&COOKIE);
    transaction[4..].copy_from_slice(&plan.transaction);
    let method = Method::new(plan.method);
    let mut writer = MessageWriter::new(&mut buffer, method, plan.class, &transaction);
    for (kind, value) in &plan.attributes {
        writer.attribute(AttributeType(*kind), value);
    }
    if plan.signed {
        writer.integrity(&key());
    }
    if plan.fingerprint {
        writer.fingerprint();
    }
    let length = writer.finish().expect("it fits");
    buffer.truncate(length);
    buffer
}

fn planned(plan: &Plan) -> Reading {
    Reading {
        class: plan.class,
        method: plan.method,
        transaction: plan.transaction,
        attributes: plan.attributes.clone(),
    }
}

/// Without what ends a message.
fn body(attributes: impl Iterator<Item = (u16, Vec<u8>)>) -> Vec<(u16, Vec<u8>)> {
    attributes.take_while(|(kind, _)| ![0x0008, 0x001C, 0x8028].contains(kind)).collect()
}

fn read(bytes: &[u8]) -> Result<Reading, ParseError> {
    let message = Message::parse(bytes)?;
    Ok(Reading {
        class: message.class(),
        method: message.method().get(),
        transaction: message.transaction()[4..].try_into().expect("twelve bytes"),
        attributes: body(message.attributes().map(|(kind, value)| (kind.0, value.to_vec()))),
    })
}

/// A fresh decoder for each message: one that has failed keeps what it had read.
fn read_by_stun_codec(bytes: &[u8]) -> Option<Reading> {
    let decoded = stun_codec::MessageDecoder::<CodecAttribute>::new().decode_from_bytes(bytes);
    let message = decoded.ok()?.ok()?;
    let attributes = message.attributes().map(|a| (a.get_type().as_u16(), a.value().to_vec()));
    Some(Reading {
        class: match message.class() {
            stun_codec::MessageClass::Request => Class::Request,
            stun_codec::MessageClass::Indication => Class::Indication,
            stun_codec::MessageClass::SuccessResponse => Class::Success,
            stun_codec::MessageClass::ErrorResponse => Class::Error,
        },
        method: message.method().as_u16(),
        transaction: *message.transaction_id().as_bytes(),
        attributes: body(attributes),
    })
}

fn read_by_stun_types(bytes: &[u8]) -> Option<Reading> {
    let message = TypesMessage::from_bytes(bytes).ok()?;
    let attributes =
        message.iter_attributes().map(|(_, a)| (a.get_type().value(), a.value.to_vec()));
    Some(Reading {
        class: match message.class() {
            TypesClass::Request => Class::Request,
            TypesClass::Indication => Class::Indication,
            TypesClass::Success => Class::Success,
            TypesClass::Error => Class::Error,
        },
        method: message.method().value(),
        transaction: u128::from(message.transaction_id()).to_be_bytes()[4..]
            .try_into()
            .expect("twelve bytes"),
        attributes: body(attributes),
    })
}

/// Whether an attribute stands behind one that ends a message.
fn goes_on_behind_its_end(bytes: &[u8]) -> bool {
    let (mut at, mut ended) = (20, false);
    while let Some(header) = bytes.get(at..at + 4) {
        let kind = u16::from_be_bytes([header[0], header[1]]);
        if ended {
            return true;
        }
        ended = [0x0008, 0x001C, 0x8028].contains(&kind);
        at += 4 + usize::from(u16::from_be_bytes([header[2], header[3]])).next_multiple_of(4);
    }
    ended && at < bytes.len()
}

/// The three judge these bytes alike, but for what is listed.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let ours = read(bytes);
    let is_classic = bytes.len() >= 8 && bytes[4..8] != COOKIE;
    if is_classic {
        // RFC 3489's messages, which neither of the others reads.
        prop_assert_eq!(read_by_stun_codec(bytes), None);
        prop_assert_eq!(read_by_stun_types(bytes), None);
        return Ok(());
    }

    match (&ours, read_by_stun_codec(bytes)) {
        (Ok(ours), theirs) => prop_assert_eq!(Some(ours), theirs.as_ref()),
        (Err(_), None) => {}
        // stun_codec, of raw attributes, checks no FINGERPRINT.
        (Err(ParseError::Fingerprint), Some(_)) => {}
        (Err(error), Some(theirs)) => {
            return Err(TestCaseError::fail(format!("{error:?}, stun_codec: {theirs:?}")));
        }
    }

    match (&ours, read_by_stun_types(bytes)) {
        (Ok(ours), theirs) => prop_assert_eq!(Some(ours), theirs.as_ref()),
        (Err(_), None) => {}
        // stun-types takes bytes behind the announced length for attributes, and does not want
        // the length to be a multiple of four.
        (Err(ParseError::Length), Some(_)) => {}
        // It reads no further than one attribute behind the integrity or the fingerprint, so that
        // it sees neither an overrun there nor a fingerprint that is wrong or not the last.
        (Err(ParseError::Overrun | ParseError::Fingerprint), Some(_))
            if goes_on_behind_its_end(bytes) => {}
        (Err(error), Some(theirs)) => {
            return Err(TestCaseError::fail(format!("{error:?}, stun-types: {theirs:?}")));
        }
    }
    Ok(())
}

/// One of the ways in which bytes go wrong.
#[derive(Clone, Debug)]
enum Mutation {
    Flip {
        at: usize,
        bit: u8,
    },
    Set {
        at: usize,
        value: u8,
    },
    Cut {
        at: usize,
    },
    Insert {
        at: usize,
        value: u8,
        times: usize,
    },
    /// Sets a 16-bit field, as lengths and types are.
    Field {
        at: usize,
        value: u16,
    },
    /// Makes the length field right for what is there.
    FixLength,
}

fn a_mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<usize>(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        any::<(usize, u8)>().prop_map(|(at, value)| Mutation::Set { at, value }),
        any::<usize>().prop_map(|at| Mutation::Cut { at }),
        (any::<usize>(), any::<u8>(), 1usize..9).prop_map(|(at, value, times)| Mutation::Insert {
            at,
            value,
            times
        }),
        (any::<usize>(), prop_oneof![0u16..40, any::<u16>(), 0xFFF0u16..])
            .prop_map(|(at, value)| Mutation::Field { at, value }),
        Just(Mutation::FixLength),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.len() < 4 {
        return;
    }
    let length = bytes.len();
    match *mutation {
        Mutation::Flip { at, bit } => bytes[at % length] ^= 1 << bit,
        Mutation::Set { at, value } => bytes[at % length] = value,
        Mutation::Cut { at } => bytes.truncate(at % (length + 1)),
        Mutation::Insert { at, value, times } => {
            let at = at % (length + 1);
            bytes.splice(at..at, std::iter::repeat_n(value, times));
        }
        Mutation::Field { at, value } => {
            let at = at % (length / 2) * 2;
            bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        Mutation::FixLength => {
            let body = length.saturating_sub(20) as u16;
            bytes[2..4].copy_from_slice(&body.to_be_bytes());
        }
    }
}

/// A frame of a stream, either kind. Methods from 0x100 up begin with a byte that RFC 7983 gives to
/// others, so that they cannot be told on a shared port; none is assigned.
fn a_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        a_plan(0..0x100).prop_map(|plan| write(&plan)),
        (0x4000u16..0x5000, vec(any::<u8>(), 0..60)).prop_map(|(number, data)| {
            let number = ChannelNumber::new(number).expect("a channel number");
            let header = channel_data_header(number, data.len() as u16);
            let mut frame = [&header[..], &data].concat();
            frame.resize(frame.len().next_multiple_of(4), 0);
            frame
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn what_we_write_both_read_as_it_was_meant(plan in a_plan(0..0x1000)) {
        let bytes = write(&plan);
        let meant = planned(&plan);
        prop_assert_eq!(read_by_stun_codec(&bytes), Some(meant.clone()));
        prop_assert_eq!(read_by_stun_types(&bytes), Some(meant.clone()));
        prop_assert_eq!(read(&bytes), Ok(meant));
        prop_assert!(padding_is_zero(&bytes));
        prop_assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn what_we_sign_is_verified_by_stun_types(plan in a_plan(0..0x1000)) {
        let plan = Plan { signed: true, ..plan };
        let bytes = write(&plan);
        let message = TypesMessage::from_bytes(&bytes).expect("a message");
        let right = ShortTermCredentials::new("password".into()).into();
        let algorithm = message.validate_integrity(&right).ok();
        prop_assert_eq!(algorithm, Some(IntegrityAlgorithm::Sha1));
        let wrong = ShortTermCredentials::new("Password".into()).into();
        prop_assert!(message.validate_integrity(&wrong).is_err());
    }

    /// stun_codec writes methods above 15 wrong (their high bits are shifted too far), so none of
    /// those is asked of it. All of TURN's are below.
    #[test]
    fn what_stun_codec_writes_we_read_as_it_was_meant(plan in a_plan(0..0x10)) {
        let class = match plan.class {
            Class::Request => stun_codec::MessageClass::Request,
            Class::Indication => stun_codec::MessageClass::Indication,
            Class::Success => stun_codec::MessageClass::SuccessResponse,
            Class::Error => stun_codec::MessageClass::ErrorResponse,
        };
        let mut message: stun_codec::Message<CodecAttribute> = stun_codec::Message::new(
            class,
            stun_codec::Method::new(plan.method).expect("twelve bits"),
            stun_codec::TransactionId::new(plan.transaction),
        );
        for (kind, value) in &plan.attributes {
            let kind = stun_codec::AttributeType::new(*kind);
            message.add_attribute(CodecAttribute::new(kind, value.clone()));
        }
        let bytes = stun_codec::MessageEncoder::new().encode_into_bytes(message).expect("it fits");
        prop_assert_eq!(read(&bytes), Ok(planned(&plan)));
        // Byte for byte what we would have written.
        prop_assert_eq!(write(&Plan { signed: false, fingerprint: false, ..plan }), bytes);
    }

    #[test]
    fn what_stun_codec_signs_we_verify(
        transaction: [u8; 12],
        user in "[a-z]{1,40}",
        password in "[ -~]{1,40}",
        address: SocketAddr,
    ) {
        let realm = codec::Realm::new("example.org".into()).expect("a realm");
        let user = codec::Username::new(user).expect("a name");
        let mut message: stun_codec::Message<stun_codec::rfc5389::Attribute> =
            stun_codec::Message::new(
                stun_codec::MessageClass::Request,
                stun_codec::rfc5389::methods::BINDING,
                stun_codec::TransactionId::new(transaction),
            );
        message.add_attribute(codec::XorMappedAddress::new(address));
        message.add_attribute(user.clone());
        message.add_attribute(realm.clone());
        let integrity =
            codec::MessageIntegrity::new_long_term_credential(&message, &user, &realm, &password)
                .expect("it can be signed");
        message.add_attribute(integrity);
        let fingerprint = codec::Fingerprint::new(&message).expect("it has one");
        message.add_attribute(fingerprint);
        let bytes = stun_codec::MessageEncoder::new().encode_into_bytes(message).expect("it fits");

        let message = Message::parse(&bytes).expect("a message with a right fingerprint");
        prop_assert!(message.has(AttributeType::FINGERPRINT));
        let ours = message.xor_address(AttributeType::XOR_MAPPED_ADDRESS);
        // A zone or a flow label is not for the wire.
        prop_assert_eq!(ours, Some(Ok(SocketAddr::new(address.ip(), address.port()))));
        let name = user.name().as_bytes();
        let right = IntegrityKey::long_term(name, b"example.org", password.as_bytes());
        prop_assert!(right.verifies(&message));
        prop_assert!(!IntegrityKey::long_term(name, b"example.org", b"").verifies(&message));
    }

    #[test]
    fn what_stun_types_writes_we_read_as_it_was_meant(plan in a_plan(0..0x1000)) {
        let class = match plan.class {
            Class::Request => TypesClass::Request,
            Class::Indication => TypesClass::Indication,
            Class::Success => TypesClass::Success,
            Class::Error => TypesClass::Error,
        };
        let method = stun_types::message::Method::new(plan.method);
        let mut id = [0; 16];
        id[4..].copy_from_slice(&plan.transaction);
        let mut message = TypesMessage::builder(
            MessageType::from_class_method(class, method),
            u128::from_be_bytes(id).into(),
            MessageWriteVec::new(),
        );
        // It writes no type twice.
        let mut attributes: Vec<(u16, Vec<u8>)> = Vec::new();
        for (kind, value) in &plan.attributes {
            if attributes.iter().all(|(other, _)| other != kind) {
                attributes.push((*kind, value.clone()));
                let attribute = TypesAttribute::new((*kind).into(), value);
                message.add_attribute(&attribute).expect("it fits");
            }
        }
        let credentials: MessageIntegrityCredentials =
            LongTermCredentials::new("alice".into(), "wonderland".into())
                .to_key("example.org".into())
                .into();
        if plan.signed {
            message
                .add_message_integrity(&credentials, IntegrityAlgorithm::Sha1)
                .expect("it can be signed");
        }
        if plan.fingerprint {
            message.add_fingerprint().expect("it fits");
        }
        let bytes = message.finish();
        prop_assert_eq!(read(&bytes), Ok(Reading { attributes, ..planned(&plan) }));
        let message = Message::parse(&bytes).expect("a message");
        let key = IntegrityKey::long_term(b"alice", b"example.org", b"wonderland");
        prop_assert_eq!(key.verifies(&message), plan.signed);
        prop_assert_eq!(message.has(AttributeType::FINGERPRINT), plan.fingerprint);
    }

    #[test]
    fn addresses_are_written_and_read_alike(
        transaction: [u8; 12], ip: std::net::IpAddr, port: u16,
    ) {
        let address = SocketAddr::new(ip, port);
        let mut id = [0; 16];
        id[4..].copy_from_slice(&transaction);
        let id: stun_types::message::TransactionId = u128::from_be_bytes(id).into();
        let theirs = XorMappedAddress::new(address, id);
        let value = common::xor(address, &transaction);
        prop_assert_eq!(&theirs.to_raw().value[..], &value[..]);
        let plan = Plan {
            class: Class::Success,
            method: 1,
            transaction,
            attributes: vec![(0x0020, value)],
            signed: false,
            fingerprint: false,
        };
        let bytes = write(&plan);
        let message = Message::parse(&bytes).expect("a message");
        let kind = AttributeType::XOR_MAPPED_ADDRESS;
        prop_assert_eq!(message.xor_address(kind), Some(Ok(address)));
        let message = TypesMessage::from_bytes(&bytes).expect("a message");
        prop_assert_eq!(message.attribute::<XorMappedAddress>().expect("there").addr(id), address);
    }

    /// Of several attributes of a type the first counts (RFC 8489 §14).
    #[test]
    fn find_gives_the_first_of_a_type(plan in a_plan(0..0x1000)) {
        let bytes = write(&plan);
        let message = Message::parse(&bytes).expect("a message");
        for (kind, _) in &plan.attributes {
            let first = plan.attributes.iter().find(|(k, _)| k == kind).map(|(_, v)| &v[..]);
            let found = message.find(AttributeType(*kind));
            // Types that nobody here looks for have no place in the index.
            prop_assert!(found == first || (found.is_none() && !KNOWN.contains(kind)));
            let theirs = TypesMessage::from_bytes(&bytes).expect("a message");
            let theirs = theirs.raw_attribute((*kind).into()).map(|a| a.value.to_vec());
            prop_assert_eq!(theirs.as_deref(), first);
        }
        let unknown = message.unknown_required().count();
        prop_assert_eq!(unknown > 0, message.has_unknown_required());
    }

    /// RFC 8656 §12.5 and RFC 8489 §6.2.2: a stream is cut where the messages end, however the
    /// network has cut it before.
    #[test]
    fn a_stream_falls_into_the_same_frames_at_any_cuts(
        frames in vec(a_frame(), 1..6),
        mut cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = frames.concat();
        let mut ends: Vec<_> = cuts.drain(..).map(|cut| cut.index(stream.len() + 1)).collect();
        ends.push(stream.len());
        ends.sort_unstable();
        let (mut received, mut pending) = (Vec::new(), Vec::new());
        let mut start = 0;
        for end in ends {
            pending.extend_from_slice(&stream[start..end]);
            start = end;
            while let Some(length) = frame_length(&pending).expect("in step") {
                received.push(pending.drain(..length).collect::<Vec<_>>());
            }
        }
        prop_assert!(pending.is_empty());
        prop_assert_eq!(received, frames);
    }

    /// One byte after the other: no frame before it is whole, none longer than the most.
    #[test]
    fn no_frame_is_given_before_it_is_whole(frame in a_frame()) {
        for end in 0..frame.len() {
            prop_assert_eq!(frame_length(&frame[..end]), Ok(None));
        }
        prop_assert_eq!(frame_length(&frame), Ok(Some(frame.len())));
        let more = [&frame[..], &[0xFF; 9]].concat();
        prop_assert_eq!(frame_length(&more), Ok(Some(frame.len())));
    }

    #[test]
    fn channel_data_reads_what_its_header_says(bytes in vec(any::<u8>(), 0..80)) {
        let parsed = ChannelData::parse(&bytes);
        let expected = (|| {
            let header = bytes.get(..CHANNEL_DATA_HEADER)?;
            let number = u16::from_be_bytes([header[0], header[1]]);
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let data = bytes.get(4..4 + length)?;
            (0x4000..0x5000).contains(&number).then_some((number, data))
        })();
        prop_assert_eq!(parsed.map(|p| (p.channel.get(), p.data)), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn of_mutated_messages_all_accept_the_same(
        plan in a_plan(0..0x1000),
        mutations in vec(a_mutation(), 1..5),
    ) {
        let mut bytes = write(&plan);
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        agree(&bytes)?;
    }

    #[test]
    fn of_noise_behind_a_header_all_accept_the_same(
        head: [u8; 2],
        noise in vec(any::<u8>(), 0..64),
        small in vec(prop_oneof![Just(0u8), 0u8..12, any::<u8>()], 0..64),
    ) {
        for body in [noise, small] {
            let length = (body.len() as u16).to_be_bytes();
            agree(&[&head[..], &length, &COOKIE, &[7; 12], &body].concat())?;
        }
    }

    #[test]
    fn of_noise_all_accept_the_same(bytes in vec(any::<u8>(), 0..64)) {
        agree(&bytes)?;
    }

    /// Whatever comes, a stream yields a frame, waits for more, or is out of step.
    #[test]
    fn de_framing_noise_never_runs_past_it(bytes in vec(any::<u8>(), 0..64)) {
        match frame_length(&bytes) {
            Ok(Some(length)) => {
                prop_assert!(length >= 4 && length <= bytes.len() && length % 4 == 0);
            }
            Ok(None) => prop_assert!(bytes.len() < FRAME_MAX),
            Err(OutOfStep) => prop_assert!(!bytes.is_empty()),
        }
    }
}
