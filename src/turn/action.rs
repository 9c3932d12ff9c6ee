//! What the core asks of its shell: a [`Verdict`] for each packet, [`Action`]s for the rest.

use std::net::SocketAddr;
use std::ops::Range;

use crate::turn::connection_bind::ConnectionBind;
use crate::turn::login::LoginFailure;
use crate::turn::moment::Lifetime;
use crate::turn::record::{Ending, Record};
use crate::turn::tuple::{ConnectionId, CoreId, FiveTuple, Path, PeerAddr, RelayId, RelayedAddr};
use crate::wire::{ChannelNumber, Header};

/// What becomes of one packet. Returned by value: the hot path queues nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Nothing leaves for this packet: it was dropped and counted, or an action answers it.
    Nothing,
    /// The first `len` bytes of the reply buffer go back the way the packet came.
    Reply {
        /// Bytes of the reply buffer in use.
        len: usize,
    },
    /// The first `len` bytes of the reply buffer go from another of the server's UDP addresses, or
    /// to another port of the client's, than the packet tells (RFC 5780 §6.1).
    ReplyElsewhere {
        /// Bytes of the reply buffer in use.
        len: usize,
        /// The server's address, as its socket is bound.
        from: SocketAddr,
        /// Where to; the client's own IP address.
        to: SocketAddr,
    },
    /// A part of the packet goes to a peer.
    ToPeer {
        /// The relay socket to send from.
        relay: RelayId,
        /// Where to.
        peer: PeerAddr,
        /// Which bytes of the packet are the payload.
        payload: PayloadRange,
        /// Whether DF must be set on this datagram (RFC 8656 §14); if not, it must be clear.
        dont_fragment: bool,
    },
    /// A part of the packet goes to a client of another core of this server, which is to be told by
    /// `handle_neighbour`.
    ToNeighbour {
        /// Whose client.
        core: CoreId,
        /// The relayed address that it comes from.
        from: RelayedAddr,
        /// The far client's relayed address.
        to: RelayedAddr,
        /// Which bytes of the packet are the payload.
        payload: PayloadRange,
    },
    /// The whole packet goes to another core of this server, which is to be told by `handle_client`
    /// with the same path: its client has moved to where this core is, or is about to. If that is a
    /// connection, the connection goes there with it.
    ToCore {
        /// Whose client.
        core: CoreId,
    },
    /// A payload goes to a client: `header`, then the payload, then `padding` zeros. The packet is
    /// a peer's datagram, or what another client sent to this one's relayed address.
    ToClient {
        /// The way to the client.
        path: Path,
        /// A ChannelData header, or that of a Data indication.
        header: Header,
        /// Which bytes of the packet are the payload.
        payload: PayloadRange,
        /// Zero bytes behind the payload, 0 to 3.
        padding: u8,
    },
}

/// A range of a packet's bytes; `u32` because a message on a stream may pass 65 535 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadRange {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl From<PayloadRange> for Range<usize> {
    fn from(range: PayloadRange) -> Self {
        range.start as usize..range.end as usize
    }
}

