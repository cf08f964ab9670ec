"""The lake: one door in (`write`, `write_many`, `write_record`), one door out (`sql`, `frame`, `scan`)."""

from __future__ import annotations

import datetime as dt
import re
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from groundlake import estimates
from groundlake.answer import Answer, open_connection, refuse_hidden
from groundlake.direct import Reader
from groundlake.errors import LakeNotFoundError, UsageError
from groundlake.intake import prepare
from groundlake.ledger import retry
from groundlake.places import is_remote, place_of, reachable, require_folder
from groundlake.query_files import named_query
from groundlake.views import all_views, bind
from groundlake.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from groundlake.estimates import EstimatesWritten, Origin
    from groundlake.maintenance.compaction import Compacted
    from groundlake.maintenance.deep import Looked
    from groundlake.maintenance.integrity import Finding
    from groundlake.maintenance.repair import Moved
    from groundlake.maintenance.vacuum import Vacuumed
    from groundlake.writer import Recordable


class Lake:
    """A ground-truth lake in a folder, or in object storage.

    Args:
        root: The data root; `<root>.db` beside it is the view file. The folder is made by the first write. Or
            `s3://bucket/prefix`, which is read and written the same way and has no view file.
        as_of: Show what had been recorded by this time, by the clocks of the writers; a datetime or a text as
            `2026-11-20T17:30`, without a zone it is UTC. Such a lake is only read.
    """

    def __init__(self, root: str | Path = "lake", *, as_of: dt.datetime | str | None = None) -> None:
        self.root = place_of(root)
        self.as_of = None if as_of is None else _moment(as_of)
        self._reader = Reader(self.root, self.as_of)
        self._ledger = self._reader.ledger
        self._writer = Writer(self.root, self._ledger)

    def __repr__(self) -> str:
        return f"Lake({str(self.root)!r})"

    # ------------------------------------------------------------------ in

    @property
    def exists(self) -> bool:
        """Whether the root is there; a folder left half-made by a crash reads as an empty lake."""
        return reachable(self.root)

    @property
    def view_file(self) -> Path:
        """Path of the DuckDB file with the views: `./lake` has `./lake.db` beside it."""
        return self.root.with_name(self.root.name + ".db")

    def create(self) -> None:
        """Make the root and the anchors of all tables, unless they are there."""
        self._writer.create()

    def write(self, run: Mapping[str, object], **frames: pl.DataFrame) -> str:
        """Commit one run with all its fact rows, or nothing.

        Args:
            run: Ledger columns. `hardware_id` is required; identity, status and keys have defaults.
            **frames: Fact rows by table name. Key columns that are missing are filled from the run.

        Returns:
            The run id.

        Raises:
            ContractViolationError: A frame breaks its contract; nothing was written.
            RunExistsError: The given `run_id` is in the ledger.
            UsageError: An unknown table or ledger column, or a key that cannot be a folder name.
            LakeEnvironmentError: The disk is full, or may not be written.
        """
        return self._writer.commit([prepare(run, frames)])[0]

    def write_record(self, record: Recordable) -> str:
        """Commit one record, for example a `MeasurementRecord`; returns the run id."""
        return self.write_many([record])[0]

    def write_many(
        self,
        runs: Iterable[Recordable | tuple[Mapping[str, object], Mapping[str, pl.DataFrame]]],
        *,
        on_published: Callable[[int], None] | None = None,
    ) -> list[str]:
        """Commit many runs, validated and published together in groups of at most 100 of one hardware id.

        Each group is visible as a whole or not at all; groups before a failing one stay committed.

        Args:
            runs: Records, or pairs of ledger columns and fact frames.
            on_published: Called with the number of runs of each group once it is committed.

        Returns:
            The run ids, in the order of the input.
        """
        return self._writer.write_many(runs, on_published)

    def write_estimates(
        self,
        frame: pl.DataFrame,
        *,
        estimator: str | None = None,
        version: str | None = None,
        allow_unmeasured: bool = False,
        sources: Sequence[Mapping[str, str]] = (),
        origin: Origin | None = None,
        on_published: Callable[[int], None] | None = None,
    ) -> EstimatesWritten:
        """Commit predictions of any number of configurations: one run of kind `estimate` for each hardware id.

        Args:
            frame: One row for each prediction: `hardware_id`, `precision`, `model`, `batch`, `subgraph_id` (NULL or
                left out for a whole model), any of `predicted_latency_ms`, `predicted_energy_j`,
                `predicted_memory_bytes`, and `extrapolated`.
            estimator: Name of the estimator, unless `frame` has it.
            version: Its version, unless `frame` has the column `estimator_version`.
            allow_unmeasured: Keep predictions of what was not measured yet.
            sources: Files they come from: uri, sha256, layout.
            origin: Where they come from, so that a message names the row; rows of a frame count from 1.
            on_published: Called with 1 after each run.

        Raises:
            ContractViolationError: A figure is negative or no number, the latency of a model is 0, or a key is given
                twice; the message names the rows.
            RunExistsError: This version predicts one of these already, with other figures.
            UsageError: There are no rows, columns are missing or unknown, or something was never measured. Nothing was
                written.
        """
        rows = estimates.checked(frame, estimator, version, origin)
        if not allow_unmeasured:
            self._require()
            measured, subgraphs = self.sql(estimates.MEASURED_SQL).pl(), self.sql(estimates.SUBGRAPHS_SQL).pl()
            estimates.refuse_unmeasured(rows, measured, subgraphs)
        new = estimates.not_present(rows, self._estimates_like(rows)) if self.exists else rows
        run_ids = self.write_many(estimates.as_runs(new, sources), on_published=on_published)
        return estimates.EstimatesWritten.of(run_ids, rows, new)

    def _estimates_like(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Estimates that are there of the same devices, estimators and versions."""
        same = rows.select("estimator", "estimator_version").unique().lazy()
        ids = rows["hardware_id"].unique().to_list()

        def read(hardware_id: str) -> pl.DataFrame:
            there = self.scan("estimates", hardware_id=hardware_id)
            return there.join(same, on=["estimator", "estimator_version"], how="semi").collect()

        return pl.concat([retry(partial(read, name)) for name in ids])  # one by one: bounded memory and open files

    # ------------------------------------------------------------------ out

    def sql(self, query: str) -> Answer:
        """Ask a question in SQL; it runs when the answer is fetched (`.pl()`, `.arrow()`, `.rows()`)."""
        self._require()
        return Answer(query, self.root, as_of=self.as_of)

    def query(self, name: str, **parameters: object) -> Answer:
        """Ask one of the hand-written queries by its name; `lake query` lists them with their parameters.

        Rows come in the order of the query, else in that of all columns from left to right.

        Raises:
            UsageError: There is no such query or parameter, or a value of another type.
        """
        self._require()
        found = named_query(name)
        beside = (found.params(parameters),) if found.parameters or parameters else ()
        return Answer(found.ordered, self.root, beside, self.as_of)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a DuckDB connection in memory with every view bound; `lake.db` is not opened."""
        self._require()
        connection = open_connection(self.root)
        views = all_views(self.root, self.as_of)
        refuse_hidden(self.root, views)
        bind(connection, views, views)
        return connection

    def hardware_ids(self) -> list[str]:
        """Hardware ids with at least one run, sorted."""
        self._require()
        return [name for name in self._ledger.hardware_ids() if not self._reader.current(name).is_empty()]

    def runs(self, hardware_id: str | None = None) -> pl.DataFrame:
        """Current ledger rows (columns of the contract `Runs`) of one hardware id or of all, by direct reads."""
        self._require()
        return self._reader.runs(hardware_id)

    def frame(self, table: str, **keys: object) -> pl.DataFrame:
        """Read the visible rows of a table as a polars frame, straight from the partitions that match.

        Args:
            table: Name of a table.
            **keys: Any of hardware_id, precision, model, batch, run_id; all rows that equal them are returned.

        Raises:
            UsageError: An unknown table or key, or a value of a wrong kind.
            CorruptLakeError: A part is torn, foreign or gone; the message names it. That one is gone is noticed where
                whole runs are read: by hardware_id and run_id, or all.
        """
        self._require()
        return self._reader.frame(table, keys)

    def scan(self, table: str, **keys: object) -> pl.LazyFrame:
        """Return a LazyFrame over the visible rows of a table; arguments as for `frame`."""
        self._require()
        return self._reader.scan(table, keys)

    def _require_folder(self, what: str) -> None:
        self._require()
        require_folder(self.root, what)

    def _require(self) -> None:
        if self.exists:
            return
        if not is_remote(self.root) and self.root.exists():
            raise LakeNotFoundError(
                f"{self.root} is a file, not the folder of a lake; --root or LAKE_ROOT names another"
            )
        raise LakeNotFoundError(
            f"no lake at {self.root}\n`lake init` makes an empty one; --root or LAKE_ROOT names another place"
        )

    # ------------------------------------------------------------------ keep

    def bind_views(self, *, only_if_stale: bool = False) -> Path:
        """Write the view file beside the root, replacing an older one atomically; returns its path.

        Args:
            only_if_stale: Leave a file alone that holds what would be written.
        """
        from groundlake.viewfile import write_view_file

        self._require_folder("the view file lies")
        self.create()
        return write_view_file(self.root, self.view_file, only_if_stale=only_if_stale)

    def renew_views(self) -> Path | None:
        """Bring the view file up to date where the lake can have one, and return its path; None in object storage."""
        return None if is_remote(self.root) else self.bind_views(only_if_stale=True)

    def retract(self, run_id: str, hardware_id: str | None, why: str) -> str:
        """State that a run is withdrawn: it is not shown any more, and an older revision does not come back.

        Args:
            run_id: The run. Its rows stay where they are, for `as_of`.
            hardware_id: Its device; looked up where it is None.
            why: The reason, which stays in the ledger.

        Returns:
            The hardware id of the run.

        Raises:
            UsageError: There is no such run, or it was withdrawn before, or no reason is given.
        """
        from groundlake.maintenance.retraction import retract

        self._require()
        self.create()
        names = self._ledger.hardware_ids() if hardware_id is None else [hardware_id]
        return retract(self.root, self._ledger, names, run_id, why)

    def check(self) -> list[Finding]:
        """Compare the ledger, the files and the contracts; an empty list means that all is well."""
        from groundlake.maintenance.integrity import inspect

        self._require_folder("a lake is checked")
        return retry(partial(inspect, self.root))

    def check_deep(
        self, known: Sequence[Finding], *, on_progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> Looked:
        """Read every part: hold its rows to the contract, and its bytes to the checksum in the ledger.

        Args:
            known: What `check` found; files that it named are not read again.
            on_progress: Called with the parts read and their number.
        """
        from groundlake.maintenance.deep import look_into

        self._require_folder("a lake is checked")
        named = frozenset(path for finding in known for path in finding.named)
        return retry(partial(look_into, self.root, named, on_progress))

    def repair(self, findings: Sequence[Finding]) -> list[Moved]:
        """Set aside the damaged files that checks found, so that everything else can be read; deletes nothing."""
        from groundlake.maintenance.repair import repair

        self._require_folder("a lake is repaired")
        return repair(self.root, findings)

    def compact(
        self,
        hardware_id: str | None = None,
        *,
        dry_run: bool = False,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[Compacted]:
        """Merge the parts of each leaf folder into one, and the ledger files of each hardware id.

        Readers and writers go on meanwhile. The old parts stay until `vacuum` removes them.

        Args:
            hardware_id: Only this one.
            dry_run: Write nothing; sizes afterwards are None.
            on_progress: Called with the parts merged of one hardware id and their number.

        Returns:
            What was done, for each hardware id that had something to merge.

        Raises:
            CorruptLakeError: Rows are missing or a part is torn; the parts of that hardware id are as they were.
            UsageError: There is no such hardware id.
        """
        from groundlake.maintenance.compaction import compact_all

        self._require_folder("a lake is compacted")
        self.create()
        return compact_all(self.root, self._ledger, self._named(hardware_id), dry_run=dry_run, on_progress=on_progress)

    def vacuum(
        self, *, older_than_s: float = 7 * 24 * 3600.0, dry_run: bool = False, nobody_writes: bool = False
    ) -> Vacuumed:
        """Remove files that no reader can see: leftovers, orphans, and parts that were merged into others.

        Args:
            older_than_s: Only files that have lain there for so long.
            dry_run: Remove nothing.
            nobody_writes: Nobody writes to the lake, on any machine: a shorter time than ten minutes is safe.

        Raises:
            UsageError: The time is too short for writers at work.
        """
        from groundlake.maintenance.vacuum import vacuum

        self._require_folder("a lake is vacuumed")
        at_work = partial(vacuum, self.root, self._ledger, older_than_s=older_than_s)
        return retry(partial(at_work, dry_run=dry_run, nobody_writes=nobody_writes))

    def compact_runs(self, hardware_id: str | None = None, *, at_least: int = 2) -> dict[str, int]:
        """Merge the ledger files of each hardware id that has this many; returns how many were merged, by id."""
        from groundlake.maintenance.ledger_files import compact_ledger

        self._require_folder("a ledger is compacted")
        counts = {
            name: retry(partial(compact_ledger, self.root, self._ledger, name, at_least))
            for name in self._named(hardware_id)
        }
        return {name: merged for name, merged in counts.items() if merged}

    def loose_ledger_files(self, hardware_id: str | None = None) -> dict[str, int]:
        """Ledger files of each hardware id that has more than one."""
        self._require_folder("a ledger is compacted")
        counts = {name: len(self._ledger.files(name)) for name in self._named(hardware_id)}
        return {name: count for name, count in counts.items() if count > 1}

    def _named(self, hardware_id: str | None) -> list[str]:
        """Hardware ids with a ledger: the named one, or all."""
        names = self._ledger.hardware_ids()
        if hardware_id is None:
            return names
        if hardware_id not in names:
            raise UsageError(f"no runs of {hardware_id} in {self.root}; there are {', '.join(names) or 'none'}")
        return [hardware_id]


def _moment(time: dt.datetime | str) -> dt.datetime:
    """Return a time as naive UTC.

    Raises:
        UsageError: It is none.
    """
    try:
        moment = dt.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", time)) if isinstance(time, str) else time
    except ValueError:
        moment = None
    if not isinstance(moment, dt.datetime):
        raise UsageError(
            f"as of {time}: no time that can be read; give 2026-11-20, 2026-11-20T17:30 or 2026-11-20T17:30+01:00"
        )
    return moment.astimezone(dt.timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment
