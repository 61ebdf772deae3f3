//! The settings of a shard's partitions: one copy for all partitions of a topic, resolved anew when
//! what they come from has changed.

use std::sync::Arc;

use ::metadata::image::ResourceType;
use ::metadata::{Changes, Image};
use config::{CompressionType, Durability, TopicConfig};
use log::LogConfig;
use records::{Compression, TimestampType};
use types::{Millis, Uuid};

use super::Shard;
use super::partition::{Listed, PartitionId};
use crate::runs;

/// What holds for all partitions of a topic.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// For their logs.
    pub log: Arc<LogConfig>,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// `flush.messages`.
    pub flush_messages: Option<u64>,
    /// `flush.ms`
    pub flush_ms: Option<Millis>,
    /// `min.insync.replicas`
    pub min_isr: usize,
    /// Replicas here that are copied from within a rate, and those that copy within one.
    pub listed: [Listed; 2],
}

impl Shard {
    /// The settings in force for a partition.
    pub fn settings_of(&self, id: PartitionId, topic: &str) -> TopicSettings {
        let mut known = self.settings.borrow_mut();
        known.entry(id.topic).or_insert_with(|| self.resolve(&self.image.borrow(), topic)).clone()
    }

    /// Forgets the settings of a topic that is gone.
    pub(super) fn forget_settings(&self, topic: Uuid) {
        self.settings.borrow_mut().remove(&topic);
    }

    /// Puts changed settings in force: those of a topic for its partitions, those of the broker,
    /// which topics fall back on, for all.
    pub(super) fn reconfigure(&self, image: &Image, changes: &Changes) {
        let of_broker = changes.configs.iter().any(|one| one.kind == ResourceType::Broker);
        let topics = changes.configs.iter().filter(|one| one.kind == ResourceType::Topic);
        let changed: Vec<Uuid> =
            topics.filter_map(|one| image.topic(&one.name)).map(|topic| topic.id).collect();
        if of_broker || !changed.is_empty() {
            self.resolve_anew(|topic| of_broker || changed.contains(&topic));
        }
    }

    /// Puts in force what holds now for the topics that `is_meant` names.
    pub fn resolve_anew(&self, is_meant: impl Fn(Uuid) -> bool) {
        self.settings.borrow_mut().retain(|topic, _| !is_meant(*topic));
        for partition in self.partitions() {
            let mut partition = partition.borrow_mut();
            let id = partition.id();
            if !is_meant(id.topic) {
                continue;
            }
            let settings = self.settings_of(id, &partition.name().topic.clone());
            partition.set_settings(&settings);
            if *partition.log().config() != *settings.log {
                partition.log_mut().set_config(settings.log);
            }
        }
    }

    fn resolve(&self, image: &Image, topic: &str) -> TopicSettings {
        let settings = self.shared.topic_config(image, topic);
        TopicSettings {
            log: Arc::new(log_config(&settings, &self.shared.config)),
            durability: match settings.durability {
                // What is not synced must not be vouched for.
                Durability::Async if runs::still_vouches(&self.shared) => Durability::Sync,
                durability => durability,
            },
            flush_messages: settings.flush_messages,
            flush_ms: settings.flush_ms,
            min_isr: settings.min_insync_replicas as usize,
            listed: [&settings.throttled_leaders, &settings.throttled_followers]
                .map(|replicas| Listed::new(replicas.on(self.shared.config.node_id))),
        }
    }
}

/// What a log needs of a topic's settings.
pub fn log_config(topic: &TopicConfig, node: &config::NodeConfig) -> LogConfig {
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
        reserve_from_bytes: LogConfig::default().reserve_from_bytes,
        sync_before_ack: topic.durability == Durability::Sync,
        producer_id_expiration_ms: node.upkeep.producer_id_expiration_ms,
    }
}
