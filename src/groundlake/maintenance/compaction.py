"""Merge the parts of each leaf folder into one: many small files are what makes a lake slow, whoever reads it.

A part has one id in all tables, so whole parts move. New files are published first and then one ledger file with a
statement for each moved run: the same revision at the next placement. That file is the commit. Before it, the new files
are orphans; behind it, the old ones are superseded and stay until `vacuum` removes them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from groundlake.commit import Commit
from groundlake.errors import CorruptLakeError
from groundlake.intake import leaves, with_files
from groundlake.layout import new_id
from groundlake.ledger import UNREADABLE, leaf_files, live_statements, retry, scan_parts
from groundlake.maintenance.ledger_files import compact_ledger
from groundlake.maintenance.placing import device_of, place_of
from groundlake.schemas import FACT_TABLES, Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from groundlake.ledger import Ledger
    from groundlake.parts import StagedFile
    from groundlake.schemas import Table

LARGE_BYTES = 512 * 2**20
"""Parts that hold more, in all tables together, are not merged again: they are read well as they are."""

ROWS_AT_ONCE = 1_000_000
"""Rows of a part that are in memory together."""


@dataclass(frozen=True)
class Leaf:
    """One leaf folder of a table, and the parts in it that are to become one.

    Attributes:
        table: Its contract.
        keys: Its partition values.
        paths: The parts, in the order of their ids, which is that of time.
    """

    table: type[Table]
    keys: dict[str, object]
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Plan:
    """What a compaction of one hardware id would do.

    Attributes:
        hardware_id: Whose parts.
        statements: Ledger rows of the runs that move, as they are.
        leaves: Folders that get one merged part each.
        bytes_before: Size of the parts that are merged.
    """

    hardware_id: str
    statements: pl.DataFrame
    leaves: tuple[Leaf, ...]
    bytes_before: int

    @property
    def files_before(self) -> int:
        """Parts that are merged."""
        return sum(len(leaf.paths) for leaf in self.leaves)

    @property
    def places(self) -> dict[str, set[str]]:
        """Where the ledger says that rows of a run lie; of one that an older groundlake wrote it does not."""
        said = self.statements.select("run_id", "fact_files").iter_rows()
        named: dict[str, set[str]] = defaultdict(set)
        for run_id, files in said:
            named[run_id] |= {place_of(file["path"]) for file in files or ()}
        return {run_id: places for run_id, places in named.items() if places}

    @property
    def would_do(self) -> Compacted:
        """What carrying it out would come to."""
        runs = self.statements["run_id"].n_unique()
        return Compacted(self.hardware_id, runs, self.files_before, len(self.leaves), self.bytes_before, None)


@dataclass(frozen=True)
class Compacted:
    """What a compaction of one hardware id did.

    Attributes:
        runs: Runs that moved.
        files_before: Parts that were merged.
        files_after: Parts that hold their rows now.
        bytes_before: Size of the former.
        bytes_after: Size of the latter; None where nothing was written, because it was only asked for.
    """

    hardware_id: str
    runs: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int | None


def plan(root: Path, ledger: Ledger, hardware_id: str, large_bytes: int = LARGE_BYTES) -> Plan | None:
    """Find the parts of one hardware id that share a leaf folder with another one; None where each has its own.

    Args:
        root: The lake.
        ledger: Reader of its ledger.
        hardware_id: Whose parts.
        large_bytes: Parts that hold more stay as they are.

    Raises:
        CorruptLakeError: A ledger file lies under another device than its own.
    """
    statements = ledger.all_rows(hardware_id)
    _refuse_strangers(root, hardware_id, statements)
    movable = _movable(statements)
    wanted = set(movable["part"])
    places: dict[tuple[type[Table], tuple[tuple[str, object], ...]], list[Path]] = defaultdict(list)
    sizes: Counter[str] = Counter()
    for table in FACT_TABLES.values():
        for keys, path in leaf_files(root, table, {"hardware_id": hardware_id}):
            part = path.name.partition(".")[0]
            if part in wanted:
                places[table, tuple(_typed(keys).items())].append(path)
                sizes[part] += path.stat().st_size
    small = {part for part, size in sizes.items() if size <= large_bytes}
    loose: set[str] = set()
    for paths in places.values():
        sharing = {path.name.partition(".")[0] for path in paths} & small
        loose |= sharing if len(sharing) > 1 else set()
    if not loose:
        return None
    found = [
        Leaf(table, dict(keys), tuple(path for path in paths if path.name.partition(".")[0] in loose))
        for (table, keys), paths in places.items()
    ]
    return Plan(
        hardware_id,
        movable.filter(pl.col("part").is_in(list(loose))),
        tuple(leaf for leaf in found if leaf.paths),
        sum(sizes[part] for part in loose),
    )


def compact_all(
    root: Path,
    ledger: Ledger,
    hardware_ids: Iterable[str],
    *,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Compacted]:
    """Merge the parts, then the ledger files, of several hardware ids; returns what was done where something was.

    Arguments as for `compact` and `Lake.compact`.
    """
    done: list[Compacted | None] = []
    for name in hardware_ids:
        if dry_run:
            planned = retry(partial(plan, root, ledger, name))
            done.append(planned.would_do if planned else None)
        else:
            done.append(retry(partial(compact, root, ledger, name, on_progress=on_progress)))
            retry(partial(compact_ledger, root, ledger, name, 2))
    return [each for each in done if each is not None]


def compact(
    root: Path,
    ledger: Ledger,
    hardware_id: str,
    *,
    large_bytes: int = LARGE_BYTES,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Compacted | None:
    """Merge the parts of one hardware id; None where there was nothing to do.

    Readers and writers go on meanwhile, and another compaction may run: of two that move the same run, one wins.

    Args:
        root: The lake.
        ledger: Reader of its ledger.
        hardware_id: Whose parts.
        large_bytes: Parts that hold more, in all tables together, stay as they are.
        on_progress: Called with the parts merged and their number.

    Raises:
        CorruptLakeError: Rows of a run are missing, or a part is torn or misplaced; nothing was changed.
        FileNotFoundError: A part vanished, because somebody else compacted and vacuumed: try again.
    """
    planned = plan(root, ledger, hardware_id, large_bytes)
    if planned is None:
        return None
    part = new_id()
    moved = planned.statements.select("run_id", "part").unique()
    try:
        with Commit(root) as commit:
            files, rows_of = _stage(commit, planned, moved, part, on_progress)
            _refuse_loss(planned.statements, rows_of)
            placed = planned.statements.with_columns(placement=pl.col("placement") + 1, part=pl.lit(part))
            commit.stage(Runs, new_id(), leaves(Runs, with_files(placed, files)))
            commit.publish()
    except _VanishedError as error:
        raise FileNotFoundError(str(error)) from error
    return Compacted(
        hardware_id,
        runs=moved["run_id"].n_unique(),
        files_before=planned.files_before,
        files_after=len(files),
        bytes_before=planned.bytes_before,
        bytes_after=sum(file.size_bytes for file in files),
    )


class _VanishedError(Exception):
    """A part is gone that is to be merged. A commit would take a missing file for a folder that cannot be written."""


def _stage(
    commit: Commit, planned: Plan, moved: pl.DataFrame, part: str, on_progress: Callable[[int, int], None]
) -> tuple[dict[StagedFile, list[str]], Counter[tuple[str, str]]]:
    """Write the merged part of each leaf folder; returns the runs in each file, and the rows of each table and run."""
    rows_of: Counter[tuple[str, str]] = Counter()
    files: dict[StagedFile, list[str]] = {}
    merged, places = 0, planned.places
    for leaf in planned.leaves:
        found: Counter[str] = Counter()
        file = commit.stage_stream(leaf.table, part, leaf.keys, _merged(leaf, moved, part, found, places))
        if file is not None:  # None where all that lies there is of runs that do not move
            files[file] = list(found)
        rows_of.update({(leaf.table.table_name(), run_id): count for run_id, count in found.items()})
        merged += len(leaf.paths)
        on_progress(merged, planned.files_before)
    return files, rows_of


def _movable(statements: pl.DataFrame) -> pl.DataFrame:
    """Statements whose rows may move: of each run those that point at the part of its latest visible revision.

    A correction may have rows of its own. Those of the revision before it then lie elsewhere, and stay: one part cannot
    hold both, as both are rows of one run.
    """
    live = live_statements(statements)
    latest = live.sort("revision").unique("run_id", keep="last").select("run_id", "part")
    return live.join(latest, on=["run_id", "part"], how="semi")


def _merged(
    leaf: Leaf, moved: pl.DataFrame, part: str, rows_of: Counter[str], places: Mapping[str, set[str]]
) -> Iterator[pa.Table]:
    """Yield what the merged part holds, a part or some of a large one at a time; counts the rows of each run."""
    table, stored = leaf.table, leaf.table.arrow_schema().names
    for path in leaf.paths:
        try:
            rows_in_part = pl.scan_parquet(path, glob=False, hive_partitioning=False).select(pl.len()).collect().item()
            for offset in range(0, rows_in_part, ROWS_AT_ONCE):
                rows = scan_parts(table, [path]).slice(offset, ROWS_AT_ONCE).collect()
                kept = rows.join(moved, on=["run_id", "part"], how="semi", maintain_order="left")
                counts = dict(kept.group_by("run_id").len().iter_rows())
                _refuse_misplaced(path, counts, places)
                rows_of.update(counts)
                yield table.to_arrow(kept.with_columns(part=pl.lit(part)).select(stored))
        except FileNotFoundError as error:
            raise _VanishedError(str(path)) from error
        except UNREADABLE as error:
            raise CorruptLakeError(
                f"{path}: cannot be read ({str(error).splitlines()[0]}); nothing was merged\n"
                "`lake check` lists every such file and what to do"
            ) from error


def _refuse_strangers(root: Path, hardware_id: str, statements: pl.DataFrame) -> None:
    """Raise where a device has statements about runs whose rows lie under another one: a ledger file was moved."""
    for files in statements["fact_files"].drop_nulls().to_list():
        other = device_of(files[0]["path"])
        if other != hardware_id:
            raise CorruptLakeError(
                f"{root}: the ledger of {hardware_id} has runs whose rows lie under {other}; nothing was merged\n"
                "`lake check` names the ledger file that lies at another place, and what to do"
            )


def _refuse_misplaced(path: Path, run_ids: Iterable[str], places: Mapping[str, set[str]]) -> None:
    """Raise where a part has rows of a run that belong elsewhere: they would get this folder's keys for ever."""
    here = place_of(path.as_posix())
    for run_id in run_ids:
        if run_id in places and not any(here.endswith(f"/{place}") for place in places[run_id]):
            raise CorruptLakeError(
                f"{path}: the ledger knows no rows of run {run_id} at this place; nothing was merged\n"
                "`lake check` says where it belongs, and `lake check --repair` moves it"
            )


def _refuse_loss(statements: pl.DataFrame, rows_of: Mapping[tuple[str, str], int]) -> None:
    """Raise where a run has not the rows that it says it wrote: what is missing must not look merged."""
    for run in statements.select("run_id", "part", "fact_rows").iter_rows(named=True):
        for wrote in run["fact_rows"] or ():
            there = rows_of.get((wrote["table"], run["run_id"]), 0)
            if there != wrote["rows"]:
                raise CorruptLakeError(
                    f"run {run['run_id']}: {there} of {wrote['rows']} rows of {wrote['table']} are there (part "
                    f"{run['part']}); nothing was merged\n`lake check` lists every such run and what to do"
                )


def _typed(keys: Mapping[str, str]) -> dict[str, object]:
    return {name: int(value) if name == "batch" else value for name, value in keys.items()}
