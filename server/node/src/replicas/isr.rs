//! Changes of who is in sync: found by the leaders of a shard, asked of the controller.
//!
//! One task sends them, in batches and one request at a time, so that they reach the controller in
//! their order; a repeated one goes the way of the former.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use protocol::ApiKey;
use protocol::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, BrokerState, PartitionData, TopicData,
};
use replication::{AlterAnswer, AlterPartition};
use tokio::sync::Notify;
use types::{BrokerId, ErrorCode, LeaderEpoch, Uuid};

use crate::metrics::IsrChange;
use crate::peers::LinkOptions;
use crate::shard::{PartitionId, Shard, SharedPartition};
use crate::to_controller::{ToController, Unanswered};

/// How often a shard looks who has fallen behind, at least; it is half of the time allowed, where
/// that is shorter.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the controller may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer of the controller.
const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// The first version that tells the incarnations of those in sync (KIP-903).
const EPOCHS_SINCE: i16 = 3;

/// Changes that are still to be sent.
#[derive(Default)]
pub(super) struct Alterations {
    queue: RefCell<Vec<(PartitionId, AlterPartition)>>,
    wake: Notify,
}

impl Shard {
    /// Looks who is in sync with a partition that is led here, and asks for what has to change.
    pub fn poll_isr(&self, partition: &SharedPartition) {
        let lag_max = self.shared.config.replication.lag_ms_max;
        let image = self.image();
        let eligible = |id| image.broker(id).filter(|one| one.is_active()).map(|one| one.epoch);
        let alter = partition.borrow_mut().poll_isr(lag_max, eligible);
        if let Some(alter) = alter {
            let alterations = &self.replicas.alterations;
            alterations.queue.borrow_mut().push((partition.borrow().id(), alter));
            alterations.wake.notify_one();
        }
    }
}

/// Looks after the ISRs of a shard until it ends.
pub async fn run(shard: Rc<Shard>) {
    tokio::task::spawn_local(send_all(Rc::clone(&shard)));
    let half = shard.shared.config.replication.lag_ms_max.get() / 2;
    let every = Duration::from_millis(u64::try_from(half).unwrap_or(0).max(1)).min(LOOK_EVERY);
    loop {
        tokio::time::sleep(every).await;
        for partition in shard.partitions() {
            if partition.borrow().is_replicated() && partition.borrow().leads() {
                shard.poll_isr(&partition);
            }
        }
    }
}

async fn send_all(shard: Rc<Shard>) {
    let shared = &shard.shared;
    let options = LinkOptions {
        client_id: format!("{}-in-sync", shared.config.node_id),
        request_timeout: REQUEST_TIMEOUT,
        response_bytes_max: RESPONSE_BYTES_MAX,
    };
    let (active, peers) = (shared.controller.active(), shared.peers.clone());
    let controller = ToController::new(&shared.config, active, peers, options);
    loop {
        let sent = std::mem::take(&mut *shard.replicas.alterations.queue.borrow_mut());
        if sent.is_empty() {
            shard.replicas.alterations.wake.notified().await;
            continue;
        }
        // Told apart now: by the answer's time the metadata may show the change already.
        let shrinks: Vec<bool> =
            sent.iter().map(|(id, alter)| is_shrink(&shard, *id, alter)).collect();
        let answered = ask(&shard, &controller, &sent).await;
        let mut answers = match answered {
            Ok(answer) => Answers::read(answer),
            Err(why) => {
                tracing::warn!("cannot ask for who is in sync: {why}");
                Answers { all: None, each: BTreeMap::new() }
            }
        };
        for ((id, alter), is_shrink) in sent.into_iter().zip(shrinks) {
            // What is not mentioned counts as lost: it is asked for again.
            let each = answers.each.remove(&(id.topic, id.index));
            let answer = answers.all.clone().or(each).unwrap_or(AlterAnswer::Lost);
            count(&shard, is_shrink, &answer);
            if let Some(partition) = shard.partition(id) {
                partition.borrow_mut().altered(&alter, &answer);
            }
        }
    }
}

