//! The task that reads ahead: finds offsets to begin at, fetches from leaders or from
//! replicas near by, hands records over.
//!
//! One fetch at a time is under way to each broker, on a connection of its own since it may wait
//! there. The channel to the consumer is bounded, so a slow application slows the fetches.
//!
//! Not here: what the answers mean (`answers`).

mod answers;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::ApiKey;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use types::{TopicPartition, Uuid};

use super::assignment::{Assignment, Cursor, StartAt};
use super::place::Place;
use super::record::Record;
use super::{ConsumerSettings, OffsetReset};
use crate::admin::{Each, ListedOffset, OffsetSpec};
use crate::cluster::{Client, Lane};
use crate::error::ClientError;
use crate::failover::{Led, OVERDUE};

/// Records of one partition, or why there are none.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) cursor: Arc<Cursor>,
    pub(crate) records: Vec<Record>,
    /// Offset behind all of them and what was hidden.
    pub(crate) next: i64,
}

#[derive(Debug)]
enum Done {
    Fetched {
        broker: i32,
        asked: Vec<Asked>,
        result: Result<FetchResponse, ClientError>,
    },
    Located {
        asked: Vec<TopicPartition>,
        result: Result<Each<TopicPartition, ListedOffset>, ClientError>,
    },
    Refreshed {
        topic: Arc<str>,
        error: Option<ClientError>,
    },
}

type Asked = (TopicPartition, Arc<Cursor>, i64);

pub(crate) struct Fetcher {
    client: Client,
    settings: Arc<ConsumerSettings>,
    assignment: watch::Receiver<Assignment>,
    out: mpsc::Sender<Result<Chunk, ClientError>>,
    places: BTreeMap<TopicPartition, Place>,
    busy: HashSet<i32>,
    refreshing: HashSet<Arc<str>>,
    /// Which partition is asked for first; it moves on so that all have their turn.
    turn: usize,
    /// Until then leaders are not told of the consumer's rack: a replica near by has failed, and they
    /// would name it again.
    far_until: Option<Instant>,
    work: JoinSet<Done>,
}

/// Pause after a refusal that passes.
const PAUSE: Duration = Duration::from_millis(100);
/// How often places that wait are looked at.
const STEP: Duration = Duration::from_millis(500);
/// The last version of Fetch that names topics; later ones give their ids.
const FETCH_BY_NAME: i16 = 12;

impl Fetcher {
    pub(crate) fn new(
        client: Client,
        settings: Arc<ConsumerSettings>,
        assignment: watch::Receiver<Assignment>,
        out: mpsc::Sender<Result<Chunk, ClientError>>,
    ) -> Self {
        Self {
            client,
            settings,
            assignment,
            out,
            places: BTreeMap::new(),
            busy: HashSet::new(),
            refreshing: HashSet::new(),
            turn: 0,
            far_until: None,
            work: JoinSet::new(),
        }
    }

