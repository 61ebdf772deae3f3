//! Clusters in which somebody says nothing any more, played by scripts.

use std::sync::atomic::{AtomicBool, Ordering};

use protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsResponse};
use protocol::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use protocol::messages::init_producer_id::InitProducerIdResponse;
use protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use protocol::messages::produce::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use records::{BatchBuilder, Compression};
use tokio::net::TcpListener;
use types::Uuid;

use super::*;
use crate::testing::{Action, Script, coordinator, metadata, run, serve_all, versions};
use crate::{ClientSettings, ConsumerSettings, ProducerRecord, ProducerSettings, StartAt};

const ID: [u8; 16] = [7; 16];

#[test]
fn all_are_asked_before_one_is_asked_again() {
    let list = |text: &str| text.split(' ').map(Arc::from).collect::<Vec<_>>();
    let mut left = None;
    let mut asked = Vec::new();
    for _ in 0..4 {
        let first = Arc::clone(&in_turn(list("a b a c"), left.as_ref())[0]);
        asked.push(Arc::clone(&first));
        left = Some(first);
    }
    assert_eq!(asked, list("a b c a"));
    assert_eq!(in_turn(list("a b"), Some(&Arc::from("gone"))), list("a b"));
}

/// Broker 1 leads the partition until it is asked for `last`, and then says nothing any more,
/// whoever connects. Broker 2 leads from then on.
async fn cluster(last: ApiKey) -> Client {
    cluster_with(last, false).await
}

