//! The nearest key to a misspelt one.

/// The name with the fewest edits to `wrong`; `None` if even that one is too far to be meant.
pub fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is another word, not a slip.
    let edits_max = (wrong.chars().count() / 3).clamp(1, 6);
    names
        .map(|name| (edits(wrong, name, edits_max), name))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Levenshtein distance, or any number above `limit` as soon as it is known to pass it.
fn edits(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, x) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, y) in b.iter().enumerate() {
            let replaced = above[column] + usize::from(x != y);
            let removed = above[column + 1] + 1;
            let inserted = current[column] + 1;
            current.push(replaced.min(removed).min(inserted));
        }
        above = current;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys;

    #[test]
    fn slips_find_their_key_and_other_words_none() {
        let cases = [
            ("log.retention.hour", Some("log.retention.hours")),
            ("log.retenton.ms", Some("log.retention.ms")),
            ("listener", Some("listeners")),
            ("num.partition", Some("num.partitions")),
            ("nodeid", Some("node.id")),
            ("x", None),
            ("zookeeper.connect", None),
            ("completely.different.thing", None),
        ];
        for (wrong, expected) in cases {
            assert_eq!(nearest(wrong, keys::BROKER.keys().copied()), expected, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn distance_is_the_plain_recursions(a in "[ab]{0,5}", b in "[ab]{0,5}") {
            fn plain(a: &[u8], b: &[u8]) -> usize {
                match (a, b) {
                    ([], rest) | (rest, []) => rest.len(),
                    ([x, a_rest @ ..], [y, b_rest @ ..]) => {
                        let replaced = plain(a_rest, b_rest) + usize::from(x != y);
                        replaced.min(plain(a_rest, b) + 1).min(plain(a, b_rest) + 1)
                    }
                }
            }
            prop_assert_eq!(edits(&a, &b, 99), plain(a.as_bytes(), b.as_bytes()));
        }
    }
}
