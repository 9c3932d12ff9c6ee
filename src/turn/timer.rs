//! Deadlines in order: the next one is read in O(1), set and moved in O(log n), never scanned for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::turn::action::ReservationToken;
use crate::turn::moment::Moment;
use crate::turn::table::AllocationId;
use crate::turn::tuple::ConnectionId;
use crate::wire::ChannelNumber;

/// What a deadline is for. Each thing has at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// An allocation's time-to-expiry (RFC 8656 §3.2).
    Allocation(AllocationId),
    /// A permission's (RFC 8656 §9).
    Permission(AllocationId, IpAddr),
    /// A channel binding's (RFC 8656 §12).
    Channel(AllocationId, ChannelNumber),
    /// A reserved port's (RFC 8656 §7.2).
    Reservation(ReservationToken),
    /// A peer data connection's that is being made, or waits to be bound (RFC 6062 §5.2).
    Connection(ConnectionId),
}

/// All deadlines of a core. Exact: moving one leaves nothing behind, so a client that refreshes
/// back and forth cannot make it grow.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Moment, Timer)>);

impl Timers {
    /// Sets a deadline.
    pub(super) fn set(&mut self, at: Moment, timer: Timer) {
        self.0.insert((at, timer));
    }

    /// Moves a deadline.
    pub(super) fn shift(&mut self, from: Moment, to: Moment, timer: Timer) {
        if from != to {
            self.cancel(from, timer);
            self.set(to, timer);
        }
    }

    /// Takes a deadline away.
    pub(super) fn cancel(&mut self, at: Moment, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the first deadline that has passed.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Timer> {
        let (at, _) = self.0.first()?;
        if *at > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }

    /// How many deadlines are set.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
