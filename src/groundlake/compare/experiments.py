"""Two sides of LLM experiments beside each other: means, spreads, and the interval of their difference."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.compare.selectors import MIN_PREFIX, by_columns
from groundlake.errors import UsageError
from groundlake.stats.change import combined
from groundlake.stats.intervals import student_quantile, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FIGURES = {
    "energy_per_output_token_j": "J",
    "output_tokens_per_s": "1/s",
    "ttft_p50_ms": "ms",
    "ttft_p95_ms": "ms",
    "itl_p50_ms": "ms",
    "itl_p99_ms": "ms",
}
"""Columns of experiment_summary that are compared, with their units."""

HASH = "config_hash"
SETTINGS = ("model", "precision", "batch", "backend", "num_processes", "concurrency", "max_new_tokens")
"""Columns that a hash of the settings is made of, too: where one of them differs, so does the hash."""

CONFIGURATION = ("hardware_id", *SETTINGS, HASH)
"""Columns that make experiments repeats of one another."""

WINDOW = "measurement_methodology"
MEANING = {
    "energy_per_output_token_j": ("energy_scope", "energy_source", "energy_method", WINDOW),
    "output_tokens_per_s": (WINDOW,),
} | dict.fromkeys(("ttft_p50_ms", "ttft_p95_ms", "itl_p50_ms", "itl_p99_ms"), ("token_timing", WINDOW))
"""Columns that say what a figure means: two of different meaning are not the same quantity."""

CONDITIONS = ("backend_version", "thermal_profile", "software_fingerprint")
"""Columns about what an experiment ran on and with: where they differ that is said, and no reason to keep silent."""

MIN_REPEATS = 3
"""Repeats of a side below which nothing is concluded."""

TOO_FEW = f"too few repeats: at least {MIN_REPEATS} a side"

NUMBERS = {"batch", "num_processes", "concurrency", "max_new_tokens"}

SCHEMA: dict[str, Any] = {
    "figure": pl.String,
    "unit": pl.String,
    "a_mean": pl.Float64,
    "b_mean": pl.Float64,
    "change_percent": pl.Float64,
    "verdict": pl.String,
    "difference": pl.Float64,
    "difference_ci_lower": pl.Float64,
    "difference_ci_upper": pl.Float64,
    "a_n": pl.Int64,
    "b_n": pl.Int64,
    "a_sd": pl.Float64,
    "b_sd": pl.Float64,
    "remark": pl.String,
    "differs_in": pl.String,
} | {name: pl.Int64 if name in NUMBERS else pl.String for name in CONFIGURATION}


def select_experiments(summary: pl.DataFrame, text: str) -> pl.DataFrame:
    """Find the experiments that a text stands for.

    Args:
        summary: Rows of experiment_summary.
        text: A run id or its first eight characters, an experiment id, a study, or `column=value` (several joined by
            commas).

    Raises:
        UsageError: It stands for none, or for runs and for a study.
    """
    if "=" in text:
        return by_columns(text, summary).runs
    by_id = pl.col("run_id") == text
    if len(text) >= MIN_PREFIX:
        by_id |= pl.col("run_id").str.starts_with(text)
    readings = {
        "run": summary.filter(by_id),
        "experiment_id": summary.filter(experiment_id=text),
        "study": summary.filter(study=text),
    }
    found = {kind: rows for kind, rows in readings.items() if not rows.is_empty()}
    kinds = [kind for kind in found if kind != "experiment_id" or "run" not in found]
    if len(kinds) > 1:
        raise UsageError(f"{text!r} is a {' and a '.join(kinds)}; say {kinds[-1]}={text}")
    if not kinds:
        studies = sorted(summary["study"].drop_nulls().unique().to_list())
        raise UsageError(
            f"{text!r} stands for no good experiment; `lake experiment list` has their ids\n"
            f"studies: {', '.join(studies) or 'none'}; or column=value: hardware_id, precision, backend, batch, ..."
        )
    rows = found[kinds[0]]
    if kinds[0] == "run" and rows.height > 1:
        raise UsageError(f"{text}: {rows.height} runs begin so\n" + "\n".join(sorted(rows["run_id"])[:4]))
    return rows


def telling_length(ids: list[str]) -> int:
    """Characters that tell these ids apart: those of runs of the same minute begin in the same way."""
    lengths = range(MIN_PREFIX, max(map(len, ids), default=MIN_PREFIX) + 1)
    return next((length for length in lengths if len({each[:length] for each in ids}) == len(set(ids))), MIN_PREFIX)


def compare_experiments(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """Compare two sides, configuration by configuration.

    Experiments of a side that agree in all columns of `CONFIGURATION` are repeats. Where each side has one value of a
    column, a difference in it is what is compared, and is named; configurations are paired by all other columns. Where
    a setting is what is compared, hashes of the settings differ for it and pair nothing; experiments of one side that
    differ in them are no repeats still.

    What was measured differently is not the same quantity (`MEANING`): where runs of a side differ in it the side has
    no mean, and where the sides do there is no verdict and no difference; `remark` says why.

    Args:
        a: Rows of experiment_summary.
        b: Rows to compare with them.

    Returns:
        A row for each figure of each pair. `difference` is that of the means, b less a, with the 95 % interval of
        Welch (Biometrika 34, 1947). Without three repeats a side there is none. `a_n` and `b_n` are the values of a
        side, also where they have no mean.

    Raises:
        UsageError: No configuration of one side has a partner on the other.
    """
    both = set(a["run_id"]) & set(b["run_id"])
    if both:
        raise UsageError(f"run {min(both)} is on both sides: choose sides that share none")
    contrast = [name for name in CONFIGURATION if a[name].n_unique() == b[name].n_unique() == 1]
    is_other = any(name in contrast and a[name][0] != b[name][0] for name in SETTINGS)
    paired_by = [name for name in CONFIGURATION if name not in contrast and not (name == HASH and is_other)]
    of_a, of_b = _groups(a, paired_by), _groups(b, paired_by)
    shared = [key for key in of_a if key in of_b]
    if not shared:
        raise UsageError(
            f"no configuration of A is on side B: they are told apart by {', '.join(paired_by)}\n"
            "choose sides that differ in one column only, such as precision=fp16 and precision=int8"
        )
    rows = [row for key in shared for row in _rows(of_a[key], of_b[key])]
    return pl.DataFrame(rows, schema=SCHEMA)


def without_partner(a: pl.DataFrame, b: pl.DataFrame, compared: pl.DataFrame) -> int:
    """Number of experiments of both sides that no row of a comparison is about."""
    counted = compared.group_by(CONFIGURATION, maintain_order=True).agg(pl.col("a_n", "b_n").max())
    in_rows: list[int] = [*counted["a_n"], *counted["b_n"]]
    return a.height + b.height - sum(in_rows)


def _groups(side: pl.DataFrame, keys: Sequence[str]) -> dict[tuple[object, ...], pl.DataFrame]:
    return dict(side.group_by(keys, maintain_order=True)) if keys else {(): side}


def _rows(a: pl.DataFrame, b: pl.DataFrame) -> Iterator[dict[str, Any]]:
    configuration = {name: b[name][0] for name in CONFIGURATION}
    for figure, unit in FIGURES.items():
        ours, theirs = (side.filter(pl.col(figure).is_not_null()) for side in (a, b))
        if ours.is_empty() and theirs.is_empty():
            continue
        mixed = [_mixed(side, (HASH, *MEANING[figure])) for side in (ours, theirs)]
        silent = [
            f"no mean of {name}: {text} differs between its runs"
            for name, text in zip("AB", mixed, strict=True)
            if text
        ]
        if not silent and (differing := _other_meaning(ours, theirs, figure)):
            silent = [f"no verdict: {differing} is not the same on both sides"]
        also = [
            f"{name}: {text} differs"
            for name, side in zip("AB", (a, b), strict=True)
            if (text := _mixed(side, CONDITIONS))
        ]
        if a[HASH].null_count() or b[HASH].null_count():
            also.append(f"not all runs have a {HASH}: nobody knows whether their settings are the same")
        yield {
            "figure": figure,
            "unit": unit,
            "differs_in": _differences(
                a, b, (*CONFIGURATION, *CONDITIONS), _differences(ours, theirs, MEANING[figure])
            ),
            "remark": "; ".join(silent + also) or None,
            **configuration,
            **_contrast(ours[figure].to_list(), theirs[figure].to_list()),
            **({} if not silent else _silence(mixed)),
        }


def _silence(mixed: Sequence[str | None]) -> dict[str, object]:
    """Take back what nobody can say: a verdict and the difference, and the mean of a side whose runs are mixed."""
    unsaid = ["verdict", "difference", "change_percent", "difference_ci_lower", "difference_ci_upper"]
    unsaid += [f"{side}_{part}" for side, text in zip("ab", mixed, strict=True) if text for part in ("mean", "sd")]
    return dict.fromkeys(unsaid)


def _mixed(side: pl.DataFrame, columns: Sequence[str]) -> str | None:
    """Columns of which a side has several values, with these."""
    return ", ".join(f"{name} ({_values(side, name)})" for name in columns if side[name].n_unique() > 1) or None


def _other_meaning(a: pl.DataFrame, b: pl.DataFrame, figure: str) -> str | None:
    """Columns in which what a figure means differs between two sides that have one value of each."""
    if a.is_empty() or b.is_empty():
        return None
    return " and ".join(name for name in MEANING[figure] if a[name][0] != b[name][0]) or None


def _contrast(a: Sequence[float], b: Sequence[float]) -> dict[str, object]:
    """Both sides and their difference; a side without a value leaves all but the other out."""
    told: dict[str, object] = {"a_n": len(a), "b_n": len(b), "verdict": "not measured on both sides"}
    told |= {"a_mean": fmean(a) if a else None, "b_mean": fmean(b) if b else None}
    if not a or not b:
        return told
    ours, theirs = summarize(a), summarize(b)
    difference = theirs["mean"] - ours["mean"]
    told |= {
        "difference": difference,
        "change_percent": 100 * difference / ours["mean"] if ours["mean"] else None,
        "a_sd": ours["std"] if len(a) > 1 else None,
        "b_sd": theirs["std"] if len(b) > 1 else None,
        "verdict": TOO_FEW,
    }
    if min(len(a), len(b)) < MIN_REPEATS:
        return told
    variance, freedom = combined([(ours["std"] ** 2 / len(a), len(a) - 1), (theirs["std"] ** 2 / len(b), len(b) - 1)])
    half = student_quantile(freedom) * math.sqrt(variance) if variance > 0 else 0.0
    low, high = difference - half, difference + half
    verdict = "B is higher" if low > 0 else "B is lower" if high < 0 else "no difference shown"
    return told | {"difference_ci_lower": low, "difference_ci_upper": high, "verdict": verdict}


def _differences(a: pl.DataFrame, b: pl.DataFrame, columns: Sequence[str], *also: str | None) -> str | None:
    """Columns in which the sides differ, with the values of both."""
    told = []
    for name in columns:
        ours, theirs = _values(a, name), _values(b, name)
        if ours != theirs and ours and theirs:
            told.append(f"{name}: {ours} → {theirs}")
    return "; ".join([*told, *filter(None, also)]) or None


def _values(side: pl.DataFrame, column: str) -> str:
    return " or ".join(sorted({"unknown" if value is None else str(value) for value in side[column]}))
