//! Starting workers and waiting for their end.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use ipnet::IpNet;
use mio::{Poll, Waker};
use tokio::sync::mpsc;

use crate::net::tls::Keyring;
use crate::net::{RecvBatch, SendBatch, relay, tcp, udp};
use crate::turn::{self, Lifetime, Server};
use crate::worker::attention::Attention;
use crate::worker::clock::Clock;
use crate::worker::connections::Connections;
use crate::worker::crowd::{Crowd, CrowdLimits};
use crate::worker::icmp::Errors;
use crate::worker::journal::Journal;
use crate::worker::listeners::Listeners;
use crate::worker::lobby::Lobby;
use crate::worker::mailbox::{Inbox, Mailbox, State, mailbox};
use crate::worker::moderation::Moderation;
use crate::worker::parcel::Parcels;
use crate::worker::peers::Peers;
use crate::worker::proxied::Proxied;
use crate::worker::quota::{Quota, QuotaLimits};
use crate::worker::relays::Relays;
use crate::worker::sessions::{DtlsSetup, Sessions};
use crate::worker::shelf::Shelf;
use crate::worker::stats::{Snapshot, Stats};
use crate::worker::token::Token;
use crate::worker::{Guest, Tcp, Udp, Worker};

/// What the workers of a process share.
#[derive(Debug)]
pub struct Shared {
    /// How many allocations there may be.
    pub quota: Quota,
    /// How many TCP clients there may be.
    pub crowd: Crowd,
    /// Reserved sockets.
    pub shelf: Shelf,
    /// Each worker's, by index.
    pub mailboxes: Vec<Mailbox>,
}

/// A worker's place among the others, to be taken by [`spawn`].
#[derive(Debug)]
pub struct Seat {
    index: usize,
    poll: Poll,
    inbox: Inbox,
    shared: Arc<Shared>,
}

/// Everything that one worker is given.
pub struct WorkerSetup {
    /// Its core's settings; `relay.share` is this worker's.
    pub core: turn::Config,
    /// The source of its core's randomness: secret, and another for each worker.
    pub seed: [u8; 32],
    /// Its listeners, a pair for each address.
    pub udp: Vec<udp::Pair>,
    /// Its listeners, one for each address.
    pub tcp: Vec<tcp::Listener>,
    /// Its TLS listeners, one for each address.
    pub tls: Vec<tcp::Listener>,
    /// What the TLS listeners prove themselves with; without it there is none.
    pub keyring: Option<Arc<Keyring>>,
    /// Where clients go who come by a TLS listener and speak HTTP; without it there are none.
    pub guests: Option<mpsc::Sender<Guest>>,
    /// The limits of TLS.
    pub tls_limits: TlsLimits,
    /// What it has of DTLS.
    pub dtls: Option<DtlsSetup>,
    /// Load balancers, which must say by the PROXY protocol whom they speak for.
    pub balancers: Arc<[IpNet]>,
    /// How its relay sockets are opened.
    pub relay: relay::Options,
    /// How long a client over TCP or DTLS without an allocation may be silent.
    pub idle: Lifetime,
    /// Whether it lets packets gather at high rates.
    pub gather: bool,
}

/// The limits of TLS handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsLimits {
    /// Handshakes under way in all; the oldest makes room for one more.
    pub handshakes: usize,
    /// How long a handshake may take.
    pub handshake: Lifetime,
}

impl Default for TlsLimits {
    fn default() -> Self {
        Self { handshakes: 1000, handshake: Lifetime::from_secs(10) }
    }
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    index: usize,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Snapshot, Failure>>,
}

/// Why a worker ended before it was told to.
#[derive(Debug)]
pub enum Failure {
    /// It could not wait for its sockets.
    Io(io::Error),
    /// It panicked, with this message: a defect of ours.
    Panic(String),
}

/// Places for `workers` workers that know each other.
///
/// # Errors
///
/// Where the kernel has no more descriptors to wait with.
pub fn seats(workers: usize, quota: QuotaLimits, crowd: CrowdLimits) -> io::Result<Vec<Seat>> {
    let mut ends = Vec::with_capacity(workers);
    let mut mailboxes = Vec::with_capacity(workers);
    for _ in 0..workers {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), Token::Waker.into())?;
        let (mailbox, inbox) = mailbox(waker);
        mailboxes.push(mailbox);
        ends.push((poll, inbox));
    }
    let shared = Arc::new(Shared {
        quota: Quota::new(quota),
        crowd: Crowd::new(crowd),
        shelf: Shelf::default(),
        mailboxes,
    });
    let seat = |(index, (poll, inbox))| Seat { index, poll, inbox, shared: Arc::clone(&shared) };
    Ok(ends.into_iter().enumerate().map(seat).collect())
}

