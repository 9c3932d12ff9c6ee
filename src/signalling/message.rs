//! Frames: JSON text to values and back.
//!
//! A frame from a client is bounded in size and depth before anything is allocated for it. What
//! peers say to each other (`data`) and about themselves (`meta`) is never decoded: it travels as
//! the bytes that came, so numbers keep their digits and keys their order. It must be well-formed
//! all the same, or one peer could send what makes the parser of another one fail.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::Limits;

/// What others call a peer: 128 random bits, written as 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(super) [u8; 16]);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl FromStr for PeerId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut id = [0; 16];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut id) {
            Ok(16) => Ok(Self(id)),
            _ => Err(Fault::NoSuchPeer),
        }
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a frame was not carried out. Each becomes one `error` frame to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON, not well-formed, or a member is missing or of another type.
    BadFrame,
    /// More brackets open at once than [`Limits::frame_depth`].
    TooDeep,
    /// `type` is none that a client sends.
    UnknownType,
    /// A room's name is empty, too long, or has characters that don't print.
    BadName,
    /// `meta` is longer than [`Limits::meta_bytes`].
    MetaTooLarge,
    /// The sender is in that room already.
    AlreadyJoined,
    /// The sender is not in that room.
    NotJoined,
    /// The sender is in [`Limits::rooms_per_socket`] rooms.
    TooManyRooms,
    /// [`Limits::room_peers`] are in the room.
    RoomFull,
    /// There are [`Limits::rooms`] rooms.
    Busy,
    /// The sender's source has founded [`Limits::rooms_per_source`] rooms.
    SourceBusy,
    /// Nobody of that id shares a room with the sender.
    NoSuchPeer,
    /// So much waits for the receiver that no more is taken in for it.
    PeerBusy,
    /// The sender's joins had the server say more than the socket's byte rate.
    TooManyJoins,
    /// Over the socket's rate; the frame was not read.
    TooManyRequests,
}

impl Fault {
    /// The `code` that clients match on.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BadFrame => "bad-frame",
            Self::TooDeep => "too-deep",
            Self::UnknownType => "unknown-type",
            Self::BadName => "bad-name",
            Self::MetaTooLarge => "meta-too-large",
            Self::AlreadyJoined => "already-joined",
            Self::NotJoined => "not-joined",
            Self::TooManyRooms => "too-many-rooms",
            Self::RoomFull => "room-full",
            Self::Busy => "busy",
            Self::SourceBusy => "source-busy",
            Self::NoSuchPeer => "no-such-peer",
            Self::PeerBusy => "peer-busy",
            Self::TooManyJoins => "too-many-joins",
            Self::TooManyRequests => "too-many-requests",
        }
    }

    /// Whether the same frame may succeed later.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::RoomFull
                | Self::Busy
                | Self::SourceBusy
                | Self::PeerBusy
                | Self::TooManyJoins
                | Self::TooManyRequests
        )
    }

    /// A sentence for whoever writes the client.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::BadFrame => "a frame is one JSON object with a type and the members it needs",
            Self::TooDeep => "the JSON of this frame is nested too deeply",
            Self::UnknownType => "clients send join, leave and signal",
            Self::BadName => "a room's name is short, not empty, and has no control characters",
            Self::MetaTooLarge => "meta is too large",
            Self::AlreadyJoined => "you are in this room already",
            Self::NotJoined => "you are not in this room",
            Self::TooManyRooms => "you are in as many rooms as one socket may be",
            Self::RoomFull => "this room is full",
            Self::Busy => "this server has as many rooms as it may have",
            Self::SourceBusy => "as many rooms as may be were founded from your address",
            Self::NoSuchPeer => "nobody of that id shares a room with you",
            Self::PeerBusy => "too much waits for this peer already; send it again in a moment",
            Self::TooManyJoins => "your joins have too much told to you and others; wait a little",
            Self::TooManyRequests => "you send faster than the limits in welcome allow",
        }
    }

    /// Whether a client that does this again and again is to be closed. The other faults happen
    /// to honest clients whose frames cross with those of others.
    pub(super) fn is_offence(self) -> bool {
        matches!(
            self,
            Self::BadFrame
                | Self::TooDeep
                | Self::UnknownType
                | Self::BadName
                | Self::MetaTooLarge
                | Self::TooManyJoins
                | Self::TooManyRequests
        )
    }
}

