"""Direct reads: the visible rows of a table straight from the partitions that match, without DuckDB."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING, SupportsIndex

import polars as pl

from groundlake.errors import UsageError
from groundlake.ledger import (
    UNREADABLE,
    Ledger,
    leaf_files,
    read_parts,
    refuse_lost_rows,
    retry,
    scan_parts,
    shown_rows,
)
from groundlake.schemas import KEYS, TABLES, Runs, Table

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    FoundFile: TypeAlias = tuple[dict[str, object], Path]
    """Key values and path of a part."""

PATH = "path of the part"
"""Column, for a moment, of what was read from many parts; no contract has one of this name."""

FEW_FILES = 4
"""Up to so many parts have a scan of their own: no look-up for each row, of which a power series has millions."""


class Reader:
    """Reads the runs that are visible, and only the parts that they point at.

    Args:
        root: The data root, which is there.
        as_of: Time (naive UTC) whose state is read; None for now.
    """

    def __init__(self, root: Path, as_of: dt.datetime | None = None) -> None:
        self._root = root
        self.ledger = Ledger(root, as_of)

    def current(self, hardware_id: str) -> pl.DataFrame:
        """Current ledger rows of one hardware id."""
        return retry(partial(self.ledger.current, hardware_id))

    def runs(self, hardware_id: str | None = None) -> pl.DataFrame:
        """Current ledger rows of one hardware id or of all."""
        if hardware_id is not None:
            return self.current(hardware_id)
        return pl.concat([Runs.empty_frame(), *(self.current(name) for name in self.ledger.hardware_ids())])

    def frame(self, table: str, keys: Mapping[str, object]) -> pl.DataFrame:
        """Rows of a table whose key columns equal `keys`, as `Lake.frame` describes."""
        return retry(lambda: self._read(table, keys))

    def scan(self, table: str, keys: Mapping[str, object]) -> pl.LazyFrame:
        """Return the same rows as a LazyFrame."""
        contract = contract_named(table)
        keys = _checked_keys(contract, keys)
        visible = self._visible(keys)
        if contract is Runs:
            return self._read(table, keys).lazy()
        return shown_rows(contract, _scan(contract, list(self._files(contract, keys, visible))), visible)

    def _read(self, table: str, keys: Mapping[str, object]) -> pl.DataFrame:
        contract = contract_named(table)
        keys = _checked_keys(contract, keys)
        visible = self._visible(keys)
        if contract is Runs:
            return visible.filter(pl.lit(True), *(pl.col(name).eq(value) for name, value in keys.items()))  # noqa: FBT003 - no condition keeps all rows
        shown = _read(contract, list(self._files(contract, keys, visible)), visible)
        if not contract.latest_by() and set(keys) <= {"hardware_id", "run_id"}:
            refuse_lost_rows(contract, visible.iter_rows(named=True), shown)
        return shown

    def _visible(self, keys: Mapping[str, object]) -> pl.DataFrame:
        """Current runs that may have rows with these keys; a fact row's own keys are not the run's."""
        hardware_id = keys.get("hardware_id")
        current = self.runs(None if hardware_id is None else str(hardware_id))
        return current.filter(pl.col("run_id") == keys["run_id"]) if "run_id" in keys else current

    def _files(self, contract: type[Table], keys: Mapping[str, object], visible: pl.DataFrame) -> Iterator[FoundFile]:
        """Name the parts that the visible runs point at: such readers never meet a dead part."""
        current = set(visible["part"])
        folders = {name: value for name, value in keys.items() if name in contract.keys()}
        for found, path in leaf_files(self._root, contract, folders):
            if path.name.split(".", 1)[0] in current:
                values: dict[str, object] = dict(found)
                if "batch" in found:
                    values["batch"] = int(found["batch"])
                yield values, path


def _read(contract: type[Table], files: Sequence[FoundFile], visible: pl.DataFrame) -> pl.DataFrame:
    """Read what visible runs have in parts of any leaf folders; a part that cannot be read is named."""
    try:
        return shown_rows(contract, _scan(contract, files), visible).collect()
    except FileNotFoundError:
        raise  # moved by a compaction: the caller reads again
    except UNREADABLE:
        pass  # which file it is, only reading one by one says
    rows = pl.concat([contract.empty_frame(), *(read_parts(contract, [path], found) for found, path in files)])
    return shown_rows(contract, rows.lazy(), visible).collect()


def _scan(contract: type[Table], files: Sequence[FoundFile]) -> pl.LazyFrame:
    """Scan parts of any leaf folders: many of them as one scan, their keys looked up by path.

    A scan for each file opens all of them at once, some thousands where each version of an estimator has its own.
    Engines that take the keys out of the path themselves stumble over a root with `=` in its name.
    """
    schema = contract.polars_schema()
    if len(files) <= FEW_FILES:
        single = [
            scan_parts(contract, [path]).with_columns(
                pl.lit(value, dtype=schema[name]).alias(name) for name, value in found.items()
            )
            for found, path in files
        ]
        shown = [rows.select(schema.names()) for rows in single]
        return pl.concat(shown) if shown else contract.empty_frame().lazy()
    keys = pl.DataFrame(
        [{**found, PATH: str(path)} for found, path in files],
        schema={name: schema[name] for name in contract.keys()} | {PATH: pl.String()},
    )
    rows = scan_parts(contract, [path for _, path in files], path_as=PATH)
    return rows.join(keys.lazy(), on=PATH, maintain_order="left").select(schema.names())


def contract_named(table: str) -> type[Table]:
    """Return the contract of a table; raise UsageError where there is no such table."""
    if table not in TABLES:
        raise UsageError(f"no table {table!r}; there are {', '.join(TABLES)}")
    return TABLES[table]


def _checked_keys(contract: type[Table], keys: Mapping[str, object]) -> dict[str, object]:
    """Refuse keys that the table does not have and values of a wrong kind; whole numbers become int."""
    allowed = [*KEYS, "run_id"] if contract is Runs else [*contract.keys(), "run_id"]
    checked: dict[str, object] = {}
    for name, value in keys.items():
        if name not in allowed:
            raise UsageError(f"{contract.table_name()} cannot be read by {name!r}; give any of {', '.join(allowed)}")
        if name == "batch" and isinstance(value, SupportsIndex) and not isinstance(value, bool):
            checked[name] = operator.index(value)
        elif name != "batch" and isinstance(value, str):
            checked[name] = value
        else:
            wanted = "a whole number" if name == "batch" else "a text"
            raise UsageError(f"{name} is {wanted}, got {value!r}; leave it out to read all of them")
    return checked
