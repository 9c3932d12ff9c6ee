//! The allocations of a core and every index into them: the only code that inserts or removes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use slab::Slab;

use crate::turn::acl::Ports as PermittedPorts;
use crate::turn::action::{ReservationToken, Username};
use crate::turn::bandwidth::Credit;
use crate::turn::claim::Credential;
use crate::turn::expiry::Expiry;
use crate::turn::icmp::Told;
use crate::turn::map::Hasher;
use crate::turn::mobility::{Mobility, Pending};
use crate::turn::moment::{Moment, Now};
use crate::turn::opening::Opening;
use crate::turn::record::Volume;
use crate::turn::stats::Drop;
use crate::turn::third_party::Session;
use crate::turn::tuple::{
    CoreId, Family, FiveTuple, Path, PeerAddr, Protocol, RelayId, RelayedAddr,
};
use crate::wire::ChannelNumber;
use crate::wire::address::XorKey;

/// An allocation of one core; never confused with a later one in the same slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AllocationId {
    index: u32,
    serial: u32,
}

impl AllocationId {
    /// The id as a number.
    pub(super) const fn to_bits(self) -> u64 {
        (self.serial as u64) << 32 | self.index as u64
    }

    /// The id that a number stands for.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, serial: (bits >> 32) as u32 }
    }
}

/// The state that RFC 8656 §3.2 lists, and what answers a retransmission.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) path: Path,
    /// Cookie and transaction id of the Allocate that made it.
    pub(super) transaction: XorKey,
    pub(super) username: Username,
    pub(super) protocol: Protocol,
    pub(super) credential: Credential,
    /// Its user has another password by now, or is none: the credential serves for answers only.
    pub(super) disowned: bool,
    /// Of an allocation that was made with a token; those of users have none.
    pub(super) session: Option<Box<Session>>,
    /// Mostly nothing: then it relays.
    pub(super) pending: Option<Box<Pending>>,
    /// Of an allocation whose client may move (RFC 8016).
    pub(super) mobility: Option<Box<Mobility>>,
    /// The relay sockets, IPv4's and IPv6's.
    pub(super) relays: [Option<RelayId>; 2],
    /// What the success said of a family that could not be had (RFC 8656 §18.12).
    pub(super) address_error: Option<[u8; 4]>,
    pub(super) reservation: Option<ReservationToken>,
    /// Whether its user's quota has been charged.
    pub(super) charged: bool,
    pub(super) expiry: Expiry,
    pub(super) began: Moment,
    pub(super) permissions: HashMap<IpAddr, Permission, Hasher>,
    pub(super) channels: HashMap<ChannelNumber, Channel, Hasher>,
    pub(super) channel_by_peer: HashMap<PeerAddr, ChannelNumber, Hasher>,
    /// ICMP errors that its client was told lately.
    pub(super) told: Told,
    /// The relayed addresses that it had, as peers see them, those of halves that have ended
    /// included.
    pub(super) relayed: [Option<SocketAddr>; 2],
    /// Permissions that it was given in all.
    pub(super) peers: u32,
    pub(super) to_peers: Volume,
    pub(super) to_client: Volume,
    pub(super) credit_to_peers: Credit,
    pub(super) credit_to_client: Credit,
}

impl Allocation {
    pub(super) fn relay(&self, family: Family) -> Option<RelayId> {
        self.relays[slot(family)]
    }

    /// Whether the shell still owes an answer about a socket; then the end waits for it, so that
    /// neither the socket nor the quota is lost.
    pub(super) fn defer_end(&mut self) -> bool {
        self.opening_mut().is_some_and(Opening::defer_end)
    }

    /// Whether the sockets of this family relay: they are open, and their time is not over.
    #[inline]
    pub(super) fn is_live(&self, now: Now, family: Family) -> bool {
        let is_open = self.pending.is_none() || self.opening().is_none();
        self.expiry.of(family) > now.moment && is_open
    }

    /// When it ends at the latest, if it would otherwise end then: a token has an end.
    pub(super) fn cap(&self, expires: Moment) -> Moment {
        self.session.as_deref().map_or(expires, |session| session.cap(expires))
    }

