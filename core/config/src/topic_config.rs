//! What holds for one topic, as a typed struct.

use types::{BrokerId, Millis};

use crate::keys;
use crate::layers::{BrokerLayers, ConfigMap, ResourceLayers};

/// Every topic key, resolved. Limits that Kafka writes as -1 or as the largest number are
/// `None` here where that means "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// Largest size of a segment file.
    pub segment_bytes: u32,
    /// Age at which a segment is rolled whatever its size.
    pub segment_ms: Millis,
    /// Most that is taken off `segment_ms` at random, so that segments do not roll all at once.
    pub segment_jitter_ms: Millis,
    /// Largest size of an index file.
    pub segment_index_bytes: u32,
    /// Bytes of records per entry of the offset index.
    pub index_interval_bytes: u32,
    /// Whether old segments are deleted (`cleanup.policy` has `delete`).
    pub delete: bool,
    /// Whether the log is compacted (`cleanup.policy` has `compact`).
    pub compact: bool,
    /// Age at which records may be deleted.
    pub retention_ms: Option<Millis>,
    /// Size of a partition above which old segments may be deleted.
    pub retention_bytes: Option<u64>,
    /// Wait between taking a segment out of the log and deleting its file.
    pub file_delete_delay_ms: Millis,
    /// Largest record batch, with its header.
    pub max_message_bytes: u32,
    /// Whose clock stamps the records.
    pub timestamp_type: TimestampType,
    /// How far a record's time may lie behind the broker's clock.
    pub timestamp_before_max_ms: Millis,
    /// How far a record's time may lie ahead of the broker's clock.
    pub timestamp_after_max_ms: Millis,
    /// How batches are compressed in the log.
    pub compression: CompressionType,
    /// Level for gzip; -1 is gzip's own choice.
    pub gzip_level: i32,
    /// Level for lz4.
    pub lz4_level: i32,
    /// Level for zstd.
    pub zstd_level: i32,
    /// Records after which the log is synced, whatever the durability says.
    pub flush_messages: Option<u64>,
    /// Time after which the log is synced, whatever the durability says.
    pub flush_ms: Option<Millis>,
    /// Replicas that must have a record before `acks=all` is answered.
    pub min_insync_replicas: u32,
    /// Whether a replica out of sync may lead when no other is left.
    pub unclean_leader_election: bool,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// How long a tombstone outlives the records that it deletes.
    pub delete_retention_ms: Millis,
    /// Youngest age at which a record may be compacted away.
    pub min_compaction_lag_ms: Millis,
    /// Age at which a record must have been offered to compaction.
    pub max_compaction_lag_ms: Millis,
    /// Share of uncompacted bytes from which compaction is worth its work.
    pub min_cleanable_dirty_ratio: f64,
    /// Replicas that are copied from within a rate.
    pub throttled_leaders: ThrottledReplicas,
    /// Replicas that copy within a rate.
    pub throttled_followers: ThrottledReplicas,
}

/// Replicas of a topic for which a rate of copying holds (KIP-73).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ThrottledReplicas {
    /// All of them.
    All,
    /// These: index of the partition and id of the broker.
    Of(Vec<(i32, i32)>),
}

/// What an acknowledgement of `acks=all` promises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// The record is on stable storage of every replica that counts.
    Sync,
    /// The record is in memory of every replica that counts, as in Apache Kafka.
    Async,
}

/// Whose clock stamps the records of a topic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, when the batch is appended.
    LogAppendTime,
}

