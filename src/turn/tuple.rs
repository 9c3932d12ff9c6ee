//! The addresses that TURN speaks of, each a type of its own.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// The transport between client and server; part of the 5-tuple (RFC 8656 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// One message in one datagram.
    Udp,
    /// A stream of messages, ChannelData padded to four bytes.
    Tcp,
    /// One message in one record, and one record in one datagram (RFC 7350).
    Dtls,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Dtls => "dtls",
        })
    }
}

impl Transport {
    /// Whether messages follow each other on a stream, so that ChannelData is padded
    /// (RFC 8656 §12.5) and the end of the connection ends the allocation.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp)
    }
}

/// What REQUESTED-TRANSPORT asks for: the protocol between server and peers (RFC 8656 §18.8, RFC
/// 6062 §4.1). Each has its own ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Datagrams, each relayed by itself.
    Udp,
    /// Connections, each relayed by a data connection of its own.
    Tcp,
}

impl Protocol {
    /// The protocol with this IANA number, if it is relayed here.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            17 => Some(Self::Udp),
            6 => Some(Self::Tcp),
            _ => None,
        }
    }
}

/// What identifies a client: both transport addresses and the transport between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiveTuple {
    /// The transport protocol.
    pub transport: Transport,
    /// The client's transport address as the server sees it (behind a NAT: the NAT's).
    pub client: SocketAddr,
    /// The server's transport address that the client sent to, never a wildcard.
    pub server: SocketAddr,
}

/// The shell's name for the socket or connection by which a 5-tuple is reached.
///
/// The core keeps it with the allocation and hands it back; it never looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub u32);

/// The way back to a client: its 5-tuple and the link that leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Which of the shell's sockets or connections.
    pub link: Link,
    /// Whom to send to, and from which address.
    pub tuple: FiveTuple,
}

/// A relay socket of one core: an index that is reused after the socket has been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub u32);

/// The name of a core among those of one server, which share its relayed addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

/// The name of a peer data connection, as CONNECTION-ID carries it (RFC 6062 §6.2.1). No two of a
/// server have the same, and it says which of its cores made it: see [`ConnectionId::share`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

impl ConnectionId {
    /// The share of the core that made it, of `shares` cores.
    pub fn share(self, shares: u32) -> u32 {
        self.0 % shares.max(1)
    }
}

/// A transport address that this server relays from, as its sockets are bound (where the host is
/// behind a 1:1 NAT, peers and clients see the external form of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelayedAddr(pub SocketAddr);

/// A peer's transport address as it stood in XOR-PEER-ADDRESS or in an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddr(pub SocketAddr);

/// Each packet has two or three of these looked up, so an address is hashed in as few words as hold
/// it; derived, it would be five or six pieces.
#[inline]
fn hash_addr(address: &SocketAddr, state: &mut impl Hasher) {
    match address {
        SocketAddr::V4(v4) => {
            state.write_u64(u64::from(v4.ip().to_bits()) << 16 | u64::from(v4.port()));
        }
        SocketAddr::V6(v6) => {
            state.write_u128(v6.ip().to_bits());
            state.write_u64(u64::from(v6.scope_id()) << 16 | u64::from(v6.port()));
        }
    }
}

impl Hash for FiveTuple {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_addr(&self.client, state);
        hash_addr(&self.server, state);
        state.write_u8(self.transport as u8);
    }
}

impl Hash for RelayedAddr {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_addr(&self.0, state);
    }
}

impl Hash for PeerAddr {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_addr(&self.0, state);
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RelayedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address family, with the code that STUN uses for it (RFC 8489 §14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// 0x01
    V4 = 1,
    /// 0x02
    V6 = 2,
}

impl Family {
    /// The family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The family that `code` stands for, if any.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }
}
