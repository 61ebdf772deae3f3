//! The node's log directories: opened, checked against each other, formatted where they are new.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use config::NodeConfig;
use log::checkpoint::OffsetCheckpoint;
use log::{CleanShutdown, Disk, FolderKind, LogDir, LogError, MetaProperties, RealDisk};
use types::{Offset, Rng, TopicPartition, Uuid};

use crate::shard::Closed;

/// One log directory of this node.
pub struct Dir {
    /// The locked directory.
    pub log_dir: LogDir,
    /// Its id.
    pub id: Uuid,
    /// What the last stop left, `None` after a crash.
    clean_stop: Option<CleanShutdown>,
    recovery_points: OffsetCheckpoint,
    start_offsets: OffsetCheckpoint,
    compacted_ends: OffsetCheckpoint,
    logs: AtomicUsize,
}

/// All log directories, and where the partitions lie that were there at the start.
pub struct Dirs {
    /// The directories, in the order of `log.dirs`; the metadata directory last, if it is none of
    /// them.
    pub all: Vec<Dir>,
    /// How many of them take partitions.
    data_dirs: usize,
    /// Position of the directory of the metadata log.
    metadata: usize,
    /// Id of the cluster.
    pub cluster_id: String,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    found: BTreeMap<TopicPartition, usize>,
}

impl Dir {
    /// What the checkpoints say of a log that is to be opened.
    pub fn opening(&self, partition: &TopicPartition) -> log::Opening {
        log::Opening {
            start_offset: self.start_offsets.get(partition).copied().unwrap_or(Offset::ZERO),
            recovery_point: self.recovery_points.get(partition).copied().unwrap_or(Offset::ZERO),
            is_clean: self.is_clean(),
        }
    }

    /// A partition that lay here at the start; the directory is the one at `at`.
    pub fn closed(&self, partition: TopicPartition, at: usize) -> Closed {
        let opening = self.opening(&partition);
        let compacted_end = self.compacted_ends.get(&partition).copied().unwrap_or(Offset::ZERO);
        Closed::found(partition, at, opening, compacted_end)
    }

    /// Whether it was stopped cleanly, so that logs need no recovery.
    pub fn is_clean(&self) -> bool {
        self.clean_stop.is_some()
    }

