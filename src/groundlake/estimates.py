"""What a caller hands to `Lake.write_estimates`, checked against the contract, the measurements and what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake import __version__
from groundlake.errors import ContractViolationError, RunExistsError, UsageError
from groundlake.schemas import KEYS, Estimates
from groundlake.schemas.base import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

IDENTITY = (*KEYS, "subgraph_id")
"""What one version of an estimator predicts once."""

FIGURES = ("predicted_latency_ms", "predicted_energy_j", "predicted_memory_bytes")
FILLED_IN = ("run_id", "part")
COLUMNS = tuple(name for name in Estimates.polars_schema() if name not in FILLED_IN)

MEASURED_SQL = "SELECT hardware_id, precision, model, batch FROM latest_runs"
SUBGRAPHS_SQL = (
    "SELECT s.hardware_id, s.precision, s.model, s.batch, s.subgraph_id FROM latest_runs r "
    "JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id"
)

SAME_FIGURE = 1e-9
"""Relative difference up to which two figures are the same."""

SHOWN = 3
"""Examples in a message."""


VERSION = ("estimator", "estimator_version")

DOOR_RULES = (
    Rule(
        "above_zero",
        "predicted_latency_ms",
        (pl.col("predicted_latency_ms") > 0) | pl.col("subgraph_id").is_not_null(),
        "of a whole model must be more than 0",
    ),
    *(Rule("named", name, pl.col(name).str.strip_chars() != "", "must be a name") for name in VERSION),
)
"""What the contract lets pass, as rows that are there may have it, and nobody can mean: a latency of 0 is infinitely
wrong on the scale of ratios. A single subgraph may cost nothing, where it is fused into another."""

TYPES_IN_WORDS = {
    pl.Float64(): "must be a number",
    pl.Int64(): "must be a whole number",
    pl.Boolean(): "must be true or false",
    pl.String(): "must be a text",
}
EXACT_WHOLE = 2**53
"""Below it each whole number has a double of its own."""


@dataclass(frozen=True)
class Origin:
    """Where estimates come from, so that a message names it and the row of it.

    Attributes:
        name: What was read; a message begins with it.
        word: What one estimate is there: a row or a line.
        numbers: Gives the number of each row; asked only where something is wrong. Without it, they count from 1.
    """

    name: str = "estimates"
    word: str = "row"
    numbers: Callable[[], Sequence[int]] | None = None

    def rows(self, places: Sequence[Sequence[int]]) -> list[str]:
        """Name groups of rows, given by their positions from 0, as in `line 4` and `lines 2, 3 and 7`."""
        numbers = self.numbers() if self.numbers else None

        def named(positions: Sequence[int]) -> str:
            words = [str(numbers[at] if numbers else at + 1) for at in positions[:SHOWN]]
            words += [f"{len(positions) - SHOWN} more"] if len(positions) > SHOWN else []
            return (
                f"{self.word} {words[0]}"
                if len(words) == 1
                else f"{self.word}s {', '.join(words[:-1])} and {words[-1]}"
            )

        return [named(positions) for positions in places]


@dataclass(frozen=True)
class VersionWritten:
    """What was done with the estimates of one version: `rows` were written, `present` were in the lake already."""

    estimator: str
    version: str
    rows: int
    present: int


@dataclass(frozen=True)
class EstimatesWritten:
    """What `Lake.write_estimates` did.

    Attributes:
        run_ids: The runs of kind `estimate`, one for each hardware id.
        versions: How many estimates each version of an estimator has.
    """

    run_ids: tuple[str, ...] = ()
    versions: tuple[VersionWritten, ...] = ()

    @classmethod
    def of(cls, run_ids: Iterable[str], rows: pl.DataFrame, new: pl.DataFrame) -> EstimatesWritten:
        """Count the estimates that were given and those of them that were new, by version."""
        counts = rows.group_by(VERSION).len("given").join(new.group_by(VERSION).len("new"), on=VERSION, how="left")
        versions = (
            VersionWritten(estimator, version, written or 0, given - (written or 0))
            for estimator, version, given, written in counts.sort(VERSION).iter_rows()
        )
        return cls(tuple(run_ids), tuple(versions))

    @property
    def rows(self) -> int:
        """Estimates that were written."""
        return sum(version.rows for version in self.versions)

    @property
    def present(self) -> int:
        """Estimates that the lake held already, with the same figures."""
        return sum(version.present for version in self.versions)


def checked(
    frame: pl.DataFrame, estimator: str | None, version: str | None, origin: Origin | None = None
) -> pl.DataFrame:
    """Return the estimates as rows of the contract, without the columns that the lake fills in.

    Args:
        frame: One row for each estimate; docs/estimates.md lists the columns.
        estimator: Name of the estimator; None where the frame has the column `estimator`.
        version: Its version; None where the frame has the column `estimator_version`.
        origin: Where they come from, for messages.

    Raises:
        UsageError: There are none, columns are missing or unknown, or the name or version is given twice or not at all.
        ContractViolationError: A value is of another kind, negative or no number, or a key is given twice; the message
            names the rows.
    """
    origin = origin or Origin()
    frame = _with_columns_known(frame, estimator, version, origin)
    rows, mistyped = _typed(frame)
    if "precision" in rows.columns:
        rows = rows.with_columns(pl.col("precision").str.to_lowercase())
    rows = Estimates.conform(rows.with_columns(pl.lit("-").alias(name) for name in FILLED_IN))
    fine = not mistyped and all(rows.select(rule.holds.all().alias(rule.column) for rule in DOOR_RULES).row(0))
    if not fine:
        raise ContractViolationError(_refusal(rows, mistyped, origin))
    try:
        Estimates.check(rows)
    except ContractViolationError as error:
        raise ContractViolationError(_refusal(rows, mistyped, origin) or str(error)) from None
    return rows.drop(FILLED_IN)


def _with_columns_known(
    frame: pl.DataFrame, estimator: str | None, version: str | None, origin: Origin
) -> pl.DataFrame:
    """Add the name and version, and refuse a frame without rows, and columns that are missing or unknown."""
    if not isinstance(frame, pl.DataFrame):
        raise UsageError(f"estimates are given as a polars DataFrame, got {type(frame).__name__}")
    if frame.is_empty():
        raise UsageError(f"{origin.name}: there is no estimate to write: the frame has no rows")
    for name, value in (("estimator", estimator), ("estimator_version", version)):
        if (value is None) == (name not in frame.columns):
            raise UsageError(
                f"{name}: give it once, as an argument or as a column of the estimates; "
                f"got {'neither' if value is None else 'both'}"
            )
        if value is not None and not value.strip():
            raise UsageError(f"{name} is empty; give it a name")
        if value is not None:
            frame = frame.with_columns(pl.lit(value).alias(name))
    unknown = [name for name in frame.columns if name not in COLUMNS]
    missing = [name for name in KEYS if name not in frame.columns]
    missing += [] if set(FIGURES) & set(frame.columns) else [f"one of {', '.join(FIGURES)}"]
    if unknown or missing:
        raise UsageError(
            f"{origin.name}: unknown columns: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}\n"
            f"estimates have the columns {', '.join(COLUMNS)}"
        )
    return frame


def _typed(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, str]]:
    """Give the columns the contract's types where every value fits: a text that is a number, a whole float.

    Returns:
        The frame, with NULL for a value that does not fit, and what is wrong with the rows that have one.
    """
    from groundlake.schemas.explaining import shown

    schema = Estimates.polars_schema()
    typed: list[pl.Series] = []
    wrong: dict[int, str] = {}
    for column in frame.iter_columns():
        dtype = schema[column.name]
        fitting = _fitted(column, dtype)
        for row in (fitting.is_null() & column.is_not_null()).arg_true():
            wrong.setdefault(
                row, f"{column.name} {TYPES_IN_WORDS[dtype]}, got {shown(column.slice(row, 1).to_list()[0])}"
            )
        typed.append(fitting.alias(column.name))
    return pl.DataFrame(typed), wrong


def _fitted(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Values of a column as another type; NULL where one does not fit."""
    got = column.dtype
    a_name = dtype == pl.String() and isinstance(got, (pl.Categorical, pl.Enum))
    if got in (dtype, pl.Null()) or a_name:
        return column.cast(dtype)
    if dtype == pl.String() or not (got == pl.String() or (got.is_numeric() and dtype.is_numeric())):
        return pl.Series(column.name, [None] * len(column), dtype=dtype)
    plain = column.str.strip_chars() if got == pl.String() else column
    if dtype == pl.Boolean():
        return plain.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None, return_dtype=dtype)
    number = plain.cast(pl.Float64(), strict=False)
    if dtype == pl.Float64():
        return number
    is_whole = number.is_finite() & (number == number.round()) & (number.abs() < EXACT_WHOLE)
    whole = pl.select(pl.when(is_whole).then(number.cast(dtype, strict=False))).to_series()
    return whole if got.is_float() or got.is_decimal() else plain.cast(dtype, strict=False).fill_null(whole)


