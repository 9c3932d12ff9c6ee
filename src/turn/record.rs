//! What is told of an allocation: to the operator while it lives, and to the log when it ends.

use std::fmt;
use std::net::SocketAddr;

use crate::turn::Server;
use crate::turn::action::Username;
use crate::turn::moment::Now;
use crate::turn::table::{Allocation, AllocationId};
use crate::turn::tuple::{FiveTuple, Protocol};

/// An allocation as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name within its core, which no other ever had or gets.
    pub id: u64,
    /// Whose it is.
    pub user: Username,
    /// Where its client is, or was when it was last heard of.
    pub tuple: FiveTuple,
    /// What is relayed.
    pub protocol: Protocol,
    /// Its relayed addresses as peers see them, IPv4's and IPv6's, one that has ended included.
    pub relayed: [Option<SocketAddr>; 2],
    /// Milliseconds since its sockets were asked for.
    pub age_millis: u64,
    /// Seconds until its last half ends unless it is refreshed.
    pub expires_in_secs: u64,
    /// Peers' addresses that it has permissions for now.
    pub permissions: usize,
    /// Channels that are bound now.
    pub channels: usize,
    /// Permissions that it was given in all, refreshed ones once.
    pub peers: u32,
    /// What went on to peers.
    pub to_peers: Volume,
    /// What went on to its client.
    pub to_client: Volume,
}

/// Datagrams that were relayed one way; the bytes of connections (RFC 6062) are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Datagrams.
    pub packets: u64,
    /// Their payload's bytes.
    pub bytes: u64,
}

impl Volume {
    #[inline]
    pub(super) fn count(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// Why an allocation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its client did not want it any more (RFC 8656 §7.2, Refresh to zero).
    Deleted,
    /// Nobody has refreshed it.
    Expired,
    /// The connection that led to its client has ended.
    ClientGone,
    /// It could not be opened whole.
    Failed,
    /// The operator has ended it.
    Revoked,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::ClientGone => "client-gone",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
        })
    }
}

impl Server {
    /// The allocations that are open, of these users, in no order.
    pub fn records(
        &self,
        now: Now,
        is_wanted: impl Fn(&Username) -> bool,
    ) -> impl Iterator<Item = Record> {
        let open = self.table.all().filter(move |(_, allocation)| {
            allocation.opening().is_none() && is_wanted(&allocation.username)
        });
        open.map(move |(id, allocation)| Self::record(now, id, allocation))
    }

    /// The one that has this name, if it is open.
    pub fn record_of(&self, now: Now, id: u64) -> Option<Record> {
        let id = AllocationId::from_bits(id);
        let open = self.table.get(id).filter(|allocation| allocation.opening().is_none());
        open.map(|allocation| Self::record(now, id, allocation))
    }

    /// Ends an allocation by the name that its [`Record`] has; whether there was one.
    pub fn revoke(&mut self, now: Now, id: u64) -> bool {
        let id = AllocationId::from_bits(id);
        let is_there = self.table.get(id).is_some();
        self.end_allocation(now, id, Ending::Revoked);
        is_there
    }

    pub(super) fn record(now: Now, id: AllocationId, allocation: &Allocation) -> Record {
        Record {
            id: id.to_bits(),
            user: allocation.username.clone(),
            tuple: allocation.path.tuple,
            protocol: allocation.protocol,
            relayed: allocation.relayed,
            age_millis: now.moment.as_millis() - allocation.began.as_millis(),
            expires_in_secs: now.moment.secs_until(allocation.expiry.last()),
            permissions: allocation.permissions.len(),
            channels: allocation.channels.len(),
            peers: allocation.peers,
            to_peers: allocation.to_peers,
            to_client: allocation.to_client,
        }
    }
}
