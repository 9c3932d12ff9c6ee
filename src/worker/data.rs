//! Data connections (RFC 6062 §5): making them, joining them, moving what they carry.
//!
//! A ConnectionBind may come by a connection that the kernel gave to another worker than the one
//! with the peer's end. Then the whole connection moves: with what was read behind the request and
//! what waits to be sent. So does one by which a client comes back for its allocation (RFC 8016).
//! No other connection ever goes from one worker to another.

use std::io;
use std::mem;

use crate::net::TrafficClass;
use crate::net::pipe::{Next, Pipe};
use crate::net::tcp::{Connection, lacks_room};
use crate::turn::{ConnectError, ConnectionBind, ConnectionId, Path, PeerAddr, RelayId};
use crate::worker::Worker;
use crate::worker::connections::Client;
use crate::worker::mailbox::{Errand, Handover};
use crate::worker::peers::Stage;
use crate::worker::token::{Place, Token, Way};

impl Worker {
    /// Begins to connect to a peer; the core hears of the result.
    pub(super) fn connect(
        &mut self,
        connection: ConnectionId,
        relay: RelayId,
        peer: PeerAddr,
    ) -> Result<(), ConnectError> {
        if self.shared.crowd.enter_peer().is_err() {
            self.stats.peers_over_limit += 1;
            return Err(ConnectError::NoRoom);
        }
        let listener = self.listeners.of(relay).ok_or_else(|| io::ErrorKind::NotFound.into());
        let made = listener.and_then(|listener| listener.socket.connect(peer));
        made.and_then(|stream| {
            self.keep_peer(connection, Stage::Unbound { stream, accepted: false })
        })
        .map_err(|error: io::Error| {
            self.shared.crowd.leave_peer();
            self.stats.peers_failed += 1;
            if lacks_room(&error) { ConnectError::NoRoom } else { ConnectError::Failed }
        })
    }

    /// Takes a connection with a peer in, which counts already.
    pub(super) fn keep_peer(&mut self, connection: ConnectionId, stage: Stage) -> io::Result<()> {
        let place = self.peers.insert(connection, stage);
        let registry = self.poll.registry();
        let registered = match self.peers.get(place).map(|peer| &mut peer.stage) {
            Some(Stage::Unbound { stream, .. }) => {
                stream.register(registry, Token::Peer(place).into())
            }
            Some(Stage::Joined(pipe)) => {
                let (client, peer) = pipe.ends();
                client
                    .rename(registry, Token::Data(place).into())
                    .and_then(|()| peer.rename(registry, Token::Peer(place).into()))
            }
            None => Ok(()),
        };
        registered.inspect_err(|_| drop(self.peers.remove(connection)))
    }

