//! Fetch: resolves the session, reads, waits for more where there is too little, answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use net::{Place, Response, Served, Turn};
use protocol::View;
use protocol::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    NodeEndpoint, PartitionData,
};
use protocol::views::fetch::FetchRequestView;
use protocol::wire::Reader;
use replication::{Answered, FetchPartition, FetchTarget, OpenFetch, PartitionKey, TopicKey};
use tokio::sync::Notify;
use tokio::time::Instant;
use types::{BrokerId, ErrorCode, Offset, Uuid};

use super::quorum;
use crate::broker::Context;
use crate::broker::leader_hints::LeaderHints;
use crate::broker::once::first_of_each;
use crate::broker::read::{self, Answer, Ask, Bounds, Followers, Replica, Wait};
use crate::broker::request::later;
use crate::broker::resolve::{self, TopicRef};
use crate::clock;
use crate::shard::{PartitionId, Shard};
use crate::throttles::Way;

/// The first version whose consumers know that followers may serve them (KIP-392).
const RACKS_SINCE: i16 = 11;
/// The first version whose clients take the new leader from a refusal (KIP-951).
const HINTS_SINCE: i16 = 16;

/// The request without what only sessions care for.
struct Wanted {
    replica: Option<Replica>,
    followers: Followers,
    near: Arc<[BrokerId]>,
    read_committed: bool,
    wait: Duration,
    bytes_min: usize,
    bytes_max: usize,
}

/// Serves one request.
pub fn serve(context: Context, body: BytesMut) -> Served {
    if context.is_on_controller() {
        return later(context, body, quorum::fetch);
    }
    let (wanted, open) = match read_request(&context, &body) {
        Ok(request) => request,
        Err(reason) => return Served::Close(reason.into()),
    };
    match open {
        Ok(open) => {
            let future = Box::pin(answer(context, wanted, open));
            Served::Later { future, pipelined: false, until: None }
        }
        Err(code) => {
            let response = FetchResponse { error_code: code.to_wire(), ..Default::default() };
            Served::Now(context.respond(&response))
        }
    }
}

type Opened = (Wanted, Result<OpenFetch, ErrorCode>);

fn read_request(context: &Context, body: &[u8]) -> Result<Opened, String> {
    let request = FetchRequestView::decode(&mut Reader::over(body), context.version)
        .map_err(|error| format!("Fetch: {error}"))?;
    let by_id = context.version >= 13;
    let key = |name: &str, id: Uuid, partition: i32| {
        let topic = if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.into()) };
        PartitionKey { topic, partition }
    };
    let mut targets = Vec::new();
    for topic in &request.topics {
        // One name per topic, not one per partition.
        let topic_key = key(topic.topic, topic.topic_id, 0).topic;
        targets.extend(topic.partitions.iter().map(|partition| FetchTarget {
            key: PartitionKey { topic: topic_key.clone(), partition: partition.partition },
            want: FetchPartition {
                fetch_offset: partition.fetch_offset,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                partition_max_bytes: partition.partition_max_bytes,
                log_start_offset: partition.log_start_offset,
                high_watermark: partition.high_watermark,
            },
        }));
    }
    first_of_each(&mut targets, |target| target.key.clone());
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        topic.partitions.iter().map(|index| key(topic.topic, topic.topic_id, *index))
    });
    let forgotten: Vec<_> = forgotten.collect();
    let shard = &context.shard;
    let session = (request.session_id, request.session_epoch);
    let replica = replica_of(&request);
    let is_first = request.session_epoch == 0;
    // A session would keep the connection here: it gets one where it is at home.
    let home = if replica.is_some() && is_first { home_of(shard, &targets) } else { None };
    let moves = home.is_some_and(|home| context.peer.belongs_to(home));
    let fresh_id = if moves { 0 } else { shard.random_id() };
    let now = clock::monotonic();
    let open = shard.sessions.borrow_mut().open(session, targets, &forgotten, now, fresh_id);
    if open.as_ref().is_ok_and(|open| open.session_id != 0) {
        // The session is this shard's.
        context.peer.stays();
    }
    let limit = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let bytes_max = shard.shared.config.fetch.response_bytes_max as usize;
    let (followers, near) = elsewhere(context, &request);
    let wanted = Wanted {
        replica,
        followers,
        near,
        read_committed: request.isolation_level == 1,
        wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        bytes_min: limit(request.min_bytes),
        bytes_max: limit(request.max_bytes).min(bytes_max),
    };
    Ok((wanted, open.map_err(|refused| refused.code())))
}

