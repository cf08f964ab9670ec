"""Read the ledger directly: the current rows of each hardware id, and where a run's fact rows lie.

This is the quick way for look-ups: a few small files, cached by their names (parts never change, so names suffice).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from groundlake.errors import CorruptLakeError
from groundlake.layout import ANCHOR_KEYS, PartName, decode_key, encode_key
from groundlake.places import files_below, is_remote, names_in, polars_sources, refuse_link
from groundlake.schemas import KEYS, Runs

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from groundlake.schemas import Table

Result = TypeVar("Result")

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What reading a damaged file raises; a panic is how polars says that it had trusted the file."""

READ_ATTEMPTS = 4
"""How often a read is tried when a file vanishes under it, because a compaction moved its rows."""

ANCHORS = frozenset(f"hardware_id={key}" for key in ANCHOR_KEYS)
"""Folder names that hold no data of any device."""


@dataclass
class Ledger:
    """The ledger of one lake, read file by file and cached for each hardware id.

    Attributes:
        root: The data root.
        as_of: Time (naive UTC) of which `current` tells; None for now.
    """

    root: Path
    as_of: dt.datetime | None = None
    _cache: dict[str, tuple[tuple[str, ...], pl.DataFrame]] = field(default_factory=dict)

    def hardware_ids(self) -> list[str]:
        """Hardware ids that have a ledger folder, sorted."""
        names = names_in(self.root / "runs")
        return sorted(decode_key(name.split("=", 1)[1]) for name in names if "=" in name and name not in ANCHORS)

    def files(self, hardware_id: str) -> list[Path]:
        """Ledger parts of one hardware id, sorted by name."""
        folder = self._folder(hardware_id)
        return [folder / name for name in _part_names(folder)]

    def all_rows(self, hardware_id: str) -> pl.DataFrame:
        """Every statement about every run of one hardware id, as written (columns of `Runs`)."""
        return read_parts(Runs, self.files(hardware_id), {"hardware_id": hardware_id})

    def current(self, hardware_id: str) -> pl.DataFrame:
        """The current row of each run of one hardware id; retracted runs are left out (columns of `Runs`)."""
        names = _part_names(self._folder(hardware_id))
        cached = self._cache.get(hardware_id)
        if cached and cached[0] == names:
            return cached[1]
        rows = current_rows(self.all_rows(hardware_id), self.as_of)
        self._cache[hardware_id] = (names, rows)
        return rows

    def _folder(self, hardware_id: str) -> Path:
        table = self.root / "runs"
        folder = table / f"hardware_id={encode_key(hardware_id)}"
        refuse_link(table)
        refuse_link(folder)
        return folder


def current_rows(statements: pl.DataFrame, as_of: dt.datetime | None = None) -> pl.DataFrame:
    """Pick the current row of each run: first by revision, placement, part; then leave out retracted runs.

    Args:
        statements: Ledger rows, as written.
        as_of: Look at what was recorded by then (naive UTC): the highest revision of that time, where its rows lie now.
    """
    if as_of is not None:
        known = statements.filter(pl.col("recorded_at") <= as_of).group_by("hardware_id", "run_id")
        highest = known.agg(pl.col("revision").max())
        statements = statements.join(highest, on=["hardware_id", "run_id", "revision"], how="semi")
    return (
        statements.sort("revision", "placement", "part", descending=True)
        .unique(subset=["hardware_id", "run_id"], keep="first", maintain_order=True)
        .filter(pl.col("status") != "retracted")
        .sort("run_id")
    )


def live_statements(statements: pl.DataFrame) -> pl.DataFrame:
    """Return each revision of each run at its newest placement, but for those that withdraw a run.

    Their parts hold what is shown now, or was shown at some time: nobody may remove these.
    """
    return (
        statements.sort("placement", "part", descending=True)
        .unique(subset=["hardware_id", "run_id", "revision"], keep="first", maintain_order=True)
        .filter(pl.col("status") != "retracted")
        .sort("run_id", "revision")
    )


def good_runs(runs: pl.DataFrame) -> pl.DataFrame:
    """Keep the runs that measured a model, and succeeded."""
    return runs.filter((pl.col("status") == "ok") & (pl.col("kind") == "efficiency"))


