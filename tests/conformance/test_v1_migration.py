"""The real measurement trees, imported: counts, oracle values, twins, failed attempts, and the way back to JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.ground_truth import GroundTruthLoader, MeasurementRecord
from groundlake.importers import export_v2_json, migrate_v1
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.importers import MigrationReport

COUNTS = {"i7_12700K": 21, "jetson_orin_agx_maxn": 45, "jetson_orin_maxn": 90, "ryzen_9_8945hs": 15}
ROWS = {"i7_12700K": 2785, "jetson_orin_agx_maxn": 7092, "jetson_orin_maxn": 6426, "ryzen_9_8945hs": 2364}
ZERO_FLOP_ROWS = {"i7_12700K": 1342, "jetson_orin_agx_maxn": 3663, "jetson_orin_maxn": 672, "ryzen_9_8945hs": 1221}
SUMS = {  # total_latency_ms, total_flops
    "i7_12700K": (15818.647576, 341451698736),
    "jetson_orin_agx_maxn": (1881.433326, 786489271488),
    "jetson_orin_maxn": (3675.820475, 2880117587280),
    "ryzen_9_8945hs": (839.053176, 262163090496),
}
ORACLE = [  # configuration, FLOPs, bytes, latency, std, subgraphs, throughput, date
    ("jetson_orin_agx_maxn", "fp32", "resnet18", 1, 3628899328, 78581824, 15.389773417189717, 0.46434187794097326, 32,
     64.97821461640513, "2026-02-05T23:17:24.770788"),
    ("jetson_orin_maxn", "fp32", "resnet18", 64, 232249556992, 2083479712, 56.18352129772305, 0.5715956208561082, 32,
     1139.1240442345456, "2026-02-07T12:31:19.087741"),
    ("ryzen_9_8945hs", "fp32", "vit_b_16", 1, 35159381328, 529030976, 93.36083211470395, 1.7098472831304292, 156,
     10.711129896222337, "2026-02-05T16:48:29.304204"),
    ("i7_12700K", "fp16", "vgg16", 1, 30940528640, 398411248, 10713.019997638185, 202.01300953488013, 23,
     0.09334436043435577, "2026-02-05T18:24:41.789333"),
    ("jetson_orin_agx_maxn", "fp16", "maxvit_t", 1, 10774752384, 715986840, 130.6810041530756, 1.6124086920891894,
     1002, 7.6522215794166355, "2026-02-06T00:45:56.739339"),
]  # fmt: skip


@pytest.fixture(scope="module")
def migrated(v1_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, MigrationReport]:
    """A lake with the whole archive in it, and the report of the import."""
    lake = Lake(tmp_path_factory.mktemp("migrated") / "lake")
    return lake, migrate_v1(lake, [v1_data / "calibration_data", v1_data / "measurements"])


@pytest.fixture(scope="module")
def lake(migrated: tuple[Lake, MigrationReport]) -> Lake:
    return migrated[0]


@pytest.fixture(scope="module")
def good_runs(lake: Lake) -> pl.DataFrame:
    return lake.runs().filter(pl.col("status") == "ok")


def close(value: float, expected: float) -> bool:
    return math.isclose(value, expected, rel_tol=1e-12)


def test_the_counts_are_those_of_the_manifests(v1_data: Path, good_runs: pl.DataFrame):
    manifests = [json.loads(path.read_text()) for path in (v1_data / "calibration_data").glob("*/manifest.json")]
    listed = {manifest["hardware_id"]: manifest["summary"]["total_measurements"] for manifest in manifests}
    assert dict(good_runs.group_by("hardware_id").len().rows()) == listed == COUNTS


def test_every_twin_is_counted_and_named_in_its_run(migrated, good_runs: pl.DataFrame):
    report = migrated[1]
    assert (report.imported, report.twins, report.already_present) == (171, 171, 0)
    layouts = Counter(tuple(sorted(s["layout"] for s in sources)) for sources in good_runs["sources"])
    assert layouts == {("canonical", "legacy"): 81, ("canonical", "toplevel"): 90}


def test_nothing_is_set_aside_and_the_rest_is_recognised(migrated):
    report = migrated[1]
    assert report.quarantined == []
    assert report.manifest_differences == []
    assert report.skipped == {
        "calibration_metadata": 1,
        "efficiency_curves": 9,
        "manifest": 4,
        "report": 7,
        "sqlite_export": 1,
    }
    assert dict(report.warnings) == {"efficiency_above_one": 15}


def test_failed_attempts_are_failed_runs_with_the_sweeps_start(lake: Lake):
    failed = lake.runs().filter(pl.col("status") == "failed")
    by_model = dict(failed.group_by("model").len().rows())
    assert by_model == {"squeezenet1_0": 12, "shufflenet_v2_x1_0": 12, "densenet121": 6}
    assert set(failed["source_measurement_date"]) == {"2026-02-07T12:30:28.149861"}
    assert set(failed["started_at_zone_source"]) == {"assumed_utc"}


@pytest.mark.parametrize("row", ORACLE, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}-b{row[3]}")
def test_the_summary_equals_the_oracle(good_runs: pl.DataFrame, row: tuple):
    hardware_id, precision, model, batch, *expected, date = row
    run = good_runs.row(
        by_predicate=(pl.col("hardware_id") == hardware_id)
        & (pl.col("precision") == precision)
        & (pl.col("model") == model)
        & (pl.col("batch") == batch),
        named=True,
    )
    names = (
        "total_flops",
        "total_bytes",
        "total_latency_ms",
        "total_latency_std_ms",
        "num_subgraphs",
        "throughput_fps",
    )
    assert all(close(run[name], value) for name, value in zip(names, expected, strict=True))
    assert run["source_measurement_date"] == date


@pytest.mark.parametrize("hardware_id", COUNTS)
def test_rows_and_sums_of_each_device_equal_the_reference(lake: Lake, good_runs: pl.DataFrame, hardware_id: str):
    timings = lake.frame("subgraph_timings", hardware_id=hardware_id)
    runs = good_runs.filter(pl.col("hardware_id") == hardware_id)
    latency, flops = SUMS[hardware_id]
    assert timings.height == ROWS[hardware_id]
    assert timings.filter(pl.col("efficiency_mean").is_null()).height == ZERO_FLOP_ROWS[hardware_id]
    assert timings.filter(pl.col("flops") == 0)["achieved_flops"].null_count() == ZERO_FLOP_ROWS[hardware_id]
    assert round(runs["total_latency_ms"].sum(), 6) == latency
    assert runs["total_flops"].sum() == flops


def test_every_value_of_every_file_is_in_the_lake_unchanged(v1_data: Path, lake: Lake):
    loader = GroundTruthLoader(lake.root)
    paths = sorted((v1_data / "calibration_data").glob("*/measurements/*/*.json"))
    assert len(paths) == 171
    for path in paths:
        content = json.loads(path.read_text())
        key = content["hardware_id"], content["model"], content["precision"], content["batch_size"]
        record = loader.load(*key).to_dict()
        assert record.pop("run_id")
        assert record == content


def test_a_second_import_changes_nothing(v1_data: Path, lake: Lake):
    before = sorted(path for path in lake.root.rglob("*") if path.is_file())
    report = migrate_v1(lake, [v1_data])
    assert (report.imported, report.already_present, report.twins, report.failed_attempts) == (0, 171, 171, 0)
    assert sorted(path for path in lake.root.rglob("*") if path.is_file()) == before


def test_roots_given_twice_or_within_each_other_double_nothing(v1_data: Path, lake_root: Path):
    tree = v1_data / "calibration_data"
    report = migrate_v1(Lake(lake_root), [tree, tree / "ryzen_9_8945hs", tree], dry_run=True)
    once = migrate_v1(Lake(lake_root), [tree], dry_run=True)
    assert (report.files, report.imported, report.twins) == (once.files, once.imported, once.twins)


def test_the_folder_of_one_device_is_a_root(v1_data: Path, lake_root: Path):
    lake = Lake(lake_root)
    report = migrate_v1(lake, [v1_data / "calibration_data" / "ryzen_9_8945hs"])
    assert (report.imported, report.twins) == (15, 15)
    assert lake.hardware_ids() == ["ryzen_9_8945hs"]


def test_legacy_files_alone_give_the_same_runs_as_canonical_ones(v1_data: Path, lake: Lake, lake_root: Path):
    legacy = Lake(lake_root)
    migrate_v1(legacy, [v1_data / "calibration_data" / "i7_12700K" / name for name in ("fp16", "fp32")])
    expected = lake.runs("i7_12700K").filter(pl.col("status") == "ok")
    found = legacy.runs("i7_12700K")
    assert found["run_id"].to_list() == expected["run_id"].to_list()
    assert found["total_latency_ms"].to_list() == expected["total_latency_ms"].to_list()
    assert set(found["schema_version"]) == {"1.0"}


def test_export_and_migration_give_the_same_runs_again(lake: Lake, good_runs: pl.DataFrame, tmp_path: Path):
    report = export_v2_json(lake, tmp_path / "json")
    assert (report.written, report.manifests) == (171, 4)
    assert report.not_carried["failed runs"] == 30
    again = Lake(tmp_path / "again")
    migrated = migrate_v1(again, [tmp_path / "json"])
    assert (migrated.imported, migrated.quarantined, migrated.manifest_differences) == (171, [], [])
    order = ["hardware_id", "run_id"]
    differing = ["part", "recorded_at", "sources", "fact_files"]
    assert again.runs().sort(order).drop(differing).equals(good_runs.sort(order).drop(differing))
    rows = ["hardware_id", "run_id", "subgraph_id"]
    one, other = (each.frame("subgraph_timings").sort(rows).drop("part") for each in (lake, again))
    assert one.equals(other)


def test_exported_files_are_the_original_files_with_a_run_id(v1_data: Path, lake: Lake, tmp_path: Path):
    export_v2_json(lake, tmp_path, "ryzen_9_8945hs")
    for original in (v1_data / "calibration_data" / "ryzen_9_8945hs" / "measurements").rglob("*.json"):
        exported = tmp_path / original.relative_to(v1_data / "calibration_data")
        content = json.loads(exported.read_text())
        assert content.pop("run_id")
        assert content == json.loads(original.read_text())


@pytest.mark.parametrize("root", ["calibration_data", "."])
def test_the_loader_gives_equal_records_from_the_tree_and_from_the_lake(v1_data: Path, lake: Lake, root: str):
    tree, stored = GroundTruthLoader(v1_data / root), GroundTruthLoader(lake.root)
    assert tree.list_hardware() == stored.list_hardware() == sorted(COUNTS)
    for hardware_id in COUNTS:
        assert tree.list_configurations(hardware_id) == stored.list_configurations(hardware_id)
        assert tree.list_models(hardware_id) == stored.list_models(hardware_id)
        records = [replace(record, run_id=None) for record in stored.load_all(hardware_id)]
        assert tree.load_all(hardware_id) == records


def test_the_toplevel_tree_alone_can_be_loaded(v1_data: Path):
    loader = GroundTruthLoader(v1_data / "measurements")
    record = loader.load("jetson_orin_maxn", "resnet18", "FP32", 64)
    assert (record.schema_version, record.batch_size) == ("1.0", 64)
    assert close(record.model_summary.total_latency_ms, 56.18352129772305)


def test_a_rebuilt_manifest_equals_the_real_one_except_for_its_date(v1_data: Path, tmp_path: Path):
    for hardware_id in COUNTS:
        real = v1_data / "calibration_data" / hardware_id
        for path in real.rglob("*.json"):
            copy = tmp_path / hardware_id / path.relative_to(real)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        GroundTruthLoader(tmp_path).rebuild_manifest(hardware_id)
        expected = json.loads((real / "manifest.json").read_text())
        rebuilt = json.loads((tmp_path / hardware_id / "manifest.json").read_text())
        assert list(rebuilt) == list(expected)
        assert rebuilt | {"generated_date": ""} == expected | {"generated_date": ""}


def test_a_legacy_file_loads_as_version_1(v1_data: Path):
    path = v1_data / "calibration_data" / "i7_12700K" / "fp32" / "measurements" / "efficientnet_b1.json"
    record = MeasurementRecord.load(path)
    assert (record.schema_version, record.batch_size, record.system_state) == ("1.0", 1, None)


def test_little_memory_gives_the_same_lake(v1_data: Path, lake: Lake, lake_root: Path):
    small = Lake(lake_root)
    migrate_v1(small, [v1_data / "calibration_data" / "ryzen_9_8945hs"], kept_bytes=0)
    rows = ["run_id", "subgraph_id"]
    one, other = (
        each.frame("subgraph_timings", hardware_id="ryzen_9_8945hs").sort(rows).drop("part") for each in (lake, small)
    )
    assert one.equals(other)