/// What a client asks for.
#[derive(Debug)]
pub(super) enum Request<'a> {
    Join { room: String, meta: Option<&'a RawValue> },
    Leave { room: String },
    Signal { to: String, seq: Option<u64>, data: &'a RawValue },
}

impl<'a> Request<'a> {
    pub(super) fn parse(text: &'a str, limits: &Limits) -> Result<Self, Fault> {
        check_shape(text, limits.frame_depth)?;
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|_| Fault::BadFrame)?;
        match envelope.kind.as_str() {
            "join" => {
                let meta = envelope.meta;
                if meta.is_some_and(|meta| meta.get().len() > limits.meta_bytes) {
                    return Err(Fault::MetaTooLarge);
                }
                Ok(Self::Join { room: room_name(envelope.room, limits)?, meta })
            }
            "leave" => Ok(Self::Leave { room: room_name(envelope.room, limits)? }),
            "signal" => Ok(Self::Signal {
                to: envelope.to.ok_or(Fault::BadFrame)?,
                seq: envelope.seq,
                data: envelope.data.ok_or(Fault::BadFrame)?,
            }),
            _ => Err(Fault::UnknownType),
        }
    }
}

/// Every member that any request has. Unknown ones are skipped, so that later versions can add.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    room: Option<String>,
    to: Option<String>,
    seq: Option<u64>,
    #[serde(borrow, default)]
    meta: Option<&'a RawValue>,
    // An explicit null is data like any other, which Option alone would take for absence.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

fn room_name(name: Option<String>, limits: &Limits) -> Result<String, Fault> {
    let name = name.ok_or(Fault::BadFrame)?;
    let fits = !name.is_empty() && name.len() <= limits.name_bytes;
    if fits && !name.chars().any(is_unprintable) { Ok(name) } else { Err(Fault::BadName) }
}

