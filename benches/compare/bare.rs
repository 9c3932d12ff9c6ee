//! The kernel's floor: what it costs to take datagrams from one socket and pass their payload on by
//! another, or by one for each source, with nothing decided between. The same job as a relay's,
//! less TURN, less waiting for many sockets at once.

#![allow(unsafe_code, reason = "the floor is measured below every library")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use clap::ValueEnum;
use libc::{cmsghdr, iovec, mmsghdr, msghdr, sockaddr_in};
use socket2::SockRef;

/// How datagrams are taken and passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Way {
    /// recvfrom, sendto
    Single,
    /// recvmmsg, sendmmsg
    Batch,
    /// UDP_GRO in, UDP_SEGMENT out
    Merged,
    /// recvmmsg on one socket, sendto on another for each source: a relay's many allocations
    Spread,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "recvfrom + sendto",
            Self::Batch => "recvmmsg + sendmmsg",
            Self::Merged => "GRO + GSO",
            Self::Spread => "recvmmsg + a socket each",
        }
    }
}

/// Datagrams in one call.
const BATCH: usize = 32;
const BUFFER: usize = 65_536;

/// Forwards until the process is ended.
pub(crate) fn forward(way: Way, listen: SocketAddrV4, peer: SocketAddrV4) -> io::Result<()> {
    let input = UdpSocket::bind(listen)?;
    let output = UdpSocket::bind(SocketAddrV4::new(*listen.ip(), 0))?;
    SockRef::from(&input).set_recv_buffer_size(4 << 20)?;
    SockRef::from(&output).set_send_buffer_size(4 << 20)?;
    match way {
        Way::Single => single(&input, &output, peer.into()),
        Way::Batch => batch(&input, &output, peer),
        Way::Merged => merged(&input, &output, peer),
        Way::Spread => spread(&input, *listen.ip(), peer),
    }
}

fn single(input: &UdpSocket, output: &UdpSocket, peer: SocketAddr) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let (length, _) = input.recv_from(&mut buffer)?;
        output.send_to(&buffer[..length], peer)?;
    }
}

fn batch(input: &UdpSocket, output: &UdpSocket, peer: SocketAddrV4) -> io::Result<()> {
    let mut target = name(peer);
    receive(input, |headers| {
        for header in headers.iter_mut() {
            header.msg_hdr.msg_name = ptr::from_mut(&mut target).cast();
        }
        let mut sent = 0;
        while sent < headers.len() {
            let rest = &mut headers[sent..];
            // SAFETY: each header has its part and buffer from `receive`, and a live name.
            sent += checked(unsafe {
                libc::sendmmsg(output.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) as isize
            })?;
        }
        Ok(())
    })
}

/// What no relay with a socket for each allocation can do without: find the socket, and give the
/// kernel each datagram by itself, as no call sends by two sockets.
fn spread(input: &UdpSocket, local: Ipv4Addr, peer: SocketAddrV4) -> io::Result<()> {
    let mut outputs: HashMap<u16, UdpSocket> = HashMap::new();
    let mut target = name(peer);
    receive(input, |headers| {
        for header in headers {
            // SAFETY: `receive` has every name point at a live `sockaddr_in`.
            let source = unsafe { (*header.msg_hdr.msg_name.cast::<sockaddr_in>()).sin_port };
            let output = match outputs.entry(source) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(UdpSocket::bind((local, 0))?),
            };
            header.msg_hdr.msg_name = ptr::from_mut(&mut target).cast();
            // SAFETY: the header has its part and buffer from `receive`, and a live name.
            checked(unsafe { libc::sendmsg(output.as_raw_fd(), &header.msg_hdr, 0) })?;
        }
        Ok(())
    })
}

/// Receives batches; `each` is given headers that are ready to be sent but for where to.
fn receive(
    input: &UdpSocket,
    mut each: impl FnMut(&mut [mmsghdr]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffers = vec![vec![0_u8; BUFFER + 1216]; BATCH];
    let mut sources = [name(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); BATCH];
    let part =
        |buffer: &mut Vec<u8>| iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: BUFFER };
    let mut parts: Vec<iovec> = buffers.iter_mut().map(part).collect();
    // SAFETY: all-zero bytes are a valid `mmsghdr`.
    let mut headers: [mmsghdr; BATCH] = unsafe { zeroed() };
    loop {
        for ((header, part), source) in headers.iter_mut().zip(&mut parts).zip(&mut sources) {
            part.iov_len = BUFFER;
            header.msg_hdr.msg_name = ptr::from_mut(source).cast();
            header.msg_hdr.msg_namelen = size_of::<sockaddr_in>() as u32;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points at a live name and part, and every part at a live buffer.
        let count = checked(unsafe {
            libc::recvmmsg(
                input.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            ) as isize
        })?;
        for (header, part) in headers.iter_mut().zip(&mut parts).take(count) {
            part.iov_len = header.msg_len as usize;
            header.msg_hdr.msg_iov = part;
        }
        each(&mut headers[..count])?;
    }
}

fn merged(input: &UdpSocket, output: &UdpSocket, peer: SocketAddrV4) -> io::Result<()> {
    let one: libc::c_int = 1;
    // SAFETY: the pointer and the length are those of a live `c_int`.
    checked(unsafe {
        libc::setsockopt(
            input.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            ptr::from_ref(&one).cast(),
            size_of::<libc::c_int>() as u32,
        ) as isize
    })?;
    let mut buffer = vec![0_u8; BUFFER];
    let (mut source, mut target) = (name(peer), name(peer));
    let mut control = [0_u64; 8];
    loop {
        let mut part = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: BUFFER };
        // SAFETY: all-zero bytes are a valid `msghdr`.
        let mut header: msghdr = unsafe { zeroed() };
        header.msg_name = ptr::from_mut(&mut source).cast();
        header.msg_namelen = size_of::<sockaddr_in>() as u32;
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        // SAFETY: the header points at live values with their true lengths.
        let length = checked(unsafe { libc::recvmsg(input.as_raw_fd(), &mut header, 0) })?;
        let segment = segment(&header).filter(|segment| usize::from(*segment) < length);
        let mut part = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length };
        header.msg_iov = &mut part;
        header.msg_name = ptr::from_mut(&mut target).cast();
        header.msg_controllen = 0;
        if let Some(segment) = segment {
            // SAFETY: `control` is aligned for a `cmsghdr` and has room for one with two bytes.
            unsafe {
                let first = control.as_mut_ptr().cast::<cmsghdr>();
                (*first).cmsg_level = libc::SOL_UDP;
                (*first).cmsg_type = libc::UDP_SEGMENT;
                (*first).cmsg_len = libc::CMSG_LEN(2) as _;
                libc::CMSG_DATA(first).cast::<u16>().write_unaligned(segment);
                header.msg_controllen = libc::CMSG_SPACE(2) as _;
            }
        }
        // SAFETY: as above.
        checked(unsafe { libc::sendmsg(output.as_raw_fd(), &header, 0) })?;
    }
}

/// The size of the datagrams that were received as one, where they were several.
fn segment(header: &msghdr) -> Option<u16> {
    // SAFETY: the kernel has just written these control messages.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref()? };
    if (first.cmsg_level, first.cmsg_type) != (libc::SOL_UDP, libc::UDP_GRO) {
        return None;
    }
    // SAFETY: the kernel's UDP_GRO is an `int`; it may lie unaligned.
    let size = unsafe { libc::CMSG_DATA(first).cast::<libc::c_int>().read_unaligned() };
    u16::try_from(size).ok()
}

fn name(address: SocketAddrV4) -> sockaddr_in {
    sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
        sin_zero: [0; 8],
    }
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
