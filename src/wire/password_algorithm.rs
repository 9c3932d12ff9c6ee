//! How a long-term password becomes a key (RFC 8489 §14.11, §14.12, §18.5), and how a username
//! is said without saying it (§14.4).

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::wire::integrity::{Integrity, IntegrityKey};

/// An entry of the STUN password algorithms registry (RFC 8489 §18.5); neither has parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordAlgorithm {
    /// For clients of RFC 5389, and what is meant where none is named.
    Md5 = 1,
    /// `SHA-256(username ":" realm ":" password)`.
    Sha256 = 2,
}

impl PasswordAlgorithm {
    /// The value of PASSWORD-ALGORITHMS that offers both, the better one first.
    pub const OFFER: [u8; 8] = [0, Self::Sha256 as u8, 0, 0, 0, Self::Md5 as u8, 0, 0];

    /// Reads PASSWORD-ALGORITHM. `None`: not one of these, or not well-formed.
    pub const fn decode(value: &[u8]) -> Option<Self> {
        match value {
            [0, 1, 0, 0] => Some(Self::Md5),
            [0, 2, 0, 0] => Some(Self::Sha256),
            _ => None,
        }
    }

    /// PASSWORD-ALGORITHM.
    pub const fn encode(self) -> [u8; 4] {
        [0, self as u8, 0, 0]
    }

    /// The long-term key (RFC 8489 §9.2.2, §18.5.1). Realm and password are as OpaqueString leaves
    /// them.
    pub fn key(self, username: &[u8], realm: &[u8], password: &[u8]) -> LongTermKey {
        let parts = [username, b":", realm, b":", password];
        let mut key = LongTermKey { bytes: [0; 32], algorithm: self };
        match self {
            Self::Md5 => key.bytes[..16].copy_from_slice(&hash::<Md5>(&parts)),
            Self::Sha256 => key.bytes.copy_from_slice(&hash::<Sha256>(&parts)),
        }
        key
    }
}

/// The key that a password algorithm makes.
#[derive(Clone, PartialEq, Eq)]
pub struct LongTermKey {
    bytes: [u8; 32],
    algorithm: PasswordAlgorithm,
}

impl LongTermKey {
    /// Ready for an integrity attribute; either key goes with either.
    pub fn keyed(&self, integrity: Integrity) -> IntegrityKey {
        let length = match self.algorithm {
            PasswordAlgorithm::Md5 => 16,
            PasswordAlgorithm::Sha256 => 32,
        };
        IntegrityKey::new(integrity, &self.bytes[..length])
    }
}

impl std::fmt::Debug for LongTermKey {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LongTermKey({:?})", self.algorithm)
    }
}

/// The value of USERHASH (RFC 8489 §14.4). Both are as OpaqueString leaves them.
pub fn userhash(username: &[u8], realm: &[u8]) -> [u8; 32] {
    hash::<Sha256>(&[username, b":", realm]).into()
}

fn hash<D: Digest>(parts: &[&[u8]]) -> sha2::digest::Output<D> {
    let mut digest = D::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}
