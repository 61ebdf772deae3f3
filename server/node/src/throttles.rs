//! The rates that copying keeps to, for the whole node: copies from throttled replicas and by them
//! (KIP-73), replicas that a reassignment adds, logs that move to other directories.
//!
//! A copy is of a [`Copied`]: all that one or two rates hold for is counted there, and only who is
//! not in sync waits. Not here: how a rate is measured (`replication::Quota`), who asks whom
//! (`replicas`, `broker/read`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use config::{BrokerLayers, ReplicationRates};
use replication::{Quota, QuotaWindows};
use types::Millis;

use crate::clock;

/// The rates, and what was used of them. Shards that copy what no rate holds for never come here.
pub struct Throttles {
    leader: Mutex<Quota>,
    follower: Mutex<Quota>,
    added_out: Mutex<Quota>,
    added_in: Mutex<Quota>,
    directories: Mutex<Quota>,
}

/// One replica that is copied to, as far as rates care.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Copied {
    /// Whether the topic's lists of throttled replicas name it.
    pub is_listed: bool,
    /// Whether a reassignment adds it.
    pub is_added: bool,
    /// Whether it waits for nothing, as all the others would.
    pub is_in_sync: bool,
}

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// To a follower.
    Out,
    /// From a leader.
    In,
}

impl Throttles {
    /// No limits yet; windows as the node was started with.
    pub fn new(layers: &BrokerLayers<'_>) -> Self {
        let windows = |prefix: &str| QuotaWindows {
            count: layers.int(&format!("{prefix}replication.quota.window.num")).unsigned_abs(),
            size: Millis(
                1000 * i64::from(
                    layers.int(&format!("{prefix}replication.quota.window.size.seconds")),
                ),
            ),
        };
        let quota = |prefix| Mutex::new(Quota::new(windows(prefix)));
        Self {
            leader: quota(""),
            follower: quota(""),
            added_out: quota(""),
            added_in: quota(""),
            directories: quota("alter.log.dirs."),
        }
    }

    /// Puts rates in force.
    pub fn set_rates(&self, rates: &ReplicationRates) {
        locked(&self.leader).set_rate(rates.leader);
        locked(&self.follower).set_rate(rates.follower);
        locked(&self.added_out).set_rate(rates.reassignment);
        locked(&self.added_in).set_rate(rates.reassignment);
        locked(&self.directories).set_rate(rates.directories);
    }

    /// Counts what was copied, by whoever is in sync, too: a rate is one of all its traffic.
    pub fn record(&self, way: Way, copied: Copied, bytes: usize) {
        let (bytes, now) = (bytes as u64, clock::monotonic());
        for quota in self.holding(way, copied) {
            match copied.is_in_sync {
                true => locked(quota).record_unlimited(bytes, now),
                false => locked(quota).record(bytes, now),
            }
        }
    }

    /// How long the replica waits.
    pub fn wait(&self, way: Way, copied: Copied) -> Millis {
        let waits = self.holding(way, copied).map(|quota| locked(quota).wait(clock::monotonic()));
        waits.max().filter(|_| !copied.is_in_sync).unwrap_or(Millis::ZERO)
    }

    /// Bytes that the replica may copy now; `None` for any number.
    pub fn left(&self, way: Way, copied: Copied) -> Option<u64> {
        let left = self.holding(way, copied);
        let left = left.filter_map(|quota| locked(quota).left(clock::monotonic())).min();
        left.filter(|_| !copied.is_in_sync)
    }

    /// Counts what was copied from one directory to another.
    pub fn record_move(&self, bytes: usize) {
        locked(&self.directories).record(bytes as u64, clock::monotonic());
    }

    /// How long a copy from one directory to another waits.
    pub fn wait_of_moves(&self) -> Millis {
        locked(&self.directories).wait(clock::monotonic())
    }

    /// The quotas that hold for a copy.
    fn holding(&self, way: Way, copied: Copied) -> impl Iterator<Item = &Mutex<Quota>> {
        let (listed, added) = match way {
            Way::Out => (&self.leader, &self.added_out),
            Way::In => (&self.follower, &self.added_in),
        };
        let listed = copied.is_listed.then_some(listed);
        listed.into_iter().chain(copied.is_added.then_some(added))
    }
}

fn locked(quota: &Mutex<Quota>) -> MutexGuard<'_, Quota> {
    // Each change is one call, and a panic in it ends the process.
    quota.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use config::{Sources, StaticConfig};

    use super::*;

    #[test]
    fn who_is_in_sync_is_counted_and_never_waits() {
        // Windows so long that the test's own time counts for nothing.
        let window = ("replication.quota.window.size.seconds".to_owned(), "3600".to_owned());
        let overrides = [window].into_iter().collect();
        let sources = Sources { overrides, ..Sources::default() };
        let (fixed, _) = StaticConfig::new(&sources).unwrap();
        let throttles = Throttles::new(&BrokerLayers::at_start(&fixed));
        let rates = ReplicationRates {
            leader: Some(10),
            reassignment: Some(1 << 40),
            ..ReplicationRates::default()
        };
        throttles.set_rates(&rates);
        let copied = Copied { is_listed: true, is_added: true, is_in_sync: false };
        let in_sync = Copied { is_in_sync: true, ..copied };
        throttles.record(Way::Out, in_sync, 1_000_000);
        assert_eq!(throttles.left(Way::Out, in_sync), None);
        assert_eq!(throttles.wait(Way::Out, in_sync), Millis::ZERO);
        assert_eq!(throttles.left(Way::Out, copied), Some(0));
        assert_eq!(throttles.wait(Way::Out, copied), Millis::ZERO, "nobody else pays for it");
        let added = Copied { is_listed: false, ..copied };
        assert!(throttles.left(Way::Out, added) > Some(0), "another rate, not used up");
        assert_eq!(throttles.left(Way::In, copied).map(|left| left > 0), Some(true));
        assert_eq!(throttles.left(Way::Out, Copied::default()), None);
        throttles.record(Way::Out, copied, 1_000_000);
        assert!(throttles.wait(Way::Out, copied) > Millis(90_000_000));
    }
}
