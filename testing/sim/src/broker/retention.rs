//! Retention: the beginning of a log goes, by its size on each replica by itself, and where that of its
//! leader has gone. A follower that ends before its leader begins starts anew there.
//!
//! The node does so with files renamed by another thread (`upkeep::retention`), and asks a leader for its
//! range by a request of its own (`replicas::realign`); here that comes with the refusal.

use replication::Realign;
use types::{Millis, Offset};

use super::Broker;
use crate::bug::Bug;
use crate::clock::Now;
use crate::happening::Happening;
use crate::message::Slot;
use crate::replica::Role;

/// `log.retention.check.interval.ms`.
const CHECK_EVERY: Millis = Millis(500);

impl Broker {
    /// Has all logs drop what they need not keep, now and then.
    pub(super) fn retain(&mut self, now: Now) -> anyhow::Result<()> {
        if now.monotonic < self.next_retention {
            return Ok(());
        }
        self.next_retention = now.monotonic + CHECK_EVERY;
        let slots: Vec<_> = self.replicas.keys().copied().collect();
        for slot in slots {
            let Some(replica) = self.replicas.get_mut(&slot) else { continue };
            match replica.retain(now) {
                Ok(true) => self.trace.happens(Happening::Retention),
                Ok(false) => {}
                Err(fault) => self.note_refused(slot, fault)?,
            }
        }
        Ok(())
    }

    /// Puts a log right that is out of the range of its leader, which is `leaders`.
    pub(super) fn realign(
        &mut self,
        slot: Slot,
        leaders: (Offset, Offset),
        now: Now,
    ) -> anyhow::Result<()> {
        let Some(replica) = self.replicas.get_mut(&slot) else { return Ok(()) };
        let own = replica.own();
        let Role::Follower(follower) = &mut replica.role else { return Ok(()) };
        let cut = match follower.out_of_range(leaders, &own) {
            Realign::Truncate(end) => replica.log.truncate_to(end, now.wall).map(|_| ()),
            Realign::StartAt(start) => {
                self.trace.happens(Happening::StartAnew);
                let start = if self.bug == Some(Bug::BeginsAtEnd) { leaders.1 } else { start };
                replica.log.truncate_fully_and_start_at(start, now.wall)
            }
            Realign::FetchOn => return Ok(()),
        };
        if let Err(fault) = cut {
            return self.note_refused(slot, fault);
        }
        let took_committed = follower.truncated(replica.log.end_offset());
        assert!(!took_committed, "{} cuts what is committed of {slot}", self.at);
        Ok(())
    }
}
