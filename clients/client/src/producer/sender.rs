//! The task that owns a producer's batches: fills them, sends them, settles them.
//!
//! [`Sender::run`] is the loop; [`super::dispatch`] forms requests and reads their answers. What
//! takes time (connecting, answers, metadata, the producer id) runs in tasks of `work`, whose
//! results come back as [`Event`]s, so the loop never waits for one broker while others are idle.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::ApiKey;
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::messages::produce::ProduceResponse;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use types::TopicPartition;

use super::batch::{Batch, Identity, Submission, topic_partition};
use super::dispatch::Flight;
use super::partitioner::partition_for_key;
use super::queue::Queue;
use super::{Acks, ProducerSettings};
use crate::cluster::Client;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::retry::UNTOLD_MAX;

/// What the producer asks of its task.
#[derive(Debug)]
pub(crate) enum Command {
    Send(Submission),
    Flush(oneshot::Sender<()>),
}

/// What a piece of work came to.
#[derive(Debug)]
pub(crate) enum Event {
    Connected { broker: i32, result: Result<Arc<Connection>, ClientError> },
    Answered { flight: u64, result: Result<ProduceResponse, ClientError> },
    Identified(Result<Identity, ClientError>),
    Refreshed { topic: Arc<str>, error: Option<ClientError> },
}

#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) cluster: Client,
    pub(crate) settings: Arc<ProducerSettings>,
    pub(crate) queues: HashMap<TopicPartition, Queue>,
    /// Where records without a key go at the moment.
    sticky: HashMap<Arc<str>, u32>,
    /// Where the first of them go: not the same for all producers, else short-lived ones would
    /// fill one partition alone.
    sticky_start: u32,
    next_number: u64,
    /// Batches that are not settled, and those who wait for all below a number.
    unsettled: BTreeSet<u64>,
    /// When to look next whether records wait for long, and whether that was told.
    look_at: Instant,
    is_told: bool,
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    /// Batches below this number do not linger.
    pub(crate) hurry: u64,
    pub(crate) identity: Option<Identity>,
    /// Set when numbering must begin anew, once nothing is under way.
    pub(crate) wants_identity: bool,
    is_identifying: bool,
    pub(crate) connections: HashMap<i32, Arc<Connection>>,
    pub(crate) connecting: HashSet<i32>,
    pub(crate) refreshing: HashSet<Arc<str>>,
    pub(crate) flights: HashMap<u64, Flight>,
    pub(crate) next_flight: u64,
    pub(crate) work: JoinSet<Event>,
}

/// How many records are taken in before requests are formed again.
const COMMANDS_AT_ONCE: usize = 1024;

impl Sender {
    pub(crate) fn new(cluster: Client, settings: Arc<ProducerSettings>) -> Self {
        let wants_identity = settings.idempotent && settings.acks == Acks::All;
        Self {
            cluster,
            settings,
            queues: HashMap::new(),
            sticky: HashMap::new(),
            sticky_start: getrandom::u32().unwrap_or_default(),
            next_number: 0,
            unsettled: BTreeSet::new(),
            look_at: Instant::now(),
            is_told: false,
            flushes: Vec::new(),
            hurry: 0,
            identity: None,
            wants_identity,
            is_identifying: false,
            connections: HashMap::new(),
            connecting: HashSet::new(),
            refreshing: HashSet::new(),
            flights: HashMap::new(),
            next_flight: 0,
            work: JoinSet::new(),
        }
    }

