//! Telling the cluster in which log directory each partition lies (KIP-858).
//!
//! The controller leaves it to a broker with several directories where a new replica goes, and must
//! know it to tell which partitions fail with a directory.

use std::collections::BTreeMap;
use std::rc::Rc;

use ::metadata::Image;
use ::metadata::controller::{Context, Decision, assign_replicas_to_dirs};
use protocol::ApiKey;
use protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, DirectoryData, PartitionData,
    TopicData,
};
use types::{ErrorCode, Uuid};

use super::Shard;
use super::partition::PartitionId;
use crate::shared::Shared;

/// Partitions of one decision, as in Kafka.
const PARTITIONS_MAX: usize = 2250;
/// From this `metadata.version` on (3.7-IV2), the cluster knows of directories.
const DIRECTORIES_SINCE: i16 = 17;

/// A partition and the id of the directory that it lies in.
pub type Assigned = (PartitionId, Uuid);

impl Shard {
    /// Notes where a partition lies of which the cluster says otherwise, or nothing.
    pub(super) fn note_assigned(&self, assigned: Assigned) {
        self.assigned.borrow_mut().push(assigned);
    }

    /// Tells the cluster what was noted.
    pub(super) fn tell_assigned(self: &Rc<Self>) {
        let assigned = std::mem::take(&mut *self.assigned.borrow_mut());
        if assigned.is_empty() {
            return;
        }
        let shard = Rc::clone(self);
        tokio::task::spawn_local(async move {
            for assigned in assigned.chunks(PARTITIONS_MAX) {
                assign(&shard.shared, assigned).await;
            }
        });
    }
}

/// Has the controller write down where partitions lie.
pub(super) async fn assign(shared: &Shared, assigned: &[Assigned]) {
    let request = AssignReplicasToDirsRequest {
        broker_id: shared.config.node_id.0,
        broker_epoch: shared.membership.epoch(),
        directories: by_directory(assigned),
        ..Default::default()
    };
    let here = |request: AssignReplicasToDirsRequest| {
        shared.controller.decide(move |image, context| decide(image, &request, context))
    };
    let api = ApiKey::AssignReplicasToDirs;
    let asked = shared.to_controller.ask(api, move |_| request, here).await;
    match asked.map(|response: AssignReplicasToDirsResponse| response.error_code) {
        Ok(code @ 1..) => {
            let code = ErrorCode::from_wire(code);
            tracing::warn!("the cluster does not take note of where logs lie: {code}");
        }
        Ok(_) => {}
        Err(fault) => tracing::warn!("the cluster does not know where logs lie: {fault}"),
    }
}

fn decide(
    image: &Image,
    request: &AssignReplicasToDirsRequest,
    context: &Context<'_>,
) -> Decision<AssignReplicasToDirsResponse> {
    if image.metadata_version() < DIRECTORIES_SINCE {
        return Decision { records: vec![], response: AssignReplicasToDirsResponse::default() };
    }
    assign_replicas_to_dirs(image, request, context)
}

fn by_directory(assigned: &[Assigned]) -> Vec<DirectoryData> {
    let mut all: BTreeMap<Uuid, BTreeMap<Uuid, Vec<PartitionData>>> = BTreeMap::new();
    for (PartitionId { topic, index }, directory) in assigned {
        let partition = PartitionData { partition_index: *index, ..Default::default() };
        all.entry(*directory).or_default().entry(*topic).or_default().push(partition);
    }
    let directories = all.into_iter().map(|(id, topics)| {
        let topics = topics.into_iter().map(|(topic_id, partitions)| TopicData {
            topic_id,
            partitions,
            ..Default::default()
        });
        DirectoryData { id, topics: topics.collect(), ..Default::default() }
    });
    directories.collect()
}
