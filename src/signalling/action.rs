//! What a shell says to the rooms and what they say to it: names, events, actions, counters.

use serde_json::value::RawValue;

use crate::signalling::message::PeerId;

/// Milliseconds since a beginning that the shell chooses and never moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// The shell's name for a connection. It never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// What a newcomer is given to gather candidates with.
#[derive(Clone, Debug)]
pub struct IceOffer {
    /// The `iceServers` list of an `RTCConfiguration`, as JSON.
    pub servers: Box<RawValue>,
    /// When its credentials stop opening allocations, as RFC 3339; `None` if it has none.
    pub expires_at: Option<String>,
}

/// What came over a socket.
#[derive(Clone, Copy, Debug)]
pub enum Received<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame, which no request is.
    Binary,
    /// A ping or a pong. They mean nothing here, but whoever floods with them is over the rate.
    Control,
}

/// What the shell must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put a text frame at the end of the socket's queue.
    Send {
        /// Whose queue.
        socket: SocketId,
        /// The frame, JSON.
        frame: String,
    },
    /// Put a peer's signal at the end of the socket's queue if there is room for it below
    /// [`Limits::queue_frames`](super::Limits::queue_frames) and
    /// [`Limits::queue_bytes`](super::Limits::queue_bytes); else return the letter to
    /// [`Rooms::handle_undelivered`](super::Rooms::handle_undelivered).
    Pass {
        /// Whose queue.
        socket: SocketId,
        /// The frame, JSON.
        frame: String,
        /// What to return.
        letter: Letter,
    },
    /// Close the socket once its queue is empty.
    Close {
        /// Which one.
        socket: SocketId,
        /// The code and the text of the close frame.
        reason: CloseReason,
    },
}

/// Which signal it was that found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    pub(super) from: SocketId,
    pub(super) to: PeerId,
    pub(super) seq: Option<u64>,
}

/// Why the server closes a socket. After codes 4000 to 4499 a client should return by itself, with
/// a growing delay; from 4500 on it would only meet the same end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A frame over [`Limits::frame_bytes`](super::Limits::frame_bytes).
    TooLarge,
    /// A binary frame.
    NotText,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Not WebSocket any more.
    NotWebSocket,
    /// The server is going down.
    Shutdown,
    /// The socket's queue was full or did not move.
    Slow,
    /// Nothing was heard for [`Limits::dead_after_ms`](super::Limits::dead_after_ms).
    Dead,
    /// Over its rate, again and again.
    TooManyRequests,
    /// Frames that are no requests, again and again.
    BadFrames,
}

impl CloseReason {
    /// The code in the close frame.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::NotWebSocket => 1002,
            Self::NotText => 1003,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::Shutdown => 4001,
            Self::Slow => 4008,
            Self::Dead => 4012,
            Self::TooManyRequests => 4013,
            Self::BadFrames => 4500,
        }
    }

    /// The text in the close frame.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotWebSocket => "protocol error",
            Self::NotText => "text frames only",
            Self::NotUtf8 => "not UTF-8",
            Self::TooLarge => "frame too large",
            Self::Shutdown => "shutdown",
            Self::Slow => "slow",
            Self::Dead => "no pong",
            Self::TooManyRequests => "too many requests",
            Self::BadFrames => "bad frames",
        }
    }
}

/// How a peer went, as the others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It asked to leave the room.
    Left,
    /// Its socket ended.
    Closed,
    /// It read too slowly.
    Slow,
    /// It was silent for too long.
    Dead,
    /// It broke the rules.
    Expelled,
}

impl Departure {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Closed => "closed",
            Self::Slow => "slow",
            Self::Dead => "dead",
            Self::Expelled => "expelled",
        }
    }
}

/// Why a socket was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// [`Limits::sockets`](super::Limits::sockets) are open.
    Full,
    /// [`Limits::sockets_per_source`](super::Limits::sockets_per_source) are open from there.
    SourceFull,
    /// Over [`Limits::opens_per_sec`](super::Limits::opens_per_sec).
    TooFast,
    /// Over [`Limits::opens_per_sec_per_source`](super::Limits::opens_per_sec_per_source).
    SourceTooFast,
}

/// What is there, and what has happened since the start. Each limit has its counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sockets open now.
    pub sockets: u64,
    /// Rooms with somebody in them now.
    pub rooms: u64,
    /// Sources in the table now.
    pub sources: u64,
    /// Sockets let in.
    pub opened: u64,
    /// Sockets refused because all or their source had as many as allowed.
    pub refused_full: u64,
    /// Sockets and visits refused because all or their source came too fast.
    pub refused_rate: u64,
    /// Text frames that came.
    pub frames: u64,
    /// Signals passed on.
    pub signals: u64,
    /// Requests answered with an error, those over the rate included.
    pub faults: u64,
    /// Requests over a socket's rate.
    pub over_rate: u64,
    /// Signals refused because too much waited for their receiver.
    pub undelivered: u64,
    /// Sockets closed as slow.
    pub closed_slow: u64,
    /// Sockets closed as dead.
    pub closed_dead: u64,
    /// Sockets closed because they broke the rules.
    pub closed_expelled: u64,
}
