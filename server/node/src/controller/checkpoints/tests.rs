//! When checkpoints are written, which go, and that a log without its beginning opens.

use std::path::Path;
use std::time::Duration;

use ::metadata::MetadataRecord;
use config::{BrokerLayers, NodeConfig, Sources, StaticConfig};
use raft::{LogView, VoterSet};
use types::{LeaderEpoch, Uuid};

use super::super::metadata_log::{Found, MetadataLog, Setup};
use super::*;

fn config(overrides: &[(&str, &str)]) -> NodeConfig {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let overrides = overrides.iter().map(pair).collect();
    let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Sources::default() }).unwrap();
    NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap()
}

fn checkpoints(overrides: &[(&str, &str)]) -> Checkpoints {
    let folder = PathBuf::from("/nowhere/at/all");
    Checkpoints::open(folder, &config(overrides).quorum, Millis(0)).unwrap()
}

#[test]
fn one_is_due_after_so_many_bytes_or_so_much_time() {
    let mut both = checkpoints(&[
        ("metadata.log.max.record.bytes.between.snapshots", "100"),
        ("metadata.log.max.snapshot.interval.ms", "5000"),
    ]);
    assert_eq!(both.wait(Millis(9000)), None, "nothing is new");
    both.note(99);
    assert_eq!(both.wait(Millis(4000)), Some(Millis(1000)));
    assert!(!both.is_due(Millis(4999)) && both.is_due(Millis(5000)));
    both.note(1);
    assert!(both.is_due(Millis(1)));
    let mut by_bytes = checkpoints(&[("metadata.log.max.snapshot.interval.ms", "0")]);
    by_bytes.note(1);
    assert_eq!(by_bytes.wait(Millis(9000)), None, "0 makes none by time");
}

#[test]
fn one_that_fails_is_tried_again_later() {
    let mut checkpoints = checkpoints(&[("metadata.log.max.record.bytes.between.snapshots", "1")]);
    checkpoints.note(1);
    let at = LogPosition { offset: Offset::new(1), epoch: LeaderEpoch(0) };
    checkpoints.begin(at, None, Arc::default(), (Millis(0), Millis(0))).unwrap();
    assert_eq!(checkpoints.wait(Millis(0)), Some(WRITING));
    assert!(checkpoints.finish(true, Millis(10)).is_err());
    assert_eq!(checkpoints.wait(Millis(10)), Some(RETRY));
}

#[test]
fn oldest_go_by_age_and_size_but_one_stays() {
    let cases = [
        ("nothing is over", "1000", "-1", 0, 3),
        ("by size, log and checkpoints together", "129", "-1", 0, 2),
        ("the size without the first is enough", "120", "-1", 0, 2),
        ("by size, all but one", "0", "-1", 0, 1),
        ("by age", "-1", "50", 152, 1),
        ("exactly old enough is not over", "-1", "50", 150, 3),
        ("by age, all but one", "-1", "0", 999, 1),
        ("without limits", "-1", "-1", 999, 3),
    ];
    for (name, bytes, age, wall, left) in cases {
        let limits = [("metadata.max.retention.bytes", bytes), ("metadata.max.retention.ms", age)];
        let mut checkpoints = checkpoints(&limits);
        for number in 0..3 {
            let at = LogPosition { offset: Offset::new(number), epoch: LeaderEpoch(0) };
            let timestamp = Millis(100 + number);
            let path = PathBuf::from(number.to_string());
            checkpoints.taken.push(Taken { at, path, bytes: 10, timestamp });
        }
        let spent = checkpoints.take_spent(100, Millis(wall));
        assert_eq!((checkpoints.taken.len(), spent.len()), (left, 3 - left), "{name}");
        assert_eq!(checkpoints.oldest_end(), Offset::new(3 - left as i64), "{name}");
    }
}

fn open(dir: &Path, config: &NodeConfig) -> (MetadataLog, Found) {
    let setup = Setup {
        dir,
        quorum: &config.quorum,
        fixed: VoterSet::default(),
        first: None,
        is_clean: false,
        now: Millis(1000),
    };
    MetadataLog::open(setup).unwrap()
}

fn topic(number: u8) -> MetadataRecord {
    let record = protocol::internal::metadata::TopicRecord {
        name: format!("t{number}"),
        topic_id: Uuid::from_bytes([number; 16]),
        ..Default::default()
    };
    record.into()
}

fn names(folder: &Path, suffix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names
}

#[test]
fn log_loses_its_beginning_and_not_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&[
        ("metadata.log.max.record.bytes.between.snapshots", "1"),
        ("metadata.log.segment.ms", "1"),
        ("metadata.max.retention.bytes", "1"),
    ]);
    let (mut log, Found { mut images, voters, .. }) = open(dir.path(), &config);
    for number in 1..=5 {
        let record = [topic(number)];
        log.append(&record, 29, LeaderEpoch(1), Millis(1000 * i64::from(number))).unwrap();
        log.sync().unwrap();
        let end = log.end().offset;
        images.append(&record, end).unwrap();
        images.commit(end);
        let image = Arc::new(images.committed().image().clone());
        log.keep_checkpoints(&image, end, true, &voters).unwrap();
        while log.checkpoint_wait().is_some() {
            std::thread::sleep(Duration::from_millis(1));
            log.keep_checkpoints(&image, end, true, &voters).unwrap();
        }
    }
    drop(log);
    let folder = dir.path().join("__cluster_metadata-0");
    while names(&folder, ".checkpoint").len() > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(names(&folder, ".checkpoint"), ["00000000000000000005-0000000001.checkpoint"]);
    assert!(!names(&folder, ".log").contains(&"00000000000000000000.log".to_owned()));
    let (_, found) = open(dir.path(), &config);
    assert_eq!(found.images.deciding().topics().count(), 5);
}

/// The controller's thread asks again when the wait is over, so that no wait would be a busy loop.
#[test]
fn where_nothing_can_be_covered_yet_the_next_look_waits() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&[("metadata.log.max.record.bytes.between.snapshots", "1")]);
    let (mut log, Found { images, voters, .. }) = open(dir.path(), &config);
    log.append(&[topic(1)], 29, LeaderEpoch(1), Millis(1000)).unwrap();
    let image = Arc::new(images.committed().image().clone());
    let end = log.end().offset;
    for (name, end, is_whole) in
        [("nothing is committed", Offset::ZERO, true), ("a transaction is open", end, false)]
    {
        log.checkpoints.not_before = Millis(0);
        log.keep_checkpoints(&image, end, is_whole, &voters).unwrap();
        assert!(log.checkpoints.wait(Millis(0)) >= Some(PUT_OFF), "{name}");
    }
    log.checkpoints.not_before = Millis(0);
    log.keep_checkpoints(&image, end, true, &voters).unwrap();
    assert!(log.checkpoints.finish(true, Millis(0)).unwrap(), "what is committed is covered");
}
