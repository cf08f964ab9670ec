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

SCATTERS = "the measurement scatters too much to judge"
DIMENSIONS = ("all", "hardware", "precision", "hardware_precision", "model", "batch", "operation")
MIN_CONFIGURATIONS = 10
"""With fewer, a median says nothing about the next model."""

FALSE_VERDICTS = 0.05
"""How likely a comparison of two equal versions may find any group better or worse."""

VERSION = ("estimator", "estimator_version", "quantity")
GROUP = ("estimator", "estimator_version", "quantity", "compared_with", "extrapolated", "member")
NOT_OF_THE_ESTIMATE = (
    "the lake has no measured memory",
    "the run has no energy; run_energy says why",
    "the measured value is not above 0",
    SCATTERS,
)
"""Reasons of `estimator_error` that lie with the measurement."""

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
    """How wrong the estimates in scope are; `Errors.accuracies` says what the rows hold.

    Raises:
        UsageError: The lake has no such estimates; the message lists those it has.
    """
    return Errors.read(lake, scope).accuracies()


def compare_versions(lake: Lake, scope: Scope, against: str) -> pl.DataFrame:
    """Two versions of one estimator over what both predict; `Errors.beside` says what the rows hold.

    Raises:
        UsageError: No estimator is named, or one of the versions is not there.
    """
    return Errors.read(lake, scope, against).beside(against)


@dataclass(frozen=True)
class Errors:
    """Estimates beside measurements, read once.

    Attributes:
        scope: What was asked for.
        rows: Rows of `estimator_error` in scope, of the version asked for and of the one it is compared with.
        num_measured: Measured configurations in scope.
        old_version: The version it is compared with; None where there is none.
    """

    scope: Scope
    rows: pl.DataFrame
    num_measured: int
    old_version: str | None = None

    @classmethod
    def read(cls, lake: Lake, scope: Scope, against: str | None = None) -> Errors:
        """Read the errors of one version of each estimator in scope, and of a second one of the same estimator.

        Raises:
            UsageError: The lake has no such estimates, or a second version of no estimator.
        """
        if against is not None and scope.estimator is None:
            raise UsageError("two versions of one estimator are compared: name it with --estimator")
        rows = _rows(lake, scope, [scope.version] if against is None else [scope.version, against])
        measured = lake.sql("SELECT hardware_id FROM latest_runs").pl()
        if scope.hardware_id is not None:
            measured = measured.filter(pl.col("hardware_id") == scope.hardware_id)
        return cls(scope, rows, measured.height, against)

    def accuracies(self) -> pl.DataFrame:
        """Rows of the view `estimator_accuracy_by`, with what a view cannot tell beside them.

        * `median_ape_ci_lower`, `median_ape_ci_upper`: 95 % bootstrap interval of the median. It draws whole models
          where a group has at least five: errors of one model go together.
        * `predicted_share`: share of all measured configurations in scope that the version predicts as a whole.
        """
        judged = self._judged(self._new())
        rows = _view("estimator_accuracy_by", judged, self.scope.by).sort(*GROUP[:-1], *self._in_order())
        members = _members(judged, self.scope.by).partition_by(GROUP, as_dict=True)
        intervals = []
        for row in rows.select(GROUP).iter_rows():
            group = members[row]
            intervals.append(bootstrap_interval(group["counted_ape_percent"].to_numpy(), group["model"].to_list()))
        at = rows.columns.index("median_ape") + 1
        lower = pl.Series("median_ape_ci_lower", [low for low, _ in intervals], dtype=pl.Float64)
        upper = pl.Series("median_ape_ci_upper", [high for _, high in intervals], dtype=pl.Float64)
        rows = rows.insert_column(at, lower).insert_column(at + 1, upper)
        return rows.join(self._predicted(), on=VERSION, how="left", maintain_order="left")

    def not_judged(self) -> pl.DataFrame:
        """Estimates of the version asked for that no measurement judges, counted.

        Columns: estimator, estimator_version, quantity, reason, num_estimates, and `none_judged`: whether the version
        has no estimate of this quantity that is judged.
        """
        new = self._new()
        counted = new.group_by(*VERSION, "reason").agg(num_estimates=pl.len())
        judged = new.filter(pl.col("reason").is_null()).select(VERSION).unique().with_columns(none_judged=pl.lit(False))  # noqa: FBT003 - a column
        left = counted.filter(pl.col("reason").is_not_null()).join(judged, on=VERSION, how="left")
        return left.with_columns(pl.col("none_judged").fill_null(value=True)).sort(*VERSION, "reason")

    def beside(self, against: str) -> pl.DataFrame:
        """Two versions over what both predict, one row for each group.

        Columns: estimator, old_version, new_version, member, quantity, compared_with, extrapolated (by either version,
        with rows of their own), num_pairs, the medians and means of the counted errors of both versions in %,
        `mean_ape_change` (mean of the paired differences of the counted errors, in percentage points; below 0 is
        better) with the ends of its bootstrap interval, and the verdict: better or worse where the interval is on one
        side of 0, else insufficient data, also with fewer than ten configurations. The intervals hold at 95 % for all
        groups together (Bonferroni), so that many groups do not make a false verdict likely.
        """
        errors = _members(self._judged(self.rows), self.scope.by)
        old_errors = errors.filter(pl.col("estimator_version") == against)
        new_errors = errors.filter(pl.col("estimator_version") != against)
        if new_errors.is_empty():
            raise UsageError(f"{self.scope.estimator}: {against} would be compared with itself; name another --version")
        by = ["member", "quantity", "compared_with", *KEYS, "subgraph_id"]
        pairs = new_errors.join(old_errors, on=by, nulls_equal=True, suffix="_old")
        if pairs.is_empty():
            raise UsageError(f"{self.scope.estimator}: the two versions predict nothing in common that was measured")
        pairs = pairs.with_columns(extrapolated=pl.col("extrapolated") | pl.col("extrapolated_old"))
        groups = ["quantity", "compared_with", "extrapolated", "member"]
        parts = pairs.partition_by(groups)
        rows = pl.DataFrame([_verdict(part, against, of_groups=len(parts)) for part in parts])
        return rows.sort(*groups[:-1], *self._in_order())

    def _new(self) -> pl.DataFrame:
        """Rows of the version asked for."""
        if self.old_version is None or set(self.rows["estimator_version"]) == {self.old_version}:
            return self.rows
        return self.rows.filter(pl.col("estimator_version") != self.old_version)

    def _judged(self, rows: pl.DataFrame) -> pl.DataFrame:
        judged = rows.filter(pl.col("reason").is_null())
        if judged.is_empty():
            why = "; ".join(sorted(set(rows["reason"].drop_nulls())))
            raise UsageError(f"no estimate stands beside a measurement that can judge it: {why}")
        return judged

    def _predicted(self) -> pl.DataFrame:
        """Share of the measured configurations that each version predicts as a whole."""
        whole = self._new().filter(pl.col("reason").is_null() | pl.col("reason").is_in(NOT_OF_THE_ESTIMATE))
        return whole.group_by(VERSION).agg(
            predicted_share=pl.struct(KEYS).n_unique() / pl.lit(self.num_measured, dtype=pl.Float64)
        )

    def _in_order(self) -> list[pl.Expr]:
        """How members are sorted: batch sizes are numbers."""
        return [pl.col("member").cast(pl.Int64) if self.scope.by == "batch" else pl.col("member")]


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
        "old_mean_ape": pairs["counted_ape_percent_old"].mean(),
        "new_mean_ape": pairs["counted_ape_percent"].mean(),
        "mean_ape_change": change.mean(),
        "mean_ape_change_ci_lower": lower,
        "mean_ape_change_ci_upper": upper,
        "verdict": verdict,
    }


