//! The broker role: requests in, answers out.
//!
//! [`serve`] is where every frame enters; `api` has one file per API.

mod answers;
pub mod api;
mod excerpt;
mod forward;
mod group_call;
mod hand_over;
mod leader_hints;
mod not_controller;
mod once;
mod operations;
mod read;
mod request;
mod resolve;

pub use answers::Answers;
pub use hand_over::{HandOver, begin as hold_producers};
pub use request::{Context, serve};
