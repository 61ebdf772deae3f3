//! kill -9 under load, again and again: what was acknowledged is there, once and in order.
//!
//! A crash of the process, not of the machine: what the kernel has is not lost here.

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use thalweg_system::client::Client;
use thalweg_system::load::{Committer, Producer, read_back};
use thalweg_system::process::{Node, NodeSpec};
use thalweg_system::verdict::{Fault, Found, judge_commit, judge_log};
use types::Rng;

use crate::seed;

const ROUNDS: u32 = 50;
const TOPIC: &str = "crash";
const PARTITIONS: i32 = 3;
const PRODUCERS: u32 = 3;
/// One start in so many is killed before it is done.
const KILL_AT_START_ONE_IN: u32 = 4;
const KILL_AT_START_MS: u32 = 60;
const LOAD_MS_MIN: u32 = 50;
const LOAD_MS: u32 = 700;
/// A failing test shows so many faults; the first tell the story.
const FAULTS_SHOWN: usize = 10;

struct World {
    spec: NodeSpec,
    rng: Rng,
    producers: Vec<Producer>,
    groups: Vec<Committer>,
    /// Topics whose creation was acknowledged, beside the one with the load.
    topics: Vec<String>,
    /// What was read after the crash before.
    read: Vec<Vec<Found>>,
}

#[test]
fn nothing_acknowledged_is_lost_in_50_crashes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let seed = seed()?;
    println!("seed {seed}: THALWEG_SEED={seed} repeats the load, though not the timing");
    let mut world = World::new(NodeSpec::new(folder.path())?, seed)?;
    for round in 0..ROUNDS {
        world.crash_at_start()?;
        let node = world.spec.start()?;
        world.check(&node, round, seed)?;
        world.load_and_kill(node, round)?;
    }
    let node = world.spec.start()?;
    world.check(&node, ROUNDS, seed)?;
    // Whatever has no answer yet gets one now, and then the log holds exactly what was sent.
    for producer in &mut world.producers {
        producer.settle(node.address())?;
    }
    world.check(&node, ROUNDS + 1, seed)?;
    let records: usize = world.read.iter().map(Vec::len).sum();
    println!("{records} records of {PRODUCERS} producers after {ROUNDS} crashes");
    ensure!(records > 1000, "too little load: {records} records");
    Ok(())
}

/// The check of the checks: where a file loses its end behind the node's back, it is noticed.
#[test]
fn a_log_cut_behind_the_back_of_the_node_is_noticed() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut world = World::new(NodeSpec::new(folder.path())?, 1)?;
    let node = world.spec.start()?;
    for producer in &mut world.producers {
        producer.produce(node.address(), Some(20))?;
    }
    world.check(&node, 0, 1)?;
    node.kill()?;
    let segment = world.spec.data().join(format!("{TOPIC}-0/00000000000000000000.log"));
    let segment = std::fs::File::options().write(true).open(segment)?;
    segment.set_len(segment.metadata()?.len() - 1)?;
    let node = world.spec.start()?;
    let error = world.check(&node, 1, 1).expect_err("a record is gone").to_string();
    ensure!(error.contains("Lost") && error.contains("Unread"), "{error}");
    Ok(())
}

impl World {
    fn new(spec: NodeSpec, seed: u64) -> anyhow::Result<Self> {
        let mut rng = Rng::new(seed);
        let node = spec.start()?;
        let mut client = Client::connect(node.address())?;
        // Records bear fixed timestamps, which retention must not find old.
        let configs = [("segment.bytes", "1048576"), ("retention.ms", "-1")];
        client.create_topic(TOPIC, PARTITIONS, &configs)?;
        let partitions = usize::try_from(PARTITIONS)?;
        let producers = (0..PRODUCERS)
            .map(|index| Producer::new(&mut client, index, TOPIC, partitions, rng.next_u64()))
            .collect::<anyhow::Result<_>>()?;
        let groups = ["crash-a", "crash-b"].map(|name| Committer::new(name, TOPIC, PARTITIONS));
        node.kill()?;
        Ok(Self {
            spec,
            rng,
            producers,
            groups: groups.into(),
            topics: Vec::new(),
            read: vec![Vec::new(); partitions],
        })
    }

    /// Now and then a node is killed while it starts: in the middle of its recovery.
    fn crash_at_start(&mut self) -> anyhow::Result<()> {
        if self.rng.below(KILL_AT_START_ONE_IN) == 0 {
            let node = self.spec.spawn()?;
            thread::sleep(Duration::from_millis(self.rng.below(KILL_AT_START_MS).into()));
            node.kill()?;
        }
        Ok(())
    }

    fn load_and_kill(&mut self, node: Node, round: u32) -> anyhow::Result<()> {
        let address = node.address();
        let millis = LOAD_MS_MIN + self.rng.below(LOAD_MS);
        let topics = &mut self.topics;
        thread::scope(|scope| {
            let mut load = Vec::new();
            for producer in &mut self.producers {
                load.push(scope.spawn(|| producer.run(address)));
            }
            for group in &mut self.groups {
                load.push(scope.spawn(|| group.run(address)));
            }
            // Metadata is written too when the node dies; the failure of this is the crash.
            scope.spawn(move || {
                let name = format!("crash-round-{round}");
                let created = Client::connect(address)
                    .and_then(|mut client| client.create_topic(&name, 2, &[]));
                topics.extend(created.is_ok().then_some(name));
            });
            thread::sleep(Duration::from_millis(millis.into()));
            let output = node.output();
            node.kill()?;
            for thread in load {
                let ended = thread.join().expect("the load does not panic");
                ended.map_err(|error| error.context(format!("round {round}\n{output}")))?;
            }
            Ok(())
        })
    }

    fn check(&mut self, node: &Node, round: u32, seed: u64) -> anyhow::Result<()> {
        let mut client = Client::connect(node.address())?;
        let mut faults: Vec<(String, Fault)> = Vec::new();
        for partition in 0..PARTITIONS {
            let read = read_back(&mut client, TOPIC, partition)?;
            let all = self.producers.iter().flat_map(Producer::acknowledged);
            let acknowledged: Vec<_> =
                all.filter(|batch| batch.partition == partition).copied().collect();
            let before = &mut self.read[usize::try_from(partition)?];
            let found = judge_log(&read, before, &acknowledged);
            faults.extend(found.into_iter().map(|fault| (format!("{TOPIC}-{partition}"), fault)));
            *before = read;
        }
        for group in &mut self.groups {
            for (found, commits) in group.found(&mut client)? {
                let fault = judge_commit(found, commits);
                faults.extend(fault.map(|fault| ("a group".to_owned(), fault)));
            }
        }
        let shown: Vec<String> =
            faults.iter().take(FAULTS_SHOWN).map(|(at, fault)| format!("{at}: {fault}")).collect();
        ensure!(
            shown.is_empty(),
            "seed {seed}, round {round}: {} faults\n{}\n{}",
            faults.len(),
            shown.join("\n"),
            node.output()
        );
        let known = client.topics()?;
        for topic in &self.topics {
            ensure!(known.contains(&(topic.clone(), 2)), "seed {seed}: {topic} is gone");
        }
        Ok(())
    }
}
