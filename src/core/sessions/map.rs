//! A map of sessions in the order of their ids that remembers which one it is about: whatever is done about a session looks for it many
//! times in a row, and each search would cost more than what it is for.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Bound;

use crate::types::SessionId;

/// The tree holds where values lie; they themselves stay there.
#[derive(Clone, Debug)]
pub(super) struct SessionMap<T> {
    places: BTreeMap<SessionId, Place>,
    slab: Slab<T>,
    /// Which one it is about, and where that is. Nothing but time depends on it.
    about: (SessionId, Place),
}

/// The number of a place.
type Place = u32;

/// The place of what is not there.
const NOWHERE: Place = Place::MAX;

impl<T> Default for SessionMap<T> {
    fn default() -> SessionMap<T> {
        let slab = Slab { chunks: Vec::new(), free: Vec::new() };
        SessionMap { places: BTreeMap::new(), slab, about: (SessionId::default(), NOWHERE) }
    }
}

impl<T> SessionMap<T> {
    /// From now on it is about this one.
    pub(super) fn turn_to(&mut self, id: SessionId) {
        self.about = (id, self.find(id));
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&T> {
        self.slab.get(self.find(*id))
    }

    pub(super) fn get_mut(&mut self, id: &SessionId) -> Option<&mut T> {
        self.turn_to(*id);
        self.slab.get_mut(self.about.1)
    }

    /// Where a session is.
    #[inline]
    fn find(&self, id: SessionId) -> Place {
        let (about, place) = self.about;
        if about == id { place } else { self.search(id) }
    }

    fn search(&self, id: SessionId) -> Place {
        self.places.get(&id).copied().unwrap_or(NOWHERE)
    }

    /// What is there, or else is put there now.
    pub(super) fn get_or_insert_with(&mut self, id: SessionId, new: impl FnOnce() -> T) -> &mut T {
        if self.about.0 != id || self.about.1 == NOWHERE {
            self.about = (id, *self.places.entry(id).or_insert_with(|| self.slab.put(new())));
        }
        self.slab.get_mut(self.about.1).expect("a value lies in every place of the tree")
    }

    /// Puts a value in, in the place of an older one.
    pub(super) fn insert(&mut self, id: SessionId, value: T) -> Option<T> {
        let mut value = Some(value);
        let there = self.get_or_insert_with(id, || value.take().expect("it is taken once"));
        value.map(|value| std::mem::replace(there, value))
    }

    pub(super) fn remove(&mut self, id: &SessionId) -> Option<T> {
        let place = self.places.remove(id)?;
        self.about = (*id, NOWHERE);
        let value = self.slab.take(place);
        if self.is_empty() {
            self.slab.clear();
        }
        value
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The sessions, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.places.keys().copied()
    }

    /// All of it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &T)> {
        self.after(None)
    }

    /// What comes after a session, in order.
    pub(super) fn after(&self, id: Option<SessionId>) -> impl Iterator<Item = (SessionId, &T)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.places.range((from, Bound::Unbounded)).filter_map(|(id, place)| Some((*id, self.slab.get(*place)?)))
    }

    /// All values, in the order of their places.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slab.chunks.iter_mut().flatten().flatten()
    }

    /// Takes it apart, in order.
    pub(super) fn into_all(self) -> impl Iterator<Item = (SessionId, T)> {
        let SessionMap { places, mut slab, .. } = self;
        places.into_iter().filter_map(move |(id, place)| Some((id, slab.take(place)?)))
    }
}

impl<T: Hash> Hash for SessionMap<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
}

/// Values in numbered places. It grows by a chunk at a time, so that values are not moved and little is reserved for none.
#[derive(Clone, Debug)]
struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<Place>,
}

impl<T> Slab<T> {
    /// Places in a chunk.
    const CHUNK: usize = 512;

    #[inline]
    fn get(&self, place: Place) -> Option<&T> {
        let at = place as usize;
        self.chunks.get(at / Self::CHUNK)?.get(at % Self::CHUNK)?.as_ref()
    }