    /// The channel by which its client is sent what comes from `peer`, if there is one.
    #[inline]
    pub(super) fn channel_to(&self, now: Now, peer: PeerAddr) -> Option<ChannelNumber> {
        let number = self.channel_by_peer.get(&peer)?;
        let channel = self.channels.get(number)?;
        (channel.expires > now.moment).then_some(*number)
    }

    /// Whether it relays for this family.
    pub(super) fn has(&self, family: Family) -> bool {
        self.relay(family).is_some()
    }
}

/// Where a family's relay stands in [`Allocation::relays`].
pub(super) const fn slot(family: Family) -> usize {
    family as usize - 1
}

/// Lets one IP address through (RFC 8656 §9).
#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    pub(super) expires: Moment,
    pub(super) ports: PermittedPorts,
}

/// A channel binding (RFC 8656 §12).
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) peer: PeerAddr,
    pub(super) relay: RelayId,
    pub(super) expires: Moment,
    /// Whether the peer is one of our own addresses, so that each packet asks if it is still a
    /// relayed one.
    pub(super) ports: PermittedPorts,
}

/// A relay socket, open or asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    pub(super) allocation: AllocationId,
    pub(super) family: Family,
    pub(super) protocol: Protocol,
    pub(super) local: RelayedAddr,
}

/// Who has a relayed address open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This core.
    Here(RelayId),
    /// Another core of this server.
    Elsewhere(CoreId),
}

/// Allocations and relays with their indexes, which always agree.
#[derive(Debug)]
pub(super) struct Table {
    allocations: Slab<(u32, Allocation)>,
    /// A client that moves has two, for a while; one that has lost its connection none.
    allocation_by_tuple: HashMap<FiveTuple, AllocationId, Hasher>,
    /// Clients of other cores that have moved, and may send to this one's sockets.
    core_by_tuple: HashMap<FiveTuple, CoreId, Hasher>,
    relays: Slab<Relay>,
    owner_by_relayed_addr: HashMap<RelayedAddr, Owner, Hasher>,
    /// The same for TCP, whose ports are others.
    owner_by_tcp_relayed_addr: HashMap<RelayedAddr, Owner, Hasher>,
    next_serial: u32,
    hasher: Hasher,
}

impl Table {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self {
            allocations: Slab::new(),
            allocation_by_tuple: HashMap::with_hasher(hasher.clone()),
            core_by_tuple: HashMap::with_hasher(hasher.clone()),
            relays: Slab::new(),
            owner_by_relayed_addr: HashMap::with_hasher(hasher.clone()),
            owner_by_tcp_relayed_addr: HashMap::with_hasher(hasher.clone()),
            next_serial: 0,
            hasher,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.allocations.len()
    }

    #[inline]
    pub(super) fn find(&self, tuple: &FiveTuple) -> Option<AllocationId> {
        self.allocation_by_tuple.get(tuple).copied()
    }

    #[inline]
    pub(super) fn get(&self, id: AllocationId) -> Option<&Allocation> {
        let (serial, allocation) = self.allocations.get(id.index as usize)?;
        (*serial == id.serial).then_some(allocation)
    }

