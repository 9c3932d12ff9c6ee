//! Where the connections of load balancers wait until their header has said whom they speak for
//! (PROXY protocol). Then they are that client's, from the first byte behind the header on: be it a
//! frame or a TLS handshake.

use std::io;

use crate::net::tcp::Connection;
use crate::turn::{Lifetime, Moment};
use crate::wire::proxy_header::{Carrier, NoProxyHeader, PROXY_HEADER_MAX, ProxyHeader};
use crate::worker::Worker;
use crate::worker::line::{Line, Number};
use crate::worker::places::Places;
use crate::worker::token::{Place, Token};

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    waiting: Places<Waiting>,
    order: Line,
}

/// A connection whose client is not known.
#[derive(Debug)]
pub(super) struct Waiting {
    connection: Connection,
    /// The listener that it came by.
    index: u32,
    /// Until when its header must be there.
    deadline: Moment,
    /// Where it stands among those that wait.
    number: Option<Number>,
    /// It stands in the queue of sockets that have something.
    pub queued: bool,
}

impl Lobby {
    /// The connection of this name.
    pub(super) fn get(&mut self, place: Place) -> Option<&mut Waiting> {
        self.waiting.get(place)
    }

    /// When the one that came first has waited for too long: all have the same time.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.waiting.peek(self.order.first()?).map(|waiting| waiting.deadline)
    }

    /// How many stand in the order.
    #[cfg(test)]
    pub(super) fn order_len(&self) -> usize {
        self.order.len()
    }

    fn enter(&mut self, waiting: Waiting) -> Place {
        let place = self.waiting.insert(waiting);
        let number = self.order.enter(place);
        if let Some(waiting) = self.waiting.get(place) {
            waiting.number = Some(number);
        }
        place
    }

    /// The one that has waited longest, if it is more than `most` who do.
    fn crowded_out(&mut self, most: usize) -> Option<Waiting> {
        let oldest = self.order.first().filter(|_| self.order.len() > most)?;
        self.leave(oldest)
    }

    /// The next one whose time is over.
    fn overdue(&mut self, now: Moment) -> Option<Waiting> {
        let oldest = self.next_deadline().filter(|deadline| *deadline <= now);
        oldest.and_then(|_| self.leave(self.order.first()?))
    }

    /// Takes one out.
    fn leave(&mut self, place: Place) -> Option<Waiting> {
        let waiting = self.waiting.remove(place)?;
        if let Some(number) = waiting.number {
            self.order.leave(number);
        }
        Some(waiting)
    }
}

impl Worker {
    /// A balancer has connected: it is nobody's client before it has said whose.
    pub(super) fn wait_for_header(&mut self, index: u32, connection: Connection) {
        let deadline = self.now.moment + PATIENCE;
        let waiting = Waiting { connection, index, deadline, number: None, queued: false };
        let place = self.lobby.enter(waiting);
        let registry = self.poll.registry();
        let token = Token::Lobby(place).into();
        let registered =
            self.lobby.get(place).map(|waiting| waiting.connection.register(registry, token));
        if !matches!(registered, Some(Ok(()))) {
            self.stats.accept_errors += 1;
            self.lobby.leave(place);
            return;
        }
        if self.lobby.crowded_out(WAITING_MAX).is_some() {
            self.stats.proxy_headers_displaced += 1;
        }
    }

    /// Looks at what a balancer has sent so far, and takes no more of it than the header.
    pub(super) fn serve_lobby(&mut self, place: Place) {
        let Some(waiting) = self.lobby.get(place) else { return };
        waiting.queued = false;
        let length = match waiting.connection.peek(&mut self.scratch[..PROXY_HEADER_MAX]) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => 0,
        };
        match ProxyHeader::read(&self.scratch[..length], Carrier::Stream) {
            Ok(None) if length > 0 => {}
            Ok(Some(header)) => self.speaks_for(place, header),
            Ok(None) | Err(NoProxyHeader) => {
                self.stats.proxy_headers_wrong += 1;
                self.lobby.leave(place);
            }
        }
    }

    fn speaks_for(&mut self, place: Place, header: ProxyHeader) {
        let Some(waiting) = self.lobby.leave(place) else { return };
        let Waiting { mut connection, index, .. } = waiting;
        // It was seen a moment ago, so it is there in one piece.
        let skipped = connection.receive_exactly(&mut self.scratch[..header.length]);
        if skipped.and_then(|()| connection.deregister(self.poll.registry())).is_err() {
            self.stats.accept_errors += 1;
            return;
        }
        self.stats.proxied_connections += 1;
        let connection = match header.client {
            Some(client) => connection.on_behalf_of(client),
            None => connection,
        };
        self.admit(index, connection);
    }

    /// Closes those whose header has not come.
    pub(super) fn clear_lobby(&mut self) {
        while self.lobby.overdue(self.now.moment).is_some() {
            self.stats.proxy_headers_late += 1;
        }
    }
}

/// How long a header may take. The protocol wants three seconds at least, for what TCP may have to
/// send again.
const PATIENCE: Lifetime = Lifetime::from_secs(5);

/// Connections that may wait at each worker; the oldest makes room for one more.
pub(super) const WAITING_MAX: usize = 1024;
