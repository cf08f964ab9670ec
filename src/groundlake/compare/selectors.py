"""Which runs a word on the command line stands for: a run, the latest ones, a moment, a session, or equal columns."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import UsageError
from groundlake.schemas import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_PREFIX = 8
"""Characters of a run id from which on it is looked for."""

_LATEST = re.compile(r"latest(?:~(?P<back>\d+))?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?")
_LISTED = 6


@dataclass(frozen=True)
class Selection:
    """What a selector stands for.

    Attributes:
        text: The selector as it was given.
        runs: Rows of the ledger: good runs that measured a model. Several of one configuration are repeats.
        named: Columns that the selector names, with the values it asks for.
    """

    text: str
    runs: pl.DataFrame
    named: Mapping[str, object] = field(default_factory=dict)


def select(text: str, good: pl.DataFrame, every: pl.DataFrame) -> Selection:
    """Find the runs that a selector stands for.

    Args:
        text: A run id or the first eight characters of one; `latest` or `latest~N`; a date or moment in UTC; the name
            of a session; or `column=value`, several joined by commas.
        good: Runs to choose from, with the column `turn` of `with_turns`.
        every: Current rows of the whole ledger, to say why a run cannot be chosen.

    Raises:
        UsageError: It stands for nothing, or for several things; the message lists what there is.
    """
    latest = _LATEST.fullmatch(text)
    if latest:
        return Selection(text, _turns_back(text, good, int(latest["back"] or 0)))
    if "=" in text:
        return by_columns(text, good)
    readings = {
        "the session": good.filter(session_id=text),
        "the moment": _at_moment(text, good),
        "the run": _by_id(text, good, every),
    }
    found = {kind: runs for kind, runs in readings.items() if runs is not None and not runs.is_empty()}
    if len(found) > 1:
        raise UsageError(f"{text!r} is {' and '.join(found)}\nsay session_id={text}, run_id=..., or {text}T23:59:59")
    if not found and readings["the moment"] is not None:
        raise UsageError(f"{text}: nothing had been measured by then; A and B may be\n{_what_there_is(good)}")
    if not found:
        raise UsageError(f"{text!r} stands for no run{_too_short(text, every)}; A and B may be\n{_what_there_is(good)}")
    return Selection(text, next(iter(found.values())))


def with_turns(good: pl.DataFrame) -> pl.DataFrame:
    """Add the column `turn`: 0 for the latest run of each configuration, 1 for the one before, and so on.

    The repeats of a sweep are one turn: runs of one session whose `run_index` counts up.
    """
    if good.is_empty():
        return good.with_columns(turn=pl.lit(0, pl.Int64))
    # NULL start times count as the oldest, and equal ones are told apart by the run id, as in latest_runs.
    ordered = good.sort([*KEYS, "started_at", "run_id"], nulls_last=False)
    continues = (
        pl.col("session_id").eq_missing(pl.col("session_id").shift(1))
        & pl.col("session_id").is_not_null()
        & (pl.col("run_index") > pl.col("run_index").shift(1))
    ).fill_null(value=False)
    begun = (~continues).cast(pl.Int64).cum_sum()
    return ordered.with_columns(turn=(begun.max() - begun).over(KEYS))


def _turns_back(text: str, good: pl.DataFrame, back: int) -> pl.DataFrame:
    runs = good.filter(turn=back)
    if runs.is_empty():
        none = f"no configuration has {back + 1} turns; the repeats of a sweep are one\n" if good.height else ""
        raise UsageError(f"{text}: {none}{_what_there_is(good)}")
    return runs


def _at_moment(text: str, good: pl.DataFrame) -> pl.DataFrame | None:
    """Give the latest turn of each configuration that had begun by then; None where the text is no moment."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise UsageError(f"{text}: {error}; a moment reads 2026-02-07 or 2026-02-07T14:30, in UTC") from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.timezone.utc).replace(tzinfo=None)
    elif len(text) == len("2026-02-07"):
        moment += dt.timedelta(days=1, microseconds=-1)
    begun = good.filter(pl.col("started_at") <= moment)
    return begun.filter(pl.col("turn") == pl.col("turn").min().over(KEYS))


