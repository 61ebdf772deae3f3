//! Drills of groups: a static member that commits while its coordinator is lost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::client::groups::Membership;
use crate::cluster::drill::{PROGRESS_MAX, TOPIC};
use crate::cluster::flow::{Flow, passing, patiently};
use crate::cluster::{Cluster, member};
use crate::verdict::{Commits, judge_commit};

const GROUP: &str = "drilled";
/// Acknowledged between two kills.
const SOME_COMMITS: i64 = 20;
const PAUSE: Duration = Duration::from_millis(5);

impl Cluster {
    /// A member that has joined once commits on, whoever coordinates, and joins no second time.
    pub(super) fn kill_coordinator(&mut self, rounds: u32, flow: &Flow) -> anyhow::Result<()> {
        let mut commits = Commits::default();
        // Who coordinates may have to load the group first.
        let membership = patiently(|| {
            let place = self.find_coordinator()?;
            Membership::join(member::address(place), GROUP, "static-1", TOPIC)
        })?;
        let mut place = self.find_coordinator()?;
        for _ in 0..rounds {
            for _ in 0..SOME_COMMITS {
                place = self.commit_next(&membership, &mut commits, place)?;
            }
            // In the middle of a commit: its answer may come or not.
            let next = commits.attempted.map_or(0, |last| last + 1);
            commits.attempted = Some(next);
            membership.send_commit(member::address(place), next)?;
            self.kill_and_start(place, flow)?;
            place = self.find_coordinator()?;
            let found = membership.committed(member::address(place))?;
            let fault = judge_commit(found, commits);
            ensure!(fault.is_none(), "after a coordinator was killed: {fault:?}");
            commits.acknowledged = found;
        }
        Ok(())
    }

    /// Commits the next offset, at whoever coordinates by then; says who did.
    fn commit_next(
        &self,
        membership: &Membership,
        commits: &mut Commits,
        mut place: u8,
    ) -> anyhow::Result<u8> {
        let offset = commits.attempted.map_or(0, |last| last + 1);
        commits.attempted = Some(offset);
        let give_up = Instant::now() + PROGRESS_MAX;
        while let Err(error) = membership.commit(member::address(place), offset) {
            ensure!(Instant::now() < give_up, "no commit is acknowledged: {error:#}");
            passing(Err(error)).context("the member may not commit")?;
            place = self.find_coordinator()?;
        }
        commits.acknowledged = Some(offset);
        Ok(place)
    }

    fn find_coordinator(&self) -> anyhow::Result<u8> {
        let give_up = Instant::now() + PROGRESS_MAX;
        loop {
            let answers = self.addresses().into_iter();
            let mut found = answers.filter_map(|at| Membership::find_coordinator(at, GROUP).ok());
            match found.next() {
                Some(place) => return Ok(place),
                None if Instant::now() > give_up => bail!("nobody coordinates the group"),
                None => thread::sleep(PAUSE),
            }
        }
    }
}
