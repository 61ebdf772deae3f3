//! What the metadata and the settings say of a partition's copies, for rates and metrics.

use std::sync::Arc;

use ::metadata::image::Partition as Replica;
use types::BrokerId;

use super::Partition;
use crate::throttles::Copied;

/// Which of a topic's partitions on this node are throttled.
#[derive(Clone, Debug)]
pub struct Listed(Option<Arc<[i32]>>);

impl Listed {
    /// `None` for all of them.
    pub fn new(indexes: Option<Vec<i32>>) -> Self {
        Self(indexes.map(Arc::from))
    }

    fn has(&self, index: i32) -> bool {
        self.0.as_ref().is_none_or(|indexes| indexes.contains(&index))
    }
}

/// Whether rates of listed replicas hold for a partition: as a leader, and as a follower.
#[derive(Clone, Copy, Debug, Default)]
pub struct IsListed {
    pub(super) leads: bool,
    pub(super) follows: bool,
}

impl IsListed {
    pub(super) fn of(index: i32, (leaders, followers): (&Listed, &Listed)) -> Self {
        Self { leads: leaders.has(index), follows: followers.has(index) }
    }
}

impl Partition {
    /// Takes the newest that the metadata says of it.
    pub fn set_state(&mut self, state: &Arc<Replica>) {
        self.state = Arc::clone(state);
    }

    /// The newest that the metadata says of it, whether this node heeds it already or not.
    pub fn state(&self) -> &Replica {
        &self.state
    }

    /// A copy that this node gives as the leader.
    pub fn copied_to(&self, follower: BrokerId) -> Copied {
        Copied {
            is_listed: self.listed.leads,
            is_added: self.state.adding.contains(&follower),
            is_in_sync: self.state.isr.contains(&follower),
        }
    }

    /// The copy that this node makes as a follower.
    pub fn copied_here(&self, here: BrokerId) -> Copied {
        Copied {
            is_listed: self.listed.follows,
            is_added: self.state.adding.contains(&here),
            // One that has all may ask, or it could not become in sync.
            is_in_sync: self.state.isr.contains(&here) || self.lag == Some(0),
        }
    }

    /// Records that a follower lacked by the leader's last answer; `None` before the first.
    pub fn lag(&self) -> Option<u64> {
        self.lag
    }
}
