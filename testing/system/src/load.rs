//! Load that is remembered: producers and a group whose every byte can be told from its number.
//!
//! A [`Producer`] and a [`Committer`] live through crashes of the node. After each they continue as
//! a client does: what has no answer is sent again, with the same sequences.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use client::ProducerRecord;
use protocol::ApiKey;
use records::{Batch, BatchBuilder, Compression, DecompressLimits, Header, Record, split_batches};
use types::{ProducerId, Rng};

use crate::client::{Client, EARLIEST, LATEST, PRODUCE_VERSION, produce_request, produced};
use crate::verdict::{Acknowledged, Commits, Found};
use crate::wire::Connection;

/// As many as an idempotent producer may have; the broker remembers that many batches.
const IN_FLIGHT_MAX: usize = 5;
const RECORDS_MAX: u32 = 12;
const PADDING_BYTES_MAX: u32 = 400;
/// One batch in so many has large records, so that segments fill.
const LARGE_ONE_IN: u32 = 40;
const LARGE_PADDING_BYTES: usize = 20_000;
/// Keeps the log small enough to be read after every crash.
const SEND_PAUSE: Duration = Duration::from_millis(3);
/// Of each producer's record 0: when this process began. Nothing here is old enough to be deleted or
/// forgotten for its age.
static FIRST_TIMESTAMP: LazyLock<i64> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).expect("that is far away")
});
const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];
/// Batches come from the test itself, so any limit above theirs will do.
const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 16 << 20 };

static NEVER: AtomicBool = AtomicBool::new(false);

/// An idempotent producer that writes to all partitions of one topic.
#[derive(Debug)]
pub struct Producer {
    index: u32,
    id: ProducerId,
    epoch: i16,
    topic: String,
    /// The next number of each partition, which is its sequence too.
    next: Vec<i32>,
    /// Sent and without answer, in order.
    pending: VecDeque<Pending>,
    acknowledged: Vec<Acknowledged>,
    rng: Rng,
}

#[derive(Debug)]
struct Pending {
    partition: i32,
    first_number: i32,
    records: i32,
    batch: Bytes,
}

impl Producer {
    /// A producer of its own id; `index` tells its records from those of others.
    ///
    /// # Errors
    /// If the node gives no id.
    pub fn new(
        client: &mut Client,
        index: u32,
        topic: &str,
        partitions: usize,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let (id, epoch) = client.init_producer_id()?;
        Ok(Self {
            index,
            id,
            epoch,
            topic: topic.to_owned(),
            next: vec![0; partitions],
            pending: VecDeque::new(),
            acknowledged: Vec::new(),
            rng: Rng::new(seed),
        })
    }

    /// All that the node said it has.
    pub fn acknowledged(&self) -> &[Acknowledged] {
        &self.acknowledged
    }

    /// Produces until the node goes away.
    ///
    /// # Errors
    /// If the node refuses something, or is silent.
    pub fn run(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.run_until(address, &NEVER)
    }

    /// Produces until the node goes away. What it answers once `is_over` counts as not answered.
    ///
    /// # Errors
    /// If the node refuses something, or is silent.
    pub fn run_until(&mut self, address: SocketAddr, is_over: &AtomicBool) -> anyhow::Result<()> {
        until_gone(self.produce_until(address, None, is_over))
    }

    /// Gets an answer to all that has none.
    ///
    /// # Errors
    /// If the node refuses something or goes away.
    pub fn settle(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.produce(address, Some(0))
    }

    /// Produces so many new batches, or without end.
    ///
    /// # Errors
    /// If the node refuses something or goes away.
    pub fn produce(&mut self, address: SocketAddr, batches: Option<usize>) -> anyhow::Result<()> {
        self.produce_until(address, batches, &NEVER)
    }

    /// Produces so many new batches, or without end; at most until `is_over`.
    ///
    /// # Errors
    /// If the node refuses something or goes away.
    pub fn produce_until(
        &mut self,
        address: SocketAddr,
        batches: Option<usize>,
        is_over: &AtomicBool,
    ) -> anyhow::Result<()> {
        self.produce_over(&mut Connection::open(address)?, batches, is_over, |_| ())
    }

