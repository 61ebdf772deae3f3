//! Metrics as the text that Prometheus reads.

use std::sync::Arc;

use net::{Closed, ListenerCounters};

use super::counts::TopicCounts;
use super::facts::{DirFacts, PartitionFacts, ShardFacts};
use super::page::{Labels, Page};
use super::replicas::{self, ClusterFacts};
use crate::cleaner::CleanerFacts;
use crate::recovery::Progress;

/// The whole page.
pub fn render(
    facts: &ShardFacts,
    at: &ClusterFacts<'_>,
    listeners: &[(String, Arc<ListenerCounters>)],
    in_flight_bytes: usize,
    (cleaner, dirs): (&CleanerFacts, &[DirFacts]),
) -> String {
    let mut page = Page::default();
    topics(&mut page, facts);
    partitions(&mut page, facts);
    compaction(&mut page, facts, cleaner, dirs);
    directories(&mut page, dirs);
    replicas::broker(&mut page, facts, at);
    replicas::controller(&mut page, facts, at);
    network(&mut page, facts, listeners, in_flight_bytes);
    process(&mut page);
    page.text()
}

/// What there is to see before the node serves: how far the recovery is.
pub fn render_recovery(progress: &Progress) -> String {
    let mut page = Page::default();
    let left = progress.dirs().iter().map(|dir| {
        let labels = vec![("dir", dir.path.display().to_string())];
        (labels, dir.logs_left() as f64)
    });
    let name = "kafka_log_logmanager_remaininglogstorecover";
    page.gauges(name, "Logs that are still to be recovered", left);
    let left = progress.dirs().iter().flat_map(|dir| {
        dir.segments_left().enumerate().map(|(thread, left)| {
            let dir = ("dir", dir.path.display().to_string());
            (vec![dir, ("threadnum", thread.to_string())], left as f64)
        })
    });
    let name = "kafka_log_logmanager_remainingsegmentstorecover";
    page.gauges(name, "Segments still to be scanned of the log that a thread recovers", left);
    // 2 is RECOVERY.
    page.gauge("kafka_server_kafkaserver_brokerstate", "State of the broker", 2.0);
    page.text()
}

fn topics(page: &mut Page, facts: &ShardFacts) {
    type Pick = fn(&TopicCounts) -> u64;
    let columns: [(&str, &str, Pick); 6] = [
        ("messagesin", "Records appended by clients", |counts| counts.records_in),
        ("bytesin", "Bytes appended by clients", |counts| counts.bytes_in),
        ("bytesout", "Bytes fetched by clients", |counts| counts.bytes_out),
        ("totalproducerequests", "Partitions in Produce requests", |counts| counts.produces),
        ("totalfetchrequests", "Partitions fetched with data", |counts| counts.fetches),
        ("failedproducerequests", "Partitions refused in Produce requests", |counts| {
            counts.produces_refused
        }),
    ];
    for (name, help, pick) in columns {
        let by_topic = facts
            .topics
            .iter()
            .map(|(topic, counts)| (vec![("topic", topic.to_string())], pick(counts)));
        // The sample without a label is the sum, as in Kafka.
        let sum = facts.topics.values().map(pick).sum();
        let all = std::iter::once((vec![], sum)).chain(by_topic);
        page.counters(&format!("kafka_server_brokertopicmetrics_{name}"), help, all);
    }
}

fn partitions(page: &mut Page, facts: &ShardFacts) {
    type Pick = fn(&PartitionFacts) -> f64;
    let columns: [(&str, &str, Pick); 4] = [
        ("size", "Bytes of the log", |one| one.bytes as f64),
        ("logendoffset", "Offset that the next record gets", |one| one.end as f64),
        ("logstartoffset", "First offset of the log", |one| one.start as f64),
        ("numlogsegments", "Segments of the log", |one| one.segments as f64),
    ];
    for (name, help, pick) in columns {
        let samples = facts.partitions.iter().map(|one| {
            let topic = ("topic", one.name.topic.to_string());
            (vec![topic, ("partition", one.name.partition.to_string())], pick(one))
        });
        page.gauges(&format!("kafka_log_log_{name}"), help, samples);
    }
    let damages: usize = facts.partitions.iter().map(|one| one.damages).sum();
    let help = "Places of log files that reads found damaged";
    page.gauge("thalweg_log_damaged_places", help, damages as f64);
}

