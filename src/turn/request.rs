//! What every request of TURN goes through (RFC 8656 §5): authentication, unknown attributes,
//! and the one function that turns a [`Reject`] into a response.

use std::borrow::Cow;

use crate::turn::Server;
use crate::turn::action::Verdict;
use crate::turn::claim::{Claim, Credential, Scheme, User};
use crate::turn::config::Software;
use crate::turn::moment::Now;
use crate::turn::stats::Drop;
use crate::turn::table::{Allocation, AllocationId};
use crate::turn::third_party::{Authorization, Session};
use crate::turn::tuple::Path;
use crate::wire::{
    AttributeType, Class, ErrorCode, IntegrityKey, Message, MessageWriter, Method,
    PasswordAlgorithm,
};

/// The SOFTWARE of responses to those who are told (RFC 8489 §14.14).
const SOFTWARE: &[u8] = concat!("hairpin ", env!("CARGO_PKG_VERSION")).as_bytes();

/// The SOFTWARE of what strangers are told: they need not know which version it is.
const PRODUCT: &[u8] = b"hairpin";

/// The shortest request that gets a nonce with the cookie and is offered password algorithms: an
/// Allocate with what it must carry.
const REAL_ALLOCATE: usize = 28;

/// An authenticated request.
#[derive(Debug)]
pub(super) struct Request<'m> {
    pub(super) path: Path,
    pub(super) message: &'m Message<'m>,
    pub(super) username: Cow<'m, [u8]>,
    pub(super) credential: Credential,
    pub(super) authorization: Authorization,
}

impl Request<'_> {
    /// Whether this is of whom the allocation belongs to (RFC 8656 §5: the same username).
    ///
    /// Between sessions that name can't tell: all bearers of tokens under one key have the same,
    /// and a new token for the same allocation may be under a new key (RFC 7635 §9).
    pub(super) fn owns(&self, allocation: &Allocation) -> bool {
        match self.authorization {
            Authorization::FirstParty => {
                allocation.session.is_none() && *allocation.username.0 == *self.username
            }
            Authorization::ThirdParty(_) => allocation.session.is_some(),
        }
    }

    /// The same, where nothing but a ticket tells which allocation is meant: it may have been seen
    /// on the way, so no other session will do than the one that the allocation belongs to.
    pub(super) fn is_of_maker(&self, allocation: &Allocation) -> bool {
        let same =
            |new: &Session| allocation.session.as_deref().is_some_and(|own| own.is_bearer_of(new));
        self.owns(allocation) && self.session().is_none_or(same)
    }

    /// The session of the token that came with it.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.authorization {
            Authorization::FirstParty => None,
            Authorization::ThirdParty(session) => session.as_deref(),
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reject(pub(super) ErrorCode);

impl From<ErrorCode> for Reject {
    fn from(code: ErrorCode) -> Self {
        Self(code)
    }
}

/// Short for handlers: `Err(reject(ErrorCode::…))`.
pub(super) const fn reject<T>(code: ErrorCode) -> Result<T, Reject> {
    Err(Reject(code))
}

impl Server {
    /// Serves a request of a method that needs authentication.
    pub(super) fn handle_request(
        &mut self,
        now: Now,
        path: Path,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        // A client that has moved, or is about to, has its allocation with another core.
        if let Some(core) = self.core_of(now, &path, message) {
            return Verdict::ToCore { core };
        }
        // What has expired is gone, although no timer may have come by yet.
        if let Some(id) = self.concerned(&path, message) {
            self.end_expired(now, id);
        }
        let request = match self.authenticate(now, path, message) {
            Ok(request) => request,
            Err(_) if self.is_for_a_session(message) => {
                let owed = self.bind_of_a_session(now, path, message);
                return owed.unwrap_or_else(|refused| {
                    self.refuse(now, path, message, None, refused, reply)
                });
            }
            Err(refused) => return self.refuse(now, path, message, None, refused, reply),
        };
        // RFC 8489 §6.3.1: unknown comprehension-required attributes, once the sender is known.
        let result = if self.has_unknown_required(message) {
            reject(ErrorCode::UNKNOWN_ATTRIBUTE)
        } else {
            match message.method() {
                Method::ALLOCATE => self.allocate(now, &request, reply),
                Method::REFRESH => self.refresh(now, &request, reply),
                Method::CREATE_PERMISSION => self.create_permission(now, &request, reply),
                Method::CHANNEL_BIND => self.channel_bind(now, &request, reply),
                Method::CONNECT => self.connect(now, &request),
                Method::CONNECTION_BIND => self.connection_bind(&request),
                _ => {
                    self.stats.count_drop(Drop::Unsupported);
                    Ok(Verdict::Nothing)
                }
            }
        };
        match result {
            Ok(verdict) => verdict,
            Err(refused) => {
                let key = request.credential.response_key();
                self.refuse(now, path, message, Some(key), refused, reply)
            }
        }
    }

