//! A budget of bytes per second: one for all compactions (`log.cleaner.io.max.bytes.per.second`), others
//! for mending.
//!
//! Whoever has read or written draws a ticket and waits until the budget has come to it. Thus the
//! order is that of drawing, and another rate holds at once for those who wait.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest nap of who waits; another rate or a stop of the node waits at most for one.
const NAP: Duration = Duration::from_millis(100);
/// Bytes per second from which on nothing is counted.
const UNLIMITED: f64 = 1e15;

/// The budget.
pub struct Throttle {
    stopped: AtomicBool,
    account: Mutex<Account>,
}

/// What was drawn and what of it is paid for, in bytes since the start.
struct Account {
    bytes_per_second: f64,
    drawn: f64,
    paid: f64,
    at: Instant,
}

/// Ends all work within the budget when the shard's tasks go.
pub struct StopOnDrop(pub Arc<Throttle>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

impl Default for Throttle {
    fn default() -> Self {
        let at = Instant::now();
        let account = Account { bytes_per_second: UNLIMITED, drawn: 0.0, paid: 0.0, at };
        Self { stopped: AtomicBool::new(false), account: Mutex::new(account) }
    }
}

impl Throttle {
    /// Puts another rate in force.
    pub fn set_rate(&self, bytes_per_second: f64) {
        let mut account = self.account();
        account.pay(Instant::now());
        account.bytes_per_second = bytes_per_second.max(1.0);
    }

    /// Waits until `bytes` are within the budget. Blocks.
    pub fn take(&self, bytes: u64) -> ControlFlow<()> {
        let ticket = self.account().draw(bytes, Instant::now());
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            let left = self.account().wait_for(ticket, Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Gives what is drawn now.
    fn draw(&mut self, bytes: u64, now: Instant) -> f64 {
        self.pay(now);
        self.drawn += bytes as f64;
        self.drawn
    }

    /// How long until a ticket is paid for.
    fn wait_for(&mut self, ticket: f64, now: Instant) -> Duration {
        self.pay(now);
        let seconds = (ticket - self.paid).max(0.0) / self.bytes_per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Time that was not used does not add up.
    fn pay(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.paid = if self.bytes_per_second >= UNLIMITED {
            self.drawn
        } else {
            self.drawn.min(self.paid + since * self.bytes_per_second)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn account(bytes_per_second: f64, at: Instant) -> Account {
        Account { bytes_per_second, drawn: 0.0, paid: 0.0, at }
    }

    #[test]
    fn all_takers_share_one_budget_in_the_order_of_drawing() {
        let begin = Instant::now();
        let mut account = account(1000.0, begin);
        let first = account.draw(1000, begin);
        let second = account.draw(500, begin);
        assert_eq!(account.wait_for(first, begin), SECOND);
        assert_eq!(account.wait_for(second, begin), SECOND + SECOND / 2);
        assert_eq!(account.wait_for(first, begin + SECOND), Duration::ZERO);
        assert_eq!(account.wait_for(second, begin + SECOND), SECOND / 2);
        let later = begin + 10 * SECOND;
        let third = account.draw(1000, later);
        assert_eq!(account.wait_for(third, later), SECOND, "idle time is lost");
    }

    #[test]
    fn another_rate_holds_for_those_who_wait() {
        let begin = Instant::now();
        let mut account = account(1.0, begin);
        let ticket = account.draw(1001, begin);
        assert_eq!(account.wait_for(ticket, begin + SECOND), 1000 * SECOND);
        account.bytes_per_second = 2000.0;
        assert_eq!(account.wait_for(ticket, begin + SECOND), SECOND / 2);
        account.bytes_per_second = UNLIMITED;
        assert_eq!(account.wait_for(ticket, begin + SECOND), Duration::ZERO);
    }

    #[test]
    fn stopped_work_ends_at_once() {
        let throttle = Arc::new(Throttle::default());
        throttle.set_rate(1.0);
        drop(StopOnDrop(Arc::clone(&throttle)));
        assert_eq!(throttle.take(1 << 40), ControlFlow::Break(()));
    }
}
