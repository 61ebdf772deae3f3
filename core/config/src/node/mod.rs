//! Everything that a node reads when it starts, typed and checked as a whole.
//!
//! The same struct read again from layers with dynamic values says what holds now.

mod listeners;
mod parts;
mod quorum;
mod rules;

use types::{BrokerId, Millis};

pub use listeners::{Listener, Listeners, SecurityProtocol};
pub(crate) use parts::limits_controllers;
pub use parts::{
    ConnectionLimits, FetchLimits, GroupDefaults, ListenerLimits, LogUpkeep, Replication,
    TopicDefaults,
};
pub use quorum::{HostPort, QuorumConfig, Voter};

use crate::error::{ConfigError, ConfigErrors};
use crate::layers::BrokerLayers;

/// The settings of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeConfig {
    pub node_id: BrokerId,
    pub roles: Roles,
    pub rack: Option<String>,
    pub listeners: Listeners,
    pub quorum: QuorumConfig,
    /// Where partitions live.
    pub log_dirs: Vec<String>,
    /// Where the metadata log lives; one of `log_dirs` or a directory of its own.
    pub metadata_log_dir: String,
    pub limits: ConnectionLimits,
    pub topics: TopicDefaults,
    pub upkeep: LogUpkeep,
    pub fetch: FetchLimits,
    pub replication: Replication,
    pub groups: GroupDefaults,
    /// How long a disk may take for a call before it counts as hung.
    pub disk_hung_ms: Millis,
    /// Where metrics and health are served; `None` serves none.
    pub metrics_listener: Option<HostPort>,
    /// Shards to run; `None` is one per core.
    pub shards: Option<u32>,
}

/// What a node does; at least one of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Roles {
    pub broker: bool,
    pub controller: bool,
}

impl NodeConfig {
    /// Reads all settings of a node.
    ///
    /// # Errors
    /// Everything that does not fit together, as Kafka refuses it at start.
    pub fn resolve(layers: &BrokerLayers<'_>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let roles = layers.list("process.roles");
        let has = |role: &str| roles.iter().any(|name| name == role);
        let log_dirs = match layers.list("log.dirs") {
            dirs if dirs.is_empty() => layers.list("log.dir"),
            dirs => dirs,
        };
        let metadata_log_dir = layers.optional_text("metadata.log.dir");
        let metadata_log_dir = metadata_log_dir.map(|dir| dir.into_owned());
        let metadata_log_dir = metadata_log_dir.or_else(|| log_dirs.first().cloned());
        let node_id = BrokerId(layers.int("node.id"));
        let quorum = QuorumConfig::resolve(layers);
        let own_voter = quorum.voters.iter().find(|voter| voter.id == node_id);
        let own_voter = own_voter.map(|voter| &voter.address);
        let listeners = Listeners::resolve(layers, own_voter, &mut errors);
        let mut node = Self {
            node_id,
            roles: Roles { broker: has("broker"), controller: has("controller") },
            rack: layers.optional_text("broker.rack").map(|rack| rack.into_owned()),
            quorum,
            metadata_log_dir: metadata_log_dir.expect("log.dir has an entry at least"),
            log_dirs,
            limits: ConnectionLimits::resolve(layers, &listeners),
            listeners,
            topics: TopicDefaults::resolve(layers),
            upkeep: LogUpkeep::resolve(layers),
            fetch: FetchLimits::resolve(layers),
            replication: Replication::resolve(layers),
            groups: GroupDefaults::resolve(layers),
            disk_hung_ms: layers.millis("thalweg.disk.hung.ms"),
            metrics_listener: HostPort::read(&layers.text("thalweg.metrics.listener")),
            shards: u32::try_from(layers.int("thalweg.shards")).ok().filter(|count| *count > 0),
        };
        let quorum = &node.quorum;
        let knows_none = quorum.bootstrap_servers.is_empty() && quorum.voters.is_empty();
        if layers.fixed.grows() && knows_none {
            node.lead_itself();
        }
        rules::check(&node, layers, &mut errors);
        if errors.is_empty() { Ok(node) } else { Err(ConfigErrors(errors)) }
    }

    /// The controllers of a node that nobody has told of any: itself.
    fn lead_itself(&mut self) {
        let own = self.listeners.advertised_controller.first();
        self.quorum.bootstrap_servers.extend(own.map(|listener| HostPort {
            host: listener.host.clone().unwrap_or_else(|| "localhost".to_owned()),
            port: listener.port,
        }));
    }

    /// Refuses listeners that need TLS or SASL, for a server that speaks neither.
    ///
    /// # Errors
    /// One for each such listener that is bound.
    pub fn refuse_secured_listeners(&self) -> Result<(), ConfigErrors> {
        let plaintext = SecurityProtocol::Plaintext;
        let secured = self.listeners.bound.iter().filter(|one| one.protocol != plaintext);
        let errors: Vec<ConfigError> = secured
            .map(|one| {
                let protocol = one.protocol.name();
                let reason = format!("listener {} is {protocol}, not supported yet", one.name);
                ConfigError::conflict("listeners", reason)
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }
}

#[cfg(test)]
mod tests;
