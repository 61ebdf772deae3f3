//! The producer: hands records to its [`sender::Sender`] task, which batches and sends them.

mod batch;
mod dispatch;
mod partitioner;
mod queue;
mod record;
mod sender;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use records::Compression;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::cluster::Client;
use crate::error::ClientError;
use batch::{BATCH_OVERHEAD_BYTES, Submission};
pub use partitioner::partition_for_key;
pub use record::{ProducerRecord, RecordMetadata};
use sender::{Command, Sender};

/// When a record counts as written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Acks {
    /// Once it was handed to the network; errors stay unknown.
    None,
    /// Once the leader has it.
    Leader,
    /// Once all replicas in sync have it.
    All,
}

impl Acks {
    fn to_wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How a producer batches and how sure it is. `Default` loses and doubles nothing.
#[derive(Clone, Debug)]
pub struct ProducerSettings {
    /// When a record counts as written.
    pub acks: Acks,
    /// Numbers batches so that the broker drops repetitions and keeps order; needs [`Acks::All`].
    pub idempotent: bool,
    /// How batches are compressed.
    pub compression: Compression,
    /// Level of the codec, or its default.
    pub compression_level: Option<i32>,
    /// How long a batch that is not full waits for more records.
    pub linger: Duration,
    /// Size at which a batch is full, before compression.
    pub batch_bytes: usize,
    /// Largest request, and so the largest record.
    pub request_bytes_max: usize,
    /// Records that wait or are under way, in all; beyond it `send` waits.
    pub memory_bytes: usize,
    /// Requests under way to one broker.
    pub in_flight_max: usize,
    /// From `send` to the last try.
    pub delivery_timeout: Duration,
    /// Whether sending to an unknown topic may create it (if the broker allows it).
    pub create_topics: bool,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            compression_level: None,
            linger: Duration::from_millis(5),
            batch_bytes: 128 << 10,
            request_bytes_max: 1 << 20,
            memory_bytes: 32 << 20,
            in_flight_max: 5,
            delivery_timeout: Duration::from_secs(120),
            create_topics: true,
        }
    }
}

/// Sends records. Use one from many tasks through a shared reference. When dropped, what was
/// enqueued is still sent in the background while the runtime lives; [`Producer::close`] waits.
#[derive(Debug)]
pub struct Producer {
    cluster: Client,
    settings: Arc<ProducerSettings>,
    memory: Arc<Semaphore>,
    commands: mpsc::UnboundedSender<Command>,
}

/// The fate of an enqueued record. Dropping it does not take the record back.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<RecordMetadata, ClientError>>);

impl Delivery {
    /// Waits until the record is written or given up.
    ///
    /// # Errors
    /// Why it was given up; [`ClientError::Closed`] where the runtime stopped first.
    pub async fn wait(self) -> Result<RecordMetadata, ClientError> {
        self.0.await.unwrap_or(Err(ClientError::Closed))
    }
}

impl Producer {
    pub(crate) fn new(cluster: Client, settings: ProducerSettings) -> Self {
        let settings = Arc::new(settings);
        let (commands, queue) = mpsc::unbounded_channel();
        let memory = Arc::new(Semaphore::new(settings.memory_bytes.min(Semaphore::MAX_PERMITS)));
        tokio::spawn(Sender::new(cluster.clone(), settings.clone()).run(queue));
        Self { cluster, settings, memory, commands }
    }

    /// Sends a record and waits until it is written.
    ///
    /// # Errors
    /// Why this record was not written. If the future is dropped before, it may or may not be.
    pub async fn send(&self, record: ProducerRecord) -> Result<RecordMetadata, ClientError> {
        self.enqueue(record).await?.wait().await
    }

    /// Puts a record in line, behind those before it; waits only for memory, and for the topic
    /// when it is new. Dropped before it is done, the record is not sent.
    ///
    /// # Errors
    /// Where the record is too large, or its topic or partition does not exist.
    pub async fn enqueue(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let bytes = record.bytes();
        let limit = self.settings.request_bytes_max.min(self.settings.memory_bytes);
        if bytes + BATCH_OVERHEAD_BYTES > limit {
            return Err(ClientError::RecordTooLarge { bytes, limit });
        }
        let partitions = self.partitions(&record).await?;
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let memory = self.memory.clone().acquire_many_owned(permits).await;
        let memory = memory.map_err(|_| ClientError::Closed)?;
        let (reply, delivery) = oneshot::channel();
        let submission = Submission { record, partitions, memory, reply };
        self.commands.send(Command::Send(submission)).map_err(|_| ClientError::Closed)?;
        Ok(Delivery(delivery))
    }

    /// Waits until all that was enqueued before is written or given up.
    ///
    /// # Errors
    /// [`ClientError::Closed`] where the runtime stopped first.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let (done, waiting) = oneshot::channel();
        self.commands.send(Command::Flush(done)).map_err(|_| ClientError::Closed)?;
        waiting.await.map_err(|_| ClientError::Closed)
    }

    /// Writes what is enqueued, then ends.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(self) -> Result<(), ClientError> {
        self.flush().await
    }

    /// How many partitions the record's topic has.
    async fn partitions(&self, record: &ProducerRecord) -> Result<u32, ClientError> {
        let topic = match self.cluster.cached_topic(&record.topic) {
            Some(topic) => topic,
            None => self.first_contact(&record.topic).await?,
        };
        if let Some(index) = record.partition
            && topic.partition(index).is_none()
        {
            // Partitions may have been added since.
            self.cluster.refresh_topic(&record.topic, false).await?.leader(index)?;
        }
        Ok(u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX))
    }

    async fn first_contact(
        &self,
        topic: &str,
    ) -> Result<Arc<crate::metadata::TopicMetadata>, ClientError> {
        if !self.settings.create_topics {
            return self.cluster.refresh_topic(topic, false).await;
        }
        // A topic that is being created is unknown or without leaders for a moment.
        let mut retry = crate::retry::Retry::within(self.cluster.settings(), CREATION_TIMEOUT);
        loop {
            match self.cluster.refresh_topic(topic, true).await {
                Ok(topic) => return Ok(topic),
                Err(error) if error.code().is_some() => retry.pause(error).await?,
                Err(error) => return Err(error),
            }
        }
    }
}

/// How long a topic may take to come into being.
const CREATION_TIMEOUT: Duration = Duration::from_secs(5);
