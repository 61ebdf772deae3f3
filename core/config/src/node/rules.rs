//! What must hold between a node's settings, as Kafka checks it at start.

use super::NodeConfig;
use super::listeners::{EVERY_INTERFACE, Listener};
use super::parts::{limit_keys, read_ip_overrides};
use crate::error::ConfigError;
use crate::layers::BrokerLayers;

/// Adds everything that does not fit together.
pub(super) fn check(node: &NodeConfig, layers: &BrokerLayers<'_>, errors: &mut Vec<ConfigError>) {
    let mut rule = |holds: bool, keys: &str, reason: String| {
        if !holds {
            errors.push(ConfigError::conflict(keys, reason));
        }
    };
    check_identity(node, layers, &mut rule);
    check_quorum(node, &mut rule);
    check_listeners(node, &mut rule);
    check_times(layers, &mut rule);
    check_limits(layers, &mut rule);
    check_listener_limits(node, layers, &mut rule);
}

/// Takes whether a rule holds, the keys it is about, and what to say if it does not.
type Rule<'a> = &'a mut dyn FnMut(bool, &str, String);

fn check_identity(node: &NodeConfig, layers: &BrokerLayers<'_>, rule: Rule<'_>) {
    let broker_id = layers.int("broker.id");
    rule(
        broker_id == node.node_id.0,
        "broker.id and node.id",
        format!("they are two names of one number but are {broker_id} and {}", node.node_id),
    );
    for cordoned in layers.list("cordoned.log.dirs") {
        rule(
            cordoned == "*" || node.log_dirs.contains(&cordoned),
            "cordoned.log.dirs",
            format!("{cordoned} is not one of log.dirs"),
        );
    }
}

fn check_quorum(node: &NodeConfig, rule: Rule<'_>) {
    let quorum = &node.quorum;
    rule(
        !quorum.voters.is_empty() || !quorum.bootstrap_servers.is_empty(),
        "controller.quorum.bootstrap.servers",
        "either it or controller.quorum.voters must name the controllers".to_owned(),
    );
    let voters = quorum.voters.iter().map(|voter| &voter.address);
    for address in voters.chain(&quorum.bootstrap_servers) {
        rule(
            address.host != EVERY_INTERFACE,
            "controller.quorum.voters and controller.quorum.bootstrap.servers",
            format!("nobody can connect to {EVERY_INTERFACE}"),
        );
    }
    let is_voter = quorum.voters.iter().any(|voter| voter.id == node.node_id);
    if node.roles.controller {
        rule(
            quorum.voters.is_empty() || is_voter,
            "controller.quorum.voters",
            format!("node {} has the controller role, so it must be a voter", node.node_id),
        );
    } else {
        rule(
            !is_voter,
            "controller.quorum.voters",
            format!("node {} has no controller role, so it cannot be a voter", node.node_id),
        );
    }
}

fn check_listeners(node: &NodeConfig, rule: Rule<'_>) {
    let listeners = &node.listeners;
    let is_bound = |name: &String| listeners.bound.iter().any(|one| one.name == *name);
    for name in &listeners.controller_names {
        if node.roles.controller {
            rule(
                is_bound(name),
                "controller.listener.names",
                format!("{name} is not one of listeners, as a controller's must be"),
            );
            continue;
        }
        rule(
            !is_bound(name),
            "controller.listener.names",
            format!("{name} is one of listeners, which a node without the controller role refuses"),
        );
        rule(
            listeners.protocols.contains_key(name),
            "controller.listener.names",
            format!("{name} has no security protocol in listener.security.protocol.map"),
        );
    }
    if !node.roles.broker {
        let other = |one: &&Listener| !listeners.controller_names.contains(&one.name);
        for one in listeners.bound.iter().filter(other) {
            let reason = format!("{} is not a controller's, and this node is no broker", one.name);
            rule(false, "listeners", reason);
        }
        return;
    }
    rule(
        !listeners.advertised.is_empty(),
        "listeners and advertised.listeners",
        "a broker needs a listener that is not one of controller.listener.names".to_owned(),
    );
    let named = &listeners.inter_broker;
    rule(
        listeners.advertised.iter().any(|one| one.name == *named),
        "inter.broker.listener.name",
        format!("{named} is not an advertised listener of this broker"),
    );
    for told in &listeners.advertised {
        let reason = format!("{} is advertised but is not one of listeners", told.name);
        rule(is_bound(&told.name), "advertised.listeners", reason);
    }
}

