//! Brokers come, go, and are kept out while they are silent.
//!
//! A broker registers fenced and is let in by a heartbeat once it has read the metadata up to its
//! own registration. When it is fenced, leaves or fails, its partitions go to other replicas in
//! sync. Whether a session has run out is the driver's to know: it has the clock.
//!
//! Here every partition is looked at when a broker changes state; that is some milliseconds with a
//! million partitions.

use protocol::internal::metadata::{
    BrokerRegistrationChangeRecord, RegisterBrokerRecord, RegisterControllerRecord,
    UnregisterBrokerRecord, register_broker_record, register_controller_record,
};
use protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, Feature,
};
use protocol::messages::controller_registration::{
    ControllerRegistrationRequest, ControllerRegistrationResponse,
};
use types::{BrokerId, ErrorCode, Uuid};

use super::election_rules::{ElectionRules, Rulebook};
use super::partition_change::{PartitionChange, has_directory};
use super::{Context, Decision, Refusal, split_duplicates};
use crate::features::{METADATA_VERSION, elr_enabled};
use crate::image::{Broker, Image, Partition, Topic, directory};
use crate::record::{MetadataRecord, has_cordoned_directories, has_directories};

/// What the driver knows of a broker that registers.
#[derive(Clone, Copy, Debug)]
pub struct RegistrationFacts<'a> {
    /// Id of this cluster.
    pub cluster_id: &'a str,
    /// Offset of the next record in the log; a new run of a broker gets it as its epoch.
    pub next_offset: i64,
    /// Whether a broker of this id was heard of within the session timeout.
    pub session_is_alive: bool,
}

/// What the driver knows of a broker that sends a heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatFacts {
    /// Offset of the broker's registration in the log.
    pub registered_offset: i64,
    /// Whether all active brokers have read up to the broker's controlled shutdown.
    pub shutdown_is_known: bool,
}

/// Decides BrokerRegistration.
pub fn register_broker(
    image: &Image,
    request: &BrokerRegistrationRequest,
    facts: RegistrationFacts<'_>,
    context: &Context<'_>,
) -> Decision<BrokerRegistrationResponse> {
    let id = BrokerId(request.broker_id);
    let present = image.broker(id);
    if let Err(code) = check_registration(image, request, facts) {
        let error_code = code.to_wire();
        let response = BrokerRegistrationResponse { error_code, ..Default::default() };
        return Decision::unchanged(response);
    }
    let mut record = registration_record(image, request);
    let mut records = Vec::new();
    match present.filter(|broker| broker.incarnation_id == request.incarnation_id) {
        // The same run corrects what it said before.
        Some(broker) => {
            record.fenced = broker.fenced;
            record.in_controlled_shutdown = broker.in_controlled_shutdown;
            record.broker_epoch = broker.epoch;
        }
        None => {
            // A broker that stopped in good order names the epoch it had.
            let clean = present.is_some_and(|old| old.epoch == request.previous_broker_epoch);
            records = if elr_enabled(image) && !clean {
                changes(image, context, |partition| Leaving::Lost.step(partition, id))
            } else {
                changes(image, context, |partition| Leaving::Left.step(partition, id))
            };
            record.fenced = true;
            record.broker_epoch = facts.next_offset;
        }
    }
    let broker_epoch = record.broker_epoch;
    // Last, so that a controller that fails before it leaves a broker that registers again.
    records.push(record.into());
    Decision {
        records,
        response: BrokerRegistrationResponse { broker_epoch, ..Default::default() },
    }
}

fn check_registration(
    image: &Image,
    request: &BrokerRegistrationRequest,
    facts: RegistrationFacts<'_>,
) -> Result<(), ErrorCode> {
    let refuse = |wrong: bool, code| if wrong { Err(code) } else { Ok(()) };
    let id = BrokerId(request.broker_id);
    let other_run =
        image.broker(id).is_some_and(|old| old.incarnation_id != request.incarnation_id);
    let dirs = &request.log_dirs;
    let (dirs_twice, _) = split_duplicates(dirs.iter());
    let taken = image
        .brokers()
        .filter(|other| other.id != id)
        .any(|other| other.directories.iter().any(|dir| dirs.contains(dir)));
    let bad_dirs = has_directories(image.metadata_version())
        && (dirs.is_empty()
            || dirs.iter().any(|&dir| directory::is_reserved(dir))
            || !dirs_twice.is_empty()
            || taken);
    let names_version = request.features.iter().any(|feature| feature.name == METADATA_VERSION);
    let range = |feature: &Feature| feature.min_supported_version..=feature.max_supported_version;
    let can_finalized = image.features().all(|(name, level)| {
        let offered = request.features.iter().find(|feature| feature.name == name);
        offered.is_some_and(|offered| range(offered).contains(&level))
    });
    // A feature that is not finalized is at level 0.
    let can_all = can_finalized
        && request.features.iter().all(|offered| {
            offered.name == METADATA_VERSION
                || range(offered).contains(&image.feature(&offered.name))
        });

    // In Kafka's order, so that a request that is wrong in two ways gets the same code.
    refuse(request.cluster_id != facts.cluster_id, ErrorCode::InconsistentClusterId)?;
    refuse(other_run && facts.session_is_alive, ErrorCode::DuplicateBrokerRegistration)?;
    refuse(request.is_migrating_zk_broker, ErrorCode::BrokerIdNotRegistered)?;
    refuse(bad_dirs || !names_version, ErrorCode::InvalidRegistration)?;
    refuse(!can_all, ErrorCode::UnsupportedVersion)
}

