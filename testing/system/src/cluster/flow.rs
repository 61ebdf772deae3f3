//! Load that goes on while a cluster fails: idempotent producers that follow the leader of one
//! partition, and a reader that notes all that it is shown.
//!
//! Whatever has no answer is sent again in its order, as a client does, so every producer's numbers
//! end without a gap. Not here: what the notes mean (`history`, `verdict`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use records::split_batches;
use types::ErrorCode;

use crate::client::{Client, EARLIEST, LATEST, Refused};
use crate::cluster::history::Seen;
use crate::cluster::user::User;
use crate::cluster::{Lead, leads, member};
use crate::load::{Producer, each_record, recognize};
use crate::verdict::{Acknowledged, Found};

/// How long a client waits for a node before it looks for another.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// The reader reads the log as often, which is small.
const READ_EVERY: Duration = Duration::from_millis(20);
/// A cluster that is whole again answers everything within this.
const SETTLE_MAX: Duration = Duration::from_secs(60);

static NEVER: AtomicBool = AtomicBool::new(false);

/// Producers and a reader of partition 0 of one topic, each on a thread of its own.
#[derive(Debug)]
pub struct Flow {
    shared: Arc<Shared>,
    producers: Vec<JoinHandle<anyhow::Result<Producer>>>,
    reader: JoinHandle<anyhow::Result<Reader>>,
    user: User,
}

#[derive(Debug)]
struct Shared {
    addresses: Vec<SocketAddr>,
    topic: String,
    is_over: AtomicBool,
    tally: Mutex<Tally>,
}

/// Of all producers together.
#[derive(Debug, Default)]
struct Tally {
    /// How long the log is at least, by the epoch of the leader who said so.
    ends: BTreeMap<i32, i64>,
    records: i64,
    last: Option<Instant>,
    longest_gap: Duration,
    /// Why one of the threads gave up.
    failure: Option<String>,
}

/// All that was seen.
#[derive(Debug)]
pub struct Notes {
    pub acknowledged: Vec<Acknowledged>,
    /// By the reader, while all went on.
    pub read: Vec<Found>,
    pub seen: Vec<Seen>,
    /// The longest time between two acknowledgements, whoever's of those that wait.
    pub longest_gap: Duration,
    /// The same for the user's program.
    pub longest_gap_of_user: Duration,
}

