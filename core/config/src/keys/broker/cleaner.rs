//! Compaction.

use crate::key::{ConfigKey, keys};

keys! {
    long("log.cleaner.backoff.ms", "15000").min(0).cluster_wide().acting():
        "Milliseconds to rest when nothing needs compaction.";
    long("log.cleaner.dedupe.buffer.size", "134217728").cluster_wide().acting():
        "Bytes for the keys seen, over all compactions.";
    long("log.cleaner.delete.retention.ms", "86400000").min(0).cluster_wide().acting():
        "Milliseconds that a tombstone stays, for readers to see it.";
    boolean("log.cleaner.enable", "true").acting():
        "Whether logs with the compact policy are compacted.";
    double("log.cleaner.io.buffer.load.factor", "0.9").cluster_wide().acting():
        "How full the table of seen keys may get, from 0 to 1.";
    int("log.cleaner.io.buffer.size", "524288").min(0).cluster_wide().acting():
        "Bytes for reading and writing, over all compactions.";
    double("log.cleaner.io.max.bytes.per.second", "1.7976931348623157E308").cluster_wide().acting():
        "Bytes per second that compaction reads and writes at most.";
    long("log.cleaner.max.compaction.lag.ms", "9223372036854775807").min(1).cluster_wide().acting():
        "Milliseconds after which a record must take part in compaction.";
    double("log.cleaner.min.cleanable.ratio", "0.5").fraction(0.0, 1.0).cluster_wide().acting():
        "Share of a log, from 0 to 1, that must be new before it is compacted.";
    long("log.cleaner.min.compaction.lag.ms", "0").min(0).cluster_wide().acting():
        "Milliseconds that a record is safe from compaction.";
    int("log.cleaner.threads", "1").min(0).cluster_wide().acting():
        "Compactions that run at once.";
}