    /// Runs until the consumer is gone.
    pub(crate) async fn run(mut self) {
        loop {
            self.reconcile();
            let wake = self.start_work();
            let handed = tokio::select! {
                changed = self.assignment.changed() => changed.map_err(|_| Gone),
                () = self.out.closed() => Err(Gone),
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.handle(done).await,
                    Err(error) => {
                        tracing::error!(%error, "a task of the consumer failed");
                        Ok(())
                    }
                },
                () = sleep_until(wake) => Ok(()),
            };
            if handed.is_err() {
                return;
            }
        }
    }

    /// Takes over what the consumer or its group decided.
    fn reconcile(&mut self) {
        let wanted = self.assignment.borrow_and_update().cursors.clone();
        self.places.retain(|key, _| wanted.contains_key(key));
        for (key, cursor) in wanted {
            let known = self.places.get(&key);
            if known.is_some_and(|place| Arc::ptr_eq(&place.cursor, &cursor)) {
                continue;
            }
            self.places.insert(key, Place::new(cursor));
        }
    }

    fn start_work(&mut self) -> Instant {
        let now = Instant::now();
        let mut wake = now + STEP;
        let mut to_find: BTreeMap<i32, Vec<(TopicPartition, OffsetSpec)>> = BTreeMap::new();
        let mut to_fetch: BTreeMap<i32, Vec<Asked>> = BTreeMap::new();
        let mut unknown = Vec::new();
        for (key, place) in &mut self.places {
            if place.is_busy {
                continue;
            }
            if let Some(at) = place.not_before.filter(|at| *at > now) {
                wake = wake.min(at);
                continue;
            }
            let topic = self.client.cached_topic(&key.topic);
            let Some(Ok(leader)) = topic.map(|topic| topic.leader(key.partition)) else {
                unknown.push(key.topic.clone());
                continue;
            };
            match place.next {
                None => {
                    place.is_busy = true;
                    to_find.entry(leader).or_default().push((key.clone(), spec(place.start)));
                }
                Some(next) => {
                    let source = place.source(leader, now);
                    if !self.busy.contains(&source) {
                        let asked = (key.clone(), place.cursor.clone(), next);
                        to_fetch.entry(source).or_default().push(asked);
                    }
                }
            }
        }
        for topic in unknown {
            self.refresh(topic);
        }
        for (broker, places) in to_find {
            self.find(broker, places);
        }
        for (broker, asked) in to_fetch {
            self.fetch(broker, asked);
        }
        wake
    }

    fn find(&mut self, broker: i32, places: Vec<(TopicPartition, OffsetSpec)>) {
        let (client, isolation) = (self.client.clone(), self.settings.isolation);
        self.work.spawn(async move {
            let result = client.admin().list_offsets_of(broker, &places, isolation).await;
            Done::Located { asked: places.into_iter().map(|(key, _)| key).collect(), result }
        });
    }

    fn fetch(&mut self, broker: i32, mut asked: Vec<Asked>) {
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn % asked.len();
        asked.rotate_left(turn);
        for (key, _, _) in &asked {
            if let Some(place) = self.places.get_mut(key) {
                place.is_busy = true;
            }
        }
        self.busy.insert(broker);
        let (request, has_ids) = self.request(&asked);
        let last = if has_ids { *ApiKey::Fetch.versions().end() } else { FETCH_BY_NAME };
        let client = self.client.clone();
        let led = Led::new(&client, broker, asked.iter().map(|(key, _, _)| key));
        let patience = self.settings.fetch_wait + OVERDUE;
        self.work.spawn(async move {
            let api = (ApiKey::Fetch, 11..=last);
            let result =
                client.call_while_it_leads(&led, patience, Lane::Fetch, api, &request).await;
            if result.is_err() {
                sleep(PAUSE).await;
            }
            Done::Fetched { broker, asked, result }
        });
    }

    /// The request, and whether all its topics have ids.
    fn request(&self, asked: &[Asked]) -> (FetchRequest, bool) {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (key, _, offset) in asked {
            let topic = self.client.cached_topic(&key.topic);
            let epoch = topic.as_ref().and_then(|topic| topic.partition(key.partition));
            let partition = FetchPartition {
                partition: key.partition,
                current_leader_epoch: epoch.map_or(-1, |partition| partition.leader_epoch),
                fetch_offset: *offset,
                partition_max_bytes: to_i32(self.settings.partition_bytes_max),
                ..FetchPartition::default()
            };
            match topics.iter_mut().find(|topic| *topic.topic == *key.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(FetchTopic {
                    topic: key.topic.to_string(),
                    topic_id: topic.map_or(Uuid::ZERO, |topic| topic.id),
                    partitions: vec![partition],
                    ..FetchTopic::default()
                }),
            }
        }
        let has_ids = topics.iter().all(|topic| !topic.topic_id.is_zero());
        let request = FetchRequest {
            max_wait_ms: to_i32(self.settings.fetch_wait.as_millis()),
            min_bytes: to_i32(self.settings.fetch_bytes_min),
            max_bytes: to_i32(self.settings.fetch_bytes_max),
            isolation_level: self.settings.isolation.to_wire(),
            topics,
            rack_id: self.rack(),
            ..FetchRequest::default()
        };
        (request, has_ids)
    }

    /// Whether it reads from leaders alone.
    fn is_far(&self) -> bool {
        self.far_until.is_some_and(|until| Instant::now() < until)
    }

    fn rack(&self) -> String {
        self.settings.rack.clone().filter(|_| !self.is_far()).unwrap_or_default()
    }

    async fn handle(&mut self, done: Done) -> Result<(), Gone> {
        match done {
            Done::Fetched { broker, asked, result } => {
                self.busy.remove(&broker);
                self.fetched(broker, asked, result).await
            }
            Done::Located { asked, result } => self.located(asked, result).await,
            Done::Refreshed { topic, error } => {
                self.refreshing.remove(&topic);
                match error {
                    Some(error) if !error.is_retriable() => self.hand_over(Err(error)).await,
                    _ => Ok(()),
                }
            }
        }
    }

    /// The place, if it is still the one that was asked for.
    fn place(&mut self, key: &TopicPartition, cursor: &Arc<Cursor>) -> Option<&mut Place> {
        self.places.get_mut(key).filter(|place| Arc::ptr_eq(&place.cursor, cursor))
    }

    async fn hand_over(&self, chunk: Result<Chunk, ClientError>) -> Result<(), Gone> {
        self.out.send(chunk).await.map_err(|_| Gone)
    }

    fn refresh(&mut self, topic: Arc<str>) {
        if self.refreshing.insert(topic.clone()) {
            let client = self.client.clone();
            self.work.spawn(async move {
                let found = client.refresh_topic(&topic, false).await;
                let is_led = found.as_ref().is_ok_and(|topic| {
                    topic.partitions.iter().all(|partition| partition.leader.is_some())
                });
                if !is_led {
                    sleep(PAUSE * 2).await;
                }
                Done::Refreshed { topic, error: found.err() }
            });
        }
    }
}

/// The consumer was dropped.
struct Gone;

fn spec(start: StartAt) -> OffsetSpec {
    match start {
        StartAt::Beginning => OffsetSpec::Earliest,
        StartAt::End | StartAt::Offset(_) => OffsetSpec::Latest,
        StartAt::Timestamp(ms) => OffsetSpec::Timestamp(ms),
    }
}

fn to_i32<T: TryInto<i32>>(value: T) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

impl OffsetReset {
    /// Where to begin without an offset; `None` where that is an error.
    pub(crate) fn start(self) -> Option<StartAt> {
        match self {
            Self::Earliest => Some(StartAt::Beginning),
            Self::Latest => Some(StartAt::End),
            Self::Fail => None,
        }
    }
}
