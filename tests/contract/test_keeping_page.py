"""docs/keeping.md names every finding and every option there is, and docs/reliability.md every test that fills it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from groundlake.maintenance import deep, integrity, repair, vacuum

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "keeping.md").read_text(encoding="utf-8")
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
SOURCES = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (integrity, deep)]


def test_every_finding_is_explained() -> None:
    made = {code for source in SOURCES for code in re.findall(r"Finding\(\s*\"([a-z_]+)\"", source)}
    table = PAGE[PAGE.index("| finding |") : PAGE.index("Exit code 1")]
    assert set(re.findall(r"`([a-z_]+)`[,|]? ", table.replace("`lake init`", "").replace("`lake vacuum`", ""))) == made
    assert made >= integrity.CORRUPT
    assert repair.SET_ASIDE <= integrity.CORRUPT


@pytest.mark.parametrize("code", ["superseded", "orphan", "leftover"])
def test_every_kind_of_dead_file_is_explained(code: str) -> None:
    assert f'"{code}"' in Path(str(vacuum.__file__)).read_text(encoding="utf-8")
    assert f"`{code}`" in PAGE[PAGE.index("## Vacuum") : PAGE.index("## The past")]


def test_every_option_of_the_page_is_one_of_its_commands() -> None:
    told = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - {"--"}
    commands = "".join(
        re.search(rf"^## lake {name}$.*?(?=^## |\Z)", told, re.MULTILINE | re.DOTALL).group()  # type: ignore[union-attr] # each is there
        for name in ("compact", "vacuum", "check", "retract", "sql", "validate")
    )
    assert named <= set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", commands))


def test_every_test_that_fills_the_table_is_there_with_its_row() -> None:
    rows = re.findall(r"^\| (.+?) \|", RELIABILITY, re.MULTILINE)[2:]
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "functional").glob("test_*.py")]
    for row in rows:
        assert any(f'"{row}"' in text for text in texts), row
    for path in re.findall(r"`(tests/\S+\.py)`", RELIABILITY):
        assert (ROOT / path).is_file(), path
