//! `thalweg produce`: one record for each line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::thread;

use anyhow::Context;
use bytes::Bytes;
use client::{Compression, Delivery, ProducerRecord, ProducerSettings, RecordMetadata};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::connect::{Common, pair};
use crate::output::{counted, print};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Name of the topic
    topic: String,
    /// Cuts each line into key and value at the first such text; \t is a tab
    #[arg(short, long, value_name = "SEPARATOR", conflicts_with = "key_json_field")]
    key_separator: Option<String>,
    /// Takes the key out of each line, which is a JSON object, at this field
    #[arg(long, value_name = "FIELD")]
    key_json_field: Option<String>,
    /// Reads lines from a file instead of standard input
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Partition to write to [default: by key, or evenly where there is none]
    #[arg(short, long)]
    partition: Option<i32>,
    /// A header of every record; may be given many times
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, default_value = "none", value_name = "CODEC", value_parser = codec)]
    compression: Compression,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    topic: String,
    records: u64,
    partitions: Vec<WrittenPartition>,
}

#[derive(Debug, Serialize)]
struct WrittenPartition {
    partition: i32,
    records: u64,
    first_offset: i64,
    last_offset: i64,
}

/// How a line becomes a record.
#[derive(Debug)]
struct Shape {
    separator: Option<Vec<u8>>,
    field: Option<String>,
    record: ProducerRecord,
}

/// Lines that are read ahead, in groups.
const GROUPS_AHEAD: usize = 4;
/// Lines in a group.
const GROUP_LINES: usize = 1024;
/// Records whose fate is not known yet.
const DELIVERIES_MAX: usize = 100_000;
const READ_BYTES: usize = 1 << 20;
/// Largest request, and what waits to be sent at most, in bytes.
const REQUEST_BYTES_MAX: usize = 64 << 20;

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.common.connect.client();
    let settings = ProducerSettings {
        compression: arguments.compression,
        // How large a record may be is the topic's to say.
        request_bytes_max: REQUEST_BYTES_MAX,
        memory_bytes: REQUEST_BYTES_MAX,
        ..ProducerSettings::default()
    };
    let producer = client.producer(settings);
    let headers = arguments.headers.into_iter().map(|(key, value)| (key, Some(value.into())));
    let shape = Shape {
        separator: arguments.key_separator.map(|text| text.replace("\\t", "\t").into_bytes()),
        field: arguments.key_json_field,
        record: ProducerRecord {
            topic: arguments.topic.as_str().into(),
            partition: arguments.partition,
            headers: headers.collect(),
            ..ProducerRecord::default()
        },
    };
    let mut lines = read_lines(arguments.file)?;
    let (deliveries, settled) = mpsc::channel(DELIVERIES_MAX);
    let tally = tokio::spawn(tally(settled));
    let mut number = 0_u64;
    let mut failed = None;
    'all: while let Some(group) = lines.recv().await {
        for line in group? {
            number += 1;
            let enqueued = match shape.record(&line) {
                Ok(record) => producer.enqueue(record).await.map_err(anyhow::Error::from),
                Err(error) => Err(error),
            };
            match enqueued {
                Ok(delivery) => {
                    // The tally ends early where a record was refused; it knows why.
                    if deliveries.send((number, delivery)).await.is_err() {
                        break 'all;
                    }
                }
                Err(error) => {
                    failed = Some(error.context(format!("line {number}")));
                    break 'all;
                }
            }
        }
    }
    drop(deliveries);
    producer.flush().await?;
    let partitions = tally.await??;
    let records = partitions.iter().map(|one| one.records).sum();
    if let Some(error) = failed {
        // Whoever begins again must know where.
        let before = counted(usize::try_from(records).unwrap_or(usize::MAX), "record");
        return Err(error.context(format!("{before} written, then the input was refused")));
    }
    let written = Written { topic: arguments.topic, records, partitions };
    print(arguments.common.output, &written, || {
        let records = usize::try_from(written.records).unwrap_or(usize::MAX);
        format!("{} written to {}\n", counted(records, "record"), written.topic)
    })
}

impl Shape {
    fn record(&self, line: &Bytes) -> anyhow::Result<ProducerRecord> {
        let mut record = self.record.clone();
        record.value = Some(line.clone());
        if let Some(separator) = &self.separator {
            let at = line.windows(separator.len().max(1)).position(|part| part == separator);
            let at = at.with_context(|| {
                format!("the line has no {:?}", String::from_utf8_lossy(separator))
            })?;
            record.key = Some(line.slice(..at));
            record.value = Some(line.slice(at + separator.len()..));
        }
        if let Some(field) = &self.field {
            let object: BTreeMap<String, serde_json::Value> =
                serde_json::from_slice(line).context("the line is no JSON object")?;
            let found = object.get(field);
            record.key = match found.with_context(|| format!("the object has no {field:?}"))? {
                serde_json::Value::String(text) => Some(text.clone().into()),
                other => Some(other.to_string().into()),
            };
        }
        Ok(record)
    }
}

