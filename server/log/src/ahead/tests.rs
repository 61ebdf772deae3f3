//! What the file of the active segment is beside its data.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use records::{BatchBuilder, Compression};
use types::{LeaderEpoch, Millis, Offset};

use super::*;
use crate::disk::{Disk, FaultyDisk};

use crate::segment::{self, LOG};
use crate::testing::{clean, crashed, open, open_new};
use crate::{AppendOrigin, Log, LogConfig, LogError, Opening};

const BATCH_BYTES: usize = 40_000;

fn config(sync_before_ack: bool) -> LogConfig {
    LogConfig { sync_before_ack, ..LogConfig::default() }
}

fn append(log: &mut Log) {
    append_bytes(log, BATCH_BYTES);
}

fn append_bytes(log: &mut Log, bytes: usize) {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(1, None, Some(&vec![7; bytes]), &[]);
    let (batch, epoch) = (BytesMut::from(builder.build()), LeaderEpoch(0));
    log.append_as_leader(batch, epoch, AppendOrigin::Client, Millis(0)).unwrap();
    log.flush_writes().unwrap();
}

fn append_until(log: &mut Log, bytes: u64) {
    while log.bytes() < bytes {
        append(log);
    }
}

fn log_file(dir: &Path, base: i64) -> PathBuf {
    segment::path(&dir.join("t-0"), Offset::new(base), LOG)
}

fn file_bytes(dir: &Path) -> u64 {
    fs::metadata(log_file(dir, 0)).unwrap().len()
}

#[test]
fn small_logs_are_as_long_as_their_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), config(false));
    append_until(&mut log, ZEROS_FROM_BYTES - BATCH_BYTES as u64);
    assert_eq!(file_bytes(dir.path()), log.bytes());
}

#[test]
fn zeros_reach_to_the_next_border_until_the_log_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), config(false));
    for bytes in
        [ZEROS_FROM_BYTES + 1, 2 * ZEROS_FROM_BYTES, LogConfig::default().reserve_from_bytes + 1]
    {
        append_until(&mut log, bytes);
        append(&mut log);
        assert_eq!(file_bytes(dir.path()), log.bytes().next_multiple_of(ZEROS_BYTES));
    }
    let (bytes, end) = (log.bytes(), log.end_offset());
    log.close().unwrap();
    assert_eq!(file_bytes(dir.path()), bytes);
    let log = open(dir.path(), config(false), clean(end)).unwrap();
    assert_eq!((log.bytes(), log.end_offset()), (bytes, end));
}

#[test]
fn nothing_is_behind_the_data_of_a_rolled_segment() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    for sync_before_ack in [false, true] {
        let dir = dir.path().join(sync_before_ack.to_string());
        let mut log = open_new(&dir, config(sync_before_ack));
        append_until(&mut log, 3 << 20);
        let bytes = log.bytes();
        log.roll(Millis(0)).unwrap();
        let ticket = log.sync_ticket().unwrap().unwrap();
        log.synced(ticket.sync()).unwrap();
        assert_eq!(file_bytes(&dir), bytes);
        let blocks = fs::metadata(log_file(&dir, 0)).unwrap().blocks() * 512;
        assert!(blocks < bytes + (64 << 10), "{blocks} bytes on disk for {bytes}");
    }
}

#[test]
fn segments_are_not_prepared_past_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let segment_bytes = 300_000;
    let mut log = open_new(dir.path(), LogConfig { segment_bytes, ..config(false) });
    append_until(&mut log, ZEROS_FROM_BYTES);
    append_until(&mut log, ZEROS_FROM_BYTES + 1);
    assert!(file_bytes(dir.path()) <= segment_bytes.into());
}

#[test]
fn logs_whose_acknowledgements_wait_for_a_sync_have_zeros_where_little_is_written_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), config(true));
    append_until(&mut log, 2 << 20);
    assert_eq!(file_bytes(dir.path()), log.bytes(), "each write is larger than that");

    append_bytes(&mut log, 1000);
    let border = log.bytes().next_multiple_of(ZEROS_BYTES);
    assert_eq!(file_bytes(dir.path()), border);
    append(&mut log);
    assert_eq!(file_bytes(dir.path()), border, "what is there stays");
    append_until(&mut log, border + 1);
    assert_eq!(file_bytes(dir.path()), log.bytes());
}

#[test]
fn crash_leaves_all_batches_before_the_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), config(false));
    append_until(&mut log, 1 << 20);
    let (bytes, end) = (log.bytes(), log.end_offset());
    drop(log);
    assert!(file_bytes(dir.path()) > bytes);
    for sync_before_ack in [false, true] {
        let mut log = open(dir.path(), config(sync_before_ack), Opening::NEW).unwrap();
        assert_eq!((log.bytes(), log.end_offset()), (bytes, end));
        assert_eq!(file_bytes(dir.path()), bytes);
        let read = log.read_blocking(Offset::ZERO, 4 << 20, Offset::MAX, true).unwrap();
        assert_eq!(read.next_offset, end);
    }
}

#[test]
fn page_that_a_power_cut_took_ends_a_log_behind_its_recovery_point() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), config(false));
    append_until(&mut log, 1 << 20);
    drop(log);
    let mut content = fs::read(log_file(dir.path(), 0)).unwrap();
    let lost = 5 * BATCH_BYTES;
    content[lost..lost + 4096].fill(0);

    for sync_before_ack in [false, true] {
        fs::write(log_file(dir.path(), 0), &content).unwrap();
        let config = config(sync_before_ack);
        let damaged = open(dir.path(), config.clone(), crashed(Offset::new(6))).unwrap_err();
        assert!(matches!(damaged, LogError::Damaged { .. }), "what was synced is: {damaged}");
        let log = open(dir.path(), config, crashed(Offset::new(3))).unwrap();
        assert_eq!(log.end_offset(), Offset::new(4));
    }
}

#[test]
fn zeros_for_which_there_is_no_room_keep_no_batch_out() {
    let disk = FaultyDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (dir, config) = (PathBuf::from("/d/t-0"), Arc::new(config(false)));
    let mut log = Log::open(shared, dir, config, Opening::NEW, Millis(0)).unwrap();
    append_until(&mut log, ZEROS_FROM_BYTES);
    disk.set_room(2 * BATCH_BYTES as u64 + 1000);
    append(&mut log);
    append(&mut log);
    assert!(!log.is_offline());
    let read = log.read_blocking(Offset::ZERO, 4 << 20, Offset::MAX, true).unwrap();
    assert_eq!(read.next_offset, log.end_offset());
}
