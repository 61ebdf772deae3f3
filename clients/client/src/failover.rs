//! How a client gets away from a broker that says nothing any more.
//!
//! A broker that was stopped or cut off ends no connection, so whoever waits for its answers would do
//! so until the request times out. But the others know soon who leads in its place: they are asked
//! while an answer is overdue, and the silent one is left once all that it was asked about has moved.
//!
//! Not here: what is sent again afterwards (`producer`, `consumer`).

use std::collections::BTreeSet;
use std::mem;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use protocol::{ApiKey, Message};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use types::TopicPartition;

use crate::cluster::{Client, Lane};
use crate::connection::Connection;
use crate::error::ClientError;

/// What an answer may take longer than planned before others are asked who leads.
pub(crate) const OVERDUE: Duration = Duration::from_secs(1);
/// How often they are asked then.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the same one is asked: a broker whose disk hangs may answer, and not know what has come.
const LOOKS_AT_ONE: u32 = 4;
/// How long one address is waited for before the next is tried beside it.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(500);
/// After which time an address that failed is tried again while others are waited for.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Partitions of which a broker was asked something.
pub(crate) struct Led {
    broker: i32,
    /// The leader epoch that was known then; `None` where the broker has a replica near by and another
    /// one led already.
    partitions: Vec<(TopicPartition, Option<i32>)>,
}

impl Led {
    /// What is known now of the leaders of some partitions that `broker` is asked for.
    pub(crate) fn new<'a>(
        client: &Client,
        broker: i32,
        partitions: impl Iterator<Item = &'a TopicPartition>,
    ) -> Self {
        let known = partitions.map(|partition| {
            let topic = client.cached_topic(&partition.topic);
            let known = topic.as_ref().and_then(|topic| topic.partition(partition.partition));
            let epoch = match known {
                Some(known) => (known.leader == Some(broker)).then_some(known.leader_epoch),
                None => Some(-1),
            };
            (partition.clone(), epoch)
        });
        Self { broker, partitions: known.collect() }
    }

    /// Whether other brokers have been elected for all of them, or led them already.
    fn has_moved(&self, client: &Client) -> bool {
        let has_moved = |(partition, epoch): &(TopicPartition, Option<i32>)| {
            let topic = client.cached_topic(&partition.topic);
            let now = topic.as_ref().and_then(|topic| topic.partition(partition.partition));
            now.is_some_and(|now| {
                now.leader.is_some_and(|leader| leader != self.broker)
                    && epoch.is_none_or(|epoch| now.leader_epoch > epoch)
            })
        };
        !self.partitions.is_empty() && self.partitions.iter().all(has_moved)
    }
}

/// A broker was asked for, and there is no connection to it.
pub(crate) fn not_reached(broker: i32) -> ClientError {
    ClientError::NoLeader { partition: format!("broker {broker}") }
}

