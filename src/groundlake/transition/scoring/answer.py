"""Scores one answer against its gold answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from groundlake.errors import UsageError
from groundlake.transition.scoring.failures import is_truncated, strip_reasoning
from groundlake.transition.scoring.metrics import METRICS, SEGMENTING
from groundlake.transition.scoring.metrics.chinese import jieba_version, words_zh
from groundlake.transition.scoring.metrics.classification import classification
from groundlake.transition.scoring.metrics.normalize import normalize, normalize_zh
from groundlake.transition.scoring.metrics.qa import gold_answers, squad_f1, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.transition.scoring.tasks import Task

SCORER_VERSION: Final = "1"
"""Grows when any score may come out otherwise, so that older scores can be told apart and made anew."""


@dataclass(frozen=True, kw_only=True)
class ScoredAnswer:
    """How good an answer is. Figures are from 0 (worst) to 1.

    Attributes:
        metric: The metric of the task.
        accuracy: By that metric, against the gold answer that suits best.
        exact_match: 1 where the normalised answer is a gold one (SQuAD 2.0), else 0.
        f1: Of the words that it shares with a gold one (SQuAD 2.0), the best.
        normalized_answer: What `exact_match` compared.
        normalized_gold: The same of the gold answer that gave `accuracy`; the first of several.
        scorer_version: `scorer_version` of the task.
        truncated: Whether what was scored ends where the answer had its longest length. An answer of which only the
            first line counts is not truncated behind that line.
        reasoning_characters: Letters of thoughts that were removed before.
    """

    metric: str
    accuracy: float
    exact_match: float
    f1: float
    normalized_answer: str
    normalized_gold: str
    scorer_version: str
    truncated: bool = False
    reasoning_characters: int = 0


def scorer_version(task: Task) -> str:
    """Return what decides about the scores of a task: `SCORER_VERSION`, and the version of jieba where that is asked.

    Raises:
        MissingDependencyError: The task needs jieba, which is not installed.
    """
    return f"{SCORER_VERSION}+jieba-{jieba_version()}" if task.metric in SEGMENTING else SCORER_VERSION


def score_answer(
    task: Task,
    text: str,
    answers: Sequence[str],
    all_classes: Sequence[str] | None = None,
    *,
    finish_reason: str | None = None,
) -> ScoredAnswer:
    """Score an answer by the metric of its task, by exact match and by F1.

    What a reasoning model thought is removed first, then all but the first line where only that counts. An answer
    without text gets what the formulas give; whether it is scored at all is decided elsewhere.

    Args:
        task: What was asked.
        text: The answer, as it came.
        answers: Gold answers.
        all_classes: Names of all classes, where the task is to choose one.
        finish_reason: Why the answer ended, by the server.

    Raises:
        UsageError: There is no gold answer, or it has not the form that the metric needs, or classes are missing.
        MissingDependencyError: The task is Chinese, and jieba is not installed.
    """
    if not answers:
        raise UsageError(f"an answer of {task.name} cannot be scored without a gold answer")
    spoken = strip_reasoning(text)
    scored = spoken.text
    cut = is_truncated(finish_reason)
    if task.first_line_only:
        scored, more, _ = scored.lstrip("\n").partition("\n")
        cut &= not more
    accuracy, best = _accuracy(task, scored, answers, all_classes)
    shown = normalize_zh if task.metric in SEGMENTING else normalize
    exact, f1 = _squad(scored, answers, chinese=task.metric in SEGMENTING)
    return ScoredAnswer(
        metric=task.metric,
        accuracy=accuracy,
        exact_match=exact,
        f1=f1,
        normalized_answer=shown(scored),
        normalized_gold=shown(best),
        scorer_version=scorer_version(task),
        truncated=cut,
        reasoning_characters=len(spoken.reasoning),
    )


def _accuracy(task: Task, text: str, answers: Sequence[str], classes: Sequence[str] | None) -> tuple[float, str]:
    """Return the best value, and the first gold answer that gives it."""
    if task.metric == "classification":
        values = [classification(text, gold, classes) for gold in answers]
    else:
        metric = METRICS[task.metric]
        values = [metric(text, gold) for gold in answers]
    best = max(values)
    return best, answers[values.index(best)]


def _squad(text: str, answers: Sequence[str], *, chinese: bool) -> tuple[float, float]:
    """Return exact match and F1 by the rules of SQuAD 2.0; of Chinese tasks with words, and marks, of Chinese."""
    if chinese:
        chinese_golds = [gold for gold in answers if normalize_zh(gold)] or [""]
        exact = float(normalize_zh(text) in map(normalize_zh, chinese_golds))
        return exact, max(squad_f1(words_zh(text), words_zh(gold)) for gold in chinese_golds)
    said = words(text)
    golds = [words(gold) for gold in gold_answers(answers)]
    # Two texts are the same once normalised where their words are.
    return float(said in golds), max(squad_f1(said, gold) for gold in golds)
