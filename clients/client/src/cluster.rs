//! The cluster as this client knows it: connections by broker, topics, group coordinators.
//!
//! All of it is a cache behind one lock that is never held across an await.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use protocol::{ApiKey, Message};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use types::{ErrorCode, TopicPartition, Uuid};

use crate::admin::Admin;
use crate::connection::Connection;
use crate::consumer::{Consumer, ConsumerSettings};
use crate::error::{ClientError, silence};
use crate::failover::{in_turn, not_reached};
use crate::metadata::{Broker, TopicMetadata};
use crate::producer::{Producer, ProducerSettings};
use crate::retry::{Retry, noticed};
use crate::settings::ClientSettings;

/// A broker serves one request of a connection at a time, so what may wait there for long has a
/// connection of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Lane {
    General,
    Fetch,
    Group,
}

/// A cluster. Cheap to clone; clones share connections and what is known.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: ClientSettings,
    state: Mutex<State>,
}

/// A connection that is there or being made; all who want it wait for the same one.
type Slot = Arc<OnceCell<Arc<Connection>>>;

#[derive(Debug, Default)]
struct State {
    /// `None` as broker: whichever of the bootstrap list or the known brokers answers first.
    connections: HashMap<(Option<i32>, Lane), Slot>,
    brokers: BTreeMap<i32, Broker>,
    topics: HashMap<Arc<str>, (Arc<TopicMetadata>, Instant)>,
    names: HashMap<Uuid, Arc<str>>,
    coordinators: HashMap<String, i32>,
    /// Before the first answer a lost connection is a wrong address, later it is a restart.
    was_reached: bool,
    /// The broker that was left last, as it was silent or may know too little: those behind it are
    /// tried first.
    silent: Option<Arc<str>>,
    /// When it was last asked who leads a topic in the place of a silent broker.
    looked: HashMap<Arc<str>, Instant>,
}

/// Versions of Metadata with topic ids.
const METADATA: RangeInclusive<i16> = 9..=13;
/// How long one broker is first waited for where any other could answer at once, too. Doubles, since
/// all of them may have much to do.
const PATIENCE: Duration = Duration::from_secs(1);

impl Client {
    /// A client of the cluster. Connects when something is asked.
    pub fn new(settings: ClientSettings) -> Self {
        Self { inner: Arc::new(Inner { settings, state: Mutex::default() }) }
    }

    /// Topics, configurations, groups, offsets.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// A producer; must be called within a tokio runtime.
    pub fn producer(&self, settings: ProducerSettings) -> Producer {
        Producer::new(self.clone(), settings)
    }

    /// A consumer; must be called within a tokio runtime.
    pub fn consumer(&self, settings: ConsumerSettings) -> Consumer {
        Consumer::new(self.clone(), settings)
    }

    /// What the client was told at its start.
    pub fn settings(&self) -> &ClientSettings {
        &self.inner.settings
    }

    /// A topic as it was at most `metadata_age_max` ago.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` where it does not exist, and whatever keeps the cluster away.
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicMetadata>, ClientError> {
        match self.cached_topic(name) {
            Some(topic) => Ok(topic),
            None => self.refresh_topic(name, false).await,
        }
    }

    /// A topic as it is now; `create` lets the broker create it (auto.create.topics.enable).
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub async fn refresh_topic(
        &self,
        name: &str,
        create: bool,
    ) -> Result<Arc<TopicMetadata>, ClientError> {
        let mut topics = self.metadata(Some(&[name.to_owned()]), create).await?;
        topics.pop().unwrap_or_else(|| Err(unknown_topic(name)))
    }

    /// All topics; names of internal ones included.
    ///
    /// # Errors
    /// Whatever keeps the cluster away.
    pub async fn topics(&self) -> Result<Vec<Arc<TopicMetadata>>, ClientError> {
        let all = self.metadata(None, false).await?;
        Ok(all.into_iter().filter_map(Result::ok).collect())
    }

