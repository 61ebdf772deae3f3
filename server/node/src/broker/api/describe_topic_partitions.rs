//! DescribeTopicPartitions: topics page by page, with eligible leader replicas (KIP-966).

use std::collections::BTreeSet;

use ::metadata::Image;
use ::metadata::image::{Partition, Topic};
use protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use types::{BrokerId, ErrorCode, validate_topic_name};

use crate::broker::{Context, operations, resolve};

/// Serves one request.
pub async fn handle(
    context: Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = context.shard.image();
    let configured = context.shard.shared.config.fetch.request_partitions_max;
    let configured = usize::try_from(configured).unwrap_or(usize::MAX);
    let wanted = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let page = Page {
        image: &image,
        listener: &context.peer.listener,
        cursor: request.cursor.as_ref(),
        partitions_max: configured.min(wanted).max(1),
    };
    page.answer(&request)
}

/// One page of the answer.
struct Page<'a> {
    image: &'a Image,
    listener: &'a str,
    cursor: Option<&'a Cursor>,
    partitions_max: usize,
}

impl Page<'_> {
    fn answer(&self, request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
        let from = self.cursor.map_or("", |cursor| cursor.topic_name.as_str());
        if self.cursor.is_some_and(|cursor| cursor.partition_index < 0) {
            return refuse(request);
        }
        if request.topics.is_empty() {
            return self.fill(self.image.topics_from(from).map(|topic| &*topic.name), false);
        }
        let names: BTreeSet<&str> =
            request.topics.iter().map(|topic| topic.name.as_str()).collect();
        // Who goes on must still ask for the topic where the last page ended.
        if self.cursor.is_some() && !names.contains(from) {
            return refuse(request);
        }
        self.fill(names.range(from..).copied(), true)
    }

    /// Topics in the order of their names until the page is full.
    fn fill<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        unknown_too: bool,
    ) -> DescribeTopicPartitionsResponse {
        let mut response = DescribeTopicPartitionsResponse::default();
        let mut left = self.partitions_max;
        for name in names {
            if left == 0 {
                response.next_cursor = Some(cursor(name, 0));
                break;
            }
            let Some(topic) = self.image.topic(name) else {
                if unknown_too {
                    response.topics.push(unknown(name));
                }
                continue;
            };
            let start = self.cursor.filter(|cursor| cursor.topic_name == name);
            let start = start.map_or(0, |cursor| cursor.partition_index);
            let described = self.describe(topic, start, left);
            left -= described.partitions.len();
            let last = described.partitions.last().map_or(start, |one| one.partition_index + 1);
            response.topics.push(described);
            if last < topic.partition_count() {
                response.next_cursor = Some(cursor(name, last));
                break;
            }
        }
        response
    }

    fn describe(
        &self,
        topic: &Topic,
        start: i32,
        partitions_max: usize,
    ) -> DescribeTopicPartitionsResponseTopic {
        let partitions = topic.partitions().filter(|(index, _)| *index >= start);
        let partitions = partitions.take(partitions_max);
        DescribeTopicPartitionsResponseTopic {
            name: Some(topic.name.to_string()),
            topic_id: topic.id,
            is_internal: config::is_internal(&topic.name),
            partitions: partitions.map(|(index, one)| self.partition(index, one)).collect(),
            topic_authorized_operations: operations::TOPIC,
            ..Default::default()
        }
    }

    fn partition(
        &self,
        partition_index: i32,
        partition: &Partition,
    ) -> DescribeTopicPartitionsResponsePartition {
        let leader = resolve::reachable_leader(self.image, partition, self.listener);
        let is_offline = |id: &&BrokerId| {
            !self.image.is_active(**id) || resolve::lies_offline(self.image, partition, **id)
        };
        let offline = partition.replicas.iter().filter(is_offline);
        DescribeTopicPartitionsResponsePartition {
            partition_index,
            leader_id: leader.map_or(-1, |leader| leader.0),
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: ids(&partition.replicas),
            isr_nodes: ids(&partition.isr),
            eligible_leader_replicas: Some(ids(&partition.elr)),
            last_known_elr: Some(ids(&partition.last_known_elr)),
            offline_replicas: offline.map(|id| id.0).collect(),
            ..Default::default()
        }
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}

fn cursor(topic: &str, partition_index: i32) -> ResponseCursor {
    ResponseCursor { topic_name: topic.to_owned(), partition_index, ..Default::default() }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match validate_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    failed(name, code)
}

/// Every topic of the request gets the code; there is none for the whole.
fn refuse(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter();
    let topics = topics.map(|topic| failed(&topic.name, ErrorCode::InvalidRequest));
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }
}

fn failed(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.to_wire(),
        name: Some(name.to_owned()),
        is_internal: config::is_internal(name),
        ..Default::default()
    }
}
