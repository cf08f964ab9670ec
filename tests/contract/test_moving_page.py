"""docs/moving.md says what the code does: its figures, its options, its variables."""

from __future__ import annotations

import re
from pathlib import Path

from groundlake.cli.app import ORDER
from groundlake.cli.moving import LOOSE_LEDGER_FILES
from groundlake.places import HOW_TO_REACH
from groundlake.sync import folder, ssh, transfer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "moving.md").read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_code() -> None:
    assert f"at most {transfer.MOST_BYTES // 2**20} MiB or {transfer.MOST_FILES} files" in PAGE
    assert f"({LOOSE_LEDGER_FILES} files of a hardware id)" in PAGE
    assert f"`{folder.STAGING_PREFIX}*.tmp`" in PAGE


def test_every_option_and_variable_of_the_page_is_there() -> None:
    told = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    text = re.search(r"^## lake sync$.*?(?=^## )", told, re.MULTILINE | re.DOTALL)
    assert text
    assert "sync" in ORDER
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - {"--from", "--root"} <= set(
        re.findall(r"--[a-z][a-z-]+", text.group())
    )
    assert "LAKE_SSH" in Path(str(ssh.__file__)).read_text(encoding="utf-8")
    for name in re.findall(r"AWS_[A-Z_]+", HOW_TO_REACH):
        assert f"`{name}`" in PAGE
