//! A sorted map whose copies share what has not changed.
//!
//! An image of the cluster is published after every committed batch and read by many threads, so
//! a copy must cost next to nothing and the write that follows must not copy 10,000 topics. The
//! entries lie in sorted chunks, each behind an `Arc`, in one table behind an `Arc`: a copy is one
//! reference count; the first write after it copies the table and one chunk, later writes nothing.
//! With 100,000 entries that is 2,000 pointers, some microseconds. A tree (`imbl`, `rpds`) would
//! copy less and cost a dependency, more memory per entry and slower walks; a plain `Arc<BTreeMap>`
//! would copy everything.
//!
//! Not here: locks or sharing between threads; an image has one writer.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A chunk that has more entries than this is halved.
const CHUNK_ENTRIES_MAX: usize = 64;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A sorted map; cloning it is one reference count.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

/// One key whose values differ between two maps; `None` where a map does not have it.
pub type Difference<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::new(Vec::new()), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        chunk.binary_search_by(|entry| entry.0.borrow().cmp(key)).ok().map(|at| &chunk[at].1)
    }

    /// Whether there is a value for `key`.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The value of `key` for a change; copies its chunk where a clone of the map shares it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let index = self.chunk_of(key);
        let at =
            self.chunks.get(index)?.binary_search_by(|entry| entry.0.borrow().cmp(key)).ok()?;
        let chunk = Arc::make_mut(&mut Arc::make_mut(&mut self.chunks)[index]);
        Some(&mut chunk[at].1)
    }

    /// Sets the value of `key` and returns the former one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let index = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        // A key beyond the last one goes to the end of the last chunk.
        let index = index.min(chunks.len().saturating_sub(1));
        let Some(shared) = chunks.get_mut(index) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        };
        let chunk = Arc::make_mut(shared);
        match chunk.binary_search_by(|entry| entry.0.cmp(&key)) {
            Ok(at) => Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => {
                chunk.insert(at, (key, value));
                self.len += 1;
                if chunk.len() > CHUNK_ENTRIES_MAX {
                    let upper = chunk.split_off(CHUNK_ENTRIES_MAX / 2);
                    chunks.insert(index + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    /// Takes `key` and its value out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let index = self.chunk_of(key);
        let at =
            self.chunks.get(index)?.binary_search_by(|entry| entry.0.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[index]);
        let (_, value) = chunk.remove(at);
        self.len -= 1;
        if chunk.is_empty() {
            chunks.remove(index);
        } else {
            Self::join_with_next(chunks, index);
            Self::join_with_next(chunks, index.saturating_sub(1));
        }
        Some(value)
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|entry| (&entry.0, &entry.1))
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries from `key` on, `key` included.
    pub fn range_from<Q: Ord + ?Sized>(&self, key: &Q) -> impl Iterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        let index = self.chunk_of(key);
        let (first, rest) = match self.chunks.get(index..) {
            Some([first, rest @ ..]) => (first.as_slice(), rest),
            Some([]) | None => (&[][..], &[][..]),
        };
        let skipped = first.partition_point(|entry| entry.0.borrow() < key);
        let rest = rest.iter().flat_map(|chunk| chunk.iter());
        first[skipped..].iter().chain(rest).map(|entry| (&entry.0, &entry.1))
    }

    /// The index of the only chunk that can hold `key`; behind the last one where `key` is greater
    /// than every key.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.0.borrow() < key))
    }

    /// Keeps a map that shrinks from ending as many chunks of one entry each.
    fn join_with_next(chunks: &mut Vec<Chunk<K, V>>, index: usize) {
        let Some(next) = chunks.get(index + 1) else { return };
        if chunks[index].len() + next.len() > CHUNK_ENTRIES_MAX / 2 {
            return;
        }
        let next = chunks.remove(index + 1);
        Arc::make_mut(&mut chunks[index]).extend(next.iter().cloned());
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> SharedMap<K, V> {
    /// What differs in `newer`, in the order of the keys. Chunks that both share are skipped
    /// unread, so the cost follows the change, not the size.
    pub fn differences<'a>(&'a self, newer: &'a Self) -> Vec<Difference<'a, K, V>> {
        let (mut old, mut new) = (Cursor::new(self), Cursor::new(newer));
        let mut differences = Vec::new();
        loop {
            if old.shares_chunk(&new) {
                old.skip_chunk();
                new.skip_chunk();
                continue;
            }
            match (old.entry(), new.entry()) {
                (None, None) => return differences,
                (Some((key, value)), None) => {
                    differences.push((key, Some(value), None));
                    old.step();
                }
                (None, Some((key, value))) => {
                    differences.push((key, None, Some(value)));
                    new.step();
                }
                (Some((left, before)), Some((right, after))) => match left.cmp(right) {
                    std::cmp::Ordering::Less => {
                        differences.push((left, Some(before), None));
                        old.step();
                    }
                    std::cmp::Ordering::Greater => {
                        differences.push((right, None, Some(after)));
                        new.step();
                    }
                    std::cmp::Ordering::Equal => {
                        if before != after {
                            differences.push((left, Some(before), Some(after)));
                        }
                        old.step();
                        new.step();
                    }
                },
            }
        }
    }
}

/// A place in a map: a chunk and an entry of it.
struct Cursor<'a, K, V> {
    chunks: &'a [Chunk<K, V>],
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn new(map: &'a SharedMap<K, V>) -> Self {
        Self { chunks: &map.chunks, at: 0 }
    }

    fn entry(&self) -> Option<&'a (K, V)> {
        self.chunks.first().map(|chunk| &chunk[self.at])
    }

    fn step(&mut self) {
        self.at += 1;
        if self.at == self.chunks[0].len() {
            self.skip_chunk();
        }
    }

    fn skip_chunk(&mut self) {
        self.chunks = &self.chunks[1..];
        self.at = 0;
    }

    /// Whether both stand in the very same chunk; then they stand at the same entry of it, since
    /// neither enters a chunk before the other has passed all smaller keys.
    fn shares_chunk(&self, other: &Self) -> bool {
        match (self.chunks.first(), other.chunks.first()) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (None, _) | (_, None) => false,
        }
    }
}

