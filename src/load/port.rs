//! Our sockets: how bytes leave and arrive, whatever carries them.
//!
//! A port is a UDP socket or a TCP connection. [`Ports`] waits for all of them at once and hands
//! out what has come: datagrams as they are, and whole frames of a stream.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::load::Clock;
use crate::net::tls::Session;
use crate::net::{Endpoint, Outlet, Outlets, RecvBatch, SocketKey, Tally};
use crate::wire::stream::{FRAME_MAX, frame_length};

/// One way in and out.
#[derive(Debug)]
pub(super) enum Port {
    /// Datagrams.
    Udp(Endpoint),
    /// Frames on a connection.
    Tcp(Connection),
}

impl Port {
    fn descriptor(&self) -> RawFd {
        match self {
            Self::Udp(endpoint) => endpoint.as_raw_fd(),
            Self::Tcp(connection) => connection.stream.as_raw_fd(),
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Between the stream and the frames, where they go over TLS.
    session: Option<Box<Session>>,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, session: Option<Box<Session>>) -> Self {
        Self { stream, session, inbox: Vec::new(), outbox: Vec::new() }
    }

    /// Whether the stream has not taken all of what was sent before.
    pub(super) fn is_blocked(&self) -> bool {
        !self.outbox.is_empty() || self.session.as_ref().is_some_and(|it| it.has_output())
    }

    /// Appends a frame, to leave with the next [`Connection::flush`].
    pub(super) fn push(&mut self, frame: &[u8]) {
        self.outbox.extend_from_slice(frame);
    }

    /// Writes what the stream takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        loop {
            match self.write() {
                Ok(0) if self.outbox.is_empty() => return Ok(()),
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.outbox.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes once; how much of the outbox has left.
    fn write(&mut self) -> io::Result<usize> {
        if let Some(session) = &mut self.session {
            session.send(&mut self.stream)?;
        }
        match &mut self.session {
            _ if self.outbox.is_empty() => Ok(0),
            None => self.stream.write(&self.outbox),
            Some(session) => session.sealing(&mut self.stream).write(&self.outbox),
        }
    }

    /// Reads once and hands out whole frames; whether there may be more to read.
    pub(super) fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        let held = self.inbox.len();
        self.inbox.resize(held + 4 * FRAME_MAX, 0);
        let space = &mut self.inbox[held..];
        let read = match &mut self.session {
            None => self.stream.read(space),
            Some(session) => match session.receive(&mut self.stream, space) {
                // Tickets for other sessions, say.
                Ok(arrived) if arrived.length == 0 && !arrived.ended => {
                    self.inbox.truncate(held);
                    return Ok(true);
                }
                arrived => arrived.map(|arrived| arrived.length),
            },
        };
        self.inbox.truncate(held + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        }
        let mut at = 0;
        while let Some(length) = frame_length(&self.inbox[at..])
            .map_err(|_| io::Error::other("the server's stream is out of step"))?
        {
            each(&self.inbox[at..at + length]);
            at += length;
        }
        self.inbox.drain(..at);
        Ok(true)
    }
}

/// What has come by a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    /// The port.
    pub(super) port: usize,
    /// Who sent it; `None` on a connection.
    pub(super) source: Option<SocketAddr>,
    /// A datagram, several that came together, or a frame.
    pub(super) bytes: &'a [u8],
    /// When it was read.
    pub(super) now_ns: u64,
}

/// All our ports.
pub(super) struct Ports {
    list: Vec<Port>,
    poll: Poll,
    events: Events,
    /// Ports that may have something to read: each is announced once.
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
    batch: RecvBatch,
    clock: Clock,
}

impl Ports {
    pub(super) fn new(clock: Clock) -> io::Result<Self> {
        Ok(Self {
            list: Vec::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            ready: VecDeque::new(),
            is_ready: Vec::new(),
            batch: RecvBatch::new(),
            clock,
        })
    }

    /// Takes a port in; its place is its name.
    pub(super) fn add(&mut self, port: Port) -> io::Result<usize> {
        let place = self.list.len();
        let source = &mut SourceFd(&port.descriptor());
        self.poll.registry().register(source, Token(place), Interest::READABLE)?;
        self.list.push(port);
        self.is_ready.push(false);
        Ok(place)
    }

    /// Puts another port in the place of one, which is closed.
    pub(super) fn replace(&mut self, place: usize, port: Port) -> io::Result<()> {
        let source = &mut SourceFd(&port.descriptor());
        self.poll.registry().register(source, Token(place), Interest::READABLE)?;
        self.list[place] = port;
        Ok(())
    }

    pub(super) fn get(&mut self, place: usize) -> &mut Port {
        &mut self.list[place]
    }

    /// Lets no port wait any more, or lets all wait again: streams only, datagrams never do.
    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.list.iter().try_for_each(|port| match port {
            Port::Udp(_) => Ok(()),
            Port::Tcp(connection) => connection.stream.set_nonblocking(nonblocking),
        })
    }

    /// Hears which ports have something to read; waits for that where none is known to have.
    pub(super) fn wait(&mut self, patience: Duration) -> io::Result<()> {
        let patience = if self.ready.is_empty() { patience } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let place = event.token().0;
            if !std::mem::replace(&mut self.is_ready[place], true) {
                self.ready.push_back(place);
            }
        }
        Ok(())
    }

    /// Reads once from a port that has something. Whether there was such a port.
    pub(super) fn receive(&mut self, mut each: impl FnMut(Arrival<'_>)) -> io::Result<bool> {
        let Some(port) = self.ready.pop_front() else { return Ok(false) };
        let more = match &mut self.list[port] {
            Port::Udp(endpoint) => {
                self.batch.clear();
                let received = endpoint.receive(&mut self.batch, SocketKey(port as u64));
                let now_ns = self.clock.ns();
                for index in 0..self.batch.len() {
                    let datagram = self.batch.datagram(index);
                    let (source, bytes) = (Some(datagram.source), datagram.bytes);
                    each(Arrival { port, source, bytes, now_ns });
                }
                !received.emptied
            }
            Port::Tcp(connection) => {
                let now_ns = self.clock.ns();
                connection.read(|bytes| each(Arrival { port, source: None, bytes, now_ns }))?
            }
        };
        if more {
            self.ready.push_back(port);
        } else {
            self.is_ready[port] = false;
        }
        Ok(true)
    }
}

/// As a flush of datagrams sees them.
pub(super) struct Exits<'a> {
    /// The ports.
    pub(super) ports: &'a mut Ports,
    /// Datagrams that our own kernel did not take.
    pub(super) refused: &'a mut u64,
}

impl Outlets for Exits<'_> {
    fn outlet(&mut self, key: SocketKey) -> Option<&mut dyn Outlet> {
        match &mut self.ports.list[key.0 as usize] {
            Port::Udp(endpoint) => Some(endpoint),
            Port::Tcp(_) => None,
        }
    }

    fn tally(&mut self, _key: SocketKey, tally: &Tally) {
        *self.refused += tally.full + tally.too_long + tally.unreachable + tally.failed;
    }
}
