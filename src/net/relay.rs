//! Relay sockets: one for each relayed address, bound to exactly that address.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::net::batch::{Losses, Outlet, Received, RecvBatch, Segments, SocketKey};
use crate::net::offload::Offload;
pub use crate::net::sys::Undelivered;
use crate::net::sys::{self, Fragmentation};
use crate::net::udp::local_addr;
use crate::turn::{OpenError, RelayedAddr};

/// How relay sockets are opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Bytes that may wait to be read; `None` leaves the kernel's default
    /// (`net.core.rmem_default`). The kernel grants at most `net.core.rmem_max`.
    pub receive_buffer: Option<usize>,
    /// What is asked of the kernel.
    pub offload: Offload,
    /// Whether datagrams tell their traffic class.
    pub class: bool,
}

/// A socket that peers send to. Its address is nobody else's while it is open.
#[derive(Debug)]
pub struct RelaySocket {
    socket: Socket,
    local: RelayedAddr,
    dont_fragment: bool,
    segments: Segments,
    losses: Losses,
}

impl RelaySocket {
    /// Binds a socket to `local`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] where the port is taken, else [`OpenError::Failed`].
    pub fn open(local: RelayedAddr, options: Options) -> Result<Self, OpenError> {
        Self::try_open(local.0, options).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => OpenError::InUse,
            _ => OpenError::Failed,
        })
    }

    /// Binds `local` and the port above it (RFC 8656 §7.2, EVEN-PORT): both or neither.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] where either port is taken or there is none above, else
    /// [`OpenError::Failed`].
    pub fn open_pair(local: RelayedAddr, options: Options) -> Result<(Self, Self), OpenError> {
        let first = Self::open(local, options)?;
        let mut next = first.local;
        next.0.set_port(next.0.port().checked_add(1).ok_or(OpenError::InUse)?);
        let second = Self::open(next, options)?;
        Ok((first, second))
    }

    fn try_open(local: SocketAddr, options: Options) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking();
        let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(bytes) = options.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        sys::set_fragmentation(socket.as_fd(), local.is_ipv6(), Fragmentation::Allowed)?;
        if options.offload.gro {
            // A kernel that cannot join arrivals hands them over one by one.
            let _ = sys::join_arrivals(socket.as_fd());
        }
        sys::report_losses(socket.as_fd())?;
        if options.class {
            sys::report_class(socket.as_fd(), local.is_ipv6(), true)?;
        }
        sys::keep_errors(socket.as_fd(), local.is_ipv6())?;
        socket.bind(&local.into())?;
        let local = if local.port() == 0 { local_addr(&socket)? } else { local };
        Ok(Self {
            socket,
            local: RelayedAddr(local),
            dont_fragment: false,
            segments: options.offload.segments(),
            losses: Losses::default(),
        })
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> RelayedAddr {
        self.local
    }

    /// Appends what has arrived to `batch`, under the name `key`: `most` datagrams at most.
    pub fn receive(&mut self, batch: &mut RecvBatch, key: SocketKey, most: usize) -> Received {
        batch.receive(self.socket.as_fd(), key, most, &mut self.losses)
    }
}

impl RelaySocket {
    /// Has it report the traffic classes of what comes, or no longer.
    pub fn report_class(&self, wanted: bool) {
        // It has known the option before, and what it says is a hint.
        let _ = sys::report_class(self.socket.as_fd(), self.local.0.is_ipv6(), wanted);
    }

