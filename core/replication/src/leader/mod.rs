//! The leader's view of one partition: how far its own log and each follower's reaches, who is in
//! sync, and the high watermark that follows from both.
//!
//! [`Leader`] decides and never acts. It is told what its log has made acknowledgeable
//! ([`Leader::advance`]), what a follower asks for ([`Leader::follower_fetch`]), what the metadata
//! says ([`Leader::learn`]) and what time it is ([`Leader::poll`]). It answers what to serve, whether
//! the high watermark moved, and which change of the ISR to ask the controller for.
//!
//! Not here: reading and appending (the shard), who waits for the high watermark (`purgatory`),
//! whether the controller agrees (`core/metadata`).

mod fetch;
mod isr;
mod progress;
mod read_replica;

pub use fetch::{FetchVerdict, ReplicaFetch};
use isr::Alteration;
pub use isr::{AlterAnswer, AlterPartition, Poll};
use progress::{Member, Progress};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset};

/// What the metadata says of a partition that this node leads.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// How often the leader has changed.
    pub epoch: LeaderEpoch,
    /// How often anything of the partition has changed.
    pub partition_epoch: i32,
    /// Every replica, this node's among them.
    pub replicas: &'a [BrokerId],
    /// The replicas in sync, as committed by the controller.
    pub isr: &'a [BrokerId],
    /// `min.insync.replicas`, as set: what counts is at most the number of replicas.
    pub min_isr: usize,
}

/// Replication state of a partition on its leader.
///
/// The high watermark is the smallest end among the replicas that may be in sync (the committed
/// ISR and whoever was proposed to it), and never moves back. The leader is always in sync with
/// itself, so with one replica it is the leader's own acknowledgeable end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Leader {
    id: BrokerId,
    epoch: LeaderEpoch,
    partition_epoch: i32,
    /// Where this epoch's first record is or will be.
    epoch_start: Offset,
    /// How far the leader's own log may be acknowledged.
    own_end: Offset,
    high_watermark: Offset,
    /// `min.insync.replicas`, as set; what counts is at most the number of replicas.
    min_isr: usize,
    followers: Vec<Progress>,
    alteration: Option<Alteration>,
    /// No change is proposed before, since one was just refused.
    quiet_until: Millis,
}

impl Leader {
    /// The leader of a partition with one replica, with everything below `end` on its disk.
    pub fn alone(id: BrokerId, epoch: LeaderEpoch, end: Offset) -> Self {
        let term = Term { epoch, partition_epoch: 0, replicas: &[id], isr: &[id], min_isr: 1 };
        Self::new(id, &term, (end, end), end, Millis::ZERO)
    }

    /// A leader that begins its term. `log_end` and `own_end` are the end of its log and how much
    /// of it may be acknowledged, `high_watermark` what it knew of as a follower or before a
    /// restart.
    pub fn new(
        id: BrokerId,
        term: &Term<'_>,
        (log_end, own_end): (Offset, Offset),
        high_watermark: Offset,
        now: Millis,
    ) -> Self {
        let mut leader = Self {
            id,
            epoch: term.epoch,
            partition_epoch: term.partition_epoch,
            epoch_start: log_end,
            own_end,
            high_watermark: high_watermark.min(log_end),
            min_isr: term.min_isr,
            followers: vec![],
            alteration: None,
            quiet_until: Millis::ZERO,
        };
        leader.set_members(term, now);
        leader.commit();
        leader
    }

    /// The epoch in which this node leads.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// How often anything of the partition has changed, as far as this node knows.
    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// The end of what is committed: consumers read below it, `acks=all` waits for it.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The high watermark as an answer to "where is the end?", which a leader cannot give before
    /// everything of former epochs is known to be committed (OFFSET_NOT_AVAILABLE, KIP-207): a
    /// client that asks twice must not see it go back.
    pub fn latest_offset(&self) -> Option<Offset> {
        (self.high_watermark >= self.epoch_start).then_some(self.high_watermark)
    }

