//! NAT behaviour discovery (RFC 5780): a client learns what its NAT does from answers that come
//! from another address, or go to another port, than it asked.
//!
//! What could serve against others is bounded: an answer goes to nobody but the source address,
//! PADDING answers PADDING only, and each source has an allowance.

use std::net::SocketAddr;

use crate::turn::Server;
use crate::turn::action::Verdict;
use crate::turn::allowance::Allowances;
use crate::turn::config::{self, Pair};
use crate::turn::map::Hasher;
use crate::turn::moment::Now;
use crate::turn::request::Reject;
use crate::turn::tuple::{FiveTuple, Path, RelayedAddr, Transport};
use crate::wire::{AttributeType, Class, ErrorCode, Message, MessageWriter, Method};

/// The longest PADDING of an answer: the MTU of most paths (RFC 5780 §6.1), so that with what
/// stands before it a datagram is longer than that.
const PADDING_MAX: usize = 1500;

/// The addresses where more than an address can be asked for, and what was asked.
#[derive(Debug)]
pub(super) struct Discovery {
    pairs: Box<[Pair]>,
    streams: bool,
    allowances: Allowances,
}

/// One of the four addresses that a pair makes, with the one that differs in both parts: `here` is
/// RFC 5780's Da:Dp, `other` is Ca:Cp (§6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corner {
    here: SocketAddr,
    other: SocketAddr,
}

impl Discovery {
    pub(super) fn new(config: config::Discovery, hasher: Hasher) -> Self {
        let config::Discovery { pairs, streams, requests_per_sec } = config;
        let per_sec = if pairs.is_empty() { 0 } else { requests_per_sec };
        Self { pairs: pairs.into(), streams, allowances: Allowances::new(per_sec, hasher) }
    }

    /// The corner that a client has reached, if it is one.
    #[inline]
    pub(super) fn corner(&self, tuple: &FiveTuple) -> Option<Corner> {
        if self.pairs.is_empty() || tuple.transport.is_stream() && !self.streams {
            return None;
        }
        self.pairs.iter().find_map(|pair| Corner::of(pair, tuple.server))
    }

    /// Whether a comprehension-required attribute that the rest of this server does not know is
    /// known to whom the request is for.
    pub(super) fn knows(
        &self,
        path: Path,
        message: &Message<'_>,
        attribute: AttributeType,
    ) -> bool {
        message.method() == Method::BINDING
            && self.corner(&path.tuple).is_some()
            && is_served(attribute, &path, message)
    }
}

/// No answer leaves a stream or a session, so nothing can be asked for on one (RFC 5780 §3); of
/// the three, RFC 3489 has only CHANGE-REQUEST.
fn is_served(attribute: AttributeType, path: &Path, message: &Message<'_>) -> bool {
    let known = match attribute {
        AttributeType::CHANGE_REQUEST => true,
        AttributeType::RESPONSE_PORT | AttributeType::PADDING => !message.is_classic(),
        _ => false,
    };
    known && path.tuple.transport == Transport::Udp
}

impl Corner {
    fn of(pair: &Pair, here: SocketAddr) -> Option<Self> {
        let Pair { primary, alternate } = pair;
        let ip = opposite(primary.ip(), alternate.ip(), here.ip())?;
        let port = opposite(primary.port(), alternate.port(), here.port())?;
        Some(Self { here, other: SocketAddr::new(ip, port) })
    }

    /// Where an answer comes from (RFC 5780 §6.1, table 1).
    fn source(self, change: Change) -> SocketAddr {
        let ip = if change.ip { self.other.ip() } else { self.here.ip() };
        let port = if change.port { self.other.port() } else { self.here.port() };
        SocketAddr::new(ip, port)
    }
}

/// Of two, the one that is not `own`; `None` where it is neither.
fn opposite<T: PartialEq>(one: T, two: T, own: T) -> Option<T> {
    if own == one { Some(two) } else { (own == two).then_some(one) }
}

/// CHANGE-REQUEST (RFC 5780 §7.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    ip: bool,
    port: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ask {
    change: Option<Change>,
    /// RESPONSE-PORT (§7.5).
    port: Option<u16>,
    /// The length of PADDING (§7.6).
    padding: Option<usize>,
}

