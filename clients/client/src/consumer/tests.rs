//! The consumer against a scripted broker: places, resets, membership.

use std::sync::{Arc, Mutex};

use protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use protocol::messages::heartbeat::HeartbeatResponse;
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};
use protocol::messages::leave_group::LeaveGroupResponse;
use protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use protocol::messages::offset_fetch::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use records::{BatchBuilder, Compression};
use types::{Offset, Uuid};

use super::*;
use crate::metadata::Broker;
use crate::testing::{Action, Request, address_of, broker, run};

/// One record at the offset that is asked for, with the offset as its value.
fn fetched(request: &Request) -> Action {
    let message: FetchRequest = request.read();
    let offset = message.topics[0].partitions[0].fetch_offset;
    let mut builder = BatchBuilder::new(Compression::None).base_offset(Offset::new(offset));
    builder.append(0, None, Some(offset.to_string().as_bytes()), &[]);
    fetch_answer(request, ErrorCode::None, Some(builder.build()))
}

fn fetch_answer(request: &Request, code: ErrorCode, records: Option<bytes::Bytes>) -> Action {
    let error_code = code.to_wire();
    partition_answer(request, PartitionData { error_code, records, ..Default::default() })
}

fn partition_answer(request: &Request, partition: PartitionData) -> Action {
    request.answer(&response(partition))
}

