"""What must hold for any figures: swapping the sides mirrors a comparison, and scaling both changes nothing."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundlake.compare import compare
from groundlake.stats.change import IMPROVED, REGRESSED, Change, decide
from groundlake.stats.ranks import mann_whitney
from groundlake.stats.robust import typical
from groundlake.store import Lake

MIRRORED = {REGRESSED: IMPROVED, IMPROVED: REGRESSED}
LATENCIES = st.floats(1.0, 4.0)
RUN = st.lists(LATENCIES, min_size=2, max_size=12)
SIDE = st.lists(RUN, min_size=1, max_size=4)
SIDES = st.fixed_dictionaries({"a": SIDE, "b": SIDE})
METHODS = {"timing_method": "perf_counter", "flops_method": "fx_chain_v1", "device": "cpu", "total_flops": 1000}


def compared(
    sides: dict[str, list[list[float]]], first: str, second: str, factor: float = 1.0
) -> list[dict[str, object]]:
    """Write both sides into a lake of their own, and compare them."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "lake")
        runs = []
        for session, side in sides.items():
            for samples in side:
                scaled = [sample * factor for sample in samples]
                row = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, **METHODS}
                figures = {"end_to_end_latency_ms": math.fsum(scaled) / len(scaled), "end_to_end_samples_ms": scaled}
                runs.append((row | figures | {"session_id": session}, {}))
        lake.write_many(runs)
        return compare(lake, first, second).to_dicts()


def close(one: object, other: object) -> bool:
    """Whether two figures are equal but for rounding, or both unknown."""
    if one is None or other is None:
        return one is other
    return bool(one == pytest.approx(other, rel=1e-6, abs=1e-9))


@settings(max_examples=25, deadline=None)
@given(sides=SIDES)
def test_swapping_the_sides_mirrors_the_verdict_and_the_change(sides: dict[str, list[list[float]]]):
    (forth,), (back,) = compared(sides, "a", "b"), compared(sides, "b", "a")
    assert back["verdict"] == MIRRORED.get(str(forth["verdict"]), forth["verdict"])
    for one, other in (
        ("change_percent", "change_percent"),
        ("change_ci_lower", "change_ci_upper"),
        ("change_ci_upper", "change_ci_lower"),
    ):
        there, again = forth[one], back[other]
        assert isinstance(there, float)
        assert isinstance(again, float)
        assert (1 + there / 100) * (1 + again / 100) == pytest.approx(1, rel=1e-6)
    for figure in ("p_value", "p_adjusted", "mann_whitney_p", "noise_percent"):
        assert close(back[figure], forth[figure])


@settings(max_examples=15, deadline=None)
@given(sides=SIDES, power=st.integers(-4, 4))
def test_another_unit_changes_nothing(sides: dict[str, list[list[float]]], power: int):
    (plain,), (scaled,) = compared(sides, "a", "b"), compared(sides, "a", "b", factor=2.0**power)
    for figure in ("change_percent", "change_ci_lower", "change_ci_upper", "p_value", "mann_whitney_p"):
        assert close(scaled[figure], plain[figure])
    assert scaled["verdict"] == plain["verdict"]


@given(a=st.lists(st.floats(-5, 5), min_size=1, max_size=30), b=st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_rank_test_does_not_care_which_side_comes_first(a: list[float], b: list[float]):
    forth, back = mann_whitney(a, b), mann_whitney(b, a)
    assert forth.p_value == pytest.approx(back.p_value, rel=1e-9)
    assert forth.larger_share + back.larger_share == pytest.approx(1)
    assert 0 <= forth.p_value <= 1


@given(samples=st.lists(LATENCIES, min_size=1, max_size=60))
def test_the_typical_value_lies_among_the_samples(samples: list[float]):
    value = math.exp(float(typical(samples).log_value))
    assert min(samples) * (1 - 1e-9) <= value <= max(samples) * (1 + 1e-9)


@given(change=st.floats(-1, 1), error=st.floats(1e-6, 1), freedom=st.integers(1, 200), threshold=st.floats(0.001, 0.5))
def test_unchanged_is_said_only_of_intervals_within_the_threshold(
    change: float, error: float, freedom: int, threshold: float
):
    found = Change(change, error**2, float(freedom))
    verdict = decide(found, found.p_value(), threshold=threshold)
    low, high = found.log_interval() or (math.nan, math.nan)
    inside = -math.log1p(threshold) < low and high < math.log1p(threshold)
    assert (verdict == "unchanged") == inside
    if verdict in MIRRORED:
        assert low > 0 or high < 0, "a change is called only where the interval leaves out 0"
