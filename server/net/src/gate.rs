//! Who may come in: counts of open connections and rates of new ones, for the node, each listener
//! and each address. One lock, taken when a connection comes and when it goes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use crate::limits::Limits;

/// Addresses remembered for their rate alone before those at rest are forgotten.
const ADDRESSES_AT_REST_MAX: usize = 10_000;

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    node: Place,
    listeners: HashMap<String, Place>,
    addresses: HashMap<IpAddr, Place>,
}

/// What the gate says to one connection.
#[derive(Debug)]
pub(crate) enum Admission {
    Admitted(Ticket),
    /// The node or the listener is full by this setting: wait for [`Gate::freed`].
    Full(&'static str),
    /// Connections come too fast for this setting: wait so long.
    After(Duration, &'static str),
    /// This address has too many, or opens them too fast.
    Refused(&'static str),
}

/// One admitted connection; dropping it takes it out of the counts.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    listener: String,
    ip: IpAddr,
}

impl Gate {
    /// Decides about one connection.
    pub(crate) fn admit(
        self: &Arc<Self>,
        limits: &Limits,
        listener: &str,
        ip: IpAddr,
        now: Instant,
    ) -> Admission {
        let mut state = self.lock();
        let State { node, listeners, addresses } = &mut *state;
        let of_listener = limits.listener(listener);
        if addresses.len() > ADDRESSES_AT_REST_MAX {
            addresses.retain(|_, place| place.open > 0 || !place.bucket.is_full(now));
        }
        let address = addresses.entry(ip).or_default();
        let listener_place = listeners.entry(listener.to_owned()).or_default();

        let is_limited = !limits.unlimited_listeners.contains(listener);
        if is_limited && address.open >= limits.connections_max_of(ip) {
            return Admission::Refused("max.connections.per.ip is reached");
        }
        if is_limited && node.open >= limits.connections_max {
            return Admission::Full("max.connections");
        }
        // What is set for a listener itself holds whatever it serves, as in Kafka.
        if listener_place.open >= of_listener.connections_max {
            return Admission::Full("listener.name.<listener>.max.connections");
        }
        if is_limited && let Some(pause) = node.bucket.wait(limits.creations_per_second_max, now) {
            return Admission::After(pause, "max.connection.creation.rate");
        }
        let rate = of_listener.creations_per_second_max;
        if let Some(pause) = listener_place.bucket.wait(rate, now) {
            let setting = "listener.name.<listener>.max.connection.creation.rate";
            return Admission::After(pause, setting);
        }
        if is_limited {
            if address.bucket.wait(limits.creations_per_second_per_ip_max, now).is_some() {
                return Admission::Refused("it opens connections too fast");
            }
            node.bucket.take();
            address.bucket.take();
        }
        listener_place.bucket.take();
        for place in [node, listener_place, address] {
            place.open += 1;
        }
        let listener = listener.to_owned();
        Admission::Admitted(Ticket { gate: self.clone(), listener, ip })
    }

    /// Resolves at the next change; to be made before asking.
    pub(crate) fn freed(&self) -> OwnedNotified {
        self.freed.clone().notified_owned()
    }

    /// The limits changed: who waits shall ask again.
    pub(crate) fn changed(&self) {
        self.freed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.node.open -= 1;
        if let Some(place) = state.listeners.get_mut(&self.listener) {
            place.open -= 1;
        }
        if let Some(place) = state.addresses.get_mut(&self.ip) {
            place.open -= 1;
            // Nothing to remember, unless a rate limit has touched the bucket.
            if place.open == 0 && place.bucket.rate == u32::MAX {
                state.addresses.remove(&self.ip);
            }
        }
        drop(state);
        self.gate.changed();
    }
}

#[derive(Debug, Default)]
struct Place {
    open: usize,
    bucket: Bucket,
}

/// A token bucket that holds at most one second's worth.
#[derive(Debug)]
struct Bucket {
    rate: u32,
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { rate: u32::MAX, tokens: 0.0, filled_at: None }
    }
}

impl Bucket {
    /// How long until a token is there; `None`: one is.
    fn wait(&mut self, rate: u32, now: Instant) -> Option<Duration> {
        let full = f64::from(rate);
        self.tokens = match self.filled_at {
            Some(at) if self.rate == rate => {
                full.min(self.tokens + full * now.duration_since(at).as_secs_f64())
            }
            _ => full,
        };
        (self.rate, self.filled_at) = (rate, Some(now));
        // A rate of 0 admits nobody; look again in a second, the limit may change.
        let missing = if rate == 0 { 1.0 } else { (1.0 - self.tokens) / full };
        (rate == 0 || self.tokens < 1.0).then(|| Duration::from_secs_f64(missing))
    }

