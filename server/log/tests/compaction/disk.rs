//! A disk on which a process dies after so many changes: nothing after them happens.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use thalweg_log::{DirEntry, DirLock, Disk, DiskFile, OpenMode, RealDisk};
use types::Millis;

/// The real disk as long as there are changes left.
#[derive(Clone, Debug)]
pub struct MortalDisk {
    left: Arc<AtomicI64>,
}

impl MortalDisk {
    pub fn new() -> Self {
        Self { left: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    /// Lets the process die after so many more changes.
    pub fn die_after(&self, changes: i64) {
        self.left.store(changes, Ordering::Relaxed);
    }

    fn change(&self) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        self.left.store(0, Ordering::Relaxed);
        Err(io::Error::other("the process is dead"))
    }
}

#[derive(Debug)]
struct MortalFile {
    file: Arc<dyn DiskFile>,
    disk: MortalDisk,
}

impl DiskFile for MortalFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(into, at)
    }
    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_cached_at(into, at)
    }
    fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.disk.change()?;
        self.file.write_vectored_at(parts, at)
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.change()?;
        self.file.set_len(bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.disk.change()
    }
    fn set_modified(&self, at: Millis) -> io::Result<()> {
        self.disk.change()?;
        self.file.set_modified(at)
    }
}

impl Disk for MortalDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode == OpenMode::Create {
            self.change()?;
        }
        Ok(Arc::new(MortalFile { file: RealDisk.open(path, mode)?, disk: self.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        RealDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        RealDisk.remove_dir_all(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(dir)
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.change()
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        RealDisk.lock(path)
    }
    fn volume_bytes(&self, path: &Path) -> io::Result<(u64, u64)> {
        RealDisk.volume_bytes(path)
    }
}
