//! One core: its tables, and which handler a packet goes to.

use std::collections::{HashMap, VecDeque};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::turn::acl::Acl;
use crate::turn::action::{Action, ReservationToken, Verdict};
use crate::turn::alternate::Alternates;
use crate::turn::auth::Accounts;
use crate::turn::config::{Config, Limits, Relay, Software};
use crate::turn::connection::Connections;
use crate::turn::discovery::Discovery;
use crate::turn::map::{Hasher, hasher};
use crate::turn::moment::{Moment, Now};
use crate::turn::nonce::NonceMint;
use crate::turn::port::Ports;
use crate::turn::record::Ending;
use crate::turn::stats::{Drop, Stats};
use crate::turn::table::{Allocation, AllocationId, Owner, Table, slot};
use crate::turn::ticket::TicketMint;
use crate::turn::timer::{Timer, Timers};
use crate::turn::tuple::{
    CoreId, Family, FiveTuple, Path, PeerAddr, Protocol, RelayId, RelayedAddr,
};
use crate::wire::{Class, Kind, Message, Method, ParseError, kind_of};

/// How many deadlines one call of [`Server::handle_timeout`] serves, so that many at once hold
/// nobody's packets up.
const DEADLINES_PER_CALL: usize = 128;

/// A TURN server without sockets or clock. The contract is at the head of [`crate::turn`].
#[derive(Debug)]
pub struct Server {
    pub(super) accounts: Accounts,
    pub(super) nonces: NonceMint,
    pub(super) tickets: TicketMint,
    pub(super) acl: Acl,
    pub(super) relay: Relay,
    pub(super) limits: Limits,
    pub(super) software: Software,
    pub(super) alternates: Alternates,
    pub(super) table: Table,
    pub(super) connections: Connections,
    pub(super) timers: Timers,
    pub(super) ports: Ports,
    /// Ports that this core holds for others, until their time is over.
    pub(super) reservations: HashMap<ReservationToken, RelayedAddr, Hasher>,
    pub(super) actions: VecDeque<Action>,
    pub(super) discovery: Discovery,
    pub(super) stats: Stats,
    pub(super) rng: StdRng,
}