def latest_good(runs: pl.DataFrame) -> pl.DataFrame:
    """Keep the latest good run of each configuration: greatest `started_at`, then `run_id`; no start is earliest.

    The view `latest_runs` says the same in SQL.
    """
    ordered = good_runs(runs).sort("started_at", "run_id", nulls_last=False)
    return ordered.unique(subset=list(KEYS), keep="last", maintain_order=True)


def read_parts(table: type[Table], paths: list[Path], keys: Mapping[str, object]) -> pl.DataFrame:
    """Read parts that share their partition keys; columns that an older contract lacked are NULL.

    Raises:
        CorruptLakeError: A part is torn or is no part of this table; the message names it.
    """
    schema = table.polars_schema()
    if not paths:
        return table.empty_frame()
    literals = [pl.lit(value, dtype=schema[name]).alias(name) for name, value in keys.items() if name in schema]
    try:
        rows = scan_parts(table, paths).collect()
    except FileNotFoundError:
        raise  # moved by a compaction: the caller reads again
    except UNREADABLE as error:
        raise CorruptLakeError(_torn_message(table, paths, error)) from error
    return rows.with_columns(literals).select(schema.names())


def scan_parts(table: type[Table], paths: list[Path], *, path_as: str | None = None) -> pl.LazyFrame:
    """Scan parts without their keys, as one scan: polars then opens a few of them at a time.

    Columns that the contract of an older part lacked are NULL, newer ones are left out; any other column that a part
    lacks is an error when the scan is collected.

    Args:
        table: Contract of the parts.
        paths: The parts.
        path_as: Name of a further column, the path that a row comes from.
    """
    by_version: dict[int, list[Path]] = {}
    for path in paths:
        by_version.setdefault(_version(table, path), []).append(path)
    return pl.concat([_scan_version(table, version, found, path_as) for version, found in by_version.items()])


def _version(table: type[Table], path: Path) -> int:
    """Contract version that a part is read with."""
    name = PartName.parse(path.name)
    return min(name.version if name else 1, table.version())


def _stored(table: type[Table], version: int) -> dict[str, pl.DataType]:
    """Columns in a part of a contract version: without its keys, and without what came later."""
    absent = {*table.keys(), *(name for name, since in table.added().items() if since > version)}
    return {name: dtype for name, dtype in table.polars_schema().items() if name not in absent}


def _scan_version(table: type[Table], version: int, paths: list[Path], path_as: str | None) -> pl.LazyFrame:
    stored = {name: dtype for name, dtype in table.polars_schema().items() if name not in table.keys()}
    later = {name for name, since in table.added().items() if since > version}
    known = _stored(table, version)
    sources, reached = polars_sources(paths)
    rows = pl.scan_parquet(
        sources,
        schema=known,
        extra_columns="ignore",
        hive_partitioning=False,
        glob=False,
        include_file_paths=path_as,
        **reached,
    )
    if not later:
        return rows
    absent = [pl.lit(None, dtype=stored[name]).alias(name) for name in stored if name in later]
    return rows.with_columns(absent).select([*stored, *([path_as] if path_as else [])])


def shown_rows(table: type[Table], rows: pl.LazyFrame, visible: pl.DataFrame) -> pl.LazyFrame:
    """Keep the fact rows that a visible run points at, and of those the latest where the contract says so."""
    identity = ["hardware_id", "run_id", "part"]
    if not table.latest_by():
        if visible.height == 1:  # compared, not joined: of a scan, only the pages of this run are read
            run = visible.row(0, named=True)
            return rows.filter(pl.col(name) == run[name] for name in identity)
        return rows.join(visible.select(identity).lazy(), on=identity, how="semi")
    columns = table.polars_schema().names()
    dated = rows.join(visible.select(*identity, "recorded_at").lazy(), on=identity, how="inner")
    latest = dated.sort("recorded_at", "run_id").unique(subset=list(table.latest_by()), keep="last")
    return latest.select(columns)


