//! The consumer: hands out what its [`fetcher::Fetcher`] reads, with or without a group.

mod assignment;
mod assignor;
mod commit;
mod decode;
mod embedded;
mod fetcher;
mod group;
mod place;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use protocol::ApiKey;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use types::{ErrorCode, TopicPartition};

use crate::admin::Each;
use crate::cluster::Client;
use crate::error::ClientError;
pub use assignment::StartAt;
use assignment::{Assignment, Cursor};
pub use assignor::Assignor;
use fetcher::{Chunk, Fetcher};
use group::Member;
pub use record::Record;

/// Where to begin where no offset was committed, or it is not there any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OffsetReset {
    /// At the first record.
    Earliest,
    /// Behind the last record.
    Latest,
    /// Nowhere: it is an error.
    Fail,
}

/// What is seen of transactions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IsolationLevel {
    /// Everything, aborted records too.
    ReadUncommitted,
    /// Only what was committed.
    ReadCommitted,
}

impl IsolationLevel {
    pub(crate) fn to_wire(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// How a consumer reads. `Default` has no group and begins with what comes from now on.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// The group, for [`Consumer::subscribe`] and commits.
    pub group: Option<String>,
    /// Name that survives a restart, so that the group keeps the member's place meanwhile.
    pub instance_id: Option<String>,
    /// Where to begin without a committed offset.
    pub offset_reset: OffsetReset,
    /// Where the application runs: partitions with a replica in that rack are read from there, where
    /// the brokers allow it (`replica.selector.class`).
    pub rack: Option<String>,
    /// What is seen of transactions.
    pub isolation: IsolationLevel,
    /// How often positions are committed in the background; `None` leaves it to the application.
    pub auto_commit: Option<Duration>,
    /// Rules for sharing out partitions, the most wanted first.
    pub assignors: Vec<Assignor>,
    /// After this long without a sign of life the group goes on without the member.
    pub session_timeout: Duration,
    /// How often it gives one.
    pub heartbeat: Duration,
    /// How long the group waits for all members to come back to a rebalance.
    pub rebalance_timeout: Duration,
    /// How long a broker may wait for records.
    pub fetch_wait: Duration,
    /// A broker answers as soon as it has this many bytes.
    pub fetch_bytes_min: usize,
    /// Bytes in one answer, about.
    pub fetch_bytes_max: usize,
    /// Bytes of one partition in one answer, about.
    pub partition_bytes_max: usize,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            group: None,
            instance_id: None,
            offset_reset: OffsetReset::Latest,
            rack: None,
            isolation: IsolationLevel::ReadUncommitted,
            auto_commit: None,
            assignors: vec![Assignor::Range, Assignor::RoundRobin],
            session_timeout: Duration::from_secs(45),
            heartbeat: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(60),
            fetch_wait: Duration::from_millis(500),
            fetch_bytes_min: 1,
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 1 << 20,
        }
    }
}

/// Reads records. When dropped, it leaves its group in the background while the runtime lives;
/// [`Consumer::close`] waits for that.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    settings: Arc<ConsumerSettings>,
    assignment: watch::Sender<Assignment>,
    chunks: mpsc::Receiver<Result<Chunk, ClientError>>,
    errors: mpsc::Sender<Result<Chunk, ClientError>>,
    current: Option<Current>,
    member: Option<Running>,
}

/// The chunk that is being handed out.
#[derive(Debug)]
struct Current {
    cursor: Arc<Cursor>,
    records: std::vec::IntoIter<Record>,
    next: i64,
}

/// The task that is the member of the group; it leaves once `stop` is dropped.
#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Chunks that are read ahead.
const CHUNKS_AHEAD: usize = 4;

