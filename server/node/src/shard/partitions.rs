//! Which partitions a shard has: opened, configured and deleted as the cluster's state says.

use std::rc::Rc;
use std::sync::Arc;

use ::metadata::image::Topic;
use ::metadata::image::directory;
use ::metadata::{Changes, Image};
use config::{CompressionType, TopicConfig};
use log::{FolderKind, Log, LogConfig, LogError};
use records::{Compression, TimestampType};
use types::{ErrorCode, LeaderEpoch, Offset, TopicPartition, Uuid};

use super::partition::{Partition, PartitionId};
use super::{Shard, SharedPartition};
use crate::{clock, dynamic, threads};

impl Shard {
    /// Opens every partition of the image that this shard owns, as at the start. Damage takes only
    /// its own partition offline.
    ///
    /// # Errors
    /// If the operating system refuses, as without room or permission: that is seldom one
    /// partition's trouble and passes, while what is damaged stays so.
    pub fn open_all(self: &Rc<Self>, image: &Arc<Image>) -> Result<(), LogError> {
        self.image.replace(Arc::clone(image));
        for topic in image.topics() {
            for (index, _) in topic.partitions() {
                if let Err(fault) = self.open_if_owned(image, topic, index) {
                    if matches!(fault, LogError::Io { .. }) {
                        return Err(fault);
                    }
                    self.note_unopened(topic, index, &fault);
                }
            }
        }
        Ok(())
    }

    /// Takes away what belongs to deleted topics.
    pub fn delete_topics(self: &Rc<Self>, changes: &Changes) {
        for topic in &changes.topics_deleted {
            for (index, _) in topic.partitions() {
                self.delete(PartitionId { topic: topic.id, index });
            }
            self.metrics.forget_topic(&topic.name);
            self.groups.topic_deleted(self, &topic.name, topic.id);
        }
    }

    /// Acts on a new state of the cluster; [`Shard::delete_topics`] has run on every shard.
    pub fn apply(self: &Rc<Self>, image: &Arc<Image>, changes: &Changes) {
        self.image.replace(Arc::clone(image));
        for change in &changes.partitions {
            let Some(topic) = image.topic_by_id(change.topic_id) else { continue };
            let id = PartitionId { topic: topic.id, index: change.partition };
            if let (Some(partition), Some(after)) = (self.partition(id), &change.after) {
                partition.borrow_mut().set_epoch(after.leader_epoch);
            }
            if change.before.is_none()
                && let Err(fault) = self.open_if_owned(image, topic, change.partition)
            {
                self.note_unopened(topic, change.partition, &fault);
            }
        }
        if !changes.configs.is_empty() {
            self.reconfigure(image);
        }
        if self.index == 0 {
            // The limits are the node's, not a shard's.
            dynamic::apply(&self.shared, image, changes);
        }
    }

    fn note_unopened(&self, topic: &Topic, index: i32, fault: &LogError) {
        let name = TopicPartition::new(Arc::clone(&topic.name), index);
        tracing::error!(partition = %name, "partition is offline, cannot open its log: {fault}");
        self.unopened.borrow_mut().insert(PartitionId { topic: topic.id, index }, name);
    }

    /// Puts the settings of the image in force for every partition.
    fn reconfigure(&self, image: &Image) {
        for partition in self.partitions() {
            let mut partition = partition.borrow_mut();
            let settings = self.shared.topic_config(image, &partition.name().topic.clone());
            partition.set_durability(settings.durability, settings.flush_messages);
            let config = log_config(&settings, &self.shared.config);
            if *partition.log().config() != config {
                partition.log_mut().set_config(Arc::new(config));
            }
        }
    }