fn response(partition: PartitionData) -> FetchResponse {
    let topic = FetchableTopicResponse {
        topic_id: Uuid::from_bytes([7; 16]),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

fn listed(request: &Request, offset: i64) -> Action {
    let partition = ListOffsetsPartitionResponse { offset, ..Default::default() };
    let topic = ListOffsetsTopicResponse {
        name: "t".to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    request.answer(&ListOffsetsResponse { topics: vec![topic], ..Default::default() })
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

#[test]
fn reading_begins_at_the_place_and_goes_on() {
    run(async {
        let client = broker(Box::new(|request| match request.api {
            ApiKey::ListOffsets => vec![listed(request, 30)],
            _ => vec![fetched(request)],
        }))
        .await;
        for (start, expected) in [(StartAt::Offset(5), 5), (StartAt::Beginning, 30)] {
            let mut consumer = client.consumer(ConsumerSettings::default());
            consumer.assign(&[(partition(), start)]).await.unwrap();
            let offsets =
                [consumer.recv().await.unwrap().offset, consumer.recv().await.unwrap().offset];
            assert_eq!(offsets, [expected, expected + 1], "{start:?}");
            assert_eq!(consumer.positions(), [(partition(), Some(expected + 2))]);
        }
    });
}

/// The leader sends the consumer to broker 2, which has records up to 11; what it lacks is read
/// from the leader again, and no offset is reset.
#[test]
fn a_replica_in_the_rack_is_read_until_it_lacks_an_offset() {
    run(async {
        let near = broker(Box::new(|request| {
            let message: FetchRequest = request.read();
            match message.topics[0].partitions[0].fetch_offset {
                10 | 11 => vec![fetched(request)],
                _ => vec![fetch_answer(request, ErrorCode::OffsetOutOfRange, None)],
            }
        }))
        .await;
        let client = broker(Box::new(|request| {
            let message: FetchRequest = request.read();
            assert_eq!(message.rack_id, "far");
            match message.topics[0].partitions[0].fetch_offset {
                10 => {
                    let preferred_read_replica = 2;
                    let data = PartitionData { preferred_read_replica, ..Default::default() };
                    vec![partition_answer(request, data)]
                }
                11 => panic!("broker 2 has it"),
                _ => vec![fetched(request)],
            }
        }))
        .await;
        client.topic("t").await.unwrap();
        let (host, port) = address_of(&near);
        client.add_broker(Broker { id: 2, host, port, rack: None });
        let (offset_reset, rack) = (OffsetReset::Fail, Some("far".to_owned()));
        let mut consumer =
            client.consumer(ConsumerSettings { offset_reset, rack, ..Default::default() });
        consumer.assign(&[(partition(), StartAt::Offset(10))]).await.unwrap();
        for offset in 10..14 {
            assert_eq!(consumer.recv().await.unwrap().offset, offset);
        }
    });
}

/// The leader would send the consumer there again, as long as the replica is in sync.
#[test]
fn a_replica_in_the_rack_that_says_nothing_is_left_for_the_leader() {
    run(async {
        let near = broker(Box::new(|_| vec![])).await;
        let client = broker(Box::new(|request| {
            let message: FetchRequest = request.read();
            if message.rack_id.is_empty() {
                return vec![fetched(request)];
            }
            let data = PartitionData { preferred_read_replica: 2, ..Default::default() };
            vec![partition_answer(request, data)]
        }))
        .await;
        client.topic("t").await.unwrap();
        let (host, port) = address_of(&near);
        client.add_broker(Broker { id: 2, host, port, rack: None });
        let (fetch_wait, rack) = (Duration::from_millis(1), Some("far".to_owned()));
        let settings = ConsumerSettings { fetch_wait, rack, ..Default::default() };
        let mut consumer = client.consumer(settings);
        consumer.assign(&[(partition(), StartAt::Offset(10))]).await.unwrap();
        assert_eq!(consumer.recv().await.unwrap().offset, 10);
    });
}

/// As above, without a rack: the former leader names the new one.
#[test]
fn a_refused_fetch_goes_to_the_leader_that_the_refusal_names() {
    run(async {
        let leader = broker(Box::new(|request| vec![fetched(request)])).await;
        let (host, port) = address_of(&leader);
        let client = broker(Box::new(move |request| {
            let hint = LeaderIdAndEpoch { leader_id: 2, leader_epoch: 1, ..Default::default() };
            let data = PartitionData {
                error_code: ErrorCode::NotLeaderOrFollower.to_wire(),
                current_leader: hint,
                ..Default::default()
            };
            let node = NodeEndpoint {
                node_id: 2,
                host: host.clone(),
                port: port.into(),
                ..Default::default()
            };
            let mut response = response(data);
            response.node_endpoints.push(node);
            vec![request.answer(&response)]
        }))
        .await;
        let mut consumer = client.consumer(ConsumerSettings::default());
        consumer.assign(&[(partition(), StartAt::Offset(5))]).await.unwrap();
        assert_eq!(consumer.recv().await.unwrap().offset, 5);
    });
}

#[test]
fn records_from_before_a_seek_are_dropped() {
    run(async {
        let client = broker(Box::new(|request| vec![fetched(request)])).await;
        let mut consumer = client.consumer(ConsumerSettings::default());
        consumer.assign(&[(partition(), StartAt::Offset(5))]).await.unwrap();
        consumer.recv().await.unwrap();
        consumer.seek(&partition(), StartAt::Offset(100)).unwrap();
        assert_eq!(consumer.recv().await.unwrap().offset, 100);
    });
}

#[test]
fn an_offset_out_of_range_is_reset_or_told() {
    let cases = [(OffsetReset::Earliest, Some(70)), (OffsetReset::Fail, None)];
    for (offset_reset, expected) in cases {
        let found = run(async {
            let client = broker(Box::new(|request| match request.api {
                ApiKey::ListOffsets => vec![listed(request, 70)],
                _ => {
                    let message: FetchRequest = request.read();
                    match message.topics[0].partitions[0].fetch_offset {
                        5 => vec![fetch_answer(request, ErrorCode::OffsetOutOfRange, None)],
                        _ => vec![fetched(request)],
                    }
                }
            }))
            .await;
            let settings = ConsumerSettings { offset_reset, ..ConsumerSettings::default() };
            let mut consumer = client.consumer(settings);
            consumer.assign(&[(partition(), StartAt::Offset(5))]).await.unwrap();
            consumer.recv().await
        });
        match found {
            Ok(record) => assert_eq!(Some(record.offset), expected),
            Err(error) => {
                assert_eq!((error.code(), expected), (Some(ErrorCode::OffsetOutOfRange), None));
            }
        }
    }
}

/// A coordinator with one member, which rebalances at the first heartbeat.
struct Coordinator {
    log: Arc<Mutex<Vec<String>>>,
    generation: i32,
    committed: i64,
    beats: u32,
}

impl Coordinator {
    fn serve(&mut self, request: &Request) -> Vec<Action> {
        let action = match request.api {
            ApiKey::JoinGroup => self.join(request),
            ApiKey::SyncGroup => {
                let message: SyncGroupRequest = request.read();
                self.note(format!("sync {}", message.generation_id));
                let assignment = message.assignments[0].assignment.clone();
                request.answer(&SyncGroupResponse { assignment, ..Default::default() })
            }
            ApiKey::OffsetFetch => self.offsets(request),
            ApiKey::OffsetCommit => self.commit(request),
            ApiKey::Heartbeat => {
                self.beats += 1;
                let is_first = self.beats == 1;
                let code = if is_first { ErrorCode::RebalanceInProgress } else { ErrorCode::None };
                let error_code = code.to_wire();
                request.answer(&HeartbeatResponse { error_code, ..Default::default() })
            }
            ApiKey::LeaveGroup => {
                self.note("leave".to_owned());
                request.answer(&LeaveGroupResponse::default())
            }
            _ => fetched(request),
        };
        vec![action]
    }

    fn note(&self, text: String) {
        self.log.lock().unwrap().push(text);
    }

    fn join(&mut self, request: &Request) -> Action {
        let message: JoinGroupRequest = request.read();
        self.note(format!("join {:?}", message.member_id));
        let mut answer = JoinGroupResponse { member_id: "m".to_owned(), ..Default::default() };
        if message.member_id.is_empty() {
            answer.error_code = ErrorCode::MemberIdRequired.to_wire();
            return request.answer(&answer);
        }
        self.generation += 1;
        let metadata = message.protocols[0].metadata.clone();
        let member_id = "m".to_owned();
        let member = JoinGroupResponseMember { member_id, metadata, ..Default::default() };
        let answer = JoinGroupResponse {
            generation_id: self.generation,
            protocol_name: Some("range".to_owned()),
            leader: "m".to_owned(),
            members: vec![member],
            ..answer
        };
        request.answer(&answer)
    }

    fn offsets(&self, request: &Request) -> Action {
        let committed_offset = self.committed;
        let partition = OffsetFetchResponsePartitions { committed_offset, ..Default::default() };
        let topic = OffsetFetchResponseTopics {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let group = OffsetFetchResponseGroup { topics: vec![topic], ..Default::default() };
        request.answer(&OffsetFetchResponse { groups: vec![group], ..Default::default() })
    }

    fn commit(&mut self, request: &Request) -> Action {
        let message: OffsetCommitRequest = request.read();
        self.committed = message.topics[0].partitions[0].committed_offset;
        let generation = message.generation_id_or_member_epoch;
        self.note(format!("commit {} in {generation}", self.committed));
        let topic = OffsetCommitResponseTopic {
            name: "t".to_owned(),
            partitions: vec![OffsetCommitResponsePartition::default()],
            ..Default::default()
        };
        request.answer(&OffsetCommitResponse { topics: vec![topic], ..Default::default() })
    }
}

/// Joins, is told its id, leads, reads from the commit; commits before the rebalance what was
/// read, goes on from there afterwards, and leaves in the end.
#[test]
fn a_member_joins_reads_commits_rebalances_and_leaves() {
    run(async {
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut coordinator =
            Coordinator { log: log.clone(), generation: 0, committed: 10, beats: 0 };
        let client = broker(Box::new(move |request| coordinator.serve(request))).await;
        let mut consumer = client.consumer(ConsumerSettings {
            group: Some("g".to_owned()),
            auto_commit: Some(Duration::from_secs(3600)),
            heartbeat: Duration::from_millis(50),
            ..ConsumerSettings::default()
        });
        consumer.subscribe(&["t"]).unwrap();
        let first = [consumer.recv().await.unwrap().offset, consumer.recv().await.unwrap().offset];
        assert_eq!(first, [10, 11]);
        while !log.lock().unwrap().iter().any(|line| line == "sync 2") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The second record was not done with when the group rebalanced, so it comes again.
        assert_eq!(consumer.recv().await.unwrap().offset, 11);
        consumer.close().await.unwrap();
        let log = log.lock().unwrap().clone();
        let expected = [
            "join \"\"",
            "join \"m\"",
            "sync 1",
            "commit 11 in 1",
            "join \"m\"",
            "sync 2",
            "commit 12 in 2",
            "leave",
        ];
        assert_eq!(log, expected);
    });
}

#[test]
fn a_group_that_refuses_the_member_is_told_to_the_application() {
    run(async {
        let client = broker(Box::new(|request| {
            let error_code = ErrorCode::InconsistentGroupProtocol.to_wire();
            vec![request.answer(&JoinGroupResponse { error_code, ..Default::default() })]
        }))
        .await;
        let group = Some("g".to_owned());
        let mut consumer = client.consumer(ConsumerSettings { group, ..Default::default() });
        consumer.subscribe(&["t"]).unwrap();
        let error = consumer.recv().await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::InconsistentGroupProtocol));
    });
}

#[test]
fn a_member_without_partitions_cannot_commit() {
    run(async {
        // The coordinator never lets the member in.
        let client = broker(Box::new(|_| Vec::new())).await;
        let group = Some("g".to_owned());
        let mut consumer = client.consumer(ConsumerSettings { group, ..Default::default() });
        consumer.subscribe(&["t"]).unwrap();
        let error = consumer.commit().await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::RebalanceInProgress));
    });
}

#[test]
fn what_cannot_be_done_is_said_at_once() {
    run(async {
        let client = broker(Box::new(|request| vec![fetched(request)])).await;
        let mut consumer = client.consumer(ConsumerSettings::default());
        assert!(consumer.subscribe(&["t"]).is_err(), "no group");
        assert!(consumer.commit_offsets(&[(partition(), 1)]).await.is_err(), "no group");
        assert!(consumer.seek(&partition(), StartAt::End).is_err(), "not assigned");
        let absent = TopicPartition::new("t", 1);
        let error = consumer.assign(&[(absent, StartAt::End)]).await.unwrap_err().to_string();
        assert_eq!(error, "topic \"t\" has 1 partitions, from 0; 1 is none");
    });
}
