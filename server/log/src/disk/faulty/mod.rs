//! The faulty twin of the real disk: files in memory, and all that a disk may do to them.
//!
//! It loses at a power cut what was not synced, wholly or in part; it dies in the middle of a
//! change; it fails calls; it is full; it corrupts what lies at rest. What it does depends on its
//! seed and on the calls alone, so that a run can be repeated. For tests, of other crates too.
//!
//! Not here: the calls of the traits (`calls`); what is in memory and what on the platters (`volume`).

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::{Millis, Rng};

use super::OpenMode;
use volume::{Entry, FileId, SECTOR_BYTES, Volume};

mod calls;
mod volume;

/// What a file system caches and corrupts as one.
const PAGE_BYTES: usize = 4096;
/// What the volume has, where nothing else is said.
const ROOM_BYTES: u64 = 1 << 40;
/// One change in so many is followed by some write-back.
const WRITE_BACK_EVERY: u32 = 6;

/// What of the unsynced is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// Nothing: the process was killed, the machine runs on. What was not synced stays unsynced.
    Process,
    /// All of it.
    Whole,
    /// Some sectors of 512 bytes, some lengths and some names, at random.
    Sectors,
    /// As [`Loss::Sectors`], with pages of 4 KiB.
    Pages,
}

/// What a call to the disk is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// Of a file that exists.
    Open,
    /// Of a file or directory that did not exist.
    Create,
    /// Of content.
    Read,
    /// Of content.
    Write,
    /// Of blocks that a file is to grow into.
    Reserve,
    /// A cut or an extension.
    SetLen,
    /// Of content.
    Sync,
    /// Of names.
    SyncDir,
    /// Of a file or directory.
    Rename,
    /// Of a file or directory.
    Remove,
    /// Of names.
    List,
}

/// Calls that fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which calls.
    pub op: Op,
    /// Of which files: those whose name ends so.
    pub name_end: String,
    /// How many of those succeed before.
    pub skip: u32,
    /// How many fail then; the following succeed again.
    pub times: u32,
    /// The operating system's number of the error.
    pub errno: i32,
}

/// Damage to what lies at rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Corruption {
    /// One bit, counted from the front of the file.
    FlipBit(u64),
    /// A page of 4 KiB, or what the file has of it.
    ZeroPage(u64),
    /// Two sectors change places.
    SwapSectors(u64, u64),
}

/// A disk that can do everything wrong. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    volume: Volume,
    changes: u64,
    cached_reads: u32,
    dies_at: Option<u64>,
    is_dead: bool,
    /// Counts crashes: files that were opened before one are closed.
    era: u64,
    room: u64,
    has_short_writes: bool,
    faults: Vec<Fault>,
    locked: BTreeSet<PathBuf>,
}

impl FaultyDisk {
    /// An empty disk that does nothing wrong until it is told to.
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: Rng::new(seed),
            volume: Volume::new(),
            changes: 0,
            cached_reads: 0,
            dies_at: None,
            is_dead: false,
            era: 0,
            room: ROOM_BYTES,
            has_short_writes: false,
            faults: Vec::new(),
            locked: BTreeSet::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes so far: creations, writes, cuts, syncs, renames, removals.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Lets the machine die in the middle of the change that comes after `count` more. From then on
    /// every call fails until [`FaultyDisk::crash`].
    pub fn die_after(&self, count: u64) {
        let mut state = self.state();
        state.dies_at = Some(state.changes + count);
    }

    /// Whether the machine has died.
    pub fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// Ends the process or cuts the power, and starts anew: files that are open fail from now on,
    /// locks are gone, and so are orders to die or to fail.
    pub fn crash(&self, loss: Loss) {
        let mut state = self.state();
        let State { rng, volume, .. } = &mut *state;
        match loss {
            Loss::Process | Loss::Whole => {}
            Loss::Sectors => volume.write_back(rng, 1),
            Loss::Pages => volume.write_back(rng, PAGE_BYTES / SECTOR_BYTES),
        }
        if loss != Loss::Process {
            volume.lose_cached();
        }
        state.era += 1;
        state.is_dead = false;
        state.dies_at = None;
        state.has_short_writes = false;
        state.faults.clear();
        state.locked.clear();
    }

    /// Lets calls fail.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Lets no call fail any more.
    pub fn repair(&self) {
        self.state().faults.clear();
    }

    /// Room for so many more bytes, whatever is removed.
    pub fn set_room(&self, bytes: u64) {
        self.state().room = bytes;
    }

    /// Lets writes take less than they are given, at random.
    pub fn set_short_writes(&self, are_short: bool) {
        self.state().has_short_writes = are_short;
    }

