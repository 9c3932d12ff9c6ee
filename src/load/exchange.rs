//! The request loop: allocations made and deleted again, or refreshed; each slot has one request
//! on its way. An allocation is three requests, as for any client that has just come: the first is
//! told the nonce, the second allocates, the third deletes.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::client::message::{self, Outcome, Session};
use crate::load::Clock;
use crate::load::client::{Allocation, Clients};
use crate::load::histogram::Histogram;
use crate::load::lane::Counts;
use crate::load::options::{Mode, Options};
use crate::load::pace::Pace;
use crate::load::port::{Arrival, Exits, Port, Ports};
use crate::load::watch::{Watch, Watched};
use crate::net::{Envelope, RecvBatch, SendBatch, SocketKey, TrafficClass};
use crate::wire::{Message, Method};

/// How long a response is waited for. Nothing is sent twice: what is lost is to be seen.
const PATIENCE_NS: u64 = 500_000_000;
/// How often one operation may be told to use another nonce, or need another port.
const CHALLENGES_MAX: u32 = 4;

/// What a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Allocating,
    Deleting,
    Refreshing,
}

/// One client, with one operation at a time.
#[derive(Debug)]
struct Slot {
    allocation: Allocation,
    step: Step,
    transaction: [u8; 12],
    began_ns: u64,
    asked_ns: u64,
    challenges: u32,
    /// Whether the server may hold an allocation for us.
    held: bool,
    /// Whether the operation began when operations counted.
    counts: bool,
}

impl Slot {
    /// Becomes a client that the server does not know.
    fn renew(&mut self, ports: &mut Ports, clients: &Clients) -> io::Result<()> {
        self.allocation.session = Session::new(clients.login.clone());
        ports.replace(self.allocation.port, clients.open()?)
    }
}

/// All slots.
pub(super) struct Exchanges<'a> {
    options: &'a Options,
    clients: &'a Clients,
    clock: Clock,
    pub(super) ports: Ports,
    slots: Vec<Slot>,
    batch: SendBatch,
    nothing: RecvBatch,
    counts: Counts,
    counting: bool,
    arrived: u64,
    pub(super) refused: u64,
    /// Allocations that were given up, with their sockets.
    pub(super) abandoned: usize,
    pub(super) latencies: Histogram,
    /// Error responses by their codes.
    pub(super) errors: BTreeMap<u16, u64>,
    cursor: usize,
}

impl<'a> Exchanges<'a> {
    /// One slot for each allocation, which stands in the port of the same place.
    pub(super) fn new(
        options: &'a Options,
        clients: &'a Clients,
        ports: Ports,
        allocations: Vec<Allocation>,
    ) -> Self {
        let slot = |allocation| Slot {
            allocation,
            step: Step::Idle,
            transaction: [0; 12],
            began_ns: 0,
            asked_ns: 0,
            challenges: 0,
            held: options.mode() == Mode::Refresh,
            counts: false,
        };
        Self {
            options,
            clients,
            clock: clients.clock,
            ports,
            slots: allocations.into_iter().map(slot).collect(),
            batch: SendBatch::new(),
            nothing: RecvBatch::new(),
            counts: Counts::default(),
            counting: false,
            arrived: 0,
            refused: 0,
            abandoned: 0,
            latencies: Histogram::new(),
            errors: BTreeMap::new(),
            cursor: 0,
        }
    }

    /// Runs until `watch` says that it is time, then finishes what has begun.
    pub(super) fn go(&mut self, watch: &mut Watch<'_>) -> io::Result<()> {
        let mut pace = Pace::new(self.options.rate, 1, self.clock.ns());
        let mut moved_ns = 0;
        loop {
            let now = self.clock.ns();
            let going = watch.look(now, self)?;
            self.give_up(now);
            if going {
                let due = usize::try_from(pace.due(now)).unwrap_or(usize::MAX);
                let begun = self.begin_some(due.min(self.slots.len()), now)?;
                pace.sent(begun as u64);
            } else if self.slots.iter().all(|slot| slot.step == Step::Idle) {
                return Ok(());
            }
            self.flush();
            // To sleep at once would have the server pay for waking us.
            let soon = pace.pause_ns(1, now).is_some_and(|pause| going && pause < PAUSE_NS);
            let patience = if soon || now < moved_ns + PAUSE_NS / 4 { 0 } else { PAUSE_NS };
            self.ports.wait(Duration::from_nanos(patience))?;
            while self.receive()? {
                moved_ns = now;
            }
        }
    }

    /// Allocations that the server may still hold.
    pub(super) fn into_held(self) -> (Ports, Vec<Allocation>) {
        let held = self.slots.into_iter().filter(|slot| slot.held);
        (self.ports, held.map(|slot| slot.allocation).collect())
    }

