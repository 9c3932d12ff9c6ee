//! DTLS 1.2 (RFC 6347, and RFC 7350 for STUN): datagrams in, messages out, and back, without a
//! socket or a clock of its own.
//!
//! ```text
//! ClientHello ──► Cookies ──► missing or wrong: a HelloVerifyRequest, and all is forgotten
//!                         ──► right: a Session ──► flights, then messages
//! ```
//!
//! Whoever has not shown that it hears what is sent to its address costs one HMAC and leaves
//! nothing behind: OpenSSL is not even asked. What it is asked is in `session`, which only builds
//! with the feature `dtls` have; in others nobody can make an [`Identity`], and so no session.

#[cfg(not(feature = "dtls"))]
mod absent;
mod cookie;
mod hello;
mod record;
#[cfg(feature = "dtls")]
mod session;

use std::fmt;
use std::sync::{Mutex, PoisonError};

#[cfg(not(feature = "dtls"))]
pub use absent::{Identity, Session};
pub use cookie::{COOKIE, Cookies};
pub use hello::ClientHello;
#[cfg(feature = "dtls")]
pub use session::{Identity, Session};

/// What passes between a session and its socket: a datagram that has come, those that leave. Lent
/// to one session after the other, so that idle ones hold no buffers.
#[derive(Debug, Default)]
pub struct Wires {
    arrived: Vec<u8>,
    /// It was not read yet.
    is_new: bool,
    /// A part of it is encrypted.
    is_encrypted: bool,
    leaving: Vec<u8>,
    ends: Vec<usize>,
}

impl Wires {
    /// Takes over a datagram, to be read by the next session that is asked; one that no honest
    /// client has sent is read by nobody.
    pub fn arrive(&mut self, datagram: &[u8]) {
        self.arrived.clear();
        self.arrived.extend_from_slice(datagram);
        let outside = record::outside(datagram);
        self.is_new = outside.is_some();
        self.is_encrypted = outside.is_some_and(|outside| outside.is_encrypted);
    }

    /// The datagrams that leave, in order.
    pub fn leaving(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.leaving[start..*end])
    }

    /// Forgets those that leave.
    pub fn clear(&mut self) {
        self.leaving.clear();
        self.ends.clear();
    }
}

/// What a session has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A message, this long.
    Message(usize),
    /// Nothing more; that what came was for the handshake, forged or a repetition is the same.
    Nothing,
    /// The session has ended: by close_notify, or because the client broke the protocol.
    Ended,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// It is longer than a record may be (RFC 5246 §6.2.1), and no message is ever cut.
    TooLong,
    /// The handshake is not through, or the session has ended.
    NotOpen,
}

/// Why a certificate or a key is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is the certificate's.
    Certificate(String),
    /// It is the key's.
    Key(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(cause) => write!(f, "the certificate {cause}"),
            Self::Key(cause) => write!(f, "the key {cause}"),
        }
    }
}

/// The identity that new sessions get; another may take its place while they go on.
#[derive(Debug)]
pub struct Keyring(Mutex<Identity>);

impl Keyring {
    /// With this identity on it.
    pub fn new(identity: Identity) -> Self {
        Self(Mutex::new(identity))
    }

    /// The identity of the next session.
    pub fn identity(&self) -> Identity {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the next session get another.
    pub fn replace(&self, identity: Identity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

/// The longest message that a record carries (RFC 5246 §6.2.1).
pub const MESSAGE_MAX: usize = 1 << 14;
