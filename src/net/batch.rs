//! Batches of datagrams: how packets enter and leave, many at a time.
//!
//! ```text
//! RecvBatch   slot 0   [ 65 535 bytes ]  source, destination, the socket it came by
//!             slot 1   [ 65 535 bytes ]  …
//! SendBatch   entry 0  header (inline) | slot 1, bytes 4..160     | padding   -> socket, address
//!             entry 1                    bytes of the batch's own |           -> socket, address
//! ```
//!
//! A payload is never copied on its way from one socket to another: an entry refers to the slot
//! that it lies in, and the kernel gathers header, payload and padding. A batch may be filled from
//! several sockets, and is flushed socket by socket.
//!
//! The kernel may join datagrams of one sender into one buffer (GRO); each is a slot of its own.
//! What leaves by one socket is sorted by destination, and runs of equal length go out as segments
//! of one message (GSO): see `segments`.

mod receive;
mod segments;
mod send;
#[cfg(test)]
mod tests;

pub use receive::{Datagram, Losses, Received, RecvBatch, Sender};
pub use segments::Segments;
pub use send::{Envelope, Outlet, Outlets, SendBatch, Tally};

/// The caller's name for a socket; the batches never look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey(pub u64);