    /// Notes that a log was placed here, or taken away.
    pub fn count(&self, placed: bool) {
        if placed {
            self.logs.fetch_add(1, Ordering::Relaxed);
        } else {
            self.logs.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The directory as a person writes it.
    pub fn path(&self) -> &Path {
        self.log_dir.path()
    }
}

impl Dirs {
    /// Opens and locks every directory; formats the new ones.
    ///
    /// A new cluster takes `cluster_id` if given, else a random id.
    ///
    /// # Errors
    /// If a directory is in use, belongs to another node or cluster, or cannot be read.
    pub fn open(
        config: &NodeConfig,
        cluster_id: Option<&str>,
        rng: &mut Rng,
    ) -> anyhow::Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut paths: Vec<PathBuf> = config.log_dirs.iter().map(PathBuf::from).collect();
        let data_dirs = paths.len();
        let metadata_path = PathBuf::from(&config.metadata_log_dir);
        let metadata = paths.iter().position(|path| *path == metadata_path).unwrap_or_else(|| {
            paths.push(metadata_path);
            paths.len() - 1
        });
        let mut opened = Vec::new();
        for path in paths {
            let log_dir = LogDir::open(Arc::clone(&disk), path)?;
            let properties = log_dir.meta_properties()?;
            opened.push((log_dir, properties));
        }
        let cluster_id = agree_on_cluster(&opened, cluster_id, rng)?;
        let mut all = Vec::new();
        for (log_dir, properties) in opened {
            all.push(open_one(log_dir, properties, &cluster_id, config, rng)?);
        }
        let mut dirs = Self { all, data_dirs, metadata, cluster_id, disk, found: BTreeMap::new() };
        dirs.find_partitions()?;
        Ok(dirs)
    }

    /// The directory of the metadata log.
    pub fn metadata(&self) -> &Dir {
        &self.all[self.metadata]
    }

    /// The epoch that this broker had when it stopped cleanly; `None` if any directory saw a
    /// crash.
    pub fn previous_broker_epoch(&self) -> Option<i64> {
        let mut epochs = self.data().iter().map(|dir| dir.clean_stop?.broker_epoch);
        let first = epochs.next()??;
        epochs.all(|epoch| epoch == Some(first)).then_some(first)
    }

    /// The directories that take partitions.
    pub fn data(&self) -> &[Dir] {
        &self.all[..self.data_dirs]
    }

    /// Where a partition lay at the start, if it was there.
    pub fn found(&self, partition: &TopicPartition) -> Option<&Dir> {
        self.found.get(partition).map(|&at| &self.all[at])
    }

    /// Where a partition lay at the start, or where a new one goes: the directory that the cluster
    /// has written down for it, else the one with the fewest logs.
    ///
    /// # Errors
    /// Where it lies in a directory that this node does not have any more: an empty log in another
    /// one would pass for the whole.
    pub fn place(
        &self,
        partition: &TopicPartition,
        wanted: Option<Uuid>,
    ) -> Result<&Dir, LogError> {
        if let Some(dir) = self.found(partition) {
            return Ok(dir);
        }
        let emptiest = || self.data().iter().min_by_key(|dir| dir.logs.load(Ordering::Relaxed));
        let placed = match wanted {
            Some(id) => self.data().iter().find(|dir| dir.id == id),
            None => emptiest(),
        };
        placed.ok_or_else(|| LogError::Malformed {
            file: self.metadata().log_dir.folder(partition),
            reason:
                "it lies in a directory that log.dirs does not name any more: add it again, or \
                     delete the topic"
                    .to_owned(),
        })
    }

    /// Finds partitions and clears away what a deletion left behind.
    fn find_partitions(&mut self) -> anyhow::Result<()> {
        for (at, dir) in self.all[..self.data_dirs].iter().enumerate() {
            for folder in dir.log_dir.folders()? {
                match folder.kind {
                    FolderKind::Current => {
                        let name = folder.partition.clone();
                        if let Some(other) = self.found.insert(folder.partition, at) {
                            let (first, second) = (self.all[other].path(), dir.path());
                            bail!(
                                "partition {name} lies in both {} and {}: remove one of the two",
                                first.display(),
                                second.display()
                            );
                        }
                    }
                    // A move that was not finished begins anew; a deletion is finished.
                    FolderKind::Future | FolderKind::Deleted => {
                        dir.log_dir.remove_folder(&folder.path)?;
                    }
                    FolderKind::Stray => {}
                }
            }
        }
        Ok(())
    }
}

fn agree_on_cluster(
    opened: &[(LogDir, Option<MetaProperties>)],
    wanted: Option<&str>,
    rng: &mut Rng,
) -> anyhow::Result<String> {
    let mut known: Option<(&str, &Path)> = None;
    for (dir, properties) in opened {
        let Some(properties) = properties else { continue };
        match known {
            Some((id, first)) if id != properties.cluster_id => bail!(
                "{} belongs to cluster {id} and {} to cluster {}: one node has one cluster",
                first.display(),
                dir.path().display(),
                properties.cluster_id
            ),
            _ => known = Some((&properties.cluster_id, dir.path())),
        }
    }
    match (known, wanted) {
        (Some((id, dir)), Some(wanted)) if id != wanted => bail!(
            "{} belongs to cluster {id}, not to {wanted}: change CLUSTER_ID or log.dirs",
            dir.display()
        ),
        (Some((id, _)), _) => Ok(id.to_owned()),
        (None, Some(wanted)) => Ok(wanted.to_owned()),
        (None, None) => Ok(fresh_id(rng).to_string()),
    }
}

fn open_one(
    log_dir: LogDir,
    properties: Option<MetaProperties>,
    cluster_id: &str,
    config: &NodeConfig,
    rng: &mut Rng,
) -> anyhow::Result<Dir> {
    if let Some(properties) = &properties
        && properties.node_id != config.node_id
    {
        bail!(
            "{} belongs to node {}, this is node {}: change node.id or log.dirs",
            log_dir.path().display(),
            properties.node_id,
            config.node_id
        );
    }
    let known = properties.and_then(|properties| properties.directory_id);
    let id = match known {
        Some(id) => id,
        None => {
            let id = fresh_id(rng);
            log_dir.write_meta_properties(&MetaProperties {
                cluster_id: cluster_id.to_owned(),
                node_id: config.node_id,
                directory_id: Some(id),
            })?;
            id
        }
    };
    let clean_stop = log_dir.take_clean_shutdown()?;
    let recovery_points = log_dir.recovery_points().context("cannot read the recovery points")?;
    let start_offsets = log_dir.start_offsets().context("cannot read the log start offsets")?;
    let compacted_ends = log_dir.compacted_ends().unwrap_or_else(|fault| {
        // The logs count as never compacted, which costs work and nothing else.
        tracing::warn!("compaction begins anew: {fault}");
        OffsetCheckpoint::new()
    });
    let logs = AtomicUsize::new(0);
    Ok(Dir { log_dir, id, clean_stop, recovery_points, start_offsets, compacted_ends, logs })
}

/// A random id that no command line takes for an option.
pub fn fresh_id(rng: &mut Rng) -> Uuid {
    loop {
        let id = Uuid::from_random(rng.bytes16());
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use config::{BrokerLayers, Sources, StaticConfig};

    use super::*;

    #[test]
    fn a_partition_of_a_directory_that_was_taken_away_gets_no_empty_log_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let overrides = vec![("log.dirs".to_owned(), folder.path().to_str().unwrap().to_owned())];
        let sources = Sources { overrides, ..Sources::default() };
        let (fixed, _) = StaticConfig::new(&sources).unwrap();
        let config = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
        let dirs = Dirs::open(&config, None, &mut Rng::new(1)).unwrap();
        let partition = TopicPartition::new("a", 0);

        let own = dirs.data()[0].id;
        assert_eq!(dirs.place(&partition, Some(own)).unwrap().id, own);
        assert_eq!(dirs.place(&partition, None).unwrap().id, own);
        assert!(dirs.place(&partition, Some(Uuid::from_bytes([7; 16]))).is_err());
    }
}
