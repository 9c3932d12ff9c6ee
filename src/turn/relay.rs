//! The hot path, both ways: ChannelData (RFC 8656 §12.6), Send (§11.2) and what peers send (§11.3,
//! §12.7). Nothing here allocates or queues, but for the packet that completes a client's move.

use std::net::SocketAddr;

use rand::RngExt as _;

use crate::turn::Server;
use crate::turn::acl::Ports;
use crate::turn::action::{PayloadRange, Verdict};
use crate::turn::moment::Now;
use crate::turn::stats::Drop;
use crate::turn::table::{Allocation, AllocationId, Owner, Relay};
use crate::turn::tuple::{Family, FiveTuple, Path, PeerAddr, Protocol, RelayId, RelayedAddr};
use crate::wire::address::XorKey;
use crate::wire::channel_data::{CHANNEL_DATA_HEADER, channel_data_header};
use crate::wire::message::MAGIC_COOKIE;
use crate::wire::writer::data_indication_header;
use crate::wire::{AttributeType, ChannelData, Header, Message};

/// What is to leave for a peer.
#[derive(Clone, Copy)]
struct Outbound {
    allocation: AllocationId,
    relay: RelayId,
    peer: PeerAddr,
    ports: Ports,
    payload: PayloadRange,
    dont_fragment: bool,
}

/// `length` bytes from `start` on.
#[inline]
fn payload(start: usize, length: usize) -> PayloadRange {
    PayloadRange { start: start as u32, end: (start + length) as u32 }
}

/// The longest payload that a socket at this address would pass.
fn longest(from: RelayedAddr) -> u32 {
    if from.0.is_ipv4() { 65_507 } else { 65_527 }
}

impl Server {
    /// ChannelData from a client (RFC 8656 §12.6).
    #[inline]
    pub(super) fn channel_data(&mut self, now: Now, path: Path, packet: &[u8]) -> Verdict {
        let Some(message) = ChannelData::parse(packet) else {
            return self.dropped(Drop::Malformed);
        };
        let Some((id, allocation)) = self.allocation_at(&path.tuple) else {
            return self.not_here(&path.tuple);
        };
        let Some(&channel) = allocation.channels.get(&message.channel) else {
            return self.dropped(Drop::NoChannel);
        };
        if channel.expires <= now.moment {
            return self.dropped(Drop::NoChannel);
        }
        if allocation.expiry.of(Family::of(channel.peer.0.ip())) <= now.moment {
            return self.dropped(Drop::NoAllocation);
        }
        let out = Outbound {
            allocation: id,
            relay: channel.relay,
            peer: channel.peer,
            ports: channel.ports,
            payload: payload(CHANNEL_DATA_HEADER, message.data.len()),
            dont_fragment: false,
        };
        self.relay_to_peer(now, out)
    }

    /// A Send indication (RFC 8656 §11.2).
    pub(super) fn send(&mut self, now: Now, path: Path, message: &Message<'_>) -> Verdict {
        let is_unknown = self.has_unknown_required(message);
        let Some((id, allocation)) = self.allocation_at(&path.tuple) else {
            return self.not_here(&path.tuple);
        };
        // RFC 8489 §6.3.2: unknown comprehension-required attributes, and it is dropped.
        let (Some(Ok(peer)), Some(data), Some(at), false) = (
            message.xor_address(AttributeType::XOR_PEER_ADDRESS),
            message.find(AttributeType::DATA),
            message.offset_of(AttributeType::DATA),
            is_unknown,
        ) else {
            return self.dropped(Drop::BadSend);
        };
        // A control connection carries no data (RFC 6062 §3).
        if allocation.protocol != Protocol::Udp {
            return self.dropped(Drop::BadSend);
        }
        let family = Family::of(peer.ip());
        let (Some(relay), 1..) = (allocation.relay(family), peer.port()) else {
            return self.dropped(Drop::BadSend);
        };
        if allocation.expiry.of(family) <= now.moment {
            return self.dropped(Drop::NoAllocation);
        }
        let ports = match allocation.permissions.get(&peer.ip()) {
            Some(permission) if permission.expires > now.moment => permission.ports,
            _ => return self.dropped(Drop::NoPermission),
        };
        let peer = PeerAddr(peer);
        // Among datagrams it is for IPv4 on both sides alone (§13, §15).
        let is_ipv6 = path.tuple.client.is_ipv6() || peer.0.is_ipv6();
        let is_ignored = is_ipv6 && !path.tuple.transport.is_stream();
        let dont_fragment = message.has(AttributeType::DONT_FRAGMENT) && !is_ignored;
        let payload = payload(at + 4, data.len());
        let out = Outbound { allocation: id, relay, peer, ports, payload, dont_fragment };
        self.relay_to_peer(now, out)
    }

    /// Sends on to a peer, or straight to the far client's core where the peer is a relayed address
    /// of this server: the datagram would only leave by one of our sockets to come in by another.
    fn relay_to_peer(&mut self, now: Now, out: Outbound) -> Verdict {
        let Outbound { allocation, relay, peer, ports, payload, dont_fragment } = out;
        let length = payload.end - payload.start;
        // Relays of ours lie on addresses of ours, whose every port is judged.
        let at = match ports {
            Ports::All => None,
            Ports::AllButListening | Ports::Relays => {
                let to = self.to_local(peer);
                self.table.owner(to).map(|owner| (owner, to))
            }
        };
        let Some((owner, to)) = at else {
            if !self.may_pass(ports, Protocol::Udp, peer) {
                return self.dropped(Drop::PeerRefused);
            }
            if !self.count_to_peer(now, allocation, length) {
                return self.dropped(Drop::Bandwidth);
            }
            // Only a relay of ours is translated: anything else was judged as it was written.
            return Verdict::ToPeer { relay, peer, payload, dont_fragment };
        };
        let Some(&Relay { local: from, .. }) = self.table.relay(relay).filter(|it| it.local != to)
        else {
            return self.dropped(Drop::PeerRefused);
        };
        if length > longest(from) {
            return self.dropped(Drop::TooLong);
        }
        if !self.count_to_peer(now, allocation, length) {
            return self.dropped(Drop::Bandwidth);
        }
        match owner {
            Owner::Here(far) => self.relay_to_client(now, far, PeerAddr(from.0), payload, true),
            Owner::Elsewhere(core) => Verdict::ToNeighbour { core, from, to, payload },
        }
    }

