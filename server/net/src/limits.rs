//! The limits that protect a node. Plain values; they may change at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Every limit that the configuration sets. The fixed ones stand beside the code they bound.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// `socket.request.max.bytes`.
    pub frame_bytes_max: usize,
    /// `sasl.server.max.receive.size`: the same for a peer that has not logged in.
    pub frame_bytes_max_before_auth: usize,
    /// `max.connections`, of the whole node.
    pub connections_max: usize,
    /// `max.connections.per.ip`.
    pub connections_per_ip_max: usize,
    /// `max.connections.per.ip.overrides`, resolved to addresses.
    pub connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// `max.connection.creation.rate`, of the whole node, per second.
    pub creations_per_second_max: u32,
    /// The same for one address (the `ip` client quota).
    pub creations_per_second_per_ip_max: u32,
    /// `listener.name.<name>.max.connections` and `…max.connection.creation.rate`.
    pub listeners: BTreeMap<String, ListenerLimits>,
    /// Listeners that only their own limits hold for, so that whoever locks all others out can undo
    /// it.
    pub unlimited_listeners: BTreeSet<String>,
    /// `connections.max.idle.ms`.
    pub idle_max: Duration,
    /// `queued.max.request.bytes`: received and unanswered in the node, and as many again answered
    /// and unsent.
    pub in_flight_bytes_max: usize,
}

/// Limits of one listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenerLimits {
    pub connections_max: usize,
    pub creations_per_second_max: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { connections_max: usize::MAX, creations_per_second_max: u32::MAX }
    }
}

impl Default for Limits {
    /// Kafka's defaults, where Kafka has one.
    fn default() -> Self {
        Self {
            frame_bytes_max: 100 << 20,
            frame_bytes_max_before_auth: 512 << 10,
            connections_max: usize::MAX,
            connections_per_ip_max: usize::MAX,
            connections_per_ip_overrides: BTreeMap::new(),
            creations_per_second_max: u32::MAX,
            creations_per_second_per_ip_max: u32::MAX,
            listeners: BTreeMap::new(),
            unlimited_listeners: BTreeSet::new(),
            idle_max: Duration::from_secs(600),
            in_flight_bytes_max: usize::MAX,
        }
    }
}

impl Limits {
    pub(crate) fn connections_max_of(&self, ip: IpAddr) -> usize {
        let limit = self.connections_per_ip_overrides.get(&ip);
        limit.copied().unwrap_or(self.connections_per_ip_max)
    }

    pub(crate) fn listener(&self, name: &str) -> ListenerLimits {
        self.listeners.get(name).copied().unwrap_or_default()
    }
}

/// The limits in force. Connections keep a copy and look at a version number, not at a lock.
#[derive(Debug)]
pub(crate) struct SharedLimits {
    version: AtomicU64,
    current: RwLock<Arc<Limits>>,
}

impl SharedLimits {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { version: AtomicU64::new(0), current: RwLock::new(Arc::new(limits)) }
    }

    pub(crate) fn set(&self, limits: Limits) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(limits);
        self.version.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn current(&self) -> CachedLimits {
        let version = self.version.load(Ordering::Acquire);
        let limits = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        CachedLimits { version, limits }
    }
}

/// One reader's copy of the limits.
#[derive(Clone, Debug)]
pub(crate) struct CachedLimits {
    version: u64,
    limits: Arc<Limits>,
}

impl CachedLimits {
    /// The limits in force now; takes the lock only after a change.
    pub(crate) fn refresh(&mut self, shared: &SharedLimits) -> &Limits {
        if self.version != shared.version.load(Ordering::Acquire) {
            *self = shared.current();
        }
        &self.limits
    }

    /// The limits as of the last refresh.
    pub(crate) fn last(&self) -> &Limits {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_a_cached_copy_at_its_next_refresh() {
        let shared = SharedLimits::new(Limits::default());
        let mut cached = shared.current();
        shared.set(Limits { frame_bytes_max: 7, ..Limits::default() });
        assert_eq!(cached.last().frame_bytes_max, 100 << 20);
        assert_eq!(cached.refresh(&shared).frame_bytes_max, 7);
    }

    #[test]
    fn an_override_beats_the_limit_for_every_address() {
        let special = IpAddr::from([10, 0, 0, 1]);
        let limits = Limits {
            connections_per_ip_max: 5,
            connections_per_ip_overrides: BTreeMap::from([(special, 50)]),
            ..Limits::default()
        };
        assert_eq!(limits.connections_max_of(special), 50);
        assert_eq!(limits.connections_max_of(IpAddr::from([10, 0, 0, 2])), 5);
    }
}
