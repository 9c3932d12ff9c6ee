//! ChannelData (RFC 8656 §12.4): four bytes of header, then application data.

use std::fmt;

/// The length of a ChannelData header.
pub const CHANNEL_DATA_HEADER: usize = 4;

/// A channel number, always within 0x4000–0x4FFF (RFC 8656 §12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// The lowest channel number.
    pub const MIN: u16 = 0x4000;
    /// The highest channel number; 0x5000 and up belong to other protocols (RFC 7983).
    pub const MAX: u16 = 0x4FFF;

    /// A channel number, if `number` is one.
    pub const fn new(number: u16) -> Option<Self> {
        if number >= Self::MIN && number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number itself.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ChannelNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// A checked view of a ChannelData message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// The channel.
    pub channel: ChannelNumber,
    /// The application data, without padding.
    pub data: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Reads a whole message; bytes behind the announced length are padding and ignored.
    ///
    /// `None` where the header is cut, the channel number is none, or fewer bytes follow than
    /// are announced (RFC 8656 §12.6: silently discarded).
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<CHANNEL_DATA_HEADER>()?;
        let channel = ChannelNumber::new(u16::from_be_bytes([header[0], header[1]]))?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        Some(Self { channel, data: rest.get(..length)? })
    }
}

/// The header for `length` bytes of application data.
#[inline]
pub const fn channel_data_header(channel: ChannelNumber, length: u16) -> [u8; 4] {
    let (c, l) = (channel.0.to_be_bytes(), length.to_be_bytes());
    [c[0], c[1], l[0], l[1]]
}
