//! The seam to the file system: everything that a log does to files goes through these two traits.
//!
//! [`RealDisk`] is the operating system. Tests put a disk in its place that loses, tears or
//! corrupts what was not synced. Calls block unless they say otherwise.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rustix::fs::FlockOperation;
use rustix::io::ReadWriteFlags;
use types::Millis;

/// What Linux accepts in one vectored call.
const IO_SLICES_MAX: usize = 1024;

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
    /// Writes some of `parts` at `at` and says how many bytes it took.
    fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize>;
    /// Cuts or extends the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Forces content and length onto stable storage (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// The operating system's file, where there is one that it may send by itself.
    fn system_file(&self) -> Option<Arc<File>> {
        None
    }
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
    /// Bytes of the volume that holds `path`: all of them, and those that this user may still use.
    fn volume_bytes(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create(mode == OpenMode::Create);
        Ok(Arc::new(RealFile(Arc::new(options.open(path)?))))
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

    fn volume_bytes(&self, path: &Path) -> io::Result<(u64, u64)> {
        let facts = rustix::fs::statvfs(path)?;
        Ok((facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize))
    }
}

/// The lock ends when the file is closed.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DirLock for RealLock {}

#[derive(Debug)]
struct RealFile(Arc<File>);

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

    fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, parts, at)?)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn system_file(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.0))
    }
}

/// Fills `into` from `at`, fewer bytes only where the file ends.
pub(crate) fn read_full_at(file: &dyn DiskFile, into: &mut [u8], at: u64) -> io::Result<usize> {
    fill(into, at, |rest, at| file.read_at(rest, at))
}

/// As [`read_full_at`], without waiting for the device.
pub(crate) fn read_full_cached_at(
    file: &dyn DiskFile,
    into: &mut [u8],
    at: u64,
) -> io::Result<usize> {
    fill(into, at, |rest, at| file.read_cached_at(rest, at))
}

fn fill(
    into: &mut [u8],
    at: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match read(&mut into[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all of `parts` one behind the other from `at`, in as few calls as the system allows.
pub(crate) fn write_all_at<P: AsRef<[u8]>>(
    file: &dyn DiskFile,
    parts: &[P],
    mut at: u64,
) -> io::Result<()> {
    for group in parts.chunks(IO_SLICES_MAX) {
        let mut slices: Vec<IoSlice<'_>> =
            group.iter().map(|part| IoSlice::new(part.as_ref())).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match file.write_vectored_at(rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    at += bytes as u64;
                    IoSlice::advance_slices(&mut rest, bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// All of a small file.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let bytes = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut content = vec![0; bytes];
    let read = read_full_at(file.as_ref(), &mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

/// As [`read_file`], `None` where there is no such file.
pub(crate) fn read_file_if_exists(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_file(disk, path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file so that a crash leaves either the old or the new content: a synced temporary
/// file takes its name.
pub(crate) fn write_file_atomically(
    disk: &dyn Disk,
    path: &Path,
    content: &[u8],
) -> io::Result<()> {
    let temporary = with_suffix(path, ".tmp");
    let file = write_file(disk, &temporary, content)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Writes a whole file without syncing it.
pub(crate) fn write_file(
    disk: &dyn Disk,
    path: &Path,
    content: &[u8],
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.open(path, OpenMode::Create)?;
    file.set_len(0)?;
    write_all_at(file.as_ref(), &[content], 0)?;
    Ok(file)
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_exists(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path with `suffix` behind its last name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectored_writes_of_many_parts_arrive_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("f"), OpenMode::Create).unwrap();
        let parts: Vec<Vec<u8>> = (0..3000u32).map(|n| n.to_be_bytes().to_vec()).collect();
        write_all_at(file.as_ref(), &parts, 5).unwrap();
        let content = read_file(&RealDisk, &dir.path().join("f")).unwrap();
        assert_eq!(content[5..], parts.concat());
    }

    #[test]
    fn empty_parts_do_not_end_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("f"), OpenMode::Create).unwrap();
        write_all_at(file.as_ref(), &[&b""[..], b"a", b"", b"b", b""], 0).unwrap();
        assert_eq!(read_file(&RealDisk, &dir.path().join("f")).unwrap(), b"ab");
    }

    #[test]
    fn atomic_write_replaces_longer_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_file_atomically(&RealDisk, &path, b"long content").unwrap();
        write_file_atomically(&RealDisk, &path, b"short").unwrap();
        assert_eq!(read_file(&RealDisk, &path).unwrap(), b"short");
        assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 1);
    }
}