/// What the cleaner says, and what it has set aside in each log directory.
fn compaction(page: &mut Page, facts: &ShardFacts, cleaner: &CleanerFacts, dirs: &[DirFacts]) {
    let set_aside = |dir: &DirFacts| {
        let all = facts.partitions.iter().filter_map(|one| one.uncleanable.as_ref());
        let bytes: Vec<u64> =
            all.filter(|(at, _)| *at == dir.path).map(|(_, bytes)| *bytes).collect();
        (bytes.len() as f64, bytes.iter().sum::<u64>() as f64)
    };
    let label = label_of;
    let manager = "kafka_log_logcleanermanager_";
    let counts = dirs.iter().map(|dir| (label(dir), set_aside(dir).0));
    let help = "Partitions set aside from compaction";
    page.gauges(&format!("{manager}uncleanable_partitions_count"), help, counts);
    let bytes = dirs.iter().map(|dir| (label(dir), set_aside(dir).1));
    let help = "Bytes that wait for compaction in partitions set aside from it";
    page.gauges(&format!("{manager}uncleanable_bytes"), help, bytes);
    let since = cleaner.looked_at.map_or(0.0, |at| at.elapsed().as_secs_f64() * 1000.0);
    let panics = f64::from(cleaner.panics);
    let utilization = cleaner.max_of(|pass| pass.tally.dedupe_utilization);
    let took = cleaner.max_of(|pass| pass.took.as_secs_f64());
    let delay = cleaner.delay_max.get() as f64 / 1000.0;
    let last = "of the last compactions";
    for (name, help, value) in [
        (
            "manager_max_dirty_percent",
            "Dirty share of the dirtiest log",
            100.0 * cleaner.dirty_ratio_max,
        ),
        ("manager_time_since_last_run_ms", "Time since logs were looked at", since),
        ("_cleaner_recopy_percent", "Bytes written for 100 read", cleaner.recopy_percent()),
        ("_max_clean_time_secs", &format!("The longest {last}"), took),
        (
            "_max_buffer_utilization_percent",
            &format!("Fullest table of keys {last}"),
            100.0 * utilization,
        ),
        ("_max_compaction_delay_secs", "How long max.compaction.lag.ms is overdue", delay),
        ("_deadthreadcount", "Compactions that panicked", panics),
    ] {
        page.gauge(&format!("kafka_log_logcleaner{name}"), help, value);
    }
}

/// Which log directories work.
fn directories(page: &mut Page, dirs: &[DirFacts]) {
    let offline = dirs.iter().filter(|dir| dir.is_offline).count();
    let manager = "kafka_log_logmanager_";
    let help = "Log directories that failed";
    page.gauge(&format!("{manager}offlinelogdirectorycount"), help, offline as f64);
    let each = dirs.iter().map(|dir| (label_of(dir), f64::from(u8::from(dir.is_offline))));
    page.gauges(&format!("{manager}logdirectoryoffline"), "Whether it failed", each);
}

fn label_of(dir: &DirFacts) -> Labels {
    vec![("logDirectory", dir.path.display().to_string())]
}

