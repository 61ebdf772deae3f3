//! The newest batches of a log in memory, for readers at its end.
//!
//! They are the very bytes that were checked, stamped and written, in the buffers in which they
//! were received: serving them takes neither the file nor a look at their CRC. Small ones are
//! copied, since a slice of a large buffer would keep all of it in memory.
//!
//! Nothing is kept for a log until somebody has read up to its end, and nothing any more once more
//! was appended than is kept without anybody reading it. All logs of the process share one budget.
//!
//! Not here: when what is kept does not hold any more (`Log` clears its hints then).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use records::{BatchHeader, split_batches};
use types::Offset;

/// Memory that the newest batches of all logs may keep from being used for other things.
const BYTES_MAX: usize = 64 << 20;
/// Batches kept of one log: two fetches of the size that consumers ask for by default.
const LOG_BYTES_MAX: usize = 2 << 20;
/// A slice stays where it is if the memory that it holds is at most so many times as large.
const SHARE: usize = 4;
/// Batches below this are copied into one piece for an answer.
const SMALL_BYTES: usize = 4 << 10;
/// What a kept batch takes beside its bytes, roughly.
const ENTRY_BYTES: usize = 128;

static BUDGET: Budget = Budget::new(BYTES_MAX);

/// Memory that may be held, and how much of it is.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    used: AtomicUsize,
}

impl Budget {
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: AtomicUsize::new(0) }
    }

    fn take(&'static self, bytes: usize) -> Option<Held> {
        let held = Held { budget: self, bytes };
        // Counted before it is looked at: what is too much goes back with `held`.
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= self.bytes_max).then_some(held)
    }
}

/// A part of the budget. Dropping it gives it back.
#[derive(Debug)]
struct Held {
    budget: &'static Budget,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Batches as they were received.
#[derive(Debug)]
pub struct Received {
    /// The batches one behind the other.
    pub batches: BytesMut,
    /// The memory that stays in use as long as they do: theirs, or more where they share a buffer
    /// with others.
    pub memory_bytes: usize,
}

impl From<BytesMut> for Received {
    fn from(batches: BytesMut) -> Self {
        Self { memory_bytes: batches.capacity(), batches }
    }
}

/// Whole batches from memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecentBatches {
    /// The batches in pieces, one behind the other.
    pub pieces: Vec<Bytes>,
    /// Offset behind the last batch: where a reader goes on.
    pub next_offset: Offset,
}

/// The newest batches of one log.
#[derive(Debug)]
pub(crate) struct Recent {
    budget: &'static Budget,
    /// In the file, without a gap, the oldest first.
    batches: VecDeque<Kept>,
    /// Behind them, not yet written.
    staged: Vec<Kept>,
    bytes: usize,
    /// Appended since somebody has read at the end.
    unread_bytes: usize,
    is_wanted: bool,
    /// Whether anything came since [`Recent::age`].
    is_fresh: bool,
}

#[derive(Debug)]
struct Kept {
    offsets: Range<Offset>,
    bytes: Bytes,
    _held: Held,
}

impl Default for Recent {
    fn default() -> Self {
        Self::within(&BUDGET)
    }
}

impl Recent {
    pub fn within(budget: &'static Budget) -> Self {
        Self {
            budget,
            batches: VecDeque::new(),
            staged: Vec::new(),
            bytes: 0,
            unread_bytes: 0,
            is_wanted: false,
            is_fresh: false,
        }
    }

    /// Somebody has read all there is and will come again.
    pub fn want(&mut self) {
        self.is_wanted = true;
        self.unread_bytes = 0;
    }

    /// Keeps batches that are about to be written; see [`Received`].
    pub fn stage(&mut self, batches: &Bytes, memory_bytes: usize) {
        if !self.is_wanted {
            return;
        }
        self.unread_bytes += batches.len();
        if self.unread_bytes > LOG_BYTES_MAX {
            self.clear();
            return;
        }
        self.is_fresh = true;
        for cut in split_batches(batches) {
            let Ok((range, header)) = cut else { return self.forget() };
            self.stage_one(batches.slice(range), &header, memory_bytes);
        }
    }

    fn stage_one(&mut self, batch: Bytes, header: &BatchHeader, memory_bytes: usize) {
        let offsets = header.base_offset()..header.next_offset();
        let end = self.staged.last().or(self.batches.back()).map(|kept| kept.offsets.end);
        if end.is_some_and(|end| end != offsets.start) {
            self.forget();
        }
        let bytes = batch.len();
        let stays = bytes * SHARE >= memory_bytes;
        let memory = if stays { memory_bytes.max(bytes) } else { bytes } + ENTRY_BYTES;
        let held = loop {
            let fits = self.bytes + bytes <= LOG_BYTES_MAX;
            if fits && let Some(held) = self.budget.take(memory) {
                break held;
            }
            if !self.drop_oldest() {
                // What comes next would not follow what is there.
                return self.forget();
            }
        };
        let batch = if stays { batch } else { Bytes::copy_from_slice(&batch) };
        self.bytes += bytes;
        self.staged.push(Kept { offsets, bytes: batch, _held: held });
    }

    /// What was staged is in the file now.
    pub fn written(&mut self) {
        self.batches.extend(self.staged.drain(..));
    }

    /// The batches from the one that holds `from` on, if they are kept; see [`crate::Log::read`].
    pub fn find(&mut self, from: Offset, bytes_max: usize, until: Offset) -> Option<RecentBatches> {
        let oldest = self.batches.front()?;
        if from < oldest.offsets.start {
            return None;
        }
        let first = self.batches.partition_point(|kept| kept.offsets.end <= from);
        let mut bytes = 0;
        let taken = self.batches.range(first..).take_while(|kept| {
            bytes += kept.bytes.len();
            bytes <= bytes_max && kept.offsets.end <= until
        });
        let mut next_offset = from;
        let taken = taken.inspect(|kept| next_offset = kept.offsets.end);
        let pieces = join_small(taken.map(|kept| &kept.bytes));
        if pieces.is_empty() {
            return None;
        }
        self.unread_bytes = 0;
        Some(RecentBatches { pieces, next_offset })
    }

    /// Gives the memory back if nothing came since the last call.
    pub fn age(&mut self) {
        if !std::mem::take(&mut self.is_fresh) {
            self.forget();
        }
    }

    /// Keeps nothing until somebody reads at the end again.
    pub fn clear(&mut self) {
        *self = Self::within(self.budget);
    }

    fn forget(&mut self) {
        *self = Self { is_wanted: self.is_wanted, ..Self::within(self.budget) };
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.batches.pop_front();
        self.bytes -= oldest.as_ref().map_or(0, |kept| kept.bytes.len());
        oldest.is_some()
    }
}

/// The batches in as few pieces as is worth it: one of a few bytes costs more than its copy.
fn join_small<'a>(batches: impl Iterator<Item = &'a Bytes>) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut open = BytesMut::new();
    for batch in batches {
        if batch.len() < SMALL_BYTES {
            open.extend_from_slice(batch);
            continue;
        }
        if !open.is_empty() {
            pieces.push(open.split().freeze());
        }
        pieces.push(batch.clone());
    }
    if !open.is_empty() {
        pieces.push(open.freeze());
    }
    pieces
}

#[cfg(test)]
mod tests;
