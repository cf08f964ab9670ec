"""Makes a small causal language model with random weights, and a tokenizer, without the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def make_tiny_model(
    folder: Path | str,
    *,
    seed: int = 0,
    vocabulary: Sequence[str] = (),
    hidden_size: int = 32,
    layers: int = 2,
    context: int = 256,
) -> Path:
    """Make a Llama-type model with random weights and its byte-level tokenizer; return the folder."""
    raise NotImplementedError
