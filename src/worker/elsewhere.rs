//! Answers that leave by another socket than the request came by (RFC 5780 §6.1). Each worker has
//! its own socket at each address, so it asks nobody.

use std::net::SocketAddr;

use crate::net::{Envelope, TrafficClass};
use crate::worker::Worker;
use crate::worker::token::Token;

impl Worker {
    /// Answers from the address `from` with the first `len` bytes of the send batch's space.
    pub(super) fn reply_elsewhere(&mut self, len: usize, from: SocketAddr, to: SocketAddr) {
        let found = self.udp.iter().enumerate().find(|(_, udp)| udp.listener.serves(from));
        let Some((index, udp)) = found else {
            self.stats.drops.closed += 1;
            return;
        };
        let envelope = Envelope {
            socket: Token::Udp(index as u32).into(),
            to,
            from: udp.listener.source_for(from),
            dont_fragment: false,
            class: TrafficClass::BEST_EFFORT,
        };
        self.send.push_space(envelope, len);
    }
}
