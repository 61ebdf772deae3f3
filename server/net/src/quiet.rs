//! Lines of the log that somebody else's requests cause: one in ten seconds, and how many more there
//! were.

use std::time::Duration;

use tokio::time::Instant;

/// How long after a line the next one may follow.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// When a line was written last, and how many were not since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    written_at: Option<Instant>,
    swallowed: u64,
}

impl Quiet {
    /// Whether a line may be written now, and what it says at its end of those that were not. One
    /// that may not is counted.
    pub fn pass(&mut self, now: Instant) -> Option<String> {
        let passed = self.try_pass(now);
        if passed.is_none() {
            self.swallow();
        }
        passed
    }

    /// The same, for a line that is tried again later.
    pub(crate) fn try_pass(&mut self, now: Instant) -> Option<String> {
        if self.written_at.is_some_and(|at| now.duration_since(at) < QUIET) {
            return None;
        }
        self.written_at = Some(now);
        Some(match std::mem::take(&mut self.swallowed) {
            0 => String::new(),
            count => format!(" (+{count} more)"),
        })
    }

    /// Counts a line that nobody will write any more; the next one says so.
    pub(crate) fn swallow(&mut self) {
        self.swallowed += 1;
    }

    #[cfg(test)]
    pub(crate) fn swallowed(&self) -> u64 {
        self.swallowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_in_ten_seconds_with_its_count() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.pass(now).as_deref(), Some(""));
        assert_eq!(quiet.pass(now + QUIET - Duration::from_millis(1)), None);
        assert_eq!(quiet.pass(now + QUIET).as_deref(), Some(" (+1 more)"));
    }

    #[test]
    fn a_line_that_is_tried_again_is_not_counted() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.try_pass(now).as_deref(), Some(""));
        assert_eq!(quiet.try_pass(now), None);
        assert_eq!(quiet.try_pass(now + QUIET).as_deref(), Some(""));
    }
}
