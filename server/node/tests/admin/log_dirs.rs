//! Log directories: what lies where, and moves from one to the other.

use protocol::ApiKey;
use protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use types::ErrorCode;

use crate::client::{Client, TestNode, eventually};

/// Directory, size and mark of every log of partition 0 of a topic.
pub fn logs(client: &mut Client, topic: &str) -> Vec<(String, i64, bool)> {
    let wanted = DescribableLogDirTopic {
        topic: topic.to_owned(),
        partitions: vec![0],
        ..Default::default()
    };
    let request = DescribeLogDirsRequest { topics: Some(vec![wanted]), ..Default::default() };
    let response: DescribeLogDirsResponse = client.call(ApiKey::DescribeLogDirs, 4, &request);
    assert_eq!(response.results.len(), 2);
    let mut found = Vec::new();
    for result in response.results {
        assert_eq!(result.error_code, 0);
        assert!(result.total_bytes >= result.usable_bytes && result.usable_bytes > 0);
        for partition in result.topics.iter().flat_map(|topic| &topic.partitions) {
            found.push((result.log_dir.clone(), partition.partition_size, partition.is_future_key));
        }
    }
    found
}

pub fn move_to(client: &mut Client, path: &str, topic: &str, partition: i32) -> ErrorCode {
    let topic = AlterReplicaLogDirTopic {
        name: topic.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let dir =
        AlterReplicaLogDir { path: path.to_owned(), topics: vec![topic], ..Default::default() };
    let request = AlterReplicaLogDirsRequest { dirs: vec![dir], ..Default::default() };
    let response: AlterReplicaLogDirsResponse =
        client.call(ApiKey::AlterReplicaLogDirs, 2, &request);
    ErrorCode::from_wire(response.results[0].partitions[0].error_code)
}

#[test]
fn a_log_moves_with_all_its_records_and_stays_where_it_went() {
    let mut node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    for _ in 0..20 {
        client.produce("t", 10, 20_000, -1);
    }
    let before = logs(&mut client, "t");
    let [(from, bytes, false)] = &before[..] else { panic!("{before:?}") };
    let dirs = node.log_dirs().map(|dir| dir.to_str().unwrap().to_owned());
    let to = dirs.iter().find(|dir| *dir != from).unwrap().clone();
    assert_eq!(move_to(&mut client, &to, "t", 0), ErrorCode::None);
    // It goes on taking records while it moves.
    let base = client.produce("t", 10, 20_000, -1);
    assert_eq!(base, 200);
    let moved = eventually("a move", || {
        let now = logs(&mut client, "t");
        (now.len() == 1 && now[0].0 == to).then(|| now[0].clone())
    });
    assert!(moved.1 > *bytes && !moved.2);
    assert_eq!(client.produce("t", 1, 10, -1), 210);
    drop(client);
    node.restart();
    let mut client = node.client();
    assert_eq!(logs(&mut client, "t")[0].0, to);
    assert_eq!(client.produce("t", 1, 10, -1), 211);
    // To where it is already.
    assert_eq!(move_to(&mut client, &to, "t", 0), ErrorCode::None);
    assert_eq!(logs(&mut client, "t").len(), 1);
}

#[test]
fn moves_that_cannot_be_have_kafkas_codes() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    let long = "l".repeat(249);
    client.create_topic(&long, 1);
    let dirs = node.log_dirs().map(|dir| dir.to_str().unwrap().to_owned());
    let cases = [
        ("/no/such/dir", "t", 0, ErrorCode::LogDirNotFound),
        (&dirs[0], "nope", 0, ErrorCode::UnknownTopicOrPartition),
        (&dirs[0], "t", 7, ErrorCode::UnknownTopicOrPartition),
        (&dirs[0], &long, 0, ErrorCode::InvalidTopicException),
    ];
    for (path, topic, partition, code) in cases {
        assert_eq!(move_to(&mut client, path, topic, partition), code, "{path} {topic}");
    }
}

/// The directory that does not hold the log.
pub fn other_dir(node: &TestNode, client: &mut Client, topic: &str) -> String {
    let here = logs(client, topic)[0].0.clone();
    let dirs = node.log_dirs().map(|dir| dir.to_str().unwrap().to_owned());
    dirs.into_iter().find(|dir| *dir != here).unwrap()
}

pub fn wait_for_move(client: &mut Client, topic: &str, to: &str) {
    eventually("a move", || {
        let now = logs(client, topic);
        (now.len() == 1 && now[0].0 == to).then_some(())
    });
}

#[test]
fn a_log_keeps_its_start_when_it_moves() {
    let mut node = TestNode::start();
    let mut client = node.client();
    // The start lies within a batch, and at the end.
    for (topic, start) in [("t", 14), ("u", 20)] {
        client.create_topic(topic, 1);
        client.produce(topic, 10, 10, -1);
        client.produce(topic, 10, 10, -1);
        assert_eq!(client.delete_records(topic, 0, start), (ErrorCode::None, start));
        let to = other_dir(&node, &mut client, topic);
        assert_eq!(move_to(&mut client, &to, topic, 0), ErrorCode::None);
        wait_for_move(&mut client, topic, &to);
        assert_eq!(client.delete_records(topic, 0, 0), (ErrorCode::None, start));
        assert_eq!(client.produce(topic, 1, 10, -1), 20);
    }
    drop(client);
    node.restart();
    let mut client = node.client();
    for (topic, start) in [("t", 14), ("u", 20)] {
        assert_eq!(client.delete_records(topic, 0, 0), (ErrorCode::None, start));
        assert_eq!(client.produce(topic, 1, 10, -1), 21);
    }
}

#[test]
fn a_topic_can_be_deleted_while_its_log_moves() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    for _ in 0..20 {
        client.produce("t", 10, 50_000, -1);
    }
    let to = other_dir(&node, &mut client, "t");
    assert_eq!(move_to(&mut client, &to, "t", 0), ErrorCode::None);
    let request = DeleteTopicsRequest { topic_names: vec!["t".to_owned()], ..Default::default() };
    let _: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, 5, &request);
    assert_eq!(logs(&mut client, "t"), []);
    eventually("the copy to go", || {
        let mut left = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name());
        let is_copy = |name: std::ffi::OsString| name.to_str().unwrap().ends_with("-future");
        (!left.any(is_copy)).then_some(())
    });
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 1, 10, -1), 0);
}

#[test]
fn a_producer_goes_on_where_its_log_has_moved() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 3, 10, 42), 0);
    let to = other_dir(&node, &mut client, "t");
    assert_eq!(move_to(&mut client, &to, "t", 0), ErrorCode::None);
    wait_for_move(&mut client, "t", &to);
    // The same batch again is known, not appended.
    assert_eq!(client.produce("t", 3, 10, 42), 0);
    assert_eq!(client.produce("t", 1, 10, -1), 3);
}

/// Bytes of the copy that is to take the log's place, if there is one.
pub fn copy_of(client: &mut Client, topic: &str) -> Option<i64> {
    logs(client, topic).into_iter().find(|(_, _, is_copy)| *is_copy).map(|(_, bytes, _)| bytes)
}
