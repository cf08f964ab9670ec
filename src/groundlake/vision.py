"""Imports torchvision, also where its compiled operators do not load."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from groundlake.errors import MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType

DETECTION_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""Operators that torchvision names while it is imported, whether or not they could be loaded."""

_registered: list[torch.library.Library] = []  # torch forgets the operators when their library is collected


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators do not load.

    A torchvision built for CUDA brings operators that do not load beside a torch without CUDA, and its import then
    fails on the missing schema of `torchvision::nms`. Classification needs none of them, so their schemas are enough.

    Raises:
        MissingDependencyError: torchvision is not installed.
    """
    if "torchvision" not in sys.modules:
        spec = find_spec("torchvision")
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependencyError("torchvision is not installed\n  pip install 'groundlake[measure]'")
        _load_operators(spec.submodule_search_locations[0])
        missing = [schema for name, schema in DETECTION_SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
        if missing and not _registered:
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call] # torch leaves it untyped
            for schema in missing:
                library.define(schema)  # type: ignore[no-untyped-call] # the same
            _registered.append(library)
    return import_module("torchvision")


def _load_operators(folder: str) -> None:
    """Load torchvision's compiled operators before its import does, to learn whether they can be loaded.

    Registering a schema first would make a library that does load fail: an operator is defined only once.
    """
    spec = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("_C")
    if spec is None or spec.origin is None:
        return
    try:
        torch.ops.load_library(spec.origin)  # type: ignore[no-untyped-call] # the same
    except OSError:  # built against libraries that this machine lacks; torchvision itself ignores the same error
        return
