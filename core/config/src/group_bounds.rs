//! Between which values of the broker a value of a group must lie.
//!
//! Not here: what a group's settings are for; nothing reads them yet, as the kinds of groups that have
//! some are not served yet.

use crate::keys;
use crate::layers::BrokerLayers;

/// The broker keys that bound a group key from below and above: `consumer.session.timeout.ms`
/// lies between `group.consumer.min.session.timeout.ms` and its `max` twin.
pub(crate) fn bounds(name: &str, broker: &BrokerLayers<'_>) -> (i32, i32) {
    let bound = |which: &str| {
        let (kind, rest) = name.split_once('.')?;
        let key = keys::BROKER.get(format!("group.{kind}.{which}.{rest}").as_str())?;
        Some(broker.int(key.name))
    };
    // The standby bound is named after the replicas, not after their number.
    let standby = (name == "streams.num.standby.replicas")
        .then(|| broker.int("group.streams.max.standby.replicas"));
    (bound("min").unwrap_or(i32::MIN), standby.or_else(|| bound("max")).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::started_with;

    #[test]
    fn bounds_are_the_brokers() {
        let fixed = started_with(&[("group.streams.max.standby.replicas", "3")]);
        let cases = [
            ("consumer.session.timeout.ms", (45_000, 60_000)),
            ("share.delivery.count.limit", (2, 10)),
            ("streams.num.standby.replicas", (i32::MIN, 3)),
            ("share.isolation.level", (i32::MIN, i32::MAX)),
        ];
        for (name, expected) in cases {
            assert_eq!(bounds(name, &BrokerLayers::at_start(&fixed)), expected, "{name}");
        }
    }
}
