//! What a core has done, in plain numbers. Counters only grow; gauges say what is there now.

use crate::turn::login::LoginFailure;
use crate::wire::{ErrorCode, Method};

/// Counters and gauges of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Binding requests answered with success.
    pub bindings: u64,
    /// Those of them that had the answer sent elsewhere or padded (RFC 5780).
    pub discoveries: u64,
    /// Binding requests that came when their source had used up its allowance: of discovery, or of
    /// answers that tell the server's other address.
    pub discoveries_over_limit: u64,
    /// Allocations that were answered with success.
    pub allocations_created: u64,
    /// Allocations that ended, for whatever reason.
    pub allocations_ended: u64,
    /// Allocations that ended because nobody refreshed them.
    pub allocations_expired: u64,
    /// Halves of dual allocations that ended because nobody refreshed them, while the other went
    /// on.
    pub halves_expired: u64,
    /// Refresh requests answered with success.
    pub refreshes: u64,
    /// Refresh requests that moved an allocation to another 5-tuple.
    pub moves: u64,
    /// Connections that ended while their allocations went on.
    pub clients_lost: u64,
    /// CreatePermission requests answered with success.
    pub create_permissions: u64,
    /// ChannelBind requests answered with success.
    pub channel_binds: u64,
    /// Connect requests answered with success.
    pub connects: u64,
    /// ConnectionAttempt indications sent.
    pub connection_attempts: u64,
    /// ConnectionBind requests answered with success.
    pub connection_binds: u64,
    /// Peer data connections that ended because nobody bound them in time.
    pub connections_unbound: u64,
    /// Connections from peers that were closed at once, and Connects that were refused, because
    /// the allocation had as many as it may.
    pub connections_over_limit: u64,
    /// Allocate requests answered again because the client had repeated them.
    pub retransmissions: u64,
    /// Datagrams sent on to peers.
    pub packets_to_peer: u64,
    /// Their payload bytes.
    pub bytes_to_peer: u64,
    /// Datagrams sent on to clients.
    pub packets_to_client: u64,
    /// Their payload bytes.
    pub bytes_to_client: u64,
    /// ICMP errors that clients were told.
    pub icmp_to_client: u64,
    /// Error responses, by method and code: see [`Stats::errors`] and [`Stats::errors_to`].
    errors: [[u64; ERROR_CODES.len()]; METHODS.len()],
    /// Responses of code 401, by what was wrong: see [`Stats::login_failures`].
    login_failures: [u64; LoginFailure::ALL.len()],
    /// Packets that were dropped, by reason: see [`Stats::drops`].
    drops: [u64; Drop::ALL.len()],
    /// Allocations that are there now, those being opened included.
    pub allocations: u64,
    /// Permissions that are there now.
    pub permissions: u64,
    /// Channels that are bound now.
    pub channels: u64,
    /// Connections with peers that are there now, those being made included.
    pub connections: u64,
    /// Deadlines that are set now.
    pub timers: u64,
}

/// The methods whose requests are answered.
pub const METHODS: [Method; 7] = [
    Method::BINDING,
    Method::ALLOCATE,
    Method::REFRESH,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::CONNECT,
    Method::CONNECTION_BIND,
];

/// The codes of their errors.
pub const ERROR_CODES: [ErrorCode; 17] = [
    ErrorCode::TRY_ALTERNATE,
    ErrorCode::BAD_REQUEST,
    ErrorCode::UNAUTHENTICATED,
    ErrorCode::FORBIDDEN,
    ErrorCode::MOBILITY_FORBIDDEN,
    ErrorCode::UNKNOWN_ATTRIBUTE,
    ErrorCode::ALLOCATION_MISMATCH,
    ErrorCode::STALE_NONCE,
    ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED,
    ErrorCode::WRONG_CREDENTIALS,
    ErrorCode::UNSUPPORTED_TRANSPORT,
    ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH,
    ErrorCode::CONNECTION_ALREADY_EXISTS,
    ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE,
    ErrorCode::ALLOCATION_QUOTA_REACHED,
    ErrorCode::SERVER_ERROR,
    ErrorCode::INSUFFICIENT_CAPACITY,
];

