//! Controller decisions and images, tested through the crate's public face: a request goes in, the
//! records are applied, and what comes out is compared.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod alter_partition;
mod batches;
mod brokers;
mod configs;
mod directories;
mod elections;
mod features;
mod former_run;
mod image;
mod partitions;
mod random;
mod reassignment;
mod topics;
mod world;
