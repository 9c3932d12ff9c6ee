//! Bytes to values and back. No time, no state, no I/O.

pub mod channel_data;
pub mod header;
pub mod message;
pub mod stream;

pub use channel_data::{ChannelData, ChannelNumber};
pub use header::Header;