/// Equal where the entries are, however they lie in chunks.
impl<K: Ord + Clone, V: Clone + PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && (Arc::ptr_eq(&self.chunks, &other.chunks) || self.iter().eq(other.iter()))
    }
}

impl<K: Ord + Clone, V: Clone + Eq> Eq for SharedMap<K, V> {}

impl<K: Ord + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clone_keeps_the_old_value() {
        let mut map = SharedMap::default();
        map.insert(1, "old");
        let copy = map.clone();
        *map.get_mut(&1).unwrap() = "new";
        assert_eq!((copy.get(&1), map.get(&1)), (Some(&"old"), Some(&"new")));
    }

    #[test]
    fn write_after_clone_copies_one_chunk() {
        let mut map = SharedMap::default();
        for key in 0..1000 {
            map.insert(key, key);
        }
        let copy = map.clone();
        map.insert(500, 0);
        let shared = map.chunks.iter().zip(copy.chunks.iter());
        let copied = shared.filter(|(mine, theirs)| !Arc::ptr_eq(mine, theirs)).count();
        assert_eq!(copied, 1);
    }

    #[test]
    fn shrunk_map_has_few_chunks() {
        let mut map = SharedMap::default();
        for key in 0..10_000 {
            map.insert(key, ());
        }
        for key in (0..10_000).filter(|key| key % 100 != 0) {
            map.remove(&key);
        }
        assert_eq!(map.len(), 100);
        assert!(map.chunks.len() < 10, "{} chunks", map.chunks.len());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u8),
        Remove(u16),
        Change(u16, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few keys, so that removals and changes hit.
        prop_oneof![
            (0..400u16, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
            (0..400u16).prop_map(Step::Remove),
            (0..400u16, any::<u8>()).prop_map(|(key, value)| Step::Change(key, value)),
        ]
    }

    fn apply(map: &mut SharedMap<u16, u8>, model: &mut BTreeMap<u16, u8>, step: &Step) {
        match *step {
            Step::Insert(key, value) => {
                assert_eq!(map.insert(key, value), model.insert(key, value));
            }
            Step::Remove(key) => assert_eq!(map.remove(&key), model.remove(&key)),
            Step::Change(key, value) => {
                let (mine, theirs) = (map.get_mut(&key), model.get_mut(&key));
                assert_eq!(mine.is_some(), theirs.is_some());
                if let (Some(mine), Some(theirs)) = (mine, theirs) {
                    *mine = value;
                    *theirs = value;
                }
            }
        }
    }

    fn check(map: &SharedMap<u16, u8>, model: &BTreeMap<u16, u8>) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().eq(model.iter()));
        for from in [0, 100, 399, 400] {
            assert!(map.range_from(&from).eq(model.range(from..)), "from {from}");
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_btree_map(
            before in prop::collection::vec(step(), 0..600),
            after in prop::collection::vec(step(), 0..60),
        ) {
            let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
            before.iter().for_each(|step| apply(&mut map, &mut model, step));
            let (old, old_model) = (map.clone(), model.clone());
            after.iter().for_each(|step| apply(&mut map, &mut model, step));
            check(&old, &old_model);
            check(&map, &model);

            let keys = old_model.keys().chain(model.keys()).collect::<std::collections::BTreeSet<_>>();
            let expected: Vec<_> = keys
                .into_iter()
                .map(|key| (key, old_model.get(key), model.get(key)))
                .filter(|(_, before, after)| before != after)
                .collect();
            prop_assert_eq!(old.differences(&map), expected);
        }
    }
}
