//! Drills on clusters of the binary: one failure each, under load, judged as a whole. By hand the same
//! drills wait longer and take more partitions (`drill`).

use std::fs::OpenOptions;

use anyhow::Context;
use thalweg_system::cluster::drill::{self, Drill, Plan};
use thalweg_system::cluster::member::Kind;
use thalweg_system::process::binary;
use thalweg_system::sandbox::in_own_network;

use crate::seed;

fn drill(test: &str, drill: Drill) -> anyhow::Result<()> {
    in_own_network(test, || {
        let folder = tempfile::tempdir()?;
        let seed = seed()?;
        let plan = Plan::new(Kind::Thalweg(binary()?), drill.nodes(), drill, seed)?;
        let plan = Plan { is_quick: true, ..plan };
        let outcome = drill::run(&plan, folder.path())?;
        println!("{drill:?} with THALWEG_SEED={seed}: {outcome}");
        anyhow::ensure!(outcome.faults.is_empty(), "THALWEG_SEED={seed}: {:#?}", outcome.faults);
        Ok(())
    })
}

/// The same with links that can be made bad. Fails where this machine lacks what they are made of:
/// `./test` finds out before, and counts these as skipped.
fn drill_of_links(test: &str, kind: Drill) -> anyhow::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    device.context("no link can be made bad without /dev/net/tun")?;
    drill(test, kind)
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

#[test]
fn a_cluster_keeps_every_promise_when_its_leaders_are_killed_again_and_again() -> anyhow::Result<()>
{
    drill(
        "clusters::a_cluster_keeps_every_promise_when_its_leaders_are_killed_again_and_again",
        Drill::KillAgain,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_a_follower_is_paused() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_a_follower_is_paused", Drill::PauseFollower)
}

#[test]
fn a_cluster_keeps_every_promise_when_two_nodes_lose_power() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_two_nodes_lose_power", Drill::CutTwo)
}

#[test]
fn a_cluster_keeps_every_promise_when_its_leader_is_parted_with_a_minority() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_its_leader_is_parted_with_a_minority",
        Drill::PartMinority,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_the_others_do_not_hear_the_leader() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_the_others_do_not_hear_the_leader",
        Drill::DeafenOthers,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_the_link_of_the_leader_flaps() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_the_link_of_the_leader_flaps", Drill::Flap)
}

#[test]
fn a_cluster_keeps_every_promise_when_the_active_controller_is_killed() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_the_active_controller_is_killed",
        Drill::LoseController,
    )
}

#[test]
fn a_cluster_keeps_every_promise_while_its_nodes_are_upgraded() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_while_its_nodes_are_upgraded", Drill::Upgrade)
}

#[test]
fn a_cluster_keeps_every_promise_when_replicas_move_and_nodes_are_killed() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_replicas_move_and_nodes_are_killed",
        Drill::ReassignAndKill,
    )
}

#[test]
fn a_topic_that_is_made_again_has_nothing_of_the_former_one() -> anyhow::Result<()> {
    drill("clusters::a_topic_that_is_made_again_has_nothing_of_the_former_one", Drill::Recreate)
}

#[test]
fn a_replica_that_lacks_records_leads_only_where_it_may() -> anyhow::Result<()> {
    drill("clusters::a_replica_that_lacks_records_leads_only_where_it_may", Drill::Unclean)
}

#[test]
fn a_static_member_commits_on_when_its_coordinator_is_killed() -> anyhow::Result<()> {
    drill(
        "clusters::a_static_member_commits_on_when_its_coordinator_is_killed",
        Drill::KillCoordinator,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_a_bit_flips_on_every_disk() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_a_bit_flips_on_every_disk", Drill::FlipAll)
}

#[test]
fn a_cluster_keeps_every_promise_when_a_follower_is_killed() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_a_follower_is_killed", Drill::KillFollower)
}

#[test]
fn a_cluster_keeps_every_promise_when_a_follower_is_stopped() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_a_follower_is_stopped", Drill::StopFollower)
}

#[test]
fn a_cluster_keeps_every_promise_when_a_follower_has_little_bandwidth() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_a_follower_has_little_bandwidth",
        Drill::SlowFollower,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_the_leader_does_not_hear_the_others() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_the_leader_does_not_hear_the_others",
        Drill::DeafenLeader,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_only_a_third_node_links_two() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_only_a_third_node_links_two", Drill::Bridge)
}

#[test]
fn a_cluster_keeps_every_promise_on_links_that_delay_and_lose() -> anyhow::Result<()> {
    drill_of_links(
        "clusters::a_cluster_keeps_every_promise_on_links_that_delay_and_lose",
        Drill::Lossy,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_the_link_of_the_leader_is_wretched() -> anyhow::Result<()> {
    drill_of_links(
        "clusters::a_cluster_keeps_every_promise_when_the_link_of_the_leader_is_wretched",
        Drill::Wretched,
    )
}

#[test]
fn a_cluster_keeps_every_promise_while_its_nodes_restart_again_and_again() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_while_its_nodes_restart_again_and_again",
        Drill::RollAgain,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_the_leader_loses_power() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_the_leader_loses_power", Drill::CutLeader)
}

#[test]
fn a_cluster_keeps_every_promise_when_all_power_is_cut_again_and_again() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_all_power_is_cut_again_and_again",
        Drill::CutAgain,
    )
}

#[test]
fn a_cluster_keeps_every_promise_while_it_grows_to_five_nodes_and_shrinks_again()
-> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_while_it_grows_to_five_nodes_and_shrinks_again",
        Drill::Grow,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_it_is_killed_with_many_partitions() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_it_is_killed_with_many_partitions",
        Drill::KillMany,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_the_disk_of_the_leader_hangs() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_the_disk_of_the_leader_hangs",
        Drill::HangLeader,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_the_disk_of_the_leader_is_slow() -> anyhow::Result<()> {
    drill(
        "clusters::a_cluster_keeps_every_promise_when_the_disk_of_the_leader_is_slow",
        Drill::SlowDisk,
    )
}

#[test]
fn a_cluster_keeps_every_promise_when_wall_clocks_jump() -> anyhow::Result<()> {
    drill("clusters::a_cluster_keeps_every_promise_when_wall_clocks_jump", Drill::StepClocks)
}
