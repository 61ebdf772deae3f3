//! Slices are what reads would give, for readers who go through the log in order.

use std::os::unix::fs::FileExt;

use types::{LeaderEpoch, Millis};

use super::*;
use crate::testing::{batch, open_new};
use crate::{AppendOrigin, LogConfig};

/// Records of a batch, about 14 KiB of them.
const RECORDS: u32 = 1000;
const BATCHES: u32 = 60;

/// Sixty batches in several segments.
fn log(dir: &std::path::Path) -> Log {
    let config = LogConfig { segment_bytes: 300 << 10, ..LogConfig::default() };
    let mut log = open_new(dir, config);
    for n in 0..BATCHES {
        let append = batch(RECORDS, n);
        log.append_as_leader(append, LeaderEpoch(0), AppendOrigin::Client, Millis(0)).unwrap();
    }
    assert!(log.segment_count() > 2);
    log
}

fn bytes_of(slice: &FileSlice) -> Vec<u8> {
    let mut bytes = vec![0; slice.bytes];
    slice.file.read_exact_at(&mut bytes, slice.position).unwrap();
    bytes
}

/// Everything from `from` up to `until`, by slices where there are some; and how many there were.
fn go_through(log: &mut Log, from: Offset, bytes_max: usize, until: Offset) -> (Vec<u8>, usize) {
    let (mut all, mut slices, mut at) = (Vec::new(), 0, from);
    loop {
        if let Some(slice) = log.slice(at, bytes_max, until).unwrap() {
            assert!(slice.bytes <= bytes_max && slice.next_offset <= until);
            all.extend(bytes_of(&slice));
            (at, slices) = (slice.next_offset, slices + 1);
            continue;
        }
        let batches = log.read_blocking(at, bytes_max, until, true).unwrap();
        if batches.bytes.is_empty() {
            return (all, slices);
        }
        all.extend_from_slice(&batches.bytes);
        at = batches.next_offset;
    }
}

fn read_through(log: &mut Log, from: Offset, until: Offset) -> Vec<u8> {
    let (mut all, mut at) = (Vec::new(), from);
    loop {
        let batches = log.read_blocking(at, 20 << 10, until, true).unwrap();
        if batches.bytes.is_empty() {
            return all;
        }
        all.extend_from_slice(&batches.bytes);
        at = batches.next_offset;
    }
}

#[test]
fn going_through_by_slices_gives_every_batch_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    let end = log.end_offset();
    for (from, until) in [(0, end), (0, Offset::new(31_500)), (1500, end), (20_000, end)] {
        let expected = read_through(&mut log, Offset::new(from), until);
        for bytes_max in [100 << 10, 150 << 10, 1 << 20] {
            let (found, slices) = go_through(&mut log, Offset::new(from), bytes_max, until);
            assert!(found == expected, "{from} to {until:?} by {bytes_max}");
            assert!(slices > 0, "{from} to {until:?} by {bytes_max}: {slices} slices");
        }
    }
}

#[test]
fn little_is_read_and_not_sliced() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    let end = log.end_offset();
    assert!(log.slice(Offset::ZERO, 1 << 20, end).unwrap().is_some());
    assert!(log.slice(Offset::ZERO, SLICE_BYTES_MIN - 1, end).unwrap().is_none(), "little asked");
    let bound = Offset::new(2000);
    assert!(log.slice(Offset::ZERO, 1 << 20, bound).unwrap().is_none(), "little below the bound");
    assert!(log.slice(end, 1 << 20, end).unwrap().is_none(), "nothing there");
    assert!(log.slice(Offset::new(1500), 1 << 20, end).unwrap().is_none(), "an unknown place");
}

#[test]
fn a_slice_outlives_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    let end = log.end_offset();
    let slice = log.slice(Offset::ZERO, 1 << 20, end).unwrap().unwrap();
    let before = bytes_of(&slice);
    drop(log);
    std::fs::remove_dir_all(dir.path().join("t-0")).unwrap();
    assert!(bytes_of(&slice) == before);
}
