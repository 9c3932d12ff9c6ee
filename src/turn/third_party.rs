//! Third-party authorization (RFC 7635): an authorisation server seals the key of a session into a
//! token with a key that it shares with this server, and USERNAME says which one that is.
//!
//! Nothing but the token is needed to judge one. What it gave is kept with the allocation: later
//! requests are signed with the session's key, and carry no token.

use std::collections::HashMap;

use crate::turn::claim::{Credential, Scheme};
use crate::turn::config::{self, SharedKey};
use crate::turn::expiry::Expiry;
use crate::turn::map::Hasher;
use crate::turn::moment::{Lifetime, Moment, Now};
use crate::wire::{AccessToken, Integrity, MacKey, Message};

/// By how much clocks may differ (RFC 7635 §7: 5 seconds are recommended).
const DELTA: u64 = 5;

/// The keys that are shared with authorisation servers.
pub(super) struct ThirdParty {
    server_name: Box<[u8]>,
    keys: HashMap<Box<[u8]>, SharedKey, Hasher>,
    coturn_clients: bool,
}

impl ThirdParty {
    pub(super) fn new(config: &config::ThirdParty, hasher: Hasher) -> Self {
        let mut keys = HashMap::with_hasher(hasher);
        for key in &config.keys {
            keys.insert(key.kid.as_bytes().into(), key.clone());
        }
        let server_name = config.server_name.as_bytes().into();
        Self { server_name, keys, coturn_clients: config.coturn_clients }
    }

    /// What THIRD-PARTY-AUTHORIZATION says (RFC 7635 §6.1).
    pub(super) fn server_name(&self) -> &[u8] {
        &self.server_name
    }

    /// Whether a key is called so, even one that opens nothing any more.
    pub(super) fn is_kid(&self, name: &[u8]) -> bool {
        self.keys.contains_key(name)
    }

    /// Every key's name.
    pub(super) fn kids(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(|kid| &**kid)
    }

    /// RFC 7635 §7, in its order. `None`: 401.
    pub(super) fn authorize(
        &self,
        now: Now,
        kid: &[u8],
        token: &[u8],
        integrity: Integrity,
        message: &Message<'_>,
    ) -> Option<(Credential, Session)> {
        // The key that the username names.
        let shared = self.keys.get(kid)?;
        if shared.expires_unix.is_some_and(|at| at <= now.unix_secs) {
            return None;
        }
        // The token is authentic, and for this server.
        let token = shared.key.open(&self.server_name, token)?;
        // It is good now.
        let until = now.moment + remaining(&token, now.unix_secs)?;
        // The request is signed with the session's key.
        let own = Some(token.mac_key.clone());
        let bearer = u64::from_be_bytes(token.mac_key.digest());
        let short = own.as_ref().filter(|_| self.coturn_clients && integrity == Integrity::Sha1);
        let keys = [short.and_then(MacKey::first_128_bits), own];
        keys.into_iter().flatten().find_map(|key| {
            let session = Session { kid: kid.into(), key, bearer, until };
            Some((session.verify(integrity, None, message)?, session))
        })
    }
}

/// How long a token is good from now on (RFC 7635 §9): no longer than its lifetime, and `None`
/// where that has passed or has not begun.
fn remaining(token: &AccessToken, unix_secs: u64) -> Option<Lifetime> {
    let most = u64::from(token.lifetime) + DELTA;
    let left = most.checked_sub(unix_secs.abs_diff(token.timestamp))?;
    let left = left.min(token.lifetime.into()) as u32;
    (left > 0).then_some(Lifetime::from_secs(left))
}

/// What a token gave its bearer.
#[derive(Clone, Debug)]
pub(super) struct Session {
    kid: Box<[u8]>,
    key: MacKey,
    /// A digest of the token's whole key, whichever part of it signs.
    bearer: u64,
    until: Moment,
}

impl Session {
    /// What the requests of this session have in USERNAME.
    pub(super) fn kid(&self) -> &[u8] {
        &self.kid
    }

    /// Whom an allocation counts for: whoever has the token. It names nobody, so who makes tokens
    /// says how much each person may hold, by how many they are given.
    pub(super) fn account(&self) -> Vec<u8> {
        [&self.kid, format!(":{:016x}", self.bearer).as_bytes()].concat()
    }

    /// Whether both are one bearer's.
    pub(super) fn is_bearer_of(&self, other: &Self) -> bool {
        (&self.kid, self.bearer) == (&other.kid, other.bearer)
    }

    /// When an allocation ends at the latest that would otherwise end at `expires`.
    pub(super) fn cap(&self, expires: Moment) -> Moment {
        expires.min(self.until)
    }

    /// The same for both halves of one.
    pub(super) fn cap_both(&self, expiry: Expiry) -> Expiry {
        expiry.capped(self.until)
    }

    /// The credential that made the message's integrity, if it is this session's; `ready` is one
    /// that it has made before.
    pub(super) fn verify(
        &self,
        integrity: Integrity,
        ready: Option<&Credential>,
        message: &Message<'_>,
    ) -> Option<Credential> {
        let scheme = Scheme::of_session(integrity);
        let credential = match ready.filter(|ready| ready.scheme() == scheme) {
            Some(ready) => ready.clone(),
            None => Credential::of_session(scheme, &self.key),
        };
        credential.verifies(message).then_some(credential)
    }
}

/// By what a request has been authenticated.
#[derive(Clone, Debug)]
pub(super) enum Authorization {
    /// A user's password.
    FirstParty,
    /// The key of a session: of the allocation's, or of this one, whose token it brought.
    ThirdParty(Option<Box<Session>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(timestamp: u64, lifetime: u32, now: u64) -> Option<u32> {
        let mac_key = MacKey::new(&[1; 20]).unwrap();
        remaining(&AccessToken { mac_key, timestamp, lifetime }, now).map(Lifetime::as_secs)
    }

    #[test]
    fn a_token_is_good_for_its_lifetime_and_the_five_seconds_of_two_clocks() {
        assert_eq!(left(1000, 600, 1000), Some(600));
        assert_eq!(left(1000, 600, 1005), Some(600));
        assert_eq!(left(1000, 600, 1006), Some(599));
        assert_eq!(left(1000, 600, 1604), Some(1));
        assert_eq!(left(1000, 600, 1605), None);
    }

    #[test]
    fn a_token_of_a_clock_that_is_ahead_is_good_by_the_same_formula() {
        assert_eq!(left(1000, 600, 995), Some(600));
        assert_eq!(left(1000, 600, 900), Some(505));
        assert_eq!(left(1000, 600, 395), None);
        assert_eq!(left(1000, 600, 396), Some(1));
    }

    #[test]
    fn no_number_in_a_token_overflows() {
        assert_eq!(left(u64::MAX >> 16, u32::MAX, 0), None);
        assert_eq!(left(0, u32::MAX, 1000), Some(u32::MAX - 995));
        assert_eq!(left(1000, 0, 1000), None, "a token that is good for no time");
    }
}
