//! Tests of the coordinator from outside: scripts, tables of errors, golden records, simulation.

mod errors;
mod golden;
mod hostile;
mod offsets;
mod print;
mod scripts;
mod simulation;
mod versions;
mod world;
