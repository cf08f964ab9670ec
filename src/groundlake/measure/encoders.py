"""Transformer encoders made from configurations of `transformers`: random weights, nothing is fetched."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from groundlake.errors import MissingDependencyError
from groundlake.measure.encoder_table import ENCODERS

if TYPE_CHECKING:
    from types import ModuleType

ATTENTION = "sdpa_without_mask"
"""Name under which the attention of torch is registered with `transformers`.

Its own name, `sdpa`, makes a mask while a model is exported and none while it runs, so that the graph would do more
than the model. For attention under a name of one's own `transformers` makes no mask at all, and none is needed: all
inputs have the full length.
"""


class LastHiddenState(nn.Module):
    """An encoder as a function of one tensor: token ids (batch, length) to the last hidden state."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the last hidden state, of shape (batch, length, width)."""
        hidden: torch.Tensor = self.encoder(input_ids, return_dict=False)[0]
        return hidden


def import_transformers() -> ModuleType:
    """Import transformers; where torchvision is installed, it must have been imported before.

    Raises:
        MissingDependencyError: It is not installed, or does not work with this torch.
    """
    try:
        transformers = import_module("transformers")
        import_module("transformers.modeling_utils")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "transformers":
            reason = "transformers is not installed"
        else:
            reason = f"transformers cannot be imported: {str(error).splitlines()[0]}"
        raise MissingDependencyError(f"{reason}\n  pip install 'groundlake[transformers]'") from error
    if not transformers.is_torch_available():
        raise MissingDependencyError(
            f"transformers {transformers.__version__} refuses torch {torch.__version__}\n"
            "  install the torch that it asks for, or leave the encoders out"
        )
    return transformers


def build_encoder(name: str) -> nn.Module:
    """Build an encoder of the table with random weights.

    Raises:
        MissingDependencyError: transformers is not installed, or does not work with this torch.
    """
    transformers = import_transformers()
    register_attention(transformers)
    encoder = ENCODERS[name]
    settings: dict[str, Any] = {**encoder.settings, "attn_implementation": ATTENTION}
    config = getattr(transformers, encoder.config)(**settings)
    model = getattr(transformers, encoder.config.replace("Config", "Model"))
    return LastHiddenState(model(config, add_pooling_layer=False) if encoder.pooler else model(config))


def register_attention(transformers: ModuleType) -> None:
    """Make torch's attention known under the name for which no mask is made."""
    known = transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS
    transformers.AttentionInterface.register(ATTENTION, known["sdpa"])


def token_ids(name: str, length: int, batch: int) -> torch.Tensor:
    """Return random token ids of the encoder's vocabulary, of shape (batch, length), int64."""
    return torch.randint(ENCODERS[name].vocabulary, (batch, length))
