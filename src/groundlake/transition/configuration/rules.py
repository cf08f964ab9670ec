"""Which settings fit together: rules that no single key can break alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from groundlake.errors import UsageError
from groundlake.llm.address import base_address
from groundlake.transition.configuration.settings import FOCUS_TRANSITION, OPENAI, TRANSFORMERS, WORDS
from groundlake.transition.engines.presses import DEFAULTS, Policy
from groundlake.transition.scoring.tasks import find_task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from groundlake.transition.configuration.settings import SanitySlice, Settings
    from groundlake.transition.engines.base import Setting

BASELINE = 1.0


@dataclass(frozen=True)
class BrokenRule:
    """A key that does not fit to others.

    Attributes:
        path: The key.
        text: What is wrong, and what to do.
        others: Keys that the rule looks at as well; where one of them is wrong itself, the rule says nothing.
    """

    path: str
    text: str
    others: tuple[str, ...] = ()


def broken_rules(settings: Settings) -> Iterator[BrokenRule]:
    """Name every key that does not fit to others."""
    yield from _data(settings)
    yield from _slices(settings.dataset.sanity_slices)
    yield from _names(settings)
    yield from _engine(settings)
    yield from _budgets(settings)
    yield from _application(settings)
    yield from _parameters(settings)
    yield from _sampling(settings)
    retries = settings.run.retries
    if retries.cap_s < retries.base_s:
        yield BrokenRule("run.retries.cap_s", f"got {retries.cap_s:g}, wanted at least base_s ({retries.base_s:g})")


def _data(settings: Settings) -> Iterator[BrokenRule]:
    data = settings.dataset
    if data.task is None:
        yield BrokenRule("dataset.task", "missing; say which task, such as narrativeqa")
    else:
        try:
            find_task(data.task)
        except UsageError as error:
            text, _, every = str(error).partition("\n  ")
            yield BrokenRule("dataset.task", text if text.endswith("?") else f"{text}; {every}")
    if data.path is None and not data.download:
        yield BrokenRule("dataset.path", "missing; give a JSONL file or a folder of them", ("dataset.download",))
    if data.path is not None and data.download:
        yield BrokenRule(
            "dataset.download", "the data come from dataset.path; leave one of them out", ("dataset.path",)
        )
    ids = data.pinned_example_ids
    for place, each in enumerate(ids):
        if each in ids[:place]:
            yield BrokenRule(f"dataset.pinned_example_ids[{place}]", f"{each!r} stands there twice")
    if ids and data.sanity_slices:
        pair = "dataset.pinned_example_ids", "dataset.sanity_slices"
        yield BrokenRule(pair[0], f"give either these or {pair[1]}, not both", pair[1:])
    if settings.sampling.strategy == FOCUS_TRANSITION and (ids or data.sanity_slices):
        chosen = "dataset.pinned_example_ids" if ids else "dataset.sanity_slices"
        text = f"{chosen} says which examples; leave it out, or take uniform"
        yield BrokenRule("sampling.strategy", text, (chosen,))


def _slices(slices: Sequence[SanitySlice]) -> Iterator[BrokenRule]:
    for place, each in enumerate(slices):
        path = f"dataset.sanity_slices[{place}]"
        if any(each.name == other.name for other in slices[:place]):
            yield BrokenRule(f"{path}.name", f"{each.name!r} stands there twice")
        percentiles = (each.min_percentile, each.max_percentile)
        tokens = (each.min_tokens, each.max_tokens)
        told = [pair for pair in (percentiles, tokens) if pair != (None, None)]
        if len(told) != 1 or None in told[0]:
            yield BrokenRule(path, "wanted min_percentile and max_percentile, or min_tokens and max_tokens")
        elif (told[0][0] or 0) >= (told[0][1] or 0):
            yield BrokenRule(path, f"the range from {told[0][0]:g} to {told[0][1]:g} is empty")


def _names(settings: Settings) -> Iterator[BrokenRule]:
    """Which model, which tokenizer, which group."""
    model, tokenizer, engine = settings.model, settings.tokenizer, settings.engine.type
    by_engine = ("engine.type",)
    if engine == OPENAI and model.name is None:
        yield BrokenRule("model.name", "missing; give the name that the server knows", by_engine)
    if engine == OPENAI and model.path is not None:
        yield BrokenRule("model.path", f"it is of engine.type: {TRANSFORMERS}; an endpoint has a model.name", by_engine)
    if engine == TRANSFORMERS and model.name is None and model.path is None:
        yield BrokenRule("model.path", "missing; give a folder, or model.name of the hub", ("model.name", *by_engine))
    if engine == TRANSFORMERS and model.precision is not None:
        yield BrokenRule(
            "model.precision", "it is what an endpoint serves; for a local model set engine.dtype", by_engine
        )
    if tokenizer.name is not None and tokenizer.path is not None:
        yield BrokenRule("tokenizer.name", "give either this or tokenizer.path, not both", ("tokenizer.path",))
    if engine == OPENAI and tokenizer.name is None and tokenizer.path is None:
        text = f"missing; give a tokenizer, or {WORDS}, which counts words and is called an approximation"
        yield BrokenRule("tokenizer.name", text, ("tokenizer.path", *by_engine))
    if settings.output.exp_group_id is None:
        yield BrokenRule("output.exp_group_id", "missing; the runs of one evaluation have it in common")
    limit, wanted = model.max_model_len, settings.decoding.max_tokens
    if settings.run.truncation == "middle" and limit is None:
        text = "middle cuts prompts that are longer than model.max_model_len, which is missing; give it, or take error"
        yield BrokenRule("run.truncation", text, ("model.max_model_len",))
    if limit is not None and wanted is not None and wanted >= limit:
        text = f"got {wanted}, which leaves no room for a prompt within model.max_model_len ({limit})"
        yield BrokenRule("decoding.max_tokens", text, ("model.max_model_len",))


def _engine(settings: Settings) -> Iterator[BrokenRule]:
    """Keys that one engine has and the other has not."""
    engine, kv, pacing = settings.engine, settings.kv, settings.run.pacing
    by_engine = ("engine.type",)
    if engine.type == OPENAI:
        local = {
            "engine.device": engine.device is not None,
            "engine.dtype": engine.dtype is not None,
            "kv.query_aware": kv.query_aware,
        }
        for key, is_told in local.items():
            if is_told:
                yield BrokenRule(key, f"it is of engine.type: {TRANSFORMERS}", by_engine)
        if engine.base_url is not None:
            yield from _address(engine.base_url, "engine.base_url")
        elif kv.apply != "base_url":
            yield BrokenRule("engine.base_url", "missing; give the address of the endpoint", ("kv.apply", *by_engine))
        return
    remote = {
        "engine.base_url": engine.base_url,
        "engine.api_key_env": engine.api_key_env,
        "engine.headers": engine.headers or None,
        "run.pacing.requests_per_minute": pacing.requests_per_minute,
        "run.pacing.tokens_per_minute": pacing.tokens_per_minute,
        "kv.evidence": kv.evidence,
        "kv.apply": None if kv.apply == "none" else kv.apply,
    }
    for key, value in remote.items():
        if value is not None:
            yield BrokenRule(key, f"it is of engine.type: {OPENAI}; leave it out", by_engine)
    if engine.concurrency != 1:
        text = f"got {engine.concurrency}, wanted 1: a local model answers one request after the other"
        yield BrokenRule("engine.concurrency", text, by_engine)
    if settings.decoding.temperature > 0:
        text = f"got {settings.decoding.temperature:g}, wanted 0: a local model takes the likeliest token"
        yield BrokenRule("decoding.temperature", text, by_engine)


def _address(url: str, path: str) -> Iterator[BrokenRule]:
    try:
        base_address(url)
    except UsageError as error:
        yield BrokenRule(path, str(error).partition("\n")[0])


def _budgets(settings: Settings) -> Iterator[BrokenRule]:
    budgets, policy = settings.kv.budgets, settings.kv.policy
    if budgets[0] != BASELINE:
        text = f"got {budgets[0]:g} first, wanted 1.0: the others are compared with the whole cache"
        yield BrokenRule("kv.budgets[0]", text)
    for place, budget in enumerate(budgets):
        if budget in budgets[:place]:
            yield BrokenRule(f"kv.budgets[{place}]", f"{budget:g} stands there twice")
    if policy == "none" and any(budget != BASELINE for budget in budgets):
        text = "no policy keeps less than the whole cache; choose kv.policy, or take [1.0]"
        yield BrokenRule("kv.budgets", text, ("kv.policy",))


def _application(settings: Settings) -> Iterator[BrokenRule]:
    """A budget that an endpoint does not get to know is no budget."""
    kv, known = settings.kv, ("kv.apply", "kv.budgets", "kv.policy", "engine.type")
    compressed = any(budget != BASELINE for budget in kv.budgets)
    if settings.engine.type == OPENAI and kv.apply == "none" and compressed and kv.policy != "none":
        yield BrokenRule(
            "kv.apply", "the endpoint would not get to know the budget; take base_url or extra_body", known
        )
    if kv.apply != "base_url" and kv.base_urls:
        yield BrokenRule("kv.base_urls", f"it is of kv.apply: base_url, got {kv.apply}", known)
    if kv.apply == "base_url":
        lacking = [f"{budget:g}" for budget in kv.budgets if budget not in kv.base_urls]
        spare = [f"{budget:g}" for budget in kv.base_urls if budget not in kv.budgets]
        if lacking:
            yield BrokenRule("kv.base_urls", f"no address for the budgets {', '.join(lacking)}", known)
        if spare:
            yield BrokenRule("kv.base_urls", f"{', '.join(spare)} is not among kv.budgets", known)
        for budget, url in kv.base_urls.items():
            yield from _address(url, f"kv.base_urls.{budget}")
        if len({url.strip().rstrip("/") for url in kv.base_urls.values()}) < len(kv.base_urls):
            yield BrokenRule("kv.base_urls", "two budgets have one address, which cannot tell them apart", known)
    if kv.apply != "extra_body" and kv.extra_body:
        yield BrokenRule("kv.extra_body", f"it is of kv.apply: extra_body, got {kv.apply}", known)
    if kv.apply == "extra_body" and not any(mark in str(kv.extra_body) for mark in ("${budget}", "${removed}")):
        yield BrokenRule("kv.extra_body", "the budget is nowhere in it; write ${budget} or ${removed}", known)


def _parameters(settings: Settings) -> Iterator[BrokenRule]:
    """Parameters that the policy has not, or does not take: by its own word, so that a run does not say otherwise."""
    from groundlake.transition.configuration.mistakes import unknown_key

    policy = settings.kv.policy
    wanted = DEFAULTS[policy]
    for name, value in settings.kv.parameters.items():
        path = f"kv.parameters.{name}"
        if name not in wanted:
            known = unknown_key(name, tuple(wanted))
            yield BrokenRule(
                path, f"{known} of {policy}" if wanted else f"the policy {policy} has no parameters", ("kv.policy",)
            )
            continue
        try:
            Policy(name=policy, settings={name: cast("Setting", value)})
        except UsageError as error:
            yield BrokenRule(path, str(error).removeprefix(f"policy {policy}: {name} "), ("kv.policy",))


def _sampling(settings: Settings) -> Iterator[BrokenRule]:
    sampling, by_strategy = settings.sampling, ("sampling.strategy",)
    if sampling.strategy != FOCUS_TRANSITION:
        for key in ("focus_bins", "focus_radius_bins", "focus_n_per_bin", "base_n_per_bin"):
            if getattr(sampling, key) is not None:
                yield BrokenRule(f"sampling.{key}", f"it is of sampling.strategy: {FOCUS_TRANSITION}", by_strategy)
        return
    base = sampling.base_n_per_bin or settings.dataset.n_per_bin
    if sampling.focus_n_per_bin is None:
        yield BrokenRule("sampling.focus_n_per_bin", "missing; say how many examples of each bin in focus", by_strategy)
    elif sampling.focus_n_per_bin <= base:
        text = f"got {sampling.focus_n_per_bin}, wanted more than the other bins have ({base})"
        others = ("sampling.base_n_per_bin", "dataset.n_per_bin", *by_strategy)
        yield BrokenRule("sampling.focus_n_per_bin", text, others)
    bins = sampling.focus_bins or ()
    for place, each in enumerate(bins):
        if each >= settings.binning.n_bins:
            text = f"got {each}; the bins are 0 to {settings.binning.n_bins - 1}"
            yield BrokenRule(f"sampling.focus_bins[{place}]", text, ("binning.n_bins", *by_strategy))
        if each in bins[:place]:
            yield BrokenRule(f"sampling.focus_bins[{place}]", f"{each} stands there twice", by_strategy)
