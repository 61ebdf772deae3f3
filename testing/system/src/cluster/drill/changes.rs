//! Drills of what administrators do under load: brokers that come and go, partitions that move.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use types::Rng;

use crate::client::Client;
use crate::cluster::drill::{Plan, TOPIC};
use crate::cluster::flow::{Flow, patiently};
use crate::cluster::member::{Kind, address};
use crate::cluster::{CALM_MAX, Cluster, ask_partition};
use crate::process::{binary, wait_for};

/// What `cluster balance` spreads over the new brokers.
const GROWN: &str = "grown";
const GROWN_PARTITIONS: i32 = 12;
/// A move that is killed right away, and one that may be over by then.
const MOVE_MS_MAX: u32 = 400;

impl Cluster {
    /// The spares join, take their share by `thalweg cluster balance` and the drill's partition by
    /// hand, and are drained, stopped and struck off again.
    pub(super) fn grow(&mut self, plan: &Plan, flow: &Flow) -> anyhow::Result<()> {
        let copies = self.layout.copies();
        let spares: Vec<u8> = self.layout.spares().collect();
        let at = address(1).to_string();
        let thalweg = match &plan.kind {
            Kind::Thalweg(binary) => binary.clone(),
            // The commands speak Kafka's protocol alone.
            Kind::Kafka(_) => binary()?,
        };
        // The same command goes on where it ended, which it does when an election is refused.
        let command = |words: &str| {
            let mut said = String::new();
            let waited = wait_for("the command succeeds", CALM_MAX, || {
                let mut command = Command::new(&thalweg);
                let output = command.args(words.split(' ')).args(["-b", &at]).output()?;
                said = String::from_utf8_lossy(&output.stderr).into_owned();
                Ok(output.status.success())
            });
            waited.with_context(|| format!("thalweg {words}: {said}"))
        };
        self.create_topic(GROWN, GROWN_PARTITIONS, i16::from(copies), &[])?;
        spares.iter().try_for_each(|&id| self.member(id).start())?;
        self.wait_until_whole()?;
        command("cluster balance")?;
        for &id in &spares {
            ensure!(self.has_any(GROWN, GROWN_PARTITIONS, id), "node {id} got no share");
        }
        let others = self.layout.brokers().take(1);
        let target: Vec<u8> = spares.iter().copied().chain(others).collect();
        self.reassign(TOPIC, &target)?;
        self.get_on(flow)?;
        for &id in &spares {
            command(&format!("broker drain {id}"))?;
            self.retire(id)?;
        }
        self.get_on(flow)
    }

    /// A broker without replicas goes for good.
    fn retire(&mut self, id: u8) -> anyhow::Result<()> {
        self.member(id).terminate()?;
        self.member(id).wait_end()?;
        // Until its session is over it counts as one that serves.
        wait_for("the broker is struck off", CALM_MAX, || {
            Ok(Client::connect(address(1))?.unregister_broker(id).is_ok())
        })
    }

    fn has_any(&self, topic: &str, partitions: i32, id: u8) -> bool {
        let folders = (0..partitions).flat_map(|partition| self.replicas(topic, partition));
        folders.into_iter().any(|(node, _)| node == id)
    }

    /// The drill's partition moves about, and somebody is killed in the middle of it.
    pub(super) fn reassign_and_kill(&mut self, plan: &Plan, flow: &Flow) -> anyhow::Result<()> {
        let mut rng = Rng::new(plan.seed);
        let copies = usize::from(self.layout.copies());
        let mut ids: Vec<u8> = self.layout.brokers().collect();
        // To and fro: what was taken away before may still be on its way out.
        for _ in 0..2 {
            self.reassign(TOPIC, &ids[..copies])?;
            self.reassign(TOPIC, &ids[ids.len() - copies..])?;
        }
        for _ in 0..plan.rounds {
            for at in (1..ids.len()).rev() {
                ids.swap(at, rng.below(u32::try_from(at + 1)?) as usize);
            }
            let target = &ids[..copies];
            self.begin_move(TOPIC, target)?;
            thread::sleep(Duration::from_millis(u64::from(rng.below(MOVE_MS_MAX))));
            let victim = ids[rng.below(u32::try_from(ids.len())?) as usize];
            self.kill_and_start(victim, flow)?;
            self.wait_until_moved(TOPIC, target)?;
        }
        Ok(())
    }

    fn reassign(&self, topic: &str, target: &[u8]) -> anyhow::Result<()> {
        self.begin_move(topic, target)?;
        self.wait_until_moved(topic, target)
    }

    fn begin_move(&self, topic: &str, target: &[u8]) -> anyhow::Result<()> {
        let mut tries = 0;
        patiently(|| {
            tries += 1;
            let addresses = self.addresses();
            Client::connect(addresses[tries % addresses.len()])?.reassign(topic, 0, target)
        })
    }

    fn wait_until_moved(&self, topic: &str, target: &[u8]) -> anyhow::Result<()> {
        let target: Vec<i32> = target.iter().copied().map(i32::from).collect();
        let waited = wait_for("the replicas have moved", CALM_MAX, || {
            let is_moved = self.addresses().into_iter().all(|address| {
                let found = ask_partition(address, topic, 0);
                found.is_some_and(|found| {
                    found.replica_nodes == target && found.isr_nodes.len() == target.len()
                })
            });
            // Who has lost a replica takes it away a little later.
            Ok(is_moved && self.replicas(topic, 0).len() == target.len())
        });
        waited.with_context(|| self.last_words())
    }
}