    fn begin_some(&mut self, most: usize, now: u64) -> io::Result<usize> {
        let mut begun = 0;
        for _ in 0..self.slots.len() {
            if begun == most {
                break;
            }
            let place = self.cursor;
            self.cursor = (place + 1) % self.slots.len();
            let slot = &mut self.slots[place];
            if slot.step != Step::Idle {
                continue;
            }
            begun += 1;
            slot.step = match self.options.mode() {
                Mode::Refresh => Step::Refreshing,
                _ => {
                    // Each allocation comes from an address that the server has not seen: some
                    // servers keep a 5-tuple for a while that had one.
                    self.abandoned += usize::from(std::mem::take(&mut slot.held));
                    slot.renew(&mut self.ports, self.clients)?;
                    Step::Allocating
                }
            };
            (slot.began_ns, slot.challenges, slot.counts) = (now, 0, self.counting);
            self.counts.sent += u64::from(self.counting);
            self.ask(place, now)?;
        }
        Ok(begun)
    }

    /// Sends the request of the slot's step.
    fn ask(&mut self, place: usize, now: u64) -> io::Result<()> {
        let slot = &mut self.slots[place];
        let (peer, lifetime) = (self.clients.peer, self.clients.lifetime_secs);
        let (method, attributes) = match slot.step {
            Step::Idle => return Ok(()),
            Step::Allocating => (Method::ALLOCATE, message::allocate(peer, lifetime)),
            Step::Deleting => (Method::REFRESH, message::refresh(peer, 0)),
            Step::Refreshing => (Method::REFRESH, message::refresh(peer, lifetime)),
        };
        slot.transaction = rand::random();
        slot.asked_ns = now;
        slot.held |= slot.step == Step::Allocating;
        let request = slot.allocation.session.request(method, slot.transaction, attributes);
        match self.ports.get(slot.allocation.port) {
            Port::Udp(_) => {
                let socket = SocketKey(slot.allocation.port as u64);
                let to = self.clients.server;
                let envelope = Envelope {
                    socket,
                    to,
                    from: None,
                    dont_fragment: false,
                    class: TrafficClass::BEST_EFFORT,
                };
                self.batch.push_bytes(envelope, None, &request, 0);
                if self.batch.is_full() {
                    self.flush();
                }
            }
            Port::Tcp(connection) => {
                connection.push(&request);
                connection.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        let mut exits = Exits { ports: &mut self.ports, refused: &mut self.refused };
        self.batch.flush(&self.nothing, &mut exits);
    }

    /// Takes what has arrived at one port; whether there was any.
    fn receive(&mut self) -> io::Result<bool> {
        let mut next = Vec::new();
        let Self { ports, slots, counts, arrived, latencies, errors, .. } = self;
        let any = ports.receive(|Arrival { port, bytes, now_ns: now, .. }| {
            let slot = &mut slots[port];
            let Ok(response) = Message::parse(bytes) else { return };
            if slot.step == Step::Idle || response.transaction()[4..] != slot.transaction {
                return;
            }
            let mut is_stranger = false;
            let session: &mut Session = &mut slot.allocation.session;
            slot.step = match (slot.step, session.take(&response)) {
                (step, Outcome::Again) if slot.challenges < CHALLENGES_MAX => {
                    slot.challenges += 1;
                    step
                }
                (Step::Allocating, Outcome::Success) => Step::Deleting,
                (step, Outcome::Success) => {
                    slot.held = step == Step::Refreshing;
                    *arrived += 1;
                    if slot.counts {
                        counts.delivered += 1;
                        latencies.record(now.saturating_sub(slot.began_ns));
                    }
                    Step::Idle
                }
                // An earlier client had our port, and the server remembers: not its fault.
                (Step::Allocating, Outcome::Refused(437)) if slot.challenges < CHALLENGES_MAX => {
                    slot.challenges += 1;
                    *errors.entry(437).or_default() += 1;
                    is_stranger = true;
                    Step::Allocating
                }
                (step, Outcome::Refused(code)) => {
                    slot.held &= step != Step::Allocating;
                    *errors.entry(code).or_default() += 1;
                    Step::Idle
                }
                (_, Outcome::Again) => {
                    *errors.entry(438).or_default() += 1;
                    Step::Idle
                }
            };
            next.push((port, is_stranger, now));
        })?;
        for (place, is_stranger, now) in next {
            if is_stranger {
                self.slots[place].renew(&mut self.ports, self.clients)?;
            }
            self.ask(place, now)?;
        }
        Ok(any)
    }

    /// What was not answered in time is lost.
    fn give_up(&mut self, now: u64) {
        let slots = self.slots.iter_mut();
        slots.filter(|slot| now.saturating_sub(slot.asked_ns) > PATIENCE_NS).for_each(|slot| {
            slot.step = Step::Idle;
        });
    }
}

impl Watched for Exchanges<'_> {
    fn begin(&mut self) {
        (self.counts, self.counting) = (Counts::default(), true);
        (self.latencies, self.refused) = (Histogram::new(), 0);
        self.errors.clear();
    }

    fn arrived(&self) -> u64 {
        self.arrived
    }

    fn counts(&self) -> Counts {
        Counts { lost: self.counts.sent - self.counts.delivered, ..self.counts }
    }

    fn latencies(&self) -> &Histogram {
        &self.latencies
    }
}

/// How long to wait for responses in one turn.
const PAUSE_NS: u64 = 1_000_000;