/// The other shard that owns all of the partitions: that of a follower with as many shards.
fn home_of(shard: &Shard, targets: &[FetchTarget]) -> Option<usize> {
    let owner_of = |target: &FetchTarget| match target.key.topic {
        TopicKey::Id(topic) => {
            Some(shard.owner_of(PartitionId { topic, index: target.key.partition }))
        }
        TopicKey::Name(_) => None,
    };
    let home = owner_of(targets.first()?)?;
    let is_home = home != shard.index && targets.iter().all(|one| owner_of(one) == Some(home));
    is_home.then_some(home)
}

/// The broker that asks, where it is one: in the body since version 15.
fn replica_of(request: &FetchRequestView<'_>) -> Option<Replica> {
    let state = &request.replica_state;
    let id = request.replica_id.max(state.replica_id);
    let epoch = (state.replica_epoch >= 0).then_some(state.replica_epoch);
    (id >= 0).then_some(Replica { id: BrokerId(id), epoch })
}

/// Whether followers serve the reader, and the brokers that a leader is to send it to: those in its
/// rack, where this node is none of them.
fn elsewhere(context: &Context, request: &FetchRequestView<'_>) -> (Followers, Arc<[BrokerId]>) {
    if replica_of(request).is_some() || context.version < RACKS_SINCE {
        return (Followers::Never, Arc::default());
    }
    let rack = request.rack_id;
    if rack.is_empty() {
        return (Followers::ByEpoch, Arc::default());
    }
    let config = &context.shard.shared.config;
    if !config.replication.rack_aware_reads || config.rack.as_deref() == Some(rack) {
        return (Followers::Always, Arc::default());
    }
    let image = context.shard.image();
    let listener = &context.peer.listener;
    let near = image.brokers().filter(|broker| {
        let is_reachable = !broker.fenced && broker.endpoint(listener).is_some();
        is_reachable && broker.rack.as_deref() == Some(rack)
    });
    (Followers::Always, near.map(|broker| broker.id).collect())
}

async fn answer(context: Context, wanted: Wanted, open: OpenFetch) -> Response {
    let waits = !wanted.wait.is_zero() && wanted.bytes_min > 0 && !open.targets.is_empty();
    let until = Instant::now() + wanted.wait;
    let mut bounds = Bounds {
        read_committed: wanted.read_committed && wanted.replica.is_none(),
        replica: wanted.replica,
        followers: wanted.followers,
        near: wanted.near,
        client_reads: context.peer.reads.get(),
        place: context.peer.place.get(),
        bytes_max: wanted.bytes_max,
        bytes_min: wanted.bytes_min.min(wanted.bytes_max),
        wait: waits.then(|| Wait { notify: Arc::new(Notify::new()), until }),
    };
    let mut is_noted = false;
    let mut turn: Option<Turn<'_>> = None;
    loop {
        let has_turn = turn.is_some();
        // Nobody else is let in meanwhile: who has the turn takes what there is.
        let now = turn.as_ref().map(|turn| {
            let client_reads = turn.as_reader;
            Bounds { wait: None, client_reads, ..bounds.clone() }
        });
        let reads = now.as_ref().unwrap_or(&bounds);
        let mut answers = read_all(&context, &open, (reads, turn.take()), &mut is_noted).await;
        bounds.place = place(&context, &answers);
        let next = next_step(&answers, bounds.bytes_min);
        let goes_on = !context.shard.is_draining();
        let may_wait = |wait: &&mut Wait| goes_on && Instant::now() < wait.until;
        let Some(wait) = bounds.wait.as_mut().filter(may_wait) else {
            return respond(&context, &open, answers);
        };
        match next {
            Step::Respond => return respond(&context, &open, answers),
            Step::Room => {
                let place = bounds.place.expect("who finds no room has a place");
                match room(&context, wait, place).await {
                    None => return respond(&context, &open, answers),
                    has_come => turn = has_come,
                }
            }
            // Nothing would wake it yet.
            Step::More if has_turn => {}
            Step::More => {
                if answers.iter().any(|answer| answer.tells_more) {
                    wait.hasten();
                }
                let mut is_again = false;
                for answer in &mut answers {
                    is_again |= answer.put_back();
                }
                if tokio::time::timeout_at(wait.until, wait.notify.notified()).await.is_err() {
                    if !is_again {
                        return respond(&context, &open, answers);
                    }
                    bounds.wait = None;
                }
            }
        }
    }
}

