//! What holds while the files of a roll are not made yet.

use std::path::Path;

use types::LeaderEpoch;

use super::*;
use crate::testing::{batch, open_new};
use crate::{AppendOrigin, LogConfig, TimeWanted};

fn append(log: &mut Log, seed: u32) {
    let (epoch, origin) = (LeaderEpoch(0), AppendOrigin::Client);
    log.append_as_leader(batch(2, seed), epoch, origin, Millis(0)).unwrap();
}

/// A batch in a segment that was rolled, and one behind it; their offsets are 0 to 3.
fn rolled(dir: &Path) -> Log {
    let mut log = open_new(dir, LogConfig::default());
    append(&mut log, 0);
    log.roll(Millis(0)).unwrap();
    append(&mut log, 1);
    log
}

/// Names of the segments' files.
fn files(log: &Log) -> Vec<String> {
    let entries = std::fs::read_dir(log.dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with('0')).collect();
    names.sort();
    names
}

#[test]
fn rolling_touches_no_file_and_what_is_committed_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rolled(dir.path());
    assert_eq!((log.end_offset(), log.written_end()), (Offset::new(4), Offset::new(2)));
    let written = log.written_end();
    let read = log.read_blocking(Offset::ZERO, 9999, written, true).unwrap();
    assert_eq!(read.next_offset, written);
    // Of the index, which is in memory, nothing is made anew.
    let (found, learned) = log.time_lookup(TimeWanted::Since(1000)).unwrap().run();
    log.learn_times(learned);
    assert_eq!(found.unwrap().unwrap().offset, Offset::ZERO);
    assert_eq!(files(&log), ["00000000000000000000.log"]);
}

#[test]
fn the_log_goes_on_with_the_files_of_another_thread() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rolled(dir.path());
    let rolling = log.rolling().unwrap();
    let outcome = rolling.run();
    log.end_roll(&rolling, outcome).unwrap();
    assert!(log.rolling().is_none());
    log.flush_writes().unwrap();
    assert_eq!(log.written_end(), Offset::new(4));
    let read = log.read_blocking(Offset::new(2), 9999, Offset::MAX, true).unwrap();
    assert_eq!(read.next_offset, Offset::new(4));
    assert_eq!(files(&log).len(), 5, "{:?}", files(&log));
}

#[test]
fn who_cannot_wait_makes_them_and_the_thread_that_comes_late_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rolled(dir.path());
    let late = log.rolling().unwrap();
    log.flush_writes().unwrap();
    let outcome = late.run();
    log.end_roll(&late, outcome).unwrap();
    let read = log.read_blocking(Offset::new(2), 9999, Offset::MAX, true).unwrap();
    assert_eq!(read.next_offset, Offset::new(4));
}

#[test]
fn a_log_that_could_not_make_them_takes_nothing_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rolled(dir.path());
    let rolling = log.rolling().unwrap();
    let cause = std::io::ErrorKind::StorageFull.into();
    let full = LogError::Io { action: "create", path: dir.path().to_owned(), cause };
    assert!(log.end_roll(&rolling, Err(full)).unwrap_err().is_passing());
    assert!(log.is_stalled());
    let refused =
        log.append_as_leader(batch(1, 2), LeaderEpoch(0), AppendOrigin::Client, Millis(0));
    assert!(refused.is_err());
    log.flush_writes().unwrap();
    append(&mut log, 2);
    assert_eq!(log.end_offset(), Offset::new(6));
}
