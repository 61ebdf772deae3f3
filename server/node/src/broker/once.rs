//! What a request names more than once is answered once, where the first of them stands: else a
//! small request could make an answer that no memory holds.

use std::collections::{BTreeMap, BTreeSet};

/// Keeps the first of the items with the same key.
pub fn first_of_each<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(key(item)));
}

/// Keeps the first of each partition; topics that have nothing left to ask go. `split` gives what
/// a topic is known by and the partitions that are asked for.
pub fn partitions_once<T, K: Ord>(
    topics: &mut Vec<T>,
    split: impl Fn(&mut T) -> (K, &mut Vec<i32>),
) {
    let mut seen: BTreeMap<K, BTreeSet<i32>> = BTreeMap::new();
    topics.retain_mut(|topic| {
        let (key, indexes) = split(topic);
        let seen = seen.entry(key).or_default();
        let asked_none = indexes.is_empty();
        indexes.retain(|index| seen.insert(*index));
        asked_none || !indexes.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_names_stays_where_it_is() {
        let mut names = vec![("b", 1), ("a", 2), ("b", 3), ("a", 4), ("c", 5)];
        first_of_each(&mut names, |(name, _)| *name);
        assert_eq!(names, [("b", 1), ("a", 2), ("c", 5)]);
    }

    #[test]
    fn a_partition_is_kept_once_however_its_topic_is_repeated() {
        let mut topics = vec![
            ("a", vec![1, 0, 1]),
            ("b", vec![1]),
            ("a", vec![0, 2]),
            ("a", vec![2, 1]),
            ("c", vec![]),
        ];
        partitions_once(&mut topics, |(name, indexes)| (*name, indexes));
        let once = [("a", vec![1, 0]), ("b", vec![1]), ("a", vec![2]), ("c", vec![])];
        assert_eq!(topics, once);
    }
}
