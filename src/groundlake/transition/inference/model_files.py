"""Tells the files of a local model apart from those that lie at the same place another time, without loading them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from groundlake.transition.configuration.settings import TRANSFORMERS

if TYPE_CHECKING:
    from groundlake.transition.configuration.settings import Settings

WEIGHTS: Final = ("*.safetensors", "*.bin", "*.pt", "*.pth")
BESIDE: Final = (
    "config.json",
    "*.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "*.jinja",
)
"""What decides as well what a model is asked and answers."""
MIB: Final = 2**20
READ_WHOLE: Final = 64 * MIB
"""So many bytes of weights, together, are read whole. Of more, names, sizes, headers and both ends are."""
LONGEST_HEADER: Final = 100_000_000
"""As long, in bytes, may the header of a file of safetensors be, by its format."""


def model_files(settings: Settings) -> str | None:
    """Return the fingerprint of a local model: other weights, another configuration or tokenizer have another one.

    Of a folder it is a hash of the files that transformers reads: of all their bytes where the weights have at most 64
    MiB together; else of names, sizes, headers and the first and last MiB of each file of weights, and of all bytes of
    the others. Weights of more than 64 MiB that differ only in the middle, under the same names, are not told apart.
    Of a name of the hub it is the commit that is in the local cache.

    Returns:
        None of an endpoint, and where the model is not on this machine.
    """
    told = settings.model
    if settings.engine.type != TRANSFORMERS:
        return None
    source = str(told.name) if told.path is None else told.path
    folder = Path(source).expanduser()
    try:
        if folder.is_dir():
            return _of_folder(folder, tuple(_states(folder))) if (folder / "config.json").is_file() else None
    except OSError:
        return None
    return _cached_commit(source) if told.path is None else None


def _states(folder: Path) -> list[tuple[str, int, int, int]]:
    """Return the files of a model: name, size, time of the last change and identity on the disk."""
    found = {file for pattern in (*WEIGHTS, *BESIDE) for file in folder.glob(pattern) if file.is_file()}
    told = [(file.name, file.stat()) for file in sorted(found)]
    return [(name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in told]


@lru_cache(maxsize=8)
def _of_folder(folder: Path, states: tuple[tuple[str, int, int, int], ...]) -> str:
    """Hash the files of a folder; once, as long as none of them is changed."""
    weights = {name for name, *_ in states if any(Path(name).match(pattern) for pattern in WEIGHTS)}
    is_read_whole = sum(size for name, size, *_ in states if name in weights) <= READ_WHOLE
    told = hashlib.sha256()
    for name, size, *_ in states:
        whole = is_read_whole or name not in weights
        digest = _whole(folder / name) if whole else _ends(folder / name, size)
        told.update(f"{name}\0{size}\0{digest}\n".encode())
    return told.hexdigest()


def _whole(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(MIB):
            digest.update(piece)
    return digest.hexdigest()


def _ends(file: Path, size: int) -> str:
    """Hash the first and the last MiB of a file, and the header, which names every tensor and where it lies."""
    with file.open("rb") as opened:
        first = opened.read(MIB)
        digest = hashlib.sha256(first)
        header = int.from_bytes(first[:8], "little") + 8 if file.suffix == ".safetensors" else 0
        if len(first) < header <= LONGEST_HEADER:
            digest.update(opened.read(header - len(first)))
        opened.seek(max(size - MIB, 0))
        digest.update(opened.read(MIB))
    return digest.hexdigest()


def _cached_commit(name: str) -> str | None:
    """Return the commit of a model of the hub that is in the local cache."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return None
    try:
        file = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / "main"
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None
