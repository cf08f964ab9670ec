"""What makes a run doubtful: each finding names what was observed, the threshold, and what to do."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import datetime, timezone

import polars as pl
import pytest
from scipy.stats import mannwhitneyu, norm

from groundlake.measure.cut import Subgraph
from groundlake.measure.doubts import Doubt, _drift, held_back, low_gpu_clock, rank_score
from groundlake.measure.enough import SettledMean
from groundlake.measure.messages import Measured
from groundlake.measure.plan import Configuration, PlannedRun, SweepSettings
from groundlake.measure.record import Measurement
from groundlake.power.watch import PowerRecord

RUN = PlannedRun(Configuration("toy", "fp32", 1))
SETTINGS = SweepSettings(hardware_id="bench", peaks={"fp32": 1e9}, peak_source="registry")
WORK = Subgraph(
    subgraph_id=0, fusion_pattern="Unfused", operation_type="unfused", node_names=("fc",), flops=1000, total_bytes=80
)
STEADY = tuple(3.0 + 0.01 * (number % 3) for number in range(30))
MEASURED = Measured(
    input_shape=(1, 3),
    subgraphs=(WORK,),
    flops_method="fx_chain_v1",
    timing_method="perf_counter",
    subgraph_ms=(STEADY,),
    pass_ms=STEADY,
    end_to_end_ms=STEADY,
    started_at=datetime(2026, 3, 1, 12, tzinfo=timezone.utc),
    duration_s=1.5,
    software={},
    system_before={},
    system_under_load={},
    system_after={},
)


def warnings(settings: SweepSettings = SETTINGS, **changed: object) -> list[str]:
    return list(Measurement.of(RUN, settings, replace(MEASURED, **changed)).warnings)


def test_a_steady_run_is_not_doubted() -> None:
    assert warnings() == []


def power(seconds: list[float], **facts: object) -> PowerRecord:
    """Readings of one rail at these moments, in a window of 2 s."""
    series = {"source": "rapl", "rail": "package-0", "device_index": 0, "requested_period_s": 0.05}
    rows = pl.DataFrame({"source": "rapl", "rail": "package-0", "device_index": 0, "timestamp_s": seconds})
    return PowerRecord(rows=rows, window_s=2.0, series=(series | {"failed_reads": 0, "gaps": 0} | facts,), notes=())


@pytest.mark.parametrize(
    ("record", "observed"),
    [
        (power([0.0, 1.0, 1.95]), None),
        (power([0.0, 2.0], gaps=1), "0 failed reads, 1 gaps,"),
        (power([0.0, 2.0], failed_reads=2), "2 failed reads, 0 gaps,"),
        (power([0.0, 1.5]), "0 failed reads, 0 gaps, none at the end of the window,"),
    ],
)
def test_missing_power_readings_are_a_doubt(record: PowerRecord, observed: str | None) -> None:
    found = warnings(power=record)
    assert [text.split(":")[0] for text in found] == ([] if observed is None else ["power_gap"])
    assert observed is None or f"(observed {observed} threshold none at all)" in found[0]


def test_every_doubt_says_what_was_observed_the_threshold_and_what_to_do() -> None:
    drifting = tuple(3.0 + 0.05 * number for number in range(30))
    found = warnings(end_to_end_ms=drifting, pass_ms=(30.0, *STEADY[1:]), throttle_events=2)
    assert [text.split(":")[0] for text in found] == ["throttling", "slow_first_pass", "drift", "high_variance"]
    for text in found:
        assert re.fullmatch(r"\w+: .+ \(observed .+, threshold .+\); .+", text)


@pytest.mark.parametrize(("last", "doubted"), [(3.1, False), (3.3, True), (2.7, True)])
def test_a_drift_is_a_change_of_the_median_beyond_the_scatter(last: float, doubted: bool) -> None:
    passes = STEADY[:20] + (last,) * 10
    assert [text.split(":")[0] for text in warnings(end_to_end_ms=passes)] == ["drift"] * doubted


def test_scatter_is_no_drift() -> None:
    passes = (2.0, 4.0) * 15
    assert [text.split(":")[0] for text in warnings(end_to_end_ms=passes)] == ["high_variance"]


@pytest.mark.parametrize("passes", [30, 50, 200])
def test_chance_is_hardly_ever_taken_for_a_drift_and_a_drift_for_chance(passes: int) -> None:
    chance = random.Random(0)  # noqa: S311 - samples, not secrets
    noisy = [[chance.gauss(10, 1) for _ in range(passes)] for _ in range(200)]
    rising = [[chance.gauss(10, 0.2) * (1 + 0.15 * number / passes) for number in range(passes)] for _ in range(200)]
    found = [sum(any(_drift("", samples)) for samples in many) for many in (noisy, rising)]
    assert found[0] <= 4
    assert found[1] >= 190


def test_the_rank_score_is_the_one_of_the_literature() -> None:
    first, second = [1.0, 2.0, 2.0, 5.0, 7.0], [3.0, 2.0, 8.0, 9.0]
    expected = mannwhitneyu(second, first, use_continuity=False, method="asymptotic")
    without_ties = 1 - 6 / (9**3 - 9)  # scipy corrects the variance for the three values of 2
    score = rank_score(first, second) / without_ties**0.5
    assert 2 * norm.sf(abs(score)) == pytest.approx(expected.pvalue, rel=0.05)


def test_what_holds_the_clocks_back_is_named_and_an_idle_gpu_is_not() -> None:
    held = {"throttle_reasons": ["gpu_idle", "hw_thermal_slowdown"]}
    (text,) = warnings(system_under_load=held)
    assert text.startswith("throttling: the clocks are held back: hw_thermal_slowdown (observed 1 reasons")
    assert warnings(system_under_load={"throttle_reasons": ["gpu_idle"]}) == []
    assert warnings(throttle_events=0) == []
    assert "by the kernel's count" in warnings(throttle_events=7)[0]


def test_a_mean_that_did_not_settle_is_doubtful_where_it_was_to_settle() -> None:
    scattered = (2.9, 3.1) * 15
    assert warnings(pass_ms=scattered) == []
    found = warnings(replace(SETTINGS, until_ci=0.005), pass_ms=scattered)
    assert [text.split(" ")[:2] for text in found] == [["interval_not_reached:", "subgraphs:"]]
    assert "threshold 0.50%" in found[0]


def test_doubts_of_the_sweep_and_of_the_moment_come_first() -> None:
    forced, warm = (
        Doubt(code=code, meaning="m", observed="1", threshold="0", advice="a") for code in ("forced", "warm")
    )
    settings = replace(SETTINGS, doubts=(forced,))
    run = Measurement.of(RUN, settings, replace(MEASURED, throttle_events=1), [warm])
    assert [text.split(":")[0] for text in run.warnings] == ["forced", "warm", "throttling"]


def test_passes_end_when_the_mean_is_settled_and_not_before_ten() -> None:
    assert not SettledMean(0.01, 60)(STEADY[:5])
    assert SettledMean(0.01, 60)(STEADY[:10])
    assert not SettledMean(0.01, 60)((2.0, 4.0) * 5)
    assert SettledMean(0.01, -1)((2.0, 4.0) * 5), "the time is up"


@pytest.mark.parametrize(
    ("now", "limit", "told"),
    [
        (1980, 2000, []),
        (1800, 2000, []),
        (1799, 2000, ["below its highest clock (observed 90% (1799 of 2000 MHz), threshold 90%)"]),
        (1400, 2000, ["GPU ran below its highest clock (observed 70% (1400 of 2000 MHz), threshold 90%)"]),
        (306, 1300.5, ["GPU ran far below its highest clock (observed 24% (306 of 1300 MHz), threshold 70%)"]),
        (None, 2000, []),
        (306, None, []),
    ],
)
def test_a_clock_under_load_is_judged_against_the_highest_one(
    now: float | None, limit: float | None, told: list[str]
) -> None:
    found = [str(doubt) for doubt in low_gpu_clock(now, limit)]
    assert len(found) == len(told)
    for text, part in zip(found, told, strict=True):
        assert re.fullmatch(
            r"low_gpu_clock: .+ \(observed .+, threshold .+\); .*nvidia-smi -rgc.*jetson_clocks.*", text
        )
        assert part in text


def test_clocks_that_the_driver_held_back_for_a_moment_only_are_not_doubted() -> None:
    assert list(held_back({}, 10)) == []
    assert list(held_back({"power": 0.1, "thermal": 0.0}, 10)) == []
    found = [str(doubt) for doubt in held_back({"thermal": 0.2, "power": 3.06}, 10)]
    assert [text.split(":")[0] for text in found] == ["throttling", "throttling"]
    assert "power limit, by its driver's count (observed 3.1 s, threshold 1% of 10 s)" in found[0]
    assert "thermal limit" in found[1]
