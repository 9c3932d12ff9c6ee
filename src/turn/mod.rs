//! The TURN core: a deterministic state machine that never does I/O.
//!
//! Its whole surface:
//!
//! ```text
//! handle_client(now, path, packet, reply) -> Verdict     handle_timeout(now)
//! handle_peer(now, relay, peer, length) -> Verdict       poll_action() -> Option<Action>
//! handle_relay_opened(now, relay, result)                poll_timeout() -> Option<Moment>
//! handle_client_gone(now, tuple)                         handle_neighbour(now, from, to, length)
//! handle_relay_elsewhere(relayed_addr, core, open)       drain()
//! handle_client_elsewhere(tuple, core, there)
//! handle_icmp(now, relay, peer, icmp) -> Verdict
//! ```
//!
//! And for TCP allocations (RFC 6062), whose bytes it never sees:
//!
//! ```text
//! handle_connected(now, connection, result)              handle_connection_gone(connection)
//! handle_peer_connected(now, relay, peer) -> Option<ConnectionId>
//! handle_connection_bind(now, path, bind)                handle_bind_refused(path, bind)
//! handle_listener_elsewhere(relayed_addr, core, open)
//! ```
//!
//! After each `handle_*`, drain `poll_action` until it is empty, then read `poll_timeout`. The hot
//! path (ChannelData, Send, a peer's datagram, Binding) returns a [`Verdict`] by value, allocates
//! nothing and queues nothing, but for the one that completes a move (RFC 8016); the slow path
//! queues [`Action`]s. An Allocate succeeds only after
//! the shell has said that its socket exists.
//!
//! There is no clock here, no lock, no socket, no `async` and no randomness of the operating
//! system: the same seed and the same inputs give the same bytes.

pub mod acl;
pub mod action;
mod allocate;
mod allowance;
mod alternate;
mod auth;
mod bandwidth;
mod binding;
mod channel;
mod claim;
pub mod config;
mod connect;
mod connection;
mod connection_bind;
mod discovery;
mod expiry;
mod icmp;
mod login;
mod map;
mod mobility;
pub mod moment;
mod nonce;
mod opening;
mod permission;
mod port;
pub mod record;
mod refresh;
mod relay;
mod reload;
mod request;
mod reserved;
mod server;
mod spelling;
pub mod stats;
mod table;
mod third_party;
mod ticket;
mod timer;
pub mod tuple;

pub use action::{Action, OpenError, Reservation, ReservationToken, Username, Verdict};
pub use config::Config;
pub use connect::ConnectError;
pub use connection_bind::ConnectionBind;
pub use login::LoginFailure;
pub use moment::{Lifetime, Moment, Now};
pub use record::{Ending, Record, Volume};
pub use reload::Reload;
pub use server::Server;
pub use stats::Stats;
pub use tuple::{ConnectionId, CoreId, FiveTuple, Link, Path, PeerAddr, Protocol};
pub use tuple::{RelayId, RelayedAddr, Transport};
