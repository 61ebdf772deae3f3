//! Budgets of bytes in flight for the whole node: one of requests, one of answers.
//!
//! A request counts from the arrival of its bytes until it is answered, never by what was only
//! announced. When that budget is spent, connections that hold much stop reading: TCP slows the
//! senders, memory stays flat. Two rules keep that from being a deadlock. A connection that holds
//! little may always read, so that a few cannot silence all others. And one connection at a time may
//! finish reading the frame it has begun (the overdraft), so that half-read frames alone can never
//! fill the budget for good.
//!
//! An answer counts from the moment at which the node reads what is to go into it ([`InFlight`])
//! until it is sent, with what the kernel holds of it. When that budget is spent, whoever reads much
//! for an answer asks first and waits ([`Net::answer_room`]). The last part of it is for clients that
//! have shown that they read, so that those who do not cannot take it all. Requests wait for no answer and answers
//! for no request: who does not take his answers delays no producer, and producers that wait for
//! replicas delay no reader.
//!
//! [`Net::answer_room`]: crate::Net::answer_room

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Below this a connection holds little: what it may hold however full the node is.
pub(crate) const LITTLE_BYTES: usize = 64 << 10;

/// One part in so many of the budget of answers is left for clients that surely read theirs.
const READERS_ONE_IN: usize = 4;

