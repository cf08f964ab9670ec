"""What is to be asked: every example of the data set, as often as it is repeated, at every budget.

The order is always the same: budgets as the settings have them, examples as the manifest has them, then repeats.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from groundlake.errors import UsageError
from groundlake.transition.data.tokens import WordCounter
from groundlake.transition.engines.base import Prompt
from groundlake.transition.inference.cutting import Cutter, room_of
from groundlake.transition.inference.identity import budget_id, decoding_json, epoch_hash, request_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.prepared import Prepared, PreparedExample
    from groundlake.transition.scoring.tasks import Task

WHOLE: Final = "none"
MIDDLE: Final = "middle"


@dataclass(frozen=True, kw_only=True)
class PlannedPrompt:
    """The prompt of an example, as it is sent.

    Attributes:
        source: The example.
        prompt: What is asked; never anything of the budget.
        prompt_sha256: Hash of its text.
        truncation: `none`, or `middle` where it was cut to fit.
        unfit: Why it is not sent; None where it is.
    """

    source: PreparedExample
    prompt: Prompt
    prompt_sha256: str
    truncation: str = WHOLE
    unfit: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedRequest:
    """A prompt that is asked at a budget.

    Attributes:
        exp_group_id: Its group.
        budget_id: Its budget.
        request_id: Its identity; the same on every machine.
        asked: The prompt.
        repeat: 1, 2, 3, ...
    """

    exp_group_id: str
    budget_id: str
    request_id: str
    asked: PlannedPrompt
    repeat: int


@dataclass(frozen=True, kw_only=True)
class PlannedBudget:
    """All requests of one budget.

    Attributes:
        budget: Fraction kept.
        budget_id: Its identity.
        requests: In the order in which they are asked.
    """

    budget: float
    budget_id: str
    requests: tuple[PlannedRequest, ...]

    def without(self, done: Collection[str]) -> tuple[PlannedRequest, ...]:
        """Return the requests that are still to be asked."""
        return tuple(each for each in self.requests if each.request_id not in done)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is to be asked under one set of settings.

    Attributes:
        epoch: Hash of what decides what is asked and how.
        max_tokens: Longest answer.
        budgets: In the order of the settings.
    """

    epoch: str
    max_tokens: int
    budgets: tuple[PlannedBudget, ...]


def plan(settings: Settings, prepared: Prepared, task: Task, files: str | None = None) -> Plan:
    """Plan the requests of a prepared data set.

    Args:
        settings: Budgets, decoding, repeats and truncation.
        prepared: The examples.
        task: Makes the prompts.
        files: Fingerprint of a local model whose files are not on this machine.

    Raises:
        UsageError: The data set was prepared by other settings, or with another template of the prompt, or a prompt
            would have to be cut by a tokenizer that cannot.
    """
    require_prepared_for(settings, prepared)
    max_tokens = settings.decoding.max_tokens or task.max_new_tokens
    epoch = epoch_hash(settings, prepared, files)
    repeats = range(1, settings.decoding.repeats + 1)
    decodings = {repeat: decoding_json(settings.decoding, max_tokens, repeat) for repeat in repeats}
    prompts = tuple(_prompts(settings, prepared, task, max_tokens))
    budgets = []
    for budget in settings.kv.budgets:
        identity = budget_id(prepared.exp_group_id, epoch, settings.kv, budget)
        requests = tuple(
            PlannedRequest(
                exp_group_id=prepared.exp_group_id,
                budget_id=identity,
                request_id=request_id(
                    identity, each.source.example.example_id, each.prompt_sha256, decodings[repeat], repeat
                ),
                asked=each,
                repeat=repeat,
            )
            for each in prompts
            for repeat in repeats
        )
        budgets.append(PlannedBudget(budget=float(budget), budget_id=identity, requests=requests))
    return Plan(epoch=epoch, max_tokens=max_tokens, budgets=tuple(budgets))


def require_prepared_for(settings: Settings, prepared: Prepared) -> None:
    """Raise unless a data set is the one that the settings describe.

    Raises:
        UsageError: It is another one.
    """
    if prepared.settings_hash != settings.settings_hash("prepare"):
        raise UsageError(
            f"group {prepared.exp_group_id}: its data set ({prepared.dataset_id}) was prepared by other settings of "
            "dataset, tokenizer, binning or sampling\n  lake kv prepare first"
        )


def _prompts(settings: Settings, prepared: Prepared, task: Task, max_tokens: int) -> Iterator[PlannedPrompt]:
    limit = settings.model.max_model_len
    is_cut = settings.run.truncation == MIDDLE
    room = room_of(task) if is_cut else 0
    cutter: Cutter | None = None
    for source in prepared.examples:
        whole = _whole(source, prepared, task)
        wanted = source.prompt_tokens + max_tokens
        if limit is None or wanted + room <= limit:
            yield whole
        elif is_cut:
            cutter = cutter or Cutter(settings, prepared, task, limit - max_tokens)
            yield _cut(whole, task, cutter, limit)
        elif prepared.tokenizer_fingerprint == WordCounter.fingerprint:
            yield whole  # an approximation cannot say that it does not fit: the engine does
        else:
            text = f"the prompt has {source.prompt_tokens} tokens and the answer may have {max_tokens}: {wanted} are "
            yield _unfit(whole, f"{text}more than model.max_model_len, {limit}; it was not sent")


def _whole(source: PreparedExample, prepared: Prepared, task: Task) -> PlannedPrompt:
    made = _planned(source, task, source.example.context)
    if made.prompt_sha256 != source.prompt_sha256:
        raise UsageError(
            f"group {prepared.exp_group_id}: the prompt of example {source.example.example_id} is not the one whose "
            f"tokens were counted; the template of task {task.name} has changed since\n  lake kv prepare first"
        )
    return made


def _cut(whole: PlannedPrompt, task: Task, cutter: Cutter, limit: int) -> PlannedPrompt:
    example = whole.source.example
    context = cutter.cut(example.context, example.question)
    if context is None:
        text = f"question and template alone are longer than model.max_model_len, {limit}, leaves room for"
        return _unfit(whole, f"{text}; it was not sent")
    return _planned(whole.source, task, context, truncation=WHOLE if context == example.context else MIDDLE)


def _planned(source: PreparedExample, task: Task, context: str, *, truncation: str = WHOLE) -> PlannedPrompt:
    before, after = task.halves(context, source.example.question)
    prompt = Prompt(context=before, question=after)
    sha256 = hashlib.sha256(prompt.text.encode()).hexdigest()
    return PlannedPrompt(source=source, prompt=prompt, prompt_sha256=sha256, truncation=truncation)


def _unfit(whole: PlannedPrompt, why: str) -> PlannedPrompt:
    return PlannedPrompt(source=whole.source, prompt=whole.prompt, prompt_sha256=whole.prompt_sha256, unfit=why)
