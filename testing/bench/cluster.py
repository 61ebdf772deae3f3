"""Three nodes of either kind in one cluster on loopback, and what happens to them."""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

from confluent_kafka.admin import NewTopic

import loads
from machine import touch
from nodes import DELETE_DELAY, OUT, READY_S, STOP_S, TICKS_PER_S, TOOLS, delete_soon

NODES = 3
# Ours formats itself with it at the first start.
CLUSTER_ID = "dGhhbHdlZy1jbHVzdGVyMQ"
FAILOVER_S = 24
RATE = 1000
ROLL_S = 100
# Between restarts, for replicas that have caught up and leaders that have gone back.
ROLL_REST_S = 8
IDLE_PARTITIONS = 1000
IDLE_S = 10
# Created as so many topics: a controller takes only so many records in one decision.
MANY_TOPICS, MANY_PARTITIONS = 10, 1000
MANY_USABLE_S = 600
CREATE_TOPICS_KEY, CREATE_TOPICS_VERSION = 19, 2
CONTROLLER_S = 60
# Three cold JVMs on two cores spend their time compiling: the first seconds cost twenty times what later ones do.
# So a load runs again and again, until two successive runs cost nearly the same.
SETTLED = 0.15
RUNS_MAX = 12
RUN_S = 8
RUN_MB = 1000


