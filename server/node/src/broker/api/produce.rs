//! Produce: batches go to the shards that own their partitions, in the order they arrived.
//!
//! Appending happens within the call that serves the frame (or by posting to another shard, whose
//! mailbox keeps the order), so pipelined requests of one connection append in their order. Only
//! the waiting for the commit is left to the future.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use log::{AppendOrigin, Received};
use net::{Response, Served};
use protocol::View;
use protocol::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    ProduceResponse, TopicProduceResponse,
};
use protocol::views::produce::ProduceRequestView;
use protocol::wire::Reader;
use records::{BatchHeader, Compression};
use tokio::sync::oneshot;
use tokio::time::Instant;
use types::{ErrorCode, Uuid};

use crate::broker::Context;
use crate::broker::hand_over::Batch;
use crate::broker::leader_hints::LeaderHints;
use crate::broker::resolve::{self, TopicRef};
use crate::clock;
use crate::shard::{AppendRefused, AppendReply, PartitionId, Shard};

/// The first version whose clients know zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;
/// The first version whose clients take the new leader from a refusal (KIP-951).
const HINTS_SINCE: i16 = 10;
/// `acks` of a producer that waits for every replica in sync.
const ALL: i16 = -1;
/// A shorter timeout counts as this: it is meant for waiting on other replicas, which Kafka with
/// one replica never does, while an acknowledgement here always waits for the disk.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Where one partition's batches lie in the request and where they have to go.
struct Part {
    topic: usize,
    index: i32,
    target: Result<PartitionId, ErrorCode>,
    /// Position of the batches in the body, `None` for a null field.
    records: Option<(usize, usize)>,
}

/// One partition of the request with its answer, there or on its way.
struct Pending {
    topic: usize,
    index: i32,
    answer: Answer,
}

enum Answer {
    Ready(AppendReply),
    Coming(oneshot::Receiver<AppendReply>),
}

/// What the producer wants to hear, and for how long it waits.
struct Terms {
    acks: i16,
    timeout: Duration,
}

/// Name and id of a topic, as the response repeats them.
type TopicNames = Vec<(String, Uuid)>;

/// Serves one request.
pub fn serve(context: Context, body: BytesMut) -> Served {
    let (Terms { acks, timeout }, topics, parts) = match read(&context, &body) {
        Ok(request) => request,
        Err(reason) => return Served::Close(reason.into()),
    };
    if !matches!(acks, -1..=1) {
        return Served::Now(respond(&context, topics, refuse_all(parts)));
    }
    let pending = append_all(&context, parts, body, (acks, context.version));
    let until = Instant::now() + timeout;
    let future = Box::pin(async move {
        let mut answers = Vec::with_capacity(pending.len());
        for Pending { topic, index, answer } in pending {
            let reply = match answer {
                Answer::Ready(reply) => reply,
                Answer::Coming(answer) => in_time(answer, until).await,
            };
            answers.push((topic, index, reply));
        }
        if acks != 0 {
            return respond(&context, topics, answers);
        }
        // Nothing is sent. A refusal closes the connection, so that the producer looks anew.
        match answers.iter().any(|(_, _, reply)| reply.is_err()) {
            true => Response::close(),
            false => Response::default(),
        }
    });
    Served::Later { future, pipelined: true, until: Some(until) }
}

