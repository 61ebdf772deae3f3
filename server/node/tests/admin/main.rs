//! Admin requests against a running node, sent as bytes over TCP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod balancing;
mod brokers;
mod client;
mod cluster;
mod compaction;
mod configs;
mod controller_listener;
mod controllers;
mod dir_failures;
mod every_version;
mod faults;
mod flush;
mod followers;
mod joining;
mod large_fetch;
mod log_dirs;
mod long_poll;
mod memory;
mod mending;
mod power_cuts;
mod probes;
mod produce;
mod producers;
mod quorum;
mod records;
mod repeats;
mod replication;
mod retention;
mod stale_disks;
mod stop;
mod strays;
mod throttling;
mod topics;
