//! The other end: a UDP socket of a client or of a peer, for whoever talks to a server.
//!
//! Sending and receiving by batches never block; [`Endpoint::socket`] is the same socket for those
//! who would rather wait.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::SockRef;

use crate::net::batch::{Losses, Outlet, Received, RecvBatch, Segments, SocketKey};
use crate::net::sys;

/// A socket at the far side of a server.
#[derive(Debug)]
pub struct Endpoint {
    socket: UdpSocket,
    local: SocketAddr,
    segments: Segments,
}

/// Bytes that each asks for in both directions. The kernel grants at most what `net.core` says.
const BUFFER_WANTED: usize = 4 << 20;

impl Endpoint {
    /// Binds `local`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(local)?;
        let options = SockRef::from(&socket);
        options.set_recv_buffer_size(BUFFER_WANTED)?;
        options.set_send_buffer_size(BUFFER_WANTED)?;
        let local = socket.local_addr()?;
        // Whoever wants several to leave as one says so.
        Ok(Self { socket, local, segments: Segments::OFF })
    }

    /// Lets the kernel hand over datagrams of one flow and size that came together at once, which
    /// costs it less; a batch still has each by itself.
    ///
    /// # Errors
    ///
    /// Where the kernel cannot.
    pub fn merge_received(&self) -> io::Result<()> {
        sys::join_arrivals(self.socket.as_fd())
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The socket itself, which blocks.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Appends what has arrived to `batch`, under the name `key`; does not wait.
    pub fn receive(&self, batch: &mut RecvBatch, key: SocketKey) -> Received {
        batch.receive(self.socket.as_fd(), key, RecvBatch::BUFFERS, &mut Losses::default())
    }

    /// Sends `bytes` as datagrams of `segment` bytes each, of which the last may be shorter, in
    /// one go; does not wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where the socket is full; another where the kernel cannot send so.
    pub fn send_segments(&self, to: SocketAddr, bytes: &[u8], segment: u16) -> io::Result<usize> {
        sys::send_segments(self.socket.as_fd(), to, bytes, segment)
    }
}

impl Outlet for Endpoint {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// DF is left as the system has it.
    fn set_dont_fragment(&mut self, _wanted: bool) -> io::Result<()> {
        Ok(())
    }

    fn segments(&mut self) -> &mut Segments {
        &mut self.segments
    }
}

impl AsRawFd for Endpoint {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_arrive_one_by_one_also_where_the_kernel_joins_them() {
        for (ip, merged) in [("127.0.0.1:0", false), ("127.0.0.1:0", true), ("[::1]:0", false)] {
            let any: SocketAddr = ip.parse().unwrap();
            let (from, to) = (Endpoint::bind(any).unwrap(), Endpoint::bind(any).unwrap());
            if merged {
                to.merge_received().unwrap();
            }
            let bytes: Vec<u8> = (0..35).collect();
            assert_eq!(from.send_segments(to.local_addr(), &bytes, 10).unwrap(), 35);
            let (mut batch, mut received) = (RecvBatch::new(), Vec::new());
            while received.iter().map(Vec::len).sum::<usize>() < 35 {
                batch.clear();
                sys::wait_readable(to.socket.as_fd());
                to.receive(&mut batch, SocketKey(0));
                received.extend((0..batch.len()).map(|at| batch.datagram(at).bytes.to_vec()));
            }
            assert_eq!(received.concat(), bytes);
            assert_eq!(received.len(), 4, "{ip}");
        }
    }
}
