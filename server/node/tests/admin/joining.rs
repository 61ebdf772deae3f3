//! Controllers that join a quorum by themselves (KIP-853): the first one begins the cluster, others
//! become voters, and one that comes back with an empty disk takes the place of what it was.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use config::{Sources, StaticConfig};
use protocol::ApiKey;
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, ResponsePartitionData, TopicData,
};
use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use thalweg_node::{Node, StartOptions};
use types::Uuid;

use crate::client::Client;

/// Until then something has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// Controllers 1, 2, ...; the first one begins the cluster, the others join.
struct Quorum {
    dir: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    nodes: Vec<Option<Node>>,
}

impl Quorum {
    /// Starts the first one.
    fn begin(nodes: u8, port: u32) -> Self {
        // Addresses of the loopback network that only this process uses.
        let [high, low, ..] = std::process::id().to_le_bytes();
        let port = 20_000 + u16::try_from(port).unwrap();
        let addresses = (1..=nodes).map(|node| SocketAddr::from(([127, high, low, node], port)));
        let addresses: Vec<_> = addresses.collect();
        let dir = tempfile::tempdir().unwrap();
        let mut this = Self { dir, nodes: addresses.iter().map(|_| None).collect(), addresses };
        this.start(0);
        this
    }

    fn start(&mut self, at: usize) {
        self.nodes[at] = Some(Node::start(self.options(at)).unwrap());
    }

