//! One round of publish, subscribe in a group, commit, resume with rdkafka: `interop-rdkafka BOOTSTRAP TOPIC`.
//!
//! A thousand records are published to three partitions; a first member reads half of them, commits
//! and leaves; a second resumes; each record must have been seen once.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

const RECORDS: usize = 1000;
const HALF: usize = 500;
const PATIENCE: Duration = Duration::from_secs(40);
const LOOK_FOR_MORE: Duration = Duration::from_secs(1);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Err(error) = round(&arguments[1], &arguments[2]) {
        println!("FAIL round rdkafka: {error}");
        std::process::exit(1);
    }
}

fn passed(step: &str) {
    println!("PASS round rdkafka: {step}");
}

fn round(bootstrap: &str, topic: &str) -> Outcome<()> {
    publish(bootstrap, topic)?;
    passed("publish");
    let mut seen = member(bootstrap, topic, HALF, false)?;
    if seen.len() != HALF {
        return Err(format!("the first member read {}", seen.len()).into());
    }
    passed("subscribe and commit");
    seen.extend(member(bootstrap, topic, RECORDS - HALF, true)?);
    let different = seen.iter().collect::<BTreeSet<_>>().len();
    if seen.len() != RECORDS || different != RECORDS {
        return Err(format!("{} records seen, {different} different ones", seen.len()).into());
    }
    passed("resume, each record once");
    Ok(())
}

/// The topic is made by the first metadata request that names it.
fn publish(bootstrap: &str, topic: &str) -> Outcome<()> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    for i in 0..RECORDS {
        let text = i.to_string();
        let record = BaseRecord::to(topic).key(&text).payload(&text);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

/// Reads `want` records, commits exactly those, looks for more when it is the last, and leaves.
fn member(bootstrap: &str, topic: &str, want: usize, last: bool) -> Outcome<Vec<usize>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", format!("{topic}-group"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()?;
    consumer.subscribe(&[topic])?;
    let (mut seen, mut next) = (vec![], BTreeMap::new());
    let end = Instant::now() + PATIENCE;
    while seen.len() < want && Instant::now() < end {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = match message {
            Err(error)
                if error.rdkafka_error_code()
                    == Some(RDKafkaErrorCode::UnknownTopicOrPartition) =>
            {
                continue;
            }
            other => other?,
        };
        seen.push(number(&message)?);
        next.insert(message.partition(), message.offset() + 1);
    }
    let mut commits = TopicPartitionList::new();
    for (partition, offset) in next {
        commits.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    consumer.commit(&commits, CommitMode::Sync)?;
    if last && let Some(message) = consumer.poll(LOOK_FOR_MORE) {
        seen.push(number(&message?)?);
    }
    Ok(seen)
}

fn number(message: &impl Message) -> Outcome<usize> {
    let payload = message.payload().ok_or("a record without a value")?;
    Ok(std::str::from_utf8(payload)?.parse()?)
}