def _rows(lake: Lake, scope: Scope, versions: list[str | None]) -> pl.DataFrame:
    """Rows of `estimator_error` in scope; a version of None is the latest of each estimator."""
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
    return every.join(pl.concat(found), on=["estimator", "estimator_version"], how="semi")


def _no_such(lake: Lake, scope: Scope, version: str | None, level: str) -> str:
    counted = "SELECT estimator, estimator_version, count(subgraph_id) AS subgraphs FROM estimates GROUP BY 1, 2"
    known = lake.sql(counted).pl().sort("estimator", "estimator_version")
    if known.is_empty():
        return (
            "the lake has no estimates\n`lake estimates add FILE --estimator NAME --version V` brings yours in;"
            " `lake estimates fit roofline` computes some"
        )
    about = "subgraphs" if level == "subgraph" else "models"
    wanted = " ".join(filter(None, (scope.estimator or "any estimator", version)))
    fitting = known.filter((pl.col("subgraphs") > 0) if level == "subgraph" else pl.lit(True))  # noqa: FBT003 - all
    own = [f"{name} {number}" for name, number, _ in fitting.rows() if name == scope.estimator]
    others = ", ".join(sorted(set(fitting["estimator"])))
    there = ", ".join(own) or (f"some of {others}" if others else "none")
    return f"no estimates of {wanted} about {about}; there are {there}"


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
