//! The calls of a log to its faulty disk.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use types::Millis;

use super::volume::{Entry, FileId};
use super::{FaultyDisk, Op, ROOM_BYTES, State, dead};
use crate::disk::{DirEntry, DirLock, Disk, DiskFile, DiskVolume, OpenMode};

/// One read in so many finds nothing in memory.
const COLD_READ_EVERY: u32 = 8;

/// An open file. It is of no use after a crash.
#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    id: FileId,
    era: u64,
    is_writable: bool,
}

impl FaultyFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.era == self.era { Ok(state) } else { Err(dead()) }
    }

    fn change<T>(&self, op: Op, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        if !self.is_writable && op != Op::Sync {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.state()?.change(op, &self.path, change)
    }

    fn read(&self, state: &mut State, into: &mut [u8], at: u64) -> io::Result<usize> {
        state.call(Op::Read, &self.path)?;
        let content = &state.volume.file(self.id).cached;
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
        let bytes = into.len().min(content.len() - at);
        into[..bytes].copy_from_slice(&content[at..at + bytes]);
        Ok(bytes)
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state()?;
        state.call(Op::Read, &self.path)?;
        Ok(state.volume.file(self.id).cached.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        self.read(&mut state, into, at)
    }

    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        // Counted, not drawn: how much is read must not change what a crash loses.
        state.cached_reads += 1;
        if state.cached_reads.is_multiple_of(COLD_READ_EVERY) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read(&mut state, into, at)
    }

    fn drop_cached(&self, bytes: Range<u64>) {
        if let Ok(mut state) = self.state() {
            state.volume.file(self.id).drop_clean(bytes);
        }
    }

    fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.change(Op::Write, |state| state.write(self.id, parts, at))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.change(Op::SetLen, |state| {
            state.set_len(self.id, bytes);
            Ok(())
        })
    }

    fn reserve(&self, at: u64, bytes: u64) -> io::Result<()> {
        let end = usize::try_from(at + bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.change(Op::Reserve, |state| state.reserve(self.id, end))
    }

    fn set_modified(&self, at: Millis) -> io::Result<()> {
        self.state()?.volume.file(self.id).modified = at;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.change(Op::Sync, |state| {
            state.volume.file(self.id).sync();
            Ok(())
        });
        if synced.is_err() {
            let mut state = self.state()?;
            let State { rng, volume, is_dead, .. } = &mut *state;
            let content = volume.file(self.id);
            content.write_back(rng, 1);
            if !*is_dead {
                // As Linux has it: the pages that were not written count as clean from now on.
                content.forget_dirty();
            }
        }
        synced
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let id = state.open(path, mode)?;
        let (disk, path, era) = (self.clone(), path.to_owned(), state.era);
        Ok(Arc::new(FaultyFile { disk, path, id, era, is_writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().change(Op::Rename, to, |state| state.volume.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state().change(Op::Remove, path, |state| state.volume.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state().change(Op::Remove, path, |state| state.volume.remove_dirs(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if let Some(Entry::Dir(_)) = state.volume.find(path) {
            return state.call(Op::Open, path);
        }
        state.change(Op::Create, path, |state| state.volume.create_dirs(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.state();
        state.call(Op::List, dir)?;
        let entries = state.volume.list(dir)?.into_iter().map(|(name, entry)| {
            let (bytes, modified) = state.volume.facts(entry);
            DirEntry { name, is_dir: matches!(entry, Entry::Dir(_)), bytes, modified }
        });
        Ok(entries.collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state().change(Op::SyncDir, dir, |state| state.volume.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let mut state = self.state();
        state.open(path, OpenMode::Create)?;
        let (disk, era) = (self.clone(), state.era);
        let is_free = state.locked.insert(path.to_owned());
        let lock = || Box::new(FaultyLock { disk, path: path.to_owned(), era }) as Box<dyn DirLock>;
        Ok(is_free.then(lock))
    }

    fn volume(&self, dir: &Path) -> io::Result<Box<dyn DiskVolume>> {
        Ok(Box::new(FaultyVolume { disk: self.clone(), dir: dir.to_owned() }))
    }

    fn volume_bytes(&self, _path: &Path) -> io::Result<(u64, u64)> {
        Ok((ROOM_BYTES, self.state().room))
    }
}

#[derive(Debug)]
struct FaultyVolume {
    disk: FaultyDisk,
    dir: PathBuf,
}

impl DiskVolume for FaultyVolume {
    fn sync(&self) -> io::Result<()> {
        self.disk.state().change(Op::Sync, &self.dir, |state| {
            state.volume.sync_all();
            Ok(())
        })
    }
}

#[derive(Debug)]
struct FaultyLock {
    disk: FaultyDisk,
    path: PathBuf,
    era: u64,
}

impl DirLock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.era == self.era {
            state.locked.remove(&self.path);
        }
    }
}