def refuse_lost_rows(table: type[Table], runs: Iterable[Mapping[str, Any]], rows: pl.DataFrame) -> None:
    """Compare the rows that were read of whole runs with what the ledger says of them: fewer would look complete.

    Args:
        table: Fact table.
        runs: Ledger rows.
        rows: All rows of these runs that were found.

    Raises:
        CorruptLakeError: A file of these runs was removed, or cut; the message names the run.
    """
    found = dict(rows["run_id"].value_counts().iter_rows())
    for run in runs:
        got = found.get(run["run_id"], 0)
        said = sum(count["rows"] for count in run["fact_rows"] or () if count["table"] == table.table_name())
        if got < said:
            raise CorruptLakeError(
                f"{table.table_name()}: run {run['run_id']} of {run['hardware_id']} has {got} of its {said} rows: "
                f"a file {run['part']}.v*.parquet is not at its place\n"
                "`lake check` says where it should lie: put it back, restore it from a copy, or measure again"
            )


def leaf_files(root: Path, table: type[Table], keys: Mapping[str, object]) -> Iterator[tuple[dict[str, str], Path]]:
    """Walk the parts of a table in the leaf folders that match these keys: (key values, path)."""
    wanted = {name: f"{name}={encode_key(value)}" for name, value in keys.items()}
    if is_remote(root):
        yield from _listed(root, table, wanted)
    else:
        yield from _walk(root / table.table_name(), list(table.keys()), wanted, {})


def _listed(root: Path, table: type[Table], wanted: Mapping[str, str]) -> Iterator[tuple[dict[str, str], Path]]:
    """List the parts below the longest prefix that is known, and leave out those of other keys."""
    first = root / table.table_name()
    for key in table.keys():
        if key not in wanted:
            break
        first = first / wanted[key]
    depth = len(root.parts) + 1
    for path in sorted(files_below(first)):
        folders = path.parts[depth:-1]
        if len(folders) != len(table.keys()) or folders[0] in ANCHORS or not PartName.parse(path.name):
            continue
        if all(wanted.get(key, folder) == folder for key, folder in zip(table.keys(), folders, strict=True)):
            yield (
                {key: decode_key(folder.split("=", 1)[1]) for key, folder in zip(table.keys(), folders, strict=True)},
                path,
            )


def _walk(
    folder: Path, keys: list[str], wanted: Mapping[str, str], found: dict[str, str]
) -> Iterator[tuple[dict[str, str], Path]]:
    refuse_link(folder)
    if not keys:
        for name in _part_names(folder):
            yield found, folder / name
        return
    key, rest = keys[0], keys[1:]
    if key in wanted:
        names = [wanted[key]]
    else:
        names = sorted(name for name in names_in(folder) if name.startswith(f"{key}=") and name not in ANCHORS)
    for name in names:
        yield from _walk(folder / name, rest, wanted, found | {key: decode_key(name.split("=", 1)[1])})


def _part_names(folder: Path) -> tuple[str, ...]:
    if is_remote(folder):
        return tuple(sorted(name for name in names_in(folder) if PartName.parse(name)))
    try:
        with os.scandir(folder) as entries:
            # A folder or a pipe of such a name is not ours: to open a pipe would wait for ever.
            named = [entry for entry in entries if PartName.parse(entry.name)]
            parts = [entry for entry in named if entry.is_symlink() or entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    for entry in parts:
        if entry.is_symlink():  # known from the listing
            refuse_link(folder / entry.name)
    return tuple(sorted(entry.name for entry in parts))


def _torn_message(table: type[Table], paths: list[Path], error: Exception) -> str:
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return torn_message(first_torn(table, paths) or paths[0], first_line)


def torn_message(path: Path, reason: str) -> str:
    """Say that a part cannot be read, and what to do."""
    return (
        f"{path}: cannot be read as a part of this lake ({reason})\n`lake check` lists every such file and what to do"
    )


def first_torn(table: type[Table], paths: Iterable[Path]) -> Path | None:
    """Return the first file whose footer cannot be read, or has not the columns of its contract; no row is read."""
    for path in paths:
        sources, reached = polars_sources([path])
        try:
            there = pl.scan_parquet(sources, hive_partitioning=False, glob=False, **reached).collect_schema()
        except FileNotFoundError:
            continue  # moved by a compaction
        except UNREADABLE:
            return path
        wanted = _stored(table, _version(table, path))
        if any(there.get(name) != dtype for name, dtype in wanted.items()):
            return path
    return None


def retry(read: Callable[[], Result]) -> Result:
    """Read again when a file vanished between listing and opening: its rows stand elsewhere by now."""
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()
