//! A client's connection once its last message was read: the end of a pipe (RFC 6062 §5.4), and
//! its way to another worker.

use std::io::{self, Write};
use std::mem;
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::{Connection, Deframer};
use crate::net::pipe::End;
use crate::net::tls::{Session, Speech};

impl Connection {
    /// Has the connection announced under another token, first of all if it is ready now.
    ///
    /// # Errors
    ///
    /// That of `epoll_ctl`.
    pub fn rename(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.reregister(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Has it announced no more, so that it can be registered elsewhere.
    ///
    /// # Errors
    ///
    /// That of `epoll_ctl`.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream.deregister(registry)
    }
}

impl Connection {
    /// What is spoken over it, if that can be told by now; `first` are the bytes that came first.
    /// Without TLS it is STUN.
    pub fn speaks(&self, first: &[u8]) -> Option<Speech> {
        self.session.as_ref().map_or(Some(Speech::Stun), |session| session.speaks(first))
    }

    /// What it consists of, for others to go on with: its stream and what is between that and the
    /// bytes inside.
    pub fn into_parts(self) -> (std::net::TcpStream, Option<Box<Session>>) {
        (self.stream.into(), self.session)
    }
}

impl End for Connection {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A session can read without bringing anything. Whoever does only that is not waited for:
        // what it sends next announces it again.
        for _ in 0..FRUITLESS_READS {
            let arrived = self.receive_strictly(buffer)?;
            if arrived.length > 0 || arrived.ended {
                return Ok(arrived.length);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        End::flush(self)?;
        match &mut self.session {
            None => self.stream.write(bytes),
            Some(session) => session.sealing(&mut self.stream).write(bytes),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        End::flush(self)?;
        self.end();
        End::flush(self)?;
        self.stream.shutdown(Shutdown::Write)
    }

    fn reset(&mut self) {
        // Failing, the end is an ordinary one.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.has_output() {
            Self::flush(self)?;
        }
        if self.has_output() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}

/// Reads at the end of a pipe that may bring nothing, in a row.
const FRUITLESS_READS: usize = 8;

impl Deframer {
    /// What was read beyond the last frame.
    pub fn take_rest(&mut self) -> Vec<u8> {
        mem::take(&mut self.kept)
    }
}
