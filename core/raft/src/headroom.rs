//! How far epochs may be raised by what somebody tells unasked.
//!
//! Epochs only grow, and behind the last one no election is possible any more. Kafka believes whoever
//! reaches a controller's listener, so that one request can use all of them up. Here what is told
//! unasked may raise the epoch by a day's worth of elections at once, and no faster than any quorum
//! elects from then on. Whoever was away for longer learns the epoch by asking the voters.

use types::{LeaderEpoch, Millis};

/// What may be told at once: more elections than a quorum holds within a day.
const EPOCHS_MAX: i64 = 1 << 17;
/// One more after so long: all epochs last for almost seven years then.
const REFILL: Millis = Millis(100);

/// The epochs that may still be told unasked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headroom {
    left: i64,
    counted_at: Millis,
}

impl Headroom {
    pub fn new(now: Millis) -> Self {
        Self { left: EPOCHS_MAX, counted_at: now }
    }

    /// Whether a replica in epoch `own` may be told of `epoch`; counts it if so.
    pub fn take(&mut self, own: LeaderEpoch, epoch: LeaderEpoch, now: Millis) -> bool {
        let refills = (now - self.counted_at).get().max(0) / REFILL.get();
        self.left = self.left.saturating_add(refills).min(EPOCHS_MAX);
        self.counted_at = self.counted_at + Millis(refills.saturating_mul(REFILL.get()));
        let ahead = i64::from(epoch.0) - i64::from(own.0.max(0));
        let fits = ahead <= self.left;
        if fits {
            self.left -= ahead.max(0);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = Millis(1000);
    const MAX: i32 = EPOCHS_MAX as i32;

    fn take(headroom: &mut Headroom, own: i32, epoch: i32, seconds: i64) -> bool {
        let now = START + Millis(seconds * 1000);
        headroom.take(LeaderEpoch(own), LeaderEpoch(epoch), now)
    }

    #[test]
    fn a_days_elections_pass_at_once_and_then_as_many_as_the_time_allows() {
        let mut headroom = Headroom::new(START);
        assert!(!take(&mut headroom, 7, 8 + MAX, 0), "too far at once");
        assert!(take(&mut headroom, 7, 7 + MAX, 0));
        assert!(!take(&mut headroom, 7 + MAX, 8 + MAX, 0), "used up");
        assert!(take(&mut headroom, 7 + MAX, 7 + MAX, 0), "the same epoch costs nothing");
        assert!(!take(&mut headroom, 7 + MAX, 18 + MAX, 1), "ten in a second");
        assert!(take(&mut headroom, 7 + MAX, 17 + MAX, 1));
    }

    #[test]
    fn a_long_calm_saves_no_more_than_a_days_elections() {
        let mut headroom = Headroom::new(START);
        assert!(!take(&mut headroom, 0, 1 + MAX, 1_000_000_000));
        assert!(take(&mut headroom, -1, MAX, 1_000_000_000));
    }
}
