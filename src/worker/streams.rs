//! Clients over TCP and TLS: accepting them, reading their frames, writing theirs, and letting them
//! go.

use std::io;
use std::mem;

use crate::net::TrafficClass;
use crate::net::output::Pushed;
use crate::net::tcp::{Arrived, Connection, Cut, Deframer, lacks_room};
use crate::net::tls::Speech;
use crate::turn::{Lifetime, Path};
use crate::worker::Worker;
use crate::worker::crowd::Refused;
use crate::worker::packet::Packet;
use crate::worker::token::{Place, Token, Way};

impl Worker {
    /// Gives those in their handshake, listeners and connections whose turn it is and pipes a
    /// bounded piece of work each.
    pub(super) fn serve_streams(&mut self) {
        // First, so that nobody who has gone on with his makes room for those accepted now.
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(place) = self.connections.next_in_line() else { break };
            self.serve(place);
        }
        let mut streams = mem::take(&mut self.streams);
        for token in streams.drain(..) {
            match token {
                Token::Tcp(index) => self.accept(index),
                Token::Connection(place) => self.serve(place),
                Token::Lobby(place) => self.serve_lobby(place),
                Token::Listener(place) => self.accept_peers(place),
                Token::Peer(place) | Token::Data(place) => self.serve_peer(place),
                _ => {}
            }
        }
        self.streams = streams;
        self.serve_pipes();
    }

    fn accept(&mut self, index: u32) {
        let Some(tcp) = self.tcp.get_mut(index as usize) else { return };
        tcp.queued = false;
        if self.accept_again.is_some() {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(tcp) = self.tcp.get(index as usize) else { return };
            match tcp.listener.accept() {
                Ok(connection) if self.proxied.is_balancer(connection.client_addr().ip()) => {
                    self.wait_for_header(index, connection);
                }
                Ok(connection) => self.admit(index, connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.stats.accept_errors += 1;
                    // The listener stays readable: asking again at once would only burn the CPU.
                    if lacks_room(&error) {
                        self.accept_again = Some(self.now.moment + ACCEPT_PAUSE);
                        return;
                    }
                    // Else that client's own trouble: it is gone before it was here.
                }
            }
        }
        self.queue(Token::Tcp(index));
    }

    /// Takes a connection in whose client is known.
    pub(super) fn admit(&mut self, index: u32, connection: Connection) {
        // A listener that was closed meanwhile brings nobody in any more.
        let Some(tcp) = self.tcp.get(index as usize) else { return };
        let secured = match &tcp.keyring {
            None => Ok(connection),
            Some(keyring) => keyring.session().map(|session| connection.secured(session)),
        };
        match secured {
            Ok(connection) => self.accepted(connection),
            Err(_) => self.stats.accept_errors += 1,
        }
    }

    fn accepted(&mut self, connection: Connection) {
        if self.connections.has_tuple_of(&connection) {
            self.stats.proxied_twice += 1;
            return;
        }
        match self.connections.insert(self.now.moment, connection) {
            Ok(place) => {
                let registry = self.poll.registry();
                let token = Token::Connection(place).into();
                let registered = self
                    .connections
                    .get(place)
                    .map(|client| client.connection.register(registry, token));
                if matches!(registered, Some(Ok(()))) {
                    self.stats.connections_accepted += 1;
                    if let Some(oldest) = self.connections.crowded_out() {
                        self.stats.handshakes_displaced += 1;
                        self.close(oldest);
                    }
                } else {
                    self.stats.accept_errors += 1;
                    self.connections.remove(place);
                }
            }
            Err(Refused::Total) => self.stats.connections_over_limit += 1,
            Err(Refused::PerSource) => self.stats.connections_over_source_limit += 1,
        }
    }

    /// Reads once from a connection, or goes on with what an earlier read brought, and hands a
    /// bounded number of frames to the core.
    fn serve(&mut self, place: Place) {
        let Some(client) = self.connections.get(place) else { return };
        let opening = client.is_opening();
        client.queued = false;
        if client.closing.is_some() {
            return;
        }
        let had_backlog = client.backlog;
        let mut arrived = Arrived { length: 0, ended: false, more: true };
        if !had_backlog {
            arrived = match client.connection.receive(&mut self.scratch) {
                Ok(arrived) => arrived,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.failed(place, &error),
            };
        }
        if opening {
            self.handshake(place);
        }
        let Some(client) = self.connections.get(place) else { return };
        if arrived.ended {
            self.stats.handshakes_failed += u64::from(client.is_opening());
            return self.finish(place);
        }
        let Arrived { length, .. } = arrived;
        if client.undecided && self.guests.is_some() {
            match client.connection.speaks(&self.scratch[..length]) {
                Some(Speech::Http) => return self.show_in(place, length),
                speech => client.undecided = speech.is_none(),
            }
        }
        // A short read has emptied the stream, but may have hidden its end.
        let more = arrived.more || client.ending;
        let path = Path { link: Way::to(place).into(), tuple: client.tuple() };
        let mut input = mem::take(&mut client.connection.input);
        let scratch = mem::take(&mut self.scratch);
        self.read_mailbox();
        let cut = input.frames(&scratch[..length], FRAMES_PER_TURN, |frame| {
            self.handle_frame(place, path, frame)
        });
        self.scratch = scratch;
        match cut {
            Ok(cut) => self.keep(place, input, cut == Cut::Limit, more),
            Err(_) => {
                self.stats.connections_out_of_step += 1;
                self.close(place);
            }
        }
    }

    /// What is to be said in a handshake leaves with this turn.
    fn handshake(&mut self, place: Place) {
        let Some(client) = self.connections.get(place) else { return };
        if client.connection.has_output()
            && !client.blocked
            && !mem::replace(&mut client.dirty, true)
        {
            self.dirty.push(place);
        }
        if !client.connection.is_opening() {
            self.stats.handshakes_done += 1;
            self.connections.opened(self.now.moment, place);
        }
    }

    /// Reading has failed: the connection has broken, or what came is not TLS.
    fn failed(&mut self, place: Place, error: &io::Error) {
        let Some(client) = self.connections.get(place) else { return };
        if client.is_opening() {
            self.stats.handshakes_failed += 1;
            // Most of what goes wrong with TLS is the client's choice or the certificate's fault,
            // and neither can be found out without the words.
            let address = client.connection.client_addr();
            tracing::debug!(client = %address, %error, "a TLS handshake failed");
        } else if error.kind() == io::ErrorKind::InvalidData {
            self.stats.connections_broken += 1;
        }
        self.close(place);
    }

    /// The time of a connection is over.
    pub(super) fn overdue(&mut self, place: Place) {
        let Some(client) = self.connections.get(place) else { return };
        if client.is_opening() {
            self.stats.handshakes_late += 1;
        } else {
            self.stats.connections_idle += 1;
        }
        self.close(place);
    }

    fn keep(&mut self, place: Place, input: Deframer, backlog: bool, more: bool) {
        if let Some(client) = self.connections.get(place) {
            client.connection.input = input;
            client.backlog = backlog;
            let errand = client.errand.take();
            if backlog || more {
                self.queue(Token::Connection(place));
            }
            if let Some(errand) = errand {
                self.run_errand(place, errand);
            }
        }
    }

    /// One frame; answers whether its connection is still there and reads more.
    fn handle_frame(&mut self, place: Place, path: Path, frame: &[u8]) -> bool {
        let Some(client) = self.connections.get(place) else { return false };
        client.last_frame = self.now.moment;
        self.handled = (self.handled.0 + 1, self.handled.1 + 1);
        self.stats.tcp.received(1, frame.len() as u64);
        self.make_room();
        let verdict = self.core.handle_client(self.now, path, frame, self.send.space());
        self.carry(verdict, Packet::Frame(frame, TrafficClass::BEST_EFFORT), Some(path));
        self.act();
        self.connections.get(place).is_some_and(|client| client.errand.is_none())
    }

    /// What became of a frame for a connection; `None` where the connection is gone.
    pub(super) fn pushed(&mut self, pushed: Option<(Place, Pushed)>) {
        let Some((place, pushed)) = pushed else {
            self.stats.drops.client_gone += 1;
            return;
        };
        match pushed {
            Pushed::Queued { dropped } => {
                self.stats.drops.queue_full += dropped as u64;
                if let Some(client) = self.connections.get(place)
                    && !client.blocked
                    && !mem::replace(&mut client.dirty, true)
                {
                    self.dirty.push(place);
                }
            }
            Pushed::Dropped => self.stats.drops.queue_full += 1,
            Pushed::Overflow => {
                self.stats.connections_unread += 1;
                self.close(place);
            }
        }
    }

    /// Writes what waits, to each connection that has got something or can take more.
    pub(super) fn send_streams(&mut self) {
        let mut dirty = mem::take(&mut self.dirty);
        for place in dirty.drain(..) {
            let Some(client) = self.connections.get(place) else { continue };
            client.dirty = false;
            let written = client.connection.flush();
            client.blocked = client.connection.has_output();
            let done = client.closing.is_some() && !client.blocked;
            if let Ok(written) = written {
                self.stats.tcp.sent(written.frames as u64, written.bytes as u64);
            }
            if done || written.is_err() {
                self.close(place);
            }
        }
        // Closing one connection can, by the core's actions, give another something to send.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// The client has sent all that it will: its allocation ends, what waits for it still leaves.
    fn finish(&mut self, place: Place) {
        let Some(client) = self.connections.get(place) else { return };
        let tuple = client.tuple();
        self.core.handle_client_gone(self.now, tuple);
        self.act();
        let Some(client) = self.connections.get(place) else { return };
        client.connection.end();
        if client.connection.has_output() {
            let dirty = mem::replace(&mut client.dirty, true);
            self.connections.close_by(place, self.now.moment + CLOSE_GRACE);
            if !dirty {
                self.dirty.push(place);
            }
        } else {
            self.connections.remove(place);
        }
    }

    /// Ends a connection now, and the allocation that came by it.
    pub(super) fn close(&mut self, place: Place) {
        // Taken out first: what the core has to say to this client finds nobody.
        let Some(mut client) = self.connections.remove(place) else { return };
        let left = client.connection.flush().and_then(|written| {
            client.connection.end();
            client.connection.flush().map(|_| written)
        });
        if let Ok(written) = left {
            self.stats.tcp.sent(written.frames as u64, written.bytes as u64);
        }
        if client.closing.is_none() {
            self.core.handle_client_gone(self.now, client.tuple());
            self.act();
        }
    }
}

/// Connections accepted from one listener in one turn.
pub(super) const ACCEPTS_PER_TURN: usize = 16;
/// Connections served in one turn that are in their handshake: signing may take milliseconds, and
/// datagrams wait meanwhile.
const HANDSHAKES_PER_TURN: usize = 2;
/// Frames of one connection handled in one turn.
const FRAMES_PER_TURN: usize = 64;
/// How long nobody is accepted after that failed for lack of descriptors or memory.
pub(super) const ACCEPT_PAUSE: Lifetime = Lifetime::from_secs(1);
/// How long a client that has sent all may take to read what waits for it.
const CLOSE_GRACE: Lifetime = Lifetime::from_secs(10);
