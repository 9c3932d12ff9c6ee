//! What a request says of its sender and how it is signed (RFC 8489 §9.2.4), and the credential
//! that remains of it once it has been verified.

use crate::turn::nonce::Features;
use crate::turn::request::{Reject, reject};
use crate::wire::PasswordAlgorithm;
use crate::wire::password_algorithm::LongTermKey;
use crate::wire::{AttributeType, ErrorCode, Integrity, IntegrityKey, MacKey, Message};

/// What a request says of its sender; nothing of it is verified yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'m> {
    pub(super) user: User<'m>,
    pub(super) realm: &'m [u8],
    pub(super) nonce: &'m [u8],
    pub(super) scheme: Scheme,
}

/// Whom a request says it is from.
#[derive(Clone, Copy, Debug)]
pub(super) enum User<'m> {
    /// By USERNAME.
    Named(&'m [u8]),
    /// By USERHASH.
    Hashed(&'m [u8]),
}

/// How requests are signed, and their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    pub(super) algorithm: PasswordAlgorithm,
    pub(super) request: Integrity,
    pub(super) response: Integrity,
}

impl<'m> Claim<'m> {
    /// The checks of RFC 8489 §9.2.4 that need nothing but the message, in its order.
    pub(super) fn read(message: &Message<'m>) -> Result<Self, Reject> {
        // No message integrity: 401.
        let Some(integrity) = Integrity::of(message) else {
            return reject(ErrorCode::UNAUTHENTICATED);
        };
        // Integrity without what it is made from: 400.
        let user = match message.find(AttributeType::USERNAME) {
            Some(name) => Some(User::Named(name)),
            None => message.find(AttributeType::USERHASH).map(User::Hashed),
        };
        let (Some(user), Some(realm), Some(nonce)) =
            (user, message.find(AttributeType::REALM), message.find(AttributeType::NONCE))
        else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        let scheme = Scheme::read(message, integrity, nonce)?;
        Ok(Self { user, realm, nonce, scheme })
    }
}

impl Scheme {
    /// That of a session, whose key is no password's: answers are signed as the request was.
    pub(super) const fn of_session(integrity: Integrity) -> Self {
        let algorithm = PasswordAlgorithm::Md5;
        Self { algorithm, request: integrity, response: integrity }
    }

    fn read(message: &Message<'_>, integrity: Integrity, nonce: &[u8]) -> Result<Self, Reject> {
        let algorithm = message.find(AttributeType::PASSWORD_ALGORITHM);
        let algorithms = message.find(AttributeType::PASSWORD_ALGORITHMS);
        // Neither: MD5, whose answers carry MESSAGE-INTEGRITY whatever the request carries.
        if algorithm.is_none() && algorithms.is_none() {
            let algorithm = PasswordAlgorithm::Md5;
            return Ok(Self { algorithm, request: integrity, response: Integrity::Sha1 });
        }
        let chosen = algorithm.and_then(PasswordAlgorithm::decode);
        // The nonce came with an offer: both, the list as it was sent and one out of it (400).
        // Otherwise somebody on the way wants a weaker algorithm than both ends have.
        let was_offered =
            Features::told_by(nonce).is_some_and(|features| features.password_algorithms);
        if was_offered && (algorithms != Some(&PasswordAlgorithm::OFFER[..]) || chosen.is_none()) {
            return reject(ErrorCode::BAD_REQUEST);
        }
        // The answer to MESSAGE-INTEGRITY should be of SHA-256 here; but who sends the old one
        // (against §9.2.5) cannot check the new one.
        let algorithm = chosen.unwrap_or(PasswordAlgorithm::Md5);
        Ok(Self { algorithm, request: integrity, response: integrity })
    }
}

/// A user's key, ready for requests that are signed in one way. An allocation keeps the one that
/// made it, so that its requests cost a MAC and no more.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    scheme: Scheme,
    request: IntegrityKey,
    /// Where answers carry the other attribute; boxed, because hardly anybody's do.
    response: Option<Box<IntegrityKey>>,
}

impl Credential {
    pub(super) fn new(scheme: Scheme, key: &LongTermKey) -> Self {
        let other = scheme.response != scheme.request;
        Self {
            scheme,
            request: key.keyed(scheme.request),
            response: other.then(|| Box::new(key.keyed(scheme.response))),
        }
    }

    /// The key of a session that a token gave (RFC 7635 §5: no hash of a password).
    pub(super) fn of_session(scheme: Scheme, key: &MacKey) -> Self {
        Self { scheme, request: key.keyed(scheme.request), response: None }
    }

    /// How the requests are signed that it verifies.
    pub(super) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the request is signed with it.
    pub(super) fn verifies(&self, request: &Message<'_>) -> bool {
        self.request.verifies(request)
    }

    /// What answers are signed with.
    pub(super) fn response_key(&self) -> &IntegrityKey {
        self.response.as_deref().unwrap_or(&self.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each allocation holds one.
    #[test]
    fn a_credential_stays_small() {
        assert!(size_of::<Credential>() <= 200, "{} bytes", size_of::<Credential>());
    }
}
