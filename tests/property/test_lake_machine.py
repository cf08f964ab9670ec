"""Whatever is done to two lakes, in any order and with crashes at any step, readers see what was acknowledged.

Invariants, by the names that models of table formats give them:

* NoTornVisible: a run that is shown has all its rows.
* NoAcknowledgedLoss: a run whose write returned is shown until it is withdrawn.
* NoDuplicate: a run is shown once, through each door.
* ReadStable: what was shown at a time is what `as_of` that time shows later.
* RetractedStaysGone: a withdrawn run is not shown again, whatever is merged.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from stopping import Clock

from groundlake.store import Lake
from groundlake.sync import sync

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = int(os.environ.get("CHAOS_EXAMPLES", "5"))
STEPS = int(os.environ.get("CHAOS_STEPS", "15"))
NAMES = st.sampled_from(["left", "right"])
LAST_STEP = 40
CLOCK = Clock("freeze")


def timings(rows: int) -> pl.DataFrame:
    """Rows in two leaf folders."""
    return pl.DataFrame({"precision": ["fp32", "bf16"] * rows, "subgraph_id": range(2 * rows)}).with_columns(
        fusion_pattern=pl.lit("Unfused"),
        operation_type=pl.lit("unfused"),
        node_names=pl.lit(["a"]),
        flops=10,
        total_bytes=10,
        latency_samples=3,
        arithmetic_intensity=1.0,
        latency_mean_ms=1.0,
        latency_std_ms=0.0,
        latency_min_ms=1.0,
        latency_max_ms=1.0,
    )


class TwoLakes(RuleBasedStateMachine):
    """Two lakes that are written, crashed, merged, compacted, vacuumed and read."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.written = 0
        self.shown: dict[str, dict[str, int]] = {"left": {}, "right": {}}
        self.withdrawn: dict[str, set[str]] = {"left": set(), "right": set()}
        self.past: list[tuple[str, dt.datetime, dict[str, int]]] = []

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        """Make the first lake, and copy it: making one takes many files."""
        Lake(self.folder / "left").create()
        shutil.copytree(self.folder / "left", self.folder / "right")

    def lake(self, name: str) -> Lake:
        """A lake, opened anew: nothing is remembered."""
        return Lake(self.folder / name)

    def stopped(self, name: str, step: int, action: Callable[[Lake], object]) -> None:
        """Kill an action before one of its steps; where it has fewer, it ends."""
        CLOCK.stops(self.folder, step, lambda: action(self.lake(name)))

    def next_run(self) -> tuple[str, int]:
        """An id, and a number of rows of its own."""
        self.written += 1
        return f"run{self.written}", 1 + self.written % 3

    def write_one(self, lake: Lake, run_id: str, rows: int) -> None:
        """Commit a run of rows in two leaf folders."""
        run = {"run_id": run_id, "hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}
        lake.write(run, subgraph_timings=timings(rows))

    @rule(target=runs, name=NAMES)
    def write(self, name: str) -> str:
        """What was acknowledged is there."""
        run_id, rows = self.next_run()
        self.write_one(self.lake(name), run_id, rows)
        self.shown[name][run_id] = 2 * rows
        return run_id

    @rule(name=NAMES, step=st.integers(0, LAST_STEP))
    def crash_while_writing(self, name: str, step: int) -> None:
        """What was not acknowledged may be there, whole."""
        run_id, rows = self.next_run()
        self.stopped(name, step, lambda lake: self.write_one(lake, run_id, rows))
        if run_id in set(self.lake(name).runs()["run_id"]):
            self.shown[name][run_id] = 2 * rows

    @rule(name=NAMES)
    def compact(self, name: str) -> None:
        """Merge parts and ledger."""
        self.lake(name).compact()

    @rule(name=NAMES, step=st.integers(0, LAST_STEP))
    def crash_while_compacting(self, name: str, step: int) -> None:
        """Nothing is acknowledged, and nothing may change."""
        self.stopped(name, step, lambda lake: lake.compact())

    @rule(name=NAMES)
    def vacuum(self, name: str) -> None:
        """Remove what is dead, at once: nobody else writes."""
        self.lake(name).vacuum(older_than_s=0, nobody_writes=True)

    @rule(name=NAMES, step=st.integers(0, LAST_STEP))
    def crash_while_vacuuming(self, name: str, step: int) -> None:
        """Whatever was removed by then was dead."""
        self.stopped(name, step, lambda lake: lake.vacuum(older_than_s=0, nobody_writes=True))

    @rule(name=NAMES, run_id=consumes(runs))
    def retract(self, name: str, run_id: str) -> None:
        """Withdraw a run where it is shown."""
        if run_id in self.shown[name]:
            self.lake(name).retract(run_id, "dev", "by chance")
            del self.shown[name][run_id]
            self.withdrawn[name].add(run_id)

    @rule(name=NAMES)
    def merge(self, name: str) -> None:
        """Bring in the other lake; what either withdrew is withdrawn in both."""
        other = "left" if name == "right" else "right"
        if self.lake(other).hardware_ids() or self.withdrawn[other]:
            sync(self.folder / other, self.folder / name)
            self.withdrawn[name] |= self.withdrawn[other]
            both = {**self.shown[other], **self.shown[name]}
            self.shown[name] = {run: rows for run, rows in both.items() if run not in self.withdrawn[name]}
            self.past = [each for each in self.past if each[0] != name]  # the past is now that of both

    @rule(name=NAMES, step=st.integers(0, LAST_STEP))
    def crash_while_merging(self, name: str, step: int) -> None:
        """What came by then is whole, and the next merge brings the rest."""
        other = "left" if name == "right" else "right"
        if self.lake(other).hardware_ids() or self.withdrawn[other]:
            self.stopped(name, step, lambda lake: sync(self.folder / other, lake.root))
            came = dict(self.lake(name).frame("subgraph_timings").group_by("run_id").len().iter_rows())
            assert came.items() <= {**self.shown[other], **self.shown[name]}.items()
            assert came.keys() >= self.shown[name].keys() - self.withdrawn[other]
            self.merge(name)

    @rule(name=NAMES)
    def remember(self, name: str) -> None:
        """Keep what is shown now, for later."""
        moment = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
        self.past.append((name, moment, dict(self.shown[name])))

    @rule(name=NAMES)
    def ask_in_sql(self, name: str) -> None:
        """DuckDB sees the same."""
        rows = self.lake(name).sql("select run_id, count(*) from subgraph_timings group by run_id").rows()
        assert dict(rows) == self.shown[name]
        assert {finding.code for finding in self.lake(name).check()} <= {"leftover", "orphan"}

    @invariant()
    def readers_see_what_was_acknowledged(self) -> None:
        """NoTornVisible, NoAcknowledgedLoss, NoDuplicate, RetractedStaysGone."""
        for name, expected in self.shown.items():
            if not (self.folder / name).is_dir():
                continue
            lake = self.lake(name)
            shown = lake.runs()["run_id"].to_list()
            assert sorted(shown) == sorted(expected)
            assert dict(lake.frame("subgraph_timings").group_by("run_id").len().iter_rows()) == expected

    @invariant()
    def the_past_does_not_change(self) -> None:
        """ReadStable."""
        for name, moment, expected in self.past[-2:]:
            then = Lake(self.folder / name, as_of=moment)
            assert dict(then.frame("subgraph_timings").group_by("run_id").len().iter_rows()) == expected


TestTwoLakes = TwoLakes.TestCase
TestTwoLakes.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
)
