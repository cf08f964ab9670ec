"""A model in this process whose cache is really compressed, and counted afterwards.

Query-agnostic, the usual way: the context is filled in and compressed before the question is known; the question and
the answer are added to what was kept. Query-aware: the policy sees the whole prompt and chooses what the question needs
from all of it but the last token, which is then asked over what was kept. In both, every token of the answer sees the
compressed cache and nothing else.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.llm.generation import (
    CONTEXT_LENGTH,
    EMPTY,
    EMPTY_PROMPT,
    OUT_OF_MEMORY,
    STREAMING,
    Decoding,
    Failure,
    Generation,
)
from groundlake.llm.loading import import_transformers
from groundlake.llm.local import LocalModel
from groundlake.llm.resident import reset_resident_peak, resident_peak_bytes
from groundlake.transition.engines.base import EngineAnswer, require_budget, seed_of
from groundlake.transition.engines.presses import NONE, Policy, kept_of, kvpress_version, require_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from groundlake.llm.local import Dtype
    from groundlake.transition.engines.base import Prompt, Setting
    from groundlake.transition.engines.cache import Filled

BUDGET = "budget_not_applicable"
"""Code of a failure: the policy cannot keep so few entries of so short a prompt."""
ENGINE = "engine"
"""Code of a failure: the model stopped with an error of its own."""
TRIED = (32, 8)
"""Entries that are filled in and kept, to see whether kvpress works with this model and this transformers."""


class LocalEngine:
    """Answers prompts one at a time with a model of transformers, under a policy of kvpress.

    Args:
        model: The model; it may serve several engines, but not at the same time.
        decoding: How answers are made; nothing is drawn.
        policy: What chooses the entries that are kept.
        query_aware: Let the policy see the question.

    Raises:
        UsageError: Drawing is asked for, or the policy cannot compress this model.
        MissingDependencyError: kvpress is missing, or does not work with this transformers.
    """

    name = "transformers"

    def __init__(
        self, model: LocalModel, *, decoding: Decoding, policy: Policy | None = None, query_aware: bool = False
    ) -> None:
        if decoding.temperature > 0:
            raise UsageError("temperature must be 0: answers under several budgets are compared, so nothing is drawn")
        self._model = model
        self._decoding = decoding
        self._policy = policy or Policy()
        self._query_aware = query_aware
        self._one_at_a_time = threading.Lock()
        self._is_peak_fresh = False
        if self._policy.name != NONE:
            require_model(model.model)
            self._try()

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        decoding: Decoding,
        policy: Policy | None = None,
        query_aware: bool = False,
        dtype: Dtype = "auto",
        device: str = "cpu",
        chat: bool = False,
        download: bool = False,
    ) -> Self:
        """Load a model, as `LocalModel.load` does, and make an engine of it; `auto` takes a GPU where there is one."""
        if device == "auto":
            import_transformers()
            device = "cuda" if import_module("torch").cuda.is_available() else "cpu"
        model = LocalModel.load(path, dtype=dtype, device=device, chat=chat, download=download)
        return cls(model, decoding=decoding, policy=policy, query_aware=query_aware)

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return self._policy.name

    def require(self, budgets: Iterable[float]) -> None:
        """Raise unless the policy can apply every budget.

        Raises:
            UsageError: One is no fraction, or less than the policy keeps.
        """
        for budget in budgets:
            self._policy.require(require_budget(budget))

    def facts(self) -> dict[str, Setting]:
        """Return what is recorded with a run: the model, the policy with all its settings, versions."""
        model = self._model
        versions = dict(model.versions)
        if self.policy != NONE:
            versions["kvpress"] = kvpress_version()
        return {
            "engine": self.name,
            "model": model.name,
            "precision": model.precision,
            "device": model.device,
            "batch": 1,
            "policy": self.policy,
            "query_aware": self._query_aware,
            "budget_is_of": "prompt but its last token" if self._query_aware else "context",
            "adapt": self._policy.adapt,
            **{f"policy.{setting}": value for setting, value in self._policy.settings.items()},
            **{f"version.{package}": of for package, of in versions.items()},
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def answer(self, prompt: Prompt, budget: float, *, repeat: int = 1) -> EngineAnswer:
        """Answer a prompt in a thread; what is asked meanwhile waits, and its times start when it is its turn.

        Raises:
            UsageError: The policy cannot apply the budget.
        """
        self.require([budget])
        return await asyncio.to_thread(self.answer_now, prompt, budget, repeat=repeat)

    def answer_now(self, prompt: Prompt, budget: float, *, repeat: int = 1) -> EngineAnswer:
        """Answer a prompt in this thread; as `answer`.

        Raises:
            UsageError: The policy cannot apply the budget.
        """
        self.require([budget])
        with self._one_at_a_time:
            self._model.synchronize()
            self._model.reset_peak()
            self._is_peak_fresh = reset_resident_peak()
            sent_s = perf_counter()
            first, rest = self._parts(prompt)
            failure = self._unfit(first, rest)
            if failure is not None:
                return self._failed(failure, sent_s, len(first) + len(rest))
            with self._seeded(seed_of(self._decoding.seed, repeat)):
                return self._answered(first, rest, budget, sent_s)

    def _answered(self, first: list[int], rest: list[int], budget: float, sent_s: float) -> EngineAnswer:
        """Answer a prompt of two parts of tokens, of which the first is compressed."""
        import torch

        from groundlake.transition.engines.cache import fill

        kept = kept_of(len(first), budget)
        try:
            settings = self._policy.settings_for(len(first), kept)
            press = self._policy.press(len(first), kept, behind=len(rest) if self._query_aware else 0)
        except UsageError as error:
            return self._failed(Failure(code=BUDGET, message=str(error)), sent_s, len(first) + len(rest))
        try:
            filled = fill(self._model.model, first, press, rest if self._query_aware else ())
            generation = self._generated(filled, rest, sent_s)
        except torch.OutOfMemoryError as error:
            message = f"the memory of {self._model.device} is too small: {_first_line(error)}"
            return self._failed(Failure(code=OUT_OF_MEMORY, message=message), sent_s, len(first) + len(rest))
        except (RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
            message = f"{type(error).__name__}: {_first_line(error)}"
            return self._failed(Failure(code=ENGINE, message=message), sent_s, len(first) + len(rest))
        return EngineAnswer(
            generation=generation,
            budget_verified=all(found == kept for found in filled.kept),
            evidence=_evidence(filled.kept, len(first), kept) + _adapted(self._policy.settings, settings),
            compressed_tokens=len(first),
            kept_tokens=filled.kept,
            peak_memory_bytes=self._peak_memory_bytes(),
            policy_settings=settings,
        )

    def _generated(self, filled: Filled, rest: list[int], sent_s: float) -> Generation:
        """Ask the rest of a prompt over a filled cache."""
        from groundlake.llm.stepping import Steps
        from groundlake.transition.engines.cache import go_on

        decoding = self._decoding
        steps = Steps(
            prompt_length=0,
            batch=1,
            eos_token_ids=() if decoding.ignore_eos else self._model.eos_token_ids,
            stop=decoding.stop,
            decode=self._text,
            settle=self._model.synchronize,
        )
        tokens = go_on(
            self._model.model,
            filled,
            rest,
            max_new_tokens=decoding.max_new_tokens,
            ended=lambda answer: bool(steps(answer, None)),
        )
        finished_s = perf_counter()
        text = self._text(tokens)
        text = text[: min((text.index(end) for end in decoding.stop if end in text), default=len(text))]
        return Generation(
            text=text,
            sent_s=sent_s,
            arrivals_s=tuple(steps.arrivals_s[0]),
            finished_s=finished_s,
            input_tokens=filled.length + len(rest),
            output_tokens=len(tokens),
            tokens_counted_by="tokenizer",
            token_timing=STREAMING,
            finish_reason=steps.reasons[0] or "length",
            error=None if text else Failure(code=EMPTY, message="the answer has no text"),
        )

    def _text(self, tokens: Sequence[int]) -> str:
        decoded = self._model.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded)

    def _parts(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """Return the tokens that are compressed, and the rest; together they are those of the whole prompt."""
        tokens, context = self._tokens(prompt)
        split = max(len(tokens) - 1, 0) if self._query_aware else context
        return tokens[:split], tokens[split:]

    def _tokens(self, prompt: Prompt) -> tuple[list[int], int]:
        """Return the tokens of a prompt, and how many of them are the context.

        A token in which the context ends and the question begins belongs to the question.
        """
        text, end, added = self._written(prompt)
        tokenizer = self._model.tokenizer
        if not tokenizer.is_fast:  # it cannot say where its tokens stand
            before = list(tokenizer(text[:end], add_special_tokens=added)["input_ids"])
            return before + list(tokenizer(text[end:], add_special_tokens=False)["input_ids"]), len(before)
        made = tokenizer(text, add_special_tokens=added, return_offsets_mapping=True, verbose=False)
        ends = [int(place[1]) for place in made["offset_mapping"]]
        context = next((number for number, place in enumerate(ends) if place > end), len(ends))
        return list(made["input_ids"]), context

    def _written(self, prompt: Prompt) -> tuple[str, int, bool]:
        """Return the text of a prompt, where its context ends, and whether the tokenizer is to add its marks."""
        if not self._model.chat:
            before = "" if prompt.system is None else f"{prompt.system}\n\n"
            return before + prompt.text, len(before + prompt.context), True
        written = str(
            self._model.tokenizer.apply_chat_template(prompt.messages(), add_generation_prompt=True, tokenize=False)
        )
        for said in (prompt.text, prompt.text.strip()):  # templates may strip what they are given
            start = written.rfind(said)
            if start >= 0:
                stripped = len(prompt.text) - len(prompt.text.lstrip()) if said != prompt.text else 0
                return written, start + max(len(prompt.context) - stripped, 0), False
        raise UsageError(
            f"model {self._model.name}: its template of a conversation changes the prompt, so that context and "
            "question cannot be told apart; ask without chat"
        )

    def _unfit(self, first: list[int], rest: list[int]) -> Failure | None:
        """Return why a prompt cannot be answered; None where it can. Nothing is ever cut off."""
        if not first or not rest:
            what = "question" if first else "context"
            return Failure(code=EMPTY_PROMPT, message=f"the {what} of the prompt has no tokens")
        length, limit = len(first) + len(rest), self._model.context_length
        wanted = length + self._decoding.max_new_tokens
        if limit is None or wanted <= limit:
            return None
        return Failure(
            code=CONTEXT_LENGTH,
            message=f"the prompt has {length} tokens and the answer may have {self._decoding.max_new_tokens}: "
            f"{wanted} are more than the {limit} of the model's context",
        )

    def _failed(self, failure: Failure, sent_s: float, tokens: int) -> EngineAnswer:
        """Return what came of a prompt that was not answered."""
        generation = Generation(
            text="",
            sent_s=sent_s,
            finished_s=perf_counter(),
            input_tokens=tokens,
            token_timing=STREAMING,
            error=failure,
        )
        return EngineAnswer(
            generation=generation,
            budget_verified=None,
            evidence="there is no answer, and no cache to look at",
            peak_memory_bytes=self._peak_memory_bytes(),
        )

    def _peak_memory_bytes(self) -> int | None:
        """Return the most memory in use since the prompt was begun: of the GPU, or of this process where it works."""
        of_device = self._model.peak_memory_bytes()
        if of_device is not None or self._model.device != "cpu" or not self._is_peak_fresh:
            return of_device
        return resident_peak_bytes()

    @contextmanager
    def _seeded(self, seed: int | None) -> Iterator[None]:
        """Set the seed for a policy that may draw, and leave the random numbers of the program as they were."""
        import torch

        cuda = self._model.device.startswith("cuda")
        with torch.random.fork_rng(
            devices=[torch.device(self._model.device)] if cuda else [], enabled=seed is not None
        ):
            if seed is not None:
                torch.manual_seed(seed)
            yield

    def _try(self) -> None:
        """Raise unless the policy compresses this model as it should; there is no other way to know than to try.

        Raises:
            MissingDependencyError: It does not: kvpress and transformers do not fit each other.
        """
        from groundlake.transition.engines.cache import fill

        length, kept = TRIED
        try:
            found = fill(self._model.model, [0] * length, self._policy.press(length, kept)).kept
            problem = "" if set(found) == {kept} else _evidence(found, length, kept)
        except UsageError:  # so short a prompt is refused where the settings may not be adapted
            return
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            problem = f"{type(error).__name__}: {_first_line(error)}"
        if problem:
            packages: Mapping[str, str] = self._model.versions
            raise MissingDependencyError(
                f"kvpress {kvpress_version()} does not compress this model with transformers "
                f"{packages.get('transformers')}: {problem}\n  pip install 'groundlake[transition]' takes two that fit"
            )


def _adapted(told: Mapping[str, Setting], used: Mapping[str, Setting]) -> str:
    """Say which settings of the policy were smaller for so short a prompt."""
    changed = [f"{name} {used[name]} in place of {value}" for name, value in told.items() if used[name] != value]
    return f"; {', '.join(changed)}, as the prompt is short" if changed else ""


def _evidence(found: tuple[int, ...], length: int, wanted: int) -> str:
    """Say what was counted in the cache."""
    counts = f"{found[0]} in each" if len(set(found)) == 1 else ", ".join(map(str, found))
    return f"counted in the cache of {len(found)} layers: {counts}, of {length} entries; {wanted} were to be kept"


def _first_line(error: Any) -> str:  # noqa: ANN401 - any error
    """Return the first line of what an error says."""
    return (str(error).splitlines() or [""])[0]
