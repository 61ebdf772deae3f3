//! What members of a consumer group tell each other through the broker: subscriptions and
//! assignments, each behind its version.

use bytes::{Bytes, BytesMut};
use protocol::Message;
use protocol::internal::consumer::consumer_protocol_assignment::{self as assigned};
use protocol::internal::consumer::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use protocol::wire::Reader;
use types::TopicPartition;

use crate::error::ClientError;

/// Version of the subscription that is sent; later ones add what eager members have no use for.
const SUBSCRIPTION_VERSION: i16 = 1;
const ASSIGNMENT_VERSION: i16 = 1;

/// A subscription to topics.
pub(crate) fn subscription(topics: &[String]) -> Result<Bytes, ClientError> {
    let topics = topics.to_vec();
    let message =
        ConsumerProtocolSubscription { topics, ..ConsumerProtocolSubscription::default() };
    with_version(&message, SUBSCRIPTION_VERSION)
}

/// An assignment of partitions.
pub(crate) fn assignment(partitions: &[TopicPartition]) -> Result<Bytes, ClientError> {
    with_version(&to_protocol(partitions), ASSIGNMENT_VERSION)
}

/// A message of the consumer protocol, behind its version.
fn with_version<M: Message>(message: &M, version: i16) -> Result<Bytes, ClientError> {
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&version.to_be_bytes());
    message.encode(version, &mut bytes).map_err(|error| ClientError::Invalid(error.to_string()))?;
    Ok(bytes.freeze())
}

/// The topics in another member's subscription; none in one that cannot be read.
pub(crate) fn subscribed(metadata: &Bytes) -> Vec<String> {
    let Some(version) = metadata.get(..2).map(|v| i16::from_be_bytes([v[0], v[1]])) else {
        return Vec::new();
    };
    let newest = ConsumerProtocolSubscription::MAX_VERSION;
    let body = metadata.slice(2..);
    let mut reader = Reader::new(&body);
    let decoded = ConsumerProtocolSubscription::decode(&mut reader, version.clamp(0, newest));
    decoded.map(|subscription| subscription.topics).unwrap_or_default()
}

fn to_protocol(partitions: &[TopicPartition]) -> ConsumerProtocolAssignment {
    let mut topics: Vec<assigned::TopicPartition> = Vec::new();
    for partition in partitions {
        match topics.iter_mut().find(|topic| *topic.topic == *partition.topic) {
            Some(topic) => topic.partitions.push(partition.partition),
            None => topics.push(assigned::TopicPartition {
                topic: partition.topic.to_string(),
                partitions: vec![partition.partition],
                ..assigned::TopicPartition::default()
            }),
        }
    }
    ConsumerProtocolAssignment {
        assigned_partitions: topics,
        ..ConsumerProtocolAssignment::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_read_whatever_its_version() {
        let topics = ["a".to_owned(), "b".to_owned()];
        let mut bytes = subscription(&topics).unwrap().to_vec();
        assert_eq!(subscribed(&bytes.clone().into()), topics);
        bytes[1] = 9;
        bytes.extend([0; 6]);
        assert_eq!(subscribed(&bytes.into()), topics, "what is newer only adds");
    }

    #[test]
    fn bytes_that_are_no_subscription_are_no_topics() {
        for bytes in [&[][..], &[0], &[0, 0], &[0, 0, 0, 0, 0, 9], &[255, 255, 1]] {
            assert!(subscribed(&Bytes::copy_from_slice(bytes)).is_empty(), "{bytes:?}");
        }
    }

    #[test]
    fn an_assignment_is_read_back() {
        let partitions =
            [("a", 0), ("a", 2), ("b", 1)].map(|(topic, index)| TopicPartition::new(topic, index));
        let bytes = assignment(&partitions).unwrap();
        assert_eq!(crate::admin::assigned(&bytes), partitions);
        assert!(crate::admin::assigned(&bytes.slice(..9)).is_empty());
    }
}
