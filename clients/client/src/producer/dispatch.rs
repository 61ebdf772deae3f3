//! Forms Produce requests from ready batches and settles batches by their answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use protocol::ApiKey;
use protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use tokio::time::{Instant, sleep};
use types::{ErrorCode, TopicPartition, Uuid};

use super::Acks;
use super::batch::Batch;
use super::sender::{Event, Sender};
use crate::cluster::{Client, Lane};
use crate::connection::Connection;
use crate::error::ClientError;
use crate::failover::{LOOK_EVERY, Led, OVERDUE, not_reached};

/// A request under way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) broker: i32,
    pub(crate) batches: Vec<(TopicPartition, Batch)>,
}

/// The last version of Produce that names topics; later ones give their ids.
const PRODUCE_BY_NAME: i16 = 12;
/// Longest wait of the leader for its followers.
const REPLICATION_TIMEOUT_MS: i32 = 30_000;

impl Sender {
    /// Sends what is ready; says when more will be.
    pub(crate) fn dispatch(&mut self, now: Instant) -> Instant {
        let mut wake = now + Duration::from_secs(1);
        let mut ready: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        let mut unknown = Vec::new();
        for (partition, queue) in &self.queues {
            let Some(at) = queue.ready_at(&self.settings, self.hurry) else { continue };
            if at > now {
                wake = wake.min(at);
                continue;
            }
            let topic = self.cluster.cached_topic(&partition.topic);
            match topic.as_ref().map(|topic| topic.leader(partition.partition)) {
                Some(Ok(leader)) => ready.entry(leader).or_default().push(partition.clone()),
                Some(Err(_)) | None => unknown.push(partition.topic.clone()),
            }
        }
        for topic in unknown {
            self.refresh(topic);
        }
        for (broker, partitions) in ready {
            self.dispatch_to(broker, partitions);
        }
        self.queues.retain(|_, queue| !queue.is_empty() || queue.is_numbered());
        wake
    }

    fn dispatch_to(&mut self, broker: i32, mut partitions: Vec<TopicPartition>) {
        let Some(connection) = self.connection(broker) else { return };
        partitions.sort();
        while !partitions.is_empty() {
            let flying = self.flights.values().filter(|flight| flight.broker == broker).count();
            if flying >= self.settings.in_flight_max {
                return;
            }
            let mut batches = Vec::new();
            let mut bytes = 0;
            while let Some(partition) = partitions.last() {
                let Some(queue) = self.queues.get_mut(partition) else { break };
                let size = queue.pending.front().map_or(0, Batch::bytes);
                if !batches.is_empty() && bytes + size > self.settings.request_bytes_max {
                    break;
                }
                bytes += size;
                if let Some(batch) = queue.take(self.identity) {
                    batches.push((partition.clone(), batch));
                }
                partitions.pop();
            }
            self.send(broker, &connection, batches);
        }
    }

    /// The connection to a broker, or `None` while it is being made.
    fn connection(&mut self, broker: i32) -> Option<Arc<Connection>> {
        let known = self.connections.get(&broker);
        if let Some(connection) = known.filter(|connection| !connection.is_ended()) {
            return Some(connection.clone());
        }
        self.connections.remove(&broker);
        if self.connecting.insert(broker) {
            let cluster = self.cluster.clone();
            let led = Led::new(&cluster, broker, self.led_by(broker).iter());
            self.work.spawn(async move {
                let connecting = cluster.connection(Some(broker), Lane::General);
                let connected = cluster.while_it_leads(&led, OVERDUE, connecting).await;
                let result = connected.unwrap_or_else(|| Err(not_reached(broker)));
                if result.is_err() {
                    // As long as after a refresh: its partitions soon have another leader.
                    sleep(cluster.settings().retry_pause * 4).await;
                }
                Event::Connected { broker, result }
            });
        }
        None
    }

    pub(crate) fn connected(&mut self, broker: i32, result: Result<Arc<Connection>, ClientError>) {
        self.connecting.remove(&broker);
        match result {
            Ok(connection) => _ = self.connections.insert(broker, connection),
            Err(error) => {
                // The partitions may have moved to brokers that do answer.
                for partition in self.led_by(broker) {
                    self.blame(&partition, &error);
                    self.cluster.forget_topic(&partition.topic);
                }
            }
        }
    }

    /// The partitions with batches that a broker leads.
    fn led_by(&self, broker: i32) -> Vec<TopicPartition> {
        let is_led = |partition: &&TopicPartition| {
            let topic = self.cluster.cached_topic(&partition.topic);
            topic.is_some_and(|topic| topic.leader(partition.partition).ok() == Some(broker))
        };
        self.queues.keys().filter(is_led).cloned().collect()
    }

