//! One budget of bytes in flight for the whole node.
//!
//! Counted are bytes that have arrived and are not answered, and answers that are not sent; never
//! bytes that were only announced. The node counts what it reads for an answer to come
//! ([`InFlight`]). When the budget is spent, connections that hold much stop reading: TCP slows
//! the senders, memory stays flat. Three rules keep that from being a deadlock. Answers may always
//! be written. A connection that holds little may always read, so that a few who do not take
//! their answers cannot silence all others. And one connection at a time may finish reading the
//! frame it has begun (the overdraft), so that half-read frames alone can never fill the budget
//! for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Below this a connection holds little: what it may hold however full the node is.
pub(crate) const LITTLE_BYTES: usize = 64 << 10;

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

    /// What the budget has left.
    pub(crate) fn left(&self) -> usize {
        self.bytes_max.load(Ordering::SeqCst).saturating_sub(self.used())
    }

    /// Resolves at the next release; to be made before the budget is looked at again.
    pub(crate) fn freed(&self) -> OwnedNotified {
        self.freed.clone().notified_owned()
    }
}

/// Bytes counted against the budget. Dropping it gives them back.
#[derive(Debug)]
pub struct InFlight {
    pool: Arc<Pool>,
    bytes: usize,
}

impl InFlight {
    pub(crate) fn new(pool: Arc<Pool>, bytes: usize) -> Self {
        let mut counted = Self { pool, bytes: 0 };
        counted.set(bytes);
        counted
    }

    /// States how many bytes it is now. Never refused: the bytes are already here.
    pub fn set(&mut self, bytes: usize) {
        let used = &self.pool.used;
        if bytes > self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else if bytes < self.bytes {
            let back = self.bytes - bytes;
            let before = used.fetch_sub(back, Ordering::SeqCst);
            let bytes_max = self.pool.bytes_max.load(Ordering::SeqCst);
            if before >= bytes_max && before - back < bytes_max {
                self.pool.freed.notify_waiters();
            }
        }
        self.bytes = bytes;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The share of one connection. Dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Account {
    held: InFlight,
    overdraft: bool,
}

impl Account {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { held: InFlight::new(pool, 0), overdraft: false }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.held.pool
    }

    /// States what the connection holds now.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.held.set(bytes);
    }

    /// Whether the connection is one of those that leave others no room.
    pub(crate) fn holds_much(&self) -> bool {
        self.held.bytes >= LITTLE_BYTES
    }

    /// How much may be read now; `mid_frame` allows the overdraft.
    pub(crate) fn may_read(&mut self, mid_frame: bool) -> usize {
        if !self.pool().is_spent() || self.overdraft {
            return usize::MAX;
        }
        if !self.holds_much() {
            return LITTLE_BYTES - self.held.bytes;
        }
        self.overdraft = mid_frame && !self.pool().overdraft_taken.swap(true, Ordering::SeqCst);
        if self.overdraft { usize::MAX } else { 0 }
    }

    /// The begun frame is complete, or is given up.
    pub(crate) fn end_overdraft(&mut self) {
        if self.overdraft {
            self.overdraft = false;
            self.pool().overdraft_taken.store(false, Ordering::SeqCst);
            self.pool().freed.notify_waiters();
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.end_overdraft();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 2 * LITTLE_BYTES;

    #[test]
    fn a_spent_budget_stops_who_holds_much_until_bytes_are_given_back() {
        let pool = Arc::new(Pool::new(BUDGET));
        let (mut a, mut b) = (Account::new(pool.clone()), Account::new(pool.clone()));
        a.set(LITTLE_BYTES);
        b.set(LITTLE_BYTES);
        assert_eq!(b.may_read(false), 0);
        assert_eq!(pool.left(), 0);
        a.set(LITTLE_BYTES - 1);
        assert_eq!(b.may_read(false), usize::MAX);
        drop((a, b));
        assert_eq!(pool.left(), BUDGET);
    }

    #[test]
    fn who_holds_little_may_read_up_to_that_little() {
        let pool = Arc::new(Pool::new(BUDGET));
        let _others = InFlight::new(pool.clone(), 2 * BUDGET);
        let mut account = Account::new(pool.clone());
        assert_eq!(account.may_read(false), LITTLE_BYTES);
        account.set(LITTLE_BYTES - 1);
        assert_eq!(account.may_read(true), 1, "and leaves the overdraft to others");
        account.set(LITTLE_BYTES);
        assert_eq!(account.may_read(false), 0);
    }

    #[test]
    fn exactly_one_connection_may_finish_its_frame_over_the_budget() {
        let pool = Arc::new(Pool::new(BUDGET));
        let mut accounts = [(); 3].map(|()| Account::new(pool.clone()));
        for account in &mut accounts {
            account.set(LITTLE_BYTES);
        }
        assert_eq!(accounts[0].may_read(true), usize::MAX);
        assert_eq!(accounts[0].may_read(true), usize::MAX, "the holder goes on");
        assert_eq!(accounts[1].may_read(true), 0);
        accounts[0].end_overdraft();
        assert_eq!(accounts[1].may_read(true), usize::MAX);
        assert_eq!(accounts[2].may_read(false), 0, "no frame begun, no overdraft");
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
