"""Measurement records: strict reading, exact writing, and the way into the contracts."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from groundlake.errors import LakeError
from groundlake.ground_truth import (
    EfficiencyStats,
    LatencyStats,
    MeasurementRecord,
    ModelSummary,
    SubgraphMeasurement,
    SystemState,
)
from groundlake.ground_truth.reading import check_measurement, parse_json

if TYPE_CHECKING:
    from pathlib import Path


def statistics(mean: float, samples: int = 50) -> dict[str, Any]:
    return {
        "mean": mean,
        "std": mean / 10,
        "min": mean * 0.9,
        "max": mean * 1.2,
        "ci_lower": mean * 0.99,
        "ci_upper": mean * 1.01,
        "samples": samples,
    }


def subgraph(index: int, flops: int, mean: float) -> dict[str, Any]:
    nothing = dict.fromkeys(statistics(1.0), 0)
    return {
        "subgraph_id": index,
        "fusion_pattern": "Unfused" if flops == 0 else "Conv2d_ReLU",
        "operation_type": "unfused" if flops == 0 else "conv2d",
        "flops": flops,
        "total_bytes": 1000,
        "arithmetic_intensity": flops / 1000,
        "theoretical_peak_flops": 1e12,
        "measured_latency": statistics(mean),
        "achieved_flops": flops / (mean / 1000) if flops else 0,
        "efficiency": statistics(0.25) if flops else nothing,
        "node_names": ["conv", "relu"],
        "source_model": "resnet18",
    }


@pytest.fixture
def content() -> dict[str, Any]:
    """The JSON of a measurement of schema 1.0, with a zero-FLOP subgraph."""
    return {
        "schema_version": "1.0",
        "measurement_type": "efficiency",
        "model": "resnet18",
        "hardware_id": "agx",
        "device": "cuda",
        "precision": "FP32",
        "thermal_profile": "MAXN",
        "theoretical_peak_flops": 1e12,
        "measurement_date": "2026-02-05T23:17:24.770788",
        "tool_version": "measure_efficiency.py v1.0",
        "subgraphs": [subgraph(0, 3000, 0.5), subgraph(1, 0, 0.25)],
    }


def put(content: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Set the value at a path such as `subgraphs.0.flops` in a copy; `...` removes the key."""
    changed = copy.deepcopy(content)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    target: Any = changed
    for step in steps:
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return changed


def test_version_1_gets_batch_1_a_computed_summary_and_no_system_state(content):
    record = MeasurementRecord.from_dict(content)
    assert (record.schema_version, record.batch_size, record.system_state) == ("1.0", 1, None)
    assert record.model_summary == ModelSummary(
        total_flops=3000,
        total_bytes=2000,
        total_latency_ms=0.75,
        total_latency_std_ms=(0.05**2 + 0.025**2) ** 0.5,
        num_subgraphs=2,
        throughput_fps=1 / 0.00075,
    )


def test_version_2_comes_back_as_it_was_written(content, tmp_path: Path):
    full = MeasurementRecord.from_dict(
        content
        | {
            "schema_version": "2.0",
            "batch_size": 4,
            "input_shape": [4, 3, 224, 224],
            "system_state": {"gpu_clock_mhz": 1300, "temperature_c": 51, "power_mode": "MAXN"},
            "run_id": "abc",
            "run_index": 2,
        }
    )
    assert full.system_state == SystemState(gpu_clock_mhz=1300, temperature_c=51.0, power_mode="MAXN")
    path = full.save(tmp_path / "new" / "resnet18_b4.json")
    assert MeasurementRecord.load(path) == full
    assert MeasurementRecord.from_dict(json.loads(path.read_text())) == full
    assert list(path.parent.iterdir()) == [path]


