//! Who is too slow: a transfer that has begun must move a least number of bytes in each window.
//!
//! A mere "some progress" rule would let one byte in 29 seconds hold memory for hours. Where memory
//! is short there is no time for a window: a transfer must not rest at all ([`REST_MAX`]).

use std::time::Duration;

use tokio::time::Instant;

/// The length of a window.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);
/// Bytes per window (4 KiB/s); whoever has less than that left must finish within the window.
pub(crate) const BYTES_PER_WINDOW: usize = 120 << 10;
/// How long nothing may move while the node's budget is spent. The kernel reports room only once
/// much of its buffer is free, hence a reader of some 200 KB/s must still come out as moving.
pub(crate) const REST_MAX: Duration = Duration::from_secs(5);

/// The pace of one direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    window_ends: Option<Instant>,
    moved: usize,
    /// When something last moved, or the transfer began.
    moved_at: Option<Instant>,
}

impl Pace {
    /// Starts watching, or stops when nothing is under way.
    pub(crate) fn watch(&mut self, under_way: bool, now: Instant) {
        if !under_way {
            *self = Self::default();
        } else if self.window_ends.is_none() {
            *self = Self { window_ends: Some(now + WINDOW), moved: 0, moved_at: Some(now) };
        }
    }

    /// A new transfer begins right behind the old one.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn moved(&mut self, bytes: usize, now: Instant) {
        self.moved += bytes;
        // Before the first look nothing is watched; the watch then begins with its own time.
        self.moved_at = self.moved_at.map(|_| now);
    }

    /// Since when nothing has moved of what is under way.
    pub(crate) fn rests_since(&self) -> Option<Instant> {
        self.moved_at
    }

    /// Whether the window ended with too little; otherwise the next window begins.
    pub(crate) fn is_stalled(&mut self, now: Instant) -> bool {
        let ended = self.window_ends.is_some_and(|end| end <= now);
        if ended && self.moved >= BYTES_PER_WINDOW {
            self.window_ends = Some(now + WINDOW);
            self.moved = 0;
            return false;
        }
        ended
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.window_ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_needs_its_bytes() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.watch(true, start);
        assert!(!pace.is_stalled(start + WINDOW / 2), "the window is open");
        pace.moved(BYTES_PER_WINDOW, start + WINDOW / 2);
        assert!(!pace.is_stalled(start + WINDOW), "enough moved");
        pace.moved(BYTES_PER_WINDOW - 1, start + WINDOW);
        assert!(pace.is_stalled(start + 2 * WINDOW), "bytes of the first window do not count");
    }

    #[test]
    fn a_rest_begins_with_the_last_byte() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.rests_since(), None);
        pace.watch(true, start);
        assert_eq!(pace.rests_since(), Some(start));
        pace.moved(1, start + REST_MAX);
        pace.watch(true, start + 2 * REST_MAX);
        assert_eq!(pace.rests_since(), Some(start + REST_MAX));
    }

    #[test]
    fn nothing_under_way_never_stalls() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.watch(true, start);
        pace.watch(false, start);
        assert!(!pace.is_stalled(start + 2 * WINDOW));
    }
}
