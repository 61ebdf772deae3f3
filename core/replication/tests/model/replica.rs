//! One replica of the model: a log, and the real leader or follower on top of it.

use thalweg_replication::{
    AlterAnswer, AlterPartition, FetchVerdict, Follower, Leader, LeaderAnswer, OwnLog,
    ReplicaFetch, Step, Term, Want,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset};

use crate::support::{Entry, Log, PartitionState};

/// Nothing is late yet, and everything is.
pub const EARLY: Millis = Millis(0);
pub const LATE: Millis = Millis(1_000_000);
const LAG_MAX: Millis = Millis(10);

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Role {
    #[default]
    None,
    Leader(Leader),
    Follower(Follower),
}

/// An answer to a follower.
pub struct Answer {
    asked: Want,
    error: ErrorCode,
    diverging: Option<thalweg_replication::EpochEnd>,
    high_watermark: Option<Offset>,
    records: Vec<Entry>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Replica {
    pub log: Log,
    pub role: Role,
    pub is_up: bool,
    pub incarnation: i64,
    /// No metadata of before this counts: it was meant for a former process.
    pub registered_at: i32,
    /// A change of the ISR that is under way.
    pub altering: Option<AlterPartition>,
}

impl Default for Replica {
    fn default() -> Self {
        Self {
            log: Log::default(),
            role: Role::None,
            is_up: true,
            incarnation: 1,
            registered_at: 0,
            altering: None,
        }
    }
}

pub fn broker(at: usize) -> BrokerId {
    BrokerId(i32::try_from(at).expect("few replicas"))
}

impl Replica {
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    pub fn high_watermark(&self) -> Offset {
        match &self.role {
            Role::None => Offset::ZERO,
            Role::Leader(leader) => leader.high_watermark(),
            Role::Follower(follower) => follower.high_watermark(),
        }
    }

    fn epoch(&self) -> LeaderEpoch {
        match &self.role {
            Role::None => LeaderEpoch(-1),
            Role::Leader(leader) => leader.epoch(),
            Role::Follower(follower) => follower.epoch(),
        }
    }

    pub fn is_behind(&self, metadata: &PartitionState) -> bool {
        let knows_change = match &self.role {
            Role::Leader(leader) => leader.partition_epoch() >= metadata.partition_epoch,
            Role::None | Role::Follower(_) => true,
        };
        metadata.partition_epoch >= self.registered_at
            && (self.epoch() < metadata.leader_epoch || !knows_change)
    }

    pub fn learn(&mut self, at: usize, metadata: &PartitionState) {
        let (log_end, own_end) = (self.log.end(), self.log.durable_end());
        let term = Term {
            epoch: metadata.leader_epoch,
            partition_epoch: metadata.partition_epoch,
            replicas: &metadata.replicas,
            isr: &metadata.isr,
            min_isr: metadata.min_isr,
        };
        let (epoch, high_watermark) = (self.epoch(), self.high_watermark());
        if metadata.leader == Some(broker(at)) {
            if let Role::Leader(leader) = &mut self.role {
                leader.learn(&term, log_end, EARLY);
            } else {
                let ends = (log_end, own_end);
                let leader = Leader::new(broker(at), &term, ends, high_watermark, EARLY);
                self.role = Role::Leader(leader);
            }
        } else if epoch < term.epoch {
            let follower = Follower::new(term.epoch, metadata.leader, high_watermark);
            self.role = Role::Follower(follower);
        }
        self.altering.take_if(|sent| sent.leader_epoch < term.epoch);
    }

    pub fn append(&mut self, value: u32) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.check_min_isr().is_ok() {
            self.log.entries.push(Entry { epoch: leader.epoch(), value });
        }
    }

    pub fn sync(&mut self) {
        self.log.sync();
        if let Role::Leader(leader) = &mut self.role {
            leader.advance(self.log.durable_end());
        }
    }

    /// Loses what was not synced.
    pub fn crash(&mut self) {
        let log = Log { entries: self.log.entries[..self.log.synced].to_vec(), ..self.log };
        *self = Self { log, is_up: false, incarnation: self.incarnation, ..Self::default() };
    }

    fn own(&self) -> OwnLog {
        self.log.own(self.log.durable_end())
    }

    /// What it asks whom, if it follows.
    pub fn want(&self) -> Option<(BrokerId, Want)> {
        let Role::Follower(follower) = &self.role else { return None };
        Some((follower.leader()?, follower.want(&self.own())?))
    }

    /// Answers a follower's fetch.
    pub fn answer(
        &mut self,
        (from, incarnation): (BrokerId, i64),
        asked: Want,
        eligible: impl Fn(BrokerId) -> Option<i64>,
    ) -> Option<Answer> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let (log, epoch) = (&self.log, leader.epoch());
        let fetch = ReplicaFetch {
            replica: from,
            broker_epoch: Some(incarnation),
            leader_epoch: Some(asked.leader_epoch),
            fetch_offset: asked.fetch_offset,
            last_fetched_epoch: asked.last_fetched_epoch,
            log_start: Some(asked.log_start),
            high_watermark: Some(asked.high_watermark),
        };
        let range = (Offset::ZERO, log.end());
        let end_of = |epoch_asked| log.end_of_for_leader(epoch_asked, epoch);
        let answer = |error, diverging, high_watermark| Answer {
            asked,
            error,
            diverging,
            high_watermark,
            records: vec![],
        };
        Some(match leader.follower_fetch(&fetch, range, end_of, (EARLY, LAG_MAX), eligible) {
            FetchVerdict::Refused(error) => answer(error, None, None),
            FetchVerdict::Diverging(at) => answer(ErrorCode::None, Some(at), None),
            FetchVerdict::Read { .. } => Answer {
                records: log.read(asked.fetch_offset, 1),
                ..answer(ErrorCode::None, None, Some(leader.high_watermark()))
            },
        })
    }

    /// Takes the leader's answer; says what went wrong, if anything did.
    pub fn take(&mut self, answer: &Answer) -> Option<&'static str> {
        let own = self.own();
        let Role::Follower(follower) = &mut self.role else { return None };
        let told = LeaderAnswer {
            error: answer.error,
            diverging: answer.diverging,
            high_watermark: answer.high_watermark,
            log_start: Some(Offset::ZERO),
        };
        let log = &mut self.log;
        match follower.take(&answer.asked, &told, &own, |epoch| log.end_of(epoch)) {
            Step::Append => {
                log.entries.extend(&answer.records);
                follower.learned(&told, &log.own(log.durable_end()));
                None
            }
            Step::Truncate(at) => {
                log.truncate(at);
                follower.truncated(at).then_some("what was known to be committed is cut")
            }
            Step::Ignore | Step::BackOff(_) | Step::AwaitMetadata => None,
            Step::AskOffsets => Some("a log is out of its leader's range"),
        }
    }

    /// Looks for changes of the ISR to ask for.
    pub fn poll(&mut self, now: Millis, eligible: impl Fn(BrokerId) -> Option<i64>) {
        let log_end = self.log.end();
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(alter) = leader.poll(log_end, (now, LAG_MAX), eligible).alter {
            self.altering = Some(alter);
        }
    }

    /// The controller's answer arrives, or is lost.
    pub fn altered(&mut self, answer: &AlterAnswer) {
        let sent = self.altering.take().expect("it is under way");
        if let Role::Leader(leader) = &mut self.role {
            leader.altered(&sent, answer, EARLY);
        }
    }
}
