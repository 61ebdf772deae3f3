//! Committing offsets: as a member in its generation, or as nobody in particular.

use protocol::ApiKey;
use protocol::messages::offset_commit::OffsetCommitResponse;
use tokio::sync::watch;
use types::TopicPartition;

use super::assignment::Assignment;
use super::group::NO_GENERATION;
use crate::admin::{Each, commit_request, commit_results};
use crate::cluster::{Client, Lane};
use crate::error::ClientError;

/// Commits offsets as the member that holds the assignment, or as nobody without a group.
pub(crate) async fn commit(
    client: &Client,
    group: &str,
    instance: Option<String>,
    assignment: &watch::Sender<Assignment>,
    offsets: &[(TopicPartition, i64)],
) -> Result<Each<TopicPartition, ()>, ClientError> {
    if offsets.is_empty() {
        return Ok(Vec::new());
    }
    let api = ApiKey::OffsetCommit;
    let mut retry = client.retry();
    loop {
        let generation = assignment.borrow().generation.clone();
        let (id, member) = generation.map_or((NO_GENERATION, String::new()), |g| (g.id, g.member));
        let instance = instance.clone().filter(|_| id != NO_GENERATION);
        let request = commit_request(group, id, &member, instance, offsets);
        let answer = async {
            let (whom, limit) = ((group, Lane::General), client.request_timeout());
            let call = client.call_coordinator(whom, (api, 7..=9), &request, limit);
            let answer: OffsetCommitResponse = call.await?;
            commit_results(group, answer)
        };
        match answer.await {
            Ok(results) => return Ok(results),
            Err(error) => {
                client.forget_coordinator(group, &error);
                client.pause(&mut retry, error).await?;
            }
        }
    }
}
