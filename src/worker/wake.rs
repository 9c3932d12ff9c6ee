//! Stage 1 of a worker's turn: waiting, and noting which sockets have something.

use std::io;
use std::mem;
use std::time::Duration;

use mio::Events;

use crate::worker::moderation::Departures;
use crate::worker::token::Token;
use crate::worker::{Stats, Worker};

impl Worker {
    /// Sleeps until a socket has something or a deadline has come, then reads the clocks.
    pub(super) fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let nothing_waits = self.ready.is_empty()
            && !self.connections.has_line()
            && self.peers.line_len() == 0
            && self.parcels.is_empty()
            && !self.udp.iter().any(|udp| udp.queued);
        let timeout = match nothing_waits {
            true => self.next_deadline().map(|deadline| {
                let now = self.now.moment.as_millis();
                Duration::from_millis(deadline.as_millis().saturating_sub(now))
            }),
            false => Some(Duration::ZERO),
        };
        if timeout != Some(Duration::ZERO)
            && let Some(pause) = self.moderation.pause()
        {
            self.clock.pause(pause);
        }
        let timeout = if self.inbox.may_sleep() { timeout } else { Some(Duration::ZERO) };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result?,
        }
        self.inbox.awake();
        self.now = self.clock.now();
        let (packets, messages) = mem::take(&mut self.handled);
        let Stats { udp, peers, messages_out, .. } = &self.stats;
        let left =
            Departures { packets: udp.packets_out + peers.packets_out, messages: *messages_out };
        self.moderation.count(self.now.moment, packets, messages, left);
        for event in events.iter() {
            let token = Token::from(event.token());
            if let Token::Connection(place) = token
                && let Some(client) = self.connections.get(place)
            {
                client.ending |= event.is_read_closed() || event.is_error();
                if event.is_writable() {
                    client.blocked = false;
                    if client.connection.has_output() && !mem::replace(&mut client.dirty, true) {
                        self.dirty.push(place);
                    }
                }
                if !(event.is_readable() || client.ending) {
                    continue;
                }
            }
            if event.is_error()
                && let Token::Relay(place) = token
                && let Some(relay) = self.relays.get(place)
            {
                relay.failing = true;
            }
            // A break comes with an error; without one the last word was said.
            if event.is_read_closed() && !event.is_error() {
                self.peers.heard_last_word(token);
            }
            self.queue(token);
        }
        Ok(())
    }

    /// Puts a socket into the queue of those that have something, unless it stands there already
    /// or is gone.
    pub(super) fn queue(&mut self, token: Token) {
        let queued = match token {
            Token::Waker => None,
            Token::Udp(index) => {
                // Listeners do not stand in the queue: each turn begins with them.
                if let Some(udp) = self.udp.get_mut(index as usize) {
                    udp.queued = true;
                }
                None
            }
            Token::Tcp(index) => self.tcp.get_mut(index as usize).map(|tcp| &mut tcp.queued),
            Token::Relay(place) => self.relays.get(place).map(|relay| &mut relay.queued),
            Token::Connection(place) if self.connections.line_up(place) => None,
            Token::Connection(place) => {
                self.connections.get(place).map(|client| &mut client.queued)
            }
            Token::Lobby(place) => self.lobby.get(place).map(|waiting| &mut waiting.queued),
            Token::Listener(place) => self.listeners.get(place).map(|it| &mut it.queued),
            Token::Peer(place) | Token::Data(place) if self.peers.line_up(place) => None,
            Token::Peer(place) | Token::Data(place) => {
                self.peers.get(place).map(|peer| &mut peer.queued)
            }
        };
        if queued.is_some_and(|queued| !mem::replace(queued, true)) {
            self.ready.push_back(token);
        }
    }
}
