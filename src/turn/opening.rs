//! The second half of Allocate: sockets are asked for one by one, and the answer leaves when the
//! last has come (RFC 8656 §7.2). A failed family is told in the success, a failed allocation in
//! an error, and nothing stays behind.

use std::net::{IpAddr, SocketAddr};

use rand::RngExt as _;

use crate::turn::Server;
use crate::turn::action::{Action, OpenError, Reservation, ReservationToken};
use crate::turn::moment::{Lifetime, Moment, Now};
use crate::turn::port::PortWish;
use crate::turn::record::Ending;
use crate::turn::table::{Allocation, AllocationId, Relay, slot};
use crate::turn::timer::Timer;
use crate::turn::tuple::{Family, Protocol, RelayId, RelayedAddr};
use crate::wire::{AttributeType, Class, ErrorCode, MessageWriter, Method};

/// How long a reserved port is held (RFC 8656 §7.2: at least 30 seconds).
const RESERVATION_LIFETIME: Lifetime = Lifetime::from_secs(30);
/// How many ports are tried before the server gives up with 508.
const PORT_ATTEMPTS: usize = 16;

/// What an Allocate asks for, beyond the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) protocol: Protocol,
    pub(super) port: PortWish,
    pub(super) token: Option<ReservationToken>,
    /// The families wanted, in the order in which they are opened.
    pub(super) families: [Option<Family>; 2],
    pub(super) lifetime: Lifetime,
    /// Whether the client wants a ticket (RFC 8016).
    pub(super) mobile: bool,
}

/// An allocation on its way: what is still to be opened, and what came of the rest.
#[derive(Debug)]
pub(super) struct Opening {
    wish: Wish,
    /// Position in `wish.families` of the family being opened.
    at: usize,
    /// Ports that were taken when they were tried; marked until this family is done.
    tried: Vec<RelayedAddr>,
    /// The first family that failed, and why.
    failed: Option<(Family, ErrorCode)>,
    /// Whether the answer carries FINGERPRINT, as the request did.
    fingerprint: bool,
    /// Whether the shell has been asked for a socket and has not answered.
    asked: bool,
    /// Whether the allocation ends as soon as it has.
    doomed: bool,
}

impl Opening {
    pub(super) fn new(wish: Wish, fingerprint: bool) -> Self {
        Self {
            wish,
            at: 0,
            tried: Vec::new(),
            failed: None,
            fingerprint,
            asked: false,
            doomed: false,
        }
    }

    /// What its sockets speak.
    pub(super) fn protocol(&self) -> Protocol {
        self.wish.protocol
    }

    /// Notes that the allocation shall end; true where that must wait for the shell's answer.
    pub(super) fn defer_end(&mut self) -> bool {
        self.doomed = true;
        self.asked
    }
}

impl Server {
    /// Asks for the socket of the family whose turn it is.
    pub(super) fn open_next(&mut self, now: Now, id: AllocationId) {
        loop {
            let Some(allocation) = self.table.get(id) else { return };
            let Some(opening) = allocation.opening() else { return };
            let Some(family) = opening.wish.families.get(opening.at).copied().flatten() else {
                return self.finish(now, id);
            };
            match self.ask_for(id, family) {
                Ok(()) => return,
                Err(code) => self.fail_family(id, family, code),
            }
        }
    }

    /// Chooses a port and queues the action that opens it.
    fn ask_for(&mut self, id: AllocationId, family: Family) -> Result<(), ErrorCode> {
        let local = self.choose(id, family)?;
        let protocol = self.table.get(id).map_or(Protocol::Udp, |allocation| allocation.protocol);
        let relay = self.table.insert_relay(Relay { allocation: id, family, protocol, local });
        self.queue_open(id, relay, local);
        Ok(())
    }

