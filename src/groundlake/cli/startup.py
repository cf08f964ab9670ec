"""Keeps what a command does not need from being imported while it starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec


class _HiddenFromPandera:
    """A finder of modules that has no pandas for pandera, and leaves every other import alone."""

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        """Raise for pandas while pandera is being imported; return None, which is "ask the next", otherwise."""
        if name == "pandas" and _is_being_imported("pandera"):
            raise ModuleNotFoundError("No module named 'pandas'", name=name)  # pandera looks for these words
        return None


def keep_pandas_out() -> None:
    """Let pandera, whose models of polars are all we use, not import pandas and Spark where they are installed.

    It would take longer than all else that a command does. Whoever needs pandas in this process still gets it; only
    pandera's own models of pandas are not to be had any more. So this is for our own command line, not for a library.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _HiddenFromPandera())


def _is_being_imported(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))
