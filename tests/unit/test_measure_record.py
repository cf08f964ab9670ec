"""From raw samples to rows, without torch: what a run warns of, and what it says where something is unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from groundlake.measure.cut import Subgraph
from groundlake.measure.messages import Measured
from groundlake.measure.plan import Configuration, PlannedRun, SweepSettings
from groundlake.measure.record import Measurement

RUN = PlannedRun(Configuration("toy", "fp32", 1))
SETTINGS = SweepSettings(hardware_id="bench", peaks={"fp32": 1e9}, peak_source="registry", runs=4)
WORK = Subgraph(
    subgraph_id=0, fusion_pattern="Unfused", operation_type="unfused", node_names=("fc",), flops=1000, total_bytes=80
)
REST = replace(WORK, subgraph_id=1, node_names=("flatten",), flops=0)
MEASURED = Measured(
    input_shape=(1, 3),
    subgraphs=(WORK, REST),
    flops_method="fx_chain_v1",
    timing_method="perf_counter",
    subgraph_ms=((2.0, 2.0, 4.0, 4.0), (1.0, 1.0, 1.0, 1.0)),
    pass_ms=(4.0, 4.0, 6.0, 6.0),
    end_to_end_ms=(3.0, 3.0, 3.0, 5.0),
    started_at=datetime(2026, 3, 1, 12, tzinfo=timezone.utc),
    duration_s=1.5,
    software={"torch_version": "2.13.0"},
    system_before={},
    system_under_load={},
    system_after={},
)


def warnings_of(measured: Measured, settings: SweepSettings = SETTINGS) -> list[str]:
    return [warning.split(":")[0] for warning in Measurement.of(RUN, settings, measured).warnings]


def test_efficiency_is_averaged_over_the_samples_and_absent_without_flops() -> None:
    row, frames = Measurement.of(RUN, SETTINGS, MEASURED).to_frames()
    work, rest = frames["subgraph_timings"].to_dicts()
    assert work["achieved_flops"] == pytest.approx((2 * 500e3 + 2 * 250e3) / 4)  # not 1000 / mean time
    assert work["efficiency_mean"] == pytest.approx(375e3 / 1e9)
    assert work["latency_samples_ms"] == [2.0, 2.0, 4.0, 4.0]
    assert rest["efficiency_mean"] is rest["achieved_flops"] is None
    assert (row["total_latency_ms"], row["end_to_end_latency_ms"]) == (4.0, 3.5)
    assert (row["theoretical_peak_flops"], row["theoretical_peak_source"]) == (1e9, "registry")
    assert (row["precision"], row["status"], row["warnings"]) == ("fp32", "ok", None)


def test_without_parts_the_whole_model_is_all_that_is_known() -> None:
    whole = replace(MEASURED, subgraphs=(), subgraph_ms=(), pass_ms=(), timing_method="end_to_end", total_flops=1000)
    row, frames = Measurement.of(RUN, SETTINGS, whole).to_frames()
    assert "subgraph_timings" not in frames
    unknown = ("num_subgraphs", "total_bytes", "total_latency_ms", "total_latency_std_ms", "throughput_fps")
    assert [row[name] for name in unknown] == [None] * 5
    assert (row["total_flops"], row["end_to_end_latency_ms"], row["timed_runs"]) == (1000, 3.5, 4)


def test_a_time_of_zero_gives_no_efficiency_instead_of_an_infinite_one() -> None:
    measured = replace(MEASURED, subgraph_ms=((0.0, 2.0, 2.0, 2.0), (1.0,) * 4))
    _, frames = Measurement.of(RUN, SETTINGS, measured).to_frames()
    work = frames["subgraph_timings"].to_dicts()[0]
    assert work["efficiency_mean"] is work["achieved_flops"] is None


def test_steady_samples_raise_no_doubt() -> None:
    assert warnings_of(MEASURED) == []


def test_a_subgraph_that_scatters_is_named() -> None:
    measured = replace(MEASURED, subgraph_ms=((0.1, 0.1, 0.1, 9.0), (1.0,) * 4))
    assert warnings_of(measured) == ["high_variance"]


def test_a_subgraph_that_scatters_and_hardly_counts_is_not_named() -> None:
    measured = replace(MEASURED, subgraph_ms=((0.001, 0.001, 0.001, 0.09), (100.0,) * 4))
    assert warnings_of(measured) == []


def test_a_slow_first_pass_is_named() -> None:
    assert warnings_of(replace(MEASURED, end_to_end_ms=(30.0, 3.0, 3.0, 3.0))) == ["slow_first_pass"]
    assert warnings_of(replace(MEASURED, pass_ms=(30.0, 4.0, 4.0, 4.0))) == ["slow_first_pass"]


def test_more_than_the_peak_is_named_and_kept() -> None:
    settings = replace(SETTINGS, peaks={"fp32": 1e3})
    assert warnings_of(MEASURED, settings) == ["efficiency_above_one"]
    _, frames = Measurement.of(RUN, settings, MEASURED).to_frames()
    assert frames["subgraph_timings"]["efficiency_mean"][0] == pytest.approx(375.0)
