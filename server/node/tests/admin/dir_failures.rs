//! Log directories that fail, at the start and while the node runs.

use std::fs;
use std::path::Path;

use protocol::ApiKey;
use protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use protocol::messages::metadata::{MetadataRequest, MetadataResponse, MetadataResponsePartition};
use records::{BatchBuilder, Compression};
use types::ErrorCode;

use crate::client::{Client, TestNode, eventually};
use crate::cluster::{Cluster, await_both};
use crate::configs::{BROKER, set};
use crate::faults::end_of;
use crate::replication::{create_on, state};

/// Makes one topic per directory; they are named after their directories.
fn topic_in_each(node: &TestNode, client: &mut Client) {
    for name in ["x", "y"] {
        client.create_topic(name, 1);
        client.produce(name, 3, 10, -1);
    }
    let [a, b] = node.log_dirs();
    assert!(a.join("x-0").exists() && b.join("y-0").exists());
}

/// From now on the checkpoints of a directory cannot be written.
fn break_checkpoints(dir: &Path) {
    fs::create_dir(dir.join("log-start-offset-checkpoint.tmp")).unwrap();
}

fn mend_checkpoints(dir: &Path) {
    fs::remove_dir(dir.join("log-start-offset-checkpoint.tmp")).unwrap();
}

fn append(client: &mut Client, topic: &str) -> ErrorCode {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(b"v"), &[]);
    ErrorCode::from_wire(client.append(topic, batch.build(), 9).error_code)
}

fn metadata(client: &mut Client, topic: &str) -> MetadataResponsePartition {
    let response: MetadataResponse =
        client.call(ApiKey::Metadata, 7, &MetadataRequest { topics: None, ..Default::default() });
    let mut topics = response.topics.into_iter();
    let found = topics.find(|one| one.name.as_deref() == Some(topic)).unwrap();
    found.partitions.into_iter().next().unwrap()
}

/// Error and cordon of each directory.
fn directories(client: &mut Client) -> Vec<(ErrorCode, bool)> {
    let request = DescribeLogDirsRequest::default();
    let response: DescribeLogDirsResponse = client.call(ApiKey::DescribeLogDirs, 5, &request);
    let results = response.results.iter();
    results.map(|one| (ErrorCode::from_wire(one.error_code), one.is_cordoned)).collect()
}

fn cordon(client: &mut Client, dirs: &str) {
    assert_eq!(set(client, BROKER, "1", "cordoned.log.dirs", Some(dirs)), ErrorCode::None);
}

/// Tries to make the topic `u`, and says whether that would work.
fn create_u(client: &mut Client) -> i16 {
    let topic = CreatableTopic {
        name: "u".to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let topics = vec![topic];
    let request = CreateTopicsRequest { topics, validate_only: true, ..Default::default() };
    let response: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 7, &request);
    response.topics[0].error_code
}

const STORAGE: ErrorCode = ErrorCode::KafkaStorageError;
const FINE: (ErrorCode, bool) = (ErrorCode::None, false);

fn assert_only_y_is_offline(client: &mut Client) {
    eventually("the cluster to know", || (metadata(client, "y").leader_id == -1).then_some(()));
    let lost = metadata(client, "y");
    assert_eq!((lost.error_code, &lost.offline_replicas[..]), (5, &[1][..]));
    assert_eq!(append(client, "y"), STORAGE);
    assert_eq!(end_of(client, "y").0, STORAGE);
    assert_eq!(client.delete_records("y", 0, 1).0, STORAGE);
    assert_eq!(directories(client), [FINE, (STORAGE, false)]);
    let kept = metadata(client, "x");
    assert_eq!((kept.leader_id, &kept.offline_replicas[..]), (1, &[][..]));
    assert_eq!(append(client, "x"), ErrorCode::None);
}

#[test]
fn a_failed_directory_takes_its_partitions_offline_until_the_node_starts_anew() {
    let mut node = TestNode::start();
    let mut client = node.client();
    topic_in_each(&node, &mut client);
    let [a, b] = node.log_dirs();
    break_checkpoints(&b);
    // This writes the checkpoints.
    client.delete_records("x", 0, 1);
    assert_only_y_is_offline(&mut client);
    for name in ["v", "w"] {
        client.create_topic(name, 1);
        client.produce(name, 1, 1, -1);
        assert!(a.join(format!("{name}-0")).exists(), "new ones go to the other");
    }
    drop(client);
    node.restart_after(|_| mend_checkpoints(&b));
    let mut client = node.client();
    assert_eq!(metadata(&mut client, "y").leader_id, 1);
    assert_eq!(directories(&mut client), [FINE, FINE]);
    assert_eq!(end_of(&mut client, "y"), (ErrorCode::None, 3));
    assert_eq!(client.produce("y", 1, 1, -1), 3);
    assert_eq!(client.produce("x", 1, 1, -1), 4);
}

/// The cluster is told where a log lies as soon as it listens, else it would not know what fails.
#[test]
fn a_log_that_was_moved_by_hand_fails_with_the_directory_that_it_lies_in() {
    let mut node = TestNode::start();
    let mut client = node.client();
    topic_in_each(&node, &mut client);
    drop(client);
    node.restart_after(|[a, b]| fs::rename(a.join("x-0"), b.join("x-0")).unwrap());
    let mut client = node.client();
    assert_eq!(end_of(&mut client, "x"), (ErrorCode::None, 3));
    break_checkpoints(&node.log_dirs()[1]);
    client.delete_records("y", 0, 1);
    for topic in ["x", "y"] {
        eventually("the cluster to know", || {
            (metadata(&mut client, topic).leader_id == -1).then_some(())
        });
    }
}