/// The answer of a partition, or that it took too long. The connection polls once more when the
/// time is up.
async fn in_time(mut answer: oneshot::Receiver<AppendReply>, until: Instant) -> AppendReply {
    poll_fn(|cx| match Pin::new(&mut answer).poll(cx) {
        Poll::Ready(answer) => Poll::Ready(answer.unwrap_or_else(|_| Err(gone()))),
        Poll::Pending if Instant::now() >= until => {
            Poll::Ready(Err(refused(ErrorCode::RequestTimedOut)))
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Reads the request and finds out where each part has to go.
fn read(context: &Context, body: &[u8]) -> Result<(Terms, TopicNames, Vec<Part>), String> {
    let request = ProduceRequestView::decode(&mut Reader::over(body), context.version)
        .map_err(|error| format!("Produce: {error}"))?;
    let image = context.shard.image();
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut parts = Vec::new();
    for data in &request.topic_data {
        let named = TopicRef::from_wire(data.name, data.topic_id, context.version >= 13);
        let topic = resolve::topic(&image, named).and_then(|topic| {
            // The coordinators write these; a client's record would stand in their state.
            match config::is_internal(&topic.name) {
                true => Err(ErrorCode::InvalidTopicException),
                false => Ok(topic),
            }
        });
        for partition in &data.partition_data {
            let target = topic
                .clone()
                .and_then(|topic| resolve::led_here(&context.shard, &topic, partition.index));
            let records = partition.records.map(|records| {
                let start = records.as_ptr() as usize - body.as_ptr() as usize;
                (start, records.len())
            });
            parts.push(Part { topic: topics.len(), index: partition.index, target, records });
        }
        topics.push((data.name.to_owned(), data.topic_id));
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    Ok((Terms { acks: request.acks, timeout: timeout.max(TIMEOUT_MIN) }, topics, parts))
}

/// Appends every part, cutting its batches out of the body without a copy.
fn append_all(
    context: &Context,
    parts: Vec<Part>,
    mut body: BytesMut,
    (acks, version): (i16, i16),
) -> Vec<Pending> {
    // A slice keeps the whole frame in memory, or the chunk that small frames share.
    let memory_bytes = body.len().max(net::CHUNK_BYTES_MAX);
    let mut consumed = 0;
    let mut pending = Vec::with_capacity(parts.len());
    for Part { topic, index, target, records } in parts {
        let answer = match (target, records) {
            (Err(code), _) => Answer::Ready(Err(refused(code))),
            (Ok(_), None) => Answer::Ready(Err(refused(ErrorCode::InvalidRecord))),
            (Ok(target), Some((start, bytes))) => {
                body.advance(start - consumed);
                let batches = body.split_to(bytes);
                consumed = start + bytes;
                match check(&batches, version) {
                    Err(refusal) => Answer::Ready(Err(refusal)),
                    Ok(()) => append(context, target, Received { batches, memory_bytes }, acks),
                }
            }
        };
        pending.push(Pending { topic, index, answer });
    }
    pending
}

/// Checks what the log does not: that there is one batch, as since version 3, which the version
/// allows and a producer may write. What is no batch is left for the log to name.
fn check(batches: &[u8], version: i16) -> Result<(), AppendRefused> {
    let Ok(header) = BatchHeader::parse(batches) else { return Ok(()) };
    let (code, reason) = if header.batch_bytes() < batches.len() {
        (ErrorCode::InvalidRecord, "more than one batch for a partition")
    } else if header.attributes.is_transactional() {
        // Nobody could ever end it, and readers of committed records would wait for that.
        (
            ErrorCode::InvalidTxnState,
            "no transaction is open: this node has no coordinator for them",
        )
    } else if version < ZSTD_SINCE && header.attributes.compression() == Ok(Compression::Zstd) {
        (ErrorCode::UnsupportedCompressionType, "zstd needs Produce version 7")
    } else {
        return Ok(());
    };
    Err(AppendRefused { message: Some(reason.to_owned()), ..refused(code) })
}

/// Appends to one partition, here or on the shard that owns it.
fn append(context: &Context, target: PartitionId, received: Received, acks: i16) -> Answer {
    let Context { shard, peer, .. } = context;
    let owner = shard.owner_of(target);
    let (reply, answer) = shard.reply_from(owner);
    let batch = Batch { received, acks, reply };
    let work = move |shard: &Rc<Shard>| {
        if let Some(batch) = shard.hand_over.hold(target, batch) {
            append_here(shard, target, batch);
        }
    };
    if owner == shard.index {
        peer.served_at_home();
        shard.when_open(target, work);
    } else if shard.shared.mailboxes.post(owner, move |shard| shard.when_open(target, work)) {
        peer.woke(owner);
    }
    Answer::Coming(answer)
}

/// Appends to a partition of this shard, whose log is open.
pub fn append_here(shard: &Rc<Shard>, target: PartitionId, batch: Batch) {
    let Batch { received, acks, reply } = batch;
    let partition = match shard.served_partition(target) {
        Ok(partition) => partition,
        Err(code) => {
            reply.send(Err(refused(code)));
            return;
        }
    };
    if acks == ALL
        && let Err(code) = partition.borrow().check_min_isr()
    {
        reply.send(Err(refused(code)));
        return;
    }
    let bytes = received.batches.len() as u64;
    let appended = partition.borrow_mut().append(received, AppendOrigin::Client, clock::latest());
    match appended {
        Ok(appended) => {
            shard.metrics.count_produced(&partition.borrow(), appended, bytes);
            match acks {
                0 => reply.send(Ok(appended)),
                ALL => partition.borrow_mut().park(appended, reply),
                _ => partition.borrow_mut().park_here(appended, reply),
            }
            shard.commits.push(&partition);
        }
        Err(refusal) => {
            shard.metrics.count_refused_produce(&partition.borrow());
            reply.send(Err(refusal));
        }
    }
}

fn refuse_all(parts: Vec<Part>) -> Vec<(usize, i32, AppendReply)> {
    let code = ErrorCode::InvalidRequiredAcks;
    parts.into_iter().map(|part| (part.topic, part.index, Err(refused(code)))).collect()
}

fn refused(code: ErrorCode) -> AppendRefused {
    AppendRefused::plain(code)
}

fn gone() -> AppendRefused {
    refused(ErrorCode::NotLeaderOrFollower)
}

fn respond(
    context: &Context,
    topics: TopicNames,
    answers: Vec<(usize, i32, AppendReply)>,
) -> Response {
    let mut responses: Vec<_> = topics
        .into_iter()
        .map(|(name, topic_id)| TopicProduceResponse { name, topic_id, ..Default::default() })
        .collect();
    let mut hints = LeaderHints::new(context);
    for (topic, index, reply) in answers {
        let topic = &mut responses[topic];
        let mut response = partition_response(index, reply);
        if context.version >= HINTS_SINCE {
            let named = TopicRef::from_wire(&topic.name, topic.topic_id, context.version >= 13);
            let code = ErrorCode::from_wire(response.error_code);
            if let Some((leader, epoch)) = hints.name(code, named, index) {
                response.current_leader = LeaderIdAndEpoch {
                    leader_id: leader.0,
                    leader_epoch: epoch.0,
                    ..Default::default()
                };
            }
        }
        topic.partition_responses.push(response);
    }
    let node_endpoints = hints.nodes().map(|(broker, endpoint)| NodeEndpoint {
        node_id: broker.id.0,
        host: endpoint.host.clone(),
        port: i32::from(endpoint.port),
        rack: broker.rack.clone(),
        ..Default::default()
    });
    let node_endpoints = node_endpoints.collect();
    context.respond(&ProduceResponse { responses, node_endpoints, ..Default::default() })
}

fn partition_response(index: i32, reply: AppendReply) -> PartitionProduceResponse {
    match reply {
        Ok(appended) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset.get(),
            log_append_time_ms: appended.log_append_time.map_or(-1, |time| time.get()),
            log_start_offset: appended.log_start.get(),
            ..Default::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index,
            error_code: refusal.code.to_wire(),
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            error_message: refusal.message,
            record_errors: refusal
                .records
                .into_iter()
                .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                    batch_index,
                    batch_index_error_message: Some(message),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        },
    }
}