/// Reads in a thread of its own: standard input cannot be read without blocking.
fn read_lines(
    file: Option<PathBuf>,
) -> anyhow::Result<mpsc::Receiver<std::io::Result<Vec<Bytes>>>> {
    let input: Box<dyn Read + Send> = match file {
        None => Box::new(std::io::stdin()),
        Some(path) => {
            Box::new(File::open(&path).with_context(|| format!("cannot read {}", path.display()))?)
        }
    };
    let (groups, lines) = mpsc::channel(GROUPS_AHEAD);
    let read = move || {
        let mut input = BufReader::with_capacity(READ_BYTES, input);
        loop {
            let group = next_group(&mut input);
            let is_last = group.as_ref().map_or(true, Vec::is_empty);
            if group.as_ref().is_ok_and(Vec::is_empty) || groups.blocking_send(group).is_err() {
                return;
            }
            if is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("lines".to_owned()).spawn(read)?;
    Ok(lines)
}

/// Lines that are there at once: all that are buffered, so that one typed line is sent at once.
fn next_group(input: &mut BufReader<Box<dyn Read + Send>>) -> std::io::Result<Vec<Bytes>> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        lines.push(line.into());
        if lines.len() == GROUP_LINES || !input.buffer().contains(&b'\n') {
            return Ok(lines);
        }
    }
}

/// Waits for every record; ends at the first that is refused.
async fn tally(
    mut settled: mpsc::Receiver<(u64, Delivery)>,
) -> anyhow::Result<Vec<WrittenPartition>> {
    let mut partitions: BTreeMap<i32, WrittenPartition> = BTreeMap::new();
    while let Some((number, delivery)) = settled.recv().await {
        let written: RecordMetadata =
            delivery.wait().await.with_context(|| format!("line {number}"))?;
        let RecordMetadata { partition, offset, .. } = written;
        let new = WrittenPartition { partition, records: 0, first_offset: offset, last_offset: -1 };
        let own = partitions.entry(partition).or_insert(new);
        own.records += 1;
        own.last_offset = own.last_offset.max(offset);
    }
    Ok(partitions.into_values().collect())
}

fn codec(name: &str) -> Result<Compression, String> {
    let wrong = || "none, gzip, snappy, lz4 or zstd is expected".to_owned();
    Compression::from_name(name).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(separator: Option<&str>, field: Option<&str>) -> Shape {
        Shape {
            separator: separator.map(|text| text.as_bytes().to_vec()),
            field: field.map(str::to_owned),
            record: ProducerRecord::default(),
        }
    }

    #[test]
    fn lines_become_records() {
        let cases = [
            (shape(None, None), "a:b", None, Some("a:b")),
            (shape(Some(":"), None), "a:b:c", Some("a"), Some("b:c")),
            (shape(Some("::"), None), "a:b::c", Some("a:b"), Some("c")),
            (shape(Some(":"), None), ":b", Some(""), Some("b")),
            (shape(Some(":"), None), "ab", None, None),
            (
                shape(None, Some("id")),
                r#"{"id":"x","n":1}"#,
                Some("x"),
                Some(r#"{"id":"x","n":1}"#),
            ),
            (shape(None, Some("id")), r#"{"id":7}"#, Some("7"), Some(r#"{"id":7}"#)),
            (shape(None, Some("id")), r#"{"n":7}"#, None, None),
            (shape(None, Some("id")), "no json", None, None),
        ];
        for (shape, line, key, value) in cases {
            let made = shape.record(&Bytes::from_static(line.as_bytes())).ok();
            let text = |field: Option<Bytes>| field.map(|f| String::from_utf8(f.to_vec()).unwrap());
            let made = made.map_or((None, None), |record| (text(record.key), text(record.value)));
            assert_eq!(made, (key.map(str::to_owned), value.map(str::to_owned)), "{line}");
        }
    }

    #[test]
    fn lines_end_at_newlines_with_or_without_a_carriage_return() {
        let text: &[u8] = b"a\nb\r\n\nlast";
        let mut input = BufReader::new(Box::new(text) as Box<dyn Read + Send>);
        let mut all = Vec::new();
        loop {
            let group = next_group(&mut input).unwrap();
            if group.is_empty() {
                break;
            }
            all.extend(group);
        }
        assert_eq!(all, ["a", "b", "", "last"]);
    }
}