fn check_times(layers: &BrokerLayers<'_>, rule: Rule<'_>) {
    let number = |name| layers.optional_text(name).and_then(|text| text.parse::<i64>().ok());
    for (name, least) in [("log.roll.ms", 1), ("log.roll.jitter.ms", 0)] {
        let holds = number(name).is_none_or(|value| value >= least);
        rule(holds, name, format!("at least {least} is expected"));
    }
    let first_set = |names: &[&'static str]| names.iter().copied().find_map(number);
    let retention =
        first_set(&["log.retention.ms", "log.retention.minutes", "log.retention.hours"]);
    rule(
        retention != Some(0),
        "log.retention.ms",
        "records must be kept for a time of at least 1, or -1 for no limit".to_owned(),
    );
    let wait = layers.int("replica.fetch.wait.max.ms");
    rule(
        wait <= layers.int("replica.socket.timeout.ms")
            && i64::from(wait) <= layers.long("replica.lag.time.max.ms"),
        "replica.fetch.wait.max.ms",
        format!("{wait} is above replica.socket.timeout.ms or replica.lag.time.max.ms"),
    );
    let idle = layers.long("connections.max.idle.ms");
    let delay = i64::from(layers.int("connection.failed.authentication.delay.ms"));
    rule(
        idle < 0 || delay < idle,
        "connection.failed.authentication.delay.ms",
        format!("{delay} must be below connections.max.idle.ms, which is {idle}"),
    );
}

fn check_listener_limits(node: &NodeConfig, layers: &BrokerLayers<'_>, rule: Rule<'_>) {
    // What controllers' listeners are given has no effect, so nothing may fail for it.
    let has_limits = |one: &&Listener| !node.listeners.controller_names.contains(&one.name);
    for listener in node.listeners.bound.iter().filter(has_limits) {
        for key in limit_keys(&listener.name) {
            let Some(text) = layers.raw(&key) else { continue };
            rule(
                text.parse::<i32>().is_ok_and(|count| count >= 0),
                &key,
                format!("{text:?} is not a whole number of at least 0"),
            );
        }
    }
}

fn check_limits(layers: &BrokerLayers<'_>, rule: Rule<'_>) {
    let overrides = layers.text("max.connections.per.ip.overrides");
    match read_ip_overrides(&overrides) {
        Err(entry) => {
            rule(false, "max.connections.per.ip.overrides", format!("{entry:?} is not host:count"))
        }
        Ok(map) => rule(
            layers.int("max.connections.per.ip") != 0 || !map.is_empty(),
            "max.connections.per.ip",
            "0 needs hosts in max.connections.per.ip.overrides, else nobody may connect".to_owned(),
        ),
    }
    rule(
        layers.list("group.coordinator.rebalance.protocols").contains(&"classic".to_owned()),
        "group.coordinator.rebalance.protocols",
        "classic groups cannot be switched off".to_owned(),
    );
    for name in
        ["offsets.topic.compression.codec", "share.coordinator.state.topic.compression.codec"]
    {
        let codec = layers.int(name);
        let reason = format!("{codec} is not a codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd");
        rule((0..=4).contains(&codec), name, reason);
    }
    let within = |group: &str, key: &str| {
        let bound = |which: &str| layers.int(&format!("group.{group}.{which}.{key}"));
        let value = layers.int(&format!("group.{group}.{key}"));
        (bound("min"), value, bound("max"))
    };
    let timing = ["session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms"];
    let locks = ["record.lock.duration.ms", "delivery.count.limit", "partition.max.record.locks"];
    let timings = ["consumer", "share", "streams"].map(|group| timing.map(|key| (group, key)));
    let all = timings.into_iter().flatten().chain(locks.map(|key| ("share", key)));
    for (group, key) in all {
        let (least, value, most) = within(group, key);
        rule(
            (least..=most).contains(&value),
            &format!("group.{group}.{key}"),
            format!("{value} is not between its min, {least}, and its max, {most}"),
        );
    }
    for group in ["consumer", "share", "streams"] {
        let heartbeat = layers.int(&format!("group.{group}.heartbeat.interval.ms"));
        let session = layers.int(&format!("group.{group}.session.timeout.ms"));
        rule(
            heartbeat < session,
            &format!("group.{group}.heartbeat.interval.ms"),
            format!("{heartbeat} must be below the session timeout, which is {session}"),
        );
    }
    let (standbys, most) = (
        layers.int("group.streams.num.standby.replicas"),
        layers.int("group.streams.max.standby.replicas"),
    );
    let reason = format!("{standbys} is above group.streams.max.standby.replicas, {most}");
    rule(standbys <= most, "group.streams.num.standby.replicas", reason);
}
