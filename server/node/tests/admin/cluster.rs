//! Nodes that are brokers only, under a controller on a node of its own.

use std::net::SocketAddr;

use protocol::ApiKey;
use protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use thalweg_node::{Node, StartOptions};
use types::ErrorCode;

use crate::client::{Client, eventually, metrics_at, reason, start_options};
use crate::configs::{TOPIC, set};
use crate::controllers::describe_quorum;

/// Node 1 is the controller, nodes 2 and 3 are brokers.
pub struct Cluster {
    dir: tempfile::TempDir,
    controller: Option<Node>,
    brokers: Vec<(i32, Node)>,
    /// Settings of all nodes beside those that a test's nodes always have.
    more: &'static [(&'static str, &'static str)],
    have_two_dirs: bool,
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_nodes(&[], false)
    }

    pub fn start_with(more: &'static [(&'static str, &'static str)]) -> Self {
        Self::start_nodes(more, false)
    }

    /// As `start_with`, and each node has two directories.
    pub fn start_with_two_dirs(more: &'static [(&'static str, &'static str)]) -> Self {
        Self::start_nodes(more, true)
    }

    fn start_nodes(more: &'static [(&'static str, &'static str)], have_two_dirs: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut this = Self { dir, controller: None, brokers: vec![], more, have_two_dirs };
        let roles = [("process.roles", "controller"), ("listeners", "CONTROLLER://127.0.0.1:0")];
        this.controller = Some(this.node(1, "127.0.0.1:1", &roles));
        for id in [2, 3] {
            this.start_broker(id);
        }
        this
    }

    pub fn start_broker(&mut self, id: i32) {
        let controller = self.controller.as_ref().unwrap().listeners()[0].1.to_string();
        let roles = [("process.roles", "broker"), ("listeners", "PLAINTEXT://127.0.0.1:0")];
        let node = self.node(id, &controller, &roles);
        self.brokers.push((id, node));
    }

    fn node(&self, id: i32, controller: &str, roles: &[(&str, &str)]) -> Node {
        let mut dirs = self.folder(id).display().to_string();
        if self.have_two_dirs {
            dirs += &format!(",{}", self.second_folder(id).display());
        }
        let id = id.to_string();
        let settings = [
            ("node.id", id.as_str()),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.bootstrap.servers", controller),
            ("log.dirs", &dirs),
            ("broker.heartbeat.interval.ms", "100"),
            ("offsets.topic.num.partitions", "1"),
            ("offsets.topic.replication.factor", "2"),
            ("thalweg.metrics.listener", "127.0.0.1:0"),
            ("thalweg.shards", "2"),
        ];
        let options = start_options(settings.iter().chain(roles).chain(self.more).copied());
        let cluster_id = Some("tDQ2RjwFTkqCzO4NHGkYjA".to_owned());
        Node::start(StartOptions { cluster_id, ..options }).unwrap()
    }

    /// Where a node has its logs.
    pub fn folder(&self, id: i32) -> std::path::PathBuf {
        self.dir.path().join(id.to_string())
    }

    /// Its second directory.
    pub fn second_folder(&self, id: i32) -> std::path::PathBuf {
        self.folder(id).with_extension("more")
    }

    pub fn client(&self, id: i32) -> Client {
        let (_, node) = self.brokers.iter().find(|(broker, _)| *broker == id).unwrap();
        Client::connect(address(node))
    }

    /// A sample of a broker's page of metrics, by its name and labels.
    pub fn metric(&self, id: i32, sample: &str) -> Option<f64> {
        let (_, node) = self.brokers.iter().find(|(broker, _)| *broker == id).unwrap();
        let page = metrics_at(node.metrics().unwrap());
        let value = |line: &str| line.strip_prefix(sample)?.trim().parse().ok();
        page.lines().find_map(value)
    }

    /// From now on nobody decides.
    pub fn stop_controller(&mut self) {
        self.controller.take().unwrap().stop().unwrap();
    }

    /// Waits until a broker cannot go on, and gives the reason.
    pub fn failure(&mut self, id: i32) -> String {
        let (_, node) = self.brokers.iter_mut().find(|(broker, _)| *broker == id).unwrap();
        reason(node)
    }

    pub fn stop(&mut self, id: i32) {
        let at = self.brokers.iter().position(|(broker, _)| *broker == id).unwrap();
        self.brokers.remove(at).1.stop().unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Brokers first: they ask the controller for their end.
        for (_, broker) in self.brokers.drain(..) {
            broker.stop().unwrap();
        }
        if let Some(controller) = self.controller.take() {
            controller.stop().unwrap();
        }
    }
}

