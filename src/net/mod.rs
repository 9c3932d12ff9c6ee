//! Sockets: what a core decides, a shell carries out.
//!
//! A shell moves bytes and knows nothing of TURN. It does not block, does not wait, and takes no
//! decision but these: a datagram that does not fit is dropped whole, a stream that does not drain
//! loses whole media frames, and an error gets one of two fates.
//!
//! - *This packet's*: the kernel refuses one datagram (port 0, a broadcast address, no route, too
//!   long). It is counted and the next one goes out. Nothing that a client or a peer can put into a
//!   packet may stop a socket.
//! - *This socket's*: it could not be bound, or the stream ended. Whoever owns the socket hears of
//!   it as an `io::Error` or a closed connection.
//!
//! The batches are the interface: `socket.receive(&mut RecvBatch)`, `send_batch.flush(…)`. How they
//! are filled (recvmmsg with GRO, sendmmsg with GSO) is nobody else's business.

pub mod batch;
mod class;
pub mod dtls;
pub mod endpoint;
pub mod offload;
pub mod output;
pub mod peer;
pub mod pipe;
pub mod relay;
pub mod steering;
mod sys;
pub mod tcp;
pub mod tls;
pub mod udp;

pub use batch::Tally;
pub use batch::{Datagram, Envelope, Outlet, Outlets, Received, RecvBatch, SendBatch, SocketKey};
pub use class::TrafficClass;
pub use endpoint::Endpoint;
pub use offload::{Offload, Switch};
pub use tcp::bind_tcp;
pub use udp::{bind_udp, serves};
