//! How a node finds and takes part in the controller quorum.

use types::{BrokerId, Millis};

use crate::check;
use crate::layers::BrokerLayers;

/// Settings of the controller quorum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuorumConfig {
    /// Static voters (`controller.quorum.voters`); empty where voters are found at run time.
    pub voters: Vec<Voter>,
    /// Controllers to ask for the quorum.
    pub bootstrap_servers: Vec<HostPort>,
    /// Whether a controller makes itself a voter.
    pub auto_join: bool,
    pub election_timeout_ms: Millis,
    pub election_backoff_max_ms: Millis,
    pub fetch_timeout_ms: Millis,
    pub request_timeout_ms: Millis,
    pub retry_backoff_ms: Millis,
    /// Bytes of metadata log that are asked for at once.
    pub fetch_bytes_max: u32,
    /// Bytes of a snapshot that are asked for at once.
    pub fetch_snapshot_bytes_max: u32,
    /// Bytes of metadata log after which a snapshot is made.
    pub snapshot_after_bytes: i64,
    /// Time after which a snapshot is made.
    pub snapshot_after_ms: Millis,
    pub segment_bytes: i32,
    pub segment_ms: Millis,
    pub retention_bytes: i64,
    pub retention_ms: Millis,
    /// How long an idle leader waits before it writes a record that says nothing.
    pub idle_ms_max: Millis,
    /// How often a broker reports to the controller.
    pub heartbeat_interval_ms: Millis,
    /// Silence after which the controller fences a broker.
    pub session_timeout_ms: Millis,
    /// How long a broker tries to register before it gives up.
    pub registration_timeout_ms: Millis,
}

/// A static member of the quorum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Voter {
    pub id: BrokerId,
    pub address: HostPort,
}

/// Where something is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPort {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`.
    pub fn read(text: &str) -> Option<Self> {
        check::host_and_port(text).map(|(host, port)| Self { host: host.to_owned(), port })
    }
}

impl QuorumConfig {
    pub(super) fn resolve(layers: &BrokerLayers<'_>) -> Self {
        let voter = |entry: &String| {
            let (id, host, port) = check::voter(entry)?;
            Some(Voter { id: BrokerId(id), address: HostPort { host: host.to_owned(), port } })
        };
        let bytes = |key| layers.int(key).unsigned_abs();
        let servers = layers.list("controller.quorum.bootstrap.servers");
        Self {
            voters: layers.list("controller.quorum.voters").iter().filter_map(voter).collect(),
            bootstrap_servers: servers.iter().filter_map(|text| HostPort::read(text)).collect(),
            auto_join: layers.boolean("controller.quorum.auto.join.enable"),
            election_timeout_ms: layers.millis("controller.quorum.election.timeout.ms"),
            election_backoff_max_ms: layers.millis("controller.quorum.election.backoff.max.ms"),
            fetch_timeout_ms: layers.millis("controller.quorum.fetch.timeout.ms"),
            request_timeout_ms: layers.millis("controller.quorum.request.timeout.ms"),
            retry_backoff_ms: layers.millis("controller.quorum.retry.backoff.ms"),
            fetch_bytes_max: bytes("controller.quorum.fetch.max.bytes"),
            fetch_snapshot_bytes_max: bytes("controller.quorum.fetch.snapshot.max.bytes"),
            snapshot_after_bytes: layers.long("metadata.log.max.record.bytes.between.snapshots"),
            snapshot_after_ms: layers.millis("metadata.log.max.snapshot.interval.ms"),
            segment_bytes: layers.int("metadata.log.segment.bytes"),
            segment_ms: layers.millis("metadata.log.segment.ms"),
            retention_bytes: layers.long("metadata.max.retention.bytes"),
            retention_ms: layers.millis("metadata.max.retention.ms"),
            idle_ms_max: layers.millis("metadata.max.idle.interval.ms"),
            heartbeat_interval_ms: layers.millis("broker.heartbeat.interval.ms"),
            session_timeout_ms: layers.millis("broker.session.timeout.ms"),
            registration_timeout_ms: layers.millis("initial.broker.registration.timeout.ms"),
        }
    }
}
