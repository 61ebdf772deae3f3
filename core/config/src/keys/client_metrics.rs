//! Keys of a client-metrics subscription.

use crate::key::{Check, ConfigKey, keys};

keys! {
    int("interval.ms", "300000").range(100, 3_600_000):
        "Milliseconds between pushes.";
    list("match", "").check(Check::ClientMatch):
        "Clients that shall push, as selector=pattern.";
    list("metrics", ""):
        "Prefixes of the metrics that clients shall push; * means all of them.";
}
