//! Datagrams that have arrived.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use crate::net::batch::SocketKey;
use crate::net::class::TrafficClass;
use crate::net::sys::{Arrival, RecvArrays};

/// Datagrams as they were received, with room for [`RecvBatch::BUFFERS`] of any size, or for many
/// more that the kernel has joined.
///
/// How many of the buffers are used adapts to what comes: many while single packets queue up, so
/// that more of them leave together; few where each holds a long run, which should still be in the
/// CPU's cache when it leaves.
pub struct RecvBatch {
    bytes: Box<[u8]>,
    /// Buffers in use.
    buffers: usize,
    /// Buffers that may be used this time.
    limit: usize,
    /// Bytes in those in use.
    filled: usize,
    slots: Vec<Slot>,
    arrays: RecvArrays,
}

/// One datagram; the kernel may have put several into one buffer.
#[derive(Clone, Copy)]
struct Slot {
    socket: SocketKey,
    start: usize,
    len: usize,
    source: SocketAddr,
    destination: Option<IpAddr>,
    class: TrafficClass,
}

impl Slot {
    fn datagram<'a>(&self, bytes: &'a [u8]) -> Datagram<'a> {
        Datagram {
            socket: self.socket,
            source: self.source,
            destination: self.destination,
            class: self.class,
            bytes: &bytes[self.start..][..self.len],
        }
    }
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
    /// The traffic class that what it carries goes on with; best effort where its socket does not
    /// report it.
    pub class: TrafficClass,
    /// All of it.
    pub bytes: &'a [u8],
}

/// Whom a datagram is really from, as [`RecvBatch::reveal`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Whoever sent it.
    Itself,
    /// Somebody else, whose datagram begins after so many bytes.
    Behind {
        /// Bytes that are not that one's.
        header: usize,
        /// Who.
        source: SocketAddr,
    },
    /// Nobody: the datagram is forgotten.
    Nobody,
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
    /// Some of them had a traffic class of their own, as far as the socket reports that.
    pub marked: bool,
    /// Datagrams that did not fit a slot, and were dropped: nothing is ever passed on cut.
    pub truncated: u64,
    /// Errors that earlier datagrams caused (a peer's ICMP messages), passed over.
    pub errors: u64,
    /// Datagrams that the socket had no room for since it last said so.
    pub lost: u64,
}

/// What a socket has said so far of datagrams that it had no room for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    total: u32,
}

impl Losses {
    /// Takes over a newer total, which wraps around; returns what came to it.
    fn advance(&mut self, total: u32) -> u64 {
        let more = total.wrapping_sub(self.total);
        self.total = total;
        more.into()
    }
}

impl RecvBatch {
    /// Buffers in a batch, at most.
    pub const BUFFERS: usize = 512;
    /// Buffers that are used at first, and while little comes.
    const BUFFERS_FEW: usize = 32;
    /// Buffers that are used however long their runs are.
    const BUFFERS_MIN: usize = 4;
    /// Bytes that a batch aims at: what a second-level cache holds with room to spare.
    const BYTES_AIM: usize = 512 * 1024;
    /// Datagrams that the kernel joins into one buffer at most (UDP_GRO_CNT_MAX).
    const JOINED_MAX: usize = 64;
    /// Bytes in a buffer. No datagram is longer: IPv4 carries up to 65 507, IPv6 up to 65 527.
    pub const BUFFER_BYTES: usize = 65_535;
    /// Buffers lie this far apart. A power of two would let the headers of all of them, which are
    /// all that is read of most packets, compete for the same few cache lines.
    const STRIDE: usize = 65_536 + 19 * 64;

    /// An empty batch.
    pub fn new() -> Self {
        Self {
            buffers: 0,
            limit: Self::BUFFERS_FEW,
            filled: 0,
            bytes: vec![0; Self::BUFFERS * Self::STRIDE].into_boxed_slice(),
            slots: Vec::with_capacity(Self::BUFFERS * Self::JOINED_MAX),
            arrays: RecvArrays::new(Self::BUFFERS),
        }
    }

