"""An example of an evaluation in one form, whatever spelling its file has."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ID_NAMES = ("_id", "id", "example_id")
QUESTION_NAMES = ("question", "query", "input", "prompt")
CONTEXT_NAMES = ("context", "passage", "article", "document", "text")
ANSWER_NAMES = ("answers", "answer", "target", "output", "ground_truth")
"""Spellings of each field; the first one that is there and not null is taken."""

SHOWN = 60
"""Characters shown of what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question, what it is asked about, and the answers that are right.

    Attributes:
        example_id: Its own id, else the task and a hash of its content; the same in every reading.
        task: Name of the task, which decides the metric and the prompt.
        question: LongBench's `input`; empty where the task asks nothing beyond its template, as summaries do.
        context: The long text; empty where there is none.
        answers: Right answers, at least one, without white space around them.
        all_classes: The classes there are, of a classification.
        language: As the file says it.
        source_length: LongBench's `length`: words, or characters of Chinese. No number of tokens.
        source_sha256: Hash of the line of the file.
    """

    example_id: str
    task: str
    question: str
    context: str
    answers: tuple[str, ...]
    all_classes: tuple[str, ...] | None = None
    language: str | None = None
    source_length: int | None = None
    source_sha256: str

    @property
    def content_sha256(self) -> str:
        """Hash of all that can change a prompt or a score; the order of the answers cannot."""
        content = _asked(self.task, self.question, self.context, self.answers)
        more = {"all_classes": self.all_classes, "language": self.language, "source_length": self.source_length}
        return sha256_of(content | more)


def dataset_id(name: str, task: str) -> str:
    """Name a data set and its task: `longbench__narrativeqa`.

    Raises:
        UsageError: One of them is empty, or cannot be a part of a name.
    """
    for what, text in (("name", name), ("task", task)):
        if not text.strip() or text != text.strip() or not text.isprintable() or set(text) & set("/\\"):
            raise UsageError(f"dataset.{what}: {text!r} cannot name a data set; take letters, digits, _, - and .")
    return f"{name}__{task}"


def sha256_of(value: object) -> str:
    """Hash a value of JSON in its one canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def example_of(row: object, *, task: str, source_sha256: str) -> Example | list[str]:
    """Bring a row of a file into the one form, or say everything that is wrong with it.

    Args:
        row: What the JSON holds.
        task: Name of the task.
        source_sha256: Hash of its line.

    Returns:
        The example, or its mistakes: what was got, and what was wanted.
    """
    if not isinstance(row, dict):
        return [f"got {short(row)}, wanted an object with a question, a context and answers"]
    mistakes: list[str] = []
    question = _text(row, QUESTION_NAMES, "a question", mistakes)
    context = _text(row, CONTEXT_NAMES, None, mistakes)
    answers = _answers(row, mistakes)
    classes = _texts(row, "all_classes", mistakes)
    language = _text(row, ("language",), None, mistakes)
    length = _length(row, mistakes)
    if not mistakes and not question.strip() and not context.strip():
        mistakes.append("its question and its context are both empty")
    if not mistakes and (broken := _broken(question, context, language, *answers, *(classes or ()))):
        mistakes.append(f"{short(broken)} has half of a surrogate pair, which is no character")
    own = _own_id(row, mistakes)
    if mistakes:
        return mistakes
    return Example(
        example_id=own or f"{task}_{sha256_of(_asked(task, question, context, answers))[:16]}",
        task=task,
        question=question,
        context=context,
        answers=answers,
        all_classes=classes,
        language=language or None,
        source_length=length,
        source_sha256=source_sha256,
    )


def short(value: object) -> str:
    """Show what was got, in a few words."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _asked(task: str, question: str, context: str, answers: Sequence[str]) -> dict[str, object]:
    return {"task": task, "question": question, "context": context, "answers": sorted(answers)}


def _found(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    """Return the first of the names that is there, and its value; the first name and None where there is none."""
    return next(((name, row[name]) for name in names if row.get(name) is not None), (names[0], None))


def _text(row: Mapping[str, Any], names: Sequence[str], required: str | None, mistakes: list[str]) -> str:
    """Read a text as it stands: white space is a part of code and of tables."""
    name, value = _found(row, names)
    if isinstance(value, str):
        return value
    if value is not None:
        mistakes.append(f"{name}: got {short(value)}, wanted a text")
    elif required is not None:
        has = ", ".join(map(str, row)) or "no keys"
        mistakes.append(f"{required} is missing: wanted one of {', '.join(names)}; it has {short(has)}")
    return ""


def _answers(row: Mapping[str, Any], mistakes: list[str]) -> tuple[str, ...]:
    name, value = _found(row, ANSWER_NAMES)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(map(_is_answer, listed)):
        mistakes.append(f"{name}: got {short(value)}, wanted a text or a list of texts")
        return ()
    answers = tuple(text for text in (str(each).strip() for each in listed) if text)
    if not answers:
        got = "nothing" if value is None else short(value)
        mistakes.append(f"{name}: got {got}, wanted at least one answer that is not empty")
    return answers


def _is_answer(value: object) -> bool:
    """Whether it is a text or a number; true and false have no one spelling."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _texts(row: Mapping[str, Any], name: str, mistakes: list[str]) -> tuple[str, ...] | None:
    value = row.get(name)
    if value is None or value in ([], ""):
        return None
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    mistakes.append(f"{name}: got {short(value)}, wanted a list of texts, or null")
    return None


def _length(row: Mapping[str, Any], mistakes: list[str]) -> int | None:
    value = row.get("length")
    if value is None:
        return None
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool) or value < 0:
        mistakes.append(f"length: got {short(value)}, wanted a whole number of at least 0, or null")
        return None
    return int(value)


def _own_id(row: Mapping[str, Any], mistakes: list[str]) -> str | None:
    """Return the id that the row has; one that is empty is none."""
    name, value = _found(row, ID_NAMES)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        mistakes.append(f"{name}: got {short(value)}, wanted a text or a whole number")
        return None
    text = str(value).strip()
    if _broken(text):
        mistakes.append(f"{name}: {short(text)} has half of a surrogate pair, which is no character")
    return text or None


def _broken(*texts: str) -> str | None:
    """Find a text that cannot be written as UTF-8: JSON may escape halves of surrogate pairs."""
    return next((text for text in texts if any("\ud800" <= letter <= "\udfff" for letter in text)), None)