    fn take(&mut self) {
        self.tokens -= 1.0;
    }

    fn is_full(&self, now: Instant) -> bool {
        self.filled_at.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ListenerLimits;
    use std::collections::BTreeMap;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn ticket(admission: Admission) -> Ticket {
        match admission {
            Admission::Admitted(ticket) => ticket,
            other => panic!("not admitted: {other:?}"),
        }
    }

    #[test]
    fn an_address_at_its_limit_is_refused_and_others_are_not() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        let limits = Limits { connections_per_ip_max: 1, ..Limits::default() };
        let first = ticket(gate.admit(&limits, "L", A, now));
        assert!(matches!(gate.admit(&limits, "L", A, now), Admission::Refused(_)));
        let _other = ticket(gate.admit(&limits, "L", B, now));
        drop(first);
        ticket(gate.admit(&limits, "L", A, now));
    }

    #[test]
    fn a_full_listener_leaves_room_on_the_others() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        let one = ListenerLimits { connections_max: 1, ..ListenerLimits::default() };
        let listeners = BTreeMap::from([("L".to_owned(), one)]);
        let limits = Limits { connections_max: 2, listeners, ..Limits::default() };
        let _first = ticket(gate.admit(&limits, "L", A, now));
        assert!(matches!(gate.admit(&limits, "L", A, now), Admission::Full(_)));
        let _second = ticket(gate.admit(&limits, "M", A, now));
        assert!(matches!(gate.admit(&limits, "M", A, now), Admission::Full(_)), "the node is full");
    }

    #[test]
    fn no_limit_holds_on_a_listener_that_has_none() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        let nobody = [
            Limits { connections_max: 0, ..Limits::default() },
            Limits { connections_per_ip_max: 0, ..Limits::default() },
            Limits { creations_per_second_max: 0, ..Limits::default() },
        ];
        for limits in nobody {
            let limits = Limits { unlimited_listeners: ["C".to_owned()].into(), ..limits };
            let admission = gate.admit(&limits, "L", A, now);
            assert!(!matches!(admission, Admission::Admitted(_)), "{limits:?}");
            ticket(gate.admit(&limits, "C", A, now));
        }
    }

    #[test]
    fn a_listeners_own_limits_hold_where_no_others_do() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        let own = [
            ListenerLimits { connections_max: 0, ..ListenerLimits::default() },
            ListenerLimits { creations_per_second_max: 0, ..ListenerLimits::default() },
        ];
        for own in own {
            let unlimited_listeners = ["C".to_owned()].into();
            let listeners = BTreeMap::from([("C".to_owned(), own)]);
            let limits = Limits { unlimited_listeners, listeners, ..Limits::default() };
            let admission = gate.admit(&limits, "C", A, now);
            let (Admission::Full(setting) | Admission::After(_, setting)) = admission else {
                panic!("not kept: {admission:?}");
            };
            assert!(setting.starts_with("listener.name."), "{setting}");
            ticket(gate.admit(&limits, "L", A, now));
        }
    }

    #[test]
    fn new_connections_wait_for_the_rate_of_the_node() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        let limits = Limits { creations_per_second_max: 2, ..Limits::default() };
        for _ in 0..2 {
            ticket(gate.admit(&limits, "L", A, now));
        }
        let half = Duration::from_millis(500);
        let Admission::After(pause, _) = gate.admit(&limits, "L", B, now) else {
            panic!("the third within a second must wait");
        };
        assert_eq!(pause, half);
        ticket(gate.admit(&limits, "L", B, now + half));
    }

    #[test]
    fn an_address_that_hurries_is_refused_until_its_bucket_fills() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        let limits = Limits { creations_per_second_per_ip_max: 1, ..Limits::default() };
        ticket(gate.admit(&limits, "L", A, now));
        assert!(matches!(gate.admit(&limits, "L", A, now), Admission::Refused(_)));
        ticket(gate.admit(&limits, "L", B, now));
        ticket(gate.admit(&limits, "L", A, now + Duration::from_secs(1)));
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let (gate, now) = (Arc::new(Gate::default()), Instant::now());
        drop(ticket(gate.admit(&Limits::default(), "L", A, now)));
        assert!(gate.lock().addresses.is_empty());
    }
}
