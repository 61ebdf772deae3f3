//! Batches that leave the log unread: a stretch of a file that the kernel sends from its page cache.
//!
//! Sending a stretch costs no copy into this process and no look at the bytes. It is for readers
//! that go through a log in order and take much at a time. Where anything is out of the ordinary,
//! [`Log::slice`] has nothing and [`Log::read`] serves: little to send, a reader that has just
//! come, the high watermark in between, a page that is not in memory.

use std::fs::File;
use std::sync::Arc;

use records::{BatchHeader, HEADER_BYTES};
use types::Offset;

use crate::Log;
use crate::disk::{DiskFile, read_full_cached_at};
use crate::error::ReadError;
use crate::offset_index;
use crate::read::Place;

/// Less than this is read and copied: the socket then takes it together with what is around it.
const SLICE_BYTES_MIN: usize = 64 << 10;
/// Distance of the pages that are probed. The kernel reads ahead and evicts in stretches, too.
const PROBE_BYTES: usize = 64 << 10;

/// Whole batches where they lie.
#[derive(Clone, Debug)]
pub struct FileSlice {
    /// The file. It stays readable when the log drops the segment.
    pub file: Arc<File>,
    /// Where the batches begin.
    pub position: u64,
    /// How long they are.
    pub bytes: usize,
    /// Offset behind the last batch: where a reader goes on.
    pub next_offset: Offset,
}

impl Log {
    /// As [`Log::read`], without reading; `None` where a read must serve.
    ///
    /// # Errors
    /// [`ReadError::Log`] where staged batches cannot be written or a file cannot be opened.
    pub fn slice(
        &mut self,
        from: Offset,
        bytes_max: usize,
        until: Offset,
    ) -> Result<Option<FileSlice>, ReadError> {
        self.flush_for_read()?;
        if bytes_max < SLICE_BYTES_MIN || from < self.start || from >= self.written_end().min(until)
        {
            return Ok(None);
        }
        let at = self.segment_of(from);
        let segment = self.closed.get(at).map_or(self.active.base, |segment| segment.base);
        let known = self.hints.find(from, segment);
        let Some(position) = known.or((from == segment).then_some(0)) else { return Ok(None) };
        let (file, limit) = self.file_of(at)?;
        if limit.saturating_sub(position) < SLICE_BYTES_MIN as u64 {
            return Ok(None);
        }
        let Some(system_file) = file.system_file() else { return Ok(None) };
        let Some((end, next_offset)) = self.end_of_slice(at, position, bytes_max, until)? else {
            return Ok(None);
        };
        let bytes = usize::try_from(end.saturating_sub(position)).unwrap_or(0);
        let begins = header_at(file.as_ref(), position)
            .is_some_and(|first| first.base_offset() <= from && from <= first.last_offset());
        if bytes < SLICE_BYTES_MIN || !begins || !is_cached(file.as_ref(), position, end) {
            return Ok(None);
        }
        self.hints.note(from, Place { offset: next_offset, segment, position: end });
        Ok(Some(FileSlice { file: system_file, position, bytes, next_offset }))
    }

    /// A segment's file and how much of it holds batches; the active segment comes last.
    fn file_of(&mut self, at: usize) -> Result<(Arc<dyn DiskFile>, u64), ReadError> {
        match self.closed.get_mut(at) {
            Some(segment) => {
                let file = segment.file(self.disk.as_ref(), &self.dir)?;
                Ok((Arc::clone(file), segment.bytes))
            }
            None => Ok((Arc::clone(&self.active.file), self.written_bytes())),
        }
    }

    /// The last border of batches within `bytes_max` and not past `until`, and the offset there.
    fn end_of_slice(
        &mut self,
        at: usize,
        position: u64,
        bytes_max: usize,
        until: Offset,
    ) -> Result<Option<(u64, Offset)>, ReadError> {
        let (file, limit) = self.file_of(at)?;
        let reach = position.saturating_add(bytes_max as u64);
        if limit <= reach {
            let behind = match self.closed.get(at + 1) {
                Some(next) => next.base,
                None if at < self.closed.len() => self.active.base,
                None => self.written_end(),
            };
            if behind <= until {
                return Ok(Some((limit, behind)));
            }
        }
        let border = match self.closed.get_mut(at) {
            Some(segment) => {
                let (index, bytes) = segment.offset_index(self.disk.as_ref(), &self.dir)?;
                let found = offset_index::border_in_file(
                    index.as_ref(),
                    *bytes,
                    reach,
                    read_full_cached_at,
                );
                // Not in memory, most likely: the read finds out what it is.
                found.unwrap_or(None)
            }
            None => self.active.offset_index.border(reach),
        };
        // The entry only says where to look; the batch there says which offset it begins with.
        let border = border.map(u64::from).filter(|border| (position..limit).contains(border));
        Ok(border.and_then(|border| {
            let next_offset = header_at(file.as_ref(), border)?.base_offset();
            (next_offset <= until).then_some((border, next_offset))
        }))
    }
}

fn header_at(file: &dyn DiskFile, position: u64) -> Option<BatchHeader> {
    let mut header = [0; HEADER_BYTES];
    let bytes = read_full_cached_at(file, &mut header, position).ok()?;
    BatchHeader::parse(&header[..bytes]).ok()
}

/// Whether the kernel will hardly have to wait for the device.
fn is_cached(file: &dyn DiskFile, position: u64, end: u64) -> bool {
    let probes = (position..end).step_by(PROBE_BYTES).chain([end - 1]);
    let mut byte = [0];
    probes.into_iter().all(|at| file.read_cached_at(&mut byte, at).is_ok_and(|bytes| bytes == 1))
}

#[cfg(test)]
mod tests;
