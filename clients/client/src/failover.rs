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

/// The addresses, each once, from the one behind `left` on: two brokers that are cut off together know
/// equally little, so that all others have to come before either is asked again.
pub(crate) fn in_turn(addresses: Vec<Arc<str>>, left: Option<&Arc<str>>) -> Vec<Arc<str>> {
    let mut seen = BTreeSet::new();
    let mut addresses = addresses;
    addresses.retain(|address| seen.insert(Arc::clone(address)));
    if let Some(at) = addresses.iter().position(|address| Some(address) == left) {
        addresses.rotate_left(at + 1);
    }
    addresses
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
mod tests;
