//! Whether the metadata say of this broker what is not so. Whoever reaches a listener of controllers can
//! send a heartbeat in its name, and say that its directories have failed.
//!
//! Not here: what follows (`membership`).

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use ::metadata::image::{Broker, Partition};
use ::metadata::{Changes, Image};
use types::{BrokerId, Uuid};

/// What was seen of one registration.
#[derive(Debug)]
pub struct Standing {
    /// The epoch of the registration in which all directories that work were known last.
    known_in: AtomicI64,
    is_wrong: AtomicBool,
}

/// This broker as it knows itself.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    pub id: BrokerId,
    /// Epoch of its registration.
    pub epoch: i64,
    /// The directories that work.
    pub working: &'a [Uuid],
}

impl Default for Standing {
    fn default() -> Self {
        Self { known_in: AtomicI64::new(-1), is_wrong: AtomicBool::new(false) }
    }
}

impl Standing {
    /// Looks at newer metadata, and at what they change.
    pub fn note(&self, image: &Image, changes: &Changes, own: Own<'_>) {
        let Some(broker) = image.broker(own.id) else { return };
        if broker.epoch == own.epoch
            && (self.lacks_directories(broker, own) || has_lost_a_leadership(broker, changes, own))
        {
            self.is_wrong.store(true, Ordering::Relaxed);
        }
    }

    /// Whether something was seen that is not so.
    pub fn is_wrong(&self) -> bool {
        self.is_wrong.load(Ordering::Relaxed)
    }

    /// The broker has registered anew.
    pub fn renewed(&self) {
        self.is_wrong.store(false, Ordering::Relaxed);
    }

    /// Whether directories have gone from the registration that work. A cluster of an older version
    /// never knew them.
    fn lacks_directories(&self, broker: &Broker, own: Own<'_>) -> bool {
        let are_known = own.working.iter().all(|id| broker.directories.contains(id));
        if are_known {
            self.known_in.store(broker.epoch, Ordering::Relaxed);
        }
        !are_known && self.known_in.load(Ordering::Relaxed) == broker.epoch
    }
}

/// Whether nobody leads a partition any more that this broker led and has in a directory that works,
/// though it is neither fenced nor about to stop. No record says that all directories have failed.
fn has_lost_a_leadership(broker: &Broker, changes: &Changes, own: Own<'_>) -> bool {
    let is_active = !broker.fenced && !broker.in_controlled_shutdown;
    let is_lost = |before: &Partition, after: &Partition| {
        let works = after.directory_of(own.id).is_some_and(|dir| own.working.contains(&dir));
        before.leader == Some(own.id) && after.leader.is_none() && works
    };
    let mut partitions = changes.partitions.iter();
    is_active
        && partitions.any(|one| match (&one.before, &one.after) {
            (Some(before), Some(after)) => is_lost(before, after),
            (None, _) | (_, None) => false,
        })
}
