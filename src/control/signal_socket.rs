//! Signalling sockets: the shell around [`Rooms`].
//!
//! One task, the *desk*, owns the rooms; whoever needs them writes into its bounded mailbox. Each
//! socket has a task of its own that reads frames into the mailbox and writes what the desk puts
//! into the socket's queue:
//!
//! ```text
//!   socket ── read ──→ mailbox ──→ desk ──→ queue ── write ──→ socket
//!                      bounded,             bounded,
//!                      the reader waits     the desk never waits
//! ```
//!
//! So a socket that sends too much waits at the mailbox, and one that reads too little fills its
//! own queue: then what peers send it is refused to them, and if nothing moves for a while, or not
//! even the server's own frames fit, it is closed as slow. The desk itself never waits for a
//! socket.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

use super::meter::Meter;
use crate::signalling::{
    Action, CloseReason, Departure, IceOffer, Limits, Millis, Received, Refused, Rooms, SocketId,
    Stats,
};

/// The way to the desk.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    mailbox: mpsc::Sender<Letter>,
    limits: Arc<Limits>,
}

/// What the desk is told.
#[derive(Debug)]
enum Letter {
    Visit { source: IpAddr, answer: oneshot::Sender<Result<(), Refused>> },
    Open { source: IpAddr, ice: IceOffer, outlet: Outlet, answer: oneshot::Sender<Opened> },
    Text(SocketId, Utf8Bytes),
    Binary(SocketId),
    Control(SocketId),
    Close(SocketId, Departure),
}

type Opened = Result<SocketId, Refused>;

/// The desk's end of a socket's queue.
#[derive(Debug)]
struct Outlet {
    queue: mpsc::Sender<Outgoing>,
    /// Bytes in the queue and in the frame being written.
    waiting: Arc<AtomicUsize>,
    /// Ends the socket past a queue that does not move.
    cut: oneshot::Sender<CloseReason>,
}

#[derive(Debug)]
enum Outgoing {
    Frame(Utf8Bytes),
    Close(CloseReason),
}

/// A place at the desk. Dropping it, at whatever point a connection fails, gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    socket: SocketId,
    desk: Desk,
    queue: mpsc::Receiver<Outgoing>,
    waiting: Arc<AtomicUsize>,
    cut: oneshot::Receiver<CloseReason>,
    how: Departure,
}

impl Desk {
    /// Starts the desk's task. It runs until `closing` turns true and every [`Desk`] and [`Seat`]
    /// is dropped.
    pub(super) fn start(
        rooms: Rooms,
        limits: Limits,
        closing: watch::Receiver<bool>,
        stats: watch::Sender<Stats>,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (mailbox, letters) = mpsc::channel(MAILBOX_LETTERS);
        let limits = Arc::new(limits);
        let clerk = Clerk {
            rooms,
            limits: Arc::clone(&limits),
            outlet_by_socket: HashMap::new(),
            next_socket: 0,
            started: Instant::now(),
            closed: false,
        };
        let task = tokio::spawn(clerk.run(letters, closing, stats));
        (Self { mailbox, limits }, task)
    }

    /// Charges `source` for one request.
    ///
    /// # Errors
    ///
    /// When it came too fast, or the server is going down.
    pub(super) async fn visit(&self, source: IpAddr) -> Result<(), Refused> {
        let (answer, answered) = oneshot::channel();
        let _ = self.mailbox.send(Letter::Visit { source, answer }).await;
        answered.await.unwrap_or(Err(Refused::Full))
    }

    /// Takes a seat for a socket from `source`, before its handshake is answered.
    ///
    /// # Errors
    ///
    /// When a limit is reached, or the server is going down.
    pub(super) async fn open(&self, source: IpAddr, ice: IceOffer) -> Result<Seat, Refused> {
        let (put, queue) = mpsc::channel(self.limits.queue_frames_hard());
        let (cut, cut_here) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let outlet = Outlet { queue: put, waiting: Arc::clone(&waiting), cut };
        let (answer, answered) = oneshot::channel();
        let _ = self.mailbox.send(Letter::Open { source, ice, outlet, answer }).await;
        let socket = answered.await.unwrap_or(Err(Refused::Full))?;
        let desk = self.clone();
        Ok(Seat { socket, desk, queue, waiting, cut: cut_here, how: Departure::Closed })
    }
}

/// The desk's task.
struct Clerk {
    rooms: Rooms,
    limits: Arc<Limits>,
    outlet_by_socket: HashMap<SocketId, Outlet>,
    next_socket: u64,
    started: Instant,
    closed: bool,
}

