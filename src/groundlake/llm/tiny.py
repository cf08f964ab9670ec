"""Makes a small causal language model with random weights, and a tokenizer, without the network.

It says nothing sensible, and says it like a big one: for tests, examples and trying things out.

    python -m groundlake.llm.tiny FOLDER [SEED]
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from groundlake.errors import LakeError, UsageError
from groundlake.llm.loading import import_transformers, quietly

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN, END, PAD = "<s>", "</s>", "<pad>"
HEADS = 4
SPREAD = 0.3
"""Standard deviation of the weights: so large that one token is clearly the likeliest, on every machine."""


def make_tiny_model(
    folder: Path | str,
    *,
    seed: int = 0,
    vocabulary: Sequence[str] = (),
    hidden_size: int = 32,
    layers: int = 2,
    context: int = 256,
) -> Path:
    """Make a Llama-type model with random weights and its tokenizer.

    The tokenizer knows every byte, so that every text has tokens: one for each byte, behind one for the beginning.

    Args:
        folder: Where to; made when it is missing.
        seed: Of the weights; the same seed gives the same file of weights.
        vocabulary: Words that are one token each, besides the bytes.
        hidden_size: Width; a multiple of 8.
        layers: Layers.
        context: Longest prompt and answer together, in tokens.

    Returns:
        The folder.

    Raises:
        UsageError: A width that heads do not divide, or the folder has other files of these names, as a model's.
        LakeEnvironmentError: The folder cannot be written.
        MissingDependencyError: torch or transformers is not installed.
    """
    if hidden_size < HEADS * 2 or hidden_size % (HEADS * 2):
        raise UsageError(f"hidden_size must be a multiple of {HEADS * 2}, got {hidden_size}")
    transformers = import_transformers()
    import torch

    from groundlake.commit import write_made_files

    tokenizer = _tokenizer(transformers, vocabulary, context)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=context,
        initializer_range=SPREAD,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with quietly(), torch.random.fork_rng(devices=[]), TemporaryDirectory(prefix="groundlake-") as made:
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(config)
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        files = {path.name: path.read_bytes() for path in Path(made).iterdir()}
    write_made_files(Path(folder), files)
    return Path(folder)


def _tokenizer(transformers: Any, vocabulary: Sequence[str], context: int) -> Any:  # noqa: ANN401 - it has no types
    """Return a tokenizer of bytes; transformers knows its kind by the name in the files."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [BEGIN, END, PAD, *alphabet]
    bytes_ = tokenizers.Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    bytes_.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokens.index(BEGIN))]
    )
    bytes_.add_tokens(list(dict.fromkeys(vocabulary)))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bytes_, bos_token=BEGIN, eos_token=END, pad_token=PAD, model_max_length=context
    )


def _main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2) or (len(arguments) == 2 and not arguments[1].isdecimal()):  # noqa: PLR2004 - folder and seed
        sys.stderr.write("usage: python -m groundlake.llm.tiny FOLDER [SEED]\n")
        return UsageError.exit_code
    try:
        folder = make_tiny_model(arguments[0], seed=int(arguments[1]) if arguments[1:] else 0)
    except LakeError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
