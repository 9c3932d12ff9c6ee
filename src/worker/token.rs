//! Names for everything that a worker waits for, in the few bits that others leave for them.
//!
//! An event may speak of a socket that was closed a moment ago, and a packet may be on its way to
//! one. So whatever comes and goes is named by its place *and* a generation that counts how often
//! the place was used: an old name finds nothing.

use crate::net::SocketKey;
use crate::turn::Link;

/// What an event, a datagram or a queued packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The mailbox.
    Waker,
    /// A UDP listener.
    Udp(u32),
    /// A TCP listener.
    Tcp(u32),
    /// A relay socket.
    Relay(Place),
    /// A TCP connection.
    Connection(Place),
    /// A TCP connection of a load balancer that has not said whom it speaks for.
    Lobby(Place),
    /// A listener at a relayed address.
    Listener(Place),
    /// A connection with a peer.
    Peer(Place),
    /// The client data connection that is joined to it.
    Data(Place),
}

/// A place in a table and which of its users is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index in the table.
    pub index: u32,
    /// How often the place had been used before, modulo what fits the name.
    pub generation: u32,
}

// kind: 4 bits | generation: 28 bits | index: 32 bits
const _: () = assert!(usize::BITS == 64, "a token needs 64 bits");
const KIND_SHIFT: u32 = 60;
const GENERATION_SHIFT: u32 = 32;
const GENERATION_MASK: u32 = (1 << (KIND_SHIFT - GENERATION_SHIFT)) - 1;

impl Token {
    const fn pack(self) -> u64 {
        let (kind, place) = match self {
            Self::Waker => (0, Place::first(0)),
            Self::Udp(index) => (1, Place::first(index)),
            Self::Tcp(index) => (2, Place::first(index)),
            Self::Relay(place) => (3, place),
            Self::Connection(place) => (4, place),
            Self::Listener(place) => (5, place),
            Self::Peer(place) => (6, place),
            Self::Data(place) => (7, place),
            Self::Lobby(place) => (8, place),
        };
        kind << KIND_SHIFT | (place.generation as u64) << GENERATION_SHIFT | place.index as u64
    }

    const fn unpack(bits: u64) -> Self {
        let index = bits as u32;
        let generation = (bits >> GENERATION_SHIFT) as u32 & GENERATION_MASK;
        let place = Place { index, generation };
        match bits >> KIND_SHIFT {
            1 => Self::Udp(index),
            2 => Self::Tcp(index),
            3 => Self::Relay(place),
            4 => Self::Connection(place),
            5 => Self::Listener(place),
            6 => Self::Peer(place),
            7 => Self::Data(place),
            8 => Self::Lobby(place),
            _ => Self::Waker,
        }
    }
}

impl Place {
    /// The first user of a place.
    pub(super) const fn first(index: u32) -> Self {
        Self { index, generation: 0 }
    }

    /// The next user of the same place.
    pub(super) const fn next(self) -> Self {
        Self { index: self.index, generation: (self.generation + 1) & GENERATION_MASK }
    }
}

impl From<Token> for mio::Token {
    fn from(token: Token) -> Self {
        Self(token.pack() as usize)
    }
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Self {
        Self::unpack(token.0 as u64)
    }
}

impl From<Token> for SocketKey {
    fn from(token: Token) -> Self {
        Self(token.pack())
    }
}

impl From<SocketKey> for Token {
    fn from(key: SocketKey) -> Self {
        Self::unpack(key.0)
    }
}

/// What a [`Link`] leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A UDP listener.
    Udp(u32),
    /// A TCP connection: its index and the lowest bits of its generation.
    Connection {
        /// Index in the table, below [`CONNECTIONS_MAX`].
        index: u32,
        /// Generation, modulo 2^13. Whoever follows a link compares the client's address too.
        generation: u32,
    },
    /// A DTLS session: its index and the lowest bits of its generation.
    Dtls {
        /// Index in the table, below [`CONNECTIONS_MAX`].
        index: u32,
        /// Generation, modulo 2^12. Whoever follows a link compares the 5-tuple too.
        generation: u32,
    },
}

/// More connections than this, or sessions, a worker can't name.
pub(super) const CONNECTIONS_MAX: usize = 1 << LINK_INDEX_BITS;

// 1: 1 bit | generation: 13 bits | index: 18 bits  a connection
// 01: 2 bits | generation: 12 bits | index: 18 bits  a session
// 00: 2 bits | index: 30 bits  a UDP listener
const LINK_STREAM: u32 = 1 << 31;
const LINK_SESSION: u32 = 1 << 30;
const LINK_INDEX_BITS: u32 = 18;
const LINK_GENERATION_MASK: u32 = (1 << (31 - LINK_INDEX_BITS)) - 1;
const LINK_SESSION_MASK: u32 = LINK_GENERATION_MASK >> 1;

impl Way {
    /// The way to a connection.
    pub(super) const fn to(place: Place) -> Self {
        Self::Connection { index: place.index, generation: place.generation & LINK_GENERATION_MASK }
    }

    /// The way to a session.
    pub(super) const fn to_session(place: Place) -> Self {
        Self::Dtls { index: place.index, generation: place.generation & LINK_SESSION_MASK }
    }
}

impl From<Way> for Link {
    fn from(way: Way) -> Self {
        Self(match way {
            Way::Udp(index) => index,
            Way::Connection { index, generation } => {
                LINK_STREAM | generation << LINK_INDEX_BITS | index
            }
            Way::Dtls { index, generation } => LINK_SESSION | generation << LINK_INDEX_BITS | index,
        })
    }
}

impl From<Link> for Way {
    fn from(link: Link) -> Self {
        if link.0 < LINK_SESSION {
            return Self::Udp(link.0);
        }
        let index = link.0 & ((1 << LINK_INDEX_BITS) - 1);
        let generation = link.0 >> LINK_INDEX_BITS;
        if link.0 & LINK_STREAM == 0 {
            return Self::Dtls { index, generation: generation & LINK_SESSION_MASK };
        }
        Self::Connection { index, generation: generation & LINK_GENERATION_MASK }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_links_survive_packing() {
        let place = Place { index: 0x3_FFFF, generation: GENERATION_MASK };
        for token in [
            Token::Waker,
            Token::Udp(7),
            Token::Tcp(0),
            Token::Relay(place),
            Token::Connection(Place::first(3)),
            Token::Listener(place),
            Token::Peer(Place::first(4)),
            Token::Data(place),
            Token::Lobby(place),
        ] {
            assert_eq!(Token::from(mio::Token::from(token)), token);
            assert_eq!(Token::from(SocketKey::from(token)), token);
        }
        let first = Place::first(0);
        for way in [
            Way::Udp(3),
            Way::to(place),
            Way::to(first),
            Way::to_session(place),
            Way::to_session(first),
        ] {
            assert_eq!(Way::from(Link::from(way)), way);
        }
    }

    #[test]
    fn the_next_user_of_a_place_has_another_name() {
        let place = Place { index: 5, generation: GENERATION_MASK };
        assert_ne!(Token::Relay(place), Token::Relay(place.next()));
        assert_ne!(Way::to(place), Way::to(place.next()));
        assert_ne!(Way::to_session(place), Way::to_session(place.next()));
        assert_eq!(place.next(), Place::first(5));
    }
}
