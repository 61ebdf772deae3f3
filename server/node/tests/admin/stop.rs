//! A stop while clients wait: they are answered, and nobody holds it up.

use std::thread;
use std::time::{Duration, Instant};

use protocol::ApiKey;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use protocol::messages::produce::{ProduceRequest, ProduceResponse};
use records::split_batches;
use types::{ErrorCode, Uuid};

use crate::client::{Client, TestNode, eventually};
use crate::followers::{ASK, Ask, Played, fetch, one_record};
use crate::replication::{TOPIC, create_on, reassign, state};

/// Well below what a drain may take, and far below what the clients would wait.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Until a request that was sent is surely parked.
const PARKED: Duration = Duration::from_millis(200);

fn stop(node: TestNode) {
    thread::sleep(PARKED);
    let start = Instant::now();
    drop(node);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[test]
fn readers_that_wait_get_what_there_is() {
    let node = TestNode::start();
    node.client().create_topic("t", 1);
    // One is on the shard of the partition, one on the other.
    let readers = [node.client(), node.client()].map(|mut reader| {
        thread::spawn(move || {
            let partitions =
                vec![FetchPartition { partition_max_bytes: 1000, ..Default::default() }];
            let topics =
                vec![FetchTopic { topic: "t".to_owned(), partitions, ..Default::default() }];
            let request = FetchRequest {
                max_wait_ms: 60_000,
                min_bytes: 1,
                max_bytes: 1000,
                topics,
                ..Default::default()
            };
            reader.call::<_, FetchResponse>(ApiKey::Fetch, 4, &request)
        })
    });
    stop(node);
    for reader in readers {
        let response = reader.join().unwrap();
        assert_eq!(response.responses[0].partitions[0].error_code, 0);
    }
}

fn join(client: &mut Client) -> ErrorCode {
    let protocol = JoinGroupRequestProtocol { name: "range".to_owned(), ..Default::default() };
    let request = JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let response: JoinGroupResponse = client.call(ApiKey::JoinGroup, 3, &request);
    ErrorCode::from_wire(response.error_code)
}

#[test]
fn members_that_wait_for_others_look_for_another_coordinator() {
    let node = TestNode::start();
    let mut first = node.client();
    let request = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
    let found: FindCoordinatorResponse = first.call(ApiKey::FindCoordinator, 0, &request);
    assert_eq!(found.error_code, 0);
    assert_eq!(join(&mut first), ErrorCode::None);
    let mut second = node.client();
    // The first member does not come back, so this one waits.
    let second = thread::spawn(move || join(&mut second));
    stop(node);
    assert_eq!(second.join().unwrap(), ErrorCode::NotCoordinator);
}

/// The version of Produce that is spoken here; its answers name leaders.
const PRODUCE: i16 = 10;
const ALL: i16 = -1;

/// Code and offset of the answer to the first record that has none.
fn produced(client: &mut Client) -> (ErrorCode, i64) {
    let answer: ProduceResponse = client.receive(ApiKey::Produce, PRODUCE).unwrap();
    let partition = &answer.responses[0].partition_responses[0];
    (ErrorCode::from_wire(partition.error_code), partition.base_offset)
}

/// A follower says that it has what is before an offset, and is told how many batches come there.
fn batches_from(follower: &mut Client, epoch: i64, topic_id: Uuid, offset: i64) -> i64 {
    let ask = Ask { offset, replica: Some((epoch, 0)), ..ASK };
    let batches = fetch(follower, topic_id, ask).records.unwrap_or_default();
    i64::try_from(split_batches(&batches).count()).unwrap()
}

/// A leader stops with a record that its follower lacks, and gets more of them until it appends
/// none. What becomes of those that it has appended, and of the one that it has not.
fn stop_with_records_to_copy(copies: bool) -> (Vec<(ErrorCode, i64)>, (ErrorCode, i64)) {
    let played = Played::with_two_records();
    let Played { node, mut client, follower: (mut follower, epoch), topic_id, .. } = played;
    let mut behind = |offset| batches_from(&mut follower, epoch, topic_id, offset);
    let request = ProduceRequest { timeout_ms: 60_000, ..one_record(topic_id, ALL) };
    client.send(ApiKey::Produce, PRODUCE, &request).unwrap();
    eventually("the append", || (behind(2) == 1).then_some(()));
    let stops = thread::spawn(move || drop(node));
    let mut appended = 1;
    loop {
        client.send(ApiKey::Produce, PRODUCE, &request).unwrap();
        thread::sleep(PARKED);
        let now = behind(2);
        assert!(now >= appended, "the leadership moves with records that nobody else has");
        if now == appended {
            break;
        }
        appended = now;
    }
    if copies {
        behind(2 + appended);
    }
    let answers = (0..appended).map(|_| produced(&mut client)).collect();
    let held = produced(&mut client);
    stops.join().unwrap();
    (answers, held)
}

const REFUSED: (ErrorCode, i64) = (ErrorCode::NotLeaderOrFollower, -1);

#[test]
fn a_leader_that_stops_commits_what_it_has_appended_and_appends_nothing_more() {
    let (answers, held) = stop_with_records_to_copy(true);
    let committed = (2..).map(|offset| (ErrorCode::None, offset)).take(answers.len());
    assert_eq!(answers, committed.collect::<Vec<_>>());
    assert_eq!(held, REFUSED);
}

#[test]
fn a_leader_that_stops_does_not_wait_for_ever_for_a_follower() {
    let (answers, held) = stop_with_records_to_copy(false);
    assert!(answers.into_iter().chain([held]).all(|answer| answer == REFUSED));
}

#[test]
fn a_leader_that_stops_appends_nothing_more_where_a_follower_comes_in_sync_meanwhile() {
    let Played { node, mut client, follower: (mut follower, epoch), topic_id, _registered } =
        Played::start(&[1]);
    create_on(&mut client, "busy", &[1, 2]);
    for name in ["busy", TOPIC] {
        let mut request = one_record(topic_id, 1);
        request.topic_data[0].name = name.to_owned();
        eventually("the leader to write", || {
            let answer: ProduceResponse = client.call(ApiKey::Produce, PRODUCE, &request);
            (answer.responses[0].partition_responses[0].error_code == 0).then_some(())
        });
    }
    reassign(&mut client, TOPIC, &[1, 2]);
    // Nobody copies the other topic's record, so that the stop waits.
    let stops = thread::spawn(move || drop(node));
    thread::sleep(PARKED);
    let mut behind = |offset| batches_from(&mut follower, epoch, topic_id, offset);
    eventually("the follower to be in sync", || {
        behind(1);
        (state(&mut client, TOPIC)? == (1, 2)).then_some(())
    });
    let request = ProduceRequest { timeout_ms: 60_000, ..one_record(topic_id, ALL) };
    client.send(ApiKey::Produce, PRODUCE, &request).unwrap();
    thread::sleep(PARKED);
    assert_eq!(behind(1), 0, "the leadership moves with a record that nobody else has");
    assert_eq!(produced(&mut client), REFUSED);
    stops.join().unwrap();
}
