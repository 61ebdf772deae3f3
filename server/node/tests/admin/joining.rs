//! Controllers that join a quorum by themselves (KIP-853): the first one begins the cluster, others
//! become voters, and one that comes back with an empty disk takes the place of what it was.

use protocol::ApiKey;
use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use types::Uuid;

use crate::client::{TestNode, eventually};
use crate::controllers::{Controllers, all_are_level, describe_quorum};

/// Controllers 1, 2, ...; starts the first one, which begins the cluster. The others join.
fn begin(nodes: u8) -> Controllers {
    let mut quorum = Controllers::new(nodes, |addresses, at| {
        vec![
            ("controller.quorum.bootstrap.servers", addresses[0].to_string()),
            ("controller.quorum.auto.join.enable", (at > 0).to_string()),
            ("controller.quorum.fetch.timeout.ms", "1000".to_owned()),
        ]
    });
    quorum.start(&[0]);
    quorum
}

/// Has the leader take a vote away; it answers once a majority has it.
fn remove(quorum: &Controllers, leader: usize, at: usize, voter_directory_id: Uuid) {
    let voter_id = i32::try_from(at + 1).unwrap();
    let request = RemoveRaftVoterRequest { voter_id, voter_directory_id, ..Default::default() };
    let answer: RemoveRaftVoterResponse =
        quorum.client(leader).call(ApiKey::RemoveRaftVoter, 0, &request);
    assert_eq!(answer.error_code, 0, "{answer:?}");
}

/// Waits until those nodes vote, all have the whole log, and nobody else votes; the leader and their
/// directories.
fn voters(quorum: &Controllers, expected: &[i32]) -> (usize, Vec<Uuid>) {
    quorum.leader_when(|leader, quorum| {
        let voters = &quorum.current_voters;
        let ids: Vec<i32> = voters.iter().map(|voter| voter.replica_id).collect();
        let directories = voters.iter().map(|voter| voter.replica_directory_id);
        (ids == expected && all_are_level(quorum)).then(|| (leader, directories.collect()))
    })
}

#[test]
fn a_controller_joins_by_itself_and_again_with_a_new_disk() {
    let mut quorum = begin(3);
    quorum.start(&[1]);
    voters(&quorum, &[1, 2]);
    quorum.start(&[2]);
    let (_, before) = voters(&quorum, &[1, 2, 3]);

    quorum.stop(2);
    std::fs::remove_dir_all(quorum.log_dir(2)).unwrap();
    quorum.start(&[2]);
    let after = eventually("the empty disk as a voter", || {
        let (_, directories) = voters(&quorum, &[1, 2, 3]);
        (directories[2] != before[2]).then_some(directories)
    });
    assert_eq!(after[..2], before[..2]);
}

#[test]
fn the_only_voter_does_not_start_without_the_controllers_role() {
    let mut node = TestNode::start();
    let roles = [("process.roles", "broker"), ("listeners", "PLAINTEXT://127.0.0.1:0")];
    let refusal = node.restart_refusal(&roles);
    assert!(refusal.contains("only voter") && refusal.contains("process.roles"), "{refusal}");
}

#[test]
fn a_voter_that_listens_elsewhere_tells_the_leader() {
    let mut quorum = begin(2);
    quorum.start(&[1]);
    voters(&quorum, &[1, 2]);
    quorum.stop(1);
    let port = quorum.addresses[1].port() + 1000;
    quorum.addresses[1].set_port(port);
    quorum.start(&[1]);
    eventually("one that knows the new port", || {
        let answers = (0..2).map(|at| describe_quorum(&mut quorum.client(at)));
        let mut nodes = answers.flat_map(|answer| answer.nodes).filter(|node| node.node_id == 2);
        nodes.find(|node| node.listeners.iter().any(|one| one.port == port))
    });
}

#[test]
fn five_voters_go_on_without_two_and_without_the_leader() {
    let mut quorum = begin(5);
    quorum.start(&[1, 2, 3, 4]);
    let (leader, directories) = voters(&quorum, &[1, 2, 3, 4, 5]);
    let others: Vec<usize> = (0..5).filter(|at| *at != leader).take(2).collect();
    others.iter().for_each(|at| quorum.stop(*at));
    remove(&quorum, leader, others[0], directories[others[0]]);
    // The one that was removed joins again.
    quorum.start(&others);
    voters(&quorum, &[1, 2, 3, 4, 5]);

    assert_eq!(leader, 0, "nothing has disturbed the one that began");
    remove(&quorum, leader, leader, directories[leader]);
    let (next, _) = voters(&quorum, &[2, 3, 4, 5]);
    assert_ne!(next, leader, "it only reads from now on");
}

#[test]
fn an_idle_log_moves_while_others_read_it() {
    let mut quorum = begin(2);
    quorum.start(&[1]);
    voters(&quorum, &[1, 2]);
    let committed = || quorum.describe(0).high_watermark;
    let before = committed();
    // More than what comes with the start of a node.
    eventually("an offset that moves", || (committed() >= before + 5).then_some(()));
}
