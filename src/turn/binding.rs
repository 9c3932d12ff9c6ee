//! Binding (RFC 8489 §12, a basic STUN server): the client's own address, to whoever asks.

use crate::turn::Server;
use crate::turn::action::Verdict;
use crate::turn::moment::Now;
use crate::turn::request::Reject;
use crate::turn::stats::Drop;
use crate::turn::tuple::{Path, Transport};
use crate::wire::{AttributeType, Class, ErrorCode, Message, MessageWriter, Method};

impl Server {
    /// Answers a Binding request with 12 bytes more than a bare one has (24 for IPv6), so that
    /// nobody gains by asking in another's name. Only where the operator wants strangers to be told
    /// is there a SOFTWARE as well.
    pub(super) fn binding(
        &mut self,
        now: Now,
        path: Path,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        if message.is_classic() && path.tuple.transport == Transport::Dtls {
            return self.classic(now, path, message, reply);
        }
        // RFC 7635 §7: a token where none are taken is an unknown attribute, at every address.
        if self.is_unexpected_token(message) {
            let refused = Reject(ErrorCode::UNKNOWN_ATTRIBUTE);
            return self.refuse(now, path, message, None, refused, reply);
        }
        // At some addresses more can be asked for.
        if let Some(corner) = self.discovery.corner(&path.tuple) {
            return self.discover(now, path, corner, message, reply);
        }
        // RFC 8489 §6.3.1: unknown comprehension-required attributes are named in a 420.
        if message.has_unknown_required() {
            let refused = Reject(ErrorCode::UNKNOWN_ATTRIBUTE);
            return self.refuse(now, path, message, None, refused, reply);
        }
        self.tell_address(path, message, reply)
    }

    /// Writes the answer.
    pub(super) fn tell_address(
        &mut self,
        path: Path,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        let client = path.tuple.client;
        let mut writer =
            MessageWriter::new(reply, Method::BINDING, Class::Success, message.transaction());
        // RFC 5389 §12.2: a client without the cookie knows only MAPPED-ADDRESS.
        if message.is_classic() {
            writer.plain_address(AttributeType::MAPPED_ADDRESS, client);
        } else {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, client);
        }
        self.stats.bindings += 1;
        let finished = self.close(&mut writer, message.has(AttributeType::FINGERPRINT), None);
        self.replied(finished)
    }

    /// A message without the cookie that has no business here. RFC 8489 §11: over DTLS a request
    /// gets a 500, and an indication nothing.
    pub(super) fn classic(
        &mut self,
        now: Now,
        path: Path,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        if message.class() == Class::Request && path.tuple.transport == Transport::Dtls {
            let refused = Reject(ErrorCode::SERVER_ERROR);
            return self.refuse(now, path, message, None, refused, reply);
        }
        self.dropped(Drop::Unsupported)
    }
}
