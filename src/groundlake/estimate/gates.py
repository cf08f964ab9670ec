"""Gates: conditions on accuracies that a continuous integration can fail on."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import UsageError
from groundlake.estimate.accuracy import MIN_CONFIGURATIONS, SCATTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
SHARES = ("predicted_share", "within_10_percent", "within_25_percent", "within_50_percent", "within_noise_share")
COUNTS = ("predicted_share", "num_configurations", "num_estimates")
"""Figures that are known exactly, however few configurations there are."""

_GATE = re.compile(r"\s*(?P<figure>\w+)\s*(?P<sign><=|>=|<|>)\s*(?P<bound>-?[\d.]+(?:[eE][+-]?\d+)?)\s*")


@dataclass(frozen=True)
class Gate:
    """A condition on one figure of every row, such as `median_ape<=30`."""

    figure: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.figure}{self.sign}{self.bound:g}"

    @classmethod
    def parse(cls, text: str, figures: Sequence[str]) -> Gate:
        """Read `median_ape<=30`.

        Args:
            text: What was given.
            figures: Names that can be asked for.

        Raises:
            UsageError: No such condition, or no such figure.
        """
        found = _GATE.fullmatch(text)
        if not found:
            raise UsageError(
                f"a gate reads 'median_ape<=30': a figure, one of {' '.join(OPERATORS)}, a number; got {text!r}"
            )
        if found["figure"] not in figures:
            raise UsageError(f"gate {text!r}: there is no figure {found['figure']!r}; there are {', '.join(figures)}")
        bound = float(found["bound"])
        if found["figure"] in SHARES and bound > 1:
            raise UsageError(f"gate {text!r}: {found['figure']} is a share from 0 to 1; 90 % is 0.9")
        return cls(found["figure"], found["sign"], bound)


@dataclass(frozen=True)
class Outcome:
    """What a gate said about one row.

    Attributes:
        gate: The condition.
        about: The row, in words.
        observed: The figure; None where it is not known.
        verdict: passed, failed, or insufficient data.
    """

    gate: Gate
    about: str
    observed: float | None
    verdict: str

    def __str__(self) -> str:
        seen = "not known" if self.observed is None else f"{self.observed:.5g}"
        return f"{self.verdict}: {self.gate} for {self.about} (observed {seen})"


def gated_figures(rows: pl.DataFrame) -> list[str]:
    """Names of the figures of accuracies that a gate can be about."""
    return [name for name, dtype in rows.schema.items() if dtype.is_numeric()]


def judge(gates: Sequence[Gate], rows: pl.DataFrame, not_judged: pl.DataFrame) -> list[Outcome]:
    """Hold every gate against every row of accuracies, those of extrapolated predictions left out.

    A row with fewer than ten configurations is insufficient data, whatever its errors. So is a quantity of which every
    measurement scatters too much to judge anything; one that is not measured at all is left out.

    Args:
        gates: The conditions.
        rows: What `Errors.accuracies` returns.
        not_judged: What `Errors.not_judged` returns.
    """
    outcomes = []
    for row in not_judged.filter(pl.col("none_judged") & (pl.col("reason") == SCATTERS)).iter_rows(named=True):
        about = f"{row['estimator']} {row['estimator_version']}, {row['quantity']}: {row['reason']}"
        outcomes += [Outcome(gate, about, None, "insufficient data") for gate in gates]
    for row in rows.iter_rows(named=True):
        if row["extrapolated"]:
            continue
        about = f"{row['estimator']} {row['estimator_version']}, {row['member']}, {row['compared_with']}"
        for gate in gates:
            observed = row[gate.figure]
            if row["num_configurations"] < MIN_CONFIGURATIONS and gate.figure not in COUNTS:
                verdict = "insufficient data"
            else:
                holds = observed is not None and OPERATORS[gate.sign](observed, gate.bound)
                verdict = "passed" if holds else "failed"
            outcomes.append(Outcome(gate, about, observed, verdict))
    return outcomes
