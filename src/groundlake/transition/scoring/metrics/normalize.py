"""What of two texts is compared: without case, punctuation and spaces, in English without articles."""

from __future__ import annotations

import re
import string
from functools import lru_cache
from typing import Final

_ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION: Final = {ord(mark): None for mark in string.punctuation}
_CHINESE_PUNCTUATION: Final = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】"  # noqa: RUF001 - the marks themselves
    "〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."  # noqa: RUF001 - the same
)
"""The marks that LongBench removes. One has been forgotten there, the opening one of a title; it stays forgotten."""
SHORT: Final = 400
"""Letters; what was made of a longer text is not kept."""
_NO_CHINESE_PUNCTUATION: Final = {ord(mark): None for mark in string.punctuation + _CHINESE_PUNCTUATION}


def normalize(text: str) -> str:
    """Return the text in lower case, without ASCII punctuation, without a, an, the, its words one space apart.

    In this order, as SQuAD does it: "a.m." becomes "am", not "m".
    """
    return _short(text) if len(text) <= SHORT else _normalized(text)


@lru_cache(maxsize=16384)  # the same gold answers are held against the answers of every budget
def _short(text: str) -> str:
    return _normalized(text)


def _normalized(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def normalize_zh(text: str) -> str:
    """Return the text in lower case, without ASCII and Chinese punctuation, without any space."""
    return "".join(text.lower().translate(_NO_CHINESE_PUNCTUATION).split())
