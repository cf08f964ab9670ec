"""GroundTruthLoader: where it looks, what it takes, and what it says when there is nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from v1_json import measurement, put

from groundlake.errors import LakeEnvironmentError, LakeError, LakeNotFoundError
from groundlake.ground_truth import GroundTruthLoader, MeasurementRecord
from groundlake.importers import migrate_v1
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


def deep_folder(folder: Path) -> Path:
    """Make folders in folders until the innermost path is too long for any program to list it."""
    folder.mkdir(parents=True, exist_ok=True)
    at = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=at)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One device with a measurement in each of the four layouts."""
    root = tmp_path / "all"
    put(root / "data/desk/measurements/fp32/resnet18_b4.json", measurement(schema_version="2.0", batch_size=4))
    put(root / "data/desk/fp32/measurements/efficientnet_b4.json", measurement("efficientnet_b4"))
    put(root / "measurements/desk/fp32/vgg16_b2.json", measurement("vgg16"))
    put(root / "data/desk/measurements/vit_b_16.json", measurement("vit_b_16"))
    return root


def test_all_four_layouts_are_read(tree: Path):
    loader = GroundTruthLoader(tree)
    assert loader.list_hardware() == ["desk"]
    assert loader.list_models("desk", "FP32") == ["efficientnet_b4", "resnet18", "vgg16", "vit_b_16"]
    assert [(c["model"], c["batch_size"]) for c in loader.list_configurations("desk")] == [
        ("efficientnet_b4", 1),
        ("resnet18", 4),
        ("vgg16", 2),
        ("vit_b_16", 1),
    ]
    assert loader.load("desk", "efficientnet_b4", "fp32", 1).model_summary.throughput_fps == 500.0
    assert [record.model for record in loader.load_all("desk", "fp32")] == loader.list_models("desk")


def test_an_unknown_device_has_nothing_and_load_names_the_nearest(tree: Path):
    loader = GroundTruthLoader(tree)
    assert loader.list_configurations("dusk") == []
    with pytest.raises(FileNotFoundError, match="nearest devices: desk"):
        loader.load("dusk", "resnet18", "fp32", 1)


def test_load_of_what_is_not_there_names_the_nearest_configurations(tree: Path):
    with pytest.raises(FileNotFoundError, match="nearest: resnet18 fp32 batch 4, ") as caught:
        GroundTruthLoader(tree).load("desk", "resnet19", "fp32", 1)
    assert "no measurement of resnet19 fp32 batch 1 on desk" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="nearest: resnet18 fp32 batch 4"):
        GroundTruthLoader(tree).load_model_summary("desk", "resnet18", "fp32", 16)


def test_a_bad_file_is_named_and_never_left_out_silently(tree: Path):
    bad = put(tree / "data/desk/measurements/fp32/resnet50_b1.json", '{"schema_version": "2.0", ')
    loader = GroundTruthLoader(tree)
    assert "resnet50" not in loader.list_models("desk")
    with pytest.raises(LakeError, match=str(bad)):
        loader.load("desk", "resnet50", "fp32", 1)
    with pytest.raises(LakeError, match="1 bad files of desk"):
        loader.load_all("desk")
    with pytest.raises(LakeError, match=str(bad)):
        loader.rebuild_manifest("desk")
    assert loader.load("desk", "resnet18", "fp32", 4).batch_size == 4


def test_the_latest_of_two_measurements_is_taken_from_a_tree(tree: Path):
    put(tree / "measurements/desk/fp32/resnet18_b4.json", measurement(measurement_date="2026-03-01T00:00:00"))
    record = GroundTruthLoader(tree).load("desk", "resnet18", "FP32", 4)
    assert record.measurement_date == "2026-03-01T00:00:00"


def test_the_latest_good_run_of_a_lake_is_taken(lake_root: Path):
    lake = Lake(lake_root)
    for hour in ("12", "08"):
        lake.write_record(MeasurementRecord.from_dict(measurement(measurement_date=f"2026-02-05T{hour}:00:00")))
    failed = {"hardware_id": "desk", "model": "resnet18", "precision": "fp32", "batch": 1, "status": "failed"}
    lake.write(failed | {"error": "out of memory"})
    loader = GroundTruthLoader(lake_root)
    assert loader.load("desk", "resnet18", "fp32", 1).measurement_date == "2026-02-05T12:00:00"
    later = lake.write_record(MeasurementRecord.from_dict(measurement(measurement_date="2026-02-05T13:00:00")))
    assert loader.load("desk", "resnet18", "fp32", 1).run_id == later
    lake.retract(later, "desk", "the fan was off")
    assert loader.load("desk", "resnet18", "fp32", 1).measurement_date == "2026-02-05T12:00:00"


