"""Find the model behind a name: a torchvision classifier, an encoder, or any factory `package.module:factory`."""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.measure.encoders import ENCODERS, build_encoder, import_transformers, sequence_length, token_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from torch import nn

DEFAULT_SIDE = 224
"""Height and width of a classifier's input, in pixels, unless the table says otherwise."""

INPUT_SIDES = {
    "efficientnet_b1": 240,
    "efficientnet_b2": 288,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "efficientnet_b7": 600,
    "efficientnet_v2_s": 384,
    "efficientnet_v2_m": 384,
    "efficientnet_v2_l": 480,
    "inception_v3": 299,
    "swin_v2_t": 256,
    "swin_v2_s": 256,
    "swin_v2_b": 256,
}
"""Evaluation crop that torchvision documents with the weights of a model, in pixels."""

DETECTION_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""Operators that torchvision names while it is imported, whether or not they could be loaded."""

SHOWN_MATCHES = 5
"""Near matches that an error names."""

_registered: list[torch.library.Library] = []  # torch forgets the operators when their library is collected


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode, and what it takes.

    Attributes:
        input_shape: Shape of one input, without the batch, for example (3, 224, 224).
        make_input: Makes an input of a batch size, batch first, where random numbers of that shape will not do.
    """

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    make_input: Callable[[int], torch.Tensor] | None = None

    def example(self, batch: int, *, dtype: torch.dtype, device: str) -> torch.Tensor:
        """Return an input, batch first, of the model's precision where it takes floating-point values.

        Raises:
            UsageError: The model makes its own input, and what it made is no tensor of this batch size.
        """
        if self.make_input is None:
            return torch.randn((batch, *self.input_shape), device=device).to(dtype)
        made = _made_input(self.name, self.make_input, batch).to(device)
        return made.to(dtype) if made.is_floating_point() else made


def load_model(name: str, *, device: str = "cpu", input_shape: tuple[int, ...] | None = None) -> LoadedModel:
    """Build a model with random weights, or whatever weights its factory gives it.

    Args:
        name: Name of a torchvision classification model or of an encoder, or `package.module:factory` of a callable
            without arguments that returns an `nn.Module`. Factory or module may carry the attribute `input_shape`, or
            a function `example_input(batch)` that makes an input, which then decides alone.
        device: Where to build it: cpu, cuda, cuda:1, or meta for shapes without values.
        input_shape: Shape of one input without the batch; wins over what is known of the model. For an encoder, its
            sequence length.

    Raises:
        UsageError: The name is not known, what it leads to is not a factory of modules, or the model does not take
            the input shape.
        MissingDependencyError: torchvision, or for an encoder transformers, is not installed.
    """
    if name in ENCODERS:
        return _load_encoder(name, device, input_shape)
    build, known_shape = _user_factory(name) if ":" in name else _torchvision_factory(name)
    with torch.device(device):
        module = build()
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"model {name!r}: the factory returned {type(module).__name__}, not a torch.nn.Module\n"
            "  write a function without arguments that returns the module"
        )
    make_input = _declared_input(name, module) or _declared_input(name, build)
    if make_input is not None:
        if input_shape is not None:
            raise UsageError(
                f"model {name!r} makes its own input (example_input), so an input shape cannot be given\n"
                "  leave --input-shape out, or measure the model in a sweep of its own"
            )
        shape = tuple(_made_input(name, make_input, 1).shape[1:])
    else:
        shape = input_shape or known_shape or _declared_shape(module) or (3, DEFAULT_SIDE, DEFAULT_SIDE)
    return LoadedModel(name, module.to(device).eval(), shape, make_input)


def check_names(names: list[str]) -> None:
    """Check every name without a colon, and that what builds it is installed.

    Raises:
        UsageError: A name is neither a torchvision classification model nor an encoder.
        MissingDependencyError: torchvision, or for an encoder transformers, is not installed.
    """
    for name in names:
        if name in ENCODERS:
            _prepare_transformers()
        elif ":" not in name:
            _torchvision_factory(name)


def _load_encoder(name: str, device: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
    length = sequence_length(name, input_shape)
    _prepare_transformers()
    with torch.device(device):
        module = build_encoder(name)
    return LoadedModel(name, module.to(device).eval(), (length,), partial(token_ids, name, length))


def _prepare_transformers() -> None:
    """Import transformers, which imports torchvision where that is installed, and must then find it importable."""
    if find_spec("torchvision") is not None:
        import_torchvision()
    import_transformers()


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


def _torchvision_factory(name: str) -> tuple[Callable[[], object], tuple[int, ...] | None]:
    models = import_torchvision().models
    known = [*models.list_models(module=models), *ENCODERS]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=SHOWN_MATCHES, cutoff=0.5)
        raise UsageError(
            f"model {name!r} is neither a torchvision classification model nor an encoder\n"
            f"  {'did you mean: ' + ', '.join(near) if near else 'nothing has a similar name'}\n"
            "  all names: docs/models.md\n"
            "  your own model: package.module:factory, a function without arguments that returns a torch.nn.Module"
        )
    side = INPUT_SIDES.get(name, DEFAULT_SIDE)
    return lambda: models.get_model(name, weights=None), (3, side, side)


def _user_factory(name: str) -> tuple[Callable[[], object], tuple[int, ...] | None]:
    module_name, _, path = name.partition(":")
    folder = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if folder not in sys.path:
        sys.path.append(folder)  # a console script does not see the folder it is called in
    try:
        found: object = import_module(module_name)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the user's module was found, and something that it imports was not
        raise UsageError(
            f"model {name!r}: there is no module {error.name!r} to import\n"
            f"  looked in {folder} and on PYTHONPATH; the form is package.module:factory"
        ) from error
    except AttributeError as error:
        raise UsageError(f"model {name!r}: module {module_name!r} has no {path!r}: {error}") from error
    if not callable(found):
        raise UsageError(f"model {name!r}: {path!r} is a {type(found).__name__}, not a function that returns a module")
    return found, _declared_shape(found)


def _declared_shape(owner: object) -> tuple[int, ...] | None:
    """Shape that a factory or module names in `input_shape`, for example (3, 32, 32)."""
    declared = getattr(owner, "input_shape", None)
    return tuple(int(size) for size in declared) if isinstance(declared, (tuple, list)) else None


def _declared_input(name: str, owner: object) -> Callable[[int], torch.Tensor] | None:
    """Function that a module or factory makes its input with."""
    declared: Callable[[int], torch.Tensor] | None = getattr(owner, "example_input", None)
    if declared is not None and not callable(declared):
        raise UsageError(
            f"model {name!r}: example_input is a {type(declared).__name__}, not a function\n"
            "  write a function that takes the batch size and returns a tensor, batch first"
        )
    return declared


def _made_input(name: str, make_input: Callable[[int], torch.Tensor], batch: int) -> torch.Tensor:
    """Make an input, and see that it is one tensor of the batch size that was asked for."""
    made: object = make_input(batch)
    if isinstance(made, torch.Tensor) and made.shape[:1] == (batch,):
        return made
    got = f"shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
    raise UsageError(f"model {name!r}: example_input({batch}) must return a tensor with batch {batch} first, got {got}")
