"""Names that mean something to a shell, a path, SQL, HTML or a glob are names in a lake, and nothing else."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from v1_json import measurement

from groundlake import Lake
from groundlake.errors import LakeError, UsageError
from groundlake.ground_truth import GroundTruthLoader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".hidden",
    "a/b/../../c",
    "a=b",
    "100%",
    "%2e%2e%2f",
    'it\'s "quoted" `so`',
    "'; DROP VIEW runs; --",
    "$(touch hacked) ; rm -rf *",
    "<script>alert('x')</script>",
    "*?[a-z]{x}",
    "-rf",
    "~user",
    "back\\slash",
    "Gerät µ 日本 عربى",
    "__HIVE__",
    "runs",
]


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """A lake with each name as that of a device, and of its model."""
    lake = Lake(lake_root)
    for name in NAMES:
        lake.write({"hardware_id": name, "model": name, "precision": "fp32", "batch": 1}, subgraph_timings=timings())
    return lake


def test_each_name_comes_back_as_it_was_by_every_door(lake: Lake) -> None:
    assert sorted(lake.hardware_ids()) == sorted(NAMES)
    assert sorted(name for (name,) in lake.sql("select model from runs").rows()) == sorted(NAMES)
    counted = dict(lake.sql("select hardware_id, count(*) from subgraph_timings group by hardware_id").rows())
    assert counted == dict.fromkeys(NAMES, 3)
    loader = GroundTruthLoader(lake.root)
    for name in NAMES:
        assert lake.frame("subgraph_timings", hardware_id=name, model=name)["model"].to_list() == [name] * 3
        assert loader.load(name, name, "fp32", 1).hardware_id == name


def test_no_name_leads_out_of_the_lake(lake: Lake, tmp_path: Path) -> None:
    assert {path.name for path in tmp_path.iterdir()} <= {"lake", "lake.db"}
    depths = {len(path.relative_to(lake.root).parts) for path in (lake.root / "subgraph_timings").rglob("*.parquet")}
    assert depths == {6}  # the table, four keys, the file
    assert all(str(path).isascii() for path in lake.root.rglob("*"))


def test_the_lake_is_kept_as_any_other(lake: Lake, cli) -> None:
    before = lake.sql("select * exclude (part) from subgraph_timings order by all").rows()
    for name in NAMES:
        lake.write({"hardware_id": name, "kind": "note"})
    cli("compact", "--root", lake.root)
    lake.vacuum(older_than_s=0, nobody_writes=True)
    assert "all is well" in cli("check", "--deep", "--root", lake.root).stdout
    assert lake.sql("select * exclude (part) from subgraph_timings order by all").rows() == before


@pytest.mark.parametrize("name", ["../../etc/passwd", "'; DROP VIEW runs; --", "$(touch hacked) ; rm -rf *", "-rf"])
def test_commands_take_a_name_for_a_name(lake: Lake, cli, tmp_path: Path, name: str) -> None:
    told = cli("show", "--root", lake.root, "--format", "json", "--", name, name).stdout
    assert sorted(row["subgraph_id"] for row in json.loads(told)) == [0, 1, 2]
    assert "passwd" in cli("ls", "--root", lake.root, "--format", "json").stdout
    assert not (tmp_path / "hacked").exists()
    assert len(lake.hardware_ids()) == len(NAMES)


@pytest.mark.parametrize("name", ["", " ", "0042", "a\nb", "a\x00b", "x" * 300])
def test_what_cannot_be_a_folder_is_refused_and_nothing_is_written(
    lake_root: Path, timings: Callable[..., pl.DataFrame], name: str
) -> None:
    with pytest.raises((LakeError, UsageError)):
        Lake(lake_root).write({"hardware_id": "board", "model": name or " ", "batch": 1}, subgraph_timings=timings())
    assert not list(lake_root.rglob("*.parquet")) or Lake(lake_root).runs().is_empty()


def test_names_in_files_that_are_imported_stay_names_or_set_the_file_aside(cli, tmp_path: Path) -> None:
    folder = tmp_path / "tree" / "board" / "measurements" / "fp32"
    folder.mkdir(parents=True)
    for name in NAMES:
        file = folder / f"{name.replace('/', '')}_b1.json"
        file.write_text(json.dumps(measurement(model=name)), encoding="utf-8")
    said = cli("migrate-v1", "tree", code=1).stdout  # a model with a slash cannot be what the name of its file says
    sound = [name for name in NAMES if "/" not in name]
    assert re.search(rf"runs imported +{len(sound)}\b", said)
    assert said.count("contradicting_model") == len(NAMES) - len(sound)
    rows = Lake(tmp_path / "lake").sql("select model from runs").rows()
    assert sorted(name for (name,) in rows) == sorted(sound)
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "lake", "lake.db"}
