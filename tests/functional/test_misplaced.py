"""A file at another place than its own is named with that place, put back, and neither merged nor copied to others."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest

from groundlake.commit import Commit
from groundlake.errors import CorruptLakeError
from groundlake.intake import leaves
from groundlake.layout import new_id
from groundlake.schemas import Runs
from groundlake.store import Lake
from groundlake.sync import sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Cli

RUN = {"hardware_id": "a", "precision": "fp16", "batch": 1}
SEEN = "select hardware_id, model, run_id, count(*) from subgraph_timings group by all order by all"


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """Two devices, two models, two runs of each; m_a has another number of rows than m_b."""
    lake = Lake(lake_root)
    for device in ("a", "b"):
        for model, rows in (("m_a", 2), ("m_b", 3)):
            for number in range(2):
                run = {"hardware_id": device, "model": model, "run_id": f"{device}-{model}-{number}"}
                lake.write(RUN | run, subgraph_timings=timings(rows))
    return lake


def folder(lake: Lake, model: str, device: str = "a") -> Path:
    return lake.root / f"subgraph_timings/hardware_id={device}/precision=fp16/model={model}/batch=1"


def part(lake: Lake, model: str, number: int = 0) -> Path:
    return sorted(folder(lake, model).iterdir())[number]


def move(path: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return path.rename(place)


def codes(lake: Lake) -> list[str]:
    return [finding.code for finding in lake.check()]


def test_a_part_in_another_models_folder_is_named_and_put_back(lake: Lake, cli: Cli) -> None:
    before, home = lake.sql(SEEN).rows(), part(lake, "m_a")
    there = move(home, folder(lake, "m_b") / home.name)
    assert lake.sql(SEEN).rows() != before, "a view believes the folders"
    said = cli("check", code=4).stdout
    assert f"misplaced: {there}\n  belongs to {home}" in said
    assert said.endswith("1 findings\n"), "its run is not said to have lost rows"
    assert codes(lake) == ["misplaced"]
    assert lake.check_deep(lake.check()).findings == ()
    assert f"put back: {there}\n  -> {home}" in cli("check", "--repair", code=4).stdout
    assert (cli("check", "--deep").stdout.partition(";")[0], lake.sql(SEEN).rows()) == ("all is well", before)


@pytest.mark.parametrize("how", ["moved", "swapped"])
def test_neither_a_compaction_nor_a_sync_spreads_what_is_misplaced(
    how: str, lake: Lake, cli: Cli, tmp_path: Path
) -> None:
    mine, other = part(lake, "m_a"), part(lake, "m_b")
    if how == "moved":
        mine.rename(folder(lake, "m_b") / mine.name)
    else:
        move(mine, tmp_path / "x")
        other.rename(mine)
        (tmp_path / "x").rename(other)
    there = sorted(lake.root.rglob("*"))
    refused = cli("compact", "--hw", "a", code=4).stderr
    assert "the ledger knows no rows of run a-m_" in refused
    assert "`lake check` says where it belongs" in refused
    assert sorted(lake.root.rglob("*")) == there
    with pytest.raises(CorruptLakeError, match="lake check"):
        sync(lake.root, tmp_path / "elsewhere")
    lake.repair(lake.check())
    assert len(lake.compact()) == 2
    assert lake.check() == []
    assert sync(lake.root, tmp_path / "elsewhere").runs == 8
    assert Lake(tmp_path / "elsewhere").sql(SEEN).rows() == lake.sql(SEEN).rows()


def test_two_parts_that_have_each_others_place_are_named_and_both_put_back(lake: Lake, tmp_path: Path) -> None:
    mine, other = part(lake, "m_a"), part(lake, "m_b")
    contents = mine.read_bytes(), other.read_bytes()
    mine.write_bytes(contents[1])
    other.write_bytes(contents[0])
    found = {finding.where: finding for finding in lake.check()}
    assert {finding.code for finding in found.values()} == {"misplaced"}
    assert f"belongs to {other}, where another file lies" in found[str(mine)].what
    assert "copy" not in found[str(mine)].what
    assert {moved.now for moved in lake.repair(found.values()) if moved.back} == {mine, other}
    assert (mine.read_bytes(), other.read_bytes()) == contents
    assert lake.check() == []


@pytest.mark.parametrize("renamed", ["subgraph_timings/hardware_id=a", "model", "runs/hardware_id=a"])
def test_a_folder_that_was_renamed_is_one_finding(renamed: str, lake: Lake) -> None:
    before = lake.sql(SEEN).rows()
    home = folder(lake, "m_a").parent if renamed == "model" else lake.root / renamed
    there = home.with_name(home.name.partition("=")[0] + "=else")
    home.rename(there)
    assert Lake(lake.root).sql(SEEN).rows() != before
    (finding,) = lake.check()
    assert (finding.code, finding.where) == ("misplaced", str(there))
    assert f"belong to {home}" in finding.what
    lake.repair([finding])
    assert lake.check() == []
    assert Lake(lake.root).sql(SEEN).rows() == before


def test_a_ledger_file_of_another_device_is_named_and_put_back(lake: Lake, cli: Cli, tmp_path: Path) -> None:
    before = lake.sql(SEEN).rows()
    home = min((lake.root / "runs/hardware_id=a").iterdir())
    there = home.rename(lake.root / "runs/hardware_id=b" / home.name)
    assert lake.sql(SEEN).rows() != before
    (finding,) = lake.check()
    assert (finding.code, finding.where) == ("misplaced", str(there))
    assert f"belongs to {home}" in finding.what
    assert "`lake check` names the ledger file" in cli("compact", code=4).stderr
    with pytest.raises(CorruptLakeError, match="ledger of b has runs whose rows lie under a"):
        sync(lake.root, tmp_path / "elsewhere")
    lake.repair([finding])
    assert (lake.check(), Lake(lake.root).sql(SEEN).rows()) == ([], before)
    shutil.copy(home, there)
    (finding,) = lake.check()
    assert (finding.code, finding.where) == ("foreign", str(there))
    assert f"a copy of {home}" in finding.what
    lake.repair([finding])
    assert (lake.check(), Lake(lake.root).sql(SEEN).rows()) == ([], before)


def test_statements_of_another_device_that_were_merged_with_its_own_are_named(lake: Lake) -> None:
    home = min((lake.root / "runs/hardware_id=a").iterdir())
    home.rename(lake.root / "runs/hardware_id=b" / home.name)
    lake.compact_runs("b")
    (finding,) = lake.check()
    assert (finding.code, finding.moves) == ("misplaced", ())
    assert finding.what.startswith("1 of its 5 statements")


def test_a_copy_in_another_models_folder_is_set_aside_and_not_copied_on(lake: Lake, cli: Cli, tmp_path: Path) -> None:
    before, original = lake.sql(SEEN).rows(), part(lake, "m_a")
    copy = folder(lake, "m_b") / original.name
    shutil.copy(original, copy)
    assert lake.sql(SEEN).rows() != before
    sync(lake.root, tmp_path / "elsewhere")
    assert Lake(tmp_path / "elsewhere").sql(SEEN).rows() == before
    said = cli("check", code=4).stdout
    assert f"foreign: {copy}\n  a copy of {original}" in said
    assert said.endswith("1 findings\n")
    assert "set aside" in cli("check", "--repair", code=4).stdout
    assert (lake.check(), lake.sql(SEEN).rows()) == ([], before)


def test_after_a_compaction_a_part_is_known_by_its_new_place(lake: Lake) -> None:
    lake.compact()
    lake.vacuum(older_than_s=0, nobody_writes=True)
    assert lake.check() == []
    mine, other = part(lake, "m_a"), part(lake, "m_b")
    assert mine.name == other.name
    contents = mine.read_bytes(), other.read_bytes()
    mine.write_bytes(contents[1])
    other.write_bytes(contents[0])
    assert codes(lake) == ["misplaced"] * 2
    lake.repair(lake.check())
    assert (mine.read_bytes(), other.read_bytes()) == contents


def test_a_part_that_was_moved_and_changed_is_foreign_and_its_rows_are_missed_by_path(lake: Lake) -> None:
    home = part(lake, "m_a")
    there = home.rename(folder(lake, "m_b") / home.name)
    rows = pl.read_parquet(there, hive_partitioning=False)
    changed = rows.with_columns(latency_mean_ms=0.75).to_arrow().cast(pq.read_schema(there))
    pq.write_table(changed, there)
    found = {finding.code: finding for finding in lake.check()}
    assert set(found) == {"foreign", "missing_rows"}
    assert found["foreign"].where == str(there)
    assert f"0 of 2 rows of subgraph_timings are there: {home} is not there" in found["missing_rows"].what


def test_where_the_ledger_names_no_files_rows_are_counted_by_device(lake: Lake) -> None:
    ledger = pl.concat([lake.runs(), Runs.empty_frame()]).with_columns(fact_files=None).cast(Runs.polars_schema())
    shutil.rmtree(lake.root / "runs/hardware_id=a")
    shutil.rmtree(lake.root / "runs/hardware_id=b")
    with Commit(lake.root) as commit:
        commit.stage(Runs, new_id(), leaves(Runs, ledger))
        commit.publish()
    assert lake.check() == []
    original = part(lake, "m_a")
    copy = folder(lake, "m_b") / original.name
    shutil.copy(original, copy)
    (surplus,) = lake.check()
    assert "4 rows of subgraph_timings are there instead of 2" in surplus.what
    assert str(copy) in surplus.what
    copy.unlink()
    there = original.rename(folder(lake, "m_a", "b") / original.name)
    found = {finding.code: finding for finding in lake.check()}
    assert set(found) == {"foreign", "missing_rows"}
    assert found["foreign"].where == str(there)


def test_what_a_lost_ledger_file_leaves_is_told_as_that_in_few_lines(lake: Lake, cli: Cli) -> None:
    for path in (lake.root / "runs/hardware_id=a").iterdir():
        path.unlink()
    done = cli("check", code=1)
    assert done.stdout.startswith("orphan: a\n  no run points at 4 files of a, such as ")
    assert "or the ledger file that names its runs is lost" in done.stdout
    assert f"if you miss runs of a, restore {lake.root}/runs/hardware_id=a from a copy" in done.stdout
    assert done.stdout.endswith("1 findings\n")
    assert "remains of interrupted work, or of a lost ledger file" in done.stderr