    /// Ends a connection with a peer, and the client's that is joined to it.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        let Some(peer) = self.peers.remove(connection) else { return };
        self.shared.crowd.leave_peer();
        if let Stage::Joined(pipe) = peer.stage {
            self.shared.crowd.leave(pipe.client().client_addr().ip());
        }
    }

    /// Lets each pipe that has something to move do so once, until the turn has moved enough.
    pub(super) fn serve_pipes(&mut self) {
        self.peers.moved = 0;
        for _ in 0..self.peers.line_len().min(PIPES_PER_TURN) {
            if self.peers.moved >= BYTES_PER_TURN {
                break;
            }
            let Some(place) = self.peers.next_in_line() else { break };
            self.serve_peer(place);
        }
    }

    /// Something has happened at one of the ends of a connection with a peer.
    pub(super) fn serve_peer(&mut self, place: Place) {
        let Some(peer) = self.peers.get(place) else { return };
        peer.queued = false;
        let connection = peer.connection;
        match &mut peer.stage {
            Stage::Unbound { stream, accepted } => match (stream.is_connected(), *accepted) {
                (Ok(true), false) => {
                    *accepted = true;
                    self.stats.peers_connected += 1;
                    self.core.handle_connected(self.now, connection, Ok(()));
                    self.act();
                }
                // An ordinary end waits for the client, behind what the peer has sent.
                (Ok(_), _) => {}
                (Err(_), false) => {
                    self.stats.peers_failed += 1;
                    self.disconnect(connection);
                    let failed = Err(ConnectError::Failed);
                    self.core.handle_connected(self.now, connection, failed);
                    self.act();
                }
                (Err(_), true) => self.peer_gone(connection),
            },
            Stage::Joined(pipe) => {
                let advance = pipe.advance(&mut self.scratch);
                self.peers.moved += advance.to_peer + advance.to_client;
                self.stats.data_to_peers += advance.to_peer as u64;
                self.stats.data_to_clients += advance.to_client as u64;
                match advance.next {
                    Next::Wait => {}
                    Next::Again => self.queue(Token::Peer(place)),
                    Next::Close => self.peer_gone(connection),
                }
            }
        }
    }

    fn peer_gone(&mut self, connection: ConnectionId) {
        self.disconnect(connection);
        self.core.handle_connection_gone(connection);
        self.act();
    }

    /// The last frame of a client's connection is for a worker that it names: the connection goes
    /// there.
    pub(super) fn run_errand(&mut self, place: Place, errand: Errand) {
        let owner = errand.owner(self.shared.mailboxes.len());
        if owner == self.index {
            return self.do_errand(place, &errand);
        }
        // A stranger's connection may cross once, for it may be a session's; then it has been told.
        let is_moved = self.connections.get(place).is_some_and(|client| client.moved);
        if let Errand::Bind(bind) = &errand
            && is_moved
            && !bind.is_authenticated()
        {
            self.stats.handovers_refused += 1;
            return self.refuse_bind(place, bind);
        }
        let Some(client) = self.connections.release(place) else { return };
        let Client { mut connection, moved, .. } = client;
        // Failing, it is not registered any more, as is wanted.
        let _ = connection.deregister(self.poll.registry());
        let handover = Box::new(Handover { connection, errand, moved });
        let given = match self.shared.mailboxes.get(owner) {
            Some(mailbox) => mailbox.give(handover),
            None => Err(handover),
        };
        if let Err(back) = given {
            self.stats.handovers_refused += 1;
            self.came_back(*back);
        }
    }

    /// Nobody has taken a connection that has an errand: there is no answer to it here.
    fn came_back(&mut self, Handover { connection, errand, moved }: Handover) {
        match errand {
            Errand::Bind(bind) => {
                self.arrived(connection, moved, |worker, place| worker.refuse_bind(place, &bind));
            }
            // The client may try again by another one: nothing has happened to its allocation.
            Errand::Move(..) => self.shared.crowd.leave(connection.client_addr().ip()),
        }
    }

    /// A ConnectionBind does not get to the worker that it names: the client may try again.
    fn refuse_bind(&mut self, place: Place, bind: &ConnectionBind) {
        if let Some(path) = self.path_to(place) {
            self.core.handle_bind_refused(path, bind);
            self.act();
            self.read_on(place);
        }
    }

    /// Takes the connections that other workers have given.
    pub(super) fn take_handovers(&mut self) {
        while let Some(handover) = self.inbox.next_handover() {
            let Handover { connection, errand, .. } = *handover;
            self.stats.connections_handed_over += 1;
            self.arrived(connection, true, |worker, place| worker.do_errand(place, &errand));
        }
    }

    /// Takes in a connection that counts already, and goes on with it.
    fn arrived(
        &mut self,
        connection: Connection,
        moved: bool,
        go_on: impl FnOnce(&mut Self, Place),
    ) {
        let client = connection.client_addr().ip();
        if self.connections.has_tuple_of(&connection) {
            self.stats.proxied_twice += 1;
            self.shared.crowd.leave(client);
            return;
        }
        let Ok(place) = self.connections.adopt(self.now.moment, connection) else {
            self.stats.connections_over_limit += 1;
            self.shared.crowd.leave(client);
            return;
        };
        let token = Token::Connection(place).into();
        let registry = self.poll.registry();
        let registered = self.connections.get(place).map(|client| {
            client.moved = moved;
            client.connection.register(registry, token)
        });
        if !matches!(registered, Some(Ok(()))) {
            self.stats.accept_errors += 1;
            self.connections.remove(place);
            return;
        }
        go_on(self, place);
    }

    /// Has the core judge what was asked for by a connection that is here now.
    fn do_errand(&mut self, place: Place, errand: &Errand) {
        let Some(path) = self.path_to(place) else { return };
        match errand {
            Errand::Bind(bind) => self.core.handle_connection_bind(self.now, path, bind),
            Errand::Move(_, message) => {
                self.make_room();
                self.passed_on(path, TrafficClass::BEST_EFFORT, message);
            }
        }
        self.act();
        // If it was refused, the client may try again.
        self.read_on(place);
    }

    fn path_to(&mut self, place: Place) -> Option<Path> {
        let client = self.connections.get(place)?;
        Some(Path { link: Way::to(place).into(), tuple: client.tuple() })
    }

    /// Goes on with the frames behind one that has stopped the reading.
    fn read_on(&mut self, place: Place) {
        if let Some(client) = self.connections.get(place) {
            client.backlog = true;
            if client.connection.has_output() && !mem::replace(&mut client.dirty, true) {
                self.dirty.push(place);
            }
            self.queue(Token::Connection(place));
        }
    }

    /// Joins a client's connection to a peer's: from now on neither carries messages.
    pub(super) fn join(&mut self, connection: ConnectionId, path: Path) {
        let place = self.connections.at_end_of(&path).map(|(place, _)| place);
        let client = place.and_then(|place| self.connections.release(place));
        let Some(client) = client else {
            return self.peer_gone(connection);
        };
        let ip = client.connection.client_addr().ip();
        let Some(stream) = self.peers.take_unbound(connection) else {
            // The core speaks only of what is there.
            self.shared.crowd.leave(ip);
            return self.peer_gone(connection);
        };
        let pipe = Box::new(Pipe::new(client.connection, stream));
        match self.keep_peer(connection, Stage::Joined(pipe)) {
            // Whatever has come so far was announced long ago.
            Ok(()) => self.queue_peer(connection),
            Err(_) => {
                self.shared.crowd.leave(ip);
                self.shared.crowd.leave_peer();
                self.core.handle_connection_gone(connection);
            }
        }
    }

    fn queue_peer(&mut self, connection: ConnectionId) {
        if let Some(place) = self.peers.place(connection) {
            self.queue(Token::Peer(place));
        }
    }
}

/// Pipes that are served in one turn.
const PIPES_PER_TURN: usize = 32;
/// Bytes that all pipes together move in one turn, so that bulk data delays nobody's packets by
/// more than a fraction of a millisecond; one pipe's share may lie above it.
const BYTES_PER_TURN: usize = 512 * 1024;