impl Flow {
    /// Starts so many producers, the reader, and a user's program.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub fn start(
        addresses: Vec<SocketAddr>,
        topic: &str,
        producers: u32,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            addresses,
            topic: topic.to_owned(),
            is_over: AtomicBool::new(false),
            tally: Mutex::default(),
        });
        let user = User::start(&shared.addresses, topic, producers);
        let producers = (0..producers).map(|index| {
            let seed = seed.wrapping_add(u64::from(index));
            let producer = patiently(|| {
                let mut client = Client::connect(shared.addresses[0])?;
                Producer::new(&mut client, index, topic, 1, seed)
            })?;
            let shared = Arc::clone(&shared);
            Ok(thread::spawn(move || {
                shared.produce(producer).inspect_err(|error| shared.note_failure(error))
            }))
        });
        let producers = producers.collect::<anyhow::Result<_>>()?;
        let reading = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            reading.read(Reader::default()).inspect_err(|error| reading.note_failure(error))
        });
        Ok(Self { shared, producers, reader, user })
    }

    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> i64 {
        self.shared.tally().records
    }

    /// Waits until so many more records were acknowledged.
    ///
    /// # Errors
    /// If they are not within `limit`.
    pub fn wait_for_more(&self, records: i64, limit: Duration) -> anyhow::Result<()> {
        let (give_up, enough) = (Instant::now() + limit, self.acknowledged() + records);
        while self.acknowledged() < enough {
            let failure = self.shared.tally().failure.clone();
            ensure!(failure.is_none(), "{}", failure.unwrap_or_default());
            if Instant::now() > give_up {
                bail!("{records} more records were not acknowledged within {limit:?}");
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits until the user's program has got an acknowledgement, too.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn wait_for_user(&self, limit: Duration) -> anyhow::Result<()> {
        let (give_up, before) = (Instant::now() + limit, self.user.acknowledged());
        while self.user.acknowledged() == before {
            ensure!(Instant::now() < give_up, "thalweg's client gets nothing within {limit:?}");
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Ends the load, once everything that was sent has its answer.
    ///
    /// # Errors
    /// If a producer or the reader met what no failure of a node explains.
    pub fn finish(self) -> anyhow::Result<Notes> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut acknowledged = Vec::new();
        for producer in self.producers {
            let producer = producer.join().expect("a producer does not panic")?;
            acknowledged.extend_from_slice(producer.acknowledged());
        }
        let Reader { found, seen, .. } = self.reader.join().expect("the reader does not panic")?;
        let user = self.user.finish()?;
        acknowledged.extend(user.acknowledged);
        let longest_gap = self.shared.tally().longest_gap;
        let longest_gap_of_user = user.longest_gap;
        Ok(Notes { acknowledged, read: found, seen, longest_gap, longest_gap_of_user })
    }
}

impl Shared {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_failure(&self, error: &anyhow::Error) {
        self.tally().failure.get_or_insert(format!("{error:#}"));
    }

    fn produce(&self, mut producer: Producer) -> anyhow::Result<Producer> {
        let mut left = None;
        while !self.is_over.load(Ordering::SeqCst) {
            let done = self.produce_once(&mut producer, &mut left, None, &self.is_over);
            passing(done).context("a producer fails")?;
        }
        let give_up = Instant::now() + SETTLE_MAX;
        while let Err(error) = self.produce_once(&mut producer, &mut left, Some(0), &NEVER) {
            ensure!(Instant::now() < give_up, "a producer gets no answers: {error:#}");
            passing(Err(error)).context("a producer fails")?;
        }
        Ok(producer)
    }

    /// Until something fails, or what was to be sent is. `left` is the leader that failed last.
    fn produce_once(
        &self,
        producer: &mut Producer,
        left: &mut Option<Lead>,
        batches: Option<usize>,
        is_over: &AtomicBool,
    ) -> anyhow::Result<()> {
        let Some(lead) = self.lead(*left) else {
            return Err(Refused { what: "Metadata", code: ErrorCode::LeaderNotAvailable }.into());
        };
        *left = Some(lead);
        let mut client = Client::connect_within(member::address(lead.leader), ANSWER_MAX)?;
        producer.produce_over(&mut client.connection, batches, is_over, |batch| {
            self.tally().note(lead.epoch, batch);
        })
    }

    /// Who leads. As clients do, it asks others first than whom it has left.
    fn lead(&self, left: Option<Lead>) -> Option<Lead> {
        let newest = |addresses: &[SocketAddr]| {
            leads(addresses, &self.topic, 0).into_iter().max_by_key(|lead| lead.epoch)
        };
        let is_other =
            |address: &SocketAddr| left.is_none_or(|left| member::address(left.leader) != *address);
        let others: Vec<_> = self.addresses.iter().copied().filter(is_other).collect();
        let found = newest(&others);
        let is_new = |lead: &Lead| left.is_none_or(|left| left.epoch < lead.epoch);
        found.filter(is_new).or_else(|| newest(&self.addresses))
    }

    fn read(&self, mut reader: Reader) -> anyhow::Result<Reader> {
        while !self.is_over.load(Ordering::SeqCst) {
            let leads = leads(&self.addresses, &self.topic, 0);
            let sights = leads.iter().map(|&Lead { leader, epoch }| Seen::Lead { epoch, leader });
            reader.seen.extend(sights);
            if let Some(&lead) = leads.iter().max_by_key(|lead| lead.epoch) {
                passing(self.read_from(&mut reader, lead)).context("the reader fails")?;
            }
            thread::sleep(PAUSE);
        }
        Ok(reader)
    }

    /// Until something fails: then somebody else may lead.
    fn read_from(&self, reader: &mut Reader, lead: Lead) -> anyhow::Result<()> {
        let mut client = Client::connect_within(member::address(lead.leader), ANSWER_MAX)?;
        client.leader_epoch = lead.epoch;
        while !self.is_over.load(Ordering::SeqCst) {
            // Taken before the question: what is acknowledged meanwhile need not be in the answer.
            let known = self.tally().ends.get(&lead.epoch).copied();
            let epoch = lead.epoch;
            let end = client.list_offset(&self.topic, 0, LATEST)?;
            reader.seen.extend(known.map(|end| Seen::Acknowledged { epoch, end }));
            reader.seen.push(Seen::End { epoch, end });
            reader.read_on(&mut client, &self.topic)?;
            thread::sleep(READ_EVERY);
        }
        Ok(())
    }
}

impl Tally {
    fn note(&mut self, epoch: i32, batch: &Acknowledged) {
        let end = batch.base_offset + i64::from(batch.records);
        let known = self.ends.entry(epoch).or_insert(end);
        *known = end.max(*known);
        self.records += i64::from(batch.records);
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
        }
    }
}

#[derive(Debug, Default)]
struct Reader {
    next: i64,
    found: Vec<Found>,
    seen: Vec<Seen>,
}

impl Reader {
    fn read_on(&mut self, client: &mut Client, topic: &str) -> anyhow::Result<()> {
        let data = match client.fetch(topic, 0, self.next) {
            Ok(data) => data,
            Err(error) => {
                let refused = error.downcast_ref::<Refused>();
                if refused.is_some_and(|refused| refused.code == ErrorCode::OffsetOutOfRange) {
                    self.seen.push(Seen::OutOfRange { offset: self.next });
                }
                return Err(error);
            }
        };
        let bytes = data.records.unwrap_or_default();
        let found = &mut self.found;
        self.next = each_record(&bytes, self.next, |record| found.push(recognize(0, record)))?;
        Ok(())
    }
}

/// The leader epochs of all batches from the start of a partition on, as its leader has them.
///
/// # Errors
/// If it does not give all that it says there is.
pub fn batch_epochs(client: &mut Client, topic: &str) -> anyhow::Result<Vec<Seen>> {
    let end = client.list_offset(topic, 0, LATEST)?;
    let mut next = client.list_offset(topic, 0, EARLIEST)?;
    let mut seen = Vec::new();
    while next < end {
        let bytes = client.fetch(topic, 0, next)?.records.unwrap_or_default();
        let before = next;
        for (_, header) in split_batches(&bytes).map_while(Result::ok) {
            let epoch = header.partition_leader_epoch;
            seen.push(Seen::Batch { offset: header.base_offset, epoch });
            next = header.next_offset().get();
        }
        ensure!(next > before, "{topic} gives nothing at {next}/{end}");
    }
    Ok(seen)
}

/// Asks again while the answer is that one may.
///
/// # Errors
/// Any other, or that there is no answer in time.
pub(super) fn patiently<T>(mut ask: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let give_up = Instant::now() + SETTLE_MAX;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > give_up => return Err(error),
            Err(error) => passing(Err(error))?,
        }
    }
}

/// That a node is down, silent or no leader any more passes; all else is an error. Pauses then.
pub(super) fn passing(result: anyhow::Result<()>) -> anyhow::Result<()> {
    let Err(error) = result else { return Ok(()) };
    thread::sleep(PAUSE);
    let is_refused = error.downcast_ref::<Refused>().is_some_and(|refused| {
        // A leader that has just begun shows no end yet, and a reader asks for what it has seen.
        refused.code.is_retriable() || refused.code == ErrorCode::OffsetOutOfRange
    });
    let is_broken = error.downcast_ref::<std::io::Error>().is_some();
    if is_refused || is_broken { Ok(()) } else { Err(error) }
}
