//! A follower's view of one partition: what to ask the leader for, and what its answer means.
//!
//! [`Follower`] holds what outlives a fetch: whom it follows, in which epoch, and the high watermark.
//! [`Follower::want`] says what to ask for; [`Follower::take`] turns an answer into one [`Step`] on
//! the log, after which [`Follower::learned`] or [`Follower::truncated`] says what is known now.
//!
//! Not here: which partitions one request asks for (`fetcher`), cutting and appending (the shard).
//! A log that lost a range in its middle does not fetch as a follower: to fill it again is a read of
//! its own, beside this.

use types::{BrokerId, ErrorCode, LeaderEpoch, Offset};

use crate::divergence::{EpochEnd, truncation};
use crate::fetcher::Want;

/// A follower's own log, as far as fetching goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OwnLog {
    /// Where it begins.
    pub start: Offset,
    /// Where it ends.
    pub end: Offset,
    /// How far it may be counted on: what is on the disk, or what is written, by the partition's
    /// durability.
    pub counted_end: Offset,
    /// The epoch of its last record; not one that began and wrote nothing.
    pub last_epoch: Option<LeaderEpoch>,
}

/// What the leader says of one partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaderAnswer {
    /// The partition's error code.
    pub error: ErrorCode,
    /// Where the logs part, instead of records.
    pub diverging: Option<EpochEnd>,
    /// The leader's high watermark.
    pub high_watermark: Option<Offset>,
    /// Where the leader's log begins.
    pub log_start: Option<Offset>,
}

/// What to do with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing: it answers what is no longer asked.
    Ignore,
    /// Append its records, if there are any, then [`Follower::learned`].
    Append,
    /// Cut the log to here, then [`Follower::truncated`].
    Truncate(Offset),
    /// Ask the leader where its log begins and ends, then [`Follower::out_of_range`].
    AskOffsets,
    /// Ask again after `replica.fetch.backoff.ms`.
    BackOff(ErrorCode),
    /// Ask no more until the metadata names another epoch: this one is over.
    AwaitMetadata,
}

/// How a log is put right that has nothing at all in common with its leader's range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Realign {
    /// Cut it to here.
    Truncate(Offset),
    /// Drop it all and begin anew here: the leader has nothing older.
    StartAt(Offset),
    /// It is in range by now.
    FetchOn,
}

/// What a follower learned from an answer that it took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Learned {
    /// Whether the high watermark moved, so that its readers may go on.
    pub moved: bool,
    /// Give up what is before this offset, as the leader has.
    pub log_start: Option<Offset>,
}

/// Replication state of a partition on a follower.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Follower {
    epoch: LeaderEpoch,
    leader: Option<BrokerId>,
    high_watermark: Offset,
}

impl Follower {
    /// A follower of `leader`, if there is one, that knows of `high_watermark`.
    pub fn new(epoch: LeaderEpoch, leader: Option<BrokerId>, high_watermark: Offset) -> Self {
        Self { epoch, leader, high_watermark }
    }

    /// Whom it follows.
    pub fn leader(&self) -> Option<BrokerId> {
        self.leader
    }

    /// The epoch of that leader.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The end of what it knows to be committed, which it may serve to consumers near it.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// What to ask for next; `None` while there is no leader, or while the disk has not caught up
    /// with the log: to ask for what comes next says that all before may be counted on.
    pub fn want(&self, log: &OwnLog) -> Option<Want> {
        (self.leader.is_some() && log.counted_end >= log.end).then_some(Want {
            leader_epoch: self.epoch,
            fetch_offset: log.end,
            last_fetched_epoch: log.last_epoch,
            log_start: log.start,
            high_watermark: self.high_watermark,
        })
    }

    /// What to do with the answer to `asked`; `end_of` gives the end of an epoch in the own log.
    pub fn take(
        &self,
        asked: &Want,
        answer: &LeaderAnswer,
        log: &OwnLog,
        end_of: impl FnOnce(LeaderEpoch) -> Option<EpochEnd>,
    ) -> Step {
        if asked.leader_epoch != self.epoch || asked.fetch_offset != log.end {
            return Step::Ignore;
        }
        match (answer.error, answer.diverging) {
            (ErrorCode::None, None) => Step::Append,
            (ErrorCode::None, Some(leaders)) => {
                Step::Truncate(truncation(leaders, end_of(leaders.epoch), log.end))
            }
            (ErrorCode::OffsetOutOfRange, _) => Step::AskOffsets,
            (ErrorCode::FencedLeaderEpoch, _) => Step::AwaitMetadata,
            (code, _) => Step::BackOff(code),
        }
    }

    /// The records of an answer, if there were any, are appended: the log ends at `log.end`.
    pub fn learned(&mut self, answer: &LeaderAnswer, log: &OwnLog) -> Learned {
        let committed = answer.high_watermark.unwrap_or(Offset::ZERO).min(log.end);
        let moved = committed > self.high_watermark;
        self.high_watermark = self.high_watermark.max(committed);
        Learned { moved, log_start: answer.log_start.filter(|start| *start > log.start) }
    }

