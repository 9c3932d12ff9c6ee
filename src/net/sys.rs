//! The system calls that neither std nor socket2 offers, behind safe functions.
//!
//! The only `unsafe` of the crate. Here live `recvmmsg` and `sendmmsg` with their arrays of
//! pointers; in `options`, what takes or gives a plain `int`; in `errors`, what reads the ICMP
//! errors that the kernel has kept; in `dtls`, what the bindings of OpenSSL leave out. Nothing here
//! decides anything: what an error means is for `batch` to say.

#![expect(unsafe_code, reason = "recvmmsg, sendmmsg and the like have no safe form")]

#[cfg(feature = "dtls")]
pub(super) mod dtls;
mod errors;
mod options;

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, cmsghdr, iovec, mmsghdr, msghdr, sockaddr_storage};

use crate::net::class::TrafficClass;

pub use errors::Undelivered;
pub(super) use errors::receive_error;
pub(super) use options::*;

/// Room for the control messages of one datagram: a packet-info (40 bytes), and a segment size, a
/// count of lost datagrams and a traffic class (24 each).
const CONTROL: usize = 128;

/// Control messages hold integers, so their buffer is aligned as `cmsghdr` is.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What the kernel said about a received datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Bytes received.
    pub len: usize,
    /// The sender; `None` where the kernel gave no IP address.
    pub source: Option<SocketAddr>,
    /// The local address it was sent to, where the socket was told to report it.
    pub destination: Option<IpAddr>,
    /// The buffer was too short, or the control messages did not fit.
    pub truncated: bool,
    /// The length of each datagram but the last, where the kernel has joined several of one sender
    /// into one buffer (UDP_GRO).
    pub segment: Option<usize>,
    /// Its traffic class, where the socket was told to report it.
    pub class: u8,
    /// How many datagrams the socket had lost for want of room when this one was queued, in all
    /// and modulo 2^32 (SO_RXQ_OVFL). The kernel says nothing of it where none was lost.
    pub lost: Option<u32>,
}

/// The arrays that `recvmmsg` reads and fills, allocated once.
pub(super) struct RecvArrays {
    headers: Vec<mmsghdr>,
    iovecs: Vec<iovec>,
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
}

impl RecvArrays {
    /// Arrays for `slots` datagrams at a time.
    pub(super) fn new(slots: usize) -> Self {
        // SAFETY: all three are plain C structs for which all-zero bytes are a valid value.
        let (header, iovec, name) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            headers: vec![header; slots],
            iovecs: vec![iovec; slots],
            names: vec![name; slots],
            controls: vec![Control([0; CONTROL]); slots],
        }
    }

    /// Receives up to as many datagrams as there are `buffers`, without blocking. Entry `i` of the
    /// arrays then belongs to buffer `i`; [`RecvArrays::arrival`] reads it.
    ///
    /// # Errors
    ///
    /// That of `recvmmsg`, with `EINTR` retried; `EAGAIN` where nothing was waiting.
    pub(super) fn receive<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        buffers: impl Iterator<Item = &'a mut [u8]>,
    ) -> io::Result<usize> {
        let mut count = 0;
        let slots = self.headers.iter_mut().zip(&mut self.iovecs);
        let slots = slots.zip(&mut self.names).zip(&mut self.controls);
        for ((((header, iovec), name), control), buffer) in slots.zip(buffers) {
            iovec.iov_base = buffer.as_mut_ptr().cast();
            iovec.iov_len = buffer.len();
            header.msg_len = 0;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as u32;
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            header.msg_hdr.msg_flags = 0;
            count += 1;
        }
        retry(|| {
            // SAFETY: the first `count` headers were just pointed at live entries of `iovecs`,
            // `names` and `controls` and at distinct buffers, each with its true length, and all
            // of them are borrowed exclusively until this function returns.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    count,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            }
        })
    }

    /// What the last call said about the datagram in buffer `index`.
    pub(super) fn arrival(&self, index: usize) -> Arrival {
        let header = &self.headers[index];
        let flags = header.msg_hdr.msg_flags;
        let mut arrival = Arrival {
            len: header.msg_len as usize,
            source: socket_addr(&self.names[index], header.msg_hdr.msg_namelen),
            destination: None,
            truncated: flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
            segment: None,
            class: 0,
            lost: None,
        };
        read_ancillary(&header.msg_hdr, &self.controls[index], &mut arrival);
        arrival
    }
}

