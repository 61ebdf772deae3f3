//! A disk that fills up in the middle of a write.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use records::{BatchBuilder, Compression};
use thalweg_log::{
    AppendError, AppendOrigin, DirEntry, DirLock, Disk, DiskFile, Log, LogConfig, LogError,
    OpenMode, Opening, RealDisk,
};
use types::{LeaderEpoch, Millis, Offset};

/// The real disk with room for so many more bytes.
#[derive(Clone, Debug)]
struct SmallDisk(Arc<AtomicU64>);

#[derive(Debug)]
struct SmallFile(Arc<dyn DiskFile>, Arc<AtomicU64>);

impl DiskFile for SmallFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(into, at)
    }
    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_cached_at(into, at)
    }
    fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let room = usize::try_from(self.1.load(Ordering::Relaxed)).unwrap();
        let all: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        if room == 0 && !all.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = all.len().min(room);
        let written = self.0.write_vectored_at(&[IoSlice::new(&all[..taken])], at)?;
        self.1.fetch_sub(written as u64, Ordering::Relaxed);
        Ok(written)
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Disk for SmallDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SmallFile(RealDisk.open(path, mode)?, Arc::clone(&self.0))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir_all(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        RealDisk.lock(path)
    }
    fn volume_bytes(&self, path: &Path) -> io::Result<(u64, u64)> {
        RealDisk.volume_bytes(path)
    }
}

fn append(log: &mut Log) -> Result<(), AppendError> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(1, None, Some(&[7; 100]), &[]);
    let (batch, epoch) = (BytesMut::from(builder.build()), LeaderEpoch(0));
    log.append_as_leader(batch, epoch, AppendOrigin::Client, Millis(0))?;
    Ok(())
}

fn sync(log: &mut Log) -> Result<(), LogError> {
    match log.sync_ticket()? {
        Some(ticket) => {
            let outcome = ticket.sync();
            log.synced(outcome)
        }
        None => Ok(()),
    }
}

#[test]
fn full_disk_loses_nothing_that_was_synced() {
    let mut failures = 0;
    for room in (0..400).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        let disk = SmallDisk(Arc::new(AtomicU64::new(u64::from(u32::MAX))));
        let config = LogConfig { segment_bytes: 400, ..LogConfig::default() };
        let open = |point| {
            let opening = Opening { recovery_point: point, ..Opening::NEW };
            let (disk, dir) = (Arc::new(disk.clone()), dir.path().join("t-0"));
            Log::open(disk, dir, Arc::new(config.clone()), opening, Millis(0)).unwrap()
        };
        let mut log = open(Offset::ZERO);
        append(&mut log).unwrap();
        append(&mut log).unwrap();
        sync(&mut log).unwrap();
        disk.0.store(room, Ordering::Relaxed);
        // The third one rolls: indexes and a snapshot are written before it.
        let all =
            append(&mut log).is_ok() && append(&mut log).is_ok() && log.flush_writes().is_ok();
        assert_eq!(log.is_offline(), !all, "room for {room} bytes");
        failures += u32::from(!all);
        let acknowledged = log.durable_end();
        drop(log);
        disk.0.store(u64::from(u32::MAX), Ordering::Relaxed);
        let mut log = open(acknowledged);
        assert!(log.end_offset() >= acknowledged);
        append(&mut log).unwrap();
        sync(&mut log).unwrap();
        assert_eq!(log.durable_end(), log.end_offset());
        let read = log.read_blocking(Offset::ZERO, 9999, Offset::MAX, true).unwrap();
        assert!(read.next_offset >= acknowledged);
    }
    assert!((1..58).contains(&failures), "some fit and some do not: {failures}");
}