def test_load_takes_the_batch_from_the_file_name(content, tmp_path: Path):
    path = tmp_path / "resnet18_b16.json"
    path.write_text(json.dumps(content))
    assert MeasurementRecord.load(path).batch_size == 16


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("model", ..., "model: the key is missing"),
        ("batch_size", True, "batch_size: True"),
        ("batch_size", 0, "batch_size: 0"),
        ("schema_version", "3.0", "schema_version: '3.0'"),
        ("schema_version", 2.0, "schema_version: 2.0"),
        ("measurement_date", "yesterday", "measurement_date: 'yesterday'"),
        ("measurement_type", "power", "measurement_type: 'power'"),
        ("subgraphs", [], "subgraphs: the list is empty"),
        ("subgraphs", {}, "subgraphs: {}"),
        ("subgraphs.1", "x", r"subgraphs\[1\]: 'x'"),
        ("subgraphs.1.flops", 1.5, r"subgraphs\[1\].flops: 1.5 where an integer belongs"),
        ("subgraphs.1.flops", True, r"subgraphs\[1\].flops: True where an integer belongs"),
        ("subgraphs.1.flops", 2**63, r"subgraphs\[1\].flops: a huge integer does not fit"),
        ("subgraphs.0.total_bytes", -1, r"subgraphs\[0\].total_bytes: -1 is negative"),
        ("subgraphs.0.measured_latency.mean", "0.5", r"subgraphs\[0\].measured_latency.mean: '0.5' where a number"),
        ("subgraphs.0.measured_latency.mean", -0.5, r"subgraphs\[0\].measured_latency.mean: -0.5 is negative"),
        ("subgraphs.0.measured_latency.max", float("inf"), r"subgraphs\[0\].measured_latency.max: inf is not a finite"),
        ("subgraphs.0.measured_latency.max", 10**400, r"subgraphs\[0\].measured_latency.max: a huge integer is not"),
        ("subgraphs.0.measured_latency.std", ..., r"subgraphs\[0\].measured_latency.std: the key is missing"),
        ("subgraphs.0.measured_latency", ..., r"subgraphs\[0\].measured_latency: the key is missing"),
        ("subgraphs.0.efficiency", None, r"subgraphs\[0\].efficiency: None where an object belongs"),
        ("subgraphs.0.node_names", ["a", 1], r"subgraphs\[0\].node_names: \['a', 1\]"),
        ("subgraphs.0.source_model", "\ud800", r"subgraphs\[0\].source_model: the text is not valid Unicode"),
        ("subgraphs.1.subgraph_id", 0, "subgraphs: a subgraph_id occurs twice"),
        ("model_summary", {"total_flops": 1}, "model_summary.total_bytes: the key is missing"),
        ("system_state", [], r"system_state: \[\] where an object belongs"),
        ("input_shape", [1, "3"], "input_shape"),
    ],
)
def test_a_bad_value_is_refused_with_the_path_of_its_key(content, path: str, value: object, where: str):
    with pytest.raises(LakeError, match=where):
        MeasurementRecord.from_dict(put(content, path, value))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "truncated_json"),
        (b'{"a": [1, 2', "truncated_json"),
        (b'{"a": "b', "truncated_json"),
        (b'{"a": tru', "truncated_json"),
        (b'{"a": "\xc3', "truncated_json"),
        (b"hello", "not_json"),
        (b'{"a": "\xff"}', "not_json"),
        (b"\x89PNG\r\n\x1a\n", "not_json"),
        (b'{"a" 1}', "not_json"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": [-Infinity]}', "not_finite"),
        (b"[" * 200_000 + b"]" * 200_000, "nested_too_deeply"),
        (b"9" * 5000, "not_json"),
    ],
)
def test_text_that_is_no_json_is_told_apart(text: bytes, code: str):
    value, problem = parse_json(text)
    assert value is None
    assert problem is not None
    assert problem.code == code


def test_a_nan_literal_is_refused_and_its_key_named(content):
    text = json.dumps(put(content, "subgraphs.1.measured_latency.std", float("nan")))
    _, problem = parse_json(text.encode())
    assert str(problem) == "subgraphs[1].measured_latency.std: the literal NaN is no measurement"


