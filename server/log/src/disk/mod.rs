//! The seam to the file system: everything that a log does to files goes through these two traits.
//!
//! [`RealDisk`] is the operating system. [`FaultyDisk`] is its twin for tests: it loses, tears and
//! corrupts what was not synced. Calls block unless they say otherwise.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use types::Millis;

mod faulty;
mod files;
mod memory;
mod real;

pub use faulty::{Corruption, Fault, FaultyDisk, Loss, Op};
pub use real::RealDisk;

pub(crate) use memory::MemoryFile;

#[cfg(test)]
pub(crate) use files::read_file;
pub(crate) use files::{
    LARGE_BYTES, fill, read_file_if_exists, read_full_at, read_full_cached_at, read_full_direct_at,
    remove_if_exists, with_suffix, write_all_at, write_file, write_file_atomically,
};

/// An open file. Positions are explicit, so that threads can share it.
pub trait DiskFile: Debug + Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads at `at`; fewer bytes than asked for mean the end of the file or a signal.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
    /// Reads what is in memory already, and fails with `WouldBlock` where the device is needed.
    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
    /// As [`DiskFile::read_at`] for bytes that nobody is expected to read again: what was not in
    /// memory before does not stay there, so that it drives nothing out that others need.
    fn read_once_at(&self, into: &mut [u8], at: u64) -> io::Result<Once> {
        let bytes = self.read_at(into, at)?;
        Ok(Once { bytes, was_cached: true })
    }
    /// As [`DiskFile::read_at`] past the page cache, where that can be done: what is read so leaves
    /// memory to others, and costs the kernel no page.
    fn read_direct_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_at(into, at)
    }
    /// What memory holds of these bytes of the file may leave it, unless it is still to be written:
    /// nobody is expected to read it soon, or the device is to say what it has.
    fn drop_cached(&self, _bytes: Range<u64>) {}
    /// Writes some of `parts` at `at` and says how many bytes it took.
    fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize>;
    /// Asks for blocks for `bytes` from `at` on, without making the file longer. Only a hint: where
    /// it is not followed, writing costs more.
    fn reserve(&self, _at: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
    /// Cuts or extends the file; what was reserved behind the end goes.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Forces content and length onto stable storage (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Sets when the content changed last, in wall time.
    fn set_modified(&self, at: Millis) -> io::Result<()>;
}

/// What [`DiskFile::read_once_at`] has read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Once {
    /// How much it is; 0 at the end of the file.
    pub bytes: usize,
    /// Whether it was in memory before.
    pub was_cached: bool,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenMode {
    /// It must exist; reading only.
    Read,
    /// It must exist; reading and writing.
    Write,
    /// It is made where it is missing; reading and writing.
    Create,
}

/// One entry of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirEntry {
    /// Name without the directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
    /// Length in bytes.
    pub bytes: u64,
    /// When its content changed last, in wall time.
    pub modified: Millis,
}

/// Held as long as no other process may use the directory.
pub trait DirLock: Debug + Send + Sync {}

/// The volume that holds a directory, kept open so that no failed write-back goes unseen.
pub trait DiskVolume: Debug + Send + Sync {
    /// Forces everything that was done to it onto stable storage, whoever did it (`syncfs`).
    fn sync(&self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file or directory another name, replacing a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it; one that exists is fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// What a directory holds, in no order. Names that are not UTF-8 are left out: no log has one.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Forces the names in a directory onto stable storage.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Locks a file against other processes; `None` where another one holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>>;
    /// The volume that holds a directory, where it can be synced as a whole.
    fn volume(&self, _dir: &Path) -> io::Result<Box<dyn DiskVolume>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Bytes of the volume that holds `path`: all of them, and those that this user may still use.
    fn volume_bytes(&self, path: &Path) -> io::Result<(u64, u64)>;
}