    fn send(
        &mut self,
        broker: i32,
        connection: &Arc<Connection>,
        mut batches: Vec<(TopicPartition, Batch)>,
    ) {
        let (request, has_ids) = self.request(&mut batches);
        let flight = self.next_flight;
        self.next_flight += 1;
        let api = ApiKey::Produce;
        let last = if has_ids { *api.versions().end() } else { PRODUCE_BY_NAME };
        let is_answered = self.settings.acks != Acks::None;
        let limit = self.cluster.request_timeout();
        let submitted = connection.version(api, &(9..=last)).and_then(|version| {
            if is_answered {
                return connection.submit(api, version, &request).map(Some);
            }
            connection.submit_unanswered(api, version, &request).map(|()| None)
        });
        let (cluster, connection) = (self.cluster.clone(), Arc::clone(connection));
        let led = Led::new(&cluster, broker, batches.iter().map(|(partition, _)| partition));
        self.flights.insert(flight, Flight { broker, batches });
        match submitted {
            Ok(Some(pending)) => {
                _ = self.work.spawn(async move {
                    let answer = pending.answer(limit);
                    let answer = cluster.while_it_leads(&led, OVERDUE, answer).await;
                    let result = answer.unwrap_or_else(|| Err(connection.leave_silent(api)));
                    Event::Answered { flight, result }
                })
            }
            Ok(None) => self.answered(flight, Ok(ProduceResponse::default())),
            Err(error) => self.answered(flight, Err(error)),
        }
    }

    /// The request, and whether all its topics have ids.
    fn request(&self, batches: &mut [(TopicPartition, Batch)]) -> (ProduceRequest, bool) {
        let mut topics: HashMap<Arc<str>, TopicProduceData> = HashMap::new();
        for (partition, batch) in batches {
            let name = partition.topic.clone();
            let topic = topics.entry(name).or_insert_with_key(|name| TopicProduceData {
                name: name.to_string(),
                topic_id: self.cluster.cached_topic(name).map_or(Uuid::ZERO, |topic| topic.id),
                ..TopicProduceData::default()
            });
            topic.partition_data.push(PartitionProduceData {
                index: partition.partition,
                records: Some(batch.build()),
                ..PartitionProduceData::default()
            });
        }
        let has_ids = topics.values().all(|topic| !topic.topic_id.is_zero());
        let request = ProduceRequest {
            acks: self.settings.acks.to_wire(),
            timeout_ms: REPLICATION_TIMEOUT_MS,
            topic_data: topics.into_values().collect(),
            ..ProduceRequest::default()
        };
        (request, has_ids)
    }

    pub(crate) fn answered(&mut self, flight: u64, result: Result<ProduceResponse, ClientError>) {
        let Some(Flight { broker, batches }) = self.flights.remove(&flight) else { return };
        let answers = result.map(|answer| by_partition(&self.cluster, answer));
        for (partition, batch) in batches {
            if let Some(queue) = self.queues.get_mut(&partition) {
                queue.landed(batch.number);
            }
            match &answers {
                Ok(_) if self.settings.acks == Acks::None => {
                    let unknown = PartitionProduceResponse {
                        base_offset: -1,
                        log_append_time_ms: -1,
                        ..PartitionProduceResponse::default()
                    };
                    self.settle(batch.number);
                    batch.succeed(&partition, &unknown);
                }
                Ok(answers) => match answers.get(&partition) {
                    Some(answer) => self.conclude(&partition, batch, (broker, answer)),
                    None => {
                        let text = format!("the broker's answer leaves out {partition}");
                        self.give_up(batch, &ClientError::Invalid(text), &[]);
                    }
                },
                Err(error) => self.again(&partition, batch, error.clone()),
            }
        }
    }

