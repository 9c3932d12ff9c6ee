//! Clients over DTLS (RFC 7350): their datagrams to the core, and what is for them into records.
//!
//! A stranger's ClientHello is answered from what it holds and forgotten, see [`crate::net::dtls`].
//! The kernel hands a client's datagrams to one worker, so its session stays there.

use std::mem;
use std::net::SocketAddr;

use crate::net::dtls::{ClientHello, Read, Unsent};
use crate::net::{Datagram, TrafficClass};
use crate::turn::{FiveTuple, Path, Transport};
use crate::worker::sessions::Due;
use crate::worker::token::{Place, Way};
use crate::worker::{DEADLINES_PER_TURN, Packet, State, Worker};

impl Worker {
    /// A datagram that came by a DTLS listener to `server`, one of its addresses.
    pub(super) fn handle_dtls(&mut self, listener: u32, server: SocketAddr, slot: usize) {
        let client = self.received.datagram(slot).source;
        let tuple = FiveTuple { transport: Transport::Dtls, client, server };
        let known = self.sessions.of(&tuple);
        let Datagram { bytes, class, .. } = self.received.datagram(slot);
        match (ClientHello::read(bytes), known) {
            (Some(hello), known)
                if !known.is_some_and(|place| self.sessions.began_with(place, &hello)) =>
            {
                self.greet(listener, tuple, slot);
            }
            (_, Some(place)) => {
                self.sessions.wires.arrive(bytes);
                self.serve_session(place, class);
            }
            // A record of a session that has ended, or no DTLS at all.
            (_, None) => self.stats.dtls.strangers += 1,
        }
    }

    /// A ClientHello that belongs to no session yet.
    ///
    /// RFC 6347 §4.2.8: a client that begins again while its session is there gets another when it
    /// has shown that it is that client, by a cookie.
    fn greet(&mut self, listener: u32, tuple: FiveTuple, slot: usize) {
        // As with TCP, whoever drains takes nobody in.
        let hello = ClientHello::read(self.received.datagram(slot).bytes);
        let Some(hello) = hello.filter(|_| self.state == State::Running) else {
            self.stats.dtls.strangers += 1;
            return;
        };
        let now = self.now.moment;
        if let Some(length) = self.sessions.ask(now, &tuple, &hello, self.send.space()) {
            self.stats.dtls.cookies += 1;
            let envelope = self.envelope(listener, &tuple, TrafficClass::BEST_EFFORT);
            self.send.push_space(envelope, length);
            return;
        }
        if !self.sessions.has_time(self.stats.turns) {
            self.stats.dtls.handshakes_put_off += 1;
            return;
        }
        let stats = &mut self.stats.dtls;
        let begun = self.sessions.begin(now, tuple, listener, &hello, stats);
        self.post(listener, &tuple, TrafficClass::BEST_EFFORT);
        let Some(client) = begun else { return };
        if let Some(old) = self.sessions.of(&tuple) {
            self.forget_session(old);
        }
        let place = self.sessions.insert(now, client);
        self.sessions.advanced(now, place, &mut self.stats.dtls);
        if let Some(oldest) = self.sessions.crowded_out() {
            self.stats.dtls.handshakes_displaced += 1;
            self.give_up(oldest);
        }
    }

    /// Lets a session read what lies in the wires, and the core what it reads.
    fn serve_session(&mut self, place: Place, class: TrafficClass) {
        let mut plain = mem::take(&mut self.sessions.plain);
        // What the core makes of one message may end the session before the next.
        while let Some((client, wires)) = self.sessions.get(place) {
            let (tuple, listener) = (client.tuple, client.listener);
            let read = client.session.read(wires, &mut plain);
            if let Read::Message(_) = read {
                client.last_message = self.now.moment;
            }
            self.post(listener, &tuple, TrafficClass::BEST_EFFORT);
            match read {
                Read::Message(length) => {
                    let path = Path { link: Way::to_session(place).into(), tuple };
                    let message = &plain[..length];
                    self.make_room();
                    let space = self.send.space();
                    let verdict = self.core.handle_client(self.now, path, message, space);
                    self.carry(verdict, Packet::Frame(message, class), Some(path));
                    self.act();
                }
                Read::Nothing => break,
                Read::Ended => {
                    self.count_end(place);
                    self.end_session(place);
                }
            }
        }
        self.sessions.plain = plain;
        self.sessions.advanced(self.now.moment, place, &mut self.stats.dtls);
    }

