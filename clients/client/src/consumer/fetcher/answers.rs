//! What became of a fetch, or of looking for an offset: records to hand over, another place to read
//! from, or a pause.

use std::sync::Arc;
use std::time::Duration;

use protocol::ApiKey;
use protocol::messages::fetch::{FetchResponse, LeaderIdAndEpoch, PartitionData};
use tokio::time::Instant;
use types::{ErrorCode, TopicPartition};

use super::super::IsolationLevel;
use super::super::assignment::{Cursor, StartAt};
use super::super::decode::decode;
use super::{Asked, Chunk, Fetcher, Gone, PAUSE};
use crate::admin::{Each, ListedOffset};
use crate::error::ClientError;

/// How long leaders alone are read from once a replica near by has failed.
const NEAR_AGAIN_AFTER: Duration = Duration::from_secs(30);

impl Fetcher {
    pub(super) async fn fetched(
        &mut self,
        broker: i32,
        asked: Vec<Asked>,
        result: Result<FetchResponse, ClientError>,
    ) -> Result<(), Gone> {
        let answer = result.and_then(|answer| {
            ClientError::check(ApiKey::Fetch, String::new, answer.error_code, None)?;
            Ok(answer)
        });
        for (key, cursor, _) in &asked {
            if let Some(place) = self.place(key, cursor) {
                place.is_busy = false;
            }
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                for (key, cursor, _) in &asked {
                    if self.place(key, cursor).is_some_and(|place| place.leave(broker)) {
                        self.far_until = Some(Instant::now() + NEAR_AGAIN_AFTER);
                    }
                    self.client.forget_topic(&key.topic);
                }
                tracing::debug!(%error, "fetch failed");
                return if error.is_retriable() {
                    Ok(())
                } else {
                    self.hand_over(Err(error)).await
                };
            }
        };
        let nodes = answer.node_endpoints.into_iter();
        let named = nodes.map(|node| (node.node_id, node.host, node.port, node.rack));
        self.client.learn_brokers(named);
        for topic in answer.responses {
            let name = match topic.topic_id.is_zero() {
                true => Arc::from(topic.topic),
                false => self.client.topic_name(topic.topic_id).unwrap_or_default(),
            };
            for data in topic.partitions {
                let key = TopicPartition::new(Arc::clone(&name), data.partition_index);
                if let Some(one) = asked.iter().find(|(asked, _, _)| *asked == key) {
                    self.fetched_one(broker, one, data).await?;
                }
            }
        }
        Ok(())
    }

    async fn fetched_one(
        &mut self,
        broker: i32,
        (key, cursor, from): &Asked,
        data: PartitionData,
    ) -> Result<(), Gone> {
        let subject = || format!("partition {key}");
        if let Err(error) = ClientError::check(ApiKey::Fetch, subject, data.error_code, None) {
            if self.is_led_elsewhere(broker, (key, cursor), &data.current_leader) {
                return Ok(());
            }
            return self.refused(key, cursor, error).await;
        }
        if data.preferred_read_replica >= 0 && !self.is_far() {
            let lease = self.client.settings().metadata_age_max;
            if let Some(place) = self.place(key, cursor) {
                place.go_near(data.preferred_read_replica, lease);
            }
        }
        let is_committed = self.settings.isolation == IsolationLevel::ReadCommitted;
        let aborted = is_committed.then(|| data.aborted_transactions.unwrap_or_default());
        let bytes = data.records.unwrap_or_default();
        let decoded = decode(&key.topic, key.partition, &bytes, *from, aborted);
        let Some(place) = self.place(key, cursor) else { return Ok(()) };
        place.next = Some(decoded.next);
        if decoded.next > *from {
            let (records, next) = (decoded.records, decoded.next);
            self.hand_over(Ok(Chunk { cursor: cursor.clone(), records, next })).await?;
        }
        let Some(error) = decoded.error else { return Ok(()) };
        if let Some(place) = self.place(key, cursor) {
            place.not_before = Some(Instant::now() + Duration::from_secs(1));
        }
        let next = decoded.next;
        let text =
            format!("the batch at offset {next} of {key} cannot be read: {error}; seek past it");
        self.hand_over(Err(ClientError::Invalid(text))).await
    }

    /// Whether a partition that `broker` refused can be asked for elsewhere at once: at its leader,
    /// where that was a replica, or at the leader that the refusal names.
    fn is_led_elsewhere(
        &mut self,
        broker: i32,
        (key, cursor): (&TopicPartition, &Arc<Cursor>),
        hint: &LeaderIdAndEpoch,
    ) -> bool {
        let leader = (hint.leader_id, hint.leader_epoch);
        let is_known = self.client.learn_leader(key, leader, broker);
        let Some(place) = self.place(key, cursor) else { return true };
        if place.leave(broker) {
            // The leader may send it there again.
            place.not_before = Some(Instant::now() + PAUSE);
            return true;
        }
        is_known
    }

    async fn refused(
        &mut self,
        key: &TopicPartition,
        cursor: &Arc<Cursor>,
        error: ClientError,
    ) -> Result<(), Gone> {
        let reset = self.settings.offset_reset;
        let Some(place) = self.place(key, cursor) else { return Ok(()) };
        place.not_before = Some(Instant::now() + PAUSE);
        if error.code() == Some(ErrorCode::OffsetOutOfRange) {
            if let Some(start) = reset.start() {
                tracing::warn!(partition = %key, ?start, "offset out of range, reading from there");
                place.next = None;
                place.start = start;
                return Ok(());
            }
        } else if error.is_retriable() {
            self.client.forget_topic(&key.topic);
            return Ok(());
        }
        // Else the same error would come ten times a second.
        place.not_before = Some(Instant::now() + Duration::from_secs(1));
        self.hand_over(Err(error)).await
    }

    pub(super) async fn located(
        &mut self,
        asked: Vec<TopicPartition>,
        result: Result<Each<TopicPartition, ListedOffset>, ClientError>,
    ) -> Result<(), Gone> {
        for key in &asked {
            if let Some(place) = self.places.get_mut(key) {
                place.is_busy = false;
                place.not_before = Some(Instant::now() + PAUSE);
            }
        }
        let each = match result {
            Ok(each) => each,
            Err(error) => asked.into_iter().map(|key| (key, Err(error.clone()))).collect(),
        };
        for (key, result) in each {
            let Some(place) = self.places.get_mut(&key) else { continue };
            match result {
                Ok(found) => match found.offset {
                    Some(offset) => {
                        place.next = Some(offset);
                        place.not_before = None;
                        place.cursor.advance(offset);
                    }
                    // No record that late: what comes from now on is.
                    None => place.start = StartAt::End,
                },
                Err(error) if error.is_retriable() => self.client.forget_topic(&key.topic),
                Err(error) => self.hand_over(Err(error)).await?,
            }
        }
        Ok(())
    }
}
