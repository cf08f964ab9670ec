"""`--concurrency`: how many requests `lake kv run` and `all` have under way at once, whatever the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llm_server import LlmServer

import groundlake.transition.recall

if TYPE_CHECKING:
    from conftest import Cli

SETTINGS = """
dataset: {{name: recall, task: kv_recall, path: {data}, n_per_bin: 2}}
binning: {{n_bins: 2}}
tokenizer: {{name: words}}
model: {{name: test-model}}
engine: {{type: openai, concurrency: 1}}
output: {{exp_group_id: together}}
"""


@pytest.fixture
def file(cli: Cli) -> Path:
    """Settings that ask one request after the other."""
    data = Path(str(groundlake.transition.recall.__file__)).parent / "data"
    path = cli.folder / "together.yaml"
    path.write_text(SETTINGS.format(data=data))
    return path


def test_so_many_requests_are_under_way_and_nothing_is_asked_anew_with_another_number(cli: Cli, file: Path) -> None:
    cli("kv", "prepare", "-c", file)
    with LlmServer(meet=4) as server:
        there = ("--override", f"engine.base_url={server.url}")
        told = cli("kv", "run", "-c", file, *there, "--concurrency", "4").stdout
        assert "run: budget 1: 4 asked, 4 answered; 4 planned" in told
        assert server.busiest == 4
    said = cli("kv", "run", "-c", file, "--concurrency", "3").stdout
    assert "run: budget 1: nothing to ask, 4 had ended before" in said


def test_the_option_stands_over_the_setting_and_is_checked_as_it_is(cli: Cli, file: Path) -> None:
    told = ("--override", "engine.concurrency=5", "--concurrency", "7", "--print-config")
    for command in ("run", "all"):
        assert "concurrency: 7" in cli("kv", command, "-c", file, *told).stdout
    assert "engine.concurrency: got 0" in cli("kv", "run", "-c", file, "--concurrency", "0", code=2).stderr
    assert "No such option" in cli("kv", "score", "-c", file, "--concurrency", "2", code=2).stderr
