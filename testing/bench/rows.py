"""The rows of the table: what is measured, on which mode of ours, and how much better it has to be.

A group runs one load on both nodes, round after round; its rows pick figures from what that gives.
"""
from dataclasses import dataclass
from typing import Callable

import cluster
import loads


@dataclass
class Row:
    name: str
    unit: str
    figure: str
    # Ours must be at most this share of Kafka's, or at least so many times Kafka's where more is better.
    target: float
    more_is_better: bool = False
    # The target is for our figure itself, whatever Kafka's is.
    is_absolute: bool = False


@dataclass
class Group:
    name: str
    run: Callable
    rows: list
    # "async" compares equal modes; "sync" is our default.
    mode: str = "async"
    # One node, or three in a cluster.
    is_cluster: bool = False
    # Its load is told the rounds and does them itself: it gives lists.
    has_rounds: bool = False
    # What it has on the disk at once.
    disk_gb: float = 6


def produce(name, figure, target, rate_target=None):
    rows = [Row(f"produce, {name}", "s/GB", f"produce.raw.{figure}.broker_cpu_gb", target)]
    if rate_target:
        rows.append(Row(f"rate, {name}", "MB/s", f"produce.raw.{figure}", rate_target, more_is_better=True))
    return rows


def shared_rows():
    small, large = "16 KiB batches", "128 KiB batches"
    return [
        *produce(f"100 B, {small}, 1 partition, acks=all", "100B.p1.b16k.acksall.none", 1 / 8),
        *produce(f"100 B, {small}, 12 partitions, idempotent", "100B.p12.b16k.acksall.none.idem", 1 / 8, 3),
        *produce(f"1 KiB, {small}, 1 partition, acks=1", "1KiB.p1.b16k.acks1.none", 1 / 5),
        Row(f"produce, 1 KiB, {small}, 1 partition, idempotent, acks=all", "s/GB", "idempotent.1KiB.p1", 1 / 5),
        *produce(f"1 KiB, {small}, 12 partitions, idempotent", "1KiB.p12.b16k.acksall.none.idem", 1 / 5, 3),
        *produce(f"1 KiB, {small}, 12 partitions, idempotent, lz4", "1KiB.p12.b16k.acksall.lz4.idem", 1 / 3),
        *produce(f"1 KiB, {large}, 12 partitions, idempotent", "1KiB.p12.b128k.acksall.none.idem", 1 / 2.5, 1.5),
        Row("fetch 100 B from the page cache", "s/GB", "consume.raw.100B.p12.broker_cpu_gb", 1),
        Row("fetch 1 KiB from the page cache", "s/GB", "consume.raw.1KiB.p12.broker_cpu_gb", 1),
        Row("Java consumer, 1 KiB", "s/GB", "consume.java.1KiB.p12.broker_cpu_gb", 1 / 1.5),
        Row("librdkafka consumer, 1 KiB", "s/GB", "consume.rdk.1KiB.p12.broker_cpu_gb", 1 / 1.5),
        Row("200 connections, one 100 B record each", "us/request", "conns.200.broker_cpu", 1 / 4),
        Row("end to end, 1,000/s, acks=all: p50", "ms", "e2e.raw.1000ps.p50", 1 / 2),
        Row("the same: p99", "ms", "e2e.raw.1000ps.p99", 1 / 4),
        Row("the same: p99.9", "ms", "e2e.raw.1000ps.p999", 1 / 4),
        Row("create 1,000 partitions until all have leaders", "ms", "create.1000.all_leaders", 1 / 10),
    ]


# Names of shared workloads that run in one go, and the GB that they write, with what the log adds.
SHARED = [
    (r"^warmup$", 2),
    (r"^produce\.raw\.100B\.p1\.b16k\.acksall\.none$", 2),
    (r"^produce\.raw\.100B\.p12\.b16k\.acksall\.none\.idem$", 2),
    (r"^produce\.raw\.1KiB\.p1\.b16k\.acks1\.none$", 3),
    (r"^produce\.raw\.1KiB\.p12\.b16k\.acksall\.none\.idem$", 3),
    (r"^produce\.raw\.1KiB\.p12\.b16k\.acksall\.lz4\.idem$", 3),
    (r"^produce\.raw\.1KiB\.p12\.b128k\.acksall\.none\.idem$", 3),
    (r"^consume\.raw\.100B", 2),
    (r"^consume\.(raw|java|rdk)\.1KiB", 3),
    (r"^e2e\.raw", 0.5),
    (r"^conns", 0.5),
    (r"^create\.1000$", 0.5),
]


def workloads(node):
    figures = {}
    for only, gigabytes in SHARED:
        figures.update(loads.shared(node, only, gigabytes))
    figures.update(loads.idempotent(node))
    figures["resident_after_load"] = node.resident_mib()
    return figures


def starts(node):
    """A restart with nothing on disk but the node's own."""
    figures = {"resident_idle": node.resident_mib()}
    node.stop()
    figures["start_ms"] = node.start()
    return figures


