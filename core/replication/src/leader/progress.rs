//! How far one follower has come, as its fetches tell.

use types::{BrokerId, Millis, Offset};

/// Where a follower stands with the ISR.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Member {
    /// Not in it.
    Out,
    /// Proposed: the controller may have it in the ISR already, so the high watermark waits for it.
    Joining,
    /// In it.
    In,
    /// Proposed to go: until the controller has agreed, it may still be elected.
    Leaving,
}

impl Member {
    /// Whether it is in the ISR that the controller has told of.
    pub(super) fn is_committed(self) -> bool {
        matches!(self, Self::In | Self::Leaving)
    }
}

/// What the leader knows of a follower.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Progress {
    pub(super) id: BrokerId,
    pub(super) member: Member,
    /// End of its log, as far as it may be counted on; `None` until it has fetched in this epoch.
    pub(super) end: Option<Offset>,
    /// Where its log begins.
    pub(super) log_start: Option<Offset>,
    /// Incarnation of the broker that fetched; `None` where it did not say or has not fetched.
    pub(super) broker_epoch: Option<i64>,
    /// When it last had everything that the leader had.
    pub(super) last_caught_up: Millis,
    /// When it last fetched, and where the leader's log ended then.
    pub(super) last_fetch: Option<(Millis, Offset)>,
    /// Nearly there and welcome: the high watermark waits for it, else it could never be reached
    /// while records keep coming.
    pub(super) is_awaited: bool,
}

impl Progress {
    /// A follower at the begin of an epoch; one in sync has the benefit of the doubt until `now`
    /// is too long ago.
    pub(super) fn new(id: BrokerId, member: Member, now: Millis) -> Self {
        let last_caught_up = if member.is_committed() { now } else { Millis(i64::MIN) };
        Self {
            id,
            member,
            end: None,
            log_start: None,
            broker_epoch: None,
            last_caught_up,
            last_fetch: None,
            is_awaited: false,
        }
    }

    /// Whether the high watermark waits for it.
    pub(super) fn counts(&self) -> bool {
        self.member != Member::Out || self.is_awaited
    }

    /// It asks for what comes at `end`, while the leader's log ends at `leader_end`.
    pub(super) fn note_fetch(&mut self, end: Offset, leader_end: Offset, now: Millis) {
        if end >= leader_end {
            self.last_caught_up = self.last_caught_up.max(now);
        } else if let Some((at, ended)) = self.last_fetch
            && end >= ended
        {
            // It has all that there was when it asked before.
            self.last_caught_up = self.last_caught_up.max(at);
        }
        self.end = Some(end);
        self.last_fetch = Some((now, leader_end));
    }

    /// Whether it has everything, or had so recently.
    pub(super) fn is_caught_up(&self, leader_end: Offset, now: Millis, lag_max: Millis) -> bool {
        self.end == Some(leader_end) || now - self.last_caught_up <= lag_max
    }
}
