//! De-framing: where one message ends on a stream (RFC 8489 §6.2.2, RFC 8656 §12.5).

use crate::wire::channel_data::{CHANNEL_DATA_HEADER, ChannelNumber};
use crate::wire::message::MESSAGE_HEADER;

/// The longest frame on a stream: a STUN message with the longest length that fits the field.
pub const FRAME_MAX: usize = MESSAGE_HEADER + 65532;

/// The bytes on a stream are neither STUN nor ChannelData; nothing behind them can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfStep;

/// The length of the first whole frame in `bytes`, padding included; `None` while more bytes are
/// needed. At most [`FRAME_MAX`].
///
/// # Errors
///
/// [`OutOfStep`] where the first bytes can begin neither a STUN message nor ChannelData, so that
/// the connection must be closed.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, OutOfStep> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if !matches!(first, 0x00..=0x03 | 0x40..=0x4F) {
        return Err(OutOfStep);
    }
    let Some(header) = bytes.first_chunk::<CHANNEL_DATA_HEADER>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let frame = if ChannelNumber::new(u16::from_be_bytes([header[0], header[1]])).is_some() {
        (CHANNEL_DATA_HEADER + length).next_multiple_of(4)
    } else if length % 4 == 0 {
        MESSAGE_HEADER + length
    } else {
        return Err(OutOfStep);
    };
    Ok((bytes.len() >= frame).then_some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A STUN header that announces `length` bytes, and these.
    fn stun(length: u16) -> Vec<u8> {
        let mut bytes = vec![0; MESSAGE_HEADER + usize::from(length)];
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    /// ChannelData that announces `length` bytes, and these, padded.
    fn channel_data(length: u16) -> Vec<u8> {
        let [a, b] = length.to_be_bytes();
        let mut bytes = vec![0x40, 0x01, a, b];
        bytes.resize((CHANNEL_DATA_HEADER + usize::from(length)).next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_stun_message_ends_where_its_header_says() {
        for length in [0, 4, 8, 1200, 65532] {
            let bytes = stun(length);
            assert_eq!(frame_length(&bytes), Ok(Some(bytes.len())));
            assert_eq!(frame_length(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn channel_data_ends_behind_its_padding() {
        for length in [0, 1, 2, 3, 4, 5, 1200, 65535] {
            let bytes = channel_data(length);
            assert_eq!(bytes.len() % 4, 0);
            assert_eq!(frame_length(&bytes), Ok(Some(bytes.len())));
            assert_eq!(frame_length(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn no_frame_is_longer_than_the_most() {
        assert_eq!(stun(65532).len(), FRAME_MAX);
        assert!(channel_data(65535).len() <= FRAME_MAX);
    }

    #[test]
    fn the_first_byte_is_enough_to_be_out_of_step() {
        for first in 0..=255 {
            let expected = match first {
                0x00..=0x03 | 0x40..=0x4F => Ok(None),
                _ => Err(OutOfStep),
            };
            assert_eq!(frame_length(&[first]), expected);
        }
        assert_eq!(frame_length(&[]), Ok(None));
    }

    #[test]
    fn a_stun_length_that_is_no_multiple_of_four_is_out_of_step() {
        for length in [1, 2, 3, 5, 65535] {
            let [a, b] = u16::to_be_bytes(length);
            assert_eq!(frame_length(&[0, 1, a, b]), Err(OutOfStep));
        }
    }
}
