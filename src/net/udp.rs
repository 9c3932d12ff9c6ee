//! UDP listeners: one socket for each worker and address, all on the same port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::net::batch::{Losses, Outlet, Received, RecvBatch, Segments, SocketKey};
use crate::net::offload::Offload;
use crate::net::sys::{self, Fragmentation};

/// A socket that clients send to.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    local: SocketAddr,
    granted: Buffers,
    segments: Segments,
    losses: Losses,
}

/// Sizes of a socket's kernel buffers in bytes, as asked for (the kernel books twice that).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// For datagrams that have arrived.
    pub receive: usize,
    /// For datagrams that are leaving.
    pub send: usize,
}

impl Buffers {
    /// What the operator can do where the kernel granted less than was asked for; `None` where it
    /// granted all.
    pub fn complaint(self) -> Option<String> {
        let short = |what: &str, limit: &str, granted: usize, wanted: usize| {
            (granted < wanted).then(|| {
                format!(
                    "{} KiB of {} KiB for {what}: `sysctl -w net.core.{limit}={wanted}` allows all",
                    granted / 1024,
                    wanted / 1024,
                )
            })
        };
        let Self { receive, send } = BUFFERS_WANTED;
        let told = [
            short("arrivals", "rmem_max", self.receive, receive),
            short("departures", "wmem_max", self.send, send),
        ];
        told.into_iter().flatten().reduce(|first, second| format!("{first}; {second}"))
    }
}

/// What each listener asks for. The kernel grants at most `net.core.rmem_max` and `wmem_max`.
pub const BUFFERS_WANTED: Buffers = Buffers { receive: 4 << 20, send: 4 << 20 };

/// Binds one socket for each of `workers` to `address`; port 0 takes a free one, the same for all.
///
/// The kernel spreads clients over the sockets by their addresses.
///
/// # Errors
///
/// `AddrInUse` where anybody listens there already, another server of ours included; otherwise
/// what the kernel says.
pub fn bind_udp(
    address: SocketAddr,
    workers: usize,
    offload: Offload,
) -> io::Result<Vec<Listener>> {
    let first = open(address, offload)?;
    first.bind(&address.into())?;
    let local = local_addr(&first)?;
    // SO_REUSEPORT from the start would let a second server share the port unnoticed. Set after
    // the first bind it lets the rest join, and without a moment in which the port is free.
    first.set_reuse_port(true)?;
    let mut listeners = vec![Listener::new(first, local, offload)?];
    for _ in 1..workers {
        let socket = open(address, offload)?;
        socket.set_reuse_port(true)?;
        socket.bind(&local.into())?;
        listeners.push(Listener::new(socket, local, offload)?);
    }
    Ok(listeners)
}

fn open(address: SocketAddr, offload: Offload) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if address.ip().is_unspecified() {
        sys::report_destination(socket.as_fd(), address.is_ipv6())?;
    }
    if offload.gro {
        // A kernel that cannot join arrivals hands them over one by one.
        let _ = sys::join_arrivals(socket.as_fd());
    }
    sys::report_losses(socket.as_fd())?;
    // Answers to strangers go wherever the path leads: they may be fragmented.
    sys::set_fragmentation(socket.as_fd(), address.is_ipv6(), Fragmentation::Allowed)?;
    Ok(socket)
}

/// The address that a socket is bound to.
pub(super) fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

impl Listener {
    fn new(socket: Socket, local: SocketAddr, offload: Offload) -> io::Result<Self> {
        socket.set_recv_buffer_size(BUFFERS_WANTED.receive)?;
        socket.set_send_buffer_size(BUFFERS_WANTED.send)?;
        let granted = Buffers {
            receive: socket.recv_buffer_size()? / 2,
            send: socket.send_buffer_size()? / 2,
        };
        Ok(Self { socket, local, granted, segments: offload.segments(), losses: Losses::default() })
    }

    /// The address it is bound to; a wildcard where it serves every address of the host.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether it answers for `address`, by itself or as a wildcard.
    pub fn serves(&self, address: SocketAddr) -> bool {
        serves(self.local, address)
    }

