//! A checked, borrowed view of a STUN message (RFC 8489 §5, §14).
//!
//! One pass over the attributes notes where the first of each known type stands; nothing is
//! copied. What stands behind the message integrity is not covered by it and does not exist for
//! the reader (RFC 8489 §14.5), but for the second integrity and the fingerprint.

use crate::wire::address::{self, AddressError, XorKey};
use crate::wire::attribute::{AttributeType, SLOTS};
use crate::wire::integrity::fingerprint;
use crate::wire::method::{Class, Method, split_message_type};
use std::net::SocketAddr;

/// The length of a STUN header.
pub const MESSAGE_HEADER: usize = 20;

/// The cookie that tells STUN from what came before RFC 5389.
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// The length of an attribute's type and length.
const ATTRIBUTE_HEADER: usize = 4;

/// Why bytes are no STUN message. Such bytes are dropped and counted, never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Fewer than 20 bytes.
    Short,
    /// The two top bits of a STUN message are zero.
    NotStun,
    /// The length field is no multiple of four, or not the number of bytes that follow.
    Length,
    /// An attribute runs past the message's end.
    Overrun,
    /// FINGERPRINT is not the last attribute, or not that of these bytes.
    Fingerprint,
}

/// A STUN message, checked for form.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    method: Method,
    class: Class,
    /// Offsets of the first attribute of each known type; 0: none, as the header stands there.
    index: [u32; SLOTS],
    /// Where the attributes end that a reader may use.
    covered_end: usize,
    has_unknown_required: bool,
}