def _by_id(text: str, good: pl.DataFrame, every: pl.DataFrame) -> pl.DataFrame:
    exact = pl.col("run_id") == text
    match = exact if len(text) < MIN_PREFIX else exact | pl.col("run_id").str.starts_with(text)
    runs, known = good.filter(match), every.filter(match)
    if not runs.filter(exact).is_empty():
        runs = known = runs.filter(exact)
    if known.height > 1:
        listed = "\n".join(sorted(known["run_id"])[:4])
        raise UsageError(f"{text}: {known.height} runs begin so\n{listed}")
    if runs.is_empty() and not known.is_empty():
        row = known.row(0, named=True)
        if row["status"] == "ok" and row["kind"] == "efficiency":
            raise UsageError(f"run {row['run_id']} is left out by --hw, --precision, --model or --batch")
        why = f"{row['status']}: {row['error']}" if row["error"] else f"of kind {row['kind']}"
        raise UsageError(f"run {row['run_id']} cannot be compared, it is {why}")
    return runs


def _too_short(text: str, every: pl.DataFrame) -> str:
    """Say so where ids begin with the text, but it is too short to name a run: by chance, any short word may fit."""
    begin = every.filter(pl.col("run_id").str.starts_with(text))["run_id"].to_list() if len(text) < MIN_PREFIX else []
    if not begin:
        return ""
    longer = f"{min(begin)[:MIN_PREFIX]}{'' if len(begin) == 1 else ', ...'}"
    return f", for the id of a run is given by at least {MIN_PREFIX} characters: {longer}"


def by_columns(text: str, good: pl.DataFrame) -> Selection:
    """Filter by `column=value`, all of them."""
    named: dict[str, object] = {}
    runs = good
    comparable = [name for name, dtype in good.schema.items() if not dtype.is_nested() and name != "turn"]
    for part in text.split(","):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if not sign or not name or not value:
            raise UsageError(f"{text!r}: a filter reads column=value, several joined by commas; got {part!r}")
        if name not in comparable:
            near = difflib.get_close_matches(name, comparable, n=3)
            meant = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(comparable)}"
            raise UsageError(f"{part}: runs have no column {name!r} to choose by; {meant}")
        wanted = _typed(name, value, good.schema[name])
        if name in named:
            raise UsageError(f"{text!r}: {name} is named twice")
        kept = runs.filter(pl.col(name) == wanted)
        if kept.is_empty():
            there = runs[name].drop_nulls().unique().sort().to_list()
            listed = ", ".join(map(str, there[:_LISTED])) + (", ..." if len(there) > _LISTED else "")
            beside = f" beside {', '.join(f'{key}={each}' for key, each in named.items())}" if named else ""
            raise UsageError(f"no good run has {name}={value}{beside}; there are {listed or 'none that have one'}")
        runs, named[name] = kept, wanted
    return Selection(text, runs, named)


def _typed(name: str, value: str, dtype: pl.DataType) -> object:
    """Read a value as the column's type."""
    text = value.lower() if name == "precision" else value
    try:
        if dtype.is_integer():
            return int(text)
        if dtype.is_float():
            return float(text)
        return dt.datetime.fromisoformat(text) if dtype.is_temporal() else text
    except ValueError:
        raise UsageError(f"{name}={value}: {name} is of type {dtype}") from None


def _what_there_is(good: pl.DataFrame) -> str:
    """Say what can be chosen, in at most four lines."""
    if good.is_empty():
        return "no good run; `lake ingest` or `lake migrate-v1` brings some in"
    sessions = good.filter(pl.col("session_id").is_not_null()).sort("started_at", descending=True)
    names = sessions["session_id"].unique(maintain_order=True).to_list()
    listed = ", ".join(names[:_LISTED]) + (f", {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    deepest = max(good["turn"].to_list())
    known = good["started_at"].drop_nulls().sort().dt.strftime("%Y-%m-%d").to_list()
    dates = f"dates from {known[0]} to {known[-1]}" if known else "dates: none known"
    return (
        f"latest{f' to latest~{deepest}' if deepest else ''}; {dates}\n"
        f"sessions: {listed or 'none'}\n"
        f"run ids: {good.height} (view run_summary has them), or column=value: hardware_id, torch_version, note, ..."
    )