    /// The same over a connection, telling of each batch once it is acknowledged.
    ///
    /// # Errors
    /// If the node refuses something or goes away.
    pub fn produce_over(
        &mut self,
        connection: &mut Connection,
        batches: Option<usize>,
        is_over: &AtomicBool,
        mut acknowledged: impl FnMut(&Acknowledged),
    ) -> anyhow::Result<()> {
        for pending in &self.pending {
            self.send(connection, pending)?;
        }
        let mut left = batches.unwrap_or(usize::MAX);
        while left > 0 || !self.pending.is_empty() {
            if left > 0 && self.pending.len() < IN_FLIGHT_MAX {
                let pending = self.new_batch();
                // Noted before it is sent: a part that was sent may be all that the node needs.
                self.pending.push_back(pending);
                let pending = self.pending.back().expect("it was just put there");
                self.send(connection, pending)?;
                left -= 1;
                thread::sleep(SEND_PAUSE);
                continue;
            }
            let base_offset = produced(connection)
                .with_context(|| format!("producer {}: {:?}", self.index, self.pending.front()))?;
            if is_over.load(Ordering::SeqCst) {
                return Ok(());
            }
            acknowledged(self.note_answer(base_offset));
        }
        Ok(())
    }

    fn send(&self, connection: &mut Connection, pending: &Pending) -> anyhow::Result<()> {
        let question = produce_request(&self.topic, pending.partition, pending.batch.clone());
        connection.send(ApiKey::Produce, PRODUCE_VERSION, &question)
    }

    fn note_answer(&mut self, base_offset: i64) -> &Acknowledged {
        let Pending { partition, first_number, records, .. } =
            self.pending.pop_front().expect("an answer is taken only while one is missing");
        let producer = self.index;
        self.acknowledged.push(Acknowledged {
            partition,
            base_offset,
            producer,
            first_number,
            records,
        });
        self.acknowledged.last().expect("it was just put there")
    }

    fn new_batch(&mut self) -> Pending {
        let partitions = u32::try_from(self.next.len()).expect("a test has few partitions");
        let at = self.rng.below(partitions);
        let partition = i32::try_from(at).expect("a test has few partitions");
        let records = 1 + i32::try_from(self.rng.below(RECORDS_MAX)).expect("a small number");
        let codec = CODECS[self.rng.below(5) as usize];
        let is_large = self.rng.below(LARGE_ONE_IN) == 0;
        let first_number = self.next[at as usize];
        self.next[at as usize] += records;
        let mut batch = BatchBuilder::new(codec).producer(self.id, self.epoch, first_number);
        for number in first_number..first_number + records {
            let content = Content::new(self.index, partition, number, is_large);
            let header = Header { key: b"number", value: Some(&content.key) };
            batch.append(content.timestamp, Some(&content.key), Some(&content.value), &[header]);
        }
        Pending { partition, first_number, records, batch: batch.build() }
    }
}

/// A group without members that commits ever greater offsets.
#[derive(Debug)]
pub struct Committer {
    group: String,
    topic: String,
    commits: BTreeMap<i32, Commits>,
}

impl Committer {
    /// A group that has committed nothing yet.
    pub fn new(group: &str, topic: &str, partitions: i32) -> Self {
        let commits = (0..partitions).map(|partition| (partition, Commits::default())).collect();
        Self { group: group.to_owned(), topic: topic.to_owned(), commits }
    }

    /// Commits until the node goes away.
    ///
    /// # Errors
    /// If the node refuses something, or is silent.
    pub fn run(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.run_until(address, &NEVER)
    }

    /// Commits until the node goes away. What it answers once `is_over` counts as not answered.
    ///
    /// # Errors
    /// If the node refuses something, or is silent.
    pub fn run_until(&mut self, address: SocketAddr, is_over: &AtomicBool) -> anyhow::Result<()> {
        until_gone(self.commit_until(address, usize::MAX, is_over))
    }

    /// Commits in every partition, so many times.
    ///
    /// # Errors
    /// If the node refuses something or goes away.
    pub fn commit_all(&mut self, address: SocketAddr, times: usize) -> anyhow::Result<()> {
        self.commit_until(address, times, &NEVER)
    }

    fn commit_until(
        &mut self,
        address: SocketAddr,
        times: usize,
        is_over: &AtomicBool,
    ) -> anyhow::Result<()> {
        let mut client = Client::connect(address)?;
        for _ in 0..times {
            for (&partition, commits) in &mut self.commits {
                let offset = commits.attempted.map_or(0, |last| last + 1);
                commits.attempted = Some(offset);
                client.commit(&self.group, &self.topic, partition, offset)?;
                if is_over.load(Ordering::SeqCst) {
                    return Ok(());
                }
                commits.acknowledged = Some(offset);
            }
        }
        Ok(())
    }

    /// What the node says of each partition, beside what is known. What it says is known from
    /// then on: it may not go back behind it.
    ///
    /// # Errors
    /// If the node refuses to tell.
    pub fn found(&mut self, client: &mut Client) -> anyhow::Result<Vec<(Option<i64>, Commits)>> {
        let mut all = Vec::new();
        for (&partition, commits) in &mut self.commits {
            let found = client.committed(&self.group, &self.topic, partition)?;
            all.push((found, *commits));
            commits.acknowledged = found.max(commits.acknowledged);
        }
        Ok(all)
    }
}

