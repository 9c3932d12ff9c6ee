//! Writes a STUN message into a buffer that the caller lends. Padding is always zero.

use std::net::SocketAddr;

use crate::wire::address::{self, XorKey};
use crate::wire::attribute::AttributeType;
use crate::wire::error_code::ErrorCode;
use crate::wire::header::Header;
use crate::wire::integrity::{IntegrityKey, fingerprint};
use crate::wire::message::MESSAGE_HEADER;
use crate::wire::method::{Class, Method, message_type};

/// A message being written.
#[derive(Debug)]
pub struct MessageWriter<'a> {
    buffer: &'a mut [u8],
    len: usize,
    overflowed: bool,
}

impl<'a> MessageWriter<'a> {
    /// Begins a message. `transaction` is the cookie and the transaction id, or all 16 bytes of
    /// a classic client's id.
    #[inline]
    pub fn new(buffer: &'a mut [u8], method: Method, class: Class, transaction: &XorKey) -> Self {
        let mut writer = Self { buffer, len: 0, overflowed: false };
        writer.put(&message_type(method, class).to_be_bytes());
        writer.put(&[0, 0]);
        writer.put(transaction);
        writer
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.overflowed = true,
        }
    }

    /// Appends an attribute and its padding.
    #[inline]
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        let Ok(length) = u16::try_from(value.len()) else {
            self.overflowed = true;
            return self;
        };
        self.put(&kind.0.to_be_bytes());
        self.put(&length.to_be_bytes());
        self.put(value);
        self.put(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
        self
    }

    /// Appends an address attribute, XORed.
    #[inline]
    pub fn xor_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let Some(key) = self.buffer.get(4..).and_then(|b| b.first_chunk::<16>()) else {
            self.overflowed = true;
            return self;
        };
        let value = address::encode(address, Some(key));
        self.attribute(kind, value.as_bytes())
    }

    /// Appends an address attribute as it is, for classic clients.
    pub fn plain_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        self.attribute(kind, address::encode(address, None).as_bytes())
    }

    /// Appends ERROR-CODE with a reason phrase of at most 124 bytes, which may be empty.
    pub fn error(&mut self, code: ErrorCode, reason: &str) -> &mut Self {
        let mut value = [0; 128];
        let length = 4 + reason.len().min(124);
        value[..4].copy_from_slice(&code.encode());
        value[4..length].copy_from_slice(&reason.as_bytes()[..length - 4]);
        self.attribute(AttributeType::ERROR_CODE, &value[..length])
    }

    /// Appends UNKNOWN-ATTRIBUTES with up to 256 types.
    pub fn unknown(&mut self, types: impl Iterator<Item = AttributeType>) -> &mut Self {
        let mut value = [0; 512];
        let mut length = 0;
        for (room, kind) in value.chunks_exact_mut(2).zip(types) {
            room.copy_from_slice(&kind.0.to_be_bytes());
            length += 2;
        }
        self.attribute(AttributeType::UNKNOWN_ATTRIBUTES, &value[..length])
    }

    /// Appends the key's integrity attribute over what has been written.
    pub fn integrity(&mut self, key: &IntegrityKey) -> &mut Self {
        if self.overflowed {
            return self;
        }
        let value = key.sign(&self.buffer[..self.len]);
        self.attribute(key.integrity().attribute(), value.as_ref())
    }

    /// Appends FINGERPRINT over what has been written; it must be the last.
    pub fn fingerprint(&mut self) -> &mut Self {
        if self.overflowed {
            return self;
        }
        let value = fingerprint(&self.buffer[..self.len]);
        self.attribute(AttributeType::FINGERPRINT, &value)
    }

    /// Sets the length and gives what was written; `None` where it did not fit.
    pub fn written(&mut self) -> Option<&[u8]> {
        let length = self.finish()?;
        self.buffer.get(..length)
    }

    /// Sets the length and gives the number of bytes written; `None` where they did not fit.
    #[inline]
    pub fn finish(&mut self) -> Option<usize> {
        if self.overflowed {
            return None;
        }
        let length = u16::try_from(self.len - MESSAGE_HEADER).ok()?;
        self.buffer[2..4].copy_from_slice(&length.to_be_bytes());
        Some(self.len)
    }
}

/// The header of a Data indication (RFC 8656 §11.3) in front of the `length` bytes of an attribute
/// of this kind: DATA from `peer`, or an ICMP error about it.
///
/// `None` where the message would be longer than its length field can say.
#[inline]
pub fn data_indication_header(
    transaction: &XorKey,
    peer: SocketAddr,
    kind: AttributeType,
    length: usize,
) -> Option<Header> {
    let mut bytes = [0; Header::CAPACITY];
    let mut writer = MessageWriter::new(&mut bytes, Method::DATA, Class::Indication, transaction);
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    writer.put(&kind.0.to_be_bytes());
    writer.put(&u16::try_from(length).ok()?.to_be_bytes());
    let header = writer.len;
    let total = header + length.next_multiple_of(4) - MESSAGE_HEADER;
    bytes[2..4].copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
    Header::from_slice(&bytes[..header])
}
