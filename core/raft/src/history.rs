//! The voters at every point of the log: a change counts as soon as it is in the log, and no longer
//! once it is cut off.

use types::Offset;

use crate::voters::VoterSet;

/// Sets of voters by the offset of the record that brought them.
#[derive(Clone, Debug)]
pub struct VoterHistory {
    /// What holds before the first record: the static voters, or none.
    first: VoterSet,
    changes: Vec<(Offset, VoterSet)>,
}

impl VoterHistory {
    /// A log that names no voters yet.
    pub fn new(first: VoterSet) -> Self {
        Self { first, changes: vec![] }
    }

    /// The voters that count.
    pub fn latest(&self) -> &VoterSet {
        self.changes.last().map_or(&self.first, |(_, set)| set)
    }

    /// The offset of the record that brought the voters that count; `None` for static ones.
    pub fn latest_offset(&self) -> Option<Offset> {
        self.changes.last().map(|(offset, _)| *offset)
    }

    /// The voters before the latest change.
    pub fn previous(&self) -> &VoterSet {
        let before = self.changes.len().checked_sub(2).and_then(|at| self.changes.get(at));
        before.map_or(&self.first, |(_, set)| set)
    }

    /// The voters that a snapshot up to `end` has to name; `None` where the log names none.
    pub fn before(&self, end: Offset) -> Option<&VoterSet> {
        self.changes.iter().rev().find(|(offset, _)| *offset < end).map(|(_, set)| set)
    }

    /// Takes note of a record.
    ///
    /// # Panics
    /// If it does not lie behind the ones known.
    pub fn push(&mut self, offset: Offset, set: VoterSet) {
        assert!(self.latest_offset().is_none_or(|latest| latest < offset), "records come in order");
        self.changes.push((offset, set));
    }

    /// Forgets what was cut from the log at `end`.
    pub fn truncate(&mut self, end: Offset) {
        self.changes.retain(|(offset, _)| *offset < end);
    }

    /// Forgets what no snapshot up to `start` or later can ask for.
    pub fn trim(&mut self, start: Offset) {
        let keep = self.changes.partition_point(|(offset, _)| *offset < start).saturating_sub(1);
        self.changes.drain(..keep);
    }

    /// Begins anew from a snapshot that ends at `end`.
    pub fn reset(&mut self, end: Offset, voters: Option<VoterSet>) {
        self.changes.clear();
        if let Some(voters) = voters {
            // The snapshot stands for everything before its end.
            self.changes.push((Offset::new((end.get() - 1).max(0)), voters));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voters::{ReplicaKey, Voter};
    use types::BrokerId;

    fn set(count: i32) -> VoterSet {
        VoterSet::new((0..count).map(|id| Voter {
            key: ReplicaKey { id: BrokerId(id), directory: None },
            endpoints: vec![],
            kraft_versions: (0, 1),
        }))
    }

    #[test]
    fn a_cut_change_never_was() {
        let mut history = VoterHistory::new(set(1));
        history.push(Offset::new(5), set(2));
        history.push(Offset::new(9), set(3));
        history.truncate(Offset::new(9));
        assert_eq!(history.latest(), &set(2));
        history.truncate(Offset::new(5));
        assert_eq!(history.latest(), &set(1));
    }

    #[test]
    fn a_snapshot_names_what_held_before_its_end() {
        let mut history = VoterHistory::new(set(1));
        assert_eq!(history.before(Offset::new(9)), None);
        history.push(Offset::new(5), set(2));
        history.push(Offset::new(9), set(3));
        assert_eq!(history.before(Offset::new(9)), Some(&set(2)));
        history.trim(Offset::new(9));
        assert_eq!(history.before(Offset::new(9)), Some(&set(2)));
        assert_eq!(history.before(Offset::new(10)), Some(&set(3)));
    }
}
