//! Settings of the broker that change while it runs and are not a partition's: limits of
//! connections, cordoned log directories, rates of copying.
//!
//! Settings that topics take from the broker reach the partitions by `shard::partitions`.

use std::collections::BTreeSet;
use std::sync::{Arc, Once};
use std::time::Duration;

use ::metadata::Changes;
use ::metadata::Image;
use ::metadata::image::ResourceType;
use config::{Listeners, NodeConfig, ReplicationRates};
use net::{Limits, ListenerLimits};

use crate::shared::Shared;

/// Said once in the life of a node: the settings are read again at each change of one.
static WITHOUT_EFFECT_IS_SAID: Once = Once::new();

/// Puts the broker's settings of the image in force if they have changed, and notes who serves beside
/// it and how it stands itself.
pub fn apply(shared: &Arc<Shared>, image: &Image, changes: &Changes) {
    if !changes.brokers.is_empty() || !changes.partitions.is_empty() {
        note(shared, image, changes);
    }
    if changes.configs.iter().any(|resource| resource.kind == ResourceType::Broker) {
        put_in_force(shared, image);
    }
}

fn note(shared: &Shared, image: &Image, changes: &Changes) {
    let working = shared.dirs.ids(true);
    shared.membership.note(image, changes, shared.config.node_id, &working);
}

/// Puts the broker's settings of the image in force.
pub fn put_in_force(shared: &Arc<Shared>, image: &Image) {
    note(shared, image, &Changes::default());
    let own = shared.broker_resource();
    let cordoned = shared.layers(image, &own).list("cordoned.log.dirs");
    if shared.dirs.set_cordoned(&cordoned) {
        shared.membership.beat_now();
    }
    shared.throttles.set_rates(&ReplicationRates::resolve(&shared.layers(image, &own)));
    match NodeConfig::resolve(&shared.layers(image, &own)) {
        Ok(config) => shared.net.set_limits(limits(&config, shared.net.in_flight_bytes_max())),
        // The controller has checked each change; only settings of another version end here.
        Err(errors) => tracing::warn!("the dynamic settings of this broker are not used: {errors}"),
    }
}

/// What the network is to enforce; how much may be in flight goes by the start.
pub fn limits(config: &NodeConfig, in_flight_bytes_max: usize) -> Limits {
    let limits = &config.limits;
    if !limits.without_effect.is_empty() {
        WITHOUT_EFFECT_IS_SAID.call_once(|| {
            tracing::warn!(
                "set, but without effect: {}. A listener of controllers has no limit, so that every \
                 setting can be undone there",
                limits.without_effect.join(", ")
            );
        });
    }
    let overrides = limits.connections_per_ip_overrides.iter().filter_map(|(host, count)| {
        let address = host.parse().ok().or_else(|| {
            tracing::warn!("max.connections.per.ip.overrides: {host} is not an address, ignored");
            None
        })?;
        Some((address, *count as usize))
    });
    let of_listener = |(name, own): (&String, &config::ListenerLimits)| {
        let (connections_max, creations_per_second_max) =
            (own.connections_max as usize, own.connection_rate_max);
        (name.clone(), ListenerLimits { connections_max, creations_per_second_max })
    };
    let idle = limits.idle_ms_max.map(|idle| u64::try_from(idle.get()).unwrap_or(0));
    Limits {
        frame_bytes_max: limits.request_bytes_max as usize,
        connections_max: limits.connections_max as usize,
        connections_per_ip_max: limits.connections_per_ip_max as usize,
        connections_per_ip_overrides: overrides.collect(),
        creations_per_second_max: limits.connection_rate_max,
        listeners: limits.listeners.iter().map(of_listener).collect(),
        unlimited_listeners: unlimited(&config.listeners),
        idle_max: idle.map_or(Duration::MAX, Duration::from_millis),
        in_flight_bytes_max,
        ..Limits::default()
    }
}

/// The listeners that stay open whatever the limits say: those of controllers, so that every
/// setting can be undone, and, as in Kafka, the one of brokers where clients have another.
fn unlimited(listeners: &Listeners) -> BTreeSet<String> {
    let mut names: BTreeSet<_> = listeners.controller_names.iter().cloned().collect();
    let is_for_clients = |name: &String| *name != listeners.inter_broker && !names.contains(name);
    if listeners.bound.iter().any(|bound| is_for_clients(&bound.name)) {
        names.insert(listeners.inter_broker.clone());
    }
    names
}

#[cfg(test)]
mod tests {
    use config::{BrokerLayers, Sources, StaticConfig};

    use super::*;

    #[test]
    fn the_limits_of_a_listener_reach_the_network() {
        let own = |name: &str| (format!("listener.name.{name}.max.connections"), "5".to_owned());
        let overrides = vec![own("plaintext"), own("controller")];
        let sources = Sources { overrides, ..Sources::default() };
        let (fixed, _) = StaticConfig::new(&sources).unwrap();
        let config = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
        let limits = limits(&config, 1).listeners;
        assert_eq!(limits["PLAINTEXT"].connections_max, 5);
        assert_eq!(limits["CONTROLLER"].connections_max, u32::MAX as usize);
    }
}
