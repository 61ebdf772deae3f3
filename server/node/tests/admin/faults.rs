//! Starts after damage and after a crash, and those that must not be.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::ApiKey;
use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use records::{BatchBuilder, Compression};
use types::ErrorCode;

use crate::client::{Client, TestNode, eventually};

/// Makes the next start one after a crash.
fn crash(dirs: &[PathBuf]) {
    for dir in dirs {
        fs::remove_file(dir.join(".kafka_cleanshutdown")).unwrap();
        // Nothing is known of what was synced.
        fs::remove_file(dir.join("recovery-point-offset-checkpoint")).unwrap();
    }
}

fn folder(dirs: &[PathBuf], name: &str) -> PathBuf {
    dirs.iter().map(|dir| dir.join(name)).find(|folder| folder.exists()).unwrap()
}

/// Breaks the first batch of a log; whole ones follow.
fn damage(folder: &Path) {
    let path = folder.join("00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[70] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

fn one_record() -> bytes::Bytes {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(b"v"), &[]);
    batch.build()
}

pub fn end_of(client: &mut Client, topic: &str) -> (ErrorCode, i64) {
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic {
        name: topic.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let response: ListOffsetsResponse = client.call(ApiKey::ListOffsets, 6, &request);
    let partition = &response.topics[0].partitions[0];
    (ErrorCode::from_wire(partition.error_code), partition.offset)
}

#[test]
fn a_damaged_log_takes_only_its_own_partition_offline() {
    let mut node = TestNode::start();
    let mut client = node.client();
    for topic in ["good", "bad"] {
        client.create_topic(topic, 1);
        for _ in 0..3 {
            client.produce(topic, 1, 100, -1);
        }
    }
    drop(client);
    node.restart_after(|dirs| {
        crash(&dirs);
        damage(&folder(&dirs, "bad-0"));
    });
    let storage = ErrorCode::KafkaStorageError;
    let mut client = node.client();
    assert_eq!(end_of(&mut client, "good"), (ErrorCode::None, 3));
    assert_eq!(client.produce("good", 1, 1, -1), 3);
    assert_eq!(end_of(&mut client, "bad"), (storage, -1));
    assert_eq!(client.append("bad", one_record(), 9).error_code, storage.to_wire());
    drop(client);
    // A clean stop has not made it sound.
    node.restart();
    let mut client = node.client();
    assert_eq!(end_of(&mut client, "bad"), (storage, -1));
    // Its name is free once the topic is deleted.
    let request = DeleteTopicsRequest {
        topic_names: vec!["bad".to_owned()],
        timeout_ms: 5000,
        ..Default::default()
    };
    let response: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, 5, &request);
    assert_eq!(response.responses[0].error_code, 0);
    client.create_topic("bad", 1);
    assert_eq!(client.produce("bad", 1, 1, -1), 0);
}

#[test]
fn partitions_have_leader_and_isr_after_a_crash() {
    let mut node = TestNode::start();
    node.client().create_topic("t", 2);
    node.client().produce("t", 3, 10, -1);
    node.restart_after(|dirs| crash(&dirs));
    let mut client = node.client();
    let request = DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: "t".to_owned(), ..Default::default() }],
        response_partition_limit: 10,
        ..Default::default()
    };
    let response: DescribeTopicPartitionsResponse =
        client.call(ApiKey::DescribeTopicPartitions, 0, &request);
    assert_eq!(response.topics[0].partitions.len(), 2);
    for partition in &response.topics[0].partitions {
        assert_eq!((partition.leader_id, &partition.isr_nodes[..]), (1, &[1][..]), "{partition:?}");
        assert_eq!(partition.eligible_leader_replicas.as_deref(), Some(&[][..]), "{partition:?}");
        assert_eq!(partition.last_known_elr.as_deref(), Some(&[][..]), "{partition:?}");
    }
    assert_eq!(client.produce("t", 1, 1, -1), 3);
}

#[test]
fn a_topic_made_while_its_namesake_goes_has_its_own_folders() {
    let node = TestNode::start();
    let mut deleting = node.client();
    let mut creating = node.client();
    creating.create_topic("t", 2);
    for round in 0..20 {
        let delete = DeleteTopicsRequest {
            topic_names: vec!["t".to_owned()],
            timeout_ms: 5000,
            ..Default::default()
        };
        // Both may be decided in one commit, and then apply together.
        let id = std::thread::scope(|scope| {
            scope.spawn(|| {
                deleting.call::<_, DeleteTopicsResponse>(ApiKey::DeleteTopics, 5, &delete)
            });
            eventually("the name is free", || creating.try_create_topic("t", 2))
        });
        assert_eq!(creating.produce("t", 1, 1, -1), 0, "round {round}");
        let dirs = node.log_dirs();
        let known = fs::read_to_string(folder(&dirs, "t-0").join("partition.metadata")).unwrap();
        assert!(known.contains(&id.to_string()), "round {round}: {known}");
        let unused = dirs.iter().any(|dir| dir.join("t-1").exists());
        assert!(!unused, "round {round}: a folder that nobody has written to");
    }
}

/// What a group that only keeps offsets has committed for partition 0 of a topic.
fn fetch_offset(client: &mut Client) -> (ErrorCode, Option<i64>) {
    let topic = OffsetFetchRequestTopics {
        name: "t".to_owned(),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let response: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, 8, &request);
    let group = &response.groups[0];
    let offset = group.topics.first().map(|topic| topic.partitions[0].committed_offset);
    (ErrorCode::from_wire(group.error_code), offset)
}

