//! Retention of committed offsets (KIP-211).
//!
//! While a group of consumers is stable, offsets of topics that nobody subscribes to expire by
//! their commit. In a group that has become empty all expire by the time since then. Offsets of
//! simple groups expire by their commit. In groups that rebalance, and in other groups with
//! members, nothing expires. Old clients may have set a time of their own, which goes first.

use types::Millis;

use super::CommittedOffset;
use crate::group::classic::{Group, State};
use crate::logged::{Generation, Logged};
use crate::message::{Now, Outcome};
use crate::records;

/// From when on an offset has been idle.
enum IdleSince {
    Commit,
    /// The group's own time, or the commit where the log does not tell it.
    GroupEmpty(Option<Millis>),
}

/// Records that delete what has expired, and the group itself once nothing is left of it.
pub(crate) fn expire_offsets(
    logged: &Logged,
    group_id: &str,
    group: Option<&Group>,
    now: Now,
    retention: Millis,
    outcome: &mut Outcome,
) {
    let Some(generation) = logged.generation(group_id) else { return };
    let Some(idle_since) = idle_since(generation, group) else { return };
    let mut is_all = true;
    for (topic, partitions) in logged.offsets().of_group(group_id) {
        if group.is_some_and(|group| group.subscribes_to(topic)) {
            is_all = false;
            continue;
        }
        for (&partition, committed) in partitions {
            if is_expired(committed, &idle_since, now.wall, retention) {
                outcome.records.push(records::offset_tombstone(group_id, topic, partition));
            } else {
                is_all = false;
            }
        }
    }
    if is_all && group.is_none() {
        outcome.records.push(records::group_tombstone(group_id));
    }
}

/// `None` where the group is in a state in which nothing expires. A group without a live side is
/// empty and nobody is on the way to it.
fn idle_since(generation: &Generation, group: Option<&Group>) -> Option<IdleSince> {
    let protocol_type = match group {
        Some(group) => group.protocol_type(),
        None => generation.protocol_type.as_deref(),
    };
    if protocol_type.is_none() {
        return Some(IdleSince::Commit);
    }
    match group.map(|group| (group, group.state())) {
        None | Some((_, State::Empty)) => Some(IdleSince::GroupEmpty(generation.since)),
        Some((group, State::Stable)) => group.knows_subscriptions().then_some(IdleSince::Commit),
        Some((_, State::PreparingRebalance { .. } | State::CompletingRebalance)) => None,
    }
}

fn is_expired(
    committed: &CommittedOffset,
    idle_since: &IdleSince,
    now: Millis,
    retention: Millis,
) -> bool {
    let idle_since = match idle_since {
        IdleSince::Commit => committed.committed_at,
        IdleSince::GroupEmpty(since) => since.unwrap_or(committed.committed_at),
    };
    match committed.expires_at {
        Some(expires_at) => now >= expires_at,
        None => now - idle_since >= retention,
    }
}
