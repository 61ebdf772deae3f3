//! Changes of the ISR: who is proposed, what the controller answers, what the metadata says.
//!
//! One change is under way at a time. Until its outcome is known the high watermark waits for the
//! old set and the new one together, as the controller may elect from either. A request whose answer
//! was lost is sent again as it was: requests reach the controller in the order in which they were
//! sent, or not at all, so an answer to the later one speaks for the earlier one too.

use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset};

use super::progress::{Member, Progress};
use super::{Leader, Term};

/// How long after a refused or failed change the next one is sent.
const BACKOFF: Millis = Millis(500);

/// The change that is under way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Alteration {
    /// Sent, not answered.
    Sent,
    /// To be sent again then.
    Due(Millis),
    /// Refused in a way that says that newer metadata is on its way.
    AwaitsMetadata,
}

/// A change of the ISR to ask the controller for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct AlterPartition {
    /// The epoch in which this node leads.
    pub leader_epoch: LeaderEpoch,
    /// The state that the change was decided on.
    pub partition_epoch: i32,
    /// The followers to be in sync besides this node, with their incarnations, -1 for unknown.
    pub followers: Vec<(BrokerId, i64)>,
}

/// What became of an [`AlterPartition`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AlterAnswer {
    /// What the partition is now, in the controller's words.
    Altered {
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
        /// How often the partition has changed.
        partition_epoch: i32,
        /// Who is in sync.
        isr: Vec<BrokerId>,
    },
    /// The controller's error for the partition or the whole request.
    Refused(ErrorCode),
    /// No answer: it may have happened or not.
    Lost,
}

/// What time brings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Poll {
    /// A change to ask the controller for; its answer comes back by [`Leader::altered`].
    pub alter: Option<AlterPartition>,
    /// Whether the high watermark moved.
    pub moved: bool,
}

/// Whether a follower may be in the ISR: its broker is active, as the incarnation that fetched.
pub(super) fn is_eligible(follower: &Progress, active_epoch: Option<i64>) -> bool {
    let Some(active) = active_epoch else { return false };
    follower.end.is_some() && follower.broker_epoch.is_none_or(|fetched| fetched == active)
}

impl Leader {
    /// Looks who has fallen behind or caught up; to be called now and then, and after a fetch of a
    /// follower that is not in sync.
    ///
    /// `log_end` is the end of the leader's log, `lag_max` is `replica.lag.time.max.ms`, `eligible`
    /// as for [`Leader::follower_fetch`].
    pub fn poll(
        &mut self,
        log_end: Offset,
        (now, lag_max): (Millis, Millis),
        eligible: impl Fn(BrokerId) -> Option<i64>,
    ) -> Poll {
        if self.followers.is_empty() {
            return Poll::default();
        }
        for follower in &mut self.followers {
            follower.is_awaited &= follower.is_caught_up(log_end, now, lag_max)
                && is_eligible(follower, eligible(follower.id));
        }
        let moved = self.commit();
        let is_due = match self.alteration {
            None => {
                now >= self.quiet_until && self.choose_members(log_end, (now, lag_max), eligible)
            }
            Some(Alteration::Due(at)) => at <= now,
            Some(Alteration::Sent | Alteration::AwaitsMetadata) => false,
        };
        if is_due {
            self.alteration = Some(Alteration::Sent);
        }
        Poll { alter: is_due.then(|| self.proposal()), moved }
    }

    /// Whether a follower's fetch may have made it fit for the ISR, so that [`Leader::poll`] is
    /// worth its while at once.
    pub fn may_expand(&self, replica: BrokerId) -> bool {
        let follower = self.followers.iter().find(|follower| follower.id == replica);
        self.alteration.is_none()
            && follower.is_some_and(|f| f.member == Member::Out && self.has_all(f))
    }

