"""Opening the model of the settings in this process: what is loaded, what is recorded, what is refused before."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.hardware import detect
from groundlake.llm.tiny import make_tiny_model
from groundlake.transition.configuration.settings import Settings
from groundlake.transition.engines.base import EngineAnswer, Prompt
from groundlake.transition.engines.opening import Opened, open_engine
from groundlake.transition.engines.presses import import_kvpress
from groundlake.transition.scoring.tasks import TASKS, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(find_spec("kvpress") is None, reason="kvpress is not installed")
STORY, TREC = TASKS["narrativeqa"], TASKS["trec"]
PROMPT = Prompt(context="the lake keeps what was measured; " * 2, question="what is kept?")
WORDS = "{% for message in messages %}<{{ message['content'] }}>{% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def anew() -> Iterator[None]:
    """kvpress is imported anew, before and behind the test."""
    import_kvpress.cache_clear()
    yield
    import_kvpress.cache_clear()


def settings_for(
    path: Path | None,
    kv: dict[str, Any] | None = None,
    *,
    engine: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **decoding: Any,
) -> Settings:
    return Settings.model_validate(
        {
            "dataset": {"task": "narrativeqa", "path": "data"},
            "model": ({} if path is None else {"path": str(path)}) | (model or {}),
            "engine": {"type": "transformers", "device": "cpu"} | (engine or {}),
            "kv": {"policy": "streaming_llm", "budgets": [1.0, 0.5]} if kv is None else kv,
            "decoding": {"max_tokens": 4} | decoding,
            "output": {"exp_group_id": "g"},
        }
    )


def opened(settings: Settings, look: Callable[[Opened], Any], task: Task = STORY, hw: str | None = None) -> Any:
    """Return what is seen of an engine while it is open."""

    async def within() -> Any:
        async with open_engine(settings, task, hw=hw) as engine:
            return look(engine)

    return asyncio.run(within())


def answers(settings: Settings, *budgets: float, task: Task = STORY) -> list[EngineAnswer]:
    async def within() -> list[EngineAnswer]:
        async with open_engine(settings, task) as opened:
            return [await opened.engine.answer(PROMPT, budget) for budget in budgets]

    return asyncio.run(within())


def test_the_model_of_the_settings_answers_at_every_budget_and_the_cache_shows_it(folder: Path) -> None:
    whole, half = answers(settings_for(folder), 1.0, 0.5)
    assert (whole.budget_verified, half.budget_verified) == (True, True)
    assert (whole.kept_fraction, half.kept_fraction) == (1.0, pytest.approx(0.5, abs=0.01))
    assert whole.completion_tokens is not None
    assert whole.completion_tokens <= 4


def test_facts_say_on_what_and_how_everything_was_made(folder: Path) -> None:
    settings = settings_for(folder, model={"name": "my-model"})
    facts = opened(settings, lambda engine: [engine.facts(budget) for budget in (1.0, 0.5)])
    assert facts[0] == facts[1]
    told = facts[0]
    assert (told.engine, told.how_applied, told.is_local, told.base_url) == ("transformers", "in_process", True, None)
    assert (told.model, told.precision, told.batch, told.device) == ("my-model", "fp32", 1, "cpu")
    assert told.hardware_id == detect(device="cpu").hardware_id
    assert told.engine_version == sys.modules["transformers"].__version__
    assert told.policy == "streaming_llm"
    policy = json.loads(told.policy_json)
    assert policy.pop("library").startswith("kvpress 0.")
    assert policy == {
        "policy": "streaming_llm",
        "parameters": {"n_sink": 4},
        "adapt": True,
        "query_aware": False,
        "budget_is_of": "context",
    }


def test_a_model_without_a_name_has_that_of_its_folder_and_the_device_the_id_that_is_given(folder: Path) -> None:
    (told,) = opened(settings_for(folder), lambda engine: [engine.facts(1.0)], hw="my_bench")
    assert (told.model, told.hardware_id) == ("tiny", "my_bench")
    remarks = [opened(settings_for(folder), lambda engine: engine.remark, hw=hw) for hw in ("my_bench", None)]
    assert remarks == [
        f"my_bench is a new device id; this machine was detected as {detect(device='cpu').hardware_id}",
        None,
    ]


def test_an_id_that_is_a_slip_is_refused_before_the_model_is_loaded() -> None:
    nowhere = settings_for(None, model={"path": "/nowhere/model"})
    for slip, words in (("h200_sxn", "did you mean h200_sxm"), ("we ird/../x", "an id has letters")):
        with pytest.raises(UsageError, match=words):
            opened(nowhere, lambda engine: engine, hw=slip)


def test_a_policy_that_sees_the_question_is_another_policy(folder: Path) -> None:
    kv = {"policy": "snapkv", "budgets": [1.0, 0.5], "query_aware": True, "parameters": {"window_size": 8}}
    told = opened(settings_for(folder, kv), lambda engine: json.loads(engine.facts(0.5).policy_json))
    assert (told["query_aware"], told["budget_is_of"]) == (True, "prompt but its last token")
    assert told["parameters"] == {"window_size": 8, "kernel_size": 5}
    (answer,) = answers(settings_for(folder, kv), 0.5)
    assert answer.budget_verified is True
    assert answer.compressed_tokens == answer.prompt_tokens - 1


def test_a_conversation_is_one_where_the_task_is_and_the_model_has_a_template(folder: Path, tmp_path: Path) -> None:
    talking = shutil.copytree(folder, tmp_path / "talking")
    file = talking / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": WORDS}))
    plain = answers(settings_for(folder), 1.0)[0].prompt_tokens
    assert plain == 1 + len(PROMPT.text), "a byte is a token, behind the one that begins"
    assert answers(settings_for(talking), 1.0)[0].prompt_tokens == 2 + len(PROMPT.text), "in brackets"
    assert answers(settings_for(talking), 1.0, task=TREC)[0].prompt_tokens == plain


def test_tokens_are_counted_as_the_model_counts_and_its_length_is_told(folder: Path) -> None:
    def look(engine: Opened) -> tuple[int | None, int | None]:
        return engine.context_length, engine.count_tokens("abc")

    assert opened(settings_for(folder), look) == (256, 4)
    short = settings_for(folder, model={"max_model_len": 60})
    assert opened(short, look) == (60, 4)
    (answer,) = answers(short, 1.0)
    assert answer.failure is not None
    assert answer.failure.code == "context_length"


def test_an_answer_has_the_length_of_the_task_where_nobody_says_another(folder: Path) -> None:
    (answer,) = answers(settings_for(folder, max_tokens=None), 1.0, task=TREC)
    assert answer.completion_tokens is not None
    assert 4 < answer.completion_tokens <= TREC.max_new_tokens == 64


def test_a_type_of_weights_that_is_asked_for_is_recorded(folder: Path) -> None:
    assert opened(settings_for(folder, engine={"dtype": "bf16"}), lambda engine: engine.facts(1.0).precision) == "bf16"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"model": {"name": "someone/nobodys-model"}},
            "no such folder, and no configuration of this name in the local",
        ),
        ({"model": {"path": "/nowhere/model"}}, "there is no such folder"),
    ],
)
def test_a_model_that_is_not_there_is_refused_and_not_downloaded(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        opened(settings_for(None, **change), lambda engine: engine)


def test_the_id_of_another_machine_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)this machine is .*leave --hw out"):
        opened(settings_for(folder), lambda engine: engine, hw="jetson_orin_nano_7w")


def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(MissingDependencyError, match="cuda:7"):
        opened(settings_for(folder, engine={"device": "cuda:7"}), lambda engine: engine)


@pytest.mark.usefixtures("anew")
def test_without_kvpress_the_extra_is_named_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kvpress", None)
    with pytest.raises(MissingDependencyError, match=r"(?s)kvpress.*pip install 'groundlake\[transition\]'") as raised:
        opened(settings_for(None, model={"path": "/nowhere/model"}), lambda engine: engine)
    assert raised.value.exit_code == 3


@pytest.mark.usefixtures("anew")
def test_without_kvpress_a_whole_cache_is_asked_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kvpress", None)
    settings = settings_for(folder, {"policy": "none"})
    told = opened(settings, lambda engine: json.loads(engine.facts(1.0).policy_json))
    assert (told["policy"], told["library"]) == ("none", None)
    with pytest.raises(UsageError, match="policy none keeps the whole cache"):
        opened(settings, lambda engine: engine.facts(0.5))
