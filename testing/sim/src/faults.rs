//! What goes wrong in a run, and what operators do meanwhile.

use log::Loss;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use raft::ReplicaKey;
use types::Millis;

use crate::dirs::{DIRS, SYNC_MAX};
use crate::happening::Happening;
use crate::message::{Ask, broker_id};
use crate::replica::TOPIC;
use crate::world::{ADMIN, PARTITIONS, World};

/// Ids of what nobody waits for.
const UNAWAITED: u64 = u64::MAX;
/// A process stands still for so long at most.
pub const PAUSE_MAX: Millis = Millis(4000);
/// A slow disk takes longer than a leader waits for a follower, and less than a session lasts.
const SLOW_SYNC_MAX: u32 = 1500;
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
        match self.rng.below(31) {
            0..=2 => self.hit(at),
            3..=6 => self.restart(at),
            7 => self.pause(at),
            8 | 9 | 14 => self.cut_ways(at, other),
            10 | 11 => {
                self.cut.clear();
                self.trace.note(self.now, "all ways are open");
            }
            12 => self.worsen_network(),
            13 => self.crash_after_promises(),
            15 => {
                self.crash(at);
                self.restart(at);
            }
            16 | 17 => {
                self.trace.happens(Happening::HandOver);
                self.trace.note(self.now, "the controller hands over");
                self.step_down();
            }
            18 => self.change_voter(other),
            19 | 20 => self.jump(at),
            21 => self.slow_down(at),
            22 | 23 => self.let_disks_fail(),
            24 | 25 => self.replace_disks(at),
            26 => self.leave(at),
            27 => self.cut_power(at),
            _ => self.move_replicas(),
        }
    }

    fn pause(&mut self, at: usize) {
        let most = u32::try_from(PAUSE_MAX.get()).expect("it is a few seconds");
        let pause = Millis(self.rng.below(most).into());
        self.machines[at].paused_until = self.now + pause;
        self.trace.happens(Happening::Pause);
        self.trace.note(self.now, format_args!("{at} stands still for {pause}"));
    }

    /// Nothing gets through, one way or both, between two machines or all around one.
    fn cut_ways(&mut self, at: usize, other: usize) {
        self.trace.happens(Happening::Cut);
        match self.below(3) {
            0 => {
                self.cut.insert((at, other));
                self.trace.note(self.now, format_args!("nothing gets from {at} to {other}"));
            }
            1 => {
                self.cut.extend([(at, other), (other, at)]);
                self.trace.note(self.now, format_args!("nothing gets between {at} and {other}"));
            }
            _ => {
                let all = 0..self.machines.len();
                self.cut.extend(all.flat_map(|one| [(one, at), (at, one)]));
                self.trace.note(self.now, format_args!("{at} is cut off"));
            }
        }
    }

    fn worsen_network(&mut self) {
        self.loss_percent = [0, 0, 5, 20][self.below(4)];
        self.copy_percent = [0, 2, 10][self.below(3)];
        let (lost, copied) = (self.loss_percent, self.copy_percent);
        self.trace.happens(Happening::BadNetwork);
        self.trace.note(self.now, format_args!("{lost} % lost, {copied} % twice"));
    }

    fn crash_after_promises(&mut self) {
        self.crash_percent = [0, 10, 40, 80][self.below(4)];
        let percent = self.crash_percent;
        self.trace.happens(Happening::CrashesAfterPromises);
        self.trace.note(self.now, format_args!("crashes after {percent} % of promises"));
    }

    fn jump(&mut self, at: usize) {
        let ahead = self.machines[at].clock.jump(&mut self.rng);
        self.trace.happens(Happening::ClockJump);
        self.trace.note(self.now, format_args!("wall clock of {at} is {ahead} ahead"));
    }

    fn slow_down(&mut self, at: usize) {
        let place = self.below(DIRS);
        let most = [SYNC_MAX, 300, SLOW_SYNC_MAX][self.below(3)];
        self.machines[at].dirs[place].sync_max.set(most);
        self.trace.happens(Happening::SlowDisk);
        self.trace.note(self.now, format_args!("disk {place} of {at} takes up to {most} ms"));
    }

    fn let_disks_fail(&mut self) {
        self.failure_permille = [0, 5, 50, 200][self.below(4)];
        let permille = self.failure_permille;
        self.trace.happens(Happening::FailingDisks);
        self.trace.note(self.now, format_args!("disks fail in {permille} of 1000 turns"));
    }

    /// Makes a machine a voter, or takes its vote away.
    fn change_voter(&mut self, at: usize) {
        self.trace.happens(Happening::VoterChange);
        self.trace.note(self.now, format_args!("asked for another vote of {at}"));
        let directory = Some(self.machines[at].dirs[0].id);
        let key = ReplicaKey { id: broker_id(at), directory };
        self.ask(UNAWAITED, Ask::Voter(key));
    }

    /// Lets one of a machine's next calls to its disks fail, now and then; whether it is to.
    pub fn order_failure(&mut self, at: usize) -> bool {
        let is_due = self.rng.below(1000) < self.failure_permille && self.may_fail();
        if is_due {
            let place = self.below(DIRS);
            self.machines[at].dirs[place].fail_once(&mut self.rng);
        }
        is_due
    }

    /// Cuts the power, now or in the middle of one of the next changes of the disk.
    fn hit(&mut self, at: usize) {
        if self.machines[at].process.is_none() {
            return;
        }
        if self.rng.below(2) == 0 {
            let changes = u64::from(self.rng.below(CHANGES_MAX));
            let place = self.below(DIRS);
            self.machines[at].dirs[place].disk.die_after(changes);
            self.trace
                .note(self.now, format_args!("disk {place} of {at} dies after {changes} changes"));
        } else {
            self.crash(at);
        }
    }

    /// The power of all machines goes at once, and one of them may come back with empty disks.
    fn cut_power(&mut self, at: usize) {
        let loses_disks = self.may_lose_disks(at);
        self.trace.happens(Happening::PowerCut);
        for one in 0..self.machines.len() {
            self.crash(one);
        }
        if loses_disks {
            self.lose_disks(at);
        }
        for one in 0..self.machines.len() {
            if self.rng.below(2) == 0 {
                self.restart(one);
            }
        }
    }

    /// Ends a process, and with it what was not synced, or some of it.
    pub fn crash(&mut self, at: usize) {
        let losses = [Loss::Process, Loss::Whole, Loss::Sectors, Loss::Pages];
        let loss = losses[self.below(4)];
        self.machines[at].crash(loss);
        self.trace.happens(Happening::Crash);
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
        self.trace.happens(Happening::Move);
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

    /// Restarts machines that have left, or do without a directory, as an operator does who has mended
    /// that.
    pub fn mend(&mut self) {
        for at in 0..self.machines.len() {
            let process = self.machines[at].process.as_ref();
            let is_crippled = process.is_some_and(|process| process.broker.is_crippled());
            if is_crippled {
                self.crash(at);
            }
            self.restart(at);
        }
    }

    /// All is well again.
    pub fn heal(&mut self) {
        (self.loss_percent, self.copy_percent, self.delay_max) = (0, 0, 10);
        (self.crash_percent, self.failure_permille) = (0, 0);
        self.cut.clear();
        for at in 0..self.machines.len() {
            self.machines[at].paused_until = Millis::ZERO;
            for dir in &self.machines[at].dirs {
                // An order to die that did not come to pass is taken back.
                dir.disk.die_after(u64::MAX / 2);
                dir.sync_max.set(SYNC_MAX);
            }
            self.restart(at);
        }
        self.trace.note(self.now, "all is well");
        debug_assert!(self.machines.len() < ADMIN);
    }
}
