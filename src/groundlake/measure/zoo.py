"""Find the model behind a name: a torchvision classifier, an encoder, or any factory `package.module:factory`."""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from typing import TYPE_CHECKING

import torch

from groundlake.errors import UsageError
from groundlake.measure.encoder_table import ENCODERS, sequence_length
from groundlake.measure.encoders import build_encoder, import_transformers, token_ids
from groundlake.measure.inputs import CHANNELS, DEFAULT_SIDE, own_shape
from groundlake.vision import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from torch import nn

SHOWN_MATCHES = 5
"""Near matches that an error names."""


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
    require_input(name, input_shape)
    with torch.device(device):
        module = build()
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"model {name!r}: the factory returned {type(module).__name__}, not a torch.nn.Module\n"
            "  write a function without arguments that returns the module"
        )
    make_input = _declared_input(name, module) or _declared_input(name, build)
    if make_input is not None:
        _refuse_shape(name, input_shape)
        shape = tuple(_made_input(name, make_input, 1).shape[1:])
    else:
        shape = input_shape or known_shape or _declared_shape(module) or (CHANNELS, DEFAULT_SIDE, DEFAULT_SIDE)
    return LoadedModel(name, module.to(device).eval(), shape, make_input)


def check_names(names: list[str]) -> None:
    """Check every name, and that what builds it is installed; own modules are imported, and nothing is built.

    Raises:
        UsageError: A name is neither a torchvision classification model nor an encoder nor a factory of modules.
        MissingDependencyError: torchvision, or for an encoder transformers, is not installed.
    """
    for name in names:
        if name in ENCODERS:
            _prepare_transformers()
        elif ":" in name:
            _user_factory(name)
        else:
            _torchvision_factory(name)


def known_shape(name: str, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Shape of one input of a model, as far as it is known before the model is built.

    Args:
        name: Name of the model.
        shape: Shape that was asked for; it wins.
    """
    if shape is not None or ":" not in name:
        return shape or own_shape(name)
    return _user_factory(name)[1]


def require_input(name: str, shape: tuple[int, ...] | None) -> None:
    """Raise where a model is known, before it is built, not to take inputs of a shape.

    Raises:
        UsageError: It makes its own input, or takes inputs of another kind.
    """
    if shape is None:
        return
    if name in ENCODERS:
        sequence_length(name, shape)
    elif ":" in name:
        if _declared_input(name, _user_factory(name)[0]) is not None:
            _refuse_shape(name, shape)
    elif len(shape) != len(own := own_shape(name) or ()) or shape[:1] != own[:1]:
        raise UsageError(
            f"model {name!r} takes images of {CHANNELS} channels, got the input shape {','.join(map(str, shape))}\n"
            f"  give channels, height and width, for example --input-shape {CHANNELS},160,160"
        )


def _refuse_shape(name: str, shape: tuple[int, ...] | None) -> None:
    if shape is not None:
        raise UsageError(
            f"model {name!r} makes its own input (example_input), so an input shape cannot be given\n"
            "  leave --input-shape out, or measure the model in a sweep of its own"
        )


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
    return lambda: models.get_model(name, weights=None), own_shape(name)


def _user_factory(name: str) -> tuple[Callable[[], object], tuple[int, ...] | None]:
    module_name, _, path = name.partition(":")
    module = _user_module(name, module_name)
    found: object = module
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            raise UsageError(f"model {name!r}: module {module_name!r} has no {path!r}\n  {_neighbours(module, path)}")
        found = getattr(found, attribute)
    if not callable(found):
        raise UsageError(f"model {name!r}: {path!r} is {_a(found)}, not a function that returns a module")
    _refuse_arguments(name, path, found)
    return found, _declared_shape(found)


def _user_module(name: str, module_name: str) -> ModuleType:
    """Import the module of a factory: from the current folder, too, which a console script does not see."""
    folder = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return import_module(module_name)
    except Exception as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if not module_name or (absent is not None and f"{module_name}.".startswith(f"{absent}.")):
            raise UsageError(
                f"model {name!r}: there is no module {module_name!r} to import\n"
                f"  looked in {folder} and on PYTHONPATH; the form is package.module:factory"
            ) from error
        raise UsageError(
            f"model {name!r}: module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _neighbours(module: ModuleType, path: str) -> str:
    """What a module has to call under a similar name, or at all."""
    known = [name for name, found in vars(module).items() if callable(found) and not name.startswith("_")]
    near = difflib.get_close_matches(path, known, n=SHOWN_MATCHES, cutoff=0.5)
    if near:
        return f"did you mean: {', '.join(f'{module.__name__}:{each}' for each in near)}"
    return f"it has {', '.join(known[:SHOWN_MATCHES])}" if known else "it has no function and no class"


def _refuse_arguments(name: str, path: str, factory: Callable[..., object]) -> None:
    """Raise where a factory cannot be called without arguments; what tells no signature is tried."""
    try:
        parameters = signature(factory).parameters.values()
    except (TypeError, ValueError):
        return
    stars = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    needed = [each.name for each in parameters if each.default is Parameter.empty and each.kind not in stars]
    if needed:
        raise UsageError(
            f"model {name!r}: a factory takes no arguments, and {path!r} needs {', '.join(needed)}\n"
            f"  wrap it in a function: def make(): return {path}({', '.join(f'{each}=...' for each in needed)})"
        )


def _a(found: object) -> str:
    """Type of an object, with its article."""
    word = type(found).__name__
    return f"{'an' if word[0].lower() in 'aeiou' else 'a'} {word}"


def _declared_shape(owner: object) -> tuple[int, ...] | None:
    """Shape that a factory or module names in `input_shape`, for example (3, 32, 32)."""
    declared = getattr(owner, "input_shape", None)
    return tuple(int(size) for size in declared) if isinstance(declared, (tuple, list)) else None


def _declared_input(name: str, owner: object) -> Callable[[int], torch.Tensor] | None:
    """Function that a module or factory makes its input with."""
    declared: Callable[[int], torch.Tensor] | None = getattr(owner, "example_input", None)
    if declared is not None and not callable(declared):
        raise UsageError(
            f"model {name!r}: example_input is {_a(declared)}, not a function\n"
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
