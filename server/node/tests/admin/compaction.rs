//! Compaction of a running node's logs, and what comes in its way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::ApiKey;
use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use records::{Batch, BatchBuilder, Compression, DecompressLimits, split_batches};
use types::ErrorCode;

use crate::client::{Client, TestNode, eventually};
use crate::configs::{BROKER, TOPIC, set};
use crate::log_dirs::{move_to, other_dir, wait_for_move};

/// Looks again at once, and may compact two logs side by side.
const EAGER: &[(&str, &str)] =
    &[METRICS, ("log.cleaner.backoff.ms", "5"), ("log.cleaner.threads", "2")];
/// As `EAGER`, but so slow that a compaction does not end.
const STUCK: &[(&str, &str)] =
    &[METRICS, ("log.cleaner.backoff.ms", "5"), ("log.cleaner.io.max.bytes.per.second", "1")];
/// The same with a second thread.
const STUCK_IN_TWO: &[(&str, &str)] = &[
    METRICS,
    ("log.cleaner.backoff.ms", "5"),
    ("log.cleaner.io.max.bytes.per.second", "1"),
    ("log.cleaner.threads", "2"),
];
const METRICS: (&str, &str) = ("thalweg.metrics.listener", "127.0.0.1:0");
const RECORDS: i64 = 12;
/// Records that a second segment makes superfluous, and those that stay.
const KEYS: i64 = 4;

fn create(client: &mut Client, topic: &str) {
    client.create_topic(topic, 1);
    for (key, value) in [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("internal.segment.bytes", "400"),
    ] {
        assert_eq!(set(client, TOPIC, topic, key, Some(value)), ErrorCode::None);
    }
}

/// Appends `RECORDS` records of `KEYS` keys, one batch and nearly one segment each.
fn fill(client: &mut Client, topic: &str) {
    for n in 0..RECORDS {
        let mut batch = BatchBuilder::new(Compression::None);
        let key = (n % KEYS).to_be_bytes();
        batch.append(1_000_000_000_000 + n, Some(&key), Some(&[b'v'; 250]), &[]);
        let appended = client.append(topic, batch.build(), 9);
        assert_eq!(appended.error_code, 0, "{appended:?}");
    }
}

fn folder(node: &TestNode, topic: &str) -> PathBuf {
    let mut folders = node.log_dirs().into_iter().map(|dir| dir.join(format!("{topic}-0")));
    folders.find(|folder| folder.exists()).unwrap()
}

/// The files of a folder, but those that wait for their removal.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_none_or(|kind| kind != "deleted")).collect()
}

/// How many records of each key a folder's log files hold; `None` while they change.
fn counts(folder: &Path) -> Option<BTreeMap<Vec<u8>, usize>> {
    let mut counts = BTreeMap::new();
    for path in files(folder) {
        if path.extension().is_none_or(|kind| kind != "log") {
            continue;
        }
        let bytes = bytes::Bytes::from(fs::read(path).ok()?);
        for cut in split_batches(&bytes) {
            let (range, _) = cut.ok()?;
            let limits = DecompressLimits { bytes_max: 1 << 20 };
            for record in Batch::open(&bytes[range], limits).ok()?.records() {
                *counts.entry(record.ok()?.key?.to_vec()).or_default() += 1;
            }
        }
    }
    Some(counts)
}

/// The active segment may hold one record that supersedes another.
fn wait_until_compacted(folder: &Path) {
    eventually("a compaction", || {
        let counts = counts(folder)?;
        (counts.len() == KEYS as usize && counts.values().sum::<usize>() <= KEYS as usize + 1)
            .then_some(())
    });
}