    fn conclude(
        &mut self,
        partition: &TopicPartition,
        batch: Batch,
        (broker, answer): (i32, &PartitionProduceResponse),
    ) {
        let code = ErrorCode::from_wire(answer.error_code);
        if matches!(code, ErrorCode::None | ErrorCode::DuplicateSequenceNumber) {
            self.settle(batch.number);
            return batch.succeed(partition, answer);
        }
        let error = ClientError::Refusal {
            api: ApiKey::Produce,
            subject: format!("partition {partition}"),
            code,
            message: answer.error_message.clone(),
        };
        let queue = self.queues.get(partition);
        let is_behind = queue.is_some_and(|queue| queue.has_before(batch.number));
        match code {
            // The batch before it is on its way again; this one follows it.
            ErrorCode::OutOfOrderSequenceNumber if is_behind => {
                let pause = self.pause(&batch);
                self.requeue(partition, batch, error, pause);
            }
            ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::UnknownProducerId
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::InvalidProducerIdMapping => {
                self.wants_identity = self.identity.is_some();
                self.give_up(batch, &error, &[]);
            }
            code if code.is_retriable() => {
                let hint = &answer.current_leader;
                let leader = (hint.leader_id, hint.leader_epoch);
                if self.cluster.learn_leader(partition, leader, broker) {
                    return self.requeue(partition, batch, error, Duration::ZERO);
                }
                self.again(partition, batch, error);
            }
            _ => {
                let culprits: Vec<_> = answer
                    .record_errors
                    .iter()
                    .map(|one| (one.batch_index, one.batch_index_error_message.clone()))
                    .collect();
                // The broker took none of it, yet its numbers are used up.
                self.wants_identity |= batch.sequence.is_some();
                self.give_up(batch, &error, &culprits);
            }
        }
    }

    fn give_up(&mut self, batch: Batch, error: &ClientError, culprits: &[(i32, Option<String>)]) {
        self.settle(batch.number);
        batch.fail(error, culprits);
    }

    /// Sends a batch once more, if that can help.
    fn again(&mut self, partition: &TopicPartition, batch: Batch, error: ClientError) {
        if !error.is_retriable() {
            self.wants_identity |= batch.sequence.is_some();
            return self.give_up(batch, &error, &[]);
        }
        self.cluster.forget_topic(&partition.topic);
        let mut pause = self.pause(&batch);
        if is_of_leader(&error) {
            // Others are elected within that time, and then it may go to them.
            pause = pause.min(LOOK_EVERY);
        }
        self.requeue(partition, batch, error, pause);
    }

    /// How long a batch waits before it goes again, if who leads is not the question.
    fn pause(&self, batch: &Batch) -> Duration {
        let settings = self.cluster.settings();
        let doubled = settings.retry_pause * 2_u32.saturating_pow(batch.tries.min(16));
        doubled.min(settings.retry_pause_max)
    }

    fn requeue(
        &mut self,
        partition: &TopicPartition,
        mut batch: Batch,
        error: ClientError,
        pause: Duration,
    ) {
        tracing::debug!(%partition, %error, tries = batch.tries, "batch goes again");
        batch.not_before = Some(Instant::now() + pause);
        batch.last_error = Some(error);
        self.queues.entry(partition.clone()).or_default().put_back(batch);
    }

    fn refresh(&mut self, topic: Arc<str>) {
        if self.refreshing.insert(topic.clone()) {
            let cluster = self.cluster.clone();
            self.work.spawn(async move {
                let found = cluster.refresh_topic(&topic, false).await;
                let settled = found.as_ref().is_ok_and(|topic| {
                    topic.partitions.iter().all(|partition| partition.leader.is_some())
                });
                if !settled {
                    sleep(cluster.settings().retry_pause * 4).await;
                }
                Event::Refreshed { topic, error: found.err() }
            });
        }
    }

    pub(crate) fn refreshed(&mut self, topic: &Arc<str>, error: Option<ClientError>) {
        self.refreshing.remove(topic);
        let Some(error) = error else { return };
        let of_topic = |partition: &&TopicPartition| partition.topic == *topic;
        let partitions: Vec<_> = self.queues.keys().filter(of_topic).cloned().collect();
        for partition in partitions {
            self.blame(&partition, &error);
        }
    }
}

/// Whether a leader is away or has moved, rather than that it refuses what it could take.
fn is_of_leader(error: &ClientError) -> bool {
    error.code().is_none_or(|code| {
        matches!(
            code,
            ErrorCode::NotLeaderOrFollower
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
        )
    })
}

/// Answers by partition, and the addresses of leaders that they name; from version 13 on they name topics by id.
fn by_partition(
    cluster: &Client,
    answer: ProduceResponse,
) -> HashMap<TopicPartition, PartitionProduceResponse> {
    let nodes = answer.node_endpoints.into_iter();
    cluster.learn_brokers(nodes.map(|node| (node.node_id, node.host, node.port, node.rack)));
    let mut found = HashMap::new();
    for topic in answer.responses {
        let name = match topic.topic_id.is_zero() {
            true => Some(Arc::from(topic.name)),
            false => cluster.topic_name(topic.topic_id),
        };
        let Some(name) = name else { continue };
        for partition in topic.partition_responses {
            found.insert(TopicPartition::new(Arc::clone(&name), partition.index), partition);
        }
    }
    found
}