    /// Damages a file, in memory and on the platters.
    ///
    /// # Errors
    /// If there is no such file, or it does not reach there.
    pub fn corrupt(&self, path: &Path, corruption: Corruption) -> io::Result<()> {
        let mut state = self.state();
        let Some(Entry::File(id)) = state.volume.find(path) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let content = state.volume.file(id);
        let damaged = damage(&mut content.cached, corruption);
        // What is not there yet cannot rot.
        _ = damage(&mut content.stable, corruption);
        damaged.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn damage(bytes: &mut [u8], corruption: Corruption) -> Option<()> {
    let at = |unit: u64, size: usize| usize::try_from(unit).ok()?.checked_mul(size);
    match corruption {
        Corruption::FlipBit(bit) => *bytes.get_mut(at(bit / 8, 1)?)? ^= 1 << (bit % 8),
        Corruption::ZeroPage(page) => {
            let begin = at(page, PAGE_BYTES)?;
            let end = (begin + PAGE_BYTES).min(bytes.len());
            bytes.get_mut(begin..end).filter(|page| !page.is_empty())?.fill(0);
        }
        Corruption::SwapSectors(one, other) => {
            let (one, other) = (at(one, SECTOR_BYTES)?, at(other, SECTOR_BYTES)?);
            for skip in 0..SECTOR_BYTES {
                if one.max(other) + skip >= bytes.len() {
                    return (skip > 0).then_some(());
                }
                bytes.swap(one + skip, other + skip);
            }
        }
    }
    Some(())
}

impl State {
    /// Lets a call go ahead, or fail.
    fn call(&mut self, op: Op, name: &Path) -> io::Result<()> {
        if self.is_dead {
            return Err(dead());
        }
        let name = name.to_string_lossy();
        let mut faults = self.faults.iter_mut();
        let fits = |fault: &&mut Fault| fault.op == op && name.ends_with(&fault.name_end);
        let Some(fault) = faults.find(fits) else { return Ok(()) };
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if fault.times > 0 {
            fault.times -= 1;
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        Ok(())
    }

    /// As [`State::call`], for what changes the disk. Where the machine dies of it, `change` may
    /// have been made all the same.
    fn change<T>(
        &mut self,
        op: Op,
        name: &Path,
        change: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        self.call(op, name)?;
        self.changes += 1;
        if self.dies_at.is_some_and(|at| self.changes > at) {
            self.is_dead = true;
            if op != Op::Sync && op != Op::SyncDir && self.rng.below(2) == 0 {
                change(self)?;
            }
            return Err(dead());
        }
        let done = change(self)?;
        if self.rng.below(WRITE_BACK_EVERY) == 0 {
            self.volume.write_back(&mut self.rng, 1);
        }
        Ok(done)
    }

    fn write(&mut self, id: FileId, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut taken = bytes.len();
        if self.has_short_writes && taken > 1 {
            taken = 1 + self.rng.below(u32::try_from(taken).unwrap_or(u32::MAX)) as usize;
        }
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let content = self.volume.file(id);
        let held = content.cached.len().max(content.reserved);
        let growth = (at + taken).saturating_sub(held);
        taken -= growth.saturating_sub(room).min(taken);
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let growth = (at + taken).saturating_sub(held);
        content.write(&bytes[..taken], at);
        content.modified = Millis::ZERO;
        self.room -= growth as u64;
        Ok(taken)
    }

    /// Takes room for a file up to `end`.
    fn reserve(&mut self, id: FileId, end: usize) -> io::Result<()> {
        let content = self.volume.file(id);
        let growth = end.saturating_sub(content.cached.len().max(content.reserved)) as u64;
        if growth > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.reserved = content.reserved.max(end);
        self.room -= growth;
        Ok(())
    }

    /// Cuts or extends a file; what was reserved behind its former end goes.
    fn set_len(&mut self, id: FileId, bytes: usize) {
        let content = self.volume.file(id);
        let reserved = std::mem::take(&mut content.reserved);
        self.room += reserved.saturating_sub(content.cached.len()) as u64;
        content.set_len(bytes);
        content.modified = Millis::ZERO;
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<FileId> {
        match self.volume.find(path) {
            Some(Entry::File(id)) => {
                self.call(Op::Open, path)?;
                Ok(id)
            }
            Some(Entry::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None if mode == OpenMode::Create => {
                self.change(Op::Create, path, |state| state.volume.create_file(path))
            }
            None => {
                self.call(Op::Open, path)?;
                Err(io::ErrorKind::NotFound.into())
            }
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the machine is off")
}

#[cfg(test)]
mod tests;
