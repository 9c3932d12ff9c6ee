//! TCP: listeners, and connections that carry frames both ways.

mod data;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::net::output::{Kind, Output, Pushed, Written};
use crate::net::sys;
use crate::net::tls::{self, Session};
use crate::net::udp::local_addr;
use crate::wire::stream::{FRAME_MAX, OutOfStep, frame_length};

/// A socket that accepts clients.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    local: SocketAddr,
}

/// Binds one listener for each of `workers` to `address`; port 0 takes a free one, the same for
/// all.
///
/// # Errors
///
/// `AddrInUse` where anybody listens there already, another server of ours included; connections
/// that a server before us left behind (TIME-WAIT) are no obstacle. Otherwise what the kernel says.
pub fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Vec<Listener>> {
    let first = open(address)?;
    first.bind(&address.into())?;
    let local = local_addr(&first)?;
    // Listening before SO_REUSEPORT is set: two servers that start together may both bind, for
    // neither listens yet, but only one of them may listen.
    first.listen(BACKLOG)?;
    first.set_reuse_port(true)?;
    let mut listeners = vec![Listener::new(first, local)];
    for _ in 1..workers {
        let socket = open(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&local.into())?;
        socket.listen(BACKLOG)?;
        listeners.push(Listener::new(socket, local));
    }
    Ok(listeners)
}

/// A socket to be bound to `address`, with the options that all of ours have.
pub(super) fn open(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What an earlier owner left behind (TIME-WAIT) is no obstacle.
    socket.set_reuse_address(true)?;
    // Both are inherited by the connections that are accepted, so none of them costs a call. A
    // frame must not wait for the acknowledgement of the one before; and what can't be sent yet
    // should wait in our queue, which knows what may be dropped, not in the kernel's, which grows
    // to megabytes.
    socket.set_tcp_nodelay(true)?;
    sys::set_unsent_limit(socket.as_fd(), UNSENT_LIMIT)?;
    Ok(socket)
}

impl Listener {
    fn new(socket: Socket, local: SocketAddr) -> Self {
        Self { listener: TcpListener::from_std(socket.into()), local }
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Accepts one connection.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nobody waits; otherwise what `accept` says.
    pub fn accept(&self) -> io::Result<Connection> {
        let (stream, client) = self.listener.accept()?;
        let server =
            if self.local.ip().is_unspecified() { stream.local_addr()? } else { self.local };
        Ok(Connection::new(stream, client, server))
    }

    /// Has the listener announced under `token`.
    ///
    /// # Errors
    ///
    /// That of `epoll_ctl`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.listener.register(registry, token, Interest::READABLE)
    }

    /// Has it announced no more.
    ///
    /// # Errors
    ///
    /// That of `epoll_ctl`.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.listener.deregister(registry)
    }
}

/// Whether a socket could not be had for lack of descriptors or memory: the next attempt would fail
/// as well, whoever it is for.
pub fn lacks_room(error: &io::Error) -> bool {
    let lacking = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|errno| lacking.contains(&errno))
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    server: SocketAddr,
    /// Between the stream and the frames, where it came by a TLS listener.
    session: Option<Box<Session>>,
    output: Output,
    /// What has arrived of frames that are not whole. Taken out while frames are read from it,
    /// so that the connection can be written to meanwhile.
    pub input: Deframer,
}

/// What one read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Bytes at the front of the buffer. There may be none although others crossed the stream.
    pub length: usize,
    /// Nothing more will come.
    pub ended: bool,
    /// There may be more at once.
    pub more: bool,
}

impl Connection {
    fn new(stream: TcpStream, client: SocketAddr, server: SocketAddr) -> Self {
        let output = Output::new(OUTPUT_LIMIT);
        Self { stream, client, server, session: None, output, input: Deframer::default() }
    }

    /// The same, with TLS between the stream and the frames.
    pub fn secured(self, session: Session) -> Self {
        Self { session: Some(Box::new(session)), ..self }
    }

    /// The same, of a client that a load balancer speaks for.
    pub fn on_behalf_of(self, client: SocketAddr) -> Self {
        Self { client, ..self }
    }