def test_rebuild_manifest_of_a_lake_writes_the_view_file(lake_root: Path):
    Lake(lake_root).write_record(MeasurementRecord.from_dict(measurement()))
    GroundTruthLoader(lake_root).rebuild_manifest("desk")
    assert lake_root.with_name("lake.db").exists()


def test_the_default_is_lake_root_then_lake_then_calibration_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAKE_ROOT", raising=False)
    with pytest.raises(LakeNotFoundError, match="LAKE_ROOT"):
        GroundTruthLoader()
    put(tmp_path / "calibration_data/desk/measurements/fp32/resnet18_b1.json", measurement())
    (tmp_path / "lake").mkdir()  # a checkout has an empty one
    assert GroundTruthLoader().list_models("desk") == ["resnet18"]
    Lake(tmp_path / "lake").write_record(MeasurementRecord.from_dict(measurement("vgg16")))
    assert GroundTruthLoader().list_models("desk") == ["vgg16"]
    Lake(tmp_path / "other").write_record(MeasurementRecord.from_dict(measurement("vit")))
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "other"))
    assert GroundTruthLoader().list_models("desk") == ["vit"]


def test_an_empty_lake_has_no_hardware(lake_root: Path):
    Lake(lake_root).create()
    assert GroundTruthLoader(lake_root).list_hardware() == []


def test_a_file_above_64_mib_is_named_and_not_read(tree: Path):
    big = put(tree / "data/desk/measurements/fp32/resnet50_b1.json", measurement("resnet50"))
    os.truncate(big, 64 * 2**20 + 1)
    with pytest.raises(LakeError, match="at most 67108864 are read"):
        GroundTruthLoader(tree).load("desk", "resnet50", "fp32", 1)
    with pytest.raises(LakeError, match="at most 67108864 are read"):
        MeasurementRecord.load(big)
    with pytest.raises(FileNotFoundError):
        MeasurementRecord.load(tree / "nowhere.json")


def test_a_tree_gives_what_an_import_would_take(tmp_path: Path):
    other = measurement(measurement_date="2026-02-05T11:00:00+01:00", precision="INT8-DYN")
    put(tmp_path / "data/desk/int8-dyn/measurements/resnet18.json", other)
    put(tmp_path / "data/_desk/fp32/measurements/resnet18.JSON", measurement())
    for name, total in (("vgg16", 40.0), ("vgg16_b1", 50.0)):
        file = measurement("vgg16", batch_size=1, theoretical_peak_flops=total)
        put(tmp_path / f"data/desk/measurements/fp32/{name}.json", file)
    summary = {"total_flops": 1000, "total_bytes": 10, "total_latency_ms": 9.0, "total_latency_std_ms": 0.1}
    wrong = measurement("bad_sum", batch_size=1, model_summary={**summary, "num_subgraphs": 1, "throughput_fps": 500.0})
    put(tmp_path / "data/desk/measurements/fp32/bad_sum_b1.json", wrong)
    lake = Lake(tmp_path / "lake")
    migrate_v1(lake, [tmp_path / "data"])
    (tmp_path / "data" / "desk" / "fp32").mkdir()
    tree, imported = GroundTruthLoader(tmp_path / "data/desk/fp32/../.."), GroundTruthLoader(tmp_path / "lake")
    assert tree.list_hardware() == imported.list_hardware() == ["_desk", "desk"]
    for device in tree.list_hardware():
        there = [replace(record, run_id=None) for record in imported.load_all(device)]
        assert tree.load_all(device) == there
    assert len(there) == 3


def test_a_folder_that_cannot_be_listed_is_named(tree: Path):
    folder = deep_folder(tree / "desk" / "measurements")
    with pytest.raises(LakeEnvironmentError, match="cannot be listed"):
        GroundTruthLoader(tree).load_all("desk")
    assert folder.is_dir()
