//! The nodes of the cluster: brokers and controllers, as they registered.

use protocol::internal::metadata::{
    BrokerRegistrationChangeRecord, RegisterBrokerRecord, RegisterControllerRecord,
    register_broker_record, register_controller_record,
};
use types::{BrokerId, Uuid};

use super::topic::directory;

/// Where a node can be reached by one of its listeners.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Name of the listener.
    pub listener: String,
    /// Host that clients are told.
    pub host: String,
    /// Port that clients are told.
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The levels of a feature that a node can work at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SupportedFeature {
    /// Name of the feature, such as `metadata.version`.
    pub name: String,
    /// Lowest level.
    pub min: i16,
    /// Highest level.
    pub max: i16,
}

/// A broker and its state in the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broker {
    /// `node.id`.
    pub id: BrokerId,
    /// Tells this run of the broker from earlier ones; grows with every registration.
    pub epoch: i64,
    /// Drawn by the process at its start.
    pub incarnation_id: Uuid,
    /// By listener name.
    pub endpoints: Vec<Endpoint>,
    /// What the broker can do.
    pub features: Vec<SupportedFeature>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Whether the broker is kept out: not ready yet, or silent for too long.
    pub fenced: bool,
    /// Whether the broker is leaving in good order.
    pub in_controlled_shutdown: bool,
    /// Its log directories that work.
    pub directories: Vec<Uuid>,
    /// Its log directories that take no new replicas; `None` until the broker has told.
    pub cordoned: Option<Vec<Uuid>>,
}

impl Broker {
    /// Whether replicas on the broker may lead and be in sync.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// The address of this listener.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }

    /// Whether a replica in this directory can serve.
    pub fn has_online_directory(&self, id: Uuid) -> bool {
        match id {
            directory::LOST => false,
            id if directory::is_reserved(id) => true,
            // A broker of before 3.7 names no directories.
            id => self.directories.is_empty() || self.directories.contains(&id),
        }
    }

    /// Whether the broker has a directory that takes new replicas.
    pub fn takes_replicas(&self) -> bool {
        let cordoned = self.cordoned.as_deref().unwrap_or_default();
        self.directories.is_empty() || self.directories.iter().any(|id| !cordoned.contains(id))
    }

    pub(super) fn from_record(record: &RegisterBrokerRecord) -> Self {
        let endpoints = record.end_points.iter().map(|endpoint| Endpoint {
            listener: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        });
        let features = record.features.iter().map(|feature| SupportedFeature {
            name: feature.name.clone(),
            min: feature.min_supported_version,
            max: feature.max_supported_version,
        });
        Self {
            id: BrokerId(record.broker_id),
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            endpoints: endpoints.collect(),
            features: features.collect(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            directories: record.log_dirs.clone(),
            cordoned: record.cordoned_log_dirs.clone(),
        }
    }

    pub(super) fn to_record(&self) -> RegisterBrokerRecord {
        let end_points =
            self.endpoints.iter().map(|endpoint| register_broker_record::BrokerEndpoint {
                name: endpoint.listener.clone(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                security_protocol: endpoint.security_protocol,
                ..Default::default()
            });
        let features = self.features.iter().map(|feature| register_broker_record::BrokerFeature {
            name: feature.name.clone(),
            min_supported_version: feature.min,
            max_supported_version: feature.max,
            ..Default::default()
        });
        RegisterBrokerRecord {
            broker_id: self.id.0,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: end_points.collect(),
            features: features.collect(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.directories.clone(),
            cordoned_log_dirs: self.cordoned.clone(),
            ..Default::default()
        }
    }

    /// Applies what `change` names; 0 and empty lists mean "as before".
    pub(super) fn change(&mut self, change: &BrokerRegistrationChangeRecord) {
        match change.fenced {
            1 => self.fenced = true,
            -1 => self.fenced = false,
            _ => {}
        }
        if change.in_controlled_shutdown == 1 {
            self.in_controlled_shutdown = true;
        }
        if !change.log_dirs.is_empty() {
            self.directories.clone_from(&change.log_dirs);
        }
        if change.cordoned_log_dirs.is_some() {
            self.cordoned.clone_from(&change.cordoned_log_dirs);
        }
    }
}

/// A controller, as it registered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Controller {
    /// `node.id`.
    pub id: BrokerId,
    /// Drawn by the process at its start.
    pub incarnation_id: Uuid,
    /// By listener name.
    pub endpoints: Vec<Endpoint>,
    /// What the controller can do.
    pub features: Vec<SupportedFeature>,
}

impl Controller {
    pub(super) fn from_record(record: &RegisterControllerRecord) -> Self {
        let endpoints = record.end_points.iter().map(|endpoint| Endpoint {
            listener: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        });
        let features = record.features.iter().map(|feature| SupportedFeature {
            name: feature.name.clone(),
            min: feature.min_supported_version,
            max: feature.max_supported_version,
        });
        Self {
            id: BrokerId(record.controller_id),
            incarnation_id: record.incarnation_id,
            endpoints: endpoints.collect(),
            features: features.collect(),
        }
    }

    pub(super) fn to_record(&self) -> RegisterControllerRecord {
        let end_points =
            self.endpoints.iter().map(|endpoint| register_controller_record::ControllerEndpoint {
                name: endpoint.listener.clone(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                security_protocol: endpoint.security_protocol,
                ..Default::default()
            });
        let features =
            self.features.iter().map(|feature| register_controller_record::ControllerFeature {
                name: feature.name.clone(),
                min_supported_version: feature.min,
                max_supported_version: feature.max,
                ..Default::default()
            });
        RegisterControllerRecord {
            controller_id: self.id.0,
            incarnation_id: self.incarnation_id,
            end_points: end_points.collect(),
            features: features.collect(),
            ..Default::default()
        }
    }
}
