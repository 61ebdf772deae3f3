"""What the machine itself does to a figure: memory that its host has taken back, room on the disk, the time of a sync.

The host of a virtual machine may take back pages that are free; whoever uses such a page next waits for it.
A load that fills the page cache would be charged for that, the more the longer the machine was idle before.
"""
import mmap
import os
import shutil
import statistics
import time

from nodes import OUT

IS_TOUCHING = os.environ.get("TOUCH", "1") != "0"
GB = 10**9
# Left for everyone else when memory is held or touched.
SPARED_BYTES = 3 * GB
# Free beside what a load takes, and beside what the kernel keeps for itself.
SLACK_BYTES, RESERVE_BYTES = GB, GB // 5
# Nodes write logs of their own, and a disk should not get full.
SPARED_DISK_GB = 2
SYNCS = 300
# Free memory that no load needs stays here: else the host takes it back, and the next load may get just that.
held = []


def touch(gigabytes):
    """Makes the host back all memory that is free, right before a load that takes so much of it into the page cache."""
    if not IS_TOUCHING:
        return
    need = int(gigabytes * GB) + SLACK_BYTES
    if memory("MemAvailable") < need + SPARED_BYTES:
        while held:
            held.pop().close()
    surplus = min(memory("MemFree") - need, memory("MemAvailable") - need - SPARED_BYTES)
    if surplus > 0:
        held.append(backed(surplus))
    count = min(max(memory("MemFree") - RESERVE_BYTES, need), memory("MemAvailable") - SPARED_BYTES)
    if count > 0:
        backed(count).close()


def memory(name):
    """A line of /proc/meminfo, in bytes."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))


def backed(count):
    """Memory of this process, every page of it written."""
    return mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_POPULATE)


def need_room(gigabytes):
    """Refuses what would fill the disk."""
    need, free = gigabytes + SPARED_DISK_GB, shutil.disk_usage(OUT).free / GB
    if free < need:
        raise RuntimeError(f"needs {need:.0f} GB of disk below {OUT}, {free:.0f} GB are free")


def sync_ms():
    """The median time of one fdatasync after an append of 4 KiB, with nothing of ours running."""
    path, taken = os.path.join(OUT, "sync"), []
    with open(path, "wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    os.remove(path)
    return statistics.median(taken)
