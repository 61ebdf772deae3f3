//! What the active controller does for brokers on other nodes: they are played by the tests.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use protocol::internal::security::DefaultPrincipalData;
use protocol::messages::allocate_producer_ids::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse,
};
use protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, Feature, Listener,
};
use protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::messages::envelope::{EnvelopeRequest, EnvelopeResponse};
use protocol::{ApiKey, Message};
use records::{BatchBuilder, Compression};
use types::{ErrorCode, Uuid};

use crate::client::{Client, TestNode, eventually};

/// A session that no broker of a test outlasts by chance, and one that ends soon.
pub const LONG: (&str, &str) = ("broker.session.timeout.ms", "3600000");
const SHORT: [(&str, &str); 2] =
    [("broker.session.timeout.ms", "500"), ("broker.heartbeat.interval.ms", "50")];

pub fn registration(node: &TestNode, run: u8) -> BrokerRegistrationRequest {
    let feature = |name: &str, max| Feature {
        name: name.to_owned(),
        max_supported_version: max,
        ..Default::default()
    };
    BrokerRegistrationRequest {
        broker_id: 2,
        cluster_id: node.cluster_id().to_owned(),
        incarnation_id: Uuid::from_bytes([run; 16]),
        listeners: vec![Listener {
            name: "PLAINTEXT".to_owned(),
            host: "other".to_owned(),
            port: 9092,
            ..Default::default()
        }],
        features: vec![
            Feature { min_supported_version: 7, ..feature("metadata.version", 30) },
            feature("kraft.version", 1),
            feature("group.version", 1),
            feature("transaction.version", 2),
            feature("eligible.leader.replicas.version", 1),
            feature("share.version", 1),
            feature("streams.version", 1),
        ],
        log_dirs: vec![Uuid::from_bytes([7; 16])],
        ..Default::default()
    }
}

/// Registers broker 2; gives its epoch, or the error.
fn register(node: &TestNode, client: &mut Client, run: u8) -> Result<i64, ErrorCode> {
    register_as(client, &registration(node, run))
}

pub fn register_as(
    client: &mut Client,
    request: &BrokerRegistrationRequest,
) -> Result<i64, ErrorCode> {
    let answer: BrokerRegistrationResponse = client.call(ApiKey::BrokerRegistration, 4, request);
    match ErrorCode::from_wire(answer.error_code) {
        ErrorCode::None => Ok(answer.broker_epoch),
        code => Err(code),
    }
}

pub fn heartbeat(client: &mut Client, epoch: i64, offset: i64) -> BrokerHeartbeatResponse {
    let request = BrokerHeartbeatRequest {
        broker_id: 2,
        broker_epoch: epoch,
        current_metadata_offset: offset,
        ..Default::default()
    };
    client.call(ApiKey::BrokerHeartbeat, 1, &request)
}

/// Registers broker 2 and has it let in.
fn join(node: &TestNode, client: &mut Client) -> i64 {
    let epoch = register(node, client, 1).unwrap();
    assert!(!heartbeat(client, epoch, i64::MAX).is_fenced);
    epoch
}

/// Whether broker 2 is fenced; `None` where nobody knows of it.
pub fn is_fenced(client: &mut Client) -> Option<bool> {
    is_fenced_of(client, 2)
}

fn is_fenced_of(client: &mut Client, id: i32) -> Option<bool> {
    let request = DescribeClusterRequest {
        endpoint_type: 1,
        include_fenced_brokers: true,
        ..Default::default()
    };
    let answer: DescribeClusterResponse = client.call(ApiKey::DescribeCluster, 2, &request);
    answer.brokers.iter().find(|one| one.broker_id == id).map(|one| one.is_fenced)
}

#[test]
fn a_broker_is_let_in_once_it_has_read_up_to_its_registration() {
    let node = TestNode::start_with(&[LONG]);
    let (mut client, mut broker) = (node.client(), node.controller());
    let epoch = register(&node, &mut broker, 1).unwrap();
    assert_eq!(is_fenced(&mut client), Some(true));
    let behind = heartbeat(&mut broker, epoch, epoch - 1);
    assert!(behind.is_fenced && !behind.is_caught_up);
    let caught_up = heartbeat(&mut broker, epoch, i64::MAX);
    assert!(!caught_up.is_fenced && caught_up.is_caught_up);
    assert_eq!(is_fenced(&mut client), Some(false));
    let stale = heartbeat(&mut broker, epoch - 1, i64::MAX);
    assert_eq!(ErrorCode::from_wire(stale.error_code), ErrorCode::StaleBrokerEpoch);
}