fn registration_record(image: &Image, request: &BrokerRegistrationRequest) -> RegisterBrokerRecord {
    let listeners = request.listeners.iter();
    let end_points = listeners.map(|listener| register_broker_record::BrokerEndpoint {
        name: listener.name.clone(),
        host: listener.host.clone(),
        port: listener.port,
        security_protocol: listener.security_protocol,
        ..Default::default()
    });
    let features = request.features.iter().map(|feature| register_broker_record::BrokerFeature {
        name: feature.name.clone(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
        ..Default::default()
    });
    RegisterBrokerRecord {
        broker_id: request.broker_id,
        incarnation_id: request.incarnation_id,
        end_points: end_points.collect(),
        features: features.collect(),
        rack: request.rack.clone(),
        // A log of before 3.7 has no field for them.
        log_dirs: if has_directories(image.metadata_version()) {
            request.log_dirs.clone()
        } else {
            Vec::new()
        },
        ..Default::default()
    }
}

/// Decides ControllerRegistration.
pub fn register_controller(
    request: &ControllerRegistrationRequest,
) -> Decision<ControllerRegistrationResponse> {
    let listeners = request.listeners.iter();
    let end_points = listeners.map(|listener| register_controller_record::ControllerEndpoint {
        name: listener.name.clone(),
        host: listener.host.clone(),
        port: listener.port,
        security_protocol: listener.security_protocol,
        ..Default::default()
    });
    let features = request.features.iter();
    let features = features.map(|feature| register_controller_record::ControllerFeature {
        name: feature.name.clone(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
        ..Default::default()
    });
    let record = RegisterControllerRecord {
        controller_id: request.controller_id,
        incarnation_id: request.incarnation_id,
        end_points: end_points.collect(),
        features: features.collect(),
        ..Default::default()
    };
    Decision { records: vec![record.into()], response: ControllerRegistrationResponse::default() }
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
    let checked = check_epoch(image, request.broker_id, request.broker_epoch);
    let broker = match (checked, image.broker(id)) {
        (Ok(()), Some(broker)) => broker,
        (Err(Refusal { code, .. }), _) => {
            let error_code = code.to_wire();
            let response = BrokerHeartbeatResponse { error_code, ..Default::default() };
            return Decision::unchanged(response);
        }
        (Ok(()), None) => unreachable!("the epoch of an unknown broker does not pass"),
    };
    let is_caught_up = request.current_metadata_offset >= facts.registered_offset;
    let leads = || leads_any(image, id);
    let next = next_state(broker, request, is_caught_up, facts.shutdown_is_known, &leads);
    let mut records = match next {
        next if next == state_of(broker) => Vec::new(),
        State::Fenced | State::Stopped => fence_broker(image, id, context),
        State::Active => unfence_broker(image, broker, context),
        State::Leaving => leave_in_order(image, broker, context),
    };
    records.extend(directory_records(image, broker, request, context));
    let response = BrokerHeartbeatResponse {
        is_caught_up,
        is_fenced: matches!(next, State::Fenced | State::Stopped),
        should_shut_down: next == State::Stopped,
        ..Default::default()
    };
    Decision { records, response }
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

fn leads_any(image: &Image, id: BrokerId) -> bool {
    let mut partitions = image.topics().flat_map(|topic| topic.partitions());
    partitions.any(|(_, partition)| partition.leader == Some(id))
}

/// The records that keep out a broker whose session has run out; none for an unknown one.
pub fn fence_broker(image: &Image, id: BrokerId, context: &Context<'_>) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id) else { return Vec::new() };
    let mut records = changes(image, context, |partition| Leaving::Left.step(partition, id));
    records.push(fencing(broker, 1));
    records
}

fn unfence_broker(image: &Image, broker: &Broker, context: &Context<'_>) -> Vec<MetadataRecord> {
    let mut records = vec![fencing(broker, -1)];
    // It may lead what nobody leads, unless it is on its way out: no record takes that back.
    let arrives = (!broker.in_controlled_shutdown).then_some(broker.id);
    records.extend(changes(image, context, |partition| {
        partition.leader.is_none().then_some(Step { arrives, ..Step::default() })
    }));
    records
}

fn fencing(broker: &Broker, fenced: i8) -> MetadataRecord {
    BrokerRegistrationChangeRecord { fenced, ..change_of(broker) }.into()
}

fn change_of(broker: &Broker) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord {
        broker_id: broker.id.0,
        broker_epoch: broker.epoch,
        ..Default::default()
    }
}

fn leave_in_order(image: &Image, broker: &Broker, context: &Context<'_>) -> Vec<MetadataRecord> {
    let change = BrokerRegistrationChangeRecord { in_controlled_shutdown: 1, ..change_of(broker) };
    let mut records = vec![change.into()];
    records.extend(changes(image, context, |partition| Leaving::Left.step(partition, broker.id)));
    records
}

/// Forgets a broker for good.
///
/// # Errors
/// [`ErrorCode::BrokerIdNotRegistered`] where there is none of this id.
pub fn unregister_broker(
    image: &Image,
    id: BrokerId,
    context: &Context<'_>,
) -> Result<Vec<MetadataRecord>, ErrorCode> {
    let broker = image.broker(id).ok_or(ErrorCode::BrokerIdNotRegistered)?;
    let mut records = changes(image, context, |partition| {
        let eligible = partition.elr.contains(&id);
        let leaving = if eligible { Leaving::Lost } else { Leaving::Left };
        leaving.step(partition, id)
    });
    let record = UnregisterBrokerRecord {
        broker_id: id.0,
        broker_epoch: broker.epoch,
        ..Default::default()
    };
    records.push(record.into());
    Ok(records)
}

/// Directories that failed or take no more replicas.
fn directory_records(
    image: &Image,
    broker: &Broker,
    request: &BrokerHeartbeatRequest,
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    let failed = |id: &Uuid| request.offline_log_dirs.contains(id);
    let level = image.metadata_version();
    let mut records = Vec::new();
    if has_directories(level) && broker.directories.iter().any(failed) {
        records = changes(image, context, |partition| {
            let lies_there = partition.directory_of(broker.id).as_ref().is_some_and(failed);
            Leaving::Left.step(partition, broker.id).filter(|_| lies_there)
        });
        let works = broker.directories.iter().filter(|id| !failed(id)).copied().collect();
        let change = BrokerRegistrationChangeRecord { log_dirs: works, ..change_of(broker) };
        records.push(change.into());
    }
    let cordoned_differ =
        request.cordoned_log_dirs.is_some() && request.cordoned_log_dirs != broker.cordoned;
    if has_cordoned_directories(level) && cordoned_differ {
        let cordoned_log_dirs = request.cordoned_log_dirs.clone();
        let change = BrokerRegistrationChangeRecord { cordoned_log_dirs, ..change_of(broker) };
        records.push(change.into());
    }
    records
}

/// Whether a broker that leaves keeps what it has.
enum Leaving {
    Left,
    Lost,
}

/// What happens to one partition.
#[derive(Clone, Copy, Default)]
struct Step {
    /// Leaves the ISR and may not lead.
    leaves: Option<BrokerId>,
    /// Lost its data: leaves the ELR too.
    lost: Option<BrokerId>,
    /// May lead although the image still has it fenced.
    arrives: Option<BrokerId>,
}

impl Leaving {
    /// What it means for a partition that `id` leaves; `None` where it does not matter.
    fn step(&self, partition: &Partition, id: BrokerId) -> Option<Step> {
        let in_sync = partition.isr.contains(&id);
        match self {
            Self::Left => in_sync.then_some(Step { leaves: Some(id), ..Step::default() }),
            Self::Lost => (in_sync || partition.elr.contains(&id))
                .then_some(Step { lost: Some(id), ..Step::default() }),
        }
    }
}

/// The changes of all partitions that `step` names. Every one is looked at: an index by broker
/// would cost memory in every image and save milliseconds on a rare event.
fn changes(
    image: &Image,
    context: &Context<'_>,
    step: impl Fn(&Partition) -> Option<Step>,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let rulebook = Rulebook::new(image, context);
    for topic in image.topics() {
        // Settings are read for topics that need them alone.
        let mut rules = None;
        for (index, partition) in topic.partitions() {
            let Some(step) = step(partition) else { continue };
            let rules = *rules.get_or_insert_with(|| rulebook.rules(topic));
            records.extend(change(image, topic, index, partition, rules, step));
        }
    }
    records
}

fn change(
    image: &Image,
    topic: &Topic,
    index: i32,
    partition: &Partition,
    rules: ElectionRules,
    step: Step,
) -> Option<MetadataRecord> {
    let Step { leaves, lost, arrives } = step;
    let can_lead = |broker| {
        let stays = leaves != Some(broker) && lost != Some(broker);
        let active = arrives == Some(broker) || image.is_active(broker);
        stays && active && has_directory(image, partition, broker)
    };
    let mut change = PartitionChange::new(partition, rules, rules.online(), &can_lead);
    if let Some(broker) = leaves {
        change = change.without(broker);
    }
    if let Some(broker) = lost {
        change = change.without_data_of(broker);
    }
    change.record(image, topic, index).map(Into::into)
}

/// Whether the sender is the run of the broker that is registered.
pub(super) fn check_epoch(image: &Image, id: i32, epoch: i64) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message));
    match image.broker(BrokerId(id)) {
        None => refuse(format!("broker {id} is not registered")),
        Some(broker) if broker.epoch != epoch => {
            refuse(format!("broker {id} has epoch {}, request says {epoch}", broker.epoch))
        }
        Some(_) => Ok(()),
    }
}
