"""Fingerprint of the folder of a model: two models of one name, one shape and other weights have different ones."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DECISIVE = (
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "merges.txt", "chat_template*", "*.model", "*.py", "*.index.json"),
    *("*.safetensors", "*.bin", "*.pt", "*.pth"),
)
"""Names of the files that decide what a model answers; a licence or a description does not."""

WHOLE_BYTES = 64 * 2**20
"""A larger file is read in parts: hashing 100 GB would take longer than the measurement."""

PARTS, PART_BYTES = 64, 64 * 2**10
"""So many parts are read of a large file, evenly spread from its beginning, where the header is, to its end."""


def fingerprint(folder: Path) -> dict[str, str] | None:
    """Hash of each decisive file by its name; None where there is no such folder, as for a name on a hub."""
    if not folder.is_dir():
        return None
    files = sorted(each for each in folder.iterdir() if any(fnmatch(each.name, form) for form in DECISIVE))
    found = {}
    for file in files:
        if file.is_file():
            told = file.stat()
            found[file.name] = _hash(file, told.st_size, told.st_mtime_ns)
    return found


@lru_cache(maxsize=256)
def _hash(file: Path, size: int, _changed_ns: int) -> str:
    """Hash of a file's size and content, or of parts of a large one; the arguments make a changed file another one."""
    made = hashlib.sha256(f"{size}:".encode())
    with file.open("rb") as opened:
        if size <= WHOLE_BYTES:
            made.update(opened.read())
        else:
            for part in range(PARTS):
                opened.seek((size - PART_BYTES) * part // (PARTS - 1))
                made.update(opened.read(PART_BYTES))
    return made.hexdigest()