    fn options(&self, at: usize) -> StartOptions {
        let (id, address) = (at + 1, self.addresses[at]);
        let settings = [
            ("process.roles", "controller".to_owned()),
            ("node.id", id.to_string()),
            ("listeners", format!("CONTROLLER://{address}")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.bootstrap.servers", self.addresses[0].to_string()),
            ("controller.quorum.auto.join.enable", (at > 0).to_string()),
            ("controller.quorum.fetch.timeout.ms", "1000".to_owned()),
            ("log.dirs", self.log_dir(at).display().to_string()),
            ("thalweg.shards", "1".to_owned()),
        ];
        let overrides = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Default::default() }).unwrap();
        StartOptions { fixed, cluster_id: Some(CLUSTER_ID.to_owned()), has_picked_id: false }
    }

    fn log_dir(&self, at: usize) -> std::path::PathBuf {
        self.dir.path().join(at.to_string())
    }

    fn stop(&mut self, at: usize) {
        self.nodes[at].take().unwrap().stop().unwrap();
    }

    /// What a node says of the quorum.
    fn ask(&self, at: usize) -> DescribeQuorumResponse {
        let partitions = vec![PartitionData::default()];
        let topic_name = "__cluster_metadata".to_owned();
        let topics = vec![TopicData { topic_name, partitions, ..Default::default() }];
        let request = DescribeQuorumRequest { topics, ..Default::default() };
        Client::connect(self.addresses[at]).call(ApiKey::DescribeQuorum, 2, &request)
    }

    /// What a node says of the voters, if it leads.
    fn describe(&self, at: usize) -> Option<ResponsePartitionData> {
        let mut answer = self.ask(at);
        Some(answer.topics.remove(0).partitions.remove(0)).filter(|quorum| quorum.error_code == 0)
    }

    /// Has the leader take a vote away; it answers once a majority has it.
    fn remove(&self, leader: usize, at: usize, voter_directory_id: Uuid) {
        let voter_id = i32::try_from(at + 1).unwrap();
        let request = RemoveRaftVoterRequest { voter_id, voter_directory_id, ..Default::default() };
        let mut client = Client::connect(self.addresses[leader]);
        let answer: RemoveRaftVoterResponse = client.call(ApiKey::RemoveRaftVoter, 0, &request);
        assert_eq!(answer.error_code, 0, "{answer:?}");
    }

    /// The node that leads, as an index.
    fn leader(&self) -> Option<usize> {
        let mut running = (0..self.nodes.len()).filter(|at| self.nodes[*at].is_some());
        running.find(|at| self.describe(*at).is_some())
    }

    /// Waits until those nodes vote, all have the whole log, and nobody else votes; their
    /// directories.
    fn voters(&self, expected: &[i32]) -> Vec<Uuid> {
        let begun = Instant::now();
        loop {
            let running = (0..self.nodes.len()).filter(|at| self.nodes[*at].is_some());
            for quorum in running.filter_map(|at| self.describe(at)) {
                let voters = &quorum.current_voters;
                let ids: Vec<i32> = voters.iter().map(|voter| voter.replica_id).collect();
                let ends = voters.iter().map(|voter| voter.log_end_offset);
                if ids == expected && ends.clone().min() == ends.max() {
                    return voters.iter().map(|voter| voter.replica_directory_id).collect();
                }
            }
            assert!(begun.elapsed() < PATIENCE, "the voters are not {expected:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Quorum {
    fn drop(&mut self) {
        let nodes: Vec<Node> = self.nodes.iter_mut().filter_map(Option::take).collect();
        // Together: none of them can wait for a majority that is gone.
        let stops = nodes.into_iter().map(|node| thread::spawn(move || _ = node.stop()));
        stops.collect::<Vec<_>>().into_iter().for_each(|stop| _ = stop.join());
    }
}

#[test]
fn a_controller_joins_by_itself_and_again_with_a_new_disk() {
    let mut quorum = Quorum::begin(3, line!());
    quorum.start(1);
    quorum.voters(&[1, 2]);
    quorum.start(2);
    let before = quorum.voters(&[1, 2, 3]);

    quorum.stop(2);
    std::fs::remove_dir_all(quorum.log_dir(2)).unwrap();
    quorum.start(2);
    let begun = Instant::now();
    loop {
        let after = quorum.voters(&[1, 2, 3]);
        if after[2] != before[2] {
            assert_eq!(after[..2], before[..2]);
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the empty disk is no voter");
    }
}

#[test]
fn a_voter_that_listens_elsewhere_tells_the_leader() {
    let mut quorum = Quorum::begin(2, line!());
    quorum.start(1);
    quorum.voters(&[1, 2]);
    quorum.stop(1);
    let port = quorum.addresses[1].port() + 1000;
    quorum.addresses[1].set_port(port);
    quorum.start(1);
    let begun = Instant::now();
    loop {
        let answers = (0..2).map(|at| quorum.ask(at));
        let mut nodes = answers.flat_map(|answer| answer.nodes).filter(|node| node.node_id == 2);
        if nodes.any(|node| node.listeners.iter().any(|one| one.port == port)) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody knows of the new port");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn five_voters_go_on_without_two_and_without_the_leader() {
    let mut quorum = Quorum::begin(5, line!());
    for at in 1..5 {
        quorum.start(at);
    }
    let directories = quorum.voters(&[1, 2, 3, 4, 5]);
    let leader = quorum.leader().unwrap();
    let others: Vec<usize> = (0..5).filter(|at| *at != leader).take(2).collect();
    others.iter().for_each(|at| quorum.stop(*at));
    quorum.remove(leader, others[0], directories[others[0]]);
    // The one that was removed joins again.
    others.iter().for_each(|at| quorum.start(*at));
    quorum.voters(&[1, 2, 3, 4, 5]);

    assert_eq!(leader, 0, "nothing has disturbed the one that began");
    quorum.remove(leader, leader, directories[leader]);
    quorum.voters(&[2, 3, 4, 5]);
    assert_ne!(quorum.leader(), Some(leader), "it only reads from now on");
}

#[test]
fn an_idle_log_moves_while_others_read_it() {
    let mut quorum = Quorum::begin(2, line!());
    quorum.start(1);
    quorum.voters(&[1, 2]);
    let committed = |quorum: &Quorum| quorum.describe(0).unwrap().high_watermark;
    let (before, begun) = (committed(&quorum), Instant::now());
    // More than what comes with the start of a node.
    while committed(&quorum) < before + 5 {
        assert!(begun.elapsed() < PATIENCE, "it stands still");
        thread::sleep(Duration::from_millis(20));
    }
}
