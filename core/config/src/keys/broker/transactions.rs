//! Transactions.

use crate::key::{ConfigKey, keys};

keys! {
    int("add.partitions.to.txn.retry.backoff.max.ms", "100").min(0).high():
        "Most milliseconds that such tries go on.";
    int("add.partitions.to.txn.retry.backoff.ms", "20").min(1).high():
        "Milliseconds before a partition is added to a transaction again after a conflict.";
    int("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10000").min(1).low():
        "Milliseconds between looks for transactions that ran out of time.";
    int("transaction.max.timeout.ms", "900000").min(1).high():
        "Longest transaction, in milliseconds, that a producer may ask for.";
    boolean("transaction.partition.verification.enable", "true").low().cluster_wide():
        "Whether a partition asks the coordinator before it takes a transaction's records.";
    int("transaction.remove.expired.transaction.cleanup.interval.ms", "3600000").min(1).low():
        "Milliseconds between looks for transactional ids to forget.";
    int("transaction.state.log.load.buffer.size", "5242880").min(1).high():
        "Bytes read at once when transactions are loaded.";
    int("transaction.state.log.min.isr", "2").min(1).high():
        "min.insync.replicas of __transaction_state.";
    int("transaction.state.log.num.partitions", "50").min(1).high():
        "Partitions of __transaction_state; fixed once the topic exists.";
    short("transaction.state.log.replication.factor", "3").min(1).high():
        "Replicas of __transaction_state.";
    int("transaction.state.log.segment.bytes", "104857600").min(1).high():
        "Segment size of __transaction_state, in bytes.";
    boolean("transaction.two.phase.commit.enable", "false").low():
        "Whether producers may leave the outcome of a transaction to an outside coordinator.";
    int("transactional.id.expiration.ms", "604800000").min(1).high():
        "Milliseconds without use after which a transactional id is forgotten.";
}
