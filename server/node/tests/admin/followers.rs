//! What clients are told of the replicas of a partition: whom to read from and whom to write to,
//! what a follower serves, and how long it takes until records are given up everywhere.
//!
//! Where it matters how far a follower is, the test plays it.

use std::thread;

use protocol::ApiKey;
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData, ReplicaState,
};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use records::{BatchBuilder, Compression};
use types::{ErrorCode, Uuid};

use crate::brokers::{LONG, heartbeat, register_as, registration};
use crate::client::{Client, TestNode, eventually};
use crate::memory::{BATCH_BYTES, LITTLE_MEMORY, greedy};
use crate::replication::{TOPIC, append, create_on, start, state, topic_id};
use crate::throttling;

/// Longer than a client of the tests waits for an answer.
const FOR_EVER_MS: i32 = 60_000;

/// `acks` of a producer that waits for every replica in sync, and for the leader alone.
const ALL: i16 = -1;
const LEADER: i16 = 1;

/// What one fetch asks for.
#[derive(Clone, Copy)]
pub struct Ask {
    pub version: i16,
    pub rack: &'static str,
    pub offset: i64,
    pub leader_epoch: i32,
    pub max_wait_ms: i32,
    /// Epoch of the broker that asks, and where its log begins.
    pub replica: Option<(i64, i64)>,
}

pub const ASK: Ask =
    Ask { version: 16, rack: "", offset: 0, leader_epoch: -1, max_wait_ms: 0, replica: None };

fn fetch_all(client: &mut Client, topic_id: Uuid, ask: Ask) -> FetchResponse {
    client.call(ApiKey::Fetch, ask.version, &request(topic_id, ask))
}

