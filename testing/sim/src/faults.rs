//! What goes wrong in a run, and what operators do meanwhile.

use log::Loss;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use types::Millis;

use crate::message::{Ask, broker_id};
use crate::replica::TOPIC;
use crate::world::{ADMIN, PARTITIONS, World};

/// Ids of what nobody waits for.
const UNAWAITED: u64 = u64::MAX;
const PAUSE_MAX: u32 = 4000;
/// A disk that is to die does so within so many changes.
const CHANGES_MAX: u32 = 30;

impl World {
    /// Runs for so long, with seldom or frequent faults, on a slow or fast network.
    pub fn run_with_faults(&mut self, millis: i64) {
        self.delay_max = 1 << (1 + self.rng.below(7));
        let every = 100 << self.rng.below(4);
        let end = self.now + Millis(millis);
        while self.now < end {
            let until = (self.now + Millis(1 + i64::from(self.rng.below(2 * every)))).min(end);
            while self.step(until) {}
            self.disturb();
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(u32::try_from(bound).expect("there are few of everything")) as usize
    }

    fn disturb(&mut self) {
        let count = self.machines.len();
        let (at, other) = (self.below(count), self.below(count));
        match self.rng.below(22) {
            0..=2 => self.hit(at),
            3..=6 => self.restart(at),
            7 => {
                let pause = Millis(self.rng.below(PAUSE_MAX).into());
                self.machines[at].paused_until = self.now + pause;
                self.trace.note(self.now, format_args!("{at} stands still for {pause}"));
            }
            8 => {
                self.cut.insert((at, other));
                self.trace.note(self.now, format_args!("nothing gets from {at} to {other}"));
            }
            9 => {
                let ways = (0..count).flat_map(|one| [(one, at), (at, one)]);
                self.cut.extend(ways);
                self.trace.note(self.now, format_args!("{at} is cut off"));
            }
            10 | 11 => {
                self.cut.clear();
                self.trace.note(self.now, "all ways are open");
            }
            12 => {
                self.loss_percent = [0, 0, 5, 20][self.below(4)];
                self.copy_percent = [0, 2, 10][self.below(3)];
                let (lost, copied) = (self.loss_percent, self.copy_percent);
                self.trace.note(self.now, format_args!("{lost} % lost, {copied} % twice"));
            }
            13 => {
                self.crash_percent = [0, 10, 40, 80][self.below(4)];
                let percent = self.crash_percent;
                self.trace.note(self.now, format_args!("crashes after {percent} % of promises"));
            }
            14 => {
                self.cut.extend([(at, other), (other, at)]);
                self.trace.note(self.now, format_args!("nothing gets between {at} and {other}"));
            }
            15 => {
                self.crash(at);
                self.restart(at);
            }
            16 | 17 => {
                self.trace.note(self.now, "the controller hands over");
                self.step_down();
            }
            18 => {
                self.trace.note(self.now, format_args!("asked for another vote of {other}"));
                self.ask(UNAWAITED, Ask::Voter(broker_id(other)));
            }
            _ => self.move_replicas(),
        }
    }

    /// Cuts the power, now or in the middle of one of the next changes of the disk.
    fn hit(&mut self, at: usize) {
        if self.machines[at].process.is_none() {
            return;
        }
        if self.rng.below(2) == 0 {
            let changes = u64::from(self.rng.below(CHANGES_MAX));
            self.machines[at].disk.die_after(changes);
            self.trace.note(self.now, format_args!("disk of {at} dies after {changes} changes"));
        } else {
            self.crash(at);
        }
    }

    /// Ends a process, and with it what was not synced, or some of it.
    pub fn crash(&mut self, at: usize) {
        let losses = [Loss::Process, Loss::Whole, Loss::Sectors, Loss::Pages];
        let loss = losses[self.below(4)];
        let machine = &mut self.machines[at];
        machine.process = None;
        machine.disk.crash(loss);
        self.trace.note(self.now, format_args!("{at} crashes and loses {loss:?}"));
    }

    pub fn restart(&mut self, at: usize) {
        if self.machines[at].process.is_none() {
            self.start(at);
            self.trace.note(self.now, format_args!("{at} starts"));
        }
    }

    fn move_replicas(&mut self) {
        let count = self.machines.len();
        let mut replicas: Vec<_> = (0..count).map(|at| broker_id(at).0).collect();
        while replicas.len() > 3 {
            let gone = self.below(replicas.len());
            replicas.remove(gone);
        }
        let by = self.below(replicas.len());
        replicas.rotate_left(by);
        let slot = self.below(PARTITIONS.cast_unsigned() as usize);
        let partition_index = i32::try_from(slot).expect("there are few partitions");
        let is_taken_back = self.rng.below(5) == 0;
        self.trace.note(self.now, format_args!("move of {slot} to {replicas:?}"));
        let replicas = (!is_taken_back).then_some(replicas);
        let partition = ReassignablePartition { partition_index, replicas, ..Default::default() };
        let topic = ReassignableTopic {
            name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() };
        self.ask(UNAWAITED, Ask::Move(request));
    }

    /// All is well again.
    pub fn heal(&mut self) {
        (self.loss_percent, self.copy_percent, self.delay_max) = (0, 0, 10);
        self.crash_percent = 0;
        self.cut.clear();
        for at in 0..self.machines.len() {
            self.machines[at].paused_until = Millis::ZERO;
            // An order to die that did not come to pass is taken back.
            self.machines[at].disk.die_after(u64::MAX / 2);
            self.restart(at);
        }
        self.trace.note(self.now, "all is well");
        debug_assert!(self.machines.len() < ADMIN);
    }
}
