//! MESSAGE-INTEGRITY (RFC 8489 §14.5), MESSAGE-INTEGRITY-SHA256 (§14.6) and FINGERPRINT (§14.7),
//! over the bytes as received.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::wire::attribute::AttributeType;
use crate::wire::message::{MESSAGE_HEADER, Message};
use crate::wire::password_algorithm::PasswordAlgorithm;

/// What RFC 8489 §14.7 XORs the CRC with, so that other protocols' CRCs do not fit.
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// The two attributes that say a message is whole and from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY: HMAC-SHA1, 20 bytes.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256: HMAC-SHA256. TURN does not allow a truncated one, so 32 bytes
    /// (RFC 8489 §14.6).
    Sha256,
}

impl Integrity {
    /// The one that counts in this message: that of SHA-256 where both are there (RFC 8489
    /// §9.2.4).
    pub fn of(message: &Message<'_>) -> Option<Self> {
        [Self::Sha256, Self::Sha1].into_iter().find(|kind| message.has(kind.attribute()))
    }

    /// The attribute that carries it.
    pub const fn attribute(self) -> AttributeType {
        match self {
            Self::Sha1 => AttributeType::MESSAGE_INTEGRITY,
            Self::Sha256 => AttributeType::MESSAGE_INTEGRITY_SHA256,
        }
    }

    /// The length of its value.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// The value of an integrity attribute.
#[derive(Clone, Copy, Debug)]
pub struct Tag {
    bytes: [u8; 32],
    length: usize,
}

impl AsRef<[u8]> for Tag {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A keyed HMAC for one of the integrity attributes: the key's two compressions done once, then
/// cloned for each message.
#[derive(Clone)]
pub struct IntegrityKey(Keyed);

#[derive(Clone)]
enum Keyed {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

impl IntegrityKey {
    /// A key as it is, for this attribute.
    pub fn new(integrity: Integrity, key: &[u8]) -> Self {
        const PROOF: &str = "HMAC takes keys of any length";
        Self(match integrity {
            Integrity::Sha1 => Keyed::Sha1(Hmac::new_from_slice(key).expect(PROOF)),
            Integrity::Sha256 => Keyed::Sha256(Hmac::new_from_slice(key).expect(PROOF)),
        })
    }

    /// What RFC 5389 knew: MESSAGE-INTEGRITY with the key `MD5(username ":" realm ":" password)`.
    pub fn long_term(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        PasswordAlgorithm::Md5.key(username, realm, password).keyed(Integrity::Sha1)
    }

    /// MESSAGE-INTEGRITY with a key as it is: a short-term password, or one that a vector gives.
    pub fn from_bytes(key: &[u8]) -> Self {
        Self::new(Integrity::Sha1, key)
    }

    /// The attribute that it verifies and signs.
    pub const fn integrity(&self) -> Integrity {
        match self.0 {
            Keyed::Sha1(_) => Integrity::Sha1,
            Keyed::Sha256(_) => Integrity::Sha256,
        }
    }

    /// Whether the message carries its attribute, made with this key. Constant-time.
    pub fn verifies(&self, message: &Message<'_>) -> bool {
        let attribute = self.integrity().attribute();
        let (Some(at), Some(value)) = (message.offset_of(attribute), message.find(attribute))
        else {
            return false;
        };
        let before = &message.bytes()[..at];
        match &self.0 {
            Keyed::Sha1(key) => mac(key, before, self.integrity()).verify_slice(value).is_ok(),
            Keyed::Sha256(key) => mac(key, before, self.integrity()).verify_slice(value).is_ok(),
        }
    }

    /// The value of the attribute that stands behind `before`, which begins with the message's
    /// header.
    pub fn sign(&self, before: &[u8]) -> Tag {
        let mut tag = Tag { bytes: [0; 32], length: self.integrity().length() };
        let value = &mut tag.bytes[..tag.length];
        match &self.0 {
            Keyed::Sha1(key) => {
                value.copy_from_slice(&mac(key, before, Integrity::Sha1).finalize().into_bytes());
            }
            Keyed::Sha256(key) => {
                value.copy_from_slice(&mac(key, before, Integrity::Sha256).finalize().into_bytes());
            }
        }
        tag
    }
}

/// The HMAC of `before` with the length field as if the message ended behind the attribute.
fn mac<M: Mac + Clone>(key: &M, before: &[u8], integrity: Integrity) -> M {
    let mut mac = key.clone();
    mac.update(&before[..2]);
    mac.update(&length_up_to(before.len() + 4 + integrity.length()));
    mac.update(&before[4..]);
    mac
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IntegrityKey({:?})", self.integrity())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each allocation holds one.
    #[test]
    fn a_key_stays_small() {
        assert!(size_of::<IntegrityKey>() <= 200, "{} bytes", size_of::<IntegrityKey>());
    }
}
