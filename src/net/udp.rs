//! UDP listeners: for each worker and address a socket for requests and one for media, all on the
//! same port. Where the kernel can't tell these apart (see [`steering`](crate::net::steering)), one
//! socket takes both.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use libc::sock_filter;
use socket2::{Domain, Protocol, Socket, Type};

use crate::net::batch::{Losses, Outlet, Received, RecvBatch, Segments, SocketKey};
use crate::net::offload::Offload;
use crate::net::steering::Steering;
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

/// How listeners are bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What is asked of the kernel.
    pub offload: Offload,
    /// Whether datagrams tell their traffic class.
    pub class: bool,
    /// Tells requests from media; `None` for one socket that takes both.
    pub steering: Option<Steering>,
}

/// What one worker has at one address.
#[derive(Debug)]
pub struct Pair {
    /// Requests come here.
    pub requests: Listener,
    /// Everything else comes here; `None` where it comes to the other one, too.
    pub media: Option<Listener>,
}

/// Binds sockets for each of `workers` to `address`; port 0 takes a free one, the same for all.
///
/// Clients are spread over the workers by their addresses.
///
/// # Errors
///
/// `AddrInUse` where anybody listens there already, another server of ours included; otherwise
/// what the kernel says.
pub fn bind_udp(address: SocketAddr, workers: u16, options: Options) -> io::Result<Vec<Pair>> {
    let Options { offload, steering, .. } = options;
    let first = open(address, options)?;
    first.bind(&address.into())?;
    let local = local_addr(&first)?;
    // SO_REUSEPORT from the start would let a second server share the port unnoticed. Set after
    // the first bind it lets the rest join, and without a moment in which the port is free.
    first.set_reuse_port(true)?;
    let join = || {
        let socket = open(address, options)?;
        socket.set_reuse_port(true)?;
        socket.bind(&local.into())?;
        Listener::new(socket, local, offload)
    };
    let mut pairs = vec![Pair { requests: Listener::new(first, local, offload)?, media: None }];
    for _ in 1..workers {
        pairs.push(Pair { requests: join()?, media: None });
    }
    if let Some(steering) = steering {
        // The filter numbers them as they were bound: all for requests, then all for media.
        let media: Vec<_> = pairs.iter().map(|_| join()).collect::<io::Result<_>>()?;
        steer(&mut pairs, media, &steering.program(workers, address.is_ipv6()));
    }
    Ok(pairs)
}

/// Puts the filter at the door. Where the kernel refuses it, the sockets for media are closed and
/// all comes to the others.
fn steer(pairs: &mut [Pair], media: Vec<Listener>, program: &[sock_filter]) {
    let group = pairs.first().map(|pair| pair.requests.socket.as_fd());
    if group.is_some_and(|group| sys::set_group_filter(group, program).is_ok()) {
        for (pair, media) in pairs.iter_mut().zip(media) {
            pair.media = Some(media);
        }
    }
}

fn open(address: SocketAddr, options: Options) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if address.ip().is_unspecified() {
        sys::report_destination(socket.as_fd(), address.is_ipv6())?;
    }
    if options.offload.gro {
        // A kernel that cannot join arrivals hands them over one by one.
        let _ = sys::join_arrivals(socket.as_fd());
    }
    if options.class {
        sys::report_class(socket.as_fd(), address.is_ipv6(), true)?;
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

    /// Has it report the traffic classes of what comes, or no longer.
    pub fn report_class(&self, wanted: bool) {
        // It has known the option before, and what it says is a hint.
        let _ = sys::report_class(self.socket.as_fd(), self.local.is_ipv6(), wanted);
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

    /// One socket for each worker, or, steered, two.
    const WAYS: [fn() -> Options; 2] = [Options::default, || Options {
        steering: Some(Steering::new([1; 32])),
        ..Options::default()
    }];

    fn bind(address: SocketAddr, workers: u16) -> io::Result<Vec<Pair>> {
        bind_udp(address, workers, Options::default())
    }

    fn sockets(pairs: &[Pair]) -> impl Iterator<Item = &Listener> {
        pairs.iter().flat_map(|pair| [Some(&pair.requests), pair.media.as_ref()]).flatten()
    }

    #[test]
    fn a_busy_port_is_refused_even_to_a_second_server_of_ours() {
        for (address, way) in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"]
            .into_iter()
            .flat_map(|address| WAYS.map(|way| (address, way)))
        {
            let pairs = bind_udp(address.parse().unwrap(), 3, way()).unwrap();
            let local = pairs[0].requests.local_addr();
            assert_ne!(local.port(), 0);
            assert!(sockets(&pairs).all(|listener| listener.local_addr() == local));
            let again = bind_udp(local, 3, way());
            assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(pairs);
            assert_eq!(bind_udp(local, 1, way()).unwrap().len(), 1);
        }
    }

    #[test]
    fn without_a_filter_everything_comes_to_the_sockets_that_are_left() {
        let options = WAYS[1]();
        let mut pairs = bind_udp("127.0.0.1:0".parse().unwrap(), 2, options).unwrap();
        let to = pairs[0].requests.local_addr();
        let media = pairs.iter_mut().map(|pair| pair.media.take().unwrap()).collect();
        // The kernel refuses what is no program.
        steer(&mut pairs, media, &[]);
        assert!(pairs.iter().all(|pair| pair.media.is_none()));
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for bytes in [b"\0\x01", b"\x40\0", b"\0\x04"] {
            client.send_to(bytes, to).unwrap();
        }
        let (mut batch, key) = (RecvBatch::new(), SocketKey(0));
        for pair in &mut pairs {
            pair.requests.receive(&mut batch, key, RecvBatch::BUFFERS);
        }
        assert_eq!(batch.len(), 3);
    }

    #[test]
    fn a_specific_address_is_busy_while_a_wildcard_has_its_port() {
        let pairs = bind("0.0.0.0:0".parse().unwrap(), 2).unwrap();
        let mut address = pairs[0].requests.local_addr();
        address.set_ip([127, 0, 0, 1].into());
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn both_families_can_have_the_same_port() {
        let v4 = bind("0.0.0.0:0".parse().unwrap(), 2).unwrap();
        let mut address: SocketAddr = "[::]:0".parse().unwrap();
        address.set_port(v4[0].requests.local_addr().port());
        assert_eq!(bind(address, 2).unwrap().len(), 2);
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
        let listener = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0).requests;
        let Buffers { receive, send } = listener.buffers();
        let all = listener.buffers() == BUFFERS_WANTED;
        assert_eq!(listener.buffers().complaint().is_none(), all);
        assert!(receive > 0 && receive <= BUFFERS_WANTED.receive);
        assert!(send > 0 && send <= BUFFERS_WANTED.send);
    }
}