    /// The kernel buffers that it got.
    pub fn buffers(&self) -> Buffers {
        self.granted
    }

    /// The server address that a datagram was sent to, given what its arrival told.
    pub fn server_addr(&self, destination: Option<IpAddr>) -> SocketAddr {
        let mut address = self.local;
        if let Some(ip) = destination {
            address.set_ip(ip);
        }
        address
    }

    /// The address that an answer must be told to leave from; `None` where the socket is bound to
    /// one and can use no other.
    pub fn source_for(&self, server: SocketAddr) -> Option<IpAddr> {
        self.local.ip().is_unspecified().then_some(server.ip())
    }

    /// Appends what has arrived to `batch`, under the name `key`: `most` datagrams at most.
    pub fn receive(&mut self, batch: &mut RecvBatch, key: SocketKey, most: usize) -> Received {
        batch.receive(self.socket.as_fd(), key, most, &mut self.losses)
    }
}

/// Whether a listener at `local` answers for `address`.
pub fn serves(local: SocketAddr, address: SocketAddr) -> bool {
    let is_wildcard = local.ip().is_unspecified() && local.is_ipv4() == address.is_ipv4();
    local.port() == address.port() && (is_wildcard || local.ip() == address.ip())
}

impl Outlet for Listener {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// DF is always clear towards clients.
    fn set_dont_fragment(&mut self, _wanted: bool) -> io::Result<()> {
        Ok(())
    }

    fn segments(&mut self) -> &mut Segments {
        &mut self.segments
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_refused_even_to_a_second_server_of_ours() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listeners = bind_udp(address.parse().unwrap(), 3, Offload::default()).unwrap();
            let local = listeners[0].local_addr();
            assert_ne!(local.port(), 0);
            assert!(listeners.iter().all(|listener| listener.local_addr() == local));
            assert_eq!(
                bind_udp(local, 3, Offload::default()).unwrap_err().kind(),
                io::ErrorKind::AddrInUse
            );
            drop(listeners);
            assert_eq!(bind_udp(local, 1, Offload::default()).unwrap().len(), 1);
        }
    }

    #[test]
    fn a_specific_address_is_busy_while_a_wildcard_has_its_port() {
        let listeners = bind_udp("0.0.0.0:0".parse().unwrap(), 2, Offload::default()).unwrap();
        let mut address = listeners[0].local_addr();
        address.set_ip([127, 0, 0, 1].into());
        assert_eq!(
            bind_udp(address, 1, Offload::default()).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }

    #[test]
    fn both_families_can_have_the_same_port() {
        let v4 = bind_udp("0.0.0.0:0".parse().unwrap(), 2, Offload::default()).unwrap();
        let mut address: SocketAddr = "[::]:0".parse().unwrap();
        address.set_port(v4[0].local_addr().port());
        assert_eq!(bind_udp(address, 2, Offload::default()).unwrap().len(), 2);
    }

    #[test]
    fn a_short_buffer_is_told_with_its_cure() {
        let granted = Buffers { receive: 212_992, ..BUFFERS_WANTED };
        let complaint = granted.complaint().unwrap();
        assert!(complaint.contains("208 KiB of 4096 KiB"), "{complaint}");
        assert!(complaint.contains("net.core.rmem_max=4194304"), "{complaint}");
        assert!(!complaint.contains("wmem_max"), "{complaint}");
    }

    #[test]
    fn the_granted_buffers_are_no_larger_than_wanted() {
        let listener =
            bind_udp("127.0.0.1:0".parse().unwrap(), 1, Offload::default()).unwrap().remove(0);
        let Buffers { receive, send } = listener.buffers();
        let all = listener.buffers() == BUFFERS_WANTED;
        assert_eq!(listener.buffers().complaint().is_none(), all);
        assert!(receive > 0 && receive <= BUFFERS_WANTED.receive);
        assert!(send > 0 && send <= BUFFERS_WANTED.send);
    }
}
