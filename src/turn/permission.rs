//! CreatePermission (RFC 8656 §10.2) and the permissions it installs (§9).

use crate::turn::Server;
use crate::turn::acl::Ports;
use crate::turn::action::Verdict;
use crate::turn::moment::{Lifetime, Now};
use crate::turn::request::{Reject, Request, reject};
use crate::turn::stats::Drop;
use crate::turn::table::{Allocation, AllocationId, Permission};
use crate::turn::timer::Timer;
use crate::turn::tuple::{Family, PeerAddr, Protocol, RelayId};
use crate::wire::{AttributeType, ErrorCode, address};

/// RFC 8656 §9: exactly five minutes.
const PERMISSION_LIFETIME: Lifetime = Lifetime::from_secs(300);

impl Server {
    pub(super) fn create_permission(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &mut [u8],
    ) -> Result<Verdict, Reject> {
        let id = self.allocation_of(request)?;

        // At least one XOR-PEER-ADDRESS, none of them invalid (400), each of a family that was
        // allocated (443) and allowed (403). Nothing is installed before all have passed.
        let mut peers = Vec::new();
        for (kind, value) in request.message.attributes() {
            if kind == AttributeType::XOR_PEER_ADDRESS {
                let peer = address::decode_xor(value, request.message.transaction())
                    .map_err(|_| Reject(ErrorCode::BAD_REQUEST))?;
                peers.push(PeerAddr(peer));
            }
        }
        if peers.is_empty() {
            return reject(ErrorCode::BAD_REQUEST);
        }
        for peer in &peers {
            self.check_family(id, *peer)?;
        }
        let mut permitted = Vec::with_capacity(peers.len());
        for peer in peers {
            permitted.push((peer, self.permitted_ports(id, peer)?));
        }

        // More than the allocation may hold: 508.
        let allocation = self.table.get(id).ok_or(Reject(ErrorCode::ALLOCATION_MISMATCH))?;
        let mut new: Vec<_> = permitted
            .iter()
            .map(|(peer, _)| peer.0.ip())
            .filter(|ip| !allocation.permissions.contains_key(ip))
            .collect();
        new.sort_unstable();
        new.dedup();
        // It may hold more: the limit can change while it lives.
        let most = self.limits.permissions_per_allocation;
        let room = most.saturating_sub(allocation.permissions.len());
        if new.len() > room {
            return reject(ErrorCode::INSUFFICIENT_CAPACITY);
        }

        for (peer, ports) in permitted {
            self.install_permission(now, id, peer, ports);
        }
        self.stats.create_permissions += 1;
        Ok(self.succeed(request, reply, |_| {}))
    }

    /// 443 where the allocation has no relayed address of the peer's family.
    pub(super) fn check_family(&self, id: AllocationId, peer: PeerAddr) -> Result<(), Reject> {
        let family = Family::of(peer.0.ip());
        match self.table.get(id) {
            Some(allocation) if allocation.has(family) => Ok(()),
            _ => reject(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH),
        }
    }

    /// Which ports of the peer's address a permission opens; 403 where the ACL refuses it, or
    /// where it is the allocation's own relayed address.
    pub(super) fn permitted_ports(
        &self,
        id: AllocationId,
        peer: PeerAddr,
    ) -> Result<Ports, Reject> {
        if self.is_relay_of(id, peer) {
            return reject(ErrorCode::FORBIDDEN);
        }
        let protocol = self.table.get(id).map_or(Protocol::Udp, |allocation| allocation.protocol);
        let own_relay = self.is_own_relay(protocol, peer);
        self.acl.permits(peer.0, own_relay).ok_or(Reject(ErrorCode::FORBIDDEN))
    }

    /// Installs or refreshes a permission; the caller has checked that there is room.
    pub(super) fn install_permission(
        &mut self,
        now: Now,
        id: AllocationId,
        peer: PeerAddr,
        ports: Ports,
    ) {
        let ip = peer.0.ip();
        let Some(allocation) = self.table.get_mut(id) else { return };
        let expires = now.moment + PERMISSION_LIFETIME;
        let timer = Timer::Permission(id, ip);
        match allocation.permissions.insert(ip, Permission { expires, ports }) {
            Some(old) => self.timers.shift(old.expires, expires, timer),
            None => {
                allocation.peers = allocation.peers.saturating_add(1);
                self.timers.set(expires, timer);
                self.stats.permissions += 1;
            }
        }
    }

    /// Whether there is room for a permission for this address, or it is there already.
    pub(super) fn has_room_for_permission(&self, id: AllocationId, peer: PeerAddr) -> bool {
        self.table.get(id).is_some_and(|allocation| {
            allocation.permissions.contains_key(&peer.0.ip())
                || allocation.permissions.len() < self.limits.permissions_per_allocation
        })
    }

    /// Whether the address is one that this server relays from, here or elsewhere.
    #[inline]
    pub(super) fn is_own_relay(&self, protocol: Protocol, peer: PeerAddr) -> bool {
        self.table.owner_by(protocol, self.to_local(peer)).is_some()
    }

    /// Whether a permission or channel that opens these ports of the peer's address opens its.
    #[inline]
    pub(super) fn may_pass(&self, ports: Ports, protocol: Protocol, peer: PeerAddr) -> bool {
        match ports {
            Ports::All => true,
            Ports::AllButListening if !self.acl.listening_ports.contains(&peer.0.port()) => true,
            Ports::AllButListening | Ports::Relays => self.is_own_relay(protocol, peer),
        }
    }

    /// The allocation whose client hears of what `peer` sends to `relay`, if it may (RFC 8656 §9,
    /// RFC 6062 §5.3). `is_relay`: the peer is known to be a relayed address of ours.
    #[inline]
    pub(super) fn hearer(
        &self,
        now: Now,
        relay: RelayId,
        peer: PeerAddr,
        is_relay: bool,
    ) -> Result<(AllocationId, &Allocation), Drop> {
        let (id, allocation, ports) = self.table.permitted(now, relay, peer.0.ip())?;
        if allocation.is_away() {
            return Err(Drop::ClientAway);
        }
        if !is_relay && !self.may_pass(ports, allocation.protocol, peer) {
            return Err(Drop::PeerRefused);
        }
        Ok((id, allocation))
    }

    /// Whether the address is one that this very allocation relays from.
    pub(super) fn is_relay_of(&self, id: AllocationId, peer: PeerAddr) -> bool {
        let local = self.to_local(peer);
        let Some(allocation) = self.table.get(id) else { return false };
        allocation
            .relays
            .iter()
            .flatten()
            .filter_map(|relay| self.table.relay(*relay))
            .any(|relay| relay.local == local)
    }
}
