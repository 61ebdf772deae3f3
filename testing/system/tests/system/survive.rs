//! What clients changed is what a node has after a restart: topics, configs, deletions.

use std::time::Duration;

use anyhow::ensure;
use records::{BatchBuilder, Compression};
use thalweg_system::client::{BROKER_RESOURCE, Client, EARLIEST, LATEST, Refused, TOPIC_RESOURCE};
use thalweg_system::process::{NodeSpec, wait_for};
use types::ErrorCode;

const NOTICED_MAX: Duration = Duration::from_secs(20);
/// In the year 2023: whatever has a retention time is too old at once.
const OLD: i64 = 1_700_000_000_000;

/// A node that looks for old segments all the time.
fn looks_often(spec: NodeSpec) -> NodeSpec {
    let keys = ["log.initial.task.delay.ms", "log.retention.check.interval.ms"];
    keys.into_iter().fold(spec, |spec, key| spec.with(key, "100"))
}

/// So many batches of one record of `bytes`.
fn fill(client: &mut Client, topic: &str, batches: usize, bytes: usize) -> anyhow::Result<()> {
    for _ in 0..batches {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(OLD, Some(b"key"), Some(&vec![b'x'; bytes]), &[]);
        client.produce(topic, 0, batch.build())?;
    }
    Ok(())
}

#[test]
fn topics_and_configs_survive_a_stop_and_a_crash() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    client.create_topic("kept", 3, &[("retention.ms", "12345678")])?;
    client.set_config(TOPIC_RESOURCE, "kept", "max.message.bytes", "2000")?;
    client.set_config(BROKER_RESOURCE, "1", "log.cleaner.threads", "2")?;
    client.set_config(BROKER_RESOURCE, "", "message.max.bytes", "3000")?;
    let check = |client: &mut Client| {
        ensure!(client.topics()? == [("kept".to_owned(), 3)]);
        let mut value = |kind, name, key| anyhow::Ok(client.config(kind, name, key)?.value);
        ensure!(value(TOPIC_RESOURCE, "kept", "retention.ms")?.as_deref() == Some("12345678"));
        ensure!(value(TOPIC_RESOURCE, "kept", "max.message.bytes")?.as_deref() == Some("2000"));
        ensure!(value(BROKER_RESOURCE, "1", "log.cleaner.threads")?.as_deref() == Some("2"));
        ensure!(value(BROKER_RESOURCE, "1", "message.max.bytes")?.as_deref() == Some("3000"));
        // It acts, too.
        let error = fill(client, "kept", 1, 2500).expect_err("larger than max.message.bytes");
        let refused = error.downcast_ref::<Refused>().map(|refused| refused.code);
        ensure!(refused == Some(ErrorCode::MessageTooLarge), "{error}");
        fill(client, "kept", 1, 1000)
    };
    check(&mut client)?;
    drop(client);
    ensure!(node.stop()?.success());
    let node = spec.start()?;
    check(&mut Client::connect(node.address())?)?;
    node.kill()?;
    let node = spec.start()?;
    check(&mut Client::connect(node.address())?)
}

#[test]
fn retention_deletes_old_segments() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = looks_often(NodeSpec::new(folder.path())?);
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    // Old from the first record on, though kept until it is told otherwise.
    let configs =
        [("segment.bytes", "1048576"), ("retention.ms", "-1"), ("file.delete.delay.ms", "0")];
    client.create_topic("old", 1, &configs)?;
    fill(&mut client, "old", 8, 500_000)?;
    ensure!(client.list_offset("old", 0, EARLIEST)? == 0);
    let end = client.list_offset("old", 0, LATEST)?;
    client.set_config(TOPIC_RESOURCE, "old", "retention.ms", "1000")?;
    wait_for("old segments to go", NOTICED_MAX, || {
        Ok(client.list_offset("old", 0, EARLIEST)? == end)
    })?;
    let folder = spec.data().join("old-0");
    let segments = || -> anyhow::Result<Vec<String>> {
        let names = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<std::io::Result<Vec<_>>>()?;
        let names = names.iter().map(|name| name.to_string_lossy().into_owned());
        Ok(names.filter(|name| name.contains(".log")).collect())
    };
    wait_for("their files to go", NOTICED_MAX, || Ok(segments()? == [format!("{end:020}.log")]))?;
    // What is deleted stays deleted, and the offsets go on.
    node.kill()?;
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    ensure!(client.list_offset("old", 0, EARLIEST)? == end);
    ensure!(client.list_offset("old", 0, LATEST)? == end);
    Ok(())
}

#[test]
fn retention_by_size_keeps_the_newest() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = looks_often(NodeSpec::new(folder.path())?);
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    let configs =
        [("segment.bytes", "1048576"), ("retention.ms", "-1"), ("retention.bytes", "2000000")];
    client.create_topic("large", 1, &configs)?;
    fill(&mut client, "large", 12, 500_000)?;
    // Two records to a segment: the newest 2,000,000 bytes need the last two segments at least.
    wait_for("the oldest to go", NOTICED_MAX, || {
        Ok(client.list_offset("large", 0, EARLIEST)? >= 6)
    })?;
    ensure!(client.list_offset("large", 0, EARLIEST)? <= 8);
    ensure!(client.list_offset("large", 0, LATEST)? == 12);
    Ok(())
}

#[test]
fn deleted_records_stay_deleted_after_a_crash() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    client.create_topic("cut", 1, &[("retention.ms", "-1")])?;
    fill(&mut client, "cut", 10, 100)?;
    ensure!(client.delete_records("cut", 0, 6)? == 6);
    node.kill()?;
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    ensure!(client.list_offset("cut", 0, EARLIEST)? == 6);
    let error = client.fetch("cut", 0, 5).expect_err("it is deleted");
    let refused = error.downcast_ref::<Refused>().map(|refused| refused.code);
    ensure!(refused == Some(ErrorCode::OffsetOutOfRange), "{error}");
    ensure!(client.fetch("cut", 0, 6)?.records.is_some_and(|records| !records.is_empty()));
    Ok(())
}
