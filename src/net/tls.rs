//! TLS 1.2 and 1.3 over a client's stream (RFC 8489 §6.2.3, RFC 7443).
//!
//! [`Keyring`] holds what a listener proves itself with, and is exchanged as a whole when a
//! certificate is renewed. [`Session`] is the cipher between one stream and its frames: it has no
//! socket, so that it goes wherever its connection goes, and whoever owns both lends it the stream.
//!
//! The frames that wait for a client are sealed and sent together, and all records that one read
//! has brought are opened at once.

mod client;
mod dhe;
mod keyring;
#[cfg(test)]
mod tests;
pub mod x509;

use std::io::{self, IoSlice, Read, Write};

use rustls::{Connection, Error};

pub use self::client::{Trust, Visit};
use self::keyring::HTTP;
pub use self::keyring::{Identity, Keyring, Unfit};
use crate::net::output::{Output, Written};
use crate::net::tcp::Arrived;

/// What a client speaks inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// STUN and ChannelData.
    Stun,
    /// HTTP, or at least neither of these.
    Http,
}

/// One end of a TLS connection, without its stream.
#[derive(Debug)]
pub struct Session {
    tls: Connection,
    /// What the client has sent before its handshake was done.
    greeting: usize,
}

impl Session {
    fn new(tls: impl Into<Connection>) -> Self {
        Self { tls: tls.into(), greeting: 0 }
    }

    /// Whether the handshake is not done yet: until then neither side has said anything.
    pub fn is_opening(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// What is spoken inside once the handshake is done, if that can be told from the protocol that
    /// was agreed on (RFC 7443 §3) or else from the first bytes that came. ChannelData is not among
    /// those: nobody has a channel yet, and it may begin as `GET` does.
    pub fn speaks(&self, first: &[u8]) -> Option<Speech> {
        if self.is_opening() {
            return None;
        }
        match (self.tls.alpn_protocol(), first) {
            (Some(HTTP), _) => Some(Speech::Http),
            (Some(_), _) | (None, [0x00..=0x03, ..]) => Some(Speech::Stun),
            (None, [_, ..]) => Some(Speech::Http),
            (None, []) => None,
        }
    }

    /// Whether records wait to leave.
    pub fn has_output(&self) -> bool {
        self.tls.wants_write()
    }

    /// Goes through the handshake, over a stream that blocks.
    ///
    /// # Errors
    ///
    /// The stream's, or why there can be no session.
    pub fn shake_hands(&mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        let mut buffer = vec![0; HEADROOM + 4096];
        while self.is_opening() {
            self.send(stream)?;
            let arrived = self.receive(stream, &mut buffer)?;
            debug_assert_eq!(arrived.length, 0, "nothing is said in a handshake");
        }
        self.send(stream)
    }

    /// Reads `stream` once and puts what it says at the front of `buffer`, which must be longer
    /// than [`HEADROOM`].
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nothing waits; `UnexpectedEof` where the stream ends without the word
    /// that says so, that is, may have been cut off; `InvalidData` where it is not TLS, or not as
    /// we speak it. What is to be said about that waits to leave.
    pub fn receive(&mut self, stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<Arrived> {
        let (mut length, mut ended) = self.open(buffer)?;
        if length > 0 || ended {
            return Ok(Arrived { length, ended: length == 0, more: true });
        }
        let room = buffer.len() - HEADROOM;
        let read = read(stream, &mut buffer[HEADROOM..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut next, end) = (HEADROOM, HEADROOM + read);
        while next < end && !ended {
            let opening = self.is_opening();
            let taken = self.tls.read_tls(&mut &buffer[next..end])?;
            self.tls.process_new_packets().map_err(invalid)?;
            next += taken;
            // What comes out is no longer than what went in and the part of a record that was
            // there before: it does not reach what has not gone in yet.
            let (opened, closed) = self.open(&mut buffer[length..next])?;
            (length, ended) = (length + opened, closed);
            if opening {
                self.greeting += taken;
                if self.greeting > GREETING_MAX {
                    return Err(invalid(Error::General("an endless handshake".to_owned())));
                }
            }
        }
        Ok(Arrived { length, ended: ended && length == 0, more: ended || read == room })
    }

    /// What has been decrypted, and whether the client has said that there will be no more.
    fn open(&mut self, plain: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut length = 0;
        while length < plain.len() {
            match self.tls.reader().read(&mut plain[length..]) {
                Ok(0) => return Ok((length, true)),
                Ok(opened) => length += opened,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok((length, false))
    }

    /// Seals what waits in `output` and sends it, as far as the stream takes it.
    ///
    /// A few frames that wait together get a record each, and leave together: there are clients
    /// that take a record for a message (coturn's own). Where many wait, they share records.
    ///
    /// # Errors
    ///
    /// The stream's, which end the connection.
    pub(super) fn flush(
        &mut self,
        output: &mut Output,
        stream: &mut impl Write,
    ) -> io::Result<Written> {
        let mut written = Written::default();
        loop {
            match self.send(stream) {
                Ok(()) if output.is_empty() || self.is_opening() => return Ok(written),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(written),
                Err(error) => return Err(error),
            }
            let mut records = Records { tls: &mut self.tls, room: SEALED_MAX };
            let sealed = output.write_frames_to(&mut records, FRAMES_APART)?;
            written.bytes += sealed.bytes;
            written.frames += sealed.frames;
        }
    }

    /// Sends the records that wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while some are left; otherwise the stream's.
    pub fn send(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What writes into `stream`, sealed.
    pub fn sealing<'a, S: Write>(&'a mut self, stream: &'a mut S) -> Sealing<'a, S> {
        Sealing { session: self, stream }
    }

    /// Says that nothing more will be sent: without this word the far end can't tell an end from a
    /// cut. It waits to leave.
    pub fn finish(&mut self) {
        self.tls.send_close_notify();
    }
}

/// A stream that seals what is written to it.
#[derive(Debug)]
pub struct Sealing<'a, S> {
    session: &'a mut Session,
    stream: &'a mut S,
}

impl<S: Write> Sealing<'_, S> {
    /// Seals nothing while the stream has not taken what was sealed before, so that what can't be
    /// sent waits where frames can still be dropped.
    fn seal(
        &mut self,
        seal: impl FnOnce(&mut Connection) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.session.send(self.stream)?;
        if self.session.is_opening() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sealed = seal(&mut self.session.tls)?;
        match self.session.send(self.stream) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(sealed),
        }
    }
}

/// Seals so much, and no more: what can't be sent yet should wait where frames can be dropped.
struct Records<'a> {
    tls: &'a mut Connection,
    room: usize,
}

impl Write for Records<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sealed = self.tls.writer().write_vectored(parts)?;
        self.room = self.room.saturating_sub(sealed);
        Ok(sealed)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Write> Write for Sealing<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seal(|tls| tls.writer().write(bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.seal(|tls| tls.writer().write_vectored(parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.session.send(self.stream)
    }
}

/// Reads once.
pub(super) fn read(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The longest record that can arrive (RFC 5246 §6.2.3), and so the most that can have been kept of
/// one that was not whole.
pub const HEADROOM: usize = 5 + 16_384 + 2048;

/// Bytes that are sealed before they are sent; what is sealed in one go may lie above it.
const SEALED_MAX: usize = 32 * 1024;

/// So many frames that wait together get a record each.
const FRAMES_APART: usize = 32;

/// Bytes of a client's handshake: a ClientHello with keys of post-quantum size has two thousand.
const GREETING_MAX: usize = 16 * 1024;
