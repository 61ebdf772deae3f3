//! Metrics of replicas: what this broker leads and lacks, what is copied, and what the controllers
//! say of the cluster.

use ::metadata::Image;
use ::metadata::image::{Partition, Topic};
use config::{BrokerLayers, TopicConfig};
use types::BrokerId;

use super::facts::ShardFacts;
use super::page::{Labels, Page};
use crate::throttles::Way;

/// What metrics of replicas depend on beside the shards' facts.
pub struct ClusterFacts<'a> {
    /// The state of the cluster.
    pub image: &'a Image,
    /// This node.
    pub here: BrokerId,
    /// Whether it may decide for the cluster, and whether it does.
    pub controls: Option<bool>,
    /// What holds for topics that do not say.
    pub layers: BrokerLayers<'a>,
    /// Offset of the last metadata record that is acted on.
    pub applied: i64,
}

/// A topic's key that few topics have.
const MIN_ISR: &str = "min.insync.replicas";

impl ClusterFacts<'_> {
    /// Read as those do who act on it, but once for all topics that do not say.
    fn min_isr_of(&self, topic: &Topic, default: usize) -> usize {
        let own = self.image.topic_settings(&topic.name);
        match own.contains_key(MIN_ISR) {
            true => TopicConfig::resolve(own, &self.layers).min_insync_replicas as usize,
            false => default,
        }
    }

    /// The partitions that this node leads, with what counts as too few in sync.
    fn led(&self) -> impl Iterator<Item = (&Topic, i32, &Partition)> {
        self.image.topics().flat_map(move |topic| {
            let partitions = topic.partitions().filter(|(_, one)| one.leader == Some(self.here));
            partitions.map(move |(index, one)| (&**topic, index, &**one))
        })
    }
}

/// What this broker has of the cluster.
pub fn broker(page: &mut Page, facts: &ShardFacts, cluster: &ClusterFacts<'_>) {
    let (mut leaders, mut under_replicated, mut reassigning) = (0_u32, 0_u32, 0_u32);
    let (mut under_min, mut at_min) = (0_u32, 0_u32);
    let min_isr = cluster.layers.int(MIN_ISR).unsigned_abs() as usize;
    for (topic, _, partition) in cluster.led() {
        leaders += 1;
        under_replicated += u32::from(partition.is_under_replicated());
        reassigning += u32::from(partition.is_reassigning());
        let least = cluster.min_isr_of(topic, min_isr).min(partition.replicas.len());
        under_min += u32::from(partition.isr.len() < least);
        at_min += u32::from(partition.isr.len() == least);
    }
    let failed = facts.partitions.iter().filter(|one| one.is_offline).count();
    for (name, help, value) in [
        ("partitioncount", "Partitions on this broker", facts.partitions.len() as f64),
        ("leadercount", "Partitions that it leads", f64::from(leaders)),
        ("offlinereplicacount", "Replicas that failed", (failed + facts.unopened) as f64),
        (
            "underreplicatedpartitions",
            "Led partitions that lack replicas in sync",
            f64::from(under_replicated),
        ),
        ("underminisrpartitioncount", "Led partitions below min ISR", f64::from(under_min)),
        ("atminisrpartitioncount", "Led partitions at min ISR", f64::from(at_min)),
        ("reassigningpartitions", "Led partitions that move", f64::from(reassigning)),
    ] {
        page.gauge(&format!("kafka_server_replicamanager_{name}"), help, value);
    }
    let each = cluster.led().map(|(topic, index, partition)| {
        let labels = vec![("topic", topic.name.to_string()), ("partition", index.to_string())];
        (labels, f64::from(u8::from(partition.is_under_replicated())))
    });
    let help = "Whether a led partition lacks replicas in sync";
    page.gauges("kafka_cluster_partition_underreplicated", help, each);
    copies(page, facts);
}

/// What is copied between this broker and others.
fn copies(page: &mut Page, facts: &ShardFacts) {
    let counts = &facts.replication;
    let only = |value: u64| [(Labels::new(), value)];
    for (name, help, value) in [
        ("replicationbytesin", "Bytes copied from leaders", counts.bytes[Way::In as usize]),
        ("replicationbytesout", "Bytes copied by followers", counts.bytes[Way::Out as usize]),
        (
            "reassignmentbytesin",
            "Those for replicas that a reassignment adds here",
            counts.added_bytes[Way::In as usize],
        ),
        (
            "reassignmentbytesout",
            "Those for replicas that a reassignment adds elsewhere",
            counts.added_bytes[Way::Out as usize],
        ),
    ] {
        page.counters(&format!("kafka_server_brokertopicmetrics_{name}"), help, only(value));
    }
    let [shrinks, expands, refused] = counts.isr;
    for (name, help, value) in [
        ("isrshrinks", "Replicas found out of sync", shrinks),
        ("isrexpands", "Replicas found in sync again", expands),
        ("failedisrupdates", "Changes of the ISR that the controller refused", refused),
    ] {
        page.counters(&format!("kafka_server_replicamanager_{name}"), help, only(value));
    }
    let lag = [(vec![("clientId", "Replica".to_owned())], facts.lag_max as f64)];
    let help = "Most records that a replica here lacks";
    page.gauges("kafka_server_replicafetchermanager_maxlag", help, lag);
}

/// What a controller says of the cluster, whether it is the active one or not.
pub fn controller(page: &mut Page, facts: &ShardFacts, cluster: &ClusterFacts<'_>) {
    let Some(is_active) = cluster.controls else { return };
    let image = cluster.image;
    let partitions = image.topics().flat_map(|topic| topic.partitions().map(|(_, one)| one));
    let (mut count, mut leaderless, mut imbalanced) = (0_u32, 0_u32, 0_u32);
    for partition in partitions {
        count += 1;
        leaderless += u32::from(partition.leader.is_none());
        imbalanced += u32::from(!partition.has_preferred_leader());
    }
    let active = image.brokers().filter(|broker| !broker.fenced).count();
    let fenced = image.brokers().count() - active;
    let leaving = image.brokers().filter(|broker| broker.in_controlled_shutdown).count();
    for (name, help, value) in [
        (
            "activecontrollercount",
            "Whether this node leads the controllers",
            f64::from(u8::from(is_active)),
        ),
        ("globaltopiccount", "Topics of the cluster", image.topic_count() as f64),
        ("globalpartitioncount", "Partitions of the cluster", f64::from(count)),
        ("offlinepartitionscount", "Partitions without a leader", f64::from(leaderless)),
        ("preferredreplicaimbalancecount", "Partitions led by another", f64::from(imbalanced)),
        ("activebrokercount", "Brokers that serve", active as f64),
        ("fencedbrokercount", "Brokers that are kept out", fenced as f64),
        ("controlledshutdownbrokercount", "Brokers that are leaving", leaving as f64),
        (
            "lastappliedrecordoffset",
            "Offset of the last metadata record acted on",
            cluster.applied as f64,
        ),
    ] {
        page.gauge(&format!("kafka_controller_kafkacontroller_{name}"), help, value);
    }
    let [unclean, eligible] = facts.replication.elections;
    for (name, help, value) in [
        ("uncleanleaderelections", "Leaders elected that may lack records", unclean),
        (
            "electionfromeligibleleaderreplicas",
            "Leaders elected out of sync that lack nothing",
            eligible,
        ),
    ] {
        let sample = [(Labels::new(), value)];
        page.counters(&format!("kafka_controller_controllerstats_{name}"), help, sample);
    }
}