impl Ask {
    /// Reads the three attributes, the first of each.
    fn read(path: &Path, message: &Message<'_>) -> Result<Self, Reject> {
        let mut ask = Self::default();
        // Most have nothing that the rest of the server does not know.
        if !message.has_unknown_required() {
            return Ok(ask);
        }
        let is_ours =
            |kind: AttributeType| kind.is_comprehension_required() && !kind.is_known_everywhere();
        for (kind, value) in message.attributes().filter(|(kind, _)| is_ours(*kind)) {
            match kind {
                // RFC 8489 §6.3.1: what is not known is named in a 420.
                _ if !is_served(kind, path, message) => {
                    return Err(Reject(ErrorCode::UNKNOWN_ATTRIBUTE));
                }
                AttributeType::CHANGE_REQUEST => {
                    let [.., flags] = value.first_chunk::<4>().ok_or(BAD_REQUEST)?;
                    let change = Change { ip: flags & 4 != 0, port: flags & 2 != 0 };
                    ask.change.get_or_insert(change);
                }
                AttributeType::RESPONSE_PORT => {
                    let port = u16::from_be_bytes(*value.first_chunk().ok_or(BAD_REQUEST)?);
                    ask.port.get_or_insert(port);
                }
                _ => drop(ask.padding.get_or_insert(value.len())),
            }
        }
        // §7.5: a request with both must not be processed. And nothing listens at port 0.
        if ask.port.is_some() && ask.padding.is_some() || ask.port == Some(0) {
            return Err(BAD_REQUEST);
        }
        Ok(ask)
    }
}

const BAD_REQUEST: Reject = Reject(ErrorCode::BAD_REQUEST);

impl Server {
    /// Serves a Binding request to one of the four addresses (RFC 5780 §6.1).
    pub(super) fn discover(
        &mut self,
        now: Now,
        path: Path,
        corner: Corner,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        let ask = match Ask::read(&path, message) {
            Ok(ask) => ask,
            Err(refused) => return self.refuse(now, path, message, None, refused, reply),
        };
        let client = path.tuple.client;
        let is_plain = ask == Ask::default();
        if !self.discovery.allowances.take(now.moment, is_plain, client.ip()) {
            self.stats.discoveries_over_limit += 1;
            // Silence would look like a NAT that filters, so who asked for more hears of it.
            return match is_plain {
                true => self.tell_address(path, message, reply),
                false => {
                    let refused = Reject(ErrorCode::SERVER_ERROR);
                    self.refuse(now, path, message, None, refused, reply)
                }
            };
        }
        let from = corner.source(ask.change.unwrap_or_default());
        let mut writer =
            MessageWriter::new(reply, Method::BINDING, Class::Success, message.transaction());
        writer.plain_address(AttributeType::MAPPED_ADDRESS, client);
        let [origin, other] = [from, corner.other].map(|a| self.to_external(RelayedAddr(a)));
        if message.is_classic() {
            writer.plain_address(AttributeType::SOURCE_ADDRESS, origin);
            writer.plain_address(AttributeType::CHANGED_ADDRESS, other);
        } else {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, client);
            writer.plain_address(AttributeType::RESPONSE_ORIGIN, origin);
            writer.plain_address(AttributeType::OTHER_ADDRESS, other);
        }
        if let Some(length) = ask.padding {
            writer.attribute(AttributeType::PADDING, &PADDING[..padding_length(length)]);
        }
        let finished = self.close(&mut writer, message.has(AttributeType::FINGERPRINT), None);
        self.stats.discoveries += u64::from(!is_plain);
        self.stats.bindings += 1;
        let to = SocketAddr::new(client.ip(), ask.port.unwrap_or_else(|| client.port()));
        match self.replied(finished) {
            Verdict::Reply { len } if (from, to) != (corner.here, client) => {
                Verdict::ReplyElsewhere { len, from, to }
            }
            verdict => verdict,
        }
    }
}

/// As long as the path's MTU, but at most half again as long as what was sent: an answer must be
/// worth nothing to somebody who asks in another's name.
fn padding_length(asked: usize) -> usize {
    (asked + asked / 2).min(PADDING_MAX) / 4 * 4
}

static PADDING: [u8; PADDING_MAX] = [0; PADDING_MAX];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    const FLAGS: [Change; 4] = [
        Change { ip: false, port: false },
        Change { ip: false, port: true },
        Change { ip: true, port: false },
        Change { ip: true, port: true },
    ];

    /// RFC 5780 §6.1, table 1, for each of the four addresses.
    #[test]
    fn the_source_is_that_of_table_1() {
        let pair = Pair { primary: at("192.0.2.1:3478"), alternate: at("192.0.2.2:3479") };
        let all = ["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"].map(at);
        for (here, sources) in [(0, [0, 1, 2, 3]), (1, [1, 0, 3, 2]), (2, [2, 3, 0, 1])] {
            let corner = Corner::of(&pair, all[here]).expect("one of the four");
            assert_eq!(FLAGS.map(|flags| corner.source(flags)), sources.map(|index| all[index]));
            assert_eq!(corner.other, all[sources[3]]);
        }
        for elsewhere in ["192.0.2.3:3478", "192.0.2.1:3480", "[::1]:3478"] {
            assert_eq!(Corner::of(&pair, at(elsewhere)), None);
        }
        assert_eq!(pair.corners(), all);
    }

    #[test]
    fn padding_is_at_most_half_again_as_long_as_what_was_sent() {
        for (asked, answered) in [(0, 0), (3, 4), (4, 4), (100, 148), (1000, 1500), (65_000, 1500)]
        {
            assert_eq!(padding_length(asked), answered, "{asked}");
        }
    }
}
