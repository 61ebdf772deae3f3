//! What the members of all groups of this node may take in memory. They are kept for as long as their
//! sessions, half an hour at most, and need no connection: without a bound a client could have any
//! number of groups, each within its own bounds.
//!
//! Not here: what a member takes (`core/coordinator`).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Members of groups may take this much on the smallest machine: a few thousand of usual size.
const BYTES_MAX_AT_LEAST: usize = 16 << 20;

/// Bytes of all shards.
#[derive(Debug)]
pub struct GroupMemory {
    used: AtomicUsize,
    bytes_max: usize,
}

impl GroupMemory {
    /// As much as requests in flight may take.
    pub fn new(in_flight_bytes_max: usize) -> Self {
        let bytes_max = in_flight_bytes_max.max(BYTES_MAX_AT_LEAST);
        Self { used: AtomicUsize::new(0), bytes_max }
    }

    /// What members may take.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What of it is left. Shards that look at once may go beyond it by what each of them takes in.
    pub fn left(&self) -> usize {
        self.bytes_max.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

/// What one coordinator takes; given back when it goes.
#[derive(Debug)]
pub struct GroupShare {
    of: Arc<GroupMemory>,
    bytes: Cell<usize>,
}

impl GroupShare {
    /// Nothing yet.
    pub fn new(of: Arc<GroupMemory>) -> Self {
        Self { of, bytes: Cell::new(0) }
    }

    /// From now on it takes so much.
    pub fn set(&self, bytes: usize) {
        let before = self.bytes.replace(bytes);
        if bytes > before {
            self.of.used.fetch_add(bytes - before, Ordering::Relaxed);
        } else if bytes < before {
            self.of.used.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for GroupShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinators_share_what_there_is_and_give_it_back() {
        let memory = Arc::new(GroupMemory::new(32 << 20));
        let shares = [0, 1].map(|_| GroupShare::new(Arc::clone(&memory)));
        shares[0].set(20 << 20);
        shares[1].set(20 << 20);
        assert_eq!(memory.left(), 0);
        shares[1].set(2 << 20);
        assert_eq!(memory.left(), 10 << 20);
        drop(shares);
        assert_eq!(memory.left(), memory.bytes_max());
        assert_eq!(GroupMemory::new(1).bytes_max(), BYTES_MAX_AT_LEAST);
    }
}
