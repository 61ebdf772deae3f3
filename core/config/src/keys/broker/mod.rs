//! Keys of a node, by area.

mod access;
mod cleaner;
mod groups;
mod identity;
mod log;
mod metrics;
mod network;
mod oauth;
mod quorum;
mod quotas;
mod replication;
mod sasl;
mod share;
mod ssl;
mod thalweg;
mod throttles;
mod tiered;
mod topics;
mod transactions;

use crate::key::ConfigKey;

/// Name and keys of each area, in the order of the reference.
pub const AREAS: &[(&str, &[ConfigKey])] = &[
    ("The node", identity::KEYS),
    ("Network", network::KEYS),
    ("Topics and reading", topics::KEYS),
    ("Logs", log::KEYS),
    ("Compaction", cleaner::KEYS),
    ("Replication", replication::KEYS),
    ("Controller quorum", quorum::KEYS),
    ("Groups", groups::KEYS),
    ("Share groups", share::KEYS),
    ("Transactions", transactions::KEYS),
    ("Tiered storage", tiered::KEYS),
    ("TLS", ssl::KEYS),
    ("SASL", sasl::KEYS),
    ("OAuth", oauth::KEYS),
    ("Users and permissions", access::KEYS),
    ("Quotas", quotas::KEYS),
    ("Metrics", metrics::KEYS),
    ("Thalweg", thalweg::KEYS),
];

/// Keys that exist only as dynamic values: the rates of throttled replication.
pub const DYNAMIC_ONLY: &[ConfigKey] = throttles::KEYS;
