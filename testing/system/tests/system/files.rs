//! What a stopped node leaves on disk, read with no code of its own: Kafka's layout, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use records::{BatchBuilder, Compression, check_crc, split_batches};
use thalweg_system::client::Client;
use thalweg_system::load::{Committer, Producer};
use thalweg_system::process::NodeSpec;

const TOPIC: &str = "files";
const PARTITIONS: i32 = 2;

#[test]
fn the_directory_is_laid_out_as_kafka_does() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    client.create_topic(
        TOPIC,
        PARTITIONS,
        &[("retention.ms", "-1"), ("segment.bytes", "1048576")],
    )?;
    let mut producer = Producer::new(&mut client, 0, TOPIC, 2, 3)?;
    producer.produce(node.address(), Some(100))?;
    // Enough for a second segment.
    for _ in 0..3 {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(0, None, Some(&[b'x'; 600_000]), &[]);
        client.produce(TOPIC, 0, batch.build())?;
    }
    Committer::new("files", TOPIC, PARTITIONS).commit_all(node.address(), 20)?;
    client.delete_records(TOPIC, 1, 7)?;
    drop(client);
    ensure!(node.stop()?.success());

    let data = spec.data();
    meta_properties(&data)?;
    let recovery_points = checkpoint(&data.join("recovery-point-offset-checkpoint"))?;
    let starts = checkpoint(&data.join("log-start-offset-checkpoint"))?;
    let ends = checkpoint(&data.join("replication-offset-checkpoint"))?;
    ensure!(starts.get(&(TOPIC.to_owned(), 1)) == Some(&7), "{starts:?}");
    let mut segments_most = 0;
    for partition in 0..PARTITIONS {
        let name = format!("{TOPIC}-{partition}");
        let (segments, end) = partition_folder(&data.join(&name)).context(name)?;
        segments_most = segments_most.max(segments);
        let key = (TOPIC.to_owned(), partition);
        ensure!(ends.get(&key) == Some(&end), "{ends:?}");
        ensure!(recovery_points.get(&key) == Some(&end), "{recovery_points:?}");
    }
    ensure!(segments_most > 1, "no segment was rolled");
    let with_prefix = |prefix: &str| -> anyhow::Result<usize> {
        let names = fs::read_dir(&data)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<std::io::Result<Vec<_>>>()?;
        Ok(names.iter().filter(|name| name.to_string_lossy().starts_with(prefix)).count())
    };
    ensure!(with_prefix("__consumer_offsets-")? == 5);
    ensure!(with_prefix("__cluster_metadata-0")? == 1);
    Ok(())
}

fn meta_properties(data: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(data.join("meta.properties"))?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.with_context(|| format!("no {key} in\n{text}"))
    };
    ensure!(value("version")? == "1" && value("node.id")? == "1", "{text}");
    for id in [value("cluster.id")?, value("directory.id")?] {
        ensure!(id.len() == 22, "{id} is no 16 bytes in Base64");
    }
    Ok(())
}

/// Version 0, the count of rows, the rows.
fn checkpoint(file: &Path) -> anyhow::Result<BTreeMap<(String, i32), i64>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut lines = text.lines();
    ensure!(lines.next() == Some("0"), "{text}");
    let count: usize = lines.next().context("no count")?.parse()?;
    let mut rows = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [topic, partition, offset] = words[..] else { anyhow::bail!("{line}") };
        rows.insert((topic.to_owned(), partition.parse()?), offset.parse()?);
    }
    ensure!(rows.len() == count, "{text}");
    Ok(rows)
}

/// Checks the files of one partition; returns the count of segments and the end offset.
fn partition_folder(folder: &Path) -> anyhow::Result<(usize, i64)> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string()));
    let mut names = names
        .collect::<std::io::Result<Result<Vec<_>, _>>>()?
        .map_err(|name| anyhow::anyhow!("{name:?} is no UTF-8"))?;
    names.sort();
    let has = |name: &str| names.iter().any(|other| other == name);
    ensure!(has("partition.metadata"), "{names:?}");
    ensure!(has("leader-epoch-checkpoint"), "{names:?}");
    let metadata = fs::read_to_string(folder.join("partition.metadata"))?;
    ensure!(metadata.starts_with("version: 0\ntopic_id: "), "{metadata}");
    let segments: Vec<&String> = names.iter().filter(|name| name.ends_with(".log")).collect();
    let mut next: Option<i64> = None;
    for segment in &segments {
        let base = segment.trim_end_matches(".log");
        ensure!(base.len() == 20, "{segment}");
        let base_offset: i64 = base.parse()?;
        ensure!(next.is_none_or(|next| next == base_offset), "{segment} begins at {next:?}");
        for suffix in ["index", "timeindex"] {
            let index = format!("{base}.{suffix}");
            let bytes = fs::metadata(folder.join(&index)).context(index.clone())?.len();
            let entry = if suffix == "index" { 8 } else { 12 };
            ensure!(bytes % entry == 0, "{index} has {bytes} bytes");
        }
        next = Some(segment_end(&folder.join(segment), base_offset)?);
    }
    let end = next.context("no segment")?;
    ensure!(has(&format!("{end:020}.snapshot")), "no producer snapshot at {end}: {names:?}");
    Ok((segments.len(), end))
}

/// Checks that a segment is batches and nothing else; returns the offset behind the last.
fn segment_end(file: &Path, base_offset: i64) -> anyhow::Result<i64> {
    let bytes = fs::read(file)?;
    let mut next = base_offset;
    for part in split_batches(&bytes) {
        let (range, header) = part.with_context(|| file.display().to_string())?;
        check_crc(&bytes[range], &header)?;
        ensure!(header.base_offset == next, "{} where {next} is next", header.base_offset);
        ensure!(header.partition_leader_epoch >= 0, "a batch without a leader epoch");
        next = header.next_offset().get();
    }
    Ok(next)
}
