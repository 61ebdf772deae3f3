//! A partition's log in memory: what was written, and how much of it a crash leaves.

use thalweg_replication::{EpochEnd, OwnLog};
use types::{LeaderEpoch, Offset};

/// A record: the epoch of the leader that wrote it, and what makes it unlike all others.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Entry {
    pub epoch: LeaderEpoch,
    pub value: u32,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Log {
    pub entries: Vec<Entry>,
    /// How many of them are on the disk.
    pub synced: usize,
}

impl Log {
    pub fn end(&self) -> Offset {
        offset(self.entries.len())
    }

    pub fn durable_end(&self) -> Offset {
        offset(self.synced)
    }

    pub fn sync(&mut self) {
        self.synced = self.entries.len();
    }

    pub fn truncate(&mut self, end: Offset) {
        self.entries.truncate(index(end));
        self.synced = self.synced.min(self.entries.len());
    }

    /// Entries from an offset on, at most so many.
    pub fn read(&self, from: Offset, max: usize) -> Vec<Entry> {
        self.entries[index(from)..].iter().copied().take(max).collect()
    }

    /// What its follower says of it; `counted_end` is the durable end or the end, by durability.
    pub fn own(&self, counted_end: Offset) -> OwnLog {
        let last_epoch = self.entries.last().map(|entry| entry.epoch);
        OwnLog { start: Offset::ZERO, end: self.end(), counted_end, last_epoch }
    }

    /// The largest epoch not above `epoch`, and where it ends; `None` where it is newer than all.
    pub fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let newest = self.entries.last()?.epoch;
        (epoch <= newest).then(|| self.end_of_known(epoch))
    }

    /// The same for the leader of `own`, which knows that epoch though it may have written nothing.
    pub fn end_of_for_leader(&self, epoch: LeaderEpoch, own: LeaderEpoch) -> Option<EpochEnd> {
        match epoch.cmp(&own) {
            std::cmp::Ordering::Less => Some(self.end_of_known(epoch)),
            std::cmp::Ordering::Equal => Some(EpochEnd { epoch, end: self.end() }),
            std::cmp::Ordering::Greater => None,
        }
    }

    fn end_of_known(&self, epoch: LeaderEpoch) -> EpochEnd {
        let count = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let known = self.entries[..count].last().map_or(epoch, |entry| entry.epoch);
        EpochEnd { epoch: known, end: offset(count) }
    }
}

pub fn offset(count: usize) -> Offset {
    Offset::new(i64::try_from(count).expect("logs are short"))
}

pub fn index(offset: Offset) -> usize {
    usize::try_from(offset.get()).expect("offsets count from 0")
}
