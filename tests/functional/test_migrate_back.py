"""The way out and between lakes: export as JSON, and merging a lake that a device brought."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundlake.errors import CorruptLakeError, LakeError, UsageError
from groundlake.ground_truth import (
    EfficiencyStats,
    GroundTruthLoader,
    LatencyStats,
    MeasurementRecord,
    SubgraphMeasurement,
    SystemState,
)
from groundlake.importers import Zones, export_v2_json, import_folder, migrate_v1
from groundlake.layout import anchor_path
from groundlake.schemas import Runs
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


def record(**changes: object) -> MeasurementRecord:
    latency = LatencyStats(mean=2.0, std=0.1, min=1.9, max=2.2, ci_lower=1.9, ci_upper=2.1, samples=20)
    nothing = EfficiencyStats(mean=0.0, std=0.0, min=0.0, max=0.0, ci_lower=0.0, ci_upper=0.0, samples=0)
    row = SubgraphMeasurement(
        subgraph_id=0,
        fusion_pattern="Unfused",
        operation_type="unfused",
        flops=0,
        total_bytes=10,
        arithmetic_intensity=0.0,
        theoretical_peak_flops=1e9,
        measured_latency=latency,
        achieved_flops=0.0,
        efficiency=nothing,
        node_names=["flatten"],
        source_model="resnet18",
    )
    base = MeasurementRecord(
        model="resnet18",
        hardware_id="desk",
        device="cpu",
        precision="FP32",
        theoretical_peak_flops=1e9,
        batch_size=1,
        subgraphs=[row],
        measurement_date="2026-02-05T10:00:00+00:00",
    )
    return replace(base, **changes)


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def test_a_measured_run_survives_export_and_migration(lake: Lake, tmp_path: Path):
    full = record(
        input_shape=[1, 3, 224, 224],
        system_state=SystemState(temperature_c=51.5, cpu_governor="performance"),
        run_index=2,
        thermal_profile="15W",
    )
    run_id = lake.write_record(full)
    export_v2_json(lake, tmp_path / "json")
    again = Lake(tmp_path / "again")
    report = migrate_v1(again, [tmp_path / "json"])
    assert (report.imported, report.quarantined) == (1, [])
    loaded = GroundTruthLoader(again.root).load("desk", "resnet18", "fp32", 1)
    assert loaded == replace(full, run_id=run_id)
    assert again.runs("desk")["started_at"].to_list() == lake.runs("desk")["started_at"].to_list()
    assert migrate_v1(lake, [tmp_path / "json"]).already_present == 1


def test_a_merge_brings_the_anchors_of_an_older_contract_version_along(lake: Lake, tmp_path: Path):
    older = Lake(tmp_path / "older")
    older.write_record(record())
    new = older.root / anchor_path(Runs)
    old = pq.read_table(new, partitioning=None).replace_schema_metadata(
        {**pq.read_schema(new).metadata, b"groundlake.contract_version": b"1"}
    )
    pq.write_table(old.drop_columns(list(Runs.added())), new.with_name("anchor.v01.parquet"))
    import_folder(lake, older.root)
    assert (lake.root / anchor_path(Runs)).with_name("anchor.v01.parquet").exists()
    assert lake.check() == []
    assert lake.sql("select count(*) from runs").rows() == [(1,)]
    assert import_folder(lake, older.root).parts == 0


@pytest.mark.parametrize("name", ["pkg.models:make", "timm/vit", ".hidden", "50% off", "größe", "fp32", "measurements"])
def test_unusual_names_survive_export_and_migration(name: str, lake: Lake, tmp_path: Path):
    lake.write_record(record(model=name, hardware_id=name, batch_size=4))
    export_v2_json(lake, tmp_path / "json")
    again = Lake(tmp_path / "again")
    assert migrate_v1(again, [tmp_path / "json"]).quarantined == []
    assert again.runs().select("hardware_id", "model", "batch").rows() == [(name, name, 4)]
    assert GroundTruthLoader(tmp_path / "json").list_models(name) == [name]


def test_the_latest_good_run_is_exported_and_the_rest_is_counted(lake: Lake, tmp_path: Path):
    older = lake.write_record(record(measurement_date="2026-01-01T00:00:00+00:00"))
    run, frames = record().to_frames()
    raw = frames["subgraph_timings"].with_columns(latency_samples_ms=pl.lit([1.9, 2.1]))
    latest = lake.write(run | {"end_to_end_latency_ms": 1.0, "note": "warm"}, subgraph_timings=raw)
    lake.write({"hardware_id": "desk", "status": "failed", "error": "no memory", "model": "vgg16", "precision": "fp32"})
    report = export_v2_json(lake, tmp_path)
    content = json.loads((tmp_path / "desk/measurements/fp32/resnet18_b1.json").read_text())
    assert content["run_id"] == latest != older
    assert content["schema_version"] == "2.0"
    for what in (
        "subgraphs with raw latency samples",
        "failed runs",
        "older runs of an exported configuration",
        "runs with end_to_end_latency_ms",
        "runs with note",
    ):
        assert report.not_carried[what] == 1, what
        assert any(what in line for line in report.lines())


def test_zones_that_the_user_gave_are_listed_as_left_behind(lake: Lake, tmp_path: Path):
    record(measurement_date="2026-02-05T10:00:00").save(tmp_path / "in/desk/measurements/fp32/resnet18_b1.json")
    migrate_v1(lake, [tmp_path / "in"], zones=Zones.parse(["America/New_York"]))
    (what,) = [what for what in export_v2_json(lake, tmp_path / "out").not_carried if "--tz" in what]
    again = Lake(tmp_path / "again")
    migrate_v1(again, [tmp_path / "out"], zones=Zones.parse(["America/New_York"]))
    assert "give them again" in what
    assert again.runs()["started_at"].to_list() == lake.runs()["started_at"].to_list()


def test_a_file_with_other_content_is_never_overwritten(lake: Lake, tmp_path: Path):
    lake.write_record(record())
    export_v2_json(lake, tmp_path)
    assert export_v2_json(lake, tmp_path).unchanged == 1
    lake.write_record(record(measurement_date="2026-03-01T00:00:00+00:00"))
    with pytest.raises(LakeError, match=r"resnet18_b1\.json: is there already with other content"):
        export_v2_json(lake, tmp_path)


@pytest.mark.parametrize(
    ("there", "said"), [("{}", "is there already with other content"), ("{", "is there already, and is no JSON")]
)
def test_efficiency_curves_that_are_there_are_never_overwritten(lake: Lake, tmp_path: Path, there: str, said: str):
    half = EfficiencyStats(mean=0.5, std=0.0, min=0.5, max=0.5, ci_lower=0.5, ci_upper=0.5, samples=20)
    counted = replace(record().subgraphs[0], flops=1_000_000, achieved_flops=5e8, efficiency=half)
    lake.write_record(record(subgraphs=[counted]))
    path = tmp_path / "desk" / "fp32" / "efficiency_curves.json"
    path.parent.mkdir(parents=True)
    path.write_text(there)
    with pytest.raises(LakeError, match=rf"efficiency_curves\.json: {said}"):
        export_v2_json(lake, tmp_path)
    assert path.read_text() == there
    path.unlink()
    assert export_v2_json(lake, tmp_path).curves == 1
    assert list(json.loads(path.read_text())["curves"]) == ["unfused"]


def test_only_a_device_of_the_lake_can_be_exported(lake: Lake, tmp_path: Path):
    lake.write_record(record())
    with pytest.raises(UsageError, match="there are desk"):
        export_v2_json(lake, tmp_path, "dusk")


def test_a_lake_folder_is_merged_by_copying_its_parts(lake: Lake, tmp_path: Path):
    device = Lake(tmp_path / "device")
    run_id = device.write_record(record())
    lake.write_record(record(hardware_id="other"))
    dry = import_folder(lake, device.root, dry_run=True)
    assert lake.hardware_ids() == ["other"]
    report = import_folder(lake, device.root)
    assert (report.runs, report.parts, report.bytes) == (dry.runs, dry.parts, dry.bytes) == (1, 2, report.bytes)
    assert lake.runs("desk")["run_id"].to_list() == [run_id]
    assert lake.frame("subgraph_timings", hardware_id="desk").equals(device.frame("subgraph_timings"))
    assert import_folder(lake, device.root).parts == 0
    lake.write_record(record())
    lake.compact_runs()
    assert import_folder(lake, device.root).parts == 0
    assert lake.check() == []


def test_only_one_device_of_a_lake_can_be_merged(lake: Lake, tmp_path: Path):
    device = Lake(tmp_path / "device")
    for name in ("a", "b"):
        device.write_record(record(hardware_id=name))
    import_folder(lake, device.root, hardware_id="b")
    assert lake.hardware_ids() == ["b"]
    with pytest.raises(UsageError, match="there are a, b"):
        import_folder(lake, device.root, hardware_id="c")


def test_a_torn_part_is_named_and_no_run_is_published(lake: Lake, tmp_path: Path):
    device = Lake(tmp_path / "device")
    device.write_record(record())
    part = next(path for path in (device.root / "subgraph_timings/hardware_id=desk").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(CorruptLakeError, match=part.name):
        import_folder(lake, device.root)
    assert lake.hardware_ids() == []
    assert lake.check() == []


def test_a_merge_that_was_killed_before_the_ledger_is_taken_up_again(lake: Lake, tmp_path: Path):
    device = Lake(tmp_path / "device")
    device.write_record(record())
    shutil.copytree(device.root / "subgraph_timings", lake.root / "subgraph_timings")
    assert lake.runs().is_empty()
    report = import_folder(lake, device.root)
    assert (report.parts, report.present, lake.runs().height) == (1, 1, 1)


def test_what_the_other_lake_set_aside_stays_known(lake: Lake, tmp_path: Path):
    bad = tmp_path / "tree/desk/measurements/fp32/resnet18_b1.json"
    bad.parent.mkdir(parents=True)
    bad.write_text("{")
    device = Lake(tmp_path / "device")
    migrate_v1(device, [tmp_path / "tree"])
    import_folder(lake, device.root)
    assert lake.sql("select code from quarantine").rows() == [("truncated_json",)]


def test_a_lake_is_not_merged_into_itself(lake: Lake):
    lake.create()
    with pytest.raises(UsageError, match="this lake itself"):
        import_folder(lake, lake.root)


def test_rows_that_break_the_contract_are_not_merged(lake: Lake, tmp_path: Path):
    other = Lake(tmp_path / "other")
    other.write_record(record())
    [path] = other.root.glob("subgraph_timings/hardware_id=desk/*/*/*/*.parquet")
    sound = pq.read_table(path, partitioning=None)
    below_zero = sound.set_column(sound.schema.get_field_index("latency_min_ms"), "latency_min_ms", pa.array([-7.0]))
    for table, complaint in (
        (below_zero, "latency_min_ms: must be at least 0"),
        (sound.select([0]), "differ"),
    ):
        pq.write_table(table, path)
        with pytest.raises(CorruptLakeError, match=complaint):
            import_folder(lake, other.root)
        assert lake.runs().is_empty() if lake.exists else True
