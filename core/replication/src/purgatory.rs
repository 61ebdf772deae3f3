//! Who waits for the high watermark. Waiting is state: entries in a queue, not sleeping tasks.

use std::collections::VecDeque;

use types::Offset;

/// Replies that may leave once the log is committed up to their offset.
///
/// Appends get growing offsets, so entries arrive in order and both ends are cheap.
#[derive(Debug)]
pub struct Purgatory<T> {
    parked: VecDeque<(Offset, T)>,
}

impl<T> Default for Purgatory<T> {
    fn default() -> Self {
        Self { parked: VecDeque::new() }
    }
}

impl<T> Purgatory<T> {
    /// Keeps `waiter` until the high watermark reaches `required`, the end offset of its append.
    pub fn park(&mut self, required: Offset, waiter: T) {
        let at = self.parked.partition_point(|(offset, _)| *offset <= required);
        self.parked.insert(at, (required, waiter));
    }

    /// Takes out, in order, the waiters whose offset is committed at `high_watermark`.
    pub fn pass(&mut self, high_watermark: Offset) -> impl Iterator<Item = T> {
        let count = self.parked.partition_point(|(offset, _)| *offset <= high_watermark);
        self.parked.drain(..count).map(|(_, waiter)| waiter)
    }

    /// Takes out every waiter: the partition is going away or has failed.
    pub fn abandon(&mut self) -> impl Iterator<Item = T> {
        self.parked.drain(..).map(|(_, waiter)| waiter)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_pass_in_order_at_their_offset() {
        let mut purgatory = Purgatory::default();
        for (required, name) in [(5, "b"), (3, "a"), (5, "c"), (9, "d")] {
            purgatory.park(Offset::new(required), name);
        }
        assert_eq!(purgatory.pass(Offset::new(2)).count(), 0);
        assert_eq!(purgatory.pass(Offset::new(5)).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(purgatory.abandon().collect::<Vec<_>>(), ["d"]);
        assert!(purgatory.is_empty());
    }
}