/// How batches are compressed in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl TopicConfig {
    /// What holds for a topic with these own settings on a broker with these layers.
    pub fn resolve(overrides: &ConfigMap, broker: &BrokerLayers<'_>) -> Self {
        let layers = ResourceLayers { table: &keys::TOPIC, overrides, broker: *broker };
        let size = |name| layers.unsigned(name);
        let throttled = |name| ThrottledReplicas::read(&layers.text(name));
        let policy = layers.list("cleanup.policy");
        let internal_segment = layers.optional_text("internal.segment.bytes");
        let internal_segment = internal_segment.and_then(|text| text.parse().ok());
        Self {
            segment_bytes: internal_segment.unwrap_or_else(|| size("segment.bytes")),
            segment_ms: layers.millis("segment.ms"),
            segment_jitter_ms: layers.millis("segment.jitter.ms"),
            segment_index_bytes: size("segment.index.bytes"),
            index_interval_bytes: size("index.interval.bytes"),
            delete: policy.iter().any(|word| word == "delete"),
            compact: policy.iter().any(|word| word == "compact"),
            retention_ms: limit_ms(layers.long("retention.ms")),
            retention_bytes: u64::try_from(layers.long("retention.bytes")).ok(),
            file_delete_delay_ms: layers.millis("file.delete.delay.ms"),
            max_message_bytes: size("max.message.bytes"),
            timestamp_type: TimestampType::read(&layers.text("message.timestamp.type")),
            timestamp_before_max_ms: layers.millis("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: layers.millis("message.timestamp.after.max.ms"),
            compression: CompressionType::read(&layers.text("compression.type")),
            gzip_level: layers.int("compression.gzip.level"),
            lz4_level: layers.int("compression.lz4.level"),
            zstd_level: layers.int("compression.zstd.level"),
            flush_messages: below_max(layers.long("flush.messages")),
            flush_ms: limit_ms(layers.long("flush.ms")).filter(|ms| *ms != Millis::MAX),
            min_insync_replicas: size("min.insync.replicas"),
            unclean_leader_election: layers.boolean("unclean.leader.election.enable"),
            durability: Durability::read(&layers.text("thalweg.durability")),
            delete_retention_ms: layers.millis("delete.retention.ms"),
            min_compaction_lag_ms: layers.millis("min.compaction.lag.ms"),
            max_compaction_lag_ms: layers.millis("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: layers.double("min.cleanable.dirty.ratio"),
            throttled_leaders: throttled("leader.replication.throttled.replicas"),
            throttled_followers: throttled("follower.replication.throttled.replicas"),
        }
    }
}

impl ThrottledReplicas {
    fn read(text: &str) -> Self {
        if text == "*" {
            return Self::All;
        }
        let entries = crate::entries(text).filter_map(|entry| entry.split_once(':'));
        let numbers = |(partition, broker): (&str, &str)| {
            Some((partition.parse().ok()?, broker.parse().ok()?))
        };
        Self::Of(entries.filter_map(numbers).collect())
    }

    /// Indexes of the partitions whose replicas on a broker are among them; `None` for all.
    pub fn on(&self, broker: BrokerId) -> Option<Vec<i32>> {
        match self {
            Self::All => None,
            Self::Of(replicas) => {
                let here = replicas.iter().filter(|(_, id)| *id == broker.0);
                Some(here.map(|(partition, _)| *partition).collect())
            }
        }
    }
}

impl Durability {
    fn read(text: &str) -> Self {
        if text == "async" { Self::Async } else { Self::Sync }
    }
}

impl TimestampType {
    fn read(text: &str) -> Self {
        if text == "LogAppendTime" { Self::LogAppendTime } else { Self::CreateTime }
    }
}

impl CompressionType {
    fn read(text: &str) -> Self {
        match text {
            "uncompressed" => Self::Uncompressed,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => Self::Producer,
        }
    }
}

fn limit_ms(ms: i64) -> Option<Millis> {
    (ms >= 0).then_some(Millis(ms))
}

fn below_max(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|_| number != i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::started_with;
    use crate::layers::map;

    fn resolve(
        own: &[(&str, &str)],
        dynamic: &[(&str, &str)],
        fixed: &[(&str, &str)],
    ) -> TopicConfig {
        let (fixed, cluster) = (started_with(fixed), map(dynamic));
        let layers = BrokerLayers { cluster: &cluster, ..BrokerLayers::at_start(&fixed) };
        TopicConfig::resolve(&map(own), &layers)
    }

    #[test]
    fn a_topic_that_nobody_configures_is_as_in_kafka_but_synced() {
        let topic = resolve(&[], &[], &[]);
        assert_eq!(topic.segment_bytes, 1 << 30);
        assert_eq!(topic.retention_ms, Some(Millis(604_800_000)));
        assert_eq!(topic.retention_bytes, None);
        assert_eq!((topic.delete, topic.compact), (true, false));
        assert_eq!(topic.max_message_bytes, 1_048_588);
        assert_eq!((topic.flush_messages, topic.flush_ms), (None, None));
        assert_eq!(topic.compression, CompressionType::Producer);
        assert_eq!(topic.timestamp_type, TimestampType::CreateTime);
        assert_eq!(topic.durability, Durability::Sync);
    }

    #[test]
    fn retention_comes_from_the_first_key_that_is_set() {
        let hours = ("log.retention.hours", "2");
        let minutes = ("log.retention.minutes", "3");
        let ms = ("log.retention.ms", "5");
        let cases: [(&str, &[_], &[_], &[_], Option<i64>); 8] = [
            ("hours", &[], &[], &[hours], Some(7_200_000)),
            ("minutes before hours", &[], &[], &[hours, minutes], Some(180_000)),
            ("ms before minutes", &[], &[], &[hours, minutes, ms], Some(5)),
            (
                "dynamic before all static",
                &[],
                &[("log.retention.ms", "7")],
                &[minutes, ms],
                Some(7),
            ),
            ("topic before all", &[("retention.ms", "9")], &[ms], &[ms], Some(9)),
            ("-1 is no limit", &[("retention.ms", "-1")], &[], &[ms], None),
            ("any negative time is no limit", &[], &[], &[("log.retention.hours", "-4")], None),
            ("a broken override is passed over", &[("retention.ms", "x")], &[], &[ms], Some(5)),
        ];
        for (name, own, dynamic, fixed, expected) in cases {
            let found = resolve(own, dynamic, fixed).retention_ms;
            assert_eq!(found, expected.map(Millis), "{name}");
        }
    }

    #[test]
    fn throttled_replicas_are_all_some_or_none_of_a_broker() {
        let key = "leader.replication.throttled.replicas";
        for (text, here) in [("*", None), ("", Some(vec![])), ("0:1,1:2,,5:1", Some(vec![0, 5]))] {
            let throttled = resolve(&[(key, text)], &[], &[]).throttled_leaders;
            assert_eq!(throttled.on(BrokerId(1)), here, "{text}");
        }
    }

    #[test]
    fn every_own_value_is_read() {
        let topic = resolve(
            &[
                ("cleanup.policy", ""),
                ("compression.type", "zstd"),
                ("compression.zstd.level", "-5"),
                ("flush.messages", "1"),
                ("flush.ms", "0"),
                ("message.timestamp.type", "LogAppendTime"),
                ("retention.bytes", "100"),
                ("internal.segment.bytes", "512"),
                ("segment.bytes", "2097152"),
                ("thalweg.durability", "async"),
            ],
            &[],
            &[("thalweg.durability", "sync"), ("log.flush.scheduler.interval.ms", "5")],
        );
        assert_eq!((topic.delete, topic.compact), (false, false));
        assert_eq!((topic.compression, topic.zstd_level), (CompressionType::Zstd, -5));
        assert_eq!((topic.flush_messages, topic.flush_ms), (Some(1), Some(Millis(0))));
        assert_eq!(topic.timestamp_type, TimestampType::LogAppendTime);
        assert_eq!(topic.retention_bytes, Some(100));
        assert_eq!(topic.segment_bytes, 512);
        assert_eq!(topic.durability, Durability::Async);
    }
}