impl Clerk {
    async fn run(
        mut self,
        mut letters: mpsc::Receiver<Letter>,
        mut closing: watch::Receiver<bool>,
        stats: watch::Sender<Stats>,
    ) {
        loop {
            let due =
                self.rooms.poll_timeout().map(|at| self.started + Duration::from_millis(at.0));
            tokio::select! {
                letter = letters.recv() => match letter {
                    Some(letter) => self.open_letter(letter),
                    None => break,
                },
                () = sleep_until(due.unwrap_or(self.started)), if due.is_some() => {
                    let now = self.now();
                    self.rooms.handle_timeout(now);
                }
                _ = closing.wait_for(|closing| *closing), if !self.closed => {
                    self.closed = true;
                    let now = self.now();
                    self.rooms.handle_shutdown(now);
                }
            }
            self.act();
            stats.send_replace(self.rooms.stats());
        }
    }

    fn open_letter(&mut self, letter: Letter) {
        let now = self.now();
        match letter {
            Letter::Visit { source, answer } => {
                let _ = answer.send(self.rooms.handle_visit(now, source));
            }
            Letter::Open { source, ice, outlet, answer } => {
                let socket = SocketId(self.next_socket);
                self.next_socket += 1;
                let opened = if self.closed {
                    Err(Refused::Full)
                } else {
                    self.rooms.handle_open(now, socket, source, &ice).map(|_| socket)
                };
                let let_in = opened.is_ok();
                // Whoever asked may be gone by now; then nobody else would give the seat back.
                if answer.send(opened).is_ok() && let_in {
                    self.outlet_by_socket.insert(socket, outlet);
                } else if let_in {
                    self.rooms.handle_close(now, socket, Departure::Closed);
                }
            }
            Letter::Text(socket, text) => {
                self.rooms.handle_frame(now, socket, Received::Text(&text));
            }
            Letter::Binary(socket) => self.rooms.handle_frame(now, socket, Received::Binary),
            Letter::Control(socket) => self.rooms.handle_frame(now, socket, Received::Control),
            Letter::Close(socket, how) => {
                self.rooms.handle_close(now, socket, how);
                self.outlet_by_socket.remove(&socket);
            }
        }
    }

    /// Does what the rooms ask for. A queue that is full closes its socket, which may give others
    /// something to hear; that ends because each round has a socket less. A signal that finds no
    /// room becomes an error frame, which is none itself.
    fn act(&mut self) {
        while let Some(action) = self.rooms.poll_action() {
            match action {
                Action::Send { socket, frame } => {
                    let Some(outlet) = self.outlet_by_socket.get(&socket) else { continue };
                    if !outlet.put(frame, self.limits.queue_bytes_hard()) {
                        self.rooms.handle_close(self.now(), socket, Departure::Slow);
                        self.end(socket, CloseReason::Slow, true);
                    }
                }
                Action::Pass { socket, frame, letter } => {
                    let Some(outlet) = self.outlet_by_socket.get(&socket) else { continue };
                    let room = outlet.frames() < self.limits.queue_frames;
                    if !(room && outlet.put(frame, self.limits.queue_bytes)) {
                        self.rooms.handle_undelivered(self.now(), letter);
                    }
                }
                Action::Close { socket, reason } => self.end(socket, reason, false),
            }
        }
    }

    /// Ends a socket after what is in its queue, or, past it, at once.
    fn end(&mut self, socket: SocketId, reason: CloseReason, at_once: bool) {
        let Some(outlet) = self.outlet_by_socket.remove(&socket) else { return };
        if at_once || outlet.queue.try_send(Outgoing::Close(reason)).is_err() {
            // An error means that the socket ended by itself.
            let _ = outlet.cut.send(reason);
        }
    }

