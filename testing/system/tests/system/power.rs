//! Power cuts under load: what the default mode acknowledged is there after the boot.
//!
//! `THALWEG_POWER_CUTS=100` makes so many instead of the few of a build. What a cut takes, and what
//! it cannot show, is told in `thalweg_system::power`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_system::client::{Client, EARLIEST, TOPIC_RESOURCE};
use thalweg_system::keyed::{Keyed, last_values};
use thalweg_system::load::{Committer, Producer, read_back, read_each};
use thalweg_system::power::{Cut, Disk};
use thalweg_system::process::{Node, NodeSpec};
use thalweg_system::sandbox::in_own_mounts;
use thalweg_system::verdict::{Acknowledged, Found, judge_commit, judge_from};
use types::{ProducerId, Rng};

use crate::seed;

const CUTS: u32 = 12;
/// Rounds until the mode that may lose something has lost something.
const LOSING_CUTS_MAX: u32 = 10;
const LOAD_MS_MIN: u32 = 100;
const LOAD_MS: u32 = 900;
/// How often a file of the node is written back behind its back.
const WRITE_BACK_EVERY: Duration = Duration::from_millis(40);
/// A failing test shows so many faults; the first tell the story.
const FAULTS_SHOWN: usize = 10;
/// Name, partitions, producers: one log that gets everything, many that get little, and one whose
/// old segments are deleted.
const TOPICS: [(&str, i32, u32); 3] = [("one", 1, 2), ("many", 24, 2), (RETAINED, 2, 1)];
const RETAINED: &str = "retained";
const COMPACTED: &str = "compacted";
/// Of a topic that is made in the middle of a cut.
const NEW_PARTITIONS: i32 = 2;
const NEW_BATCHES: usize = 3;

/// A producer and where it writes.
struct Writer {
    topic: String,
    partitions: i32,
    producer: Producer,
}

struct World {
    disk: Disk,
    spec: NodeSpec,
    seed: u64,
    rng: Rng,
    writers: Vec<Writer>,
    keyed: Keyed,
    groups: Vec<Committer>,
    /// Ids that the node gave to producers; none may be given twice.
    producer_ids: BTreeSet<ProducerId>,
    /// What was read after the cut before, by topic and partition.
    read: BTreeMap<(String, i32), Vec<Found>>,
    /// Topics made in the round before, and what they were told to have.
    new_topics: Vec<Writer>,
}

#[test]
fn nothing_acknowledged_is_lost_in_power_cuts() -> anyhow::Result<()> {
    in_own_mounts("power::nothing_acknowledged_is_lost_in_power_cuts", || {
        let cuts = std::env::var("THALWEG_POWER_CUTS").map_or(Ok(CUTS), |cuts| cuts.parse())?;
        let folder = tempfile::tempdir()?;
        let mut world = World::new(folder.path(), "sync", seed()?)?;
        for round in 0..cuts {
            world.round(round)?;
        }
        let node = world.spec.start()?;
        world.check(&node, "at the end")?;
        // Whatever has no answer yet gets one now, and then the logs hold exactly what was sent.
        for writer in &mut world.writers {
            writer.producer.settle(node.address())?;
        }
        world.check(&node, "settled")?;
        let acknowledged = world.acknowledged();
        println!("{acknowledged} records acknowledged, {cuts} power cuts, none lost");
        ensure!(acknowledged > 1000, "too little load: {acknowledged} records");
        node.kill()
    })
}

/// The check of the checks: the mode that promises nothing loses something, and it is noticed.
#[test]
fn a_power_cut_in_asynchronous_mode_is_noticed() -> anyhow::Result<()> {
    in_own_mounts("power::a_power_cut_in_asynchronous_mode_is_noticed", || {
        let folder = tempfile::tempdir()?;
        let mut world = World::new(folder.path(), "async", seed()?)?;
        for round in 0..LOSING_CUTS_MAX {
            let Err(error) = world.round(round) else { continue };
            let text = format!("{error:#}");
            ensure!(text.contains("Lost {"), "another fault than a loss: {text}");
            return Ok(());
        }
        anyhow::bail!("{LOSING_CUTS_MAX} cuts have lost nothing")
    })
}

