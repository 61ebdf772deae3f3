"""Loads that the shared workloads do not have: each drives one node and gives figures by name."""
import json
import os
import subprocess
import threading
import time

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from machine import touch
from nodes import TMP, TOOLS

LOAD = os.path.join(TMP, "load")
SHARED_S = 300
LOAD_S = 240
USABLE_S = 120
DELETED_S = 120
# What is produced behind retained data.
BEHIND_MB = 1000
IDEMPOTENT_MB = 2500
# A batch at a time, so often a second, read as soon as it is there.
TAIL_RATE, TAIL_BYTES, TAIL_S = 2000, 16000, 10


def shared(node, only, gigabytes):
    """Runs the shared workloads that match and write so much; gives {figure: value}."""
    touch(gigabytes)
    env = dict(os.environ, BROKER_PID=str(node.pid), MODE="full", ONLY=only)
    script = os.path.join(TOOLS, "run.sh")
    done = subprocess.run([script, node.address], env=env, capture_output=True, text=True, timeout=SHARED_S)
    figures = {}
    for line in done.stdout.splitlines():
        name, _, rest = line.partition(": ")
        try:
            figures[name] = float(rest.split()[0])
        except (ValueError, IndexError):
            pass
    return figures


def admin(node):
    return AdminClient({"bootstrap.servers": node.address, "log_level": 0})


def make_topic(node, name, partitions, configs=None):
    """Creates a topic and waits until each of its partitions answers."""
    client = admin(node)
    topic = NewTopic(name, partitions, node.replicas, config={"retention.ms": "-1", **(configs or {})})
    client.create_topics([topic], request_timeout=60)[name].result()
    wait_until_usable(client, name, partitions)
    return name


def wait_until_usable(client, name, partitions, wait_s=USABLE_S):
    """Until each partition of a topic answers."""
    left, end = list(range(partitions)), time.time() + wait_s
    while left:
        # Its library goes on with leaders that it heard of before the topic was whole.
        client.list_topics(name, timeout=60)
        asked = client.list_offsets({TopicPartition(name, at): OffsetSpec.latest() for at in left}, request_timeout=60)
        left = [one.partition for one, future in asked.items() if future.exception() is not None]
        if left and time.time() > end:
            raise TimeoutError(f"{len(left)} partitions of {name} cannot be used")
        time.sleep(0.05)


def drop_topic(node, name):
    client = admin(node)
    client.delete_topics([name], request_timeout=60)[name].result()


def drop_large_topic(node, name):
    """Waits until its files are gone, too: the next load needs their room, and removing them costs.

    Kafka removes nothing in the first 30 s after its start.
    """
    drop_topic(node, name)
    end = time.time() + DELETED_S
    while node.has_files_of(name):
        if time.time() > end:
            raise TimeoutError(f"the files of {name} are still there")
        time.sleep(0.1)


def command(node, mode, topic, partitions, **options):
    words = [LOAD, mode, "--bootstrap", node.address, "--topic", topic, "--parts", str(partitions)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


def load(node, mode, topic, partitions, **options):
    """Runs the load generator; gives its figures and the broker's CPU per record and per GB."""
    before = node.cpu_s()
    words = command(node, mode, topic, partitions, **options)
    done = subprocess.run(words, capture_output=True, text=True, timeout=LOAD_S)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()[-200:]}")
    figures = json.loads(lines[-1])
    cpu_s = node.cpu_s() - before
    value_bytes = figures["bytes"] or figures["records"] * options.get("size", 1024)
    figures["cpu_s_per_gb"] = cpu_s / max(value_bytes, 1) * 1e9
    figures["cpu_us_per_record"] = cpu_s / max(figures["records"], 1) * 1e6
    return figures


def fill(node, topic, partitions, gigabytes):
    """Appends so much in batches of 64 KiB; gives the count of records of 1 KiB."""
    count = int(gigabytes * 1e9 / 1024)
    done = 0
    while done < count:
        part = min(count - done, 2_000_000)
        figures = load(node, "produce", topic, partitions, conns=4, size=1024, batch_bytes=65536, secs=200, count=part, acks=-1, max_mb=10**6)
        done += figures["records"]
    return done


def idempotent(node):
    """Records of 1 KiB to one partition, idempotent and so from one connection: the shared workloads have this only for twelve."""
    touch(IDEMPOTENT_MB / 1000)
    topic = make_topic(node, f"idempotent-{time.time_ns()}", 1)
    figures = load(node, "produce", topic, 1, conns=1, size=1024, batch_bytes=16384, secs=5, max_mb=IDEMPOTENT_MB, idem=True)
    drop_large_topic(node, topic)
    return {"idempotent.1KiB.p1": figures["cpu_s_per_gb"]}


def single_records(node, partitions, producers, configs, secs=5):
    """Producers that each wait for the acknowledgement of one record of 1 KiB before they send the next."""
    touch(1)
    topic = make_topic(node, f"single-{partitions}-{producers}-{time.time_ns()}", partitions, configs)
    figures = load(node, "produce", topic, partitions, conns=producers, inflight=1, size=1024, batch_bytes=1024, secs=secs, acks=-1)
    drop_topic(node, topic)
    return figures


def cold_read(node, gigabytes):
    """Fetches what is on the device alone."""
    topic = make_topic(node, f"cold-{time.time_ns()}", 12)
    count = fill(node, topic, 12, gigabytes)
    node.evict()
    touch(gigabytes)
    figures = load(node, "fetch", topic, 12, conns=2, secs=120, count=count, size=1024)
    drop_large_topic(node, topic)
    return figures