    fn count_end(&mut self, place: Place) {
        match self.sessions.get(place).map(|(client, _)| client.session.is_open()) {
            Some(true) => self.stats.dtls.sessions_closed += 1,
            Some(false) => self.stats.dtls.handshakes_failed += 1,
            None => {}
        }
    }

    /// Sends a message that was sealed to this result.
    pub(super) fn sealed(
        &mut self,
        path: &Path,
        class: TrafficClass,
        sealed: Option<Result<u32, Unsent>>,
    ) {
        match sealed {
            Some(Ok(listener)) => self.post(listener, &path.tuple, class),
            Some(Err(Unsent::TooLong)) => self.stats.drops.too_long += 1,
            Some(Err(Unsent::NotOpen)) | None => self.stats.drops.client_gone += 1,
        }
    }

    /// Puts what leaves by the wires into the batch.
    fn post(&mut self, listener: u32, tuple: &FiveTuple, class: TrafficClass) {
        let mut wires = mem::take(&mut self.sessions.wires);
        for datagram in wires.leaving() {
            self.make_room();
            let envelope = self.envelope(listener, tuple, class);
            self.send.push_bytes(envelope, None, datagram, 0);
        }
        wires.clear();
        self.sessions.wires = wires;
    }

    /// Ends a session with a word, and the allocation that came by it.
    fn end_session(&mut self, place: Place) {
        if let Some((client, wires)) = self.sessions.get(place) {
            client.session.close(wires);
            let (listener, tuple) = (client.listener, client.tuple);
            self.post(listener, &tuple, TrafficClass::BEST_EFFORT);
            self.forget_session(place);
        }
    }

    /// Ends a handshake that might go on, with a word.
    fn give_up(&mut self, place: Place) {
        if let Some((client, wires)) = self.sessions.get(place) {
            client.session.give_up(wires);
            self.end_session(place);
        }
    }

    /// Ends a session of whose end its client knows.
    fn forget_session(&mut self, place: Place) {
        // Taken out first: what the core has to say to this client finds nobody.
        if let Some(client) = self.sessions.remove(place) {
            self.core.handle_client_gone(self.now, client.tuple);
            self.act();
        }
    }

    /// Does what is due at sessions.
    pub(super) fn serve_sessions(&mut self) {
        let now = self.now.moment;
        for _ in 0..DEADLINES_PER_TURN {
            let core = &self.core;
            let due = self.sessions.pop_due(now, |tuple| core.has_allocation(tuple));
            let Some((place, due)) = due else { return };
            match due {
                Due::Flight if self.send_flight(place) => {
                    self.sessions.advanced(now, place, &mut self.stats.dtls);
                }
                Due::Flight | Due::Handshake => {
                    self.stats.dtls.handshakes_expired += 1;
                    self.give_up(place);
                }
                Due::Idle => {
                    self.stats.dtls.sessions_idle += 1;
                    self.end_session(place);
                }
            }
        }
    }

    /// Sends a flight again; answers whether there is still hope for the handshake.
    fn send_flight(&mut self, place: Place) -> bool {
        let Some((client, wires)) = self.sessions.get(place) else { return false };
        let hope = client.session.handle_timeout(wires);
        let (listener, tuple) = (client.listener, client.tuple);
        self.post(listener, &tuple, TrafficClass::BEST_EFFORT);
        hope
    }

    /// Ends all sessions with a word.
    pub(super) fn end_sessions(&mut self) {
        for place in self.sessions.all() {
            self.end_session(place);
        }
    }
}