/// Names end up in logs and on pages: no controls, no line separators, nothing that turns the
/// direction of the text after it.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bounds the depth and finds escapes of half a surrogate pair, in one pass over the bytes. The
/// grammar itself is the parser's business; on text that is no JSON this may say anything.
fn check_shape(text: &str, depth_limit: usize) -> Result<(), Fault> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut at = 0;
    while at < bytes.len() {
        match (in_string, bytes[at]) {
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > depth_limit {
                    return Err(Fault::TooDeep);
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (true, b'\\') => {
                let first = escaped_unit(bytes, at);
                at += 1; // whatever is escaped, its first byte ends no string
                match first {
                    Some(0xd800..=0xdbff) => {
                        // The second half must follow at once: past the four digits.
                        if !matches!(escaped_unit(bytes, at + 5), Some(0xdc00..=0xdfff)) {
                            return Err(Fault::BadFrame);
                        }
                        at += 6;
                    }
                    Some(0xdc00..=0xdfff) => return Err(Fault::BadFrame),
                    _ => {}
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The UTF-16 unit of the `\uXXXX` that begins at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What the server says. Members are in the order in which a reader wants them.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub(super) enum Reply<'a> {
    #[serde(rename = "welcome")]
    Welcome {
        peer: PeerId,
        heartbeat_ms: u64,
        limits: ToldLimits,
        ice_servers: &'a RawValue,
        ice_expires_at: Option<&'a str>,
    },
    #[serde(rename = "joined")]
    Joined { room: &'a str, peers: Vec<ToldPeer<'a>>, you: ToldYou },
    #[serde(rename = "peer+")]
    PeerCame { room: &'a str, id: PeerId, meta: Option<&'a RawValue>, polite: bool },
    #[serde(rename = "peer-")]
    PeerWent { room: &'a str, id: PeerId, reason: &'static str },
    #[serde(rename = "signal")]
    Signal {
        from: PeerId,
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        data: &'a RawValue,
    },
    #[serde(rename = "error")]
    Error {
        code: &'static str,
        retryable: bool,
        message: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
    },
}

/// The limits that a client has to keep.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToldLimits {
    frame_bytes: usize,
    messages_per_sec: u32,
    message_burst: u32,
    bytes_per_sec: u32,
    byte_burst: u32,
    room_peers: usize,
    rooms_per_socket: usize,
    name_bytes: usize,
    meta_bytes: usize,
}

impl From<&Limits> for ToldLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            frame_bytes: limits.frame_bytes,
            messages_per_sec: limits.messages_per_sec,
            message_burst: limits.message_burst,
            bytes_per_sec: limits.bytes_per_sec,
            byte_burst: limits.byte_burst,
            room_peers: limits.room_peers,
            rooms_per_socket: limits.rooms_per_socket,
            name_bytes: limits.name_bytes,
            meta_bytes: limits.meta_bytes,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ToldPeer<'a> {
    pub(super) id: PeerId,
    pub(super) meta: Option<&'a RawValue>,
    pub(super) polite: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct ToldYou {
    pub(super) polite: bool,
}

impl Reply<'_> {
    pub(super) fn emit(&self) -> String {
        serde_json::to_string(self).expect("text keys and plain values always serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Request<'_>, Fault> {
        Request::parse(text, &Limits::default())
    }

    fn fault(text: &str) -> Fault {
        parse(text).unwrap_err()
    }

    #[test]
    fn data_keeps_its_digits_its_keys_and_its_spaces() {
        let text =
            r#"{"type":"signal","to":"x","seq":7,"data":{ "b":1e400, "a":1.10,"a":"\u00e9"}}"#;
        let Ok(Request::Signal { seq: Some(7), data, .. }) = parse(text) else { panic!() };
        assert_eq!(data.get(), r#"{ "b":1e400, "a":1.10,"a":"\u00e9"}"#);
    }

    #[test]
    fn null_is_data_and_absence_is_not() {
        assert!(parse(r#"{"type":"signal","to":"x","data":null}"#).is_ok());
        assert_eq!(fault(r#"{"type":"signal","to":"x"}"#), Fault::BadFrame);
    }

    #[test]
    fn what_is_no_request_is_a_bad_frame() {
        for text in [
            "",
            "null",
            "[]",
            "{",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"join"}"#,
            r#"{"type":"join","room":5}"#,
            r#"{"type":"join","room":"a"}x"#,
            r#"{"type":"join","room":"a","room":"b"}"#,
            r#"{"type":"signal","to":"x","seq":-1,"data":1}"#,
            r#"{"type":"signal","to":"x","data":tru}"#,
        ] {
            assert_eq!(fault(text), Fault::BadFrame, "{text}");
        }
        assert_eq!(fault(r#"{"type":"welcome"}"#), Fault::UnknownType);
    }

    #[test]
    fn depth_is_counted_outside_strings_only() {
        let nested = |n| {
            format!(r#"{{"type":"signal","to":"x","data":{}{}}}"#, "[".repeat(n), "]".repeat(n))
        };
        assert!(parse(&nested(31)).is_ok());
        assert_eq!(fault(&nested(32)), Fault::TooDeep);
        assert_eq!(fault(&nested(30_000)), Fault::TooDeep);
        let quoted = r#"{"type":"signal","to":"x","data":"\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#;
        assert!(parse(quoted).is_ok());
    }

    #[test]
    fn half_a_surrogate_pair_is_refused_wherever_it_is() {
        let frame = |s: &str| format!(r#"{{"type":"signal","to":"x","data":["{s}"]}}"#);
        for bad in
            [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud83d\\ude00", r"\uD83Dx", r"\\\ud800"]
        {
            assert_eq!(fault(&frame(bad)), Fault::BadFrame, "{bad}");
        }
        for good in [r"\ud83d\ude00", r"\\ud800", r"\u0041", r"\\\\", r#"\"\ud83d\ude00\""#] {
            assert!(parse(&frame(good)).is_ok(), "{good}");
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        let join = |name: &str| format!(r#"{{"type":"join","room":{}}}"#, serde_json::json!(name));
        assert!(parse(&join(&"x".repeat(128))).is_ok());
        assert!(parse(&join("Küche 2 / a&b")).is_ok());
        for bad in ["", &"x".repeat(129), "a\nb", "a\u{0}", "\u{7f}", "\u{85}", "\u{202e}x"] {
            assert_eq!(fault(&join(bad)), Fault::BadName, "{bad:?}");
        }
    }

    #[test]
    fn meta_is_bounded_as_text() {
        let join = |n| format!(r#"{{"type":"join","room":"a","meta":"{}"}}"#, "m".repeat(n));
        assert!(parse(&join(1022)).is_ok());
        assert_eq!(fault(&join(1023)), Fault::MetaTooLarge);
    }

    #[test]
    fn peer_ids_are_22_characters_and_nothing_else() {
        let id = PeerId([0xfb; 16]);
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "AAAA", &"A".repeat(23), &"\u{1}".repeat(22), &"+".repeat(22)] {
            assert_eq!(bad.parse::<PeerId>(), Err(Fault::NoSuchPeer), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in r#"[\[\]{}":,\\u0-9a-fd8 \PC]{0,200}"#) {
            let _ = parse(&text);
        }

        #[test]
        fn whatever_parses_as_data_parses_for_its_reader(
            data in r#"[\[\]{}":,\\ud8c0-9]{0,40}"#
        ) {
            let text = format!(r#"{{"type":"signal","to":"x","data":{data}}}"#);
            if let Ok(Request::Signal { data, .. }) = parse(&text) {
                let frame = Reply::Signal { from: PeerId([0; 16]), seq: None, data }.emit();
                // A number beyond f64 is the one thing that grammar allows and readers refuse.
                if let Err(error) = serde_json::from_str::<serde_json::Value>(&frame) {
                    prop_assert!(error.to_string().contains("out of range"), "{}", error);
                }
            }
        }
    }
}
