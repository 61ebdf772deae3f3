//! Metrics of the node and of clients.

use crate::key::{ConfigKey, keys};

keys! {
    int("kafka.metrics.polling.interval.secs", "10").min(1).low().never():
        "Seconds between the readings of kafka.metrics.reporters, which cannot be loaded here.";
    list("kafka.metrics.reporters", "").low().never():
        "Java classes that publish the older kind of metrics; thalweg.metrics.listener serves Prometheus text.";
    list("metric.reporters", "org.apache.kafka.common.metrics.JmxReporter").low().cluster_wide()
        .never():
        "Java classes that publish metrics; thalweg.metrics.listener serves Prometheus text.";
    int("metrics.num.samples", "2").min(1).low():
        "Windows over which rates are measured.";
    string("metrics.recording.level", "INFO").low():
        "How detailed the metrics are: INFO, DEBUG or TRACE.";
    long("metrics.sample.window.ms", "30000").min(1).low():
        "Milliseconds of each of these windows.";
    int("telemetry.max.bytes", "1048576").min(1).low():
        "Largest push of client metrics, in bytes.";
}
