"""How wrong estimators are: the rows of the views, with bootstrap intervals, and two versions beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from groundlake.answer import open_connection
from groundlake.errors import UsageError
from groundlake.query_files import quoted, written_views
from groundlake.schemas import KEYS
from groundlake.stats.bootstrap import RESAMPLES, bootstrap_interval
from groundlake.views import bind

if TYPE_CHECKING:
    from groundlake.store import Lake

DIMENSIONS = ("all", "hardware", "precision", "hardware_precision", "model", "batch", "operation")
MIN_CONFIGURATIONS = 10
"""With fewer, a median says nothing about the next model."""

FALSE_VERDICTS = 0.05
"""How likely a comparison of two equal versions may find any group better or worse."""

GROUP = ("estimator", "estimator_version", "quantity", "compared_with", "extrapolated", "member")
VERDICTS = ("better", "worse", "insufficient data")


@dataclass(frozen=True)
class Scope:
    """Which estimates are looked at, and how they are grouped.

    Attributes:
        estimator: Name; None for all.
        version: Version; None for the latest of each estimator.
        hardware_id: Device; None for all.
        by: One of `DIMENSIONS`.
    """

    estimator: str | None = None
    version: str | None = None
    hardware_id: str | None = None
    by: str = "all"

    def __post_init__(self) -> None:
        if self.by not in DIMENSIONS:
            raise UsageError(f"estimates are grouped by {', '.join(DIMENSIONS)}, got {self.by!r}")


def accuracy(lake: Lake, scope: Scope) -> pl.DataFrame:
    """Rows of the view `estimator_accuracy_by` in scope, with a 95 % bootstrap interval of the median beside it.

    The interval draws whole models where a group has at least five: errors of one model go together.

    Raises:
        UsageError: The lake has no such estimates; the message lists those it has.
    """
    errors = _errors(lake, scope, [scope.version])
    rows = _view("estimator_accuracy_by", errors, scope.by).sort(GROUP)
    members = _members(errors, scope.by).partition_by(GROUP, as_dict=True)
    intervals = []
    for row in rows.select(GROUP).iter_rows():
        group = members[row]
        intervals.append(bootstrap_interval(group["counted_ape_percent"].to_numpy(), group["model"].to_list()))
    at = rows.columns.index("median_ape") + 1
    lower = pl.Series("median_ape_ci_lower", [low for low, _ in intervals], dtype=pl.Float64)
    upper = pl.Series("median_ape_ci_upper", [high for _, high in intervals], dtype=pl.Float64)
    return rows.insert_column(at, lower).insert_column(at + 1, upper)


def compare_versions(lake: Lake, scope: Scope, against: str) -> pl.DataFrame:
    """Two versions of one estimator over what both predict, one row for each group.

    Columns: estimator, old_version, new_version, member, quantity, compared_with, extrapolated (by either version, with
    rows of their own), num_pairs, old_median_ape and
    new_median_ape in %, `change` (mean of the paired differences of the counted errors, in percentage points; below 0
    is better) with the ends of its bootstrap interval, and the verdict: better or worse where the interval is on one
    side of 0, else insufficient data, also with fewer than ten configurations. The intervals hold at 95 % for all
    groups together (Bonferroni), so that many groups do not make a false verdict likely.

    Raises:
        UsageError: No estimator is named, or one of the versions is not there.
    """
    if scope.estimator is None:
        raise UsageError("two versions of one estimator are compared: name it with --estimator")
    errors = _members(_errors(lake, scope, [scope.version, against]), scope.by)
    old_errors = errors.filter(pl.col("estimator_version") == against)
    new_errors = errors.filter(pl.col("estimator_version") != against)
    if new_errors.is_empty():
        raise UsageError(f"{scope.estimator}: {against} would be compared with itself; name another --version")
    by = ["member", "quantity", "compared_with", *KEYS, "subgraph_id"]
    pairs = new_errors.join(old_errors, on=by, nulls_equal=True, suffix="_old")
    if pairs.is_empty():
        raise UsageError(f"{scope.estimator}: the two versions predict nothing in common that was measured")
    pairs = pairs.with_columns(extrapolated=pl.col("extrapolated") | pl.col("extrapolated_old"))
    groups = ["member", "quantity", "compared_with", "extrapolated"]
    parts = pairs.partition_by(groups)
    return pl.DataFrame([_verdict(part, against, of_groups=len(parts)) for part in parts]).sort(groups)


def _verdict(pairs: pl.DataFrame, against: str, *, of_groups: int) -> dict[str, object]:
    change = pairs["counted_ape_percent"] - pairs["counted_ape_percent_old"]
    # As many draws beyond an end of the interval as an interval of one group has.
    lower, upper = bootstrap_interval(
        change.to_numpy(),
        pairs["model"].to_list(),
        np.mean,
        confidence=1 - FALSE_VERDICTS / of_groups,
        resamples=RESAMPLES * of_groups,
    )
    enough = pairs.select(KEYS).n_unique() >= MIN_CONFIGURATIONS
    verdict = "better" if enough and upper < 0 else "worse" if enough and lower > 0 else "insufficient data"
    first = pairs.row(0, named=True)
    return {
        "estimator": first["estimator"],
        "old_version": against,
        "new_version": first["estimator_version"],
        "member": first["member"],
        "quantity": first["quantity"],
        "compared_with": first["compared_with"],
        "extrapolated": first["extrapolated"],
        "num_pairs": pairs.height,
        "old_median_ape": pairs["counted_ape_percent_old"].median(),
        "new_median_ape": pairs["counted_ape_percent"].median(),
        "change": change.mean(),
        "change_ci_lower": lower,
        "change_ci_upper": upper,
        "verdict": verdict,
    }


def _errors(lake: Lake, scope: Scope, versions: list[str | None]) -> pl.DataFrame:
    """Rows of `estimator_error` in scope that have an error; a version of None is the latest of each estimator."""
    level = "subgraph" if scope.by == "operation" else "model"
    named = f" AND estimator = {quoted(scope.estimator)}" if scope.estimator is not None else ""
    every = lake.sql(f"SELECT * FROM estimator_error WHERE level = '{level}'{named}").pl()  # noqa: S608 - a quoted name
    if scope.hardware_id is not None:
        ids = sorted(set(every["hardware_id"]))
        every = every.filter(pl.col("hardware_id") == scope.hardware_id)
        if ids and every.is_empty():
            raise UsageError(f"no estimates for {scope.hardware_id!r}; there are some for {', '.join(ids)}")
    # The ids of runs are ordered by time: the latest version is the one that was begun last.
    begun = every.group_by("estimator", "estimator_version").agg(pl.col("estimate_run_id").min())
    latest = pl.col("estimate_run_id") == pl.col("estimate_run_id").max().over("estimator")
    found = []
    for version in versions:
        chosen = begun.filter(latest if version is None else pl.col("estimator_version") == version)
        if chosen.is_empty():
            raise UsageError(_no_such(lake, scope, version, level))
        found.append(chosen)
    errors = every.join(pl.concat(found), on=["estimator", "estimator_version"], how="semi")
    errors = errors.filter(pl.col("reason").is_null())
    if errors.is_empty():
        why = 'lake sql "select reason, count(*) from estimator_error group by reason" says why'
        raise UsageError(f"no estimate stands beside a measurement that can judge it\n{why}")
    return errors


def _no_such(lake: Lake, scope: Scope, version: str | None, level: str) -> str:
    known = lake.sql("SELECT estimator, estimator_version, num_estimates FROM estimator_versions").pl()
    if known.is_empty():
        return (
            "the lake has no estimates\n`lake estimates add FILE --estimator NAME --version V` brings yours in;"
            " `lake estimates fit roofline` computes some"
        )
    listed = ", ".join(f"{name} {number}" for name, number, _ in known.sort("estimator", "estimator_version").rows())
    about = "subgraphs" if level == "subgraph" else "models"
    wanted = " ".join(filter(None, (scope.estimator or "any estimator", version)))
    return f"no estimates of {wanted} about {about}; there are {listed}"


def _members(errors: pl.DataFrame, by: str) -> pl.DataFrame:
    """The errors with the group that each is in, in an order that does not change: the bootstrap draws by it."""
    return _view("estimator_error_by", errors, by).sort(*GROUP, *KEYS, "subgraph_id")


def _view(name: str, errors: pl.DataFrame, by: str) -> pl.DataFrame:
    """Run a view's own text over these rows of `estimator_error`, so that the lake's files are read once."""
    with open_connection() as connection:
        connection.register("estimator_error", errors.to_arrow())
        bind(connection, written_views(), ("estimator_error_by", "estimator_accuracy_by"))
        rows: pl.DataFrame = connection.sql(f"SELECT * FROM {name}").pl()  # noqa: S608 - a view's name
    return rows.filter(pl.col("dimension") == by)
