//! The parts of a node's settings that need no rules of their own.

use std::collections::BTreeMap;

use types::Millis;

use super::listeners::Listeners;
use crate::check::is_host;
use crate::layers::BrokerLayers;

/// What protects the node from its connections.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionLimits {
    /// Largest request frame.
    pub request_bytes_max: u32,
    /// Connections in all.
    pub connections_max: u32,
    /// Connections from one address.
    pub connections_per_ip_max: u32,
    /// Other limits for named hosts or addresses.
    pub connections_per_ip_overrides: BTreeMap<String, u32>,
    /// New connections per second.
    pub connection_rate_max: u32,
    /// What single listeners allow beside that, by their names; those of controllers allow all.
    pub listeners: BTreeMap<String, ListenerLimits>,
    /// Keys that are set and would limit listeners of controllers: they have no effect.
    pub without_effect: Vec<String>,
    /// Idle time after which a connection is closed; `None` never closes one.
    pub idle_ms_max: Option<Millis>,
    /// Bytes of requests in flight after which nothing more is read; `None` is the node's choice.
    pub queued_bytes_max: Option<u64>,
    /// `SO_SNDBUF`; `None` is the system's choice.
    pub send_buffer_bytes: Option<u32>,
    /// `SO_RCVBUF`; `None` is the system's choice.
    pub receive_buffer_bytes: Option<u32>,
    /// Length of the accept queue.
    pub backlog: i32,
    /// How long a connection to another node may take until it can be used.
    pub setup_timeout_ms: Millis,
}

/// What holds for topics as such.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicDefaults {
    /// Whether a Metadata request may create the topic that it asks for.
    pub auto_create: bool,
    /// Partitions of a topic that does not say.
    pub num_partitions: i32,
    /// Replicas of a topic that does not say.
    pub replication_factor: i16,
}

/// How logs are kept up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogUpkeep {
    /// How often old segments are looked for.
    pub retention_check_interval_ms: Millis,
    /// How often logs are looked at for `flush.ms`; `None` never.
    pub flush_check_interval_ms: Option<Millis>,
    /// How often recovery points are written down.
    pub recovery_point_interval_ms: Millis,
    /// How often log start offsets are written down.
    pub start_offset_interval_ms: Millis,
    /// How often high watermarks are written down.
    pub high_watermark_interval_ms: Millis,
    /// Wait after the start before old segments, and what is to be synced by time, are first looked
    /// for.
    pub initial_delay_ms: Millis,
    /// Threads that recover one log directory at start.
    pub recovery_threads: u32,
    /// How long a broker lives on when its failed directory cannot be told to the controller.
    pub dir_failure_timeout_ms: Millis,
    /// Silence after which the state of an idempotent producer is forgotten.
    pub producer_id_expiration_ms: Millis,
    /// How often such silence is looked for.
    pub producer_id_check_interval_ms: Millis,
}

/// Limits of reading.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchLimits {
    /// Most bytes that one Fetch response holds.
    pub response_bytes_max: u32,
    /// Fetch sessions that are remembered.
    pub sessions_max: u32,
    /// Partitions that one request may list in APIs that page.
    pub request_partitions_max: u32,
}

/// How logs are copied from one node to another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replication {
    /// Silence behind the leader's end after which a follower leaves the ISR.
    pub lag_ms_max: Millis,
    /// How long a leader may hold a follower's fetch that it has nothing for.
    pub fetch_wait_ms_max: Millis,
    /// Fewer bytes than this are waited for.
    pub fetch_bytes_min: u32,
    /// Most bytes of one partition.
    pub partition_bytes_max: u32,
    /// Most bytes of one answer.
    pub response_bytes_max: u32,
    /// Wait after an error.
    pub backoff_ms: Millis,
    /// How long a leader may take to answer.
    pub request_timeout_ms: Millis,
    /// Whether consumers are sent to a replica in their rack (KIP-392).
    pub rack_aware_reads: bool,
}

