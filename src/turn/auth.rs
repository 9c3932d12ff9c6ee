//! The long-term credential mechanism (RFC 8489 §9.2), with users and time-limited credentials
//! side by side.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::turn::config::Credentials;
use crate::turn::map::Hasher;
use crate::wire::{IntegrityKey, Message};

/// The longest USERNAME (RFC 8489 §14.3: fewer than 509 bytes; RFC 5389 allowed 513).
const USERNAME_MAX: usize = 513;

/// Everybody who may allocate, with their keys.
pub(super) struct Accounts {
    realm: Box<[u8]>,
    users: HashMap<Box<[u8]>, IntegrityKey, Hasher>,
    secrets: Vec<Hmac<Sha1>>,
    /// Checked in place of an unknown user's key, so that both take the same time.
    nobody: IntegrityKey,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Accounts({} users, {} secrets)", self.users.len(), self.secrets.len())
    }
}

impl Accounts {
    pub(super) fn new(realm: &str, credentials: &Credentials, hasher: Hasher) -> Self {
        let mut users = HashMap::with_hasher(hasher);
        for user in &credentials.users {
            let (name, password) = (user.name.as_bytes(), user.password.as_bytes());
            let key = IntegrityKey::long_term(name, realm.as_bytes(), password);
            users.insert(name.into(), key);
        }
        let keyed = |secret: &String| {
            Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length")
        };
        Self {
            realm: realm.as_bytes().into(),
            users,
            secrets: credentials.secrets.iter().map(keyed).collect(),
            nobody: IntegrityKey::from_bytes(&credentials.nonce_key),
        }
    }

    pub(super) fn realm(&self) -> &[u8] {
        &self.realm
    }

    /// The key that made the message's integrity, if it belongs to `username` and, where that is
    /// time-limited, the time has not come.
    pub(super) fn authenticate(
        &self,
        username: &[u8],
        unix_secs: u64,
        message: &Message<'_>,
    ) -> Option<IntegrityKey> {
        if let Some(key) = self.users.get(username) {
            return key.verifies(message).then(|| key.clone());
        }
        // Longer than any username is (RFC 8489 §14.3): not worth hashing for each secret.
        let is_name = username.len() <= USERNAME_MAX;
        if is_name && !self.secrets.is_empty() && expiry(username).is_some_and(|at| at > unix_secs)
        {
            return self
                .secrets
                .iter()
                .map(|secret| self.time_limited_key(secret, username))
                .find(|key| key.verifies(message));
        }
        // The result is thrown away, the work is what counts.
        std::hint::black_box(self.nobody.verifies(message));
        None
    }

    /// The key of a user whose password is `base64(HMAC-SHA1(secret, username))`.
    fn time_limited_key(&self, secret: &Hmac<Sha1>, username: &[u8]) -> IntegrityKey {
        let mut mac = secret.clone();
        mac.update(username);
        let mut password = [0; 28];
        STANDARD
            .encode_slice(mac.finalize().into_bytes(), &mut password)
            .expect("20 bytes are 28 characters");
        IntegrityKey::long_term(username, &self.realm, &password)
    }
}

/// The second since 1970 at which a username ends: its digits before the first colon.
fn expiry(username: &[u8]) -> Option<u64> {
    let digits = username.split(|&byte| byte == b':').next()?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_is_what_stands_before_the_first_colon() {
        assert_eq!(expiry(b"1790000000:alice"), Some(1_790_000_000));
        assert_eq!(expiry(b"1790000000:a:b"), Some(1_790_000_000));
        assert_eq!(expiry(b"1790000000"), Some(1_790_000_000));
    }

    #[test]
    fn what_is_no_number_never_expires_because_it_never_begins() {
        for name in [&b"never:alice"[..], b":alice", b"", b"-1:a", b"+5:a", b" 5:a", b"5 :a"] {
            assert_eq!(expiry(name), None);
        }
        assert_eq!(expiry(b"99999999999999999999999:a"), None);
    }
}
