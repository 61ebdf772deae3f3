//! Drills of the network: parted, one-way, flapping, slow and lossy.

use std::thread;
use std::time::Duration;

use anyhow::ensure;

use crate::cluster::Cluster;
use crate::cluster::drill::{Plan, SOME_RECORDS, TOPIC};
use crate::cluster::flow::Flow;
use crate::cluster::network::{Place, Quality};

/// How long a flapping link is there, and how long it is not.
const FLAP: Duration = Duration::from_secs(1);
/// Far below what the producers send when nothing holds them up.
const SLOW_KILOBITS: u32 = 1_000;
/// A producer has few requests under way, and each takes some round trips.
const SLOW_PROGRESS_MAX: Duration = Duration::from_secs(180);
/// Two cables lie between any two places, so a round trip takes four times the delay.
const LOSSY: Quality = Quality { loss_percent: 2, delay_ms: 50, kilobits: 4_000 };
const WRETCHED: Quality = Quality { loss_percent: 30, delay_ms: 300, kilobits: 256 };

impl Cluster {
    /// What the leader sends to the other nodes vanishes, or what they send to it.
    pub(super) fn deafen(&self, leader: u8, is_out: bool) -> anyhow::Result<()> {
        self.network.nodes().filter(|&id| id != leader).try_for_each(|other| {
            let (leader, other) = (Place::Node(leader), Place::Node(other));
            let (from, to) = if is_out { (leader, other) } else { (other, leader) };
            self.network.cut(from, to)
        })
    }

    /// Clients reach the leader on its lonely side all the time, and it may acknowledge nothing.
    pub(super) fn part_minority(&self, leader: u8, flow: &Flow) -> anyhow::Result<()> {
        let size = usize::from(self.layout.nodes.saturating_sub(1) / 2);
        // The other copies lie with the majority, which must have enough of them in sync.
        let copies: Vec<u8> = self.replicas(TOPIC, 0).into_iter().map(|(id, _)| id).collect();
        let mut ids: Vec<u8> = self.network.nodes().collect();
        ids.sort_by_key(|id| (*id != leader, copies.contains(id)));
        let places: Vec<_> = ids.into_iter().map(Place::Node).collect();
        let (minority, majority) = places.split_at(size);
        self.network.part(minority, majority)?;
        self.get_on(flow)?;
        self.network.heal()
    }

    /// Two sides reach each other only through a node that reaches both.
    pub(super) fn bridge(&self, leader: u8, flow: &Flow) -> anyhow::Result<()> {
        let follower = self.follower(leader)?;
        self.network.part(&[Place::Node(leader)], &[Place::Node(follower)])?;
        self.get_on(flow)?;
        self.network.heal()
    }

    /// Nothing that lasts as short as this costs more than one change of leaders.
    pub(super) fn flap(&self, leader: u8, rounds: u32, flow: &Flow) -> anyhow::Result<()> {
        let before = self.lead(TOPIC, 0)?.epoch;
        for _ in 0..rounds {
            self.network.isolate(Place::Node(leader))?;
            thread::sleep(FLAP);
            self.network.heal()?;
            thread::sleep(FLAP);
        }
        self.get_on(flow)?;
        let changes = self.lead(TOPIC, 0)?.epoch - before;
        // Leadership also returns to the preferred leader once.
        ensure!(
            i64::from(changes) <= i64::from(rounds) + 1,
            "{changes} changes of leaders in {rounds} flaps"
        );
        Ok(())
    }

    pub(super) fn slow_follower(&self, leader: u8, plan: &Plan, flow: &Flow) -> anyhow::Result<()> {
        let follower = self.follower(leader)?;
        self.network.limit(follower, SLOW_KILOBITS)?;
        thread::sleep(plan.pause());
        flow.wait_for_more(SOME_RECORDS, SLOW_PROGRESS_MAX)?;
        self.network.unlimit(follower)
    }

    pub(super) fn lossy(&mut self, plan: &Plan, flow: &Flow) -> anyhow::Result<()> {
        self.degrade_all(LOSSY)?;
        thread::sleep(plan.pause());
        flow.wait_for_more(SOME_RECORDS, SLOW_PROGRESS_MAX)?;
        self.degrade_all(Quality::default())
    }

    /// Too bad to go on over it; whether another leads meanwhile is not asked.
    pub(super) fn wretched(&mut self, leader: u8, plan: &Plan) -> anyhow::Result<()> {
        self.network.degrade(leader, WRETCHED)?;
        thread::sleep(plan.pause());
        self.network.degrade(leader, Quality::default())
    }

    fn degrade_all(&mut self, quality: Quality) -> anyhow::Result<()> {
        let mut nodes = self.network.nodes();
        nodes.try_for_each(|id| self.network.degrade(id, quality))
    }
}
