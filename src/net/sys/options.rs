//! Socket options that are a plain `int`, and one that is a program.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, sock_filter, sock_fprog};

use super::retry;

/// How path MTU discovery treats what a socket sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Fragmentation {
    /// DF clear: routers, or this host, may fragment.
    Allowed,
    /// DF set, and what the path was found to carry is disregarded: whoever asked for DF is
    /// measuring the path and must be let through to it.
    Forbidden,
}

/// Sets DF, or its IPv6 counterpart (no fragment header), for everything sent from now on.
///
/// # Errors
///
/// That of `setsockopt`.
pub(in crate::net) fn set_fragmentation(
    socket: BorrowedFd<'_>,
    ipv6: bool,
    fragmentation: Fragmentation,
) -> io::Result<()> {
    let forbidden = fragmentation == Fragmentation::Forbidden;
    if ipv6 {
        let mode = if forbidden { libc::IPV6_PMTUDISC_PROBE } else { libc::IPV6_PMTUDISC_DONT };
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, mode)?;
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, forbidden.into())
    } else {
        // With DONT the kernel would keep to itself that a datagram with DF was too big, where
        // another has left without DF meanwhile.
        let allowed = libc::IP_PMTUDISC_OMIT;
        let mode = if forbidden { libc::IP_PMTUDISC_PROBE } else { allowed };
        set_int(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode)
    }
}

/// Reads the socket's fragmentation setting back.
///
/// # Errors
///
/// That of `getsockopt`.
#[cfg(test)]
pub(in crate::net) fn fragmentation(
    socket: BorrowedFd<'_>,
    ipv6: bool,
) -> io::Result<Fragmentation> {
    let (level, name) = match ipv6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        false => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
    };
    Ok(match int(socket, level, name)? {
        libc::IP_PMTUDISC_OMIT | libc::IPV6_PMTUDISC_DONT => Fragmentation::Allowed,
        _ => Fragmentation::Forbidden,
    })
}

/// Waits until a socket has something to read, for five seconds at most.
#[cfg(test)]
pub(in crate::net) fn wait_readable(socket: BorrowedFd<'_>) {
    let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one live `pollfd`.
    let ready = retry(|| unsafe { libc::poll(&mut entry, 1, 5000) });
    assert_eq!(ready.unwrap(), 1, "nothing to read came within five seconds");
}

/// Makes the socket report the local address that each datagram was sent to.
///
/// # Errors
///
/// That of `setsockopt`.
pub(in crate::net) fn report_destination(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_int(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Has the socket report the traffic class of each datagram, or no longer.
///
/// # Errors
///
/// That of `setsockopt`.
pub(in crate::net) fn report_class(
    socket: BorrowedFd<'_>,
    ipv6: bool,
    wanted: bool,
) -> io::Result<()> {
    if ipv6 {
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, wanted.into())
    } else {
        set_int(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, wanted.into())
    }
}

/// Makes the socket keep the ICMP errors that its datagrams meet, in a queue of their own.
///
/// # Errors
///
/// That of `setsockopt`.
pub(in crate::net) fn keep_errors(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)
    } else {
        set_int(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)
    }
}

/// Makes the socket join datagrams of one sender that came together, and say so.
///
/// # Errors
///
/// That of `setsockopt`; kernels before 5.0 do not know it.
pub(in crate::net) fn join_arrivals(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_int(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Makes the socket say, with each datagram, how many it has lost before for want of room.
///
/// # Errors
///
/// That of `setsockopt`.
pub(in crate::net) fn report_losses(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)
}

/// How many bytes may wait in the kernel unsent before a TCP socket counts as full.
///
/// # Errors
///
/// That of `setsockopt`.
pub(in crate::net) fn set_unsent_limit(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    set_int(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes)
}

/// Reads the limit for unsent bytes back.
///
/// # Errors
///
/// That of `getsockopt`.
#[cfg(test)]
pub(in crate::net) fn unsent_limit(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(int(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT)?.cast_unsigned())
}

/// Has a filter choose among the sockets that share this one's port: what it yields is the index of
/// one, in the order in which they were bound.
///
/// # Errors
///
/// That of `setsockopt`; where the kernel cannot, or something forbids it.
pub(in crate::net) fn set_group_filter(
    socket: BorrowedFd<'_>,
    program: &[sock_filter],
) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The kernel only reads through it; `sock_fprog` has no const form.
    let program = sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set_int(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set(socket, level, name, &value)
}

fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    retry(|| {
        // SAFETY: the pointer and the length are those of a live value, which is only read, and so
        // is what the one kind of it that holds a pointer points at, a live slice.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
            )
        }
    })?;
    Ok(())
}

#[cfg(test)]
fn int(socket: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let (mut value, mut length) = (0, size_of::<c_int>() as u32);
    retry(|| {
        // SAFETY: the pointers are to a live `c_int` and to its length.
        unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                level,
                name,
                ptr::from_mut(&mut value).cast(),
                &mut length,
            )
        }
    })?;
    Ok(value)
}
