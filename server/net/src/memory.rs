//! One budget of bytes in flight for the whole node.
//!
//! Counted are bytes that have arrived and are not answered, and answers that are not sent; never
//! bytes that were only announced. When the budget is spent, connections stop reading: TCP slows
//! the senders, memory stays flat. Two rules keep that from being a deadlock. Answers may always
//! be written. And one connection at a time may finish reading the frame it has begun (the
//! overdraft), so that half-read frames alone can never fill the budget for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The budget, shared by all shards.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes_max: AtomicUsize,
    used: AtomicUsize,
    overdraft_taken: AtomicBool,
    freed: Arc<Notify>,
}

impl Pool {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max: AtomicUsize::new(bytes_max),
            used: AtomicUsize::new(0),
            overdraft_taken: AtomicBool::new(false),
            freed: Arc::default(),
        }
    }

    pub(crate) fn set_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::SeqCst);
        self.freed.notify_waiters();
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.used() >= self.bytes_max.load(Ordering::SeqCst)
    }

    /// Resolves at the next release; to be made before the budget is looked at again.
    pub(crate) fn freed(&self) -> OwnedNotified {
        self.freed.clone().notified_owned()
    }
}

/// The share of one connection. Dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Account {
    pool: Arc<Pool>,
    held: usize,
    overdraft: bool,
}

impl Account {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, held: 0, overdraft: false }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// States what the connection holds now. Never refused: the bytes are already here.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes > self.held {
            self.pool.used.fetch_add(bytes - self.held, Ordering::SeqCst);
        } else if bytes < self.held {
            let before = self.pool.used.fetch_sub(self.held - bytes, Ordering::SeqCst);
            let bytes_max = self.pool.bytes_max.load(Ordering::SeqCst);
            if before >= bytes_max && before - (self.held - bytes) < bytes_max {
                self.pool.freed.notify_waiters();
            }
        }
        self.held = bytes;
    }

    /// Whether more may be read; `mid_frame` allows the overdraft.
    pub(crate) fn may_read(&mut self, mid_frame: bool) -> bool {
        if !self.pool.is_spent() || self.overdraft {
            return true;
        }
        self.overdraft = mid_frame && !self.pool.overdraft_taken.swap(true, Ordering::SeqCst);
        self.overdraft
    }

    /// The begun frame is complete, or is given up.
    pub(crate) fn end_overdraft(&mut self) {
        if self.overdraft {
            self.overdraft = false;
            self.pool.overdraft_taken.store(false, Ordering::SeqCst);
            self.pool.freed.notify_waiters();
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.set(0);
        self.end_overdraft();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_stops_reading_until_bytes_are_given_back() {
        let pool = Arc::new(Pool::new(100));
        let (mut a, mut b) = (Account::new(pool.clone()), Account::new(pool.clone()));
        a.set(100);
        assert!(!b.may_read(false));
        a.set(99);
        assert!(b.may_read(false));
        drop(a);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn exactly_one_connection_may_finish_its_frame_over_the_budget() {
        let pool = Arc::new(Pool::new(100));
        let mut accounts = [(); 3].map(|()| Account::new(pool.clone()));
        accounts[0].set(60);
        accounts[1].set(60);
        assert!(accounts[0].may_read(true));
        assert!(accounts[0].may_read(true), "the holder goes on");
        assert!(!accounts[1].may_read(true));
        accounts[0].end_overdraft();
        assert!(accounts[1].may_read(true));
        assert!(!accounts[2].may_read(false), "no frame begun, no overdraft");
    }

    #[tokio::test]
    async fn giving_back_wakes_who_waits() {
        let pool = Arc::new(Pool::new(10));
        let mut account = Account::new(pool.clone());
        account.set(10);
        let freed = pool.freed();
        account.set(0);
        freed.await;
    }
}