#[test]
fn a_silent_broker_is_fenced_and_let_in_again() {
    let node = TestNode::start_with(&SHORT);
    let (mut client, mut broker) = (node.client(), node.controller());
    let epoch = join(&node, &mut broker);
    eventually("the silent broker to be fenced", || {
        (is_fenced(&mut client) == Some(true)).then_some(())
    });
    assert!(!heartbeat(&mut broker, epoch, i64::MAX).is_fenced);
    assert_eq!(is_fenced_of(&mut client, 1), Some(false), "the node's own broker is not silent");
}

#[test]
fn a_broker_whose_connection_was_closed_is_fenced_long_before_its_session_ends() {
    let node = TestNode::start_with(&[LONG]);
    let (mut client, mut broker) = (node.client(), node.controller());
    join(&node, &mut broker);
    drop(broker);
    eventually("the lost broker to be fenced", || {
        (is_fenced(&mut client) == Some(true)).then_some(())
    });
    // And so another run of it may register at once.
    assert!(register(&node, &mut node.controller(), 2).is_ok());
}

#[test]
fn a_broker_that_goes_on_upon_another_connection_is_not_fenced() {
    let node = TestNode::start_with(&[LONG]);
    let (mut client, mut broker) = (node.client(), node.controller());
    let epoch = join(&node, &mut broker);
    let mut other = node.controller();
    assert!(!heartbeat(&mut other, epoch, i64::MAX).is_fenced);
    drop(broker);
    // A topic's creation takes the way of a fencing.
    let begin = Instant::now();
    for number in 0.. {
        client.create_topic(&format!("t{number}"), 1);
        assert_eq!(is_fenced(&mut client), Some(false));
        if begin.elapsed() > Duration::from_millis(700) {
            break;
        }
    }
}

#[test]
fn another_run_is_refused_while_the_first_is_heard_of() {
    let node = TestNode::start_with(&[LONG]);
    let mut broker = node.controller();
    let epoch = join(&node, &mut broker);
    let mut elsewhere = registration(&node, 2);
    elsewhere.listeners[0].port += 1;
    assert_eq!(register_as(&mut broker, &elsewhere), Err(ErrorCode::DuplicateBrokerRegistration));
    assert_eq!(register(&node, &mut broker, 1), Ok(epoch));
    // With the same directories and address it can only be the next run.
    assert!(register(&node, &mut broker, 2).is_ok_and(|next| next > epoch));
}

#[test]
fn brokers_get_blocks_of_producer_ids_that_do_not_overlap() {
    let node = TestNode::start_with(&[LONG]);
    let mut broker = node.controller();
    let broker_epoch = join(&node, &mut broker);
    let request = AllocateProducerIdsRequest { broker_id: 2, broker_epoch, ..Default::default() };
    let mut ask = |request: &AllocateProducerIdsRequest| -> AllocateProducerIdsResponse {
        broker.call(ApiKey::AllocateProducerIds, 0, request)
    };
    let [first, second] = [(); 2].map(|()| ask(&request));
    assert_eq!((first.error_code, first.producer_id_len), (0, 1000));
    assert_eq!(second.producer_id_start, first.producer_id_start + 1000);
    let stale = AllocateProducerIdsRequest { broker_epoch: broker_epoch - 1, ..request };
    let stale = ErrorCode::from_wire(ask(&stale).error_code);
    assert_eq!(stale, ErrorCode::StaleBrokerEpoch);
}

/// Sends heartbeats in the name of the node's own broker until it has another registration, and waits
/// until it leads again.
fn forge_heartbeats(node: &TestNode, heartbeat: &BrokerHeartbeatRequest) {
    let (mut client, mut forger) = (node.client(), node.controller());
    // One in each directory.
    client.create_topic("t", 2);
    let mut forge = |broker_epoch| {
        let request = BrokerHeartbeatRequest {
            broker_id: 1,
            broker_epoch,
            current_metadata_offset: i64::MAX,
            ..heartbeat.clone()
        };
        let answer: BrokerHeartbeatResponse = forger.call(ApiKey::BrokerHeartbeat, 1, &request);
        ErrorCode::from_wire(answer.error_code)
    };
    let whole_runs = || {
        node.log_dirs().map(|dir| std::fs::read_to_string(dir.join(".thalweg_whole_runs")).unwrap())
    };
    let before = whole_runs();
    // The epoch is an offset of the metadata log, which is short.
    let epoch = (0..1000).find(|epoch| forge(*epoch) == ErrorCode::None).unwrap();
    eventually("another registration of the broker", || {
        (forge(epoch) == ErrorCode::StaleBrokerEpoch).then_some(())
    });
    // A crash of it counts as one of the run that is registered now.
    for (former, now) in before.iter().zip(whole_runs()) {
        assert_eq!(now.lines().nth(2), former.lines().nth(1), "{now}");
    }
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(b"v"), &[]);
    let batch = batch.build();
    eventually("it to lead again", || {
        (client.append("t", batch.clone(), 9).error_code == 0).then_some(())
    });
}

