//! STUN messages (RFC 8489 §5).

/// The length of a STUN header.
pub const MESSAGE_HEADER: usize = 20;
