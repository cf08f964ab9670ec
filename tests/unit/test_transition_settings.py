"""Settings of an evaluation: which are right, which are wrong and where, and which decide what a stage makes."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from groundlake.errors import UsageError
from groundlake.transition.configuration.mistakes import dotted, find_mistakes
from groundlake.transition.configuration.overrides import read_overrides
from groundlake.transition.configuration.projections import PACKAGE, PROJECTIONS
from groundlake.transition.configuration.settings import KvSettings, Settings
from groundlake.transition.engines.presses import DEFAULTS, Policy

A_FRACTION = "wanted a fraction of the cache that is kept, above 0 and at most 1"
ENDPOINT: dict[str, Any] = {
    "dataset": {"task": "trec", "path": "data"},
    "tokenizer": {"name": "words"},
    "model": {"name": "m"},
    "engine": {"type": "openai", "base_url": "http://127.0.0.1:8000"},
    "output": {"exp_group_id": "g"},
}
LOCAL: dict[str, Any] = ENDPOINT | {"tokenizer": {}, "model": {"path": "m"}, "engine": {"type": "transformers"}}

TOLD = {"policy": "snapkv", "apply": "extra_body", "extra_body": {"keep": "${budget}"}}


def with_(base: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    return base | {name: base.get(name, {}) | keys for name, keys in sections.items()}


def mistakes(data: dict[str, Any]) -> dict[str, str]:
    return {dotted(path): text for path, text in find_mistakes(data)[1]}


def settings(data: dict[str, Any]) -> Settings:
    found, wrong = find_mistakes(data)
    assert found is not None, wrong
    return found


def test_settings_that_are_right_have_no_mistakes_for_either_engine() -> None:
    assert mistakes(ENDPOINT) == {}
    assert mistakes(LOCAL) == {}
    assert settings(with_(LOCAL, kv={"policy": "snapkv", "budgets": [1, 0.5]})).kv.budgets == (1.0, 0.5)


@pytest.mark.parametrize(
    ("section", "keys", "path", "text"),
    [
        ("dataset", {"n_per_bin": "10"}, "dataset.n_per_bin", "got '10', wanted a whole number; write it without"),
        ("dataset", {"n_per_bin": True}, "dataset.n_per_bin", "got True, wanted a whole number"),
        ("dataset", {"n_per_bin": 0}, "dataset.n_per_bin", "got 0, wanted at least 1"),
        ("dataset", {"n_per_bins": 5}, "dataset.n_per_bins", "did you mean n_per_bin?"),
        ("dataset", {"budgets": [1.0]}, "dataset.budgets", "did you mean kv.budgets?"),
        ("dataset", {"pinned_example_ids": [7]}, "dataset.pinned_example_ids[0]", "wanted a text; put it in quotes"),
        ("dataset", {"pinned_example_ids": ["a", "a"]}, "dataset.pinned_example_ids[1]", "'a' stands there twice"),
        ("dataset", {"task": None}, "dataset.task", "missing"),
        (
            "dataset",
            {"task": "trecc"},
            "dataset.task",
            "no task is called 'trecc'; did you mean trec?",
        ),
        ("dataset", {"task": "zzz"}, "dataset.task", "no task is called 'zzz'; there are: narrativeqa, qasper, "),
        ("dataset", {"download": True}, "dataset.download", "the data come from dataset.path"),
        ("binning", {"n_bins": None}, "binning.n_bins", "got nothing, wanted a whole number"),
        ("model", {"path": "folder"}, "model.path", "it is of engine.type: transformers"),
        ("engine", {"device": "cpu"}, "engine.device", "it is of engine.type: transformers"),
        ("engine", {"type": "opnai"}, "engine.type", "wanted one of openai, transformers"),
        ("engine", {"concurrency": 0}, "engine.concurrency", "got 0, wanted at least 1"),
        ("engine", {"timeout_s": float("inf")}, "engine.timeout_s", "wanted a finite number"),
        ("engine", {"base_url": None}, "engine.base_url", "missing; give the address"),
        ("engine", {"base_url": "localhost:8000"}, "engine.base_url", "must begin with http"),
        ("kv", {"budgets": []}, "kv.budgets", "wanted a list of fractions of the cache that are kept"),
        ("kv", {"budgets": [1.0, 0.0]}, "kv.budgets[1]", f"got 0.0, {A_FRACTION}"),
        ("kv", {"budgets": [1.0, 1.5]}, "kv.budgets[1]", f"got 1.5, {A_FRACTION}"),
        ("kv", {"budgets": [1.0, True]}, "kv.budgets[1]", f"got True, {A_FRACTION}"),
        ("kv", {"budgets": 0.5}, "kv.budgets", "got 0.5, wanted a list"),
        ("kv", TOLD | {"budgets": [0.5, 1.0]}, "kv.budgets[0]", "got 0.5 first, wanted 1.0"),
        ("kv", TOLD | {"budgets": [1.0, 0.5, 0.5]}, "kv.budgets[2]", "0.5 stands there twice"),
        ("kv", {"budgets": [1.0, 0.5]}, "kv.budgets", "no policy keeps less than the whole cache"),
        ("kv", {"policy": "snapkv", "budgets": [1.0, 0.5]}, "kv.apply", "would not get to know the budget"),
        ("kv", {"apply": "extra_body", "extra_body": {"a": 1}}, "kv.extra_body", "the budget is nowhere in it"),
        ("kv", {"extra_body": {"a": "${budget}"}}, "kv.extra_body", "it is of kv.apply: extra_body"),
        ("kv", {"apply": "base_url"}, "kv.base_urls", "no address for the budgets 1"),
        ("kv", {"evidence": "a b"}, "kv.evidence", "wanted a path into the answer"),
        ("kv", {"policy": "snapkv", "parameters": {"window": 8}}, "kv.parameters.window", "did you mean window_size?"),
        ("kv", {"parameters": {"window_size": 8}}, "kv.parameters.window_size", "the policy none has no parameters"),
        ("decoding", {"temperature": "1e-1"}, "decoding.temperature", "write it without quotes, as 0.1"),
        ("decoding", {"repeats": 0}, "decoding.repeats", "at least 1"),
        ("sampling", {"focus_bins": [1]}, "sampling.focus_bins", "it is of sampling.strategy: focus_transition"),
        ("sampling", {"strategy": "focus_transition"}, "sampling.focus_n_per_bin", "missing"),
        ("run", {"retries": {"base_s": 9.0, "cap_s": 1.0}}, "run.retries.cap_s", "wanted at least base_s (9)"),
        ("run", {"pacing": {"requests_per_minute": 0}}, "run.pacing.requests_per_minute", "wanted above 0"),
        ("run", {"truncation": "left"}, "run.truncation", "wanted one of error, middle"),
        ("analysis", {"confidence": 95}, "analysis.confidence", "wanted below 1"),
        ("output", {"exp_group_id": "a/b"}, "output.exp_group_id", "wanted letters, digits"),
    ],
)
def test_a_wrong_key_is_told_with_its_path(section: str, keys: dict[str, Any], path: str, text: str) -> None:
    found = mistakes(with_(ENDPOINT, **{section: keys}))
    assert list(found) == [path]
    assert text in found[path]


@pytest.mark.parametrize(
    ("section", "keys", "path"),
    [
        ("engine", {"base_url": "http://a"}, "engine.base_url"),
        ("engine", {"api_key_env": "KEY"}, "engine.api_key_env"),
        ("engine", {"concurrency": 4}, "engine.concurrency"),
        ("run", {"pacing": {"tokens_per_minute": 10}}, "run.pacing.tokens_per_minute"),
        ("kv", {"evidence": "usage.kept"}, "kv.evidence"),
        ("model", {"precision": "bf16"}, "model.precision"),
        ("model", {"path": None}, "model.path"),
    ],
)
def test_a_local_model_refuses_keys_of_an_endpoint(section: str, keys: dict[str, Any], path: str) -> None:
    assert list(mistakes(with_(LOCAL, **{section: keys}))) == [path]


@pytest.mark.parametrize(
    ("given", "is_right"),
    [
        ({"min_percentile": 0, "max_percentile": 25}, True),
        ({"min_tokens": 10, "max_tokens": 20}, True),
        ({}, False),
        ({"min_tokens": 10}, False),
        ({"min_tokens": 20, "max_tokens": 10}, False),
        ({"min_percentile": 0, "max_percentile": 25, "min_tokens": 1, "max_tokens": 2}, False),
    ],
)
def test_a_slice_has_one_range_that_is_not_empty(given: dict[str, int], is_right: bool) -> None:
    found = mistakes(with_(ENDPOINT, dataset={"sanity_slices": [{"name": "s", "n": 1} | given]}))
    assert (found == {}) == is_right
    assert is_right or list(found) == ["dataset.sanity_slices[0]"]


PROBES: tuple[object, ...] = (0, 1, 2, 3, 4, 64, -1, 0.0, 0.5, True, False, "8", None, [3])


def test_a_parameter_is_right_exactly_where_the_policy_takes_it() -> None:
    assert set(get_args(KvSettings.model_fields["policy"].annotation)) == set(DEFAULTS)
    names = {name for known in DEFAULTS.values() for name in known} | {"window", "compression_ratio"}
    for policy in DEFAULTS:
        for name in names:
            for value in PROBES:
                told = mistakes(with_(LOCAL, kv={"policy": policy, "parameters": {name: value}}))
                try:
                    taken = bool(Policy(name=policy, settings={name: value}))
                except UsageError:
                    taken = False
                assert (told == {}) == taken, (policy, name, value, told)
                assert taken or list(told) == [f"kv.parameters.{name}"]


def test_every_default_of_a_policy_is_a_right_parameter() -> None:
    for policy, parameters in DEFAULTS.items():
        assert mistakes(with_(LOCAL, kv={"policy": policy, "parameters": dict(parameters)})) == {}
    even = with_(LOCAL, kv={"policy": "snapkv", "parameters": {"kernel_size": 4}})
    assert mistakes(even) == {"kv.parameters.kernel_size": "must be odd, so that it has a middle, got 4"}


def test_pinned_examples_and_slices_exclude_each_other_and_a_focus() -> None:
    one = [{"name": "s", "n": 1, "min_tokens": 0, "max_tokens": 9}]
    both = with_(ENDPOINT, dataset={"pinned_example_ids": ["a"], "sanity_slices": one})
    assert list(mistakes(both)) == ["dataset.pinned_example_ids"]
    focus = {"strategy": "focus_transition", "focus_n_per_bin": 9}
    assert list(mistakes(with_(ENDPOINT, dataset={"pinned_example_ids": ["a"]}, sampling=focus))) == [
        "sampling.strategy"
    ]
    out = with_(ENDPOINT, sampling=focus | {"focus_bins": [4, 5]})
    assert mistakes(out) == {"sampling.focus_bins[1]": "got 5; the bins are 0 to 4"}


def test_rules_are_checked_beside_a_key_that_is_wrong_for_itself_and_say_nothing_of_it() -> None:
    wrong = with_(ENDPOINT, dataset={"n_per_bin": 0, "nam": "x"}, kv={"policy": "snap", "budgets": [0.5, 0.5]})
    assert list(mistakes(wrong)) == [
        *("dataset.n_per_bin", "dataset.nam", "kv.policy"),
        *("kv.budgets[0]", "kv.budgets[1]"),
    ]


def test_each_budget_has_one_address_where_addresses_apply_it() -> None:
    kv = {"policy": "snapkv", "budgets": [1.0, 0.5], "apply": "base_url"}
    urls = {1: "http://127.0.0.1:1", 0.5: "http://127.0.0.1:2"}
    right = with_(ENDPOINT, engine={"base_url": None}, kv=kv | {"base_urls": urls})
    assert settings(right).kv.base_urls == {1.0: "http://127.0.0.1:1", 0.5: "http://127.0.0.1:2"}
    spare = with_(ENDPOINT, kv=kv | {"base_urls": urls | {0.2: "http://127.0.0.1:3"}})
    assert mistakes(spare) == {"kv.base_urls": "0.2 is not among kv.budgets"}


def test_the_fields_of_a_request_get_the_budget_as_a_number() -> None:
    body = {
        "kv": {"keep": "${budget}", "ratio": "${removed}", "note": "${policy} at ${budget}", "n": 3},
        "a": ["${budget}"],
    }
    kv = {"policy": "snapkv", "budgets": [1.0, 0.2], "apply": "extra_body", "extra_body": body}
    filled = settings(with_(ENDPOINT, kv=kv)).kv.extra_body_for(0.2)
    assert filled == {"kv": {"keep": 0.2, "ratio": 0.8, "note": "snapkv at 0.2", "n": 3}, "a": [0.2]}


def test_settings_made_in_python_are_held_to_the_same_rules() -> None:
    with pytest.raises(ValidationError, match=r"kv\.budgets\[0\]: got 0\.5 first"):
        Settings.model_validate(with_(LOCAL, kv={"policy": "snapkv", "budgets": [0.5]}))


@pytest.mark.parametrize(
    ("stage", "section", "keys"),
    [
        ("run", "decoding", {"max_tokens": 64}),
        ("run", "decoding", {"temperature": 0.5}),
        ("run", "model", {"name": "other"}),
        ("run", "dataset", {"task": "qasper"}),
        ("run", "kv", {"policy": "snapkv"}),
        ("run", "model", {"name": "m", "max_model_len": 100}),
        ("prepare", "tokenizer", {"name": "other"}),
        ("prepare", "dataset", {"max_prompt_tokens": 100}),
        ("prepare", "dataset", {"pinned_example_ids": ["a"]}),
        ("prepare", "binning", {"max_token_len": 100}),
        ("score", "dataset", {"task": "qasper"}),
        ("analyze", "analysis", {"drop_threshold": 0.2}),
    ],
)
def test_what_changes_a_result_changes_the_hash(stage: str, section: str, keys: dict[str, Any]) -> None:
    assert settings(with_(ENDPOINT, **{section: keys})).settings_hash(stage) != settings(ENDPOINT).settings_hash(stage)


def test_whether_prompts_are_cut_changes_the_hash_of_a_run() -> None:
    limited = with_(ENDPOINT, model={"name": "m", "max_model_len": 100})
    cut = with_(limited, run={"truncation": "middle"})
    assert settings(cut).settings_hash("run") != settings(limited).settings_hash("run")


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("output", {"folder": "elsewhere"}),
        ("output", {"exp_group_id": "other"}),
        ("engine", {"base_url": "http://127.0.0.1:9", "concurrency": 9, "timeout_s": 1}),
        ("run", {"retries": {"max_attempts": 9}, "pacing": {"requests_per_minute": 9}}),
        ("power", {"source": "none"}),
    ],
)
def test_what_changes_no_result_changes_no_hash(section: str, keys: dict[str, Any]) -> None:
    changed = settings(with_(ENDPOINT, **{section: keys}))
    for stage in PROJECTIONS:
        assert changed.settings_hash(stage) == settings(ENDPOINT).settings_hash(stage)


def test_whether_the_policy_sees_the_question_is_of_a_local_engine_and_changes_its_answers() -> None:
    assert mistakes(with_(ENDPOINT, kv={"query_aware": True})) == {
        "kv.query_aware": "it is of engine.type: transformers"
    }
    aware = settings(with_(LOCAL, kv={"query_aware": True}))
    assert aware.settings_hash("run") != settings(LOCAL).settings_hash("run")


def test_a_local_model_draws_nothing() -> None:
    told = mistakes(with_(LOCAL, decoding={"temperature": 0.5}))
    assert told == {"decoding.temperature": "got 0.5, wanted 0: a local model takes the likeliest token"}


def test_two_budgets_have_two_addresses() -> None:
    urls = {1.0: "http://127.0.0.1:8000", 0.2: "http://127.0.0.1:8000/"}
    kv = {"policy": "snapkv", "budgets": [1.0, 0.2], "apply": "base_url", "base_urls": urls}
    told = mistakes(with_(ENDPOINT, kv=kv))
    assert told == {"kv.base_urls": "two budgets have one address, which cannot tell them apart"}


def test_secrets_are_taken_out_of_whatever_is_shown() -> None:
    made = settings(ENDPOINT)
    made.keep_secrets(api_key="sk-0123456789", secrets=("sk-0123456789",))
    assert made.without_secrets(["at http://a:b@host/sk-0123456789"]) == ["at http://***@host/***"]


def test_a_group_may_get_further_budgets_repeats_and_examples() -> None:
    base = with_(LOCAL, kv={"policy": "snapkv", "budgets": [1.0, 0.5]})
    more = with_(base, kv={"budgets": [1.0, 0.5, 0.2]}, decoding={"repeats": 3}, dataset={"n_per_bin": 50})
    assert settings(more).settings_hash("run") == settings(base).settings_hash("run")
    assert settings(more).settings_hash("analyze") != settings(base).settings_hash("analyze")


def test_a_whole_number_and_the_same_with_a_point_have_one_hash() -> None:
    one, other = (settings(with_(ENDPOINT, decoding={"temperature": t}, kv={"budgets": [t + 1]})) for t in (0, 0.0))
    assert all(one.settings_hash(stage) == other.settings_hash(stage) for stage in PROJECTIONS)


def test_a_tokenizer_of_this_package_has_the_same_hash_wherever_the_package_lies() -> None:
    shipped = settings(with_(LOCAL, tokenizer={"name": str(PACKAGE / "transition" / "model")}))
    assert shipped.projection("prepare")["tokenizer_source"] == "groundlake:transition/model"
    assert json.loads(json.dumps(shipped.projection("prepare"))) == shipped.projection("prepare")


def test_where_model_and_tokenizer_lie_does_not_decide_what_is_asked() -> None:
    elsewhere = with_(LOCAL, model={"path": "/elsewhere/model"}, tokenizer={"name": "/elsewhere/tokenizer"})
    assert settings(elsewhere).settings_hash("run") == settings(LOCAL).settings_hash("run")
    assert settings(elsewhere).settings_hash("prepare") != settings(LOCAL).settings_hash("prepare")


def test_a_stage_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="there are prepare, run, score, analyze"):
        settings(ENDPOINT).settings_hash("plot")


def test_overrides_have_the_type_of_their_key() -> None:
    told = {
        "dataset.n_per_bin": "10",
        "dataset.task": "123",
        "dataset.seed": "null",
        "dataset.pinned_example_ids": "[1, no, x]",
        "model.name": "org/m: 7b",
        "model.path": "~",
        "kv.budgets": "[1, 0.5]",
        "kv.policy": "none",
        "kv.parameters.window_size": "8",
        "kv.base_urls": "{1.0: http://a}",
        "decoding.temperature": "1e-1",
        "output.exp_group_id": "'007'",
        "run.pacing": "{requests_per_minute: 1e2}",
    }
    assert read_overrides([f"{key}={value}" for key, value in told.items()]) == {
        "dataset": {"n_per_bin": 10, "task": "123", "seed": None, "pinned_example_ids": ["1", "no", "x"]},
        "model": {"name": "org/m: 7b", "path": None},
        "kv": {"budgets": [1, 0.5], "policy": "none", "parameters": {"window_size": 8}, "base_urls": {1.0: "http://a"}},
        "decoding": {"temperature": 0.1},
        "output": {"exp_group_id": "007"},
        "run": {"pacing": {"requests_per_minute": 100.0}},
    }


def test_the_last_override_of_a_key_counts_and_values_may_hold_signs() -> None:
    found = read_overrides(["model.name=a", "model.name=b=c"])
    assert found == {"model": {"name": "b=c"}}


@pytest.mark.parametrize("text", ["dataset.n_per_bin", "=3", "dataset..task=x", "kv.budgets=[1.0", "kv={a: 1, a: 2}"])
def test_an_override_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--override"):
        read_overrides([text])


def test_the_resolved_settings_are_plain_yaml_without_a_header_or_a_password() -> None:
    kv = {"apply": "extra_body", "extra_body": {"to": "http://user:hunter2@host/x", "keep": "${budget}"}}
    made = settings(with_(ENDPOINT, engine={"headers": {"X-Team": "very-secret"}}, kv=kv))
    shown = made.to_yaml()
    assert yaml.safe_load(shown) == made.resolved()
    assert made.resolved()["engine"]["headers"] == {"X-Team": "***"}
    assert made.resolved()["kv"]["extra_body"]["to"] == "http://***@host/x"
    assert not any(secret in text for secret in ("very-secret", "hunter2") for text in (shown, repr(made)))
