//! Configuration as data: every key of Kafka 4.3.0, where its value comes from, what it may be.
//!
//! Sources ([`Properties`], [`environment`], overrides) are merged by [`StaticConfig`]; with the
//! dynamic values of the metadata log they form [`BrokerLayers`], from which [`NodeConfig`],
//! [`TopicConfig`] are read as typed structs.
//!
//! Not here: files and environment are read by the caller, dynamic values are kept by `metadata`.

pub mod environment;
pub mod keys;
pub mod reference;

mod alter;
mod check;
mod describe;
mod error;
mod fixed;
mod group_bounds;
mod internal_topics;
mod key;
mod layers;
mod node;
mod properties;
mod rates;
mod suggest;
mod topic_config;

pub use alter::{Change, Operation, Scope, alter, differences, replace};
pub use check::entries;
pub use describe::{
    Entry, FoundValue, Source, describe_broker, describe_client_metrics, describe_cluster_default,
    describe_group, describe_topic,
};
pub use error::{ConfigError, ConfigErrors};
pub use fixed::{SINGLE_NODE, Sources, StaticConfig, Warning};
pub use internal_topics::{GROUP_METADATA_TOPIC, INTERNAL_TOPICS, InternalTopic, is_internal};
pub use key::{Check, ConfigKey, Default, Effect, Importance, Kind, Mode, Synonym};
pub use layers::{BrokerLayers, ConfigMap};
pub use node::{
    ConnectionLimits, FetchLimits, GroupDefaults, HostPort, Listener, ListenerLimits, Listeners,
    LogUpkeep, NodeConfig, QuorumConfig, Replication, Roles, SecurityProtocol, TopicDefaults,
    Voter,
};
pub use properties::{Properties, PropertiesError};
pub use rates::ReplicationRates;
pub use suggest::nearest;
pub use topic_config::{
    CompressionType, Durability, ThrottledReplicas, TimestampType, TopicConfig,
};
