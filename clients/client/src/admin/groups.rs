//! Consumer groups: list, describe, delete, and their offsets.

use bytes::Bytes;
use protocol::internal::consumer::ConsumerProtocolAssignment;
use protocol::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use protocol::{ApiKey, Message};
use types::TopicPartition;

use super::{Admin, Each, by_topic};
use crate::cluster::Lane;
use crate::error::ClientError;

/// A group in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupListing {
    /// Its id.
    pub id: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, …; empty from brokers before 2.6.
    pub state: String,
    /// `classic`, `consumer`, `share` or `streams`; empty from brokers before 3.8.
    pub kind: String,
    /// `consumer` for consumers; others (Connect, Schema Registry) have their own.
    pub protocol_type: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
}

/// A classic group and its members.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupDescription {
    /// Its id.
    pub id: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Dead`.
    pub state: String,
    /// `consumer` for consumers.
    pub protocol_type: String,
    /// The assignor that was chosen.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupMember {
    /// Id given by the broker.
    pub id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The member's client id.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// What it was given to read.
    pub partitions: Vec<TopicPartition>,
}

/// A committed offset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the leader that wrote the record before it; -1 where unknown.
    pub leader_epoch: i32,
    /// What the committer added.
    pub metadata: String,
}

fn subject(group: &str) -> String {
    format!("group {group:?}")
}

impl Admin {
    /// The groups of all brokers, by id.
    ///
    /// # Errors
    /// Where one broker does not answer; its groups would be missing.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        self.client.metadata(Some(&[]), false).await?;
        let request = ListGroupsRequest::default();
        let api = ApiKey::ListGroups;
        let mut groups = Vec::new();
        for broker in self.client.brokers() {
            let answer: ListGroupsResponse =
                self.client.call_broker(broker.id, Lane::General, api, 0..=5, &request).await?;
            ClientError::check(api, String::new, answer.error_code, None)?;
            groups.extend(answer.groups.into_iter().map(|group| GroupListing {
                id: group.group_id,
                state: group.group_state,
                kind: group.group_type,
                protocol_type: group.protocol_type,
                coordinator: broker.id,
            }));
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(groups)
    }

    /// A classic group and its members.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, and whatever keeps the coordinator away.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest {
            groups: vec![group.to_owned()],
            ..DescribeGroupsRequest::default()
        };
        let api = ApiKey::DescribeGroups;
        let read = |answer: DescribeGroupsResponse| {
            let Some(found) = answer.groups.into_iter().next() else {
                return Err(ClientError::Invalid(format!("no answer about group {group:?}")));
            };
            let (code, message) = (found.error_code, found.error_message.as_ref());
            ClientError::check(api, || subject(group), code, message)?;
            Ok(found)
        };
        let found = self.call_coordinator(group, api, 0..=6, &request, read).await?;
        Ok(description(found, self.client.coordinator(group).await?))
    }

    /// Deletes a group that has no members.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP`, `GROUP_ID_NOT_FOUND`, and whatever keeps the coordinator away.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest {
            groups_names: vec![group.to_owned()],
            ..DeleteGroupsRequest::default()
        };
        let api = ApiKey::DeleteGroups;
        let read = |answer: DeleteGroupsResponse| {
            let codes = answer.results.iter().map(|result| result.error_code);
            let mut checks =
                codes.map(|code| ClientError::check(api, || subject(group), code, None));
            checks.try_for_each(|check| check)
        };
        self.call_coordinator(group, api, 0..=2, &request, read).await
    }

    /// The offsets that a group has committed; `partitions` `None` means all it has.
    ///
    /// # Errors
    /// Whatever keeps the coordinator away.
    pub async fn group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<GroupOffset>, ClientError> {
        fetch_offsets(self, group, partitions, false).await
    }

    /// Sets committed offsets of a group that has no members.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID` for each partition where the group has members.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<Each<TopicPartition, ()>, ClientError> {
        let request = commit_request(group, -1, "", None, offsets);
        let api = ApiKey::OffsetCommit;
        let read = |answer: OffsetCommitResponse| commit_results(group, answer);
        self.call_coordinator(group, api, 2..=9, &request, read).await
    }

    /// Forgets committed offsets of a group.
    ///
    /// # Errors
    /// `GROUP_SUBSCRIBED_TO_TOPIC` for partitions of topics that members subscribe to.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Each<TopicPartition, ()>, ClientError> {
        let pairs = partitions.iter().map(|partition| (partition.clone(), ())).collect();
        let partition = |(index, ())| OffsetDeleteRequestPartition {
            partition_index: index,
            ..OffsetDeleteRequestPartition::default()
        };
        let topics = by_topic(pairs).into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(partition).collect();
            OffsetDeleteRequestTopic { name, partitions, ..OffsetDeleteRequestTopic::default() }
        });
        let request = OffsetDeleteRequest {
            group_id: group.to_owned(),
            topics: topics.collect(),
            ..OffsetDeleteRequest::default()
        };
        let api = ApiKey::OffsetDelete;
        let read = |answer: OffsetDeleteResponse| {
            ClientError::check(api, || subject(group), answer.error_code, None)?;
            let mut results = Vec::new();
            for topic in answer.topics {
                for one in topic.partitions {
                    let key = TopicPartition::new(topic.name.as_str(), one.partition_index);
                    let subject = || format!("partition {key}");
                    results.push((
                        key.clone(),
                        ClientError::check(api, subject, one.error_code, None),
                    ));
                }
            }
            Ok(results)
        };
        self.call_coordinator(group, api, 0..=0, &request, read).await
    }
}

