"""Two selections of runs beside each other, configuration by configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.compare.figures import (
    END_TO_END,
    ENERGY,
    MEAN,
    SUBGRAPHS,
    TYPICAL,
    Figure,
    by_configuration,
    energy_figures,
    latency_figures,
)
from groundlake.compare.judging import ORDER, SCHEMA, Judged, adjust, described, examine, found
from groundlake.compare.pairing import pairing, why_not_comparable
from groundlake.compare.scatter import run_noise
from groundlake.compare.selectors import select, with_turns
from groundlake.errors import UsageError
from groundlake.stats.change import NOT_COMPARABLE, THRESHOLD, as_percent

if TYPE_CHECKING:
    from groundlake.compare.pairing import Pairing
    from groundlake.store import Lake

QUANTITIES = ("latency", "energy")


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        rows: One for each configuration that both sides have (and each rail, for energy), worst first.
        only_a: Configurations that only the first side has.
        only_b: Those that only the second has.
        same: Configurations with the same runs on both sides: they were not measured again, and have no row.
    """

    rows: pl.DataFrame
    only_a: int
    only_b: int
    same: int


def compare(
    lake: Lake,
    a: str,
    b: str,
    *,
    hardware_id: str | None = None,
    precision: str | None = None,
    model: str | None = None,
    batch: int | None = None,
    quantity: str = "latency",
    threshold_percent: float = 100 * THRESHOLD,
    run_noise_percent: float | None = None,
) -> pl.DataFrame:
    """Compare two selections of runs, one row for each configuration that both have, worst first.

    Args:
        lake: Where the runs are.
        a: What is compared with: a run id, `latest~1`, a date, a session or `column=value`; see docs/comparing.md.
        b: What is compared: above 0 % it is slower, or takes more energy.
        hardware_id: Only runs on this device.
        precision: Only runs in this precision.
        model: Only runs of this model.
        batch: Only runs with this batch size.
        quantity: latency, or energy of one pass.
        threshold_percent: Smallest change that matters.
        run_noise_percent: Relative standard deviation between runs, where it is known and the lake has no repeats.

    Raises:
        UsageError: A selector that stands for nothing or several things, or nothing in common.
    """
    keys = {"hardware_id": hardware_id, "precision": precision, "model": model, "batch": batch}
    return compare_selections(
        lake,
        a,
        b,
        keys=keys,
        quantity=quantity,
        threshold_percent=threshold_percent,
        run_noise_percent=run_noise_percent,
    ).rows


def compare_selections(
    lake: Lake,
    a: str,
    b: str,
    *,
    keys: dict[str, Any],
    quantity: str = "latency",
    threshold_percent: float = 100 * THRESHOLD,
    run_noise_percent: float | None = None,
) -> Comparison:
    """Compare as `compare` does, and count what has no counterpart; `keys` with a value narrow both sides."""
    _refuse(quantity, threshold_percent, run_noise_percent)
    every = lake.runs()
    measured = every.filter(status="ok", kind="efficiency")
    good = with_turns(_narrowed(measured, keys))
    first, second = select(a, good, every), select(b, good, every)
    pairs = pairing(first, second)
    figures = _figures(lake, measured, pl.concat([first.runs, second.runs]), quantity)
    sides = {(run["hardware_id"], run["run_id"]): "b" for run in second.runs.iter_rows(named=True)}
    sides |= {(run["hardware_id"], run["run_id"]): "a" for run in first.runs.iter_rows(named=True)}
    noises = {statistic: run_noise(figures, sides, statistic) for statistic in (TYPICAL, MEAN)}
    left, right = (_of(figures, selection.runs, pairs) for selection in (first, second))
    common = [name for name in left if name in right]
    if not common:
        raise UsageError(_without_figures(quantity, left, right))
    again = [name for name in common if _run_ids(left[name]) != _run_ids(right[name])]
    if not again:
        raise UsageError(
            f"{a!r} and {b!r} are the same runs of {_counted(len(common))} that both have\n"
            "nothing was measured again between them"
        )
    stated = None if run_noise_percent is None else run_noise_percent / 100
    rows: list[dict[str, object]] = []
    judged: list[Judged] = []
    for name in again:
        sided, why = _comparable(left[name], right[name], pairs)
        about = described(*sided, pairs.difference)
        rows.append(about | ({"verdict": NOT_COMPARABLE, "reason": why} if why else {}))
        if not why:
            judged.append(examine(*sided, noises, stated))
    waiting = iter(adjust(judged))
    rows = [row if "verdict" in row else row | found(next(waiting), threshold_percent / 100) for row in rows]
    of_keys = [selection.runs.select(pairs.keys).unique() for selection in (first, second)]
    only = [of_keys[at].join(of_keys[1 - at], on=pairs.keys, how="anti").height if pairs.keys else 0 for at in (0, 1)]
    return Comparison(_sorted(pl.DataFrame(rows, schema=SCHEMA)), only[0], only[1], len(common) - len(again))


