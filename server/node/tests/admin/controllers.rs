//! Controllers of one quorum, each a node on an address of its own, for the tests that need several.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use protocol::ApiKey;
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, ResponsePartitionData, TopicData,
};
use thalweg_node::{Node, StartOptions};

use crate::client::{Client, eventually, start_options};

/// Tests run side by side: each takes the next.
static PORT: AtomicU16 = AtomicU16::new(20_000);
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// Settings of a node, beside those that all have: from the addresses of all and its own index.
type Settings = dyn Fn(&[SocketAddr], usize) -> Vec<(&'static str, String)>;

/// Nodes 1, 2, ..., by their indexes 0, 1, ...; none runs until it is told to.
pub struct Controllers {
    dir: tempfile::TempDir,
    pub addresses: Vec<SocketAddr>,
    nodes: Vec<Option<Node>>,
    settings: Box<Settings>,
}

impl Controllers {
    pub fn new(
        nodes: u8,
        settings: impl Fn(&[SocketAddr], usize) -> Vec<(&'static str, String)> + 'static,
    ) -> Self {
        // Addresses of the loopback network that only this process uses.
        let [high, low, ..] = std::process::id().to_le_bytes();
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let addresses = (1..=nodes).map(|node| SocketAddr::from(([127, high, low, node], port)));
        Self {
            dir: tempfile::tempdir().unwrap(),
            addresses: addresses.collect(),
            nodes: (0..nodes).map(|_| None).collect(),
            settings: Box::new(settings),
        }
    }

    /// Starts nodes together: each may wait for a majority.
    pub fn start(&mut self, which: &[usize]) {
        let starting = which.iter().map(|&at| {
            let options = self.options(at);
            (at, thread::spawn(move || Node::start(options).unwrap()))
        });
        for (at, node) in starting.collect::<Vec<_>>() {
            self.nodes[at] = Some(node.join().unwrap());
        }
    }

    fn options(&self, at: usize) -> StartOptions {
        let mut settings = vec![
            ("process.roles", "controller".to_owned()),
            ("node.id", (at + 1).to_string()),
            ("listeners", format!("CONTROLLER://{}", self.addresses[at])),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("log.dirs", self.log_dir(at).display().to_string()),
            ("thalweg.shards", "1".to_owned()),
        ];
        settings.extend((self.settings)(&self.addresses, at));
        let settings = settings.iter().map(|(key, value)| (*key, value.as_str()));
        StartOptions { cluster_id: Some(CLUSTER_ID.to_owned()), ..start_options(settings) }
    }

    pub fn log_dir(&self, at: usize) -> PathBuf {
        self.dir.path().join(at.to_string())
    }

    pub fn stop(&mut self, at: usize) {
        self.nodes[at].take().unwrap().stop().unwrap();
    }

    pub fn client(&self, at: usize) -> Client {
        Client::connect(self.addresses[at])
    }

    /// What a node says of the quorum; a code says if it does not lead.
    pub fn describe(&self, at: usize) -> ResponsePartitionData {
        describe_quorum(&mut self.client(at)).topics.remove(0).partitions.remove(0)
    }

    /// Waits until one of the nodes that run leads, and `found` in what it says of the quorum.
    pub fn leader_when<T>(&self, found: impl Fn(usize, &ResponsePartitionData) -> Option<T>) -> T {
        let running = || (0..self.nodes.len()).filter(|at| self.nodes[*at].is_some());
        eventually("a leader as it should be", || {
            running().find_map(|at| {
                let quorum = self.describe(at);
                if quorum.error_code == 0 { found(at, &quorum) } else { None }
            })
        })
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        let nodes: Vec<Node> = self.nodes.iter_mut().filter_map(Option::take).collect();
        // Together: none of them can wait for a majority that is gone.
        let stops = nodes.into_iter().map(|node| thread::spawn(move || _ = node.stop()));
        stops.collect::<Vec<_>>().into_iter().for_each(|stop| _ = stop.join());
    }
}

/// What a node knows of the quorum of the metadata log.
pub fn describe_quorum(client: &mut Client) -> DescribeQuorumResponse {
    let partitions = vec![PartitionData::default()];
    let topic_name = "__cluster_metadata".to_owned();
    let topics = vec![TopicData { topic_name, partitions, ..Default::default() }];
    let request = DescribeQuorumRequest { topics, ..Default::default() };
    client.call(ApiKey::DescribeQuorum, 2, &request)
}

/// Whether all voters have all of the log.
pub fn all_are_level(quorum: &ResponsePartitionData) -> bool {
    let ends = quorum.current_voters.iter().map(|voter| voter.log_end_offset);
    ends.clone().min() == ends.max()
}
