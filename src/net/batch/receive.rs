//! Datagrams that have arrived.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use crate::net::batch::SocketKey;
use crate::net::sys::RecvArrays;

/// Datagrams as they were received, with room for [`RecvBatch::SLOTS`] of any size.
pub struct RecvBatch {
    bytes: Box<[u8]>,
    slots: Vec<Slot>,
    arrays: RecvArrays,
}

#[derive(Clone, Copy)]
struct Slot {
    socket: SocketKey,
    len: usize,
    source: SocketAddr,
    destination: Option<IpAddr>,
}

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The socket it came by.
    pub socket: SocketKey,
    /// Who sent it.
    pub source: SocketAddr,
    /// The local address it was sent to, where its socket reports that.
    pub destination: Option<IpAddr>,
    /// All of it.
    pub bytes: &'a [u8],
}

/// What one call to receive brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Datagrams that the kernel handed over, those dropped here included.
    pub datagrams: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The socket has nothing more; it will be announced as readable when it has. No further call
    /// is needed to hear that.
    pub emptied: bool,
    /// Datagrams that did not fit a slot, and were dropped: nothing is ever passed on cut.
    pub truncated: u64,
    /// Errors that earlier datagrams caused (a peer's ICMP messages), passed over.
    pub errors: u64,
}

impl RecvBatch {
    /// Datagrams in a batch.
    pub const SLOTS: usize = 32;
    /// Bytes in a slot. No datagram is longer: IPv4 carries up to 65 507, IPv6 up to 65 527.
    pub const SLOT_BYTES: usize = 65_535;
    /// Slots lie this far apart. A power of two would let the headers of all slots, which are all
    /// that is read of most packets, compete for the same few cache lines.
    const STRIDE: usize = 65_536 + 19 * 64;

    /// An empty batch.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; Self::SLOTS * Self::STRIDE].into_boxed_slice(),
            slots: Vec::with_capacity(Self::SLOTS),
            arrays: RecvArrays::new(Self::SLOTS),
        }
    }

    /// Forgets all datagrams.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// Datagrams in the batch.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the batch holds nothing.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.slots.len() == Self::SLOTS
    }

    /// The datagram in slot `index`.
    ///
    /// # Panics
    ///
    /// Where `index` is not less than [`RecvBatch::len`].
    pub fn datagram(&self, index: usize) -> Datagram<'_> {
        let slot = &self.slots[index];
        Datagram {
            socket: slot.socket,
            source: slot.source,
            destination: slot.destination,
            bytes: &self.bytes[index * Self::STRIDE..][..slot.len],
        }
    }

    /// Datagrams that fit in beside those that are there.
    pub fn room(&self) -> usize {
        Self::SLOTS - self.slots.len()
    }

    /// Appends what waits at a socket, up to `most` or the room that is left; never blocks.
    ///
    /// A call that brought less than there was room for has emptied the socket. An error that the
    /// kernel kept for this socket (ICMP) is no reason to stop: it is counted and passed over.
    pub(in crate::net) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        key: SocketKey,
        most: usize,
    ) -> Received {
        let mut received = Received::default();
        let first = self.slots.len();
        let room = self.room().min(most);
        if room == 0 {
            return received;
        }
        for _ in 0..PENDING_ERRORS_MAX {
            let bytes = &mut self.bytes[first * Self::STRIDE..][..room * Self::STRIDE];
            let buffers = bytes.chunks_exact_mut(Self::STRIDE);
            let buffers = buffers.map(|chunk| &mut chunk[..Self::SLOT_BYTES]);
            match self.arrays.receive(socket, buffers) {
                Ok(count) => {
                    received.datagrams = count;
                    received.emptied = count < room;
                    self.keep(first, count, key, &mut received);
                    return received;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    received.emptied = true;
                    return received;
                }
                Err(_) => received.errors += 1,
            }
        }
        received
    }

    /// Takes over what was received into the slots from `first` on, leaving out what was cut.
    fn keep(&mut self, first: usize, count: usize, key: SocketKey, received: &mut Received) {
        for index in 0..count {
            let arrival = self.arrays.arrival(index);
            received.bytes += arrival.len as u64;
            let Some(source) = arrival.source.filter(|_| !arrival.truncated) else {
                received.truncated += 1;
                continue;
            };
            let slot = self.slots.len();
            if slot != first + index {
                // Only behind a datagram that was dropped, so hardly ever: slots have no gaps.
                let from = (first + index) * Self::STRIDE;
                self.bytes.copy_within(from..from + arrival.len, slot * Self::STRIDE);
            }
            self.slots.push(Slot {
                socket: key,
                len: arrival.len,
                source,
                destination: arrival.destination,
            });
        }
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecvBatch({} of {} slots)", self.len(), Self::SLOTS)
    }
}

/// How many kept errors of a socket are passed over in one turn.
const PENDING_ERRORS_MAX: usize = 8;
