//! A log of several segments on a disk in memory, and what each of its offsets must read as.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use records::{BatchBuilder, Compression, split_batches};
use thalweg_log::{AppendOrigin, Disk, FaultyDisk, Log, LogConfig, LogError, Opening, ReadError};
use types::{LeaderEpoch, Millis, Offset};

use crate::support::reads;

pub const BATCHES: i64 = 30;
/// Records of a batch.
pub const RECORDS: i64 = 2;
/// A sector: batches of this size change places as a whole.
pub const BATCH_BYTES: usize = 512;
const SEGMENT_BYTES: u32 = 12 * BATCH_BYTES as u32;
/// Who led when the batches of the first two segments were written, and the rest.
const EPOCHS: [LeaderEpoch; 2] = [LeaderEpoch(3), LeaderEpoch(5)];

/// A log and what is in it.
pub struct World {
    pub disk: FaultyDisk,
    pub dir: PathBuf,
    config: Arc<LogConfig>,
    batches: Vec<Bytes>,
}

fn batch(n: i64) -> BytesMut {
    let build = |value_bytes: usize| {
        let mut builder = BatchBuilder::new(Compression::None);
        for record in 0..RECORDS {
            let value = vec![n as u8; value_bytes + record as usize];
            builder.append(1000 + n * 10 + record, Some(b"key"), Some(&value), &[]);
        }
        BytesMut::from(builder.build())
    };
    let mut value_bytes = (BATCH_BYTES - 61) / 2;
    while build(value_bytes).len() > BATCH_BYTES {
        value_bytes -= 1;
    }
    build(value_bytes)
}

impl World {
    /// Three segments of the same log each time, closed and stopped cleanly.
    pub fn new(index_interval_bytes: u32) -> Self {
        let disk = FaultyDisk::new(1);
        let dir = PathBuf::from("/d/t-0");
        let segment_bytes = SEGMENT_BYTES;
        let config = LogConfig { segment_bytes, index_interval_bytes, ..LogConfig::default() };
        let mut world = Self { disk, dir, config: Arc::new(config), batches: Vec::new() };
        let mut log = world.open(Opening::NEW);
        for n in 0..BATCHES {
            let epoch = EPOCHS[usize::from(n >= 24)];
            log.append_as_leader(batch(n), epoch, AppendOrigin::Client, Millis(0)).unwrap();
        }
        assert_eq!(log.segment_count(), 3);
        world.batches = reads(&mut log, 1);
        assert!(world.batches.iter().all(|batch| batch.len() == BATCH_BYTES));
        log.close().unwrap();
        world
    }

    /// The same batches elsewhere, and a log of which compaction has left every second one.
    pub fn compacted() -> Self {
        let mut world = Self::new(100_000);
        world.dir = PathBuf::from("/d/t-1");
        world.config = Arc::new(LogConfig { compact: true, ..LogConfig::clone(&world.config) });
        let mut log = world.open(Opening::NEW);
        for batch in world.batches.iter().step_by(2) {
            log.append_as_follower(batch, Millis(0)).unwrap();
        }
        log.close().unwrap();
        world
    }

    fn open(&self, opening: Opening) -> Log {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let config = Arc::clone(&self.config);
        Log::open(disk, self.dir.clone(), config, opening, Millis(0)).unwrap()
    }

    /// The log after a clean stop.
    pub fn log(&self) -> Log {
        let recovery_point = Offset::new(BATCHES * RECORDS);
        self.open(Opening { recovery_point, is_clean: true, ..Opening::NEW })
    }

    /// A file of the segment that begins with the batch `first`.
    pub fn file(&self, first: i64, kind: &str) -> PathBuf {
        self.dir.join(format!("{:020}.{kind}", first * RECORDS))
    }

    /// Writes into a file.
    pub fn overwrite(&self, path: &Path, at: u64, bytes: &[u8]) {
        let file = self.disk.open(path, thalweg_log::OpenMode::Create).unwrap();
        file.write_vectored_at(&[std::io::IoSlice::new(bytes)], at).unwrap();
    }

    pub fn content(&self, path: &Path) -> Vec<u8> {
        let file = self.disk.open(path, thalweg_log::OpenMode::Read).unwrap();
        let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut content, 0).unwrap();
        content
    }

    /// What another replica gives: all batches from the one that holds an offset on, up to `until`.
    pub fn given(&self, from: Offset, until: i64) -> Option<Bytes> {
        let from = usize::try_from(from.get() / RECORDS).unwrap();
        let until = usize::try_from(until).unwrap();
        (from < until).then(|| self.batches[from..until].concat().into())
    }

    /// The same by one that has compacted, too: of every `step` batches it has the first.
    pub fn given_by_compacted(&self, from: Offset, step: usize) -> Option<Bytes> {
        let from = usize::try_from(from.get() / RECORDS).unwrap();
        let kept: Vec<_> = self.batches.iter().step_by(step).skip(from.div_ceil(step)).collect();
        (!kept.is_empty()).then(|| kept.into_iter().flatten().copied().collect())
    }

    /// Reads from every offset and panics where something comes that was not appended there, or
    /// something is left out. The batches that cannot be read.
    pub fn unreadable(&self, log: &mut Log, what: &str) -> Vec<i64> {
        let mut lost = Vec::new();
        for offset in 0..BATCHES * RECORDS {
            let n = offset / RECORDS;
            match log.read_blocking(Offset::new(offset), 4 * BATCH_BYTES, Offset::MAX, true) {
                Ok(read) => {
                    assert!(!read.bytes.is_empty(), "{what}: nothing at {offset}");
                    let mut expected = self.batches[usize::try_from(n).unwrap()..].iter();
                    for cut in split_batches(&read.bytes) {
                        let found = read.bytes.slice(cut.unwrap().0);
                        assert!(expected.next() == Some(&found), "{what}: other bytes at {offset}");
                    }
                }
                Err(ReadError::Log(LogError::Damaged { file, .. })) => {
                    assert!(file.starts_with(&self.dir), "{what}: {file:?}");
                    lost.push(n);
                }
                Err(other) => panic!("{what}: {other} at {offset}"),
            }
        }
        lost.dedup();
        lost
    }
}
