"""How near an answer is to the gold answers: the metrics of LongBench and SQuAD, each from 0 (worst) to 1.

Each is the published formula, with its quirks, so that values can be held against published ones:
LongBench's `metrics.py` (THUDM/LongBench, commit f6227eb7, MIT) and the evaluation script of SQuAD 2.0. What differs
from LongBench on purpose stands in the module that does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from groundlake.transition.scoring.metrics.chinese import qa_f1_zh, rouge_l_zh
from groundlake.transition.scoring.metrics.code import code_similarity
from groundlake.transition.scoring.metrics.qa import exact_match, qa_f1
from groundlake.transition.scoring.metrics.retrieval import count, retrieval, retrieval_zh
from groundlake.transition.scoring.metrics.rouge import rouge_l

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["METRICS", "SEGMENTING", "MetricName"]

MetricName = Literal[
    "exact_match",
    "qa_f1",
    "qa_f1_zh",
    "rouge_l",
    "rouge_l_zh",
    "classification",
    "retrieval",
    "retrieval_zh",
    "count",
    "code_similarity",
]

METRICS: Final[Mapping[MetricName, Callable[[str, str], float]]] = {
    "exact_match": exact_match,
    "qa_f1": qa_f1,
    "qa_f1_zh": qa_f1_zh,
    "rouge_l": rouge_l,
    "rouge_l_zh": rouge_l_zh,
    "retrieval": retrieval,
    "retrieval_zh": retrieval_zh,
    "count": count,
    "code_similarity": code_similarity,
}
"""What compares an answer with one gold answer. `classification` is apart: it also looks at the other classes."""

SEGMENTING: Final = frozenset({"qa_f1_zh", "rouge_l_zh"})
"""Metrics that have to find the words of a Chinese text, for which the extra `transition-zh` is needed."""