def tail(node):
    """What it costs to hand on what was just produced: batches with a consumer that waits for them, less the same without one."""
    options = dict(rate=TAIL_RATE, size=TAIL_BYTES, secs=TAIL_S, acks=-1)
    costs = {}
    for mode in ("conns", "e2e"):
        touch(TAIL_RATE * TAIL_BYTES * TAIL_S / 1e9)
        topic = make_topic(node, f"{mode}-{time.time_ns()}", 1)
        costs[mode] = load(node, mode, topic, 1, conns=1, **options)["cpu_s_per_gb"]
        drop_topic(node, topic)
    return {"cpu_s_per_gb": costs["e2e"] - costs["conns"]}


DIRTY = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.bytes": str(16 << 20), "max.compaction.lag.ms": "1000"}


def overwrite(node, topic, stop):
    """Writes the same keys again and again until told to stop."""
    producer = Producer({"bootstrap.servers": node.address, "linger.ms": 20})
    value, at = os.urandom(512), 0
    while not stop.is_set():
        for _ in range(500):
            producer.produce(topic, value, key=str(at % 20_000))
            at += 1
        producer.poll(0.05)
    producer.flush(10)


def tail_beside(node, secs, *others):
    """End to end at 1,000 records/s while others work, each told by an event when to stop."""
    stop = threading.Event()
    threads = [threading.Thread(target=other, args=[stop]) for other in others]
    for thread in threads:
        thread.start()
    try:
        topic = make_topic(node, f"tail-{time.time_ns()}", 1)
        figures = load(node, "e2e", topic, 1, rate=1000, size=100, acks=-1, secs=secs)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    drop_large_topic(node, topic)
    return figures


def tail_beside_cold(node, gigabytes, secs=20):
    """The tail while another consumer reads from the device and a compacted topic is cleaned."""
    cold = make_topic(node, f"beside-{time.time_ns()}", 12)
    count = fill(node, cold, 12, gigabytes)
    keyed = make_topic(node, f"keyed-{time.time_ns()}", 1, DIRTY)
    node.evict()
    touch(gigabytes)

    def read(stop):
        while not stop.is_set():
            words = command(node, "fetch", cold, 12, conns=2, secs=secs, count=count)
            subprocess.run(words, capture_output=True, timeout=LOAD_S)
            node.evict()

    figures = tail_beside(node, secs, read, lambda stop: overwrite(node, keyed, stop))
    for topic in (cold, keyed):
        drop_large_topic(node, topic)
    return figures


def tail_beside_cleaner(node, secs=20):
    """The tail beside a topic that is written to, without and with the cleaner at work on it."""
    figures = {}
    for figure, configs in (("written", {}), ("cleaned", DIRTY)):
        keyed = make_topic(node, f"keyed-{time.time_ns()}", 1, configs)
        figures[figure] = tail_beside(node, secs, lambda stop: overwrite(node, keyed, stop))["p99"]
        drop_large_topic(node, keyed)
    return {**figures, "cleaned_by_written": figures["cleaned"] / figures["written"]}


def retained(node, gigabytes, rounds):
    """What a record costs behind 1 GB and behind so much, one after the other; gives lists of figures."""
    much = make_topic(node, f"much-{time.time_ns()}", 12)
    fill(node, much, 12, gigabytes)
    figures = {"little": [], "much": [], "much_by_little": []}
    for _ in range(rounds):
        little = make_topic(node, f"little-{time.time_ns()}", 12)
        fill(node, little, 12, 1)
        costs = [behind(node, topic) for topic in (little, much)]
        drop_large_topic(node, little)
        for name, value in zip(figures, [*costs, costs[1] / costs[0]]):
            figures[name].append(value)
    drop_large_topic(node, much)
    return figures


def behind(node, topic):
    """CPU of one record of 1 KiB appended to what the topic has."""
    os.sync()
    touch(BEHIND_MB / 1000)
    figures = load(node, "produce", topic, 12, conns=4, size=1024, batch_bytes=16384, secs=5, acks=-1, max_mb=BEHIND_MB)
    return figures["cpu_us_per_record"]


def write_one_each(node, topic, partitions):
    """One record to each partition, so that each has a log on the disk."""
    producer = Producer({"bootstrap.servers": node.address, "log_level": 0})
    for at in range(partitions):
        producer.produce(topic, b"one", partition=at)
    if left := producer.flush(60):
        raise TimeoutError(f"{left} records of {topic} were not acknowledged")


def many_partitions(node, topics, partitions, idle_s=20):
    """Memory and CPU of a node that has many partitions with a record each and nothing to do, and how it starts with them."""
    client = admin(node)
    known = client.list_topics(timeout=30).topics
    # A topic after another: a controller takes only so many records in one decision.
    for name in (f"many-{at}" for at in range(topics)):
        if name not in known:
            client.create_topics([NewTopic(name, partitions, 1)], request_timeout=120)[name].result()
            wait_until_usable(client, name, partitions)
            write_one_each(node, name, partitions)
    time.sleep(5)
    node.stop()
    figures = {"start_ms": node.start()}
    time.sleep(5)
    before = node.cpu_s()
    time.sleep(idle_s)
    figures["idle_core"] = (node.cpu_s() - before) / idle_s
    figures["resident_mib"] = node.resident_mib()
    return figures
