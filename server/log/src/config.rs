//! What a log must know of its topic's configuration, resolved by the caller.
//!
//! Not here: names, parsing and precedence of the keys, which `config` has.

use records::{Compression, TimestampType};
use types::Millis;

/// Below this a segment has no blocks reserved: most logs are small and stay so.
const RESERVE_FROM_BYTES: u64 = 1 << 20;

/// The settings of one log. Changing them takes effect with the next append, roll or clean-up.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it grows past this.
    pub segment_bytes: u32,
    /// `segment.ms`: age of its first batch at which a segment is rolled.
    pub segment_ms: Millis,
    /// `segment.jitter.ms`: at most this is taken off `segment.ms`, another span for each segment.
    pub segment_jitter_ms: Millis,
    /// `segment.index.bytes`: a segment is rolled when an index has this size.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: log bytes between two entries of the offset index.
    pub index_interval_bytes: u32,
    /// `retention.ms`, `None` for ever.
    pub retention_ms: Option<Millis>,
    /// `retention.bytes`, `None` without limit.
    pub retention_bytes: Option<u64>,
    /// `file.delete.delay.ms`: how long a deleted segment stays for readers that have it open.
    pub file_delete_delay_ms: Millis,
    /// Whether `cleanup.policy` has `delete`.
    pub delete: bool,
    /// Whether `cleanup.policy` has `compact`: every record needs a key.
    pub compact: bool,
    /// `delete.retention.ms`: how long tombstones and spent markers stay once compacted.
    pub delete_retention_ms: Millis,
    /// `min.compaction.lag.ms`: how old records must be to be compacted.
    pub min_compaction_lag_ms: Millis,
    /// `max.compaction.lag.ms`: how old records may become before they are.
    pub max_compaction_lag_ms: Millis,
    /// `min.cleanable.dirty.ratio`: share of new bytes from which compaction is worth it.
    pub min_cleanable_dirty_ratio: f64,
    /// `max.message.bytes`: the largest batch that a client may append.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: Millis,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: Millis,
    /// `compression.type`; `None` keeps what the producer chose.
    pub compression: Option<Compression>,
    /// `compression.<codec>.level`; `None` is the codec's default.
    pub compression_level: Option<i32>,
    /// Whether acknowledgements wait for a sync (`thalweg.durability=sync`): then zeros are written
    /// ahead of the data only where groups are small. Recovery is the same in both modes.
    pub sync_before_ack: bool,
    /// From how many bytes on a segment has blocks reserved behind its end.
    pub reserve_from_bytes: u64,
    /// `producer.id.expiration.ms`: a producer that was silent for so long is forgotten.
    pub producer_id_expiration_ms: Millis,
}

/// Kafka's defaults.
impl Default for LogConfig {
    fn default() -> Self {
        const HOUR: i64 = 3_600_000;
        Self {
            segment_bytes: 1 << 30,
            segment_ms: Millis(168 * HOUR),
            segment_jitter_ms: Millis::ZERO,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(Millis(168 * HOUR)),
            retention_bytes: None,
            file_delete_delay_ms: Millis(60_000),
            delete: true,
            compact: false,
            delete_retention_ms: Millis(24 * HOUR),
            min_compaction_lag_ms: Millis::ZERO,
            max_compaction_lag_ms: Millis::MAX,
            min_cleanable_dirty_ratio: 0.5,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: Millis::MAX,
            timestamp_after_max_ms: Millis(HOUR),
            compression: None,
            compression_level: None,
            sync_before_ack: true,
            reserve_from_bytes: RESERVE_FROM_BYTES,
            producer_id_expiration_ms: Millis(24 * HOUR),
        }
    }
}
