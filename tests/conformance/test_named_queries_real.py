"""Named queries over the real measurements, against figures computed from the JSON files and against the reference."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from groundlake.ground_truth import MeasurementRecord
from groundlake.hardware import register_known
from groundlake.importers import migrate_v1
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

SUMS = 1e-9  # sums over many rows, added in another order


@pytest.fixture(scope="module")
def lake(v1_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with the whole archive and the specifications that groundlake knows."""
    lake = Lake(tmp_path_factory.mktemp("named") / "lake")
    migrate_v1(lake, [v1_data / "calibration_data", v1_data / "measurements"])
    register_known(lake)
    return lake


def canonical(v1_data: Path, hardware_id: str, precision: str, name: str) -> dict[str, Any]:
    path = v1_data / "calibration_data" / hardware_id / "measurements" / precision / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_no_model_spends_more_without_flops_than_maxvit_in_fp16(lake: Lake, v1_data: Path) -> None:
    rows = lake.sql(
        "select hardware_id, precision, model, batch, zero_flop_share, num_zero_flop, num_subgraphs "
        "from zero_flop_overhead order by zero_flop_share desc"
    ).rows()
    subgraphs = canonical(v1_data, "jetson_orin_agx_maxn", "fp16", "maxvit_t_b1")["subgraphs"]
    means = [(part["flops"], part["measured_latency"]["mean"]) for part in subgraphs]
    share = sum(mean for flops, mean in means if flops == 0) / sum(mean for _, mean in means)
    assert share == pytest.approx(0.413, abs=5e-4)
    assert rows[0][:5] == ("jetson_orin_agx_maxn", "fp16", "maxvit_t", 1, pytest.approx(share, rel=SUMS))
    assert (len(rows), sum(row[5] for row in rows), sum(row[6] for row in rows)) == (171, 6898, 18667)


def test_fp16_is_slower_on_the_cpu_in_every_pair_and_on_the_gpu_in_some(lake: Lake) -> None:
    frame = lake.query("slower_in_lower_precision").pl()
    rows = {row["hardware_id"]: row for row in frame.iter_rows(named=True) if row["precision"] == "fp16"}
    on_cpu = rows["i7_12700K"]
    assert (on_cpu["num_pairs"], on_cpu["num_slower"], on_cpu["num_not_comparable"]) == (6, 6, 0)
    assert on_cpu["smallest_slowdown"] > 3.6
    assert (on_cpu["worst_model"], round(on_cpu["largest_slowdown"])) == ("vgg16", 152)
    assert (rows["jetson_orin_maxn"]["num_slower"], rows["jetson_orin_maxn"]["num_pairs"]) == (9, 30)


def test_the_two_ids_of_one_board_agree_in_the_median_and_not_in_each_model(lake: Lake) -> None:
    frame = lake.sql(
        "select hardware_id, other_hardware_id, verdict, same_work, latency_ratio from alias_agreement"
    ).pl()
    assert frame.height == 30  # 10 models in 3 precisions
    assert frame.drop("latency_ratio").unique().rows() == [
        ("jetson_orin_agx_maxn", "jetson_orin_maxn", "comparable", True)
    ]
    ratios = frame["latency_ratio"]
    assert ratios.median() == pytest.approx(1.0, abs=0.01)
    assert 0.61 < float(str(ratios.min())) < 0.87
    assert 1.10 < float(str(ratios.max())) < 1.36


def test_the_peaks_recorded_for_one_board_contradict_each_other(lake: Lake) -> None:
    rows = lake.sql(
        "select precision, recorded_peak_flops, consistent, hardware_ids from peak_consistency "
        "where machine = 'jetson_orin_agx_maxn' order by precision, recorded_peak_flops"
    ).rows()
    agx, plain = ["jetson_orin_agx_maxn"], ["jetson_orin_maxn"]
    assert rows == [
        ("bf16", 2662.4e9, False, agx),
        ("bf16", 31948.8e9, False, plain),
        ("fp16", 2662.4e9, False, agx),
        ("fp16", 15974.4e9, False, plain),
        ("fp32", 2662.4e9, True, agx + plain),
    ]
    at_maxn = lake.sql(
        "select recorded_to_physical from physical_peaks where hardware_id = 'jetson_orin_maxn' and precision = 'fp32'"
    ).rows()
    assert at_maxn == [(pytest.approx(0.5, abs=0.01),)]  # half of what the CUDA cores can do


