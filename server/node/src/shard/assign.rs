//! Telling the cluster in which log directory each partition lies (KIP-858).
//!
//! The controller leaves it to a broker with several directories where a new replica goes, and must
//! know it to tell which partitions fail with a directory. So it is told until it has heard.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ::metadata::controller::assign_replicas_to_dirs;
use protocol::ApiKey;
use protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, DirectoryData, PartitionData,
    TopicData,
};
use rustc_hash::FxHashMap;
use types::{ErrorCode, Uuid};

use super::Shard;
use super::partition::PartitionId;
use crate::shared::Shared;

/// How long the controller is left alone after an attempt that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Partitions of one decision, as in Kafka.
const PARTITIONS_MAX: usize = 2250;
/// From this `metadata.version` on (3.7-IV2), the cluster knows of directories.
const DIRECTORIES_SINCE: i16 = 17;

/// A partition and the id of the directory that it lies in.
pub type Assigned = (PartitionId, Uuid);

/// What the cluster is still to be told: the newest word on each partition.
#[derive(Default)]
pub struct Untold {
    directories: FxHashMap<PartitionId, Uuid>,
    is_telling: bool,
}

impl Untold {
    fn note(&mut self, (id, directory): Assigned) {
        self.directories.insert(id, directory);
    }

    /// What one request is to tell.
    fn take(&mut self) -> Vec<Assigned> {
        let mut taken = Vec::new();
        self.directories.retain(|id, directory| {
            let is_left = taken.len() == PARTITIONS_MAX;
            if !is_left {
                taken.push((*id, *directory));
            }
            is_left
        });
        taken
    }

    /// A request was not heard. What was noted since is newer.
    fn put_back(&mut self, untold: Vec<Assigned>) {
        for (id, directory) in untold {
            self.directories.entry(id).or_insert(directory);
        }
    }
}

impl Shard {
    /// Notes where a partition lies of which the cluster says otherwise, or nothing.
    pub(super) fn note_assigned(&self, assigned: Assigned) {
        self.assigned.borrow_mut().note(assigned);
    }

    /// Tells the cluster what was noted, however often that takes.
    pub(super) fn tell_assigned(self: &Rc<Self>) {
        let mut untold = self.assigned.borrow_mut();
        if untold.directories.is_empty() || std::mem::replace(&mut untold.is_telling, true) {
            return;
        }
        drop(untold);
        let shard = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let mut said = None;
            loop {
                let told = shard.assigned.borrow_mut().take();
                // A cluster of an older metadata.version knows of no directories, and refuses to hear.
                if told.is_empty() || shard.image().metadata_version() < DIRECTORIES_SINCE {
                    *shard.assigned.borrow_mut() = Untold::default();
                    return;
                }
                match assign(&shard.shared, &told).await {
                    Ok(()) => said = None,
                    Err(why) => {
                        if said.as_ref() != Some(&why) {
                            tracing::warn!("the cluster does not know where logs lie: {why}");
                            said = Some(why);
                        }
                        shard.assigned.borrow_mut().put_back(told);
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
    }
}

/// Has the controller write down where partitions lie; why it has not heard.
async fn assign(shared: &Shared, assigned: &[Assigned]) -> Result<(), String> {
    let broker_epoch = shared.membership.epoch();
    if broker_epoch < 0 {
        return Err("this broker is not registered yet".to_owned());
    }
    let request = AssignReplicasToDirsRequest {
        broker_id: shared.config.node_id.0,
        broker_epoch,
        directories: by_directory(assigned),
        ..Default::default()
    };
    let here = |request: AssignReplicasToDirsRequest| {
        shared
            .controller
            .decide(move |image, context| assign_replicas_to_dirs(image, &request, context))
    };
    let api = ApiKey::AssignReplicasToDirs;
    let asked = shared.to_controller.ask(api, move |_| request, here).await;
    let response: AssignReplicasToDirsResponse = asked.map_err(|fault| fault.to_string())?;
    match ErrorCode::from_wire(response.error_code) {
        ErrorCode::None => Ok(()),
        code => Err(code.to_string()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(index: i32) -> PartitionId {
        PartitionId { topic: Uuid::from_bytes([7; 16]), index }
    }

    fn directory(number: u8) -> Uuid {
        Uuid::from_bytes([number; 16])
    }

    #[test]
    fn what_was_not_heard_is_told_again_unless_there_is_a_newer_word() {
        let mut untold = Untold::default();
        (0..3).for_each(|index| untold.note((partition(index), directory(1))));
        let mut told = untold.take();
        assert_eq!((told.len(), untold.take()), (3, vec![]));
        untold.note((partition(1), directory(2)));
        untold.put_back(told);
        told = untold.take();
        told.sort_by_key(|(id, _)| id.index);
        let expected = [(0, 1), (1, 2), (2, 1)];
        assert_eq!(told, expected.map(|(index, at)| (partition(index), directory(at))));
    }

    #[test]
    fn one_request_tells_of_so_many_partitions_and_the_next_of_the_rest() {
        let mut untold = Untold::default();
        let all = i32::try_from(PARTITIONS_MAX).unwrap() + 5;
        (0..all).for_each(|index| untold.note((partition(index), directory(1))));
        assert_eq!((untold.take().len(), untold.take().len()), (PARTITIONS_MAX, 5));
    }
}
