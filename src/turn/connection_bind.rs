//! ConnectionBind (RFC 6062 §5.4). It comes by a connection of its own, which the kernel may have
//! given to any core; that one authenticates it, and the core that made the id decides.
//!
//! Of a session that came from a token only the core with the allocation knows the key, and what
//! is signed with that key carries no token (RFC 7635 §9). There the core that made the id does
//! both.

use crate::turn::Server;
use crate::turn::action::{Action, Username, Verdict};
use crate::turn::claim::{Claim, Credential};
use crate::turn::connection::State;
use crate::turn::moment::Now;
use crate::turn::request::{Reject, Request, reject};
use crate::turn::third_party::{Authorization, Session};
use crate::turn::tuple::{ConnectionId, Family, Path};
use crate::wire::address::XorKey;
use crate::wire::{AttributeType, Class, ErrorCode, Message, MessageWriter, Method};

/// A ConnectionBind on its way to the core that made the id.
#[derive(Clone, Debug)]
pub struct ConnectionBind {
    /// Which connection.
    pub connection: ConnectionId,
    proof: Proof,
    transaction: XorKey,
    fingerprint: bool,
}

impl ConnectionBind {
    /// Whether anybody knows whom it is from. Of a session only the core that made the id does, so
    /// anybody may say that it is from one.
    pub fn is_authenticated(&self) -> bool {
        self.proof.credential().is_some()
    }
}

impl PartialEq for ConnectionBind {
    /// Without the proof: the transaction tells one request from another.
    fn eq(&self, other: &Self) -> bool {
        self.connection == other.connection
            && self.transaction == other.transaction
            && self.fingerprint == other.fingerprint
    }
}

impl Eq for ConnectionBind {}

/// The longest request that is kept until another core has verified it: a real one has a third of
/// this with the longest names.
const OWED_MAX: usize = 2048;

/// Whom it is from.
#[derive(Clone, Debug)]
enum Proof {
    /// A user, by this credential.
    Account { user: Username, credential: Credential },
    /// The bearer of a token that came along, which gave this session.
    Token { session: Option<Box<Session>>, credential: Credential },
    /// Whoever has the key of the allocation's session, if this request is signed with it.
    Owed(Box<[u8]>),
}

impl Proof {
    fn credential(&self) -> Option<&Credential> {
        match self {
            Self::Account { credential, .. } | Self::Token { credential, .. } => Some(credential),
            Self::Owed(_) => None,
        }
    }
}

impl Server {
    pub(super) fn connection_bind(&mut self, request: &Request<'_>) -> Result<Verdict, Reject> {
        let credential = request.credential.clone();
        let proof = match request.authorization.clone() {
            Authorization::FirstParty => {
                Proof::Account { user: Username((*request.username).into()), credential }
            }
            Authorization::ThirdParty(session) => Proof::Token { session, credential },
        };
        self.take_to_its_core(request.path, request.message, proof)
    }

    /// Whether this may be signed with the key of a session that another core, or another 5-tuple
    /// here, has.
    pub(super) fn is_for_a_session(&self, message: &Message<'_>) -> bool {
        let Some(third_party) = self.accounts.third_party() else { return false };
        message.method() == Method::CONNECTION_BIND
            && message.bytes().len() <= OWED_MAX
            && !message.has(AttributeType::ACCESS_TOKEN)
            && !message.has_unknown_required()
            && Claim::read(message).is_ok_and(|claim| {
                self.accounts.name_of(claim.user).is_some_and(|name| third_party.is_kid(name))
                    && claim.realm == self.accounts.realm()
            })
    }

    /// Such a request: the core that made the id says whether it is. A good nonce comes first, so
    /// that whoever has it asked has been here before.
    pub(super) fn bind_of_a_session(
        &mut self,
        now: Now,
        path: Path,
        message: &Message<'_>,
    ) -> Result<Verdict, Reject> {
        let nonce = message.find(AttributeType::NONCE).unwrap_or_default();
        if !self.nonces.accepts(now.unix_secs, &path.tuple, nonce, message.method()) {
            return reject(ErrorCode::STALE_NONCE);
        }
        self.take_to_its_core(path, message, Proof::Owed(message.bytes().into()))
    }

    fn take_to_its_core(
        &mut self,
        path: Path,
        message: &Message<'_>,
        proof: Proof,
    ) -> Result<Verdict, Reject> {
        // Not a stream: 400. A control connection stays one.
        let tuple = path.tuple;
        if !tuple.transport.is_stream() || self.table.find(&tuple).is_some() {
            return reject(ErrorCode::BAD_REQUEST);
        }
        // No CONNECTION-ID, or one that is none: 400.
        let id = message.find(AttributeType::CONNECTION_ID);
        let Some(id) = id.and_then(|id| <[u8; 4]>::try_from(id).ok()) else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        let bind = ConnectionBind {
            connection: ConnectionId(u32::from_be_bytes(id)),
            proof,
            transaction: *message.transaction(),
            fingerprint: message.has(AttributeType::FINGERPRINT),
        };
        self.actions.push_back(Action::Bind { path, bind: Box::new(bind) });
        Ok(Verdict::Nothing)
    }