/// One datagram to be sent: its parts are gathered by the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// The local address to send from; `None` leaves it to the socket.
    pub from: Option<IpAddr>,
    /// The traffic class to send with.
    pub class: TrafficClass,
    /// The bytes, in order; any of them may be empty.
    pub parts: [&'a [u8]; PARTS],
    /// Whether this datagram leaves as a further segment of the one before (UDP_SEGMENT). All of
    /// a run have the first one's addresses and length; only the last may be shorter.
    pub joins: bool,
}

/// Header, payload, padding.
pub(super) const PARTS: usize = 3;

/// What to do after an error of `sendmmsg`, which is always that of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Leave this message out and go on with the next.
    Skip,
    /// Try this message again.
    Again,
    /// Give up on this one and all behind it.
    Stop,
}

/// The arrays that `sendmmsg` reads, allocated once.
pub(super) struct SendArrays {
    headers: Vec<mmsghdr>,
    iovecs: Vec<iovec>,
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    /// The first datagram of each message, and behind the last the number of all.
    starts: Vec<usize>,
}

impl SendArrays {
    /// Arrays for `slots` datagrams at a time.
    pub(super) fn new(slots: usize) -> Self {
        // SAFETY: all three are plain C structs for which all-zero bytes are a valid value.
        let (header, iovec, name) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            headers: vec![header; slots],
            iovecs: vec![iovec; slots * PARTS],
            names: vec![name; slots],
            controls: vec![Control([0; CONTROL]); slots],
            starts: Vec::with_capacity(slots + 1),
        }
    }

    /// Sends `datagrams` in order, as many as fit the arrays; those that join the one before are
    /// one message with it. `sent` hears the number of datagrams and of bytes of each message that
    /// left; `failed` hears which datagrams did not, and decides what comes next.
    pub(super) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
        mut sent: impl FnMut(usize, usize),
        mut failed: impl FnMut(Range<usize>, &io::Error) -> Fate,
    ) {
        let count = self.gather(datagrams);
        let mut next = 0;
        while next < count {
            let rest = &mut self.headers[next..count];
            // SAFETY: the headers were just pointed at live entries of `iovecs`, `names` and
            // `controls`, which this function borrows, and at parts that `datagrams` borrowed for
            // 'a, which outlives this call.
            let result = retry(|| unsafe { send_messages(socket, rest) });
            let datagrams = |message: usize| self.starts[message]..self.starts[message + 1];
            match result {
                Ok(done) => {
                    for (index, header) in rest.iter().enumerate().take(done) {
                        sent(datagrams(next + index).len(), header.msg_len as usize);
                    }
                    next += done;
                }
                // sendmmsg reports an error only of the first message it was given: one that
                // comes later ends the call early and is met again at the head of the next.
                Err(error) => match failed(datagrams(next), &error) {
                    Fate::Skip => next += 1,
                    Fate::Again => {}
                    Fate::Stop => break,
                },
            }
        }
    }

    /// Points the arrays at `datagrams`; returns the number of messages.
    fn gather<'a>(&mut self, datagrams: impl Iterator<Item = Outgoing<'a>>) -> usize {
        self.starts.clear();
        let (mut messages, mut used, mut total) = (0, 0, 0);
        let mut first_length = 0;
        for (index, datagram) in datagrams.enumerate().take(self.headers.len()) {
            let length: usize = datagram.parts.iter().map(|part| part.len()).sum();
            if datagram.joins && messages > 0 {
                let (header, control) =
                    (&mut self.headers[messages - 1].msg_hdr, &mut self.controls[messages - 1]);
                // The second of a run makes it one.
                if index - self.starts[messages - 1] == 1 {
                    let at = header.msg_controllen as _;
                    let size = first_length as u16;
                    header.msg_controllen = (at
                        + write_control(control, at, libc::SOL_UDP, libc::UDP_SEGMENT, size))
                        as _;
                    header.msg_control = control.0.as_mut_ptr().cast();
                }
            } else {
                let (header, control) =
                    (&mut self.headers[messages].msg_hdr, &mut self.controls[messages]);
                let name = &mut self.names[messages];
                header.msg_namelen = write_socket_addr(name, datagram.to);
                header.msg_name = ptr::from_mut(name).cast();
                header.msg_iovlen = 0;
                let mut written = datagram.from.map_or(0, |from| write_source(control, from));
                if let Some(class) = datagram.class.marked() {
                    written += write_class(control, written, datagram.to, class);
                }
                header.msg_controllen = written as _;
                header.msg_control = match written {
                    0 => ptr::null_mut(),
                    _ => control.0.as_mut_ptr().cast(),
                };
                self.starts.push(index);
                messages += 1;
                first_length = length;
            }
            for part in datagram.parts.iter().filter(|part| !part.is_empty()) {
                // The kernel only reads through it; `iovec` has no const form.
                self.iovecs[used].iov_base = part.as_ptr().cast_mut().cast();
                self.iovecs[used].iov_len = part.len();
                self.headers[messages - 1].msg_hdr.msg_iovlen += 1;
                used += 1;
            }
            total = index + 1;
        }
        self.starts.push(total);
        // Each may read as many as it has, so the pointers are those of the whole array; and taken
        // when nothing more is written to it.
        let mut iovec = self.iovecs.as_mut_ptr();
        for header in &mut self.headers[..messages] {
            header.msg_hdr.msg_iov = iovec;
            iovec = iovec.wrapping_add(header.msg_hdr.msg_iovlen as _);
        }
        messages
    }
}

