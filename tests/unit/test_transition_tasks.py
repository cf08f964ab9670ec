"""The tasks: what a model is asked, and how long it may answer."""

from __future__ import annotations

import hashlib

import pytest

from groundlake.errors import UsageError
from groundlake.transition.scoring.tasks import TASKS, find_task

LONGEST = {
    "narrativeqa": 128,
    "qasper": 128,
    "multifieldqa_en": 64,
    "multifieldqa_zh": 64,
    "hotpotqa": 32,
    "2wikimqa": 32,
    "musique": 32,
    "dureader": 128,
    "gov_report": 512,
    "qmsum": 512,
    "multi_news": 512,
    "vcsum": 512,
    "trec": 64,
    "triviaqa": 32,
    "samsum": 128,
    "lsht": 64,
    "passage_count": 32,
    "passage_retrieval_en": 32,
    "passage_retrieval_zh": 32,
    "lcc": 64,
    "repobench-p": 64,
}
AS_THEY_ARE = {"trec", "triviaqa", "samsum", "lsht", "lcc", "repobench-p", "kv_recall"}
FIRST_LINE = {"trec", "triviaqa", "samsum", "lsht"}
METRICS = {
    "qa_f1": {"narrativeqa", "qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "musique", "triviaqa"},
    "qa_f1_zh": {"multifieldqa_zh"},
    "rouge_l": {"gov_report", "qmsum", "multi_news", "samsum"},
    "rouge_l_zh": {"dureader", "vcsum"},
    "classification": {"trec", "lsht"},
    "retrieval": {"passage_retrieval_en"},
    "retrieval_zh": {"passage_retrieval_zh"},
    "count": {"passage_count"},
    "code_similarity": {"lcc", "repobench-p"},
    "exact_match": {"kv_recall"},
}
WORDING = "2567e6f1b432a15bd293f48ef350b81747bb34db00e856753c95cba6a1240d26"
"""Of LongBench's dataset2prompt.json at the commit that `tasks` names: sha256 of all `name NUL template LF`."""


def test_there_are_the_21_tasks_of_longbench_and_the_recall_task() -> None:
    assert set(TASKS) == {*LONGEST, "kv_recall"}
    assert all(name == task.name for name, task in TASKS.items())


def test_answers_are_as_long_as_longbench_lets_them_be() -> None:
    assert {name: TASKS[name].max_new_tokens for name in LONGEST} == LONGEST


def test_each_task_has_the_metric_of_longbench() -> None:
    assert {name: task.metric for name, task in TASKS.items()} == {
        name: metric for metric, names in METRICS.items() for name in names
    }


def test_tasks_that_show_examples_or_code_are_no_conversation() -> None:
    assert {name for name, task in TASKS.items() if not task.chat_template} == AS_THEY_ARE
    assert {name for name, task in TASKS.items() if task.first_line_only} == FIRST_LINE


def test_the_wording_is_that_of_longbench() -> None:
    # A changed letter changes scores, and what has been asked before cannot be compared any more.
    text = "".join(f"{name}\0{TASKS[name].template}\n" for name in LONGEST)
    assert hashlib.sha256(text.encode()).hexdigest() == WORDING


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_prompt_holds_the_context_once_and_the_question_behind_it(name: str) -> None:
    task = TASKS[name]
    head, tail = task.halves("<CONTEXT>", "<QUESTION>")
    assert head.endswith("<CONTEXT>")
    assert "<CONTEXT>" not in tail
    assert task.prompt("<CONTEXT>", "<QUESTION>") == head + tail
    assert "{" not in head + tail
    asks = "{input}" in task.template
    assert tail.count("<QUESTION>") == asks
    assert asks or task.metric in {"rouge_l", "rouge_l_zh", "count", "code_similarity"}


def test_braces_in_a_context_or_question_are_text() -> None:
    prompt = TASKS["hotpotqa"].prompt("f({x}) = {input}", "{context}?")
    assert "f({x}) = {input}" in prompt
    assert "Question: {context}?" in prompt


def test_the_recall_task_asks_with_nothing_but_context_and_question() -> None:
    assert TASKS["kv_recall"].prompt("bako: lime fern ;", "? bako:") == "bako: lime fern ;\n? bako:"


def test_an_unknown_task_is_named_with_those_that_are_near_and_all_there_are() -> None:
    assert find_task("trec") is TASKS["trec"]
    with pytest.raises(UsageError, match=r"'TREC'; did you mean trec\?\n  there are: narrativeqa, .*kv_recall"):
        find_task("TREC")
    with pytest.raises(UsageError, match=r"did you mean hotpotqa"):
        find_task("hotpot_qa")
    with pytest.raises(UsageError, match=r"'zzz'\n"):
        find_task("zzz")


def test_a_task_of_longbench_e_is_asked_like_its_namesake() -> None:
    assert find_task("trec_e") is TASKS["trec"]
    with pytest.raises(UsageError, match="'tre_e'; did you mean trec"):
        find_task("tre_e")
