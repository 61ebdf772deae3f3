//! Keys.

use crate::key::{
    Check, ConfigKey, boolean, double, hours, int, list, long, minutes, same, string,
};

pub(super) const KEYS: &[ConfigKey] = &[
    list("cleanup.policy", "delete", "")
        .check_as(Check::Entries { of: &["compact", "delete"], none_allowed: true })
        .from(&[same("log.cleanup.policy")]),
    int("compression.gzip.level", "-1", "")
        .check_as(Check::GzipLevel)
        .from(&[same("compression.gzip.level")]),
    int("compression.lz4.level", "9", "").range(1, 17).from(&[same("compression.lz4.level")]),
    string("compression.type", "producer", "")
        .check_as(Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]))
        .from(&[same("compression.type")]),
    int("compression.zstd.level", "3", "")
        .range(-131_072, 22)
        .from(&[same("compression.zstd.level")]),
    long("delete.retention.ms", "86400000", "")
        .min(0)
        .from(&[same("log.cleaner.delete.retention.ms")]),
    long("file.delete.delay.ms", "60000", "").min(0).from(&[same("log.segment.delete.delay.ms")]),
    long("flush.messages", "9223372036854775807", "")
        .min(1)
        .from(&[same("log.flush.interval.messages")]),
    long("flush.ms", "9223372036854775807", "")
        .min(0)
        .from(&[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
    list("follower.replication.throttled.replicas", "", "").check_as(Check::ThrottledReplicas),
    int("index.interval.bytes", "4096", "").min(0).from(&[same("log.index.interval.bytes")]),
    int("internal.segment.bytes", "", "").unset().internal(),
    list("leader.replication.throttled.replicas", "", "").check_as(Check::ThrottledReplicas),
    long("local.retention.bytes", "-2", "").min(-2).from(&[same("log.local.retention.bytes")]),
    long("local.retention.ms", "-2", "").min(-2).from(&[same("log.local.retention.ms")]),
    long("max.compaction.lag.ms", "9223372036854775807", "")
        .min(1)
        .from(&[same("log.cleaner.max.compaction.lag.ms")]),
    int("max.message.bytes", "1048588", "").min(0).from(&[same("message.max.bytes")]),
    long("message.timestamp.after.max.ms", "3600000", "")
        .min(0)
        .from(&[same("log.message.timestamp.after.max.ms")]),
    long("message.timestamp.before.max.ms", "9223372036854775807", "")
        .min(0)
        .from(&[same("log.message.timestamp.before.max.ms")]),
    string("message.timestamp.type", "CreateTime", "")
        .check_as(Check::OneOf(&["CreateTime", "LogAppendTime"]))
        .from(&[same("log.message.timestamp.type")]),
    double("min.cleanable.dirty.ratio", "0.5", "")
        .fraction(0.0, 1.0)
        .from(&[same("log.cleaner.min.cleanable.ratio")]),
    long("min.compaction.lag.ms", "0", "")
        .min(0)
        .from(&[same("log.cleaner.min.compaction.lag.ms")]),
    int("min.insync.replicas", "1", "").min(1).from(&[same("min.insync.replicas")]),
    boolean("preallocate", "false", "").from(&[same("log.preallocate")]),
    boolean("remote.log.copy.disable", "false", ""),
    boolean("remote.log.delete.on.disable", "false", ""),
    boolean("remote.storage.enable", "false", ""),
    long("retention.bytes", "-1", "").from(&[same("log.retention.bytes")]),
    long("retention.ms", "604800000", "").min(-1).from(&[
        same("log.retention.ms"),
        minutes("log.retention.minutes"),
        hours("log.retention.hours"),
    ]),
    int("segment.bytes", "1073741824", "").min(1_048_576).from(&[same("log.segment.bytes")]),
    int("segment.index.bytes", "10485760", "").min(4).from(&[same("log.index.size.max.bytes")]),
    long("segment.jitter.ms", "0", "")
        .min(0)
        .from(&[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")]),
    long("segment.ms", "604800000", "")
        .min(1)
        .from(&[same("log.roll.ms"), hours("log.roll.hours")]),
    boolean("unclean.leader.election.enable", "false", "")
        .from(&[same("unclean.leader.election.enable")]),
    string("thalweg.durability", "sync", "")
        .check_as(Check::OneOf(&["sync", "async"]))
        .from(&[same("thalweg.durability")])
        .acting(),
];
