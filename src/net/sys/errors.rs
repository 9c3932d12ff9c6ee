//! What the kernel keeps of ICMP errors at a socket (`IP_RECVERR`).

use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, iovec, msghdr, sock_extended_err, sockaddr_storage};

use super::{CONTROL, Control, retry, socket_addr};
use crate::wire::icmp::Icmp;

/// An error that a datagram of ours has met on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Where the datagram was to go.
    pub to: SocketAddr,
    /// What was said of it.
    pub icmp: Icmp,
}

/// Takes the next error out of a socket's queue. `None` is one that no ICMP message has caused.
///
/// # Errors
///
/// That of `recvmsg`: `EAGAIN` where there is no more.
pub(in crate::net) fn receive_error(socket: BorrowedFd<'_>) -> io::Result<Option<Undelivered>> {
    // SAFETY: both are plain C structs for which all-zero bytes are a valid value.
    let (mut name, mut header): (sockaddr_storage, msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut control = Control([0; CONTROL]);
    // The datagram itself is of no interest, and cut to nothing.
    let mut nothing = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_namelen = size_of::<sockaddr_storage>() as u32;
    header.msg_iov = &mut nothing;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `header` points at `name`, `nothing` and `control`, all alive until the call returns,
    // each with its true length. Its result is a length that a message can have, or -1.
    retry(|| unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) } as c_int)?;
    let to = socket_addr(&name, header.msg_namelen);
    Ok(to.zip(icmp(&header)).map(|(to, icmp)| Undelivered { to, icmp }))
}

/// The ICMP message among the control messages.
fn icmp(header: &msghdr) -> Option<Icmp> {
    // SAFETY: `msg_control` and `msg_controllen` describe control messages that the kernel wrote
    // into a buffer that lives as long as the header is borrowed.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole `cmsghdr` inside the buffer.
        let (level, kind, data) =
            unsafe { ((*next).cmsg_level, (*next).cmsg_type, libc::CMSG_DATA(next)) };
        if matches!(
            (level, kind),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        ) {
            // SAFETY: the kernel's IP_RECVERR begins with a `sock_extended_err`; it may lie
            // unaligned.
            let error = unsafe { data.cast::<sock_extended_err>().read_unaligned() };
            let sock_extended_err { ee_origin, ee_type, ee_code, ee_info, .. } = error;
            return match ee_origin {
                libc::SO_EE_ORIGIN_ICMP => Some(Icmp::v4(ee_type, ee_code, ee_info)),
                libc::SO_EE_ORIGIN_ICMP6 => Some(Icmp::v6(ee_type, ee_code, ee_info)),
                _ => None,
            };
        }
        // SAFETY: `next` is a control message of `header`.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    None
}