    /// Runs until the producer is gone and all is settled.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut taken = Vec::new();
        let mut is_open = true;
        while is_open || !self.unsettled.is_empty() {
            let wake = self.advance();
            tokio::select! {
                count = commands.recv_many(&mut taken, COMMANDS_AT_ONCE), if is_open => {
                    is_open = count > 0;
                    if !is_open {
                        self.hurry = u64::MAX;
                    }
                    for command in taken.drain(..) {
                        self.take(command);
                    }
                }
                Some(event) = self.work.join_next() => match event {
                    Ok(event) => self.handle(event),
                    Err(error) => tracing::error!(%error, "a task of the producer failed"),
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Does all that can be done now; says when there is more to do.
    fn advance(&mut self) -> Instant {
        let now = Instant::now();
        self.expire(now);
        self.tell_if_stuck(now);
        if self.wants_identity && self.flights.is_empty() && !self.is_identifying {
            self.is_identifying = true;
            self.work.spawn(identify(self.cluster.clone()));
        }
        let wake = if self.wants_identity { now + EXPIRY_STEP } else { self.dispatch(now) };
        self.finish_flushes();
        wake.min(now + EXPIRY_STEP)
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Send(submission) => self.append(submission),
            Command::Flush(done) => {
                self.hurry = self.hurry.max(self.next_number);
                self.flushes.push((self.next_number, done));
            }
        }
    }

    fn append(&mut self, submission: Submission) {
        let Submission { record, partitions, memory, reply } = submission;
        let bytes = record.bytes();
        let index = match (record.partition, &record.key) {
            (Some(index), _) => index,
            (None, Some(key)) => partition_for_key(key, partitions.max(1)) as i32,
            (None, None) => self.sticky_partition(&record.topic, partitions.max(1), bytes),
        };
        let partition = topic_partition(&record.topic, index);
        let queue = self.queues.entry(partition).or_default();
        let hurry = self.hurry;
        let open = queue.open_batch(bytes, &self.settings).filter(|open| open.number >= hurry);
        if let Some(open) = open {
            open.append(&record, memory, reply);
            return;
        }
        let (codec, level) = (self.settings.compression, self.settings.compression_level);
        let mut batch = Batch::new(self.next_number, codec, level, Instant::now());
        self.unsettled.insert(self.next_number);
        self.next_number += 1;
        batch.append(&record, memory, reply);
        queue.pending.push_back(batch);
    }

    /// Records without a key fill one batch before they go to the next partition: fewer, larger
    /// batches, and still evenly spread.
    fn sticky_partition(&mut self, topic: &Arc<str>, partitions: u32, bytes: usize) -> i32 {
        let start = self.sticky_start;
        let current = *self.sticky.entry(topic.clone()).or_insert(start) % partitions;
        let queue = self.queues.get_mut(&topic_partition(topic, current as i32));
        let has_room = queue.is_none_or(|queue| {
            queue.is_empty() || queue.open_batch(bytes, &self.settings).is_some()
        });
        if has_room {
            return current as i32;
        }
        let known = self.cluster.cached_topic(topic);
        let has_leader =
            |index: u32| known.as_ref().is_none_or(|topic| topic.leader(index as i32).is_ok());
        let others = (1..=partitions).map(|step| (current + step) % partitions);
        let next = others.clone().find(|index| has_leader(*index)).unwrap_or(current);
        self.sticky.insert(topic.clone(), next);
        next as i32
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected { broker, result } => self.connected(broker, result),
            Event::Answered { flight, result } => self.answered(flight, result),
            Event::Refreshed { topic, error } => self.refreshed(&topic, error),
            Event::Identified(Ok(identity)) => {
                self.identity = Some(identity);
                self.wants_identity = false;
                self.is_identifying = false;
            }
            Event::Identified(Err(error)) => {
                self.is_identifying = false;
                self.blame_all(&error);
            }
        }
    }

    /// Notes why nothing moves; gives up at once where waiting will not help.
    fn blame_all(&mut self, error: &ClientError) {
        let partitions: Vec<_> = self.queues.keys().cloned().collect();
        for partition in partitions {
            self.blame(&partition, error);
        }
    }

    pub(crate) fn blame(&mut self, partition: &TopicPartition, error: &ClientError) {
        let Some(queue) = self.queues.get_mut(partition) else { return };
        for batch in &mut queue.pending {
            batch.last_error = Some(error.clone());
        }
        if !error.is_retriable() {
            for batch in std::mem::take(&mut queue.pending) {
                self.unsettled.remove(&batch.number);
                batch.fail(error, &[]);
            }
        }
    }

    /// Marks a batch as settled, whatever became of it.
    pub(crate) fn settle(&mut self, number: u64) {
        self.unsettled.remove(&number);
    }

    fn finish_flushes(&mut self) {
        let first = self.unsettled.first().copied().unwrap_or(u64::MAX);
        self.flushes.retain(|(_, done)| !done.is_closed());
        for (_, done) in self.flushes.extract_if(.., |(number, _)| *number <= first) {
            _ = done.send(());
        }
    }

    /// Gives up what waited too long.
    fn expire(&mut self, now: Instant) {
        let limit = self.settings.delivery_timeout;
        let mut expired = Vec::new();
        for (partition, queue) in &mut self.queues {
            while let Some(first) = queue.pending.front()
                && now.duration_since(first.created) > limit
                && let Some(batch) = queue.pending.pop_front()
            {
                expired.push((partition.clone(), batch));
            }
        }
        for (partition, batch) in expired {
            // Its numbers are used up; if the broker never saw them, all that follow would be out
            // of order.
            self.wants_identity |= batch.sequence.is_some();
            self.unsettled.remove(&batch.number);
            let cause = batch.last_error.as_ref().map_or("none".to_owned(), ToString::to_string);
            let partition = partition.to_string();
            batch.fail(&ClientError::DeliveryTimedOut { partition, after: limit, cause }, &[]);
        }
    }
}

impl Sender {
    /// Says once why records wait, when they do so for long.
    fn tell_if_stuck(&mut self, now: Instant) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + EXPIRY_STEP;
        let is_old = |batch: &Batch| now.duration_since(batch.created) >= UNTOLD_MAX;
        let mut pending = self.queues.iter().filter_map(|(partition, queue)| {
            let batch = queue.pending.front().filter(|batch| is_old(batch))?;
            let cause = batch
                .last_error
                .as_ref()
                .map_or("not sent yet".to_owned(), |error| error.to_string());
            Some(format!("records for {partition} still wait: {cause}"))
        });
        let mut in_flight = self.flights.values().filter_map(|flight| {
            let (partition, _) = flight.batches.iter().find(|(_, batch)| is_old(batch))?;
            let broker = flight.broker;
            Some(format!(
                "records for {partition} still wait: broker {broker} has not acknowledged"
            ))
        });
        let stuck = pending.next().or_else(|| in_flight.next());
        if let Some(text) = stuck.as_ref().filter(|_| !self.is_told) {
            tracing::warn!("{text}");
        }
        self.is_told = stuck.is_some();
    }
}

/// How often batches are looked at that can only expire.
const EXPIRY_STEP: Duration = Duration::from_secs(1);

async fn identify(cluster: Client) -> Event {
    let request = InitProducerIdRequest {
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let api = ApiKey::InitProducerId;
    let mut retry = cluster.retry();
    loop {
        let answer = cluster.ask_any::<_, InitProducerIdResponse>(api, 0..=5, &request).await;
        let error = match answer {
            Err(error) => return Event::Identified(Err(error)),
            Ok(answer) => match ClientError::check(api, String::new, answer.error_code, None) {
                Err(error) => error,
                Ok(()) => {
                    let (id, epoch) = (answer.producer_id, answer.producer_epoch);
                    return Event::Identified(Ok(Identity { id, epoch }));
                }
            },
        };
        if !error.is_retriable() {
            return Event::Identified(Err(error));
        }
        retry.tell(&error);
        sleep(retry.next_pause()).await;
    }
}
