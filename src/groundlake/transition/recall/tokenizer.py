"""The tokenizer of the recall task: each word is a token, and there are no others."""

from __future__ import annotations

from typing import Any

from groundlake.llm.loading import import_transformers
from groundlake.transition.recall.questions import FIRST_WORDS, KEYS, SECOND_WORDS

BEGIN, PAD, END, ASK = "<s>", "</s>", ";", "?"
"""A record and an answer end alike, so that the end of an answer is learned from the records."""
MARKS = (BEGIN, PAD, END, ASK)
VOCABULARY = (*MARKS, *(f"{key}:" for key in KEYS), *FIRST_WORDS, *SECOND_WORDS)
"""All tokens, in the order of their numbers."""
BEGIN_ID, PAD_ID, END_ID, ASK_ID = range(len(MARKS))
FIRST_WORD_ID = len(MARKS)
"""The first number of a word; keys, first words and second words follow each other."""
CONTEXT = 1024
"""Longest prompt and answer together, in tokens."""


def make_tokenizer() -> Any:  # noqa: ANN401 - transformers has no types
    """Return the tokenizer; it sets the mark of the beginning before every text.

    A word that it does not know becomes the mark of padding, which the model has never seen.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
    """
    transformers = import_transformers()
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors

    words = tokenizers.Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token=PAD)
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, BEGIN_ID)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=BEGIN, eos_token=END, pad_token=PAD, unk_token=PAD, model_max_length=CONTEXT
    )
