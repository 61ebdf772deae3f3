//! What a coordinator serves: classic groups, offsets, and the requests that look at both.

pub(crate) mod admin;
pub(crate) mod classic;
pub(crate) mod offsets;