/// Why a packet was dropped without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// Neither STUN nor ChannelData, or malformed.
    Malformed,
    /// A STUN message with a wrong FINGERPRINT.
    Fingerprint,
    /// A method that this server does not speak, or not in that class.
    Unsupported,
    /// Responses to requests that this server never sends.
    Response,
    /// From a client, but its 5-tuple has no allocation.
    NoAllocation,
    /// On a channel that is not bound.
    NoChannel,
    /// To or from a peer without a permission.
    NoPermission,
    /// To or from a peer that the ACL refuses.
    PeerRefused,
    /// A Send indication without peer or data, with a peer of the wrong family, or for an
    /// allocation that relays connections.
    BadSend,
    /// A peer's connection to an allocation that has as many as it may, or one with that peer.
    TooMany,
    /// An ICMP error of a type that no client is told.
    IcmpType,
    /// An ICMP error about a datagram of an allocation that has heard of too many.
    IcmpLimit,
    /// Longer than the message that would carry it can say.
    TooLong,
    /// An answer that did not fit the reply buffer.
    ReplyTooLong,
    /// For a client that has lost its connection and is not back yet.
    ClientAway,
    /// More than the allocation's bandwidth.
    Bandwidth,
}

impl Drop {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::Fingerprint,
        Self::Unsupported,
        Self::Response,
        Self::NoAllocation,
        Self::NoChannel,
        Self::NoPermission,
        Self::PeerRefused,
        Self::BadSend,
        Self::TooMany,
        Self::IcmpType,
        Self::IcmpLimit,
        Self::TooLong,
        Self::ReplyTooLong,
        Self::ClientAway,
        Self::Bandwidth,
    ];
}

impl Drop {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Fingerprint => "wrong_fingerprint",
            Self::Unsupported => "unsupported",
            Self::Response => "response",
            Self::NoAllocation => "no_allocation",
            Self::NoChannel => "no_channel",
            Self::NoPermission => "no_permission",
            Self::PeerRefused => "peer_refused",
            Self::BadSend => "bad_send",
            Self::TooMany => "too_many",
            Self::IcmpType => "icmp_type",
            Self::IcmpLimit => "icmp_limit",
            Self::TooLong => "too_long",
            Self::ReplyTooLong => "reply_too_long",
            Self::ClientAway => "client_away",
            Self::Bandwidth => "over_bandwidth",
        }
    }
}

impl Stats {
    /// How many packets were dropped for this reason.
    pub const fn drops(&self, reason: Drop) -> u64 {
        self.drops[reason as usize]
    }

    /// How many error responses had this code.
    pub fn errors(&self, code: ErrorCode) -> u64 {
        METHODS.iter().map(|method| self.errors_to(*method, code)).sum()
    }

    /// How many of them were to requests of this method.
    pub fn errors_to(&self, method: Method, code: ErrorCode) -> u64 {
        place(method, code).map_or(0, |(method, code)| self.errors[method][code])
    }

    /// How many requests of this method were answered with success, repeated ones once.
    pub fn successes_of(&self, method: Method) -> u64 {
        match method {
            Method::BINDING => self.bindings,
            Method::ALLOCATE => self.allocations_created,
            Method::REFRESH => self.refreshes,
            Method::CREATE_PERMISSION => self.create_permissions,
            Method::CHANNEL_BIND => self.channel_binds,
            Method::CONNECT => self.connects,
            Method::CONNECTION_BIND => self.connection_binds,
            _ => 0,
        }
    }

    /// How many requests were refused with 401 for this reason.
    pub const fn login_failures(&self, why: LoginFailure) -> u64 {
        self.login_failures[why as usize]
    }

    #[inline]
    pub(super) fn count_drop(&mut self, reason: Drop) {
        self.drops[reason as usize] += 1;
    }

    pub(super) fn count_error(&mut self, method: Method, code: ErrorCode) {
        if let Some((method, code)) = place(method, code) {
            self.errors[method][code] += 1;
        }
    }

    pub(super) fn count_login_failure(&mut self, why: LoginFailure) {
        self.login_failures[why as usize] += 1;
    }
}

/// Where the counter of a method's errors of this code stands.
fn place(method: Method, code: ErrorCode) -> Option<(usize, usize)> {
    let method = METHODS.iter().position(|it| *it == method)?;
    Some((method, ERROR_CODES.iter().position(|it| *it == code)?))
}
