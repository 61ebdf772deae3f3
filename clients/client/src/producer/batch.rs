//! A batch that fills up: its records, and those who wait for them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use protocol::messages::produce::PartitionProduceResponse;
use records::{BatchBuilder, Compression, Header};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use types::{ProducerId, TopicPartition};

use super::record::{ProducerRecord, RecordMetadata};
use crate::error::ClientError;

/// Bytes of the header of a batch.
pub(crate) const BATCH_OVERHEAD_BYTES: usize = records::HEADER_BYTES;

/// Who a batch is from, as the broker needs it to drop repetitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// Where the answer for one record goes.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) reply: oneshot::Sender<Result<RecordMetadata, ClientError>>,
    timestamp: i64,
    /// The record's part of the producer's memory.
    _memory: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(crate) struct Batch {
    /// Number in the order of making, for flush.
    pub(crate) number: u64,
    pub(crate) created: Instant,
    /// Times it was sent.
    pub(crate) tries: u32,
    /// Not before, after a refusal.
    pub(crate) not_before: Option<Instant>,
    /// First sequence number, once it was sent.
    pub(crate) sequence: Option<(Identity, i32)>,
    pub(crate) last_error: Option<ClientError>,
    builder: BatchBuilder,
    built: Option<Bytes>,
    waiters: Vec<Waiter>,
}

impl Batch {
    pub(crate) fn new(number: u64, codec: Compression, level: Option<i32>, now: Instant) -> Self {
        let mut builder = BatchBuilder::new(codec);
        if let Some(level) = level {
            builder = builder.level(level);
        }
        Self {
            number,
            created: now,
            tries: 0,
            not_before: None,
            sequence: None,
            last_error: None,
            builder,
            built: None,
            waiters: Vec::new(),
        }
    }

    pub(crate) fn append(
        &mut self,
        record: &ProducerRecord,
        memory: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<RecordMetadata, ClientError>>,
    ) {
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        self.builder.append(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        self.waiters.push(Waiter { reply, timestamp, _memory: memory });
    }

    /// Bytes before compression.
    pub(crate) fn bytes(&self) -> usize {
        self.builder.uncompressed_bytes()
    }

    pub(crate) fn record_count(&self) -> i32 {
        self.builder.record_count()
    }

    /// The batch as it is sent. A repetition sends the very same bytes.
    pub(crate) fn build(&mut self) -> Bytes {
        if let Some(built) = &self.built {
            return built.clone();
        }
        let mut builder = self.builder.clone();
        if let Some((identity, sequence)) = self.sequence {
            builder = builder.producer(ProducerId(identity.id), identity.epoch, sequence);
        }
        let built = builder.build();
        self.built = Some(built.clone());
        built
    }

    /// Gives the batch another first sequence number.
    pub(crate) fn set_sequence(&mut self, identity: Identity, sequence: i32) {
        self.sequence = Some((identity, sequence));
        self.built = None;
    }

    /// Tells all who wait where their records are.
    pub(crate) fn succeed(self, partition: &TopicPartition, answer: &PartitionProduceResponse) {
        for (index, waiter) in (0_i64..).zip(self.waiters) {
            let offset = if answer.base_offset < 0 { -1 } else { answer.base_offset + index };
            let broker_time = answer.log_append_time_ms;
            let timestamp = if broker_time < 0 { waiter.timestamp } else { broker_time };
            _ = waiter.reply.send(Ok(RecordMetadata {
                topic: partition.topic.clone(),
                partition: partition.partition,
                offset,
                timestamp,
            }));
        }
    }

    /// Tells all who wait that their records were not acknowledged. Where the broker named the
    /// records that it dislikes, only these get its words.
    pub(crate) fn fail(self, error: &ClientError, culprits: &[(i32, Option<String>)]) {
        for (index, waiter) in (0_i32..).zip(self.waiters) {
            let mut error = error.clone();
            if let ClientError::Refusal { message, .. } = &mut error
                && !culprits.is_empty()
            {
                let own = culprits.iter().find(|(culprit, _)| *culprit == index);
                *message = Some(match own {
                    Some((_, words)) => words.clone().unwrap_or_else(|| "this record".to_owned()),
                    None => format!("record {} of the same batch was refused", culprits[0].0),
                });
            }
            _ = waiter.reply.send(Err(error));
        }
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What a record needs to find its batch.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) record: ProducerRecord,
    /// Partitions of the topic when it was last seen.
    pub(crate) partitions: u32,
    pub(crate) memory: OwnedSemaphorePermit,
    pub(crate) reply: oneshot::Sender<Result<RecordMetadata, ClientError>>,
}

/// Name shared with the record's topic.
pub(crate) fn topic_partition(topic: &Arc<str>, partition: i32) -> TopicPartition {
    TopicPartition::new(topic.clone(), partition)
}
