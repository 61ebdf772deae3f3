//! Producer, consumer and admin for Apache Kafka and thalweg, in pure Rust on tokio.
//!
//! [`Client`] knows the cluster; [`Admin`], [`Producer`] and [`Consumer`] are made from it and
//! share its connections. Records are owned, cheap [`bytes::Bytes`]. No `Drop` blocks, futures may
//! be dropped at any await, and a [`ClientError`] names cause, broker, API and cure.
//!
//! ```no_run
//! use thalweg_client::{Client, ClientSettings, ConsumerSettings, OffsetReset, ProducerRecord};
//!
//! # async fn example() -> Result<(), thalweg_client::ClientError> {
//! let client = Client::new(ClientSettings::new("127.0.0.1:9092"));
//! let producer = client.producer(Default::default());
//! producer.send(ProducerRecord::new("orders", "one").key("customer 7")).await?;
//!
//! let mut consumer = client.consumer(ConsumerSettings {
//!     group: Some("billing".to_owned()),
//!     offset_reset: OffsetReset::Earliest,
//!     ..ConsumerSettings::default()
//! });
//! consumer.subscribe(&["orders"])?;
//! let record = consumer.recv().await?;
//! println!("{:?} at {}", record.value, record.offset);
//! consumer.commit().await?;
//! consumer.close().await
//! # }
//! ```
//!
//! Not here yet: TLS, SASL, transactions, the consumer protocol of KIP-848, share groups.

mod admin;
mod cluster;
mod connection;
mod consumer;
mod error;
mod failover;
mod metadata;
mod producer;
mod retry;
mod settings;
#[cfg(test)]
mod testing;

pub use admin::{
    Admin, ClusterDescription, ConfigChange, ConfigEntry, ConfigResource, CreatedTopic, Each,
    Election, FeatureLevel, GroupDescription, GroupListing, GroupMember, GroupOffset, ListedOffset,
    LogDir, LogDirReplica, NewTopic, OffsetSpec, QuorumDescription, QuorumEndpoint, QuorumReplica,
    Reassignment, ResourceKind, TopicDescription, UpgradeType,
};
pub use cluster::Client;
pub use consumer::{
    Assignor, Consumer, ConsumerSettings, IsolationLevel, OffsetReset, Record, StartAt,
};
pub use error::ClientError;
pub use metadata::{Broker, PartitionMetadata, TopicMetadata};
pub use producer::{
    Acks, Delivery, Producer, ProducerRecord, ProducerSettings, RecordMetadata, partition_for_key,
};
pub use records::Compression;
pub use settings::ClientSettings;
pub use types::{ErrorCode, TopicPartition, Uuid};
