//! Three controllers that keep one metadata log: they elect, go on without one, and take back who
//! was away.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use config::{Sources, StaticConfig};
use protocol::ApiKey;
use protocol::messages::begin_quorum_epoch::{
    self, BeginQuorumEpochRequest, BeginQuorumEpochResponse,
};
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, ResponsePartitionData, TopicData,
};
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use protocol::messages::update_features::{
    FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use thalweg_node::{Node, StartOptions};
use types::{ErrorCode, Uuid};

use crate::client::Client;

/// Until then something has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tests run side by side: each takes the next.
static PORT: AtomicU16 = AtomicU16::new(20_000);
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// Static voters 1, 2 and 3, each on an address of its own.
struct Controllers {
    dir: tempfile::TempDir,
    addresses: [SocketAddr; 3],
    nodes: [Option<Node>; 3],
    more: Vec<(&'static str, &'static str)>,
}

impl Controllers {
    fn start(more: &[(&'static str, &'static str)]) -> Self {
        // Addresses of the loopback network that only this process uses.
        let [high, low, ..] = std::process::id().to_le_bytes();
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let addresses = [1, 2, 3].map(|node| SocketAddr::from(([127, high, low, node], port)));
        let dir = tempfile::tempdir().unwrap();
        let mut this = Self { dir, addresses, nodes: [None, None, None], more: more.to_vec() };
        this.run(&[0, 1, 2]);
        this
    }

    /// Starts nodes together: each waits for a majority.
    fn run(&mut self, which: &[usize]) {
        let starting = which.iter().map(|&at| {
            let options = self.options(at);
            (at, thread::spawn(move || Node::start(options).unwrap()))
        });
        let starting: Vec<_> = starting.collect();
        for (at, node) in starting {
            self.nodes[at] = Some(node.join().unwrap());
        }
    }

    fn options(&self, at: usize) -> StartOptions {
        let (id, address) = (at + 1, self.addresses[at]);
        let voters = self.addresses.iter().zip(1..).map(|(address, id)| format!("{id}@{address}"));
        let mut settings = vec![
            ("process.roles", "controller".to_owned()),
            ("node.id", id.to_string()),
            ("listeners", format!("CONTROLLER://{address}")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.voters", voters.collect::<Vec<_>>().join(",")),
            ("log.dirs", self.log_dir(at).display().to_string()),
            ("thalweg.shards", "1".to_owned()),
        ];
        settings.extend(self.more.iter().map(|(key, value)| (*key, (*value).to_owned())));
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
    fn describe(&self, at: usize) -> ResponsePartitionData {
        let partitions = vec![PartitionData::default()];
        let topic_name = "__cluster_metadata".to_owned();
        let topics = vec![TopicData { topic_name, partitions, ..Default::default() }];
        let request = DescribeQuorumRequest { topics, ..Default::default() };
        let mut client = Client::connect(self.addresses[at]);
        let mut answer: DescribeQuorumResponse = client.call(ApiKey::DescribeQuorum, 2, &request);
        answer.topics.remove(0).partitions.remove(0)
    }

    /// Waits until one of the nodes that run leads and `holds` of the quorum.
    fn leader_when(&self, holds: impl Fn(&ResponsePartitionData) -> bool) -> usize {
        let begun = Instant::now();
        loop {
            for at in (0..3).filter(|at| self.nodes[*at].is_some()) {
                let quorum = self.describe(at);
                if quorum.error_code == 0 && holds(&quorum) {
                    return at;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads as it should");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Changes a setting of the cluster; the code of the answer.
    fn change(&self, at: usize, value: &str) -> ErrorCode {
        let config = AlterableConfig {
            name: "log.retention.ms".to_owned(),
            value: Some(value.to_owned()),
            ..Default::default()
        };
        let resource =
            AlterConfigsResource { resource_type: 4, configs: vec![config], ..Default::default() };
        let request =
            IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let mut client = Client::connect(self.addresses[at]);
        let answer: IncrementalAlterConfigsResponse =
            client.call(ApiKey::IncrementalAlterConfigs, 1, &request);
        ErrorCode::from_wire(answer.responses[0].error_code)
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        // Together: none of them can wait for a majority that is gone.
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            _ = node.stop();
        }
    }
}

/// Whether all voters have all of the log.
fn all_are_level(quorum: &ResponsePartitionData) -> bool {
    let ends = quorum.current_voters.iter().map(|voter| voter.log_end_offset);
    quorum.current_voters.len() == 3 && ends.clone().min() == ends.max()
}

fn checkpoints(log_dir: &Path) -> usize {
    let files = std::fs::read_dir(log_dir.join("__cluster_metadata-0")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".checkpoint")).count()
}

#[test]
fn three_voters_go_on_without_one_and_take_it_back() {
    let mut quorum = Controllers::start(&[]);
    let first = quorum.leader_when(all_are_level);
    assert_eq!(quorum.change(first, "1000"), ErrorCode::None);
    let other = (first + 1) % 3;
    assert_eq!(quorum.change(other, "1000"), ErrorCode::NotController);
    assert_eq!(quorum.describe(other).error_code, ErrorCode::NotLeaderOrFollower.to_wire());

    let epoch = quorum.describe(first).leader_epoch;
    quorum.stop(first);
    let second = quorum.leader_when(|quorum| quorum.leader_epoch > epoch);
    assert_eq!(quorum.change(second, "2000"), ErrorCode::None);

    quorum.run(&[first]);
    let third = quorum.leader_when(all_are_level);
    assert_eq!(third, second, "who comes back disturbs nobody");
}

#[test]
fn who_is_far_behind_takes_a_snapshot() {
    let mut quorum = Controllers::start(&[
        ("metadata.log.max.record.bytes.between.snapshots", "1"),
        ("metadata.max.retention.bytes", "1"),
        ("metadata.log.segment.ms", "1"),
    ]);
    let leader = quorum.leader_when(all_are_level);
    let behind = (leader + 1) % 3;
    quorum.stop(behind);
    for number in 0..20 {
        assert_eq!(quorum.change(leader, &(1000 + number).to_string()), ErrorCode::None);
        // Segments and snapshots go by the millisecond.
        thread::sleep(Duration::from_millis(5));
    }
    quorum.run(&[behind]);
    quorum.leader_when(all_are_level);
    assert!(checkpoints(&quorum.log_dir(behind)) > 0);
    let segments = std::fs::read_dir(quorum.log_dir(behind).join("__cluster_metadata-0")).unwrap();
    let names = segments.map(|file| file.unwrap().file_name().into_string().unwrap());
    let first = names.filter(|name| name.ends_with(".log")).min().unwrap();
    assert_ne!(first, "00000000000000000000.log", "the log begins with the snapshot");
}

/// KIP-853: the voters of `controller.quorum.voters` go into the log, by their directories.
#[test]
fn static_voters_become_dynamic_ones_while_the_cluster_runs() {
    let mut quorum = Controllers::start(&[("controller.quorum.fetch.timeout.ms", "1000")]);
    let leader = quorum.leader_when(all_are_level);
    let update = FeatureUpdateKey {
        feature: "kraft.version".to_owned(),
        max_version_level: 1,
        upgrade_type: 1,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
    let mut client = Client::connect(quorum.addresses[leader]);
    let begun = Instant::now();
    loop {
        // Refused until each voter has told its directory.
        let answer: UpdateFeaturesResponse = client.call(ApiKey::UpdateFeatures, 2, &request);
        match ErrorCode::from_wire(answer.error_code) {
            ErrorCode::None => break,
            code => assert_eq!(code, ErrorCode::InvalidUpdateVersion, "{answer:?}"),
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
        thread::sleep(Duration::from_millis(20));
    }
    let is_dynamic = |quorum: &ResponsePartitionData| {
        let voters = &quorum.current_voters;
        all_are_level(quorum) && voters.iter().all(|voter| voter.replica_directory_id != Uuid::ZERO)
    };
    let leader = quorum.leader_when(is_dynamic);
    // It stays so after a restart, whatever the settings say.
    quorum.stop(leader);
    quorum.run(&[leader]);
    quorum.leader_when(is_dynamic);
}

#[test]
fn a_quorum_survives_what_strangers_say() {
    let quorum = Controllers::start(&[]);
    let leader = quorum.leader_when(all_are_level);
    let epoch = quorum.describe(leader).leader_epoch;
    let (topic, host) = ("__cluster_metadata".to_owned(), "127.0.0.1".to_owned());
    let begin = |leader_epoch| BeginQuorumEpochRequest {
        voter_id: -1,
        topics: vec![begin_quorum_epoch::TopicData {
            topic_name: topic.clone(),
            partitions: vec![begin_quorum_epoch::PartitionData {
                leader_id: 77,
                leader_epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        leader_endpoints: vec![begin_quorum_epoch::LeaderEndpoint {
            name: "CONTROLLER".to_owned(),
            host: host.clone(),
            port: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let tell = |epoch| {
        for address in quorum.addresses {
            let _: BeginQuorumEpochResponse =
                Client::connect(address).call(ApiKey::BeginQuorumEpoch, 1, &begin(epoch));
        }
    };
    tell(i32::MAX);
    tell(-1);
    assert_eq!(quorum.change(leader, "1000"), ErrorCode::None);
    assert_eq!(quorum.describe(leader).leader_epoch, epoch, "no such epoch can be");
    // One that could be: all of them look for that leader, in vain.
    tell(epoch + 1);
    let next = quorum.leader_when(|quorum| quorum.leader_epoch > epoch + 1);
    assert_eq!(quorum.change(next, "2000"), ErrorCode::None);
}