impl Consumer {
    pub(crate) fn new(client: Client, settings: ConsumerSettings) -> Self {
        let settings = Arc::new(settings);
        let (assignment, watched) = watch::channel(Assignment::default());
        let (errors, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let fetcher = Fetcher::new(client.clone(), settings.clone(), watched, errors.clone());
        tokio::spawn(fetcher.run());
        Self { client, settings, assignment, chunks, errors, current: None, member: None }
    }

    /// Joins the group and reads what it is given of these topics.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] without a group, or where it reads something already.
    pub fn subscribe(&mut self, topics: &[&str]) -> Result<(), ClientError> {
        let invalid = |text: &str| Err(ClientError::Invalid(text.to_owned()));
        let Some(group) = self.settings.group.clone() else {
            return invalid("subscribe needs `group` in the consumer's settings");
        };
        if self.member.is_some() || !self.assignment.borrow().cursors.is_empty() {
            return invalid("the consumer reads already; make another one for other topics");
        }
        if topics.is_empty() || self.settings.assignors.is_empty() {
            return invalid("subscribe needs a topic and an assignor");
        }
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let (stop, stopped) = oneshot::channel();
        let member = Member::new(
            self.client.clone(),
            self.settings.clone(),
            group,
            topics,
            self.assignment.clone(),
            self.errors.clone(),
        );
        self.member = Some(Running { stop, task: tokio::spawn(member.run(stopped)) });
        Ok(())
    }

    /// Reads these partitions from these places, without joining a group. What was read before
    /// is not read any more.
    ///
    /// # Errors
    /// Where one of them does not exist, or the consumer has subscribed.
    pub async fn assign(
        &mut self,
        partitions: &[(TopicPartition, StartAt)],
    ) -> Result<(), ClientError> {
        if self.member.is_some() {
            let text = "the consumer has subscribed; its group decides what it reads";
            return Err(ClientError::Invalid(text.to_owned()));
        }
        for (partition, _) in partitions {
            let topic = self.client.topic(&partition.topic).await?;
            match topic.leader(partition.partition) {
                Ok(_) | Err(ClientError::NoLeader { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.assignment.send_modify(|assignment| {
            assignment.revoke_all();
            for (partition, start) in partitions {
                assignment.start(partition.clone(), *start);
            }
        });
        self.current = None;
        Ok(())
    }

    /// Goes on reading a partition at another place.
    ///
    /// # Errors
    /// Where the partition is not read.
    pub fn seek(&mut self, partition: &TopicPartition, to: StartAt) -> Result<(), ClientError> {
        if !self.assignment.borrow().cursors.contains_key(partition) {
            let text = format!("{partition} is not assigned to this consumer");
            return Err(ClientError::Invalid(text));
        }
        self.assignment.send_modify(|assignment| assignment.start(partition.clone(), to));
        Ok(())
    }

    /// The next record. Dropped before it is done, no record is lost.
    ///
    /// # Errors
    /// What keeps records away and will not pass by itself; reading goes on with the next call.
    pub async fn recv(&mut self) -> Result<Record, ClientError> {
        loop {
            if let Some(record) = self.next_buffered() {
                return Ok(record);
            }
            match self.chunks.recv().await {
                Some(chunk) => self.begin(chunk?),
                None => return Err(ClientError::Closed),
            }
        }
    }

    /// Up to `records_max` records: those that are here, or what comes first within `wait`.
    /// Empty when nothing came. Dropped before it is done, no record is lost.
    ///
    /// # Errors
    /// As [`Consumer::recv`].
    pub async fn poll(
        &mut self,
        records_max: usize,
        wait: Duration,
    ) -> Result<Vec<Record>, ClientError> {
        let mut records = Vec::new();
        match tokio::time::timeout(wait, self.recv()).await {
            Ok(first) => records.push(first?),
            Err(_) => return Ok(records),
        }
        while records.len() < records_max {
            if let Some(record) = self.next_buffered() {
                records.push(record);
                continue;
            }
            match self.chunks.try_recv() {
                Ok(Ok(chunk)) => self.begin(chunk),
                // An error waits for the next call; what was read is not held back by it.
                Ok(Err(error)) => {
                    tracing::warn!(%error, "reading goes on");
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(records)
    }

    fn begin(&mut self, chunk: Chunk) {
        let Chunk { cursor, records, next } = chunk;
        self.current = Some(Current { cursor, records: records.into_iter(), next });
    }

    /// The next record that is here. Taking it means that the one before is done with.
    fn next_buffered(&mut self) -> Option<Record> {
        let current = self.current.as_mut()?;
        if current.cursor.is_revoked() {
            self.current = None;
            return None;
        }
        match current.records.next() {
            Some(record) => {
                current.cursor.advance(record.offset);
                Some(record)
            }
            None => {
                current.cursor.advance(current.next);
                self.current = None;
                None
            }
        }
    }

    /// Marks the record that was handed out last as done with.
    fn settle(&mut self) {
        let Some(current) = &self.current else { return };
        let next = current.records.as_slice().first().map_or(current.next, |record| record.offset);
        if !current.cursor.is_revoked() {
            current.cursor.advance(next);
        }
    }

    /// The partitions that are read, and the next offset that [`Consumer::recv`] will give;
    /// `None` before it is known.
    pub fn positions(&mut self) -> Vec<(TopicPartition, Option<i64>)> {
        self.settle();
        let assignment = self.assignment.borrow();
        let position =
            |(key, cursor): (&TopicPartition, &Arc<Cursor>)| (key.clone(), cursor.position());
        assignment.cursors.iter().map(position).collect()
    }

    /// Commits all that [`Consumer::recv`] has given, the last record included.
    ///
    /// # Errors
    /// `REBALANCE_IN_PROGRESS`, `ILLEGAL_GENERATION` or `UNKNOWN_MEMBER_ID` where partitions go or
    /// went to others: what was read since the last commit is read again by whoever has them.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.settle();
        let offsets = self.assignment.borrow().positions();
        for (_, result) in self.commit_offsets(&offsets).await? {
            result?;
        }
        Ok(())
    }

    /// Commits these offsets: of each partition the next one to read.
    ///
    /// # Errors
    /// As [`Consumer::commit`], for each partition or for all.
    pub async fn commit_offsets(
        &self,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<Each<TopicPartition, ()>, ClientError> {
        let Some(group) = &self.settings.group else {
            let text = "a commit needs `group` in the consumer's settings";
            return Err(ClientError::Invalid(text.to_owned()));
        };
        // Between two assignments the partitions may be anybody's.
        if self.member.is_some() && self.assignment.borrow().generation.is_none() {
            return Err(ClientError::Refusal {
                api: ApiKey::OffsetCommit,
                subject: format!("group {group:?}"),
                code: ErrorCode::RebalanceInProgress,
                message: None,
            });
        }
        let instance = self.settings.instance_id.clone();
        commit::commit(&self.client, group, instance, &self.assignment, offsets).await
    }

    /// Commits if it does so by itself, leaves the group and ends.
    ///
    /// # Errors
    /// [`ClientError::Closed`] where the runtime stops first.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.settle();
        let Some(Running { stop, task }) = self.member.take() else { return Ok(()) };
        drop(stop);
        task.await.map_err(|_| ClientError::Closed)
    }
}