    /// A free port on one of the family's addresses, beginning at any of them.
    fn choose(&mut self, id: AllocationId, family: Family) -> Result<RelayedAddr, ErrorCode> {
        let allocation = self.table.get(id).ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?;
        let server = allocation.path.tuple.server.ip();
        let wish = allocation.opening().map_or(PortWish::Any, |opening| opening.wish.port);
        let addresses: Vec<IpAddr> = self.relay_addresses(family, server).collect();
        if addresses.is_empty() {
            return Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED);
        }
        let start = self.rng.random_range(0..addresses.len());
        for step in 0..addresses.len() {
            let ip = addresses[(start + step) % addresses.len()];
            if let Some(port) = self.ports.take(ip, wish, &mut self.rng) {
                return Ok(RelayedAddr(SocketAddr::new(ip, port)));
            }
        }
        Err(ErrorCode::INSUFFICIENT_CAPACITY)
    }

    fn queue_open(&mut self, id: AllocationId, relay: RelayId, local: RelayedAddr) {
        let Some(allocation) = self.table.get_mut(id) else { return };
        let Some(opening) = allocation.opening_mut() else { return };
        opening.asked = true;
        let pair = opening.wish.port == PortWish::EvenPair;
        let user = allocation.username.clone();
        let token = pair.then(|| {
            *allocation.reservation.get_or_insert_with(|| ReservationToken(self.rng.random()))
        });
        let charge = (!allocation.charged).then(|| user.clone());
        if allocation.protocol == Protocol::Tcp {
            self.actions.push_back(Action::OpenListener { relay, local, charge });
            return;
        }
        let third_party = allocation.session.is_some();
        let lifetime = RESERVATION_LIFETIME;
        let reserve = token.map(|token| Reservation { token, user, third_party, lifetime });
        self.actions.push_back(Action::OpenRelay { relay, local, reserve, charge });
    }

    /// Step 5's other half: asks for the socket that was reserved under the token.
    pub(super) fn take_reserved(&mut self, id: AllocationId, token: ReservationToken) {
        let Some(allocation) = self.table.get_mut(id) else { return };
        if let Some(opening) = allocation.opening_mut() {
            opening.asked = true;
        }
        let charge = allocation.username.clone();
        let third_party = allocation.session.is_some();
        // The address is told when the socket is there.
        let local = RelayedAddr(SocketAddr::new(allocation.path.tuple.server.ip(), 0));
        let (family, protocol) = (Family::V4, Protocol::Udp);
        let relay = self.table.insert_relay(Relay { allocation: id, family, protocol, local });
        self.actions.push_back(Action::TakeReserved { relay, token, charge, third_party });
    }

    /// What became of [`Action::OpenRelay`], [`Action::OpenListener`] or [`Action::TakeReserved`].
    pub fn handle_relay_opened(
        &mut self,
        now: Now,
        relay: RelayId,
        result: Result<RelayedAddr, OpenError>,
    ) {
        let Some(&Relay { allocation: id, family, local: asked, .. }) = self.table.relay(relay)
        else {
            return;
        };
        let doomed = match self.opening_mut(id) {
            Some(opening) => {
                opening.asked = false;
                opening.doomed
            }
            None => return,
        };
        if doomed {
            match result {
                Ok(local) => {
                    self.adopt(id, relay, local);
                    // The client will never hear of the token.
                    if let Some(token) = self.hold_reserved(id, local) {
                        self.end_reservation(token);
                    }
                }
                Err(_) => self.forget_relay(relay),
            }
            return self.end_allocation(now, id, Ending::Failed);
        }
        match result {
            Ok(local) => self.relay_opened(now, id, relay, local),
            Err(OpenError::InUse) => self.try_another_port(now, id, relay, asked),
            Err(OpenError::Quota) => {
                self.forget_relay(relay);
                self.fail(now, id, ErrorCode::ALLOCATION_QUOTA_REACHED);
            }
            Err(OpenError::NoReservation) => {
                self.table.remove_relay(relay);
                self.fail(now, id, ErrorCode::INSUFFICIENT_CAPACITY);
            }
            Err(OpenError::Failed) => {
                self.forget_relay(relay);
                self.fail_family(id, family, ErrorCode::INSUFFICIENT_CAPACITY);
                self.open_next(now, id);
            }
        }
    }

    /// The socket is the allocation's now, and its user has been charged for it.
    fn adopt(&mut self, id: AllocationId, relay: RelayId, local: RelayedAddr) {
        self.table.set_family(relay, Family::of(local.0.ip()));
        self.table.open_relay(relay, local);
        self.ports.mark(local.0, true);
        self.note_own(local);
        let (family, external) = (Family::of(local.0.ip()), self.to_external(local));
        if let Some(allocation) = self.table.get_mut(id) {
            allocation.charged = true;
            allocation.relayed[slot(family)] = Some(external);
        }
    }

    /// Notes the port that the shell holds beside this one, if the allocation reserves one.
    fn hold_reserved(&mut self, id: AllocationId, local: RelayedAddr) -> Option<ReservationToken> {
        let token = self.table.get(id)?.reservation?;
        let odd = SocketAddr::new(local.0.ip(), local.0.port() | 1);
        self.reservations.insert(token, RelayedAddr(odd));
        Some(token)
    }

    fn relay_opened(&mut self, now: Now, id: AllocationId, relay: RelayId, local: RelayedAddr) {
        self.adopt(id, relay, local);
        if let Some(token) = self.hold_reserved(id, local) {
            self.timers.set(now.moment + RESERVATION_LIFETIME, Timer::Reservation(token));
        }
        self.next_family(id);
        self.open_next(now, id);
    }

    /// The port was taken: another one, until enough have been tried.
    fn try_another_port(&mut self, now: Now, id: AllocationId, relay: RelayId, asked: RelayedAddr) {
        let Some(&Relay { family, .. }) = self.table.relay(relay) else { return };
        let attempts = match self.opening_mut(id) {
            Some(opening) => {
                opening.tried.push(asked);
                opening.tried.len()
            }
            None => return,
        };
        let next = if attempts < PORT_ATTEMPTS {
            self.choose(id, family)
        } else {
            Err(ErrorCode::INSUFFICIENT_CAPACITY)
        };
        match next {
            Ok(local) => {
                self.table.readdress_relay(relay, local);
                self.queue_open(id, relay, local);
            }
            Err(code) => {
                self.table.remove_relay(relay);
                self.fail_family(id, family, code);
                self.open_next(now, id);
            }
        }
    }

    /// Notes that a family could not be had, and goes on to the next.
    fn fail_family(&mut self, id: AllocationId, family: Family, code: ErrorCode) {
        if let Some(opening) = self.opening_mut(id) {
            opening.failed.get_or_insert((family, code));
        }
        self.next_family(id);
    }

    fn next_family(&mut self, id: AllocationId) {
        let Some(opening) = self.opening_mut(id) else { return };
        opening.at += 1;
        let pair = opening.wish.port == PortWish::EvenPair;
        let tried = std::mem::take(&mut opening.tried);
        // Whoever has these ports may give them back: they can be tried again by the next client.
        for RelayedAddr(address) in tried {
            self.ports.mark(address, false);
            if pair {
                self.ports.mark(SocketAddr::new(address.ip(), address.port() | 1), false);
            }
        }
    }

    fn opening_mut(&mut self, id: AllocationId) -> Option<&mut Opening> {
        self.table.get_mut(id)?.opening_mut()
    }

    /// A relay that never came to be: its port is free for others.
    fn forget_relay(&mut self, relay: RelayId) {
        let Some(relay) = self.table.remove_relay(relay) else { return };
        self.ports.mark(relay.local.0, false);
        let pair = self.table.get(relay.allocation).is_some_and(|a| a.reservation.is_some());
        if pair {
            let odd = SocketAddr::new(relay.local.0.ip(), relay.local.0.port() | 1);
            self.ports.mark(odd, false);
        }
    }

    /// All families are done: the allocation lives if it has got one.
    fn finish(&mut self, now: Now, id: AllocationId) {
        let Some(allocation) = self.table.get_mut(id) else { return };
        let Some(opening) = allocation.opening() else { return };
        let (failed, fingerprint) = (opening.failed, opening.fingerprint);
        let is_mobile = opening.wish.mobile;
        if allocation.relays == [None; 2] {
            let code = failed.map_or(ErrorCode::INSUFFICIENT_CAPACITY, |(_, code)| code);
            return self.fail(now, id, code);
        }
        allocation.pending = None;
        for family in [Family::V4, Family::V6] {
            if !allocation.has(family) {
                allocation.expiry = allocation.expiry.without(family);
            }
        }
        allocation.address_error = failed.map(|(family, code)| {
            let [_, _, class, number] = code.encode();
            [family as u8, 0, class, number]
        });
        if is_mobile {
            self.make_mobile(id);
        }
        self.stats.allocations_created += 1;
        let Some(allocation) = self.table.get(id) else { return };
        let mut bytes = [0; 512];
        if let Some(length) = self.write_success(now.moment, allocation, fingerprint, &mut bytes) {
            let bytes = bytes[..length].into();
            self.actions.push_back(Action::Send { path: allocation.path, bytes });
        }
    }

    /// The success response (RFC 8656 §7.2), now or when it is asked for again.
    pub(super) fn write_success(
        &self,
        now: Moment,
        allocation: &Allocation,
        fingerprint: bool,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let transaction = &allocation.transaction;
        let mut writer = MessageWriter::new(buffer, Method::ALLOCATE, Class::Success, transaction);
        for family in [Family::V4, Family::V6] {
            let relay = allocation.relays[slot(family)].and_then(|id| self.table.relay(id));
            if let Some(relay) = relay {
                let address = self.to_external(relay.local);
                writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, address);
            }
        }
        let lifetime = now.secs_until(allocation.expiry.first()) as u32;
        writer.attribute(AttributeType::LIFETIME, &lifetime.to_be_bytes());
        if let Some(ReservationToken(token)) = allocation.reservation {
            writer.attribute(AttributeType::RESERVATION_TOKEN, &token);
        }
        let client = allocation.path.tuple.client;
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, client);
        if let Some(error) = allocation.address_error {
            writer.attribute(AttributeType::ADDRESS_ERROR_CODE, &error);
        }
        if let Some(mobility) = &allocation.mobility {
            writer.attribute(AttributeType::MOBILITY_TICKET, mobility.ticket().as_bytes());
        }
        self.close(&mut writer, fingerprint, Some(allocation.credential.response_key()))
    }

    /// The allocation cannot be: an error goes to the client and nothing stays behind.
    fn fail(&mut self, now: Now, id: AllocationId, code: ErrorCode) {
        self.next_family(id);
        let Some(allocation) = self.table.get(id) else { return };
        let fingerprint = allocation.opening().is_some_and(|opening| opening.fingerprint);
        let mut bytes = [0; 256];
        let transaction = &allocation.transaction;
        let mut writer =
            MessageWriter::new(&mut bytes, Method::ALLOCATE, Class::Error, transaction);
        writer.error(code, code.reason());
        let key = allocation.credential.response_key();
        let length = self.close(&mut writer, fingerprint, Some(key));
        let path = allocation.path;
        self.stats.count_error(Method::ALLOCATE, code);
        self.end_allocation(now, id, Ending::Failed);
        if let Some(length) = length {
            self.actions.push_back(Action::Send { path, bytes: bytes[..length].into() });
        }
    }
}
