//! Which brokers hold a partition while its replicas move (KIP-455).
//!
//! A reassignment first adds the new replicas to the old ones, waits until the ISR holds all that
//! are to stay, and then takes the old ones away. Until then it can be reverted or redirected.
//!
//! Not here: the requests (`reassignment`), leaders and epochs (`partition_change`).

use types::BrokerId;

use crate::image::Partition;

/// The replicas of a partition and what becomes of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Assignment {
    /// All replicas, those that are to stay first.
    pub replicas: Vec<BrokerId>,
    /// Replicas that were not there before the reassignment.
    pub adding: Vec<BrokerId>,
    /// Replicas that go when the reassignment is complete.
    pub removing: Vec<BrokerId>,
}

impl Assignment {
    /// As the partition is now.
    pub fn of(partition: &Partition) -> Self {
        Self {
            replicas: partition.replicas.to_vec(),
            adding: partition.adding.to_vec(),
            removing: partition.removing.to_vec(),
        }
    }

    /// On the way from the present replicas to `target`. A reassignment that is under way is
    /// redirected: what it added still counts as added, so that a revert finds the way home.
    pub fn towards(partition: &Partition, target: &[BrokerId]) -> Self {
        let original = Self::of(partition).reverted();
        let mut removing = without(&partition.replicas, target);
        removing.sort_unstable();
        let replicas = [target, &removing].concat();
        let mut adding = without(&replicas, &original);
        adding.sort_unstable();
        Self { replicas, adding, removing }
    }

    /// At rest on these replicas.
    pub fn settled(replicas: Vec<BrokerId>) -> Self {
        Self { replicas, adding: Vec::new(), removing: Vec::new() }
    }

    /// The replicas of before the reassignment.
    pub fn reverted(&self) -> Vec<BrokerId> {
        without(&self.replicas, &self.adding)
    }

    /// The replicas of after the reassignment.
    pub fn target(&self) -> Vec<BrokerId> {
        without(&self.replicas, &self.removing)
    }

    /// The target, where there is a reassignment that this ISR completes.
    pub fn completed_by(&self, isr: &[BrokerId]) -> Option<Vec<BrokerId>> {
        let under_way = !self.adding.is_empty() || !self.removing.is_empty();
        let target = self.target();
        let in_sync = !target.is_empty() && target.iter().all(|replica| isr.contains(replica));
        (under_way && in_sync).then_some(target)
    }
}

/// The items of `all` that are not in `others`, in their order.
pub(super) fn without(all: &[BrokerId], others: &[BrokerId]) -> Vec<BrokerId> {
    all.iter().copied().filter(|one| !others.contains(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::topic::{brokers, wire_ids};

    /// Replicas, adding, removing.
    type Lists = [&'static [i32]; 3];

    fn moving(replicas: &[i32], adding: &[i32], removing: &[i32]) -> Partition {
        Partition {
            replicas: brokers(replicas),
            adding: brokers(adding),
            removing: brokers(removing),
            ..Partition::default()
        }
    }

    #[test]
    fn reassignment_keeps_the_old_replicas_behind_the_new_ones() {
        // Lists before, target, lists after, replicas after a revert.
        type Case = (&'static str, Lists, &'static [i32], Lists, &'static [i32]);
        let cases: [Case; 6] = [
            ("move", [&[1, 2], &[], &[]], &[3, 4], [&[3, 4, 1, 2], &[3, 4], &[1, 2]], &[1, 2]),
            ("grow", [&[1, 2], &[], &[]], &[1, 2, 3], [&[1, 2, 3], &[3], &[]], &[1, 2]),
            ("shrink", [&[1, 2, 3], &[], &[]], &[2], [&[2, 1, 3], &[], &[1, 3]], &[2, 1, 3]),
            ("reorder", [&[1, 2], &[], &[]], &[2, 1], [&[2, 1], &[], &[]], &[2, 1]),
            (
                "redirect",
                [&[4, 5, 1, 2], &[4, 5], &[1, 2]],
                &[4, 6],
                [&[4, 6, 1, 2, 5], &[4, 5, 6], &[1, 2, 5]],
                &[1, 2],
            ),
            (
                "go home",
                [&[4, 5, 1, 2], &[4, 5], &[1, 2]],
                &[1, 2],
                [&[1, 2, 4, 5], &[4, 5], &[4, 5]],
                &[1, 2],
            ),
        ];
        for (name, [replicas, adding, removing], target, expected, reverted) in cases {
            let partition = moving(replicas, adding, removing);
            let assignment = Assignment::towards(&partition, &brokers(target));
            let lists = [&assignment.replicas, &assignment.adding, &assignment.removing];
            assert_eq!(lists.map(|list| wire_ids(list)), expected.map(<[_]>::to_vec), "{name}");
            assert_eq!(wire_ids(&assignment.reverted()), reverted, "{name}");
            assert_eq!(wire_ids(&assignment.target()), target, "{name}");
        }
    }

    #[test]
    fn reassignment_is_complete_when_all_that_stay_are_in_sync() {
        type Case = (&'static str, Lists, &'static [i32], Option<&'static [i32]>);
        let cases: [Case; 6] = [
            ("at rest", [&[1, 2], &[], &[]], &[1, 2], None),
            ("not yet", [&[3, 4, 1], &[3, 4], &[1]], &[1, 3], None),
            ("all", [&[3, 4, 1], &[3, 4], &[1]], &[1, 3, 4], Some(&[3, 4])),
            ("old one lags", [&[3, 4, 1], &[3, 4], &[1]], &[3, 4], Some(&[3, 4])),
            ("growth", [&[1, 2], &[2], &[]], &[1, 2], Some(&[1, 2])),
            ("all go", [&[1], &[], &[1]], &[1], None),
        ];
        for (name, [replicas, adding, removing], isr, expected) in cases {
            let assignment = Assignment::of(&moving(replicas, adding, removing));
            let completed = assignment.completed_by(&brokers(isr));
            assert_eq!(completed.map(|ids| wire_ids(&ids)), expected.map(<[_]>::to_vec), "{name}");
        }
    }
}
