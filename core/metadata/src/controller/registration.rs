//! Brokers and controllers register.
//!
//! A broker comes in fenced. Another run of one that is known takes the place of the former run: what
//! the former one led goes to others first. A run that names the epoch of the former one says that
//! it stopped in good order and has all that it had (KIP-966).
//!
//! Not here: how a broker is let in (`heartbeat`), whether its session lasts (`sessions`).

use std::collections::BTreeSet;

use protocol::internal::metadata::{
    RegisterBrokerRecord, RegisterControllerRecord, register_broker_record,
    register_controller_record,
};
use protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, Feature,
};
use protocol::messages::controller_registration::{
    ControllerRegistrationRequest, ControllerRegistrationResponse,
};
use types::{BrokerId, ErrorCode};

use super::fencing::departures_of_former_run;
use super::{Context, Decision, split_duplicates};
use crate::features::METADATA_VERSION;
use crate::image::{Image, directory};
use crate::record::has_directories;

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
            // A broker that stopped in good order names the epoch it had. A directory that is no
            // more is as good as a crash for what lay in it.
            let clean = present.is_some_and(|old| old.epoch == request.previous_broker_epoch);
            let dirs = &request.log_dirs;
            let kept = |dir| dirs.is_empty() || directory::is_reserved(dir) || dirs.contains(&dir);
            records = departures_of_former_run(
                image,
                id,
                |dir| !image.elr_enabled() || (clean && dir != directory::LOST && kept(dir)),
                context,
            );
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
    let is_twin = other_run && facts.session_is_alive && !is_in_same_place(image, request);
    refuse(is_twin, ErrorCode::DuplicateBrokerRegistration)?;
    refuse(request.is_migrating_zk_broker, ErrorCode::BrokerIdNotRegistered)?;
    refuse(bad_dirs || !names_version, ErrorCode::InvalidRegistration)?;
    refuse(!can_all, ErrorCode::UnsupportedVersion)
}

/// Whether a broker has the directories and the addresses of its former run; it may have more
/// directories. One process alone can have them, so the former one is dead, however long its session
/// would last: Kafka has the new one wait for the end of that.
fn is_in_same_place(image: &Image, request: &BrokerRegistrationRequest) -> bool {
    let Some(former) = image.broker(BrokerId(request.broker_id)) else { return false };
    let told = request.listeners.iter();
    let told = told.map(|one| (one.name.as_str(), one.host.as_str(), one.port));
    let known = former.endpoints.iter();
    let known = known.map(|one| (one.listener.as_str(), one.host.as_str(), one.port));
    let (dirs, former_dirs) = (&request.log_dirs, &former.directories);
    !former_dirs.is_empty()
        && former_dirs.iter().all(|dir| dirs.contains(dir))
        && told.collect::<BTreeSet<_>>() == known.collect::<BTreeSet<_>>()
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