impl World {
    fn new(folder: &std::path::Path, durability: &str, seed: u64) -> anyhow::Result<Self> {
        println!("seed {seed}: THALWEG_SEED={seed} repeats the load, though not the timing");
        let disk = Disk::new(folder)?;
        let spec = NodeSpec::new(folder)?
            .with("log.dirs", &disk.path().join("data").display().to_string())
            .with("thalweg.durability", durability)
            .with("log.cleaner.backoff.ms", "100")
            .with("log.initial.task.delay.ms", "200")
            .with("log.retention.check.interval.ms", "200")
            .with("log.flush.offset.checkpoint.interval.ms", "200")
            .with("log.segment.delete.delay.ms", "100");
        let mut rng = Rng::new(seed);
        let node = spec.start()?;
        let mut client = Client::connect(node.address())?;
        let mut writers = Vec::new();
        let mut producer_ids = BTreeSet::new();
        for (topic, partitions, producers) in TOPICS {
            let retention = if topic == RETAINED { "100000" } else { "-1" };
            let configs = [
                ("internal.segment.bytes", "300000"),
                ("segment.ms", "300"),
                ("retention.bytes", retention),
            ];
            client.create_topic(topic, partitions, &configs)?;
            for index in 0..producers {
                writers.push(Writer::new(&mut client, index, topic, partitions, &mut rng)?);
            }
        }
        let configs = [
            ("internal.segment.bytes", "20000"),
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("delete.retention.ms", "500"),
        ];
        client.create_topic(COMPACTED, 1, &configs)?;
        producer_ids.insert(client.init_producer_id()?.0);
        let mut groups = ["power-a", "power-b"].map(|name| Committer::new(name, "many", 4));
        // Makes the topic of the offsets, whose segments are to be compacted, too.
        groups[0].commit_all(node.address(), 1)?;
        for (key, value) in
            [("internal.segment.bytes", "4096"), ("min.cleanable.dirty.ratio", "0.01")]
        {
            client.set_config(TOPIC_RESOURCE, "__consumer_offsets", key, value)?;
        }
        let keyed = Keyed::new(COMPACTED, rng.next_u64());
        node.kill()?;
        Ok(Self {
            disk,
            spec,
            seed,
            rng,
            writers,
            keyed,
            groups: groups.into(),
            producer_ids,
            read: BTreeMap::new(),
            new_topics: Vec::new(),
        })
    }

    /// Start, check what the cut before has left, load, cut.
    fn round(&mut self, round: u32) -> anyhow::Result<()> {
        let what = if self.rng.below(2) == 0 { Cut::Kernel } else { Cut::Device };
        let node = self.spec.start()?;
        self.check(&node, &format!("before cut {round} ({what:?})"))?;
        self.load_and_cut(node, round, what)
            .with_context(|| format!("seed {}, cut {round} ({what:?})", self.seed))
    }

    fn load_and_cut(&mut self, node: Node, round: u32, what: Cut) -> anyhow::Result<()> {
        let address = node.address();
        let millis = LOAD_MS_MIN + self.rng.below(LOAD_MS);
        let mut own = Rng::new(self.rng.next_u64());
        let mut other = Rng::new(self.rng.next_u64());
        let is_off = &AtomicBool::new(false);
        // What the node says once its disk has no power counts for nothing, be it yes or no: a sync
        // that was under way may have ended well in the kernel's eyes.
        let with_power = move |ended: anyhow::Result<()>| match ended {
            Err(error) if !is_off.load(Ordering::SeqCst) => Err(error),
            _ => Ok(()),
        };
        let (disk, new_topics) = (&self.disk, &mut self.new_topics);
        thread::scope(|scope| {
            let mut load = Vec::new();
            for writer in &mut self.writers {
                load.push(
                    scope.spawn(move || with_power(writer.producer.run_until(address, is_off))),
                );
            }
            for group in &mut self.groups {
                load.push(scope.spawn(move || with_power(group.run_until(address, is_off))));
            }
            let keyed = &mut self.keyed;
            load.push(scope.spawn(move || with_power(keyed.run_until(address, is_off))));
            load.push(scope.spawn(move || {
                with_power(make_topics(address, round, &mut own, new_topics, is_off))
            }));
            load.push(scope.spawn(move || {
                while !is_off.load(Ordering::SeqCst) {
                    with_power(disk.write_back(&mut other).map_err(Into::into))?;
                    thread::sleep(WRITE_BACK_EVERY);
                }
                Ok(())
            }));
            thread::sleep(Duration::from_millis(millis.into()));
            is_off.store(true, Ordering::SeqCst);
            node.freeze()?;
            disk.cut(what)?;
            let output = node.output();
            node.kill()?;
            for thread in load {
                let ended = thread.join().expect("the load does not panic");
                ended.map_err(|error| error.context(output.clone()))?;
            }
            anyhow::Ok(())
        })?;
        self.disk.power_up()
    }

    fn check(&mut self, node: &Node, when: &str) -> anyhow::Result<()> {
        let faults = self.faults(node);
        let seed = self.seed;
        let faults = faults.with_context(|| format!("seed {seed}, {when}\n{}", node.output()))?;
        let shown: Vec<&str> = faults.iter().take(FAULTS_SHOWN).map(String::as_str).collect();
        ensure!(
            shown.is_empty(),
            "seed {seed}, {when}: {} faults\n{}\n{}",
            faults.len(),
            shown.join("\n"),
            node.output()
        );
        Ok(())
    }

