//! A table whose entries are named by place and generation, so that an old name finds nothing.

use crate::worker::token::Place;

/// Things that a worker waits for, by their [`Place`].
#[derive(Debug)]
pub(super) struct Places<T> {
    slots: Vec<(Place, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Places<T> {
    pub(super) fn insert(&mut self, thing: T) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len() as u32;
            self.slots.push((Place::first(index), None));
            index
        });
        let slot = &mut self.slots[index as usize];
        *slot = (slot.0.next(), Some(thing));
        slot.0
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<T> {
        let slot = self.slots.get_mut(place.index as usize).filter(|slot| slot.0 == place)?;
        let thing = slot.1.take()?;
        self.free.push(place.index);
        Some(thing)
    }

    pub(super) fn get(&mut self, place: Place) -> Option<&mut T> {
        let slot = self.slots.get_mut(place.index as usize)?;
        slot.1.as_mut().filter(|_| slot.0 == place)
    }

    pub(super) fn peek(&self, place: Place) -> Option<&T> {
        let slot = self.slots.get(place.index as usize)?;
        slot.1.as_ref().filter(|_| slot.0 == place)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_what_is_gone_finds_nothing_when_its_place_is_used_again() {
        let mut places = Places::default();
        let old = places.insert('a');
        assert_eq!(places.remove(old), Some('a'));
        let new = places.insert('b');
        assert_eq!(old.index, new.index);
        assert_eq!(places.get(old), None);
        assert_eq!(places.remove(old), None);
        assert_eq!((places.get(new).copied(), places.len()), (Some('b'), 1));
    }
}