/// How a fetch goes on that may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Respond,
    /// It waits for records.
    More,
    /// It waits for memory. It holds none of it meanwhile, so that those who wait hinder nobody.
    Room,
}

fn next_step(answers: &[Answer], bytes_min: usize) -> Step {
    let bytes: usize = answers.iter().map(|answer| answer.records.len()).sum();
    if bytes >= bytes_min || answers.iter().any(Answer::is_urgent) {
        return Step::Respond;
    }
    match answers.iter().any(|answer| answer.is_starved) {
        true if bytes > 0 => Step::Respond,
        true => Step::Room,
        false => Step::More,
    }
}

/// The place of a client in the order of those who found no room. It keeps that, however often it
/// asks, until it has got something.
fn place(context: &Context, answers: &[Answer]) -> Option<Place> {
    let place = &context.peer.place;
    if answers.iter().any(|answer| !answer.records.is_empty()) {
        place.set(None);
    } else if place.get().is_none() && answers.iter().any(|answer| answer.is_starved) {
        place.set(Some(context.shard.shared.net.draw_place()));
    }
    place.get()
}

/// Waits until there is room for an answer; `None` once the reader's time is over or the node stops.
async fn room<'a>(context: &'a Context, wait: &Wait, place: Place) -> Option<Turn<'a>> {
    let client_reads = context.peer.reads.get();
    let mut room = std::pin::pin!(context.shard.shared.net.answer_room(client_reads, place));
    loop {
        tokio::select! {
            turn = &mut room => return Some(turn),
            () = tokio::time::sleep_until(wait.until) => return None,
            // Records come in, too: they wait with the rest.
            () = wait.notify.notified() => if context.shard.is_draining() { return None },
        }
    }
}

/// The answers for all targets, in their order.
async fn read_all(
    context: &Context,
    open: &OpenFetch,
    (bounds, turn): (&Bounds, Option<Turn<'_>>),
    is_noted: &mut bool,
) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = open.targets.iter().map(|_| None).collect();
    let mut asks = Vec::with_capacity(open.targets.len());
    for (at, target) in open.targets.iter().enumerate() {
        let by_followers = bounds.followers.serve(target.want.current_leader_epoch);
        match locate(&context.shard, &target.key, by_followers) {
            Ok(partition) => asks.push(Ask {
                at,
                partition,
                offset: target.want.fetch_offset,
                bytes_max: usize::try_from(target.want.partition_max_bytes).unwrap_or(0),
                current_leader_epoch: target.want.current_leader_epoch,
                last_fetched_epoch: target.want.last_fetched_epoch,
                known: target.want.known(),
                is_noted: *is_noted,
            }),
            Err(code) => answers[at] = Some(Answer::refused(code)),
        }
    }
    *is_noted = true;
    for (at, answer) in read::gather(context, asks, bounds, turn).await {
        answers[at] = Some(answer);
    }
    answers.into_iter().map(|one| one.expect("every ask is answered")).collect()
}

