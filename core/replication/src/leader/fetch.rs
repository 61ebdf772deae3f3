//! A follower's fetch: whether its log agrees with the leader's, and what it proves.

use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset};

use super::Leader;
use crate::divergence::{EpochEnd, divergence};
use crate::epoch::check_epoch;
use crate::news::Readable;

/// What a follower says with a Fetch.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ReplicaFetch {
    /// Who asks.
    pub replica: BrokerId,
    /// Its incarnation (KIP-903), `None` where it does not say.
    pub broker_epoch: Option<i64>,
    /// The epoch in which it takes this node for the leader.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The first offset it wants. All that is below may be counted on: it is on its disk where the
    /// partition's durability is `sync`.
    pub fetch_offset: Offset,
    /// The epoch of its last record, `None` for an empty log.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Where its log begins.
    pub log_start: Option<Offset>,
    /// The high watermark it knows (KIP-1166), `None` where it does not say.
    pub high_watermark: Option<Offset>,
}

/// What a follower's fetch is answered with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchVerdict {
    /// An error; nothing is counted.
    Refused(ErrorCode),
    /// The logs part: the follower has to cut its own; nothing is counted.
    Diverging(EpochEnd),
    /// Records from its offset on, as far as there are any.
    Read {
        /// Whether the high watermark moved.
        moved: bool,
        /// Whether to answer even if there is no record: what the follower knows is old.
        at_once: bool,
    },
}

impl Leader {
    /// Takes note of a follower's fetch and says what to answer.
    ///
    /// `log` is where the leader's log begins and ends, `end_of` the end of an epoch in it,
    /// `eligible` gives the epoch of a broker that is neither fenced nor shutting down.
    pub fn follower_fetch(
        &mut self,
        fetch: &ReplicaFetch,
        log: (Offset, Offset),
        end_of: impl FnOnce(LeaderEpoch) -> Option<EpochEnd>,
        (now, lag_max): (Millis, Millis),
        eligible: impl Fn(BrokerId) -> Option<i64>,
    ) -> FetchVerdict {
        if let Err(refused) = self.check_follower(fetch) {
            return FetchVerdict::Refused(refused);
        }
        if let Some(last_epoch) = fetch.last_fetched_epoch {
            // A leader knows its own epoch at least, so an epoch that it cannot place is none of
            // its log's.
            let Some(end) = end_of(last_epoch) else {
                return FetchVerdict::Refused(ErrorCode::OffsetOutOfRange);
            };
            if let Some(end) = divergence(last_epoch, fetch.fetch_offset, end) {
                return FetchVerdict::Diverging(end);
            }
        }
        let (log_start, log_end) = log;
        if fetch.fetch_offset < log_start || fetch.fetch_offset > log_end {
            return FetchVerdict::Refused(ErrorCode::OffsetOutOfRange);
        }
        let follower = self.followers.iter_mut().find(|follower| follower.id == fetch.replica);
        let follower = follower.expect("it was checked to be a replica");
        follower.broker_epoch = fetch.broker_epoch;
        follower.log_start = fetch.log_start;
        follower.note_fetch(fetch.fetch_offset, log_end, now);
        follower.is_awaited = follower.is_caught_up(log_end, now, lag_max)
            && super::isr::is_eligible(follower, eligible(follower.id));
        let moved = self.commit();
        let here =
            Readable { log_start: Some(log_start), high_watermark: Some(self.high_watermark) };
        let known = Readable { log_start: fetch.log_start, high_watermark: fetch.high_watermark };
        let at_once = here.is_news_to(&known, fetch.fetch_offset);
        FetchVerdict::Read { moved, at_once }
    }

    fn check_follower(&self, fetch: &ReplicaFetch) -> Result<(), ErrorCode> {
        check_epoch(fetch.leader_epoch, self.epoch)?;
        let follower = self.followers.iter().find(|follower| follower.id == fetch.replica);
        // Either side may have heard of a reassignment first; with an epoch it is told to wait.
        let follower = follower.ok_or(match fetch.leader_epoch {
            Some(_) => ErrorCode::UnknownLeaderEpoch,
            None => ErrorCode::NotLeaderOrFollower,
        })?;
        // A former incarnation's fetch, late: it proves nothing of the present one.
        if fetch.broker_epoch.is_some() && fetch.broker_epoch < follower.broker_epoch {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(())
    }
}
