"""A lake ends at its folder: no reader, writer, compaction, vacuum or repair follows a link that is put into it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import CorruptLakeError
from groundlake.store import Lake
from groundlake.sync import sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl
    from conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}
LEAF = "subgraph_timings/hardware_id=dev/precision=fp32/model=net/batch=1"
FOLDERS = ("subgraph_timings", "subgraph_timings/hardware_id=dev", LEAF, "runs", "runs/hardware_id=dev", "a part")


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """Two runs, with parts that could be merged."""
    lake = Lake(lake_root)
    for number in range(2):
        lake.write(RUN | {"run_id": f"r{number}"}, subgraph_timings=timings(2))
    return lake


def moved_out(lake: Lake, name: str) -> tuple[Path, Path]:
    """Move a folder or a part out of the lake, and put a link there: the link, and where it leads."""
    link = min((lake.root / LEAF).iterdir()) if name == "a part" else lake.root / name
    outside = lake.root.parent / "outside" / link.name
    outside.parent.mkdir()
    shutil.move(link, outside)
    link.symlink_to(outside)
    return link, outside


def content(folder: Path) -> dict[str, bytes]:
    return {path.as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", FOLDERS)
def test_nothing_behind_a_link_is_read_written_or_removed(
    name: str, lake: Lake, timings: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    link, outside = moved_out(lake, name)
    before = content(outside.parent)
    doings: list[Callable[[], object]] = [
        lambda: Lake(lake.root).frame("subgraph_timings"),
        lambda: Lake(lake.root).scan("subgraph_timings", hardware_id="dev", model="net").collect(),
        lambda: lake.sql("select count(*) from subgraph_timings").rows(),
        lambda: Lake(lake.root).compact(),
        lambda: Lake(lake.root).vacuum(older_than_s=0, nobody_writes=True),
        lambda: sync(lake.root, tmp_path / "other"),
    ]
    if name != "a part":
        doings.append(lambda: Lake(lake.root).write(RUN, subgraph_timings=timings(2)))
    if name.startswith("runs"):
        doings += [lambda: Lake(lake.root).runs(), lambda: Lake(lake.root).retract("r0", "dev", "wrong")]
    for do in doings:
        with pytest.raises(CorruptLakeError, match="a link, which is not followed") as refused:
            do()
        assert str(refused.value).startswith(f"{link}: ")
    assert content(outside.parent) == before


@pytest.mark.parametrize("name", FOLDERS)
def test_a_check_names_the_link_and_a_repair_sets_the_link_aside_and_not_what_it_leads_to(
    name: str, lake: Lake, cli: Cli
) -> None:
    link, outside = moved_out(lake, name)
    before = content(outside.parent)
    said = cli("check", "--deep", "--repair", code=4).stdout
    assert f"foreign: {link}\n" in said
    assert f"set aside: {link}\n" in said
    assert content(outside.parent) == before
    assert not link.is_symlink()


def test_files_of_nobody_behind_a_linked_folder_stay(lake: Lake, cli: Cli) -> None:
    outside = lake.root.parent / "outside"
    leaf = outside / "precision=fp32" / "model=net" / "batch=1"
    leaf.mkdir(parents=True)
    (leaf / "mine.v01.parquet").write_bytes(b"PAR1")
    (leaf / "mine.v01.parquet.tmp").write_bytes(b"PAR1")
    (lake.root / "subgraph_timings" / "hardware_id=evil").symlink_to(outside)
    told = cli("vacuum", "--older-than", "0s", "--nobody-writes", code=4).stderr
    assert "hardware_id=evil: a link, which is not followed" in told
    assert len(list(leaf.iterdir())) == 2


def test_a_quarantine_that_leads_out_is_not_written(lake: Lake, cli: Cli) -> None:
    outside = lake.root.parent / "outside"
    outside.mkdir()
    (lake.root / "_quarantine").symlink_to(outside)
    part = min((lake.root / LEAF).iterdir())
    part.write_bytes(part.read_bytes()[:-9])
    tree = lake.root.parent / "tree"
    tree.mkdir()
    (tree / "net_b1.json").write_text("{")
    assert "_quarantine: a link" in cli("migrate-v1", "tree", code=4).stderr
    with pytest.raises(CorruptLakeError, match="_quarantine: a link"):
        lake.repair(lake.check())
    assert list(outside.iterdir()) == []


def test_a_lake_behind_a_link_is_a_lake(lake: Lake, timings: Callable[..., pl.DataFrame]) -> None:
    link = lake.root.parent / "link"
    link.symlink_to(lake.root)
    there = Lake(link)
    there.write(RUN, subgraph_timings=timings(2))
    assert there.frame("subgraph_timings").height == 6
    there.compact()
    there.vacuum(older_than_s=0, nobody_writes=True)
    assert there.sql("select count(*) from subgraph_timings").rows() == [(6,)]
    assert there.check() == []