/// Reads a whole partition and says of every record whose it is.
///
/// # Errors
/// If the node does not give all that it says there is.
pub fn read_back(client: &mut Client, topic: &str, partition: i32) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    read_each(client, topic, partition, |record| found.push(recognize(partition, record)))?;
    Ok(found)
}

/// Reads a whole partition, record by record.
///
/// # Errors
/// If the node does not give all that it says there is.
pub fn read_each(
    client: &mut Client,
    topic: &str,
    partition: i32,
    mut take: impl FnMut(&Record<'_>),
) -> anyhow::Result<()> {
    let end = client.list_offset(topic, partition, LATEST)?;
    let mut next = client.list_offset(topic, partition, EARLIEST)?;
    while next < end {
        let data = client.fetch(topic, partition, next)?;
        let bytes = data.records.unwrap_or_default();
        if bytes.is_empty() {
            // Of a compacted log the last records may be gone.
            break;
        }
        let before = next;
        next = each_record(&bytes, before, &mut take)?;
        anyhow::ensure!(next > before, "{topic}-{partition} gives nothing at {next}/{end}");
    }
    Ok(())
}

/// The records of a fetch from offset `next` on; gives the offset to go on from.
///
/// # Errors
/// If the bytes are no batches.
pub fn each_record(
    bytes: &Bytes,
    mut next: i64,
    mut take: impl FnMut(&Record<'_>),
) -> anyhow::Result<i64> {
    for part in split_batches(bytes) {
        // The last batch of an answer may be cut off.
        let Ok((range, header)) = part else { break };
        let batch = Batch::open(&bytes[range], LIMITS)?;
        for record in batch.records() {
            let record = record?;
            if record.offset.get() >= next {
                take(&record);
            }
        }
        // Compaction leaves gaps, also at the end of a batch.
        next = next.max(header.last_offset().get() + 1);
    }
    Ok(next)
}

/// Whose a record is that a producer here has sent to `partition`.
pub fn recognize(partition: i32, record: &Record<'_>) -> Found {
    let offset = record.offset.get();
    let key = record.key.and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
    let parsed = key.split_once('/').and_then(|(producer, number)| {
        Some((producer.parse::<u32>().ok()?, number.parse::<i32>().ok()?))
    });
    let Some((producer, number)) = parsed else {
        return Found { offset, producer: u32::MAX, number: -1, intact: false };
    };
    let value = record.value.unwrap_or_default();
    let expected = Content::new(producer, partition, number, value.len() > LARGE_PADDING_BYTES);
    let mut headers = record.headers.into_iter();
    let header = headers.next().map(|header| (header.key, header.value));
    let intact = value == expected.value
        && record.timestamp == expected.timestamp
        && header == Some((&b"number"[..], Some(&expected.key[..])))
        && headers.next().is_none();
    Found { offset, producer, number, intact }
}

/// A record of a producer, for a client that makes its own batches; [`recognize`] knows it.
pub fn record(topic: &str, producer: u32, partition: i32, number: i32) -> ProducerRecord {
    let Content { key, value, timestamp } = Content::new(producer, partition, number, false);
    let key = Bytes::from(key);
    ProducerRecord {
        topic: topic.into(),
        partition: Some(partition),
        timestamp: Some(timestamp),
        headers: vec![("number".to_owned(), Some(key.clone()))],
        key: Some(key),
        value: Some(value.into()),
    }
}

/// What a record consists of; follows from its number.
struct Content {
    key: Vec<u8>,
    value: Vec<u8>,
    timestamp: i64,
}

impl Content {
    fn new(producer: u32, partition: i32, number: i32, is_large: bool) -> Self {
        let name = format!("{producer}/{partition}/{number} ");
        let seed = name.bytes().fold(17, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
        let mut rng = Rng::new(seed);
        let padding = rng.below(PADDING_BYTES_MAX) as usize;
        let padding = if is_large { LARGE_PADDING_BYTES } else { padding };
        // Eight random letters over and over: compressible, as real data is.
        let letters = rng.next_u64().to_be_bytes().map(|byte| b'a' + byte % 26);
        let mut value = name.into_bytes();
        let bytes = value.len() + padding;
        value.extend(letters.repeat(padding.div_ceil(letters.len())));
        value.truncate(bytes);
        Self {
            key: format!("{producer}/{number}").into_bytes(),
            value,
            timestamp: *FIRST_TIMESTAMP + i64::from(number),
        }
    }
}

/// That a killed node goes away in the middle of anything is no error; all else is.
fn until_gone(result: anyhow::Result<()>) -> anyhow::Result<()> {
    let Err(error) = result else { return Ok(()) };
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    match kind {
        None | Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Err(error),
        Some(_) => Ok(()),
    }
}
