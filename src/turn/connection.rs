//! The connections between peers and relayed addresses (RFC 6062 §5): which there are, how far
//! each has come, and their end.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::turn::Server;
use crate::turn::action::Action;
use crate::turn::claim::Credential;
use crate::turn::map::Hasher;
use crate::turn::moment::{Lifetime, Moment};
use crate::turn::table::AllocationId;
use crate::turn::timer::Timer;
use crate::turn::tuple::{ConnectionId, Path, PeerAddr, RelayId};
use crate::wire::ErrorCode;
use crate::wire::address::XorKey;

/// How long a peer may take to accept (RFC 6062 §5.2: at least 30 seconds).
pub(super) const CONNECT_TIMEOUT: Lifetime = Lifetime::from_secs(30);
/// How long a peer data connection waits to be bound (RFC 6062 §5.2, §5.3).
pub(super) const BIND_TIMEOUT: Lifetime = Lifetime::from_secs(30);

/// A connection with a peer, made or being made.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) allocation: AllocationId,
    pub(super) relay: RelayId,
    /// As the client knows it.
    pub(super) peer: PeerAddr,
    pub(super) state: State,
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum State {
    /// The shell is connecting; then the Connect that asked for it is answered.
    Connecting { asked: Box<Asked>, deadline: Moment },
    /// It waits for a ConnectionBind.
    Pending { deadline: Moment },
    /// It is joined to a client data connection.
    Active,
}

/// What is needed to answer a Connect: where it came by, and as it was signed. By then its client
/// may have moved, or shown another token.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) path: Path,
    pub(super) transaction: XorKey,
    pub(super) fingerprint: bool,
    pub(super) credential: Credential,
}

/// Every connection of a core, by its id and by whose it is.
#[derive(Debug)]
pub(super) struct Connections {
    by_id: HashMap<ConnectionId, Connection, Hasher>,
    id_by_peer: BTreeMap<(AllocationId, PeerAddr), ConnectionId>,
}

impl Connections {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self { by_id: HashMap::with_hasher(hasher), id_by_peer: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.by_id.get_mut(&id)
    }

    /// Whether the allocation has a connection with exactly this peer.
    pub(super) fn has(&self, allocation: AllocationId, peer: PeerAddr) -> bool {
        self.id_by_peer.contains_key(&(allocation, peer))
    }

    /// The connections of an allocation, in the order of their peers.
    pub(super) fn of(&self, allocation: AllocationId) -> impl Iterator<Item = ConnectionId> {
        const FIRST: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let from = (allocation, PeerAddr(FIRST));
        let all = self.id_by_peer.range(from..);
        all.take_while(move |((of, _), _)| *of == allocation).map(|(_, id)| *id)
    }

    /// Takes a connection in under a new id that says whose share it is of. The caller has made
    /// sure that the allocation has none with that peer.
    fn insert(
        &mut self,
        connection: Connection,
        share: u32,
        shares: u32,
        rng: &mut StdRng,
    ) -> ConnectionId {
        let shares = shares.max(1);
        let id = loop {
            // Below the last whole round of shares, so that none runs past the 32 bits.
            let round = rng.random_range(0..u32::MAX / shares);
            let id = ConnectionId(round * shares + share % shares);
            if !self.by_id.contains_key(&id) {
                break id;
            }
        };
        self.id_by_peer.insert((connection.allocation, connection.peer), id);
        self.by_id.insert(id, connection);
        id
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.by_id.remove(&id)?;
        self.id_by_peer.remove(&(connection.allocation, connection.peer));
        Some(connection)
    }

    /// Asserts that both indexes agree.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, is_live: impl Fn(AllocationId) -> bool) {
        assert_eq!(self.by_id.len(), self.id_by_peer.len());
        for (id, connection) in &self.by_id {
            let key = (connection.allocation, connection.peer);
            assert_eq!(self.id_by_peer.get(&key), Some(id));
            assert!(is_live(connection.allocation), "a connection outlived its allocation");
        }
    }
}

