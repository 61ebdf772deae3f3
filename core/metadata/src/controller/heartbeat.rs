//! BrokerHeartbeat: a broker is let in, kept out, or led away in good order, and tells which of its
//! directories work.
//!
//! A broker is let in once it has read the metadata up to its own registration. In a controlled
//! shutdown it leads on until others have taken over and all have read of it.
//!
//! Not here: who was heard of when (`sessions`), what follows for partitions (`fencing`).

use protocol::internal::metadata::BrokerRegistrationChangeRecord;
use protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use types::BrokerId;

use super::fencing::{change_of, directories_fail, fence_broker, leave_in_order, unfence_broker};
use super::{Context, Decision, registered};
use crate::image::{Broker, Image};
use crate::record::{MetadataRecord, has_cordoned_directories, has_directories};

/// What the driver knows of a broker that sends a heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatFacts {
    /// Offset of the broker's registration in the log.
    pub registered_offset: i64,
    /// Whether all active brokers have read up to the broker's controlled shutdown.
    pub shutdown_is_known: bool,
}

/// Decides BrokerHeartbeat: lets a broker in that is ready, keeps one out that asks for it, and
/// takes the leaderships of one that wants to stop before it may.
pub fn heartbeat(
    image: &Image,
    request: &BrokerHeartbeatRequest,
    facts: HeartbeatFacts,
    context: &Context<'_>,
) -> Decision<BrokerHeartbeatResponse> {
    let id = BrokerId(request.broker_id);
    let broker = match registered(image, request.broker_id, request.broker_epoch) {
        Ok(broker) => broker,
        Err(refusal) => {
            let error_code = refusal.code.to_wire();
            let response = BrokerHeartbeatResponse { error_code, ..Default::default() };
            return Decision::unchanged(response);
        }
    };
    let mut records = directory_records(image, broker, request, context);
    // What follows must know already which directories work.
    let after = applied(image, &records);
    let is_caught_up = request.current_metadata_offset >= facts.registered_offset;
    let leads = || leads_any(&after, id);
    let next = next_state(broker, request, is_caught_up, facts.shutdown_is_known, &leads);
    records.extend(match next {
        next if next == state_of(broker) => Vec::new(),
        State::Fenced | State::Stopped => fence_broker(&after, id, context),
        State::Active => unfence_broker(&after, broker, context),
        State::Leaving => leave_in_order(&after, broker, context),
    });
    let response = BrokerHeartbeatResponse {
        is_caught_up,
        is_fenced: matches!(next, State::Fenced | State::Stopped),
        should_shut_down: next == State::Stopped,
        ..Default::default()
    };
    Decision { records, response }
}

/// The image with records that were decided on it; a copy costs next to nothing.
fn applied(image: &Image, records: &[MetadataRecord]) -> Image {
    let mut after = image.clone();
    for record in records {
        after.apply(record).expect("a decision fits the image that it was made on");
    }
    after
}

/// What a broker may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Fenced,
    Active,
    /// In controlled shutdown.
    Leaving,
    /// Told to stop at once.
    Stopped,
}

fn state_of(broker: &Broker) -> State {
    match (broker.fenced, broker.in_controlled_shutdown) {
        (true, _) => State::Fenced,
        (false, true) => State::Leaving,
        (false, false) => State::Active,
    }
}

fn next_state(
    broker: &Broker,
    request: &BrokerHeartbeatRequest,
    is_caught_up: bool,
    shutdown_is_known: bool,
    leads: &dyn Fn() -> bool,
) -> State {
    match state_of(broker) {
        State::Fenced if request.want_shut_down => State::Stopped,
        State::Fenced if !request.want_fence && is_caught_up => State::Active,
        State::Fenced => State::Fenced,
        State::Active if request.want_fence && !request.want_shut_down => State::Fenced,
        State::Active if !request.want_shut_down => State::Active,
        State::Active if request.want_fence || !leads() => State::Stopped,
        State::Active => State::Leaving,
        State::Leaving if !leads() && shutdown_is_known => State::Stopped,
        State::Leaving => State::Leaving,
        State::Stopped => unreachable!("no record says that a broker stopped"),
    }
}

/// Whether a broker leads any partition.
pub fn leads_any(image: &Image, id: BrokerId) -> bool {
    let mut partitions = image.topics().flat_map(|topic| topic.partitions());
    partitions.any(|(_, partition)| partition.leader == Some(id))
}

/// Directories that failed or take no more replicas.
fn directory_records(
    image: &Image,
    broker: &Broker,
    request: &BrokerHeartbeatRequest,
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    let level = image.metadata_version();
    let mut records = Vec::new();
    if has_directories(level) {
        records = directories_fail(image, broker, &request.offline_log_dirs, context);
    }
    let cordoned_log_dirs = request.cordoned_log_dirs.clone();
    let differ = cordoned_log_dirs.is_some() && cordoned_log_dirs != broker.cordoned;
    if has_cordoned_directories(level) && differ {
        let change = BrokerRegistrationChangeRecord { cordoned_log_dirs, ..change_of(broker) };
        records.push(change.into());
    }
    records
}
