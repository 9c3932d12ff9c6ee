//! What was received and is being decided on, wherever it lies.

use crate::net::TrafficClass;
use crate::worker::Worker;

/// Where the bytes are that a verdict speaks of.
#[derive(Clone, Copy)]
pub(super) enum Packet<'a> {
    /// In this slot of the received batch.
    Slot(usize),
    /// Bytes that came by no socket of this worker's, or as a frame of a stream.
    Frame(&'a [u8], TrafficClass),
}

impl Worker {
    /// The class that a packet's payload goes on with. What came by a stream has none of its own
    /// (RFC 8656 §15).
    #[inline]
    pub(super) fn class_of(&self, packet: Packet<'_>) -> TrafficClass {
        match packet {
            Packet::Slot(slot) => self.received.datagram(slot).class,
            Packet::Frame(_, class) => class,
        }
    }
}
