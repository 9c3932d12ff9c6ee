//! What a server put around packets, taken off: ChannelData, Data indications, Binding responses;
//! several in a row, where datagrams were received as one.

use crate::wire::channel_data::CHANNEL_DATA_HEADER;
use crate::wire::message::MESSAGE_HEADER;
use crate::wire::{AttributeType, ChannelData, Class, Kind, Message, Method, kind_of};

/// How packets are read where they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As they are: a peer.
    Bare,
    /// Not at all, but sent back: a peer that is an echo.
    Mirror,
    /// In what a server puts around them: a client.
    Framed,
}

/// One thing that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A peer's data.
    Payload(&'a [u8]),
    /// A success response to the Binding request with this transaction id.
    Answer([u8; 12]),
    /// Anything else.
    Other,
}

/// Hands out each thing in `bytes`.
pub(super) fn each<'a>(mut bytes: &'a [u8], mut hear: impl FnMut(Found<'a>)) {
    while !bytes.is_empty() {
        let (found, length) = first(bytes);
        hear(found);
        bytes = &bytes[length.min(bytes.len())..];
    }
}

/// What comes first, and how long it is.
fn first(bytes: &[u8]) -> (Found<'_>, usize) {
    let lost = (Found::Other, bytes.len());
    match kind_of(bytes) {
        Kind::ChannelData => {
            let Some(message) = ChannelData::parse(bytes) else { return lost };
            let length = CHANNEL_DATA_HEADER + message.data.len();
            // Padding is a server's choice over UDP: zeros, which no channel begins with.
            let rest = &bytes[length..];
            let padding = rest.iter().take(3).take_while(|byte| **byte == 0).count();
            let padding = padding.min(length.next_multiple_of(4) - length);
            (Found::Payload(message.data), length + padding)
        }
        Kind::Stun if bytes.len() >= MESSAGE_HEADER => {
            let length = MESSAGE_HEADER + usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            let Some(Ok(message)) = bytes.get(..length).map(Message::parse) else { return lost };
            let found = match (message.method(), message.class()) {
                (Method::DATA, Class::Indication) => {
                    message.find(AttributeType::DATA).map_or(Found::Other, Found::Payload)
                }
                (Method::BINDING, Class::Success) => {
                    Found::Answer(*message.transaction()[4..].first_chunk().expect("16 bytes"))
                }
                _ => Found::Other,
            };
            (found, length)
        }
        Kind::Stun | Kind::Unknown => lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Vec<Found<'_>> {
        let mut list = Vec::new();
        each(bytes, |found| list.push(found));
        list
    }

    #[test]
    fn channel_data_is_found_in_a_row_with_and_without_padding() {
        let tight = b"\x40\x01\x00\x05abcde";
        let padded = b"\x40\x01\x00\x05fghij\x00\x00\x00";
        for parts in [[&tight[..], tight], [padded, padded], [tight, padded], [padded, tight]] {
            let bytes = parts.concat();
            let expected: Vec<_> = parts.iter().map(|part| Found::Payload(&part[4..9])).collect();
            assert_eq!(found(&bytes), expected);
        }
    }

    #[test]
    fn stun_is_found_by_its_length() {
        let answer = *b"\x01\x01\x00\x00\x21\x12\xa4\x42twelve bytes";
        let data = *b"\x00\x17\x00\x08\x21\x12\xa4\x42twelve bytes\x00\x13\x00\x03abc\x00";
        let bytes = [&answer[..], &data].concat();
        assert_eq!(found(&bytes), [Found::Answer(*b"twelve bytes"), Found::Payload(b"abc")]);
        for bytes in [&answer[..19], &data[..27], b"\x40\x01\x00\x05abc", b"\xFF"] {
            assert_eq!(found(bytes), [Found::Other]);
        }
    }
}
