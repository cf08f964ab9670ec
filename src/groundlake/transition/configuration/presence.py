"""Whether what settings point at is on this machine: noticed before anything is read, counted or asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from groundlake.errors import UsageError
from groundlake.transition.configuration.settings import TRANSFORMERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.transition.configuration.settings import Settings


def require_present(settings: Settings) -> None:
    """Refuse settings whose data, tokenizer or local model are not where they say.

    A tokenizer or a model that is named, not given by its path, is not looked for.

    Raises:
        UsageError: One is missing; the message has the key, the resolved path and what to do, of each.
    """
    lacking = list(_lacking(settings))
    if lacking:
        raise UsageError(str(settings.without_secrets("\n".join(lacking))))


def _lacking(settings: Settings) -> Iterator[str]:
    data, tokenizer, model = settings.dataset.path, settings.tokenizer.path, settings.model.path
    if data is not None and not Path(data).exists():
        yield (
            f"dataset.path: {data} does not exist\n  give a JSONL file, or a folder with {settings.dataset.task}.jsonl "
            "in it; dataset.download: true fetches LongBench from the hub"
        )
    if tokenizer is not None and not Path(tokenizer).exists():
        yield (
            f"tokenizer.path: {tokenizer} does not exist\n  give a folder with tokenizer.json, or the name words "
            "(an approximation)"
        )
    if model is None or settings.engine.type != TRANSFORMERS or (Path(model) / "config.json").is_file():
        return
    what = "holds no model: there is no config.json in it" if Path(model).exists() else "does not exist"
    yield (
        f"model.path: {model} {what}\n  give the folder of a local model (save_pretrained writes it), or model.name of "
        "one in the local cache of the hub"
    )
