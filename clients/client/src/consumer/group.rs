//! A member of a classic group: joins, shares out partitions when it leads, keeps itself alive.
//!
//! The eager protocol: all partitions are given up before a rebalance. [`Member::run`] is a task
//! of its own, so that a slow application does not cost the membership.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use protocol::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use protocol::{ApiKey, Message};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use types::ErrorCode;

use super::assignment::{Assignment, Generation, StartAt};
use super::assignor::{Assignor, Subscriber};
use super::commit::commit;
use super::embedded::{assignment, subscribed, subscription};
use super::fetcher::Chunk;
use super::{ConsumerSettings, IsolationLevel};
use crate::admin::fetch_offsets;
use crate::cluster::{Client, Lane};
use crate::error::ClientError;

pub(crate) struct Member {
    client: Client,
    settings: Arc<ConsumerSettings>,
    group: String,
    topics: Vec<String>,
    assignment: watch::Sender<Assignment>,
    errors: mpsc::Sender<Result<Chunk, ClientError>>,
    /// Empty before the broker gave one.
    member: String,
    generation: i32,
    /// Partitions of each topic when this member last shared them out; `None` unless it leads.
    shared_out: Option<BTreeMap<String, i32>>,
}

/// Generation of one who has not joined.
pub(crate) const NO_GENERATION: i32 = -1;
/// How often the leader looks for new partitions of its topics.
const TOPICS_CHECK: Duration = Duration::from_secs(30);
/// How often it looks for topics that do not exist yet.
const MISSING_TOPICS_CHECK: Duration = Duration::from_secs(2);
/// Slack for the broker to end a rebalance.
const REBALANCE_SLACK: Duration = Duration::from_secs(5);
/// Pause after an error that passes.
const PAUSE: Duration = Duration::from_millis(200);
/// Failures in a row for each warning.
const FAILURES_PER_WARNING: u32 = 15;
/// A leaving member does not wait longer for the broker.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

impl Member {
    pub(crate) fn new(
        client: Client,
        settings: Arc<ConsumerSettings>,
        group: String,
        topics: Vec<String>,
        assignment: watch::Sender<Assignment>,
        errors: mpsc::Sender<Result<Chunk, ClientError>>,
    ) -> Self {
        Self {
            client,
            settings,
            group,
            topics,
            assignment,
            errors,
            member: String::new(),
            generation: NO_GENERATION,
            shared_out: None,
        }
    }

