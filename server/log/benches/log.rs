//! What one log costs by itself: appends, look-ups by offset and by time, reads from the page cache.
//!
//! `cargo bench -p thalweg-log`. The files lie in memory (`/dev/shm`), so that no device is measured;
//! nothing is synced. One thread, one log; no requests, no network.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use records::{BatchBuilder, Compression};
use tempfile::TempDir;
use thalweg_log::{AppendOrigin, Log, LogConfig, Opening, RealDisk, TimeWanted};
use types::{LeaderEpoch, Millis, Offset, Rng};

const NOW: Millis = Millis(1_800_000_000_000);
const IN_MEMORY: &str = "/dev/shm";
const RECORD_BYTES: usize = 1024;
/// The log that is read: 64 MiB in segments of 16 MiB, an index entry for every batch.
const LOG_BATCHES: i64 = 4096;
const BATCH_BYTES: usize = 16 << 10;
const SEGMENT_BYTES: u32 = 16 << 20;

fn main() {
    divan::main();
}

/// A batch of about so many bytes in records of 1 KiB.
fn batch(bytes: usize, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..bytes / RECORD_BYTES {
        builder.append(timestamp, None, Some(&[b'v'; RECORD_BYTES - 10]), &[]);
    }
    builder.build()
}

fn new_log(dir: &Path, segment_bytes: u32) -> Log {
    // As with `thalweg.durability=async`, where zeros are written ahead of the data.
    let config = LogConfig { segment_bytes, sync_before_ack: false, ..LogConfig::default() };
    Log::open(Arc::new(RealDisk), dir.join("t-0"), Arc::new(config), Opening::NEW, NOW)
        .expect("an empty folder")
}

fn append(log: &mut Log, batches: BytesMut) {
    log.append_as_leader(batches, LeaderEpoch(0), AppendOrigin::Client, NOW)
        .expect("the batches are sound");
    log.flush_writes().expect("memory does not fail");
}

/// One Produce request with 1 or 10 batches of (16 or 128) KiB: checked, stamped and written.
#[divan::bench(args = [(16, 1), (16, 10), (128, 1), (128, 10)], sample_count = 20, sample_size = 20)]
fn append_kib_batches(bencher: Bencher, (kib, batches): (usize, usize)) {
    let dir = TempDir::new_in(IN_MEMORY).expect("there is a /dev/shm");
    let mut log = new_log(dir.path(), 1 << 30);
    let request = batch(kib << 10, NOW.get()).repeat(batches);
    bencher
        .counter(BytesCount::of_slice(&request))
        .with_inputs(|| BytesMut::from(&request[..]))
        .bench_local_values(|request| append(&mut log, request));
}

/// The log that is read, with a timestamp for each batch. Its writes are done.
fn filled(dir: &Path) -> Log {
    let mut log = new_log(dir, SEGMENT_BYTES);
    for at in 0..LOG_BATCHES {
        append(&mut log, BytesMut::from(&batch(BATCH_BYTES, NOW.get() - LOG_BATCHES + at)[..]));
    }
    log
}

/// Where a batch begins that nobody has asked for lately.
fn somewhere(rng: &mut Rng) -> i64 {
    let batches = u32::try_from(LOG_BATCHES).expect("a small number");
    i64::from(rng.below(batches)) * (BATCH_BYTES / RECORD_BYTES) as i64
}

/// A read of one batch at a random offset: nearly all of it is the search in the index.
#[divan::bench]
fn look_up_offset(bencher: Bencher) {
    let dir = TempDir::new_in(IN_MEMORY).expect("there is a /dev/shm");
    let (mut log, mut rng) = (filled(dir.path()), Rng::new(1));
    let end = log.end_offset();
    bencher.bench_local(|| {
        let from = Offset::new(somewhere(&mut rng));
        let batches = log.read_blocking(from, 1, end, true).expect("the log is whole");
        assert!(!black_box(batches).bytes.is_empty());
    });
}

/// The first offset with a random timestamp or a later one, as ListOffsets asks.
#[divan::bench]
fn look_up_time(bencher: Bencher) {
    let dir = TempDir::new_in(IN_MEMORY).expect("there is a /dev/shm");
    let (mut log, mut rng) = (filled(dir.path()), Rng::new(1));
    let batches = u32::try_from(LOG_BATCHES).expect("a small number");
    bencher.bench_local(|| {
        let wanted = TimeWanted::Since(NOW.get() - LOG_BATCHES + i64::from(rng.below(batches)));
        let found = log.look_up_time(wanted).expect("the log is whole");
        assert!(black_box(found).is_some());
    });
}

/// A consumer that reads on and on, so many KiB at a time; every batch is checked on its way.
#[divan::bench(args = [64, 1024])]
fn read_kib(bencher: Bencher, kib: usize) {
    let dir = TempDir::new_in(IN_MEMORY).expect("there is a /dev/shm");
    let mut log = filled(dir.path());
    let (end, mut from) = (log.end_offset(), Offset::ZERO);
    bencher.counter(BytesCount::new(kib << 10)).bench_local(|| {
        let batches = log.read_blocking(from, kib << 10, end, true).expect("the log is whole");
        from = if batches.next_offset == end { Offset::ZERO } else { batches.next_offset };
        black_box(batches.bytes.len())
    });
}
