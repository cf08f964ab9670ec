"""Bad files: each is set aside with its code, once, and the rest is imported; nothing is moved."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from v1_json import measurement, put

from groundlake.errors import CorruptLakeError
from groundlake.importers import migrate_v1
from groundlake.schemas import Quarantine
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def good(**changes: object) -> dict[str, Any]:
    """The content of a good file of schema 2.0."""
    return measurement(**({"schema_version": "2.0", "batch_size": 1, "tool_version": "test"} | changes))


def with_latency(**changes: object) -> str:
    content = good()
    content["subgraphs"][0]["measured_latency"].update(changes)
    return json.dumps(content)


def without(key: str) -> str:
    content = good()
    del content["subgraphs"][0][key]
    return json.dumps(content)


def two_subgraphs(**changes: object) -> list[dict[str, Any]]:
    return [row | {"subgraph_id": number} | changes for number, row in enumerate(good()["subgraphs"] * 2)]


GOOD = json.dumps(good())
PLACE = "desk/measurements/fp32/resnet18_b1.json"
BAD_FILES: dict[str, tuple[str, str | bytes, str]] = {
    "cut": (PLACE, GOOD[:300], "truncated_json"),
    "empty": (PLACE, "", "truncated_json"),
    "text": (PLACE, "not json at all", "not_json"),
    "latin1": (PLACE, GOOD.replace("Linear", "Linéar").encode("latin-1"), "not_json"),
    "utf16": (PLACE, GOOD.encode("utf-16"), "not_json"),
    "deep": (PLACE, "[" * 100_000, "nested_too_deeply"),
    "list": (PLACE, "[]", "wrong_type"),
    "text for number": (PLACE, with_latency(mean="2.0"), "wrong_type"),
    "bool for integer": (PLACE, with_latency(samples=True), "wrong_type"),
    "date": (PLACE, json.dumps(good(measurement_date="5 Feb")), "wrong_type"),
    "nan": (PLACE, with_latency(std=float("nan")), "not_finite"),
    "huge": (PLACE, GOOD.replace('"mean": 2.0', '"mean": 1e999'), "not_finite"),
    "negative": (PLACE, with_latency(min=-1.9), "negative_latency"),
    "missing": (PLACE, without("flops"), "missing_field"),
    "nothing measured": (PLACE, json.dumps(good(subgraphs=[])), "missing_field"),
    "mean above max": (PLACE, with_latency(mean=3.0, ci_upper=3.1), "contract"),
    "no samples": (PLACE, with_latency(samples=0), "contract"),
    "variance beyond floats": (PLACE, with_latency(std=1e200), "contract"),
    "flops that add up beyond 64 bits": (
        PLACE,
        json.dumps(good(subgraphs=two_subgraphs(flops=2**62))),
        "contract",
    ),
    "end of the calendar": (PLACE, json.dumps(good(measurement_date="0001-01-01T00:00+05:00")), "wrong_type"),
    "batch beyond 64 bits": (
        "measurements/desk/fp32/resnet18_b99999999999999999999.json",
        json.dumps(good(schema_version="1.0", batch_size=None)),
        "batch_unknown",
    ),
    "run id with a space": (PLACE, json.dumps(good(run_id="a b")), "contract"),
    "stray measurement": ("desk/somewhere/resnet18_b1.json", GOOD, "unknown_layout"),
    "stray json": ("desk/settings.json", "{}", "unknown_layout"),
    "measurements as device": ("measurements/measurements/fp32/resnet18_b1.json", GOOD, "unknown_layout"),
    "other model": ("desk/measurements/fp32/vgg16_b1.json", GOOD, "contradicting_model"),
    "other precision": ("desk/measurements/bf16/resnet18_b1.json", GOOD, "contradicting_precision"),
    "no batch": (
        "desk/fp32/measurements/resnet18_second.json",
        json.dumps(good(schema_version="1.0", batch_size=None)),
        "batch_unknown",
    ),
    "device of digits": ("4090/measurements/fp32/resnet18_b1.json", GOOD, "bad_key"),
    "anchor as device": ("-/measurements/fp32/resnet18_b1.json", GOOD, "bad_key"),
    "metadata without a date": ("desk/calibration_metadata.json", '{"errors": ["a@fp32@b1"]}', "missing_field"),
    "metadata cut": ("desk/calibration_metadata.json", '{"errors": ["a@fp', "truncated_json"),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with one good file."""
    root = tmp_path / "data"
    put(root / "good/measurements/fp32/resnet18_b1.json", json.dumps(good(hardware_id="good")))
    return root


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_set_aside_with_its_code_and_the_rest_is_imported(case: str, tree: Path, lake_root: Path):
    place, content, code = BAD_FILES[case]
    bad = put(tree / place, content)
    lake = Lake(lake_root)
    report = migrate_v1(lake, [tree])
    assert lake.hardware_ids() == ["good"]
    (entry,) = report.quarantined
    assert (entry.code, entry.uri) == (code, f"data/{place}")
    assert entry.what_to_do
    assert bad.exists()
    assert lake.sql("select code, uri from quarantine").rows() == [(code, f"data/{place}")]


