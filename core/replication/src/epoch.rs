//! What to say to a request that names another leader epoch than the one that holds here (KIP-320).

use types::{ErrorCode, LeaderEpoch};

/// Compares the leader epoch that a request names, if it does, with the one that holds.
///
/// # Errors
/// The code that sends the client to fresh metadata, or has it wait for this node's.
pub fn check_epoch(known: Option<LeaderEpoch>, here: LeaderEpoch) -> Result<(), ErrorCode> {
    match known {
        Some(known) if known < here => Err(ErrorCode::FencedLeaderEpoch),
        Some(known) if known > here => Err(ErrorCode::UnknownLeaderEpoch),
        Some(_) | None => Ok(()),
    }
}
