//! Memory for reads, used again and again.
//!
//! Fresh memory costs a page fault for every page and memory of another read costs nothing, which
//! is half of the price of a read from the page cache. A few buffers wait for the next read;
//! what is larger than them or much smaller comes from the allocator.

use std::sync::{Mutex, PoisonError};

/// A buffer that is kept: what one partition gives to one fetch, and what is read beside it.
const KEPT_BYTES: usize = (1 << 20) + (16 << 10);
/// Reads below this take memory of their own size.
const SMALL_BYTES: usize = 64 << 10;
/// Buffers that wait at most: those of two answers of six partitions each, and a few.
const KEPT_MAX: usize = 16;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Memory that goes back to where it came from.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    memory: Vec<u8>,
    bytes: usize,
}

impl ReadBuffer {
    /// A buffer of so many bytes, which may hold anything.
    pub fn new(bytes: usize) -> Self {
        let is_kept = (SMALL_BYTES..=KEPT_BYTES).contains(&bytes);
        let kept = if is_kept { lock().pop() } else { None };
        let size = if is_kept { KEPT_BYTES } else { bytes };
        Self { memory: kept.unwrap_or_else(|| vec![0; size]), bytes }
    }

    /// Leaves out what is behind the first `bytes` bytes.
    pub fn truncate(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
    }

    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.bytes]
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.bytes]
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        if self.memory.len() == KEPT_BYTES {
            let mut kept = lock();
            if kept.len() < KEPT_MAX {
                kept.push(std::mem::take(&mut self.memory));
            }
        }
    }
}

/// The buffers hold nothing that a panic could have left half done.
fn lock() -> std::sync::MutexGuard<'static, Vec<Vec<u8>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_size_asked_for_whatever_it_was_before() {
        for bytes in [0, 1, SMALL_BYTES, KEPT_BYTES - 1, KEPT_BYTES, KEPT_BYTES + 1, SMALL_BYTES] {
            let mut buffer = ReadBuffer::new(bytes);
            assert_eq!((buffer.as_mut().len(), buffer.as_ref().len()), (bytes, bytes));
        }
    }

    #[test]
    fn few_buffers_wait() {
        let many: Vec<_> = (0..4 * KEPT_MAX).map(|_| ReadBuffer::new(SMALL_BYTES)).collect();
        drop(many);
        assert!(lock().len() <= KEPT_MAX);
    }
}