    fn open_if_owned(
        self: &Rc<Self>,
        image: &Image,
        topic: &Topic,
        index: i32,
    ) -> Result<(), LogError> {
        let id = PartitionId { topic: topic.id, index };
        let Some(replica) = topic.partition(index) else { return Ok(()) };
        let here = self.shared.config.node_id;
        let is_mine = self.owner_of(id) == self.index && replica.replicas.contains(&here);
        if !is_mine || self.partition(id).is_some() {
            return Ok(());
        }
        let name = TopicPartition::new(Arc::clone(&topic.name), index);
        let wanted = replica.directory_of(here).filter(|id| !directory::is_reserved(*id));
        let partition = self.open(image, id, name.clone(), wanted, replica.leader_epoch)?;
        self.partitions.borrow_mut().insert(id, Rc::clone(&partition));
        self.groups.partition_opened(self, &partition);
        Ok(())
    }

    fn open(
        &self,
        image: &Image,
        id: PartitionId,
        name: TopicPartition,
        wanted: Option<Uuid>,
        epoch: LeaderEpoch,
    ) -> Result<SharedPartition, LogError> {
        let dirs = &self.shared.dirs;
        let dir = dirs.place(&name, wanted)?;
        let folder = dir.log_dir.folder(&name);
        let settings = self.shared.topic_config(image, &name.topic);
        let config = Arc::new(log_config(&settings, &self.shared.config));
        let disk = Arc::clone(&dirs.disk);
        let known = log::read_topic_id(disk.as_ref(), &folder)?;
        // What the checkpoints say is of a log that was there at the start, not of a new one that
        // has the name of a deleted one.
        let mut opening = if known.is_some() { dir.opening(&name) } else { log::Opening::NEW };
        if known.is_some_and(|known| known != id.topic) {
            // Left behind by a topic of the same name that was deleted while this node was down.
            let stray = dir.log_dir.folder_of_kind(&name, FolderKind::Stray, id.topic);
            tracing::warn!("{} belongs to another topic of that name, set aside", folder.display());
            disk.rename(&folder, &stray).map_err(|source| LogError::Io {
                action: "rename",
                path: folder.clone(),
                source,
            })?;
            opening = log::Opening::NEW;
        }
        let log = Log::open(Arc::clone(&disk), folder.clone(), config, opening, clock::wall())?;
        if known != Some(id.topic) {
            log::write_topic_id(disk.as_ref(), &folder, id.topic)?;
        }
        dir.count(true);
        let mut partition = Partition::new(id, name, log, epoch, settings.durability);
        partition.set_durability(settings.durability, settings.flush_messages);
        Ok(Rc::new(std::cell::RefCell::new(partition)))
    }

    /// Takes a partition away: nobody reads it any more, its folder goes after a while.
    fn delete(self: &Rc<Self>, id: PartitionId) {
        if let Some(name) = self.unopened.borrow_mut().remove(&id) {
            self.delete_unopened(id, &name);
            return;
        }
        let Some(partition) = self.partitions.borrow_mut().remove(&id) else { return };
        self.groups.partition_closed(&partition);
        let mut partition = partition.borrow_mut();
        partition.abandon(ErrorCode::UnknownTopicOrPartition);
        let name = partition.name().clone();
        let parent = partition.log().dir().parent().map(ToOwned::to_owned);
        let all = &self.shared.dirs.all;
        let Some(dir) = all.iter().find(|dir| Some(dir.path()) == parent.as_deref()) else {
            return;
        };
        dir.count(false);
        let deleted = dir.log_dir.folder_of_kind(&name, FolderKind::Deleted, id.topic);
        let delay = partition.log().config().file_delete_delay_ms;
        match partition.log_mut().rename(deleted.clone()) {
            Ok(()) => self.remove_later(deleted, delay),
            Err(fault) => tracing::error!(partition = %name, "cannot delete: {fault}"),
        }
    }

