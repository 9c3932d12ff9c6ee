//! What OpenSSL has for DTLS and its bindings leave out.

use std::ptr;
use std::time::Duration;

use foreign_types::ForeignTypeRef;
use libc::{c_int, c_long, timeval};
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl_sys::{SSL, SSL_CTX_ctrl, SSL_ctrl};

/// An address as OpenSSL has it; only ever behind a pointer.
#[repr(C)]
struct BioAddr([u8; 0]);

// SAFETY: as openssl/bio.h and openssl/ssl.h declare them.
unsafe extern "C" {
    fn BIO_ADDR_new() -> *mut BioAddr;
    fn BIO_ADDR_free(address: *mut BioAddr);
    fn DTLSv1_listen(ssl: *mut SSL, client: *mut BioAddr) -> c_int;
}

/// Has a new session take the one datagram that waits for it as a ClientHello with a cookie, and
/// ask the context's callback about that. Answers whether the handshake may go on from there.
pub(in crate::net) fn listen(ssl: &SslRef) -> bool {
    // SAFETY: no conditions; a null pointer is what there is where memory lacks.
    let address = unsafe { BIO_ADDR_new() };
    if address.is_null() {
        return false;
    }
    // SAFETY: `ssl` is live and, as sessions are never shared, used by nobody else meanwhile; its
    // BIO was set when its stream was made. `address` is a live BIO_ADDR of ours.
    let listened = unsafe { DTLSv1_listen(ssl.as_ptr(), address) };
    // SAFETY: it came from BIO_ADDR_new, and nobody has kept it: DTLSv1_listen only writes to it.
    unsafe { BIO_ADDR_free(address) };
    listened == 1
}

/// In how long a flight must be sent again; `None` where none waits for an answer.
pub(in crate::net) fn timeout(ssl: &SslRef) -> Option<Duration> {
    let mut left = timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: `ssl` is live; the command writes a `timeval` to the pointer, and ours is one.
    let set = unsafe {
        SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_GET_TIMEOUT, 0, ptr::from_mut(&mut left).cast())
    };
    let (secs, micros) = (u64::try_from(left.tv_sec).ok()?, u64::try_from(left.tv_usec).ok()?);
    (set == 1).then(|| Duration::from_secs(secs) + Duration::from_micros(micros))
}

/// Sends a flight again if it is time; answers whether there is still hope.
pub(in crate::net) fn handle_timeout(ssl: &SslRef) -> bool {
    // SAFETY: `ssl` is live and used by nobody else meanwhile; the command takes no argument.
    let handled = unsafe { SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_HANDLE_TIMEOUT, 0, ptr::null_mut()) };
    handled >= 0
}

/// Has OpenSSL choose the parameters of DHE by the strength of the certificate.
pub(in crate::net) fn set_dh_auto(context: &mut SslContextBuilder) {
    set(context, SSL_CTRL_SET_DH_AUTO, 1);
}

/// Bounds what a handshake message may claim to have, which is what is set aside for it.
pub(in crate::net) fn set_message_max(context: &mut SslContextBuilder, bytes: u16) {
    set(context, SSL_CTRL_SET_MAX_CERT_LIST, bytes.into());
}

fn set(context: &mut SslContextBuilder, command: c_int, value: c_long) {
    // SAFETY: the context is live and exclusively borrowed; both commands take a number only.
    unsafe { SSL_CTX_ctrl(context.as_ptr(), command, value, ptr::null_mut()) };
}

// openssl/ssl.h
const SSL_CTRL_SET_MAX_CERT_LIST: c_int = 51;
const DTLS_CTRL_GET_TIMEOUT: c_int = 73;
const DTLS_CTRL_HANDLE_TIMEOUT: c_int = 74;
const SSL_CTRL_SET_DH_AUTO: c_int = 118;
