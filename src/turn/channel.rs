//! ChannelBind (RFC 8656 §12.2) and the bindings it makes.

use crate::turn::Server;
use crate::turn::action::{Action, Verdict};
use crate::turn::moment::{Lifetime, Now};
use crate::turn::request::{Reject, Request, reject};
use crate::turn::table::{AllocationId, Channel};
use crate::turn::timer::Timer;
use crate::turn::tuple::{Family, PeerAddr, Protocol};
use crate::wire::{AttributeType, ChannelNumber, ErrorCode};

/// RFC 8656 §12: ten minutes unless refreshed.
const CHANNEL_LIFETIME: Lifetime = Lifetime::from_secs(600);

impl Server {
    pub(super) fn channel_bind(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &mut [u8],
    ) -> Result<Verdict, Reject> {
        let id = self.allocation_of(request)?;
        // A channel carries datagrams; a TCP allocation has none (RFC 6062 §3).
        if self.table.get(id).is_some_and(|allocation| allocation.protocol == Protocol::Tcp) {
            return reject(ErrorCode::FORBIDDEN);
        }

        // Both attributes, and a number within 0x4000–0x4FFF: else 400.
        let Some(&[high, low, _, _]) = request.message.find(AttributeType::CHANNEL_NUMBER) else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        let Some(number) = ChannelNumber::new(u16::from_be_bytes([high, low])) else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        let Some(Ok(peer)) = request.message.xor_address(AttributeType::XOR_PEER_ADDRESS) else {
            return reject(ErrorCode::BAD_REQUEST);
        };
        let peer = PeerAddr(peer);
        // Nobody can send to port 0.
        if peer.0.port() == 0 {
            return reject(ErrorCode::BAD_REQUEST);
        }

        // A peer of another family than the relayed address: 443.
        self.check_family(id, peer)?;

        // Neither the number bound to another peer nor the peer to another number: else 400.
        self.unbind_expired(now, id, number, peer);
        let allocation = self.table.get(id).ok_or(Reject(ErrorCode::ALLOCATION_MISMATCH))?;
        let bound = allocation.channels.get(&number);
        let same_peer = bound.is_none_or(|channel| channel.peer == peer);
        let same_number = allocation.channel_by_peer.get(&peer).is_none_or(|n| *n == number);
        if !same_peer || !same_number {
            return reject(ErrorCode::BAD_REQUEST);
        }

        // A peer that must not be reached: 403.
        let ports = self.permitted_ports(id, peer)?;
        if !self.may_pass(ports, Protocol::Udp, peer) {
            return reject(ErrorCode::FORBIDDEN);
        }

        // More than the allocation may hold: 508.
        let full = allocation.channels.len() >= self.limits.channels_per_allocation;
        if (bound.is_none() && full) || !self.has_room_for_permission(id, peer) {
            return reject(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        let Some(relay) = allocation.relay(Family::of(peer.0.ip())) else {
            return reject(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
        };

        let expires = now.moment + CHANNEL_LIFETIME;
        self.bind(id, number, Channel { peer, relay, expires, ports });
        // The permission lasts its own five minutes (§9), not as long as the binding.
        self.install_permission(now, id, peer, ports);
        self.stats.channel_binds += 1;
        Ok(self.succeed(request, reply, |_| {}))
    }

    /// Binds a channel, or binds it again.
    fn bind(&mut self, id: AllocationId, number: ChannelNumber, channel: Channel) {
        let Some(allocation) = self.table.get_mut(id) else { return };
        let timer = Timer::Channel(id, number);
        allocation.channel_by_peer.insert(channel.peer, number);
        match allocation.channels.insert(number, channel) {
            Some(old) => self.timers.shift(old.expires, channel.expires, timer),
            None => {
                self.timers.set(channel.expires, timer);
                self.stats.channels += 1;
            }
        }
        self.actions.push_back(Action::ChannelBound {
            path: allocation.path,
            relay: channel.relay,
            peer: channel.peer,
            channel: number,
        });
    }

    /// Unbinds what would stand in the way of a new binding although its time is over.
    fn unbind_expired(
        &mut self,
        now: Now,
        id: AllocationId,
        number: ChannelNumber,
        peer: PeerAddr,
    ) {
        let Some(allocation) = self.table.get(id) else { return };
        let by_peer = allocation.channel_by_peer.get(&peer).copied();
        for number in [Some(number), by_peer].into_iter().flatten() {
            let allocation = self.table.get(id);
            let channel = allocation.and_then(|a| a.channels.get(&number));
            if channel.is_some_and(|channel| channel.expires <= now.moment) {
                self.unbind(id, number);
            }
        }
    }

    /// Unbinds a channel; the permission that came with it has a life of its own.
    pub(super) fn unbind(&mut self, id: AllocationId, number: ChannelNumber) {
        let Some(allocation) = self.table.get_mut(id) else { return };
        let Some(channel) = allocation.channels.remove(&number) else { return };
        allocation.channel_by_peer.remove(&channel.peer);
        let path = allocation.path;
        self.timers.cancel(channel.expires, Timer::Channel(id, number));
        self.stats.channels -= 1;
        self.actions.push_back(Action::ChannelUnbound {
            path,
            relay: channel.relay,
            peer: channel.peer,
            channel: number,
        });
    }
}
