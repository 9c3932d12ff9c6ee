//! What is on its way from one worker to another, many at a time and without a socket between:
//! payloads, where both ends of a call are clients of this server but of different cores, and whole
//! packets of clients that have moved to where the kernel gives them to another worker.

use std::mem;
use std::net::SocketAddr;
use std::ops::Range;

use crate::net::{Datagram, TrafficClass};
use crate::turn::{CoreId, Path, RelayedAddr, Verdict};
use crate::worker::Worker;
use crate::worker::mailbox::{Errand, Mailbox};
use crate::worker::packet::Packet;

/// Payloads and packets for one other worker.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Item {
    bound: Bound,
    class: TrafficClass,
    end: usize,
}

/// Where it comes from and what it is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// A payload from one relayed address to another.
    Relay { from: RelayedAddr, to: RelayedAddr },
    /// A packet from a client, by the same listener of the other worker; it came from this
    /// address, which is a load balancer's where one speaks for the client.
    Client(Path, SocketAddr),
}

impl Parcel {
    fn push(&mut self, bound: Bound, class: TrafficClass, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.items.push(Item { bound, class, end: self.bytes.len() });
    }

    fn is_full(&self) -> bool {
        self.items.len() >= ITEMS_MAX || self.bytes.len() >= BYTES_MAX
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }

    /// All of it in the order in which it came, with its bytes.
    fn items(&self) -> impl Iterator<Item = (&Item, Range<usize>)> {
        let mut start = 0;
        self.items.iter().map(move |item| (item, mem::replace(&mut start, item.end)..item.end))
    }
}

/// What a worker sends to the others and gets from them.
#[derive(Debug)]
pub(super) struct Parcels {
    /// By worker; what has gathered in this turn.
    outgoing: Vec<Parcel>,
    /// Whether any of them holds something.
    any: bool,
    /// What came from others, to be decided on in this turn.
    arrived: Vec<Parcel>,
    /// Emptied, to be filled again.
    spare: Vec<Parcel>,
}

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Packed {
    /// It leaves with the turn.
    Waits,
    /// Its parcel must leave now.
    Full,
    /// There is no such core.
    Nowhere,
}

impl Parcels {
    pub(super) fn new(workers: usize) -> Self {
        let outgoing = (0..workers).map(|_| Parcel::default()).collect();
        Self { outgoing, any: false, arrived: Vec::new(), spare: Vec::new() }
    }

    /// Packs something for `core`.
    pub(super) fn pack(
        &mut self,
        core: CoreId,
        bound: Bound,
        class: TrafficClass,
        bytes: &[u8],
    ) -> Packed {
        let Some(parcel) = self.outgoing.get_mut(usize::from(core.0)) else {
            return Packed::Nowhere;
        };
        parcel.push(bound, class, bytes);
        self.any = true;
        if parcel.is_full() { Packed::Full } else { Packed::Waits }
    }

    /// Takes in one that has come; it waits for [`Worker::decide_parcels`].
    pub(super) fn arrive(&mut self, parcel: Parcel) {
        self.arrived.push(parcel);
    }

    /// Whether none has come that is not decided on: serving connections, a worker reads its mail
    /// once more.
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Whether as many have come as one turn serves.
    pub(super) fn is_full(&self) -> bool {
        self.arrived.len() >= PARCELS_PER_TURN
    }

    /// Puts the parcel for `to` into its mailbox; returns how many payloads left, and how many
    /// were dropped because that worker is behind.
    fn hand_over(&mut self, to: usize, mailbox: &Mailbox) -> (u64, u64) {
        let empty = self.spare.pop().unwrap_or_default();
        let parcel = mem::replace(&mut self.outgoing[to], empty);
        let count = parcel.len() as u64;
        match mailbox.hand_over(parcel) {
            Ok(()) => (count, 0),
            Err(parcel) => {
                self.keep(parcel);
                (0, count)
            }
        }
    }

    fn keep(&mut self, mut parcel: Parcel) {
        if self.spare.len() < SPARE_MAX {
            parcel.clear();
            self.spare.push(parcel);
        }
    }
}

impl Worker {
    /// A whole packet goes to another core; a connection goes with it.
    pub(super) fn pass_on(&mut self, core: CoreId, path: Path, packet: Packet<'_>) {
        match packet {
            Packet::Slot(slot) => {
                let Datagram { class, bytes, .. } = self.received.datagram(slot);
                let from = self.proxied.way_to(path.tuple.client, path.tuple.server);
                let packed = self.parcels.pack(core, Bound::Client(path, from), class, bytes);
                self.packed(core, packed);
            }
            Packet::Frame(frame, _) => {
                if let Some((_, client)) = self.connections.at_end_of(&path) {
                    // When the bytes behind it are back in its hands.
                    client.errand = Some(Errand::Move(core, frame.into()));
                }
            }
        }
    }

    /// What became of a payload for a client of `core`.
    pub(super) fn packed(&mut self, core: CoreId, packed: Packed) {
        match packed {
            Packed::Waits => {}
            Packed::Full => self.hand_over(usize::from(core.0)),
            Packed::Nowhere => self.stats.drops.failed += 1,
        }
    }

    fn hand_over(&mut self, index: usize) {
        let Some(mailbox) = self.shared.mailboxes.get(index) else { return };
        let (left, dropped) = self.parcels.hand_over(index, mailbox);
        self.stats.crossed += left;
        self.stats.drops.neighbour_behind += dropped;
    }

    /// Everything that was packed leaves.
    pub(super) fn send_parcels(&mut self) {
        if mem::take(&mut self.parcels.any) {
            for index in 0..self.parcels.outgoing.len() {
                if self.parcels.outgoing[index].len() > 0 {
                    self.hand_over(index);
                }
            }
        }
    }

    /// Hands a packet to the core that another worker has got for it.
    pub(super) fn passed_on(&mut self, path: Path, class: TrafficClass, bytes: &[u8]) {
        let space = self.send.space();
        match self.core.handle_client(self.now, path, bytes, space) {
            // By now the client is elsewhere again; nothing goes round in circles.
            Verdict::ToCore { .. } => self.stats.drops.passed_on_twice += 1,
            verdict => self.carry(verdict, Packet::Frame(bytes, class), Some(path)),
        }
    }

    /// Hands what other workers sent to the core, as if a socket had received it.
    pub(super) fn decide_parcels(&mut self) {
        let mut arrived = mem::take(&mut self.parcels.arrived);
        for parcel in arrived.drain(..) {
            let count = parcel.len() as u32;
            self.handled = (self.handled.0 + count, self.handled.1 + count);
            for (&Item { bound, class, .. }, range) in parcel.items() {
                self.make_room();
                let bytes = &parcel.bytes[range];
                match bound {
                    Bound::Relay { from, to } => {
                        let verdict = self.core.handle_neighbour(self.now, from, to, bytes.len());
                        self.carry(verdict, Packet::Frame(bytes, class), None);
                    }
                    Bound::Client(path, from) => {
                        self.proxied.came_from(path.tuple.client, path.tuple.server, from);
                        self.passed_on(path, class, bytes);
                    }
                }
                self.act();
            }
            self.parcels.keep(parcel);
        }
        self.parcels.arrived = arrived;
    }
}

/// Payloads in a parcel, and bytes of them but for the last; then it leaves before the turn ends.
const ITEMS_MAX: usize = 256;
const BYTES_MAX: usize = 256 * 1024;
/// Parcels that are decided on in one turn.
const PARCELS_PER_TURN: usize = 4;
/// Emptied parcels that are kept.
const SPARE_MAX: usize = 8;
