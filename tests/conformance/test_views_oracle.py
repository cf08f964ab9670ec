"""The views over the real measurements, against figures computed from the JSON files without the lake."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from groundlake.ground_truth import MeasurementRecord
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REL = 1e-12
SUMS = 1e-9  # sums over thousands of rows, added in another order
Key = tuple[str, str, str, int]


@pytest.fixture(scope="module")
def files(v1_data: Path) -> dict[Key, dict[str, Any]]:
    """Every canonical measurement as plain JSON, by configuration."""
    found = {}
    for path in sorted((v1_data / "calibration_data").glob("*/measurements/*/*_b*.json")):
        data = json.loads(path.read_text())
        if data["schema_version"] == "2.0":
            found[data["hardware_id"], data["precision"].lower(), data["model"], data["batch_size"]] = data
    assert found
    return found


@pytest.fixture(scope="module")
def lake(files: dict[Key, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake of the same measurements."""
    lake = Lake(tmp_path_factory.mktemp("oracle") / "lake")
    lake.write_many(MeasurementRecord.from_dict(data) for data in files.values())
    return lake


def by_key(lake: Lake, query: str) -> dict[Key, tuple[Any, ...]]:
    rows = lake.sql(query).rows()
    found = {row[:4]: row[4:] for row in rows}
    assert len(found) == len(rows)
    return found


def subgraphs(files: dict[Key, dict[str, Any]]) -> Iterable[tuple[Key, dict[str, Any]]]:
    return ((key, subgraph) for key, data in files.items() for subgraph in data["subgraphs"])


