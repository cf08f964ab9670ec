"""Reads the answer of an OpenAI-compatible endpoint: a stream of chunks, or one whole."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from groundlake.llm.generation import EMPTY, TRUNCATED, Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundlake.llm.generation import TokenCounter

DONE = "[DONE]"
MOST = 2**63 - 1
"""The largest number that tables hold."""
SHOWN = 300
"""Characters of a server's words that a message repeats."""
_HALF = re.compile("[\ud800-\udfff]")


class MalformedError(ValueError):
    """What came is no answer of an OpenAI-compatible endpoint."""


class ServerSaysError(Exception):
    """The server put an error object where an answer should be.

    Args:
        words: Its message.
        status: The HTTP status that it names as the code of the error; None where it names none.
    """

    def __init__(self, words: str, status: int | None) -> None:
        super().__init__(words)
        self.status = status


@dataclass(kw_only=True)
class Answer:
    """What came of an answer so far.

    Attributes:
        parts: The text, as it came. What a reasoning model thinks is not part of it.
        thoughts: What a reasoning model thinks, as it came.
        arrivals_s: When each chunk with text, or with what a reasoning model thinks, came.
        input_tokens: Tokens of the prompt, by the server.
        output_tokens: Tokens of the answer, by the server.
        finish_reason: Why it ended, by the server.
        done: Whether the server said that nothing more comes.
        streamed: Whether it came in chunks.
        wanted: Where a further value stands, such as `usage.kv_kept`; "" for none.
        told: That value, as it came last; None where it never did.
    """

    parts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None
    done: bool = False
    streamed: bool = True
    wanted: str = ""
    told: object = None

    def take_event(self, data: str, moment_s: float) -> None:
        """Take in one event of a stream that came at `moment_s`.

        Raises:
            MalformedError: It is no chunk of an answer.
            ServerSaysError: The server reports an error in it.
        """
        if data.strip() == DONE:
            self.done = True
        elif self._take(load_object(data), of="delta"):
            self.arrivals_s.append(moment_s)

    def take_whole(self, body: str) -> None:
        """Take in an answer that did not come in chunks.

        Raises:
            MalformedError: It is no answer.
            ServerSaysError: The server reports an error in it.
        """
        self.streamed = False
        whole = load_object(body)
        if "choices" not in whole and "error" not in whole:
            raise MalformedError(f"an answer without choices: {shortened(body)}")
        self._take(whole, of="message")
        self.done = True

    def text(self) -> str:
        """Return the text so far; halves of characters that came in two chunks are put together."""
        return _whole_characters("".join(self.parts))

    def reasoning(self) -> str:
        """Return what a reasoning model thought so far, in the same way."""
        return _whole_characters("".join(self.thoughts))

    def tokens(self) -> tuple[int | None, TokenCounter | None]:
        """Return the number of tokens of the answer, and who counted them."""
        if self.output_tokens is not None:
            return self.output_tokens, "server"
        if self.streamed:
            return len(self.arrivals_s), "chunks"
        return None, None

    def failure(self, status: int | None) -> Failure | None:
        """Return what is wrong with the answer, now that nothing more comes.

        An answer of tokens without a text is none of it: the limit may have ended it while a model was thinking, or
        its first token was the one that ends it. It took its time all the same.

        Args:
            status: Status of the HTTP answer.
        """
        if not self.done and self.finish_reason is None:
            came = f"after {len(self.arrivals_s)} chunks of text" if self.arrivals_s else "before any text"
            return Failure(
                code=TRUNCATED, message=f"the stream stopped {came}, without a finish_reason or {DONE}", status=status
            )
        if not any(self.parts) and not self.arrivals_s and not any(self.thoughts) and not self.output_tokens:
            ended = f" (finish_reason {self.finish_reason})" if self.finish_reason else ""
            return Failure(code=EMPTY, message=f"no text and no token came{ended}", status=status)
        return None

    def _take(self, chunk: Mapping[str, Any], *, of: str) -> bool:
        """Take in a chunk, or a whole answer; return whether there were tokens in it."""
        if chunk.get("error") is not None:
            raise server_says(chunk["error"])
        self._usage(chunk.get("usage"))
        if self.wanted:
            found = value_at(chunk, self.wanted)
            self.told = self.told if found is None else found
        tokens = False
        for choice in _typed(chunk.get("choices"), list, "choices") or ():
            tokens |= self._choice(_typed(choice, dict, "a choice") or {}, of)
        return tokens

    def _choice(self, choice: Mapping[str, Any], of: str) -> bool:
        if choice.get("index") not in (0, None):
            return False  # one answer is asked for; a server that sends more is not counted twice
        reason = _typed(choice.get("finish_reason"), str, "finish_reason")
        self.finish_reason = shortened(reason) if reason else self.finish_reason
        message = _typed(choice.get(of), dict, of) or {}
        text = _typed(choice.get("text"), str, "text") or _typed(message.get("content"), str, "content") or ""
        thought = message.get("reasoning_content") or message.get("reasoning")
        self.parts.append(text)
        self.thoughts.append(thought if isinstance(thought, str) else "")
        return bool(text or thought)

    def _usage(self, usage: object) -> None:
        counted = _typed(usage, dict, "usage") or {}
        self.input_tokens = _count(counted.get("prompt_tokens"), self.input_tokens)
        self.output_tokens = _count(counted.get("completion_tokens"), self.output_tokens)


def load_object(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises:
        MalformedError: There is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"no JSON ({error}): {shortened(text)}") from None
    if not isinstance(value, dict):
        raise MalformedError(f"no JSON object: {shortened(text)}")
    return value


def value_at(value: Any, path: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what stands at a path such as `usage.details[0].kept`; None where nothing does."""
    for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        if name and isinstance(value, dict):
            value = value.get(name)
        elif number and isinstance(value, list) and int(number) < len(value):
            value = value[int(number)]
        else:
            return None
    return value


def server_says(error: object) -> ServerSaysError:
    """Return what an error object says; servers write `{"message": ..., "code": ...}`, or the message alone."""
    if not isinstance(error, dict):
        return ServerSaysError(shortened(str(error)), None)
    code = error.get("code")
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() else None
    words = error.get("message") or error.get("type") or code or "an error without words"
    return ServerSaysError(shortened(str(words)), status if status is not None and 400 <= status < 600 else None)  # noqa: PLR2004 - errors of HTTP


def shortened(text: str) -> str:
    """Return the beginning of a server's words, on one line, as text that can be kept."""
    line = " ".join(_whole_characters(text).split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def _whole_characters(text: str) -> str:
    """Put halves of characters together; JSON may hold a half alone, which no file can: it becomes U+FFFD."""
    if _HALF.search(text):
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _typed(value: object, kind: type, name: str) -> Any:  # noqa: ANN401 - a value of JSON, of the kind that is asked for
    """Return the value; None stays None."""
    if value is not None and not isinstance(value, kind):
        raise MalformedError(f"{name} is {shortened(json.dumps(value))}")
    return value


def _count(value: object, otherwise: int | None) -> int | None:
    """Return a number of tokens; what is none, or one that no file could keep, says nothing."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return cast("int", value) if is_number and 0 <= cast("int", value) <= MOST else otherwise
