"""`lake migrate-v1`, `lake ingest --from` and `lake export v2-json`, as a user runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from v1_json import measurement, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with one good legacy file and one cut one."""
    root = tmp_path / "calibration_data"
    put(root / "desk/fp32/measurements/efficientnet_b4.json", measurement("efficientnet_b4"))
    put(root / "desk/fp32/measurements/resnet18.json", '{"schema_version": "1.0", ')
    return root


def test_a_migration_with_a_bad_file_imports_the_rest_and_exits_1(cli: Callable, tree: Path, tmp_path: Path):
    done = cli("migrate-v1", tree, "--tz", "desk=America/New_York", "--report", "out.json", code=1)
    assert "runs imported        1" in done.stdout
    assert "truncated_json" in done.stdout
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["imported"], report["set_aside"]) == (1, 1)
    shown = json.loads(cli("sql", "select model, batch, started_at from model_summary", "--format", "json").stdout)
    assert [(row["model"], row["batch"]) for row in shown] == [("efficientnet_b4", 1)]
    assert "15:00:00" in shown[0]["started_at"]
    assert "resnet18.json" in cli("sql", "select uri from quarantine", "--format", "csv").stdout


def test_a_dry_run_prints_the_report_and_leaves_no_trace(cli: Callable, tree: Path, tmp_path: Path):
    done = cli("migrate-v1", tree, "--dry-run", code=1)
    assert "would be imported        1" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration_data"]


def test_wrong_usage_exits_2(cli: Callable, tree: Path):
    assert "no time zone 'Mars'" in cli("migrate-v1", tree, "--tz", "Mars", code=2).stderr
    assert "not a folder" in cli("migrate-v1", tree / "nowhere", code=2).stderr


def test_ingest_from_a_folder_and_export_again(cli: Callable, tree: Path, tmp_path: Path):
    (tree / "desk/fp32/measurements/resnet18.json").unlink()
    cli("ingest", "--from", tree)
    cli("export", "v2-json", "json")
    content = json.loads((tmp_path / "json/desk/measurements/fp32/efficientnet_b4_b1.json").read_text())
    assert (content["model"], content["batch_size"]) == ("efficientnet_b4", 1)
    cli("--root", "second", "ingest", "--from", "lake")
    cli("--root", "second", "ingest", "--from", "json")
    rows = json.loads(cli("--root", "second", "sql", "select run_id from runs", "--format", "json").stdout)
    assert [row["run_id"] for row in rows] == [content["run_id"]]
