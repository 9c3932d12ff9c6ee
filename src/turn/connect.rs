//! Connect (RFC 6062 §5.2), and connections that come from peers (§5.3).

use crate::turn::Server;
use crate::turn::action::{Action, Verdict};
use crate::turn::connection::{Asked, BIND_TIMEOUT, CONNECT_TIMEOUT, Connection, State};
use crate::turn::moment::Now;
use crate::turn::request::{Reject, Request, reject};
use crate::turn::stats::Drop;
use crate::turn::tuple::{ConnectionId, Family, PeerAddr, Protocol, RelayId, RelayedAddr};
use crate::wire::{AttributeType, Class, ErrorCode, MessageWriter, Method};

/// The peer did not accept, or could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// By the peer's or the network's doing (447).
    Failed,
    /// There are as many connections with peers as there may be, or no descriptors (508).
    NoRoom,
}

impl Server {
    pub(super) fn connect(&mut self, now: Now, request: &Request<'_>) -> Result<Verdict, Reject> {
        // No TCP allocation on this connection: 437.
        let id = self.allocation_of(request)?;
        let allocation = self.table.get(id).filter(|a| a.protocol == Protocol::Tcp);
        let allocation = allocation.ok_or(Reject(ErrorCode::ALLOCATION_MISMATCH))?;

        // A peer to which there is a connection, or soon will be: 446.
        let peer = request.message.xor_address(AttributeType::XOR_PEER_ADDRESS);
        if let Some(Ok(peer)) = peer
            && self.connections.has(id, PeerAddr(peer))
        {
            return reject(ErrorCode::CONNECTION_ALREADY_EXISTS);
        }

        // No peer or an invalid one: 400. Nobody listens at port 0.
        let Some(Ok(peer)) = peer.filter(|peer| peer.is_ok_and(|peer| peer.port() != 0)) else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        let peer = PeerAddr(peer);

        // A peer of another family than the relayed address: 443 (RFC 8656 §19).
        let Some(relay) = allocation.relay(Family::of(peer.0.ip())) else {
            return reject(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
        };

        // A peer that must not be reached: 403. No permission is asked for: it is the client that
        // wants this connection.
        let ports = self.permitted_ports(id, peer)?;
        if !self.may_pass(ports, Protocol::Tcp, peer) {
            return reject(ErrorCode::FORBIDDEN);
        }

        // More than the allocation may have: 508.
        if self.is_full_of_connections(id) {
            self.stats.connections_over_limit += 1;
            return reject(ErrorCode::INSUFFICIENT_CAPACITY);
        }

        let asked = Box::new(Asked {
            path: request.path,
            transaction: *request.message.transaction(),
            fingerprint: request.message.has(AttributeType::FINGERPRINT),
            credential: request.credential.clone(),
        });
        let state = State::Connecting { asked, deadline: now.moment + CONNECT_TIMEOUT };
        let connection = self.insert_connection(Connection { allocation: id, relay, peer, state });
        // Only a relay of ours is translated: anything else was judged as it was written.
        let local = self.to_local(peer);
        let owner = self.table.owner_by(Protocol::Tcp, local);
        let peer = if owner.is_some() { PeerAddr(local.0) } else { peer };
        self.actions.push_back(Action::Connect { connection, relay, peer });
        Ok(Verdict::Nothing)
    }

    /// What became of [`Action::Connect`].
    pub fn handle_connected(
        &mut self,
        now: Now,
        id: ConnectionId,
        result: Result<(), ConnectError>,
    ) {
        let Some(connection) = self.connections.get(id) else { return };
        let State::Connecting { asked, .. } = &connection.state else { return };
        let code = match result {
            // By now there is nobody to bind it.
            Ok(()) if self.table.find(&asked.path.tuple) != Some(connection.allocation) => {
                return self.end_connection(id);
            }
            Ok(()) => return self.connected(now, id),
            Err(ConnectError::Failed) => ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE,
            Err(ConnectError::NoRoom) => ErrorCode::INSUFFICIENT_CAPACITY,
        };
        self.refuse_connect(id, code);
    }

    fn connected(&mut self, now: Now, id: ConnectionId) {
        let pending = State::Pending { deadline: now.moment + BIND_TIMEOUT };
        let Some(State::Connecting { asked, .. }) = self.set_state(id, pending) else { return };
        self.stats.connects += 1;
        self.answer_connect(&asked, Class::Success, |writer| {
            writer.attribute(AttributeType::CONNECTION_ID, &id.0.to_be_bytes());
        });
    }

    /// Forgets a connection, and answers the Connect that asked for it with an error.
    pub(super) fn refuse_connect(&mut self, id: ConnectionId, code: ErrorCode) {
        let refused = self.forget_connection(id).map(|connection| connection.state);
        let Some(State::Connecting { asked, .. }) = refused else { return };
        self.stats.count_error(Method::CONNECT, code);
        self.answer_connect(&asked, Class::Error, |writer| {
            writer.error(code, code.reason());
        });
    }

    /// Sends a late response by the control connection that the request came by.
    fn answer_connect(
        &mut self,
        asked: &Asked,
        class: Class,
        fill: impl FnOnce(&mut MessageWriter<'_>),
    ) {
        let mut bytes = [0; 256];
        let mut writer = MessageWriter::new(&mut bytes, Method::CONNECT, class, &asked.transaction);
        fill(&mut writer);
        self.close(&mut writer, asked.fingerprint, Some(asked.credential.response_key()));
        if let Some(bytes) = writer.written() {
            let bytes = bytes.into();
            self.actions.push_back(Action::Send { path: asked.path, bytes });
        }
    }

    /// A peer has connected to a relayed address (RFC 6062 §5.3). Gives the connection's id, or
    /// nothing where it must be closed at once.
    pub fn handle_peer_connected(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: PeerAddr,
    ) -> Option<ConnectionId> {
        match self.admit(now, relay, peer) {
            Ok(id) => Some(id),
            Err(reason) => {
                self.stats.count_drop(reason);
                None
            }
        }
    }

    fn admit(&mut self, now: Now, relay: RelayId, peer: PeerAddr) -> Result<ConnectionId, Drop> {
        let peer = PeerAddr(self.to_external(RelayedAddr(peer.0)));
        let (id, allocation) = self.hearer(now, relay, peer, false)?;
        let path = allocation.control_path();
        // One connection with a peer at a time: what was there before has not ended yet for us.
        if self.connections.has(id, peer) || self.is_full_of_connections(id) {
            self.stats.connections_over_limit += 1;
            return Err(Drop::TooMany);
        }
        let state = State::Pending { deadline: now.moment + BIND_TIMEOUT };
        let connection = self.insert_connection(Connection { allocation: id, relay, peer, state });
        self.stats.connection_attempts += 1;

        let transaction = self.indication_id();
        let mut bytes = [0; 128];
        let (method, class) = (Method::CONNECTION_ATTEMPT, Class::Indication);
        let mut writer = MessageWriter::new(&mut bytes, method, class, &transaction);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer.0);
        writer.attribute(AttributeType::CONNECTION_ID, &connection.0.to_be_bytes());
        if let Some(bytes) = writer.written() {
            self.actions.push_back(Action::Send { path, bytes: bytes.into() });
        }
        Ok(connection)
    }
}
