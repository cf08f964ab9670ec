"""Policies that choose which entries of the cache are kept, as kvpress computes them.

kvpress is asked for a fraction to remove, we say what is kept. Importing it changes transformers for the whole process
(every attention function is wrapped, for policies that we do not offer, and a pipeline is registered), and a press
leaves a part of the model registered on every layer; here all of that is undone.

Sources: SnapKV (Li et al. 2024, arXiv:2404.14469); streaming LLM (Xiao et al. 2023, arXiv:2309.17453), without its
rotation of positions; expected attention (Devoto et al. 2025, arXiv:2510.00636).
"""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import version
from math import floor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.llm.loading import import_transformers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from groundlake.transition.engines.base import Setting

NONE: Final = "none"
_CLASSES = {
    "snapkv": "SnapKVPress",
    "expected_attention": "ExpectedAttentionPress",
    "streaming_llm": "StreamingLLMPress",
}
DEFAULTS: Mapping[str, Mapping[str, Setting]] = MappingProxyType(
    {
        NONE: {},
        "snapkv": {"window_size": 64, "kernel_size": 5},
        "expected_attention": {
            "n_future_positions": 512,
            "n_sink": 4,
            "use_covariance": True,
            "use_vnorm": True,
            "epsilon": 0.0,
        },
        "streaming_llm": {"n_sink": 4},
    }
)
"""Policies and all their settings, as kvpress 0.5.5 has them; a test compares the two."""
POSITIVE = ("window_size", "kernel_size", "n_future_positions")
ALWAYS_KEPT = ("window_size", "n_sink")
"""Settings that name entries which are kept whatever their score: they must leave something to choose."""


def kept_of(length: int, budget: float) -> int:
    """Return how many of `length` entries a budget keeps: the nearest number, at least one."""
    return max(1, floor(length * budget + 0.5))


