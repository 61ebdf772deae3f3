//! Connections over loopback, with a toy handler in the place of the node.
//!
//! Tests run on the real clock and never sleep. Those about time exchange what they need first,
//! then pause the clock and move it by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod limits;
mod order;
mod placement;
mod slow;
mod stop;
mod support;
