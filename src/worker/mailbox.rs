//! How a worker is reached from outside its thread: by other workers and by the control plane.
//!
//! Four queues and a state. *News* of relay sockets that other workers open and close, and of where
//! their clients have moved to, must not be lost: a worker that missed one would judge a peer
//! wrongly, or a client, for as long as it lives. So that queue has no bound of its own; it holds
//! what the others opened and closed during one turn of the loop, and a worker that sleeps is woken
//! before much has gathered. *Parcels* of payloads
//! cross from worker to worker; they are dropped where the receiver is behind, as by a full socket.
//! *Handovers* are clients' connections that have named a peer data connection of this worker (RFC
//! 6062 §5.4), or shown a ticket to an allocation of this worker (RFC 8016), but were accepted by
//! another; where too many wait, the giver keeps them. *Requests*
//! come from the control plane, few and repeatable, and that queue is bounded. The state only ever
//! moves forward.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

use tokio::sync::oneshot;

use crate::net::tcp::Connection;
use crate::turn::{
    ConnectionBind, CoreId, FiveTuple, Protocol, Record, RelayedAddr, Reload, Username,
};
use crate::worker::parcel::Parcel;
use crate::worker::stats::Snapshot;

/// A worker's address: anybody may keep one.
#[derive(Clone, Debug)]
pub struct Mailbox {
    shared: Arc<Flags>,
    news: Sender<News>,
    parcels: SyncSender<Parcel>,
    requests: SyncSender<Request>,
    handovers: SyncSender<Box<Handover>>,
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Inbox {
    shared: Arc<Flags>,
    news: Receiver<News>,
    parcels: Receiver<Parcel>,
    requests: Receiver<Request>,
    handovers: Receiver<Box<Handover>>,
}

#[derive(Debug)]
struct Flags {
    /// Messages in any queue; for a moment also one that is about to be put there.
    waiting: AtomicUsize,
    state: AtomicU8,
    /// The worker sleeps, or is about to: whoever has brought a parcel or a connection must wake
    /// it.
    asleep: AtomicBool,
    waker: mio::Waker,
}

/// What another worker tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub core: CoreId,
    pub event: Event,
}

/// What has happened there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It has opened a relay socket or a listener for peers, or closed it.
    Relay { protocol: Protocol, address: RelayedAddr, open: bool },
    /// A client of its sends datagrams by this 5-tuple from now on, or does so no more.
    Client { tuple: FiveTuple, there: bool },
}

/// A client's connection, with what was read from it and what waits to leave by it.
#[derive(Debug)]
pub(super) struct Handover {
    pub connection: Connection,
    pub errand: Errand,
    /// It had come to its giver by a handover, too.
    pub moved: bool,
}

/// Why a connection goes to another worker: what its last message asks for.
#[derive(Debug)]
pub(super) enum Errand {
    /// To be joined to a connection with a peer.
    Bind(Box<ConnectionBind>),
    /// To take over an allocation of this core: the message itself.
    Move(CoreId, Box<[u8]>),
}

impl Errand {
    /// Which of so many workers it goes to.
    pub(super) fn owner(&self, workers: usize) -> usize {
        match self {
            Self::Bind(bind) => bind.connection.share(workers as u32) as usize,
            Self::Move(core, _) => usize::from(core.0),
        }
    }
}

/// What the control plane wants to know, or done. Whoever asked may have stopped waiting.
#[derive(Debug)]
pub(super) enum Request {
    /// Its counters.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Its allocations: those of this user, or all, and no more than so many.
    Allocations { of: Option<Username>, most: usize, answer: oneshot::Sender<Vec<Record>> },
    /// One of them, by its name.
    Allocation { id: u64, answer: oneshot::Sender<Option<Record>> },
    /// The end of an allocation; answers whether there was one.
    End { id: u64, answer: oneshot::Sender<bool> },
    /// Other settings; answers when they hold.
    Reload { reload: Box<Reload>, answer: oneshot::Sender<()> },
}

/// What a worker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Serve.
    Running = 0,
    /// Serve the allocations that are there, and make no more.
    Draining = 1,
    /// End now.
    Stopping = 2,
}

/// The worker has ended, or has more requests waiting than it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// Both ends of a mailbox whose owner sleeps in the poll that `waker` belongs to.
pub(super) fn mailbox(waker: mio::Waker) -> (Mailbox, Inbox) {
    let shared = Arc::new(Flags {
        waiting: AtomicUsize::new(0),
        state: AtomicU8::new(State::Running as u8),
        asleep: AtomicBool::new(false),
        waker,
    });
    let (news_sender, news) = channel();
    let (parcels_sender, parcels) = sync_channel(PARCELS_MAX);
    let (requests_sender, requests) = sync_channel(REQUESTS_MAX);
    let (handovers_sender, handovers) = sync_channel(HANDOVERS_MAX);
    let mailbox = Mailbox {
        shared: Arc::clone(&shared),
        news: news_sender,
        parcels: parcels_sender,
        requests: requests_sender,
        handovers: handovers_sender,
    };
    (mailbox, Inbox { shared, news, parcels, requests, handovers })
}

impl Mailbox {
    /// Asks for the worker's counters; the answer comes within one turn of its loop.
    ///
    /// # Errors
    ///
    /// [`Unavailable`], also from the receiver where the worker ends before it answers.
    pub fn snapshot(&self) -> Result<oneshot::Receiver<Snapshot>, Unavailable> {
        self.ask(Request::Snapshot)
    }

