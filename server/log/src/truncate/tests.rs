//! What a cut leaves.

use types::{LeaderEpoch, ProducerId};

use super::*;
use crate::testing::{clean, idempotent, open, open_new, sync};
use crate::{AppendOrigin, LogConfig};

fn send(log: &mut Log, sequence: i32, epoch: i32) {
    let (batch, epoch) = (idempotent(1, sequence, 2, 0), LeaderEpoch(epoch));
    log.append_as_leader(batch, epoch, AppendOrigin::Client, Millis(0)).unwrap();
}

/// Eight batches of two records in three segments, epochs 0 to 3.
fn log(dir: &std::path::Path) -> Log {
    let segment_bytes = u32::try_from(idempotent(1, 0, 2, 0).len() * 3).unwrap();
    let config = LogConfig { segment_bytes, index_interval_bytes: 0, ..LogConfig::default() };
    let mut log = open_new(dir, config);
    for n in 0..8 {
        send(&mut log, n * 2, n / 2);
    }
    sync(&mut log);
    log
}

#[test]
fn truncation_cuts_data_epochs_producers_and_durability() {
    let cases = [
        ("at a batch", 10, 10, 2, 9),
        ("inside of a batch, which goes whole", 11, 11, 2, 9),
        ("at a segment", 12, 12, 3, 11),
        ("in the first segment", 2, 2, 1, 1),
        ("everything", 0, 0, 1, -1),
    ];
    for (name, to, end, segments, last_sequence) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path());
        assert!(log.truncate_to(Offset::new(to), Millis(0)).unwrap(), "{name}");
        assert_eq!(log.end_offset(), Offset::new(end), "{name}");
        assert_eq!(log.durable_end(), Offset::new(end), "{name}");
        assert_eq!(log.segment_count(), segments, "{name}");
        let producer = log.producers().entry(ProducerId(1));
        assert_eq!(producer.map_or(-1, |p| p.last_sequence()), last_sequence, "{name}");
        let epochs = log.leader_epochs().entries();
        assert!(epochs.iter().all(|(_, start)| start.get() < end), "{name}: {epochs:?}");

        send(&mut log, last_sequence + 1, 9);
        let read = log.read_blocking(Offset::ZERO, 0, Offset::MAX, true).unwrap();
        assert!(!read.bytes.is_empty(), "{name}");
        let (config, point) = (log.config().clone(), log.close().unwrap());
        let log = open(dir.path(), config, clean(point)).unwrap();
        assert_eq!(log.end_offset(), Offset::new(end + 2), "{name}");
    }
}

#[test]
fn an_offset_that_cannot_follow_is_damage_and_nothing_is_cut() {
    for (name, byte, value) in [("far ahead", 0, 0x40), ("before", 7, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path());
        let path = segment::path(&dir.path().join("t-0"), Offset::new(6), LOG);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = idempotent(1, 0, 2, 0).len();
        bytes[at + byte] = value;
        std::fs::write(&path, &bytes).unwrap();
        let cut = log.truncate_to(Offset::new(11), Millis(0));
        let Err(LogError::Damaged { file, position, .. }) = cut else { panic!("{name}: {cut:?}") };
        assert_eq!((&file, position), (&path, at as u64), "{name}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}");
    }
}

#[test]
fn nothing_to_cut_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    assert!(!log.truncate_to(Offset::new(16), Millis(0)).unwrap());
    assert_eq!(log.end_offset(), Offset::new(16));
}

#[test]
fn a_fresh_start_forgets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    log.truncate_fully_and_start_at(Offset::new(100), Millis(0)).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (Offset::new(100), Offset::new(100)));
    assert!(log.producers().is_empty() && log.leader_epochs().entries().is_empty());
    send(&mut log, 0, 4);
    assert_eq!(log.end_offset(), Offset::new(102));
}

#[test]
fn sync_of_what_was_cut_meanwhile_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    send(&mut log, 16, 3);
    let ticket = log.sync_ticket().unwrap().unwrap();
    log.truncate_to(Offset::new(6), Millis(0)).unwrap();
    for n in 3..8 {
        send(&mut log, n * 2, 4);
    }
    log.synced(ticket.sync()).unwrap();
    assert_eq!(log.durable_end(), Offset::new(6));
    sync(&mut log);
    assert_eq!(log.durable_end(), Offset::new(16));
}

#[test]
fn readers_find_what_came_in_place_of_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    log.read_blocking(Offset::new(12), 1 << 20, Offset::new(14), true).unwrap();
    log.truncate_to(Offset::new(12), Millis(0)).unwrap();
    let (epoch, origin) = (LeaderEpoch(5), AppendOrigin::Client);
    log.append_as_leader(crate::testing::batch(1, 0), epoch, origin, Millis(0)).unwrap();
    log.append_as_leader(crate::testing::batch(1, 1), epoch, origin, Millis(0)).unwrap();
    log.append_as_leader(crate::testing::batch(1, 2), epoch, origin, Millis(0)).unwrap();
    let read = log.read_blocking(Offset::new(14), 1 << 20, Offset::MAX, true).unwrap();
    assert_eq!(records::BatchHeader::parse(&read.bytes).unwrap().base_offset, 14);
}

#[test]
fn snapshot_of_a_clean_stop_goes_with_what_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    let (config, point) = (log.config().clone(), log.close().unwrap());
    let mut log = open(dir.path(), config, clean(point)).unwrap();
    log.truncate_to(Offset::new(14), Millis(0)).unwrap();
    assert_eq!(log.producers().entry(ProducerId(1)).unwrap().last_sequence(), 13);
}
