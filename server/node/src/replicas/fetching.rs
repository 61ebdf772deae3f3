//! One leader's broker: asks it for all that is followed from it, again and again.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use config::SecurityProtocol;
use protocol::ApiKey;
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, ReplicaState,
};
use replication::{FetchPlan, TopicIdPartition, Want};
use tokio::time::{Instant, Sleep, sleep, timeout};
use types::{BrokerId, Millis, Uuid};

use super::{Pair, answers, state_of};
use crate::clock;
use crate::peers::{Endpoint, Link, LinkOptions, PeerError};
use crate::shard::Shard;

/// The first version that tells who asks in a field of its own (KIP-903).
const REPLICA_STATE_SINCE: i16 = 15;
/// How long the next request waits for partitions whose records the disk is still writing: one
/// that leaves without them may be held by the leader for long.
const DISK_MAX: Duration = Duration::from_millis(50);
/// How long the leader may hold a request that has left without some partitions.
const HELD_WAIT: Millis = Millis(10);
/// How long a partition that is followed from now on waits for the answer to a request that left before.
const JOINED_WAIT: Duration = Duration::from_millis(10);

/// A connection, and where it leads.
pub(super) type Connected = Option<(Endpoint, Link)>;

/// Copies from one broker until the shard ends.
pub(super) async fn run(shard: Rc<Shard>, leader: BrokerId, pair: Rc<Pair>) {
    let mut connected: Connected = None;
    let mut told = false;
    // Whether the last request was given up for partitions that it lacked. The next one is not: they join
    // one by one as logs are opened, and an answer has to come through between.
    let mut gave_up = false;
    let mut alarm = pin!(sleep(DISK_MAX));
    loop {
        wait_for_disk(&pair, alarm.as_mut()).await;
        let plan = pair.fetcher.borrow_mut().next(clock::monotonic());
        let Some(plan) = plan else {
            rest(&pair).await;
            continue;
        };
        let answer = match link(&shard, leader, &mut connected) {
            Ok(link) => {
                pair.asked.set(state_of(&shard.image(), leader));
                tokio::select! {
                    answer = ask(&shard, &pair, link, (plan, gave_up)) => answer.map_err(|why| Some(why.to_string())),
                    () = pair.restart.notified() => Err(None),
                    () = keeps_some_waiting(&pair), if !gave_up => {
                        gave_up = true;
                        Err(None)
                    }
                }
            }
            Err(why) => Err(Some(why)),
        };
        match answer {
            Ok(answer) => {
                (told, gave_up) = (false, false);
                answers::take(&shard, (leader, &pair), answer);
            }
            Err(why) => {
                // What comes on the former connection answers nothing any more.
                connected = None;
                pair.fetcher.borrow_mut().failed();
                // Else the broker is gone or another one, and what it leads may be, too.
                let Some(why) = why else { continue };
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("cannot copy from broker {leader}: {why}");
                }
                back_off(&shard, &pair).await;
            }
        }
    }
}

/// Waits for the disk, as all that came with one answer is synced together.
///
/// `alarm` may ring too early: to set it for each wait would cost more, as the disk is mostly done
/// before.
async fn wait_for_disk(pair: &Pair, mut alarm: Pin<&mut Sleep>) {
    let until = Instant::now() + DISK_MAX;
    while !pair.held.borrow().is_empty() {
        tokio::select! {
            () = pair.wake.notified() => {}
            () = alarm.as_mut() => {
                if until <= Instant::now() {
                    return;
                }
                alarm.as_mut().reset(until);
            }
        }
    }
}

/// Ends when the request under way is better given up: the leader may hold it for long, since nothing
/// happens in what it asks for, while producers of a partition that it lacks wait for this replica. That
/// is so whenever a leadership has moved.
async fn keeps_some_waiting(pair: &Pair) {
    loop {
        pair.joined.notified().await;
        sleep(JOINED_WAIT).await;
        if pair.fetcher.borrow().lacks_some() {
            return;
        }
    }
}

/// Waits until there may be something to ask for.
async fn rest(pair: &Pair) {
    let due = pair.fetcher.borrow().next_due();
    let Some(due) = due else { return pair.wake.notified().await };
    let wait = u64::try_from((due - clock::monotonic()).get()).unwrap_or(0);
    _ = timeout(Duration::from_millis(wait.max(1)), pair.wake.notified()).await;
}

async fn back_off(shard: &Shard, pair: &Pair) {
    let wait = shard.shared.config.replication.backoff_ms.get();
    tokio::select! {
        () = sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0).max(1))) => {}
        () = pair.restart.notified() => {}
    }
}

