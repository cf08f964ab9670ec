"""What a caller hands to the lake, made complete: defaults filled in, frames joined, rows sorted into leaf folders."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import UsageError
from groundlake.layout import new_id
from groundlake.schemas import FACT_TABLES, NO_KEY, Runs, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from groundlake.parts import StagedFile


DECIDED_BY_THE_LAKE = frozenset({"revision", "placement", "part", "recorded_at", "fact_rows", "fact_files"})
"""Ledger columns that say where and when a run was committed."""


@dataclass(frozen=True)
class Prepared:
    """A run with all defaults filled in, before validation."""

    row: dict[str, object]
    frames: dict[str, pl.DataFrame]
    own_id: bool  # the caller chose the run id, so it may be in the ledger already


def utc_now() -> dt.datetime:
    """Return the present as naive UTC, the form of every timestamp in the lake."""
    return dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)


def prepare(run: Mapping[str, object], frames: Mapping[str, pl.DataFrame]) -> Prepared:
    """Fill in what the caller left out: identity, status and keys.

    Raises:
        UsageError: An unknown ledger column or table, a run without a device, or rows that are no DataFrame.
    """
    unknown = sorted(set(run) - set(Runs.polars_schema()))
    if unknown:
        raise UsageError(f"the ledger has no column {unknown[0]!r}; docs/tables.md lists the columns of runs")
    if not run.get("hardware_id"):
        raise UsageError("a run needs a hardware_id: the device it was made on")
    _refuse_what_the_lake_decides(run)
    for name, value in run.items():
        _refuse_unstorable(name, value)
    row: dict[str, object] = {
        "run_id": new_id(),
        "revision": 0,
        "placement": 0,
        "recorded_at": utc_now(),
        "status": "ok",
        "kind": "efficiency",
        "precision": NO_KEY,
        "model": NO_KEY,
        "batch": 0,
        "timing_method": "none",
    }
    row |= {name: _naive_utc(value) for name, value in run.items() if value is not None}
    filled = {name: _with_keys(name, frame, row) for name, frame in frames.items()}
    filled = {name: frame for name, frame in filled.items() if not frame.is_empty()}
    row["fact_rows"] = [{"table": name, "rows": frame.height} for name, frame in filled.items()] or None
    return Prepared(row, filled, own_id=run.get("run_id") is not None)


def ledger_frame(prepared: Sequence[Prepared], part: str) -> pl.DataFrame:
    """Ledger rows as a frame; a value of a wrong type keeps its own type, for the contract to name."""
    rows = [run.row | {"part": part} for run in prepared]
    columns = []
    # Column by column: a frame made from rows converts what does not fit, 1.5 FLOP to 1 for example.
    for name, dtype in Runs.polars_schema().items():
        values = [row.get(name) for row in rows]
        try:
            columns.append(pl.Series(name, values, dtype=dtype, strict=True))
        except (TypeError, pl.exceptions.PolarsError):
            columns.append(pl.Series(name, values, strict=False))
    return Runs.conform(pl.DataFrame(columns))


def with_files(ledger: pl.DataFrame, files: Mapping[StagedFile, Iterable[str]]) -> pl.DataFrame:
    """Say in each ledger row which files hold the run's rows.

    Args:
        ledger: Rows of the ledger.
        files: Files, and the ids of the runs that have rows in each.
    """
    lists: dict[str, list[dict[str, object]]] = {}
    for file, run_ids in files.items():
        known = {"path": file.path, "bytes": file.size_bytes, "sha256": file.sha256}
        for run_id in run_ids:
            lists.setdefault(run_id, []).append(known)
    dtype = Runs.polars_schema()["fact_files"]
    return ledger.with_columns(pl.Series("fact_files", [lists.get(run_id) for run_id in ledger["run_id"]], dtype=dtype))


def fact_frame(table: type[Table], prepared: Sequence[Prepared], part: str) -> pl.DataFrame:
    """Rows of one fact table over all runs of a commit, at least one of which has some."""
    name = table.table_name()
    frames = [run.frames[name] for run in prepared if name in run.frames]
    rows = pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]
    return table.conform(rows.with_columns(part=pl.lit(part)))


def leaves(table: type[Table], rows: pl.DataFrame) -> Iterator[tuple[dict[str, object], pa.Table]]:
    """Sort rows into leaf folders: key values, and the rows as the file holds them.

    One conversion to Arrow and slices of it: converting leaf by leaf takes thirty times as long.
    """
    keys = table.keys()
    rows = rows.sort(keys, maintain_order=True)
    stored, start = table.to_arrow(rows), 0
    for *values, count in rows.group_by(keys, maintain_order=True).len().iter_rows():
        yield dict(zip(keys, values, strict=True)), stored.slice(start, count)
        start += count


def _with_keys(name: str, frame: pl.DataFrame, row: Mapping[str, object]) -> pl.DataFrame:
    """Give fact rows the keys that they lack, and the id of their run."""
    if name not in FACT_TABLES:
        hint = (
            "the ledger row is the first argument of write" if name == "runs" else f"there are {', '.join(FACT_TABLES)}"
        )
        raise UsageError(f"no fact table {name!r}; {hint}")
    if not isinstance(frame, pl.DataFrame):
        raise UsageError(
            f"{name}: rows are given as a polars DataFrame, got {type(frame).__name__}\n"
            "call .collect() on a LazyFrame (its values could not be checked), pl.DataFrame(...) on anything else"
        )
    table = FACT_TABLES[name]
    own = set(frame.columns)
    if not frame.is_empty() and "hardware_id" in own and frame.schema["hardware_id"] == pl.String:
        foreign = frame.filter(pl.col("hardware_id") != row["hardware_id"])
        if not foreign.is_empty():
            raise UsageError(
                f"{name}: rows of {foreign['hardware_id'][0]} in a run of {row['hardware_id']}\n"
                "a run belongs to one hardware id; write one run for each"
            )
    schema = table.polars_schema()
    absent = [key for key in table.keys() if key not in own]
    return frame.with_columns(pl.lit(row[key], dtype=schema[key]).alias(key) for key in [*absent, "run_id"])


def _refuse_what_the_lake_decides(run: Mapping[str, object]) -> None:
    taken = sorted(DECIDED_BY_THE_LAKE & {name for name, value in run.items() if value is not None})
    if taken:
        raise UsageError(f"{taken[0]} is filled in by the lake; leave it out of the run")
    if run.get("status") == "retracted":
        raise UsageError("a run is not written as retracted; write it, and withdraw it with Lake.retract")


def _refuse_unstorable(name: str, value: object) -> None:
    """Refuse text that is no Unicode or stands for a list, and fields of a struct that the contract does not have."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{name}: {value!r} has a lone surrogate, which is no text; repair the string") from None
    dtype = Runs.polars_schema()[name]
    if isinstance(dtype, pl.List) and isinstance(value, str):
        raise UsageError(f"{name} is a list, got the text {value!r}; give [{value!r}]")
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    if isinstance(inner, pl.Struct):
        known = {part.name for part in inner.fields}
        for item in value if isinstance(value, (list, tuple)) else [value]:
            unknown = sorted(set(item) - known) if isinstance(item, dict) else []
            if unknown:
                raise UsageError(f"{name} has no field {unknown[0]!r}; there are {', '.join(sorted(known))}")


def _naive_utc(value: object) -> object:
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    return value
