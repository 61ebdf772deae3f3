"""Runs every group on both kinds of node in alternated rounds and prints the medians as a table."""
import json
import os
import re
import signal
import statistics
import sys

import loads
from cluster import Cluster
from nodes import OUT, Node
from rows import groups

ROUNDS = int(os.environ.get("ROUNDS", "3"))
ONLY = re.compile(os.environ.get("ROWS", "."))
COLD_GB = float(os.environ.get("COLD_GB", "4"))
RETAINED_GB = float(os.environ.get("RETAINED_GB", "10"))
PORTS = {"kafka": 29092, "thalweg": 29192}
KINDS = os.environ.get("KINDS", "kafka thalweg").split()
OWN_PRODUCERS = 256


def settings(kind, mode):
    return {"thalweg.durability": mode} if kind == "thalweg" else {}


def measure(group):
    """Gives {kind: {figure: [a value per round]}}."""
    make = Cluster if group.is_cluster else Node
    nodes = {kind: make(kind, PORTS[kind], settings(kind, group.mode)) for kind in KINDS}
    values = {kind: {} for kind in nodes}
    try:
        for node in nodes.values():
            node.start()
        for _ in range(ROUNDS):
            for kind, node in nodes.items():
                for figure, value in group.run(node).items():
                    values[kind].setdefault(figure, []).append(value)
    finally:
        for node in nodes.values():
            node.remove()
    return values


def own_modes():
    """What our sync costs against our async with many producers; gives {mode: figures}."""
    medians = {}
    for mode in ("async", "sync"):
        node = Node("thalweg", PORTS["thalweg"], settings("thalweg", mode))
        try:
            node.start()
            runs = [loads.single_records(node, 12, OWN_PRODUCERS, {}) for _ in range(ROUNDS)]
            medians[mode] = {key: statistics.median(run[key] for run in runs) for key in ("rps", "p50", "p99")}
        finally:
            node.remove()
    return medians


def line(row, values):
    """One line of the table; what could not be measured says so."""
    found = [values.get(kind, {}).get(row.figure) for kind in ("kafka", "thalweg")]
    if not all(found):
        shown = (f"{statistics.median(one):.3g}" if one else "not measured" for one in found)
        return f"| {row.name} | {row.unit} | {' | '.join(shown)} | | |"
    theirs, ours = (statistics.median(one) for one in found)
    share = ours / theirs if theirs else float("nan")
    reached = share >= row.target if row.more_is_better else share <= row.target
    bound = f"at least {row.target:.3g}" if row.more_is_better else f"at most {row.target:.3g}"
    return f"| {row.name} | {row.unit} | {theirs:.3g} | {ours:.3g} | {share:.3g} | {bound}{'' if reached else ', not reached'} |"


def main():
    # Told to end, it still ends the nodes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
    report, raw, failed = [], {}, False
    for group in groups(COLD_GB, RETAINED_GB):
        # Clusters are measured when they are asked for: ours does not replicate yet.
        if not ONLY.search(group.name) or (group.is_cluster and "ROWS" not in os.environ):
            continue
        print(f"measuring: {group.name}", file=sys.stderr, flush=True)
        try:
            raw[group.name] = values = measure(group)
        except Exception as error:
            report += ["", f"{group.name} ({group.mode}): FAILED, {error}"]
            failed = True
            continue
        report += ["", f"{group.name} ({group.mode})", "", "| what | unit | Kafka | thalweg | ratio | aim |", "|---|---|---|---|---|---|"]
        lines = [line(row, values) for row in group.rows]
        report += lines
        # What is known is known, even if the rest is interrupted.
        print("\n".join(lines), file=sys.stderr, flush=True)
    if ONLY.search("own modes"):
        raw["own modes"] = modes = own_modes()
        report += ["", f"own modes, {OWN_PRODUCERS} producers, 12 partitions", "", "| mode | records/s | p50 ms | p99 ms |", "|---|---|---|---|"]
        report += [f"| {mode} | {one['rps']:.0f} | {one['p50']:.3g} | {one['p99']:.3g} |" for mode, one in modes.items()]
    text = "\n".join(report)
    print(text)
    with open(os.path.join(OUT, "table.md"), "w") as file:
        file.write(text + "\n")
    with open(os.path.join(OUT, "values.json"), "w") as file:
        json.dump(raw, file, indent=1)
    sys.exit(failed)


main()
