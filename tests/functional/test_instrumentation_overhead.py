"""What timing the subgraphs costs: the view over runs whose answers can be worked out by hand."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

RUN = {
    "hardware_id": "dev",
    "precision": "fp32",
    "model": "net",
    "batch": 1,
    "timing_method": "perf_counter",
    "flops_method": "fx_chain_v1",
    "total_latency_ms": 12.0,
    "total_latency_std_ms": 0.3,
    "end_to_end_latency_ms": 10.0,
    "end_to_end_latency_std_ms": 0.4,
    "num_subgraphs": 40,
}
FIGURES = "overhead_ms, overhead_ratio, overhead_per_subgraph_us, spread_ms, verdict, reason"


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def test_the_overhead_is_the_difference_the_ratio_and_the_share_of_each_subgraph(lake: Lake) -> None:
    lake.write(RUN)
    ((*figures, verdict, reason),) = lake.sql(f"select {FIGURES} from instrumentation_overhead").rows()
    assert figures == pytest.approx([2.0, 1.2, 50.0, 0.5])
    assert (verdict, reason) == ("longer", None)


def test_the_methods_and_both_times_stand_beside_the_figures(lake: Lake) -> None:
    run_id = lake.write(RUN)
    shown = (
        "run_id, timing_method, flops_method, num_subgraphs, total_latency_ms, end_to_end_latency_ms "
        "from instrumentation_overhead"
    )
    assert lake.sql(f"select {shown}").rows() == [(run_id, "perf_counter", "fx_chain_v1", 40, 12.0, 10.0)]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"total_latency_ms": 10.4}, "within_spread"),
        ({"total_latency_ms": 9.6}, "within_spread"),
        ({"total_latency_ms": 9.0}, "shorter"),
        ({"total_latency_ms": 10.6}, "longer"),
        ({"total_latency_ms": 10.1, "end_to_end_latency_std_ms": None}, "longer"),
    ],
)
def test_a_difference_below_the_spread_of_a_pass_says_nothing(
    changes: dict[str, object], verdict: str, lake: Lake
) -> None:
    lake.write(RUN | changes)
    assert lake.sql("select verdict from instrumentation_overhead").rows() == [(verdict,)]


@pytest.mark.parametrize(
    ("absent", "reason"),
    [
        (("end_to_end_latency_ms", "end_to_end_latency_std_ms"), "the whole model was not timed"),
        (("total_latency_ms", "total_latency_std_ms"), "the subgraphs were not timed"),
        (("total_latency_ms", "end_to_end_latency_ms", "end_to_end_latency_std_ms"), "nothing was timed"),
    ],
)
def test_what_was_not_timed_has_no_overhead_and_the_reason(absent: tuple[str, ...], reason: str, lake: Lake) -> None:
    lake.write(RUN | dict.fromkeys(absent))
    ((*figures, verdict, told),) = lake.sql(f"select {FIGURES} from instrumentation_overhead").rows()
    assert figures[:3] == [None] * 3
    assert (verdict, told) == ("not_timed", reason)


def test_times_and_numbers_of_zero_divide_nothing(lake: Lake) -> None:
    lake.write(RUN | {"end_to_end_latency_ms": 0.0, "num_subgraphs": 0})
    assert lake.sql(f"select {FIGURES} from instrumentation_overhead").rows()[0][:3] == (12.0, None, None)


def test_only_the_latest_good_run_of_a_configuration_counts(lake: Lake) -> None:
    for day, total_ms in ((2, 13.0), (1, 99.0)):
        when = dt.datetime(2026, 1, day, tzinfo=dt.timezone.utc)
        lake.write(RUN | {"started_at": when, "started_at_zone_source": "clock", "total_latency_ms": total_ms})
    lake.write(RUN | {"batch": 4, "status": "failed", "error": "no memory"})
    assert lake.sql("select batch, overhead_ms from instrumentation_overhead").rows() == [(1, 3.0)]