    pub(crate) fn cached_topic(&self, name: &str) -> Option<Arc<TopicMetadata>> {
        let state = self.state();
        let (topic, since) = state.topics.get(name)?;
        (since.elapsed() < self.inner.settings.metadata_age_max).then(|| topic.clone())
    }

    /// Those of the topics that nobody has looked for within `pause`; the caller does so now.
    pub(crate) fn begin_to_look(&self, topics: BTreeSet<Arc<str>>, pause: Duration) -> Vec<String> {
        let (mut state, now) = (self.state(), Instant::now());
        let mut due = Vec::new();
        for topic in topics {
            if state.looked.get(&topic).is_none_or(|before| now - *before >= pause) {
                due.push(topic.to_string());
                state.looked.insert(topic, now);
            }
        }
        due
    }

    /// Takes the leader of a partition, by id and epoch, from a refusal of `asked` (KIP-951). Whether
    /// another broker is known to lead by now, so that it can be asked at once.
    pub(crate) fn learn_leader(
        &self,
        partition: &TopicPartition,
        (leader, leader_epoch): (i32, i32),
        asked: i32,
    ) -> bool {
        if leader < 0 || leader_epoch < 0 {
            return false;
        }
        let mut state = self.state();
        let Some((topic, _)) = state.topics.get_mut(&partition.topic) else { return false };
        let known = topic.partition(partition.partition);
        if known.is_some_and(|known| known.leader_epoch < leader_epoch) {
            Arc::make_mut(topic).set_leader(partition.partition, leader, leader_epoch);
        }
        topic.leader(partition.partition).is_ok_and(|leader| leader != asked)
    }

    /// Takes the brokers that an answer names: id, host, port and rack.
    pub(crate) fn learn_brokers(
        &self,
        named: impl Iterator<Item = (i32, String, i32, Option<String>)>,
    ) {
        let brokers = named.filter_map(|(id, host, port, rack)| Broker::new(id, host, port, rack));
        self.state().brokers.extend(brokers.map(|broker| (broker.id, broker)));
    }

    pub(crate) fn forget_topic(&self, name: &str) {
        self.state().topics.remove(name);
    }

    /// The name that belonged to a topic id when it was last seen.
    pub(crate) fn topic_name(&self, id: Uuid) -> Option<Arc<str>> {
        self.state().names.get(&id).cloned()
    }

    /// The brokers that were last seen.
    pub(crate) fn brokers(&self) -> Vec<Broker> {
        self.state().brokers.values().cloned().collect()
    }

    /// One Metadata request to any broker; the answer is remembered.
    pub(crate) async fn metadata(
        &self,
        names: Option<&[String]>,
        create: bool,
    ) -> Result<Vec<Result<Arc<TopicMetadata>, ClientError>>, ClientError> {
        let topic = |name: &String| MetadataRequestTopic {
            name: Some(name.clone()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(topic).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = self.ask_any(ApiKey::Metadata, METADATA, &request).await?;
        ClientError::check(ApiKey::Metadata, String::new, answer.error_code, None)?;
        let now = Instant::now();
        let mut state = self.state();
        let brokers = answer.brokers.into_iter().filter_map(Broker::from_wire);
        state.brokers = brokers.map(|broker| (broker.id, broker)).collect();
        let mut topics = Vec::new();
        for topic in answer.topics {
            let topic = TopicMetadata::from_wire(topic).map(|mut topic| {
                if let Some((known, _)) = state.topics.get(&topic.name) {
                    topic.keep_newer(known);
                }
                Arc::new(topic)
            });
            if let Ok(topic) = &topic {
                state.names.insert(topic.id, topic.name.clone());
                state.topics.insert(topic.name.clone(), (topic.clone(), now));
            }
            topics.push(topic);
        }
        Ok(topics)
    }

    /// Asks any broker, with retries.
    pub(crate) async fn call_any<Q: Message, R: Message>(
        &self,
        api: ApiKey,
        versions: RangeInclusive<i16>,
        request: &Q,
    ) -> Result<R, ClientError> {
        self.try_any(api, versions, request, self.request_timeout()).await
    }

    /// As [`Client::call_any`], for what any broker answers at once and may be asked twice: one that
    /// does not is left for another.
    pub(crate) async fn ask_any<Q: Message, R: Message>(
        &self,
        api: ApiKey,
        versions: RangeInclusive<i16>,
        request: &Q,
    ) -> Result<R, ClientError> {
        self.try_any(api, versions, request, PATIENCE).await
    }

    async fn try_any<Q: Message, R: Message>(
        &self,
        api: ApiKey,
        versions: RangeInclusive<i16>,
        request: &Q,
        mut patience: Duration,
    ) -> Result<R, ClientError> {
        let (mut retry, limit) = (self.retry(), self.request_timeout());
        loop {
            patience = patience.min(limit);
            let answer = async {
                let connecting = self.connection(None, Lane::General);
                let connection = noticed(connecting, || "no broker answers".to_owned()).await?;
                let call = connection.call(api, &versions, request, limit);
                let what = || {
                    let (address, why) = (connection.address(), silence(api));
                    format!("{address} has not answered {api} yet: {why}")
                };
                match timeout(patience, noticed(call, what)).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        let error = self.leave(&connection, api, patience);
                        patience *= 2;
                        Err(error)
                    }
                }
            };
            match answer.await {
                Ok(answer) => {
                    self.state().was_reached = true;
                    return Ok(answer);
                }
                // Who ends connections at once is no reason to wait longer for the next one.
                Err(error) => self.pause(&mut retry, error).await?,
            }
        }
    }

