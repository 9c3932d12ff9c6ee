//! What every request of TURN goes through (RFC 8656 §5): authentication, unknown attributes,
//! and the one function that turns a [`Reject`] into a response.

use std::borrow::Cow;

use crate::turn::Server;
use crate::turn::action::Verdict;
use crate::turn::claim::{Claim, Credential, User};
use crate::turn::moment::Now;
use crate::turn::stats::Drop;
use crate::turn::table::AllocationId;
use crate::turn::tuple::Path;
use crate::wire::{
    AttributeType, Class, ErrorCode, IntegrityKey, Message, MessageWriter, Method,
    PasswordAlgorithm,
};

/// The SOFTWARE of responses to those who are told (RFC 8489 §14.14).
const SOFTWARE: &[u8] = concat!("hairpin ", env!("CARGO_PKG_VERSION")).as_bytes();

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
        // What has expired is gone, although no timer may have come by yet.
        if let Some(id) = self.table.find(&path.tuple) {
            self.end_expired(now, id);
        }
        let request = match self.authenticate(now, path, message) {
            Ok(request) => request,
            Err(refused) => return self.refuse(now, path, message, None, refused, reply),
        };
        // RFC 8489 §6.3.1: unknown comprehension-required attributes, once the sender is known.
        let result = if message.has_unknown_required() {
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
        let known = self.table.find(&path.tuple).and_then(|id| self.table.get(id));
        let own = known.filter(|allocation| {
            name == Some(&allocation.username.0) && allocation.credential.scheme() == claim.scheme
        });
        let credential = match own.map(|allocation| &allocation.credential) {
            Some(own) => own.verifies(message).then(|| own.clone()),
            None => self.accounts.authenticate(name, claim.scheme, now.unix_secs, message),
        };
        let credential = credential.filter(|_| claim.realm == self.accounts.realm());
        let (Some(name), Some(credential)) = (name, credential) else {
            return reject(ErrorCode::UNAUTHENTICATED);
        };
        // A nonce that is not ours, not this client's or old: 438.
        if !self.nonces.accepts(now.unix_secs, &path.tuple, claim.nonce) {
            return reject(ErrorCode::STALE_NONCE);
        }
        let username = match claim.user {
            User::Named(name) => Cow::Borrowed(name),
            User::Hashed(_) => Cow::Owned(name.to_vec()),
        };
        Ok(Request { path, message, username, credential })
    }

    /// RFC 8656 §5: all but Allocate need an allocation on their 5-tuple (437), made by the same
    /// user (441).
    pub(super) fn allocation_of(&self, request: &Request<'_>) -> Result<AllocationId, Reject> {
        let found = self.table.find(&request.path.tuple);
        let Some((id, allocation)) = found.and_then(|id| Some((id, self.table.get(id)?))) else {
            return reject(ErrorCode::ALLOCATION_MISMATCH);
        };
        if *allocation.username.0 != *request.username {
            return reject(ErrorCode::WRONG_CREDENTIALS);
        }
        if allocation.opening.is_some() {
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
        self.stats.count_error(code);
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
            let unknown = message.unknown_required();
            writer.unknown(unknown.filter(|kind| !self.discovery.knows(path, message, *kind)));
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
