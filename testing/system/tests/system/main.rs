//! The real binary under load, crashes, attacks and wrong use. `THALWEG_BIN` names it; without
//! that the one of this workspace is built.
//!
//! One program, so that it is linked once.

mod attacks;
mod crash;
mod disks;
mod files;
mod limits;
mod metrics;
mod start;
mod stop;
mod survive;
