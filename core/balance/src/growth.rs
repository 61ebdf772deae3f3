//! How fast partitions grow, by looking at their sizes again and again.
//!
//! Retention makes a partition smaller while records come in: such a look tells nothing, and the
//! former rate stays.

use std::collections::BTreeMap;

use types::{Millis, TopicPartition};

/// Part of the new rate in the mean; the rest is what was known.
const SHARE_OF_NEW: f64 = 0.3;

/// Sizes and rates of a cluster's partitions.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    looked_at: Option<Millis>,
    known: BTreeMap<TopicPartition, Grown>,
}

/// One partition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grown {
    /// Bytes of a replica.
    pub bytes: u64,
    /// Bytes per second; `None` before it was looked at twice.
    pub rate: Option<f64>,
}

impl Growth {
    /// When sizes were looked at last.
    pub fn looked_at(&self) -> Option<Millis> {
        self.looked_at
    }

    /// Takes the sizes of all partitions; what is not among them is gone.
    pub fn look(&mut self, sizes: BTreeMap<TopicPartition, u64>, now: Millis) {
        let seconds = self.looked_at.map(|before| (now - before).get() as f64 / 1000.0);
        let former = std::mem::take(&mut self.known);
        let grown = |(name, bytes): (TopicPartition, u64)| {
            let before = former.get(&name).copied();
            let rate = before.and_then(|before| {
                let fresh = bytes.checked_sub(before.bytes).map(|more| more as f64);
                let fresh = fresh.zip(seconds.filter(|seconds| *seconds > 0.0));
                match (fresh.map(|(more, seconds)| more / seconds), before.rate) {
                    (Some(fresh), Some(rate)) => Some(rate + SHARE_OF_NEW * (fresh - rate)),
                    (fresh, rate) => fresh.or(rate),
                }
            });
            (name, Grown { bytes, rate })
        };
        self.known = sizes.into_iter().map(grown).collect();
        self.looked_at = Some(now);
    }

    /// Bytes of a partition, and bytes per second that are written to it, as far as known.
    pub fn of(&self, name: &TopicPartition) -> (u64, u64) {
        let grown = self.known.get(name).copied().unwrap_or_default();
        (grown.bytes, grown.rate.unwrap_or(0.0).max(0.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_growth_and_outlast_retention() {
        let name = TopicPartition::new("t", 0);
        let mut growth = Growth::default();
        let cases = [
            ("nothing to compare with", 0, 1000, 0),
            ("the first rate as it is", 10, 101_000, 10_000),
            ("a mean later", 20, 101_000, 7_000),
            ("retention tells nothing", 30, 500, 7_000),
            ("from the smaller size on", 40, 100_500, 7_900),
        ];
        for (what, second, bytes, rate) in cases {
            growth.look(BTreeMap::from([(name.clone(), bytes)]), Millis(second * 1000));
            assert_eq!(growth.of(&name), (bytes, rate), "{what}");
        }
        growth.look(BTreeMap::new(), Millis(50_000));
        assert_eq!(growth.of(&name), (0, 0), "it is gone");
    }
}