/// As `cluster`; with `is_stale` broker 1 goes on naming itself.
async fn cluster_with(last: ApiKey, is_stale: bool) -> Client {
    let listeners = [bind().await, bind().await];
    let ports = [port(&listeners[0]), port(&listeners[1])];
    let [former, next] = listeners;
    let is_silent = Arc::new(AtomicBool::new(false));
    serve_all(former, leader(1, ports, (last, is_stale), Arc::clone(&is_silent)));
    serve_all(next, leader(2, ports, (last, is_stale), is_silent));
    Client::new(ClientSettings {
        bootstrap: ports.map(|port| format!("127.0.0.1:{port}")).to_vec(),
        ..ClientSettings::default()
    })
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

fn leader(
    id: i32,
    ports: [u16; 2],
    (last, is_stale): (ApiKey, bool),
    is_silent: Arc<AtomicBool>,
) -> Script {
    Box::new(move |request| {
        if id == 1 && request.api == last {
            is_silent.store(true, Ordering::SeqCst);
        }
        let has_moved = is_silent.load(Ordering::SeqCst);
        if id == 1 && has_moved {
            return match request.api {
                ApiKey::ApiVersions if is_stale => vec![versions(request)],
                ApiKey::Metadata if is_stale => vec![request.answer(&metadata(&ports, 1, 5))],
                _ => vec![],
            };
        }
        let (leader, epoch) = if has_moved { (2, 6) } else { (1, 5) };
        vec![match request.api {
            ApiKey::ApiVersions => versions(request),
            ApiKey::Metadata => request.answer(&metadata(&ports, leader, epoch)),
            ApiKey::FindCoordinator => {
                let port = if has_moved { ports[1] } else { ports[0] };
                request.answer(&coordinator(leader, port))
            }
            ApiKey::DeleteGroups => request.answer(&deleted()),
            ApiKey::InitProducerId => request.answer(&InitProducerIdResponse::default()),
            ApiKey::Produce => request.answer(&produced()),
            ApiKey::Fetch => request.answer(&fetched()),
            ApiKey::ListOffsets => request.answer(&listed()),
            other => panic!("{other} was not expected"),
        }]
    })
}

fn produced() -> ProduceResponse {
    let partition =
        PartitionProduceResponse { base_offset: 7, log_append_time_ms: -1, ..Default::default() };
    let topic = TopicProduceResponse {
        topic_id: Uuid::from_bytes(ID),
        partition_responses: vec![partition],
        ..Default::default()
    };
    ProduceResponse { responses: vec![topic], ..Default::default() }
}

fn fetched() -> FetchResponse {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(b"v"), &[]);
    let partition = PartitionData { records: Some(batch.build()), ..Default::default() };
    let topic = FetchableTopicResponse {
        topic_id: Uuid::from_bytes(ID),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

fn listed() -> ListOffsetsResponse {
    let partition = ListOffsetsPartitionResponse { offset: 0, ..Default::default() };
    let topic = ListOffsetsTopicResponse {
        name: "t".to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    ListOffsetsResponse { topics: vec![topic], ..Default::default() }
}

fn deleted() -> DeleteGroupsResponse {
    let result = DeletableGroupResult { group_id: "g".to_owned(), ..Default::default() };
    DeleteGroupsResponse { results: vec![result], ..Default::default() }
}

#[test]
fn a_coordinator_that_says_nothing_is_left_once_others_name_another() {
    run(async {
        let client = cluster(ApiKey::DeleteGroups).await;
        client.admin().delete_group("g").await.unwrap();
    });
}

#[test]
fn a_producer_leaves_a_leader_that_says_nothing_once_another_leads() {
    run(async {
        let client = cluster(ApiKey::Produce).await;
        let producer = client.producer(ProducerSettings::default());
        assert_eq!(producer.send(ProducerRecord::new("t", "v")).await.unwrap().offset, 7);
    });
}

#[test]
fn a_producer_leaves_a_leader_that_says_nothing_but_that_it_leads() {
    run(async {
        let client = cluster_with(ApiKey::Produce, true).await;
        let producer = client.producer(ProducerSettings::default());
        assert_eq!(producer.send(ProducerRecord::new("t", "v")).await.unwrap().offset, 7);
    });
}

#[test]
fn a_consumer_leaves_a_leader_that_says_nothing_once_another_leads() {
    for (last, start) in
        [(ApiKey::Fetch, StartAt::Offset(0)), (ApiKey::ListOffsets, StartAt::Beginning)]
    {
        run(async {
            let client = cluster(last).await;
            let mut consumer = client.consumer(ConsumerSettings::default());
            let from = [(TopicPartition::new("t", 0), start)];
            consumer.assign(&from).await.unwrap();
            assert_eq!(consumer.recv().await.unwrap().value.as_deref(), Some(&b"v"[..]));
        });
    }
}

/// A client of a listener that takes connections and says nothing, and of a port where nobody
/// listens.
async fn silent_and_gone() -> (Client, [u16; 2], TcpListener) {
    let (silent, gone) = (bind().await, bind().await);
    let ports = [port(&silent), port(&gone)];
    (Client::new(reached_by(ports)), ports, silent)
}

fn reached_by(ports: [u16; 2]) -> ClientSettings {
    let bootstrap = addresses(ports).iter().map(|one| one.to_string()).collect();
    let call_timeout = Duration::from_secs(10);
    ClientSettings { bootstrap, call_timeout, ..ClientSettings::default() }
}

fn addresses(ports: [u16; 2]) -> Vec<Arc<str>> {
    ports.map(|port| format!("127.0.0.1:{port}").into()).to_vec()
}

#[test]
fn a_silent_address_is_not_waited_for_once_another_has_refused() {
    run(async {
        let (client, ports, _silent) = silent_and_gone().await;
        let until = Some(Instant::now() + OVERDUE);
        let found = client.connect_to_any(addresses(ports), not_reached(1), until).await;
        assert!(matches!(found, Err(ClientError::Refused { .. })), "{found:?}");
    });
}

#[test]
fn an_address_that_refused_is_tried_again_while_another_is_silent() {
    run(async {
        let (client, ports, _silent) = silent_and_gone().await;
        let until = Some(Instant::now() + Duration::from_secs(60));
        let back = async {
            sleep(NEXT_ADDRESS_AFTER * 2).await;
            let back = TcpListener::bind(("127.0.0.1", ports[1])).await.unwrap();
            serve_all(back, Box::new(|request| vec![versions(request)]));
        };
        let found = client.connect_to_any(addresses(ports), not_reached(1), until);
        let (found, ()) = tokio::join!(found, back);
        assert_eq!(found.unwrap().address(), &addresses(ports)[1]);
    });
}

#[test]
fn a_slow_address_is_not_begun_with_anew_when_another_has_refused() {
    run(async {
        let (gone, slow) = (bind().await, bind().await);
        let ports = [port(&gone), port(&slow)];
        drop(gone);
        let script: Script = Box::new(move |request| match request.api {
            ApiKey::ApiVersions => {
                vec![Action::Wait(Duration::from_secs(2)), versions(request)]
            }
            _ => vec![request.answer(&metadata(&ports[1..], 1, 5))],
        });
        serve_all(slow, script);
        let client = Client::new(reached_by(ports));
        client.refresh_topic("t", false).await.unwrap();
        client.ask_another();
        client.refresh_topic("t", false).await.unwrap();
    });
}

/// Else it would be waited for as long as for one that has been silent as often.
#[test]
fn a_broker_that_ended_connections_is_left_soon_when_it_is_silent() {
    run(async {
        let listener = bind().await;
        let (ports, mut asked) = ([port(&listener)], 0);
        let script: Script = Box::new(move |request| {
            if request.api == ApiKey::ApiVersions {
                return vec![versions(request)];
            }
            asked += 1;
            match asked {
                2..10 => vec![Action::Close],
                10 => vec![],
                _ => vec![request.answer(&metadata(&ports, 1, 5))],
            }
        });
        serve_all(listener, script);
        let client = Client::new(ClientSettings {
            bootstrap: vec![format!("127.0.0.1:{}", ports[0])],
            retry_pause: Duration::from_millis(1),
            ..ClientSettings::default()
        });
        for _ in 0..2 {
            client.refresh_topic("t", false).await.unwrap();
        }
    });
}

#[test]
fn a_broker_that_says_nothing_is_not_the_only_one_to_be_asked() {
    run(async {
        let client = cluster(ApiKey::ApiVersions).await;
        assert_eq!(client.topic("t").await.unwrap().leader(0).unwrap(), 2);
    });
    run(async {
        let client = cluster(ApiKey::Metadata).await;
        assert_eq!(client.topic("t").await.unwrap().leader(0).unwrap(), 2);
    });
}
