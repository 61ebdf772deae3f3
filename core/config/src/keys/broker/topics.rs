//! What holds for topics that do not say, and limits of reading.

use crate::key::{Check, ConfigKey, keys};

keys! {
    boolean("auto.create.topics.enable", "true").high().acting():
        "Whether a topic is created when a client asks for one that does not exist.";
    int("compression.gzip.level", "-1").check(Check::GzipLevel).cluster_wide().acting():
        "Level for gzip: 1 is fastest, 9 smallest, -1 gzip's own.";
    int("compression.lz4.level", "9").range(1, 17).cluster_wide().acting():
        "Level for lz4: 1 is fastest, 17 smallest.";
    string("compression.type", "producer")
        .check(Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])).high()
        .cluster_wide().acting():
        "How batches are compressed in the log; producer leaves them as they came.";
    int("compression.zstd.level", "3").range(-131_072, 22).cluster_wide().acting():
        "Level for zstd: below 1 is fastest, 22 smallest.";
    int("default.replication.factor", "1").acting():
        "Replicas of a new topic that does not say.";
    int("delete.records.purgatory.purge.interval.requests", "1").never():
        "Waiting deletions between clean-ups in Apache Kafka; thalweg needs none.";
    boolean("delete.topic.enable", "true").high().acting():
        "Whether topics can be deleted.";
    int("fetch.max.bytes", "57671680").min(1_024).acting():
        "Most bytes in one Fetch response; a single larger batch still comes.";
    int("fetch.purgatory.purge.interval.requests", "1000").never():
        "Waiting fetches between clean-ups in Apache Kafka; thalweg needs none.";
    int("max.incremental.fetch.session.cache.slots", "1000").min(0).acting():
        "Fetch sessions that the node remembers.";
    int("max.request.partition.size.limit", "2000").min(1).acting():
        "Most partitions in one answer of an API that pages.";
    int("message.max.bytes", "1048588").min(0).high().cluster_wide().acting():
        "Largest record batch, in bytes, after compression.";
    int("min.insync.replicas", "1").min(1).high().cluster_wide().acting():
        "Replicas that must hold a record before acks=all is answered.";
    int("num.partitions", "1").min(1).acting():
        "Partitions of a new topic that does not say.";
    int("producer.purgatory.purge.interval.requests", "1000").never():
        "Waiting produces between clean-ups in Apache Kafka; thalweg needs none.";
    int("share.fetch.purgatory.purge.interval.requests", "1000").never():
        "Waiting share fetches between clean-ups in Apache Kafka; thalweg needs none.";
    boolean("unclean.leader.election.enable", "false").high().cluster_wide().acting():
        "Whether a replica that may lack records can lead when no other is left.";
    long("unclean.leader.election.interval.ms", "300000").min(1).internal().acting():
        "Milliseconds between looks for partitions that wait for such an election.";
}
