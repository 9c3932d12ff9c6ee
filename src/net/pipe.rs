//! Relaying between two streams, bytes as they are (RFC 6062 §5.4): what one end sends the other
//! gets, at the pace of the slower one.
//!
//! Nothing is read from an end while the other has not taken what was read before, so what waits
//! here is bounded, and TCP itself tells the fast end to wait. The end of one direction is passed
//! on and the other goes on; a break is passed on as a break, because to its reader a stream that
//! was cut off must not look as if it were whole.

use std::io;

use crate::net::tcp::Connection;

/// One end of a pipe: a stream that does not block.
pub trait End {
    /// Reads once; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nothing waits; any other is a break.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends as many of `bytes` as the stream takes.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where it takes none; any other is a break.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where it has to wait for what was sent before; any other is a break.
    fn finish(&mut self) -> io::Result<()>;

    /// Has the stream end as a break, not as an ordinary end, when it is closed.
    fn reset(&mut self);

    /// Sends what the stream itself has kept; nothing may overtake it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while some is left; any other is a break.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client data connection and a peer data connection, joined.
#[derive(Debug)]
pub struct Pipe<P, C = Connection> {
    client: C,
    peer: P,
    to_peer: Flow,
    to_client: Flow,
}

/// What one call of [`Pipe::advance`] has achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// Bytes that the client has sent and the peer's stream has taken.
    pub to_peer: usize,
    /// Bytes that the peer has sent and the client's stream has taken.
    pub to_client: usize,
    /// What comes next.
    pub next: Next,
}

/// What comes next for a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// One of the ends has to become readable or writable.
    #[default]
    Wait,
    /// There is more to do at once.
    Again,
    /// Both directions have ended, or the connection has broken: drop it.
    Close,
}

impl<P: End> Pipe<P> {
    /// Joins both ends. What the client's connection had read beyond its last message goes first.
    pub fn new(mut client: Connection, peer: P) -> Self {
        let to_peer = Flow { kept: client.input.take_rest(), ..Flow::default() };
        Self { client, peer, to_peer, to_client: Flow::default() }
    }

    /// The client's end.
    pub fn client(&self) -> &Connection {
        &self.client
    }

    /// Both ends.
    pub fn ends(&mut self) -> (&mut Connection, &mut P) {
        (&mut self.client, &mut self.peer)
    }
}

impl<P: End, C: End> Pipe<P, C> {
    /// The peer is known to have said its last word, which may not have been read yet.
    pub fn peer_has_ended(&mut self) {
        self.to_client.end_seen = true;
    }

    /// The same of the client.
    pub fn client_has_ended(&mut self) {
        self.to_peer.end_seen = true;
    }

    /// Moves what can be moved, a bounded piece of it; reads into `scratch`.
    pub fn advance(&mut self, scratch: &mut [u8]) -> Advance {
        // The answer to ConnectionBind leaves also where nothing follows it.
        let answer = attempt(|| self.client.flush()).map_err(|_| Broken::To);
        let last_words = (self.to_peer.end_seen, self.to_client.end_seen);
        let up = self.to_peer.advance(&mut self.client, &mut self.peer, scratch);
        let down = self.to_client.advance(&mut self.peer, &mut self.client, scratch);
        // Whoever has said its last word may well be gone: then nothing is left to be sent to it,
        // and what it has said still arrives.
        let up = self.to_peer.unless_needless(up, last_words.1);
        let down = self.to_client.unless_needless(down, last_words.0);
        let next = match (answer, up, down) {
            (Ok(_), Ok(_), Ok(_)) if self.to_peer.over && self.to_client.over => Next::Close,
            (Ok(_), Ok(false), Ok(false)) => Next::Wait,
            (Ok(_), Ok(_), Ok(_)) => Next::Again,
            _ => {
                self.break_off();
                Next::Close
            }
        };
        let moved = |flow: &mut Flow| std::mem::take(&mut flow.moved);
        Advance { to_peer: moved(&mut self.to_peer), to_client: moved(&mut self.to_client), next }
    }

    /// One of the ends has broken. The other hears of it, unless it has been told of an ordinary
    /// end before; to the one that broke it makes no difference.
    fn break_off(&mut self) {
        if !self.to_peer.over {
            self.peer.reset();
        }
        if !self.to_client.over {
            self.client.reset();
        }
    }
}

/// Which end of a direction has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    From,
    To,
}

/// One direction of a pipe.
#[derive(Debug, Default)]
struct Flow {
    /// What was read and not yet taken; while there is some, nothing more is read.
    kept: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    /// The source has said that nothing more will come, behind what can still be read of it.
    end_seen: bool,
    /// All of it was read.
    ended: bool,
    /// The destination was told so, or can't be told anything any more.
    over: bool,
    /// Bytes that the destination has taken, since they were asked for.
    moved: usize,
}

impl Flow {
    /// Moves a bounded piece; answers whether there may be more at once.
    fn advance(
        &mut self,
        from: &mut impl End,
        to: &mut impl End,
        scratch: &mut [u8],
    ) -> Result<bool, Broken> {
        if self.over {
            return Ok(false);
        }
        for _ in 0..READS_PER_ADVANCE {
            if !self.push_kept(to)? {
                return Ok(false);
            }
            if self.ended {
                self.over = attempt(|| to.finish()).map_err(|_| Broken::To)?.is_some();
                return Ok(false);
            }
            match attempt(|| from.receive(scratch)).map_err(|_| Broken::From)? {
                None => return Ok(false),
                Some(0) => (self.end_seen, self.ended) = (true, true),
                Some(length) => {
                    // Mostly it is taken at once and copied nowhere.
                    let sent = send(to, &scratch[..length])?;
                    self.moved += sent;
                    self.kept.extend_from_slice(&scratch[sent..length]);
                }
            }
        }
        Ok(true)
    }

    /// Sends what was kept; answers whether all of it was taken.
    fn push_kept(&mut self, to: &mut impl End) -> Result<bool, Broken> {
        while self.taken < self.kept.len() {
            let sent = send(to, &self.kept[self.taken..])?;
            if sent == 0 {
                return Ok(false);
            }
            self.taken += sent;
            self.moved += sent;
        }
        // A pipe that keeps up costs no memory.
        (self.kept, self.taken) = (Vec::new(), 0);
        Ok(true)
    }

    /// The same result, but where the destination has broken after it had ended its own direction:
    /// then this one is over.
    fn unless_needless(
        &mut self,
        result: Result<bool, Broken>,
        destination_ended: bool,
    ) -> Result<bool, Broken> {
        if result == Err(Broken::To) && destination_ended {
            self.over = true;
            self.kept = Vec::new();
            return Ok(true);
        }
        result
    }
}

/// `None` where the stream can't at the moment.
fn attempt<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match call() {
            Ok(done) => return Ok(Some(done)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a part of `bytes`, which are not none: 0 where the stream takes nothing at the moment.
fn send(to: &mut impl End, bytes: &[u8]) -> Result<usize, Broken> {
    match attempt(|| to.send(bytes)) {
        Ok(None) => Ok(0),
        Ok(Some(sent)) if sent > 0 => Ok(sent),
        Ok(Some(_)) | Err(_) => Err(Broken::To),
    }
}

/// How often one direction is read in one call.
const READS_PER_ADVANCE: usize = 3;

#[cfg(test)]
mod tests;
