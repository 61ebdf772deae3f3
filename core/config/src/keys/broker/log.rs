//! Log directories, segments, retention, flushing, timestamps.

use crate::key::{Check, ConfigKey, keys};

keys! {
    list("cordoned.log.dirs", "").per_broker().acting():
        "Directories that get no new partitions; * means all of them.";
    list("log.cleanup.policy", "delete")
        .check(Check::Entries { of: &["compact", "delete"], none_allowed: true }).cluster_wide()
        .acting():
        "What becomes of old records: delete, compact, both, or empty to keep all.";
    list("log.dir", "/tmp/kafka-logs").some_of(&[]).high().acting():
        "Directories for partitions where log.dirs is not set.";
    long("log.dir.failure.timeout.ms", "30000").min(1).low().acting():
        "Milliseconds a broker lives on when it cannot tell the controller that a directory has failed.";
    list("log.dirs", "").unset().some_of(&[]).high().acting():
        "Directories for partitions, each best on a disk of its own.";
    long("log.flush.interval.messages", "9223372036854775807").min(1).high().cluster_wide()
        .acting():
        "Records after which a partition is synced to disk, beside what durability asks.";
    long("log.flush.interval.ms", "").unset().high().cluster_wide().acting():
        "Milliseconds after which a partition is synced to disk, beside what durability asks.";
    int("log.flush.offset.checkpoint.interval.ms", "60000").min(0).high().acting():
        "Milliseconds between writings of the recovery points.";
    long("log.flush.scheduler.interval.ms", "9223372036854775807").high().acting():
        "Milliseconds between looks for partitions to sync by time.";
    int("log.flush.start.offset.checkpoint.interval.ms", "60000").min(0).high().acting():
        "Milliseconds between writings of the log start offsets, at most.";
    int("log.index.interval.bytes", "4096").min(0).cluster_wide().acting():
        "Bytes of records for each entry of the offset index.";
    int("log.index.size.max.bytes", "10485760").min(4).cluster_wide().acting():
        "Largest size of an index file, in bytes.";
    long("log.initial.task.delay.ms", "30000").min(0).low().internal().acting():
        "Milliseconds after the start before the first upkeep of the logs.";
    long("log.message.timestamp.after.max.ms", "3600000").min(0).cluster_wide().acting():
        "Most milliseconds that a record's time may lie ahead of the broker's clock.";
    long("log.message.timestamp.before.max.ms", "9223372036854775807").min(0).cluster_wide()
        .acting():
        "Most milliseconds that a record's time may lie behind the broker's clock.";
    string("log.message.timestamp.type", "CreateTime")
        .check(Check::OneOf(&["CreateTime", "LogAppendTime"])).cluster_wide().acting():
        "Whose clock stamps records: the producer's, CreateTime, or the broker's, LogAppendTime.";
    boolean("log.preallocate", "false").cluster_wide().never():
        "Whether Kafka gives a new segment file its full size at once; here room is always reserved a \
         step ahead.";
    long("log.retention.bytes", "-1").high().cluster_wide().acting():
        "Bytes of a partition above which old segments go; -1 sets no limit.";
    long("log.retention.check.interval.ms", "300000").min(1).acting():
        "Milliseconds between looks for segments to delete.";
    int("log.retention.hours", "168").high().acting():
        "Hours that records are kept, where neither milliseconds nor minutes are set.";
    int("log.retention.minutes", "").unset().high().acting():
        "Minutes that records are kept, where log.retention.ms is not set.";
    long("log.retention.ms", "").unset().high().cluster_wide().acting():
        "Milliseconds that records are kept; -1 keeps them for good.";
    int("log.roll.hours", "168").min(1).high().acting():
        "Hours after which a segment is rolled, where log.roll.ms is not set.";
    int("log.roll.jitter.hours", "0").min(0).high().acting():
        "The same in hours, where log.roll.jitter.ms is not set.";
    long("log.roll.jitter.ms", "").unset().high().cluster_wide().acting():
        "Most milliseconds taken off log.roll.ms at random, so that rolls spread out.";
    long("log.roll.ms", "").unset().high().cluster_wide().acting():
        "Milliseconds after which a segment is rolled even if it is small.";
    int("log.segment.bytes", "1073741824").min(1_048_576).high().cluster_wide().acting():
        "Largest size of a segment file, in bytes.";
    long("log.segment.delete.delay.ms", "60000").min(0).high().cluster_wide().acting():
        "Milliseconds between taking a file out of use and deleting it.";
    int("num.recovery.threads.per.data.dir", "2").min(1).high().cluster_wide().acting():
        "Threads per directory that load and repair logs at start and close them at a stop; at most 256.";
    int("producer.id.expiration.check.interval.ms", "600000").min(1).low().internal().acting():
        "Milliseconds between looks for producers to forget.";
    int("producer.id.expiration.ms", "86400000").min(1).low().cluster_wide().acting():
        "Milliseconds of silence after which an idempotent producer is forgotten.";
}
