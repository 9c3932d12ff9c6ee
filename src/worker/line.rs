//! Places in the order in which they came. Whoever is gone leaves nothing behind, so a line is no
//! longer than there are things that stand in it.

use std::collections::BTreeMap;

use crate::worker::token::Place;

/// Those who wait, the first of them in front.
#[derive(Debug, Default)]
pub(super) struct Line {
    places: BTreeMap<Number, Place>,
    entered: u64,
}

/// Where somebody stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u64);

impl Line {
    /// Puts a place at the end; the number is for [`Line::leave`].
    pub(super) fn enter(&mut self, place: Place) -> Number {
        self.entered += 1;
        let number = Number(self.entered);
        self.places.insert(number, place);
        number
    }

    /// Takes out whoever has this number, if it is still there.
    pub(super) fn leave(&mut self, number: Number) {
        self.places.remove(&number);
    }

    /// Who stands in front.
    pub(super) fn first(&self) -> Option<Place> {
        self.places.first_key_value().map(|(_, place)| *place)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody does.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_came_first_is_first_and_whoever_left_is_forgotten() {
        let mut line = Line::default();
        let numbers: Vec<_> = (0..5).map(|index| line.enter(Place::first(index))).collect();
        for number in [numbers[0], numbers[2], numbers[2]] {
            line.leave(number);
        }
        assert_eq!((line.first(), line.len()), (Some(Place::first(1)), 3));
        // Who comes again stands behind the others.
        line.leave(numbers[1]);
        let again = line.enter(Place::first(1));
        line.leave(numbers[3]);
        line.leave(numbers[4]);
        assert_eq!((line.first(), line.len()), (Some(Place::first(1)), 1));
        line.leave(again);
        assert!(line.is_empty());
    }
}
