//! ConnectionBind (RFC 6062 §5.4). It comes by a connection of its own, which the kernel may have
//! given to any core; that one authenticates it, and the core that made the id decides.

use crate::turn::Server;
use crate::turn::action::{Action, Username, Verdict};
use crate::turn::claim::Credential;
use crate::turn::connection::State;
use crate::turn::moment::Now;
use crate::turn::request::{Reject, Request, reject};
use crate::turn::tuple::{ConnectionId, Family, Path};
use crate::wire::address::XorKey;
use crate::wire::{AttributeType, Class, ErrorCode, MessageWriter, Method};

/// An authenticated ConnectionBind, on its way to the core that made the id.
#[derive(Clone, Debug)]
pub struct ConnectionBind {
    /// Which connection.
    pub connection: ConnectionId,
    user: Username,
    credential: Credential,
    transaction: XorKey,
    fingerprint: bool,
}

impl PartialEq for ConnectionBind {
    /// Without the credential, which follows from the user.
    fn eq(&self, other: &Self) -> bool {
        self.connection == other.connection
            && self.user == other.user
            && self.transaction == other.transaction
            && self.fingerprint == other.fingerprint
    }
}

impl Eq for ConnectionBind {}

impl Server {
    pub(super) fn connection_bind(&mut self, request: &Request<'_>) -> Result<Verdict, Reject> {
        // Not a stream: 400. A control connection stays one.
        let Path { tuple, .. } = request.path;
        if !tuple.transport.is_stream() || self.table.find(&tuple).is_some() {
            return reject(ErrorCode::BAD_REQUEST);
        }
        // No CONNECTION-ID, or one that is none: 400.
        let id = request.message.find(AttributeType::CONNECTION_ID);
        let Some(id) = id.and_then(|id| <[u8; 4]>::try_from(id).ok()) else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        let bind = ConnectionBind {
            connection: ConnectionId(u32::from_be_bytes(id)),
            user: Username((*request.username).into()),
            credential: request.credential.clone(),
            transaction: *request.message.transaction(),
            fingerprint: request.message.has(AttributeType::FINGERPRINT),
        };
        self.actions.push_back(Action::Bind { path: request.path, bind: Box::new(bind) });
        Ok(Verdict::Nothing)
    }

    /// A client's connection has come here with its ConnectionBind: what [`Action::Bind`] asks for.
    pub fn handle_connection_bind(&mut self, now: Now, path: Path, bind: &ConnectionBind) {
        match self.judge_bind(now, bind) {
            Ok(()) => {
                self.set_state(bind.connection, State::Active);
                self.stats.connection_binds += 1;
                self.answer_bind(path, bind, Class::Success, |_| {});
                self.actions.push_back(Action::Join { connection: bind.connection, path });
            }
            Err(Reject(code)) => self.refuse_bind(path, bind, code),
        }
    }

    /// The core that made the id can't be reached: what [`Action::Bind`] asks for otherwise.
    pub fn handle_bind_refused(&mut self, path: Path, bind: &ConnectionBind) {
        self.refuse_bind(path, bind, ErrorCode::INSUFFICIENT_CAPACITY);
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
        if allocation.username != bind.user {
            return reject(ErrorCode::WRONG_CREDENTIALS);
        }
        Ok(())
    }

    fn refuse_bind(&mut self, path: Path, bind: &ConnectionBind, code: ErrorCode) {
        self.stats.count_error(code);
        self.answer_bind(path, bind, Class::Error, |writer| {
            writer.error(code, code.reason());
        });
    }

    fn answer_bind(
        &mut self,
        path: Path,
        bind: &ConnectionBind,
        class: Class,
        fill: impl FnOnce(&mut MessageWriter<'_>),
    ) {
        let mut bytes = [0; 256];
        let (method, transaction) = (Method::CONNECTION_BIND, &bind.transaction);
        let mut writer = MessageWriter::new(&mut bytes, method, class, transaction);
        fill(&mut writer);
        if let Some(length) =
            self.close(&mut writer, bind.fingerprint, Some(bind.credential.response_key()))
        {
            self.actions.push_back(Action::Send { path, bytes: bytes[..length].into() });
        }
    }
}
