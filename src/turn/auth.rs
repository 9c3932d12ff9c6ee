//! The long-term credential mechanism (RFC 8489 §9.2), with users and time-limited credentials
//! side by side.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::turn::claim::{Credential, Scheme, User};
use crate::turn::config::Credentials;
use crate::turn::login::LoginFailure;
use crate::turn::map::Hasher;
use crate::turn::nonce::Features;
use crate::turn::spelling::{opaque, spellings};
use crate::turn::third_party::ThirdParty;
use crate::wire::password_algorithm::{LongTermKey, userhash};
use crate::wire::{AttributeType, ErrorCode, Message, PasswordAlgorithm};

/// The longest USERNAME (RFC 8489 §14.3: fewer than 509 bytes; RFC 5389 allowed 513).
const USERNAME_MAX: usize = 513;

/// Everybody who may allocate, with their keys.
pub(super) struct Accounts {
    realm: Box<[u8]>,
    /// The keys of each user, one for each spelling of the password; all have as many.
    users: HashMap<Box<[u8]>, Box<[Keys]>, Hasher>,
    /// The users by USERHASH (RFC 8489 §14.4); empty where that is not offered. A time-limited
    /// name is not known before it is said, and so not here.
    names: HashMap<[u8; 32], Box<[u8]>, Hasher>,
    secrets: Vec<Hmac<Sha1>>,
    third_party: Option<ThirdParty>,
    /// Checked in place of an unknown user's keys, so that both take the same time.
    nobody: Box<[Keys]>,
}

/// What the password algorithms make of one password.
#[derive(Clone, PartialEq, Eq)]
struct Keys {
    md5: LongTermKey,
    sha256: LongTermKey,
}

impl Keys {
    fn new(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self {
            md5: PasswordAlgorithm::Md5.key(username, realm, password),
            sha256: PasswordAlgorithm::Sha256.key(username, realm, password),
        }
    }

    const fn of(&self, algorithm: PasswordAlgorithm) -> &LongTermKey {
        match algorithm {
            PasswordAlgorithm::Md5 => &self.md5,
            PasswordAlgorithm::Sha256 => &self.sha256,
        }
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Accounts({} users, {} secrets)", self.users.len(), self.secrets.len())
    }
}

impl Accounts {
    pub(super) fn new(realm: &str, credentials: &Credentials, hasher: Hasher) -> Self {
        let realm = opaque(realm).into_owned().into_bytes();
        let keyed = |secret: &String| {
            Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length")
        };
        let mut accounts = Self {
            users: HashMap::with_hasher(hasher.clone()),
            names: HashMap::with_hasher(hasher.clone()),
            third_party: credentials.third_party.as_ref().map(|c| ThirdParty::new(c, hasher)),
            secrets: credentials.secrets.iter().map(keyed).collect(),
            nobody: Box::new([Keys::new(b"", &realm, &credentials.nonce_key)]),
            realm: realm.into(),
        };
        accounts.add_users(credentials);
        if credentials.username_anonymity {
            let kids = accounts.third_party.iter().flat_map(ThirdParty::kids);
            let hashed = kids.map(|kid| (userhash(kid, &accounts.realm), kid.into()));
            accounts.names.extend(hashed);
        }
        accounts
    }

    fn add_users(&mut self, credentials: &Credentials) {
        let users = &credentials.users;
        let passwords: Vec<_> = users.iter().map(|user| spellings(&user.password)).collect();
        // As many keys for everybody, some of them twice: how long a refusal takes tells nothing.
        let count = passwords.iter().map(Vec::len).max().unwrap_or(1);
        self.nobody = vec![self.nobody[0].clone(); count].into();
        let names: Vec<_> = users.iter().map(|user| spellings(&user.name)).collect();
        // The name as it is configured goes before what is the same in another spelling.
        for rank in 0..names.iter().map(Vec::len).max().unwrap_or(0) {
            for (names, passwords) in names.iter().zip(&passwords) {
                let Some(name) = names.get(rank).map(|name| name.as_bytes()) else { continue };
                let keys = || {
                    let passwords = passwords.iter().cycle().take(count);
                    passwords.map(|word| Keys::new(name, &self.realm, word.as_bytes())).collect()
                };
                self.users.entry(name.into()).or_insert_with(keys);
                if credentials.username_anonymity {
                    let hash = userhash(name, &self.realm);
                    self.names.entry(hash).or_insert_with(|| name.into());
                }
            }
        }
    }

