//! Timers as data: what is due when.
//!
//! A heartbeat moves a session's end further away, thousands of times a second. So a [`Deadline`]
//! that moves later keeps its old entry in the queue; when that entry comes up, it is put back for
//! the real time. An entry may therefore be early, but is never late. Nor are deadlines unset when
//! a phase ends: the phase that is found when they pass knows whether they still mean anything.

use std::collections::BTreeSet;

use types::Millis;

use crate::logged::{GroupId, MemberId};

/// What a queue entry is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Timer {
    /// Members have had their time to join.
    Join(GroupId),
    /// Members have had their time to fetch their assignment.
    Sync(GroupId),
    /// A member has not been heard of, or did not come back with the id it was given.
    Session(GroupId, MemberId),
    /// Offsets and empty groups are looked through for old ones.
    Expiration,
}

/// All timers of one coordinator, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Millis, Timer)>,
}

impl Timers {
    /// When the next entry comes up.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first entry that is due.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<(Millis, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop_first()
    }

    /// Adds an entry.
    pub(crate) fn insert(&mut self, at: Millis, timer: Timer) {
        self.queue.insert((at, timer));
    }
}

/// An instant that may be moved; owned by what it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Millis>,
    /// The soonest queue entry made for this deadline.
    queued: Option<Millis>,
}

impl Deadline {
    /// Sets the instant; `timer` is asked for only when the queue needs a new entry.
    pub(crate) fn arm(&mut self, at: Millis, timers: &mut Timers, timer: impl FnOnce() -> Timer) {
        self.at = Some(at);
        if self.queued.is_none_or(|queued| queued > at) {
            self.queued = Some(at);
            timers.insert(at, timer());
        }
    }

    /// Unsets the instant and takes its queue entry out, for an owner that goes away.
    pub(crate) fn cancel(&mut self, timers: &mut Timers, timer: Timer) {
        self.at = None;
        if let Some(queued) = self.queued.take() {
            timers.queue.remove(&(queued, timer));
        }
    }

    /// Whether the deadline has passed, now that its entry for `entry` came up; it is then unset.
    /// A deadline that was moved gets its entry for the real time.
    pub(crate) fn passed(
        &mut self,
        entry: Millis,
        now: Millis,
        timers: &mut Timers,
        timer: impl FnOnce() -> Timer,
    ) -> bool {
        if self.queued == Some(entry) {
            self.queued = None;
        }
        match self.at {
            Some(at) if at <= now => {
                self.at = None;
                true
            }
            Some(at) => {
                self.arm(at, timers, timer);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer() -> Timer {
        Timer::Expiration
    }

    /// Pops what is due and says whether the deadline has passed.
    fn pop(deadline: &mut Deadline, timers: &mut Timers, now: i64) -> Option<bool> {
        let (entry, _) = timers.pop_due(Millis(now))?;
        Some(deadline.passed(entry, Millis(now), timers, timer))
    }

    #[test]
    fn a_deadline_moved_later_comes_up_at_the_later_time() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        deadline.arm(Millis(10), &mut timers, timer);
        deadline.arm(Millis(25), &mut timers, timer);
        assert_eq!(pop(&mut deadline, &mut timers, 9), None);
        assert_eq!(pop(&mut deadline, &mut timers, 10), Some(false));
        assert_eq!(pop(&mut deadline, &mut timers, 24), None);
        assert_eq!(pop(&mut deadline, &mut timers, 25), Some(true));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_moved_earlier_comes_up_once_at_the_earlier_time() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        deadline.arm(Millis(25), &mut timers, timer);
        deadline.arm(Millis(10), &mut timers, timer);
        assert_eq!(pop(&mut deadline, &mut timers, 12), Some(true));
        assert_eq!(pop(&mut deadline, &mut timers, 30), Some(false));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cancelled_deadline_leaves_no_entry() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        deadline.arm(Millis(10), &mut timers, timer);
        deadline.cancel(&mut timers, timer());
        assert_eq!(timers.next(), None);
    }
}
