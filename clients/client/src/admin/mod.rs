//! Administration: topics, configurations, groups, offsets, the cluster itself.
//!
//! Each call retries what passes by itself until the client's `call_timeout`. Calls about several
//! things answer for each of them, so that one refusal does not hide the others' success.

mod cluster;
mod configs;
mod groups;
mod offsets;
mod placement;
mod topics;
mod voters;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use protocol::{ApiKey, Message};
use types::{ErrorCode, TopicPartition};

use crate::cluster::{Client, Lane};
use crate::error::ClientError;
pub use cluster::{
    ClusterDescription, FeatureLevel, LogDir, LogDirReplica, QuorumDescription, QuorumEndpoint,
    QuorumReplica, UpgradeType,
};
pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ResourceKind};
pub use groups::{GroupDescription, GroupListing, GroupMember, GroupOffset};
pub(crate) use groups::{assigned, commit_request, commit_results, fetch_offsets};
pub use offsets::{ListedOffset, OffsetSpec};
pub use placement::{Election, Reassignment};
pub use topics::{CreatedTopic, NewTopic, TopicDescription};

/// An outcome for each thing that was asked about, in the order of the request.
pub type Each<K, T> = Vec<(K, Result<T, ClientError>)>;

/// Administers a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

/// Time that the broker may take for changes to topics.
const CHANGE_TIMEOUT_MS: i32 = 30_000;

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client that this was made from.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks a group's coordinator; `read` takes the answer apart and may name a code that passes.
    async fn call_coordinator<Q: Message, R: Message, T>(
        &self,
        group: &str,
        api: ApiKey,
        versions: RangeInclusive<i16>,
        request: &Q,
        read: impl Fn(R) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = self.client.retry();
        loop {
            let (whom, limit) = ((group, Lane::General), self.client.request_timeout());
            let asked = (api, versions.clone());
            let answer = self.client.call_coordinator(whom, asked, request, limit);
            let error = match answer.await.and_then(&read) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            self.client.forget_coordinator(group, &error);
            self.client.pause(&mut retry, error).await?;
        }
    }

    /// Asks for what only the active controller does, any broker or a named one, and asks again as
    /// long as nobody leads the controllers: `code` is the first that an answer has of that kind.
    async fn call_controller<Q: Message, R: Message>(
        &self,
        broker: Option<i32>,
        (api, versions): (ApiKey, RangeInclusive<i16>),
        request: &Q,
        code: impl Fn(&R) -> Option<i16>,
    ) -> Result<R, ClientError> {
        let mut retry = self.client.retry();
        loop {
            let versions = versions.clone();
            let answer = match broker {
                None => self.client.call_any(api, versions, request).await?,
                Some(id) => {
                    self.client.call_broker(id, Lane::General, api, versions, request).await?
                }
            };
            let Some(ErrorCode::NotController) = code(&answer).map(ErrorCode::from_wire) else {
                return Ok(answer);
            };
            let code = ErrorCode::NotController;
            let refusal = ClientError::Refusal { api, subject: String::new(), code, message: None };
            if self.client.pause(&mut retry, refusal).await.is_err() {
                return Ok(answer);
            }
        }
    }

    /// The partitions by the broker that leads them, and those that nobody leads.
    async fn by_leader<T: Clone>(
        &self,
        partitions: &[(TopicPartition, T)],
    ) -> Result<(BTreeMap<i32, Vec<(TopicPartition, T)>>, Each<TopicPartition, ()>), ClientError>
    {
        let mut led: BTreeMap<i32, Vec<_>> = BTreeMap::new();
        let mut unled = Vec::new();
        for (partition, value) in partitions {
            let topic = self.client.topic(&partition.topic).await;
            match topic.and_then(|topic| topic.leader(partition.partition)) {
                Ok(leader) => {
                    led.entry(leader).or_default().push((partition.clone(), value.clone()));
                }
                Err(error) => unled.push((partition.clone(), Err(error))),
            }
        }
        Ok((led, unled))
    }
}

/// The partitions of one request, gathered by topic.
fn by_topic<T>(partitions: Vec<(TopicPartition, T)>) -> BTreeMap<String, Vec<(i32, T)>> {
    let mut topics: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (partition, value) in partitions {
        let topic = topics.entry(partition.topic.to_string()).or_default();
        topic.push((partition.partition, value));
    }
    topics
}

#[cfg(test)]
mod tests {
    use protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsResponse};

    use super::*;
    use crate::ClientSettings;
    use crate::testing::{broker, run};

    /// Makes topic `t` where the first answers say that no controller leads.
    fn create(refused: usize, call_timeout_ms: u64) -> Result<CreatedTopic, ClientError> {
        run(async {
            let mut asked = 0;
            let client = broker(Box::new(move |request| {
                asked += 1;
                let code = if asked > refused { ErrorCode::None } else { ErrorCode::NotController };
                let topic = CreatableTopicResult {
                    name: "t".to_owned(),
                    error_code: code.to_wire(),
                    ..Default::default()
                };
                let topics = vec![topic];
                vec![request.answer(&CreateTopicsResponse { topics, ..Default::default() })]
            }));
            let call_timeout = std::time::Duration::from_millis(call_timeout_ms);
            let settings = client.await.settings().clone();
            let admin = Client::new(ClientSettings { call_timeout, ..settings }).admin();
            let topic = NewTopic { name: "t".to_owned(), ..Default::default() };
            admin.create_topics(&[topic], false).await?.remove(0).1
        })
    }

    #[test]
    fn what_needs_a_controller_waits_until_one_leads() {
        create(3, 60_000).unwrap();
    }

    #[test]
    fn who_has_waited_in_vain_is_told_that_no_controller_leads() {
        let error = create(usize::MAX, 30).unwrap_err();
        assert!(error.to_string().contains("no controller leads"), "{error}");
    }
}
