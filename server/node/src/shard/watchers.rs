//! Fetches that wait for a partition to grow.

use std::sync::Arc;

use tokio::sync::Notify;

/// Whom to wake when the partition's readable end moves.
///
/// Each connection brings one [`Notify`] of its own and may ask again and again; it is kept once.
/// Those whose connection is gone are dropped when the list would have to grow.
#[derive(Default)]
pub struct Watchers {
    waiting: Vec<Arc<Notify>>,
}

impl Watchers {
    /// Wakes `notify` at the next growth.
    pub fn add(&mut self, notify: &Arc<Notify>) {
        if self.waiting.iter().any(|known| Arc::ptr_eq(known, notify)) {
            return;
        }
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|known| Arc::strong_count(known) > 1);
        }
        self.waiting.push(Arc::clone(notify));
    }

    /// Whether anyone waits whose connection is still there.
    pub fn are_waiting(&self) -> bool {
        self.waiting.iter().any(|known| Arc::strong_count(known) > 1)
    }

    /// Wakes everyone who waits and forgets them.
    pub fn wake(&mut self) {
        for notify in self.waiting.drain(..) {
            notify.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_watchers_do_not_pile_up() {
        let mut watchers = Watchers::default();
        let alive = Arc::new(Notify::new());
        for _ in 0..10_000 {
            watchers.add(&Arc::new(Notify::new()));
            watchers.add(&alive);
        }
        assert!(watchers.waiting.len() <= 8, "{}", watchers.waiting.len());
    }
}