    /// Asks for at most so many of the worker's allocations: those of a user, or any.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::snapshot`].
    pub fn allocations(
        &self,
        of: Option<Username>,
        most: usize,
    ) -> Result<oneshot::Receiver<Vec<Record>>, Unavailable> {
        self.ask(|answer| Request::Allocations { of, most, answer })
    }

    /// Asks for the allocation with this name, as its [`Record`] has it.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::snapshot`].
    pub fn allocation(&self, id: u64) -> Result<oneshot::Receiver<Option<Record>>, Unavailable> {
        self.ask(|answer| Request::Allocation { id, answer })
    }

    /// Ends an allocation by the name in its [`Record`]; answers whether there was one.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::snapshot`].
    pub fn end_allocation(&self, id: u64) -> Result<oneshot::Receiver<bool>, Unavailable> {
        self.ask(|answer| Request::End { id, answer })
    }

    /// Has the worker's core go by other settings; answers when it does.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::snapshot`].
    pub fn reload(&self, reload: Reload) -> Result<oneshot::Receiver<()>, Unavailable> {
        self.ask(|answer| Request::Reload { reload: Box::new(reload), answer })
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<oneshot::Receiver<T>, Unavailable> {
        let (sender, receiver) = oneshot::channel();
        self.shared.waiting.fetch_add(1, Ordering::Release);
        if self.requests.try_send(request(sender)).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Unavailable);
        }
        self.wake().map_err(|_| Unavailable)?;
        Ok(receiver)
    }

    /// Moves the worker on to `state`; there is no way back.
    ///
    /// # Errors
    ///
    /// That of waking it; it will then notice at its next packet.
    pub fn advance(&self, state: State) -> io::Result<()> {
        self.shared.state.fetch_max(state as u8, Ordering::Release);
        self.wake()
    }

    /// Tells the worker what has happened at another one.
    pub(super) fn announce(&self, news: News) {
        // Counted first: the other order would let one sender's count hide another's news.
        let waiting = self.shared.waiting.fetch_add(1, Ordering::Release);
        // A worker that has ended needs no news.
        if self.news.send(news).is_err() {
            return;
        }
        // Awake it looks before it decides on anything; asleep it need not know yet, but the
        // queue must not grow for as long as it sleeps.
        if waiting % NEWS_PER_WAKE == NEWS_PER_WAKE - 1 {
            // Failing, the next attempt follows soon; nothing is lost meanwhile.
            let _ = self.wake();
        }
    }

    /// Hands payloads over, and wakes the worker if it sleeps.
    ///
    /// # Errors
    ///
    /// The parcel comes back where the worker is too far behind, or has ended.
    pub(super) fn hand_over(&self, parcel: Parcel) -> Result<(), Parcel> {
        self.put(&self.parcels, parcel)
    }

    /// Gives a client's connection to the worker, and wakes it if it sleeps.
    ///
    /// # Errors
    ///
    /// The connection comes back where the worker has ended or has as many waiting as it may.
    pub(super) fn give(&self, handover: Box<Handover>) -> Result<(), Box<Handover>> {
        self.put(&self.handovers, handover)
    }

    fn put<T>(&self, queue: &SyncSender<T>, item: T) -> Result<(), T> {
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        if let Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) =
            queue.try_send(item)
        {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(item);
        }
        // Either this sees that the worker sleeps, or the worker, which says so before it looks for
        // mail a last time, sees the item.
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            // Failing, the worker finds it with the next packet.
            let _ = self.wake();
        }
        Ok(())
    }

    fn wake(&self) -> io::Result<()> {
        self.shared.waker.wake()
    }
}

impl Inbox {
    /// Whether anything waits; cheap enough to ask for each batch.
    ///
    /// A packet that its sender sent after the news was announced is received after it: what the
    /// socket calls order, this sees.
    pub(super) fn has_mail(&self) -> bool {
        self.shared.waiting.load(Ordering::Acquire) != 0
    }

    /// Says that the worker is going to sleep; answers whether it may, for nothing waits.
    pub(super) fn may_sleep(&self) -> bool {
        self.shared.asleep.store(true, Ordering::SeqCst);
        self.shared.waiting.load(Ordering::SeqCst) == 0
    }

    /// The worker is awake, and looks at its mail before it sleeps again.
    pub(super) fn awake(&self) {
        self.shared.asleep.store(false, Ordering::Relaxed);
    }

    /// The next payloads from another worker.
    pub(super) fn next_parcel(&self) -> Option<Parcel> {
        let parcel = self.parcels.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(parcel)
    }

    /// The next news.
    pub(super) fn next_news(&self) -> Option<News> {
        let news = self.news.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(news)
    }

    /// The next request of the control plane.
    pub(super) fn next_request(&self) -> Option<Request> {
        let request = self.requests.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(request)
    }

    /// The next connection that another worker has given.
    pub(super) fn next_handover(&self) -> Option<Box<Handover>> {
        let handover = self.handovers.try_recv().ok()?;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(handover)
    }

    /// Messages that wait, in all queues.
    pub(super) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// What the worker is to do.
    pub(super) fn state(&self) -> State {
        match self.shared.state.load(Ordering::Acquire) {
            0 => State::Running,
            1 => State::Draining,
            _ => State::Stopping,
        }
    }
}

/// Parcels that may wait: some milliseconds of work for the worker that is behind.
const PARCELS_MAX: usize = 32;

/// Connections that may wait to be taken.
const HANDOVERS_MAX: usize = 256;

/// Requests that may wait.
const REQUESTS_MAX: usize = 64;

/// A sleeping worker is woken when this much news has gathered.
const NEWS_PER_WAKE: usize = 64;