    /// Sets `min.insync.replicas`; whether the high watermark moved.
    pub fn set_min_isr(&mut self, min_isr: usize) -> bool {
        self.min_isr = min_isr;
        self.commit()
    }

    /// Whether an append that is to be acknowledged by all in sync may begin.
    ///
    /// There is no check behind the append: while the ISR is too small the high watermark stands
    /// still, so whatever it passes was on enough replicas.
    ///
    /// # Errors
    /// NOT_ENOUGH_REPLICAS while the ISR is smaller than `min.insync.replicas`.
    pub fn check_min_isr(&self) -> Result<(), ErrorCode> {
        if self.is_under_min_isr() { Err(ErrorCode::NotEnoughReplicas) } else { Ok(()) }
    }

    /// Whether the committed ISR is smaller than `min.insync.replicas`; a partition with fewer
    /// replicas than that needs all of them.
    pub fn is_under_min_isr(&self) -> bool {
        let in_sync = self.followers.iter().filter(|follower| follower.member.is_committed());
        1 + in_sync.count() < self.min_isr.min(1 + self.followers.len())
    }

    /// The committed ISR, this node first.
    pub fn isr(&self) -> impl Iterator<Item = BrokerId> {
        let followers = self.followers.iter().filter(|follower| follower.member.is_committed());
        std::iter::once(self.id).chain(followers.map(|follower| follower.id))
    }

    /// Tells that the leader's own log is acknowledgeable up to `end`; whether the high watermark
    /// moved.
    ///
    /// What makes it acknowledgeable is the partition's durability: a sync, or the write alone.
    ///
    /// # Panics
    /// If `end` moves back: what was durable stays durable.
    pub fn advance(&mut self, end: Offset) -> bool {
        assert!(end >= self.own_end, "durable end {end} is below {}", self.own_end);
        self.own_end = end;
        self.commit()
    }

    /// This node goes on leading, in a later epoch: what followers have is to be shown anew.
    ///
    /// # Panics
    /// If the epoch moves back.
    pub fn set_epoch(&mut self, epoch: LeaderEpoch, log_end: Offset, now: Millis) {
        assert!(epoch >= self.epoch, "leader epoch {epoch} is below {}", self.epoch);
        if epoch > self.epoch {
            self.epoch = epoch;
            self.epoch_start = log_end;
            for follower in &mut self.followers {
                *follower = Progress::new(follower.id, follower.member, now);
            }
        }
    }

    /// The first offset that every replica has given up; `None` while one has not said.
    /// `own_start` is where this node's log begins. Replicas that are not `is_alive` do not count:
    /// DeleteRecords must not wait for them.
    pub fn low_watermark(
        &self,
        own_start: Offset,
        is_alive: impl Fn(BrokerId) -> bool,
    ) -> Option<Offset> {
        let alive = self.followers.iter().filter(|follower| is_alive(follower.id));
        alive
            .map(|follower| follower.log_start)
            .try_fold(own_start, |low, start| Some(low.min(start?)))
    }

    /// Moves the high watermark as far as it may go; whether it moved.
    fn commit(&mut self) -> bool {
        if self.is_under_min_isr() {
            return false;
        }
        let mut end = self.own_end;
        for follower in self.followers.iter().filter(|follower| follower.counts()) {
            // Who has not fetched in this epoch has not shown that its log agrees with this one.
            let Some(has) = follower.end else { return false };
            end = end.min(has);
        }
        let moves = end > self.high_watermark;
        self.high_watermark = self.high_watermark.max(end);
        moves
    }

    /// Takes over who the replicas are and who of them is in sync.
    fn set_members(&mut self, term: &Term<'_>, now: Millis) {
        let others = term.replicas.iter().filter(|&&id| id != self.id);
        let followers = others.map(|&id| {
            let member = if term.isr.contains(&id) { Member::In } else { Member::Out };
            match self.followers.iter().find(|follower| follower.id == id) {
                Some(known) => Progress { member, is_awaited: false, ..known.clone() },
                None => Progress::new(id, member, now),
            }
        });
        self.followers = followers.collect();
    }
}

#[cfg(test)]
mod tests;