#[test]
fn a_damaged_coordinator_does_not_say_that_there_are_no_offsets() {
    let mut node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    let request = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
    let _: FindCoordinatorResponse = client.call(ApiKey::FindCoordinator, 0, &request);
    for committed_offset in [1, 2, 3] {
        let partition = OffsetCommitRequestPartition { committed_offset, ..Default::default() };
        let topic = OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: "g".to_owned(),
            topics: vec![topic],
            ..Default::default()
        };
        let response: OffsetCommitResponse = client.call(ApiKey::OffsetCommit, 8, &request);
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }
    assert_eq!(fetch_offset(&mut client), (ErrorCode::None, Some(3)));
    drop(client);
    node.restart_after(|dirs| {
        crash(&dirs);
        damage(&folder(&dirs, "__consumer_offsets-0"));
    });
    assert_eq!(fetch_offset(&mut node.client()), (ErrorCode::NotCoordinator, None));
}

#[test]
fn a_node_that_cannot_control_access_does_not_start_as_if_it_did() {
    for key in ["authorizer.class.name", "super.users"] {
        let refusal = TestNode::refusal((key, "User:admin"));
        assert!(refusal.contains(key), "{refusal}");
    }
}

#[test]
fn a_node_that_cannot_load_a_class_does_not_start_as_if_it_had() {
    let refusal = TestNode::refusal(("replica.selector.class", "org.example.Nearest"));
    assert!(refusal.contains("replica.selector.class is \"org.example.Nearest\""), "{refusal}");
}

pub const PARTITIONS: i32 = 300;

/// Makes a topic and writes a record to each of its partitions.
pub fn write_to_each(client: &mut Client, topic: &str) {
    client.create_topic(topic, PARTITIONS);
    let data =
        |index| PartitionProduceData { index, records: Some(one_record()), ..Default::default() };
    let topic = TopicProduceData {
        name: topic.to_owned(),
        partition_data: (0..PARTITIONS).map(data).collect(),
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 60_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let response: ProduceResponse = client.call(ApiKey::Produce, 9, &request);
    let answers = &response.responses[0].partition_responses;
    assert!(answers.iter().all(|one| one.error_code == 0));
}

/// Asks for the ends of all of them.
fn ends_of_each(topic: &str) -> ListOffsetsRequest {
    let ask = |partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        ..Default::default()
    };
    let topic = ListOffsetsTopic {
        name: topic.to_owned(),
        partitions: (0..PARTITIONS).map(ask).collect(),
        ..Default::default()
    };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
}

/// The log of each of them ends behind its record.
pub fn check_each(client: &mut Client, topic: &str) {
    let response: ListOffsetsResponse = client.call(ApiKey::ListOffsets, 6, &ends_of_each(topic));
    let ends = &response.topics[0].partitions;
    assert_eq!(ends.len(), 300);
    assert!(ends.iter().all(|end| (end.error_code, end.offset) == (0, 1)));
}

#[test]
fn a_crash_with_hundreds_of_written_partitions_loses_none() {
    let mut node = TestNode::start();
    write_to_each(&mut node.client(), "t");
    let mut began = std::time::Instant::now();
    node.restart_after(|dirs| {
        crash(&dirs);
        began = std::time::Instant::now();
    });
    check_each(&mut node.client(), "t");
    println!("{PARTITIONS} partitions answered {:?} after the start", began.elapsed());
}

#[test]
fn a_topic_that_goes_while_its_logs_are_opened_leaves_its_name_free() {
    let mut node = TestNode::start();
    write_to_each(&mut node.client(), "t");
    node.restart();
    let (mut asking, mut deleting) = (node.client(), node.client());
    asking.send(ApiKey::ListOffsets, 6, &ends_of_each("t")).unwrap();
    let request = DeleteTopicsRequest {
        topic_names: vec!["t".to_owned()],
        timeout_ms: 5000,
        ..Default::default()
    };
    let response: DeleteTopicsResponse = deleting.call(ApiKey::DeleteTopics, 5, &request);
    assert_eq!(response.responses[0].error_code, 0);
    // Whoever has asked is answered, and a new topic has nothing of the former one.
    let _: ListOffsetsResponse = asking.receive(ApiKey::ListOffsets, 6).unwrap();
    write_to_each(&mut deleting, "t");
    check_each(&mut deleting, "t");
}

/// Files of the topic's logs that this process has open.
fn open_files(node: &TestNode) -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let files = files.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let dirs = node.log_dirs();
    let is_log = |file: &PathBuf| {
        let of_topic = |inner: &Path| inner.to_str().is_some_and(|name| name.starts_with("t-"));
        dirs.iter().any(|dir| file.strip_prefix(dir).is_ok_and(of_topic))
    };
    files.filter(is_log).count()
}

#[test]
fn a_start_after_a_clean_stop_opens_no_log() {
    let mut node = TestNode::start();
    write_to_each(&mut node.client(), "t");
    assert!(open_files(&node) >= 300, "one that is written to is open");
    node.restart();
    assert_eq!(open_files(&node), 0);
    check_each(&mut node.client(), "t");
}