    #[inline]
    fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        let at = place as usize;
        self.chunks.get_mut(at / Self::CHUNK)?.get_mut(at % Self::CHUNK)?.as_mut()
    }

    fn put(&mut self, value: T) -> Place {
        if let Some(place) = self.free.pop() {
            let at = place as usize;
            self.chunks[at / Self::CHUNK][at % Self::CHUNK] = Some(value);
            return place;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == Self::CHUNK) {
            self.chunks.push(Vec::with_capacity(Self::CHUNK));
        }
        let before = (self.chunks.len() - 1) * Self::CHUNK;
        let chunk = self.chunks.last_mut().expect("one was put there");
        chunk.push(Some(value));
        (before + chunk.len() - 1) as Place
    }

    fn take(&mut self, place: Place) -> Option<T> {
        let at = place as usize;
        let value = self.chunks.get_mut(at / Self::CHUNK)?.get_mut(at % Self::CHUNK)?.take()?;
        self.free.push(place);
        Some(value)
    }

    /// Nothing is in it any more: one chunk is kept for what comes next, the others go.
    fn clear(&mut self) {
        self.chunks.truncate(1);
        self.chunks.iter_mut().for_each(Vec::clear);
        self.free.clear();
        self.free.shrink_to(Self::CHUNK);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that is hashed.
    struct Written(Vec<u8>);

    impl Hasher for Written {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }

    pub(in super::super) fn hashed(what: &impl Hash) -> Vec<u8> {
        let mut state = Written(Vec::new());
        what.hash(&mut state);
        state.0
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_order_and_nothing_else_shows(steps in prop::collection::vec((0..6, 0_u128..12, any::<u32>()), 0..200)) {
            let (mut map, mut expected) = (SessionMap::default(), BTreeMap::new());
            for (what, id, value) in steps {
                let id = SessionId(id);
                match what {
                    0 => prop_assert_eq!(map.insert(id, value), expected.insert(id, value)),
                    1 => prop_assert_eq!(map.remove(&id), expected.remove(&id)),
                    2 => prop_assert_eq!(map.get_or_insert_with(id, || value), expected.entry(id).or_insert(value)),
                    3 => map.turn_to(id),
                    4 => prop_assert_eq!(map.get_mut(&id), expected.get_mut(&id)),
                    _ => prop_assert_eq!(map.get(&id), expected.get(&id)),
                }
                prop_assert_eq!((map.len(), map.is_empty()), (expected.len(), expected.is_empty()));
                prop_assert!(map.after(Some(id)).eq(expected.iter().filter(|(i, _)| **i > id).map(|(i, v)| (*i, v))));
            }
            let mut fresh = SessionMap::default();
            expected.iter().for_each(|(id, value)| assert_eq!(fresh.insert(*id, *value), None));
            prop_assert_eq!(hashed(&map), hashed(&fresh));
            let mut values: Vec<u32> = map.values_mut().map(|value| *value).collect();
            values.sort_unstable();
            let mut wanted: Vec<u32> = expected.values().copied().collect();
            wanted.sort_unstable();
            prop_assert_eq!(values, wanted);
            prop_assert!(map.ids().eq(expected.keys().copied()));
            prop_assert!(map.into_all().eq(expected));
        }
    }

    #[test]
    fn what_is_in_it_is_hashed_and_where_it_ends() {
        let of = |pairs: &[(u128, u32)]| {
            let mut map = SessionMap::default();
            pairs.iter().for_each(|(id, value)| _ = map.insert(SessionId(*id), *value));
            map
        };
        let different = [of(&[]), of(&[(1, 1)]), of(&[(1, 2)]), of(&[(2, 1)]), of(&[(1, 1), (2, 1)])];
        for (n, map) in different.iter().enumerate() {
            different[..n].iter().for_each(|other| assert_ne!(hashed(map), hashed(other)));
        }
        assert_ne!(hashed(&(of(&[(1, 1)]), of(&[]))), hashed(&(of(&[]), of(&[(1, 1)]))));
    }

    #[test]
    fn places_are_used_again_and_given_back_once_nothing_is_there() {
        let mut map = SessionMap::default();
        let ids = || (0..3 * Slab::<u32>::CHUNK as u128).map(SessionId);
        ids().for_each(|id| assert_eq!(map.insert(id, 1_u32), None));
        assert_eq!(map.slab.chunks.len(), 3);
        ids().skip(1).for_each(|id| assert_eq!(map.remove(&id), Some(1)));
        ids().skip(1).for_each(|id| assert_eq!(map.insert(id, 2), None));
        assert_eq!((map.slab.chunks.len(), map.slab.free.len()), (3, 0));
        ids().for_each(|id| assert!(map.remove(&id).is_some()));
        assert_eq!((map.slab.chunks.len(), map.slab.chunks[0].capacity()), (1, Slab::<u32>::CHUNK));
        assert!(map.slab.free.capacity() <= Slab::<u32>::CHUNK);
    }
}
