//! Which brokers have the replicas of a partition, and which of them leads: reassignments and
//! elections.

use protocol::ApiKey;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignableTopic,
};
use protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, TopicPartitions,
};
use protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use types::{ErrorCode, TopicPartition};

use super::{Admin, CHANGE_TIMEOUT_MS, Each, by_topic};
use crate::error::ClientError;

/// A partition whose replicas are moving.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reassignment {
    /// The partition.
    pub partition: TopicPartition,
    /// All replicas that it has now, preferred leader first.
    pub replicas: Vec<i32>,
    /// Those that it gets.
    pub adding: Vec<i32>,
    /// Those that go once the others are in sync.
    pub removing: Vec<i32>,
}

/// Which replica is to lead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Election {
    /// The first of the replicas, if it is in sync.
    Preferred,
    /// Any that is alive, even where records are lost by it.
    Unclean,
}

impl Admin {
    /// Gives partitions other replicas, preferred leader first; `None` takes a change back that is
    /// under way. The cluster goes on with it when this returns.
    ///
    /// # Errors
    /// For the whole where the cluster cannot be reached; for each its own.
    pub async fn alter_reassignments(
        &self,
        partitions: &[(TopicPartition, Option<Vec<i32>>)],
    ) -> Result<Each<TopicPartition, ()>, ClientError> {
        let topics = by_topic(partitions.to_vec()).into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(partition_index, replicas)| {
                ReassignablePartition { partition_index, replicas, ..Default::default() }
            });
            ReassignableTopic { name, partitions: partitions.collect(), ..Default::default() }
        });
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: CHANGE_TIMEOUT_MS,
            topics: topics.collect(),
            ..Default::default()
        };
        let api = ApiKey::AlterPartitionReassignments;
        let code = |answer: &AlterPartitionReassignmentsResponse| Some(answer.error_code);
        let answer = self.call_controller(None, (api, 0..=1), &request, code).await?;
        ClientError::check(api, String::new, answer.error_code, answer.error_message.as_ref())?;
        let mut each = Vec::new();
        for topic in answer.responses {
            for one in topic.partitions {
                let partition = TopicPartition::new(topic.name.as_str(), one.partition_index);
                let subject = || format!("partition {partition}");
                let message = one.error_message.as_ref();
                let outcome = ClientError::check(api, subject, one.error_code, message);
                each.push((partition, outcome));
            }
        }
        Ok(each)
    }

    /// The partitions whose replicas are moving.
    ///
    /// # Errors
    /// Whatever keeps the cluster away.
    pub async fn list_reassignments(&self) -> Result<Vec<Reassignment>, ClientError> {
        let timeout_ms = CHANGE_TIMEOUT_MS;
        let request =
            ListPartitionReassignmentsRequest { timeout_ms, topics: None, ..Default::default() };
        let api = ApiKey::ListPartitionReassignments;
        let answer: ListPartitionReassignmentsResponse =
            self.client.call_any(api, 0..=0, &request).await?;
        ClientError::check(api, String::new, answer.error_code, answer.error_message.as_ref())?;
        let mut found = Vec::new();
        for topic in answer.topics {
            found.extend(topic.partitions.into_iter().map(|one| Reassignment {
                partition: TopicPartition::new(topic.name.as_str(), one.partition_index),
                replicas: one.replicas,
                adding: one.adding_replicas,
                removing: one.removing_replicas,
            }));
        }
        found.sort_by(|a, b| a.partition.cmp(&b.partition));
        Ok(found)
    }

    /// Has leaders elected. That nothing had to change is no error; partitions that the answer
    /// leaves out had their leader already.
    ///
    /// # Errors
    /// For the whole where the cluster cannot be reached; for each its own.
    pub async fn elect_leaders(
        &self,
        election: Election,
        partitions: &[TopicPartition],
    ) -> Result<Each<TopicPartition, ()>, ClientError> {
        let named = partitions.iter().map(|partition| (partition.clone(), ()));
        let topics = by_topic(named.collect()).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|(index, ())| index).collect();
            TopicPartitions { topic, partitions, ..Default::default() }
        });
        let request = ElectLeadersRequest {
            election_type: match election {
                Election::Preferred => 0,
                Election::Unclean => 1,
            },
            topic_partitions: Some(topics.collect()),
            timeout_ms: CHANGE_TIMEOUT_MS,
            ..Default::default()
        };
        let api = ApiKey::ElectLeaders;
        let code = |answer: &ElectLeadersResponse| Some(answer.error_code);
        let answer = self.call_controller(None, (api, 1..=2), &request, code).await?;
        ClientError::check(api, String::new, answer.error_code, None)?;
        let mut each = Vec::new();
        for topic in answer.replica_election_results {
            for one in topic.partition_result {
                let partition = TopicPartition::new(topic.topic.as_str(), one.partition_id);
                let is_done = one.error_code == ErrorCode::ElectionNotNeeded.to_wire();
                let code = if is_done { 0 } else { one.error_code };
                let subject = || format!("partition {partition}");
                let outcome = ClientError::check(api, subject, code, one.error_message.as_ref());
                each.push((partition, outcome));
            }
        }
        Ok(each)
    }
}