fn metric(node: &TestNode, name: &str) -> f64 {
    let text = node.metrics();
    let values = text.lines().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn a_compacted_topic_keeps_the_latest_of_each_key() {
    let mut node = TestNode::start_with(EAGER);
    let mut client = node.client();
    create(&mut client, "c");
    fill(&mut client, "c");
    wait_until_compacted(&folder(&node, "c"));
    drop(client);
    node.restart();
    let mut client = node.client();
    fill(&mut client, "c");
    wait_until_compacted(&folder(&node, "c"));
    let folder = folder(&node, "c");
    let checkpoint = folder.parent().unwrap().join("cleaner-offset-checkpoint");
    drop((client, node.restart()));
    let lines = fs::read_to_string(checkpoint).unwrap();
    assert!(lines.lines().any(|line| line.starts_with("c 0 ")), "{lines}");
}

#[test]
fn what_nobody_uses_after_a_restart_is_compacted_too() {
    let mut node = TestNode::start_with(EAGER);
    let mut client = node.client();
    create(&mut client, "c");
    let policy =
        |client: &mut Client, value| set(client, TOPIC, "c", "cleanup.policy", Some(value));
    assert_eq!(policy(&mut client, "delete"), ErrorCode::None);
    let key = "retention.ms";
    assert_eq!(set(&mut client, TOPIC, "c", key, Some("-1")), ErrorCode::None);
    fill(&mut client, "c");
    drop(client);
    node.restart();
    let folder = folder(&node, "c");
    assert_eq!(counts(&folder).unwrap().values().sum::<usize>(), RECORDS as usize);
    assert_eq!(policy(&mut node.client(), "compact"), ErrorCode::None);
    wait_until_compacted(&folder);
}

/// The metric of what is set aside.
const UNCLEANABLE: &str = "kafka_log_logcleanermanager_uncleanable_";

fn wait_until_set_aside(node: &TestNode) {
    eventually("a metric", || {
        (metric(node, &format!("{UNCLEANABLE}partitions_count")) == 1.0).then_some(())
    });
}

/// A topic that is not compacted yet, of which one batch is damaged. Gives its file, and what it
/// held and holds.
fn create_damaged(node: &TestNode, client: &mut Client, base: i64) -> (PathBuf, [Vec<u8>; 2]) {
    client.create_topic("bad", 1);
    assert_eq!(set(client, TOPIC, "bad", "internal.segment.bytes", Some("400")), ErrorCode::None);
    fill(client, "bad");
    let path = folder(node, "bad").join(format!("{base:020}.log"));
    let sound = fs::read(&path).unwrap();
    let mut damaged = sound.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, &damaged).unwrap();
    (path, [sound, damaged])
}

fn have_compacted(client: &mut Client, topic: &str) {
    for (key, value) in [("min.cleanable.dirty.ratio", "0.01"), ("cleanup.policy", "compact")] {
        assert_eq!(set(client, TOPIC, topic, key, Some(value)), ErrorCode::None);
    }
}

#[test]
fn a_damaged_log_is_set_aside_and_others_are_compacted() {
    let node = TestNode::start_with(EAGER);
    let mut client = node.client();
    let (path, [sound, damaged]) = create_damaged(&node, &mut client, 2);
    create(&mut client, "good");
    fill(&mut client, "good");
    have_compacted(&mut client, "bad");
    wait_until_set_aside(&node);
    assert!(metric(&node, &format!("{UNCLEANABLE}bytes")) > 1000.0);
    wait_until_compacted(&folder(&node, "good"));
    assert_eq!(fs::read(&path).unwrap(), damaged, "nothing of it was changed");
    fill(&mut client, "bad");
    // Once it is sound again, another setting has the cleaner try anew.
    fs::write(&path, &sound).unwrap();
    let key = "delete.retention.ms";
    assert_eq!(set(&mut client, TOPIC, "bad", key, Some("1")), ErrorCode::None);
    wait_until_compacted(&folder(&node, "bad"));
    assert_eq!(metric(&node, &format!("{UNCLEANABLE}partitions_count")), 0.0);
}

