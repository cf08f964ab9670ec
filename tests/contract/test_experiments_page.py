"""The page on experiments names every warning and every question that the code has, and no other."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "experiments.md").read_text(encoding="utf-8")
BASE = {"experiment_energy", "experiment_latency_summary"}
"""Views that others stand on; the page on views has them."""


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_every_warning_is_explained_with_its_threshold() -> None:
    from groundlake.experiment import quality

    texts = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "src/groundlake/experiment").glob("*.py")]
    codes = {code for text in texts for code in re.findall(r'code="(\w+)"', text)}
    assert "short_duration" in codes
    table = section("Warnings")
    assert set(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) == codes
    for threshold in (f"less than {quality.MIN_DURATION_S:.0f} s", f"{quality.MAX_DRIFT_C:.0f} °C"):
        assert threshold in table
    assert f"fewer than {quality.MIN_PROMPTS} prompts" in table


def test_every_query_about_experiments_is_named() -> None:
    queries = {path.stem for path in (REPOSITORY / "queries" / "experiments").glob("*.sql")}
    assert "experiment_summary" in queries
    assert {name for name in queries if f"`{name}" in PAGE or f" {name}" in PAGE} >= queries - BASE


def test_every_command_is_shown() -> None:
    commands = re.findall(r"^## lake (experiment .+)$", (REPOSITORY / "docs/cli.md").read_text("utf-8"), re.MULTILINE)
    shown = {name for name in commands if f"lake {name}" in PAGE}
    assert shown >= set(commands) - {"experiment study", "experiment study list"}
