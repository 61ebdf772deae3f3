//! The operating system's file system behind the traits.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};
use rustix::io::ReadWriteFlags;
use types::Millis;

use super::{DirEntry, DirLock, Disk, DiskFile, DiskVolume, Once, OpenMode};

/// At least what a page of the page cache has.
const PAGE_BYTES: u64 = 64 << 10;

/// What devices read as one at the most, in memory and on disk.
const BLOCK_BYTES: usize = 4 << 10;
/// More than this at once is read through the page cache.
const DIRECT_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create(mode == OpenMode::Create);
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let facts = match entry.metadata() {
                Ok(facts) => facts,
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let age = facts.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            entries.push(DirEntry {
                name,
                is_dir: facts.is_dir(),
                bytes: facts.len(),
                modified: Millis(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
            });
        }
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        // Java's file lock is a record lock of the process. Taking the same kind keeps Kafka out,
        // and Kafka's keeps us out.
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn volume(&self, dir: &Path) -> io::Result<Box<dyn DiskVolume>> {
        Ok(Box::new(RealVolume { dir: File::open(dir)? }))
    }

    fn volume_bytes(&self, path: &Path) -> io::Result<(u64, u64)> {
        let facts = rustix::fs::statvfs(path)?;
        Ok((facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize))
    }
}

/// The kernel tells each open file of the errors since it was opened.
#[derive(Debug)]
struct RealVolume {
    dir: File,
}

impl DiskVolume for RealVolume {
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.dir)?)
    }
}

/// The lock ends when the file is closed.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DirLock for RealLock {}

#[derive(Debug)]
struct RealFile(File);

thread_local! {
    /// Where devices put what is read past the page cache: only where blocks of memory begin.
    static BLOCKS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl RealFile {
    /// Reads whole blocks around the bytes; `None` where the file system or the device does not, or
    /// there is too much of it.
    fn read_past_cache(&self, into: &mut [u8], at: u64) -> Option<usize> {
        let from = at - at % BLOCK_BYTES as u64;
        let skipped = (at - from) as usize;
        let wanted = (skipped + into.len()).next_multiple_of(BLOCK_BYTES);
        if wanted > DIRECT_BYTES_MAX {
            return None;
        }
        // The same file, whatever its name is by now, with a mode of its own.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
            .ok()?;
        BLOCKS.with_borrow_mut(|blocks| {
            blocks.resize(DIRECT_BYTES_MAX + BLOCK_BYTES, 0);
            let begin = blocks.as_ptr().align_offset(BLOCK_BYTES);
            let blocks = &mut blocks[begin..begin + wanted];
            let read = file.read_at(blocks, from).ok()?.saturating_sub(skipped);
            let bytes = read.min(into.len());
            into[..bytes].copy_from_slice(&blocks[skipped..skipped + bytes]);
            Some(bytes)
        })
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(into, at)
    }

    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut parts = [IoSliceMut::new(into)];
        match rustix::io::preadv2(&self.0, &mut parts, at, ReadWriteFlags::NOWAIT) {
            Ok(bytes) => Ok(bytes),
            // File systems without the probe (tmpfs of old kernels, overlays) read as usual.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.read_at(into, at),
            Err(error) => Err(error.into()),
        }
    }

    fn read_once_at(&self, into: &mut [u8], at: u64) -> io::Result<Once> {
        match self.read_cached_at(into, at) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return Ok(Once { bytes: read?, was_cached: true }),
        }
        // What is read ahead would be found in memory the next time, and would stay.
        _ = rustix::fs::fadvise(&self.0, 0, None, Advice::Random);
        let bytes = self.read_at(into, at)?;
        let length = NonZeroU64::new(bytes as u64);
        if length.is_some() {
            _ = rustix::fs::fadvise(&self.0, at, length, Advice::DontNeed);
        }
        Ok(Once { bytes, was_cached: false })
    }

    fn read_direct_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        match self.read_past_cache(into, at) {
            Some(bytes) => Ok(bytes),
            None => self.read_at(into, at),
        }
    }

    fn drop_cached(&self, bytes: Range<u64>) {
        // Pages that the range holds only in part would stay.
        let from = bytes.start - bytes.start % PAGE_BYTES;
        // To the kernel, none is all to the end.
        let length = NonZeroU64::new(bytes.end.saturating_sub(from));
        if length.is_some() {
            let length = length.filter(|_| bytes.end != u64::MAX);
            _ = rustix::fs::fadvise(&self.0, from, length, Advice::DontNeed);
        }
    }

    fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, parts, at)?)
    }

    fn reserve(&self, at: u64, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, at, bytes)?)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_modified(&self, at: Millis) -> io::Result<()> {
        let since = Duration::from_millis(u64::try_from(at.get()).unwrap_or(0));
        self.0.set_modified(UNIX_EPOCH + since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::reads_past_cache;

    #[test]
    fn what_is_not_too_much_is_read_past_the_page_cache_where_the_system_lets_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..3 << 20).map(|n| (n % 251) as u8).collect();
        fs::write(&path, &content).unwrap();
        let file = RealFile(File::open(&path).unwrap());
        let is_allowed = reads_past_cache(dir.path());
        let mut into = vec![0; DIRECT_BYTES_MAX + 1];
        for at in [0, 1, 4095, 1_000_001, (3 << 20) - 100, 4 << 20] {
            let expected = content.len().saturating_sub(at).min(1 << 20);
            let read = file.read_past_cache(&mut into[..1 << 20], at as u64);
            assert_eq!(read, is_allowed.then_some(expected), "at {at}");
        }
        assert_eq!(file.read_past_cache(&mut into, 0), None);
    }
}