#[test]
fn a_broker_that_somebody_else_has_led_away_comes_back_by_itself() {
    let leaves = BrokerHeartbeatRequest { want_shut_down: true, ..Default::default() };
    forge_heartbeats(&TestNode::start(), &leaves);
}

#[test]
fn a_broker_whose_directories_somebody_else_calls_failed_comes_back_by_itself() {
    for failed in [1, 2] {
        let node = TestNode::start();
        let ids = node.log_dirs().map(|dir| {
            let text = std::fs::read_to_string(dir.join("meta.properties")).unwrap();
            let id = text.lines().find_map(|line| line.strip_prefix("directory.id=")).unwrap();
            id.parse::<Uuid>().unwrap()
        });
        let offline_log_dirs = ids[..failed].to_vec();
        forge_heartbeats(&node, &BrokerHeartbeatRequest { offline_log_dirs, ..Default::default() });
    }
}

#[test]
fn clients_cannot_speak_for_brokers() {
    let node = TestNode::start_with(&[LONG]);
    let request = registration(&node, 1);
    let answer = node.client().try_call::<_, BrokerRegistrationResponse>(
        ApiKey::BrokerRegistration,
        4,
        &request,
    );
    assert!(answer.is_err());
}

/// A request with its header, as a client of version 2 headers sends it.
fn frame<Q: Message>(api: ApiKey, version: i16, request: &Q) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i16(api.to_wire());
    frame.put_i16(version);
    frame.put_i32(41);
    frame.put_i16(-1);
    frame.put_u8(0);
    frame.put_slice(&request.to_bytes(version).unwrap());
    frame.freeze()
}

fn principal() -> Bytes {
    let principal = DefaultPrincipalData {
        r#type: "User".to_owned(),
        name: "alice".to_owned(),
        ..Default::default()
    };
    [&[0, 0][..], &principal.to_bytes(0).unwrap()].concat().into()
}

#[test]
fn a_request_in_an_envelope_is_served_as_if_its_client_had_asked() {
    let node = TestNode::start();
    let topic = CreatableTopic {
        name: "t".to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let envelope = EnvelopeRequest {
        request_data: frame(ApiKey::CreateTopics, 7, &request),
        request_principal: Some(principal()),
        client_host_address: Bytes::from_static(&[127, 0, 0, 1]),
        ..Default::default()
    };
    let answer: EnvelopeResponse = node.controller().call(ApiKey::Envelope, 0, &envelope);
    assert_eq!(answer.error_code, 0);
    let inside = answer.response_data.unwrap();
    assert_eq!(inside[..5], [0, 0, 0, 41, 0], "its own correlation id and an empty list of tags");
    let inside = CreateTopicsResponse::from_bytes(&inside.slice(5..), 7).unwrap();
    assert_eq!(inside.topics[0].error_code, 0);
    assert_eq!(node.client().produce("t", 1, 1, -1), 0);
}

#[test]
fn envelopes_that_hold_something_else_are_refused() {
    let node = TestNode::start();
    let heartbeat = BrokerHeartbeatRequest::default();
    let good = frame(ApiKey::CreateTopics, 7, &CreateTopicsRequest::default());
    let future = [&[0, 19, 0, 99][..], &good[4..]].concat().into();
    let local = Bytes::from_static(&[127, 0, 0, 1]);
    let cases = [
        ("nothing", Bytes::new(), Some(principal()), &local, ErrorCode::InvalidRequest),
        (
            "what no client may ask for",
            frame(ApiKey::BrokerHeartbeat, 1, &heartbeat),
            Some(principal()),
            &local,
            ErrorCode::InvalidRequest,
        ),
        ("cut", good.slice(..good.len() - 3), Some(principal()), &local, ErrorCode::InvalidRequest),
        ("version", future, Some(principal()), &local, ErrorCode::UnsupportedVersion),
        ("address", good.clone(), Some(principal()), &Bytes::new(), ErrorCode::InvalidRequest),
        ("nobody", good.clone(), None, &local, ErrorCode::PrincipalDeserializationFailure),
        (
            "cut principal",
            good,
            Some(principal().slice(..4)),
            &local,
            ErrorCode::PrincipalDeserializationFailure,
        ),
    ];
    let mut client = node.controller();
    for (name, request_data, request_principal, address, code) in cases {
        let envelope = EnvelopeRequest {
            request_data,
            request_principal,
            client_host_address: address.clone(),
            ..Default::default()
        };
        let answer: EnvelopeResponse = client.call(ApiKey::Envelope, 0, &envelope);
        assert_eq!(ErrorCode::from_wire(answer.error_code), code, "{name}");
    }
}
