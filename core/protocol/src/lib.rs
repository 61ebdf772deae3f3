//! The Kafka protocol: every message of every API in every version that Apache Kafka 4.3 knows,
//! and the records of its internal topics.
//!
//! [`messages`] are owned, [`views`] borrow from the request, [`internal`] are records. All are
//! printed from `schema/` by `cargo xtask codegen`; by hand is only [`wire`], how values lie in
//! bytes. No IO here, and no opinion: which versions are served is [`ApiKey`]'s table, what an
//! answer says is for others.

mod api_key;
pub mod frames;
mod generated;
mod message;
pub mod reencode;
pub mod wire;

pub use generated::api_key::ApiKey;
pub use generated::{internal, messages, views};
pub use message::{Message, View};
pub use reencode::check_request;
