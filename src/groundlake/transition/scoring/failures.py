"""Why a request has no answer that can be scored, in words that stay the same.

The codes stand in the lake and in reports: none is ever renamed. A truncated answer is not among them. It is scored,
and `is_truncated` flags it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from groundlake.llm import generation

if TYPE_CHECKING:
    from groundlake.llm.generation import Failure

RATE_LIMITED: Final = "RATE_LIMITED"
TIMEOUT: Final = "TIMEOUT"
CONTEXT_LENGTH_EXCEEDED: Final = "CONTEXT_LENGTH_EXCEEDED"
CONNECTION: Final = "CONNECTION"
ENGINE_ERROR: Final = "ENGINE_ERROR"
EMPTY_OUTPUT: Final = "EMPTY_OUTPUT"
REFUSAL: Final = "REFUSAL"
FORMAT_ERROR: Final = "FORMAT_ERROR"
UNKNOWN_FAILURE: Final = "UNKNOWN_FAILURE"

FAILURES: Final = {
    RATE_LIMITED: "the server's limit was reached, and still was after all attempts",
    TIMEOUT: "no complete answer came in time",
    CONTEXT_LENGTH_EXCEEDED: "prompt and answer together are longer than the model, or the server, takes",
    CONNECTION: "there was no connection, or it broke before the answer was complete",
    ENGINE_ERROR: "the server or the model reported an error, or what came is no answer of an endpoint",
    EMPTY_OUTPUT: "the answer has no text, or nothing but what the model thought",
    REFUSAL: "the model declined to answer, or a filter withheld the answer",
    FORMAT_ERROR: "the text of the answer is an error in place of one",
    UNKNOWN_FAILURE: "something went wrong, and nobody said what",
}
"""Every code, and what it says."""

_CODES: Final = {
    generation.TIMEOUT: TIMEOUT,
    generation.CONNECTION: CONNECTION,
    generation.TLS: CONNECTION,
    generation.TRUNCATED: CONNECTION,  # the stream broke off; an answer at its longest has a finish_reason instead
    generation.MALFORMED: ENGINE_ERROR,  # no text of a model: a wrong address, or something in between
    generation.CONTEXT_LENGTH: CONTEXT_LENGTH_EXCEEDED,
    generation.EMPTY_PROMPT: ENGINE_ERROR,
    generation.OUT_OF_MEMORY: ENGINE_ERROR,
    generation.EMPTY: EMPTY_OUTPUT,
    "budget_not_applicable": ENGINE_ERROR,  # of engines/local, as is the next
    "engine": ENGINE_ERROR,
}
_STATUSES: Final = {408: TIMEOUT, 429: RATE_LIMITED, 504: TIMEOUT}
_FIRST_ERROR: Final = 300
"""Statuses of HTTP from here on are none of success."""

_TOO_LONG: Final = re.compile(
    r"context[ _]length[ _]exceeded"
    r"|(?:longer than|exceed(?:s|ed|ing)?|maximum|max) (?:the |this )?(?:model's )?"
    r"(?:maximum |max |available |allowed )?(?:context|model) (?:length|size|window)"
    r"|context length is (?:only )?\d"
    r"|reduce the length of the (?:input )?(?:messages|prompt)|input messages are too long|prompt is too long"
    r"|`inputs` tokens \+ `max_new_tokens` must be|parameter=input_tokens",
    re.IGNORECASE,
)
_LIMITED: Final = re.compile(
    r"rate[ _-]?limit|too many requests|(?:tokens|requests) per (?:min|minute|day)\b|\b[tr]pm\b", re.IGNORECASE
)
_LATE: Final = re.compile(r"\btimed[ -]?out\b|\btime-?out\b|TimeoutError|ReadTimeout|deadline exceeded", re.IGNORECASE)
_UNCONNECTED: Final = re.compile(
    r"connection (?:refused|reset|aborted|closed|error|broke)|ConnectionError|broken pipe|name or service not known",
    re.IGNORECASE,
)
_BY_WORDS: Final = (
    (_TOO_LONG, CONTEXT_LENGTH_EXCEEDED),
    (_LIMITED, RATE_LIMITED),
    (_LATE, TIMEOUT),
    (_UNCONNECTED, CONNECTION),
)

_FILTERED: Final = frozenset({"content_filter", "refusal", "safety"})
_AT_LONGEST: Final = frozenset({"length", "max_tokens", "max_length", "model_length"})

_LONGEST_REFUSAL: Final = 400
"""In letters. A longer text that begins like a refusal goes on to say something, which is scored."""
_REFUSAL: Final = re.compile(
    r"(?:(?:i'?m|i am) (?:very |so |really )?sorry|sorry|i apologi[sz]e|my apologies|unfortunately)?\W*(?:but )?\W*"
    r"(?:as an ai\b[^.]{0,60}?,? )?"
    r"(?:i (?:can'?t|cannot|can not|won'?t|will not|must decline to|am (?:not able|unable) to)"
    r"|i'm (?:not able|unable) to|i (?:have to|must) decline)"
    r"(?: (?:assist|comply|fulfil|fulfill|engage|provide|answer|discuss|continue|respond|do (?:that|this))\b"
    r"|(?: to)? help(?: you\b| with\b| in\b|\W*$)|\W*$)"
    r"|(?:很?抱歉|对不起)?\W*(?:但)?我(?:无法|不能)(?:回答|提供|协助|帮助|满足|完成)",
    re.IGNORECASE,
)
_ERROR_TEXT: Final = "ERROR:"

_TAG: Final = re.compile(r"<(/?)(think|thinking)>", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """An answer without what a reasoning model wrote down while it thought.

    Attributes:
        text: What is left; the whole text where nothing was thought.
        reasoning: What was removed, with its tags; "" where nothing was.
        unfinished: Whether the model was still thinking where the text ends.
    """

    text: str
    reasoning: str = ""
    unfinished: bool = False


def strip_reasoning(text: str) -> Spoken:
    """Return an answer without `<think>...</think>` (or `thinking`).

    Thoughts may lie in others; what ends one is the tag that began it. Those that never end go to the end of the text.
    Where only the closing tag is there, because the prompt has opened it, all before it is thought. Servers that hand
    thoughts over in a field of their own leave nothing to do.
    """
    if "<" not in text:  # most answers
        return Spoken(text=text)
    spoken: list[slice] = []
    thought: list[slice] = []
    end = depth = 0  # all before `end` is in one of the two; so many thoughts are open behind it
    name = ""
    for tag in _TAG.finditer(text):
        is_end, kind = bool(tag[1]), tag[2].lower()
        if depth:
            depth += (-1 if is_end else 1) * (kind == name)
            if not depth:
                thought.append(slice(end, tag.end()))
                end = tag.end()
        elif is_end:
            spoken, thought = [], [slice(tag.end())]
            end = tag.end()
        else:
            spoken.append(slice(end, tag.start()))
            end, depth, name = tag.start(), 1, kind
    (thought if depth else spoken).append(slice(end, None))
    said, kept = ("".join(text[part] for part in parts) for parts in (spoken, thought))
    return Spoken(text=said, reasoning=kept, unfinished=depth > 0)


def is_truncated(finish_reason: str | None) -> bool:
    """Whether an answer ended because it had its longest length."""
    return finish_reason is not None and finish_reason.lower() in _AT_LONGEST


def classify(failure: Failure | None, text: str | None, finish_reason: str | None) -> str | None:
    """Return why a request has no answer that can be scored; None where it has one.

    In this order, so that what is known for certain goes before what words suggest:

    1. The code of the failure, as the engine gives it. A failure is never classified by the text of an answer. (An
       answer without text that a filter withheld is REFUSAL.)
    2. Its HTTP status: 408 and 504 are TIMEOUT, 429 is RATE_LIMITED. Of all others the words of the server are read,
       because 400 and 500 stand for a context that is too long too; where they say nothing known, ENGINE_ERROR.
    3. The words alone, of an engine that gives no code and no status; where they say nothing known, UNKNOWN_FAILURE.
    4. Without a failure the text, less what the model thought: nothing is EMPTY_OUTPUT (REFUSAL where a filter
       withheld it), "ERROR:" at the beginning FORMAT_ERROR, a short text that begins with a refusal REFUSAL.

    Args:
        failure: What the engine says went wrong; None where it gave an answer.
        text: The answer.
        finish_reason: Why it ended, by the server.
    """
    withheld = finish_reason is not None and finish_reason.lower() in _FILTERED
    if failure is not None:
        code = _of_failure(failure)
        return REFUSAL if code == EMPTY_OUTPUT and withheld else code
    spoken = strip_reasoning(text or "").text.strip()
    if not spoken:
        return REFUSAL if withheld else EMPTY_OUTPUT
    if spoken.startswith(_ERROR_TEXT):
        return FORMAT_ERROR
    return REFUSAL if _is_refusal(spoken) else None


def _of_failure(failure: Failure) -> str:
    if failure.code in _CODES:
        return _CODES[failure.code]
    status = _status(failure)
    if status in _STATUSES:
        return _STATUSES[status]
    by_words = next((code for words, code in _BY_WORDS if words.search(failure.message)), None)
    if status is None:
        return by_words or UNKNOWN_FAILURE
    return by_words if by_words in {CONTEXT_LENGTH_EXCEEDED, RATE_LIMITED} else ENGINE_ERROR


def _status(failure: Failure) -> int | None:
    """Return the status of an error; None where none came, or only one of success."""
    named = re.fullmatch(r"http_(\d{3})", failure.code)
    status = int(named[1]) if named else failure.status
    return status if status is not None and status >= _FIRST_ERROR else None


def _is_refusal(text: str) -> bool:
    """Whether a text is a refusal, not one that speaks of something that cannot be."""
    if len(text) > _LONGEST_REFUSAL:
        return False
    return _REFUSAL.match(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lstrip("\"'* ")) is not None
