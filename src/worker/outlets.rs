//! What a batch leaves by.

use crate::net::{Envelope, Outlet, Outlets, SocketKey, Tally, TrafficClass};
use crate::turn::FiveTuple;
use crate::worker::relays::Relays;
use crate::worker::stats::Stats;
use crate::worker::token::Token;
use crate::worker::{Udp, Worker};

/// A worker's UDP sockets by their names, while a batch is flushed.
pub(super) struct Sockets<'a> {
    pub udp: &'a mut [Udp],
    pub relays: &'a mut Relays,
    pub stats: &'a mut Stats,
}

impl Outlets for Sockets<'_> {
    fn outlet(&mut self, key: SocketKey) -> Option<&mut dyn Outlet> {
        match Token::from(key) {
            Token::Udp(index) => {
                self.udp.get_mut(index as usize).map(|udp| &mut udp.listener as &mut dyn Outlet)
            }
            Token::Relay(place) => {
                self.relays.get(place).map(|relay| &mut relay.socket as &mut dyn Outlet)
            }
            _ => None,
        }
    }

    fn tally(&mut self, key: SocketKey, tally: &Tally) {
        let traffic = match Token::from(key) {
            Token::Udp(_) => &mut self.stats.udp,
            _ => &mut self.stats.peers,
        };
        traffic.sent(tally.packets, tally.bytes);
        self.stats.messages_out += tally.messages;
        self.stats.drops.count(tally);
    }
}

impl Worker {
    /// What leaves by a UDP listener for a client.
    #[inline]
    pub(super) fn envelope(
        &self,
        listener: u32,
        tuple: &FiveTuple,
        class: TrafficClass,
    ) -> Envelope {
        let from = self.udp.get(listener as usize);
        Envelope {
            socket: Token::Udp(listener).into(),
            to: self.proxied.way_to(tuple.client, tuple.server),
            from: from.and_then(|udp| udp.listener.source_for(tuple.server)),
            dont_fragment: false,
            class,
        }
    }
}
