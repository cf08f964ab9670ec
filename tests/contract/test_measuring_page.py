"""The page on measuring names every warning and every check that the code can give, and no other."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "groundlake"
PAGE = (REPOSITORY / "docs" / "measuring.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> set[str]:
    """Names in the first column of the table of a section."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `(\w+)", section, re.MULTILINE))


def test_every_code_of_a_warning_is_explained() -> None:
    texts = [path.read_text(encoding="utf-8") for path in SOURCE.glob("measure/**/*.py")]
    codes = {code for text in texts for code in re.findall(r'code="(\w+)"', text)}
    assert "drift" in codes
    assert first_cells("Warnings") == codes | {"preflight_", "not_representative"}


def test_every_check_of_preflight_is_explained() -> None:
    text = (SOURCE / "preflight.py").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:name=|_skipped\()"(\w+)"', text))
    assert "cpu_governor" in named
    assert first_cells("Preflight") == named
