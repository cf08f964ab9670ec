"""Every single setting: which stages it decides about, so that nothing stale is taken for current."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from groundlake.transition.configuration.mistakes import field_type, optional_of
from groundlake.transition.configuration.projections import PROJECTIONS
from groundlake.transition.configuration.settings import SanitySlice, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings.model_validate(
    {
        "dataset": {"task": "narrativeqa", "path": "data"},
        "tokenizer": {"name": "words"},
        "model": {"name": "m"},
        "engine": {"base_url": "http://127.0.0.1:8000"},
        "output": {"exp_group_id": "g"},
    }
)
DECIDES = {
    "prepare": "dataset.name dataset.task dataset.n_per_bin dataset.seed dataset.max_prompt_tokens "
    "dataset.pinned_example_ids dataset.sanity_slices binning.* sampling.* tokenizer.*",
    "run": "dataset.name dataset.task model.name model.precision model.max_model_len engine.type engine.dtype "
    "kv.policy kv.parameters kv.apply kv.extra_body kv.query_aware "
    "decoding.temperature decoding.max_tokens decoding.seed run.truncation",
    "score": "dataset.task",
    "analyze": "dataset.task kv.budgets analysis.*",
}
DECIDES_NOTHING = (
    "dataset.path dataset.download model.path "  # the hash of the lines, and of the files, themselves counts
    "kv.base_urls kv.evidence decoding.repeats "  # where it is asked, how it is proved, how often
    "engine.base_url engine.api_key_env engine.headers engine.device engine.concurrency engine.timeout_s "
    "run.pacing.* run.retries.* output.* power.*"
)
"""Keys that change how fast answers come, where they come from or go to, but not what they are."""


def keys_of(section: BaseModel, before: str = "") -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        yield from keys_of(value, f"{before}{name}.") if isinstance(value, BaseModel) else (f"{before}{name}",)


KEYS = list(keys_of(SETTINGS))


def meant(patterns: str) -> set[str]:
    found = [{key for key in KEYS if re.fullmatch(each.replace("*", ".*"), key)} for each in patterns.split()]
    assert all(found), "a pattern means no key"
    return set().union(*found)


def changed(section: Any, names: list[str], other: Any) -> Any:
    """The settings with another value of a key, whether it fits to the others or not."""
    name, *more = names
    return section.model_copy(update={name: changed(getattr(section, name), more, other) if more else other})


def other_than(value: Any, annotation: Any) -> Any:
    """Another value of the same type."""
    kind, _ = optional_of(annotation)
    if get_origin(kind) is Literal:
        return next(each for each in get_args(kind) if each != value)
    if get_origin(kind) is tuple:
        return (*(value or ()), other_than(None, get_args(kind)[0]))
    if get_origin(kind) is dict:
        return {other_than(None, get_args(kind)[0]): "other"}
    if kind is SanitySlice:
        return SanitySlice(name="few", n=1, min_tokens=0, max_tokens=9)
    return {bool: not value, int: (value or 0) + 1, float: (value or 0.5) / 2}[kind] if kind is not str else f"{value}x"


def test_every_setting_decides_about_a_stage_or_is_known_to_decide_nothing() -> None:
    assert set(KEYS) == meant(" ".join(DECIDES.values())) | meant(DECIDES_NOTHING)
    assert meant(" ".join(DECIDES.values())).isdisjoint(meant(DECIDES_NOTHING))
    assert {"decoding.max_tokens", "dataset.max_prompt_tokens", "tokenizer.name"} < set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_setting_is_in_the_hash_of_what_it_decides_and_in_no_other(key: str) -> None:
    names = key.split(".")
    value: Any = SETTINGS
    for name in names:
        value = getattr(value, name)
    settings = changed(SETTINGS, names, other_than(value, field_type(tuple(names))))
    found = {stage for stage in PROJECTIONS if settings.settings_hash(stage) != SETTINGS.settings_hash(stage)}
    assert found == {stage for stage, patterns in DECIDES.items() if key in meant(patterns)}