/// Sends messages by the cheapest call that can: what the kernel must copy and check of a single
/// message is a part of what sending it costs. Gives the number that left, or -1; the kernel writes
/// nothing but `msg_len`.
///
/// # Safety
///
/// Each header points at a live name, live control messages and live iovecs, those at live bytes,
/// all with their true lengths.
unsafe fn send_messages(socket: BorrowedFd<'_>, messages: &mut [mmsghdr]) -> c_int {
    let (socket, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
    let [mmsghdr { msg_hdr: header, msg_len }] = messages else {
        let count = messages.len() as u32;
        // SAFETY: the caller's promise; `messages` is borrowed exclusively.
        return unsafe { libc::sendmmsg(socket, messages.as_mut_ptr(), count, flags as _) };
    };
    let is_flat = header.msg_iovlen == 1 && header.msg_controllen == 0;
    // SAFETY: the caller's promise, and where the message is flat it has one iovec.
    let sent = unsafe {
        if is_flat {
            let iovec { iov_base, iov_len } = *header.msg_iov;
            libc::sendto(
                socket,
                iov_base,
                iov_len,
                flags,
                header.msg_name.cast(),
                header.msg_namelen,
            )
        } else {
            libc::sendmsg(socket, header, flags)
        }
    };
    *msg_len = sent.max(0) as u32;
    if sent < 0 { -1 } else { 1 }
}

/// Sends `bytes` as datagrams of `segment` bytes each, of which the last may be shorter, in one
/// call: the kernel carries them through its stack as one (`UDP_SEGMENT`).
///
/// # Errors
///
/// That of `sendmsg`: `EMSGSIZE` or `EINVAL` where they are too many or too long, `EIO` where the
/// device cannot.
pub(super) fn send_segments(
    socket: BorrowedFd<'_>,
    to: SocketAddr,
    bytes: &[u8],
    segment: u16,
) -> io::Result<usize> {
    // SAFETY: both are plain C structs for which all-zero bytes are a valid value.
    let (mut name, mut header): (sockaddr_storage, msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut control = Control([0; CONTROL]);
    // The kernel only reads through it; `iovec` has no const form.
    let mut part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    header.msg_namelen = write_socket_addr(&mut name, to);
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    let length = write_control(&mut control, 0, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    header.msg_controllen = length as _;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: `header` points at `name`, `part`, `control` and `bytes`, all alive until the call
    // returns, each with its true length; the kernel only reads them. Its result is a length that
    // a message can have, or -1.
    retry(|| unsafe { libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_DONTWAIT) } as c_int)
}

/// The result of a system call that answers -1 for an error; an interrupted one is made again.
fn retry(mut call: impl FnMut() -> c_int) -> io::Result<usize> {
    loop {
        let result = call();
        if let Ok(result) = usize::try_from(result) {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn socket_addr(name: &sockaddr_storage, length: u32) -> Option<SocketAddr> {
    let pointer = ptr::from_ref(name);
    match c_int::from(name.ss_family) {
        libc::AF_INET if length as usize >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: a `sockaddr_storage` is long enough and aligned for each address family, and
            // the kernel has just said that it holds this one.
            let name = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 if length as usize >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above.
            let name = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            // The flow label is the packet's, not the sender's: with it one client would look
            // like many.
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes `address` as the kernel wants it and returns its length.
fn write_socket_addr(name: &mut sockaddr_storage, address: SocketAddr) -> u32 {
    let pointer = ptr::from_mut(name);
    match address {
        SocketAddr::V4(address) => {
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: address.port().to_be(),
                sin_addr: in_addr(*address.ip()),
                sin_zero: [0; 8],
            };
            // SAFETY: a `sockaddr_storage` is long enough and aligned for each address family.
            unsafe { pointer.cast::<libc::sockaddr_in>().write(value) };
            size_of::<libc::sockaddr_in>() as u32
        }
        SocketAddr::V6(address) => {
            let value = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: in6_addr(*address.ip()),
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { pointer.cast::<libc::sockaddr_in6>().write(value) };
            size_of::<libc::sockaddr_in6>() as u32
        }
    }
}

/// Reads what the control messages of a datagram tell.
fn read_ancillary(header: &msghdr, control: &Control, arrival: &mut Arrival) {
    if header.msg_controllen == 0 {
        return;
    }
    // The header's own pointer is not used: the array may have moved since the call.
    // SAFETY: all-zero bytes are a valid `msghdr`.
    let mut header = msghdr { msg_controllen: header.msg_controllen, ..unsafe { zeroed() } };
    header.msg_control = control.0.as_ptr().cast_mut().cast();
    // SAFETY: `msg_control` and `msg_controllen` describe control messages that the kernel wrote
    // into `control`.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole `cmsghdr` inside `control`.
        let (level, kind, data) =
            unsafe { ((*next).cmsg_level, (*next).cmsg_type, libc::CMSG_DATA(next)) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel's IP_PKTINFO is an `in_pktinfo`; it may lie unaligned.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                // Not `ipi_addr`: that may be a broadcast address, from which nobody can answer.
                let ip = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr));
                arrival.destination = Some(ip.into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel's IPV6_PKTINFO is an `in6_pktinfo`; it may lie unaligned.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                arrival.destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the kernel's UDP_GRO is an `int`; it may lie unaligned.
                let size = unsafe { data.cast::<c_int>().read_unaligned() };
                arrival.segment = usize::try_from(size).ok().filter(|size| *size > 0);
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                // SAFETY: the kernel's IP_TOS is an octet.
                arrival.class = unsafe { data.read() };
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: the kernel's IPV6_TCLASS is an `int`; it may lie unaligned.
                arrival.class = unsafe { data.cast::<c_int>().read_unaligned() } as u8;
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the kernel's SO_RXQ_OVFL is a `u32`; it may lie unaligned.
                arrival.lost = Some(unsafe { data.cast::<u32>().read_unaligned() });
            }
            _ => {}
        }
        // SAFETY: `next` is a control message of `header`.
        next = unsafe { libc::CMSG_NXTHDR(&header, next) };
    }
}

/// Writes the control message that makes a datagram leave from `source`; returns the length of
/// all control messages.
fn write_source(control: &mut Control, source: IpAddr) -> usize {
    match source {
        IpAddr::V4(source) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr(source),
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_control(control, 0, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(source) => {
            let info = libc::in6_pktinfo { ipi6_addr: in6_addr(source), ipi6_ifindex: 0 };
            write_control(control, 0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

/// Writes the control message that gives a datagram its traffic class, behind the `at` bytes of
/// those before it; returns its own length.
fn write_class(control: &mut Control, at: usize, to: SocketAddr, class: u8) -> usize {
    let class = c_int::from(class);
    match to {
        SocketAddr::V4(_) => write_control(control, at, libc::IPPROTO_IP, libc::IP_TOS, class),
        SocketAddr::V6(_) => {
            write_control(control, at, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class)
        }
    }
}

/// Writes a control message behind the `at` bytes of those before it; returns its own length.
fn write_control<T: Copy>(
    control: &mut Control,
    at: usize,
    level: c_int,
    kind: c_int,
    value: T,
) -> usize {
    let size = size_of::<T>() as u32;
    // SAFETY: both are plain arithmetic.
    let (length, space) = unsafe { (libc::CMSG_LEN(size), libc::CMSG_SPACE(size) as usize) };
    assert!(at.is_multiple_of(8) && at + space <= CONTROL, "control messages have room for three");
    // SAFETY: `at` lies inside `control`, as was just asserted.
    let first = unsafe { control.0.as_mut_ptr().add(at) }.cast::<cmsghdr>();
    // SAFETY: `Control` is aligned as `cmsghdr` is, `at` keeps that, and header and value fit, as
    // was just asserted; the value is written without need of alignment.
    unsafe {
        first.write(zeroed());
        (*first).cmsg_level = level;
        (*first).cmsg_type = kind;
        (*first).cmsg_len = length as _;
        libc::CMSG_DATA(first).cast::<T>().write_unaligned(value);
    }
    space
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: ip.to_bits().to_be() }
}

fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip.octets() }
}