def _refusal(rows: pl.DataFrame, mistyped: Mapping[int, str], origin: Origin) -> str:
    """Say which rows are refused, and why; empty where none is."""
    wrong = _wrong_rows(rows, mistyped)
    twins = _twins(rows, wrong)
    if not wrong and twins.is_empty():
        return ""
    found: list[tuple[list[int], str]] = [([row], text) for row, text in wrong.items()]
    found += [(twin["row"], _given_again(twin)) for twin in twins.iter_rows(named=True)]
    found.sort(key=lambda each: each[0][0])
    named = origin.rows([where for where, _ in found[:SHOWN]])
    lines = [
        f"{origin.name}: {sum(len(where) for where, _ in found)} of {rows.height} rows refused; nothing was written"
    ]
    for (where, text), place in zip(found, named, strict=False):
        lines.append(f"  {place}: {text}" if len(where) == 1 else f"  {text} ({place})")
    lines += [f"  and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "\n".join(lines)


def _wrong_rows(rows: pl.DataFrame, mistyped: Mapping[int, str]) -> dict[int, str]:
    """Say what is wrong with each row by itself."""
    from groundlake.schemas.explaining import first_broken  # only estimates that are refused need it

    wrong = first_broken([*Estimates.rules(), *DOOR_RULES], rows) | dict(mistyped)
    for row in rows.select(pl.all_horizontal(pl.col(FIGURES).is_null())).to_series().arg_true():
        wrong.setdefault(row, f"predicts nothing: {', '.join(FIGURES)} are empty")
    return wrong


def _twins(rows: pl.DataFrame, wrong: Mapping[int, str]) -> pl.DataFrame:
    """What is predicted more than once by rows that are fine by themselves, with the positions in `row`."""
    fine = rows.with_row_index("row").filter(~pl.col("row").is_in(list(wrong)))
    return fine.group_by(*IDENTITY, *VERSION).agg("row").filter(pl.col("row").list.len() > 1)


def _given_again(twin: Mapping[str, Any]) -> str:
    times = len(twin["row"])
    part = "" if twin["subgraph_id"] is None else f" subgraph {twin['subgraph_id']}"
    often = "twice" if times == 2 else f"{times} times"  # noqa: PLR2004 - what the word says
    return f"given {often}: {_named([twin[key] for key in KEYS])}{part}"


def refuse_unmeasured(rows: pl.DataFrame, measured: pl.DataFrame, subgraphs: pl.DataFrame) -> None:
    """Raise where an estimate is about something that was never measured: a slip of a name, most of the time.

    Args:
        rows: The estimates.
        measured: Configurations with a good run.
        subgraphs: Their subgraphs.

    Raises:
        UsageError: Naming the first of them.
    """
    lost = rows.select(KEYS).unique().join(measured, on=KEYS, how="anti").sort(KEYS)
    if not lost.is_empty():
        raise UsageError(
            f"{lost.height} of {rows.select(KEYS).n_unique()} configurations were never measured; nothing was written\n"
            f"  {'; '.join(_named(row) for row in lost.head(SHOWN).iter_rows())}\n"
            "`lake ls` lists what was; --allow-unmeasured keeps such estimates for a measurement to come"
        )
    single = rows.filter(pl.col("subgraph_id").is_not_null()).join(subgraphs, on=IDENTITY, how="anti").sort(IDENTITY)
    if not single.is_empty():
        first = single.row(0, named=True)
        raise UsageError(
            f"{single.height} estimates are about subgraphs that the measured models do not have; nothing was written\n"
            f"  first: subgraph {first['subgraph_id']} of {_named([first[key] for key in KEYS])}\n"
            "`lake show HW MODEL --precision P --batch N` lists the subgraphs"
        )


def not_present(rows: pl.DataFrame, present: pl.DataFrame) -> pl.DataFrame:
    """Return the estimates that the lake does not hold yet.

    Args:
        rows: The estimates.
        present: What the lake holds of the same estimators and versions.

    Raises:
        RunExistsError: It holds one with other figures: a version is not overwritten.
    """
    by = (*IDENTITY, "estimator", "estimator_version")
    now, there = _figures(rows, by), _figures(present, by)
    both = now.join(there, on=[*by, "figure"], how="inner", nulls_equal=True, suffix="_there")
    distance = (pl.col("value") - pl.col("value_there")).abs()
    other = both.filter(distance > SAME_FIGURE * pl.max_horizontal("value", "value_there"))
    if not other.is_empty():
        first = other.sort(*IDENTITY, "figure").row(0, named=True)
        raise RunExistsError(
            f"{first['estimator']} {first['estimator_version']} predicts {other.height} of these already, with other"
            f" figures; nothing was written\n  first: {_named([first[key] for key in KEYS])}:"
            f" {first['figure']} {first['value_there']:g}, now {first['value']:g}\n"
            "a version is never overwritten: give this one a name of its own with --version"
        )
    missing = now.join(there, on=[*by, "figure"], how="anti", nulls_equal=True)
    return rows.join(missing, on=by, how="semi", nulls_equal=True)


def _figures(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """One row for each figure that is predicted: its name and value."""
    return rows.unpivot(FIGURES, index=by, variable_name="figure").drop_nulls("value")


def as_runs(
    rows: pl.DataFrame, sources: Sequence[Mapping[str, str]] = ()
) -> list[tuple[dict[str, object], dict[str, pl.DataFrame]]]:
    """Return one run of kind `estimate` for each hardware id, as `Lake.write_many` takes them."""
    shared = {"kind": "estimate", "tool_version": f"groundlake {__version__}", "sources": list(sources) or None}
    return [
        ({"hardware_id": part["hardware_id"][0], **shared}, {"estimates": part})
        for part in rows.partition_by("hardware_id", maintain_order=True)
    ]


def _named(key: Sequence[object]) -> str:
    hardware_id, precision, model, batch = key
    return f"{hardware_id} {precision} {model} batch {batch}"
