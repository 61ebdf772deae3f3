//! The state of the model, the steps that lead from one to the next, and what must hold in each.

use thalweg_replication::AlterAnswer;

use crate::replica::{Answer, EARLY, LATE, Replica, Role, broker};
use crate::support::{Entry, PartitionState, index};
use crate::{REPLICAS, active_epoch};

/// A step of one replica, or of the controller with one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// A producer's record comes to it as a leader.
    Append(usize),
    /// Its disk has all.
    Sync(usize),
    /// It asks, the leader answers, and it takes the answer.
    Pull(usize),
    /// It asks, and the answer is lost.
    PullLost(usize),
    /// It hears what the metadata is now.
    Learn(usize),
    /// As a leader it looks who has caught up.
    Expand(usize),
    /// As a leader it looks who has been behind for too long.
    Shrink(usize),
    /// The controller decides on its change of the ISR, and it hears of it.
    Alter(usize),
    /// The controller decides, and the answer is lost.
    AlterLost(usize),
    /// The change never reaches the controller.
    AlterUnseen(usize),
    /// The controller has not heard of it for too long, whether it is down or not.
    Fence(usize),
    /// The controller hears of it again.
    Unfence(usize),
    /// It loses what was not synced.
    Crash(usize),
    /// It begins anew, as another incarnation.
    Restart(usize),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    pub metadata: PartitionState,
    pub replicas: [Replica; REPLICAS],
    /// Who is not fenced.
    pub active: [bool; REPLICAS],
    pub values: u32,
    pub crashes: u8,
    /// What some replica has served as committed.
    pub committed: Vec<Entry>,
    /// What must not happen, and has.
    pub broken: Option<&'static str>,
}

impl State {
    pub fn new(metadata: PartitionState, replicas: [Replica; REPLICAS]) -> Self {
        Self {
            metadata,
            replicas,
            active: [true; REPLICAS],
            values: 0,
            crashes: 0,
            committed: vec![],
            broken: None,
        }
    }

    pub fn act(&mut self, action: Action) {
        let before: Vec<_> = self.replicas.iter().map(Replica::high_watermark).collect();
        match action {
            Action::Append(at) => {
                self.values += 1;
                self.replicas[at].append(self.values);
            }
            Action::Sync(at) => self.replicas[at].sync(),
            Action::Pull(at) => {
                let answer = self.fetch(at);
                self.broken = answer.and_then(|answer| self.replicas[at].take(&answer));
            }
            Action::PullLost(at) => _ = self.fetch(at),
            Action::Learn(at) => self.learn(at),
            Action::Expand(at) => self.with_eligible(at, |one, fit| one.poll(EARLY, fit)),
            Action::Shrink(at) => self.with_eligible(at, |one, fit| one.poll(LATE, fit)),
            Action::Alter(at) => {
                let answer = self.judge(at);
                self.replicas[at].altered(&answer);
            }
            Action::AlterLost(at) => {
                self.judge(at);
                self.replicas[at].altered(&AlterAnswer::Lost);
            }
            Action::AlterUnseen(at) => self.replicas[at].altered(&AlterAnswer::Lost),
            Action::Fence(at) => {
                self.active[at] = false;
                self.leave(at);
            }
            Action::Unfence(at) => {
                self.active[at] = true;
                self.elect();
            }
            Action::Crash(at) => {
                self.crashes += 1;
                self.replicas[at].crash();
                return;
            }
            Action::Restart(at) => self.restart(at),
        }
        for (at, before) in before.into_iter().enumerate() {
            self.look_at(at, index(before));
        }
    }

    fn fetch(&mut self, at: usize) -> Option<Answer> {
        let (leader, want) = self.replicas[at].want()?;
        let from = (broker(at), self.replicas[at].incarnation);
        let mut answer = None;
        let leader = usize::try_from(leader.0).expect("ids count from 0");
        self.with_eligible(leader, |one, fit| answer = one.answer(from, want, fit));
        answer
    }

    fn with_eligible(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Replica, &dyn Fn(types::BrokerId) -> Option<i64>),
    ) {
        let mut replica = std::mem::take(&mut self.replicas[at]);
        let incarnation = replica.incarnation;
        let eligible = |id| match id == broker(at) {
            true => self.active[at].then_some(incarnation),
            false => active_epoch(self, id),
        };
        act(&mut replica, &eligible);
        self.replicas[at] = replica;
    }

    fn learn(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let led = replica.leads();
        replica.learn(at, &self.metadata);
        if !led && replica.leads() && !replica.log.entries.starts_with(&self.committed) {
            self.broken = Some("a leader lacks what is committed");
        }
    }

    fn judge(&mut self, at: usize) -> AlterAnswer {
        let alter = self.replicas[at].altering.clone().expect("it is under way");
        let mut metadata = self.metadata.clone();
        let answer = metadata.alter(broker(at), &alter, |id| active_epoch(self, id));
        self.metadata = metadata;
        answer
    }

    fn leave(&mut self, at: usize) {
        self.metadata.leave(broker(at));
        self.elect();
    }

    fn elect(&mut self) {
        let mut metadata = self.metadata.clone();
        metadata.elect(|id| active_epoch(self, id).is_some());
        self.metadata = metadata;
    }

    /// It is fenced until it is heard of.
    fn restart(&mut self, at: usize) {
        self.active[at] = false;
        self.leave(at);
        let replica = &mut self.replicas[at];
        replica.is_up = true;
        replica.incarnation += 1;
        replica.registered_at = self.metadata.partition_epoch;
    }

    /// What a replica serves is served by nobody otherwise, and is on enough disks.
    fn look_at(&mut self, at: usize, before: usize) {
        let replica = &self.replicas[at];
        let now = index(replica.high_watermark());
        if now < before {
            self.broken = Some("a high watermark goes back");
        }
        for offset in before..now {
            let Some(entry) = replica.log.entries.get(offset) else {
                self.broken = Some("what is not there is served");
                return;
            };
            match self.committed.get(offset) {
                Some(known) if known != entry => self.broken = Some("two values at one offset"),
                Some(_) => {}
                None => self.committed.push(*entry),
            }
            let has = |one: &&Replica| {
                offset < one.log.synced && one.log.entries.get(offset) == Some(entry)
            };
            let copies = self.replicas.iter().filter(has).count();
            if matches!(replica.role, Role::Leader(_)) && copies < self.metadata.min_isr {
                self.broken = Some("what is committed is on too few disks");
            }
        }
    }

    /// Two logs with a record of the same epoch at the same offset are the same up to there.
    pub fn logs_match(&self) -> bool {
        let pairs = [(0, 1), (0, 2), (1, 2)];
        pairs.into_iter().all(|(one, other)| {
            let (one, other) = (&self.replicas[one].log.entries, &self.replicas[other].log.entries);
            let common = one.len().min(other.len());
            let last = (0..common).rev().find(|&at| one[at].epoch == other[at].epoch);
            last.is_none_or(|last| one[..=last] == other[..=last])
        })
    }
}
