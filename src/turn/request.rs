//! What every request of TURN goes through (RFC 8656 §5): authentication, unknown attributes,
//! and the one function that turns a [`Reject`] into a response.

use crate::turn::Server;
use crate::turn::action::Verdict;
use crate::turn::moment::Now;
use crate::turn::stats::Drop;
use crate::turn::table::AllocationId;
use crate::turn::tuple::Path;
use crate::wire::{AttributeType, Class, ErrorCode, IntegrityKey, Message, MessageWriter, Method};

/// The SOFTWARE of responses to authenticated clients (RFC 8489 §14.14).
const SOFTWARE: &[u8] = concat!("hairpin ", env!("CARGO_PKG_VERSION")).as_bytes();

/// The shortest request that gets a nonce with the cookie: an Allocate with what it must carry.
const REAL_ALLOCATE: usize = 28;

/// An authenticated request.
#[derive(Debug)]
pub(super) struct Request<'m> {
    pub(super) path: Path,
    pub(super) message: &'m Message<'m>,
    pub(super) username: &'m [u8],
    pub(super) key: IntegrityKey,
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
        self.end_if_expired(now, &path.tuple);
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
                _ => {
                    self.stats.count_drop(Drop::Unsupported);
                    Ok(Verdict::Nothing)
                }
            }
        };
        match result {
            Ok(verdict) => verdict,
            Err(refused) => self.refuse(now, path, message, Some(&request.key), refused, reply),
        }
    }

    /// RFC 8489 §9.2.4, in its order.
    fn authenticate<'m>(
        &self,
        now: Now,
        path: Path,
        message: &'m Message<'m>,
    ) -> Result<Request<'m>, Reject> {
        // No message integrity: 401.
        if !message.has(AttributeType::MESSAGE_INTEGRITY) {
            return reject(ErrorCode::UNAUTHENTICATED);
        }
        // Integrity without what it is made from: 400.
        let (Some(username), Some(realm), Some(nonce)) = (
            message.find(AttributeType::USERNAME),
            message.find(AttributeType::REALM),
            message.find(AttributeType::NONCE),
        ) else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        // An unknown user, and an integrity that is not theirs: 401, and the same work for both.
        // A live allocation answers for its own user, so that time-limited credentials may end
        // while a call goes on.
        let known = self.table.find(&path.tuple).and_then(|id| self.table.get(id));
        let key = match known.filter(|allocation| *allocation.username.0 == *username) {
            Some(own) => own.key.verifies(message).then(|| own.key.clone()),
            None => self.accounts.authenticate(username, now.unix_secs, message),
        };
        let Some(key) = key.filter(|_| realm == self.accounts.realm()) else {
            return reject(ErrorCode::UNAUTHENTICATED);
        };
        // A nonce that is not ours, not this client's or old: 438.
        if !self.nonces.accepts(now.unix_secs, &path.tuple, nonce) {
            return reject(ErrorCode::STALE_NONCE);
        }
        Ok(Request { path, message, username, key })
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
            ErrorCode::UNAUTHENTICATED => {
                // Strangers get no more than they need.
                writer.error(code, "");
            }
            _ => {
                writer.error(code, code.reason());
            }
        }
        if code == ErrorCode::UNKNOWN_ATTRIBUTE {
            writer.unknown(message.unknown_required());
        }
        if matches!(code, ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE) {
            let with_cookie = message.bytes().len() >= REAL_ALLOCATE;
            let nonce = self.nonces.mint(now.unix_secs, &path.tuple, with_cookie);
            writer.attribute(AttributeType::REALM, self.accounts.realm());
            writer.attribute(AttributeType::NONCE, nonce.as_bytes());
        }
        let finished = close(&mut writer, message.has(AttributeType::FINGERPRINT), key);
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
        let finished = close(&mut writer, fingerprint, Some(&request.key));
        self.replied(finished)
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

/// Ends a response: SOFTWARE and integrity for those who are authenticated, FINGERPRINT for those
/// who sent one.
pub(super) fn close(
    writer: &mut MessageWriter<'_>,
    fingerprint: bool,
    key: Option<&IntegrityKey>,
) -> Option<usize> {
    if let Some(key) = key {
        writer.attribute(AttributeType::SOFTWARE, SOFTWARE);
        writer.integrity(key);
    }
    if fingerprint {
        writer.fingerprint();
    }
    writer.finish()
}