#[test]
fn a_second_log_is_begun_while_the_first_waits_for_the_budget() {
    let node = TestNode::start_with(STUCK_IN_TWO);
    let mut client = node.client();
    create(&mut client, "stuck");
    fill(&mut client, "stuck");
    eventually("a look", || {
        (metric(&node, "kafka_log_logcleanermanager_max_dirty") > 0.0).then_some(())
    });
    // Its damage is found by the first read, which takes nothing from the budget yet.
    create_damaged(&node, &mut client, 0);
    have_compacted(&mut client, "bad");
    wait_until_set_aside(&node);
    let left = counts(&folder(&node, "stuck")).unwrap();
    assert_eq!(left.values().sum::<usize>(), RECORDS as usize, "it is still under way");
}

#[test]
fn more_memory_lets_what_was_set_aside_be_compacted() {
    let node = TestNode::start_with(&[
        METRICS,
        ("log.cleaner.backoff.ms", "5"),
        ("log.cleaner.dedupe.buffer.size", "24"),
    ]);
    let mut client = node.client();
    create(&mut client, "c");
    fill(&mut client, "c");
    wait_until_set_aside(&node);
    let key = "log.cleaner.dedupe.buffer.size";
    assert_eq!(set(&mut client, BROKER, "", key, Some("2000000")), ErrorCode::None);
    wait_until_compacted(&folder(&node, "c"));
}

#[test]
fn a_rate_is_in_force_for_what_is_under_way() {
    let node = TestNode::start_with(STUCK);
    let mut client = node.client();
    create(&mut client, "c");
    fill(&mut client, "c");
    let folder = folder(&node, "c");
    eventually("a look", || {
        (metric(&node, "kafka_log_logcleanermanager_max_dirty") > 0.0).then_some(())
    });
    assert!(counts(&folder).unwrap().values().sum::<usize>() == RECORDS as usize);
    let key = "log.cleaner.io.max.bytes.per.second";
    assert_eq!(set(&mut client, BROKER, "", key, Some("1e9")), ErrorCode::None);
    wait_until_compacted(&folder);
}

#[test]
fn a_stop_ends_a_compaction_and_leaves_nothing_of_it() {
    let mut node = TestNode::start_with(STUCK);
    let mut client = node.client();
    create(&mut client, "c");
    fill(&mut client, "c");
    let at = folder(&node, "c");
    eventually("a look", || {
        (metric(&node, "kafka_log_logcleanermanager_max_dirty") > 0.0).then_some(())
    });
    drop(client);
    node.restart_after(|_| {
        let left = files(&at);
        let is_left = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "cleaned");
        assert!(!left.iter().any(is_left), "{left:?}");
        assert_eq!(counts(&at).unwrap().values().sum::<usize>(), RECORDS as usize);
    });
    node.client().create_topic("d", 1);
    assert_eq!(node.client().produce("d", 1, 1, -1), 0);
}

#[test]
fn deletions_and_moves_void_what_is_compacted_meanwhile() {
    let node = TestNode::start_with(STUCK);
    let mut client = node.client();
    create(&mut client, "gone");
    fill(&mut client, "gone");
    eventually("a look", || {
        (metric(&node, "kafka_log_logcleanermanager_max_dirty") > 0.0).then_some(())
    });
    let delete = DeleteTopicsRequest {
        topic_names: vec!["gone".to_owned()],
        timeout_ms: 5000,
        ..Default::default()
    };
    let response: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, 5, &delete);
    assert_eq!(response.responses[0].error_code, 0);
    // Its namesake has the folder in which the former one was being compacted.
    create(&mut client, "gone");
    fill(&mut client, "gone");
    create(&mut client, "moved");
    fill(&mut client, "moved");
    let to = other_dir(&node, &mut client, "moved");
    assert_eq!(move_to(&mut client, &to, "moved", 0), ErrorCode::None);
    wait_for_move(&mut client, "moved", &to);
    let key = "log.cleaner.io.max.bytes.per.second";
    assert_eq!(set(&mut client, BROKER, "", key, Some("1e9")), ErrorCode::None);
    for topic in ["gone", "moved"] {
        wait_until_compacted(&folder(&node, topic));
        fill(&mut client, topic);
        wait_until_compacted(&folder(&node, topic));
    }
}
