//! Datagrams that are to leave, and the sockets that they leave by.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::net::batch::segments::{Joining, Segments};
use crate::net::batch::{RecvBatch, SocketKey};
use crate::net::class::TrafficClass;
use crate::net::sys::{Fate, Outgoing, SendArrays};
use crate::wire::Header;

/// Something that datagrams can be sent by.
pub trait Outlet {
    /// Its descriptor.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Sets or clears DF for the datagrams sent next; does nothing where it is so already.
    ///
    /// # Errors
    ///
    /// That of the socket option; the datagrams are then dropped, for none may leave with the
    /// wrong DF.
    fn set_dont_fragment(&mut self, wanted: bool) -> io::Result<()>;

    /// What the kernel is trusted to send as segments of one message.
    fn segments(&mut self) -> &mut Segments;
}

/// The caller's sockets, as a flush needs them.
pub trait Outlets {
    /// The socket of this name; `None` where it is closed, and its datagrams are dropped.
    fn outlet(&mut self, key: SocketKey) -> Option<&mut dyn Outlet>;

    /// Hears what became of the datagrams for one socket.
    fn tally(&mut self, key: SocketKey, tally: &Tally);
}

/// What became of datagrams that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent.
    pub packets: u64,
    /// Bytes of those, headers of ours included.
    pub bytes: u64,
    /// System messages that carried them: fewer, where several left as segments of one.
    pub messages: u64,
    /// Dropped because the socket's buffer, or the device's queue, was full.
    pub full: u64,
    /// Dropped because they were longer than a datagram, or than the path with DF set, can be.
    pub too_long: u64,
    /// Dropped because there is no way to that address, or none that is allowed.
    pub unreachable: u64,
    /// Dropped for any other reason.
    pub failed: u64,
}

/// Where a datagram goes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// The socket to send by.
    pub socket: SocketKey,
    /// Where to.
    pub to: SocketAddr,
    /// The local address to send from; `None` where the socket is bound to one.
    pub from: Option<IpAddr>,
    /// Whether DF must be set; if not, it must be clear.
    pub dont_fragment: bool,
    /// The traffic class.
    pub class: TrafficClass,
}

/// Datagrams that are to leave.
pub struct SendBatch {
    entries: Vec<Entry>,
    /// Entries by socket and destination, each run in the order in which it was pushed.
    order: Vec<Place>,
    /// Datagrams that a message of segments could not carry, to be sent alone.
    again: Vec<Place>,
    own: Box<[u8]>,
    own_used: usize,
    arrays: SendArrays,
}

/// Where an entry stands in the order of sending.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    socket: SocketKey,
    /// Of the destination; only equal addresses must have equal numbers.
    to: u64,
    index: u16,
    dont_fragment: bool,
}

struct Entry {
    envelope: Envelope,
    header: Option<Header>,
    payload: Payload,
    padding: u8,
}

enum Payload {
    Slot { slot: usize, range: Range<usize> },
    Own(Range<usize>),
}

impl SendBatch {
    /// Datagrams in a batch.
    pub const ENTRIES: usize = 1024;
    /// Bytes that [`SendBatch::space`] has at least where the batch is not full: more than any
    /// message.
    pub const SPACE: usize = 66 * 1024;
    const OWN_BYTES: usize = 4 * Self::SPACE;

    /// An empty batch.
    pub fn new() -> Self {
        Self {
            entries: Vec::with_capacity(Self::ENTRIES),
            order: Vec::with_capacity(Self::ENTRIES),
            again: Vec::new(),
            own: vec![0; Self::OWN_BYTES].into_boxed_slice(),
            own_used: 0,
            arrays: SendArrays::new(Self::ENTRIES),
        }
    }

    /// Whether it must be flushed before anything is pushed.
    pub fn is_full(&self) -> bool {
        self.entries.len() == Self::ENTRIES || self.own.len() - self.own_used < Self::SPACE
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Room for a message of the caller's, to be followed by [`SendBatch::push_space`]; what is
    /// not pushed is overwritten by the next.
    #[inline]
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.own[self.own_used..]
    }

    /// Appends the first `len` bytes of [`SendBatch::space`] as a datagram.
    ///
    /// # Panics
    ///
    /// Where the batch is full.
    pub fn push_space(&mut self, envelope: Envelope, len: usize) {
        let start = self.own_used;
        self.own_used += len;
        let payload = Payload::Own(start..self.own_used);
        self.push(Entry { envelope, header: None, payload, padding: 0 });
    }

