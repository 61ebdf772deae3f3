//! A rate that copying between replicas keeps to (KIP-73), measured as Kafka measures it: bytes over
//! a few windows of time. What was copied too much is paid back by waiting.
//!
//! Not here: which replicas a rate holds for, and who waits (the node).

use std::collections::VecDeque;

use types::Millis;

/// Over what time a rate is measured: `replication.quota.window.num` windows of
/// `replication.quota.window.size.seconds`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuotaWindows {
    /// How many.
    pub count: u32,
    /// How long each is; more than 0.
    pub size: Millis,
}

/// Bytes per second, and what was used of them.
#[derive(Clone, Debug)]
pub struct Quota {
    windows: QuotaWindows,
    /// `None` while nothing is to be counted.
    bytes_per_second: Option<u64>,
    /// Windows in which something was copied, the oldest first: when each began, and its bytes.
    used: VecDeque<(Millis, u64)>,
}

impl Quota {
    /// No limit yet.
    pub fn new(windows: QuotaWindows) -> Self {
        Self { windows, bytes_per_second: None, used: VecDeque::new() }
    }

    /// Puts a rate in force, for what was copied lately, too; `None` for no limit.
    pub fn set_rate(&mut self, bytes_per_second: Option<u64>) {
        self.bytes_per_second = bytes_per_second;
        if bytes_per_second.is_none() {
            self.used.clear();
        }
    }

    /// Counts what was copied.
    pub fn record(&mut self, bytes: u64, now: Millis) {
        if self.bytes_per_second.is_none() || bytes == 0 {
            return;
        }
        self.forget(now);
        match self.used.back_mut().filter(|(began, _)| now - *began < self.windows.size) {
            Some((_, used)) => *used += bytes,
            None => self.used.push_back((now, bytes)),
        }
    }

    /// Counts what somebody copies who waits for nothing. It uses up what is left and no more: others
    /// would wait for its bytes long after it has ended.
    pub fn record_unlimited(&mut self, bytes: u64, now: Millis) {
        let left = self.left(now).unwrap_or(0);
        self.record(bytes.min(left), now);
    }

    /// How long until more may be copied: nothing while the rate is kept, [`Millis::MAX`] where
    /// nothing may be copied at all.
    pub fn wait(&mut self, now: Millis) -> Millis {
        let Some(rate) = self.bytes_per_second else { return Millis::ZERO };
        self.forget(now);
        match rate {
            0 => Millis::MAX,
            rate if self.paid_after(rate) <= self.elapsed(now) => Millis::ZERO,
            rate => self.oldest(now) + Millis(self.paid_after(rate)) - now,
        }
    }

    /// Bytes that may be copied now; `None` for any number.
    pub fn left(&mut self, now: Millis) -> Option<u64> {
        let rate = self.bytes_per_second?;
        self.forget(now);
        let allowed = u128::from(rate) * u128::from(self.elapsed(now).unsigned_abs()) / 1000;
        Some(u64::try_from(allowed).unwrap_or(u64::MAX).saturating_sub(self.total()))
    }

    /// Milliseconds that the bytes counted may have taken; one window at least, or the first bytes
    /// of all would look like a high rate.
    fn elapsed(&self, now: Millis) -> i64 {
        (now - self.oldest(now)).max(self.windows.size).get()
    }

    fn oldest(&self, now: Millis) -> Millis {
        self.used.front().map_or(now, |(began, _)| *began)
    }

    /// Milliseconds that they have to take.
    fn paid_after(&self, rate: u64) -> i64 {
        let millis = u128::from(self.total()) * 1000 / u128::from(rate);
        i64::try_from(millis).unwrap_or(i64::MAX)
    }

    fn total(&self) -> u64 {
        self.used.iter().map(|(_, used)| *used).fold(0, u64::saturating_add)
    }

