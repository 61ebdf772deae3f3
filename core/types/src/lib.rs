//! Small types that every room shares: offsets, epochs, ids, error codes, time, randomness.
//!
//! Each newtype knows its unit and its wire form; none of them touches a clock, a socket or a file.

mod error_code;
mod ids;
mod offset;
mod rng;
mod time;
mod topic;

pub use error_code::ErrorCode;
pub use ids::{BrokerId, LeaderEpoch, ProducerId, Uuid, UuidError};
pub use offset::Offset;
pub use rng::Rng;
pub use time::Millis;
pub use topic::{InvalidTopicName, TopicPartition, validate_topic_name};
