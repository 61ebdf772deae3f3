//! The controller quorum and its metadata log.

use crate::key::{Check, ConfigKey, keys};

keys! {
    list("controller.listener.names", "").required().some_of(&[]).high().acting():
        "Listeners that reach controllers; the first one is used to connect.";
    long("controller.performance.always.log.threshold.ms", "2000").min(0).internal():
        "Milliseconds above which every controller event is reported.";
    long("controller.performance.sample.period.ms", "60000").min(100).internal():
        "Milliseconds between reports on slow controller events.";
    int("controller.quorum.append.linger.ms", "25").min(0).never():
        "Milliseconds that Kafka's leader gathers records; here all that wait are written at once.";
    boolean("controller.quorum.auto.join.enable", "false").low().acting():
        "Whether a controller makes itself a voter.";
    list("controller.quorum.bootstrap.servers", "").check(Check::Servers).high().acting():
        "Controllers to ask for the quorum, as host:port.";
    int("controller.quorum.election.backoff.max.ms", "1000").min(0).high().acting():
        "Most milliseconds to wait before an election is tried again.";
    int("controller.quorum.election.timeout.ms", "1000").min(0).high().acting():
        "Milliseconds without a leader before an election begins.";
    int("controller.quorum.fetch.max.bytes", "1048576").min(1).low().acting():
        "Bytes of metadata log asked for at once.";
    int("controller.quorum.fetch.snapshot.max.bytes", "1048576").min(1).low().acting():
        "Bytes of a metadata snapshot asked for at once.";
    int("controller.quorum.fetch.timeout.ms", "2000").min(0).high().acting():
        "Milliseconds without an answer from the leader before an election begins.";
    int("controller.quorum.request.timeout.ms", "2000").min(0).acting():
        "Milliseconds to wait for a controller's answer.";
    int("controller.quorum.retry.backoff.ms", "20").min(0).low().acting():
        "Milliseconds before a request within the quorum is sent again.";
    list("controller.quorum.voters", "").check(Check::Voters).high().acting():
        "Fixed controllers, as id@host:port; leave empty for a quorum that can change.";
    long("internal.metadata.delete.delay.millis", "60000").low().internal():
        "Milliseconds before files of the metadata log are deleted, for tests.";
    int("internal.metadata.log.segment.bytes", "").unset().low().internal():
        "Segment size of the metadata log for tests, in bytes.";
    int("internal.metadata.max.batch.size.in.bytes", "8388608").low().internal():
        "Largest batch of the metadata log, in bytes, for tests.";
    string("metadata.log.dir", "").unset().high().acting():
        "Directory of the metadata log; the first of log.dirs where it is not set.";
    long("metadata.log.max.record.bytes.between.snapshots", "20971520").min(1).high().acting():
        "Bytes of metadata log after which a snapshot is made.";
    long("metadata.log.max.snapshot.interval.ms", "3600000").min(0).high().acting():
        "Milliseconds after which a snapshot is made; 0 makes none by time.";
    int("metadata.log.segment.bytes", "1073741824").min(8_388_608).high().acting():
        "Largest segment of the metadata log, in bytes.";
    long("metadata.log.segment.ms", "604800000").high().acting():
        "Milliseconds after which a segment of the metadata log is rolled.";
    int("metadata.max.idle.interval.ms", "500").min(0).low().acting():
        "Milliseconds after which an idle leader writes an empty record; 0 never does.";
    long("metadata.max.retention.bytes", "104857600").high().acting():
        "Bytes of metadata log and snapshots to keep.";
    long("metadata.max.retention.ms", "604800000").high().acting():
        "Milliseconds that metadata log and snapshots are kept.";
    string("sasl.mechanism.controller.protocol", "GSSAPI").high():
        "SASL mechanism towards controllers.";
}
