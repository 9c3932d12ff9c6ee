//! Connections with peers (RFC 6062): those being made, those that wait to be bound, and those
//! that are joined to a client's.

use std::collections::HashMap;

use crate::net::peer::PeerStream;
use crate::net::pipe::Pipe;
use crate::turn::ConnectionId;
use crate::worker::line::{Line, Number};
use crate::worker::places::Places;
use crate::worker::token::{Place, Token};

/// Connections with peers by the names that the core gave them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    places: Places<Peer>,
    place_by_id: HashMap<ConnectionId, Place>,
    joined: usize,
    /// Pipes that have something to move. They do not stand in the queue of sockets: a few of them
    /// may move all that a turn allows, and the others would only take the places of sockets there.
    line: Line,
    /// Bytes that went through pipes in this turn.
    pub moved: usize,
}

/// A connection with a peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub connection: ConnectionId,
    pub stage: Stage,
    /// It stands in the queue of sockets that have something.
    pub queued: bool,
    /// Its pipe stands in the line of those.
    in_line: Option<Number>,
}

/// How far it has come. Nothing is read before it is joined: until then the kernel keeps what the
/// peer sends, and lets it send no more than there is room for (RFC 6062 §5.2).
#[derive(Debug)]
pub(super) enum Stage {
    /// It waits for the peer to accept, and then for a ConnectionBind.
    Unbound { stream: PeerStream, accepted: bool },
    /// It is joined to a client's.
    Joined(Box<Pipe<PeerStream>>),
}

impl Peers {
    /// Connections, those being made included.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Those that are joined to a client's.
    pub(super) fn joined(&self) -> usize {
        self.joined
    }

    /// The connection of this name.
    pub(super) fn get(&mut self, place: Place) -> Option<&mut Peer> {
        self.places.get(place)
    }

    /// Takes a connection in.
    pub(super) fn insert(&mut self, connection: ConnectionId, stage: Stage) -> Place {
        self.joined += usize::from(matches!(stage, Stage::Joined(_)));
        let place = self.places.insert(Peer { connection, stage, queued: false, in_line: None });
        self.place_by_id.insert(connection, place);
        place
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<Peer> {
        let peer = self.places.remove(self.place_by_id.remove(&connection)?)?;
        self.joined -= usize::from(matches!(peer.stage, Stage::Joined(_)));
        if let Some(number) = peer.in_line {
            self.line.leave(number);
        }
        Some(peer)
    }

    /// Puts a connection at one of whose ends something has happened into the line of pipes, where
    /// it is one; answers whether it is.
    pub(super) fn line_up(&mut self, place: Place) -> bool {
        let Some(peer) = self.places.get(place) else { return false };
        if let Stage::Unbound { .. } = peer.stage {
            return false;
        }
        if peer.in_line.is_none() {
            peer.in_line = Some(self.line.enter(place));
        }
        true
    }

    /// How many stand in the line of pipes.
    pub(super) fn line_len(&self) -> usize {
        self.line.len()
    }

    /// The next in the line of pipes, which it leaves.
    pub(super) fn next_in_line(&mut self) -> Option<Place> {
        let place = self.line.first()?;
        if let Some(number) = self.places.get(place)?.in_line.take() {
            self.line.leave(number);
        }
        Some(place)
    }

    /// One end of a connection has said that it will send no more.
    pub(super) fn heard_last_word(&mut self, token: Token) {
        let (Token::Peer(place) | Token::Data(place)) = token else { return };
        let Some(peer) = self.places.get(place) else { return };
        match (&mut peer.stage, token) {
            (Stage::Joined(pipe), Token::Data(_)) => pipe.client_has_ended(),
            (Stage::Joined(pipe), _) => pipe.peer_has_ended(),
            (Stage::Unbound { .. }, _) => {}
        }
    }

    /// Where a connection stands.
    pub(super) fn place(&self, connection: ConnectionId) -> Option<Place> {
        self.place_by_id.get(&connection).copied()
    }

    /// Takes out a connection that waits to be bound.
    pub(super) fn take_unbound(&mut self, connection: ConnectionId) -> Option<PeerStream> {
        let place = self.place(connection)?;
        if let Stage::Joined(_) = self.places.get(place)?.stage {
            return None;
        }
        match self.remove(connection)?.stage {
            Stage::Unbound { stream, .. } => Some(stream),
            Stage::Joined(_) => None,
        }
    }
}
