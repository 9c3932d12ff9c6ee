//! The bytes that go in front of a peer's datagram on its way to the client.

use std::ops::Deref;

/// A message header of up to 48 bytes, built on the stack and sent in front of a payload.
///
/// ```text
/// ChannelData        channel(2) length(2)                                      4 bytes
/// Data indication    STUN(20) XOR-PEER-ADDRESS(12 or 24) DATA(4)        36 or 48 bytes
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl Header {
    /// The longest header: a Data indication for an IPv6 peer.
    pub const CAPACITY: usize = 48;

    /// A header of these bytes; `None` where they do not fit.
    #[inline]
    pub fn from_slice(slice: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::CAPACITY];
        bytes.get_mut(..slice.len())?.copy_from_slice(slice);
        Some(Self { bytes, len: slice.len() as u8 })
    }
}

impl Deref for Header {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({} bytes)", self.len)
    }
}
