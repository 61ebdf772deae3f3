//! What differs between two images, so that each part of a node acts on its share alone.
//!
//! Found by comparing, not by bookkeeping: parts that two images share are skipped unread, so the
//! cost follows the change. It is right however the images came about: by a batch, a transaction,
//! or a checkpoint that jumped over a thousand batches.

use std::sync::Arc;

use types::{BrokerId, Uuid};

use super::{ConfigResource, Image, Partition, Topic};

/// What differs in a newer image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Topics that are new; their partitions are in `partitions` too.
    pub topics_created: Vec<Arc<Topic>>,
    /// Topics that are gone, as they were; their partitions are in `partitions` too.
    pub topics_deleted: Vec<Arc<Topic>>,
    /// Partitions that are new, gone or different.
    pub partitions: Vec<PartitionDifference>,
    /// Brokers that are new, gone or different.
    pub brokers: Vec<BrokerId>,
    /// Controllers that are new, gone or different.
    pub controllers: Vec<BrokerId>,
    /// Resources whose dynamic settings are new, gone or different.
    pub configs: Vec<ConfigResource>,
    /// Whether a feature level differs.
    pub features: bool,
    /// Whether producer ids were handed out.
    pub producer_ids: bool,
    /// Whether a client quota differs.
    pub quotas: bool,
    /// Whether an access control entry differs.
    pub acls: bool,
    /// Whether a SCRAM credential or a delegation token differs.
    pub credentials: bool,
}

/// A partition before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionDifference {
    /// Id of the topic.
    pub topic_id: Uuid,
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Index of the partition.
    pub partition: i32,
    /// `None` where the partition is new.
    pub before: Option<Arc<Partition>>,
    /// `None` where the partition is gone.
    pub after: Option<Arc<Partition>>,
}

impl Changes {
    /// What has changed from `old` to `new`.
    pub fn between(old: &Image, new: &Image) -> Self {
        let brokers = old.brokers.differences(&new.brokers);
        let controllers = old.controllers.differences(&new.controllers);
        let configs = old.configs.differences(&new.configs);
        let mut changes = Self {
            brokers: brokers.into_iter().map(|(&id, _, _)| id).collect(),
            controllers: controllers.into_iter().map(|(&id, _, _)| id).collect(),
            configs: configs.into_iter().map(|(resource, _, _)| resource.clone()).collect(),
            features: old.features != new.features,
            producer_ids: old.next_producer_id != new.next_producer_id,
            quotas: old.quotas != new.quotas,
            acls: old.acls != new.acls,
            credentials: old.scram != new.scram || old.tokens != new.tokens,
            ..Self::default()
        };
        for (_, before, after) in old.topics.differences(&new.topics) {
            changes.compare_topics(before, after);
        }
        changes
    }

    /// Whether the images are equal.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn compare_topics(&mut self, before: Option<&Arc<Topic>>, after: Option<&Arc<Topic>>) {
        match (before, after) {
            (None, Some(topic)) => self.topics_created.push(Arc::clone(topic)),
            (Some(topic), None) => self.topics_deleted.push(Arc::clone(topic)),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let Some(topic) = after.or(before) else { return };
        let none = Topic::new(topic.id, Arc::clone(&topic.name));
        let before = before.map_or(&none, Arc::as_ref).partitions_map();
        let after = after.map_or(&none, Arc::as_ref).partitions_map();
        let partitions = before.differences(after).into_iter();
        self.partitions.extend(partitions.map(|(&partition, before, after)| PartitionDifference {
            topic_id: topic.id,
            topic: Arc::clone(&topic.name),
            partition,
            before: before.cloned(),
            after: after.cloned(),
        }));
    }
}
