//! Lines of the log that somebody else's requests cause: one in ten seconds, and how many more there
//! were.

use types::Millis;

/// How long after a line the next one may follow.
const QUIET: Millis = Millis(10_000);

/// When a line was written last, and how many were not since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    speak_at: Option<Millis>,
    unsaid: u64,
}

impl Quiet {
    /// Whether a line may be written now, and what it says at its end of those that were not. `now`
    /// is monotonic.
    pub fn pass(&mut self, now: Millis) -> Option<String> {
        if self.speak_at.is_some_and(|at| now < at) {
            self.unsaid += 1;
            return None;
        }
        self.speak_at = Some(now + QUIET);
        Some(match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            count => format!(" (+{count} more)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_in_ten_seconds_with_its_count() {
        let (mut quiet, now) = (Quiet::default(), Millis(5));
        assert_eq!(quiet.pass(now).as_deref(), Some(""));
        assert_eq!(quiet.pass(now + Millis(9_999)), None);
        assert_eq!(quiet.pass(now + QUIET).as_deref(), Some(" (+1 more)"));
    }
}
