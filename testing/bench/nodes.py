"""One node of either kind: started, asked for its CPU and memory, stopped."""
import os
import shutil
import signal
import subprocess
import time

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

TOOLS, TMP, OUT = (os.environ[key] for key in ("BENCH_DIR", "BENCH_TMP", "BENCH_OUT"))
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READY_S = 120
STOP_S = 60


# Either kind removes the files of a deleted topic so soon, so that the next load has their room.
DELETE_DELAY = ("log.segment.delete.delay.ms", "1000")


def delete_soon(address, ids):
    """Tells brokers that run already; without it the files stay for a minute."""
    entry = ConfigEntry(*DELETE_DELAY, incremental_operation=AlterConfigOpType.SET)
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    # librdkafka takes one broker in a call.
    for id in ids:
        broker = ConfigResource(ConfigResource.Type.BROKER, str(id), incremental_configs=[entry])
        client.incremental_alter_configs([broker])[broker].result()


class Node:
    """A broker and controller in one process on a loopback port, with a data folder of its own."""

    replicas = 1

    def __init__(self, kind, port, settings=None):
        self.kind, self.port, self.settings = kind, port, settings or {}
        self.address = f"127.0.0.1:{port}"
        self.folder = os.path.join(OUT, "data", f"{kind}-{port}")
        self.pid = None
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)

    def start(self):
        """Starts the process; gives the milliseconds until it answered Metadata."""
        start = {"kafka": self._start_kafka, "thalweg": self._start_thalweg}[self.kind]
        ready = start()
        words = ready.split()
        return float(words[words.index("metadata_ms") + 1])

    def _start_kafka(self):
        env = dict(os.environ, KAFKA_JVM=os.environ.get("KAFKA_JVM", ""))
        for key, value in self.settings.items():
            raise ValueError(f"Kafka runs with its own defaults, not with {key}={value}")
        script = os.path.join(TOOLS, "kafka.sh")
        ready = subprocess.run([script, "up", str(self.port), self.folder], env=env, check=True, capture_output=True, text=True)
        with open(os.path.join(self.folder, "pid")) as file:
            self.pid = int(file.read())
        delete_soon(self.address, [1])
        return ready.stdout

    def _start_thalweg(self):
        controller = self.port + 1
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": os.path.join(self.folder, "data"),
            "offsets.topic.replication.factor": "1",
            DELETE_DELAY[0]: DELETE_DELAY[1],
            **self.settings,
        }
        properties = os.path.join(self.folder, "server.properties")
        with open(properties, "w") as file:
            file.writelines(f"{key}={value}\n" for key, value in settings.items())
        began = time.time()
        with open(os.path.join(self.folder, "output"), "a") as output:
            command = [os.environ["THALWEG_BIN"], "server", properties]
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        self.pid = self.process.pid
        ask = ["python3", os.path.join(TOOLS, "ready.py"), self.address, str(READY_S), "1", str(began)]
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout

    def stop(self):
        """Stops it cleanly, and for good if it does not stop in time."""
        if self.pid is None:
            return
        os.kill(self.pid, signal.SIGTERM)
        end = time.time() + STOP_S
        while self._is_alive() and time.time() < end:
            time.sleep(0.05)
        if self._is_alive():
            os.kill(self.pid, signal.SIGKILL)
        self.pid = None

    def remove(self):
        """Stops it and removes its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_alive(self):
        if self.kind == "thalweg":
            return self.process.poll() is None
        return os.path.exists(f"/proc/{self.pid}")

    def cpu_s(self):
        """CPU-seconds that it has used, in user and kernel mode."""
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def resident_mib(self):
        """Resident memory now."""
        with open(f"/proc/{self.pid}/status") as file:
            line = next(line for line in file if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def has_files_of(self, topic):
        """Whether a folder of its partitions is left, deleted or not."""
        data = os.path.join(self.folder, "data")
        return any(name.startswith(f"{topic}-") for name in os.listdir(data))

    def evict(self):
        """Drops its files from the page cache, so that what is read next comes from the device."""
        os.sync()
        for folder, _, names in os.walk(self.folder):
            for name in names:
                try:
                    file = os.open(os.path.join(folder, name), os.O_RDONLY)
                except FileNotFoundError:
                    continue
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)
