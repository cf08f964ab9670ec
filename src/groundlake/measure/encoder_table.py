"""Which transformer encoders there are, and what they are made of. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_LENGTH = 128
"""Tokens of one input, unless the user says otherwise."""

LONGEST = 512
"""Tokens that every encoder of the table has positions for."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """What an encoder is made of.

    Attributes:
        config: Class of `transformers` that describes it; the model's class is named alike.
        settings: Keyword arguments of that class, all that decide about the work.
        pooler: Whether the model's class brings a layer behind the last hidden state, which is to be left out.
    """

    config: str
    settings: Mapping[str, int]
    pooler: bool = True

    @property
    def vocabulary(self) -> int:
        """Number of token ids, from 0."""
        return self.settings["vocab_size"]


def _bert(*, layers: int, width: int, heads: int, vocabulary: int = 30522, positions: int = LONGEST) -> dict[str, int]:
    """Sizes under the names that most configurations share; the inner layer is four times as wide, as in BERT."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": positions,
    }


ENCODERS: dict[str, Encoder] = {
    "bert_tiny": Encoder(config="BertConfig", settings=_bert(layers=2, width=128, heads=2)),
    "bert_base": Encoder(config="BertConfig", settings=_bert(layers=12, width=768, heads=12)),
    "bert_large": Encoder(config="BertConfig", settings=_bert(layers=24, width=1024, heads=16)),
    "minilm_l6": Encoder(config="BertConfig", settings=_bert(layers=6, width=384, heads=12)),
    "distilbert_base": Encoder(
        config="DistilBertConfig",
        settings={
            "vocab_size": 30522,
            "dim": 768,
            "n_layers": 6,
            "n_heads": 12,
            "hidden_dim": 3072,
            "max_position_embeddings": LONGEST,
        },
        pooler=False,
    ),
    # The first two positions of RoBERTa belong to padding.
    "roberta_base": Encoder(
        config="RobertaConfig",
        settings=_bert(layers=12, width=768, heads=12, vocabulary=50265, positions=LONGEST + 2)
        | {"type_vocab_size": 1},
    ),
    "electra_small": Encoder(
        config="ElectraConfig",
        settings=_bert(layers=12, width=256, heads=4) | {"embedding_size": 128},
        pooler=False,
    ),
    "albert_base": Encoder(
        config="AlbertConfig",
        settings=_bert(layers=12, width=768, heads=12, vocabulary=30000) | {"embedding_size": 128},
    ),
}
"""Encoders by name, in the sizes that were published under it."""


def sequence_length(name: str, input_shape: tuple[int, ...] | None) -> int:
    """Read the length of an encoder's input off its shape, or take the default.

    Raises:
        UsageError: The shape is not one number, or one that the encoder has no positions for.
    """
    if input_shape is None:
        return DEFAULT_LENGTH
    if len(input_shape) == 1 and 1 <= input_shape[0] <= LONGEST:
        return input_shape[0]
    got = ",".join(map(str, input_shape))
    raise UsageError(
        f"model {name!r} takes a sequence of 1 to {LONGEST} tokens, got the input shape {got}\n"
        f"  give its length alone, for example --input-shape {DEFAULT_LENGTH}; it applies to all models of a sweep"
    )
