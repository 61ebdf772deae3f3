//! Disks that are lost for good, and machines that come back with empty ones in their place.
//!
//! One machine at a time, while all replicas are in sync; others may crash at the same moment, or before
//! the cluster has got over it. Until it knows of the loss, and all partitions have leaders, no directory
//! of another machine fails: what lies in one counts for nothing in an election, so two such failures at
//! once may take all that counts. Until a lost voter is out of the quorum no other one is taken out, as
//! an operator would have it.

use log::Loss;
use raft::ReplicaKey;
use types::Uuid;

use crate::bug::Bug;
use crate::dirs::{self, DIRS, Dir};
use crate::happening::Happening;
use crate::machine::Process;
use crate::message::broker_id;
use crate::world::World;

/// What of a loss is still to be made good.
#[derive(Default)]
pub struct Losses {
    /// The machine, and the id of a directory that is new, until the cluster has got over it.
    unknown: Option<(usize, Uuid)>,
    /// A voter whose log and vote are lost, until it votes no more.
    voter: Option<ReplicaKey>,
}

impl World {
    /// A machine loses its disks, or all but the one with the metadata, and starts with empty ones.
    pub fn replace_disks(&mut self, at: usize) {
        if self.may_lose_disks(at) {
            self.lose_disks(at);
            self.restart(at);
        }
    }

    /// A machine that is down from now on gets empty disks, or all but the one with the metadata.
    pub fn lose_disks(&mut self, at: usize) {
        for machine in &self.machines {
            // Orders to die that did not come to pass.
            machine.dirs.iter().for_each(|dir| dir.disk.die_after(u64::MAX / 2));
        }
        let first = if self.rng.below(2) == 0 { 0 } else { DIRS - 1 };
        let keeps_ids = self.setup.bug == Some(Bug::EmptyDiskKeepsId);
        let machine = &mut self.machines[at];
        let former = ReplicaKey { id: broker_id(at), directory: Some(machine.dirs[0].id) };
        machine.crash(Loss::Whole);
        machine.disks += 1;
        machine.lost.clone_from(&machine.durable);
        for place in first..DIRS {
            let former = machine.dirs[place].id;
            let id = if keeps_ids { former } else { dirs::id(at, place, machine.disks) };
            machine.dirs[place] = Dir::new(id, &mut self.rng);
        }
        self.losses.unknown = Some((at, machine.dirs[DIRS - 1].id));
        if first == 0 && !keeps_ids {
            machine.is_blank = true;
            self.losses.voter = Some(former);
        }
        let what = if first == 0 { Happening::LostMachine } else { Happening::LostDisk };
        self.trace.happens(what);
        self.trace.note(self.now, format_args!("{at} gets empty disks from {first} on"));
    }

    fn up(&self) -> impl Iterator<Item = &Process> {
        self.machines.iter().filter_map(|machine| machine.process.as_ref())
    }

    /// Whether nothing is lost and nothing is under way that the loss of one machine's disks could
    /// not be told from.
    pub fn may_lose_disks(&mut self, at: usize) -> bool {
        let is_whole =
            |process: &Process| process.broker.epoch.is_some() && !process.broker.is_crippled();
        if !self.may_fail() || !self.history.is_all_in_sync() {
            return false;
        }
        if self.up().filter(|process| is_whole(process)).count() < self.machines.len() {
            return false;
        }
        let voters = self.machines[at].process.as_ref().map(|process| process.quorum.voters());
        let Some(voters) = voters else { return false };
        let is_settled = |process: &Process| {
            process.quorum.voters() == voters && process.quorum.has_committed_voters()
        };
        let is_current = |key: &ReplicaKey| {
            let machine = usize::try_from(key.id.0).ok().and_then(|at| self.machines.get(at));
            machine.is_some_and(|machine| key.directory == Some(machine.dirs[0].id))
        };
        let votes = voters.iter().any(|key| key.id == broker_id(at));
        let are_enough = !votes || voters.len() >= 3;
        self.up().all(is_settled) && voters.iter().all(is_current) && are_enough
    }

    /// Whether directories may fail.
    pub fn may_fail(&mut self) -> bool {
        let Some((at, id)) = self.losses.unknown else { return true };
        let knows = |process: &Process| {
            let broker = process.quorum.committed().0.broker(broker_id(at));
            broker.is_some_and(|broker| broker.directories.contains(&id))
        };
        if self.up().any(knows) && self.history.has_leaders() {
            self.losses.unknown = None;
        }
        self.losses.unknown.is_none()
    }

    /// Whether the operator may ask for a change of the voters that has to do with `key`.
    pub fn may_change_voter(&mut self, key: &ReplicaKey) -> bool {
        let Some(lost) = self.losses.voter else { return true };
        let newest = self.up().max_by_key(|process| process.quorum.committed);
        let is_out = newest.is_some_and(|process| {
            process.quorum.has_committed_voters() && !process.quorum.voters().contains(&lost)
        });
        if is_out {
            self.losses.voter = None;
        }
        is_out || key.id == lost.id
    }
}
