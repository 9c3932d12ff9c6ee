//! MESSAGE-INTEGRITY (RFC 8489 §14.5) and FINGERPRINT (§14.7), over the bytes as received.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::{Digest, Sha1};

use crate::wire::attribute::AttributeType;
use crate::wire::message::{MESSAGE_HEADER, Message};

/// The length of a MESSAGE-INTEGRITY value.
pub const HMAC_SHA1: usize = 20;

/// What RFC 8489 §14.7 XORs the CRC with, so that other protocols' CRCs do not fit.
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// A keyed HMAC: the key's two compressions done once, then cloned for each message.
#[derive(Clone)]
pub struct IntegrityKey(Hmac<Sha1>);

impl IntegrityKey {
    /// The long-term key `MD5(username ":" realm ":" password)` (RFC 8489 §9.2.2).
    pub fn long_term(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let mut digest = Md5::new();
        for part in [username, b":", realm, b":", password] {
            digest.update(part);
        }
        Self::from_bytes(&digest.finalize())
    }

    /// A key as it is: a short-term password, or one that a vector gives.
    pub fn from_bytes(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// Whether the message carries MESSAGE-INTEGRITY made with this key. Constant-time.
    pub fn verifies(&self, message: &Message<'_>) -> bool {
        let (Some(at), Some(value)) = (
            message.offset_of(AttributeType::MESSAGE_INTEGRITY),
            message.find(AttributeType::MESSAGE_INTEGRITY),
        ) else {
            return false;
        };
        self.mac(&message.bytes()[..at]).verify_slice(value).is_ok()
    }

    /// The value of a MESSAGE-INTEGRITY attribute that stands behind `before`, which begins with
    /// the message's header.
    pub fn sign(&self, before: &[u8]) -> [u8; HMAC_SHA1] {
        self.mac(before).finalize().into_bytes().into()
    }

    /// The HMAC of `before` with the length field as if the message ended behind the attribute.
    fn mac(&self, before: &[u8]) -> Hmac<Sha1> {
        let mut mac = self.0.clone();
        mac.update(&before[..2]);
        mac.update(&length_up_to(before.len() + 4 + HMAC_SHA1));
        mac.update(&before[4..]);
        mac
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey")
    }
}

/// The value of a FINGERPRINT attribute that stands behind `before`.
pub fn fingerprint(before: &[u8]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&before[..2]);
    crc.update(&length_up_to(before.len() + 8));
    crc.update(&before[4..]);
    (crc.finalize() ^ FINGERPRINT_XOR).to_be_bytes()
}

/// The length field of a message of `end` bytes.
fn length_up_to(end: usize) -> [u8; 2] {
    ((end - MESSAGE_HEADER) as u16).to_be_bytes()
}
