//! When the halves of an allocation end (RFC 8656 §6: a time-to-expiry for each relayed transport
//! address). A Refresh may prolong one of them alone (§8.1), so one may end before the other.

use crate::turn::Server;
use crate::turn::moment::{Moment, Now};
use crate::turn::record::Ending;
use crate::turn::table::{AllocationId, slot};
use crate::turn::timer::Timer;
use crate::turn::tuple::Family;

/// The ends of IPv4's half and of IPv6's. A half that is not there has ended at the clock's origin,
/// which no deadline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry([Moment; 2]);

impl Expiry {
    /// The same moment for both.
    pub(super) const fn of_both(moment: Moment) -> Self {
        Self([moment; 2])
    }

    /// When this half ends.
    #[inline]
    pub(super) const fn of(self, family: Family) -> Moment {
        self.0[slot(family)]
    }

    /// The same with another end of this half.
    pub(super) const fn with(mut self, family: Family, moment: Moment) -> Self {
        self.0[slot(family)] = moment;
        self
    }

    /// The same without this half.
    pub(super) fn without(self, family: Family) -> Self {
        self.with(family, Moment::default())
    }

    /// The same with no half that ends later than this.
    pub(super) fn capped(self, at: Moment) -> Self {
        Self(self.0.map(|end| end.min(at)))
    }

    /// When the first of the halves ends that are there: the allocation's deadline.
    pub(super) fn first(self) -> Moment {
        let there = self.0.into_iter().filter(|moment| *moment != Moment::default());
        there.min().unwrap_or_default()
    }

    /// When the last half ends, and the allocation with it.
    pub(super) fn last(self) -> Moment {
        let [v4, v6] = self.0;
        v4.max(v6)
    }
}

impl Server {
    /// Gives an allocation other ends.
    pub(super) fn set_expiry(&mut self, id: AllocationId, expiry: Expiry) {
        let Some(allocation) = self.table.get_mut(id) else { return };
        let before = std::mem::replace(&mut allocation.expiry, expiry).first();
        self.timers.shift(before, expiry.first(), Timer::Allocation(id));
    }

    /// Ends the halves of an allocation whose time is over; the last is the end of all of it.
    pub(super) fn end_expired(&mut self, now: Now, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else { return };
        let expiry = allocation.expiry;
        if expiry.last() <= now.moment {
            self.stats.allocations_expired += 1;
            return self.end_allocation(now, id, Ending::Expired);
        }
        for family in [Family::V4, Family::V6] {
            let relays = self.table.get(id).is_some_and(|allocation| allocation.has(family));
            if relays && expiry.of(family) <= now.moment {
                self.stats.halves_expired += 1;
                self.end_family(now, id, family, Ending::Expired);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_that_is_not_there_has_no_say_in_when_the_allocation_ends() {
        let at = Moment::from_millis;
        let both = Expiry::of_both(at(600)).with(Family::V6, at(900));
        assert_eq!((both.first(), both.last()), (at(600), at(900)));
        let one = both.without(Family::V4);
        assert_eq!((one.first(), one.last()), (at(900), at(900)));
        assert!(one.of(Family::V4) <= at(0));
        assert_eq!(one.without(Family::V6).last(), at(0));
    }
}
