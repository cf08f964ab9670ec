"""What the tests of machines share: an NVIDIA driver that answers as a test wants."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from planted import plant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def nvidia_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Make a tree with the driver, and `pynvml` the module whose text is given; the tree's root comes back."""
    before = sys.modules.pop("pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def build(pynvml: str) -> Path:
        plant(tmp_path / "modules", {"pynvml.py": pynvml})
        monkeypatch.syspath_prepend(tmp_path / "modules")
        return plant(tmp_path / "root", {"proc/driver/nvidia/version": "NVRM version"})

    yield build
    sys.modules.pop("pynvml", None)
    if before is not None:
        sys.modules["pynvml"] = before
