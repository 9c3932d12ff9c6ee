//! hairpin: a STUN/TURN server with a signalling relay beside it.
//!
//! The crate is a house of floors. A floor imports only from floors below it; `tests/tidy.rs`
//! reads the sources and enforces that, so the list below is true.
//!
//! ```text
//! 5  server        bind, start the workers and the control plane, wait, drain
//! 4  control       configuration, HTTP, signalling sockets: async, never on a packet's road
//! 3  worker        one thread owns one core and its sockets; no locks on a packet's road
//! 3  load          the other end: clients and peers that measure a server
//! 3  probe         the other end, for humans: what works, and what to do about the rest
//! 2  client        what clients say: URIs, requests and their signatures
//! 2  net           sockets and batches; the only `unsafe` is in net::sys
//! 1  turn          the deterministic TURN core, one file for each method
//! 1  signalling    rooms and members, the same kind of core
//! 0  wire          bytes to values and back; no time, no state
//! ```
//!
//! One packet's road: socket → [`net`] (a batch) → [`wire`] (a borrowed view) → [`turn`] → a
//! verdict → [`net`] (a batch) → socket. `ARCHITECTURE.md` tells it in full.

pub mod client;
pub mod control;
pub mod load;
pub mod net;
pub mod probe;
pub mod server;
pub mod signalling;
pub mod turn;
pub mod wire;
pub mod worker;
