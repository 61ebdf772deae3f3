//! What the log does with whole files: reading and writing all of one, replacing one for good.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, OpenMode};
use crate::error::sync_fault;

/// So much at once is worth doing without the kernel's reading ahead.
pub(crate) const LARGE_BYTES: usize = 256 << 10;
/// What Linux accepts in one vectored call.
const IO_SLICES_MAX: usize = 1024;

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

/// As [`read_full_at`], past the page cache where much is read.
pub(crate) fn read_full_direct_at(
    file: &dyn DiskFile,
    into: &mut [u8],
    at: u64,
) -> io::Result<usize> {
    if into.len() < LARGE_BYTES {
        return read_full_at(file, into, at);
    }
    fill(into, at, |rest, at| file.read_direct_at(rest, at))
}

/// Fills `into` from `at` by as many calls of `read` as it takes.
pub(crate) fn fill(
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
    file.sync_data().map_err(sync_fault)?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("/"))).map_err(sync_fault)
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
    use crate::disk::RealDisk;

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
    fn reading_once_gives_what_is_there_wherever_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
        let file = write_file(&RealDisk, &path, &content).unwrap();
        let mut read = vec![0; 300_000];
        for at in [0, 500_000, 900_000, 1 << 20] {
            file.sync_data().unwrap();
            file.drop_cached(0..u64::MAX);
            let filled = fill(&mut read, at, |into, at| Ok(file.read_once_at(into, at)?.bytes));
            let behind = &content[at as usize..];
            assert_eq!(read[..filled.unwrap()], behind[..behind.len().min(read.len())]);
        }
    }

    #[test]
    fn reading_past_the_page_cache_gives_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 << 20).map(|n| (n % 251) as u8).collect();
        let file = write_file(&RealDisk, &dir.path().join("f"), &content).unwrap();
        let sizes = [LARGE_BYTES, LARGE_BYTES + 1, 1 << 20, (1 << 20) + 5000, 2 << 20];
        for (size, at) in sizes.into_iter().flat_map(|size| {
            [0, 1, 4095, 4096, 1_000_001, (3 << 20) - 100, 3 << 20, 4 << 20].map(|at| (size, at))
        }) {
            let mut read = vec![0; size];
            let bytes = read_full_direct_at(file.as_ref(), &mut read, at as u64).unwrap();
            let expected = &content
                [at.min(content.len())..(at + size).min(content.len()).max(at.min(content.len()))];
            assert!(read[..bytes] == *expected, "{size} bytes at {at}: {bytes}");
        }
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
