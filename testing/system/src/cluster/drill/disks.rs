//! Drills of disks: without power, full, replaced.

use std::thread;
use std::time::Duration;

use crate::cluster::Cluster;

/// Long enough for every producer to meet it.
const FULL_FOR: Duration = Duration::from_secs(5);

impl Cluster {
    /// These nodes lose power at once, and come back.
    pub(super) fn cut_power(&mut self, ids: &[u8]) -> anyhow::Result<()> {
        // First all processors, so that no node lives on with what another has lost.
        ids.iter().try_for_each(|&id| self.member(id).pause())?;
        ids.iter().try_for_each(|&id| self.member(id).cut_power())?;
        ids.iter().try_for_each(|&id| self.member(id).start())
    }

    pub(super) fn fill_leader(&mut self, leader: u8) -> anyhow::Result<()> {
        self.member(leader).disk()?.fill()?;
        thread::sleep(FULL_FOR);
        self.member(leader).disk()?.make_room()?;
        self.member(leader).revive()
    }

    /// A follower comes back with an empty disk.
    pub(super) fn replace_disk(&mut self, leader: u8) -> anyhow::Result<()> {
        let follower = self.follower(leader)?;
        self.member(follower).kill()?;
        self.member(follower).replace_disk()?;
        self.member(follower).start()
    }
}
