"""A recorded trace in the place of a sensor: for tests, and for machines that have none."""

from __future__ import annotations

from bisect import bisect_right
from time import perf_counter
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.errors import UsageError
from groundlake.power.sampler import COUNTER, INSTANT, Rail, Reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCE = "replay"
_FORM = "a trace has the columns timestamp_s (from 0), rail, and any of power_w, energy_counter_j, temperature_c"
VALUES = ("power_w", "energy_counter_j", "temperature_c")
COLUMNS = {"timestamp_s": pl.Float64, "rail": pl.String, **dict.fromkeys(VALUES, pl.Float64)}

FIRST_ROW = ("row", 1)


class ReplaySampler:
    """Plays a trace: a read gives what each rail said last, counted from the first read.

    A row whose values are all NULL is a moment at which the sensor did not answer. Behind the last row of the trace
    the sensor is gone.

    Args:
        trace: Columns timestamp_s (from 0), rail, and any of power_w, energy_counter_j, temperature_c.
        semantics: What its readings of power mean; a rail without any is a counter.
        clock: Seconds, monotonic; the one that the recorder stamps with.
        rows_named: What a message calls a row, and the number of the first.

    Raises:
        UsageError: The trace has no rows, lacks a column, or holds what no sensor says.
    """

    def __init__(
        self,
        trace: pl.DataFrame,
        *,
        semantics: str = INSTANT,
        clock: Callable[[], float] = perf_counter,
        rows_named: tuple[str, int] = FIRST_ROW,
    ) -> None:
        rows = _checked(trace, rows_named)
        powered = set(rows.filter(pl.col("power_w").is_not_null())["rail"])
        self._rails = {
            name: Rail(source=SOURCE, name=name, semantics=semantics if name in powered else COUNTER)
            for name in rows["rail"].unique().sort()
        }
        self._moments = {name: _column(rows, name, "timestamp_s") for name in self._rails}
        self._values = {name: rows.filter(rail=name).select(VALUES).rows() for name in self._rails}
        self._end_s = float(rows["timestamp_s"][-1])
        self._clock = clock
        self._start_s: float | None = None

    @classmethod
    def of_file(cls, path: Path, **options: Any) -> ReplaySampler:  # noqa: ANN401 - those of the constructor
        """Open a trace in CSV or Parquet.

        Raises:
            UsageError: It cannot be read, or is no trace; the message names the file.
        """
        is_csv = path.suffix == ".csv"
        try:
            trace = pl.read_csv(path, infer_schema=False) if is_csv else pl.read_parquet(path)
        except pl.exceptions.NoDataError:
            raise UsageError(f"{path}: the file is empty\n{_FORM}") from None
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UsageError(f"{path} cannot be read as a trace: {str(error).splitlines()[0]}\n{_FORM}") from None
        try:
            return cls(trace, rows_named=("line", 2) if is_csv else FIRST_ROW, **options)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None

    @property
    def rails(self) -> list[Rail]:
        """Rails of the trace, by name."""
        return list(self._rails.values())

    def read(self) -> list[Reading]:
        """Give what each rail said last.

        Raises:
            OSError: The trace is over, or no rail answered at this moment.
        """
        now_s = self._clock()
        self._start_s = now_s if self._start_s is None else self._start_s
        elapsed_s = now_s - self._start_s
        if elapsed_s > self._end_s:
            raise OSError(f"the trace ended after {self._end_s:g} s")
        readings = []
        for name, rail in self._rails.items():
            at = bisect_right(self._moments[name], elapsed_s) - 1
            values = dict(zip(VALUES, self._values[name][at], strict=True)) if at >= 0 else {}
            if any(value is not None for value in values.values()):
                readings.append(Reading(rail=rail, **values))
        if not readings:
            raise OSError(f"the trace has no reading at {elapsed_s:g} s")
        return readings

    def close(self) -> None:
        """Nothing is held open."""


def _checked(trace: pl.DataFrame, rows_named: tuple[str, int]) -> pl.DataFrame:
    """The rows of a trace by time, with the columns that a recorder knows.

    Raises:
        UsageError: No rows, a missing column, or a value that no sensor says; the message names where.
    """
    absent = [name for name in ("timestamp_s", "rail") if name not in trace.columns]
    if not set(VALUES) & set(trace.columns):
        absent.append(f"one of {', '.join(VALUES)}")
    if absent:
        got = ", ".join(trace.columns) or "none"
        raise UsageError(f"the trace has no column {' and no '.join(absent)}; it has {got}\n{_FORM}")
    if trace.is_empty():
        raise UsageError(f"the trace has columns and no rows\n{_FORM}")
    what, first = rows_named
    known = {name: _cast(trace[name], dtype, rows_named) for name, dtype in COLUMNS.items() if name in trace.columns}
    empty = [pl.lit(None, dtype=pl.Float64).alias(name) for name in VALUES if name not in known]
    rows = pl.DataFrame(known).with_columns(empty).with_row_index("place", first)
    wrong = rows.filter(
        pl.any_horizontal(pl.col("timestamp_s", *VALUES).is_nan(), pl.col("timestamp_s", *VALUES).is_infinite())
        | pl.any_horizontal(pl.col("timestamp_s", "power_w", "energy_counter_j") < 0)
        | pl.any_horizontal(pl.col("timestamp_s", "rail").is_null())
    )
    if not wrong.is_empty():
        place, *values = wrong.select("place", *known).row(0)
        got = ", ".join(f"{name} {value}" for name, value in zip(known, values, strict=True))
        raise UsageError(f"times, power and counters are numbers from 0 on; {what} {place} has {got}\n{_FORM}")
    return rows.drop("place").sort("timestamp_s", maintain_order=True)


def _cast(values: pl.Series, dtype: type[pl.DataType], rows_named: tuple[str, int]) -> pl.Series:
    """Values of a column in its type.

    Raises:
        UsageError: A value is something else; the message names the first.
    """
    plain = values.str.strip_chars() if values.dtype == pl.String else values
    try:
        cast = plain.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        raise UsageError(f"{values.name} holds neither numbers nor texts, but {values.dtype}\n{_FORM}") from None
    lost = (cast.is_null() & values.is_not_null()).arg_true()
    if len(lost):
        what, first = rows_named
        place = lost[0]
        raise UsageError(f"{values.name} is no number in {what} {first + place}: {str(values[place])!r}\n{_FORM}")
    return cast


def _column(rows: pl.DataFrame, rail: str, name: str) -> list[float]:
    return rows.filter(pl.col("rail") == rail)[name].to_list()
