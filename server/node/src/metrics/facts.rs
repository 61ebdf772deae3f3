//! A copy of what one shard has counted and what its partitions look like.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use protocol::ApiKey;
use types::TopicPartition;

use super::counts::{ReplicationCounts, TopicCounts};
use crate::dirs::Dirs;
use crate::shard::Shard;

/// One partition at the moment of a scrape.
#[derive(Clone, Debug)]
pub struct PartitionFacts {
    /// Its name.
    pub name: TopicPartition,
    /// Bytes of its log.
    pub bytes: u64,
    /// First offset.
    pub start: i64,
    /// Offset that the next record gets.
    pub end: i64,
    /// Segments of its log.
    pub segments: usize,
    /// Whether a write or sync failed.
    pub is_offline: bool,
    /// Places of its log that reads found damaged.
    pub damages: usize,
    /// Where compaction has failed: the directory, and the bytes that wait for it.
    pub uncleanable: Option<(PathBuf, u64)>,
}

/// One directory of `log.dirs`.
#[derive(Clone, Debug)]
pub struct DirFacts {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is not used any more, or never was.
    pub is_offline: bool,
}

impl DirFacts {
    /// Those of all directories.
    pub fn of(dirs: &Dirs) -> Vec<Self> {
        let opened = dirs.data().iter().map(|dir| (dir.path(), !dir.is_online()));
        let all = opened.chain(dirs.unusable.iter().map(|dir| (&*dir.path, true)));
        all.map(|(path, is_offline)| Self { path: path.to_owned(), is_offline }).collect()
    }
}

/// What a scrape needs of one shard, or of all when merged.
#[derive(Debug, Default)]
pub struct ShardFacts {
    /// Requests by API and version.
    pub requests: BTreeMap<(ApiKey, i16), u64>,
    /// Traffic by topic.
    pub topics: BTreeMap<Arc<str>, TopicCounts>,
    /// Of copies between nodes.
    pub replication: ReplicationCounts,
    /// Most records that a follower here lacks.
    pub lag_max: u64,
    /// Partitions that this node has.
    pub partitions: Vec<PartitionFacts>,
    /// Partitions whose logs cannot be opened.
    pub unopened: usize,
    /// Open fetch sessions and the partitions they remember.
    pub fetch_sessions: (usize, usize),
    /// Group coordinators that are loaded.
    pub coordinators: usize,
}

impl ShardFacts {
    /// Copies what a shard has.
    pub fn of(shard: &Rc<Shard>) -> Self {
        let partitions = shard.partitions();
        let lags = partitions.iter().filter_map(|one| one.borrow().lag());
        let lag_max = lags.max().unwrap_or(0);
        let partitions = partitions.iter().map(|partition| {
            let partition = partition.borrow();
            let log = partition.log();
            PartitionFacts {
                name: partition.name().clone(),
                bytes: log.bytes(),
                start: log.start_offset().get(),
                end: log.end_offset().get(),
                segments: log.segment_count(),
                is_offline: partition.is_offline(),
                damages: log.damage_count(),
                uncleanable: log.is_uncleanable().then(|| {
                    let dir = log.dir().parent().unwrap_or(log.dir());
                    (dir.to_owned(), log.uncleanable_bytes())
                }),
            }
        });
        let closed = shard.closed();
        let closed = closed.iter().map(|closed| {
            let size = closed.size().unwrap_or_default();
            PartitionFacts {
                name: closed.name.clone(),
                bytes: size.bytes,
                start: closed.start_offset().get(),
                end: closed.recovery_point().get(),
                segments: size.segments,
                is_offline: false,
                damages: 0,
                uncleanable: None,
            }
        });
        Self {
            partitions: partitions.chain(closed).collect(),
            replication: shard.metrics.replication.counts(),
            lag_max,
            unopened: shard.unopened().len(),
            requests: shard.metrics.requests(),
            topics: shard.metrics.topics(),
            fetch_sessions: shard.sessions.borrow().sizes(),
            coordinators: shard.groups.count(),
        }
    }

    /// Adds what another shard has.
    pub fn merge(&mut self, other: Self) {
        for (key, count) in other.requests {
            *self.requests.entry(key).or_default() += count;
        }
        for (topic, counts) in other.topics {
            self.topics.entry(topic).or_default().add(counts);
        }
        self.replication.add(other.replication);
        self.lag_max = self.lag_max.max(other.lag_max);
        self.partitions.extend(other.partitions);
        self.unopened += other.unopened;
        self.fetch_sessions.0 += other.fetch_sessions.0;
        self.fetch_sessions.1 += other.fetch_sessions.1;
        self.coordinators += other.coordinators;
    }
}