/// Whether a change that is to be asked for leaves fewer in sync.
fn is_shrink(shard: &Shard, id: PartitionId, alter: &AlterPartition) -> bool {
    let in_sync = shard.partition(id).map(|partition| partition.borrow().state().isr.len());
    // The leader itself is not named.
    in_sync.is_some_and(|in_sync| alter.followers.len() + 1 < in_sync)
}

/// Counts what became of a change.
fn count(shard: &Shard, is_shrink: bool, answer: &AlterAnswer) {
    let change = match answer {
        AlterAnswer::Altered { .. } if is_shrink => IsrChange::Shrink,
        AlterAnswer::Altered { .. } => IsrChange::Expand,
        AlterAnswer::Refused(_) => IsrChange::Refused,
        // It is asked for again.
        AlterAnswer::Lost => return,
    };
    shard.metrics.replication.count_isr(change);
}

/// What the controller has said.
struct Answers {
    /// Of the whole request, if that failed.
    all: Option<AlterAnswer>,
    each: BTreeMap<(Uuid, i32), AlterAnswer>,
}

impl Answers {
    fn read(answer: AlterPartitionResponse) -> Self {
        let code = ErrorCode::from_wire(answer.error_code);
        let all = (!code.is_none()).then_some(AlterAnswer::Refused(code));
        let mut each = BTreeMap::new();
        for topic in answer.topics {
            for data in topic.partitions {
                let code = ErrorCode::from_wire(data.error_code);
                let told = if code.is_none() {
                    AlterAnswer::Altered {
                        leader_epoch: LeaderEpoch(data.leader_epoch),
                        partition_epoch: data.partition_epoch,
                        isr: data.isr.into_iter().map(BrokerId).collect(),
                    }
                } else {
                    AlterAnswer::Refused(code)
                };
                each.insert((topic.topic_id, data.partition_index), told);
            }
        }
        Self { all, each }
    }
}

async fn ask(
    shard: &Shard,
    controller: &ToController,
    sent: &[(PartitionId, AlterPartition)],
) -> Result<AlterPartitionResponse, Unanswered> {
    let shared = &shard.shared;
    let own = shared.config.node_id;
    let request = AlterPartitionRequest {
        broker_id: own.0,
        broker_epoch: shared.membership.epoch(),
        topics: topics(own, shared.membership.epoch(), sent),
        ..Default::default()
    };
    let here = |request: AlterPartitionRequest| {
        let version = *ApiKey::AlterPartition.versions().end();
        shared.controller.decide(move |image, context| {
            ::metadata::controller::alter_partition(image, &request, version, context)
        })
    };
    let fitted = move |version| if version >= EPOCHS_SINCE { request } else { by_id(request) };
    controller.ask(ApiKey::AlterPartition, fitted, here).await
}

fn topics(own: BrokerId, own_epoch: i64, sent: &[(PartitionId, AlterPartition)]) -> Vec<TopicData> {
    let mut topics: BTreeMap<Uuid, Vec<PartitionData>> = BTreeMap::new();
    for (id, alter) in sent {
        let own = (own, own_epoch);
        let in_sync = std::iter::once(own).chain(alter.followers.iter().copied());
        let in_sync = in_sync.map(|(id, broker_epoch)| BrokerState {
            broker_id: id.0,
            broker_epoch,
            ..Default::default()
        });
        topics.entry(id.topic).or_default().push(PartitionData {
            partition_index: id.index,
            leader_epoch: alter.leader_epoch.0,
            new_isr_with_epochs: in_sync.collect(),
            partition_epoch: alter.partition_epoch,
            ..Default::default()
        });
    }
    let topic = |(topic_id, partitions)| TopicData { topic_id, partitions, ..Default::default() };
    topics.into_iter().map(topic).collect()
}

/// The request as controllers know it that do not ask for incarnations.
fn by_id(mut request: AlterPartitionRequest) -> AlterPartitionRequest {
    for data in request.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        let in_sync = std::mem::take(&mut data.new_isr_with_epochs);
        data.new_isr = in_sync.into_iter().map(|one| one.broker_id).collect();
    }
    request
}
