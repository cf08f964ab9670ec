"""The file of a machine's results: each benchmark keeps its own keys, and leaves those of others alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def keep(path: Path, found: Mapping[str, Any]) -> None:
    """Write results into the file of a machine, in place of earlier ones of the same names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_bytes()) if path.exists() else {}
    path.write_text(json.dumps({**before, **found}, indent=2) + "\n", encoding="utf-8")