    /// Whether the allocation may send so many bytes more; then they are counted.
    #[inline]
    fn count_to_peer(&mut self, now: Now, id: AllocationId, length: u32) -> bool {
        let length = u64::from(length);
        let rate = self.limits.bandwidth_per_allocation;
        if let Some(allocation) = self.table.get_mut(id) {
            if !allocation.credit_to_peers.take(now.moment, rate, length) {
                return false;
            }
            allocation.to_peers.count(length);
        }
        self.stats.packets_to_peer += 1;
        self.stats.bytes_to_peer += length;
        true
    }

    /// A payload of `length` bytes that a client of another core has sent from its relayed address
    /// `from` to one of this core, where it has come without a socket between.
    pub fn handle_neighbour(
        &mut self,
        now: Now,
        from: RelayedAddr,
        to: RelayedAddr,
        length: usize,
    ) -> Verdict {
        match self.table.owner(to) {
            Some(Owner::Here(relay)) => self.handle_peer(now, relay, PeerAddr(from.0), length),
            _ => self.dropped(Drop::NoAllocation),
        }
    }

    /// A datagram of `length` bytes from a peer at a relayed address (RFC 8656 §11.3).
    #[inline]
    pub fn handle_peer(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: PeerAddr,
        length: usize,
    ) -> Verdict {
        self.relay_to_client(now, relay, peer, payload(0, length), false)
    }

    /// A payload that `peer` has sent to a relayed address, by a socket or within this core: the
    /// far side's permission, channel and rules hold for both alike.
    #[inline]
    fn relay_to_client(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: PeerAddr,
        payload: PayloadRange,
        is_relay: bool,
    ) -> Verdict {
        let length = (payload.end - payload.start) as usize;
        let peer = PeerAddr(self.to_external(RelayedAddr(peer.0)));
        let (id, path, channel) = match self.hearer(now, relay, peer, is_relay) {
            Ok((id, allocation)) => (id, allocation.path, allocation.channel_to(now, peer)),
            Err(reason) => return self.dropped(reason),
        };
        // ChannelData where a channel is bound to the peer (§12.7), else a Data indication.
        let header = match (channel, u16::try_from(length)) {
            (Some(channel), Ok(length)) => {
                Header::from_slice(&channel_data_header(channel, length))
            }
            (Some(_), Err(_)) => None,
            (None, _) => {
                let transaction = self.indication_id();
                data_indication_header(&transaction, peer.0, AttributeType::DATA, length)
            }
        };
        let Some(header) = header else {
            return self.dropped(Drop::TooLong);
        };
        // ChannelData is padded on a stream (§12.5); a Data indication always, as STUN is.
        let is_indication = header.len() > CHANNEL_DATA_HEADER;
        let padded = is_indication || path.tuple.transport.is_stream();
        let padding = if padded { length.next_multiple_of(4) - length } else { 0 };
        let rate = self.limits.bandwidth_per_allocation;
        if let Some(allocation) = self.table.get_mut(id) {
            if !allocation.credit_to_client.take(now.moment, rate, length as u64) {
                return self.dropped(Drop::Bandwidth);
            }
            allocation.to_client.count(length as u64);
        }
        self.stats.packets_to_client += 1;
        self.stats.bytes_to_client += length as u64;
        Verdict::ToClient { path, header, payload, padding: padding as u8 }
    }

    /// The allocation of a 5-tuple that has sent data, if its sockets are open. Data is also what
    /// completes a move (RFC 8016 §3.2.2).
    #[inline]
    fn allocation_at(&mut self, tuple: &FiveTuple) -> Option<(AllocationId, &Allocation)> {
        let id = self.table.find(tuple)?;
        if self.table.get(id)?.pending.is_some() && !self.hear(id, tuple) {
            return None;
        }
        Some((id, self.table.get(id)?))
    }

    /// Cookie and transaction id of an indication.
    #[inline]
    pub(super) fn indication_id(&mut self) -> XorKey {
        let mut transaction: XorKey = self.rng.random();
        transaction[..4].copy_from_slice(&MAGIC_COOKIE);
        transaction
    }

    #[inline]
    pub(super) fn dropped(&mut self, reason: Drop) -> Verdict {
        self.stats.count_drop(reason);
        Verdict::Nothing
    }

    /// The address as our sockets are bound, where the peer named its external form (1:1 NAT).
    #[inline]
    pub(super) fn to_local(&self, PeerAddr(peer): PeerAddr) -> RelayedAddr {
        for (local, external) in &self.relay.external {
            if *external == peer.ip() {
                return RelayedAddr(SocketAddr::new(*local, peer.port()));
            }
        }
        RelayedAddr(peer)
    }

    /// The address as the world sees it.
    #[inline]
    pub(super) fn to_external(&self, RelayedAddr(address): RelayedAddr) -> SocketAddr {
        for (local, external) in &self.relay.external {
            if *local == address.ip() {
                return SocketAddr::new(*external, address.port());
            }
        }
        address
    }
}
