//! ICMP errors (RFC 8656 §11.5): what became of a datagram on its way to a peer, told to the client
//! in a Data indication, as long as there are not too many.

use crate::turn::Server;
use crate::turn::action::{PayloadRange, Verdict};
use crate::turn::moment::{Moment, Now};
use crate::turn::stats::Drop;
use crate::turn::tuple::{PeerAddr, RelayId, RelayedAddr};
use crate::wire::AttributeType;
use crate::wire::icmp::Icmp;
use crate::wire::writer::data_indication_header;

/// Errors that the client of an allocation is told in a second. Whoever sends faster than its peer
/// refuses learns nothing from more of them, and nobody can drown a client in them.
const TOLD_PER_SECOND: u8 = 10;

/// How many errors an allocation's client was told in the second that began then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    since: Moment,
    count: u8,
}

impl Told {
    /// Counts one more; whether it may be told.
    fn another(&mut self, now: Moment) -> bool {
        if now.as_millis() - self.since.as_millis() >= 1000 {
            *self = Self { since: now, count: 0 };
        }
        let may = self.count < TOLD_PER_SECOND;
        self.count += u8::from(may);
        may
    }
}

impl Server {
    /// An ICMP error about a datagram that had left by `relay` for `peer`, whose port is 0 where
    /// nobody knows it. The verdict's payload is the attribute's value, [`Icmp::value`].
    pub fn handle_icmp(&mut self, now: Now, relay: RelayId, peer: PeerAddr, icmp: Icmp) -> Verdict {
        if !icmp.is_relayed(peer.0.is_ipv6()) {
            return self.dropped(Drop::IcmpType);
        }
        let peer = PeerAddr(self.to_external(RelayedAddr(peer.0)));
        // Addresses only: the error may come from any router on the way.
        // Of ports of this host no more is told than payloads can find out.
        let (id, path) = match self.hearer(now, relay, peer, false) {
            Ok((id, allocation)) => (id, allocation.path),
            Err(reason) => return self.dropped(reason),
        };
        let told = self.table.get_mut(id).map(|allocation| allocation.told.another(now.moment));
        if told != Some(true) {
            return self.dropped(Drop::IcmpLimit);
        }
        let transaction = self.indication_id();
        // Whether a channel is bound to the peer or not: ChannelData has no room for it.
        let length = Icmp::LENGTH;
        let Some(header) =
            data_indication_header(&transaction, peer.0, AttributeType::ICMP, length)
        else {
            return self.dropped(Drop::TooLong);
        };
        self.stats.icmp_to_client += 1;
        let payload = PayloadRange { start: 0, end: length as u32 };
        Verdict::ToClient { path, header, payload, padding: 0 }
    }
}