    /// Appends a copy of `bytes` as a datagram: `header` in front, `padding` (at most 3) zero bytes
    /// behind.
    ///
    /// # Panics
    ///
    /// Where the batch is full, or `bytes` longer than [`SendBatch::SPACE`].
    pub fn push_bytes(
        &mut self,
        envelope: Envelope,
        header: Option<Header>,
        bytes: &[u8],
        padding: u8,
    ) {
        self.space()[..bytes.len()].copy_from_slice(bytes);
        self.push_space(envelope, bytes.len());
        if let Some(entry) = self.entries.last_mut() {
            entry.header = header;
            entry.padding = padding;
        }
    }

    /// Appends a part of a received datagram: `header` in front, `padding` (at most 3) zero bytes
    /// behind. The slot must stay as it is until the flush.
    ///
    /// # Panics
    ///
    /// Where the batch is full.
    pub fn push_slot(
        &mut self,
        envelope: Envelope,
        header: Option<Header>,
        slot: usize,
        range: Range<usize>,
        padding: u8,
    ) {
        self.push(Entry { envelope, header, payload: Payload::Slot { slot, range }, padding });
    }

    fn push(&mut self, entry: Entry) {
        assert!(self.entries.len() < Self::ENTRIES, "the caller flushes a full batch");
        self.entries.push(entry);
    }

    /// Sends everything, in order for each socket, and empties the batch.
    ///
    /// An error belongs to the one datagram that met it: it is counted, and the next one goes out.
    /// Only a full socket ends its turn: what else is for it would meet the same.
    pub fn flush(&mut self, received: &RecvBatch, outlets: &mut impl Outlets) {
        if self.entries.is_empty() {
            return;
        }
        self.send_where(|_| true, received, outlets);
        self.entries.clear();
        self.own_used = 0;
    }

    /// Sends what is for one socket, before that is closed; the rest stays.
    pub fn flush_socket(
        &mut self,
        socket: SocketKey,
        received: &RecvBatch,
        outlets: &mut impl Outlets,
    ) {
        self.send_where(|envelope| envelope.socket == socket, received, outlets);
        self.entries.retain(|entry| entry.envelope.socket != socket);
    }

    fn send_where(
        &mut self,
        is_wanted: impl Fn(&Envelope) -> bool,
        received: &RecvBatch,
        outlets: &mut impl Outlets,
    ) {
        let entries = &self.entries;
        self.order.clear();
        for (index, Entry { envelope, .. }) in entries.iter().enumerate() {
            if is_wanted(envelope) {
                let &Envelope { socket, to, dont_fragment, .. } = envelope;
                let index = index as u16;
                self.order.push(Place { socket, to: number_of(to), index, dont_fragment });
            }
        }
        self.order.sort_unstable();
        for run in self.order.chunk_by(|a, b| a.socket == b.socket) {
            let mut tally = Tally::default();
            match outlets.outlet(run[0].socket) {
                Some(outlet) => {
                    for run in run.chunk_by(|a, b| a.dont_fragment == b.dont_fragment) {
                        if outlet.set_dont_fragment(run[0].dont_fragment).is_err() {
                            tally.failed += run.len() as u64;
                            continue;
                        }
                        let run = Run { places: run, entries, received, own: &self.own };
                        self.again.clear();
                        run.send(&mut self.arrays, outlet, &mut self.again, &mut tally);
                    }
                }
                None => tally.failed += run.len() as u64,
            }
            outlets.tally(run[0].socket, &tally);
        }
    }
}

/// A number for an address, by which those that are equal come to stand together.
fn number_of(address: SocketAddr) -> u64 {
    let port = u64::from(address.port());
    match address.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()) << 16 | port,
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            (bits as u64 ^ (bits >> 64) as u64).rotate_left(16) ^ port
        }
    }
}

/// What goes by one socket with the same DF.
struct Run<'a> {
    places: &'a [Place],
    entries: &'a [Entry],
    received: &'a RecvBatch,
    own: &'a [u8],
}

