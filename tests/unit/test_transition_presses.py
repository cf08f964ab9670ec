"""Budgets and policies: how many entries are kept, and which settings are refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from groundlake.errors import UsageError
from groundlake.llm import Failure, Generation
from groundlake.llm.generation import STREAMING
from groundlake.transition.engines.base import EngineAnswer, Prompt, require_budget
from groundlake.transition.engines.presses import DEFAULTS, Policy, kept_of, ratio_removed

LENGTHS = [*range(2, 300), 509, 511, 1000, 4095, 8192, 131072]


@pytest.mark.parametrize("budget", [0.01, 0.1, 0.2, 0.29, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99])
def test_the_ratio_makes_kvpress_keep_exactly_what_the_budget_says(budget: float) -> None:
    for length in LENGTHS:
        kept = kept_of(length, budget)
        assert abs(kept - length * budget) <= 0.5 + 1e-9 or kept == 1
        if kept < length:
            assert max(1, int(length * (1 - ratio_removed(length, kept)))) == kept  # as kvpress computes it
            assert 0 <= ratio_removed(length, kept) < 1


def test_a_budget_is_what_is_kept_and_not_what_is_removed() -> None:
    assert kept_of(1000, 0.2) == 200
    assert ratio_removed(1000, 200) == pytest.approx(0.8, abs=0.001)
    assert kept_of(65, 0.2) == 13  # a truncated ratio of 0.8 would keep 12
    assert kept_of(3, 0.01) == 1
    assert kept_of(257, 1.0) == 257


@pytest.mark.parametrize("budget", [0, -0.2, 1.01, float("nan"), float("inf")])
def test_a_budget_that_is_no_fraction_is_refused(budget: float) -> None:
    with pytest.raises(UsageError, match="above 0 and at most 1"):
        require_budget(budget)


def test_the_policy_that_keeps_everything_refuses_smaller_budgets() -> None:
    Policy().require(1.0)
    with pytest.raises(UsageError, match=r"(?s)keeps the whole cache.*snapkv"):
        Policy().require(0.5)
    Policy(name="snapkv").require(0.5)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("h2o", {}, "policy must be one of none, snapkv"),
        ("snapkv", {"window": 3}, "no setting 'window'; it has window_size, kernel_size"),
        ("none", {"n_sink": 3}, "it has none"),
        ("snapkv", {"window_size": 0}, "whole number of at least 1, got 0"),
        ("snapkv", {"window_size": 8.0}, "whole number"),
        ("snapkv", {"window_size": True}, "whole number"),
        ("snapkv", {"kernel_size": 4}, "must be odd"),
        ("streaming_llm", {"n_sink": -1}, "at least 0"),
        ("expected_attention", {"use_vnorm": 1}, "true or false"),
        ("expected_attention", {"epsilon": float("nan")}, "a number"),
    ],
)
def test_a_policy_or_setting_that_is_not_known_is_refused(name: str, settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Policy(name=name, settings=settings)


def test_all_settings_of_a_policy_are_known_also_those_that_were_not_given() -> None:
    policy = Policy(name="expected_attention", settings={"n_future_positions": 64})
    assert dict(policy.settings) == {**DEFAULTS["expected_attention"], "n_future_positions": 64}


def test_entries_that_are_always_kept_leave_half_of_the_budget_to_the_policy() -> None:
    assert Policy(name="snapkv").settings_for(1000, 500)["window_size"] == 64
    assert Policy(name="snapkv").settings_for(65, 13)["window_size"] == 6
    assert Policy(name="streaming_llm").settings_for(65, 3)["n_sink"] == 1
    assert Policy(name="snapkv").settings_for(40, 40)["window_size"] == 64  # nothing is chosen


def test_a_window_that_does_not_fit_is_refused_where_it_may_not_be_adapted() -> None:
    policy = Policy(name="snapkv", settings={"window_size": 16}, adapt=False)
    assert policy.settings_for(160, 32)["window_size"] == 16
    with pytest.raises(UsageError, match="window_size 16 is more than half of the 31 entries"):
        policy.settings_for(155, 31)
    with pytest.raises(UsageError, match="more than half of the 1 entries"):
        Policy(name="snapkv").settings_for(5, 1)  # there is no smaller window


def test_an_answer_says_what_each_layer_kept() -> None:
    generation = Generation(
        text="a b", sent_s=10.0, arrivals_s=(10.5, 10.75), finished_s=11.0, token_timing=STREAMING, output_tokens=2
    )
    answer = EngineAnswer(
        generation=generation, budget_verified=True, evidence="counted", compressed_tokens=100, kept_tokens=(20, 30)
    )
    assert answer.kept_fractions == (0.2, 0.3)
    assert answer.kept_fraction == 0.25
    assert (answer.time_to_first_token_s, answer.arrivals_s, answer.latency_s) == (0.5, (0.5, 0.75), 1.0)
    assert (answer.text, answer.failure, answer.peak_memory_bytes) == ("a b", None, None)


def test_an_answer_of_which_nobody_knows_what_was_kept_says_so() -> None:
    failure = Failure(code="timeout", message="late")
    generation = Generation(text="", sent_s=1.0, finished_s=2.0, token_timing=STREAMING, error=failure)
    answer = EngineAnswer(generation=generation, budget_verified=None, evidence="HTTP 200")
    assert (answer.kept_fractions, answer.kept_fraction, answer.time_to_first_token_s) == (None, None, None)
    assert answer.failure is failure


def test_a_prompt_is_its_two_parts() -> None:
    prompt = Prompt(context="c ;", question=" ? k:", system="s")
    assert prompt.text == "c ; ? k:"
    assert prompt.messages() == [{"role": "system", "content": "s"}, {"role": "user", "content": "c ; ? k:"}]


def test_what_engines_are_is_known_without_torch_and_without_kvpress() -> None:
    code = (
        "import sys; import groundlake.transition.engines.local, groundlake.transition.engines.presses\n"
        "assert not {'torch', 'transformers', 'kvpress'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