    /// Forgets all datagrams, and decides by them how many buffers are used next.
    pub fn clear(&mut self) {
        if let Some(each) = self.filled.checked_div(self.buffers) {
            let grown = match self.buffers {
                full if full >= self.limit => 2 * self.limit,
                few if few < self.limit / 4 => self.limit / 2,
                _ => self.limit,
            };
            let most = Self::BYTES_AIM.checked_div(each).unwrap_or(Self::BUFFERS);
            let most = most.clamp(Self::BUFFERS_MIN, Self::BUFFERS);
            self.limit = grown.max(Self::BUFFERS_FEW).min(most);
        }
        self.slots.clear();
        self.buffers = 0;
        self.filled = 0;
    }

    /// Datagrams in the batch.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The kernel's messages that brought them; fewer, where it had joined some.
    pub fn messages(&self) -> usize {
        self.buffers
    }

    /// Whether the batch holds nothing.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.buffers >= self.limit
    }

    /// The datagram in slot `index`.
    ///
    /// # Panics
    ///
    /// Where `index` is not less than [`RecvBatch::len`].
    pub fn datagram(&self, index: usize) -> Datagram<'_> {
        self.slots[index].datagram(&self.bytes)
    }

    /// Asks of each datagram whom it is from, before anybody looks at it. Returns how many of the
    /// first `first` are left.
    pub fn reveal(
        &mut self,
        first: usize,
        mut sender: impl FnMut(Datagram<'_>) -> Sender,
    ) -> usize {
        let (mut index, mut left) = (0, 0);
        let bytes = &self.bytes;
        self.slots.retain_mut(|slot| {
            let sender = sender(slot.datagram(bytes));
            if let Sender::Behind { header, source } = sender {
                let header = header.min(slot.len);
                slot.start += header;
                slot.len -= header;
                slot.source = source;
            }
            let is_kept = sender != Sender::Nobody;
            left += usize::from(is_kept && index < first);
            index += 1;
            is_kept
        });
        left
    }

    /// Buffers that are free.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.buffers)
    }

    /// Appends what waits at a socket, up to `most` buffers of it or the room that is left; never
    /// blocks.
    ///
    /// A call that brought less than there was room for has emptied the socket. An error that the
    /// kernel kept for this socket (ICMP) is no reason to stop: it is counted and passed over.
    pub(in crate::net) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        key: SocketKey,
        most: usize,
        losses: &mut Losses,
    ) -> Received {
        let mut received = Received::default();
        let first = self.buffers;
        let room = self.room().min(most);
        if room == 0 {
            return received;
        }
        for _ in 0..PENDING_ERRORS_MAX {
            let bytes = &mut self.bytes[first * Self::STRIDE..][..room * Self::STRIDE];
            let buffers = bytes.chunks_exact_mut(Self::STRIDE);
            let buffers = buffers.map(|chunk| &mut chunk[..Self::BUFFER_BYTES]);
            match self.arrays.receive(socket, buffers) {
                Ok(count) => {
                    received.emptied = count < room;
                    self.keep(first, count, key, losses, &mut received);
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

    /// Takes over what was received into the buffers from `first` on, leaving out what was cut.
    fn keep(
        &mut self,
        first: usize,
        count: usize,
        key: SocketKey,
        losses: &mut Losses,
        received: &mut Received,
    ) {
        self.buffers = first + count;
        for index in 0..count {
            let Arrival { len, source, destination, truncated, segment, class, lost } =
                self.arrays.arrival(index);
            received.marked |= class != 0;
            let class = TrafficClass::carried(class);
            self.filled += len;
            received.bytes += len as u64;
            received.lost += lost.map_or(0, |total| losses.advance(total));
            let Some(source) = source.filter(|_| !truncated) else {
                received.datagrams += 1;
                received.truncated += 1;
                continue;
            };
            let buffer = (first + index) * Self::STRIDE;
            let segment = segment.unwrap_or(len).max(1);
            // An empty datagram is one, too.
            for at in (0..len.max(1)).step_by(segment) {
                let (start, len) = (buffer + at, segment.min(len - at));
                self.slots.push(Slot { socket: key, start, len, source, destination, class });
                received.datagrams += 1;
            }
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
        write!(f, "RecvBatch({} datagrams, {} of {} buffers)", self.len(), self.buffers, self.limit)
    }
}

/// How many kept errors of a socket are passed over in one turn.
const PENDING_ERRORS_MAX: usize = 8;