    /// Runs until `stop` is dropped, then leaves the group.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut failures = 0_u32;
        loop {
            let round = tokio::select! {
                round = self.round() => round,
                _ = &mut stop => break,
            };
            let Err(error) = round else {
                failures = 0;
                continue;
            };
            match error.code() {
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    self.lost_membership(error.code() == Some(ErrorCode::UnknownMemberId));
                }
                Some(ErrorCode::RebalanceInProgress) => {}
                _ if error.is_retriable() => {
                    self.client.forget_coordinator(&self.group, &error);
                    failures += 1;
                    // Most pass unnoticed; one that stays is told, but not five times a second.
                    if failures.is_multiple_of(FAILURES_PER_WARNING) {
                        tracing::warn!("group {} cannot be joined: {error}", self.group);
                    }
                    sleep(PAUSE).await;
                }
                _ => {
                    // Told to the application; tried again all the same, since an ACL or another
                    // member may change. It ends when the application drops the consumer.
                    self.assignment.send_modify(Assignment::revoke_all);
                    if self.errors.send(Err(error)).await.is_err() {
                        break;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
        self.leave().await;
    }

    /// One generation: join, get partitions, stay until the group rebalances.
    async fn round(&mut self) -> Result<(), ClientError> {
        self.give_up_partitions().await;
        let joined = self.join().await?;
        let plan = self.plan(&joined).await?;
        let assignment = self.sync(&joined, plan).await?;
        self.take_partitions(&assignment).await?;
        self.stay().await
    }

    /// Before a rebalance: commits if that is automatic, and reads nothing any more.
    async fn give_up_partitions(&mut self) {
        if self.settings.auto_commit.is_some() {
            self.commit_positions().await;
        }
        self.assignment.send_modify(|assignment| {
            assignment.revoke_all();
            assignment.generation = None;
        });
    }

    fn lost_membership(&mut self, forgets_id: bool) {
        tracing::debug!(group = self.group, "the group went on without this member");
        if forgets_id {
            self.member.clear();
        }
        self.generation = NO_GENERATION;
        // No commit: the partitions may be others' already.
        self.assignment.send_modify(|assignment| {
            assignment.revoke_all();
            assignment.generation = None;
        });
    }

    async fn join(&mut self) -> Result<JoinGroupResponse, ClientError> {
        let metadata = subscription(&self.topics)?;
        let protocol = |assignor: &Assignor| JoinGroupRequestProtocol {
            name: assignor.name().to_owned(),
            metadata: metadata.clone(),
            ..JoinGroupRequestProtocol::default()
        };
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: to_ms(self.settings.session_timeout),
            rebalance_timeout_ms: to_ms(self.settings.rebalance_timeout),
            member_id: self.member.clone(),
            group_instance_id: self.settings.instance_id.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: self.settings.assignors.iter().map(protocol).collect(),
            ..JoinGroupRequest::default()
        };
        let limit = self.settings.rebalance_timeout + REBALANCE_SLACK;
        let api = ApiKey::JoinGroup;
        let joined: JoinGroupResponse = self.call(api, 5..=9, &request, limit).await?;
        if ErrorCode::from_wire(joined.error_code) == ErrorCode::MemberIdRequired {
            self.member = joined.member_id;
            return Box::pin(self.join()).await;
        }
        self.check(api, joined.error_code)?;
        self.member.clone_from(&joined.member_id);
        self.generation = joined.generation_id;
        Ok(joined)
    }

    /// Who gets what, if this member leads.
    async fn plan(
        &mut self,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        self.shared_out = None;
        if joined.leader != self.member || joined.skip_assignment {
            return Ok(Vec::new());
        }
        let chosen = joined.protocol_name.as_deref().unwrap_or_default();
        let assignor = self.settings.assignors.iter().find(|one| one.name() == chosen).copied();
        let assignor = assignor.unwrap_or(Assignor::Range);
        let mut subscribers = Vec::new();
        for member in &joined.members {
            subscribers.push(Subscriber {
                member: member.member_id.clone(),
                instance: member.group_instance_id.clone(),
                topics: subscribed(&member.metadata),
            });
        }
        let mut wanted: Vec<_> = subscribers.iter().flat_map(|one| one.topics.clone()).collect();
        wanted.sort();
        wanted.dedup();
        let topics = self.partition_counts(&wanted).await?;
        let assigned = assignor.assign(subscribers, &topics);
        self.shared_out = Some(topics);
        let mut plan = Vec::new();
        for (member_id, partitions) in assigned {
            let assignment = assignment(&partitions)?;
            plan.push(SyncGroupRequestAssignment {
                member_id,
                assignment,
                ..SyncGroupRequestAssignment::default()
            });
        }
        Ok(plan)
    }

    /// The number of partitions of those topics that exist.
    async fn partition_counts(
        &self,
        topics: &[String],
    ) -> Result<BTreeMap<String, i32>, ClientError> {
        let found = self.client.admin().describe_topics(topics).await?;
        let count = |(name, topic): (String, Result<_, ClientError>)| {
            let topic: crate::admin::TopicDescription = topic.ok()?;
            Some((name, i32::try_from(topic.partitions.len()).ok()?))
        };
        Ok(found.into_iter().filter_map(count).collect())
    }

    async fn sync(
        &mut self,
        joined: &JoinGroupResponse,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Result<Bytes, ClientError> {
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member.clone(),
            group_instance_id: self.settings.instance_id.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: joined.protocol_name.clone(),
            assignments,
            ..SyncGroupRequest::default()
        };
        let limit = self.settings.rebalance_timeout + REBALANCE_SLACK;
        let api = ApiKey::SyncGroup;
        let synced: SyncGroupResponse = self.call(api, 3..=5, &request, limit).await?;
        self.check(api, synced.error_code)?;
        Ok(synced.assignment)
    }

    async fn take_partitions(&mut self, assignment: &Bytes) -> Result<(), ClientError> {
        let partitions = crate::admin::assigned(assignment);
        let is_stable = self.settings.isolation == IsolationLevel::ReadCommitted;
        let mut starts = Vec::new();
        if !partitions.is_empty() {
            let admin = self.client.admin();
            let committed =
                fetch_offsets(&admin, &self.group, Some(&partitions), is_stable).await?;
            for partition in partitions {
                let offset = committed.iter().find(|one| one.partition == partition);
                let reset = self.settings.offset_reset.start();
                let Some(start) = offset.map(|one| StartAt::Offset(one.offset)).or(reset) else {
                    return Err(ClientError::Invalid(format!(
                        "group {:?} has no offset for {partition}, and offset_reset is Fail",
                        self.group
                    )));
                };
                starts.push((partition, start));
            }
        }
        tracing::debug!(group = self.group, generation = self.generation, ?starts, "assigned");
        let generation = Generation { member: self.member.clone(), id: self.generation };
        self.assignment.send_modify(|assignment| {
            assignment.generation = Some(generation);
            for (partition, start) in starts {
                assignment.start(partition, start);
            }
        });
        Ok(())
    }

    /// Heartbeats, automatic commits and looks at the topics until the group rebalances.
    async fn stay(&mut self) -> Result<(), ClientError> {
        let mut next_beat = Instant::now() + self.settings.heartbeat;
        let mut next_commit = self.settings.auto_commit.map(|every| Instant::now() + every);
        let mut next_check = Instant::now() + self.check_interval();
        loop {
            sleep_until(next_beat.min(next_commit.unwrap_or(next_beat)).min(next_check)).await;
            let now = Instant::now();
            if now >= next_beat {
                self.beat().await?;
                next_beat = Instant::now() + self.settings.heartbeat;
            }
            if let (Some(at), Some(every)) = (next_commit, self.settings.auto_commit)
                && now >= at
            {
                self.commit_positions().await;
                next_commit = Some(Instant::now() + every);
            }
            if now >= next_check {
                if self.topics_changed().await {
                    return Ok(());
                }
                next_check = Instant::now() + self.check_interval();
            }
        }
    }

    fn check_interval(&self) -> Duration {
        let known = self.shared_out.as_ref().map_or(usize::MAX, BTreeMap::len);
        if known < self.topics.len() { MISSING_TOPICS_CHECK } else { TOPICS_CHECK }
    }

    /// Whether the topics have other partitions than this leader shared out.
    async fn topics_changed(&self) -> bool {
        let Some(shared_out) = &self.shared_out else { return false };
        let mut names: Vec<_> = shared_out.keys().cloned().collect();
        names.extend(self.topics.iter().filter(|name| !shared_out.contains_key(*name)).cloned());
        self.partition_counts(&names).await.is_ok_and(|now| now != *shared_out)
    }

    async fn beat(&mut self) -> Result<(), ClientError> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member.clone(),
            group_instance_id: self.settings.instance_id.clone(),
            ..HeartbeatRequest::default()
        };
        let api = ApiKey::Heartbeat;
        let mut retry = self.client.retry();
        loop {
            let limit = self.client.request_timeout().min(self.settings.session_timeout);
            let answer = self.call::<_, HeartbeatResponse>(api, 3..=4, &request, limit).await;
            let Err(error) = answer.and_then(|answer| self.check(api, answer.error_code)) else {
                return Ok(());
            };
            // The coordinator may have moved; the membership moves with it.
            self.client.forget_coordinator(&self.group, &error);
            self.client.pause(&mut retry, error).await?;
        }
    }

    async fn commit_positions(&self) {
        let offsets = self.assignment.borrow().positions();
        if offsets.is_empty() {
            return;
        }
        let instance = self.settings.instance_id.clone();
        let commit = commit(&self.client, &self.group, instance, &self.assignment, &offsets);
        match timeout(self.client.request_timeout(), commit).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, group = self.group, "automatic commit failed"),
            Err(_) => tracing::warn!(group = self.group, "automatic commit took too long"),
        }
    }

    /// A static member does not leave: it will be back under its name.
    async fn leave(&mut self) {
        self.give_up_partitions().await;
        if self.member.is_empty() || self.settings.instance_id.is_some() {
            return;
        }
        let identity = MemberIdentity {
            member_id: self.member.clone(),
            reason: Some("the consumer was closed".to_owned()),
            ..MemberIdentity::default()
        };
        let request = LeaveGroupRequest {
            group_id: self.group.clone(),
            members: vec![identity],
            ..LeaveGroupRequest::default()
        };
        let api = ApiKey::LeaveGroup;
        let left = self.call::<_, LeaveGroupResponse>(api, 3..=5, &request, LEAVE_TIMEOUT);
        match timeout(LEAVE_TIMEOUT, left).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "leaving the group"),
            Err(_) => tracing::debug!("leaving the group took too long"),
        }
    }

    async fn call<Q: Message, R: Message>(
        &self,
        api: ApiKey,
        versions: std::ops::RangeInclusive<i16>,
        request: &Q,
        limit: Duration,
    ) -> Result<R, ClientError> {
        let whom = (self.group.as_str(), Lane::Group);
        self.client.call_coordinator(whom, (api, versions), request, limit).await
    }

    fn check(&self, api: ApiKey, code: i16) -> Result<(), ClientError> {
        ClientError::check(api, || format!("group {:?}", self.group), code, None)
    }
}

fn to_ms(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
