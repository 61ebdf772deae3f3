//! This node among the others: what it advertises, how it enters the cluster and leaves it.

use std::sync::atomic::Ordering;

use ::metadata::controller::{
    HeartbeatFacts, RegistrationFacts, end_recovery, heartbeat, register_broker,
    register_controller,
};
use ::metadata::{Image, features};
use anyhow::bail;
use config::NodeConfig;
use net::Listener;
use protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;
use protocol::messages::broker_registration::{self, BrokerRegistrationRequest};
use protocol::messages::controller_registration::{self, ControllerRegistrationRequest};
use types::{BrokerId, ErrorCode, Rng, Uuid};

use crate::controller::QuorumFacts;
use crate::dirs::fresh_id;
use crate::shared::{Advertised, Shared};

/// From this `metadata.version` on (4.3-IV0), the cluster knows of cordoned directories.
const CORDONED_SINCE: i16 = 30;

/// What clients and other nodes are told of each listener. A port that the system chose stands
/// for 0, and the machine's own name for a host that is not given.
pub fn advertised(config: &NodeConfig, bound: &[Listener]) -> Vec<Advertised> {
    let listeners = &config.listeners;
    let told = listeners.advertised.iter().chain(&listeners.advertised_controller);
    told.map(|listener| {
        let bound = bound.iter().find(|one| one.name() == listener.name);
        let port = match (listener.port, bound) {
            (0, Some(bound)) => bound.local_addr().port(),
            (port, _) => port,
        };
        Advertised {
            listener: listener.name.clone(),
            host: listener.host.clone().unwrap_or_else(own_host),
            port,
            protocol: listener.protocol,
            is_controller: listeners.controller_names.contains(&listener.name),
        }
    })
    .collect()
}

/// The machine's name if it resolves, so that clients on other machines can reach it; else the
/// loopback interface, which at least works here.
fn own_host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let resolves = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 0)).is_ok();
    if resolves { name } else { "localhost".to_owned() }
}

/// Registers this node as controller and broker and waits until it is let in.
///
/// # Errors
/// If the cluster refuses it.
pub fn register(shared: &Shared, rng: &mut Rng) -> anyhow::Result<()> {
    let incarnation = fresh_id(rng);
    let request = controller_request(shared, incarnation);
    shared.controller.decide_blocking(move |_, _, _| register_controller(&request))?;
    let request = broker_request(shared, incarnation);
    let cluster_id = shared.dirs.cluster_id.clone();
    let registered = shared.controller.decide_blocking(move |image, quorum, context| {
        let facts = RegistrationFacts {
            cluster_id: &cluster_id,
            next_offset: quorum.end.get(),
            session_is_alive: false,
        };
        register_broker(image, &request, facts, context)
    });
    let response = registered?;
    refuse_error("registration", response.error_code)?;
    // What befalls directories from here on is told by itself; what did so far, with the heartbeat.
    shared.is_registered.store(true, Ordering::SeqCst);
    beat(shared, response.broker_epoch, false)?;
    // After a crash the elections were unclean, and the logs are open: what they lost is lost.
    let node = shared.config.node_id;
    Ok(shared.controller.decide_blocking(move |image, _, _| end_recovery(image, node))?)
}

/// Tells the cluster that this node is going, in good order.
pub fn leave(shared: &Shared) {
    let node = shared.config.node_id;
    let epoch = shared.controller.decide_blocking(move |image, _, _| {
        ::metadata::controller::Decision { records: vec![], response: epoch_of(image, node) }
    });
    if let Ok(Some(epoch)) = epoch
        && let Err(fault) = beat(shared, epoch, true)
    {
        tracing::warn!("cannot leave the cluster in order: {fault:#}");
    }
}

/// The epoch of a broker's registration.
pub fn epoch_of(image: &Image, node: BrokerId) -> Option<i64> {
    image.broker(node).map(|broker| broker.epoch)
}

/// A heartbeat that says how the log directories are; the epoch is missing.
pub fn heartbeat_request(shared: &Shared) -> BrokerHeartbeatRequest {
    BrokerHeartbeatRequest {
        broker_id: shared.config.node_id.0,
        // Every shard has acted on what the controller has committed.
        current_metadata_offset: i64::MAX,
        offline_log_dirs: shared.dirs.ids(false),
        cordoned_log_dirs: Some(shared.dirs.cordoned_ids()),
        ..Default::default()
    }
}

/// What the controller knows of this node: it is itself the one.
pub fn heartbeat_facts(quorum: &QuorumFacts) -> HeartbeatFacts {
    HeartbeatFacts { registered_offset: quorum.end.get(), shutdown_is_known: true }
}

/// Takes out what a cluster of an older `metadata.version` has no record for.
pub fn drop_unknown_fields(request: &mut BrokerHeartbeatRequest, image: &Image) {
    if image.metadata_version() < CORDONED_SINCE {
        request.cordoned_log_dirs = None;
    }
}

fn beat(shared: &Shared, broker_epoch: i64, want_shut_down: bool) -> anyhow::Result<()> {
    let mut request = heartbeat_request(shared);
    (request.broker_epoch, request.want_shut_down) = (broker_epoch, want_shut_down);
    let answer = shared.controller.decide_blocking(move |image, quorum, context| {
        drop_unknown_fields(&mut request, image);
        heartbeat(image, &request, heartbeat_facts(quorum), context)
    });
    let answer = answer?;
    refuse_error("heartbeat", answer.error_code)
}

fn refuse_error(what: &str, code: i16) -> anyhow::Result<()> {
    match ErrorCode::from_wire(code) {
        ErrorCode::None => Ok(()),
        code => bail!("the {what} of this node is refused: {code}"),
    }
}

fn broker_request(shared: &Shared, incarnation_id: Uuid) -> BrokerRegistrationRequest {
    let listeners = shared.advertised.iter().filter(|one| !one.is_controller);
    let listeners = listeners.map(|one| broker_registration::Listener {
        name: one.listener.clone(),
        host: one.host.clone(),
        port: one.port,
        security_protocol: one.protocol.to_wire(),
        ..Default::default()
    });
    let features = features::registered().map(|(name, min, max)| broker_registration::Feature {
        name: name.to_owned(),
        min_supported_version: min,
        max_supported_version: max,
        ..Default::default()
    });
    BrokerRegistrationRequest {
        broker_id: shared.config.node_id.0,
        cluster_id: shared.dirs.cluster_id.clone(),
        incarnation_id,
        listeners: listeners.collect(),
        features: features.collect(),
        rack: shared.config.rack.clone(),
        log_dirs: shared.dirs.ids(true),
        previous_broker_epoch: shared.dirs.previous_broker_epoch().unwrap_or(-1),
        ..Default::default()
    }
}

fn controller_request(shared: &Shared, incarnation_id: Uuid) -> ControllerRegistrationRequest {
    let listeners = shared.advertised.iter().filter(|one| one.is_controller);
    let listeners = listeners.map(|one| controller_registration::Listener {
        name: one.listener.clone(),
        host: one.host.clone(),
        port: one.port,
        security_protocol: one.protocol.to_wire(),
        ..Default::default()
    });
    let features =
        features::registered().map(|(name, min, max)| controller_registration::Feature {
            name: name.to_owned(),
            min_supported_version: min,
            max_supported_version: max,
            ..Default::default()
        });
    ControllerRegistrationRequest {
        controller_id: shared.config.node_id.0,
        incarnation_id,
        listeners: listeners.collect(),
        features: features.collect(),
        ..Default::default()
    }
}