    /// Whether somebody who is a user here is none there, or has another password.
    pub(super) fn has_changed(&self, name: &[u8], there: &Self) -> bool {
        let here = self.users.get(name);
        here.is_some_and(|keys| {
            let other = there.users.get(name);
            // As many for everybody, so that some are there twice.
            other.is_none_or(|other| !keys.iter().all(|key| other.contains(key)))
        })
    }

    pub(super) fn realm(&self) -> &[u8] {
        &self.realm
    }

    /// Whose tokens are taken, where any are.
    pub(super) fn third_party(&self) -> Option<&ThirdParty> {
        self.third_party.as_ref()
    }

    /// The username of whom a request says it is from; `None` for a USERHASH of nobody's.
    pub(super) fn name_of<'a>(&'a self, user: User<'a>) -> Option<&'a [u8]> {
        match user {
            User::Named(name) => Some(name),
            User::Hashed(hash) => self.names.get(hash).map(|name| &**name),
        }
    }

    /// What the nonce of this answer tells of us.
    ///
    /// A client that is told of username anonymity must not say its name (RFC 8489 §9.2.5), and
    /// one with a time-limited name must, as nobody can find that by its hash. So where there are
    /// such names, who tries in vain is told to say it, be the hash known or not.
    pub(super) fn features(&self, code: ErrorCode, request: &Message<'_>) -> Features {
        let is_hashed = request.has(AttributeType::USERHASH);
        let is_offered = self.secrets.is_empty()
            || match code {
                ErrorCode::STALE_NONCE => is_hashed,
                _ => !is_hashed && !request.has(AttributeType::USERNAME),
            };
        Features {
            password_algorithms: true,
            username_anonymity: is_offered && !self.users.is_empty() && !self.names.is_empty(),
        }
    }

    /// The credential that made the message's integrity, if it belongs to `username` and, where
    /// that is time-limited, the time has not come.
    pub(super) fn authenticate(
        &self,
        username: Option<&[u8]>,
        scheme: Scheme,
        unix_secs: u64,
        message: &Message<'_>,
    ) -> Option<Credential> {
        let account = username.and_then(|name| self.users.get(name));
        if account.is_none()
            && let Some(name) = username.filter(|name| self.is_time_limited(name, unix_secs))
        {
            return self
                .secrets
                .iter()
                .map(|secret| self.time_limited_key(secret, name, scheme.algorithm))
                .map(|key| Credential::new(scheme, &key))
                .find(|credential| credential.verifies(message));
        }
        // Every key is tried, whichever it is; of nobody's only the work counts.
        let mut found = None;
        for keys in account.unwrap_or(&self.nobody) {
            let credential = Credential::new(scheme, keys.of(scheme.algorithm));
            let is_theirs = std::hint::black_box(credential.verifies(message));
            if is_theirs && account.is_some() {
                found = Some(credential);
            }
        }
        found
    }

    /// What is wrong with a request in the name of this user, since it was not authenticated.
    pub(super) fn fault_of_user(&self, username: &[u8], unix_secs: u64) -> LoginFailure {
        if self.users.contains_key(username) || self.is_time_limited(username, unix_secs) {
            LoginFailure::Password
        } else if !self.secrets.is_empty() && expiry(username).is_some() {
            LoginFailure::Expired
        } else {
            LoginFailure::UnknownUser
        }
    }

    /// Whether this may be a time-limited username whose time has not come.
    fn is_time_limited(&self, username: &[u8], unix_secs: u64) -> bool {
        // Longer than any username is (RFC 8489 §14.3): not worth hashing for each secret.
        !self.secrets.is_empty()
            && username.len() <= USERNAME_MAX
            && expiry(username).is_some_and(|at| at > unix_secs)
    }

    /// The key of a user whose password is `base64(HMAC-SHA1(secret, username))`.
    fn time_limited_key(
        &self,
        secret: &Hmac<Sha1>,
        username: &[u8],
        algorithm: PasswordAlgorithm,
    ) -> LongTermKey {
        let mut mac = secret.clone();
        mac.update(username);
        let mut password = [0; 28];
        STANDARD
            .encode_slice(mac.finalize().into_bytes(), &mut password)
            .expect("20 bytes are 28 characters");
        algorithm.key(username, &self.realm, &password)
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
