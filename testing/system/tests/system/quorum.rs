//! Three nodes of which the active controller is lost, each time in another way: the other two go on
//! deciding, and it comes back as one of them. Topics have one replica.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use protocol::messages::describe_quorum::ResponsePartitionData;
use thalweg_system::client::Client;
use thalweg_system::client::admin::describe_quorum;
use thalweg_system::cluster::Cluster;
use thalweg_system::cluster::member::{Kind, Layout, address};
use thalweg_system::cluster::network::Place;
use thalweg_system::process::{binary, wait_for};
use thalweg_system::sandbox::in_own_network;

use crate::metadata_damage::damage_the_middle;

const NODES: u8 = 3;
/// For an election and a broker that registers, on a machine with other work.
const SOON: Duration = Duration::from_secs(60);
/// Longer than the session of a broker.
const BEYOND_SESSIONS: Duration = Duration::from_secs(10);

/// Whether all voters have what the leader has.
fn is_level(quorum: &ResponsePartitionData) -> bool {
    let voters = &quorum.current_voters;
    let end = voters.iter().map(|voter| voter.log_end_offset).max();
    voters.len() == usize::from(NODES)
        && voters.iter().all(|voter| Some(voter.log_end_offset) == end)
}

type Step = fn(&mut Cluster, u8) -> anyhow::Result<()>;

/// Takes the active controller away, and gives it back.
fn lose_the_controller(test: &str, lose: Step, give_back: Step) -> anyhow::Result<()> {
    in_own_network(test, || {
        let folder = tempfile::tempdir()?;
        let (kind, layout) = (Kind::Thalweg(binary()?), Layout::combined(NODES));
        let mut cluster = Cluster::start(&kind, layout, folder.path())?;
        let before = describe_quorum(address(1))?;
        let leader = u8::try_from(before.leader_id)?;
        let other = leader % NODES + 1;
        Client::connect(address(leader))?.create_topic("before", 3, &[])?;

        lose(&mut cluster, leader)?;
        // One request, sent while nobody has noticed, is answered by the next controller.
        Client::connect(address(other))?.create_topic("meanwhile", 3, &[])?;
        let after = describe_quorum(address(other))?;
        ensure!(after.leader_id != before.leader_id && after.leader_epoch > before.leader_epoch);

        give_back(&mut cluster, leader)?;
        cluster.wait_until_whole()?;
        let mut attempts = 0;
        wait_for("a topic by the former controller", SOON, || {
            attempts += 1;
            let name = format!("after-{attempts}");
            Ok(Client::connect(address(leader))?.create_topic(&name, 1, &[]).is_ok())
        })?;
        wait_for("all voters level", SOON, || Ok(is_level(&describe_quorum(address(leader))?)))?;
        // What is in a log counts for a broker once it has heard that it is committed.
        let expected = ["before", "meanwhile"].map(|name| (name.to_owned(), 3));
        wait_for("all brokers know the topics", SOON, || {
            let known = cluster.addresses().into_iter().map(topics);
            let known: Vec<_> = known.collect::<anyhow::Result<_>>()?;
            Ok(known.iter().all(|topics| expected.iter().all(|topic| topics.contains(topic))))
        })
    })
}

fn topics(at: SocketAddr) -> anyhow::Result<Vec<(String, usize)>> {
    Client::connect(at)?.topics()
}

#[test]
fn a_killed_controller_is_replaced_and_comes_back() -> anyhow::Result<()> {
    lose_the_controller(
        "quorum::a_killed_controller_is_replaced_and_comes_back",
        |cluster, id| cluster.member(id).kill(),
        |cluster, id| cluster.member(id).start(),
    )
}

#[test]
fn a_paused_controller_is_replaced_and_follows_when_it_wakes_up() -> anyhow::Result<()> {
    lose_the_controller(
        "quorum::a_paused_controller_is_replaced_and_follows_when_it_wakes_up",
        |cluster, id| cluster.member(id).pause(),
        |cluster, id| cluster.member(id).resume(),
    )
}

#[test]
fn a_controller_that_others_do_not_hear_is_replaced() -> anyhow::Result<()> {
    lose_the_controller(
        "quorum::a_controller_that_others_do_not_hear_is_replaced",
        |cluster, id| {
            let mut others = cluster.network.nodes().filter(|&other| other != id);
            others.try_for_each(|other| cluster.network.cut(Place::Node(id), Place::Node(other)))
        },
        |cluster, _| cluster.network.heal(),
    )
}

#[test]
fn a_controller_comes_back_with_an_empty_disk() -> anyhow::Result<()> {
    lose_the_controller(
        "quorum::a_controller_comes_back_with_an_empty_disk",
        |cluster, id| cluster.member(id).kill(),
        |cluster, id| {
            cluster.member(id).replace_disk()?;
            cluster.member(id).start()
        },
    )
}

#[test]
fn a_controller_with_damaged_metadata_says_so_and_comes_back_with_an_empty_disk()
-> anyhow::Result<()> {
    lose_the_controller(
        "quorum::a_controller_with_damaged_metadata_says_so_and_comes_back_with_an_empty_disk",
        |cluster, id| {
            cluster.member(id).kill()?;
            damage_the_middle(&cluster.member(id).data())
        },
        |cluster, id| {
            let member = cluster.member(id);
            member.start()?;
            // By itself.
            member.wait_end()?;
            let said = member.last_words();
            ensure!(said.contains("damaged") && said.contains("with an empty one"), "{said}");
            member.replace_disk()?;
            member.start()
        },
    )
}

#[test]
fn a_controller_that_was_paused_fences_nobody_for_its_own_silence() -> anyhow::Result<()> {
    in_own_network("quorum::a_controller_that_was_paused_fences_nobody_for_its_own_silence", || {
        let folder = tempfile::tempdir()?;
        // One controller and two brokers.
        let layout = Layout { voters: 1, only_controllers: 1, ..Layout::combined(NODES) };
        let mut cluster = Cluster::start(&Kind::Thalweg(binary()?), layout, folder.path())?;
        cluster.create_topic("topic", 1, 2, &[])?;
        let before = cluster.lead("topic", 0)?;

        cluster.member(1).pause()?;
        thread::sleep(BEYOND_SESSIONS);
        cluster.member(1).resume()?;
        // Decided after whatever it thinks of its brokers.
        Client::connect(cluster.addresses()[0])?.create_topic("afterwards", 3, &[])?;
        ensure!(cluster.lead("topic", 0)? == before);
        Ok(())
    })
}
