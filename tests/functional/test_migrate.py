"""Migration of generated trees: batches, dates, zones, twins, conflicts, warnings, failed attempts, manifests."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from v1_json import DATE, measurement, put

from groundlake.errors import UsageError
from groundlake.importers import Zones, import_folder, migrate_v1
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


def canonical(batch: int = 1, **changes: Any) -> dict[str, Any]:
    content = measurement(**changes) | {"schema_version": "2.0", "batch_size": batch}
    row = content["subgraphs"][0]
    mean = row["measured_latency"]["mean"]
    summary = {
        "total_flops": row["flops"],
        "total_bytes": row["total_bytes"],
        "total_latency_ms": mean,
        "total_latency_std_ms": 0.1,
        "num_subgraphs": 1,
        "throughput_fps": batch / (mean / 1000),
    }
    return {"model_summary": summary} | content


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "calibration_data"


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def only_run(lake: Lake, hardware_id: str = "desk") -> dict[str, Any]:
    runs = lake.runs(hardware_id)
    assert runs.height == 1
    return runs.row(0, named=True)


def test_a_legacy_efficientnet_b4_is_batch_1(tree: Path, lake: Lake):
    put(tree / "desk/fp32/measurements/efficientnet_b4.json", measurement("efficientnet_b4"))
    migrate_v1(lake, [tree])
    run = only_run(lake)
    assert (run["model"], run["batch"], run["throughput_fps"]) == ("efficientnet_b4", 1, 500.0)


def test_each_layout_gives_its_device_and_precision(tmp_path: Path, lake: Lake):
    put(tmp_path / "calibration_data/a/measurements/fp32/m_b2.json", canonical(2, model="m"))
    put(tmp_path / "calibration_data/b/fp32/measurements/m.json", measurement("m"))
    put(tmp_path / "measurements/c/fp32/m_b4.json", measurement("m"))
    put(tmp_path / "calibration_data/d/measurements/m.json", measurement("m", precision="BF16"))
    report = migrate_v1(lake, [tmp_path / "calibration_data", tmp_path / "measurements"])
    assert report.quarantined == []
    rows = lake.runs().select(
        "hardware_id", "precision", "batch", pl.col("sources").list.first().struct.field("layout")
    )
    assert rows.rows() == [
        ("a", "fp32", 2, "canonical"),
        ("b", "fp32", 1, "legacy"),
        ("c", "fp32", 4, "toplevel"),
        ("d", "bf16", 1, "flat"),
    ]


def test_twins_of_all_layouts_are_one_run_whatever_the_spelling_of_its_numbers(tmp_path: Path, lake: Lake):
    twin = measurement()
    twin["subgraphs"][0]["measured_latency"]["mean"] = 2
    put(tmp_path / "all/data/desk/measurements/fp32/resnet18_b1.json", canonical())
    put(tmp_path / "all/data/desk/fp32/measurements/resnet18.json", json.dumps(twin, indent=4, sort_keys=True))
    put(tmp_path / "all/measurements/desk/fp32/resnet18_b1.json", measurement())
    put(tmp_path / "all/data/desk/measurements/resnet18.json", measurement())
    report = migrate_v1(lake, [tmp_path / "all"])
    assert (report.imported, report.twins, report.quarantined) == (1, 3, [])
    sources = only_run(lake)["sources"]
    assert [source["layout"] for source in sources] == ["canonical", "toplevel", "legacy", "flat"]
    assert sources[0]["uri"] == "all/data/desk/measurements/fp32/resnet18_b1.json"


def test_a_twin_that_a_later_import_finds_changes_nothing(tree: Path, lake: Lake):
    put(tree / "desk/fp32/measurements/resnet18.json", measurement())
    migrate_v1(lake, [tree])
    before = lake.runs()
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    report = migrate_v1(lake, [tree])
    assert (report.imported, report.already_present, report.twins) == (0, 1, 1)
    assert lake.runs().equals(before)


def test_the_same_configuration_at_two_dates_is_two_runs(tmp_path: Path, lake: Lake):
    put(tmp_path / "new/desk/measurements/fp32/resnet18_b1.json", canonical())
    put(tmp_path / "old/desk/measurements/resnet18.json", measurement(mean=3.0, measurement_date="2026-01-01T00:00:00"))
    report = migrate_v1(lake, [tmp_path / "new", tmp_path / "old"])
    assert (report.imported, report.twins, report.quarantined) == (2, 0, [])
    assert sorted(lake.runs("desk")["total_latency_ms"]) == [2.0, 3.0]


def test_of_two_contradicting_files_the_canonical_one_is_imported_and_both_are_named(tree: Path, lake: Lake):
    legacy = put(tree / "desk/fp32/measurements/resnet18.json", measurement(mean=3.0))
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    report = migrate_v1(lake, [tree])
    assert only_run(lake)["total_latency_ms"] == 2.0
    (entry,) = report.quarantined
    assert (entry.code, entry.layout, entry.uri) == ("conflict", "legacy", f"{tree.name}/{legacy.relative_to(tree)}")
    assert "desk/fp32/measurements/resnet18.json" in entry.reason
    assert "desk/measurements/fp32/resnet18_b1.json" in entry.reason
    again = migrate_v1(lake, [tree])
    assert (again.imported, again.set_aside, again.newly_quarantined) == (0, 1, 0)


def test_a_canonical_file_replaces_what_was_imported_from_a_lesser_one(tree: Path, lake: Lake):
    put(tree / "desk/fp32/measurements/resnet18.json", measurement(mean=3.0))
    migrate_v1(lake, [tree])
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    report = migrate_v1(lake, [tree])
    assert (report.imported, report.retracted, [entry.code for entry in report.quarantined]) == (1, 1, ["conflict"])
    assert only_run(lake)["total_latency_ms"] == 2.0
    again = migrate_v1(lake, [tree])
    assert (again.imported, again.retracted, again.set_aside, again.newly_quarantined) == (0, 0, 1, 0)
    assert only_run(lake)["total_latency_ms"] == 2.0


def test_without_a_canonical_file_the_first_layout_wins(tmp_path: Path, lake: Lake):
    put(tmp_path / "all/data/desk/measurements/resnet18.json", measurement(mean=5.0))
    put(tmp_path / "all/data/desk/fp32/measurements/resnet18.json", measurement(mean=4.0))
    put(tmp_path / "all/measurements/desk/fp32/resnet18_b1.json", measurement(mean=3.0))
    report = migrate_v1(lake, [tmp_path / "all"])
    assert only_run(lake)["total_latency_ms"] == 3.0
    assert [(entry.code, entry.layout) for entry in report.quarantined] == [
        ("conflict", "legacy"),
        ("conflict", "flat"),
    ]


def test_a_retracted_run_is_not_imported_again(tree: Path, lake: Lake):
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    migrate_v1(lake, [tree])
    lake.retract(only_run(lake)["run_id"], "desk", "the fan was off")
    report = migrate_v1(lake, [tree])
    assert (report.imported, report.withdrawn, report.set_aside) == (0, 1, 0)
    assert lake.runs("desk").is_empty()


def test_a_run_id_in_the_file_is_kept_and_must_not_belong_to_another_run(tree: Path, lake: Lake):
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical(run_id="mine"))
    put(tree / "desk/measurements/fp32/resnet18_b4.json", canonical(4, run_id="mine"))
    report = migrate_v1(lake, [tree])
    assert only_run(lake)["run_id"] == "mine"
    assert [entry.code for entry in report.quarantined] == ["conflict"]
    put(tree / "desk/fp32/measurements/resnet18.json", measurement())
    assert migrate_v1(lake, [tree]).twins == 1


def test_dates_without_a_zone_are_assumed_utc_and_say_so(tree: Path, lake: Lake):
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    migrate_v1(lake, [tree])
    run = only_run(lake)
    assert run["started_at"] == datetime.fromisoformat(DATE)
    assert (run["started_at_zone_source"], run["source_measurement_date"]) == ("assumed_utc", DATE)


def test_zones_are_given_for_all_devices_or_for_one(tree: Path, lake: Lake):
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    put(tree / "other/measurements/fp32/resnet18_b1.json", canonical())
    put(tree / "aware/measurements/fp32/resnet18_b1.json", canonical(measurement_date="2026-02-05T10:00:00+02:00"))
    migrate_v1(lake, [tree], zones=Zones.parse(["America/New_York", "other=Asia/Tokyo"]))
    found = {
        run["hardware_id"]: (run["started_at"].hour, run["started_at_zone_source"]) for run in lake.runs().to_dicts()
    }
    assert found == {"desk": (15, "option"), "other": (1, "option"), "aware": (8, "file")}


@pytest.mark.parametrize(
    "options", [["Mars/Olympus"], ["desk=Nowhere"], ["UTC", "Asia/Tokyo"], ["../../etc/passwd"], [""]]
)
def test_a_zone_that_does_not_exist_or_is_given_twice_is_refused(options: list[str]):
    with pytest.raises(UsageError, match="--tz"):
        Zones.parse(options)


def test_a_zone_for_a_device_that_is_not_there_is_refused(tree: Path, lake: Lake):
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    with pytest.raises(UsageError, match="devices that were found: desk"):
        migrate_v1(lake, [tree], zones=Zones.parse(["dusk=UTC"]))
    assert not lake.exists


def test_what_is_doubtful_is_a_warning_on_the_run(tree: Path, lake: Lake):
    for batch in (1, 2, 4):
        content = canonical(batch)
        content["subgraphs"][0]["flops"] = content["model_summary"]["total_flops"] = 1000 * batch
        put(tree / f"desk/measurements/fp32/resnet18_b{batch}.json", content)
    odd = canonical(8, operator="me", hardware_id="Desk")
    odd["subgraphs"][0]["efficiency"] = dict.fromkeys(odd["subgraphs"][0]["efficiency"], 1.5) | {"samples": 20}
    odd["model_summary"]["total_latency_ms"] = 7.0
    put(tree / "desk/measurements/fp32/resnet18_b16.json", odd)
    report = migrate_v1(lake, [tree])
    assert (report.imported, report.quarantined) == (4, [])
    run = lake.runs("desk").row(by_predicate=pl.col("batch") == 8, named=True)
    assert {text.split(":")[0] for text in run["warnings"]} == {
        "batch_mismatch",
        "efficiency_above_one",
        "flops_per_batch_mismatch",
        "hardware_id_mismatch",
        "summary_mismatch",
        "unknown_keys",
    }
    assert (run["total_latency_ms"], run["source_hardware_id"]) == (2.0, "Desk")
    assert lake.runs("desk").filter(pl.col("batch") != 8)["warnings"].null_count() == 3


def test_small_differences_of_flops_are_no_warning(tree: Path, lake: Lake):
    for name, flops in (("a", 1_000_000), ("b", 1_000_000), ("c", 1_000_300)):
        content = measurement(hardware_id=name)
        content["subgraphs"][0]["flops"] = flops
        put(tree / f"{name}/fp32/measurements/resnet18.json", content)
    assert migrate_v1(lake, [tree]).warnings == {}


def test_values_that_schema_2_adds_reach_the_ledger(tree: Path, lake: Lake):
    state = {"gpu_clock_mhz": 1300, "mem_clock_mhz": None, "power_mode": "MAXN", "temperature_c": 51.5}
    added = {"input_shape": [1, 3, 224, 224], "system_state": state, "run_id": "r-1", "run_index": 3}
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical(**added, device="cuda"))
    migrate_v1(lake, [tree])
    run = only_run(lake)
    assert (run["input_shape"], run["run_index"], run["run_id"]) == ([1, 3, 224, 224], 3, "r-1")
    assert run["system_under_load"]["temperature_c"] == 51.5
    assert run["system_under_load"]["cpu_governor"] is None
    assert (run["timing_method"], run["flops_method"], run["theoretical_peak_source"]) == (
        "node_sync",
        "fx_chain_v1",
        "recorded",
    )


def test_failed_attempts_become_failed_runs_once(tree: Path, lake: Lake):
    metadata = {
        "hardware_info": {"device_type": "cuda", "power_mode": "15W"},
        "start_time": "2026-02-07T12:30:28",
        "errors": ["squeezenet1_0@fp32@b4", "squeezenet1_0@fp32@b4", "nonsense", 7],
    }
    put(tree / "desk/calibration_metadata.json", metadata)
    report = migrate_v1(lake, [tree], zones=Zones.parse(["desk=Asia/Tokyo"]))
    run = only_run(lake)
    assert (run["status"], run["model"], run["precision"], run["batch"]) == ("failed", "squeezenet1_0", "fp32", 4)
    assert run["error"] == "listed in calibration_metadata.json without a reason"
    assert run["started_at"] == datetime(2026, 2, 7, 3, 30, 28)  # noqa: DTZ001 - the lake holds naive UTC
    assert [entry.uri[-10:] for entry in report.quarantined] == ["#errors[2]", "#errors[3]"]
    again = migrate_v1(lake, [tree])
    assert (again.failed_attempts, again.set_aside, again.newly_quarantined) == (0, 2, 0)


def test_manifests_are_compared_with_the_files(tree: Path, lake: Lake):
    good = {
        "model": "resnet18",
        "precision": "fp32",
        "batch_size": 1,
        "file": "measurements/fp32/resnet18_b1.json",
        "total_latency_ms": 2.0,
        "total_flops": 1000,
        "num_subgraphs": 1,
        "measurement_date": DATE,
    }
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    put(tree / "desk/measurements/fp32/vgg16_b1.json", canonical(model="vgg16"))
    stale = good | {"total_latency_ms": 2.1, "total_flops": 7, "measurement_date": "2020-01-01"}
    gone = good | {"model": "gone"}
    manifest = {"schema_version": "1.0", "hardware_id": "desk", "measurements": [stale, gone]}
    put(tree / "desk/manifest.json", manifest)
    differences = [str(item) for item in migrate_v1(lake, [tree], dry_run=True).manifest_differences]
    assert len(differences) == 5
    for part in (
        "total_latency_ms is 2.1",
        "total_flops is 7",
        "2020-01-01",
        "gone fp32 batch 1",
        "vgg16 fp32 batch 1",
    ):
        assert any(part in text for text in differences), part
    put(tree / "desk/manifest.json", manifest | {"measurements": [good, copy.deepcopy(good) | {"model": "vgg16"}]})
    assert migrate_v1(lake, [tree], dry_run=True).manifest_differences == []


def test_a_dry_run_reports_the_same_and_writes_nothing(tree: Path, lake: Lake):
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    put(tree / "desk/measurements/fp32/vgg16_b1.json", "{")
    dry = migrate_v1(lake, [tree], dry_run=True)
    assert not lake.root.exists()
    real = migrate_v1(lake, [tree])
    differing = {"dry_run", "import_id", "duration_s"}
    one, other = ({k: v for k, v in report.to_dict().items() if k not in differing} for report in (dry, real))
    assert one == other
    assert json.dumps(one)


def test_one_device_of_a_folder_can_be_imported(tree: Path, lake: Lake):
    put(tree / "desk/measurements/fp32/resnet18_b1.json", canonical())
    put(tree / "other/measurements/fp32/resnet18_b1.json", canonical())
    report = import_folder(lake, tree, hardware_id="other")
    assert report.to_dict()["skipped"] == {"other_device": 1}
    assert lake.hardware_ids() == ["other"]
    put(tree / "other/measurements/fp32/vgg16_b1.json", "{")
    assert import_folder(lake, tree, hardware_id="desk").quarantined == []
    assert [entry.code for entry in import_folder(lake, tree, hardware_id="other").quarantined] == ["truncated_json"]
    with pytest.raises(UsageError, match="there are desk, other"):
        import_folder(lake, tree, hardware_id="third")


def test_hidden_folders_are_left_alone_and_a_root_must_exist(tree: Path, lake: Lake):
    put(tree / ".git/desk/measurements/fp32/resnet18_b1.json", canonical())
    assert migrate_v1(lake, [tree], dry_run=True).files == 0
    with pytest.raises(UsageError, match="not a folder"):
        migrate_v1(lake, [tree / "nowhere"])