fn locate(shard: &Shard, key: &PartitionKey, by_followers: bool) -> Result<PartitionId, ErrorCode> {
    let topic = resolve::topic(&shard.image(), named(&key.topic))?;
    match by_followers {
        true => resolve::kept_here(shard, &topic, key.partition),
        false => resolve::led_here(shard, &topic, key.partition),
    }
}

fn named(topic: &TopicKey) -> TopicRef<'_> {
    match topic {
        TopicKey::Id(id) => TopicRef::Id(*id),
        TopicKey::Name(name) => TopicRef::Name(name),
    }
}

fn respond(context: &Context, open: &OpenFetch, answers: Vec<Answer>) -> Response {
    let mut sessions = context.shard.sessions.borrow_mut();
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut pieces = Vec::new();
    let mut places: BTreeMap<&TopicKey, usize> = BTreeMap::new();
    let mut hints = LeaderHints::new(context);
    for (target, answer) in open.targets.iter().zip(answers) {
        let answered = Answered {
            error: answer.error,
            high_watermark: answer.high_watermark,
            log_start: answer.log_start,
            has_data: answer.has_data(),
        };
        if !sessions.answer(open, &target.key, answered) {
            continue;
        }
        let at = *places.entry(&target.key.topic).or_insert_with(|| {
            responses.push(topic_response(&target.key.topic));
            responses.len() - 1
        });
        if let Some(copied) = answer.copied {
            context.shard.shared.throttles.record(Way::Out, copied, answer.records.len());
            context.shard.metrics.replication.count(Way::Out, copied, answer.records.len());
        }
        let index = target.key.partition;
        let error = answer.error;
        let mut data = partition_data(index, answer, &mut pieces);
        if context.version >= HINTS_SINCE
            && let Some((leader, epoch)) = hints.name(error, named(&target.key.topic), index)
        {
            data.current_leader = LeaderIdAndEpoch {
                leader_id: leader.0,
                leader_epoch: epoch.0,
                ..Default::default()
            };
        }
        responses[at].partitions.push(data);
    }
    let node_endpoints = hints.nodes().map(|(broker, endpoint)| NodeEndpoint {
        node_id: broker.id.0,
        host: endpoint.host.clone(),
        port: i32::from(endpoint.port),
        rack: broker.rack.clone(),
        ..Default::default()
    });
    let response = FetchResponse {
        session_id: open.session_id,
        responses,
        node_endpoints: node_endpoints.collect(),
        ..Default::default()
    };
    let encoded = context.encode(&response);
    encoded.map_or_else(Response::close, |encoded| Response::new(read::put_in(encoded, pieces)))
}

fn topic_response(topic: &TopicKey) -> FetchableTopicResponse {
    match topic {
        TopicKey::Id(topic_id) => {
            FetchableTopicResponse { topic_id: *topic_id, ..Default::default() }
        }
        TopicKey::Name(name) => {
            FetchableTopicResponse { topic: name.to_string(), ..Default::default() }
        }
    }
}

/// What a partition answers; records in pieces go to `pieces`, in order.
fn partition_data(
    partition_index: i32,
    answer: Answer,
    pieces: &mut Vec<Vec<Bytes>>,
) -> PartitionData {
    let wire = |offset: Option<Offset>| offset.map_or(-1, Offset::get);
    let aborted = answer.aborted.into_iter().map(|txn| AbortedTransaction {
        producer_id: txn.producer.0,
        first_offset: txn.first_offset.get(),
        ..Default::default()
    });
    let diverging = answer.diverging.map(|(epoch, end)| EpochEndOffset {
        epoch: epoch.0,
        end_offset: end.get(),
        ..Default::default()
    });
    PartitionData {
        partition_index,
        error_code: answer.error.to_wire(),
        high_watermark: wire(answer.high_watermark),
        last_stable_offset: wire(answer.last_stable),
        log_start_offset: wire(answer.log_start),
        diverging_epoch: diverging.unwrap_or_default(),
        aborted_transactions: Some(aborted.collect()),
        preferred_read_replica: answer.preferred.map_or(-1, |broker| broker.0),
        records: Some(answer.records.stand_in(pieces)),
        ..Default::default()
    }
}
