"""Stop an action before each step it takes on the disk, one after the other: `stops.py ACTION MODE FOLDER`.

MODE `freeze` is what `kill -9` leaves behind: from the chosen step on nothing reaches the disk, cleaning up included.
MODE `interrupt` is Ctrl-C at that step: cleaning up goes on. Prints one JSON line for each step with what the lake then
says; the last line is of the whole action.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[2]))
from stopping import Clock

from groundlake.errors import RunExistsError
from groundlake.store import Lake

MOST = 10**6
ENDS = 15
RUN = {"run_id": "the-run", "hardware_id": "dev"}


def timings(rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "precision": ["fp32", "bf16"] * (rows // 2),
            "subgraph_id": range(rows),
            "fusion_pattern": "Unfused",
            "operation_type": "unfused",
            "node_names": [["a"]] * rows,
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


def write(root: Path) -> None:
    Lake(root).write(RUN, subgraph_timings=timings(4))


def write_to_a_lake(root: Path) -> None:
    write(root)


def compact(root: Path) -> None:
    Lake(root).compact_runs()


def bind_views(root: Path) -> None:
    Lake(root).bind_views()


def before(action: str, root: Path) -> None:
    """What is in the lake when the action begins."""
    if action == "write":
        return  # not even the root
    lake = Lake(root)
    for number in range(3):
        lake.write({"hardware_id": "dev", "run_id": f"earlier-{number}"}, subgraph_timings=timings(2))
    lake.retract("earlier-2", "dev", "wrong mode")


def report(root: Path, *, again: bool) -> dict[str, Any]:
    """Everything a reader can see now, and what a second attempt does."""
    root.mkdir(exist_ok=True)  # killed before the root was made: nothing to read yet
    lake = Lake(root)
    by_sql = (
        "select r.run_id, count(t.run_id) from runs r left join subgraph_timings t on t.run_id = r.run_id group by 1"
    )
    seen = {
        "rows": sorted(lake.sql(by_sql).rows()),
        "direct_runs": sorted(lake.runs()["run_id"]),
        "direct_rows": sorted(lake.frame("subgraph_timings").group_by("run_id").len().iter_rows()),
        "findings": sorted({finding.code for finding in lake.check()}),
    }
    if again:
        try:
            write(root)
            seen["again"] = "written"
        except RunExistsError:
            seen["again"] = "exists"
        seen["rows_then"] = sorted(lake.frame("subgraph_timings").group_by("run_id").len().iter_rows())
    return seen


def chosen(steps: int) -> list[int]:
    """Every step of an action, the end included; of a long one, which does the same for each table, some between."""
    begin, end = min(ENDS, steps), max(min(ENDS, steps), steps - ENDS)
    middle = range(begin, end)
    return [*range(begin), *middle[:: max(1, len(middle) // ENDS)], *range(end, steps + 1)]


def main(action: str, mode: str, folder: Path) -> None:
    clock = Clock(mode)
    actions = {"write": write, "write_to_a_lake": write_to_a_lake, "compact": compact, "bind_views": bind_views}

    def stopped_at(step: int, name: str) -> tuple[bool, Path]:
        place = folder / name
        place.mkdir()
        root = place / "lake"
        before(action, root)
        return clock.stops(place, step, lambda: actions[action](root)), root

    for name in ("first", "second"):  # the first one may fill the user's cache
        stopped_at(MOST, name)
    for step in chosen(MOST - clock.reached):
        stopped, root = stopped_at(step, str(step))
        news = {"stopped": stopped} | report(root, again=action.startswith("write"))
        os.write(1, (json.dumps(news) + "\n").encode())
    os._exit(0)  # an audit hook stays for the life of a process


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
