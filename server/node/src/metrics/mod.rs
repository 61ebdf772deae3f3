//! What the node counts and how it shows it to Prometheus.
//!
//! [`ShardMetrics`] are plain cells that a shard counts in; a scrape asks every shard for a copy
//! ([`ShardFacts`]) and adds them up. The names are those that the JMX exporter gives to Apache
//! Kafka's metrics, so that dashboards made for it work.

mod counts;
mod facts;
mod page;
mod render;
mod replicas;

pub use counts::{IsrChange, ShardMetrics};
pub use facts::{DirFacts, ShardFacts};
pub use render::{render, render_recovery};
pub use replicas::ClusterFacts;
