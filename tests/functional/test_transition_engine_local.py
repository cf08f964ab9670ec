"""The engine in this process: real transformers and real kvpress on a small random model."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import fields
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.llm import Decoding
from groundlake.llm.local import LocalModel
from groundlake.llm.resident import reset_resident_peak, resident_peak_bytes
from groundlake.llm.tiny import make_tiny_model
from groundlake.transition.engines.base import Prompt
from groundlake.transition.engines.local import LocalEngine
from groundlake.transition.engines.presses import DEFAULTS, Policy, import_kvpress, kept_of

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_kvpress = pytest.mark.skipif(find_spec("kvpress") is None, reason="kvpress is not installed")
PROMPT = Prompt(context="the lake keeps what was measured, and the ground is true; " * 2, question="what is true?")
SHORT = Prompt(context="a short one with few words. ", question="which?")
DECODING = Decoding(max_new_tokens=8, ignore_eos=True)
BALLAST_BYTES = 2**28
POLICIES = [name for name in DEFAULTS if name != "none"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel.load(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


def engine(
    model: LocalModel, name: str = "streaming_llm", *, query_aware: bool = False, **settings: int
) -> LocalEngine:
    return LocalEngine(model, decoding=DECODING, policy=Policy(name=name, settings=settings), query_aware=query_aware)


def tokens_of_whole_cache(model: LocalModel, ids: list[int], filled: int, removed: range) -> list[int]:
    """What the model says if the tokens behind `filled` cannot see `removed`: one pass for each token, with a mask."""
    answer: list[int] = []
    for _ in range(DECODING.max_new_tokens):
        length = len(ids) + len(answer)
        mask = torch.full((length, length), float("-inf")).triu(1)
        mask[filled:, removed.start : removed.stop] = float("-inf")
        with torch.inference_mode():
            logits = model.model(
                input_ids=torch.tensor([ids + answer]), attention_mask=mask[None, None], use_cache=False
            ).logits
        answer.append(int(logits[0, -1].argmax()))
    return answer


@needs_kvpress
@pytest.mark.parametrize("query_aware", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_layer_keeps_what_was_asked_for(model: LocalModel, policy: str, query_aware: bool) -> None:
    asked = engine(model, policy, query_aware=query_aware)
    for prompt in (PROMPT, SHORT):
        for budget in (1.0, 0.8, 0.5, 0.2, 0.1):
            answer = asked.answer_now(prompt, budget)
            whole = len(model.tokenizer(prompt.text)["input_ids"])
            length = whole - 1 if query_aware else 1 + len(prompt.context)  # a byte is a token, behind the first
            assert answer.compressed_tokens == length
            assert answer.kept_tokens == (kept_of(length, budget),) * 2
            assert answer.kept_fraction == pytest.approx(budget, abs=0.5 / length + 1e-9)
            assert answer.budget_verified is True
            assert f"{kept_of(length, budget)} in each, of {length} entries" in answer.evidence
            assert answer.prompt_tokens == whole  # the budget is no part of the prompt


@needs_kvpress
@pytest.mark.parametrize("query_aware", [False, True])
@pytest.mark.parametrize("budget", [0.5, 0.2])
def test_every_token_of_an_answer_sees_what_was_kept_at_its_true_place(
    model: LocalModel, budget: float, query_aware: bool
) -> None:
    ids = model.tokenizer(PROMPT.text)["input_ids"]
    filled = len(ids) - 1 if query_aware else 1 + len(PROMPT.context)
    kept = kept_of(filled, budget)
    wanted = tokens_of_whole_cache(model, ids, filled, range(4, 4 + filled - kept))
    whole = tokens_of_whole_cache(model, ids, filled, range(0))
    answer = engine(model, query_aware=query_aware).answer_now(PROMPT, budget)
    assert answer.text == model.tokenizer.decode(wanted, skip_special_tokens=True)
    assert wanted != whole


@needs_kvpress
def test_the_first_token_behind_a_question_that_the_policy_saw_is_compressed_too(model: LocalModel) -> None:
    texts = [f"{'x' * number}{PROMPT.context}" for number in range(12)]
    asked = engine(model, query_aware=True)
    first = []
    for text in texts:
        prompt = Prompt(context=text, question=PROMPT.question)
        first.append([asked.answer_now(prompt, budget).text[:1] for budget in (1.0, 0.1)])
    assert any(whole != compressed for whole, compressed in first)


@needs_kvpress
def test_going_on_adds_the_question_and_the_answer_to_what_was_kept_and_nothing_else(model: LocalModel) -> None:
    from groundlake.transition.engines.cache import entries, fill, go_on

    filled = fill(model.model, [0, *range(3, 103)], Policy(name="snapkv").press(101, 20))
    assert filled.kept == (20, 20)
    answer = go_on(model.model, filled, [7, 8, 9], max_new_tokens=5, ended=lambda _: False)
    assert len(answer) == 5
    assert entries(filled.cache) == (20 + 3 + 4,) * 2  # the last token of an answer is not fed


@needs_kvpress
def test_prompts_that_are_asked_at_the_same_time_are_answered_as_alone(model: LocalModel) -> None:
    asked = engine(model, "snapkv", window_size=8)
    alone = [asked.answer_now(prompt, budget) for prompt in (PROMPT, SHORT) for budget in (0.5, 0.2)]

    async def at_once() -> list:
        async with asked:
            work = [asked.answer(prompt, budget) for prompt in (PROMPT, SHORT) for budget in (0.5, 0.2)]
            return await asyncio.gather(*work)

    together = asyncio.run(at_once())
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    assert [answer.kept_tokens for answer in together] == [answer.kept_tokens for answer in alone]
    spans = sorted((answer.generation.sent_s, answer.generation.finished_s) for answer in together)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("prompt", [PROMPT, SHORT])
def test_the_whole_cache_gives_the_answer_of_the_model(model: LocalModel, prompt: Prompt) -> None:
    answer = LocalEngine(model, decoding=DECODING).answer_now(prompt, 1.0)
    assert answer.text == model.generate([prompt.text], DECODING)[0].text
    assert answer.kept_fraction == 1.0
    assert answer.budget_verified is True


def test_the_tokens_of_an_answer_are_stamped(model: LocalModel) -> None:
    answer = LocalEngine(model, decoding=DECODING).answer_now(PROMPT, 1.0)
    assert len(answer.arrivals_s) == answer.completion_tokens == 8
    assert list(answer.arrivals_s) == sorted(answer.arrivals_s)
    assert answer.time_to_first_token_s is not None
    assert 0 < answer.time_to_first_token_s <= answer.arrivals_s[-1] <= answer.latency_s
    assert answer.finish_reason == "length"


@pytest.mark.skipif(not reset_resident_peak(), reason="the kernel does not let this process begin its peak anew")
def test_the_peak_of_memory_is_that_of_this_process_over_the_request_alone(model: LocalModel) -> None:
    asked = LocalEngine(model, decoding=DECODING)
    asked.answer_now(PROMPT, 1.0)
    before = resident_peak_bytes()
    ballast = bytearray(BALLAST_BYTES)
    during = asked.answer_now(PROMPT, 1.0).peak_memory_bytes
    ballast.clear()
    after = asked.answer_now(PROMPT, 1.0).peak_memory_bytes
    assert before is not None
    assert during is not None
    assert after is not None
    assert during > before + BALLAST_BYTES / 2
    assert after < during - BALLAST_BYTES / 2
    assert after > model.model_memory_bytes


def test_each_repeat_of_a_prompt_has_a_seed_of_its_own(model: LocalModel) -> None:
    seeds: list[int] = []
    hook = model.model.register_forward_pre_hook(lambda *_: seeds.append(torch.initial_seed()))
    before = torch.initial_seed()
    try:
        asked = LocalEngine(model, decoding=Decoding(max_new_tokens=2, seed=7))
        for repeat in (1, 3):
            asyncio.run(asked.answer(SHORT, 1.0, repeat=repeat))
    finally:
        hook.remove()
    assert list(dict.fromkeys(seeds)) == [7, 9]
    assert torch.initial_seed() == before


def test_an_answer_ends_at_a_text_that_ends_it(model: LocalModel) -> None:
    whole = LocalEngine(model, decoding=DECODING).answer_now(PROMPT, 1.0).text
    end = whole[3]
    stopped = LocalEngine(model, decoding=Decoding(max_new_tokens=8, ignore_eos=True, stop=(end,)))
    answer = stopped.answer_now(PROMPT, 1.0)
    assert answer.text == whole[: whole.index(end)]
    assert answer.finish_reason == "stop"


def test_a_prompt_that_is_too_long_fails_alone_and_is_not_cut(model: LocalModel) -> None:
    answer = LocalEngine(model, decoding=DECODING).answer_now(Prompt(context="x" * 247, question="?"), 1.0)
    assert answer.failure is not None
    assert answer.failure.code == "context_length"
    assert "257 are more than the 256" in answer.failure.message
    assert (answer.budget_verified, answer.kept_fraction, answer.prompt_tokens) == (None, None, 249)


@pytest.mark.parametrize(("prompt", "what"), [(Prompt(context="x", question=""), "question")])
def test_a_prompt_without_a_part_has_no_answer(model: LocalModel, prompt: Prompt, what: str) -> None:
    answer = LocalEngine(model, decoding=DECODING).answer_now(prompt, 1.0)
    assert answer.failure is not None
    assert what in answer.failure.message


@needs_kvpress
def test_a_window_that_does_not_fit_is_adapted_and_recorded_or_refused(model: LocalModel) -> None:
    answer = engine(model, "snapkv").answer_now(SHORT, 0.2)
    assert answer.policy_settings == {"window_size": 3, "kernel_size": 5}
    rigid = LocalEngine(model, decoding=DECODING, policy=Policy(name="snapkv", adapt=False))
    refused = rigid.answer_now(SHORT, 0.2)
    assert refused.failure is not None
    assert refused.failure.code == "budget_not_applicable"
    assert refused.budget_verified is None
    assert rigid.answer_now(SHORT, 1.0).failure is None


def test_budgets_that_cannot_be_applied_are_errors_before_anything_is_asked(model: LocalModel) -> None:
    asked = LocalEngine(model, decoding=DECODING)
    with pytest.raises(UsageError, match="keeps the whole cache"):
        asked.require([1.0, 0.5])
    with pytest.raises(UsageError, match="keeps the whole cache"):
        asyncio.run(asked.answer(PROMPT, 0.5))
    with pytest.raises(UsageError, match="above 0"):
        asked.require([0.0])
    with pytest.raises(UsageError, match="nothing is drawn"):
        LocalEngine(model, decoding=Decoding(temperature=0.5))


@needs_kvpress
def test_a_model_whose_layers_would_not_all_be_compressed_is_refused() -> None:
    import transformers

    from groundlake.transition.engines.presses import require_model

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    sliding = transformers.MistralConfig(vocab_size=9, intermediate_size=8, sliding_window=4, **sizes)
    with pytest.raises(UsageError, match="look back only over a window"):
        require_model(transformers.MistralForCausalLM(sliding))
    other = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(UsageError, match=r"does not know it.*LlamaForCausalLM"):
        require_model(other)


def with_template(model: LocalModel, template: str) -> LocalModel:
    """The same model, asked in a conversation."""
    model.tokenizer.chat_template = template
    return LocalModel(**{field.name: getattr(model, field.name) for field in fields(model)} | {"chat": True})


@pytest.mark.parametrize("said", ["{{ m.content }}", "{{ m.content | trim }}"])
def test_a_conversation_is_cut_where_the_context_ends(model: LocalModel, said: str) -> None:
    chat = with_template(model, "{% for m in messages %}[" + said + "]{% endfor %}>")
    asked = LocalEngine(chat, decoding=DECODING)
    first, rest = asked._parts(Prompt(context="context ", question="question ", system="system"))
    assert model.tokenizer.decode(first) == "[system][context "
    assert model.tokenizer.decode(rest) in ("question ]>", "question]>")


def test_a_template_that_changes_the_prompt_is_refused(model: LocalModel) -> None:
    chat = with_template(model, "{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    with pytest.raises(UsageError, match="cannot be told apart"):
        LocalEngine(chat, decoding=DECODING).answer_now(PROMPT, 1.0)


@needs_kvpress
def test_what_is_recorded_names_the_policy_with_all_its_settings_and_the_version_of_kvpress(model: LocalModel) -> None:
    facts = engine(model, "expected_attention", n_future_positions=32).facts()
    for setting in DEFAULTS["expected_attention"]:
        assert f"policy.{setting}" in facts
    assert facts["policy.n_future_positions"] == 32
    assert facts["version.kvpress"]
    assert facts["version.transformers"]
    assert (facts["policy"], facts["budget_is_of"], facts["batch"]) == ("expected_attention", "context", 1)


@needs_kvpress
@pytest.mark.parametrize("policy", POLICIES)
def test_the_settings_are_those_of_kvpress(policy: str) -> None:
    from groundlake.transition.engines.presses import _CLASSES

    made = getattr(import_kvpress(), _CLASSES[policy])()
    theirs = {field.name: getattr(made, field.name) for field in fields(made)}
    del theirs["compression_ratio"]
    assert theirs == DEFAULTS[policy]


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if kvpress had not been imported yet."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "kvpress"]:
        monkeypatch.delitem(sys.modules, name)
    import_kvpress.cache_clear()
    yield
    import_kvpress.cache_clear()


@needs_kvpress
@pytest.mark.usefixtures("anew")
def test_kvpress_leaves_transformers_as_it_was() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.pipelines import PIPELINE_REGISTRY

    attention, pipelines = dict(ALL_ATTENTION_FUNCTIONS.items()), set(PIPELINE_REGISTRY.supported_tasks)
    assert import_kvpress().SnapKVPress
    assert dict(ALL_ATTENTION_FUNCTIONS.items()) == attention
    assert set(PIPELINE_REGISTRY.supported_tasks) == pipelines


@needs_kvpress
def test_kvpress_leaves_the_model_as_it_was(model: LocalModel) -> None:
    assert engine(model, "snapkv").answer_now(PROMPT, 0.2).budget_verified
    for layer in model.model.model.layers:
        assert not layer.self_attn._forward_hooks
        assert "rotary_emb" not in dict(layer.self_attn.named_children())


@pytest.mark.usefixtures("anew")
def test_without_kvpress_the_extra_is_named(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kvpress", None)
    assert LocalEngine(model, decoding=DECODING).answer_now(PROMPT, 1.0).budget_verified
    with pytest.raises(MissingDependencyError, match=r"(?s)kvpress.*pip install 'groundlake\[transition\]'"):
        engine(model, "snapkv")


@needs_kvpress
def test_a_kvpress_that_does_not_fit_to_transformers_is_found_when_the_engine_is_made(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("cache_position")

    monkeypatch.setattr(import_kvpress().SnapKVPress, "compress", broken)
    with pytest.raises(MissingDependencyError, match=r"does not compress this model.*cache_position"):
        engine(model, "snapkv")
    monkeypatch.setattr(
        import_kvpress().SnapKVPress, "compress", lambda _press, _m, _h, keys, values, *_: (keys, values)
    )
    with pytest.raises(MissingDependencyError, match="32 in each, of 32 entries; 8 were to be kept"):
        engine(model, "snapkv")