    /// All of them, in no order that means anything.
    pub(super) fn all(&self) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.allocations.iter().map(|(index, (serial, allocation))| {
            (AllocationId { index: index as u32, serial: *serial }, allocation)
        })
    }

    pub(super) fn get_mut(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        let (serial, allocation) = self.allocations.get_mut(id.index as usize)?;
        (*serial == id.serial).then_some(allocation)
    }

    /// An allocation without relays, permissions or channels, whose sockets are being opened.
    pub(super) fn insert(
        &mut self,
        path: Path,
        transaction: XorKey,
        username: Username,
        credential: Credential,
        opening: Opening,
        expires: Moment,
    ) -> AllocationId {
        let hasher = &self.hasher;
        let allocation = Allocation {
            path,
            transaction,
            username,
            protocol: opening.protocol(),
            credential,
            disowned: false,
            session: None,
            pending: Some(Box::new(Pending::Sockets(opening))),
            mobility: None,
            relays: [None; 2],
            address_error: None,
            reservation: None,
            charged: false,
            expiry: Expiry::of_both(expires),
            began: Moment::default(),
            permissions: HashMap::with_hasher(hasher.clone()),
            channels: HashMap::with_hasher(hasher.clone()),
            channel_by_peer: HashMap::with_hasher(hasher.clone()),
            told: Told::default(),
            relayed: [None; 2],
            peers: 0,
            to_peers: Volume::default(),
            to_client: Volume::default(),
            credit_to_peers: Credit::default(),
            credit_to_client: Credit::default(),
        };
        self.next_serial = self.next_serial.wrapping_add(1);
        let index = self.allocations.insert((self.next_serial, allocation)) as u32;
        let id = AllocationId { index, serial: self.next_serial };
        self.allocation_by_tuple.insert(path.tuple, id);
        id
    }

    /// Takes an allocation out; its relays stay until they are removed one by one.
    pub(super) fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        self.get(id)?;
        let (_, allocation) = self.allocations.remove(id.index as usize);
        // Where its client is away, somebody else may have come by the same 5-tuple.
        if self.find(&allocation.path.tuple) == Some(id) {
            self.part(&allocation.path.tuple);
        }
        Some(allocation)
    }

    /// From now on this 5-tuple leads to the allocation as well.
    pub(super) fn lead(&mut self, tuple: FiveTuple, id: AllocationId) {
        self.allocation_by_tuple.insert(tuple, id);
    }

    /// From now on this 5-tuple leads nowhere.
    pub(super) fn part(&mut self, tuple: &FiveTuple) {
        self.allocation_by_tuple.remove(tuple);
    }

    /// Which other core has the client that sends by this 5-tuple.
    pub(super) fn core_of(&self, tuple: &FiveTuple) -> Option<CoreId> {
        self.core_by_tuple.get(tuple).copied()
    }

    /// Notes that a client of another core sends by this 5-tuple, or does so no more.
    pub(super) fn mark_client(&mut self, tuple: FiveTuple, core: CoreId, there: bool) {
        if there {
            self.core_by_tuple.insert(tuple, core);
        } else if self.core_of(&tuple) == Some(core) {
            self.core_by_tuple.remove(&tuple);
        }
    }

    #[inline]
    pub(super) fn relay(&self, id: RelayId) -> Option<&Relay> {
        self.relays.get(id.0 as usize)
    }

    /// A relay that is asked for; it has no address of ours until [`Table::open_relay`].
    pub(super) fn insert_relay(&mut self, relay: Relay) -> RelayId {
        RelayId(self.relays.insert(relay) as u32)
    }

    /// Gives a relay another address to ask for.
    pub(super) fn readdress_relay(&mut self, id: RelayId, local: RelayedAddr) {
        if let Some(relay) = self.relays.get_mut(id.0 as usize) {
            relay.local = local;
        }
    }

    /// The family of a relay that was reserved becomes known when its socket is handed over.
    pub(super) fn set_family(&mut self, id: RelayId, family: Family) {
        if let Some(relay) = self.relays.get_mut(id.0 as usize) {
            relay.family = family;
        }
    }

    /// The relay's socket exists, at this address.
    pub(super) fn open_relay(&mut self, id: RelayId, local: RelayedAddr) {
        let Some(relay) = self.relays.get_mut(id.0 as usize) else { return };
        relay.local = local;
        let Relay { allocation, family, protocol, .. } = *relay;
        self.owners_mut(protocol).insert(local, Owner::Here(id));
        if let Some(allocation) = self.get_mut(allocation) {
            allocation.relays[slot(family)] = Some(id);
        }
    }

    /// Forgets a relay and its address.
    pub(super) fn remove_relay(&mut self, id: RelayId) -> Option<Relay> {
        let relay = self.relays.try_remove(id.0 as usize)?;
        let owners = self.owners_mut(relay.protocol);
        if owners.get(&relay.local) == Some(&Owner::Here(id)) {
            owners.remove(&relay.local);
        }
        if let Some(allocation) = self.get_mut(relay.allocation) {
            allocation.relays[slot(relay.family)] = None;
        }
        Some(relay)
    }

    /// The allocation that what comes from `peer` by `relay` is for, and which ports its permission
    /// lets through (RFC 8656 §9, RFC 6062 §5.3).
    #[inline]
    pub(super) fn permitted(
        &self,
        now: Now,
        relay: RelayId,
        peer: IpAddr,
    ) -> Result<(AllocationId, &Allocation, PermittedPorts), Drop> {
        let Some(&Relay { allocation: id, family, .. }) = self.relay(relay) else {
            return Err(Drop::NoAllocation);
        };
        let allocation = self.get(id).filter(|allocation| allocation.is_live(now, family));
        let allocation = allocation.ok_or(Drop::NoAllocation)?;
        match allocation.permissions.get(&peer) {
            Some(permission) if permission.expires > now.moment => {
                Ok((id, allocation, permission.ports))
            }
            _ => Err(Drop::NoPermission),
        }
    }

    /// Who relays datagrams there.
    #[inline]
    pub(super) fn owner(&self, address: RelayedAddr) -> Option<Owner> {
        self.owner_by_relayed_addr.get(&address).copied()
    }

    /// Who relays there by this protocol.
    #[inline]
    pub(super) fn owner_by(&self, protocol: Protocol, address: RelayedAddr) -> Option<Owner> {
        match protocol {
            Protocol::Udp => self.owner(address),
            Protocol::Tcp => self.owner_by_tcp_relayed_addr.get(&address).copied(),
        }
    }

    fn owners_mut(&mut self, protocol: Protocol) -> &mut HashMap<RelayedAddr, Owner, Hasher> {
        match protocol {
            Protocol::Udp => &mut self.owner_by_relayed_addr,
            Protocol::Tcp => &mut self.owner_by_tcp_relayed_addr,
        }
    }

    /// Notes a relayed address of another core.
    pub(super) fn mark_elsewhere(
        &mut self,
        protocol: Protocol,
        address: RelayedAddr,
        core: CoreId,
        open: bool,
    ) {
        let owners = self.owners_mut(protocol);
        if open {
            owners.insert(address, Owner::Elsewhere(core));
        } else if owners.get(&address) == Some(&Owner::Elsewhere(core)) {
            owners.remove(&address);
        }
    }

    /// Asserts that the indexes agree with each other.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self) {
        let ways = self.allocations.iter().map(|(_, (_, allocation))| {
            let moving = matches!(allocation.pending.as_deref(), Some(Pending::Data(_)));
            1 + usize::from(moving) - usize::from(allocation.is_away())
        });
        assert_eq!(self.allocation_by_tuple.len(), ways.sum::<usize>());
        for (tuple, id) in &self.allocation_by_tuple {
            let allocation = self.get(*id).expect("the tuple index names a live allocation");
            let moving = match allocation.pending.as_deref() {
                Some(Pending::Data(new)) => new.tuple == *tuple,
                _ => false,
            };
            assert!(moving || (allocation.path.tuple == *tuple && !allocation.is_away()));
            assert_eq!(allocation.channels.len(), allocation.channel_by_peer.len());
            for (number, channel) in &allocation.channels {
                assert_eq!(allocation.channel_by_peer.get(&channel.peer), Some(number));
                assert!(allocation.relays.contains(&Some(channel.relay)));
            }
            for relay_id in allocation.relays.iter().flatten() {
                let relay = self.relay(*relay_id).expect("an allocation's relays exist");
                assert_eq!(relay.allocation, *id);
                let owner = self.owner_by(relay.protocol, relay.local);
                assert_eq!(owner, Some(Owner::Here(*relay_id)));
            }
        }
        let owners = self.owner_by_relayed_addr.iter().chain(&self.owner_by_tcp_relayed_addr);
        for (address, owner) in owners {
            if let Owner::Here(id) = owner {
                assert_eq!(self.relay(*id).map(|relay| relay.local), Some(*address));
            }
        }
        for (_, relay) in &self.relays {
            assert!(self.get(relay.allocation).is_some(), "a relay outlived its allocation");
        }
    }
}