impl<'a> Message<'a> {
    /// Reads one whole message.
    ///
    /// # Errors
    ///
    /// [`ParseError`] where RFC 8489 §6.3 wants the bytes to be silently discarded.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let Some(header) = bytes.first_chunk::<MESSAGE_HEADER>() else {
            return Err(ParseError::Short);
        };
        let message_type = u16::from_be_bytes([header[0], header[1]]);
        if message_type >= 0x4000 {
            return Err(ParseError::NotStun);
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length % 4 != 0 || bytes.len() != MESSAGE_HEADER + length {
            return Err(ParseError::Length);
        }
        let (method, class) = split_message_type(message_type);
        let mut message = Self {
            bytes,
            method,
            class,
            index: [0; SLOTS],
            covered_end: bytes.len(),
            has_unknown_required: false,
        };
        message.index_attributes()?;
        Ok(message)
    }

    fn index_attributes(&mut self) -> Result<(), ParseError> {
        /// How much of what follows still counts.
        #[derive(PartialEq, PartialOrd)]
        enum Region {
            Covered,
            BehindIntegrity,
            BehindSha256,
        }
        let mut region = Region::Covered;
        let mut at = MESSAGE_HEADER;
        while at < self.bytes.len() {
            let (kind, value_end, next) = self.frame_at(at).ok_or(ParseError::Overrun)?;
            let counts = match kind {
                AttributeType::FINGERPRINT => {
                    self.check_fingerprint(at, value_end)?;
                    true
                }
                AttributeType::MESSAGE_INTEGRITY_SHA256 => region < Region::BehindSha256,
                _ => region == Region::Covered,
            };
            if counts {
                match kind.slot() {
                    Some(slot) if self.index[slot] == 0 => self.index[slot] = at as u32,
                    Some(_) => {}
                    None => self.has_unknown_required |= kind.is_comprehension_required(),
                }
                let entered = match kind {
                    AttributeType::MESSAGE_INTEGRITY => Region::BehindIntegrity,
                    AttributeType::MESSAGE_INTEGRITY_SHA256 => Region::BehindSha256,
                    _ => Region::Covered,
                };
                if entered > region {
                    if region == Region::Covered {
                        self.covered_end = at;
                    }
                    region = entered;
                }
            }
            at = next;
        }
        Ok(())
    }

    /// The type, the value's end and the next attribute's offset; `None` past the end.
    #[inline]
    fn frame_at(&self, at: usize) -> Option<(AttributeType, usize, usize)> {
        let header = self.bytes.get(at..)?.first_chunk::<ATTRIBUTE_HEADER>()?;
        let kind = AttributeType(u16::from_be_bytes([header[0], header[1]]));
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let value_end = at + ATTRIBUTE_HEADER + length;
        let next = at + ATTRIBUTE_HEADER + length.next_multiple_of(4);
        (next <= self.bytes.len()).then_some((kind, value_end, next))
    }

    fn check_fingerprint(&self, at: usize, value_end: usize) -> Result<(), ParseError> {
        let value = &self.bytes[at + ATTRIBUTE_HEADER..value_end];
        let is_last = value_end == self.bytes.len();
        if is_last && value == fingerprint(&self.bytes[..at]) {
            Ok(())
        } else {
            Err(ParseError::Fingerprint)
        }
    }

    /// The method.
    #[inline]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The class.
    #[inline]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// Whether this is a message of RFC 3489: no cookie, a transaction id of 128 bits.
    #[inline]
    pub fn is_classic(&self) -> bool {
        self.bytes[4..8] != MAGIC_COOKIE
    }

    /// Bytes 4 to 20: the cookie and the transaction id (in a classic message all of it id).
    #[inline]
    pub fn transaction(&self) -> &'a XorKey {
        self.bytes[4..].first_chunk().expect("parse() has seen 20 bytes")
    }

    /// The whole message.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The value of the first attribute of this type that the integrity covers.
    #[inline]
    pub fn find(&self, kind: AttributeType) -> Option<&'a [u8]> {
        let at = self.offset_of(kind)?;
        let (_, value_end, _) = self.frame_at(at)?;
        Some(&self.bytes[at + ATTRIBUTE_HEADER..value_end])
    }

    /// Whether an attribute of this type is there.
    #[inline]
    pub fn has(&self, kind: AttributeType) -> bool {
        self.offset_of(kind).is_some()
    }

    /// Where the first attribute of this type begins.
    #[inline]
    pub fn offset_of(&self, kind: AttributeType) -> Option<usize> {
        let Some(slot) = kind.slot() else { return self.look_for(kind) };
        let at = self.index[slot] as usize;
        (at != 0).then_some(at)
    }

    /// For the types that the index leaves out, which few ask for.
    #[cold]
    fn look_for(&self, wanted: AttributeType) -> Option<usize> {
        let mut at = MESSAGE_HEADER;
        while at < self.covered_end {
            let (kind, _, next) = self.frame_at(at)?;
            if kind == wanted {
                return Some(at);
            }
            at = next;
        }
        None
    }

    /// The covered attributes in their order, each with its value.
    pub fn attributes(&self) -> impl Iterator<Item = (AttributeType, &'a [u8])> + '_ {
        let mut at = MESSAGE_HEADER;
        std::iter::from_fn(move || {
            if at >= self.covered_end {
                return None;
            }
            let (kind, value_end, next) = self.frame_at(at)?;
            let value = &self.bytes[at + ATTRIBUTE_HEADER..value_end];
            at = next;
            Some((kind, value))
        })
    }

    /// Decodes the first XORed address of this type; `None` where there is none.
    #[inline]
    pub fn xor_address(&self, kind: AttributeType) -> Option<Result<SocketAddr, AddressError>> {
        Some(address::decode_xor(self.find(kind)?, self.transaction()))
    }

    /// Decodes the first address of this type that is not XORed; `None` where there is none.
    pub fn plain_address(&self, kind: AttributeType) -> Option<Result<SocketAddr, AddressError>> {
        Some(address::decode_plain(self.find(kind)?))
    }

    /// Whether some comprehension-required attribute is not known here.
    #[inline]
    pub const fn has_unknown_required(&self) -> bool {
        self.has_unknown_required
    }

    /// The types of the comprehension-required attributes that are not known here, in order.
    pub fn unknown_required(&self) -> impl Iterator<Item = AttributeType> + '_ {
        self.attributes()
            .map(|(kind, _)| kind)
            .filter(|kind| kind.is_comprehension_required() && kind.slot().is_none())
    }
}

impl std::fmt::Debug for Message<'_> {
    /// The shape only: attributes may hold what no log should.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}, {} bytes", self.method, self.class, self.bytes.len())
    }
}