    /// RFC 8489 §9.2.4, in its order.
    fn authenticate<'m>(
        &self,
        now: Now,
        path: Path,
        message: &'m Message<'m>,
    ) -> Result<Request<'m>, Reject> {
        let claim = Claim::read(message)?;
        // An unknown user, and an integrity that is not theirs: 401, and the same work for both.
        // A live allocation answers for its own user, so that time-limited credentials may end
        // while a call goes on.
        let name = self.accounts.name_of(claim.user);
        let known = self.concerned(&path, message).and_then(|id| self.table.get(id));
        let proven = self.prove(now, name, claim.scheme, known, message);
        let proven = proven.filter(|_| claim.realm == self.accounts.realm());
        let (Some(name), Some((credential, authorization))) = (name, proven) else {
            return reject(ErrorCode::UNAUTHENTICATED);
        };
        // A nonce that is not ours, not this client's or old: 438.
        if !self.nonces.accepts(now.unix_secs, &path.tuple, claim.nonce, message.method()) {
            return reject(ErrorCode::STALE_NONCE);
        }
        let username = match (&authorization, claim.user) {
            (Authorization::ThirdParty(Some(session)), _) => Cow::Owned(session.account()),
            (_, User::Named(name)) => Cow::Borrowed(name),
            (_, User::Hashed(_)) => Cow::Owned(name.to_vec()),
        };
        Ok(Request { path, message, username, credential, authorization })
    }

    /// The credential that made the integrity, and by what right: that of the token which came
    /// along, of the session that the allocation belongs to, or of a user.
    fn prove(
        &self,
        now: Now,
        name: Option<&[u8]>,
        scheme: Scheme,
        known: Option<&Allocation>,
        message: &Message<'_>,
    ) -> Option<(Credential, Authorization)> {
        let token = message.find(AttributeType::ACCESS_TOKEN);
        if let (Some(third_party), Some(token)) = (self.accounts.third_party(), token) {
            let (credential, session) =
                third_party.authorize(now, name?, token, scheme.request, message)?;
            return Some((credential, Authorization::ThirdParty(Some(Box::new(session)))));
        }
        if let Some((known, session)) = known.and_then(|a| Some((a, a.session.as_deref()?)))
            && name == Some(session.kid())
        {
            let credential = session.verify(scheme.request, Some(&known.credential), message)?;
            return Some((credential, Authorization::ThirdParty(None)));
        }
        let own = known.filter(|allocation| {
            !allocation.disowned
                && allocation.session.is_none()
                && name == Some(&allocation.username.0)
                && allocation.credential.scheme() == scheme
        });
        let credential = match own.map(|allocation| &allocation.credential) {
            Some(own) => own.verifies(message).then(|| own.clone()),
            None => self.accounts.authenticate(name, scheme, now.unix_secs, message),
        }?;
        Some((credential, Authorization::FirstParty))
    }

    /// Whether some comprehension-required attribute is not understood: one that is not known, or
    /// a token where none are taken (RFC 7635 §7).
    pub(super) fn has_unknown_required(&self, message: &Message<'_>) -> bool {
        message.has_unknown_required() || self.is_unexpected_token(message)
    }

    pub(super) fn is_unexpected_token(&self, message: &Message<'_>) -> bool {
        message.has(AttributeType::ACCESS_TOKEN) && self.accounts.third_party().is_none()
    }

    /// RFC 8656 §5: all but Allocate need an allocation on their 5-tuple (437), made by the same
    /// user (441).
    pub(super) fn allocation_of(&self, request: &Request<'_>) -> Result<AllocationId, Reject> {
        let found = self.table.find(&request.path.tuple);
        let Some((id, allocation)) = found.and_then(|id| Some((id, self.table.get(id)?))) else {
            return reject(ErrorCode::ALLOCATION_MISMATCH);
        };
        if !request.owns(allocation) {
            return reject(ErrorCode::WRONG_CREDENTIALS);
        }
        if allocation.opening().is_some() {
            return reject(ErrorCode::ALLOCATION_MISMATCH);
        }
        Ok(id)
    }

    /// Writes an error response (RFC 8489 §6.3.1.1, §9.2.4): signed where the request was
    /// authenticated, with a fresh nonce where the client must try again with one.
    pub(super) fn refuse(
        &mut self,
        now: Now,
        path: Path,
        message: &Message<'_>,
        key: Option<&IntegrityKey>,
        Reject(code): Reject,
        reply: &mut [u8],
    ) -> Verdict {
        self.stats.count_error(message.method(), code);
        if code == ErrorCode::UNAUTHENTICATED {
            self.login_failed(now, path, message);
        }
        let mut writer =
            MessageWriter::new(reply, message.method(), Class::Error, message.transaction());
        match code {
            ErrorCode::UNAUTHENTICATED | ErrorCode::SERVER_ERROR => {
                // Strangers get no more than they need.
                writer.error(code, "");
            }
            _ => {
                writer.error(code, code.reason());
            }
        }
        if code == ErrorCode::UNKNOWN_ATTRIBUTE {
            let token = self.is_unexpected_token(message).then_some(AttributeType::ACCESS_TOKEN);
            let unknown = message.unknown_required();
            let unknown = unknown.filter(|kind| !self.discovery.knows(path, message, *kind));
            writer.unknown(token.into_iter().chain(unknown));
        }
        if code == ErrorCode::TRY_ALTERNATE {
            self.name_alternates(&path.tuple, &mut writer);
        }
        if matches!(code, ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE) {
            let is_real = message.bytes().len() >= REAL_ALLOCATE;
            let features = is_real.then(|| self.accounts.features(code, message));
            let nonce = self.nonces.mint(now.unix_secs, &path.tuple, features);
            writer.attribute(AttributeType::REALM, self.accounts.realm());
            writer.attribute(AttributeType::NONCE, nonce.as_bytes());
            if features.is_some_and(|features| features.password_algorithms) {
                writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &PasswordAlgorithm::OFFER);
            }
            // RFC 7635 §4: a 401 that tells of tokens tells what this server is.
            if let Some(third_party) = self.accounts.third_party()
                && is_real
                && code == ErrorCode::UNAUTHENTICATED
            {
                let name = third_party.server_name();
                writer.attribute(AttributeType::THIRD_PARTY_AUTHORIZATION, name);
                if self.software == Software::Authenticated {
                    writer.attribute(AttributeType::SOFTWARE, PRODUCT);
                }
            }
        }
        let finished = self.close(&mut writer, message.has(AttributeType::FINGERPRINT), key);
        self.replied(finished)
    }

    /// Writes a success response with the attributes that `fill` adds.
    pub(super) fn succeed(
        &mut self,
        request: &Request<'_>,
        reply: &mut [u8],
        fill: impl FnOnce(&mut MessageWriter<'_>),
    ) -> Verdict {
        let message = request.message;
        let mut writer =
            MessageWriter::new(reply, message.method(), Class::Success, message.transaction());
        fill(&mut writer);
        let fingerprint = message.has(AttributeType::FINGERPRINT);
        let key = request.credential.response_key();
        let finished = self.close(&mut writer, fingerprint, Some(key));
        self.replied(finished)
    }

    /// Ends a response: SOFTWARE for those who are told, integrity for those who are authenticated,
    /// FINGERPRINT for those who sent one.
    pub(super) fn close(
        &self,
        writer: &mut MessageWriter<'_>,
        fingerprint: bool,
        key: Option<&IntegrityKey>,
    ) -> Option<usize> {
        if self.software.is_told(key.is_some()) {
            writer.attribute(AttributeType::SOFTWARE, SOFTWARE);
        }
        if let Some(key) = key {
            writer.integrity(key);
        }
        if fingerprint {
            writer.fingerprint();
        }
        writer.finish()
    }

    /// The verdict for a reply of this length, or none where it did not fit.
    pub(super) fn replied(&mut self, length: Option<usize>) -> Verdict {
        match length {
            Some(len) => Verdict::Reply { len },
            None => {
                self.stats.count_drop(Drop::ReplyTooLong);
                Verdict::Nothing
            }
        }
    }
}