/// The limits of one listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenerLimits {
    /// `listener.name.<name>.max.connections`.
    pub connections_max: u32,
    /// `listener.name.<name>.max.connection.creation.rate`.
    pub connection_rate_max: u32,
}

/// Groups and their offsets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupDefaults {
    /// Shortest session that a classic member may ask for.
    pub session_timeout_ms_min: Millis,
    /// Longest session that a classic member may ask for.
    pub session_timeout_ms_max: Millis,
    /// Wait for more members before the first rebalance.
    pub initial_rebalance_delay_ms: Millis,
    /// Members of a classic group at most.
    pub size_max: u32,
    /// Bytes of metadata that may come with a committed offset.
    pub offset_metadata_bytes_max: u32,
    /// How long a commit waits for its log.
    pub offset_commit_timeout_ms: Millis,
    /// How long offsets outlive their group or subscription.
    pub offsets_retention_ms: Millis,
    /// How often expired offsets are looked for.
    pub offsets_retention_check_interval_ms: Millis,
}

/// A size or count; the keys read with it allow no negative number or mean "none" by one.
fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// The keys of one listener's limits, with its name as Kafka writes it there: connections, and new
/// ones per second.
pub(super) fn limit_keys(listener: &str) -> [String; 2] {
    let listener = listener.to_lowercase();
    ["max.connections", "max.connection.creation.rate"]
        .map(|base| format!("listener.name.{listener}.{base}"))
}

/// Whether a key would limit a listener of controllers. These have no limit, so that every setting
/// can be undone there.
pub(crate) fn limits_controllers(layers: &BrokerLayers<'_>, key: &str) -> bool {
    let names = layers.list("controller.listener.names");
    names.iter().flat_map(|name| limit_keys(name)).any(|limit| limit == key)
}

impl ListenerLimits {
    const NONE: Self = Self { connections_max: u32::MAX, connection_rate_max: u32::MAX };

    fn resolve(layers: &BrokerLayers<'_>, listener: &str) -> Self {
        let [connections_max, connection_rate_max] = limit_keys(listener).map(|key| {
            let text = layers.raw(&key);
            text.and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
        });
        Self { connections_max, connection_rate_max }
    }
}

impl ConnectionLimits {
    pub(super) fn resolve(layers: &BrokerLayers<'_>, listeners: &Listeners) -> Self {
        let size = |name| unsigned(layers.int(name));
        let optional = |name| u32::try_from(layers.int(name)).ok().filter(|bytes| *bytes > 0);
        let idle = layers.long("connections.max.idle.ms");
        let queued = layers.long("queued.max.request.bytes");
        let overrides = layers.text("max.connections.per.ip.overrides");
        let of_controllers = |name: &String| listeners.controller_names.contains(name);
        let limits = |name| match of_controllers(name) {
            true => ListenerLimits::NONE,
            false => ListenerLimits::resolve(layers, name),
        };
        let without_effect = listeners.controller_names.iter().flat_map(|name| limit_keys(name));
        Self {
            request_bytes_max: size("socket.request.max.bytes"),
            connections_max: size("max.connections"),
            connections_per_ip_max: size("max.connections.per.ip"),
            connections_per_ip_overrides: read_ip_overrides(&overrides).unwrap_or_default(),
            connection_rate_max: size("max.connection.creation.rate"),
            listeners: listeners
                .bound
                .iter()
                .map(|one| (one.name.clone(), limits(&one.name)))
                .collect(),
            without_effect: without_effect.filter(|key| layers.raw(key).is_some()).collect(),
            idle_ms_max: (idle >= 0).then_some(Millis(idle)),
            queued_bytes_max: u64::try_from(queued).ok().filter(|bytes| *bytes > 0),
            send_buffer_bytes: optional("socket.send.buffer.bytes"),
            receive_buffer_bytes: optional("socket.receive.buffer.bytes"),
            backlog: layers.int("socket.listen.backlog.size"),
            setup_timeout_ms: layers.millis("socket.connection.setup.timeout.ms"),
        }
    }
}

