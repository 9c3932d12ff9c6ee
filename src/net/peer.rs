//! TCP on the peers' side (RFC 6062): a listener at a relayed address, and the connections that
//! begin or end there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::net::pipe::End;
use crate::net::tcp;
use crate::net::udp::local_addr;
use crate::turn::{OpenError, PeerAddr, RelayedAddr};

/// Listens at a relayed address, which is nobody else's while it is open.
#[derive(Debug)]
pub struct RelayListener {
    listener: TcpListener,
    local: RelayedAddr,
}

impl RelayListener {
    /// Listens at `local`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] where somebody listens there, else [`OpenError::Failed`].
    pub fn open(local: RelayedAddr) -> Result<Self, OpenError> {
        Self::try_open(local.0).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => OpenError::InUse,
            _ => OpenError::Failed,
        })
    }

    fn try_open(local: SocketAddr) -> io::Result<Self> {
        let socket = tcp::open(local)?;
        socket.bind(&local.into())?;
        let local = if local.port() == 0 { local_addr(&socket)? } else { local };
        socket.listen(BACKLOG)?;
        // So that connections can begin at the same address. Only once it listens: until then
        // somebody else who listens there must be an obstacle.
        socket.set_reuse_port(true)?;
        let listener = TcpListener::from_std(socket.into());
        Ok(Self { listener, local: RelayedAddr(local) })
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> RelayedAddr {
        self.local
    }

    /// Accepts one connection.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where no peer waits; otherwise what `accept` says.
    pub fn accept(&self) -> io::Result<(PeerStream, PeerAddr)> {
        let (stream, peer) = self.listener.accept()?;
        Ok((PeerStream { stream }, PeerAddr(peer)))
    }

    /// Begins to connect to a peer from the relayed address; [`PeerStream::is_connected`] says what
    /// has become of it.
    ///
    /// # Errors
    ///
    /// What the kernel says at once.
    pub fn connect(&self, peer: PeerAddr) -> io::Result<PeerStream> {
        let socket = tcp::open(self.local.0)?;
        socket.set_reuse_port(true)?;
        socket.bind(&self.local.0.into())?;
        match socket.connect(&peer.0.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(PeerStream { stream: TcpStream::from_std(socket.into()) }),
        }
    }

    /// Has the listener announced under `token`.
    ///
    /// # Errors
    ///
    /// That of `epoll_ctl`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.listener.register(registry, token, Interest::READABLE)
    }
}

/// A connection with a peer.
#[derive(Debug)]
pub struct PeerStream {
    stream: TcpStream,
}

impl PeerStream {
    /// Has the connection announced under `token`, each time it becomes readable or writable.
    ///
    /// # Errors
    ///
    /// That of `epoll_ctl`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Has it announced under another token, first of all if it is ready now.
    ///
    /// # Errors
    ///
    /// That of `epoll_ctl`.
    pub fn rename(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.reregister(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether the peer has accepted; not yet where `false`.
    ///
    /// # Errors
    ///
    /// Why the connection has failed or ended.
    pub fn is_connected(&self) -> io::Result<bool> {
        match self.stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(self.stream.peer_addr().is_ok()),
        }
    }
}

impl End for PeerStream {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    fn reset(&mut self) {
        // Failing, the end is an ordinary one.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// Peers that may wait to be accepted at one relayed address.
const BACKLOG: i32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream as StdStream;
    use std::os::fd::AsFd;

    use crate::net::sys::wait_readable;

    fn open(ip: &str) -> RelayListener {
        let local = format!("{ip}:0").parse().unwrap();
        RelayListener::open(RelayedAddr(local)).unwrap()
    }

    fn accept(listener: &RelayListener) -> (PeerStream, PeerAddr) {
        wait_readable(listener.listener.as_fd());
        listener.accept().unwrap()
    }

    #[test]
    fn connections_come_and_go_by_the_relayed_address() {
        for ip in ["127.0.0.1", "[::1]"] {
            let (listener, other) = (open(ip), open(ip));
            let incoming = StdStream::connect(listener.local_addr().0).unwrap();
            let (_kept, peer) = accept(&listener);
            assert_eq!(peer.0, incoming.local_addr().unwrap());
            let outgoing = listener.connect(PeerAddr(other.local_addr().0)).unwrap();
            let (mut far, from) = accept(&other);
            assert_eq!(from.0, listener.local_addr().0);
            assert!(outgoing.is_connected().unwrap());
            far.send(b"hello").unwrap();
            let mut outgoing = outgoing;
            wait_readable(outgoing.stream.as_fd());
            assert_eq!(outgoing.receive(&mut [0; 8]).unwrap(), 5);
        }
    }

    #[test]
    fn a_port_where_somebody_listens_is_in_use() {
        let listener = open("127.0.0.1");
        let again = RelayListener::open(listener.local_addr());
        assert_eq!(again.unwrap_err(), OpenError::InUse);
        let local = listener.local_addr();
        // Connections of the allocation before are no obstacle.
        let _peer = StdStream::connect(local.0).unwrap();
        let (_kept, _) = accept(&listener);
        drop(listener);
        assert!(RelayListener::open(local).is_ok());
    }

    #[test]
    fn a_peer_that_refuses_is_an_error() {
        let nobody = open("127.0.0.1").local_addr();
        let listener = open("127.0.0.1");
        let result = listener.connect(PeerAddr(nobody.0)).and_then(|stream| {
            wait_readable(stream.stream.as_fd());
            stream.is_connected()
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_address_of_somebody_else_cannot_be_had() {
        let local = RelayedAddr("192.0.2.1:0".parse().unwrap());
        assert_eq!(RelayListener::open(local).unwrap_err(), OpenError::Failed);
    }
}