    /// The log was cut, so that it ends at `end`. Only after an unclean election does that take
    /// away what was known to be committed; whether it did.
    pub fn truncated(&mut self, end: Offset) -> bool {
        let took_committed = end < self.high_watermark;
        self.high_watermark = self.high_watermark.min(end);
        took_committed
    }

    /// What to do when the fetch offset is out of the leader's range, which is `leaders`.
    pub fn out_of_range(&self, leaders: (Offset, Offset), log: &OwnLog) -> Realign {
        let (start, end) = leaders;
        if end < log.end {
            Realign::Truncate(end)
        } else if log.end < start {
            Realign::StartAt(start)
        } else {
            Realign::FetchOn
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: OwnLog = OwnLog {
        start: Offset::new(2),
        end: Offset::new(10),
        counted_end: Offset::new(10),
        last_epoch: Some(LeaderEpoch(4)),
    };
    const DATA: LeaderAnswer = LeaderAnswer {
        error: ErrorCode::None,
        diverging: None,
        high_watermark: Some(Offset::new(8)),
        log_start: Some(Offset::new(5)),
    };

    fn follower() -> Follower {
        Follower::new(LeaderEpoch(5), Some(BrokerId(1)), Offset::new(6))
    }

    fn end(epoch: i32, end: i64) -> EpochEnd {
        EpochEnd { epoch: LeaderEpoch(epoch), end: Offset::new(end) }
    }

    #[test]
    fn a_follower_asks_for_more_only_once_its_disk_has_all() {
        let behind = OwnLog { counted_end: Offset::new(9), ..LOG };
        assert_eq!(follower().want(&behind), None);
        assert_eq!(Follower::new(LeaderEpoch(5), None, Offset::ZERO).want(&LOG), None);
        let want = follower().want(&LOG).unwrap();
        assert_eq!((want.fetch_offset, want.last_fetched_epoch), (LOG.end, LOG.last_epoch));
    }

    #[test]
    fn each_answer_has_its_step() {
        let error = |error| LeaderAnswer { error, ..DATA };
        let part = |at| LeaderAnswer { diverging: Some(at), ..DATA };
        let cases = [
            ("records", DATA, Step::Append),
            ("same epoch, leader shorter", part(end(3, 7)), Step::Truncate(Offset::new(7))),
            ("same epoch, own shorter", part(end(3, 9)), Step::Truncate(Offset::new(8))),
            ("leader names an epoch unknown here", part(end(2, 7)), Step::Truncate(Offset::new(4))),
            ("older than all here", part(end(0, 3)), Step::Truncate(Offset::new(3))),
            ("out of range", error(ErrorCode::OffsetOutOfRange), Step::AskOffsets),
            ("own epoch is old", error(ErrorCode::FencedLeaderEpoch), Step::AwaitMetadata),
            (
                "leader's epoch is old",
                error(ErrorCode::UnknownLeaderEpoch),
                Step::BackOff(ErrorCode::UnknownLeaderEpoch),
            ),
        ];
        // Own epochs: 1 up to 4, 3 up to 8, 4 up to 10.
        let own = |epoch: LeaderEpoch| match epoch.0 {
            ..1 => None,
            1 | 2 => Some(end(1, 4)),
            3 => Some(end(3, 8)),
            _ => Some(end(4, 10)),
        };
        let asked = follower().want(&LOG).unwrap();
        for (name, answer, step) in cases {
            assert_eq!(follower().take(&asked, &answer, &LOG, own), step, "{name}");
        }
    }

    #[test]
    fn answers_to_former_questions_are_ignored() {
        let asked = follower().want(&LOG).unwrap();
        let next_epoch = Follower::new(LeaderEpoch(6), Some(BrokerId(2)), Offset::new(6));
        assert_eq!(next_epoch.take(&asked, &DATA, &LOG, |_| None), Step::Ignore);
        let cut = OwnLog { end: Offset::new(9), ..LOG };
        assert_eq!(follower().take(&asked, &DATA, &cut, |_| None), Step::Ignore);
    }

    #[test]
    fn high_watermark_follows_the_leaders_within_the_own_log() {
        let mut follower = follower();
        let learned = follower.learned(&DATA, &LOG);
        assert_eq!(learned, Learned { moved: true, log_start: Some(Offset::new(5)) });
        let ahead = LeaderAnswer { high_watermark: Some(Offset::new(20)), ..DATA };
        follower.learned(&ahead, &LOG);
        assert_eq!(follower.high_watermark(), LOG.end);
        assert!(!follower.learned(&DATA, &LOG).moved);
        assert_eq!(follower.high_watermark(), LOG.end);
        assert!(follower.truncated(Offset::new(9)));
        assert_eq!(follower.high_watermark(), Offset::new(9));
    }

    #[test]
    fn out_of_range_logs_are_cut_or_begun_anew() {
        let range = |start, end| (Offset::new(start), Offset::new(end));
        let follower = follower();
        let answer = |leaders| follower.out_of_range(leaders, &LOG);
        assert_eq!(answer(range(0, 7)), Realign::Truncate(Offset::new(7)));
        assert_eq!(answer(range(15, 20)), Realign::StartAt(Offset::new(15)));
        assert_eq!(answer(range(0, 20)), Realign::FetchOn);
    }
}
