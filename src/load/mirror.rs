//! A peer that sends everything back to where it came from.

use std::net::SocketAddr;

use crate::load::port::Exits;
use crate::net::{Envelope, RecvBatch, SendBatch, SocketKey, TrafficClass};

/// What has come, and is to go back.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    bytes: Vec<u8>,
    /// The port that each came by, where it came from, and where in `bytes` it ends.
    list: Vec<(usize, SocketAddr, usize)>,
}

impl Mirror {
    /// Takes note of a datagram.
    pub(super) fn note(&mut self, port: usize, source: SocketAddr, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.list.push((port, source, self.bytes.len()));
    }

    /// Whether nothing is to go back.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Sends back all that has come, by way of an empty `batch`.
    pub(super) fn send_back(
        &mut self,
        batch: &mut SendBatch,
        nothing: &RecvBatch,
        exits: &mut Exits<'_>,
    ) {
        let mut start = 0;
        for (port, to, end) in self.list.drain(..) {
            let envelope = Envelope {
                socket: SocketKey(port as u64),
                to,
                from: None,
                dont_fragment: false,
                class: TrafficClass::BEST_EFFORT,
            };
            batch.push_bytes(envelope, None, &self.bytes[start..end], 0);
            start = end;
            if batch.is_full() {
                batch.flush(nothing, exits);
            }
        }
        batch.flush(nothing, exits);
        self.bytes.clear();
    }
}
