//! Drills of disks: without power, full, replaced.

use std::thread;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::cluster::flow::Flow;

/// Long enough for every producer to meet it.
const FULL_FOR: Duration = Duration::from_secs(5);

/// How often a disk hangs, how long, and how long it is well in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hangs {
    pub times: u32,
    pub hang_ms: u32,
    pub rest_ms: u32,
}

/// A disk that hangs once, and then is well; in any case for longer than a node that leads puts up with.
pub(super) fn once(is_quick: bool) -> Hangs {
    Hangs { times: 1, hang_ms: if is_quick { 8_000 } else { 15_000 }, rest_ms: 0 }
}

/// A disk that is slow: most calls meet it when it hangs.
pub(super) fn all_the_time(is_quick: bool) -> Hangs {
    Hangs { times: if is_quick { 20 } else { 60 }, hang_ms: 200, rest_ms: 50 }
}

impl Cluster {
    /// These nodes lose power at once, and come back.
    pub(super) fn cut_power(&mut self, ids: &[u8]) -> anyhow::Result<()> {
        // First all processors, so that no node lives on with what another has lost.
        ids.iter().try_for_each(|&id| self.member(id).pause())?;
        ids.iter().try_for_each(|&id| self.member(id).cut_power())?;
        ids.iter().try_for_each(|&id| self.member(id).start())
    }

    /// The same each time all replicas are in sync and the producers get on.
    pub(super) fn cut_again(&mut self, ids: &[u8], rounds: u32, flow: &Flow) -> anyhow::Result<()> {
        (0..rounds).try_for_each(|_| {
            self.cut_power(ids)?;
            self.wait_until_level()?;
            self.get_on(flow)
        })
    }

    pub(super) fn fill_leader(&mut self, leader: u8) -> anyhow::Result<()> {
        self.member(leader).disk()?.fill()?;
        thread::sleep(FULL_FOR);
        self.member(leader).disk()?.make_room()?;
        self.member(leader).revive()
    }

    /// Whoever writes to the disk of the leader waits, and cannot even be killed. That somebody takes
    /// over meanwhile is not asked: Kafka's leader keeps its session, and the partition waits.
    pub(super) fn hang(&mut self, leader: u8, hangs: Hangs, flow: &Flow) -> anyhow::Result<()> {
        let Hangs { times, hang_ms, rest_ms } = hangs;
        self.member(leader).disk()?.hang(times, hang_ms, rest_ms)?;
        self.get_on(flow)
    }

    /// A follower comes back with an empty disk.
    pub(super) fn replace_disk(&mut self, leader: u8) -> anyhow::Result<()> {
        let follower = self.follower(leader)?;
        self.member(follower).kill()?;
        self.member(follower).replace_disk()?;
        self.member(follower).start()
    }
}
