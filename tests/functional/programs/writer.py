"""Writing processes for the crash and concurrency tests: `writer.py ROOT`, commands on stdin, news on stdout.

    loop HW      start a process that commits runs until it is killed
    count N HW   start a process that commits N runs

It says `started PID`, then `committed PID RUN_ID` after each commit is acknowledged, then `done PID`. The processes are
forked from one that has imported everything, before any library has started its threads.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys

import polars as pl

from groundlake.store import Lake

TIMINGS_ROWS = 5
POWER_ROWS = 2


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def one_run(lake: Lake, hardware_id: str, **columns: object) -> str:
    """Commit a run of four files: two leaves of timings, one of power, the ledger."""
    timings = pl.DataFrame(
        {
            "precision": ["fp32", "fp32", "fp32", "bf16", "bf16"],
            "subgraph_id": range(TIMINGS_ROWS),
            "fusion_pattern": "Unfused",
            "operation_type": "unfused",
            "node_names": [["a"]] * TIMINGS_ROWS,
            "flops": 10,
            "total_bytes": 10,
            "arithmetic_intensity": 1.0,
            "latency_mean_ms": 1.0,
            "latency_std_ms": 0.0,
            "latency_min_ms": 1.0,
            "latency_max_ms": 1.0,
            "latency_samples": 3,
        }
    )
    power = pl.DataFrame(
        {"phase": "measure", "source": "replay", "rail": "vdd", "timestamp_s": [0.0, 1.0], "power_w": [1.0, 2.0]}
    )
    run = {"hardware_id": hardware_id, "model": "net", "precision": "fp32", "batch": 1}
    return lake.write(run | columns, subgraph_timings=timings, power_timeseries=power)


def work(root: str, rounds: range | itertools.count[int], hardware_id: str) -> None:
    os.nice(10)  # of more writers than cores, those who read and merge beside them would hardly get a turn
    lake = Lake(root)
    for _ in rounds:
        say("committed", os.getpid(), one_run(lake, hardware_id))
    say("done", os.getpid())


def main(root: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need no burial
    say("ready", os.getpid())
    for line in sys.stdin:
        kind, *arguments = line.split()
        if os.fork() == 0:
            say("started", os.getpid())
            rounds = itertools.count() if kind == "loop" else range(int(arguments[0]))
            work(root, rounds, arguments[-1])
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