fn network(
    page: &mut Page,
    facts: &ShardFacts,
    listeners: &[(String, Arc<ListenerCounters>)],
    in_flight_bytes: usize,
) {
    let requests = facts.requests.iter().map(|((api, version), count)| {
        let request = ("request", api.name().to_owned());
        (vec![request, ("version", version.to_string())], *count)
    });
    page.counters("kafka_network_requestmetrics_requests", "Requests", requests);
    let label = |name: &str| vec![("listener", name.to_owned())];
    let open = listeners.iter().map(|(name, one)| (label(name), one.connections() as f64));
    let prefix = "kafka_server_socket_server_metrics_";
    page.gauges(&format!("{prefix}connection_count"), "Open connections", open);
    let opened = listeners.iter().map(|(name, one)| (label(name), one.opened()));
    page.counters(&format!("{prefix}connection_creation"), "Connections accepted", opened);
    let bytes_in = listeners.iter().map(|(name, one)| (label(name), one.bytes_in()));
    page.counters(&format!("{prefix}incoming_byte"), "Bytes received", bytes_in);
    let bytes_out = listeners.iter().map(|(name, one)| (label(name), one.bytes_out()));
    page.counters(&format!("{prefix}outgoing_byte"), "Bytes sent", bytes_out);
    let closed = listeners.iter().flat_map(|(name, one)| {
        Closed::ALL.into_iter().map(move |reason| {
            let labels = vec![("listener", name.clone()), ("reason", reason.name().to_owned())];
            (labels, one.closed(reason))
        })
    });
    page.counters("thalweg_connections_closed", "Connections closed, by reason", closed);
    page.gauge("thalweg_in_flight_bytes", "Requests and answers in flight", in_flight_bytes as f64);
    let (sessions, remembered) = facts.fetch_sessions;
    let cache = "kafka_server_fetchsessioncache_";
    page.gauge(&format!("{cache}numincrementalfetchsessions"), "Sessions", sessions as f64);
    page.gauge(
        &format!("{cache}numincrementalfetchpartitionscached"),
        "Partitions that sessions remember",
        remembered as f64,
    );
    page.gauge("thalweg_group_coordinators", "Coordinators loaded", facts.coordinators as f64);
}

fn process(page: &mut Page) {
    // 3 is RUNNING: nothing is served in any other state.
    page.gauge("kafka_server_kafkaserver_brokerstate", "State of the broker", 3.0);
    if let Some((resident, cpu_seconds)) = own_usage() {
        page.gauge("process_resident_memory_bytes", "Resident memory", resident);
        page.counter("process_cpu_seconds", "Processor time used", cpu_seconds);
    }
}

/// Resident bytes and processor seconds of this process, where `/proc` tells.
fn own_usage() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the command in parentheses; utime and stime are fields 14 and 15, rss is 24.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let resident = number(24)? * rustix::param::page_size() as f64;
    Some((resident, (number(14)? + number(15)?) / ticks))
}

#[cfg(test)]
mod tests {
    use ::metadata::Image;
    use config::{BrokerLayers, StaticConfig};
    use types::BrokerId;

    use super::*;

    #[test]
    fn names_are_those_that_dashboards_query() {
        let mut facts = ShardFacts::default();
        let counts = TopicCounts { records_in: 3, bytes_in: 70, ..Default::default() };
        facts.topics.insert("a".into(), counts);
        let cleaner = CleanerFacts { dirty_ratio_max: 0.5, ..Default::default() };
        let dirs = [DirFacts { path: "/d".into(), is_offline: true }];
        let (image, fixed) = (Image::default(), StaticConfig::default());
        let at = ClusterFacts {
            image: &image,
            here: BrokerId(1),
            controls: Some(true),
            layers: BrokerLayers::at_start(&fixed),
            applied: 7,
        };
        facts.replication.bytes = [5, 6];
        facts.lag_max = 9;
        let text = render(&facts, &at, &[], 0, (&cleaner, &dirs));
        for line in [
            "kafka_server_brokertopicmetrics_messagesin_total{} 3",
            "kafka_server_brokertopicmetrics_bytesin_total{topic=\"a\"} 70",
            "kafka_controller_kafkacontroller_activecontrollercount 1.0",
            "kafka_controller_kafkacontroller_lastappliedrecordoffset 7.0",
            "kafka_server_replicamanager_partitioncount 0.0",
            "kafka_server_replicamanager_isrshrinks_total{} 0",
            "kafka_server_brokertopicmetrics_replicationbytesout_total{} 5",
            "kafka_server_brokertopicmetrics_replicationbytesin_total{} 6",
            "kafka_server_replicafetchermanager_maxlag{clientId=\"Replica\"} 9.0",
            "kafka_log_logcleanermanager_uncleanable_partitions_count{logDirectory=\"/d\"} 0.0",
            "kafka_log_logcleanermanager_max_dirty_percent 50.0",
            "kafka_log_logcleaner_max_clean_time_secs 0.0",
            "kafka_log_logmanager_offlinelogdirectorycount 1.0",
            "kafka_log_logmanager_logdirectoryoffline{logDirectory=\"/d\"} 1.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