    /// Takes another broker for any from now on. Others may go on waiting for this one.
    fn leave(&self, connection: &Arc<Connection>, api: ApiKey, after: Duration) -> ClientError {
        let mut state = self.state();
        state.silent = Some(connection.address().clone());
        let slot = (None, Lane::General);
        let is_it = |one: &Slot| one.get().is_some_and(|one| Arc::ptr_eq(one, connection));
        if state.connections.get(&slot).is_some_and(is_it) {
            state.connections.remove(&slot);
        }
        ClientError::TimedOut { broker: connection.address().clone(), api, after }
    }

    /// Takes another broker for any from now on, as what this one knows may be old: it may be the one
    /// that is silent elsewhere.
    pub(crate) fn ask_another(&self) {
        let mut state = self.state();
        let any = state.connections.remove(&(None, Lane::General));
        if let Some(connection) = any.as_ref().and_then(|slot| slot.get()) {
            state.silent = Some(connection.address().clone());
        }
    }

    /// Asks one broker, once.
    pub(crate) async fn call_broker<Q: Message, R: Message>(
        &self,
        broker: i32,
        lane: Lane,
        api: ApiKey,
        versions: RangeInclusive<i16>,
        request: &Q,
    ) -> Result<R, ClientError> {
        let connection = self.connection(Some(broker), lane).await?;
        connection.call(api, &versions, request, self.request_timeout()).await
    }

    /// The broker that coordinates a group; asked for again once [`Client::forget_coordinator`]
    /// was called.
    pub(crate) async fn coordinator(&self, group: &str) -> Result<i32, ClientError> {
        let known = self.state().coordinators.get(group).copied();
        match known {
            Some(id) => Ok(id),
            None => self.find_coordinator(group).await,
        }
    }

    /// The broker that coordinates a group now.
    pub(crate) async fn find_coordinator(&self, group: &str) -> Result<i32, ClientError> {
        let request = FindCoordinatorRequest {
            key_type: 0,
            coordinator_keys: vec![group.to_owned()],
            ..FindCoordinatorRequest::default()
        };
        let api = ApiKey::FindCoordinator;
        let answer: FindCoordinatorResponse = self.ask_any(api, 4..=6, &request).await?;
        let Some(found) = answer.coordinators.into_iter().next() else {
            return Err(ClientError::Invalid(format!("no coordinator was named for {group:?}")));
        };
        let subject = || format!("group {group:?}");
        ClientError::check(api, subject, found.error_code, found.error_message.as_ref())?;
        let id = found.node_id;
        let port = u16::try_from(found.port).unwrap_or_default();
        let mut state = self.state();
        let broker = Broker { id, host: found.host, port, rack: None };
        state.brokers.entry(id).or_insert(broker);
        state.coordinators.insert(group.to_owned(), id);
        Ok(id)
    }

