//! Crashes, full and failing disks, against a model of what was promised.
//!
//! `THALWEG_SEEDS=n` runs so many seeds of the simulation, `THALWEG_SEED=n` one of them, and
//! `THALWEG_CRASH=seed:changes` one crash; a run by itself tells what it does.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

mod check;
mod crash_points;
mod errors;
mod model;
mod sequences;
mod simulation;
#[path = "../support/mod.rs"]
mod support;
mod world;
