//! Votes that come in, for candidates and those who ask whether they should become one.

use std::collections::BTreeMap;

use types::BrokerId;

use crate::voters::VoterSet;

/// The answers so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally(BTreeMap<BrokerId, bool>);

impl Tally {
    /// Takes note of an answer. What was granted stays granted.
    pub(crate) fn record(&mut self, voter: BrokerId, is_granted: bool) {
        let vote = self.0.entry(voter).or_insert(is_granted);
        *vote |= is_granted;
    }

    /// Whether the voter has answered.
    pub(crate) fn has_answered(&self, voter: BrokerId) -> bool {
        self.0.contains_key(&voter)
    }

    /// Whether a majority agrees.
    pub(crate) fn is_won(&self, voters: &VoterSet) -> bool {
        self.count(voters, true) >= voters.majority()
    }

    /// Whether no majority can agree any more.
    pub(crate) fn is_lost(&self, voters: &VoterSet) -> bool {
        voters.len() - self.count(voters, false) < voters.majority()
    }

    /// Who agreed.
    pub(crate) fn granted(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.0.iter().filter(|(_, granted)| **granted).map(|(id, _)| *id)
    }

    fn count(&self, voters: &VoterSet, wanted: bool) -> usize {
        self.0.iter().filter(|(id, vote)| **vote == wanted && voters.get(**id).is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voters::{ReplicaKey, Voter};

    fn voters(count: i32) -> VoterSet {
        VoterSet::new((1..=count).map(|id| Voter {
            key: ReplicaKey { id: BrokerId(id), directory: None },
            endpoints: vec![],
            kraft_versions: (0, 1),
        }))
    }

    #[test]
    fn more_than_half_decides() {
        let cases = [
            (1, vec![1], vec![], true, false),
            (3, vec![1], vec![], false, false),
            (3, vec![1, 2], vec![], true, false),
            (3, vec![1], vec![2, 3], false, true),
            (4, vec![1, 2], vec![3, 4], false, true),
            (3, vec![1, 9], vec![8], false, false),
        ];
        for (count, yes, no, won, lost) in cases {
            let mut tally = Tally::default();
            yes.iter().for_each(|id| tally.record(BrokerId(*id), true));
            no.iter().for_each(|id| tally.record(BrokerId(*id), false));
            let voters = voters(count);
            assert_eq!(
                (tally.is_won(&voters), tally.is_lost(&voters)),
                (won, lost),
                "{yes:?} {no:?}"
            );
        }
    }
}