    /// Takes away the folders of a partition that never was opened, so that the name is free.
    fn delete_unopened(self: &Rc<Self>, id: PartitionId, name: &TopicPartition) {
        let disk = &self.shared.dirs.disk;
        for dir in self.shared.dirs.data() {
            let folder = dir.log_dir.folder(name);
            match log::read_topic_id(disk.as_ref(), &folder) {
                Ok(Some(known)) if known == id.topic => {}
                Err(LogError::Malformed { .. }) => {}
                // Another topic's, not there, or not to be read now.
                Ok(_) | Err(_) => continue,
            }
            let deleted = dir.log_dir.folder_of_kind(name, FolderKind::Deleted, id.topic);
            match disk.rename(&folder, &deleted) {
                Ok(()) => self.remove_later(deleted, types::Millis(0)),
                Err(error) => tracing::error!(partition = %name, "cannot delete: {error}"),
            }
        }
    }

    /// Removes a folder once readers have had time to end.
    pub(super) fn remove_later(self: &Rc<Self>, folder: std::path::PathBuf, delay: types::Millis) {
        let disk = Arc::clone(&self.shared.dirs.disk);
        let delay = std::time::Duration::from_millis(u64::try_from(delay.get()).unwrap_or(0));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            let remove = move || (disk.remove_dir_all(&folder), folder);
            let (removed, folder) = threads::blocking(remove).await;
            if let Err(error) = removed {
                tracing::warn!("cannot remove {}: {error}", folder.display());
            }
        });
    }

    /// Whether something beside the shard itself still holds a partition, as a sync does that is
    /// under way.
    pub fn is_in_use(&self) -> bool {
        self.partitions.borrow().values().any(|partition| Rc::strong_count(partition) > 1)
    }

    /// Closes every log in order, for a stop; gives the offset up to which each is durable.
    pub fn close_all(&self) -> Vec<(TopicPartition, anyhow::Result<Offset>)> {
        let partitions = std::mem::take(&mut *self.partitions.borrow_mut());
        let mut closed = Vec::with_capacity(partitions.len());
        for partition in partitions.into_values() {
            let name = partition.borrow().name().clone();
            match Rc::try_unwrap(partition) {
                Ok(cell) => {
                    let end = cell.into_inner().into_log().close();
                    closed.push((name, end.map_err(anyhow::Error::from)));
                }
                Err(_) => closed.push((name, Err(anyhow::anyhow!("it is still in use")))),
            }
        }
        closed
    }
}

/// What a log needs of a topic's settings.
fn log_config(topic: &TopicConfig, node: &config::NodeConfig) -> LogConfig {
    let (compression, compression_level) = match topic.compression {
        CompressionType::Producer => (None, None),
        CompressionType::Uncompressed => (Some(Compression::None), None),
        CompressionType::Gzip => {
            // -1 is gzip's way to say "your own choice".
            (Some(Compression::Gzip), (topic.gzip_level >= 0).then_some(topic.gzip_level))
        }
        CompressionType::Snappy => (Some(Compression::Snappy), None),
        CompressionType::Lz4 => (Some(Compression::Lz4), Some(topic.lz4_level)),
        CompressionType::Zstd => (Some(Compression::Zstd), Some(topic.zstd_level)),
    };
    LogConfig {
        segment_bytes: topic.segment_bytes,
        segment_ms: topic.segment_ms,
        segment_jitter_ms: topic.segment_jitter_ms,
        segment_index_bytes: topic.segment_index_bytes,
        index_interval_bytes: topic.index_interval_bytes,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        delete: topic.delete,
        compact: topic.compact,
        delete_retention_ms: topic.delete_retention_ms,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
        max_message_bytes: topic.max_message_bytes,
        timestamp_type: match topic.timestamp_type {
            config::TimestampType::CreateTime => TimestampType::CreateTime,
            config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: topic.timestamp_before_max_ms,
        timestamp_after_max_ms: topic.timestamp_after_max_ms,
        compression,
        compression_level,
        producer_id_expiration_ms: node.upkeep.producer_id_expiration_ms,
    }
}