    fn faults(&mut self, node: &Node) -> anyhow::Result<Vec<String>> {
        let mut client = Client::connect(node.address())?;
        let mut faults = self.faults_of_logs(&mut client)?;
        for made in std::mem::take(&mut self.new_topics) {
            for partition in 0..made.partitions {
                let acknowledged = of_partition(&made.producer, partition);
                let found = read_back(&mut client, &made.topic, partition)
                    .with_context(|| format!("{} was created", made.topic))?;
                let found = judge_from(0, &found, &[], &acknowledged);
                faults.extend(found.iter().map(|fault| format!("{}: {fault}", made.topic)));
            }
        }
        for group in &mut self.groups {
            for (found, commits) in group.found(&mut client)? {
                faults.extend(judge_commit(found, commits).map(|fault| format!("group: {fault}")));
            }
        }
        let mut records: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        read_each(&mut client, COMPACTED, 0, |record| {
            let key = record.key.unwrap_or_default().to_owned();
            records.push((key, record.value.map(<[u8]>::to_owned)));
        })?;
        let records = records.iter().map(|(key, value)| (&key[..], value.as_deref()));
        let keyed = self.keyed.judge(&last_values(records)?);
        faults.extend(keyed.into_iter().map(|fault| format!("{COMPACTED}: {fault}")));
        let (id, _) = client.init_producer_id()?;
        if !self.producer_ids.insert(id) {
            faults.push(format!("{id:?} was given to two producers"));
        }
        Ok(faults)
    }

    fn faults_of_logs(&mut self, client: &mut Client) -> anyhow::Result<Vec<String>> {
        let mut faults = Vec::new();
        for (topic, partitions, _) in TOPICS {
            for partition in 0..partitions {
                let (start, read) = read_all(client, topic, partition)?;
                let writers = self.writers.iter().filter(|writer| writer.topic == topic);
                let acknowledged: Vec<Acknowledged> =
                    writers.flat_map(|writer| of_partition(&writer.producer, partition)).collect();
                let before = self.read.entry((topic.to_owned(), partition)).or_default();
                let mut found = judge_from(start, &read, before, &acknowledged);
                // Retention keeps some, the newest first.
                let last = acknowledged.iter().map(|batch| batch.base_offset).max();
                if let Some(offset) =
                    last.filter(|&last| last < start || topic != RETAINED && start > 0)
                {
                    found.push(thalweg_system::verdict::Fault::Unread { offset });
                }
                faults.extend(found.iter().map(|fault| format!("{topic}-{partition}: {fault}")));
                *before = read;
            }
        }
        Ok(faults)
    }

    fn acknowledged(&self) -> i64 {
        let batches = self.writers.iter().flat_map(|writer| writer.producer.acknowledged());
        batches.map(|batch| i64::from(batch.records)).sum()
    }
}

impl Writer {
    fn new(
        client: &mut Client,
        index: u32,
        topic: &str,
        partitions: i32,
        rng: &mut Rng,
    ) -> anyhow::Result<Self> {
        let count = usize::try_from(partitions)?;
        let producer = Producer::new(client, index, topic, count, rng.next_u64())?;
        Ok(Self { topic: topic.to_owned(), partitions, producer })
    }
}

/// Makes topics and writes to them until the node goes away; those that were acknowledged go to
/// `made`, with what was acknowledged in them.
fn make_topics(
    address: SocketAddr,
    round: u32,
    rng: &mut Rng,
    made: &mut Vec<Writer>,
    is_off: &AtomicBool,
) -> anyhow::Result<()> {
    let mut client = Client::connect(address)?;
    for number in 0.. {
        let topic = format!("new-{round}-{number}");
        client.create_topic(&topic, NEW_PARTITIONS, &[])?;
        let writer = Writer::new(&mut client, 0, &topic, NEW_PARTITIONS, rng)?;
        if is_off.load(Ordering::SeqCst) {
            break;
        }
        made.push(writer);
        let newest = made.last_mut().expect("it was just put there");
        newest.producer.produce_until(address, Some(NEW_BATCHES), is_off)?;
        // Few enough that a hundred rounds do not make thousands.
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// The first offset and what is there from it on; again where retention has come between.
fn read_all(client: &mut Client, topic: &str, partition: i32) -> anyhow::Result<(i64, Vec<Found>)> {
    loop {
        let start = client.list_offset(topic, partition, EARLIEST)?;
        let read = read_back(client, topic, partition);
        if client.list_offset(topic, partition, EARLIEST)? == start {
            return Ok((start, read?));
        }
    }
}

fn of_partition(producer: &Producer, partition: i32) -> Vec<Acknowledged> {
    let all = producer.acknowledged().iter();
    all.filter(|batch| batch.partition == partition).copied().collect()
}