def ratio_removed(length: int, kept: int) -> float:
    """Return the fraction to remove that makes kvpress keep exactly so many entries.

    kvpress keeps int(length * (1 - ratio)); aiming at the middle between two numbers, rounding cannot take one away.
    """
    return 1 - (kept + 0.5) / length


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy with its settings.

    Attributes:
        name: none, snapkv, expected_attention or streaming_llm.
        settings: All its settings; those that are not given are kvpress' own.
        adapt: Make the entries that are always kept fewer where they would be more than half of all that are kept;
            without it such a budget is refused.

    Raises:
        UsageError: There is no such policy or setting, or a setting is out of its range.
    """

    name: str = NONE
    settings: Mapping[str, Setting] = field(default_factory=dict)
    adapt: bool = True

    def __post_init__(self) -> None:
        if self.name not in DEFAULTS:
            raise UsageError(f"policy must be one of {', '.join(DEFAULTS)}, got {self.name!r}")
        known = DEFAULTS[self.name]
        for setting, value in self.settings.items():
            if setting not in known:
                raise UsageError(f"policy {self.name}: no setting {setting!r}; it has {', '.join(known) or 'none'}")
            self._check(setting, value, known[setting])
        object.__setattr__(self, "settings", MappingProxyType({**known, **self.settings}))

    def _check(self, setting: str, value: Setting, default: Setting) -> None:
        """Raise unless a setting has the type of its default and is in its range."""
        wrong = f"policy {self.name}: {setting}"
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise UsageError(f"{wrong} must be true or false, got {value!r}")
            return
        numbers = int if isinstance(default, int) else (int, float)
        least = 1 if setting in POSITIVE else 0
        if isinstance(value, bool) or not isinstance(value, numbers) or not least <= value < float("inf"):
            what = "a whole number" if isinstance(default, int) else "a number"
            raise UsageError(f"{wrong} must be {what} of at least {least}, got {value!r}")
        if setting == "kernel_size" and not int(value) % 2:
            raise UsageError(f"{wrong} must be odd, so that it has a middle, got {value}")

    def require(self, budget: float) -> None:
        """Raise unless the policy can apply a budget.

        Raises:
            UsageError: It keeps everything, and the budget is less.
        """
        if self.name == NONE and budget < 1:
            raise UsageError(
                f"budget {budget:g}: policy none keeps the whole cache, so that only budget 1 can be applied\n"
                f"  take one of {', '.join(_CLASSES)}"
            )

    def settings_for(self, length: int, kept: int) -> Mapping[str, Setting]:
        """Return the settings with which `kept` of `length` entries are chosen.

        Raises:
            UsageError: So few entries cannot be chosen with these settings.
        """
        settings = dict(self.settings)
        for setting in ALWAYS_KEPT:
            wanted = settings.get(setting)
            if not isinstance(wanted, int) or kept == length or wanted <= kept // 2:
                continue
            least = 1 if setting in POSITIVE else 0
            if not self.adapt or kept // 2 < least:
                raise UsageError(
                    f"policy {self.name}: {setting} {wanted} is more than half of the {kept} entries (of {length}) "
                    "that the budget keeps"
                )
            settings[setting] = kept // 2
        return settings

    def press(self, length: int, kept: int, *, behind: int = 0) -> Any | None:  # noqa: ANN401 - kvpress has no types
        """Return the press that keeps exactly `kept` of `length` entries; None where nothing is to be removed.

        Args:
            length: Entries of which it chooses.
            kept: How many it keeps.
            behind: So many tokens behind them it sees as well, but never keeps.

        Raises:
            UsageError: So few entries cannot be chosen with these settings.
            MissingDependencyError: kvpress is not installed.
        """
        if kept >= length:
            return None
        made = getattr(import_kvpress(), _CLASSES[self.name])
        ratio = ratio_removed(length + behind, kept + behind)
        press = made(compression_ratio=ratio, **self.settings_for(length, kept))
        return _keeping_none_behind(press, kept, behind) if behind else press


def _keeping_none_behind(press: Any, kept: int, behind: int) -> Any:  # noqa: ANN401 - kvpress has no types
    """Let a press score all entries, and keep the best of those that do not stand at the end."""

    def compress(module: Any, states: Any, keys: Any, values: Any, attentions: Any, kwargs: Any) -> tuple[Any, Any]:  # noqa: ANN401, PLR0917 - as kvpress calls it
        scores = press.score(module, states, keys, values, attentions, kwargs)[..., :-behind]
        chosen = scores.topk(kept, dim=-1).indices[..., None].expand(-1, -1, -1, keys.shape[-1])
        return keys.gather(2, chosen).contiguous(), values.gather(2, chosen).contiguous()

    press.compress = compress
    return press


@cache
def import_kvpress() -> Any:  # noqa: ANN401 - kvpress has no types
    """Import kvpress, and leave transformers as it was.

    Raises:
        MissingDependencyError: It is not installed, or does not work with this transformers.
    """
    import_transformers()
    if sys.modules.get("kvpress") is not None:  # whoever imported it may want what it changes
        return sys.modules["kvpress"]
    try:
        with _transformers_unchanged(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module("kvpress")
    except ImportError as error:
        raise MissingDependencyError(
            f"compressing the cache of a model in this process needs kvpress: {str(error).splitlines()[0]}\n"
            "  pip install 'groundlake[transition]'"
        ) from error


@contextmanager
def _transformers_unchanged() -> Iterator[None]:
    """Put back what an import changes in the tables of transformers."""
    functions = import_module("transformers.modeling_utils").ALL_ATTENTION_FUNCTIONS
    tasks = import_module("transformers.pipelines").PIPELINE_REGISTRY.supported_tasks
    own, known = dict(functions._local_mapping), set(tasks)  # noqa: SLF001 - the public way would copy, not put back
    try:
        yield
    finally:
        functions._local_mapping.clear()  # noqa: SLF001 - as above
        functions._local_mapping.update(own)  # noqa: SLF001 - as above
        for task in set(tasks) - known:
            del tasks[task]


@contextmanager
def pressed(model: Any, press: Any | None) -> Iterator[None]:  # noqa: ANN401 - they have no types
    """Let a press work on a model inside the block, and leave the model as it was."""
    if press is None:
        yield
        return
    attentions = [layer.self_attn for layer in model.model.layers]
    children = [set(dict(attention.named_children())) for attention in attentions]
    try:
        with press(model):
            yield
    finally:
        for attention, known in zip(attentions, children, strict=True):
            for name in set(dict(attention.named_children())) - known:
                delattr(attention, name)


def require_model(model: Any) -> None:  # noqa: ANN401 - transformers has no types
    """Raise unless kvpress knows the model and compresses all its layers.

    Raises:
        UsageError: It does not; the budget would hold for some layers only, or for none.
        MissingDependencyError: kvpress is not installed.
    """
    supported = import_kvpress().SUPPORTED_MODELS
    kind = type(model).__name__
    config = model.config.get_text_config()
    if not isinstance(model, supported):
        names = ", ".join(sorted(known.__name__ for known in supported))
        raise UsageError(f"model of type {kind}: kvpress does not know it, only {names}")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(config, "sliding_window", None):
        raise UsageError(
            f"model of type {kind}: layers that look back only over a window cannot be compressed to a budget"
        )


def kvpress_version() -> str:
    """Return the version of kvpress."""
    import_kvpress()
    return version("kvpress")
