//! A file that is not made yet: what it is to hold, for those who read it in the meantime.

use std::io;

use types::Millis;

use super::DiskFile;

/// Content in memory, for reading only.
#[derive(Debug, Default)]
pub(crate) struct MemoryFile(pub Vec<u8>);

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let rest = self.0.get(at..).unwrap_or_default();
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }

    fn read_cached_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_at(into, at)
    }

    fn write_vectored_at(&self, _parts: &[io::IoSlice<'_>], _at: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_len(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_modified(&self, _at: Millis) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
