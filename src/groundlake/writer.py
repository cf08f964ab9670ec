"""The way in: runs are validated, staged and published, facts first and the ledger last."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from groundlake.commit import Commit, ensure_anchor, environment_error
from groundlake.errors import RunExistsError, UsageError
from groundlake.intake import Prepared, fact_frame, leaves, ledger_frame, prepare, with_files
from groundlake.layout import new_id
from groundlake.ledger import retry
from groundlake.schemas import FACT_TABLES, TABLES, Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import polars as pl

    from groundlake.ledger import Ledger
    from groundlake.parts import StagedFile

RUNS_PER_LEDGER_FILE = 100
"""A batch import publishes at most this many runs at once: what a crash can make it repeat."""


class Recordable(Protocol):
    """Anything that knows its own ledger row and fact rows."""

    def to_frames(self) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
        """Return the ledger columns of the run, and its fact rows by table name."""
        ...


class Writer:
    """Commits runs: each with all its rows, or not at all.

    Args:
        root: The data root; the first commit makes it.
        ledger: Its ledger, which knows the runs that are there.
    """

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self._root = root
        self._ledger = ledger
        self._has_anchors = False

    def create(self) -> None:
        """Make the root and the anchors of all tables, unless they are there."""
        if self._ledger.as_of is not None:
            past = f"{self._root} as of {self._ledger.as_of}"
            raise UsageError(f"{past} is the past, which is only read; leave as_of out to write")
        if self._has_anchors:
            return
        try:
            for table in TABLES.values():
                ensure_anchor(self._root, table)
        except OSError as error:
            raise environment_error(error, self._root) from error
        self._has_anchors = True

    def write_many(
        self,
        runs: Iterable[Recordable | tuple[Mapping[str, object], Mapping[str, pl.DataFrame]]],
        on_published: Callable[[int], None] | None = None,
    ) -> list[str]:
        """Commit many runs in groups of one hardware id, as `Lake.write_many` describes."""
        waiting: dict[str, list[tuple[int, Prepared]]] = {}
        ids: dict[int, str] = {}

        def flush(hardware_id: str) -> None:
            group = waiting.pop(hardware_id)
            ids.update(zip((at for at, _ in group), self.commit([run for _, run in group]), strict=True))
            if on_published:
                on_published(len(group))

        for position, item in enumerate(runs):
            row, frames = item if isinstance(item, tuple) else item.to_frames()
            prepared = prepare(row, frames)
            hardware_id = str(prepared.row["hardware_id"])
            waiting.setdefault(hardware_id, []).append((position, prepared))
            if len(waiting[hardware_id]) == RUNS_PER_LEDGER_FILE:
                flush(hardware_id)
        for hardware_id in list(waiting):
            flush(hardware_id)
        return [ids[position] for position in sorted(ids)]

    def commit(self, prepared: list[Prepared]) -> list[str]:
        """Validate, stage and publish runs of one hardware id: facts first, the ledger last; return their ids."""
        _refuse_twins(prepared)
        part = new_id()
        ledger = ledger_frame(prepared, part)
        written = {name for run in prepared for name in run.frames}
        facts = {table: fact_frame(table, prepared, part) for name, table in FACT_TABLES.items() if name in written}
        for table, rows in facts.items():
            table.check(rows)
        Runs.check(ledger)
        self._refuse_known_runs(prepared)
        self.create()
        files: dict[StagedFile, list[str]] = {}
        with Commit(self._root) as commit:
            for table, rows in facts.items():
                stored = list(leaves(table, rows))
                for file, (_, held) in zip(commit.stage(table, part, stored), stored, strict=True):
                    files[file] = held["run_id"].unique().to_pylist()
            commit.stage(Runs, new_id(), leaves(Runs, with_files(ledger, files)))
            commit.publish()
        return ledger["run_id"].to_list()

    def _refuse_known_runs(self, prepared: list[Prepared]) -> None:
        """A run is written once: no id that the caller chose may be in the ledger, whatever its state."""
        given = {str(run.row["run_id"]) for run in prepared if run.own_id}
        if not given:
            return
        hardware_id = str(prepared[0].row["hardware_id"])
        known = set(retry(partial(self._ledger.all_rows, hardware_id))["run_id"]) & given
        if known:
            raise RunExistsError(
                f"run {min(known)} of {hardware_id} is in {self._root} already; a run is written once\n"
                "leave run_id out for a new measurement, or set parent_run_id to continue this one"
            )


def _refuse_twins(prepared: list[Prepared]) -> None:
    given = Counter(str(run.row["run_id"]) for run in prepared)
    twice = [run_id for run_id, count in given.items() if count > 1]
    if twice:
        raise RunExistsError(
            f"run {twice[0]} is given twice in one call; a run is written once\ngive each its own run_id"
        )