    /// Hands over up to `most` errors that datagrams to peers have met; whether there may be more.
    pub fn read_errors(&self, most: usize, mut hear: impl FnMut(Undelivered)) -> bool {
        for _ in 0..most {
            match sys::receive_error(self.socket.as_fd()) {
                Ok(Some(error)) => hear(error),
                Ok(None) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl Outlet for RelaySocket {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn set_dont_fragment(&mut self, wanted: bool) -> io::Result<()> {
        if wanted != self.dont_fragment {
            let fragmentation =
                if wanted { Fragmentation::Forbidden } else { Fragmentation::Allowed };
            sys::set_fragmentation(self.socket.as_fd(), self.local.0.is_ipv6(), fragmentation)?;
            self.dont_fragment = wanted;
        }
        Ok(())
    }

    fn segments(&mut self) -> &mut Segments {
        &mut self.segments
    }
}

impl AsRawFd for RelaySocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    use crate::wire::Icmp;

    fn addr(ip: &str, port: u16) -> RelayedAddr {
        RelayedAddr(SocketAddr::new(ip.parse().unwrap(), port))
    }

    fn open(local: RelayedAddr) -> Result<RelaySocket, OpenError> {
        RelaySocket::open(local, Options { receive_buffer: Some(1 << 19), ..Options::default() })
    }

    #[test]
    fn a_relayed_address_is_exclusive() {
        for ip in ["127.0.0.1", "::1"] {
            let relay = open(addr(ip, 0)).unwrap();
            let local = relay.local_addr();
            assert_ne!(local.0.port(), 0);
            assert_eq!(open(local).unwrap_err(), OpenError::InUse);
            drop(relay);
            assert!(open(local).is_ok());
        }
    }

    #[test]
    fn an_address_that_is_not_ours_fails() {
        assert_eq!(open(addr("198.51.100.1", 0)).unwrap_err(), OpenError::Failed);
    }

    #[test]
    fn errors_are_kept_until_they_are_read_so_many_at_a_time() {
        for ip in ["127.0.0.1", "::1"] {
            let relay = open(addr(ip, 0)).unwrap();
            let mut errors = Vec::new();
            assert!(!relay.read_errors(16, |error| errors.push(error)));
            // Who listens to itself alone refuses the rest, and on loopback at once.
            let deaf = UdpSocket::bind(addr(ip, 0).0).unwrap();
            let gone = deaf.local_addr().unwrap();
            deaf.connect(gone).unwrap();
            while errors.len() < 20 {
                // Every other one is refused for the sake of the one before.
                let _ = relay.socket.send_to(b"x", &gone.into());
                relay.read_errors(16, |error| errors.push(error));
            }
            let icmp = if gone.is_ipv4() { Icmp::v4(3, 3, 0) } else { Icmp::v6(1, 4, 0) };
            assert!(errors.iter().all(|error| *error == Undelivered { to: gone, icmp }));

            errors.clear();
            while errors.is_empty() {
                for _ in 0..20 {
                    let _ = relay.socket.send_to(b"x", &gone.into());
                }
                relay.read_errors(3, |error| errors.push(error));
            }
            assert_eq!(errors.len(), 3, "there were more, and they are left");
        }
    }

    #[test]
    fn a_pair_is_had_whole_or_not_at_all() {
        let pair = || {
            // Some pair is free; which one, only trying can tell.
            (0..100).find_map(|_| {
                let port = open(addr("127.0.0.1", 0)).ok()?.local_addr().0.port();
                RelaySocket::open_pair(addr("127.0.0.1", port), Options::default()).ok()
            })
        };
        let (first, second) = pair().unwrap();
        let (lower, upper) = (first.local_addr(), second.local_addr());
        assert_eq!(lower.0.port() + 1, upper.0.port());

        // The upper port is taken: the lower one is not kept.
        drop(first);
        let result = RelaySocket::open_pair(lower, Options::default());
        assert_eq!(result.unwrap_err(), OpenError::InUse);
        assert!(UdpSocket::bind(lower.0).is_ok());

        // The lower port is taken: the upper one is not touched.
        drop(second);
        let other = UdpSocket::bind(lower.0).unwrap();
        let result = RelaySocket::open_pair(lower, Options::default());
        assert_eq!(result.unwrap_err(), OpenError::InUse);
        assert!(UdpSocket::bind(upper.0).is_ok());
        drop(other);
    }

    #[test]
    fn no_pair_begins_at_the_last_port() {
        let result = RelaySocket::open_pair(addr("127.0.0.1", u16::MAX), Options::default());
        assert_eq!(result.unwrap_err(), OpenError::InUse);
    }
}
