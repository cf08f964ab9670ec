"""Any record survives the ways to JSON and to the lake's frames and back, every float bit for bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from groundlake.ground_truth import (
    EfficiencyStats,
    LatencyStats,
    MeasurementRecord,
    ModelSummary,
    SubgraphMeasurement,
    SystemState,
)
from groundlake.ground_truth.columns import from_frame, to_frame
from groundlake.ground_truth.reading import check_measurement, parse_json
from groundlake.schemas import Runs

FIRST, LAST = datetime.fromisoformat("0002-01-01"), datetime.fromisoformat("9998-12-31")
# Four of them, squared, and four counts must add up to what a float64 and an int64 hold: beyond, a file is refused.
NUMBERS = st.floats(min_value=0, max_value=1e150, allow_subnormal=True)
SUMMED_COUNTS = st.integers(min_value=0, max_value=2**61 - 1)
COUNTS = st.integers(min_value=0, max_value=2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)


def statistics(kind, samples):
    numbers = dict.fromkeys(("mean", "std", "min", "max", "ci_lower", "ci_upper"), NUMBERS)
    return st.builds(kind, **numbers, samples=samples)


NOT_APPLICABLE = st.just(EfficiencyStats(mean=0.0, std=0.0, min=0.0, max=0.0, ci_lower=0.0, ci_upper=0.0, samples=0))
SUBGRAPHS = st.builds(
    SubgraphMeasurement,
    subgraph_id=st.just(0),
    fusion_pattern=TEXTS,
    operation_type=TEXTS,
    flops=SUMMED_COUNTS,
    total_bytes=SUMMED_COUNTS,
    arithmetic_intensity=NUMBERS,
    theoretical_peak_flops=NUMBERS,
    measured_latency=statistics(LatencyStats, st.integers(1, 10**6)),
    achieved_flops=NUMBERS | st.just(0.0),
    efficiency=statistics(EfficiencyStats, st.integers(1, 10**6)) | NOT_APPLICABLE,
    node_names=st.lists(TEXTS, max_size=3),
    source_model=TEXTS,
)
SUMMARIES = st.builds(
    ModelSummary,
    total_flops=COUNTS,
    total_bytes=COUNTS,
    total_latency_ms=NUMBERS,
    total_latency_std_ms=NUMBERS,
    num_subgraphs=COUNTS,
    throughput_fps=NUMBERS,
)
STATES = st.builds(
    SystemState, gpu_clock_mhz=st.none() | COUNTS, temperature_c=st.none() | NUMBERS, power_mode=st.none() | TEXTS
)
RECORDS = st.builds(
    MeasurementRecord,
    model=TEXTS,
    hardware_id=TEXTS,
    device=st.sampled_from(["cpu", "cuda"]),
    precision=st.sampled_from(["FP32", "bf16"]),
    theoretical_peak_flops=NUMBERS,
    subgraphs=st.lists(SUBGRAPHS, min_size=1, max_size=4).map(
        lambda rows: [replace(row, subgraph_id=index) for index, row in enumerate(rows)]
    ),
    batch_size=st.integers(1, 1024),
    measurement_date=st.datetimes(FIRST, LAST).map(lambda moment: moment.isoformat()),
    input_shape=st.none() | st.lists(st.integers(0, 1000), max_size=4),
    model_summary=SUMMARIES,
    system_state=st.none() | STATES,
    run_index=st.none() | COUNTS,
)


@settings(max_examples=60, deadline=None)
@given(record=RECORDS)
def test_json_gives_back_the_same_record(record: MeasurementRecord):
    text = json.dumps(record.to_dict(), allow_nan=False).encode()
    data, problem = parse_json(text)
    assert problem is None
    assert MeasurementRecord.from_dict(data) == record


@settings(max_examples=60, deadline=None)
@given(record=RECORDS)
def test_the_frames_of_the_lake_give_back_the_same_record(record: MeasurementRecord):
    run, frames = record.to_frames()
    row = {**dict.fromkeys(Runs.polars_schema()), "run_id": None, **run}
    assert MeasurementRecord.from_run(row, frames["subgraph_timings"]) == record


@settings(max_examples=60, deadline=None)
@given(record=RECORDS)
def test_checked_columns_survive_the_frame(record: MeasurementRecord):
    checked, _ = check_measurement(record.to_dict())
    assert checked is not None
    back = from_frame(to_frame(checked.subgraphs), record.model)
    assert back.keys() == checked.subgraphs.keys()
    assert back == checked.subgraphs


@settings(max_examples=60, deadline=None)
@given(
    value=st.one_of(
        st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.integers(), st.lists(st.integers(), max_size=2)
    ),
    key=st.sampled_from(["flops", "arithmetic_intensity", "fusion_pattern", "node_names", "measured_latency"]),
)
def test_any_value_is_taken_as_it_is_or_refused_at_its_key(value: object, key: str):
    latency = LatencyStats(mean=1.0, std=0.0, min=1.0, max=1.0, ci_lower=1.0, ci_upper=1.0, samples=1)
    share = EfficiencyStats(mean=0.0, std=0.0, min=0.0, max=0.0, ci_lower=0.0, ci_upper=0.0, samples=0)
    good = SubgraphMeasurement(
        subgraph_id=0, fusion_pattern="x", operation_type="x", flops=0, total_bytes=0, arithmetic_intensity=0.0,
        theoretical_peak_flops=0.0, measured_latency=latency, achieved_flops=0.0, efficiency=share, node_names=[],
        source_model="x",
    )  # fmt: skip
    record = MeasurementRecord(
        model="x", hardware_id="x", device="cpu", precision="FP32", theoretical_peak_flops=0.0, subgraphs=[good],
        batch_size=1,
    )  # fmt: skip
    data = record.to_dict()
    data["subgraphs"][0][key] = value
    checked, problems = check_measurement(data)
    if checked is None:
        assert all(problem.where.startswith(f"subgraphs[0].{key}") for problem in problems)
        assert problems
    else:
        # JSON numbers are float64 where a float belongs, however many digits they are written with.
        assert checked.subgraphs[key] == [float(value) if key == "arithmetic_intensity" else value]
        assert not isinstance(value, bool)
        assert not isinstance(value, float) or math.isfinite(value)


@settings(max_examples=200, deadline=None)
@given(value=st.floats(allow_nan=False, allow_infinity=False), digits=st.integers(0, 40))
def test_a_number_is_read_as_the_nearest_double_however_it_is_spelled(value: float, digits: int):
    for text in (repr(value), f"{value:.{digits}e}", f"{value:.{digits}f}"):
        assert parse_json(f"[{text}]".encode()) == ([float(text)], None)
