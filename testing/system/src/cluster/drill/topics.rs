//! Drills with topics of their own beside the one under load: made again, very many, or without any
//! replica that is in sync.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bytes::Bytes;
use records::{BatchBuilder, Compression};
use types::ErrorCode;

use crate::client::{Client, LATEST, Refused};
use crate::cluster::drill::{Kept, Plan};
use crate::cluster::flow::{passing, patiently};
use crate::cluster::member::address;
use crate::cluster::{CALM_MAX, Cluster, Lead, ask_partition};
use crate::load::read_each;
use crate::process::wait_for;

const AGAIN: &str = "again";
/// Acknowledged before the topic goes, at least.
const WRITTEN: usize = 60;
const PAUSE: Duration = Duration::from_millis(5);
const MANY: &str = "many";
const MANY_PARTITIONS: i32 = 2_000;
const QUICK_PARTITIONS: i32 = 100;
/// One may be led by a replica that lacks something, one may not.
const ALLOWED: &str = "allowed";
const STRICT: &str = "strict";
/// Records that both replicas have.
const SHARED: usize = 20;
/// Records that one of them has alone.
const ALONE: usize = 15;
/// Records that the other one gets when it leads.
const AFTER: usize = 5;

impl Cluster {
    /// Nothing of what was in the former topic may be in the one that is made again.
    pub(super) fn recreate(&mut self, rounds: u32) -> anyhow::Result<()> {
        let copies = self.layout.copies();
        for round in 0..rounds {
            self.create_topic(AGAIN, 1, i16::from(copies), &[])?;
            let (count, is_over) = (Count::default(), AtomicBool::new(false));
            thread::scope(|scope| {
                let writer = scope.spawn(|| self.write_until_over(round, &count, &is_over));
                let looked = self.look_and_delete(round, round + 1 == rounds, &count);
                is_over.store(true, Ordering::SeqCst);
                writer.join().expect("a writer does not panic")?;
                looked
            })?;
        }
        let end = self.leader_of(AGAIN)?.list_offset(AGAIN, 0, LATEST)?;
        self.also.push(Kept { topic: AGAIN, copies: usize::from(copies), end });
        Ok(())
    }

    /// The topic is deleted while it is written to, but for the last time.
    fn look_and_delete(&self, round: u32, is_last: bool, count: &Count) -> anyhow::Result<()> {
        let enough = || Ok(count.0.load(Ordering::SeqCst) >= WRITTEN);
        wait_for("records in the new topic", CALM_MAX, enough)?;
        let mut client = self.leader_of(AGAIN)?;
        let values = values(&mut client, AGAIN)?;
        let own = format!("{round}/");
        let strange: Vec<_> = values.iter().filter(|(_, value)| !value.starts_with(&own)).collect();
        ensure!(strange.is_empty(), "in the topic of round {round}: {strange:?}");
        ensure!(values.len() >= WRITTEN, "{} records in round {round}", values.len());
        ensure!(values.first().is_some_and(|(offset, _)| *offset == 0), "offsets begin at 0");
        if is_last { Ok(()) } else { patiently(|| client.delete_topic(AGAIN)) }
    }

    fn write_until_over(
        &self,
        round: u32,
        count: &Count,
        is_over: &AtomicBool,
    ) -> anyhow::Result<()> {
        while !is_over.load(Ordering::SeqCst) {
            thread::sleep(PAUSE);
            // Nobody leads a topic that is gone.
            let Ok(mut client) = self.leader_of(AGAIN) else { continue };
            let number = count.0.load(Ordering::SeqCst);
            let produced = client.produce(AGAIN, 0, one_record(&format!("{round}/{number}")));
            if produced.is_ok() {
                count.0.fetch_add(1, Ordering::SeqCst);
            }
            passing(produced.map(|_| ()))?;
        }
        Ok(())
    }

    /// All nodes are killed with so many partitions, each of which has a record.
    pub(super) fn kill_many(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let copies = self.layout.copies();
        let count = if plan.is_quick { QUICK_PARTITIONS } else { MANY_PARTITIONS };
        let mut client = Client::connect(self.addresses()[0])?;
        client.create_replicated_topic(MANY, count, i16::from(copies), &[])?;
        self.wait_until_in_sync(MANY, count - 1, usize::from(copies))?;
        self.each_of_many(count, |client, partition| {
            client.produce(MANY, partition, one_record("only")).map(|_| ())
        })?;
        let ids: Vec<u8> = self.network.nodes().collect();
        ids.iter().try_for_each(|&id| self.member(id).kill())?;
        let begun = Instant::now();
        ids.iter().try_for_each(|&id| self.member(id).start())?;
        self.each_of_many(count, |client, partition| {
            let end = client.list_offset(MANY, partition, LATEST)?;
            // A leader that has just begun shows no end yet.
            if end == 1 { Ok(()) } else { Err(nobody()) }
        })?;
        println!("{count} partitions have their record after {:?}", begun.elapsed());
        Ok(())
    }

