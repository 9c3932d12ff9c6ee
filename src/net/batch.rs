//! Batches of datagrams: how packets enter and leave, many at a time.
//!
//! ```text
//! RecvBatch   slot 0   [ 65 535 bytes ]  source, destination, the socket it came by
//!             slot 1   [ 65 535 bytes ]  …
//! SendBatch   entry 0  header (inline) | slot 1, bytes 4..160     | padding   -> socket, address
//!             entry 1                    bytes of the batch's own |           -> socket, address
//! ```
//!
//! A payload is never copied on its way from one socket to another: an entry refers to the slot
//! that it lies in, and the kernel gathers header, payload and padding. A batch may be filled from
//! several sockets, and is flushed socket by socket.
//!
//! Receiving by GRO and sending by GSO will fill the same shapes: a slot can hold several segments
//! of which each is a range, and entries of one socket already stand together when they leave.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::net::sys::{Fate, Outgoing, RecvArrays, SendArrays};
use crate::wire::Header;

/// The caller's name for a socket; the batches never look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey(pub u64);

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

    /// Appends what waits at a socket, up to the room that is left; never blocks.
    ///
    /// A call that brought less than there was room for has emptied the socket. An error that the
    /// kernel kept for this socket (ICMP) is no reason to stop: it is counted and passed over.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, key: SocketKey) -> Received {
        let mut received = Received::default();
        let first = self.slots.len();
        let room = Self::SLOTS - first;
        if room == 0 {
            return received;
        }
        for _ in 0..PENDING_ERRORS_MAX {
            let buffers = self.bytes[first * Self::STRIDE..].chunks_exact_mut(Self::STRIDE);
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
}

/// Datagrams that are to leave.
pub struct SendBatch {
    entries: Vec<Entry>,
    order: Vec<u16>,
    own: Box<[u8]>,
    own_used: usize,
    arrays: SendArrays,
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
    pub const ENTRIES: usize = 64;
    /// Bytes that [`SendBatch::space`] has at least where the batch is not full: more than any
    /// message.
    pub const SPACE: usize = 66 * 1024;
    const OWN_BYTES: usize = 4 * Self::SPACE;

    /// An empty batch.
    pub fn new() -> Self {
        Self {
            entries: Vec::with_capacity(Self::ENTRIES),
            order: Vec::with_capacity(Self::ENTRIES),
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

    /// Appends a copy of `bytes` behind `header` as a datagram.
    ///
    /// # Panics
    ///
    /// Where the batch is full, or `bytes` longer than [`SendBatch::SPACE`].
    pub fn push_bytes(&mut self, envelope: Envelope, header: Option<Header>, bytes: &[u8]) {
        self.space()[..bytes.len()].copy_from_slice(bytes);
        self.push_space(envelope, bytes.len());
        if let Some(entry) = self.entries.last_mut() {
            entry.header = header;
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
        self.order.extend(0..entries.len() as u16);
        self.order.retain(|index| is_wanted(&entries[usize::from(*index)].envelope));
        let key = |index: &u16| entries[usize::from(*index)].envelope;
        self.order.sort_unstable_by_key(|index| (key(index).socket, *index));
        for run in self.order.chunk_by(|a, b| key(a).socket == key(b).socket) {
            let socket = key(&run[0]).socket;
            let mut tally = Tally::default();
            match outlets.outlet(socket) {
                Some(outlet) => {
                    for run in run.chunk_by(|a, b| key(a).dont_fragment == key(b).dont_fragment) {
                        if outlet.set_dont_fragment(key(&run[0]).dont_fragment).is_err() {
                            tally.failed += run.len() as u64;
                            continue;
                        }
                        let messages = run.iter().map(|index| {
                            entries[usize::from(*index)].outgoing(received, &self.own)
                        });
                        send_run(&mut self.arrays, outlet.descriptor(), messages, &mut tally);
                    }
                }
                None => tally.failed += run.len() as u64,
            }
            outlets.tally(socket, &tally);
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
            parts: [
                self.header.as_deref().unwrap_or_default(),
                payload,
                &ZEROS[..usize::from(self.padding)],
            ],
        }
    }
}

/// Sends what goes by one socket with the same DF.
fn send_run<'a>(
    arrays: &mut SendArrays,
    socket: BorrowedFd<'_>,
    messages: impl ExactSizeIterator<Item = Outgoing<'a>>,
    tally: &mut Tally,
) {
    let total = messages.len();
    let (mut packets, mut bytes) = (0, 0);
    let mut tried_again = None;
    let sent = |length: usize| {
        packets += 1;
        bytes += length as u64;
    };
    arrays.send(socket, messages, sent, |index, error| {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => {
                tally.full += (total - index) as u64;
                return Fate::Stop;
            }
            // What an earlier datagram caused is reported on the next one that is sent: once.
            Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH)
                if tried_again != Some(index) =>
            {
                tried_again = Some(index);
                return Fate::Again;
            }
            Some(libc::ENOBUFS | libc::ENOMEM) => tally.full += 1,
            Some(libc::EMSGSIZE) => tally.too_long += 1,
            Some(
                libc::EACCES
                | libc::EPERM
                | libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EADDRNOTAVAIL
                | libc::EINVAL,
            ) => tally.unreachable += 1,
            _ => tally.failed += 1,
        }
        Fate::Skip
    });
    tally.packets += packets;
    tally.bytes += bytes;
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

/// How many kept errors of a socket are passed over in one turn.
const PENDING_ERRORS_MAX: usize = 8;

/// What padding is made of.
const ZEROS: [u8; 3] = [0; 3];

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use crate::net::relay::{Options, RelaySocket};
    use crate::net::sys::{Fragmentation, fragmentation, wait_readable};
    use crate::net::udp::{Listener, bind_udp};
    use crate::turn::RelayedAddr;