impl Run<'_> {
    /// Sends everything; what a message of segments could not carry is sent once more, alone.
    fn send(
        &self,
        arrays: &mut SendArrays,
        outlet: &mut dyn Outlet,
        again: &mut Vec<Place>,
        tally: &mut Tally,
    ) {
        let limit = *outlet.segments();
        let datagrams = Joining::new(limit, self.datagrams(self.places));
        self.attempt(self.places, datagrams, arrays, outlet, again, tally);
        if !again.is_empty() {
            let alone = self.datagrams(again);
            self.attempt(again, alone, arrays, outlet, &mut Vec::new(), tally);
        }
    }

    fn datagrams<'b>(&'b self, places: &'b [Place]) -> impl Iterator<Item = Outgoing<'b>> {
        places
            .iter()
            .map(|place| self.entries[usize::from(place.index)].outgoing(self.received, self.own))
    }

    fn attempt<'b>(
        &'b self,
        places: &[Place],
        datagrams: impl Iterator<Item = Outgoing<'b>>,
        arrays: &mut SendArrays,
        outlet: &mut dyn Outlet,
        again: &mut Vec<Place>,
        tally: &mut Tally,
    ) {
        let (mut packets, mut bytes, mut messages) = (0, 0, 0);
        let mut tried_again = (0, 0);
        let mut refused = None;
        let sent = |datagrams: usize, length: usize| {
            packets += datagrams as u64;
            bytes += length as u64;
            messages += 1;
        };
        let failed = |range: Range<usize>, error: &io::Error| {
            let count = range.len() as u64;
            match error.raw_os_error() {
                Some(libc::EAGAIN) => {
                    tally.full += (places.len() - range.start) as u64;
                    return Fate::Stop;
                }
                // What an earlier datagram has met is reported when the next one is sent, once; an
                // error of its own comes again.
                Some(errno) if OTHERS_ERRORS.contains(&errno) => {
                    let (at, times) = tried_again;
                    let times = if at == range.start { times } else { 0 };
                    tried_again = (range.start, times + 1);
                    if times < TRIED_AGAIN_MAX {
                        return Fate::Again;
                    }
                }
                _ => {}
            }
            match error.raw_os_error() {
                Some(errno @ (libc::EIO | libc::EINVAL | libc::EMSGSIZE)) if count > 1 => {
                    let first = &self.entries[usize::from(places[range.start].index)];
                    let length: usize =
                        first.outgoing(self.received, self.own).parts.iter().map(|p| p.len()).sum();
                    refused = Some((errno, length));
                    again.extend_from_slice(&places[range]);
                }
                Some(libc::ENOBUFS | libc::ENOMEM) => tally.full += count,
                Some(libc::EMSGSIZE) => tally.too_long += count,
                Some(
                    libc::EACCES
                    | libc::EPERM
                    | libc::ECONNREFUSED
                    | libc::EHOSTUNREACH
                    | libc::ENETUNREACH
                    | libc::EADDRNOTAVAIL
                    | libc::EINVAL,
                ) => tally.unreachable += count,
                _ => tally.failed += count,
            }
            Fate::Skip
        };
        arrays.send(outlet.descriptor(), datagrams, sent, failed);
        tally.packets += packets;
        tally.bytes += bytes;
        tally.messages += messages;
        if let Some((errno, length)) = refused {
            outlet.segments().refused(errno, length);
        }
    }
}

impl Entry {
    fn outgoing<'a>(&'a self, received: &'a RecvBatch, own: &'a [u8]) -> Outgoing<'a> {
        let payload = match &self.payload {
            Payload::Slot { slot, range } => &received.datagram(*slot).bytes[range.clone()],
            Payload::Own(range) => &own[range.clone()],
        };
        Outgoing {
            to: self.envelope.to,
            from: self.envelope.from,
            class: self.envelope.class,
            parts: [
                self.header.as_deref().unwrap_or_default(),
                payload,
                &ZEROS[..usize::from(self.padding)],
            ],
            joins: false,
        }
    }
}

impl Default for SendBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendBatch({} of {} entries)", self.entries.len(), Self::ENTRIES)
    }
}

/// What the kernel makes of ICMP errors. Some of them may also be a datagram's own.
const OTHERS_ERRORS: [i32; 10] = [
    libc::ECONNREFUSED,
    libc::EHOSTUNREACH,
    libc::ENETUNREACH,
    libc::EMSGSIZE,
    libc::EACCES,
    libc::ENOPROTOOPT,
    libc::EOPNOTSUPP,
    libc::EHOSTDOWN,
    libc::ENONET,
    libc::EPROTO,
];
/// How often a datagram is sent again that may have met an error of another one: each time one
/// more ICMP message has come meanwhile.
const TRIED_AGAIN_MAX: u32 = 3;

/// What padding is made of.
const ZEROS: [u8; 3] = [0; 3];
