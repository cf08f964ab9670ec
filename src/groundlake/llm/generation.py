"""What is asked of a language model, and what came back: the same for an endpoint and for a model in this process.

Moments are readings of `time.perf_counter`, in s. On Linux that is the monotonic clock of the machine, so that moments
of several processes can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from groundlake.errors import UsageError

TokenCounter = Literal["tokenizer", "server", "chunks"]
TokenTiming = Literal["streaming", "per_request_batch"]

STREAMING: Final = "streaming"
PER_REQUEST_BATCH: Final = "per_request_batch"

CONTEXT_LENGTH = "context_length"
EMPTY_PROMPT = "empty_prompt"
OUT_OF_MEMORY = "out_of_memory"
TIMEOUT = "timeout"
CONNECTION = "connection"
TLS = "tls"
MALFORMED = "malformed"
TRUNCATED = "truncated"
EMPTY = "empty"


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How an answer is made.

    Attributes:
        max_new_tokens: At most so many tokens.
        temperature: 0 takes the likeliest token each time; above 0 draws.
        top_p: Draws among the likeliest tokens that have this probability together.
        seed: Of the draws; None leaves them to chance.
        stop: Texts that end an answer, and are not part of it.
        ignore_eos: Go on behind the token that ends an answer, so that every answer has `max_new_tokens`. A server has
            to know the field of this name, as vLLM does.

    Raises:
        UsageError: A number out of its range.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature must be 0 or more, got {self.temperature:g}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be above 0 and at most 1, got {self.top_p:g}")
        if isinstance(self.stop, str) or not all(self.stop):
            raise UsageError(f"stop must be texts, none of them empty, got {self.stop!r}")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why there is no answer, or no whole one.

    Attributes:
        code: `timeout`, `connection`, `tls` (no trusted connection), `http_429` and the like, `malformed` (no such
            answer is known), `truncated` (it stopped without an end), `empty` (no token came); of a model in this
            process also `context_length`, `empty_prompt` and `out_of_memory`.
        message: The same in words, with what to do where that is known. No key ever stands in it.
        status: Status of the HTTP answer; None where none came.
        connected: Whether there was a connection; without one, nothing of what is asked has decided.
    """

    code: str
    message: str
    status: int | None = None
    connected: bool = True


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One sending of a request.

    Attributes:
        started_s: When it was sent.
        ended_s: When the answer was there, or the failure.
        status: Status of the HTTP answer; None where none came.
        error: Why it failed; None for one that answered.
        waited_s: How long it was held back before it was sent, by limits and after a failure, in s.
    """

    started_s: float
    ended_s: float
    status: int | None = None
    error: Failure | None = None
    waited_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What came of one prompt. Times are those of the last attempt.

    Attributes:
        text: The answer, as far as it came; "" for one of tokens without a text.
        reasoning: What a reasoning model thought before, where the server tells it apart.
        sent_s: When it was asked.
        arrivals_s: When each token, or each chunk of tokens, came; () where none came, and where the answer came whole.
        finished_s: When the answer was complete, or failed. In a batch: when the last of the batch was.
        input_tokens: Tokens of the prompt; None where nobody says.
        output_tokens: Tokens of the answer, with the one that ends it where it is counted; None where nobody says.
        tokens_counted_by: Who counted the tokens of the answer; `chunks`: nobody, they are the chunks that came.
        token_timing: `streaming` (each token, or chunk of tokens, when it came) or `per_request_batch` (the whole).
        finish_reason: `stop`, `length`, `content_filter` or what else the server says.
        error: Why it is no answer; None for an answer.
        attempts: All sendings of the request; () for a model in this process.
        told: The further value of the answer that an endpoint was looked at for; None where it has none.
    """

    text: str
    reasoning: str = ""
    sent_s: float
    arrivals_s: tuple[float, ...] = ()
    finished_s: float
    input_tokens: int | None = None
    output_tokens: int | None = None
    tokens_counted_by: TokenCounter | None = None
    token_timing: TokenTiming
    finish_reason: str | None = None
    error: Failure | None = None
    attempts: tuple[Attempt, ...] = ()
    told: object = None

    @property
    def ok(self) -> bool:
        """Whether it is an answer."""
        return self.error is None
