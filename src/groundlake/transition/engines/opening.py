"""Opens the engine that the settings ask for, and says what a run records of it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from groundlake.hardware.target import choose_target, require_meant
from groundlake.layout import encode_key
from groundlake.llm.loading import import_transformers
from groundlake.transition.configuration.settings import OPENAI
from groundlake.transition.engines.presses import NONE, Policy, import_kvpress, kvpress_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from groundlake.llm.local import LocalModel
    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.engines.base import Engine, Setting
    from groundlake.transition.engines.local import LocalEngine
    from groundlake.transition.scoring.tasks import Task

UNKNOWN: Final = "none"
IN_PROCESS: Final = "in_process"
LEFT_OUT: Final = f"left out, runs of an endpoint have hardware_id={UNKNOWN}"


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What a run records of the engine under one budget.

    Attributes:
        engine: openai or transformers.
        engine_version: Version of the library that answers; None of a server.
        hardware_id: Device the model runs on; none where a server does not tell.
        device: cpu, cuda or cuda:1; None of a server.
        precision: Of the weights; none where it is not known.
        model: Name under which the lake keeps it.
        batch: Prompts in one batch: 1 in this process, 0 of a server, which batches as it likes.
        base_url: Address that is asked under this budget, without secrets; None in this process.
        how_applied: How the budget reaches the engine: in_process, base_url, extra_body or none.
        policy: What chooses the entries that are kept.
        policy_json: All that decides its choice, as JSON in one order of keys.
        is_local: Whether the model runs in this process, so that its memory and energy can be read here.
    """

    engine: str
    engine_version: str | None
    hardware_id: str
    device: str | None
    precision: str
    model: str
    batch: int
    base_url: str | None
    how_applied: str
    policy: str
    policy_json: str
    is_local: bool


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An engine that can be asked.

    Attributes:
        engine: The engine; every budget of the settings can be applied.
        context_length: Tokens that prompt and answer may have together; None where nobody says.
        tokenizer: The tokenizer of a model in this process, as transformers has it; None of a server.
        remark: That the device of the model has an id that was not known before; None of a known one.
    """

    engine: Engine
    context_length: int | None
    tokenizer: Any | None
    _facts: Callable[[float], EngineFacts]
    remark: str | None = None

    def facts(self, budget: float) -> EngineFacts:
        """Return what a run at a budget records.

        Raises:
            UsageError: The budget cannot be applied.
        """
        self.engine.require([budget])
        return self._facts(budget)

    def count_tokens(self, text: str) -> int | None:
        """Return how many tokens of the model a text has, with the marks around it; None of a server."""
        return None if self.tokenizer is None else len(self.tokenizer(text, verbose=False)["input_ids"])


def require_device_id(settings: Settings, lake: Lake | None, hw: str | None) -> None:
    """Raise for a hardware id that runs of these settings cannot have, before anything is read, asked or written.

    Args:
        settings: The settings.
        lake: Knows devices beside those of the registry.
        hw: Hardware id of the runs; None is always right.

    Raises:
        UsageError: It is another machine's, so close to a known id that it must be a slip, or no id at all.
        MissingDependencyError: A package or the device is missing.
    """
    if hw is None:
        return
    if settings.engine.type == OPENAI:  # a server may run anywhere
        require_meant(lake, hw, left_out=LEFT_OUT)
    else:
        choose_target(lake, hw, _device(settings.engine.device))


@asynccontextmanager
async def open_engine(
    settings: Settings, task: Task, *, lake: Lake | None = None, hw: str | None = None
) -> AsyncIterator[Opened]:
    """Open the engine of the settings, and close it behind the block.

    Nothing is asked before all budgets are known to be applicable, and nothing is downloaded: a model of the hub is
    taken from the local cache.

    Args:
        settings: The settings.
        task: The task that is asked.
        lake: Knows devices beside those of the registry.
        hw: Hardware id of the runs. None: the detected device, and none for a server.

    Raises:
        UsageError: A budget cannot be applied, the model is not there, or `hw` is another machine's, or so close to a
            known id that it must be a slip.
        MissingDependencyError: A package or the device is missing.
    """
    if settings.model.name is not None:
        encode_key(settings.model.name)
    if settings.engine.type == OPENAI:
        require_device_id(settings, lake, hw)
        async with _endpoint(settings, task, hw) as opened:
            yield opened
    else:
        yield _local(settings, task, lake, hw)


@asynccontextmanager
async def _endpoint(settings: Settings, task: Task, hw: str | None) -> AsyncIterator[Opened]:
    from groundlake.transition.engines.endpoint import EndpointEngine

    engine = EndpointEngine(settings, task)
    engine.require(settings.kv.budgets)
    policy = {"policy": settings.kv.policy, "parameters": dict(settings.kv.parameters)}

    def facts(budget: float) -> EngineFacts:
        return EngineFacts(
            engine=engine.name,
            engine_version=None,
            hardware_id=hw or UNKNOWN,
            device=None,
            precision=settings.model.precision or UNKNOWN,
            model=str(settings.model.name),
            batch=0,
            base_url=engine.base_url(budget),
            how_applied=settings.kv.apply,
            policy=engine.policy,
            policy_json=_canonical(policy),
            is_local=False,
        )

    async with engine:
        yield Opened(engine=engine, context_length=settings.model.max_model_len, tokenizer=None, _facts=facts)


def _local(settings: Settings, task: Task, lake: Lake | None, hw: str | None) -> Opened:
    """Load a model into this process."""
    from groundlake.llm.generation import Decoding
    from groundlake.transition.engines.local import LocalEngine

    kv = settings.kv
    policy = Policy(name=kv.policy, settings=cast("Mapping[str, Setting]", kv.parameters))
    for budget in kv.budgets:
        policy.require(budget)
    if policy.name != NONE:
        import_kvpress()  # before weights are loaded for nothing
    device = _device(settings.engine.device)
    target = choose_target(lake, hw, device)
    model = _model(settings, task, device)
    engine = LocalEngine(
        model,
        decoding=Decoding(
            max_new_tokens=settings.decoding.max_tokens or task.max_new_tokens,
            temperature=settings.decoding.temperature,
            seed=settings.decoding.seed,
        ),
        policy=policy,
        query_aware=kv.query_aware,
    )
    engine.require(kv.budgets)
    found = EngineFacts(
        engine=engine.name,
        engine_version=model.versions.get("transformers"),
        hardware_id=target.hardware_id,
        device=model.device,
        precision=model.precision,
        model=settings.model.name or model.name,
        batch=1,
        base_url=None,
        how_applied=IN_PROCESS,
        policy=policy.name,
        policy_json=_canonical(_policy_of(engine, policy)),
        is_local=True,
    )
    encode_key(found.model)
    return Opened(
        engine=engine,
        context_length=model.context_length,
        tokenizer=model.tokenizer,
        remark=target.remark,
        _facts=lambda _budget: found,
    )


def _device(told: str | None) -> str:
    """Return the device of a local model: where nobody says, a GPU if there is one."""
    if told not in (None, "auto"):
        return str(told)
    import_transformers()
    return "cuda" if import_module("torch").cuda.is_available() else "cpu"


def _model(settings: Settings, task: Task, device: str) -> LocalModel:
    """Load the model and its tokenizer; a task that is a conversation is one where the model has a template of it."""
    from groundlake.llm.local import LocalModel

    told = settings.model
    source = str(told.name) if told.path is None else Path(told.path)
    model = LocalModel.load(source, dtype=settings.engine.dtype or "auto", device=device)
    model.chat = task.chat_template and bool(model.tokenizer.chat_template)
    limits = [each for each in (model.context_length, told.max_model_len) if each is not None]
    model.context_length = min(limits, default=None)
    return model


def _policy_of(engine: LocalEngine, policy: Policy) -> dict[str, Any]:
    """Return all that decides which entries are kept."""
    told = engine.facts()
    return {
        "policy": policy.name,
        "parameters": dict(policy.settings),
        **{name: told[name] for name in ("adapt", "query_aware", "budget_is_of")},
        "library": None if policy.name == NONE else f"kvpress {kvpress_version()}",
    }


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
