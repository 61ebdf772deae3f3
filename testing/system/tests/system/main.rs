//! The real binary under load, crashes, attacks and wrong use. `THALWEG_BIN` names it; without
//! that the one of this workspace is built.
//!
//! One program, so that it is linked once.

mod attacks;
mod clusters;
mod crash;
mod damage;
mod dev;
mod disk_moves;
mod disks;
mod files;
mod hung_disks;
mod join;
mod limits;
mod metadata_damage;
mod metrics;
mod network;
mod power;
mod quorum;
mod start;
mod stop;
mod survive;

use std::time::{SystemTime, UNIX_EPOCH};

/// From `THALWEG_SEED`, else from the clock.
pub(crate) fn seed() -> anyhow::Result<u64> {
    match std::env::var("THALWEG_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => Ok(u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos())),
    }
}