impl Connection {
    /// When its time is over, where it has one.
    fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Connecting { deadline, .. } | State::Pending { deadline } => Some(deadline),
            State::Active => None,
        }
    }
}

impl Server {
    /// Takes a connection in and has its deadline watched.
    pub(super) fn insert_connection(&mut self, connection: Connection) -> ConnectionId {
        let (share, shares) = (u32::from(self.relay.share), u32::from(self.relay.shares));
        let deadline = connection.deadline();
        let id = self.connections.insert(connection, share, shares, &mut self.rng);
        if let Some(deadline) = deadline {
            self.timers.set(deadline, Timer::Connection(id));
        }
        id
    }

    /// Moves a connection on; gives the state that it was in.
    pub(super) fn set_state(&mut self, id: ConnectionId, state: State) -> Option<State> {
        let connection = self.connections.get_mut(id)?;
        let before = connection.deadline();
        let left = mem::replace(&mut connection.state, state);
        let after = connection.deadline();
        if let Some(deadline) = before {
            self.timers.cancel(deadline, Timer::Connection(id));
        }
        if let Some(deadline) = after {
            self.timers.set(deadline, Timer::Connection(id));
        }
        Some(left)
    }

    /// Whether an allocation has as many connections as it may.
    pub(super) fn is_full_of_connections(&self, id: AllocationId) -> bool {
        let limit = self.limits.connections_per_allocation;
        self.connections.of(id).take(limit).count() >= limit
    }

    /// The shell's connection with a peer has ended, before it was joined or after.
    pub fn handle_connection_gone(&mut self, connection: ConnectionId) {
        self.forget_connection(connection);
    }

    /// Nobody has accepted, or nobody has bound, in time.
    pub(super) fn connection_due(&mut self, id: ConnectionId) {
        match self.connections.get(id).map(|connection| &connection.state) {
            Some(State::Connecting { .. }) => {
                self.refuse_connect(id, ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE);
                self.actions.push_back(Action::Disconnect { connection: id });
            }
            Some(State::Pending { .. }) => {
                self.stats.connections_unbound += 1;
                self.end_connection(id);
            }
            Some(State::Active) | None => {}
        }
    }

    /// Ends the connections that an allocation has by this relayed address.
    pub(super) fn end_connections(&mut self, allocation: AllocationId, relay: RelayId) {
        let of_relay = |id: &ConnectionId| {
            self.connections.get(*id).is_some_and(|connection| connection.relay == relay)
        };
        let ids: Vec<_> = self.connections.of(allocation).filter(of_relay).collect();
        for id in ids {
            self.end_connection(id);
        }
    }

    pub(super) fn end_connection(&mut self, id: ConnectionId) {
        if self.forget_connection(id).is_some() {
            self.actions.push_back(Action::Disconnect { connection: id });
        }
    }

    pub(super) fn forget_connection(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        if let Some(deadline) = connection.deadline() {
            self.timers.cancel(deadline, Timer::Connection(id));
        }
        Some(connection)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn an_id_says_whose_share_it_is_of_and_none_is_given_twice() {
        let mut connections = Connections::new(Hasher::with_seeds(1, 2, 3, 4));
        let mut rng = StdRng::seed_from_u64(1);
        for shares in [0_u32, 1, 2, 3, 7, 65_535] {
            for share in [0, shares / 2, shares.saturating_sub(1)] {
                let peer = PeerAddr(SocketAddr::from(([9, 0, 0, 1], connections.len() as u16)));
                let connection = Connection {
                    allocation: AllocationId::default(),
                    relay: RelayId(0),
                    peer,
                    state: State::Active,
                };
                let before = connections.len();
                let id = connections.insert(connection, share, shares, &mut rng);
                assert_eq!(id.share(shares), share);
                assert_eq!(connections.len(), before + 1);
            }
        }
    }
}
