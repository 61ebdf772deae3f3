//! What this node tells of itself: where its listeners are, what it can do.
//!
//! Not here: when it says so (`membership`).

use ::metadata::controller::mistaken_group_version;
use ::metadata::{Image, features};
use config::NodeConfig;
use net::Listener;
use protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;
use protocol::messages::broker_registration::{self, BrokerRegistrationRequest};
use protocol::messages::controller_registration::{self, ControllerRegistrationRequest};
use types::{BrokerId, Uuid};

use crate::runs;
use crate::shared::{Advertised, Shared};

/// The first version of BrokerHeartbeat that tells of cordoned directories.
const CORDONED_FROM: i16 = 2;

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
pub fn own_host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let resolves = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 0)).is_ok();
    if resolves { name } else { "localhost".to_owned() }
}

/// The epoch of a broker's registration.
pub fn epoch_of(image: &Image, node: BrokerId) -> Option<i64> {
    image.broker(node).map(|broker| broker.epoch)
}

/// What this node registers with as a broker; `image` is what it knows to be committed.
pub fn broker_request(
    shared: &Shared,
    image: &Image,
    incarnation_id: Uuid,
) -> BrokerRegistrationRequest {
    let listeners = shared.advertised.iter().filter(|one| !one.is_controller);
    let listeners = listeners.map(|one| broker_registration::Listener {
        name: one.listener.clone(),
        host: one.host.clone(),
        port: one.port,
        security_protocol: one.protocol.to_wire(),
        ..Default::default()
    });
    let features = features::supported().map(|(name, min, max)| broker_registration::Feature {
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
        previous_broker_epoch: previous_epoch(shared, image),
        ..Default::default()
    }
}

/// The epoch of the registration whose data this node has in full. One that registers anew while it
/// runs has all that it had.
fn previous_epoch(shared: &Shared, image: &Image) -> i64 {
    let own = Some(shared.membership.epoch()).filter(|epoch| *epoch >= 0);
    own.or_else(|| runs::epoch_of_former(shared, image).ok()).unwrap_or(-1)
}

/// What a broker tells beside what it serves, to come into a cluster that an earlier build began at
/// a level by mistake: that stays until a controller of this build is active.
pub fn tolerated(image: &Image) -> Option<broker_registration::Feature> {
    mistaken_group_version(image).map(|level| broker_registration::Feature {
        name: features::GROUP_VERSION.to_owned(),
        min_supported_version: 0,
        max_supported_version: level,
        ..Default::default()
    })
}

/// What this node registers with as a controller.
pub fn controller_request(shared: &Shared, incarnation_id: Uuid) -> ControllerRegistrationRequest {
    let listeners = shared.advertised.iter().filter(|one| one.is_controller);
    let listeners = listeners.map(|one| controller_registration::Listener {
        name: one.listener.clone(),
        host: one.host.clone(),
        port: one.port,
        security_protocol: one.protocol.to_wire(),
        ..Default::default()
    });
    let features = features::supported().map(|(name, min, max)| controller_registration::Feature {
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

/// What a heartbeat of this broker says.
pub fn heartbeat(shared: &Shared) -> BrokerHeartbeatRequest {
    BrokerHeartbeatRequest {
        broker_id: shared.config.node_id.0,
        broker_epoch: shared.membership.epoch(),
        current_metadata_offset: shared.controller.applied(),
        // Where nobody else serves, nothing is won by it, and what can be read would not be.
        want_fence: shared.dirs.hung().is_some() && shared.membership.has_others(),
        offline_log_dirs: shared.dirs.ids(false),
        cordoned_log_dirs: Some(shared.dirs.cordoned_ids()),
        ..Default::default()
    }
}

/// A heartbeat as a version has it.
pub fn fitted(mut heartbeat: BrokerHeartbeatRequest, version: i16) -> BrokerHeartbeatRequest {
    if version < CORDONED_FROM {
        heartbeat.cordoned_log_dirs = None;
    }
    heartbeat
}

#[cfg(test)]
mod tests {
    use ::metadata::{Loader, MetadataRecord};
    use protocol::internal::metadata::FeatureLevelRecord;

    use super::*;

    #[test]
    fn only_a_level_of_an_earlier_build_is_tolerated() {
        let image = |name: &str, feature_level| {
            let mut loader = Loader::new(Image::default());
            for (name, feature_level) in [(features::METADATA_VERSION, 30), (name, feature_level)] {
                let name = name.to_owned();
                let record = FeatureLevelRecord { name, feature_level, ..Default::default() };
                loader.apply(&MetadataRecord::from(record)).unwrap();
            }
            loader.image().clone()
        };
        let told = tolerated(&image(features::GROUP_VERSION, 1)).unwrap();
        assert_eq!((told.name.as_str(), told.max_supported_version), (features::GROUP_VERSION, 1));
        assert_eq!(tolerated(&image(features::GROUP_VERSION, 0)), None);
        assert_eq!(tolerated(&image(features::SHARE_VERSION, 1)), None);
    }
}
