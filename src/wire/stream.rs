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
