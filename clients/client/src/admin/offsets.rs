//! Offsets of partitions: look-up by time or place, and deletion of what lies before one.

use protocol::ApiKey;
use protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use types::TopicPartition;

use super::{Admin, CHANGE_TIMEOUT_MS, Each, by_topic};
use crate::cluster::Lane;
use crate::consumer::IsolationLevel;
use crate::error::ClientError;
use crate::failover::{Led, OVERDUE};

/// A place in a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OffsetSpec {
    /// The first record that is still there.
    Earliest,
    /// Behind the last record that readers may see.
    Latest,
    /// The record with the highest timestamp.
    MaxTimestamp,
    /// The first record on the broker's own disk.
    EarliestLocal,
    /// The last record in tiered storage.
    LatestTiered,
    /// The first record that is not in tiered storage yet.
    EarliestPendingUpload,
    /// The first record at or after this many milliseconds since 1970.
    Timestamp(i64),
}

/// The offset at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListedOffset {
    /// `None` where there is no such record, as past the last timestamp.
    pub offset: Option<i64>,
    /// Timestamp of the record there, where the place was given by time.
    pub timestamp: Option<i64>,
    /// Epoch of the leader that wrote it; -1 where unknown.
    pub leader_epoch: i32,
}

impl OffsetSpec {
    pub(crate) fn to_wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::EarliestLocal => -4,
            Self::LatestTiered => -5,
            Self::EarliestPendingUpload => -6,
            Self::Timestamp(ms) => ms,
        }
    }

    /// The first version of ListOffsets that has it.
    fn version_min(self) -> i16 {
        match self {
            Self::Latest | Self::Earliest | Self::Timestamp(_) => 4,
            Self::MaxTimestamp => 7,
            Self::EarliestLocal => 8,
            Self::LatestTiered => 9,
            Self::EarliestPendingUpload => 11,
        }
    }
}

impl Admin {
    /// The offsets at places in partitions.
    ///
    /// # Errors
    /// For the whole where the cluster cannot be reached; for each its own.
    pub async fn list_offsets(
        &self,
        places: &[(TopicPartition, OffsetSpec)],
        isolation: IsolationLevel,
    ) -> Result<Each<TopicPartition, ListedOffset>, ClientError> {
        let mut retry = self.client.retry();
        let mut results = Vec::new();
        let mut left = places.to_vec();
        loop {
            let (led, unled) = self.by_leader(&left).await?;
            let failed = unled.into_iter().filter_map(|(key, r)| Some((key, r.err()?)));
            let mut failed: Vec<_> = failed.collect();
            for (broker, places) in led {
                match self.list_offsets_of(broker, &places, isolation).await {
                    Ok(answers) => {
                        for (partition, answer) in answers {
                            match answer {
                                Ok(offset) => results.push((partition, Ok(offset))),
                                Err(error) => failed.push((partition, error)),
                            }
                        }
                    }
                    Err(error) => {
                        failed.extend(places.into_iter().map(|(p, _)| (p, error.clone())));
                    }
                }
            }
            let passing = failed.iter().find(|(_, error)| is_passing(error));
            let Some((_, error)) = passing.cloned() else {
                results
                    .extend(failed.into_iter().map(|(partition, error)| (partition, Err(error))));
                break;
            };
            if let Err(error) = self.client.pause(&mut retry, error).await {
                tracing::debug!(%error, "no more tries for offsets");
                results
                    .extend(failed.into_iter().map(|(partition, error)| (partition, Err(error))));
                break;
            }
            for (partition, _) in &failed {
                self.client.forget_topic(&partition.topic);
            }
            left.retain(|(partition, _)| failed.iter().any(|(other, _)| other == partition));
        }
        let place = |partition: &TopicPartition| places.iter().position(|(p, _)| p == partition);
        results.sort_by_key(|(partition, _)| place(partition));
        Ok(results)
    }

    /// One request to one leader, as long as nobody else is known to lead while its answer is overdue.
    pub(crate) async fn list_offsets_of(
        &self,
        broker: i32,
        places: &[(TopicPartition, OffsetSpec)],
        isolation: IsolationLevel,
    ) -> Result<Each<TopicPartition, ListedOffset>, ClientError> {
        let version_min = places.iter().map(|(_, spec)| spec.version_min()).max().unwrap_or(4);
        let partition = |(index, spec): (i32, OffsetSpec)| ListOffsetsPartition {
            partition_index: index,
            timestamp: spec.to_wire(),
            ..ListOffsetsPartition::default()
        };
        let topics = by_topic(places.to_vec()).into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(partition).collect();
            ListOffsetsTopic { name, partitions, ..ListOffsetsTopic::default() }
        });
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: isolation.to_wire(),
            topics: topics.collect(),
            timeout_ms: CHANGE_TIMEOUT_MS,
            ..ListOffsetsRequest::default()
        };
        let api = ApiKey::ListOffsets;
        let led = Led::new(&self.client, broker, places.iter().map(|(partition, _)| partition));
        let what = (api, version_min..=11);
        let call = self.client.call_while_it_leads(&led, OVERDUE, Lane::General, what, &request);
        let answer: ListOffsetsResponse = call.await?;
        let mut results = Vec::new();
        for topic in answer.topics {
            for one in topic.partitions {
                let key = TopicPartition::new(topic.name.as_str(), one.partition_index);
                let subject = || format!("partition {key}");
                let result = ClientError::check(api, subject, one.error_code, None);
                let result = result.map(|()| ListedOffset {
                    offset: (one.offset >= 0).then_some(one.offset),
                    timestamp: (one.timestamp >= 0).then_some(one.timestamp),
                    leader_epoch: one.leader_epoch,
                });
                results.push((key, result));
            }
        }
        Ok(results)
    }

    /// Deletes all records before an offset; -1 means all that there are. Gives the first offset
    /// that is left.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`]; `OFFSET_OUT_OF_RANGE` past the end.
    pub async fn delete_records(
        &self,
        before: &[(TopicPartition, i64)],
    ) -> Result<Each<TopicPartition, i64>, ClientError> {
        let (led, unled) = self.by_leader(before).await?;
        let mut results: Vec<_> =
            unled.into_iter().filter_map(|(key, r)| Some((key, Err(r.err()?)))).collect();
        let api = ApiKey::DeleteRecords;
        for (broker, partitions) in led {
            let partition = |(index, offset)| DeleteRecordsPartition {
                partition_index: index,
                offset,
                ..DeleteRecordsPartition::default()
            };
            let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(partition).collect();
                DeleteRecordsTopic { name, partitions, ..DeleteRecordsTopic::default() }
            });
            let request = DeleteRecordsRequest {
                topics: topics.collect(),
                timeout_ms: CHANGE_TIMEOUT_MS,
                ..DeleteRecordsRequest::default()
            };
            let answer: DeleteRecordsResponse =
                self.client.call_broker(broker, Lane::General, api, 0..=2, &request).await?;
            for topic in answer.topics {
                for one in topic.partitions {
                    let key = TopicPartition::new(topic.name.as_str(), one.partition_index);
                    let subject = || format!("partition {key}");
                    let result = ClientError::check(api, subject, one.error_code, None);
                    results.push((key, result.map(|()| one.low_watermark)));
                }
            }
        }
        Ok(results)
    }
}

/// Whether a later try may succeed. A topic that is unknown stays so for an admin.
fn is_passing(error: &ClientError) -> bool {
    error.is_retriable() && error.code() != Some(types::ErrorCode::UnknownTopicOrPartition)
}