    /// Asks the leader of each partition in turn, again where it may.
    fn each_of_many(
        &self,
        count: i32,
        mut ask: impl FnMut(&mut Client, i32) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut clients: Vec<Option<Client>> = Vec::new();
        clients.resize_with(usize::from(self.layout.nodes) + 1, || None);
        for partition in 0..count {
            patiently(|| {
                let leader = self.lead(MANY, partition).map(|lead| lead.leader);
                let Ok(leader) = leader else { return Err(nobody()) };
                let place = &mut clients[usize::from(leader)];
                let mut client = match place.take() {
                    Some(client) => client,
                    None => Client::connect(address(leader))?,
                };
                ask(&mut client, partition)?;
                *place = Some(client);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Two replicas, of which one misses the last records when it is the only one left.
    pub(super) fn unclean(&mut self) -> anyhow::Result<()> {
        let (rich, poor) = (1, 2);
        let mut client = Client::connect(self.addresses()[0])?;
        for (topic, allowed) in [(ALLOWED, "true"), (STRICT, "false")] {
            let configs =
                [("min.insync.replicas", "1"), ("unclean.leader.election.enable", allowed)];
            client.create_topic_on(topic, &[rich, poor], &configs)?;
            self.wait_until_in_sync(topic, 0, 2)?;
            self.write(topic, SHARED)?;
        }
        let before = self.lead(ALLOWED, 0)?;
        self.member(poor).kill()?;
        for topic in [ALLOWED, STRICT] {
            self.wait_until_out_of_sync(topic, 0, poor)?;
            self.write(topic, ALONE)?;
        }
        // By then nobody decides, which is why the other one comes before anybody can take over.
        self.member(rich).kill()?;
        self.member(poor).start()?;
        self.wait_for_lead(ALLOWED, poor)?;
        let strict = ask_partition(address(poor), STRICT, 0);
        let leader = strict.context("the node knows the topic")?.leader_id;
        ensure!(leader != i32::from(poor), "a replica leads that lacks what was acknowledged");
        self.write(ALLOWED, AFTER)?;
        self.member(rich).start()?;
        self.judge_unclean(before)
    }

    fn judge_unclean(&mut self, before: Lead) -> anyhow::Result<()> {
        for (topic, count) in [(ALLOWED, SHARED + AFTER), (STRICT, SHARED + ALONE)] {
            self.wait_until_in_sync(topic, 0, 2)?;
            let mut found = 0;
            // A leader that has just begun does not show all at once.
            let waited = wait_for("all records and no more", CALM_MAX, || {
                let read = self.leader_of(topic).and_then(|mut client| values(&mut client, topic));
                found = read.as_ref().map_or(found, Vec::len);
                passing(read.map(|_| ()))?;
                Ok(found == count)
            });
            waited.with_context(|| format!("{found} records of {count} in the topic {topic}"))?;
            self.also.push(Kept { topic, copies: 2, end: i64::try_from(count)? });
        }
        // Who has read up to the end of the former leader's epoch learns that it went back.
        let end = self.leader_of(ALLOWED)?.end_of_epoch(ALLOWED, before.epoch)?;
        ensure!(end == i64::try_from(SHARED)?, "the epoch before is said to end at {end}");
        Ok(())
    }

    fn write(&self, topic: &str, records: usize) -> anyhow::Result<()> {
        (0..records).try_for_each(|number| {
            patiently(|| {
                let mut client = self.leader_of(topic).map_err(|_| nobody())?;
                client.produce(topic, 0, one_record(&number.to_string())).map(|_| ())
            })
        })
    }

    fn wait_for_lead(&self, topic: &str, leader: u8) -> anyhow::Result<()> {
        let waited = wait_for("a leader", CALM_MAX, || {
            let found = ask_partition(address(leader), topic, 0);
            Ok(found.is_some_and(|found| found.leader_id == i32::from(leader)))
        });
        waited.with_context(|| self.last_words())
    }

    fn leader_of(&self, topic: &str) -> anyhow::Result<Client> {
        Client::connect(address(self.lead(topic, 0)?.leader))
    }
}

/// Records acknowledged so far.
#[derive(Default)]
struct Count(AtomicUsize);

/// What a client is told that may ask again.
fn nobody() -> anyhow::Error {
    Refused { what: "Metadata", code: ErrorCode::LeaderNotAvailable }.into()
}

fn one_record(value: &str) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None);
    // Not so old that it would be deleted for its age.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_millis()).expect("that is far away");
    batch.append(now, None, Some(value.as_bytes()), &[]);
    batch.build()
}

/// All records of partition 0 with their offsets.
pub(super) fn values(client: &mut Client, topic: &str) -> anyhow::Result<Vec<(i64, String)>> {
    let mut values = Vec::new();
    read_each(client, topic, 0, |record| {
        let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
        values.push((record.offset.get(), value));
    })?;
    Ok(values)
}