impl Server {
    /// A core with nothing in it. All its randomness comes from `seed`.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let keyed = hasher(&mut rng);
        let Config { realm, credentials, relay, acl, limits, software, discovery, alternates } =
            config;
        Self {
            accounts: Accounts::new(&realm, &credentials, keyed.clone()),
            tickets: TicketMint::new(&credentials.nonce_key),
            nonces: NonceMint::new(&credentials.nonce_key, limits.nonce_lifetime),
            acl,
            limits,
            software,
            alternates: Alternates::new(alternates, relay.share),
            table: Table::new(keyed.clone()),
            connections: Connections::new(keyed.clone()),
            timers: Timers::default(),
            ports: Ports::new(&relay, keyed.clone()),
            relay,
            discovery: Discovery::new(discovery, keyed.clone()),
            reservations: HashMap::with_hasher(keyed),
            actions: VecDeque::new(),
            stats: Stats::default(),
            rng,
        }
    }

    /// A packet from a client: a datagram, or a frame of a stream. An answer is written to the
    /// front of `reply`, which has room for 1500 bytes or more; for 1700 where there is discovery.
    #[inline]
    pub fn handle_client(
        &mut self,
        now: Now,
        path: Path,
        packet: &[u8],
        reply: &mut [u8],
    ) -> Verdict {
        match kind_of(packet) {
            Kind::ChannelData => self.channel_data(now, path, packet),
            Kind::Stun => match Message::parse(packet) {
                Ok(message) => self.handle_message(now, path, &message, reply),
                Err(ParseError::Fingerprint) => self.dropped(Drop::Fingerprint),
                Err(_) => self.dropped(Drop::Malformed),
            },
            Kind::Unknown => self.dropped(Drop::Malformed),
        }
    }

    fn handle_message(
        &mut self,
        now: Now,
        path: Path,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        match (message.class(), message.method()) {
            (Class::Request, Method::BINDING) => self.binding(now, path, message, reply),
            // Only Binding has a classic form (RFC 8656 §5).
            _ if message.is_classic() => self.classic(now, path, message, reply),
            (Class::Indication, Method::SEND) => self.send(now, path, message),
            (
                Class::Request,
                Method::ALLOCATE
                | Method::REFRESH
                | Method::CREATE_PERMISSION
                | Method::CHANNEL_BIND
                | Method::CONNECT
                | Method::CONNECTION_BIND,
            ) => self.handle_request(now, path, message, reply),
            // A keep-alive (RFC 8489 §6.3.2): good as it is.
            (Class::Indication, Method::BINDING) => Verdict::Nothing,
            (Class::Success | Class::Error, _) => self.dropped(Drop::Response),
            // RFC 8489 §6.3: methods and classes that we do not speak are silently discarded.
            _ => self.dropped(Drop::Unsupported),
        }
    }

    /// Another core has opened or closed a relay socket at `address`.
    pub fn handle_relay_elsewhere(&mut self, address: RelayedAddr, core: CoreId, open: bool) {
        self.note_elsewhere(Protocol::Udp, address, core, open);
    }

    /// Another core has begun or ceased to listen for peers at `address`.
    pub fn handle_listener_elsewhere(&mut self, address: RelayedAddr, core: CoreId, open: bool) {
        self.note_elsewhere(Protocol::Tcp, address, core, open);
    }

    fn note_elsewhere(
        &mut self,
        protocol: Protocol,
        address: RelayedAddr,
        core: CoreId,
        open: bool,
    ) {
        // Announcements may come late: what this core, or a third, has opened since is theirs.
        let is_stale = match self.table.owner_by(protocol, address) {
            Some(Owner::Here(_)) => true,
            Some(Owner::Elsewhere(owner)) => !open && owner != core,
            None => false,
        };
        if !is_stale {
            self.table.mark_elsewhere(protocol, address, core, open);
            self.mark_port(address);
        }
        self.note_own(address);
    }

    /// What relays is an address of this server, even one that it got after its start.
    pub(super) fn note_own(&mut self, local: RelayedAddr) {
        self.acl.add_own(local.0.ip());
        self.acl.add_own(self.to_external(local).ip());
    }

    /// Serves the deadlines that have passed, as many as one call may; while
    /// [`Server::poll_timeout`] is not in the future, call again.
    pub fn handle_timeout(&mut self, now: Now) {
        for _ in 0..DEADLINES_PER_CALL {
            match self.timers.pop_due(now.moment) {
                Some(Timer::Allocation(id)) => self.end_expired(now, id),
                Some(Timer::Permission(id, ip)) => {
                    let gone = self.table.get_mut(id).and_then(|a| a.permissions.remove(&ip));
                    self.stats.permissions -= u64::from(gone.is_some());
                }
                Some(Timer::Channel(id, number)) => self.unbind(id, number),
                Some(Timer::Reservation(token)) => self.end_reservation(token),
                Some(Timer::Connection(id)) => self.connection_due(id),
                None => return,
            }
        }
    }

    /// What the shell must do next; drain it after each `handle_*`.
    #[inline]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Server::handle_timeout`] wants to be called.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// Whether the 5-tuple has an allocation, open or being opened.
    pub fn has_allocation(&self, tuple: &FiveTuple) -> bool {
        self.table.find(tuple).is_some()
    }

    /// What this core has done, and what it holds.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.allocations = self.table.len() as u64;
        stats.connections = self.connections.len() as u64;
        stats.timers = self.timers.len() as u64;
        stats
    }

    /// Ends an allocation and everything in it, now.
    pub(super) fn end_allocation(&mut self, now: Now, id: AllocationId, ending: Ending) {
        if self.table.get_mut(id).is_some_and(Allocation::defer_end) {
            return;
        }
        for family in [Family::V4, Family::V6] {
            self.close_family(id, family);
        }
        self.leave_all(id);
        let Some(allocation) = self.table.remove(id) else { return };
        self.timers.cancel(allocation.expiry.first(), Timer::Allocation(id));
        for (ip, permission) in &allocation.permissions {
            self.timers.cancel(permission.expires, Timer::Permission(id, *ip));
        }
        self.stats.permissions -= allocation.permissions.len() as u64;
        if allocation.opening().is_none() {
            self.stats.allocations_ended += 1;
        }
        if allocation.charged {
            let record = Box::new(Self::record(now, id, &allocation));
            self.actions.push_back(Action::AllocationEnded { record, ending });
        }
    }

    /// Ends one half of a dual allocation; the last half is the end of all of it.
    pub(super) fn end_family(
        &mut self,
        now: Now,
        id: AllocationId,
        family: Family,
        ending: Ending,
    ) {
        self.close_family(id, family);
        match self.table.get_mut(id) {
            Some(allocation) if allocation.relays == [None; 2] => {
                self.end_allocation(now, id, ending);
            }
            Some(allocation) => {
                let gone: Vec<_> = allocation
                    .permissions
                    .iter()
                    .filter(|(ip, _)| Family::of(**ip) == family)
                    .map(|(ip, permission)| (*ip, permission.expires))
                    .collect();
                for (ip, expires) in gone {
                    allocation.permissions.remove(&ip);
                    self.timers.cancel(expires, Timer::Permission(id, ip));
                    self.stats.permissions -= 1;
                }
                let expiry = allocation.expiry.without(family);
                self.set_expiry(id, expiry);
            }
            None => {}
        }
    }

    /// Closes a family's relay socket with the channels that lead through it.
    fn close_family(&mut self, id: AllocationId, family: Family) {
        let Some(allocation) = self.table.get(id) else { return };
        let Some(relay) = allocation.relays[slot(family)] else { return };
        let mut channels: Vec<_> = allocation
            .channels
            .iter()
            .filter(|(_, channel)| channel.relay == relay)
            .map(|(number, _)| *number)
            .collect();
        channels.sort_unstable();
        for number in channels {
            self.unbind(id, number);
        }
        self.end_connections(id, relay);
        self.close_relay(relay);
    }

    fn close_relay(&mut self, relay: RelayId) {
        if let Some(gone) = self.table.remove_relay(relay) {
            self.mark_port(gone.local);
            self.actions.push_back(Action::CloseRelay { relay });
        }
    }

    /// Ends the time of a reserved port.
    pub(super) fn end_reservation(&mut self, token: ReservationToken) {
        if let Some(address) = self.reservations.remove(&token) {
            // Somebody may have taken it; then it is theirs to give back.
            self.mark_port(address);
            self.actions.push_back(Action::DropReserved { token });
        }
    }

    /// A port is taken while anybody relays there by either protocol.
    fn mark_port(&mut self, address: RelayedAddr) {
        let has = |protocol| self.table.owner_by(protocol, address).is_some();
        let is_taken = has(Protocol::Udp) || has(Protocol::Tcp);
        self.ports.mark(address.0, is_taken);
    }

    /// Asserts that all tables agree with each other.
    #[cfg(any(test, debug_assertions))]
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.table.check();
        self.connections.check(|id| self.table.get(id).is_some());
    }

    /// Whether `peer` is open for relaying anywhere on this server; for simulations.
    #[doc(hidden)]
    pub fn is_relayed_addr(&self, peer: PeerAddr) -> bool {
        self.is_own_relay(Protocol::Udp, peer)
    }
}
