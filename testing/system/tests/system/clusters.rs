//! Drills on clusters of the binary: one failure each, under load, judged as a whole.

use thalweg_system::cluster::drill::{self, Drill, Plan};
use thalweg_system::cluster::member::Kind;
use thalweg_system::process::binary;
use thalweg_system::sandbox::in_own_network;

use crate::seed;

const NODES: u8 = 3;

fn drill(test: &str, drill: Drill) -> anyhow::Result<()> {
    in_own_network(test, || {
        let folder = tempfile::tempdir()?;
        let seed = seed()?;
        let plan = Plan::new(Kind::Thalweg(binary()?), NODES, drill, seed)?;
        let outcome = drill::run(&plan, folder.path())?;
        println!("{drill:?} with THALWEG_SEED={seed}: {outcome}");
        anyhow::ensure!(outcome.faults.is_empty(), "THALWEG_SEED={seed}: {:#?}", outcome.faults);
        Ok(())
    })
}

#[test]
fn a_calm_cluster_keeps_every_promise() -> anyhow::Result<()> {
    drill("clusters::a_calm_cluster_keeps_every_promise", Drill::Calm)
}

#[test]
fn a_cluster_keeps_every_promise_when_the_leader_is_killed() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_the_leader_is_killed", Drill::KillLeader)
}

#[test]
fn a_cluster_keeps_every_promise_when_the_leader_is_stopped() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_the_leader_is_stopped", Drill::StopLeader)
}

#[test]
fn a_cluster_keeps_every_promise_when_the_leader_is_paused_and_wakes_up() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_the_leader_is_paused_and_wakes_up",
        Drill::PauseLeader,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_the_leader_is_cut_off() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_the_leader_is_cut_off",
        Drill::IsolateLeader,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_a_disk_is_replaced() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_a_disk_is_replaced", Drill::ReplaceDisk)
}

#[test]
fn a_cluster_keeps_every_promise_when_all_nodes_are_killed() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_all_nodes_are_killed", Drill::KillAll)
}

#[test]
fn a_cluster_keeps_every_promise_when_all_power_is_cut() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_all_power_is_cut", Drill::CutAll)
}

#[test]
fn a_cluster_keeps_every_promise_when_a_disk_is_full_for_a_while() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_a_disk_is_full_for_a_while",
        Drill::FillLeader,
    )
}