    /// What has arrived, left where it is.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nothing waits.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(buffer)
    }

    /// Takes as many bytes as the buffer has, which were seen there before.
    ///
    /// # Errors
    ///
    /// Where they are not there any more.
    pub fn receive_exactly(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        io::Read::read_exact(&mut self.stream, buffer)
    }

    /// The client's address.
    pub fn client_addr(&self) -> SocketAddr {
        self.client
    }

    /// The address that the client connected to.
    pub fn server_addr(&self) -> SocketAddr {
        self.server
    }

    /// Whether it is still in its handshake.
    pub fn is_opening(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_opening())
    }

    /// Has the connection announced under `token`, each time it becomes readable or writable.
    ///
    /// # Errors
    ///
    /// That of `epoll_ctl`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Reads once. Frames say themselves how long they are, so how the stream ends behind them
    /// makes no difference.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nothing waits; any other is the connection's end.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Arrived> {
        match self.receive_strictly(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Arrived { length: 0, ended: true, more: false })
            }
            result => result,
        }
    }

    /// The same, but a stream that may have been cut off is an error.
    fn receive_strictly(&mut self, buffer: &mut [u8]) -> io::Result<Arrived> {
        if let Some(session) = &mut self.session {
            return session.receive(&mut self.stream, buffer);
        }
        let length = tls::read(&mut self.stream, buffer)?;
        Ok(Arrived { length, ended: length == 0, more: length == buffer.len() })
    }

    /// Queues one frame, made of `parts`; [`Connection::flush`] sends it.
    pub fn push(&mut self, parts: [&[u8]; 3], kind: Kind) -> Pushed {
        self.output.push(parts, kind)
    }

    /// Whether anything waits to leave.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty() || self.session.as_ref().is_some_and(|it| it.has_output())
    }

    /// Sends what waits, as far as the stream takes it.
    ///
    /// # Errors
    ///
    /// The stream's, which end the connection.
    pub fn flush(&mut self) -> io::Result<Written> {
        match &mut self.session {
            None => self.output.write_to(&mut self.stream),
            Some(session) => session.flush(&mut self.output, &mut self.stream),
        }
    }

    /// Says that nothing will be sent behind what waits, where the protocol has a word for it.
    pub fn end(&mut self) {
        // Before its handshake is done nobody waits for an end.
        if let Some(session) = &mut self.session
            && self.output.is_empty()
            && !session.is_opening()
        {
            session.finish();
        }
    }
}

/// Cuts a stream of bytes into frames. Empty, it holds hardly any memory.
#[derive(Debug, Default)]
pub struct Deframer {
    kept: Vec<u8>,
}

/// Why [`Deframer::frames`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Each whole frame was handed over; more bytes are needed.
    All,
    /// The limit was reached; whole frames may be left.
    Limit,
    /// The caller wanted no more.
    Stopped,
}

impl Deframer {
    /// The most bytes that are kept: an unfinished frame and one read.
    pub const KEPT_MAX: usize = FRAME_MAX + READ_BYTES;

    /// Hands each whole frame to `each`, the kept bytes first and then `fresh` (at most
    /// [`READ_BYTES`]), until `each` answers false or `limit` frames were handed over. The rest is
    /// kept. After [`Cut::Limit`] call again with nothing fresh.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`] where the stream carries neither STUN nor ChannelData and must be closed.
    pub fn frames(
        &mut self,
        fresh: &[u8],
        limit: usize,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<Cut, OutOfStep> {
        let from_kept = !self.kept.is_empty();
        if from_kept {
            self.kept.extend_from_slice(fresh);
        }
        let bytes = if from_kept { &self.kept[..] } else { fresh };
        let (mut rest, mut cut) = (bytes, Cut::Limit);
        for _ in 0..limit {
            let Some(length) = frame_length(rest)? else {
                cut = Cut::All;
                break;
            };
            let (frame, behind) = rest.split_at(length);
            rest = behind;
            if !each(frame) {
                cut = Cut::Stopped;
                break;
            }
        }
        let used = bytes.len() - rest.len();
        if !from_kept {
            self.kept.extend_from_slice(&fresh[used..]);
        } else if used < self.kept.len() {
            self.kept.drain(..used);
        } else if self.kept.capacity() > KEPT_CAPACITY {
            self.kept = Vec::new();
        } else {
            self.kept.clear();
        }
        Ok(cut)
    }
}

/// Bytes read from a stream at a time.
pub const READ_BYTES: usize = 64 * 1024;

/// Bytes that may wait for a client that reads slowly: four of the largest frames, or two seconds
/// of video at 1 Mbit/s.
pub const OUTPUT_LIMIT: usize = 256 * 1024;

/// Bytes that may wait unsent in the kernel, beyond what is in flight.
const UNSENT_LIMIT: u32 = 128 * 1024;

/// An empty deframer keeps no more memory than this.
const KEPT_CAPACITY: usize = 4096;

/// Connections that may wait to be accepted, where `net.core.somaxconn` allows as many.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use crate::net::sys::wait_readable;

    fn accept(listener: &Listener) -> Connection {
        wait_readable(listener.listener.as_fd());
        listener.accept().unwrap()
    }

