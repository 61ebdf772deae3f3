//! What a controller decides of one partition, simplified: elections from the ISR or the ELR
//! (KIP-966), and changes of the ISR that a leader asks for.

use thalweg_replication::{AlterAnswer, AlterPartition};
use types::{BrokerId, ErrorCode, LeaderEpoch};

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PartitionState {
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    pub elr: Vec<BrokerId>,
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// `min.insync.replicas`.
    pub min_isr: usize,
}

impl PartitionState {
    /// All replicas in sync, and nobody leads yet.
    pub fn new(replicas: &[BrokerId], min_isr: usize) -> Self {
        Self {
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            elr: vec![],
            leader: None,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            min_isr,
        }
    }

    /// Judges a change of the ISR; `active_epoch` is that of a broker that may be in one.
    pub fn alter(
        &mut self,
        leader: BrokerId,
        alter: &AlterPartition,
        active_epoch: impl Fn(BrokerId) -> Option<i64>,
    ) -> AlterAnswer {
        if self.leader != Some(leader) || self.leader_epoch != alter.leader_epoch {
            return AlterAnswer::Refused(ErrorCode::FencedLeaderEpoch);
        }
        if self.partition_epoch != alter.partition_epoch {
            return AlterAnswer::Refused(ErrorCode::InvalidUpdateVersion);
        }
        // Members that stay are not judged anew.
        let is_fit = |&(id, epoch): &(BrokerId, i64)| {
            self.isr.contains(&id) || active_epoch(id) == Some(epoch)
        };
        if !alter.followers.iter().all(is_fit) {
            return AlterAnswer::Refused(ErrorCode::IneligibleReplica);
        }
        let followers = alter.followers.iter().map(|one| one.0);
        self.set_isr(std::iter::once(leader).chain(followers).collect());
        AlterAnswer::Altered {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr: self.isr.clone(),
        }
    }

    /// A broker is fenced: it is in sync no more and does not lead. Whether anything changes.
    pub fn leave(&mut self, id: BrokerId) -> bool {
        let is_in = self.isr.contains(&id);
        if is_in {
            self.set_isr(self.isr.iter().copied().filter(|&one| one != id).collect());
        }
        let leads = self.leader == Some(id);
        if leads {
            self.set_leader(None);
        }
        is_in || leads
    }

    /// Where nobody leads, elects somebody. Whether it did.
    pub fn elect(&mut self, is_active: impl Fn(BrokerId) -> bool) -> bool {
        let candidates = if self.isr.is_empty() { &self.elr } else { &self.isr };
        let fit = candidates.iter().copied().find(|&id| is_active(id));
        let (None, Some(leader)) = (self.leader, fit) else { return false };
        if self.isr.is_empty() {
            self.set_isr(vec![leader]);
        }
        self.set_leader(Some(leader));
        true
    }

    pub fn set_leader(&mut self, leader: Option<BrokerId>) {
        self.leader = leader;
        self.leader_epoch.0 += 1;
        self.partition_epoch += 1;
    }

    /// Below the minimum, whoever leaves stays eligible: nothing is committed without it.
    fn set_isr(&mut self, isr: Vec<BrokerId>) {
        let former = self.elr.iter().chain(&self.isr).copied();
        let mut elr: Vec<_> = former.filter(|id| !isr.contains(id)).collect();
        elr.sort();
        elr.dedup();
        self.elr = if isr.len() < self.min_isr { elr } else { vec![] };
        self.isr = isr;
        self.partition_epoch += 1;
    }
}