def test_one_file_of_each_kind_at_once_is_recorded_once(tree: Path, lake_root: Path):
    lake = Lake(lake_root)
    for number, (content, _) in enumerate(
        {text: code for place, text, code in BAD_FILES.values() if place == PLACE}.items()
    ):
        put(tree / f"desk{number}/measurements/fp32/resnet18_b1.json", content)
    first = migrate_v1(lake, [tree])
    second = migrate_v1(lake, [tree])
    assert first.set_aside == first.newly_quarantined == second.set_aside > 10
    assert second.newly_quarantined == 0
    assert second.already_present == 1
    (file,) = (lake.root / "_quarantine").glob("*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == first.set_aside
    assert all(list(row) == Quarantine.polars_schema().names() for row in rows)
    assert {row["import_id"] for row in rows} == {first.import_id} == {file.stem}
    assert all(len(row["sha256"]) == 64 for row in rows)


def test_a_file_that_is_bad_in_another_way_now_is_recorded_again(tree: Path, lake_root: Path):
    lake = Lake(lake_root)
    put(tree / PLACE, "{")
    migrate_v1(lake, [tree])
    put(tree / PLACE, with_latency(mean=-1))
    assert migrate_v1(lake, [tree]).newly_quarantined == 1
    put(tree / PLACE, GOOD)
    mended = migrate_v1(lake, [tree])
    assert (mended.imported, mended.set_aside) == (1, 0)


def test_a_file_above_64_mib_is_not_read(tree: Path, lake_root: Path):
    big = put(tree / PLACE, GOOD)
    os.truncate(big, 64 * 2**20 + 1)
    (entry,) = migrate_v1(Lake(lake_root), [tree]).quarantined
    assert (entry.code, entry.sha256, entry.layout) == ("too_large", None, "canonical")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("nowhere"), os.mkfifo], ids=["broken link", "pipe"])
def test_what_cannot_be_read_is_set_aside(make: Callable[[Path], None], tree: Path, lake_root: Path):
    folder = tree / "desk/measurements/fp32"
    folder.mkdir(parents=True)
    make(folder / "resnet18_b1.json")
    report = migrate_v1(Lake(lake_root), [tree])
    assert (report.imported, [entry.code for entry in report.quarantined]) == (1, ["unreadable"])


def test_a_folder_that_cannot_be_listed_is_set_aside(tree: Path, lake_root: Path):
    at = os.open(tree, os.O_RDONLY)
    for _ in range(20):  # until the path is longer than the system takes, for root too
        os.mkdir("d" * 250, dir_fd=at)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    report = migrate_v1(Lake(lake_root), [tree])
    assert report.imported == 1
    assert [(entry.code, entry.uri[:6]) for entry in report.quarantined] == [("unreadable", "data/d")]


def test_files_of_two_roots_with_the_same_name_are_told_apart(tmp_path: Path, lake_root: Path):
    put(tmp_path / "old/data" / PLACE, with_latency(std=0.2))
    put(tmp_path / "new/data" / PLACE, GOOD)
    lake = Lake(lake_root)
    report = migrate_v1(lake, [tmp_path / "old/data", tmp_path / "new/data"])
    ((sources,),) = lake.sql("select sources from runs").rows()
    (entry,) = report.quarantined
    assert [source["uri"] for source in sources] == [f"new/data/{PLACE}"]
    assert (entry.code, entry.uri) == ("conflict", f"old/data/{PLACE}")
    assert f"new/data/{PLACE}, which is imported" in entry.reason


