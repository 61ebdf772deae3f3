//! A whole cluster in one thread: virtual time, a network and disks that fail, all from one seed.
//!
//! Every decision is the product's own: the quorum (`raft`), the controller (`metadata`), leaders,
//! followers and fetch sessions (`replication`), and logs on their faulty disk (`log`). The loops
//! around them are written anew here, since those of the node have threads, sockets and clocks. So
//! this proves what is decided and what is on disk, and nothing about the loops of `server/node`.
//!
//! [`run`] runs one seed. What must hold is checked all the time (`history`), and a run that breaks
//! it ends in a [`Failure`] that says what happened last.

mod broker;
mod bug;
mod client;
mod clock;
mod controller;
mod dirs;
mod faults;
mod happening;
mod history;
mod images;
mod machine;
mod message;
mod metadata_log;
mod quorum;
mod replacement;
mod replica;
mod rest;
mod run;
mod snapshots;
mod trace;
mod world;

pub use bug::Bug;
pub use happening::Happening;
pub use run::{Failure, Outcome, run};