def test_model_summary_equals_the_summary_in_every_file(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    rows = by_key(
        lake,
        "select hardware_id, precision, model, batch, total_latency_ms, total_latency_std_ms, throughput_fps, "
        "total_flops, total_bytes, num_subgraphs, end_to_end_latency_ms from model_summary",
    )
    assert rows.keys() == files.keys()
    names = (
        "total_latency_ms",
        "total_latency_std_ms",
        "throughput_fps",
        "total_flops",
        "total_bytes",
        "num_subgraphs",
    )
    for key, row in rows.items():
        assert row[:-1] == pytest.approx([files[key]["model_summary"][name] for name in names], rel=REL)
        assert row[-1] is None  # never timed end to end, and never made up


def test_whole_model_efficiency_is_work_over_time_over_peak(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    rows = by_key(lake, "select hardware_id, precision, model, batch, efficiency from run_summary")
    assert rows["jetson_orin_agx_maxn", "fp32", "resnet18", 1][0] == pytest.approx(0.0886, abs=5e-5)
    for key, (efficiency,) in rows.items():
        summary = files[key]["model_summary"]
        seconds = summary["total_latency_ms"] / 1000
        assert efficiency == pytest.approx(
            summary["total_flops"] / seconds / files[key]["theoretical_peak_flops"], rel=REL
        )


def test_efficiency_leaves_out_rows_where_it_does_not_apply(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    (mean,) = lake.sql(
        "select avg(efficiency_mean) from subgraph_timings "
        "where hardware_id = 'jetson_orin_agx_maxn' and precision = 'fp32' and model = 'resnet18' and flops > 0"
    ).rows()[0]
    assert mean == pytest.approx(0.0704, abs=5e-5)
    (unfused,) = lake.sql(
        "select num_subgraphs, num_subgraphs_with_flops, efficiency_mean from efficiency_by_operation "
        "where hardware_id = 'jetson_orin_agx_maxn' and precision = 'fp32' and operation_type = 'unfused'"
    ).rows()
    assert unfused == (1562, 341, pytest.approx(0.012245, abs=5e-7))


def test_efficiency_by_operation_equals_a_plain_computation(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    groups: dict[tuple[str, str, str], list[tuple[dict[str, Any], float]]] = defaultdict(list)
    for key, subgraph in subgraphs(files):
        groups[key[0], key[1], subgraph["operation_type"]].append((subgraph, files[key]["theoretical_peak_flops"]))
    device_ms: dict[tuple[str, str], float] = defaultdict(float)
    for key, subgraph in subgraphs(files):
        device_ms[key[:2]] += subgraph["measured_latency"]["mean"]
    rows = lake.sql(
        "select hardware_id, precision, operation_type, num_subgraphs, latency_ms, latency_share, flops, efficiency, "
        "efficiency_mean from efficiency_by_operation"
    ).rows()
    assert {row[:3] for row in rows} == groups.keys()
    assert len(rows) == len(groups)
    for row in rows:
        members = groups[row[:3]]
        latency = sum(item["measured_latency"]["mean"] for item, _ in members)
        at_peak = sum(item["measured_latency"]["mean"] / 1000 * peak for item, peak in members)
        work = sum(item["flops"] for item, _ in members)
        applying = [item["efficiency"]["mean"] for item, _ in members if item["flops"] > 0]
        share = latency / device_ms[row[:2]]
        expected = (len(members), latency, share, work, work / at_peak, sum(applying) / len(applying))
        assert row[3:] == pytest.approx(expected, rel=SUMS)


def test_noisy_subgraphs_are_exactly_those_beyond_the_thresholds(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    expected = set()
    for key, subgraph in subgraphs(files):
        latency = subgraph["measured_latency"]
        if latency["mean"] and (latency["std"] / latency["mean"] > 0.1 or latency["max"] / latency["mean"] > 10):
            expected.add((*key, subgraph["subgraph_id"]))
    rows = lake.sql("select hardware_id, precision, model, batch, subgraph_id from noisy_subgraphs").rows()
    assert len(rows) == len(expected)
    assert set(rows) == expected


def test_lower_precision_is_slower_on_every_cpu(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    rows = lake.sql(
        "select hardware_id, precision, model, batch, speedup, timing_method, verdict from precision_speedup"
    ).rows()
    expected = {key for key in files if key[1] != "fp32" and (key[0], "fp32", *key[2:]) in files}
    assert {row[:4] for row in rows} == expected
    assert {row[6] for row in rows} == {"comparable"}
    for row in rows:
        low, base = (files[(row[0], precision, *row[2:4])]["model_summary"] for precision in (row[1], "fp32"))
        assert row[4] == pytest.approx(base["total_latency_ms"] / low["total_latency_ms"], rel=REL)
    on_cpu = [row[4] for row in rows if row[5] == "perf_counter"]
    assert on_cpu
    assert max(on_cpu) < 1 / 3.6


def test_batch_scaling_equals_a_plain_computation(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    sizes: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for key in files:
        sizes[key[:3]].append(key[3])
    rows = by_key(
        lake,
        "select hardware_id, precision, model, batch, latency_per_input_ms, throughput_speedup from batch_scaling",
    )
    assert rows.keys() == {(*key, batch) for key, found in sizes.items() if len(found) > 1 for batch in found}
    for key, row in rows.items():
        per_input = {
            batch: files[(*key[:3], batch)]["model_summary"]["total_latency_ms"] / batch for batch in sizes[key[:3]]
        }
        assert row == pytest.approx((per_input[key[3]], per_input[min(per_input)] / per_input[key[3]]), rel=REL)


def test_data_quality_finds_what_is_odd_in_the_real_files(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    found: dict[str, set[Key]] = defaultdict(set)
    for key, subgraph in subgraphs(files):
        if subgraph["efficiency"]["mean"] > 1:
            found["efficiency_above_1"].add(key)
        if subgraph["total_bytes"] == 0:
            found["zero_bytes"].add(key)
        if subgraph["measured_latency"]["samples"] < 30:
            found["few_samples"].add(key)
    for finding in ("efficiency_above_1", "zero_bytes", "few_samples"):
        rows = by_key(
            lake, f"select hardware_id, precision, model, batch from data_quality where finding = '{finding}'"
        )
        assert rows.keys() == found[finding], finding
    for finding in ("assumed_utc", "no_end_to_end"):
        assert lake.sql(f"select count(*) from data_quality where finding = '{finding}'").rows() == [(len(files),)]
    for finding in ("rows_missing", "summary_differs", "no_peak"):
        assert lake.sql(f"select count(*) from data_quality where finding = '{finding}'").rows() == [(0,)], finding
    largest = lake.sql("select max(value) from data_quality where finding = 'efficiency_above_1'").rows()[0][0]
    assert largest == max(subgraph["efficiency"]["mean"] for _, subgraph in subgraphs(files))


def test_peaks_recorded_for_all_precisions_alike_are_found(lake: Lake) -> None:
    rows = lake.sql(
        "select hardware_id, precision, value from data_quality where finding = 'peak_shared_by_precisions'"
    ).rows()
    assert ("jetson_orin_agx_maxn", "fp16", 2662.4e9) in rows
    assert not [row for row in rows if row[0].startswith("jetson_orin_maxn")]


def test_every_measured_configuration_is_covered(lake: Lake, files: dict[Key, dict[str, Any]]) -> None:
    rows = by_key(lake, "select hardware_id, precision, model, batch, state, ok_runs, failed_runs from coverage")
    assert rows == dict.fromkeys(files, ("measured", 1, 0))
    gaps = lake.sql("select hardware_id, precision, model, batch from coverage_gaps").rows()
    assert not set(gaps) & files.keys()
    kinds = {key[0]: data["device"] for key, data in files.items()}
    wanted = {(hardware_id, *key[1:]) for hardware_id, kind in kinds.items() for key in files if kinds[key[0]] == kind}
    assert set(gaps) == wanted - files.keys()
