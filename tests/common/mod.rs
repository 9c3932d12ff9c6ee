//! What the tests of the core share: packets made and read by a codec that is not ours, and a
//! simulated world around the core.

#![allow(dead_code, unused_imports, reason = "each test target uses its own part of this")]

pub(crate) mod packet;
pub(crate) mod sim;

pub(crate) use hairpin::turn::stats::Drop;
pub(crate) use hairpin::turn::{
    Action, Config, ConnectError, ConnectionId, Lifetime, OpenError, Transport, Verdict,
};
pub(crate) use hairpin::wire::{AttributeType, Class, ErrorCode, IntegrityKey, Method};
pub(crate) use packet::{Packet, Response, addr, xor};
pub(crate) use sim::{Answer, Client, Out, SERVER_V4, SERVER_V6, Sim, connection_id, secs};

/// A peer that anybody may reach.
pub(crate) const PEER: &str = "9.0.0.1:7000";
/// Another one.
pub(crate) const OTHER_PEER: &str = "9.0.0.2:7000";
/// One with an IPv6 address.
pub(crate) const PEER_V6: &str = "[2600:9::1]:7000";
/// REQUESTED-TRANSPORT for UDP.
pub(crate) const UDP: [u8; 4] = [17, 0, 0, 0];
/// REQUESTED-TRANSPORT for TCP.
pub(crate) const TCP: [u8; 4] = [6, 0, 0, 0];
/// REQUESTED- or ADDITIONAL-ADDRESS-FAMILY for IPv4.
pub(crate) const V4: [u8; 4] = [1, 0, 0, 0];
/// REQUESTED- or ADDITIONAL-ADDRESS-FAMILY for IPv6.
pub(crate) const V6: [u8; 4] = [2, 0, 0, 0];