def test_unknown_keys_are_left_out_and_reported(content):
    changed = put(put(content, "operator", "me"), "subgraphs.1.measured_latency.p99", 1.0)
    checked, _ = check_measurement(changed)
    assert checked is not None
    assert checked.unknown == ("operator", "subgraphs[].measured_latency.p99")
    assert MeasurementRecord.from_dict(changed) == MeasurementRecord.from_dict(content)


def test_subgraphs_out_of_order_are_the_same_measurement(content):
    turned = content | {"subgraphs": content["subgraphs"][::-1]}
    assert MeasurementRecord.from_dict(turned) == MeasurementRecord.from_dict(content)


def test_not_applicable_efficiency_is_null_in_the_lake_and_zero_in_the_record(content):
    record = MeasurementRecord.from_dict(content)
    run, frames = record.to_frames()
    timings = frames["subgraph_timings"]
    nulls = [name for name in timings.columns if timings[name][1] is None]
    assert [name for name in nulls if not name.startswith("efficiency_")] == ["achieved_flops"]
    assert len(nulls) == 8
    assert timings.row(0, named=True)["achieved_flops"] == 3000 / (0.5 / 1000)
    assert (run["precision"], run["timing_method"], run["started_at_zone_source"]) == (
        "fp32",
        "node_sync",
        "assumed_utc",
    )


def test_zero_efficiency_with_samples_stays_zero(content):
    zeros = statistics(0.0)
    record = MeasurementRecord.from_dict(put(content, "subgraphs.1.efficiency", zeros))
    timings = record.to_frames()[1]["subgraph_timings"]
    assert timings["efficiency_mean"].to_list() == [0.25, 0.0]
    assert timings["achieved_flops"][1] == 0.0


def test_ones_own_measurement_can_be_built_in_a_few_lines():
    latency = LatencyStats(mean=2.0, std=0.0, min=2.0, max=2.0, ci_lower=2.0, ci_upper=2.0, samples=1)
    share = EfficiencyStats(mean=0.1, std=0.0, min=0.1, max=0.1, ci_lower=0.1, ci_upper=0.1, samples=1)
    record = MeasurementRecord(
        model="mine",
        hardware_id="desk",
        device="cpu",
        precision="bf16",
        theoretical_peak_flops=1e12,
        batch_size=8,
        subgraphs=[
            SubgraphMeasurement(
                subgraph_id=0,
                fusion_pattern="Linear",
                operation_type="matmul",
                flops=2_000_000,
                total_bytes=10,
                arithmetic_intensity=200_000.0,
                theoretical_peak_flops=1e12,
                measured_latency=latency,
                achieved_flops=1e9,
                efficiency=share,
                node_names=["fc"],
                source_model="mine",
            )
        ],
    )
    assert record.precision == "BF16"
    assert record.model_summary.throughput_fps == 8 / 0.002
    run, _ = record.to_frames()
    assert (run["started_at_zone_source"], run["source_measurement_date"]) == ("clock", None)
    assert record.tool_version.startswith("groundlake ")


def test_a_summary_without_latency_has_no_throughput():
    assert ModelSummary.of([], 4).throughput_fps == 0.0


def test_rows_of_a_lake_become_the_record_again(content, lake_root: Path):
    from groundlake.store import Lake

    record = MeasurementRecord.from_dict(content | {"system_state": {"cpu_governor": "performance"}})
    lake = Lake(lake_root)
    run_id = lake.write_record(record)
    run = lake.runs("agx").row(by_predicate=pl.col("run_id") == run_id, named=True)
    back = MeasurementRecord.from_run(run, lake.frame("subgraph_timings", hardware_id="agx", run_id=run_id))
    assert back == MeasurementRecord.from_dict(record.to_dict() | {"run_id": run_id})
