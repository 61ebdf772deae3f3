//! What a large cluster's metadata costs: memory per partition, replay, snapshot, and the fencing of
//! one broker. `cargo bench -p thalweg-metadata --bench million [-- PARTITIONS TOPICS BROKERS]`
//!
//! CPU time of this process is measured, so that other work on the machine does not count.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement may fail")]

use std::fs::read_to_string;

use bytes::Bytes;
use config::{Sources, StaticConfig};
use protocol::internal::metadata::{
    FeatureLevelRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord,
};
use thalweg_metadata::controller::{
    Context, ELECTIONS_PER_CHECK, HeartbeatFacts, elect_preferred_leaders, fence_broker, heartbeat,
    leads_any,
};
use thalweg_metadata::{Changes, Image, Loader, MetadataRecord, features};
use types::{BrokerId, Rng, Uuid};

const REPLICAS: i32 = 3;
const LEVEL: i16 = 30;

fn main() {
    let numbers = std::env::args().filter_map(|arg| arg.parse().ok());
    let numbers: Vec<i32> = numbers.collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (partitions, topics, brokers) = (number(0, 1_000_000), number(1, 10_000), number(2, 100));

    println!(
        "{partitions} partitions in {topics} topics on {brokers} brokers, {REPLICAS} replicas"
    );
    let log = log(partitions, topics, brokers);
    let before = resident_bytes();
    let (loader, replay) = timed(|| replayed(&log));
    let image = loader.image().clone();
    let each = (resident_bytes() - before) / i64::from(partitions);
    println!("image      {each} bytes of resident memory per partition");
    println!("replay     {replay:.2} s");
    let (bytes, snapshot) = timed(|| {
        image.snapshot_records().map(|record| record.encode(LEVEL).unwrap().len()).sum::<usize>()
    });
    println!("snapshot   {snapshot:.2} s, {bytes} bytes");
    decisions(&image, loader);
}

fn decisions(image: &Image, mut loader: Loader) {
    let (fixed, _) = StaticConfig::new(&Sources::default()).unwrap();
    let mut rng = Rng::new(1);
    let context = Context { rng: &mut rng, fixed: &fixed, node: BrokerId(0) };
    let (records, fencing) = timed(|| fence_broker(image, BrokerId(1), &context));
    println!("fence      {:.1} ms, {} records", fencing * 1e3, records.len());
    let (_, applying) = timed(|| records.iter().for_each(|record| loader.apply(record).unwrap()));
    println!("apply      {:.1} ms", applying * 1e3);
    let (changes, comparing) = timed(|| Changes::between(image, loader.image()));
    println!("compare    {:.1} ms, {} partitions", comparing * 1e3, changes.partitions.len());
    let (leads, asking) = timed(|| leads_any(loader.image(), BrokerId(1)));
    println!("leads any  {:.1} ms, {leads}", asking * 1e3);
    let request = protocol::messages::broker_heartbeat::BrokerHeartbeatRequest {
        broker_id: 1,
        broker_epoch: 1,
        ..Default::default()
    };
    let facts = HeartbeatFacts { registered_offset: 0, shutdown_is_known: true };
    let (decision, unfencing) = timed(|| heartbeat(loader.image(), &request, facts, &context));
    println!("unfence    {:.1} ms, {} records", unfencing * 1e3, decision.records.len());
    let (records, balancing) =
        timed(|| elect_preferred_leaders(loader.image(), ELECTIONS_PER_CHECK, &context));
    println!("balance    {:.1} ms, {} records", balancing * 1e3, records.len());
}

/// The metadata log of the cluster, encoded at once, so that no freed memory hides what the image takes.
fn log(partitions: i32, topics: i32, brokers: i32) -> Vec<Bytes> {
    let mut log = Vec::new();
    let mut write = |record: MetadataRecord| log.push(record.encode(LEVEL).unwrap());
    for (name, feature_level) in [(features::METADATA_VERSION, LEVEL), (features::ELR_VERSION, 1)] {
        let name = name.to_owned();
        write(FeatureLevelRecord { name, feature_level, ..Default::default() }.into());
    }
    for broker_id in 0..brokers {
        let record = RegisterBrokerRecord {
            broker_id,
            broker_epoch: i64::from(broker_id),
            fenced: false,
            log_dirs: vec![directory(broker_id)],
            ..Default::default()
        };
        write(record.into());
    }
    let mut rng = Rng::new(7);
    for topic in 0..topics {
        let topic_id = Uuid::from_random(rng.bytes16());
        let name = format!("topic-{topic}");
        write(TopicRecord { name, topic_id, ..Default::default() }.into());
        for partition_id in 0..partitions / topics {
            write(partition(topic_id, partition_id, brokers, &mut rng).into());
        }
    }
    log
}

fn partition(topic_id: Uuid, partition_id: i32, brokers: i32, rng: &mut Rng) -> PartitionRecord {
    let brokers_count = brokers.unsigned_abs();
    let first = i32::try_from(rng.below(brokers_count)).unwrap();
    let step = i32::try_from(1 + rng.below((brokers_count - 1) / 2)).unwrap();
    let replicas: Vec<_> = (0..REPLICAS).map(|at| (first + at * step) % brokers).collect();
    PartitionRecord {
        topic_id,
        partition_id,
        isr: replicas.clone(),
        leader: first,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: replicas.iter().map(|&id| directory(id)).collect(),
        replicas,
        ..Default::default()
    }
}

fn replayed(log: &[Bytes]) -> Loader {
    let mut loader = Loader::default();
    for value in log {
        loader.apply(&MetadataRecord::decode(value).unwrap()).unwrap();
    }
    loader
}

fn directory(id: i32) -> Uuid {
    Uuid::from_bytes([u8::try_from(100 + id % 100).unwrap(); 16])
}

/// What `work` gives and the CPU seconds that it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let before = cpu_ns();
    let result = work();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let seconds = (cpu_ns() - before) as f64 / 1e9;
    (result, seconds)
}

/// Nanoseconds that this thread has run.
fn cpu_ns() -> u64 {
    let stat = read_to_string("/proc/self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

fn resident_bytes() -> i64 {
    let statm = read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 4096
}
