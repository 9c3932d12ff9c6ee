//! Clients that come by a TLS listener and speak HTTP: one port can serve both. The worker shows
//! them to the control plane and has no more to do with them.

use std::net::{SocketAddr, TcpStream};

use crate::net::tls::Session;
use crate::worker::Worker;
use crate::worker::token::Place;

/// A connection that speaks HTTP, behind its handshake.
#[derive(Debug)]
pub struct Guest {
    /// Its stream, which does not block.
    pub stream: TcpStream,
    /// What lies between the stream and the HTTP.
    pub session: Box<Session>,
    /// What it has said already.
    pub said: Vec<u8>,
    /// Where it comes from.
    pub client: SocketAddr,
    /// The address of ours that it came to.
    pub server: SocketAddr,
}

impl Worker {
    /// Gives a connection away, with what is in the first `length` bytes of the scratch.
    pub(super) fn show_in(&mut self, place: Place, length: usize) {
        let Some(client) = self.connections.remove(place) else { return };
        let mut connection = client.connection;
        // Failing, it is not registered any more, as is wanted.
        let _ = connection.deregister(self.poll.registry());
        let (client, server) = (connection.client_addr(), connection.server_addr());
        let (stream, session) = connection.into_parts();
        let (Some(session), Some(guests)) = (session, &self.guests) else { return };
        let said = self.scratch[..length].to_vec();
        // Who is too many is not waited for, and hears of it by the end of the connection.
        match guests.try_send(Guest { stream, session, said, client, server }) {
            Ok(()) => self.stats.guests_shown_in += 1,
            Err(_) => self.stats.guests_refused += 1,
        }
    }
}