#[test]
fn a_directory_that_cannot_be_used_at_the_start_fails_and_the_others_serve() {
    let mut node = TestNode::start();
    let mut client = node.client();
    topic_in_each(&node, &mut client);
    drop(client);
    let [_, b] = node.log_dirs();
    let aside = b.with_extension("aside");
    // As if its disk was not mounted.
    node.restart_after(|_| fs::rename(&b, &aside).unwrap());
    assert_only_y_is_offline(&mut node.client());
    node.restart_after(|_| {
        fs::remove_dir_all(&b).unwrap();
        fs::rename(&aside, &b).unwrap();
    });
    let mut client = node.client();
    assert_eq!(end_of(&mut client, "y"), (ErrorCode::None, 3));
    assert_eq!(client.produce("y", 1, 1, -1), 3);
    assert_eq!(client.produce("x", 1, 1, -1), 4);
}

#[test]
fn a_node_without_its_metadata_directory_stops_and_closes_the_others_in_order() {
    let mut node = TestNode::start();
    let mut client = node.client();
    topic_in_each(&node, &mut client);
    let [a, b] = node.log_dirs();
    break_checkpoints(&a);
    client.delete_records("y", 0, 1);
    let reason = node.failure();
    assert!(reason.contains("metadata") && reason.contains("log-start-offset"), "{reason}");
    node.restart_after(|_| {
        assert!(!a.join(".kafka_cleanshutdown").exists());
        assert!(b.join(".kafka_cleanshutdown").exists());
        mend_checkpoints(&a);
    });
    let mut client = node.client();
    assert_eq!(client.produce("x", 1, 1, -1), 3);
    assert_eq!(client.produce("y", 1, 1, -1), 3);
}

#[test]
fn a_leader_moves_out_of_a_failed_directory_and_others_stay() {
    let mut cluster = Cluster::start_with_two_dirs(&[]);
    let mut client = cluster.client(2);
    await_both(&mut client);
    for topic in ["x", "y"] {
        create_on(&mut client, topic, &[2, 3]);
        eventually("both replicas", || (state(&mut client, topic)? == (2, 2)).then_some(()));
        eventually("the leader", || append(&mut client, topic).is_none().then_some(()));
    }
    let failing = cluster.second_folder(2);
    assert!(cluster.folder(2).join("x-0").exists() && failing.join("y-0").exists());
    break_checkpoints(&failing);
    // This writes the checkpoints.
    client.delete_records("x", 0, 1);
    let mut other = cluster.client(3);
    eventually("the other to lead", || (state(&mut other, "y")? == (3, 1)).then_some(()));
    eventually("it to serve", || append(&mut other, "y").is_none().then_some(()));
    let left = append(&mut client, "y");
    assert!([STORAGE, ErrorCode::NotLeaderOrFollower].contains(&left), "{left}");
    assert_eq!(state(&mut client, "x"), Some((2, 2)));
    assert_eq!(append(&mut client, "x"), ErrorCode::None);

    drop(client);
    cluster.stop(2);
    mend_checkpoints(&failing);
    cluster.start_broker(2);
    for topic in ["x", "y"] {
        eventually("both in sync again", || (state(&mut other, topic)?.1 == 2).then_some(()));
    }
}

#[test]
fn a_broker_ends_whose_failed_directory_cannot_be_told() {
    let mut cluster = Cluster::start_with_two_dirs(&[("log.dir.failure.timeout.ms", "300")]);
    let mut client = cluster.client(2);
    await_both(&mut client);
    for topic in ["x", "y"] {
        create_on(&mut client, topic, &[2]);
        eventually("the leader", || append(&mut client, topic).is_none().then_some(()));
    }
    // Alone it need not wait for others to take over what it leads.
    cluster.stop(3);
    cluster.stop_controller();
    break_checkpoints(&cluster.second_folder(2));
    // This writes the checkpoints.
    client.delete_records("x", 0, 1);
    let reason = cluster.failure(2);
    assert!(reason.contains("log.dir.failure.timeout.ms"), "{reason}");
}

#[test]
fn a_cordoned_directory_keeps_what_it_has_and_gets_nothing_new() {
    let node = TestNode::start();
    let mut client = node.client();
    topic_in_each(&node, &mut client);
    let [a, b] = node.log_dirs();
    cordon(&mut client, a.to_str().unwrap());
    assert_eq!(directories(&mut client), [(ErrorCode::None, true), FINE]);
    for name in ["v", "w"] {
        client.create_topic(name, 1);
        client.produce(name, 1, 1, -1);
        assert!(b.join(format!("{name}-0")).exists());
    }
    assert_eq!(append(&mut client, "x"), ErrorCode::None);
    cordon(&mut client, "*");
    eventually("the controller to refuse", || (create_u(&mut client) != 0).then_some(()));
    cordon(&mut client, "");
    assert_eq!(directories(&mut client), [FINE, FINE]);
    eventually("the controller to place", || (create_u(&mut client) == 0).then_some(()));
}

#[test]
fn a_log_that_lies_in_two_directories_is_served_from_the_one_that_the_cluster_knows() {
    let mut node = TestNode::start();
    let mut client = node.client();
    topic_in_each(&node, &mut client);
    drop(client);
    let [a, b] = node.log_dirs();
    // As a crash at the end of a move leaves it, only that nobody could want this copy.
    node.restart_after(|_| {
        fs::create_dir(a.join("y-0")).unwrap();
        fs::copy(b.join("y-0/partition.metadata"), a.join("y-0/partition.metadata")).unwrap();
    });
    let mut client = node.client();
    assert_eq!(end_of(&mut client, "y"), (ErrorCode::None, 3));
    assert_eq!(client.produce("y", 1, 1, -1), 3);
    assert!(!a.join("y-0").exists());
    let names = fs::read_dir(&a).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_str().unwrap().ends_with("-stray")).count(), 1);
}
