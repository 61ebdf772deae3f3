//! What offset and time index files have in common: entries of one size, rising, searched by halves.

use std::io;

use crate::disk::DiskFile;

/// How a file may be read: waiting for the device, or only what is in memory.
pub(crate) type ReadAt = fn(&dyn DiskFile, &mut [u8], u64) -> io::Result<usize>;

/// The last of the `count` entries for which `is_before` holds; it must hold for a prefix of them.
pub(crate) fn last_entry_where<const N: usize>(
    file: &dyn DiskFile,
    count: u64,
    read_at: ReadAt,
    is_before: impl Fn(&[u8; N]) -> bool,
) -> io::Result<Option<[u8; N]>> {
    let (mut low, mut high) = (0, count);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let mut entry = [0; N];
        if read_at(file, &mut entry, middle * N as u64)? < N {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if is_before(&entry) {
            found = Some(entry);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}