    /// Takes the controller's answer to `sent`; whether the high watermark moved.
    pub fn altered(&mut self, sent: &AlterPartition, answer: &AlterAnswer, now: Millis) -> bool {
        let decided_on = (sent.leader_epoch, sent.partition_epoch);
        if self.alteration != Some(Alteration::Sent)
            || decided_on != (self.epoch, self.partition_epoch)
        {
            // The metadata has overtaken it.
            return false;
        }
        match answer {
            AlterAnswer::Altered { leader_epoch, partition_epoch, isr } => {
                if *leader_epoch != self.epoch || *partition_epoch < self.partition_epoch {
                    self.alteration = Some(Alteration::AwaitsMetadata);
                    return false;
                }
                self.partition_epoch = *partition_epoch;
                self.alteration = None;
                for follower in &mut self.followers {
                    let is_in = isr.contains(&follower.id);
                    follower.member = if is_in { Member::In } else { Member::Out };
                }
                self.commit()
            }
            AlterAnswer::Refused(code) => self.refused(*code, now),
            AlterAnswer::Lost => {
                self.alteration = Some(Alteration::Due(now + BACKOFF));
                false
            }
        }
    }

    fn refused(&mut self, code: ErrorCode, now: Millis) -> bool {
        match code {
            // The controller knows the partition as this node does, and has changed nothing.
            ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted => {
                self.alteration = None;
                self.quiet_until = now + BACKOFF;
                for follower in &mut self.followers {
                    follower.member = match follower.member {
                        Member::In | Member::Leaving => Member::In,
                        Member::Out | Member::Joining => Member::Out,
                    };
                }
                self.commit()
            }
            // NEW_LEADER_ELECTED means that it happened, and that another leads since.
            ErrorCode::InvalidUpdateVersion
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::NewLeaderElected
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InvalidRequest => {
                self.alteration = Some(Alteration::AwaitsMetadata);
                false
            }
            // Anything else says nothing of the partition: another controller, a busy one.
            _ => {
                self.alteration = Some(Alteration::Due(now + BACKOFF));
                false
            }
        }
    }

    /// Takes newer metadata of the partition, which this node still leads; whether the high
    /// watermark moved. Older metadata than what is known changes nothing.
    pub fn learn(&mut self, term: &Term<'_>, log_end: Offset, now: Millis) -> bool {
        if (term.epoch, term.partition_epoch) <= (self.epoch, self.partition_epoch) {
            return false;
        }
        self.partition_epoch = term.partition_epoch;
        self.min_isr = term.min_isr;
        // What was proposed on an older state can no longer happen, or is part of this one.
        self.alteration = None;
        self.set_members(term, now);
        self.set_epoch(term.epoch, log_end, now);
        self.commit()
    }

    /// Marks who is to leave and to join; whether anybody is.
    fn choose_members(
        &mut self,
        log_end: Offset,
        (now, lag_max): (Millis, Millis),
        eligible: impl Fn(BrokerId) -> Option<i64>,
    ) -> bool {
        let mut changes = false;
        for at in 0..self.followers.len() {
            let follower = &self.followers[at];
            let to = match follower.member {
                Member::In if !follower.is_caught_up(log_end, now, lag_max) => Member::Leaving,
                Member::Out
                    if self.has_all(follower) && is_eligible(follower, eligible(follower.id)) =>
                {
                    Member::Joining
                }
                Member::In | Member::Out | Member::Joining | Member::Leaving => continue,
            };
            self.followers[at].member = to;
            changes = true;
        }
        changes
    }

    /// Whether it has all that is committed, and all that was there when this epoch began.
    fn has_all(&self, follower: &Progress) -> bool {
        follower.end.is_some_and(|end| end >= self.high_watermark && end >= self.epoch_start)
    }

    fn proposal(&self) -> AlterPartition {
        let wanted = |follower: &&Progress| matches!(follower.member, Member::In | Member::Joining);
        let followers = self.followers.iter().filter(wanted);
        AlterPartition {
            leader_epoch: self.epoch,
            partition_epoch: self.partition_epoch,
            followers: followers.map(|f| (f.id, f.broker_epoch.unwrap_or(-1))).collect(),
        }
    }
}
