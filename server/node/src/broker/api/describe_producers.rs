//! DescribeProducers: the idempotent and transactional producers of partitions (KIP-664).

use std::rc::Rc;

use protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use types::{ErrorCode, validate_topic_name};

use crate::broker::Context;
use crate::broker::excerpt::excerpt;
use crate::broker::once::partitions_once;
use crate::broker::resolve::{self, TopicRef};
use crate::shard::{Partition, Shard};

/// Serves one request.
pub async fn handle(
    context: Context,
    mut request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    partitions_once(&mut request.topics, |topic| {
        (topic.name.clone(), &mut topic.partition_indexes)
    });
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            partitions.push(describe(&context, &topic.name, index).await);
        }
        topics.push(TopicResponse { name: topic.name, partitions, ..Default::default() });
    }
    DescribeProducersResponse { topics, ..Default::default() }
}

async fn describe(context: &Context, topic: &str, partition_index: i32) -> PartitionResponse {
    if let Err(invalid) = validate_topic_name(topic) {
        return PartitionResponse {
            partition_index,
            error_code: ErrorCode::InvalidTopicException.to_wire(),
            error_message: Some(excerpt(&invalid.to_string()).to_owned()),
            ..Default::default()
        };
    }
    let shard = &context.shard;
    let found = async {
        let topic = resolve::topic(&shard.image(), TopicRef::Name(topic))?;
        let id = resolve::led_here(shard, &topic, partition_index)?;
        let list = move |shard: &Rc<Shard>| {
            let partition = shard.served_partition(id)?;
            let partition = partition.borrow();
            partition.check_epoch(-1)?;
            Ok::<_, ErrorCode>(producers(&partition))
        };
        shard.call(id, list).await
    };
    match found.await {
        Ok(active_producers) => {
            PartitionResponse { partition_index, active_producers, ..Default::default() }
        }
        Err(code) => {
            PartitionResponse { partition_index, error_code: code.to_wire(), ..Default::default() }
        }
    }
}

fn producers(partition: &Partition) -> Vec<ProducerState> {
    let producers = partition.log().producers().iter().map(|(id, known)| ProducerState {
        producer_id: id.0,
        producer_epoch: i32::from(known.epoch),
        last_sequence: known.last_sequence(),
        last_timestamp: known.last_timestamp,
        coordinator_epoch: known.coordinator_epoch,
        current_txn_start_offset: known.txn_first_offset.map_or(-1, types::Offset::get),
        ..Default::default()
    });
    producers.collect()
}