    /// Asks for the coordinator again next time, where `error` says it may have moved.
    pub(crate) fn forget_coordinator(&self, group: &str, error: &ClientError) {
        let stays = match error.code() {
            Some(code) => {
                !matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)
            }
            None => false,
        };
        if !stays {
            self.state().coordinators.remove(group);
        }
    }

    /// A connection to `broker`, or to any.
    pub(crate) async fn connection(
        &self,
        broker: Option<i32>,
        lane: Lane,
    ) -> Result<Arc<Connection>, ClientError> {
        let slot = {
            let mut state = self.state();
            let slot = state.connections.entry((broker, lane)).or_default();
            if slot.get().is_some_and(|connection| connection.is_ended()) {
                *slot = Slot::default();
            }
            slot.clone()
        };
        let connection = slot.get_or_try_init(|| self.connect(broker)).await?;
        Ok(connection.clone())
    }

    async fn connect(&self, broker: Option<i32>) -> Result<Arc<Connection>, ClientError> {
        let settings = &self.inner.settings;
        let mut addresses: Vec<Arc<str>> = Vec::new();
        let none = {
            let state = self.state();
            match broker {
                Some(id) => {
                    addresses.extend(state.brokers.get(&id).map(address));
                    not_reached(id)
                }
                None => {
                    addresses.extend(settings.bootstrap.iter().map(|one| one.as_str().into()));
                    addresses.extend(state.brokers.values().map(address));
                    addresses = in_turn(addresses, state.silent.as_ref());
                    ClientError::Invalid("the list of bootstrap servers is empty".to_owned())
                }
            }
        };
        // At first contact a slow broker is waited for: nothing is known of others.
        let until = Instant::now() + settings.call_timeout;
        let until = self.state().was_reached.then_some(until);
        let last = match self.connect_to_any(addresses, none, until).await {
            Ok(connection) => return Ok(Arc::new(connection)),
            Err(error) => error,
        };
        match last {
            // It was Kafka before, so this is a broker that ends or begins.
            ClientError::NotKafka { address: broker, cause } if self.state().was_reached => {
                let (api, cause) = (ApiKey::ApiVersions, cause.to_owned());
                Err(ClientError::Disconnected { broker, api, cause })
            }
            last => Err(last),
        }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// Gives `error` back where waiting will not help.
    pub(crate) async fn pause(
        &self,
        retry: &mut Retry,
        error: ClientError,
    ) -> Result<(), ClientError> {
        if !self.state().was_reached {
            match error {
                ClientError::Refused { .. } | ClientError::Unreachable { .. } => return Err(error),
                // What a broker does when it was not told first who is calling.
                ClientError::Disconnected { broker: address, .. } => {
                    let cause = "closed the connection at the first request: \
                                 it may expect SASL, which this client does not speak yet";
                    return Err(ClientError::NotKafka { address, cause });
                }
                _ => {}
            }
        }
        retry.pause(error).await
    }

    #[cfg(test)]
    pub(crate) fn add_broker(&self, broker: Broker) {
        self.state().brokers.insert(broker.id, broker);
    }

    pub(crate) fn retry(&self) -> Retry {
        Retry::within(&self.inner.settings, self.inner.settings.call_timeout)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.inner.settings.request_timeout
    }

    /// Nothing panics while the lock is held, so what a poisoned one guards is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(broker: &Broker) -> Arc<str> {
    if broker.host.contains(':') {
        return format!("[{}]:{}", broker.host, broker.port).into();
    }
    format!("{}:{}", broker.host, broker.port).into()
}

pub(crate) fn unknown_topic(name: &str) -> ClientError {
    ClientError::Refusal {
        api: ApiKey::Metadata,
        subject: format!("topic {name:?}"),
        code: ErrorCode::UnknownTopicOrPartition,
        message: None,
    }
}