def synced(partitions, producers):
    def run(node):
        # Kafka's way to sync before each acknowledgement; ours does it by default.
        configs = {"flush.messages": "1"} if node.kind == "kafka" else {}
        return loads.single_records(node, partitions, producers, configs)

    name = f"synced, {partitions} partitions, {producers} producers"
    rows = [
        Row(f"{name}: throughput", "records/s", "rps", 5, more_is_better=True),
        Row(f"{name}: p99", "ms", "p99", 1 / 5),
    ]
    return Group(name, run, rows, mode="sync")


def cluster_groups():
    """Idle first: memory does not come back. The default against Kafka's: it is what fails over."""
    return [
        Group("cluster idle", cluster.idle, [
            Row("3 idle nodes with 1,000 partitions each: memory", "MiB", "resident_mib", 1 / 8),
            Row("the same: CPU", "cores", "cores", 1),
        ], is_cluster=True),
        Group("cluster load", cluster.replicated, [
            Row("produce, 1 KiB, 16 KiB batches, 3 replicas, acks=all: all brokers", "s/GB", "cpu_s_per_gb", 1 / 4),
            Row("rate, the same", "MB/s", "mbps", 3, more_is_better=True),
            Row("end to end with 3 replicas at 1,000/s: p99", "ms", "p99", 1 / 3),
        ], is_cluster=True),
        Group("cluster many", cluster.many, [
            Row("create 10,000 partitions with 3 replicas, until all can be used", "ms", "usable_ms", 1 / 5),
            Row("the same: all brokers", "s", "cpu_s", 1 / 5),
            Row("kill -9 of the active controller with 10,000 partitions: until a topic is created", "ms", "failover_ms", 1 / 4),
        ], is_cluster=True, disk_gb=10),
        Group("cluster kill", cluster.failover("kill"), [
            Row("kill -9 of the leader: longest time without an acknowledgement", "ms", "longest_ack_gap", 1500 / 9000),
        ], mode="sync", is_cluster=True),
        Group("cluster stop", cluster.failover("term"), [
            Row("stop of the leader: longest time without an acknowledgement", "ms", "longest_ack_gap", 100 / 500),
        ], mode="sync", is_cluster=True),
        Group("cluster roll", cluster.roll, [
            Row("stop and start of one node after the other: p99.9 of acknowledgements", "ms", "ack_latency.p999", 1 / 4),
            Row("the same: longest time without one", "ms", "longest_ack_gap", 1 / 4),
        ], mode="sync", is_cluster=True),
    ]


def groups(cold_gb, retained_gb):
    after = Row("resident memory after the whole load", "MiB", "resident_after_load", 1 / 5)
    return [
        Group("start", starts, [
            Row("process start to first answered Metadata", "ms", "start_ms", 1 / 20),
            Row("idle resident memory", "MiB", "resident_idle", 25, is_absolute=True),
        ]),
        Group("load", workloads, [*shared_rows(), after]),
        Group("default against default", workloads, [*shared_rows(), after], mode="sync"),
        *(synced(partitions, producers) for partitions in (1, 12) for producers in (1, 64)),
        Group("tail", loads.tail, [
            Row("consumed as it is produced, batches of 16 KB, one at a time", "s/GB", "cpu_s_per_gb", 1 / 1.5),
        ]),
        Group("cold", lambda node: loads.cold_read(node, cold_gb / 4), [
            Row(f"fetch {cold_gb / 4:g} GB from the device", "s/GB", "cpu_s_per_gb", 1),
        ], disk_gb=cold_gb / 4),
        Group("tail beside cold", lambda node: loads.tail_beside_cold(node, cold_gb), [
            Row("tail p99 beside a cold reader and the cleaner", "ms", "p99", 1 / 4),
        ], disk_gb=cold_gb + 2),
        Group("tail beside the cleaner", loads.tail_beside_cleaner, [
            Row("tail p99 beside a topic that is written to", "ms", "written", 1 / 4),
            Row("the same while the cleaner compacts that topic", "ms", "cleaned", 1 / 4),
            Row("the second by the first", "ratio", "cleaned_by_written", 1.1, is_absolute=True),
        ]),
        Group("many partitions", lambda node: loads.many_partitions(node, 100, 100), [
            Row("start to Metadata with 10,000 partitions", "ms", "start_ms", 1 / 20),
            Row("10,000 partitions idle: memory", "MiB", "resident_mib", 200, is_absolute=True),
            Row("10,000 partitions idle: CPU", "cores", "idle_core", 0.01, is_absolute=True),
        ]),
        Group("retained", lambda node, rounds: loads.retained(node, retained_gb, rounds), [
            Row("produce behind 1 GB", "us/record", "little", 1),
            Row(f"produce behind {retained_gb:g} GB", "us/record", "much", 1),
            Row("the second by the first", "ratio", "much_by_little", 1.1, is_absolute=True),
        ], has_rounds=True, disk_gb=retained_gb + 5),
        *cluster_groups(),
    ]
