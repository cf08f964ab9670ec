"""Fills the cache of a model under a policy, counts what was kept, and goes on from there, token by token.

`model.generate` cannot do this. Given a cache from which entries were taken away, it takes their number for the
position: it feeds the last tokens of the prompt once more, at wrong positions, so that the answer sees what was
removed. And a prompt that is filled in whole has its first token from attention that was never compressed. So the
last tokens of every prompt are asked here over the cache as it was kept, at their true positions, and each new token
is the likeliest one. Prompts go one at a time: padding would count as entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from groundlake.transition.engines.presses import pressed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The cache of a model behind the first tokens of a prompt.

    Attributes:
        cache: The cache of transformers; going on from it makes it longer.
        length: Tokens that were filled in, which is the position of the next one.
        kept: Entries that each layer held thereafter, counted in the cache.
    """

    cache: Any
    length: int
    kept: tuple[int, ...]


def fill(
    model: Any,  # noqa: ANN401 - transformers has no types
    tokens: Sequence[int],
    press: Any | None,  # noqa: ANN401 - kvpress has no types
    behind: Sequence[int] = (),
) -> Filled:
    """Fill tokens into a new cache, and compress it.

    Args:
        model: A causal language model of transformers.
        tokens: One sequence, without padding.
        press: What compresses; None keeps everything.
        behind: Tokens that the press was made to see and not to keep.
    """
    from transformers import DynamicCache

    cache = DynamicCache()
    ids = torch.tensor([[*tokens, *(behind if press is not None else ())]], device=model.device)
    with torch.inference_mode(), pressed(model, press):
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return Filled(cache=cache, length=len(tokens), kept=entries(cache))


def entries(cache: Any) -> tuple[int, ...]:  # noqa: ANN401 - transformers has no types
    """Return how many entries each layer of a cache holds."""
    return tuple(layer.keys.shape[-2] for layer in cache.layers)


def go_on(
    model: Any,  # noqa: ANN401 - transformers has no types
    filled: Filled,
    tokens: Sequence[int],
    *,
    max_new_tokens: int,
    ended: Callable[[torch.Tensor], bool],
) -> list[int]:
    """Ask the rest of a prompt over a filled cache, and return the likeliest answer, token by token.

    Args:
        model: The model that filled the cache.
        filled: The cache; it is used up.
        tokens: The rest of the prompt, at least one token.
        max_new_tokens: At most so many.
        ended: Called with the answer so far, of shape (1, tokens), as soon as each token is there: whether it is whole.

    Returns:
        The tokens of the answer, with the one that ends it.
    """
    position = filled.length
    ids = torch.tensor([list(tokens)], device=model.device)
    answer = ids[:, :0]
    with torch.inference_mode():
        for _ in range(max_new_tokens):
            places = torch.arange(position, position + ids.shape[1], device=model.device)[None]
            made = model(
                input_ids=ids, past_key_values=filled.cache, position_ids=places, use_cache=True, logits_to_keep=1
            )
            position += ids.shape[1]
            ids = made.logits[:, -1].argmax(-1, keepdim=True)
            answer = torch.cat([answer, ids], dim=1)
            if ended(answer):
                break
    return [int(token) for token in answer[0].tolist()]
