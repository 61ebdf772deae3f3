//! Committed offsets: how far each group has read each partition.
//!
//! [`Offsets`] is a part of [`Logged`](crate::Logged), changed by replay alone. Transactional
//! commits will lie in a second [`Offsets`] per producer until their marker decides; what then
//! makes an offset unstable belongs into `fetch`, and what keeps it from expiring into `expire`.

mod commit;
mod delete;
mod expire;
mod fetch;

use std::collections::BTreeMap;
use std::sync::Arc;

use types::{LeaderEpoch, Millis, Uuid};

pub(crate) use commit::{commit_offsets, refuse_commit};
pub(crate) use delete::{delete_all_offsets, delete_offsets, delete_offsets_of_topics};
pub(crate) use expire::expire_offsets;
pub(crate) use fetch::fetch_offsets;

use crate::logged::GroupId;

/// What a group has committed for a partition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CommittedOffset {
    /// As the client sent it, negative numbers included.
    pub offset: i64,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: Box<str>,
    /// By the wall clock.
    pub committed_at: Millis,
    /// Where an old client set its own retention.
    pub expires_at: Option<Millis>,
    /// Zero where it was not known.
    pub topic_id: Uuid,
}

type Topics = BTreeMap<Arc<str>, BTreeMap<i32, CommittedOffset>>;

/// All committed offsets of a partition of `__consumer_offsets`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offsets {
    groups: BTreeMap<GroupId, Topics>,
}

impl Offsets {
    /// What the group has committed for a partition.
    pub fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group_id)?.get(topic)?.get(&partition)
    }

    /// All that a group has committed, by topic and partition.
    pub fn of_group(
        &self,
        group_id: &str,
    ) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<i32, CommittedOffset>)> {
        self.groups.get(group_id).into_iter().flatten()
    }

    pub(crate) fn put(
        &mut self,
        group_id: GroupId,
        topic: String,
        partition: i32,
        offset: CommittedOffset,
    ) {
        let topics = self.groups.entry(group_id).or_default();
        match topics.get_mut(topic.as_str()) {
            Some(partitions) => _ = partitions.insert(partition, offset),
            None => _ = topics.insert(topic.into(), BTreeMap::from([(partition, offset)])),
        }
    }

    pub(crate) fn remove(&mut self, group_id: &str, topic: &str, partition: i32) {
        let Some(topics) = self.groups.get_mut(group_id) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group_id);
        }
    }
}