/// What the slow path asks for. After each `handle_*`, drain `poll_action` until it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send `bytes` to a client.
    Send {
        /// The way to the client.
        path: Path,
        /// A whole message.
        bytes: Box<[u8]>,
    },
    /// Bind a relay socket and answer with `handle_relay_opened`.
    OpenRelay {
        /// The core's name for it.
        relay: RelayId,
        /// The local address and port to bind.
        local: RelayedAddr,
        /// Hold the next port too, for whoever shows this token (RFC 8656 §7.2, EVEN-PORT with R).
        /// Both ports or neither.
        reserve: Option<Reservation>,
        /// Charge the allocation to this user's quota first; `None` where it is charged already.
        charge: Option<Username>,
    },
    /// Listen for peers at a relayed address (RFC 6062 §5.1) and answer with
    /// `handle_relay_opened`.
    OpenListener {
        /// The core's name for it.
        relay: RelayId,
        /// The local address and port to listen at.
        local: RelayedAddr,
        /// As for [`Action::OpenRelay`].
        charge: Option<Username>,
    },
    /// Connect to a peer (RFC 6062 §5.2) and answer with `handle_connected`.
    Connect {
        /// The core's name for the connection.
        connection: ConnectionId,
        /// Whose address it comes from.
        relay: RelayId,
        /// Where to.
        peer: PeerAddr,
    },
    /// Bring a client's connection to the core that made this connection id, and tell that one by
    /// `handle_connection_bind`; or this one, by `handle_bind_refused`, that it can't be done.
    Bind {
        /// The client's connection. Nothing behind its ConnectionBind has been read.
        path: Path,
        /// What the client asked for.
        bind: Box<ConnectionBind>,
    },
    /// Relay between a peer data connection and a client's from now on, bytes as they are (RFC
    /// 6062 §5.4), those that came before included; tell `handle_connection_gone` of the end.
    Join {
        /// The peer data connection.
        connection: ConnectionId,
        /// The client data connection.
        path: Path,
    },
    /// Close a connection with a peer now, and the client's that is joined to it (RFC 6062 §5.5).
    Disconnect {
        /// Which one.
        connection: ConnectionId,
    },
    /// Take the socket that was reserved under a token and answer with `handle_relay_opened`.
    TakeReserved {
        /// The core's name for it from now on.
        relay: RelayId,
        /// What the client showed.
        token: ReservationToken,
        /// Who asks; a reservation serves only the user that made it.
        charge: Username,
        /// Whether that is the bearer of a token (RFC 7635): those are one another's users here,
        /// as a new token may have come between.
        third_party: bool,
    },
    /// Close a relay socket or a listener now: nothing may leave or arrive by it any more.
    CloseRelay {
        /// Which one. The name is free for reuse at once.
        relay: RelayId,
    },
    /// Close the socket held under a token, if nobody has taken it.
    DropReserved {
        /// The token that has expired.
        token: ReservationToken,
    },
    /// An allocation has ended: its user's quota gets one back.
    AllocationEnded {
        /// What it was, and whom it was charged to.
        record: Box<Record>,
        /// Why.
        ending: Ending,
    },
    /// Somebody was refused who said who they are.
    LoginFailed {
        /// Where the request came from.
        path: Path,
        /// The name that it gave; empty where it gave a hash.
        user: Username,
        /// What was wrong.
        why: LoginFailure,
    },
    /// Tell all other cores, by `handle_client_elsewhere`, that a client of this one sends
    /// datagrams by another 5-tuple than it has come by, or does so no more.
    ClientMoved {
        /// The 5-tuple.
        tuple: FiveTuple,
        /// Whether what comes by it is for this core.
        here: bool,
    },
    /// A channel was bound or refreshed: a kernel fast path may carry it from now on.
    ChannelBound {
        /// The allocation's client.
        path: Path,
        /// The relay socket.
        relay: RelayId,
        /// The peer.
        peer: PeerAddr,
        /// The channel.
        channel: ChannelNumber,
    },
    /// A channel is unbound: a kernel fast path must stop carrying it.
    ChannelUnbound {
        /// The allocation's client.
        path: Path,
        /// The relay socket.
        relay: RelayId,
        /// The peer.
        peer: PeerAddr,
        /// The channel.
        channel: ChannelNumber,
    },
}

/// A port held for a second allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// What a client must show to get it.
    pub token: ReservationToken,
    /// Who may show it.
    pub user: Username,
    /// Or, of the bearer of a token (RFC 7635), any bearer of one.
    pub third_party: bool,
    /// How long it is held (RFC 8656 §7.2: 30 seconds at least).
    pub lifetime: Lifetime,
}

/// Eight random bytes that stand for a reserved port (RFC 8656 §18.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationToken(pub [u8; 8]);

/// A username as it stood in USERNAME: bytes, compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(pub Box<[u8]>);

/// Why a relay socket could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The port is taken; another one may be free.
    InUse,
    /// The user or the server holds as many allocations as it may (486).
    Quota,
    /// No socket for any other reason: descriptors, memory, the address is not ours (508).
    Failed,
    /// No reservation under this token, or not for this user (508).
    NoReservation,
}