/// Reads `host:count` entries; the entry that is none on failure.
pub(super) fn read_ip_overrides(text: &str) -> Result<BTreeMap<String, u32>, String> {
    crate::entries(text)
        .map(|entry| {
            let parts = entry.rsplit_once(':');
            let parsed =
                parts.and_then(|(host, count)| Some((host.trim(), count.trim().parse().ok()?)));
            match parsed {
                Some((host, count)) if is_host(host) => Ok((host.to_owned(), count)),
                _ => Err(entry.to_owned()),
            }
        })
        .collect()
}

impl TopicDefaults {
    pub(super) fn resolve(layers: &BrokerLayers<'_>) -> Self {
        let replicas = layers.int("default.replication.factor");
        Self {
            auto_create: layers.boolean("auto.create.topics.enable"),
            num_partitions: layers.int("num.partitions"),
            // A factor that no request could carry; a topic with it fails as any too large one.
            replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
        }
    }
}

impl LogUpkeep {
    pub(super) fn resolve(layers: &BrokerLayers<'_>) -> Self {
        let flush_check = layers.millis("log.flush.scheduler.interval.ms");
        Self {
            retention_check_interval_ms: layers.millis("log.retention.check.interval.ms"),
            flush_check_interval_ms: Some(flush_check).filter(|ms| *ms != Millis::MAX),
            recovery_point_interval_ms: layers.millis("log.flush.offset.checkpoint.interval.ms"),
            start_offset_interval_ms: layers
                .millis("log.flush.start.offset.checkpoint.interval.ms"),
            high_watermark_interval_ms: layers
                .millis("replica.high.watermark.checkpoint.interval.ms"),
            initial_delay_ms: layers.millis("log.initial.task.delay.ms"),
            recovery_threads: unsigned(layers.int("num.recovery.threads.per.data.dir")),
            dir_failure_timeout_ms: layers.millis("log.dir.failure.timeout.ms"),
            producer_id_expiration_ms: layers.millis("producer.id.expiration.ms"),
            producer_id_check_interval_ms: layers
                .millis("producer.id.expiration.check.interval.ms"),
        }
    }
}

impl FetchLimits {
    pub(super) fn resolve(layers: &BrokerLayers<'_>) -> Self {
        let count = |name| unsigned(layers.int(name));
        Self {
            response_bytes_max: count("fetch.max.bytes"),
            sessions_max: count("max.incremental.fetch.session.cache.slots"),
            request_partitions_max: count("max.request.partition.size.limit"),
        }
    }
}

impl Replication {
    pub(super) fn resolve(layers: &BrokerLayers<'_>) -> Self {
        let count = |name| unsigned(layers.int(name));
        Self {
            lag_ms_max: layers.millis("replica.lag.time.max.ms"),
            fetch_wait_ms_max: layers.millis("replica.fetch.wait.max.ms"),
            fetch_bytes_min: count("replica.fetch.min.bytes"),
            partition_bytes_max: count("replica.fetch.max.bytes"),
            response_bytes_max: count("replica.fetch.response.max.bytes"),
            backoff_ms: layers.millis("replica.fetch.backoff.ms"),
            request_timeout_ms: layers.millis("replica.socket.timeout.ms"),
            // The only class that there is: nodes refuse to start with another one.
            rack_aware_reads: layers.optional_text("replica.selector.class").is_some(),
        }
    }
}

impl GroupDefaults {
    pub(super) fn resolve(layers: &BrokerLayers<'_>) -> Self {
        let count = |name| unsigned(layers.int(name));
        Self {
            session_timeout_ms_min: layers.millis("group.min.session.timeout.ms"),
            session_timeout_ms_max: layers.millis("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: layers.millis("group.initial.rebalance.delay.ms"),
            size_max: count("group.max.size"),
            offset_metadata_bytes_max: count("offset.metadata.max.bytes"),
            offset_commit_timeout_ms: layers.millis("offsets.commit.timeout.ms"),
            offsets_retention_ms: Millis(layers.long("offsets.retention.minutes") * 60_000),
            offsets_retention_check_interval_ms: layers
                .millis("offsets.retention.check.interval.ms"),
        }
    }
}
