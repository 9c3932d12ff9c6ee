//! When the things in a table must be looked at next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::turn::Moment;

/// Deadlines by the number of a thing's slot, one that counts for each.
///
/// A deadline that moves away is left where it is: it comes, is found not to be over, and is set
/// anew. So a packet, which moves one, costs nothing here. And it outlives the thing, so that many
/// short-lived ones in a slot leave no more than one.
#[derive(Debug, Default)]
pub(super) struct Watch {
    deadlines: BinaryHeap<Reverse<(Moment, u32)>>,
    /// The one that counts, by slot.
    counts: Vec<Option<Moment>>,
}

impl Watch {
    /// Has a slot looked at no later than at `moment`.
    pub(super) fn by(&mut self, slot: u32, moment: Moment) {
        let index = slot as usize;
        if index >= self.counts.len() {
            self.counts.resize(index + 1, None);
        }
        if self.counts[index].is_none_or(|earlier| moment < earlier) {
            self.counts[index] = Some(moment);
            self.deadlines.push(Reverse((moment, slot)));
        }
    }

    /// When [`Watch::pop`] has something.
    pub(super) fn next(&self) -> Option<Moment> {
        self.deadlines.peek().map(|Reverse((moment, _))| *moment)
    }

    /// A slot whose time has come. It is looked at again only if [`Watch::by`] says so.
    pub(super) fn pop(&mut self, now: Moment) -> Option<u32> {
        while let Some(&Reverse((moment, slot))) = self.deadlines.peek()
            && moment <= now
        {
            self.deadlines.pop();
            // An earlier one may have been served meanwhile.
            if self.counts[slot as usize] == Some(moment) {
                self.counts[slot as usize] = None;
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn each_slot_comes_once_at_its_earliest_deadline() {
        let mut watch = Watch::default();
        for (slot, millis) in [(2, 30), (0, 20), (2, 10), (2, 40), (0, 20)] {
            watch.by(slot, at(millis));
        }
        assert_eq!((watch.next(), watch.pop(at(9))), (Some(at(10)), None));
        assert_eq!(watch.pop(at(10)), Some(2));
        // Looked at, and found to have time until 50: the one of 30 counts no more.
        watch.by(2, at(50));
        assert_eq!((watch.pop(at(49)), watch.pop(at(49))), (Some(0), None));
        assert_eq!((watch.pop(at(50)), watch.pop(at(50)), watch.next()), (Some(2), None, None));
    }
}
