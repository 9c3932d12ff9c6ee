//! Bytes to values and back. No time, no state, no I/O.
//!
//! ```text
//! stream        where one message ends on a TCP stream
//! message       a borrowed view of a STUN message        writer   writes one into a lent buffer
//! method, attribute, address, error_code                 the values inside
//! integrity     both integrity attributes and FINGERPRINT over the bytes as received
//! password_algorithm                                     the keys of the long-term mechanism
//! access_token  what an authorisation server seals for this one (RFC 7635)
//! proxy_header  whom a load balancer speaks for (PROXY protocol)
//! channel_data  ChannelData                              header   what goes before a payload
//! icmp          why a datagram did not get to its peer
//! ```

pub mod access_token;
pub mod address;
pub mod attribute;
pub mod channel_data;
pub mod error_code;
pub mod header;
pub mod icmp;
pub mod integrity;
pub mod message;
pub mod method;
pub mod password_algorithm;
pub mod proxy_header;
pub mod stream;
pub mod writer;

pub use access_token::{AccessToken, MacKey, TokenAlgorithm, TokenKey};
pub use attribute::AttributeType;
pub use channel_data::{ChannelData, ChannelNumber};
pub use error_code::ErrorCode;
pub use header::Header;
pub use icmp::Icmp;
pub use integrity::{Integrity, IntegrityKey};
pub use message::{Message, ParseError};
pub use method::{Class, Method};
pub use password_algorithm::PasswordAlgorithm;
pub use proxy_header::ProxyHeader;
pub use writer::MessageWriter;

/// What the first byte of a packet says it is (RFC 8656 §12, RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0 to 3.
    Stun,
    /// 64 to 79.
    ChannelData,
    /// Everything else, and nothing at all.
    Unknown,
}

/// Tells STUN from ChannelData by the first byte.
#[inline]
pub const fn kind_of(packet: &[u8]) -> Kind {
    match packet {
        [0x00..=0x03, ..] => Kind::Stun,
        [0x40..=0x4F, ..] => Kind::ChannelData,
        _ => Kind::Unknown,
    }
}
