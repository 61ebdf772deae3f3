//! What the controller decides: a request and the image go in, records and the response come out.
//!
//! Every decision is a pure function. The driver appends [`Decision::records`], all or none, sends the
//! response once they are committed, and lets the loader apply the records like any others; a
//! decision that is never committed has changed nothing. Per-item errors are inside the response,
//! with Kafka's codes.
//!
//! Not here: who may ask (the caller leaves out what the principal may not touch), clocks and timers
//! (the driver's).

mod alter_partition;
mod assignment;
mod auto_create;
mod bootstrap;
mod configs;
mod delete_topics;
mod directories;
mod election_rules;
mod elections;
mod features;
mod fencing;
mod heartbeat;
mod partition_change;
mod partitions;
mod placement;
mod producer_ids;
mod reassignment;
mod recovery;
mod registration;
mod sessions;
mod suspicion;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use config::{BrokerLayers, StaticConfig};
use types::{BrokerId, ErrorCode, Rng};

pub use alter_partition::alter_partition;
pub use auto_create::auto_create_request;
pub use bootstrap::{
    bootstrap_records, corrected_levels, formatted_records, mistaken_group_version,
};
pub use configs::{alter_configs, incremental_alter_configs};
pub use delete_topics::delete_topics;
pub use directories::assign_replicas_to_dirs;
pub use elections::{
    ELECTIONS_PER_CHECK, elect_leaders, elect_preferred_leaders, elect_unclean_leaders,
};
pub use features::{FeatureUpdate, update_features};
pub use fencing::{fence_broker, unregister_broker};
pub use heartbeat::{HeartbeatFacts, heartbeat, leads_any};
pub use partitions::create_partitions;
pub use producer_ids::{PRODUCER_ID_BLOCK, allocate_producer_ids};
pub use reassignment::alter_partition_reassignments;
pub use recovery::end_recovery;
pub use registration::{RegistrationFacts, register_broker, register_controller};
pub use sessions::{BrokerSessions, Probed};
pub use topics::create_topics;

use crate::image::{Broker, ConfigResource, Image, ResourceType};
use crate::record::MetadataRecord;

/// Most partitions that one request may create, as Kafka bounds the records of a batch.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Bytes of what a refusal tells: messages repeat names and values, and an answer whose text is
/// longer than the wire has room for would be lost.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The key that says how many replicas must have a record before `acks=all` is answered.
const MIN_ISR: &str = "min.insync.replicas";

/// Records to append and what to answer when they are committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R> {
    /// To be appended as [`batches`](crate::batches) cuts them; none where nothing changes.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub response: R,
}

impl<R> Decision<R> {
    /// An answer that changes nothing.
    fn unchanged(response: R) -> Self {
        Self { records: Vec::new(), response }
    }
}

/// What a decision may use besides the image and the request.
pub struct Context<'a> {
    /// Draws ids and places replicas.
    pub rng: &'a mut Rng,
    /// What the controller's node was started with.
    pub fixed: &'a StaticConfig,
    /// The controller's node; its dynamic settings are the ones that count.
    pub node: BrokerId,
}

impl Context<'_> {
    /// The layers of settings below a topic's own ones.
    fn layers<'a>(&'a self, image: &'a Image) -> BrokerLayers<'a> {
        let own = ConfigResource::new(ResourceType::Broker, self.node.to_string());
        BrokerLayers {
            fixed: self.fixed,
            cluster: image.settings(&ConfigResource::cluster()),
            broker: image.settings(&own),
        }
    }

    /// A number that cannot change while the node runs and is at least 1.
    fn start_count(&self, name: &str) -> usize {
        usize::try_from(BrokerLayers::at_start(self.fixed).int(name)).unwrap_or(0)
    }
}

/// Why one item of a request is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Refusal {
    code: ErrorCode,
    message: String,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self { code, message }
    }
}

/// The INT16 and the text of a result.
fn wire_result(result: &Result<(), Refusal>) -> (i16, Option<String>) {
    match result {
        Ok(()) => (ErrorCode::None.to_wire(), None),
        Err(refusal) => (refusal.code.to_wire(), Some(refusal.message.clone())),
    }
}

/// The values that occur more than once, and each other value in its order.
fn split_duplicates<T: Ord + Clone>(items: impl Iterator<Item = T>) -> (BTreeSet<T>, Vec<T>) {
    let mut counts = BTreeMap::new();
    let mut order = Vec::new();
    for item in items {
        let count = counts.entry(item.clone()).or_insert(0u32);
        *count += 1;
        if *count == 1 {
            order.push(item);
        }
    }
    order.retain(|item| counts[item] == 1);
    let twice = counts.into_iter().filter(|(_, count)| *count > 1).map(|(item, _)| item);
    (twice.collect(), order)
}

/// The broker that sends a request, if it is the run that is registered.
fn registered(image: &Image, id: i32, epoch: i64) -> Result<&Broker, Refusal> {
    let refuse = |message| Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message));
    match image.broker(BrokerId(id)) {
        None => refuse(format!("broker {id} is not registered")),
        Some(broker) if broker.epoch != epoch => {
            refuse(format!("broker {id} has epoch {}, request says {epoch}", broker.epoch))
        }
        Some(broker) => Ok(broker),
    }
}
