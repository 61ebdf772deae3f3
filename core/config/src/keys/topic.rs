//! Keys of a topic. Each names the broker keys that stand in for it.

use crate::key::{Check, ConfigKey, hours, keys, minutes, same};

keys! {
    list("cleanup.policy", "delete")
        .check(Check::Entries { of: &["compact", "delete"], none_allowed: true })
        .from(&[same("log.cleanup.policy")]).acting():
        "What becomes of old records: delete, compact, both, or empty to keep all.";
    int("compression.gzip.level", "-1").check(Check::GzipLevel)
        .from(&[same("compression.gzip.level")]).acting():
        "Level for gzip: 1 is fastest, 9 smallest, -1 gzip's own.";
    int("compression.lz4.level", "9").range(1, 17).from(&[same("compression.lz4.level")]).acting():
        "Level for lz4: 1 is fastest, 17 smallest.";
    string("compression.type", "producer")
        .check(Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]))
        .from(&[same("compression.type")]).acting():
        "How batches are compressed in the log; producer leaves them as they came.";
    int("compression.zstd.level", "3").range(-131_072, 22).from(&[same("compression.zstd.level")])
        .acting():
        "Level for zstd: below 1 is fastest, 22 smallest.";
    long("delete.retention.ms", "86400000").min(0).from(&[same("log.cleaner.delete.retention.ms")])
        .acting():
        "Milliseconds that a tombstone stays, for readers to see it.";
    long("file.delete.delay.ms", "60000").min(0).from(&[same("log.segment.delete.delay.ms")])
        .acting():
        "Milliseconds between taking a file out of use and deleting it.";
    long("flush.messages", "9223372036854775807").min(1)
        .from(&[same("log.flush.interval.messages")]).acting():
        "Records after which a partition is synced to disk, beside what durability asks.";
    long("flush.ms", "9223372036854775807").min(0)
        .from(&[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]).acting():
        "Milliseconds after which a partition is synced to disk, beside what durability asks.";
    list("follower.replication.throttled.replicas", "").check(Check::ThrottledReplicas).acting():
        "Replicas that copy within the throttle, as partition:broker, or * for all.";
    int("index.interval.bytes", "4096").min(0).from(&[same("log.index.interval.bytes")]).acting():
        "Bytes of records for each entry of the offset index.";
    int("internal.segment.bytes", "").unset().internal().acting():
        "Segment size for tests, in bytes, below what segment.bytes allows.";
    list("leader.replication.throttled.replicas", "").check(Check::ThrottledReplicas).acting():
        "Replicas that are copied from within the throttle, as partition:broker, or * for all.";
    long("local.retention.bytes", "-2").min(-2).from(&[same("log.local.retention.bytes")]):
        "Bytes that stay local of a tiered partition; -2 follows retention.bytes.";
    long("local.retention.ms", "-2").min(-2).from(&[same("log.local.retention.ms")]):
        "Milliseconds that a copied segment stays local; -2 follows retention.ms.";
    long("max.compaction.lag.ms", "9223372036854775807").min(1)
        .from(&[same("log.cleaner.max.compaction.lag.ms")]).acting():
        "Milliseconds after which a record must take part in compaction.";
    int("max.message.bytes", "1048588").min(0).from(&[same("message.max.bytes")]).acting():
        "Largest record batch, in bytes, after compression.";
    long("message.timestamp.after.max.ms", "3600000").min(0)
        .from(&[same("log.message.timestamp.after.max.ms")]).acting():
        "Most milliseconds that a record's time may lie ahead of the broker's clock.";
    long("message.timestamp.before.max.ms", "9223372036854775807").min(0)
        .from(&[same("log.message.timestamp.before.max.ms")]).acting():
        "Most milliseconds that a record's time may lie behind the broker's clock.";
    string("message.timestamp.type", "CreateTime")
        .check(Check::OneOf(&["CreateTime", "LogAppendTime"]))
        .from(&[same("log.message.timestamp.type")]).acting():
        "Whose clock stamps records: the producer's, CreateTime, or the broker's, LogAppendTime.";
    double("min.cleanable.dirty.ratio", "0.5").fraction(0.0, 1.0)
        .from(&[same("log.cleaner.min.cleanable.ratio")]).acting():
        "Share of the log, from 0 to 1, that must be new before it is compacted.";
    long("min.compaction.lag.ms", "0").min(0).from(&[same("log.cleaner.min.compaction.lag.ms")])
        .acting():
        "Milliseconds that a record is safe from compaction.";
    int("min.insync.replicas", "1").min(1).from(&[same("min.insync.replicas")]).acting():
        "Replicas that must hold a record before acks=all is answered.";
    boolean("preallocate", "false").from(&[same("log.preallocate")]).never():
        "Whether Kafka gives a new segment file its full size at once; here room is always reserved a \
         step ahead.";
    boolean("remote.log.copy.disable", "false"):
        "Whether a tiered topic stops copying and only serves what is there.";
    boolean("remote.log.delete.on.disable", "false"):
        "Whether switching tiered storage off deletes what is there.";
    boolean("remote.storage.enable", "false"):
        "Whether closed segments go to tiered storage.";
    long("retention.bytes", "-1").from(&[same("log.retention.bytes")]).acting():
        "Bytes of a partition above which old segments go; -1 sets no limit.";
    long("retention.ms", "604800000").min(-1)
        .from(&[
            same("log.retention.ms"), minutes("log.retention.minutes"),
            hours("log.retention.hours"),
        ])
        .acting():
        "Milliseconds that records are kept; -1 keeps them for good.";
    int("segment.bytes", "1073741824").min(1_048_576).from(&[same("log.segment.bytes")]).acting():
        "Largest size of a segment file, in bytes.";
    int("segment.index.bytes", "10485760").min(4).from(&[same("log.index.size.max.bytes")])
        .acting():
        "Largest size of an index file, in bytes.";
    long("segment.jitter.ms", "0").min(0)
        .from(&[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")]).acting():
        "Most milliseconds taken off segment.ms at random, so that rolls spread out.";
    long("segment.ms", "604800000").min(1).from(&[same("log.roll.ms"), hours("log.roll.hours")])
        .acting():
        "Milliseconds after which a segment is rolled even if it is small.";
    boolean("unclean.leader.election.enable", "false")
        .from(&[same("unclean.leader.election.enable")]).acting():
        "Whether a replica that may lack records can lead when no other is left.";
    string("thalweg.durability", "sync").check(Check::OneOf(&["sync", "async"]))
        .from(&[same("thalweg.durability")]).acting():
        "What an acknowledgement promises: sync, on stable storage; async, in memory as in Kafka.";
}
