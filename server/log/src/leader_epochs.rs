//! Which leader wrote which part of a log: the start offset of each leader epoch.
//!
//! Followers and consumers ask it where an epoch ended, to find where two logs part. It is kept as
//! `leader-epoch-checkpoint` beside the segments; [`LeaderEpochs`] itself does no IO.

use types::{LeaderEpoch, Offset};

/// Name of the checkpoint file in the log's folder.
pub(crate) const CHECKPOINT_NAME: &str = "leader-epoch-checkpoint";

/// Epochs and their start offsets, both strictly rising.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
    /// Whether the checkpoint on disk is older than `entries`.
    dirty: bool,
}

impl LeaderEpochs {
    /// The cache with the entries of a checkpoint; `None` where they do not rise.
    pub(crate) fn from_checkpoint(entries: Vec<(LeaderEpoch, Offset)>) -> Option<Self> {
        let rising = entries.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
        rising.then_some(Self { entries, dirty: false })
    }

    /// All epochs, oldest first.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The epoch of the newest batch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The epoch that wrote the record at `offset`.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let behind = self.entries.partition_point(|(_, start)| *start <= offset);
        behind.checked_sub(1).map(|at| self.entries[at].0)
    }

    /// The largest epoch known that is not above `epoch`, and where it ended: the start of the
    /// next one, or `log_end`. `None` where the log knows nothing that old, or `epoch` is newer
    /// than all it knows (the caller answers "undefined" to both, as Kafka does).
    pub fn end_offset(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if self.latest()? == epoch {
            return Some((epoch, log_end));
        }
        let higher = self.entries.partition_point(|(known, _)| *known <= epoch);
        let end = self.entries.get(higher)?.1;
        match higher.checked_sub(1) {
            Some(at) => Some((self.entries[at].0, end)),
            // Older than everything here: nothing before the first known epoch remains.
            None => Some((epoch, end)),
        }
    }

    /// Notes that `epoch` begins at `start`, unless it is known already.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if epoch.0 < 0 || self.latest() == Some(epoch) {
            return;
        }
        // An epoch whose records were all cut again, or a newer one that never wrote, gives way.
        while self.entries.last().is_some_and(|last| last.0 > epoch || last.1 >= start) {
            self.entries.pop();
        }
        // What gave way may have hidden that the epoch goes on.
        if self.latest() != Some(epoch) {
            self.entries.push((epoch, start));
        }
        self.dirty = true;
    }

    /// Forgets epochs that begin at or behind the log's new end.
    pub(crate) fn truncate_from_end(&mut self, end: Offset) {
        let kept = self.entries.partition_point(|(_, start)| *start < end);
        if kept < self.entries.len() {
            self.entries.truncate(kept);
            self.dirty = true;
        }
    }

    /// Forgets epochs that ended before the log's new start; the one in force there begins there.
    pub(crate) fn truncate_from_start(&mut self, start: Offset) {
        let behind = self.entries.partition_point(|(_, begins)| *begins <= start);
        let Some(in_force) = behind.checked_sub(1) else { return };
        if in_force > 0 || self.entries[0].1 < start {
            self.entries.drain(..in_force);
            self.entries[0].1 = start;
            self.dirty = true;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.dirty |= !self.entries.is_empty();
        self.entries.clear();
    }

    /// After all that was done, these are the entries that the checkpoint holds.
    pub(crate) fn compare_with_checkpoint(&mut self, entries: &[(LeaderEpoch, Offset)]) {
        self.dirty &= self.entries != entries;
    }

    /// What was taken did not reach the disk.
    pub(crate) fn set_dirty(&mut self) {
        self.dirty = true;
    }

    /// Whether the checkpoint is older than this.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The entries to write, where the checkpoint is older; the caller writes them.
    pub(crate) fn take_dirty(&mut self) -> Option<&[(LeaderEpoch, Offset)]> {
        std::mem::take(&mut self.dirty).then_some(&self.entries[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut cache = LeaderEpochs::default();
        for &(epoch, start) in entries {
            cache.assign(LeaderEpoch(epoch), Offset::new(start));
        }
        cache
    }

    fn plain(cache: &LeaderEpochs) -> Vec<(i32, i64)> {
        cache.entries().iter().map(|(epoch, start)| (epoch.0, start.get())).collect()
    }

    #[test]
    fn end_offsets_follow_kafkas_rules() {
        let cache = cache(&[(2, 10), (4, 20), (7, 30)]);
        let cases = [
            ("current epoch ends at the log's end", 7, Some((7, 40))),
            ("a former epoch ends where the next begins", 4, Some((4, 30))),
            ("a gap is answered by the epoch below", 5, Some((4, 30))),
            ("older than all ends where the first begins", 1, Some((1, 10))),
            ("newer than all is unknown", 8, None),
        ];
        for (name, epoch, expected) in cases {
            let answer = cache.end_offset(LeaderEpoch(epoch), Offset::new(40));
            assert_eq!(answer.map(|(e, o)| (e.0, o.get())), expected, "{name}");
        }
    }

    #[test]
    fn assigning_replaces_epochs_that_wrote_nothing_before() {
        let mut cache = cache(&[(1, 0), (2, 10)]);
        cache.assign(LeaderEpoch(3), Offset::new(10));
        assert_eq!(plain(&cache), [(1, 0), (3, 10)]);
        cache.assign(LeaderEpoch(3), Offset::new(15));
        assert_eq!(plain(&cache), [(1, 0), (3, 10)]);
    }

    /// A leader that wrote nothing follows again, and gets more of the epoch before its own.
    #[test]
    fn an_epoch_goes_on_when_a_newer_one_gives_way() {
        let mut cache = cache(&[(4, 3), (5, 10)]);
        cache.assign(LeaderEpoch(4), Offset::new(10));
        assert_eq!(plain(&cache), [(4, 3)]);
    }

    #[test]
    fn truncation_keeps_what_covers_the_rest() {
        let mut from_end = cache(&[(1, 0), (2, 10), (3, 20)]);
        from_end.truncate_from_end(Offset::new(20));
        assert_eq!(plain(&from_end), [(1, 0), (2, 10)]);

        let mut from_start = cache(&[(1, 0), (2, 10), (3, 20)]);
        from_start.truncate_from_start(Offset::new(15));
        assert_eq!(plain(&from_start), [(2, 15), (3, 20)]);
        from_start.truncate_from_start(Offset::new(20));
        assert_eq!(plain(&from_start), [(3, 20)]);
    }

    #[test]
    fn epoch_of_an_offset() {
        let cache = cache(&[(1, 5), (2, 10)]);
        let epoch_of = |offset| cache.epoch_of(Offset::new(offset)).map(|epoch| epoch.0);
        assert_eq!(
            [epoch_of(4), epoch_of(5), epoch_of(9), epoch_of(10)],
            [None, Some(1), Some(1), Some(2)]
        );
    }
}