class Cluster:
    """Nodes 1 to 3, each broker and controller, listening ten ports apart."""

    replicas = NODES

    def __init__(self, kind, port, settings=None):
        self.kind, self.settings = kind, settings or {}
        self.ports = {at + 1: port + 10 * at for at in range(NODES)}
        self.addresses = [f"127.0.0.1:{port}" for port in self.ports.values()]
        # Where one partition is led once a topic was made; the load generator knows one address.
        self.address = self.addresses[0]
        self.folder = os.path.join(OUT, "data", f"{kind}-cluster-{port}")
        self.processes = {}
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)

    def start(self):
        """Starts all and waits until each knows all."""
        if self.kind == "kafka":
            self._kafka("up", NODES)
            delete_soon(self.address, self.ports)
            return
        for id in self.ports:
            self._start_thalweg(id)
        self._wait_until_whole()

    def _kafka(self, *words):
        script = [os.path.join(TOOLS, "kafka-cluster.sh"), *(str(word) for word in words), str(self.ports[1]), self.folder]
        # Its output goes to a file: the nodes inherit it, and a pipe would not end before them.
        with open(os.path.join(self.folder, "script.log"), "a") as output:
            subprocess.run(script, check=True, stdout=output, stderr=output, timeout=READY_S + STOP_S)

    def _start_thalweg(self, id):
        port = self.ports[id]
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(id),
            "controller.quorum.voters": ",".join(f"{id}@127.0.0.1:{port + 1}" for id, port in self.ports.items()),
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": os.path.join(self.folder, f"data{id}"),
            "min.insync.replicas": "2",
            "default.replication.factor": str(NODES),
            "offsets.topic.replication.factor": str(NODES),
            DELETE_DELAY[0]: DELETE_DELAY[1],
            **self.settings,
        }
        properties = os.path.join(self.folder, f"{id}.properties")
        with open(properties, "w") as file:
            file.writelines(f"{key}={value}\n" for key, value in settings.items())
        with open(os.path.join(self.folder, f"{id}.log"), "a") as output:
            command = [os.environ["THALWEG_BIN"], "server", properties]
            env = dict(os.environ, CLUSTER_ID=CLUSTER_ID)
            self.processes[id] = subprocess.Popen(command, stdout=output, stderr=output, env=env, start_new_session=True)
        with open(os.path.join(self.folder, f"{id}.pid"), "w") as file:
            file.write(str(self.processes[id].pid))

    def _wait_until_whole(self):
        for address in self.addresses:
            ask = ["python3", os.path.join(TOOLS, "ready.py"), address, str(READY_S), str(NODES)]
            subprocess.run(ask, check=True, capture_output=True)

    def pids(self):
        found = []
        for id in self.ports:
            try:
                with open(os.path.join(self.folder, f"{id}.pid")) as file:
                    found.append((id, int(file.read())))
            except FileNotFoundError:
                pass
        return found

    def revive(self):
        """Starts again what has ended, and waits until all is well."""
        for id, _ in self.pids():
            if self.is_alive(id):
                continue
            if self.kind == "kafka":
                self._kafka("start", id)
            else:
                self._start_thalweg(id)
        self._wait_until_whole()
        time.sleep(10)

    def remove(self):
        """Ends all and removes their data."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            end = time.time() + STOP_S
            for id, pid in self.pids():
                if os.path.exists(f"/proc/{pid}"):
                    os.kill(pid, signum)
            while time.time() < end and self._is_any_alive():
                time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_any_alive(self):
        return any(self.is_alive(id) for id in self.ports)

    def is_alive(self, id):
        if id in self.processes:
            self.processes[id].poll()
        pid = dict(self.pids()).get(id)
        return pid is not None and os.path.exists(f"/proc/{pid}")

    def cpu_s(self):
        """CPU-seconds that all have used, in user and kernel mode."""
        total = 0
        for _, pid in self.pids():
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS_PER_S

    def resident_mib(self):
        """Resident memory of all."""
        total = 0
        for _, pid in self.pids():
            with open(f"/proc/{pid}/status") as file:
                line = next(line for line in file if line.startswith("VmRSS"))
            total += int(line.split()[1])
        return total / 1024

    def has_files_of(self, topic):
        """Whether a folder of its partitions is left on any node, deleted or not."""
        data = (os.path.join(self.folder, f"data{id}") for id in self.ports)
        return any(name.startswith(f"{topic}-") for folder in data for name in os.listdir(folder))

    def turn_to_leader(self, topic):
        leader = loads.admin(self).list_topics(topic, timeout=10).topics[topic].partitions[0].leader
        self.address = f"127.0.0.1:{self.ports[leader]}"


def one_partition(cluster):
    """A topic of one partition with three replicas, of which two must have a record; the load goes to its leader."""
    name = loads.make_topic(cluster, f"replicated-{time.time_ns()}", 1, {"min.insync.replicas": "2"})
    cluster.turn_to_leader(name)
    return name


def full_speed(cluster):
    """Records of 1 KiB in batches of 16 KiB, as many as go."""
    touch(NODES * RUN_MB / 1000)
    topic = one_partition(cluster)
    figures = loads.load(cluster, "produce", topic, 1, conns=4, size=1024, batch_bytes=16384, acks=-1, secs=RUN_S, max_mb=RUN_MB)
    loads.drop_large_topic(cluster, topic)
    return figures


def settled(cluster):
    """CPU and rate at full speed as the mean of two runs in a row that cost the same; None if none do."""
    runs = [full_speed(cluster)]
    while len(runs) < RUNS_MAX:
        runs.append(full_speed(cluster))
        first, second = (run["cpu_s_per_gb"] for run in runs[-2:])
        if abs(first - second) <= SETTLED * min(first, second):
            return {key: (runs[-2][key] + runs[-1][key]) / 2 for key in ("cpu_s_per_gb", "mbps")}
    costs = ", ".join(f"{run['cpu_s_per_gb']:.3g}" for run in runs)
    print(f"{cluster.kind} did not settle, s/GB: {costs}", file=sys.stderr)
    return {"cpu_s_per_gb": None, "mbps": None}


def replicated(cluster):
    """At full speed until that settles, then end to end at 1,000 records/s."""
    figures = settled(cluster)
    topic = one_partition(cluster)
    passed = loads.load(cluster, "e2e", topic, 1, rate=RATE, size=100, acks=-1, secs=15)
    loads.drop_topic(cluster, topic)
    return {**figures, "p99": passed["p99"]}


def failover(mode):
    """A producer while the leader gets a signal: SIGKILL (kill) or SIGTERM (term)."""

    def run(cluster):
        producer = produce_beside(cluster, FAILOVER_S, mode)
        figures = judged(producer, mode)
        cluster.revive()
        return figures

    return run


def roll(cluster):
    """A producer while one node after the other is stopped and started again."""
    producer = produce_beside(cluster, ROLL_S, "none")
    time.sleep(ROLL_REST_S)
    for id, pid in cluster.pids():
        os.kill(pid, signal.SIGTERM)
        end = time.time() + STOP_S
        while cluster.is_alive(id):
            if time.time() > end:
                raise TimeoutError(f"node {id} does not stop")
            time.sleep(0.05)
        cluster.revive()
        time.sleep(ROLL_REST_S)
    return judged(producer, "none")


def produce_beside(cluster, seconds, mode):
    words = [sys.executable, os.path.join(TOOLS, "failover.py"), ",".join(cluster.addresses)]
    words += [str(seconds), str(RATE), os.path.join(cluster.folder, "%d.pid"), mode]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def judged(producer, mode):
    """What the producer found; an error if records were lost, doubled or out of order."""
    output, errors = producer.communicate(timeout=240)
    figures = {}
    for line in output.splitlines():
        name, _, value = line.partition(": ")
        figures[name.removeprefix(f"failover.{mode}.")] = float(value.split()[0])
    if figures.get("lost_of_acked", 1) or figures["duplicates"] or figures["out_of_order"]:
        raise RuntimeError(f"records were lost, doubled or out of order: {figures}: {errors[-200:]}")
    return figures


def idle(cluster):
    """Memory and CPU of all nodes with partitions and nothing to do."""
    topic = loads.make_topic(cluster, f"idle-{time.time_ns()}", IDLE_PARTITIONS)
    time.sleep(IDLE_S)
    before = cluster.cpu_s()
    time.sleep(IDLE_S)
    figures = {"resident_mib": cluster.resident_mib(), "cores": (cluster.cpu_s() - before) / IDLE_S}
    loads.drop_topic(cluster, topic)
    return figures


def many(cluster):
    """10,000 partitions with three replicas each: how long until all can be used, and what a lost controller costs then."""
    client, names, began = loads.admin(cluster), [f"many-{at}-{time.time_ns()}" for at in range(MANY_TOPICS)], time.time()
    before = cluster.cpu_s()
    for name in names:
        topic = NewTopic(name, MANY_PARTITIONS, NODES)
        client.create_topics([topic], request_timeout=CONTROLLER_S)[name].result()
    figures = {"acknowledged_ms": (time.time() - began) * 1000}
    for name in names:
        loads.wait_until_usable(client, name, MANY_PARTITIONS, MANY_USABLE_S)
    figures.update(usable_ms=(time.time() - began) * 1000, cpu_s=cluster.cpu_s() - before)
    time.sleep(IDLE_S)
    figures["failover_ms"] = lose_controller(cluster)
    cluster.revive()
    for name in names:
        loads.drop_topic(cluster, name)
    return figures


def lose_controller(cluster):
    """Milliseconds from SIGKILL of the active controller until another one has created a topic."""
    ask = [os.environ["THALWEG_BIN"], "cluster", "quorum", "--output", "json", "--bootstrap-server", ",".join(cluster.addresses)]
    quorum = json.loads(subprocess.run(ask, check=True, capture_output=True, text=True).stdout)
    lost = quorum["leader"]
    survivor = next(port for id, port in cluster.ports.items() if id != lost)
    os.kill(dict(cluster.pids())[lost], signal.SIGKILL)
    began = time.time()
    while not creates_topic(survivor, f"after-{time.time_ns()}"):
        if time.time() > began + CONTROLLER_S:
            raise TimeoutError("no other controller creates a topic")
        time.sleep(0.01)
    return (time.time() - began) * 1000


def creates_topic(port, name):
    """Asks one broker, as it is: a client library would go about its own retries."""
    text = lambda value: struct.pack(">h", len(value)) + value.encode()
    topic = text(name) + struct.pack(">ihii", 1, 1, 0, 0)
    body = struct.pack(">hhi", CREATE_TOPICS_KEY, CREATE_TOPICS_VERSION, 1) + text("bench")
    body += struct.pack(">i", 1) + topic + struct.pack(">i?", 1000 * CONTROLLER_S, False)
    try:
        with socket.create_connection(("127.0.0.1", port), CONTROLLER_S) as stream:
            stream.sendall(struct.pack(">i", len(body)) + body)
            read = stream.makefile("rb").read
            answer = read(struct.unpack(">i", read(4))[0])
    except (OSError, struct.error):
        return False
    # Correlation id, throttle time, one topic, its name, the error code.
    (error,) = struct.unpack_from(">h", answer, 12 + 2 + len(name))
    return error == 0