fn request(topic_id: Uuid, ask: Ask) -> FetchRequest {
    let mut partition = FetchPartition {
        fetch_offset: ask.offset,
        current_leader_epoch: ask.leader_epoch,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let mut replica_state = ReplicaState::default();
    if let Some((epoch, log_start)) = ask.replica {
        replica_state = ReplicaState { replica_id: 2, replica_epoch: epoch, ..Default::default() };
        partition.log_start_offset = log_start;
    }
    // The field that counts is the one that the version has.
    let topic = FetchTopic {
        topic: TOPIC.to_owned(),
        topic_id,
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest {
        replica_state,
        max_wait_ms: ask.max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        rack_id: ask.rack.to_owned(),
        ..Default::default()
    }
}

pub fn fetch(client: &mut Client, topic_id: Uuid, ask: Ask) -> PartitionData {
    fetch_all(client, topic_id, ask).responses.remove(0).partitions.remove(0)
}

fn code(data: &PartitionData) -> ErrorCode {
    ErrorCode::from_wire(data.error_code)
}

/// A node, a broker 2 that the test plays, and a topic with a replica on both.
pub struct Played {
    pub node: TestNode,
    pub client: Client,
    /// Connection and epoch of the broker.
    pub follower: (Client, i64),
    /// Its connection to the controller: a broker that loses it is soon fenced.
    pub _registered: Client,
    pub topic_id: Uuid,
}

impl Played {
    /// `replicas` are those of the topic.
    pub fn start(replicas: &[i32]) -> Self {
        let node = TestNode::start_with(&[
            LONG,
            LITTLE_MEMORY,
            ("broker.rack", "home"),
            ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
        ]);
        let (mut client, mut registered) = (node.client(), node.controller());
        let mut request = registration(&node, 1);
        request.rack = Some("far".to_owned());
        let epoch = register_as(&mut registered, &request).unwrap();
        assert!(!heartbeat(&mut registered, epoch, i64::MAX).is_fenced);
        let topic_id = create_on(&mut client, TOPIC, replicas);
        // A broker copies by way of the listener for clients.
        let follower = (node.client(), epoch);
        Self { node, client, follower, _registered: registered, topic_id }
    }

    /// Two records are written, and the follower has copied both.
    pub fn with_two_records() -> Self {
        let mut this = Self::start(&[1, 2]);
        for base_offset in [0, 1] {
            eventually("the leader to write", || {
                let answer = produce(&mut this.client, this.topic_id, 10, LEADER);
                let answer = &answer.responses[0].partition_responses[0];
                (answer.base_offset == base_offset).then_some(())
            });
        }
        this.copy_from(2, 0);
        this
    }

    /// The follower asks for what comes at `offset`; its log begins at `log_start`.
    fn copy_from(&mut self, offset: i64, log_start: i64) -> PartitionData {
        let replica = Some((self.follower.1, log_start));
        let ask = Ask { offset, leader_epoch: 0, replica, ..ASK };
        let data = fetch(&mut self.follower.0, self.topic_id, ask);
        assert_eq!(code(&data), ErrorCode::None);
        data
    }
}

fn produce(client: &mut Client, topic_id: Uuid, version: i16, acks: i16) -> ProduceResponse {
    client.call(ApiKey::Produce, version, &one_record(topic_id, acks))
}

/// A record for the partition.
pub fn one_record(topic_id: Uuid, acks: i16) -> ProduceRequest {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(b"v"), &[]);
    let partition = PartitionProduceData { records: Some(batch.build()), ..Default::default() };
    let topic = TopicProduceData {
        name: TOPIC.to_owned(),
        topic_id,
        partition_data: vec![partition],
        ..Default::default()
    };
    ProduceRequest { acks, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
}

#[test]
fn a_consumer_is_sent_to_a_replica_in_its_rack_that_has_its_offset() {
    let mut played = Played::with_two_records();
    let far = Ask { rack: "far", ..ASK };
    let cases = [
        ("it has all", 2, far, 2),
        ("where it goes on is its end", 2, Ask { offset: 2, ..far }, 2),
        ("it lacks the offset", 1, Ask { offset: 2, ..far }, -1),
        ("the first version with racks", 2, Ask { version: 11, ..far }, 2),
        ("the consumer does not know of followers", 2, Ask { version: 10, ..far }, -1),
        ("the leader is as near", 2, Ask { rack: "home", ..ASK }, -1),
        ("nobody is near", 2, Ask { rack: "moon", ..ASK }, -1),
        ("no rack", 2, ASK, -1),
    ];
    for (name, copied, ask, preferred) in cases {
        played.copy_from(copied, 0);
        let data = fetch(&mut played.client, played.topic_id, ask);
        assert_eq!(
            (code(&data), data.preferred_read_replica),
            (ErrorCode::None, preferred),
            "{name}"
        );
        let brings_records = data.records.is_some_and(|records| !records.is_empty());
        assert_eq!(brings_records, preferred == -1 && ask.offset < 2, "{name}");
    }
    // What a replica has given up is read from the leader.
    played.copy_from(2, 1);
    let data = fetch(&mut played.client, played.topic_id, far);
    assert_eq!(data.preferred_read_replica, -1);
}

/// Two records, and readers who have used up the memory for answers as long as what they are is kept.
fn without_room() -> (Played, Client) {
    let mut played = Played::with_two_records();
    create_on(&mut played.client, "big", &[1]);
    throttling::append(&mut played.client, "big", BATCH_BYTES);
    let greedy = greedy(&played.node, "big");
    (played, greedy)
}

fn bytes(data: PartitionData) -> usize {
    data.records.map_or(0, |records| records.len())
}

#[test]
fn a_follower_copies_though_readers_have_used_up_the_memory() {
    let (mut played, _greedy) = without_room();
    assert_ne!(bytes(played.copy_from(0, 0)), 0);
    assert_eq!(bytes(fetch(&mut played.client, played.topic_id, ASK)), 0, "as it is no follower");
}

#[test]
fn who_waits_for_room_behind_a_record_that_is_not_acknowledged_hinders_nobody() {
    let (mut played, greedy) = without_room();
    let record = one_record(played.topic_id, ALL);
    let record = ProduceRequest { timeout_ms: FOR_EVER_MS, ..record };
    let ask = Ask { max_wait_ms: 100, ..ASK };
    // On the shard that has the partition, and on the other one.
    let mut written = 0;
    let _waiting = [(); 4].map(|()| {
        let mut waits = played.node.client();
        waits.send(ApiKey::Produce, 10, &record).unwrap();
        waits.send(ApiKey::Fetch, ask.version, &request(played.topic_id, ask)).unwrap();
        let before = written;
        eventually("the record to be written", || {
            written = bytes(played.copy_from(2, 0));
            (written > before).then_some(())
        });
        waits
    });
    drop(greedy);
    eventually("room for others", || {
        (bytes(fetch(&mut played.client, played.topic_id, ASK)) > 0).then_some(())
    });
    assert_eq!(played.copy_from(2, 0).high_watermark, 2, "the record is not acknowledged yet");
}

#[test]
fn a_record_that_a_replica_in_sync_lacks_is_not_acknowledged_in_time() {
    let mut played = Played::start(&[1, 2]);
    eventually("the leader to write", || {
        let answer = produce(&mut played.client, played.topic_id, 10, ALL);
        let partition = &answer.responses[0].partition_responses[0];
        (ErrorCode::from_wire(partition.error_code) == ErrorCode::RequestTimedOut).then_some(())
    });
    let (topic_id, mut client) = (played.topic_id, played.node.client());
    let produces = thread::spawn(move || produce(&mut client, topic_id, 10, ALL));
    let replica = Some((played.follower.1, 0));
    eventually("the record to be copied", || {
        let ask = Ask { offset: 2, leader_epoch: 0, replica, ..ASK };
        let data = fetch(&mut played.follower.0, topic_id, ask);
        (data.high_watermark == 2).then_some(())
    });
    let answer = produces.join().unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{answer:?}");
}

#[test]
fn refusals_name_the_leader_and_where_it_is() {
    let mut played = Played::start(&[2]);
    let (client, topic_id) = (&mut played.client, played.topic_id);
    let refused = |code: i16| ErrorCode::from_wire(code) == ErrorCode::NotLeaderOrFollower;
    for version in [9, 10, 13] {
        let answer = produce(client, topic_id, version, ALL);
        let partition = &answer.responses[0].partition_responses[0];
        assert!(refused(partition.error_code), "{answer:?}");
        let hint = &partition.current_leader;
        let leader = if version >= 10 { (2, 0) } else { (-1, -1) };
        assert_eq!((hint.leader_id, hint.leader_epoch), leader, "version {version}");
        let nodes = answer.node_endpoints.iter();
        let nodes: Vec<_> = nodes.map(|one| (one.node_id, &*one.host, one.port)).collect();
        assert_eq!(nodes.first(), (version >= 10).then_some(&(2, "other", 9092)));
    }
    for version in [15, 16, 18] {
        let answer = fetch_all(client, topic_id, Ask { version, ..ASK });
        let partition = &answer.responses[0].partitions[0];
        assert!(refused(partition.error_code), "{answer:?}");
        let hint = &partition.current_leader;
        let leader = if version >= 16 { (2, 0) } else { (-1, -1) };
        assert_eq!((hint.leader_id, hint.leader_epoch), leader, "version {version}");
        let nodes = answer.node_endpoints.iter();
        let nodes: Vec<_> = nodes.map(|one| (one.node_id, one.rack.as_deref())).collect();
        assert_eq!(nodes.first(), (version >= 16).then_some(&(2, Some("far"))));
    }
}

#[test]
fn records_are_deleted_once_every_replica_has_given_them_up() {
    let mut played = Played::with_two_records();
    let (code, _) = played.client.delete_records_within(TOPIC, 0, 1, 50);
    assert_eq!(code, ErrorCode::RequestTimedOut, "the follower has them still");

    let mut client = played.node.client();
    let deletes = thread::spawn(move || client.delete_records_within(TOPIC, 0, 2, FOR_EVER_MS));
    // The follower waits for records, and hears that there are fewer.
    eventually("word of the new start", || {
        let ask = Ask {
            offset: 2,
            leader_epoch: 0,
            max_wait_ms: FOR_EVER_MS,
            replica: Some((played.follower.1, 1)),
            ..ASK
        };
        let told = fetch(&mut played.follower.0, played.topic_id, ask);
        (told.log_start_offset == 2).then_some(())
    });
    assert!(!deletes.is_finished());
    played.copy_from(2, 2);
    assert_eq!(deletes.join().unwrap(), (ErrorCode::None, 2));
}

#[test]
fn a_follower_serves_consumers_that_know_of_followers() {
    let mut cluster = start();
    let leader = eventually("a leader", || state(&mut cluster.client(2), TOPIC)).0;
    let (mut leads, mut follows) = (cluster.client(leader), cluster.client(5 - leader));
    eventually("the leader to serve", || append(&mut leads).is_none().then_some(()));
    let id = topic_id(&mut leads);
    let near = Ask { rack: "near", ..ASK };
    eventually("the follower to know what is committed", || {
        (fetch(&mut follows, id, near).high_watermark == 1).then_some(())
    });
    let cases = [
        ("from the start", near, ErrorCode::None),
        ("the first version that may", Ask { version: 11, ..near }, ErrorCode::None),
        ("at its end", Ask { offset: 1, ..near }, ErrorCode::None),
        ("beyond its end", Ask { offset: 2, ..near }, ErrorCode::OffsetOutOfRange),
        ("an early version", Ask { version: 10, ..near }, ErrorCode::NotLeaderOrFollower),
        ("a later epoch", Ask { leader_epoch: 9, ..near }, ErrorCode::UnknownLeaderEpoch),
        ("no rack but the epoch", Ask { leader_epoch: 0, ..ASK }, ErrorCode::None),
        ("neither: it takes this for the leader", ASK, ErrorCode::NotLeaderOrFollower),
    ];
    for (name, ask, expected) in cases {
        let data = fetch(&mut follows, id, ask);
        assert_eq!(code(&data), expected, "{name}");
        let brings_records = data.records.is_some_and(|records| !records.is_empty());
        assert_eq!(brings_records, expected.is_none() && ask.offset == 0, "{name}");
    }
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic {
        name: TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let answer: ListOffsetsResponse = follows.call(ApiKey::ListOffsets, 7, &request);
    let told = ErrorCode::from_wire(answer.topics[0].partitions[0].error_code);
    assert_eq!(told, ErrorCode::NotLeaderOrFollower, "where the log ends only its leader knows");

    // Readers on both shards wait for the high watermark that the follower learns of.
    let readers = [cluster.client(5 - leader), cluster.client(5 - leader)].map(|mut reader| {
        let ask = Ask { offset: 1, max_wait_ms: FOR_EVER_MS, ..near };
        thread::spawn(move || fetch(&mut reader, id, ask))
    });
    assert_eq!(append(&mut leads), ErrorCode::None);
    for reader in readers {
        let data = reader.join().unwrap();
        assert_eq!((code(&data), data.high_watermark), (ErrorCode::None, 2));
        assert!(!data.records.unwrap().is_empty());
    }

    // A consumer that knows the former epoch is sent for the new leader by the former follower.
    cluster.stop(leader);
    eventually("the follower to lead", || {
        (state(&mut follows, TOPIC)?.0 == 5 - leader).then_some(())
    });
    let answer = eventually("the new epoch", || {
        let answer = fetch_all(&mut follows, id, Ask { leader_epoch: 0, ..ASK });
        let data = &answer.responses[0].partitions[0];
        (code(data) == ErrorCode::FencedLeaderEpoch).then(|| answer.clone())
    });
    let hint = &answer.responses[0].partitions[0].current_leader;
    assert_eq!((hint.leader_id, hint.leader_epoch), (5 - leader, 1));
    assert_eq!(answer.node_endpoints[0].node_id, 5 - leader);
}