impl Client {
    /// Does `work`, which waits for a leader, unless all that it leads moves to others; `None` then.
    /// They are asked once the work has taken `patience`.
    pub(crate) async fn while_it_leads<T>(
        &self,
        led: &Led,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        let (mut wait, mut looks) = (patience, 0_u32);
        loop {
            if let Ok(done) = timeout(wait, &mut work).await {
                return Some(done);
            }
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = self.look_again(led) => {}
            }
            if led.has_moved(self) {
                return None;
            }
            looks = (looks + 1) % LOOKS_AT_ONE;
            if looks == 0 {
                self.ask_another();
            }
            wait = LOOK_EVERY;
        }
    }

    /// Asks a broker for partitions that it leads or has near by, as long as nobody else has to be asked
    /// for all of them; a connection that is silent then is given up.
    pub(crate) async fn call_while_it_leads<Q: Message, R: Message>(
        &self,
        led: &Led,
        patience: Duration,
        lane: Lane,
        (api, versions): (ApiKey, RangeInclusive<i16>),
        request: &Q,
    ) -> Result<R, ClientError> {
        let connecting = self.connection(Some(led.broker), lane);
        let connected = self.while_it_leads(led, patience, connecting).await;
        let connection = connected.ok_or_else(|| not_reached(led.broker))??;
        let call = connection.call(api, &versions, request, self.request_timeout());
        let answer = self.while_it_leads(led, patience, call).await;
        answer.unwrap_or_else(|| Err(connection.leave_silent(api)))
    }

    /// Asks a group's coordinator, unless others name another one while its answer is overdue.
    pub(crate) async fn call_coordinator<Q: Message, R: Message>(
        &self,
        (group, lane): (&str, Lane),
        (api, versions): (ApiKey, RangeInclusive<i16>),
        request: &Q,
        limit: Duration,
    ) -> Result<R, ClientError> {
        let broker = self.coordinator(group).await?;
        let connecting = self.connection(Some(broker), lane);
        let connected = self.while_it_coordinates((group, broker), connecting).await;
        let connection = connected.ok_or_else(|| not_reached(broker))??;
        let call = connection.call(api, &versions, request, limit);
        let answer = self.while_it_coordinates((group, broker), call).await;
        answer.unwrap_or_else(|| Err(connection.leave_silent(api)))
    }

    /// As [`Client::while_it_leads`], for a group and its coordinator.
    async fn while_it_coordinates<T>(
        &self,
        (group, broker): (&str, i32),
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        loop {
            if let Ok(done) = timeout(OVERDUE, &mut work).await {
                return Some(done);
            }
            let other = async { self.find_coordinator(group).await.is_ok_and(|id| id != broker) };
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                has_moved = other => if has_moved {
                    return None;
                }
            }
        }
    }

    /// Asks who leads, where nobody else does so just now: all see the answer.
    async fn look_again(&self, led: &Led) {
        let topics: BTreeSet<_> =
            led.partitions.iter().map(|(partition, _)| partition.topic.clone()).collect();
        let due = self.begin_to_look(topics, LOOK_EVERY);
        if !due.is_empty()
            && let Err(error) = self.metadata(Some(&due), false).await
        {
            tracing::debug!(%error, "nobody says who leads");
        }
    }

    /// A connection to whichever address answers first. The next is tried once one has failed or says
    /// nothing for a while. Those that failed are tried again and again until `until`, if there is one,
    /// while others are only slow: they may be well by then, and whoever is slow is not begun with anew.
    pub(crate) async fn connect_to_any(
        &self,
        addresses: Vec<Arc<str>>,
        none: ClientError,
        until: Option<Instant>,
    ) -> Result<Connection, ClientError> {
        let mut addresses = addresses.into_iter();
        let (mut attempts, mut failed) = (JoinSet::new(), Vec::new());
        let mut last = none;
        loop {
            if let Some(address) = addresses.next() {
                let client = self.clone();
                attempts.spawn(async move {
                    let opened = Connection::open(Arc::clone(&address), client.settings()).await;
                    opened.map_err(|error| (address, error))
                });
            }
            let has_more = addresses.len() > 0;
            tokio::select! {
                ended = attempts.join_next() => match ended {
                    Some(Ok(Ok(connection))) => return Ok(connection),
                    Some(Ok(Err((address, error)))) => {
                        failed.push(address);
                        last = error;
                    }
                    Some(Err(error)) => tracing::error!(%error, "an attempt to connect failed"),
                    None => return Err(last),
                },
                () = sleep(NEXT_ADDRESS_AFTER), if has_more => {}
                () = sleep(AGAIN_AFTER), if !has_more && !failed.is_empty() && until.is_some() => {
                    if until.is_some_and(|until| Instant::now() >= until) {
                        return Err(last);
                    }
                    addresses = mem::take(&mut failed).into_iter();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        let partition = PartitionProduceResponse {
            base_offset: 7,
            log_append_time_ms: -1,
            ..Default::default()
        };
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
}
