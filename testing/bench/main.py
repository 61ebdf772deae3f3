"""Runs every group on both kinds of node in alternated rounds and prints the medians as a table."""
import json
import os
import re
import signal
import statistics
import sys
import time

import loads
import machine
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
    machine.need_room(group.disk_gb)
    make = Cluster if group.is_cluster else Node
    nodes = {kind: make(kind, PORTS[kind], settings(kind, group.mode)) for kind in KINDS}
    values = {kind: {} for kind in nodes}
    try:
        for node in nodes.values():
            node.start()
        for _ in range(1 if group.has_rounds else ROUNDS):
            for kind, node in nodes.items():
                found = group.run(node, ROUNDS) if group.has_rounds else group.run(node)
                for figure, value in found.items():
                    values[kind].setdefault(figure, []).extend(value if group.has_rounds else [value])
    finally:
        for node in nodes.values():
            node.remove()
    return values


def own_modes():
    """What our sync costs against our async with many producers, round after round; gives {mode: {figure: [value]}}."""
    nodes = {mode: Node("thalweg", PORTS["thalweg"] + at * 10, settings("thalweg", mode)) for at, mode in enumerate(("async", "sync"))}
    values = {mode: {"rps": [], "p50": [], "p99": []} for mode in nodes}
    values["disk"] = {"sync_ms": []}
    try:
        for node in nodes.values():
            node.start()
            loads.single_records(node, 12, OWN_PRODUCERS, {}, secs=2)
        for _ in range(ROUNDS):
            values["disk"]["sync_ms"].append(machine.sync_ms())
            for mode, node in nodes.items():
                run = loads.single_records(node, 12, OWN_PRODUCERS, {})
                for figure, found in values[mode].items():
                    found.append(run[figure])
    finally:
        for node in nodes.values():
            node.remove()
    return values


def own_modes_lines(values):
    """Medians of each mode, and of what each round says about both."""
    lines = ["| mode | records/s | p50 ms | p99 ms |", "|---|---|---|---|"]
    for mode in ("async", "sync"):
        rps, p50, p99 = (statistics.median(values[mode][key]) for key in ("rps", "p50", "p99"))
        lines.append(f"| {mode} | {rps:.0f} | {p50:.3g} | {p99:.3g} |")
    share = statistics.median(ours / theirs for theirs, ours in zip(values["async"]["rps"], values["sync"]["rps"]))
    more = statistics.median(ours - theirs for theirs, ours in zip(values["async"]["p99"], values["sync"]["p99"]))
    sync_ms = statistics.median(values["disk"]["sync_ms"])
    lines += ["", f"In pairs: {share:.2f} of the throughput (aim: at least 0.7), p99 {more:.3g} ms more, one sync of an idle disk takes {sync_ms:.3g} ms (aim: at most two of them)"]
    return lines


def shown(found):
    """The median of what was found, as text."""
    numbers = [value for value in found or [] if value is not None]
    if numbers:
        return f"{statistics.median(numbers):.3g}"
    return "did not settle" if found else "not measured"


def line(row, values):
    """One line of the table; what could not be measured says so."""
    found = [values.get(kind, {}).get(row.figure) for kind in ("kafka", "thalweg")]
    ratio = aim = ""
    theirs, ours = ([value for value in one or [] if value is not None] for one in found)
    if theirs and ours:
        share = statistics.median(ours) / statistics.median(theirs) if statistics.median(theirs) else float("nan")
        ratio = f"{share:.3g}"
    judged = statistics.median(ours) if row.is_absolute and ours else share if ratio else None
    if judged is not None:
        reached = judged >= row.target if row.more_is_better else judged <= row.target
        bound = "at least" if row.more_is_better else "at most"
        unit = f" {row.unit}" if row.is_absolute and row.unit != "ratio" else ""
        aim = f"{bound} {row.target:.3g}{unit}{'' if reached else ', not reached'}"
    return f"| {row.name} | {row.unit} | {shown(found[0])} | {shown(found[1])} | {ratio} | {aim} |"


def run_group(group):
    """Measures one group; gives its values and its lines."""
    values = measure(group)
    head = ["| what | unit | Kafka | thalweg | ratio | aim |", "|---|---|---|---|---|---|"]
    return values, head + [line(row, values) for row in group.rows]


def run_own_modes(_group):
    values = own_modes()
    return values, own_modes_lines(values)


def chosen():
    """Titles of the groups that were asked for, what runs each, and the group."""
    for group in groups(COLD_GB, RETAINED_GB):
        # Clusters are measured when they are asked for: they take long to settle.
        if ONLY.search(group.name) and ("ROWS" in os.environ or not group.is_cluster):
            yield f"{group.name} ({group.mode})", run_group, group
    if ONLY.search("own modes"):
        yield f"own modes, {OWN_PRODUCERS} producers, 12 partitions", run_own_modes, None


def main():
    # Told to end, it still ends the nodes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
    report, raw, failed, began = [], {}, False, time.time()
    for title, run, group in chosen():
        print(f"measuring: {title}", file=sys.stderr, flush=True)
        group_began = time.time()
        try:
            raw[title], lines = run(group)
        except Exception as error:
            lines, failed = [f"FAILED: {error}"], True
        lines.append(f"\n{ROUNDS} rounds, {time.time() - group_began:.0f} s")
        report += ["", title, "", *lines]
        # What is known is known, even if the rest is interrupted.
        print("\n".join(lines), file=sys.stderr, flush=True)
        write(report, raw)
    print("\n".join(report))
    print(f"\nIn all {time.time() - began:.0f} s; memory was {'' if machine.IS_TOUCHING else 'not '}touched before each load.")
    sys.exit(failed)


def write(report, raw):
    with open(os.path.join(OUT, "table.md"), "w") as file:
        file.write("\n".join(report) + "\n")
    with open(os.path.join(OUT, "values.json"), "w") as file:
        json.dump(raw, file, indent=1)


main()