/// Committed offsets; `require_stable` waits for transactions that are still open.
pub(crate) async fn fetch_offsets(
    admin: &Admin,
    group: &str,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> Result<Vec<GroupOffset>, ClientError> {
    let topics = partitions.map(|partitions| {
        let pairs = partitions.iter().map(|partition| (partition.clone(), ())).collect();
        let topics = by_topic(pairs).into_iter().map(|(name, indexes)| OffsetFetchRequestTopics {
            name,
            partition_indexes: indexes.into_iter().map(|(index, ())| index).collect(),
            ..OffsetFetchRequestTopics::default()
        });
        topics.collect()
    });
    let one = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics,
        ..OffsetFetchRequestGroup::default()
    };
    let request =
        OffsetFetchRequest { groups: vec![one], require_stable, ..OffsetFetchRequest::default() };
    let api = ApiKey::OffsetFetch;
    let read = |answer: OffsetFetchResponse| {
        let mut offsets = Vec::new();
        for answered in answer.groups {
            ClientError::check(api, || subject(group), answered.error_code, None)?;
            for topic in answered.topics {
                for one in topic.partitions {
                    let partition = TopicPartition::new(topic.name.as_str(), one.partition_index);
                    let subject = || format!("group {group:?}, partition {partition}");
                    ClientError::check(api, subject, one.error_code, None)?;
                    if one.committed_offset >= 0 {
                        offsets.push(GroupOffset {
                            partition,
                            offset: one.committed_offset,
                            leader_epoch: one.committed_leader_epoch,
                            metadata: one.metadata.unwrap_or_default(),
                        });
                    }
                }
            }
        }
        Ok(offsets)
    };
    admin.call_coordinator(group, api, 8..=9, &request, read).await
}

/// A commit by a member, or with generation -1 by nobody in particular.
pub(crate) fn commit_request(
    group: &str,
    generation: i32,
    member: &str,
    instance: Option<String>,
    offsets: &[(TopicPartition, i64)],
) -> OffsetCommitRequest {
    let partition = |(index, offset)| OffsetCommitRequestPartition {
        partition_index: index,
        committed_offset: offset,
        committed_metadata: Some(String::new()),
        ..OffsetCommitRequestPartition::default()
    };
    let topics = by_topic(offsets.to_vec()).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(partition).collect();
        OffsetCommitRequestTopic { name, partitions, ..OffsetCommitRequestTopic::default() }
    });
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member.to_owned(),
        group_instance_id: instance,
        topics: topics.collect(),
        ..OffsetCommitRequest::default()
    }
}

/// What became of each partition; an error for the whole where trying again can help.
pub(crate) fn commit_results(
    group: &str,
    answer: OffsetCommitResponse,
) -> Result<Each<TopicPartition, ()>, ClientError> {
    let api = ApiKey::OffsetCommit;
    let mut results = Vec::new();
    for topic in answer.topics {
        for one in topic.partitions {
            let key = TopicPartition::new(topic.name.as_str(), one.partition_index);
            let subject = || format!("group {group:?}, partition {key}");
            match ClientError::check(api, subject, one.error_code, None) {
                Err(error) if error.is_retriable() => return Err(error),
                result => results.push((key, result)),
            }
        }
    }
    Ok(results)
}

fn description(group: DescribedGroup, coordinator: i32) -> GroupDescription {
    let is_consumer = group.protocol_type == "consumer";
    let members = group.members.into_iter().map(|member| GroupMember {
        id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        partitions: if is_consumer { assigned(&member.member_assignment) } else { Vec::new() },
    });
    GroupDescription {
        id: group.group_id,
        state: group.group_state,
        protocol_type: group.protocol_type,
        assignor: group.protocol_data,
        coordinator,
        members: members.collect(),
    }
}

/// The partitions in an assignment; none in one that is empty or not a consumer's.
pub(crate) fn assigned(assignment: &Bytes) -> Vec<TopicPartition> {
    let Some(version) = assignment.get(..2).map(|v| i16::from_be_bytes([v[0], v[1]])) else {
        return Vec::new();
    };
    let body = assignment.slice(2..);
    let newest = ConsumerProtocolAssignment::MAX_VERSION;
    let mut reader = protocol::wire::Reader::new(&body);
    // What a newer version adds stands behind what this one knows.
    let Ok(decoded) = ConsumerProtocolAssignment::decode(&mut reader, version.clamp(0, newest))
    else {
        return Vec::new();
    };
    let mut partitions = Vec::new();
    for topic in decoded.assigned_partitions {
        let name: std::sync::Arc<str> = topic.topic.into();
        partitions
            .extend(topic.partitions.iter().map(|index| TopicPartition::new(name.clone(), *index)));
    }
    partitions
}