fn address(node: &Node) -> SocketAddr {
    node.listeners()[0].1
}

/// The brokers that a broker knows, and whether they are fenced.
pub fn brokers(client: &mut Client) -> Vec<(i32, bool)> {
    let request = DescribeClusterRequest {
        endpoint_type: 1,
        include_fenced_brokers: true,
        ..Default::default()
    };
    let answer: DescribeClusterResponse = client.call(ApiKey::DescribeCluster, 2, &request);
    answer.brokers.iter().map(|one| (one.broker_id, one.is_fenced)).collect()
}

/// Waits until the broker that is asked knows that both of a [`Cluster`] are let in.
pub fn await_both(client: &mut Client) {
    eventually("both brokers to be let in", || {
        (brokers(client) == [(2, false), (3, false)]).then_some(())
    });
}

/// The leaders of a topic's partitions as a broker knows them, once it knows the topic.
fn leaders(client: &mut Client, topic: &str) -> Option<Vec<i32>> {
    let topic = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
    let topic = answer.topics.first().filter(|topic| topic.error_code == 0)?;
    Some(topic.partitions.iter().map(|one| one.leader_id).collect())
}

fn create(client: &mut Client, name: &str, num_partitions: i32) -> ErrorCode {
    ErrorCode::from_wire(client.ask_for_topic(name, num_partitions).error_code)
}

fn producer_id(client: &mut Client) -> i64 {
    eventually("a producer id", || {
        let request = InitProducerIdRequest::default();
        let answer: InitProducerIdResponse = client.call(ApiKey::InitProducerId, 4, &request);
        (answer.error_code == 0).then_some(answer.producer_id)
    })
}

fn retention(client: &mut Client, topic: &str) -> Option<String> {
    let resource = DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: topic.to_owned(),
        configuration_keys: Some(vec!["retention.ms".to_owned()]),
        ..Default::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer: DescribeConfigsResponse = client.call(ApiKey::DescribeConfigs, 4, &request);
    answer.results.first()?.configs.first()?.value.clone()
}

#[test]
fn changes_of_the_cluster_go_through_any_broker_to_the_controller() {
    let cluster = Cluster::start();
    let (mut second, mut third) = (cluster.client(2), cluster.client(3));
    for client in [&mut second, &mut third] {
        eventually("both brokers to be let in", || {
            (brokers(client) == [(2, false), (3, false)]).then_some(())
        });
    }

    assert_eq!(create(&mut second, "t", 4), ErrorCode::None);
    assert_eq!(create(&mut third, "t", 4), ErrorCode::TopicAlreadyExists);
    for client in [&mut second, &mut third] {
        let mut leaders = eventually("the topic", || leaders(client, "t"));
        leaders.sort_unstable();
        assert_eq!(leaders, [2, 2, 3, 3]);
    }

    assert_eq!(set(&mut third, TOPIC, "t", "retention.ms", Some("77")), ErrorCode::None);
    for client in [&mut second, &mut third] {
        eventually("the setting", || {
            (retention(client, "t").as_deref() == Some("77")).then_some(())
        });
    }

    let (one, other) = (producer_id(&mut second), producer_id(&mut third));
    assert_eq!((one - other).abs(), 1000, "each has a block of its own");

    let quorum = describe_quorum(&mut second);
    assert_eq!(quorum.topics[0].partitions[0].leader_id, 1);
}

#[test]
fn a_broker_that_stops_hands_over_and_comes_back() {
    let mut cluster = Cluster::start();
    let mut third = cluster.client(3);
    cluster.stop(2);
    eventually("the broker to be out", || {
        (brokers(&mut third) == [(2, true), (3, false)]).then_some(())
    });
    assert_eq!(create(&mut third, "t", 2), ErrorCode::None);
    assert_eq!(eventually("the topic", || leaders(&mut third, "t")), [3, 3]);
    cluster.start_broker(2);
    eventually("the broker to be in", || {
        (brokers(&mut third) == [(2, false), (3, false)]).then_some(())
    });
    assert_eq!(eventually("the topic", || leaders(&mut cluster.client(2), "t")), [3, 3]);
}