    /// Forgets windows of long ago. One whose bytes were too many stays until they are paid for, so
    /// that a small rate holds for large answers, too.
    fn forget(&mut self, now: Millis) {
        let kept = self.windows.size.get().saturating_mul(self.windows.count.into());
        while let Some((began, _)) = self.used.front()
            && (now - *began).get() >= kept
            && self
                .bytes_per_second
                .is_some_and(|rate| rate > 0 && self.paid_after(rate) <= self.elapsed(now))
        {
            self.used.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka's defaults.
    const WINDOWS: QuotaWindows = QuotaWindows { count: 11, size: Millis(1000) };

    fn quota(rate: u64) -> Quota {
        let mut quota = Quota::new(WINDOWS);
        quota.set_rate(Some(rate));
        quota
    }

    /// Milliseconds that a copy takes which gets `step` bytes whenever the rate allows.
    fn time_for(bytes: u64, step: u64, quota: &mut Quota) -> i64 {
        let (mut now, mut copied) = (Millis(5), 0);
        loop {
            let wait = quota.wait(now);
            now = now + wait;
            if copied >= bytes {
                return now.get() - 5;
            }
            quota.record(step, now);
            copied += step;
        }
    }

    #[test]
    fn a_copy_takes_its_bytes_by_the_rate_whatever_comes_at_once() {
        for step in [10, 1_000, 10_000, 100_000, 1_000_000] {
            let took = time_for(1_000_000, step, &mut quota(10_000));
            assert!((99_000..=100_000).contains(&took), "by {step} at once: {took} ms");
        }
    }

    #[test]
    fn what_is_left_is_what_the_elapsed_time_has_earned() {
        let mut quota = quota(1000);
        let now = Millis(50);
        assert_eq!(quota.left(now), Some(1000), "one window from the start");
        quota.record(400, now);
        assert_eq!(quota.left(now), Some(600));
        quota.record(800, now);
        assert_eq!((quota.left(now), quota.wait(now)), (Some(0), Millis(1200)));
        assert_eq!(quota.left(now + Millis(3000)), Some(1800));
    }

    #[test]
    fn idle_time_adds_up_for_the_windows_and_no_longer() {
        let mut quota = quota(1000);
        quota.record(1, Millis(0));
        assert_eq!(quota.left(Millis(10_999)), Some(10_998));
        assert_eq!(quota.left(Millis(11_000)), Some(1000));
    }

    #[test]
    fn who_waits_for_nothing_uses_up_the_rate_and_leaves_nothing_to_pay() {
        let mut quota = quota(1000);
        for second in 0..1000 {
            let now = Millis(second * 1000);
            quota.record_unlimited(50_000, now);
            assert_eq!((quota.left(now), quota.wait(now)), (Some(0), Millis::ZERO), "{second} s");
            assert!(quota.used.len() <= 11, "windows are not kept for ever");
        }
        quota.record(5000, Millis(1_000_000));
        assert!(quota.wait(Millis(1_000_000)) > Millis(3000), "who does wait pays for all");
        quota.set_rate(None);
        quota.record_unlimited(50_000, Millis(1_000_000));
        assert!(quota.used.is_empty());
    }

    #[test]
    fn another_rate_holds_at_once() {
        let mut quota = quota(1000);
        quota.record(10_000, Millis(0));
        assert_eq!(quota.wait(Millis(0)), Millis(10_000));
        quota.set_rate(Some(5000));
        assert_eq!(quota.wait(Millis(0)), Millis(2000));
        quota.set_rate(Some(0));
        assert_eq!((quota.wait(Millis(0)), quota.left(Millis(0))), (Millis::MAX, Some(0)));
        quota.set_rate(None);
        assert_eq!((quota.wait(Millis(0)), quota.left(Millis(0))), (Millis::ZERO, None));
        quota.record(10_000, Millis(0));
        quota.set_rate(Some(1));
        assert_eq!(quota.wait(Millis(0)), Millis::ZERO, "what no rate held for is not counted");
    }
}
