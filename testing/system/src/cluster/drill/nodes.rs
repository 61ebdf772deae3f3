//! Drills of processes: killed, stopped, paused, started as another version, with clocks that jump.

use std::thread;
use std::time::Duration;

use crate::client::admin::describe_quorum;
use crate::cluster::drill::{Plan, TOPIC};
use crate::cluster::flow::Flow;
use crate::cluster::member::Kind;
use crate::cluster::{CALM_MAX, Cluster};
use crate::process::wait_for;

const YEAR_SECONDS: i64 = 365 * DAY_SECONDS;
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Some looks at what is too old, and more than a heartbeat.
const CLOCK_PAUSE: Duration = Duration::from_secs(4);
const QUICK_CLOCK_PAUSE: Duration = Duration::from_secs(2);

impl Cluster {
    /// A node is killed; once the others get on, it is started.
    pub(super) fn kill_and_start(&mut self, id: u8, flow: &Flow) -> anyhow::Result<()> {
        self.member(id).kill()?;
        self.get_on(flow)?;
        self.member(id).start()
    }

    /// The leader is killed each time all replicas are in sync.
    pub(super) fn kill_again(&mut self, rounds: u32, flow: &Flow) -> anyhow::Result<()> {
        (0..rounds).try_for_each(|_| {
            let leader = self.lead(TOPIC, 0)?.leader;
            self.kill_and_start(leader, flow)?;
            self.wait_until_level()
        })
    }

    pub(super) fn stop_and_start(&mut self, id: u8, flow: &Flow) -> anyhow::Result<()> {
        self.restart(id)?;
        self.get_on(flow)
    }

    pub(super) fn pause_leader(&mut self, leader: u8, flow: &Flow) -> anyhow::Result<()> {
        self.member(leader).pause()?;
        self.get_on(flow)?;
        self.member(leader).resume()
    }

    /// The producers wait for it until it is out of the ISR, and no longer.
    pub(super) fn pause_follower(&mut self, leader: u8, flow: &Flow) -> anyhow::Result<()> {
        let follower = self.follower(leader)?;
        self.member(follower).pause()?;
        self.wait_until_out_of_sync(TOPIC, 0, follower)?;
        self.get_on(flow)?;
        self.member(follower).resume()
    }

    /// Each node is stopped and started, the next one when all replicas are in sync.
    pub(super) fn roll(&mut self) -> anyhow::Result<()> {
        self.network.nodes().try_for_each(|id| {
            self.restart(id)?;
            self.wait_until_level()
        })
    }

    /// To this version, back to the one before, and to this one for good.
    pub(super) fn upgrade(&mut self, plan: &Plan, flow: &Flow) -> anyhow::Result<()> {
        let before = plan.first_kind();
        if plan.previous.is_none() || matches!(plan.kind, Kind::Kafka(_)) {
            println!("THALWEG_PREVIOUS names no other version: nodes restart as the same one");
        }
        for kind in [&plan.kind, &before, &plan.kind] {
            for id in self.network.nodes() {
                self.member(id).become_kind(kind);
                self.restart(id)?;
                self.wait_until_level()?;
            }
            self.get_on(flow)?;
        }
        Ok(())
    }

    /// The brokers go on, and another controller takes over.
    pub(super) fn lose_controller(&mut self, flow: &Flow) -> anyhow::Result<()> {
        let broker = self.addresses()[0];
        let active = u8::try_from(describe_quorum(broker)?.leader_id)?;
        self.member(active).kill()?;
        self.get_on(flow)?;
        // Only another active controller can tell of itself.
        wait_for("another controller", CALM_MAX, || {
            let found = describe_quorum(broker);
            Ok(found.is_ok_and(|quorum| quorum.leader_id != i32::from(active)))
        })?;
        self.member(active).start()
    }

    /// No clock is to be believed: neither data nor sessions may depend on it. Kafka deletes what is
    /// too old by such a clock.
    pub(super) fn step_clocks(
        &mut self,
        leader: u8,
        plan: &Plan,
        flow: &Flow,
    ) -> anyhow::Result<()> {
        let pause = if plan.is_quick { QUICK_CLOCK_PAUSE } else { CLOCK_PAUSE };
        for seconds in [YEAR_SECONDS, -DAY_SECONDS, 0] {
            self.member(leader).clock()?.step(seconds)?;
            thread::sleep(pause);
            self.get_on(flow)?;
        }
        for seconds in [YEAR_SECONDS, -DAY_SECONDS, 0] {
            let mut ids = self.network.nodes();
            ids.try_for_each(|id| self.member(id).clock()?.step(seconds))?;
            thread::sleep(pause);
            self.get_on(flow)?;
        }
        Ok(())
    }

    fn restart(&mut self, id: u8) -> anyhow::Result<()> {
        self.member(id).terminate()?;
        self.member(id).wait_end()?;
        self.member(id).start()
    }

    /// Waits until all nodes know each other and all replicas of the drill's partition are in sync.
    pub(super) fn wait_until_level(&mut self) -> anyhow::Result<()> {
        self.wait_until_whole()?;
        self.wait_until_in_sync(TOPIC, 0, usize::from(self.layout.copies()))
    }
}