/// Where a broker is reached by other nodes, as the metadata has it now.
pub fn endpoint_of(shard: &Shard, id: BrokerId) -> Result<Endpoint, String> {
    let listeners = &shard.shared.config.listeners;
    let name = &listeners.inter_broker;
    let image = shard.image();
    let broker = image.broker(id).ok_or("the cluster does not know it")?;
    let at = broker.endpoint(name).ok_or_else(|| format!("it has no listener {name}"))?;
    let protocol = listeners.protocols.get(name).copied();
    Ok(Endpoint {
        host: at.host.clone(),
        port: at.port,
        protocol: protocol.unwrap_or(SecurityProtocol::Plaintext),
    })
}

/// The connection to a broker.
pub(super) fn link(
    shard: &Shard,
    leader: BrokerId,
    connected: &mut Connected,
) -> Result<Link, String> {
    let config = &shard.shared.config;
    let endpoint = endpoint_of(shard, leader)?;
    if let Some((to, link)) = connected
        && *to == endpoint
    {
        return Ok(link.clone());
    }
    let timeout = config.replication.request_timeout_ms.get();
    let options = LinkOptions {
        client_id: format!("{}-copying", config.node_id),
        request_timeout: Duration::from_millis(u64::try_from(timeout).unwrap_or(0)),
        // One batch comes whole, however little was asked for.
        response_bytes_max: i32::MAX as usize,
    };
    let link = shard.shared.peers.link_here(&endpoint, &options).map_err(|why| why.to_string())?;
    *connected = Some((endpoint, link.clone()));
    Ok(link)
}

async fn ask(
    shard: &Shard,
    pair: &Pair,
    link: Link,
    (plan, is_short): (FetchPlan, bool),
) -> Result<FetchResponse, PeerError> {
    let config = &shard.shared.config;
    let (id, epoch) = (config.node_id, shard.shared.membership.epoch());
    let replication = &config.replication;
    let number = |bytes: u32| i32::try_from(bytes).unwrap_or(i32::MAX);
    let wait = held_for(pair, replication.fetch_wait_ms_max, is_short);
    let request = FetchRequest {
        max_wait_ms: i32::try_from(wait.get()).unwrap_or(i32::MAX),
        min_bytes: number(replication.fetch_bytes_min),
        max_bytes: number(replication.response_bytes_max),
        session_id: plan.session_id,
        session_epoch: plan.session_epoch,
        topics: topics(&plan.wants, number(replication.partition_bytes_max)),
        forgotten_topics_data: forgotten(&plan.forgotten),
        ..Default::default()
    };
    let for_version = move |version| {
        if version >= REPLICA_STATE_SINCE {
            let replica_state =
                ReplicaState { replica_id: id.0, replica_epoch: epoch, ..Default::default() };
            FetchRequest { replica_state, ..request }
        } else {
            FetchRequest { replica_id: id.0, ..request }
        }
    };
    link.call(ApiKey::Fetch, for_version).await
}

/// How long the leader may hold a request while nothing happens: no longer than what is left out of it.
fn held_for(pair: &Pair, most: Millis, is_short: bool) -> Millis {
    let is_short = is_short || !pair.held.borrow().is_empty();
    let disk = if is_short { HELD_WAIT } else { most };
    let due = pair.fetcher.borrow().next_due();
    let delayed = due.map_or(most, |due| (due - clock::monotonic()).max(Millis(0)));
    most.min(disk).min(delayed)
}

fn topics(wants: &[(TopicIdPartition, Want)], partition_max_bytes: i32) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (key, want) in wants {
        if topics.last().is_none_or(|last| last.topic_id != key.topic) {
            topics.push(FetchTopic { topic_id: key.topic, ..Default::default() });
        }
        let last = topics.last_mut().expect("one was put there");
        last.partitions.push(FetchPartition {
            partition: key.partition,
            current_leader_epoch: want.leader_epoch.0,
            fetch_offset: want.fetch_offset.get(),
            last_fetched_epoch: want.last_fetched_epoch.map_or(-1, |epoch| epoch.0),
            log_start_offset: want.log_start.get(),
            partition_max_bytes,
            high_watermark: want.high_watermark.get(),
            ..Default::default()
        });
    }
    topics
}

fn forgotten(keys: &[TopicIdPartition]) -> Vec<ForgottenTopic> {
    let mut topics: Vec<ForgottenTopic> = Vec::new();
    let is_of = |last: &ForgottenTopic, id: Uuid| last.topic_id == id;
    for key in keys {
        if topics.last().is_none_or(|last| !is_of(last, key.topic)) {
            topics.push(ForgottenTopic { topic_id: key.topic, ..Default::default() });
        }
        topics.last_mut().expect("one was put there").partitions.push(key.partition);
    }
    topics
}
