//! Topics: create, delete, describe, grow.

use std::sync::Arc;

use protocol::ApiKey;
use protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::delete_topics::{
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use types::{ErrorCode, Uuid};

use super::{Admin, CHANGE_TIMEOUT_MS, Each};
use crate::error::ClientError;
use crate::metadata::TopicMetadata;

/// A topic to be made.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions, or the broker's default.
    pub partitions: Option<i32>,
    /// Replicas of each partition, or the broker's default.
    pub replication_factor: Option<i16>,
    /// Configuration that differs from the broker's.
    pub configs: Vec<(String, String)>,
}

/// A topic that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CreatedTopic {
    /// Its id; zero where the broker does not tell.
    pub id: Uuid,
    /// Number of partitions; -1 where the broker does not tell.
    pub partitions: i32,
    /// Replicas of each partition; -1 where the broker does not tell.
    pub replication_factor: i16,
}

/// A topic as the cluster describes it.
pub type TopicDescription = Arc<TopicMetadata>;

fn subject(name: &str) -> String {
    format!("topic {name:?}")
}

impl Admin {
    /// Creates topics, or with `validate_only` says whether they could be.
    ///
    /// # Errors
    /// For the whole where the cluster cannot be reached; for each its own.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Each<String, CreatedTopic>, ClientError> {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: name.clone(),
            value: Some(value.clone()),
            ..CreatableTopicConfig::default()
        };
        let topic = |topic: &NewTopic| CreatableTopic {
            name: topic.name.clone(),
            num_partitions: topic.partitions.unwrap_or(-1),
            replication_factor: topic.replication_factor.unwrap_or(-1),
            configs: topic.configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: topics.iter().map(topic).collect(),
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only,
            ..CreateTopicsRequest::default()
        };
        let api = ApiKey::CreateTopics;
        let code = |answer: &CreateTopicsResponse| Some(answer.topics.first()?.error_code);
        let answer = self.call_controller(None, (api, 4..=7), &request, code).await?;
        let results = answer.topics.into_iter().map(|topic| {
            let (code, message) = (topic.error_code, topic.error_message.as_ref());
            let result = ClientError::check(api, || subject(&topic.name), code, message);
            let result = result.map(|()| CreatedTopic {
                id: topic.topic_id,
                partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
            });
            (topic.name, result)
        });
        Ok(results.collect())
    }

    /// Deletes topics by name.
    ///
    /// # Errors
    /// As [`Admin::create_topics`].
    pub async fn delete_topics(&self, names: &[String]) -> Result<Each<String, ()>, ClientError> {
        let topic = |name: &String| DeleteTopicState {
            name: Some(name.clone()),
            ..DeleteTopicState::default()
        };
        let request = DeleteTopicsRequest {
            topics: names.iter().map(topic).collect(),
            timeout_ms: CHANGE_TIMEOUT_MS,
            ..DeleteTopicsRequest::default()
        };
        let api = ApiKey::DeleteTopics;
        let code = |answer: &DeleteTopicsResponse| Some(answer.responses.first()?.error_code);
        let answer = self.call_controller(None, (api, 6..=6), &request, code).await?;
        let results = answer.responses.into_iter().map(|topic| {
            let name = topic.name.unwrap_or_else(|| topic.topic_id.to_string());
            self.client.forget_topic(&name);
            let (code, message) = (topic.error_code, topic.error_message.as_ref());
            let result = ClientError::check(api, || subject(&name), code, message);
            (name, result)
        });
        Ok(results.collect())
    }

    /// Raises the number of partitions to `count`, which must be more than there are.
    ///
    /// # Errors
    /// `INVALID_PARTITIONS` where it is not more, and whatever keeps the cluster away.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), ClientError> {
        let one = CreatePartitionsTopic {
            name: topic.to_owned(),
            count,
            assignments: None,
            ..CreatePartitionsTopic::default()
        };
        let request = CreatePartitionsRequest {
            topics: vec![one],
            timeout_ms: CHANGE_TIMEOUT_MS,
            ..CreatePartitionsRequest::default()
        };
        let api = ApiKey::CreatePartitions;
        let code = |answer: &CreatePartitionsResponse| Some(answer.results.first()?.error_code);
        let answer = self.call_controller(None, (api, 0..=3), &request, code).await?;
        self.client.forget_topic(topic);
        for one in answer.results {
            let (code, message) = (one.error_code, one.error_message.as_ref());
            ClientError::check(api, || subject(&one.name), code, message)?;
        }
        Ok(())
    }

    /// Describes topics as they are now.
    ///
    /// # Errors
    /// As [`Admin::create_topics`].
    pub async fn describe_topics(
        &self,
        names: &[String],
    ) -> Result<Each<String, TopicDescription>, ClientError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.client.metadata(Some(names), false).await?;
        let mut by_name = std::collections::BTreeMap::new();
        let mut errors = Vec::new();
        for topic in found {
            match topic {
                Ok(topic) => _ = by_name.insert(topic.name.to_string(), topic),
                Err(error) => errors.push(error),
            }
        }
        let of_name = |name: &String| {
            let subject = subject(name);
            let own = |error: &&ClientError| matches!(error, ClientError::Refusal { subject: other, .. } if *other == subject);
            let error = || errors.iter().find(own).cloned();
            let missing = || error().unwrap_or_else(|| crate::cluster::unknown_topic(name));
            (name.clone(), by_name.get(name).cloned().ok_or_else(missing))
        };
        Ok(names.iter().map(of_name).collect())
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// Whatever keeps the cluster away.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>, ClientError> {
        let mut topics = self.client.topics().await?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Waits until all partitions of a new topic have leaders, and its metadata is known.
    ///
    /// # Errors
    /// Where that takes longer than the client's `call_timeout`.
    pub async fn await_topic(&self, name: &str) -> Result<TopicDescription, ClientError> {
        let mut retry = self.client.retry();
        loop {
            let error = match self.client.refresh_topic(name, false).await {
                Err(error) => error,
                Ok(topic) => {
                    let led = |index: &i32| topic.leader(*index).is_err();
                    match (0..topic.partitions.len() as i32).find(led) {
                        None => return Ok(topic),
                        Some(index) => topic.leader(index).expect_err("found by its absence"),
                    }
                }
            };
            let is_new = error.code() == Some(ErrorCode::UnknownTopicOrPartition);
            if !is_new && !error.is_retriable() {
                return Err(error);
            }
            self.client.pause(&mut retry, error).await?;
        }
    }
}
