//! What the log says of epochs of the metadata quorum that somebody makes up: that they are refused,
//! and that none is left.
//!
//! Not here: which epochs are believed (`core/raft`).

use net::Quiet;
use tokio::time::Instant;
use types::LeaderEpoch;

/// What was said, and what was not.
#[derive(Default)]
pub struct EpochWords {
    refused: Quiet,
    has_said_over: bool,
}

impl EpochWords {
    /// A request has named `epoch`, which no election can have reached from `own`.
    pub fn refused(
        &mut self,
        epoch: LeaderEpoch,
        own: LeaderEpoch,
        now: Instant,
    ) -> Option<String> {
        let more = self.refused.pass(now)?;
        Some(format!(
            "a request names epoch {epoch} of the metadata quorum, which is in epoch {own}: it is \
             refused, since no election can have led there. Only controllers should reach the \
             listeners of controllers{more}"
        ))
    }

    /// The quorum is in `epoch`, and has a leader or not.
    pub fn entered(&mut self, epoch: LeaderEpoch, has_leader: bool) -> Option<String> {
        let is_over = epoch.0 == i32::MAX && !has_leader;
        if !is_over || std::mem::replace(&mut self.has_said_over, true) {
            return None;
        }
        Some(format!(
            "epoch {epoch} of the metadata quorum is the last one: no controller can be elected any \
             more. Somebody has made epochs up; docs/guides/cluster.md says how to go back"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: LeaderEpoch = LeaderEpoch(i32::MAX);
    const OWN: LeaderEpoch = LeaderEpoch(3);

    #[test]
    fn a_refused_epoch_is_named_once_in_a_while() {
        let mut words = EpochWords::default();
        let now = Instant::now();
        let first = words.refused(FAR, OWN, now).unwrap();
        assert!(first.contains("epoch 2147483647") && first.contains("in epoch 3"), "{first}");
        assert_eq!(words.refused(FAR, OWN, now), None);
    }

    #[test]
    fn the_end_of_all_epochs_is_said_once() {
        let mut words = EpochWords::default();
        assert_eq!(words.entered(OWN, false), None);
        assert_eq!(words.entered(FAR, true), None, "its leader leads on");
        assert!(words.entered(FAR, false).is_some());
        assert_eq!(words.entered(FAR, false), None);
    }
}
