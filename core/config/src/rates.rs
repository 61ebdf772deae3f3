//! Rates that copying keeps to: dynamic values, read again whenever a broker's settings change.

use crate::keys;
use crate::layers::BrokerLayers;

/// Bytes per second; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReplicationRates {
    /// What others copy from throttled replicas of this broker.
    pub leader: Option<u64>,
    /// What throttled replicas of this broker copy.
    pub follower: Option<u64>,
    /// What is given, and what is taken, for replicas that a reassignment adds.
    pub reassignment: Option<u64>,
    /// What moves from one directory to another.
    pub directories: Option<u64>,
}

impl ReplicationRates {
    /// The rates in force.
    pub fn resolve(layers: &BrokerLayers<'_>) -> Self {
        Self {
            leader: rate(layers, "leader.replication.throttled.rate"),
            follower: rate(layers, "follower.replication.throttled.rate"),
            reassignment: rate(layers, "thalweg.reassignment.throttled.rate"),
            directories: rate(layers, "replica.alter.log.dirs.io.max.bytes.per.second"),
        }
    }
}

fn rate(layers: &BrokerLayers<'_>, name: &str) -> Option<u64> {
    let dynamic = keys::BROKER_DYNAMIC_ONLY.get(name);
    let key = dynamic.or_else(|| keys::BROKER.get(name)).expect("the name is one of a table");
    let value = layers.value(key).and_then(|text| text.parse::<i64>().ok())?;
    // The largest number is Kafka's "no limit".
    u64::try_from(value).ok().filter(|_| value != i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::started_with;
    use crate::layers::map;

    #[test]
    fn the_brokers_own_rate_comes_before_the_clusters() {
        let follower = "follower.replication.throttled.rate";
        let cluster = map(&[(follower, "7"), ("thalweg.reassignment.throttled.rate", "5")]);
        let broker = map(&[
            (follower, "9"),
            ("leader.replication.throttled.rate", "0"),
            ("replica.alter.log.dirs.io.max.bytes.per.second", "9223372036854775807"),
        ]);
        let fixed = started_with(&[]);
        let rates = |cluster, broker| {
            ReplicationRates::resolve(&BrokerLayers { fixed: &fixed, cluster, broker })
        };
        let expected = ReplicationRates {
            leader: Some(0),
            follower: Some(9),
            reassignment: Some(5),
            directories: None,
        };
        assert_eq!(rates(&cluster, &broker), expected);
        let none = map(&[]);
        assert_eq!(rates(&none, &none), ReplicationRates::default());
    }
}