def _counted(configurations: int) -> str:
    return "the one configuration" if configurations == 1 else f"all {configurations} configurations"


def _refuse(quantity: str, threshold_percent: float, run_noise_percent: float | None) -> None:
    if quantity not in QUANTITIES:
        raise UsageError(f"compared is {' or '.join(QUANTITIES)}, got {quantity!r}")
    if not 0 < threshold_percent < 100:  # noqa: PLR2004 - per cent
        raise UsageError(f"the threshold is a change in percent, above 0 and below 100, got {threshold_percent:g}")
    if run_noise_percent is not None and not 0 <= run_noise_percent < 100:  # noqa: PLR2004 - per cent
        raise UsageError(f"the noise between runs is in percent, from 0 to below 100, got {run_noise_percent:g}")


def _narrowed(runs: pl.DataFrame, keys: dict[str, Any]) -> pl.DataFrame:
    """Keep runs with these keys, and say what there is where none has them."""
    for name, value in keys.items():
        if value is None:
            continue
        wanted = value.lower() if name == "precision" else value
        kept = runs.filter(pl.col(name) == wanted)
        if kept.is_empty():
            known = ", ".join(map(str, runs[name].unique().sort().to_list()[:10]))
            raise UsageError(f"no good run with {name} {value!r}; there are {known or 'no good runs'}")
        runs = kept
    return runs


def _figures(lake: Lake, measured: pl.DataFrame, chosen: pl.DataFrame, quantity: str) -> list[Figure]:
    """Figures of all good runs on the devices that are compared: repeats among them tell the noise."""
    runs = measured.join(chosen, on="hardware_id", how="semi")
    if quantity == "energy":
        return energy_figures(lake, runs)
    whole = not (chosen["end_to_end_latency_ms"].fill_null(0) > 0).all()
    return latency_figures(lake, runs, subgraphs=whole)


def _of(figures: list[Figure], runs: pl.DataFrame, pairs: Pairing) -> dict[tuple[Any, ...], list[Figure]]:
    """Figures of a selection, by what they are paired by."""
    ids = set(runs.select("hardware_id", "run_id").iter_rows())
    chosen = [figure for figure in figures if (figure.run["hardware_id"], figure.run["run_id"]) in ids]
    grouped: dict[tuple[Any, ...], list[Figure]] = {}
    for name, members in by_configuration(chosen, pairs.keys).items():
        for figure in members:
            grouped.setdefault((*name, figure.rail), []).append(figure)
    return grouped


def _run_ids(figures: list[Figure]) -> set[str]:
    return {figure.run["run_id"] for figure in figures}


def _comparable(
    a: list[Figure], b: list[Figure], pairs: Pairing
) -> tuple[tuple[list[Figure], list[Figure]], str | None]:
    """Choose the quantity that every run of both sides has, and say why the sides cannot be compared, if so."""
    runs = [_run_ids(side) for side in (a, b)]
    for quantity in (END_TO_END, SUBGRAPHS, ENERGY):
        of_it = [[figure for figure in side if figure.quantity == quantity] for side in (a, b)]
        if all(_run_ids(side) == ids for side, ids in zip(of_it, runs, strict=True)):
            return (of_it[0], of_it[1]), why_not_comparable(of_it[0], of_it[1], tuple(pairs.across))
    return (a, b), "some runs have only an end-to-end latency, others only a sum of subgraphs"


def _without_figures(
    quantity: str, left: dict[tuple[Any, ...], list[Figure]], right: dict[tuple[Any, ...], list[Figure]]
) -> str:
    counts = f"A has it in {len(left)} configurations, B in {len(right)}"
    hint = ' (run_energy says why: `lake sql "select model, rail, reason from run_energy"`)'
    return f"no configuration has a known {quantity} on both sides: {counts}{hint if quantity == 'energy' else ''}"


def _sorted(rows: pl.DataFrame) -> pl.DataFrame:
    """Order rows worst first: by verdict, then by change."""
    rank = pl.col("verdict").replace_strict({name: at for at, name in enumerate(ORDER)}, return_dtype=pl.Int64)
    by = [rank, -pl.col("change_percent"), "hardware_id", "precision", "model", "batch", "rail"]
    return rows.sort(by, nulls_last=True)


def summary(comparison: Comparison) -> str:
    """Say in one line how many of each verdict there are, and the geometric mean of the changes."""
    rows = comparison.rows
    counts = dict(rows.group_by("verdict").len().iter_rows())
    parts = [", ".join(f"{counts[name]} {name}" for name in ORDER if name in counts)]
    changes = rows["change_percent"].drop_nulls().to_list()
    if changes:
        mean = as_percent(math.fsum(math.log1p(each / 100) for each in changes) / len(changes))
        parts.append(f"geometric mean of the change {mean:+.2f} %")
    if comparison.only_a or comparison.only_b:
        parts.append(f"without a counterpart: {comparison.only_a} of A, {comparison.only_b} of B")
    if comparison.same:
        parts.append(f"not measured again: {comparison.same}")
    return "; ".join(parts)
