"""The metrics of Chinese texts, whose words `jieba` finds (the extra `transition-zh`)."""

from __future__ import annotations

import logging
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from groundlake.errors import MissingDependencyError
from groundlake.transition.scoring.metrics.normalize import normalize_zh
from groundlake.transition.scoring.metrics.qa import token_f1
from groundlake.transition.scoring.metrics.rouge import rouge_l

if TYPE_CHECKING:
    from types import ModuleType


def qa_f1_zh(answer: str, gold: str) -> float:
    """Return the F1 of the words of both; 0 where there are none on one side, or on both.

    Raises:
        MissingDependencyError: jieba is not installed.
    """
    return token_f1(words_zh(answer), words_zh(gold))


def rouge_l_zh(answer: str, gold: str) -> float:
    """Return ROUGE-L of the words of both.

    Raises:
        MissingDependencyError: jieba is not installed.
    """
    return rouge_l(" ".join(_segments(answer)), " ".join(_segments(gold)))


def words_zh(text: str) -> tuple[str, ...]:
    """Return the words of a text, normalised; those of which nothing is left are none.

    Raises:
        MissingDependencyError: jieba is not installed.
    """
    return tuple(word for word in map(normalize_zh, _segments(text)) if word)


def jieba_version() -> str:
    """Return the version of jieba, whose dictionary decides where words end.

    Raises:
        MissingDependencyError: It is not installed.
    """
    return str(_jieba().__version__)


@lru_cache(maxsize=1024)
def _segments(text: str) -> tuple[str, ...]:
    return tuple(_jieba().cut(text, cut_all=False))


def _jieba() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own code: old ways to write patterns and to find files
            import jieba
    except ImportError as error:
        raise MissingDependencyError(
            f"scoring a Chinese task needs jieba: {error}\n  pip install 'groundlake[transition-zh]'"
        ) from error
    jieba.setLogLevel(logging.WARNING)  # it tells of loading its dictionary otherwise
    module: ModuleType = jieba
    return module
