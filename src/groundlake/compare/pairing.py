"""Which configurations of two selections are held against each other, and whether they can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundlake.compare.figures import END_TO_END, ENERGY, SUBGRAPHS, UNKNOWN, Figure
from groundlake.errors import UsageError
from groundlake.schemas import KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from groundlake.compare.selectors import Selection

_LISTED = 4
_NO_PARTS = "end_to_end"
"""Timing method of a run whose parts could not be timed singly; the whole model was timed as in any other."""

_NETWORK = "+"
"""Behind it, the counting method of an int8 network says how its bytes are counted, and with which engine, set and
preparation it was made. Another precision has the same cut and the same FLOPs; another int8 network is no repeat."""


@dataclass(frozen=True)
class Pairing:
    """How two selections are paired.

    Attributes:
        keys: Keys that are equal on both sides of a pair.
        across: Keys that differ, with the one value of each side.
    """

    keys: tuple[str, ...]
    across: dict[str, tuple[object, object]]

    @property
    def difference(self) -> str | None:
        """What is different about B, in words; None where nothing is."""
        return ", ".join(f"{key}={b}" for key, (_, b) in self.across.items()) or None


def pairing(a: Selection, b: Selection) -> Pairing:
    """Pair by all four keys, less those that A and B name different values of, and less a different device.

    Raises:
        UsageError: Nothing is in common, or the two sides are the same runs.
    """
    if set(a.runs["run_id"]) == set(b.runs["run_id"]):
        runs = "run" if a.runs.height == 1 else f"{a.runs.height} runs"
        raise UsageError(f"{a.text!r} and {b.text!r} are the same {runs}; there is nothing to compare")
    across: dict[str, tuple[object, object]] = {}
    for key in KEYS:
        left, right = a.runs[key].unique().to_list(), b.runs[key].unique().to_list()
        named = key == "hardware_id" or (key in a.named and key in b.named)
        if named and len(left) == len(right) == 1 and left != right:
            across[key] = (left[0], right[0])
    found = Pairing(tuple(key for key in KEYS if key not in across), across)
    common = a.runs.join(b.runs, on=found.keys, how="semi") if found.keys else a.runs
    if common.is_empty():
        raise UsageError(
            f"A and B have no configuration in common\nA, {a.text}: {_holds(a.runs)}\nB, {b.text}: {_holds(b.runs)}\n"
            "runs of different devices are paired where each side has one: hardware_id=ID"
        )
    return found


def _holds(runs: pl.DataFrame) -> str:
    """Say what a selection has, in one line."""
    shown = []
    for key in KEYS:
        values = [str(value) for value in runs[key].unique().sort().to_list()]
        more = f", {len(values) - _LISTED} more" if len(values) > _LISTED else ""
        shown.append(f"{key} {', '.join(values[:_LISTED])}{more}")
    return f"{runs.select(KEYS).n_unique()} configurations; {'; '.join(shown)}"


def why_not_comparable(a: Sequence[Figure], b: Sequence[Figure], across: Sequence[str]) -> str | None:
    """Say why two sides cannot be compared, or None where they can.

    Args:
        a: Figures of one quantity, of the runs on the first side.
        b: Those of the second.
        across: Keys that differ on purpose.
    """
    if shared := {figure.run["run_id"] for figure in a} & {figure.run["run_id"] for figure in b}:
        return f"run {min(shared)} is on both sides"
    if found := _other_methods(a, b, across):
        return found
    work = [_work(side, per_input="batch" in across) for side in (a, b)]
    if all(work) and (found := _differ("the graph, in total_flops", *work)):
        return found
    parts = [_values(side, "num_subgraphs", None) - {None} for side in (a, b)]
    if a[0].quantity == SUBGRAPHS and all(parts) and (found := _differ("num_subgraphs", *parts)):
        return found
    if a[0].quantity == ENERGY:
        return _differ("how energy was had", {figure.how for figure in a}, {figure.how for figure in b})
    return None


def _other_methods(a: Sequence[Figure], b: Sequence[Figure], across: Sequence[str]) -> str | None:
    """Say which method of measuring differs; a side of another precision may be an int8 network, but only one."""
    for name in ("device", "timing_method", "flops_method"):
        told = [_values(side, name, UNKNOWN) for side in (a, b)]
        if name == "timing_method" and a[0].quantity == END_TO_END:
            told = [values - {_NO_PARTS} for values in told]
        if name == "flops_method" and "precision" in across:
            if mixed := next((values for values in told if len(values) > 1), None):
                return f"flops_method differs within one side: {_listed(mixed)}"
            told = [{value.partition(_NETWORK)[0] for value in values} for values in told]
        if all(told) and (found := _differ(name, *told)):
            return found
    return None


def _differ(what: str, a: set[Any], b: set[Any]) -> str | None:
    if len(a | b) == 1:
        return None
    return f"{what} differs: {_listed(a)} against {_listed(b)}"


def _listed(values: set[Any]) -> str:
    return " and ".join(sorted(map(str, values)))


def _values(side: Sequence[Figure], name: str, unknown: object) -> set[Any]:
    return {unknown if figure.run[name] is None else figure.run[name] for figure in side}


def _work(side: Sequence[Figure], *, per_input: bool) -> set[Any]:
    """Counted operations of one pass, or of one input of it where batch sizes differ; runs without a count left out."""
    found = set()
    for figure in side:
        flops, batch = figure.run["total_flops"], figure.run["batch"]
        if flops is not None:
            found.add(flops / batch if per_input and batch else flops)
    return found