    fn now(&self) -> Millis {
        let elapsed = self.started.elapsed().as_millis();
        Millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}

impl Outlet {
    /// How many frames are in the queue.
    fn frames(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Puts a frame at the end of the queue, or says that there is no room for it.
    fn put(&self, frame: String, limit: usize) -> bool {
        let bytes = frame.len();
        // Only the desk adds, so nobody else can fill the room between the look and the step.
        if self.waiting.load(Ordering::Relaxed) + bytes > limit {
            return false;
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        match self.queue.try_send(Outgoing::Frame(frame.into())) {
            Ok(()) => true,
            // The socket's task is gone and its letter of that is under way.
            Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let letter = Letter::Close(self.socket, self.how);
        if let Err(mpsc::error::TrySendError::Full(letter)) = self.desk.mailbox.try_send(letter)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let mailbox = self.desk.mailbox.clone();
            runtime.spawn(async move {
                let _ = mailbox.send(letter).await;
            });
        }
    }
}

/// How the conversation with a socket ended.
enum End {
    /// The client closed it.
    ByClient,
    /// The connection broke.
    Lost,
    /// We close it, and reading on is safe.
    Close(CloseReason),
    /// We close it because of bytes after which there is no reading on.
    Broken(CloseReason),
}

/// Serves one socket until it ends.
pub(super) async fn attend(socket: WebSocket, mut seat: Seat, meter: Arc<Meter>) {
    let (mut sink, mut stream) = socket.split();
    let end = {
        let desk = seat.desk.clone();
        let reader = read(&mut stream, &desk, seat.socket);
        let writer = write(&mut sink, &mut seat.queue, &seat.waiting, &meter, &desk.limits);
        let cut = async {
            match (&mut seat.cut).await {
                Ok(reason) => End::Close(reason),
                // The desk has let go without haste: what is in the queue is still to be written.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! { end = cut => end, end = writer => end, end = reader => end }
    };
    seat.how = match end {
        End::Close(CloseReason::Dead) => Departure::Dead,
        End::Close(CloseReason::Slow) => Departure::Slow,
        End::Broken(CloseReason::TooManyRequests) => Departure::Expelled,
        _ => Departure::Closed,
    };
    // The others hear of it now, not when the farewell is over.
    let desk_keeps_running = seat.desk.clone();
    drop(seat);
    farewell(sink, stream, end).await;
    drop(desk_keeps_running);
}

/// Reads until the socket ends or is silent for too long.
async fn read(stream: &mut SplitStream<WebSocket>, desk: &Desk, socket: SocketId) -> End {
    let dead_after = Duration::from_millis(desk.limits.dead_after_ms);
    loop {
        let letter = match timeout(dead_after, stream.next()).await {
            Err(_) => return End::Close(CloseReason::Dead),
            Ok(None) => return End::Lost,
            Ok(Some(Err(error))) => return fate(error),
            Ok(Some(Ok(Message::Close(_)))) => return End::ByClient,
            Ok(Some(Ok(Message::Text(text)))) => Letter::Text(socket, text),
            Ok(Some(Ok(Message::Binary(_)))) => Letter::Binary(socket),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => Letter::Control(socket),
        };
        if desk.mailbox.send(letter).await.is_err() {
            return End::Close(CloseReason::Shutdown);
        }
    }
}

/// What becomes of a socket whose bytes could not be read.
fn fate(error: axum::Error) -> End {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;
    match error.into_inner().downcast::<Error>().as_deref() {
        Ok(Error::Capacity(_)) => End::Broken(CloseReason::TooLarge),
        Ok(Error::Utf8(_)) => End::Broken(CloseReason::NotUtf8),
        Ok(Error::Io(error)) if error.kind() == io::ErrorKind::QuotaExceeded => {
            End::Broken(CloseReason::TooManyRequests)
        }
        Ok(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => End::Lost,
        Ok(Error::Protocol(_)) => End::Broken(CloseReason::NotWebSocket),
        _ => End::Lost,
    }
}

/// Writes what is in the queue, and a ping now and then, until nothing moves any more.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    queue: &mut mpsc::Receiver<Outgoing>,
    waiting: &AtomicUsize,
    meter: &Meter,
    limits: &Limits,
) -> End {
    let heartbeat = Duration::from_millis(limits.heartbeat_ms);
    let stalled_after = Duration::from_millis(limits.stalled_after_ms);
    let mut ping = interval_at(Instant::now() + heartbeat, heartbeat);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (message, bytes) = tokio::select! {
            outgoing = queue.recv() => match outgoing {
                Some(Outgoing::Frame(text)) => {
                    let bytes = text.len();
                    (Message::Text(text), bytes)
                }
                Some(Outgoing::Close(reason)) => return End::Close(reason),
                // The desk let go of us because our reader reported the end.
                None => return End::Lost,
            },
            _ = ping.tick() => (Message::Ping(Default::default()), 0),
        };
        let sent = tokio::select! {
            biased;
            sent = sink.send(message) => sent,
            () = meter.stalled(stalled_after) => return End::Close(CloseReason::Slow),
        };
        if sent.is_err() {
            return End::Lost;
        }
        waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Says why, and gives the client a moment to hear it: a connection that is closed while bytes of
/// the client are still unread is reset, and the reset overtakes the close frame.
async fn farewell(
    mut sink: SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
    end: End,
) {
    let (reason, readable) = match end {
        End::Lost => return,
        End::ByClient => (None, true),
        End::Close(reason) => (Some(reason), true),
        End::Broken(reason) => (Some(reason), false),
    };
    let goodbye = async {
        if let Some(reason) = reason {
            let frame = CloseFrame { code: reason.code(), reason: reason.text().into() };
            if sink.send(Message::Close(Some(frame))).await.is_err() {
                return;
            }
        }
        if readable {
            // Reading also sends our half of the closing handshake if the client began it.
            while let Some(Ok(_)) = stream.next().await {}
        } else {
            sleep(FAREWELL).await;
        }
    };
    let _ = timeout(FAREWELL, goodbye).await;
}

/// Letters that may wait for the desk; senders wait when it is full.
const MAILBOX_LETTERS: usize = 1024;
/// How long a closed socket may take to hear why.
const FAREWELL: Duration = Duration::from_secs(1);
