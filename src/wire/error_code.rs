//! Error codes (RFC 8489 §14.8, RFC 8656 §19, RFC 6062 §6.3, RFC 8016 §3.4).

/// An error code with its reason phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(u16);

impl ErrorCode {
    /// Another server shall be asked; ALTERNATE-SERVER says which.
    pub const TRY_ALTERNATE: Self = Self(300);
    /// The request was malformed.
    pub const BAD_REQUEST: Self = Self(400);
    /// Credentials are missing or wrong.
    pub const UNAUTHENTICATED: Self = Self(401);
    /// Credentials are good, but this is not allowed.
    pub const FORBIDDEN: Self = Self(403);
    /// The operator does not want clients to move.
    pub const MOBILITY_FORBIDDEN: Self = Self(405);
    /// A comprehension-required attribute is not known here.
    pub const UNKNOWN_ATTRIBUTE: Self = Self(420);
    /// The 5-tuple has an allocation where it must not, or none where it must.
    pub const ALLOCATION_MISMATCH: Self = Self(437);
    /// The nonce is old; the response carries a new one.
    pub const STALE_NONCE: Self = Self(438);
    /// No relayed address of that family here.
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: Self = Self(440);
    /// Good credentials, but not those that made the allocation.
    pub const WRONG_CREDENTIALS: Self = Self(441);
    /// REQUESTED-TRANSPORT names a transport that is not relayed here.
    pub const UNSUPPORTED_TRANSPORT: Self = Self(442);
    /// The peer's family is not the relayed address's.
    pub const PEER_ADDRESS_FAMILY_MISMATCH: Self = Self(443);
    /// There is a connection to that peer already, or one is being made.
    pub const CONNECTION_ALREADY_EXISTS: Self = Self(446);
    /// The peer refused the connection or did not answer in time.
    pub const CONNECTION_TIMEOUT_OR_FAILURE: Self = Self(447);
    /// The user holds as many allocations as they may.
    pub const ALLOCATION_QUOTA_REACHED: Self = Self(486);
    /// Not now, and the client may try again; or a classic request where none may come.
    pub const SERVER_ERROR: Self = Self(500);
    /// The server cannot: no port, no memory, no room in a table.
    pub const INSUFFICIENT_CAPACITY: Self = Self(508);

    /// The number, 300 to 699.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The reason phrase that the RFCs recommend, in ASCII.
    pub const fn reason(self) -> &'static str {
        match self.0 {
            300 => "Try Alternate",
            400 => "Bad Request",
            401 => "Unauthenticated",
            403 => "Forbidden",
            405 => "Mobility Forbidden",
            420 => "Unknown Attribute",
            437 => "Allocation Mismatch",
            438 => "Stale Nonce",
            440 => "Address Family not Supported",
            441 => "Wrong Credentials",
            442 => "Unsupported Transport Protocol",
            443 => "Peer Address Family Mismatch",
            446 => "Connection Already Exists",
            447 => "Connection Timeout or Failure",
            486 => "Allocation Quota Reached",
            500 => "Server Error",
            508 => "Insufficient Capacity",
            _ => "",
        }
    }

    /// Class and number as ERROR-CODE carries them: hundreds, and the rest.
    pub const fn encode(self) -> [u8; 4] {
        [0, 0, (self.0 / 100) as u8, (self.0 % 100) as u8]
    }
}