def test_links_are_followed_within_the_root_only(tree: Path, lake_root: Path, tmp_path: Path):
    outside = put(tmp_path / "elsewhere/resnet18_b1.json", GOOD)
    folder = tree / "desk/measurements/fp32"
    folder.mkdir(parents=True)
    (folder / "resnet18_b1.json").symlink_to(outside)
    inside = tree / "twin/measurements/fp32"
    inside.mkdir(parents=True)
    (inside / "resnet18_b1.json").symlink_to(tree / "good/measurements/fp32/resnet18_b1.json")
    (tree / "loop").symlink_to(tree)
    lake = Lake(lake_root)
    report = migrate_v1(lake, [tree])
    assert report.skipped == {"link_outside_root": 1, "linked_folder": 1}
    assert lake.hardware_ids() == ["good", "twin"]


def test_a_name_that_is_no_unicode_does_not_stop_the_import(tree: Path, lake_root: Path):
    folder = os.fsencode(tree) + b"/d\xff/measurements/fp32"
    os.makedirs(folder)  # noqa: PTH103 - a Path cannot be made of these bytes
    with open(folder + b"/resnet18_b1.json", "w") as file:  # noqa: PTH123 - the same
        file.write(GOOD)
    report = migrate_v1(Lake(lake_root), [tree])
    assert (report.imported, [entry.code for entry in report.quarantined]) == (1, ["bad_key"])


def test_keys_and_texts_that_are_no_unicode_do_not_stop_the_import(tree: Path, lake_root: Path):
    put(tree / PLACE, json.dumps(good(**{"half \ud800": 1})))
    attempts = {"start_time": "2026-02-05", "hardware_info": {"device_type": "\ud800"}, "errors": ["a@fp32@b1"]}
    put(tree / "desk/calibration_metadata.json", json.dumps(attempts))
    listed = {"hardware_id": "\ud800", "measurements": [{"model": "\ud800", "total_latency_ms": 10**400}]}
    put(tree / "desk/manifest.json", json.dumps(listed))
    lake = Lake(lake_root)
    report = migrate_v1(lake, [tree])
    assert (report.imported, report.failed_attempts, report.set_aside) == (2, 1, 0)
    assert all(line.isprintable() for line in report.lines())
    rows = lake.sql("select warnings, device from runs where hardware_id = 'desk' order by status desc").rows()
    assert rows == [(["unknown_keys: not imported: half \\ud800"], "cpu"), (None, "\\ud800")]


@pytest.mark.parametrize("depth", range(930, 1000, 10))
def test_json_nested_as_deeply_as_the_parser_bears_is_set_aside(depth: int, tree: Path, lake_root: Path):
    put(tree / PLACE, GOOD.replace('"tool_version": "test"', f'"tool_version": {"[" * depth}{"]" * depth}'))
    (entry,) = migrate_v1(Lake(lake_root), [tree]).quarantined
    assert entry.code in ("wrong_type", "nested_too_deeply")


def test_a_latency_too_small_to_divide_by_has_no_throughput(tree: Path, lake_root: Path):
    smallest = dict.fromkeys(("mean", "std", "min", "max", "ci_lower", "ci_upper"), 5e-324)
    put(tree / PLACE, with_latency(**smallest))
    lake = Lake(lake_root)
    migrate_v1(lake, [tree])
    rows = lake.sql("select total_latency_ms, throughput_fps from runs where hardware_id = 'desk'").rows()
    assert rows == [(5e-324, None)]


def test_bad_files_alone_still_leave_a_lake_that_answers(tmp_path: Path, lake_root: Path):
    put(tmp_path / "data" / PLACE, "{")
    lake = Lake(lake_root)
    assert migrate_v1(lake, [tmp_path / "data"]).set_aside == 1
    assert lake.sql("select code from quarantine").rows() == [("truncated_json",)]
    assert lake.check() == []


def test_a_damaged_quarantine_is_named(tree: Path, lake_root: Path):
    lake = Lake(lake_root)
    put(lake_root / "_quarantine" / "x.jsonl", "{")
    with pytest.raises(CorruptLakeError, match=r"x\.jsonl"):
        migrate_v1(lake, [tree])