    #[test]
    fn a_busy_port_is_refused_even_to_a_second_server_of_ours() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listeners = bind_tcp(address.parse().unwrap(), 3).unwrap();
            let local = listeners[0].local_addr();
            assert_ne!(local.port(), 0);
            assert!(listeners.iter().all(|listener| listener.local_addr() == local));
            assert_eq!(bind_tcp(local, 3).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(listeners);
            assert_eq!(bind_tcp(local, 1).unwrap().len(), 1);
        }
    }

    #[test]
    fn connections_of_a_server_before_us_do_not_block_the_port() {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let local = listener.local_addr();
        let mut client = std::net::TcpStream::connect(local).unwrap();
        // The server closes first, so TIME-WAIT is on its side.
        drop(accept(&listener));
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        drop((client, listener));
        assert_eq!(bind_tcp(local, 2).unwrap().len(), 2);
    }

    #[test]
    fn every_listener_of_a_port_gets_connections() {
        let listeners = bind_tcp("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let local = listeners[0].local_addr();
        let _clients: Vec<_> =
            (0..64).map(|_| std::net::TcpStream::connect(local).unwrap()).collect();
        for listener in &listeners {
            accept(listener);
        }
    }

    #[test]
    fn a_connection_knows_both_ends_and_sends_without_delay() {
        let listener = bind_tcp("0.0.0.0:0".parse().unwrap(), 1).unwrap().remove(0);
        let server = SocketAddr::from(([127, 0, 0, 2], listener.local_addr().port()));
        let client = std::net::TcpStream::connect(server).unwrap();
        let connection = accept(&listener);
        assert_eq!(connection.server_addr(), server);
        assert_eq!(connection.client_addr(), client.local_addr().unwrap());
        assert!(connection.stream.nodelay().unwrap());
        assert_eq!(sys::unsent_limit(connection.stream.as_fd()).unwrap(), UNSENT_LIMIT);
    }

    #[test]
    fn a_connection_carries_frames_both_ways_and_hears_the_end() {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let mut client = std::net::TcpStream::connect(listener.local_addr()).unwrap();
        let mut connection = accept(&listener);
        let mut buffer = [0; 64];
        let error = connection.receive(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"there").unwrap();
        wait_readable(connection.stream.as_fd());
        let arrived = connection.receive(&mut buffer).unwrap();
        assert_eq!(arrived, Arrived { length: 5, ended: false, more: false });
        let pushed = connection.push([b"a", b"n", b"d back"], Kind::Control);
        assert_eq!(pushed, Pushed::Queued { dropped: 0 });
        assert_eq!(connection.flush().unwrap(), Written { bytes: 8, frames: 1 });
        client.shutdown(std::net::Shutdown::Write).unwrap();
        wait_readable(connection.stream.as_fd());
        assert!(connection.receive(&mut buffer).unwrap().ended);
        drop(connection);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"and back");
    }

    /// ChannelData with so many bytes of payload, padded.
    fn channel_data(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut frame = vec![0x40, 0x01, high, low];
        frame.resize(4 + usize::from(length).next_multiple_of(4), low);
        frame
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut() {
        let frames: Vec<_> =
            [0, 1, 160, 3, 1200, 0, 65_535, 7].into_iter().map(channel_data).collect();
        let stream = frames.concat();
        for step in [1, 2, 3, 5, 7, 100, 1204, 4096, READ_BYTES] {
            let (mut deframer, mut found) = (Deframer::default(), Vec::new());
            for fresh in stream.chunks(step) {
                let cut = deframer.frames(fresh, 100, |frame| {
                    found.push(frame.to_vec());
                    true
                });
                assert_eq!(cut, Ok(Cut::All));
                assert!(deframer.kept.len() <= Deframer::KEPT_MAX);
            }
            assert!(found == frames, "cut every {step} bytes");
            assert!(deframer.kept.is_empty() && deframer.kept.capacity() <= KEPT_CAPACITY);
        }
    }

    #[test]
    fn no_more_frames_than_the_limit_come_at_a_time_and_none_is_lost() {
        let stream: Vec<u8> = (0..10).flat_map(channel_data).collect();
        let (mut deframer, mut lengths) = (Deframer::default(), Vec::new());
        let mut fresh = &stream[..];
        loop {
            let before = lengths.len();
            let cut = deframer.frames(fresh, 3, |frame| {
                lengths.push(frame[3]);
                true
            });
            fresh = &[];
            assert!(lengths.len() <= before + 3);
            if cut.unwrap() == Cut::All {
                break;
            }
        }
        assert_eq!(lengths, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_out_of_step_are_an_error_behind_the_frames_before_them() {
        let mut stream = channel_data(4);
        stream.extend(b"\x16\x03\x01 a TLS client");
        let mut frames = 0;
        let result = Deframer::default().frames(&stream, 100, |_| {
            frames += 1;
            true
        });
        assert_eq!((result, frames), (Err(OutOfStep), 1));
    }

    #[test]
    fn a_caller_that_wants_no_more_gets_no_more() {
        let stream = [channel_data(1), channel_data(2)].concat();
        let mut frames = 0;
        let result = Deframer::default().frames(&stream, 100, |_| {
            frames += 1;
            false
        });
        assert_eq!((result, frames), (Ok(Cut::Stopped), 1));
    }
}
