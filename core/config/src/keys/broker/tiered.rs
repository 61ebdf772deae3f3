//! Tiered storage.

use crate::key::{Check, ConfigKey, keys};

keys! {
    boolean("follower.fetch.last.tiered.offset.enable", "false").cluster_wide():
        "Whether an empty follower begins behind what is already in the remote store.";
    long("log.local.retention.bytes", "-2").min(-2).cluster_wide():
        "Bytes that stay local of a tiered partition; -2 follows log.retention.bytes.";
    long("log.local.retention.ms", "-2").min(-2).cluster_wide():
        "Milliseconds that a copied segment stays local; -2 follows log.retention.ms.";
    int("remote.fetch.max.wait.ms", "500").min(1).cluster_wide():
        "Most milliseconds that a fetch waits for remote data.";
    long("remote.list.offsets.request.timeout.ms", "30000").min(1).cluster_wide():
        "Most milliseconds that a ListOffsets waits for remote data.";
    long("remote.log.index.file.cache.total.size.bytes", "1073741824").min(1).low().cluster_wide():
        "Bytes of disk for indexes of remote segments.";
    long("remote.log.index.file.cache.ttl.ms", "900000").min(-1).low().internal():
        "Milliseconds that an unused index of a remote segment is kept; -1 keeps it.";
    int("remote.log.manager.copier.thread.pool.size", "10").min(1).cluster_wide():
        "Segments that are copied to the remote store at once.";
    long("remote.log.manager.copy.max.bytes.per.second", "9223372036854775807").min(1)
        .cluster_wide():
        "Bytes per second copied to the remote store at most.";
    int("remote.log.manager.copy.quota.window.num", "11").min(1):
        "Windows over which the rate of copying is measured.";
    int("remote.log.manager.copy.quota.window.size.seconds", "1").min(1):
        "Seconds of each of these windows.";
    int("remote.log.manager.expiration.thread.pool.size", "10").min(1).cluster_wide():
        "Partitions whose remote segments are expired at once.";
    long("remote.log.manager.fetch.max.bytes.per.second", "9223372036854775807").min(1)
        .cluster_wide():
        "Bytes per second read from the remote store at most.";
    int("remote.log.manager.fetch.quota.window.num", "11").min(1):
        "Windows over which the rate of remote reading is measured.";
    int("remote.log.manager.fetch.quota.window.size.seconds", "1").min(1):
        "Seconds of each of these windows.";
    int("remote.log.manager.follower.thread.pool.size", "2").min(1).cluster_wide():
        "Threads for the remote duties of followers.";
    long("remote.log.manager.task.interval.ms", "30000").min(1).low():
        "Milliseconds between looks for segments to copy or to expire.";
    long("remote.log.manager.task.retry.backoff.max.ms", "30000").min(1).low().internal():
        "Most milliseconds before a failed copy is tried again.";
    long("remote.log.manager.task.retry.backoff.ms", "500").min(1).low().internal():
        "Milliseconds before a failed copy is tried again.";
    double("remote.log.manager.task.retry.jitter", "0.2").fraction(0.0, 0.5).low().internal():
        "Share, from 0 to 0.5, by which that wait varies at random.";
    int("remote.log.manager.thread.pool.size", "2").min(1):
        "Older size of the pools for copying and expiring.";
    int("remote.log.metadata.custom.metadata.max.bytes", "128").min(0).low():
        "Bytes that a remote store may add to what is known of a segment.";
    string(
        "remote.log.metadata.manager.class.name",
        "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"
    )
        .check(Check::NonEmpty):
        "Class that keeps the list of remote segments.";
    string("remote.log.metadata.manager.class.path", "").unset():
        "Where the classes of that list are.";
    string("remote.log.metadata.manager.impl.prefix", "rlmm.config.").check(Check::NonEmpty):
        "Prefix of the keys that are handed to that list.";
    string("remote.log.metadata.manager.listener.name", "").unset().check(Check::NonEmpty):
        "Listener over which that list talks to brokers.";
    int("remote.log.reader.max.pending.tasks", "100").min(1):
        "Remote reads that may wait for their turn.";
    int("remote.log.reader.threads", "10").min(1).cluster_wide():
        "Remote reads that run at once.";
    string("remote.log.storage.manager.class.name", "").unset().check(Check::NonEmpty):
        "Class that stores segments remotely.";
    string("remote.log.storage.manager.class.path", "").unset():
        "Where the classes of the remote store are.";
    string("remote.log.storage.manager.impl.prefix", "rsm.config.").check(Check::NonEmpty):
        "Prefix of the keys that are handed to the remote store.";
    boolean("remote.log.storage.system.enable", "false"):
        "Whether closed segments can go to tiered storage.";
}
