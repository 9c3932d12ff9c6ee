//! What the core asks for beyond packets: relay sockets, reservations, quotas.
//!
//! Everything is done at once, in the order in which it was asked. The answer to an Allocate that
//! succeeds is the last of it: by then the socket is bound and every other worker was told.

use std::os::fd::AsRawFd;

use mio::Interest;
use mio::unix::SourceFd;

use crate::net::TrafficClass;
use crate::net::output::Kind;
use crate::net::relay::RelaySocket;
use crate::turn::{
    Action, CoreId, OpenError, Path, Protocol, RelayId, RelayedAddr, Reservation, ReservationToken,
    Username,
};
use crate::worker::attention::Attention;
use crate::worker::mailbox::{Errand, Event, News};
use crate::worker::outlets::Sockets;
use crate::worker::shelf::Holder;
use crate::worker::token::{Token, Way};
use crate::worker::{State, Worker};

impl Worker {
    /// Does what the core asks for, until it asks for nothing.
    pub(super) fn act(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Send { path, bytes } => self.send_message(path, &bytes),
                Action::OpenRelay { relay, local, reserve, charge } => {
                    let result = self.open_relay(relay, local, reserve, charge);
                    self.core.handle_relay_opened(self.now, relay, result);
                }
                Action::OpenListener { relay, local, charge } => {
                    let result = self.open_listener(relay, local, charge);
                    self.core.handle_relay_opened(self.now, relay, result);
                }
                Action::Connect { connection, relay, peer } => {
                    if let Err(error) = self.connect(connection, relay, peer) {
                        self.core.handle_connected(self.now, connection, Err(error));
                    }
                }
                Action::Bind { path, bind } => {
                    if let Some((_, client)) = self.connections.at_end_of(&path) {
                        // When the bytes behind it are back in its hands.
                        client.errand = Some(Errand::Bind(bind));
                    }
                }
                Action::Join { connection, path } => self.join(connection, path),
                Action::Disconnect { connection } => self.disconnect(connection),
                Action::TakeReserved { relay, token, charge, third_party } => {
                    let result = self.take_reserved(relay, token, &charge, third_party);
                    self.core.handle_relay_opened(self.now, relay, result);
                }
                Action::CloseRelay { relay } => {
                    self.close_relay(relay);
                    self.close_listener(relay);
                }
                Action::DropReserved { token } => {
                    if let Some(user) = self.shared.shelf.drop_reserved(token) {
                        self.shared.quota.release(&user);
                    }
                }
                Action::AllocationEnded { record, ending } => {
                    self.shared.quota.release(&record.user);
                    let held_back = self.journal.allocation_ended(self.now.moment, &record, ending);
                    self.stats.lines_held_back += u64::from(held_back);
                }
                Action::LoginFailed { path, user, why } => {
                    let held_back = self.journal.login_failed(self.now.moment, path, &user, why);
                    self.stats.lines_held_back += u64::from(held_back);
                }
                Action::ClientMoved { tuple, here } => {
                    self.tell_others(Event::Client { tuple, there: here });
                }
                // Here a fast path in the kernel would be told.
                Action::ChannelBound { .. } | Action::ChannelUnbound { .. } => {}
            }
        }
    }

    fn send_message(&mut self, path: Path, bytes: &[u8]) {
        match Way::from(path.link) {
            Way::Udp(index) => {
                self.make_room();
                let envelope = self.envelope(index, &path.tuple, TrafficClass::BEST_EFFORT);
                self.send.push_bytes(envelope, None, bytes, 0);
            }
            Way::Connection { .. } => {
                let pushed = self.connections.at_end_of(&path).map(|(place, client)| {
                    (place, client.connection.push([bytes, &[], &[]], Kind::Control))
                });
                self.pushed(pushed);
            }
            Way::Dtls { .. } => {
                self.make_room();
                let sealed = self.sessions.seal(&path, [bytes, &[], &[]]);
                self.sealed(&path, TrafficClass::BEST_EFFORT, sealed);
            }
        }
    }

    fn open_relay(
        &mut self,
        relay: RelayId,
        local: RelayedAddr,
        reserve: Option<Reservation>,
        charge: Option<Username>,
    ) -> Result<RelayedAddr, OpenError> {
        // A reserved port holds a socket as an allocation does, so it counts as one.
        let charged = [charge, reserve.as_ref().map(|reservation| reservation.user.clone())];
        self.charged(&charged, |worker| {
            let options = worker.relay_options;
            let (socket, reserved) = match reserve {
                None => (RelaySocket::open(local, options)?, None),
                Some(reservation) => {
                    let (first, second) = RelaySocket::open_pair(local, options)?;
                    (first, Some((reservation, second)))
                }
            };
            let address = worker.insert_relay(relay, socket)?;
            if let Some((Reservation { token, user, third_party, .. }, socket)) = reserved {
                worker.shared.shelf.hold(token, Holder { user, third_party }, socket);
            }
            Ok(address)
        })
    }

    fn take_reserved(
        &mut self,
        relay: RelayId,
        token: ReservationToken,
        user: &Username,
        third_party: bool,
    ) -> Result<RelayedAddr, OpenError> {
        self.charged(&[], |worker| {
            let taken = worker.shared.shelf.take(token, user, third_party);
            let (socket, holder) = taken.ok_or(OpenError::NoReservation)?;
            // What the reservation was charged the allocation is from now on.
            if holder != *user {
                worker.shared.quota.release(&holder);
                worker.shared.quota.charge(user).map_err(|_| OpenError::Quota)?;
            }
            worker.insert_relay(relay, socket).inspect_err(|_| worker.shared.quota.release(user))
        })
    }

    /// Opens something that counts for the quota, once for each of `users`; where it fails nothing
    /// is counted.
    pub(super) fn charged(
        &mut self,
        users: &[Option<Username>],
        open: impl FnOnce(&mut Self) -> Result<RelayedAddr, OpenError>,
    ) -> Result<RelayedAddr, OpenError> {
        if self.state != State::Running {
            // 508: the client may try another server.
            return Err(OpenError::Failed);
        }
        let quota = &self.shared.quota;
        let mut charged = Vec::with_capacity(users.len());
        for user in users.iter().flatten() {
            if quota.charge(user).is_err() {
                charged.into_iter().for_each(|user| quota.release(user));
                self.stats.quota_refusals += 1;
                return Err(OpenError::Quota);
            }
            charged.push(user);
        }
        let result = open(self);
        match result {
            Ok(_) => self.stats.relays_opened += 1,
            Err(OpenError::InUse) => self.stats.relays_in_use += 1,
            Err(_) => self.stats.relays_failed += 1,
        }
        if result.is_err() {
            charged.into_iter().for_each(|user| self.shared.quota.release(user));
        }
        result
    }

    /// Takes over a relay socket: it is read from now on, and the other workers know it.
    fn insert_relay(
        &mut self,
        relay: RelayId,
        socket: RelaySocket,
    ) -> Result<RelayedAddr, OpenError> {
        let address = socket.local_addr();
        let descriptor = socket.as_raw_fd();
        // Before it is registered, so that its first event finds it.
        let attention = Attention::new(self.now.moment, self.relay_options.class);
        let place = self.relays.insert(relay, socket, attention);
        let token = Token::Relay(place).into();
        let registry = self.poll.registry();
        if registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE).is_err() {
            self.relays.remove(relay);
            return Err(OpenError::Failed);
        }
        self.announce(Protocol::Udp, address, true);
        Ok(address)
    }

    fn close_relay(&mut self, relay: RelayId) {
        // What was decided before it was closed still leaves by it, now; what comes after cannot,
        // for its name finds nothing. Answers in the batch wait: by the time a client reads that
        // its allocation is gone, its port is free.
        if let Some(place) = self.relays.place(relay) {
            let mut sockets =
                Sockets { udp: &mut self.udp, relays: &mut self.relays, stats: &mut self.stats };
            self.send.flush_socket(Token::Relay(place).into(), &self.received, &mut sockets);
        }
        if let Some(socket) = self.relays.remove(relay) {
            self.announce(Protocol::Udp, socket.local_addr(), false);
            // Dropping the socket closes the descriptor, which ends its registration.
        }
    }

    /// Tells the other workers of a relayed address.
    pub(super) fn announce(&self, protocol: Protocol, address: RelayedAddr, open: bool) {
        self.tell_others(Event::Relay { protocol, address, open });
    }

    fn tell_others(&self, event: Event) {
        let news = News { core: CoreId(self.index as u16), event };
        for (index, mailbox) in self.shared.mailboxes.iter().enumerate() {
            if index != self.index {
                mailbox.announce(news);
            }
        }
    }

    /// What another worker has told.
    pub(super) fn hear(&mut self, News { core, event }: News) {
        match event {
            Event::Relay { protocol: Protocol::Udp, address, open } => {
                self.core.handle_relay_elsewhere(address, core, open);
            }
            Event::Relay { protocol: Protocol::Tcp, address, open } => {
                self.core.handle_listener_elsewhere(address, core, open);
            }
            Event::Client { tuple, there } => {
                self.core.handle_client_elsewhere(tuple, core, there);
            }
        }
    }
}
