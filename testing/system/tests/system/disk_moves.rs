//! Moves of a log to another disk that do not end as they should.

use anyhow::ensure;
use protocol::ApiKey;
use protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use protocol::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use thalweg_system::client::Client;
use thalweg_system::process::wait_for;

use crate::disks::{NOTICED_MAX, TwoDirs};

const RECORD_BYTES: usize = 500_000;

/// Begins to move the topic `safe` to the small disk.
fn begin_move(dirs: &TwoDirs, client: &mut Client) -> anyhow::Result<()> {
    let topic = AlterReplicaLogDirTopic {
        name: "safe".to_owned(),
        partitions: vec![0],
        ..Default::default()
    };
    let path = dirs.volume.path.join("logs").display().to_string();
    let dir = AlterReplicaLogDir { path, topics: vec![topic], ..Default::default() };
    let question = AlterReplicaLogDirsRequest { dirs: vec![dir], ..Default::default() };
    let answer: AlterReplicaLogDirsResponse =
        client.connection.ask(ApiKey::AlterReplicaLogDirs, 2, &question)?;
    ensure!(answer.results[0].partitions[0].error_code == 0, "{answer:?}");
    Ok(())
}

/// For each log of the topic `safe` that is known, whether it is in the first directory and whether
/// it is a copy that is not finished.
fn logs(client: &mut Client) -> anyhow::Result<Vec<(bool, bool)>> {
    let question = DescribeLogDirsRequest::default();
    let answer: DescribeLogDirsResponse =
        client.connection.ask(ApiKey::DescribeLogDirs, 4, &question)?;
    let mut found = Vec::new();
    for (at, dir) in answer.results.iter().enumerate() {
        let topics = dir.topics.iter().filter(|topic| topic.name == "safe");
        found.extend(
            topics.flat_map(|topic| &topic.partitions).map(|one| (at == 0, one.is_future_key)),
        );
    }
    Ok(found)
}

#[test]
fn a_move_to_a_disk_without_room_is_given_up_and_nothing_is_lost() -> anyhow::Result<()> {
    let (mut dirs, node) = TwoDirs::start()?;
    let mut client = Client::connect(node.address())?;
    // More than the disk has.
    for _ in 0..60 {
        dirs.safe.produce(&mut client, RECORD_BYTES)?;
    }
    begin_move(&dirs, &mut client)?;
    wait_for("the move to be given up", NOTICED_MAX, || {
        Ok(node.output().contains("cannot move") && logs(&mut client)? == [(true, false)])
    })?;
    dirs.safe.produce_some(&mut client)?;
    dirs.safe.verify(&mut client)?;
    // What was copied is gone.
    wait_for("room on the disk", NOTICED_MAX, || {
        Ok(dirs.risky.produce(&mut client, RECORD_BYTES).is_ok())
    })?;
    dirs.risky.verify(&mut client)?;
    ensure!(!node.output().contains("offline"), "{}", node.output());
    ensure!(node.stop()?.success());
    dirs.check_recovered()
}

#[test]
fn a_move_to_a_disk_that_is_pulled_leaves_the_log_where_it_was() -> anyhow::Result<()> {
    let (mut dirs, node) = TwoDirs::start()?;
    let mut client = Client::connect(node.address())?;
    for _ in 0..20 {
        dirs.safe.produce(&mut client, RECORD_BYTES)?;
    }
    dirs.volume.pull(&node)?;
    // Where the disk is known to have failed by now, the move is refused.
    _ = begin_move(&dirs, &mut client);
    dirs.check_failed(&node)?;
    wait_for("the copy to go", NOTICED_MAX, || Ok(logs(&mut client)? == [(true, false)]))?;
    node.kill()?;
    dirs.check_recovered()
}

#[test]
fn a_node_that_is_killed_during_a_move_has_the_log_in_one_place() -> anyhow::Result<()> {
    let (mut dirs, mut node) = TwoDirs::start()?;
    for round in 0..4 {
        let mut client = Client::connect(node.address())?;
        for _ in 0..5 {
            dirs.safe.produce(&mut client, RECORD_BYTES)?;
        }
        begin_move(&dirs, &mut client)?;
        // At another point of the move each time, by what is produced meanwhile.
        for _ in 0..round {
            dirs.safe.produce(&mut client, RECORD_BYTES)?;
        }
        node.kill()?;
        node = dirs.restart()?;
        let mut client = Client::connect(node.address())?;
        dirs.safe.verify(&mut client)?;
        let found = logs(&mut client)?;
        ensure!(found.len() == 1 && !found[0].1, "round {round}: {found:?}");
    }
    ensure!(node.stop()?.success());
    dirs.check_recovered()
}