    /// A client's connection has come here with its ConnectionBind: what [`Action::Bind`] asks for.
    pub fn handle_connection_bind(&mut self, now: Now, path: Path, bind: &ConnectionBind) {
        let given = bind.proof.credential().cloned();
        let Some(credential) = given.or_else(|| self.session_credential(bind)) else {
            return self.challenge_bind(now, path, bind);
        };
        match self.judge_bind(now, bind) {
            Ok(()) => {
                self.set_state(bind.connection, State::Active);
                self.stats.connection_binds += 1;
                self.answer_bind(path, bind, Some(&credential), Class::Success, |_| {});
                self.actions.push_back(Action::Join { connection: bind.connection, path });
            }
            Err(Reject(code)) => self.refuse_bind(path, bind, Some(&credential), code),
        }
    }

    /// The core that made the id can't be reached: what [`Action::Bind`] asks for otherwise.
    pub fn handle_bind_refused(&mut self, path: Path, bind: &ConnectionBind) {
        let code = ErrorCode::INSUFFICIENT_CAPACITY;
        self.refuse_bind(path, bind, bind.proof.credential(), code);
    }

    /// The credential of the session that the request is signed with, if its connection is that
    /// session's.
    fn session_credential(&self, bind: &ConnectionBind) -> Option<Credential> {
        let Proof::Owed(bytes) = &bind.proof else { return None };
        let message = Message::parse(bytes).ok()?;
        let claim = Claim::read(&message).ok()?;
        let connection = self.connections.get(bind.connection)?;
        let allocation = self.table.get(connection.allocation)?;
        let session = allocation.session.as_deref()?;
        if self.accounts.name_of(claim.user) != Some(session.kid()) {
            return None;
        }
        session.verify(claim.scheme.request, Some(&allocation.credential), &message)
    }

    fn judge_bind(&self, now: Now, bind: &ConnectionBind) -> Result<(), Reject> {
        // Not the id of a connection that waits to be bound: 400.
        let connection = self.connections.get(bind.connection);
        let waits = connection.is_some_and(|connection| match connection.state {
            State::Pending { deadline } => deadline > now.moment,
            State::Connecting { .. } | State::Active => false,
        });
        let Some(connection) = connection.filter(|_| waits) else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        let family = Family::of(connection.peer.0.ip());
        let allocation = self.table.get(connection.allocation);
        let Some(allocation) = allocation.filter(|allocation| allocation.is_live(now, family))
        else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        // Somebody else's: 441, as for every request about an allocation (RFC 8656 §5).
        let is_theirs = match &bind.proof {
            Proof::Account { user, .. } => {
                allocation.session.is_none() && allocation.username == *user
            }
            // The connection's id may have been seen on the way: no other bearer will do.
            Proof::Token { session, .. } => {
                let own = allocation.session.as_deref();
                own.zip(session.as_deref()).is_some_and(|(own, shown)| own.is_bearer_of(shown))
            }
            // By now it is known to be signed with the session's key.
            Proof::Owed(_) => allocation.session.is_some(),
        };
        if !is_theirs {
            return reject(ErrorCode::WRONG_CREDENTIALS);
        }
        Ok(())
    }

    /// Neither a session's key nor anything else: 401, whether there is such a connection or not.
    fn challenge_bind(&mut self, now: Now, path: Path, bind: &ConnectionBind) {
        let Proof::Owed(bytes) = &bind.proof else { return };
        let Ok(message) = Message::parse(bytes) else { return };
        let mut reply = [0; 1500];
        let refused = Reject(ErrorCode::UNAUTHENTICATED);
        if let Verdict::Reply { len } = self.refuse(now, path, &message, None, refused, &mut reply)
        {
            self.actions.push_back(Action::Send { path, bytes: reply[..len].into() });
        }
    }

    fn refuse_bind(
        &mut self,
        path: Path,
        bind: &ConnectionBind,
        credential: Option<&Credential>,
        code: ErrorCode,
    ) {
        self.stats.count_error(Method::CONNECTION_BIND, code);
        self.answer_bind(path, bind, credential, Class::Error, |writer| {
            writer.error(code, code.reason());
        });
    }

    fn answer_bind(
        &mut self,
        path: Path,
        bind: &ConnectionBind,
        credential: Option<&Credential>,
        class: Class,
        fill: impl FnOnce(&mut MessageWriter<'_>),
    ) {
        let mut bytes = [0; 256];
        let (method, transaction) = (Method::CONNECTION_BIND, &bind.transaction);
        let mut writer = MessageWriter::new(&mut bytes, method, class, transaction);
        fill(&mut writer);
        let key = credential.map(Credential::response_key);
        if let Some(length) = self.close(&mut writer, bind.fingerprint, key) {
            self.actions.push_back(Action::Send { path, bytes: bytes[..length].into() });
        }
    }
}
