"""Which settings decide what each stage makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = Path(__file__).resolve().parents[2]
PACKAGED: Final = "groundlake:"
"""How a path into this package begins, wherever the package lies."""
SHIPPED: Final = ("transition/recall/data", "transition/recall/model")
"""Data and models that the package has."""

_DATA = ("dataset.name", "dataset.task")
PROJECTIONS: Final[dict[str, tuple[int, tuple[str, ...]]]] = {
    "prepare": (
        1,
        (
            *_DATA,
            "tokenizer_source",
            *(f"dataset.{name}" for name in ("n_per_bin", "seed", "max_prompt_tokens")),
            *("dataset.pinned_example_ids", "dataset.sanity_slices", "binning", "sampling"),
        ),
    ),
    "run": (
        3,
        (
            *_DATA,
            *(
                "model.name",
                "model.precision",
                "model.max_model_len",
                "engine.type",
                "engine.dtype",
                "kv.policy",
                "kv.parameters",
                "kv.apply",
                "kv.extra_body",
            ),
            "kv.query_aware",
            *("decoding.temperature", "decoding.max_tokens", "decoding.seed", "run.truncation"),
        ),
    ),
    "score": (1, ("dataset.task",)),
    "analyze": (1, ("dataset.task", "kv.budgets", "analysis")),
}
"""Stage to the version of its list, which counts up whenever the list or the meaning of a key changes, and its keys.

What makes more of the same is not among those of `run`: budgets, repeats and further examples, which a group may get
later. Neither is what changes how fast answers come but not what they are: addresses, concurrency, pacing, retries. Nor
is where the tokenizer and a local model lie: what is in them counts, by their fingerprints (`epoch_hash`).
"""


def plain(value: Any, *, portable: bool = False) -> Any:  # noqa: ANN401 - any setting
    """Return it in lists and dicts; a path into this package, if asked for, without where the package lies."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return {key: plain(each, portable=portable) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each, portable=portable) for each in value]
    if portable and isinstance(value, str) and value.startswith(f"{PACKAGE}/"):
        return f"{PACKAGED}{value[len(str(PACKAGE)) + 1 :]}"
    return value


def packaged(text: str) -> str | None:
    """Return where a path into this package is; None where the package has nothing there."""
    found = (PACKAGE / text.removeprefix(PACKAGED)).resolve()
    shipped = [PACKAGE / each for each in SHIPPED]
    return str(found) if any(found.is_relative_to(each) for each in shipped) and found.exists() else None


def flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested settings by their paths."""
    found: dict[str, Any] = {}
    for key, each in value.items():
        path = f"{before}{key}"
        found |= flat(each, f"{path}.") if isinstance(each, dict) else {path: each}
    return found
