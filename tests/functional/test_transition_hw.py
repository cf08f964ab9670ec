"""`--hw` of `lake kv run` and `all`: looked at before anything is read, asked or written, even where not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from transition_group import Group, Recall

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Cli

WRONG = ("../x", "", "h200_sxn", "their-rack", "none", "a" * 300)
THEIRS = "their_rack"


@pytest.fixture
def server() -> Iterator[Recall]:
    with Recall() as running:
        yield running


def test_an_id_that_is_wrong_is_refused_although_nothing_is_left_to_ask(tmp_path: Path, server: Recall) -> None:
    group = Group(tmp_path / "group", server.url)
    group.prepare()
    assert group.run(hw=THEIRS).asked == 6
    for wrong in WRONG:
        with pytest.raises(UsageError, match="--hw") as raised:
            group.run(hw=wrong)
        assert "leave --hw out" not in str(raised.value)
        assert "left out, runs of an endpoint have hardware_id=none" in str(raised.value)
    assert group.run(hw=THEIRS).asked == group.run().asked == 0
    assert group.rows("select distinct hardware_id from kv_runs") == [(THEIRS,)]


@pytest.mark.parametrize("command", ["all", "run"])
def test_a_command_refuses_a_wrong_id_before_it_does_anything(cli: Cli, server: Recall, command: str) -> None:
    group = Group(cli.folder / "group", server.url)
    before = sorted(cli.folder.rglob("*"))
    said = cli("kv", command, "-c", group.file, "--hw", "../x", code=2).stderr
    assert said.startswith("error: --hw ../x: an id has letters")
    said = cli("kv", command, "-c", "sanity", "--override", "engine.device=cpu", "--hw", "", code=2).stderr
    assert said.startswith("error: --hw '': an id has letters")
    assert "leave --hw out to take the detected one" in said
    assert sorted(cli.folder.rglob("*")) == before
    assert server.asked == []