    const KEY: SocketKey = SocketKey(7);

    /// One socket that answers to [`KEY`], and what became of its datagrams.
    struct One<'a>(&'a mut dyn Outlet, Tally);

    impl Outlets for One<'_> {
        fn outlet(&mut self, key: SocketKey) -> Option<&mut dyn Outlet> {
            if key == KEY { Some(self.0) } else { None }
        }

        fn tally(&mut self, _key: SocketKey, tally: &Tally) {
            self.1 = *tally;
        }
    }

    fn flush(send: &mut SendBatch, received: &RecvBatch, outlet: &mut dyn Outlet) -> Tally {
        let mut one = One(outlet, Tally::default());
        send.flush(received, &mut one);
        one.1
    }

    fn listener(address: &str) -> Listener {
        bind_udp(address.parse().unwrap(), 1).unwrap().remove(0)
    }

    fn client(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        socket
    }

    fn envelope(to: SocketAddr) -> Envelope {
        Envelope { socket: KEY, to, from: None, dont_fragment: false }
    }

    fn receive(listener: &Listener, batch: &mut RecvBatch) -> Received {
        wait_readable(listener.descriptor());
        listener.receive(batch, KEY)
    }

    #[test]
    fn datagrams_of_every_size_pass_unchanged() {
        let (mut received, mut send) = (RecvBatch::new(), SendBatch::new());
        let mut echoed = vec![0; 65_536];
        let pattern: Vec<u8> = (0..65_507_u32).map(|i| (i % 251) as u8).collect();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut listener, client) = (listener(address), client(address));
            client.connect(listener.local_addr()).unwrap();
            for size in (0..=65_507).step_by(61).chain([1, 1472, 1473, 65_506, 65_507]) {
                assert_eq!(client.send(&pattern[..size]).unwrap(), size);
                received.clear();
                let report = receive(&listener, &mut received);
                assert_eq!((report.datagrams, report.emptied), (1, true));
                let datagram = received.datagram(0);
                assert_eq!(datagram.bytes, &pattern[..size]);
                assert_eq!(datagram.source, client.local_addr().unwrap());
                send.push_slot(envelope(datagram.source), None, 0, 0..size, 0);
                let tally = flush(&mut send, &received, &mut listener);
                assert_eq!((tally.packets, tally.bytes), (1, size as u64));
                assert_eq!(client.recv(&mut echoed).unwrap(), size);
                assert_eq!(echoed[..size], pattern[..size]);
            }
        }
    }

    #[test]
    fn header_payload_and_padding_leave_as_one_datagram() {
        let (mut received, mut send) = (RecvBatch::new(), SendBatch::new());
        let (mut listener, client) = (listener("127.0.0.1:0"), client("127.0.0.1:0"));
        client.send_to(b"0123456", listener.local_addr()).unwrap();
        receive(&listener, &mut received);
        let to = envelope(client.local_addr().unwrap());
        let header = Header::from_slice(&[0x40, 0, 0, 5]);
        send.push_slot(to, header, 0, 1..6, 3);
        send.push_bytes(to, header, b"own");
        send.space()[..5].copy_from_slice(b"space");
        send.push_space(to, 5);
        assert_eq!(flush(&mut send, &received, &mut listener).packets, 3);
        assert!(send.is_empty());
        let mut buffer = [0; 64];
        for expected in [&b"\x40\0\0\x0512345\0\0\0"[..], b"\x40\0\0\x05own", b"space"] {
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
        }
    }

    #[test]
    fn a_reply_leaves_from_the_address_that_was_asked() {
        for (wildcard, asked) in
            [("0.0.0.0:0", "127.0.0.2"), ("0.0.0.0:0", "127.0.0.3"), ("[::]:0", "::1")]
        {
            let (mut received, mut send) = (RecvBatch::new(), SendBatch::new());
            let mut listener = listener(wildcard);
            let asked = SocketAddr::new(asked.parse().unwrap(), listener.local_addr().port());
            let client = client(if asked.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" });
            // A connected socket hears nobody but whom it asked.
            client.connect(asked).unwrap();
            client.send(b"who?").unwrap();
            receive(&listener, &mut received);
            let datagram = received.datagram(0);
            let server = listener.server_addr(datagram.destination);
            assert_eq!(server, asked);
            let from = listener.source_for(server);
            assert_eq!(from, Some(asked.ip()));
            send.push_slot(Envelope { from, ..envelope(datagram.source) }, None, 0, 0..4, 0);
            assert_eq!(flush(&mut send, &received, &mut listener).packets, 1);
            assert_eq!(client.recv(&mut [0; 8]).unwrap(), 4);
        }
    }

    #[test]
    fn an_error_of_one_packet_does_not_stop_the_others() {
        let (received, mut send) = (RecvBatch::new(), SendBatch::new());
        let (mut listener, client) = (listener("127.0.0.1:0"), client("127.0.0.1:0"));
        let good = client.local_addr().unwrap();
        let long = vec![0; 65_508];
        let bad: [(SocketAddr, &[u8]); 6] = [
            ("127.0.0.1:0".parse().unwrap(), b"port 0"),
            ("255.255.255.255:9".parse().unwrap(), b"broadcast"),
            (good, &long),
            ("[::1]:9".parse().unwrap(), b"another family"),
            ("240.0.0.1:9".parse().unwrap(), b"no such network"),
            ("192.0.2.1:9".parse().unwrap(), b"from loopback to the world"),
        ];
        for (number, (to, bytes)) in bad.into_iter().enumerate() {
            send.push_bytes(envelope(to), None, bytes);
            send.push_bytes(envelope(good), None, &[number as u8]);
        }
        let tally = flush(&mut send, &received, &mut listener);
        assert_eq!(tally.too_long, 1);
        assert!(tally.packets >= 6 && tally.unreachable >= 2, "{tally:?}");
        let all = tally.packets + tally.too_long + tally.unreachable + tally.failed;
        assert_eq!((all, tally.full), (12, 0));
        let mut buffer = [0; 64];
        for number in 0..bad.len() {
            assert_eq!(client.recv(&mut buffer).unwrap(), 1);
            assert_eq!(usize::from(buffer[0]), number);
        }
    }

    #[test]
    fn packets_for_a_closed_socket_are_dropped() {
        let (received, mut send) = (RecvBatch::new(), SendBatch::new());
        let mut listener = listener("127.0.0.1:0");
        let to = listener.local_addr();
        send.push_bytes(Envelope { socket: SocketKey(8), ..envelope(to) }, None, b"late");
        let tally = flush(&mut send, &received, &mut listener);
        assert_eq!(tally, Tally { failed: 1, ..Tally::default() });
    }

    #[test]
    fn one_batch_takes_from_several_sockets_until_it_is_full() {
        let mut received = RecvBatch::new();
        let (first, second) = (listener("127.0.0.1:0"), listener("127.0.0.1:0"));
        let client = client("127.0.0.1:0");
        for number in 0..40 {
            client.send_to(&[number], first.local_addr()).unwrap();
        }
        client.send_to(b"other", second.local_addr()).unwrap();
        wait_readable(first.descriptor());
        let report = second.receive(&mut received, SocketKey(2));
        assert_eq!((report.datagrams, report.emptied), (1, true));
        let report = first.receive(&mut received, SocketKey(1));
        assert_eq!((report.datagrams, report.emptied), (31, false));
        assert!(received.is_full());
        assert_eq!(first.receive(&mut received, SocketKey(1)), Received::default());
        assert_eq!(received.datagram(0).socket, SocketKey(2));
        for slot in 1..received.len() {
            assert_eq!(received.datagram(slot).bytes, [slot as u8 - 1]);
        }
        received.clear();
        let report = first.receive(&mut received, SocketKey(1));
        assert_eq!((report.datagrams, report.bytes, report.emptied), (9, 9, true));
        let report = first.receive(&mut received, SocketKey(1));
        assert_eq!((report.datagrams, report.emptied, report.errors), (0, true, 0));
    }

    #[test]
    fn df_is_set_for_the_datagrams_that_ask_for_it_and_for_no_others() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (received, mut send) = (RecvBatch::new(), SendBatch::new());
            let local = RelayedAddr(address.parse().unwrap());
            let mut relay = RelaySocket::open(local, Options::default()).unwrap();
            let ipv6 = local.0.is_ipv6();
            let now =
                |relay: &RelaySocket| fragmentation(relay.descriptor().as_fd(), ipv6).unwrap();
            assert_eq!(now(&relay), Fragmentation::Allowed);
            let client = client(address);
            let to = envelope(client.local_addr().unwrap());
            for (dont_fragment, expected) in
                [(true, Fragmentation::Forbidden), (false, Fragmentation::Allowed)]
            {
                send.push_bytes(Envelope { dont_fragment: !dont_fragment, ..to }, None, b"a");
                send.push_bytes(Envelope { dont_fragment, ..to }, None, b"b");
                assert_eq!(flush(&mut send, &received, &mut relay).packets, 2);
                assert_eq!(now(&relay), expected);
            }
        }
    }
}
