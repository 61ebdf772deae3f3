//! What the tests of the modules share.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use records::{BatchBuilder, Compression};
use rustix::fs::OFlags;
use types::{Millis, Offset, ProducerId};

use crate::disk::DiskFile;
use crate::{Log, LogConfig, Opening, RealDisk};

#[path = "../tests/support/mod.rs"]
mod support;
pub(crate) use support::reads;

/// A batch of `records` records, as a producer sends it; `seed` makes its content and timestamp.
pub(crate) fn batch(records: u32, seed: u32) -> BytesMut {
    fill(BatchBuilder::new(Compression::None), records, seed)
}

/// The same of an idempotent producer.
pub(crate) fn idempotent(producer: i64, sequence: i32, records: u32, seed: u32) -> BytesMut {
    let builder = BatchBuilder::new(Compression::None);
    fill(builder.producer(ProducerId(producer), 0, sequence), records, seed)
}

pub(crate) fn fill(mut builder: BatchBuilder, records: u32, seed: u32) -> BytesMut {
    for n in 0..records {
        let timestamp = 1000 + i64::from(seed);
        let value = (seed, n).0.wrapping_mul(2_654_435_761).wrapping_add(n).to_be_bytes();
        builder.append(timestamp, Some(b"key"), Some(&value), &[]);
    }
    BytesMut::from(builder.build())
}

pub(crate) fn open_new(dir: &Path, config: LogConfig) -> Log {
    open(dir, config, Opening::NEW).unwrap()
}

pub(crate) fn open(
    dir: &Path,
    config: LogConfig,
    opening: Opening,
) -> Result<Log, crate::LogError> {
    Log::open(Arc::new(RealDisk), dir.join("t-0"), Arc::new(config), opening, Millis(0))
}

/// How a log is opened after a crash.
pub(crate) fn crashed(recovery_point: Offset) -> Opening {
    Opening { recovery_point, ..Opening::NEW }
}

/// How a log is opened after a clean stop.
pub(crate) fn clean(recovery_point: Offset) -> Opening {
    Opening { recovery_point, is_clean: true, ..Opening::NEW }
}

/// Whether files of the folder can be read past the page cache.
pub(crate) fn reads_past_cache(dir: &Path) -> bool {
    let path = dir.join("direct");
    std::fs::write(&path, [0; 1]).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let direct = options.read(true).custom_flags(OFlags::DIRECT.bits().cast_signed());
    let can = direct.open(&path).is_ok();
    std::fs::remove_file(&path).unwrap();
    can
}

/// Drops what memory holds of a file that is synced; whether that can be done.
pub(crate) fn drops_cached(file: &dyn DiskFile) -> bool {
    file.drop_cached(0..u64::MAX);
    // Only the page of the last byte is back by that.
    file.read_cached_at(&mut [0], file.len().unwrap() - 1).is_err()
}

/// Writes and syncs everything on this thread.
pub(crate) fn sync(log: &mut Log) {
    if let Some(ticket) = log.sync_ticket().unwrap() {
        let outcome = ticket.sync();
        log.synced(outcome).unwrap();
    }
}
