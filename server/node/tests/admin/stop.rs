//! A stop while clients wait: they are answered, and nobody holds it up.

use std::thread;
use std::time::{Duration, Instant};

use protocol::ApiKey;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use types::ErrorCode;

use crate::client::{Client, TestNode};

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