/// One budget, shared by all shards.
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

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::SeqCst)
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.used() >= self.bytes_max()
    }

    /// What the budget has left.
    pub(crate) fn left(&self) -> usize {
        self.bytes_max().saturating_sub(self.used())
    }

    /// How much may be used until those have to wait who surely read, or all others.
    pub(crate) fn limit(&self, client_reads: bool) -> usize {
        let bytes_max = self.bytes_max();
        if client_reads { bytes_max } else { bytes_max - bytes_max / READERS_ONE_IN }
    }

    /// Counts bytes if anything is left, be it less than they are: what is larger than that goes
    /// through, but nothing after it.
    fn try_take(&self, bytes: usize, client_reads: bool) -> bool {
        let limit = self.limit(client_reads);
        let added = |used: usize| (used < limit).then(|| used + bytes);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, added).is_ok()
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

    /// The same where the budget has anything left.
    pub(crate) fn within(pool: Arc<Pool>, bytes: usize, client_reads: bool) -> Option<Self> {
        // Made only where it is counted: what is dropped is given back.
        pool.try_take(bytes, client_reads).then(|| Self { pool, bytes })
    }

    /// States how many bytes it is now. Never refused: the bytes are already here.
    pub fn set(&mut self, bytes: usize) {
        let used = &self.pool.used;
        if bytes > self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else if bytes < self.bytes {
            let back = self.bytes - bytes;
            let before = used.fetch_sub(back, Ordering::SeqCst);
            let limits = [true, false].map(|reads| self.pool.limit(reads));
            if limits.iter().any(|limit| before >= *limit && before - back < *limit) {
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
    requests: InFlight,
    answers: InFlight,
    overdraft: bool,
}

impl Account {
    pub(crate) fn new(requests: Arc<Pool>, answers: Arc<Pool>) -> Self {
        Self {
            requests: InFlight::new(requests, 0),
            answers: InFlight::new(answers, 0),
            overdraft: false,
        }
    }

    /// The budget of requests.
    pub(crate) fn pool(&self) -> &Pool {
        &self.requests.pool
    }

    /// States what the connection holds now.
    pub(crate) fn set(&mut self, request_bytes: usize, answer_bytes: usize) {
        self.requests.set(request_bytes);
        self.answers.set(answer_bytes);
    }

    /// Whether somebody may have to wait for the budget of answers.
    pub(crate) fn answers_are_crowded(&self) -> bool {
        let pool = &self.answers.pool;
        pool.used() >= pool.limit(false)
    }

    /// Whether the connection is one of those that leave others no room for requests.
    pub(crate) fn crowds_requests(&self) -> bool {
        self.holds_many_requests() && self.pool().is_spent()
    }

    /// The same for answers.
    pub(crate) fn crowds_answers(&self) -> bool {
        self.answers.bytes >= LITTLE_BYTES && self.answers_are_crowded()
    }

    /// Whether it would, were a budget spent.
    pub(crate) fn holds_much(&self) -> bool {
        self.holds_many_requests() || self.answers.bytes >= LITTLE_BYTES
    }

    fn holds_many_requests(&self) -> bool {
        self.requests.bytes >= LITTLE_BYTES
    }

    /// How much may be read now; `mid_frame` allows the overdraft.
    pub(crate) fn may_read(&mut self, mid_frame: bool) -> usize {
        if !self.pool().is_spent() || self.overdraft {
            return usize::MAX;
        }
        if !self.holds_many_requests() {
            return LITTLE_BYTES - self.requests.bytes;
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

    /// A connection for which only requests matter.
    fn sender(requests: &Arc<Pool>) -> Account {
        Account::new(requests.clone(), Arc::new(Pool::new(BUDGET)))
    }

    #[test]
    fn a_spent_budget_stops_who_holds_much_until_bytes_are_given_back() {
        let pool = Arc::new(Pool::new(BUDGET));
        let (mut a, mut b) = (sender(&pool), sender(&pool));
        a.set(LITTLE_BYTES, 0);
        b.set(LITTLE_BYTES, 0);
        assert_eq!(b.may_read(false), 0);
        assert_eq!(pool.left(), 0);
        a.set(LITTLE_BYTES - 1, 0);
        assert_eq!(b.may_read(false), usize::MAX);
        drop((a, b));
        assert_eq!(pool.left(), BUDGET);
    }

    #[test]
    fn who_holds_little_may_read_up_to_that_little() {
        let pool = Arc::new(Pool::new(BUDGET));
        let _others = InFlight::new(pool.clone(), 2 * BUDGET);
        let mut account = sender(&pool);
        assert_eq!(account.may_read(false), LITTLE_BYTES);
        account.set(LITTLE_BYTES - 1, 0);
        assert_eq!(account.may_read(true), 1, "and leaves the overdraft to others");
        account.set(LITTLE_BYTES, 0);
        assert_eq!(account.may_read(false), 0);
    }

    #[test]
    fn exactly_one_connection_may_finish_its_frame_over_the_budget() {
        let pool = Arc::new(Pool::new(BUDGET));
        let mut accounts = [(); 3].map(|()| sender(&pool));
        for account in &mut accounts {
            account.set(LITTLE_BYTES, 0);
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
        let mut account = sender(&pool);
        account.set(10, 0);
        let freed = pool.freed();
        account.set(0, 0);
        freed.await;
    }

    #[test]
    fn what_is_larger_than_what_is_left_goes_through_and_nothing_after_it() {
        let pool = Arc::new(Pool::new(10));
        let take = |bytes| InFlight::within(pool.clone(), bytes, true);
        let small = take(9).unwrap();
        let large = take(1000).unwrap();
        assert!(take(1).is_none());
        drop(small);
        assert!(take(1).is_none());
        assert_eq!(pool.used(), 1000, "who is refused counts nothing");
        drop(large);
        assert!(take(1).is_some());
    }

    #[test]
    fn answers_leave_requests_their_room_and_requests_answers() {
        let pools = [(); 2].map(|()| Arc::new(Pool::new(BUDGET)));
        let [requests, answers] = &pools;
        let account = || Account::new(requests.clone(), answers.clone());
        let (mut reader, mut producer) = (account(), account());
        reader.set(0, BUDGET);
        assert!(reader.crowds_answers() && !reader.crowds_requests());
        assert_eq!(producer.may_read(false), usize::MAX);
        reader.set(0, 0);
        producer.set(BUDGET, 0);
        assert!(producer.crowds_requests() && !producer.crowds_answers());
        assert!(InFlight::within(answers.clone(), 1, false).is_some());
    }

    #[tokio::test]
    async fn who_surely_reads_has_room_that_others_have_not() {
        let pool = Arc::new(Pool::new(100));
        let held = InFlight::new(pool.clone(), 75);
        assert!(InFlight::within(pool.clone(), 1, false).is_none());
        let mut reader = InFlight::within(pool.clone(), 25, true).unwrap();
        assert!(InFlight::within(pool.clone(), 1, true).is_none());
        let freed = pool.freed();
        reader.set(24);
        freed.await;
        let freed = pool.freed();
        drop(held);
        freed.await;
        assert!(InFlight::within(pool.clone(), 1, false).is_some());
    }
}
