//! The state of the cluster as the metadata log describes it.
//!
//! An [`Image`] is a value: cloning it costs a few reference counts and later changes of one copy
//! are not seen by the other. [`Image::apply`] is the only way to change one, so that the
//! controller that decides, the brokers that follow and the node that reloads a snapshot hold the
//! same state.
//!
//! Not here: transactions of the log ([`Loader`]), what differs between two images ([`Changes`]),
//! deciding (`controller`).

mod apply;
mod broker_ids;
mod changes;
mod cluster;
mod config_resource;
mod loader;
mod quota;
mod snapshot;
pub(crate) mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::internal::metadata::{
    AccessControlEntryRecord, DelegationTokenRecord, UserScramCredentialRecord,
};
use types::{BrokerId, Uuid};

pub use apply::ApplyError;
pub use broker_ids::BrokerIds;
pub use changes::{Changes, PartitionDifference};
pub use cluster::{Broker, Controller, Endpoint, SupportedFeature};
pub use config_resource::{ConfigResource, ResourceType};
pub use loader::{Loader, LoaderError};
pub use quota::QuotaEntity;
pub use topic::{Partition, Topic, directory};

use crate::features::{ELR_VERSION, METADATA_VERSION};
use crate::shared_map::SharedMap;

/// Settings of one resource, by key.
pub type Settings = BTreeMap<String, String>;

/// The settings of a resource that has none.
static NO_SETTINGS: Settings = Settings::new();

/// All that the metadata log has said so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    topics: SharedMap<Uuid, Arc<Topic>>,
    topic_ids: SharedMap<Arc<str>, Uuid>,
    /// Names that a metric could mistake for one another, with `.` written as `_`, and the name.
    look_alikes: SharedMap<(Arc<str>, Arc<str>), ()>,
    brokers: SharedMap<BrokerId, Arc<Broker>>,
    controllers: SharedMap<BrokerId, Arc<Controller>>,
    features: Arc<BTreeMap<String, i16>>,
    configs: SharedMap<ConfigResource, Arc<Settings>>,
    next_producer_id: i64,
    quotas: SharedMap<QuotaEntity, Arc<BTreeMap<String, f64>>>,
    acls: SharedMap<Uuid, Arc<AccessControlEntryRecord>>,
    scram: SharedMap<(i8, String), Arc<UserScramCredentialRecord>>,
    tokens: SharedMap<String, Arc<DelegationTokenRecord>>,
}

impl Image {
    /// The topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topic_by_id(*self.topic_ids.get(name)?)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topic_ids.values().map(|id| self.known_topic(*id))
    }

    /// The topics from `name` on, in the order of their names.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.topic_ids.range_from(name).map(|(_, id)| self.known_topic(*id))
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// An existing topic whose name differs from `name` in `.` and `_` alone.
    pub fn topic_looking_like(&self, name: &str) -> Option<&Arc<str>> {
        let plain: Arc<str> = look_alike(name)?.into();
        let from = (Arc::clone(&plain), Arc::from(""));
        let ((found, existing), ()) = self.look_alikes.range_from(&from).next()?;
        (*found == plain).then_some(existing)
    }

    /// The broker with this id.
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// All registered brokers, fenced ones too, lowest id first.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// Whether replicas on this broker may lead and be in sync.
    pub fn is_active(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| broker.is_active())
    }

    /// All registered controllers, lowest id first.
    pub fn controllers(&self) -> impl Iterator<Item = &Arc<Controller>> {
        self.controllers.values()
    }

    /// The finalized level of a feature; 0 where it is not enabled.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The finalized features above level 0, `metadata.version` among them, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, &level)| (name.as_str(), level))
    }

    /// The level of `metadata.version`; 0 before the first record of a new cluster.
    pub fn metadata_version(&self) -> i16 {
        self.feature(METADATA_VERSION)
    }

    /// Whether eligible leader replicas are kept.
    pub(crate) fn elr_enabled(&self) -> bool {
        self.feature(ELR_VERSION) >= 1
    }

    /// The dynamic settings of a resource.
    pub fn settings(&self, resource: &ConfigResource) -> &Settings {
        self.configs.get(resource).map_or(&NO_SETTINGS, |settings| settings)
    }

    /// The dynamic settings of a topic.
    pub fn topic_settings(&self, topic: &str) -> &Settings {
        self.settings(&ConfigResource::topic(topic))
    }

    /// All resources that have dynamic settings.
    pub fn config_resources(&self) -> impl Iterator<Item = (&ConfigResource, &Settings)> {
        self.configs.iter().map(|(resource, settings)| (resource, settings.as_ref()))
    }

    /// The first producer id that no broker was given yet.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// All quotas.
    pub fn quotas(&self) -> impl Iterator<Item = (&QuotaEntity, &BTreeMap<String, f64>)> {
        self.quotas.iter().map(|(entity, limits)| (entity, limits.as_ref()))
    }

    /// All access control entries.
    pub fn acls(&self) -> impl Iterator<Item = &Arc<AccessControlEntryRecord>> {
        self.acls.values()
    }

    /// All SCRAM credentials.
    pub fn scram_credentials(&self) -> impl Iterator<Item = &Arc<UserScramCredentialRecord>> {
        self.scram.values()
    }

    /// All delegation tokens.
    pub fn delegation_tokens(&self) -> impl Iterator<Item = &Arc<DelegationTokenRecord>> {
        self.tokens.values()
    }

    fn known_topic(&self, id: Uuid) -> &Arc<Topic> {
        self.topics.get(&id).expect("every name has its topic")
    }
}

/// `name` with `.` written as `_`, where it has one of them.
fn look_alike(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