/// Starts a worker on a thread of its own.
///
/// # Errors
///
/// Where the thread can't be started or a listener can't be waited for.
pub fn spawn(seat: Seat, setup: WorkerSetup) -> io::Result<WorkerHandle> {
    let (index, shared) = (seat.index, Arc::clone(&seat.shared));
    let thread = Builder::new().name(format!("worker-{index}")).spawn(move || {
        let run = AssertUnwindSafe(|| {
            // Made here, for the batches hold pointers for the kernel and stay on their thread.
            let mut worker = Worker::new(seat, setup);
            // Pauses are to be as long as they are asked for; the system would round them up to
            // twice that. Where it does not allow that they are longer, and nothing else.
            let _ = nix::sys::prctl::set_timerslack(1);
            worker.register_listeners()?;
            worker.run()
        });
        // Whatever was half-done is dropped with the worker; nothing of it is looked at again.
        let failure = match catch_unwind(run) {
            Ok(Ok(snapshot)) => return Ok(snapshot),
            Ok(Err(error)) => Failure::Io(error),
            Err(panic) => Failure::Panic(panic_message(&*panic)),
        };
        tracing::error!(worker = index, "the worker ended: {failure}");
        Err(failure)
    })?;
    Ok(WorkerHandle { index, shared, thread })
}

impl Worker {
    /// One with these sockets, which are not announced to it yet.
    pub(super) fn new(seat: Seat, setup: WorkerSetup) -> Self {
        let clock = Clock::start();
        let proxied = Proxied::new(setup.balancers);
        let shared = seat.shared;
        let (requests, media): (Vec<_>, Vec<_>) =
            setup.udp.into_iter().map(|pair| (pair.requests, pair.media)).unzip();
        let udp_requests = if media.iter().any(Option::is_some) { requests.len() } else { 0 };
        let attention = Attention::new(clock.now().moment, setup.relay.class);
        let udp = |is_dtls| move |listener| Udp { listener, queued: false, is_dtls, attention };
        let workers = shared.mailboxes.len();
        let sessions = Sessions::new(setup.dtls.as_ref(), setup.idle, workers);
        let dtls = setup.dtls.into_iter().flat_map(|dtls| dtls.listeners).map(udp(true));
        let tcp = |listener| Tcp { listener, keyring: None, queued: false };
        let secured = |keyring: &Arc<Keyring>| {
            let tls = |listener| Tcp { keyring: Some(Arc::clone(keyring)), ..tcp(listener) };
            setup.tls.into_iter().map(tls).collect::<Vec<_>>()
        };
        let tls = setup.keyring.as_ref().map(secured).unwrap_or_default();
        Self {
            index: seat.index,
            sessions,
            connections: Connections::new(
                Arc::clone(&shared),
                setup.idle,
                setup.tls_limits,
                proxied.is_expected(),
            ),
            parcels: Parcels::new(workers),
            shared,
            inbox: seat.inbox,
            state: State::Running,
            poll: seat.poll,
            core: Server::new(setup.core, setup.seed),
            now: clock.now(),
            clock,
            moderation: Moderation::new(setup.gather),
            handled: (0, 0),
            udp: requests
                .into_iter()
                .chain(media.into_iter().flatten())
                .map(udp(false))
                .chain(dtls)
                .collect(),
            udp_requests,
            tcp: setup.tcp.into_iter().map(tcp).chain(tls).collect(),
            guests: setup.guests,
            relays: Relays::default(),
            listeners: Listeners::default(),
            lobby: Lobby::default(),
            proxied,
            peers: Peers::default(),
            relay_options: setup.relay,
            ready: VecDeque::new(),
            streams: Vec::new(),
            dirty: Vec::new(),
            received: RecvBatch::new(),
            requests: 0,
            late: Vec::new(),
            errors: Errors::default(),
            journal: Journal::default(),
            send: SendBatch::new(),
            scratch: vec![0; tcp::READ_BYTES],
            accept_again: None,
            stats: Stats::default(),
        }
    }
}

impl WorkerHandle {
    /// Which worker.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Where it is reached.
    pub fn mailbox(&self) -> &Mailbox {
        &self.shared.mailboxes[self.index]
    }

    /// Has all workers go by these limits from now on.
    pub fn set_limits(&self, quota: QuotaLimits, crowd: CrowdLimits) {
        self.shared.quota.set_limits(quota);
        self.shared.crowd.set_limits(crowd);
    }

    /// Whether it has ended; [`WorkerHandle::join`] then returns at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has it serve the allocations that are there, and refuse new ones (508). It stays until it
    /// is told to stop; its snapshot tells when nothing is left.
    ///
    /// # Errors
    ///
    /// That of waking it.
    pub fn drain(&self) -> io::Result<()> {
        self.mailbox().advance(State::Draining)
    }

    /// Has it end now.
    ///
    /// # Errors
    ///
    /// That of waking it.
    pub fn stop(&self) -> io::Result<()> {
        self.mailbox().advance(State::Stopping)
    }

    /// Waits for its end; gives what it had done.
    ///
    /// # Errors
    ///
    /// Where it ended before it was told to.
    pub fn join(self) -> Result<Snapshot, Failure> {
        self.thread.join().unwrap_or_else(|panic| Err(Failure::Panic(panic_message(&*panic))))
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Panic(message) => write!(f, "panic: {message}"),
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Debug for WorkerSetup {
    /// Without the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSetup")
            .field("core", &self.core)
            .field("udp", &self.udp)
            .field("tcp", &self.tcp)
            .field("tls", &self.tls)
            .field("tls_limits", &self.tls_limits)
            .field("dtls", &self.dtls)
            .field("relay", &self.relay)
            .field("idle", &self.idle)
            .field("gather", &self.gather)
            .finish_non_exhaustive()
    }
}
