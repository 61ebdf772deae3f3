//! Offsets by time, record by record.

use bytes::BytesMut;
use records::{BatchBuilder, Compression};
use types::Millis;

use super::*;
use crate::testing::open_new;
use crate::{AppendOrigin, LogConfig};

fn append(log: &mut Log, codec: Compression, timestamps: &[i64]) {
    let mut builder = BatchBuilder::new(codec);
    for timestamp in timestamps {
        builder.append(*timestamp, None, Some(&[0; 100]), &[]);
    }
    let batch = BytesMut::from(builder.build());
    log.append_as_leader(batch, LeaderEpoch(2), AppendOrigin::Client, Millis(0)).unwrap();
}

fn log(dir: &Path) -> Log {
    let mut log = open_new(dir, LogConfig { index_interval_bytes: 0, ..LogConfig::default() });
    append(&mut log, Compression::None, &[100, 90, 120]);
    append(&mut log, Compression::Lz4, &[110, 130]);
    log.roll(Millis(0)).unwrap();
    append(&mut log, Compression::Zstd, &[125, 200, 200]);
    append(&mut log, Compression::None, &[150]);
    log
}

#[test]
fn lookup_finds_the_first_record_of_that_time_or_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    let cases = [
        (0, Some((0, 100))),
        (100, Some((0, 100))),
        (101, Some((2, 120))),
        (121, Some((4, 130))),
        (130, Some((4, 130))),
        (131, Some((6, 200))),
        (200, Some((6, 200))),
        (201, None),
    ];
    for (timestamp, expected) in cases {
        let found = log.look_up_time(TimeWanted::Since(timestamp)).unwrap();
        let pair = found.map(|found| (found.offset.get(), found.timestamp));
        assert_eq!(pair, expected, "{timestamp}");
        assert!(found.is_none_or(|found| found.leader_epoch == Some(LeaderEpoch(2))));
    }
}

#[test]
fn lookup_never_gives_what_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    log.delete_records(Offset::new(3), log.end_offset()).unwrap();
    let found = log.look_up_time(TimeWanted::Since(0)).unwrap().unwrap();
    assert_eq!((found.offset.get(), found.timestamp), (3, 110));
}

#[test]
fn greatest_timestamp_is_the_first_record_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    let found = log.look_up_time(TimeWanted::Greatest).unwrap().unwrap();
    assert_eq!((found.offset.get(), found.timestamp), (6, 200));
    append(&mut log, Compression::None, &[199]);
    assert_eq!(log.look_up_time(TimeWanted::Greatest).unwrap(), Some(found));
}

#[test]
fn empty_log_has_no_timestamps() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    assert_eq!(log.look_up_time(TimeWanted::Greatest).unwrap(), None);
    assert_eq!(log.look_up_time(TimeWanted::Since(0)).unwrap(), None);
}