def test_the_noisiest_subgraph_is_the_first_call_in_resnet50(lake: Lake) -> None:
    frame = lake.query("scattered", cv=3.4).pl()
    keys = ("hardware_id", "precision", "model", "batch")
    (row,) = (row for row in frame.sort("largest_cv").tail(1).iter_rows(named=True))
    assert [row[key] for key in keys] == ["jetson_orin_agx_maxn", "fp32", "resnet50", 1]
    assert (row["worst_subgraph_id"], round(row["largest_cv"], 2)) == (27, 3.47)


def test_the_knee_of_resnet18_on_the_gpu_is_its_largest_batch(lake: Lake) -> None:
    frame = lake.query("batch_knee").pl()
    assert frame.height == 30  # 10 models in 3 precisions, on the only id with several batch sizes
    rows = {(row["model"], row["precision"]): row for row in frame.iter_rows(named=True)}
    row = rows["resnet18", "fp32"]
    assert (row["knee_batch"], row["num_batches"], row["may_grow"]) == (64, 4, True)
    assert row["knee_throughput_fps"] == pytest.approx(1139.1240442345456, rel=1e-12)


def test_every_run_names_its_files_and_their_hashes(lake: Lake, v1_data: Path) -> None:
    rows = lake.sql("select run_id, num_files, file, sha256, layout from provenance").rows()
    assert (len(rows), len({row[0] for row in rows}), {row[1] for row in rows}) == (342, 171, {2})
    assert {layout for *_, layout in rows} == {"canonical", "legacy", "toplevel"}
    for _, _, file, digest, _ in rows[::20]:
        (found,) = [path for path in (v1_data / file, v1_data / "calibration_data" / file) if path.is_file()]
        assert hashlib.sha256(found.read_bytes()).hexdigest() == digest


def test_what_failed_in_the_sweep_are_three_models(lake: Lake) -> None:
    rows = lake.sql("select hardware_id, num_runs, num_configurations, num_measured, models from failed_runs").rows()
    assert rows == [("jetson_orin_maxn", 30, 30, 0, ["densenet121", "shufflenet_v2_x1_0", "squeezenet1_0"])]


def test_a_cpu_and_a_gpu_have_no_ratio_for_they_were_timed_differently(lake: Lake) -> None:
    rows = lake.sql("select distinct verdict, reason, gpu_speedup from cpu_against_gpu").rows()
    assert rows == [("not_comparable", "timed by different methods", None)]


def test_efficiencies_on_the_recorded_peak_come_back_when_rebased_on_it(lake: Lake) -> None:
    columns = ["hardware_id", "precision", "operation_type", "bin_from_flops"]
    curves = lake.sql("select * from efficiency_curves where hardware_id = 'jetson_orin_agx_maxn'").pl().sort(columns)
    again = lake.query("efficiency_rebased", peak_flops=2662.4e9).pl().sort(columns)
    again = again.filter(again["hardware_id"] == "jetson_orin_agx_maxn")
    assert again.select(columns).equals(curves.select(columns))
    for ours, theirs in (
        ("efficiency", "efficiency_mean"),
        ("recorded_efficiency", "efficiency_mean"),
        ("efficiency_ci_lower", "efficiency_ci_lower"),
        ("efficiency_ci_upper", "efficiency_ci_upper"),
    ):
        assert again[ours].to_list() == pytest.approx(curves[theirs].to_list(), rel=SUMS)


def test_the_odd_graph_of_efficientnet_b0_is_found_as_it_was_recorded(
    lake: Lake, v1_data: Path, tmp_path: Path
) -> None:
    assert lake.sql("select * from graph_differences").rows() == []
    usual = [
        canonical(v1_data, "jetson_orin_agx_maxn", precision, "efficientnet_b0_b1") for precision in ("bf16", "fp16")
    ]
    odd = json.loads(json.dumps(usual[0] | {"hardware_id": "jetson_orin_agx_50w"}))
    counted = 0
    for part in odd["subgraphs"]:  # as in the file of the 50 W mode: 9 subgraphs count an eighth of their bytes
        part["hardware_id"] = "jetson_orin_agx_50w"
        if any("stochastic_depth" in name for name in part["node_names"]) and part["flops"] == 0:
            part["flops"] = part["total_bytes"] // 8
            counted += 1
    small = Lake(tmp_path / "lake")
    small.write_many(MeasurementRecord.from_dict(data) for data in (*usual, odd))
    rows = small.sql(
        "select hardware_id, precision, num_runs, num_flops_differ, extra_flops from graph_differences"
    ).rows()
    assert counted == 9
    assert rows == [("jetson_orin_agx_50w", "bf16", 3, 9, 774_356_256.0 - 774_146_144)]
