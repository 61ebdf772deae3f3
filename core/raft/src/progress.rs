//! A leader's account of the others: how far each replica is, who was heard of, which change of
//! voters is open.
//!
//! Not here: what the leader concludes from it (`leader`).

use std::collections::{BTreeMap, BTreeSet};

use types::{BrokerId, Millis, Offset};

use crate::voters::{ReplicaKey, Voter, VoterSet};

/// Readers that are no voters are forgotten when they have not read for this long.
const OBSERVER_MAX: Millis = Millis(300_000);

/// Readers that are no voters and are kept account of: more than a cluster has nodes. Others read,
/// too, but only who is in the account can become a voter.
const OBSERVERS_MAX: usize = 10_000;

/// How far a replica is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The end of what it has on disk, once it has fetched.
    pub end: Option<Offset>,
    /// When it fetched last, in monotonic time.
    pub last_fetch: Option<Millis>,
    /// The last time by which it had everything the leader then had.
    pub last_caught_up: Option<Millis>,
    /// Where the leader's log ended at its fetch before.
    end_at_last_fetch: Offset,
}

/// What a leader knows.
#[derive(Clone, Debug)]
pub struct Leader {
    /// Where the epoch begins; only what lies behind can commit by itself.
    pub(crate) epoch_start: Offset,
    pub(crate) progress: BTreeMap<ReplicaKey, Progress>,
    /// Voters heard of since the deadline was set.
    heard: BTreeSet<BrokerId>,
    /// When the leader resigns unless a majority is heard of.
    pub(crate) deadline: Millis,
    /// The end of the change of voters that is not committed yet.
    pub(crate) changing: Option<Offset>,
    /// What static voters have said of themselves in this epoch.
    pub(crate) told: BTreeMap<BrokerId, Voter>,
}

impl Progress {
    /// Whether the replica has read not too long ago.
    fn is_known(&self, now: Millis) -> bool {
        self.last_fetch.is_none_or(|at| now - at < OBSERVER_MAX)
    }
}

impl Leader {
    pub(crate) fn new(epoch_start: Offset, changing: Option<Offset>, deadline: Millis) -> Self {
        Self {
            epoch_start,
            progress: BTreeMap::new(),
            heard: BTreeSet::new(),
            deadline,
            changing,
            told: BTreeMap::new(),
        }
    }

    /// How far each replica is that has fetched in this epoch. Those that are no voters and have not
    /// read for long are left out; what a silent voter had is what an operator wants to know.
    pub fn progress<'a>(
        &'a self,
        voters: &'a VoterSet,
        now: Millis,
    ) -> impl Iterator<Item = (ReplicaKey, Progress)> + 'a {
        let known = self.progress.iter().map(|(key, progress)| (*key, *progress));
        known.filter(move |(key, one)| voters.contains(*key) || one.is_known(now))
    }

    /// Where its epoch begins.
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// A replica has fetched from `end` while the leader's log ended at `leader_end`.
    pub(crate) fn fetched(
        &mut self,
        (key, voters): (ReplicaKey, &VoterSet),
        end: Offset,
        leader_end: Offset,
        now: Millis,
    ) {
        let Some(progress) = self.entry(key, voters.contains(key)) else { return };
        if end >= leader_end {
            progress.last_caught_up = Some(now);
        } else if end >= progress.end_at_last_fetch && progress.last_fetch.is_some() {
            progress.last_caught_up = progress.last_caught_up.max(progress.last_fetch);
        }
        progress.end = Some(end);
        progress.last_fetch = Some(now);
        progress.end_at_last_fetch = leader_end;
        self.progress.retain(|key, one| voters.contains(*key) || one.is_known(now));
    }

    /// A replica is there, but its log says nothing yet.
    pub(crate) fn heard_of(&mut self, key: ReplicaKey, is_voter: bool, now: Millis) {
        if let Some(progress) = self.entry(key, is_voter) {
            progress.last_fetch = Some(now);
        }
    }

    /// The account of a replica; `None` for one more reader where there are too many.
    fn entry(&mut self, key: ReplicaKey, is_voter: bool) -> Option<&mut Progress> {
        let is_full = !is_voter && self.progress.len() >= OBSERVERS_MAX;
        if is_full && !self.progress.contains_key(&key) {
            return None;
        }
        Some(self.progress.entry(key).or_insert(Progress {
            end: None,
            last_fetch: None,
            last_caught_up: None,
            end_at_last_fetch: Offset::ZERO,
        }))
    }

    pub(crate) fn heard_from_voter(&mut self, id: BrokerId, needed: usize, deadline: Millis) {
        self.heard.insert(id);
        if self.heard.len() >= needed {
            self.heard.clear();
            self.deadline = deadline;
        }
    }

    /// How far a voter is; a static one is known by its id alone.
    pub(crate) fn end_of(&self, voter: &Voter) -> Option<Offset> {
        let is_it = |key: &ReplicaKey| {
            key.id == voter.key.id
                && (voter.key.directory.is_none() || key.directory == voter.key.directory)
        };
        self.progress.iter().filter(|(key, _)| is_it(key)).filter_map(|(_, one)| one.end).max()
    }

    /// Those replicas, the most complete log first.
    pub(crate) fn by_progress(&self, replicas: &[ReplicaKey]) -> Vec<ReplicaKey> {
        let mut sorted = replicas.to_vec();
        let end = |key: &ReplicaKey| {
            self.progress
                .iter()
                .filter(|(one, _)| one.id == key.id)
                .filter_map(|(_, one)| one.end)
                .max()
        };
        sorted.sort_by_key(|key| std::cmp::Reverse(end(key)));
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_voter_stays_in_the_account_and_another_reader_does_not() {
        let key = |id| ReplicaKey { id: BrokerId(id), directory: None };
        let voter = Voter { key: key(2), endpoints: vec![], kraft_versions: (0, 1) };
        let voters = VoterSet::new([voter]);
        let mut leader = Leader::new(Offset::ZERO, None, Millis::ZERO);
        let end = Offset::new(7);
        for id in [2, 8] {
            leader.fetched((key(id), &voters), end, end, Millis::ZERO);
        }
        // Somebody else reads on.
        leader.fetched((key(9), &voters), end, end, OBSERVER_MAX);
        let ends = leader.progress(&voters, OBSERVER_MAX);
        let ends: Vec<_> = ends.map(|(key, one)| (key.id.0, one.end)).collect();
        assert_eq!(ends, [(2, Some(end)), (9, Some(end))]);
    }
}
