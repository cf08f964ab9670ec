"""Asking a group: what is asked, what never again, what is kept when a process dies, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import signal
import socket
from typing import TYPE_CHECKING

import polars as pl
import pytest
from llm_server import Reply, error, events_of, stream, whole
from transition_group import GROUP, Group, Recall, said

from groundlake.errors import CorruptLakeError, LakeEnvironmentError, UsageError
from groundlake.transition.configuration.config_file import CONFIGS
from groundlake.transition.data.prepared import require_prepared
from groundlake.transition.inference.guard import differences, held
from groundlake.transition.inference.identity import epoch_hash, request_id
from groundlake.transition.inference.journal import left_behind, one_process
from groundlake.transition.inference.run import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from groundlake.transition.inference.outcome import RunEvent

EXAMPLES = [f"e{number:02}" for number in range(1, 7)]
COMPRESSED = {
    "policy": "snapkv",
    "apply": "extra_body",
    "extra_body": {"kv_budget": "${budget}"},
    "budgets": [1.0, 0.5],
    "evidence": "usage.kept",
}
WAIT_S = 60


@pytest.fixture
def server() -> Iterator[Recall]:
    with Recall() as running:
        yield running


@pytest.fixture
def group(tmp_path: Path, server: Recall) -> Group:
    made = Group(tmp_path / "group", server.url)
    made.prepare()
    return made


# ---------------------------------------------------------------- what is asked


def test_every_example_is_asked_once_at_each_budget_and_never_again(tmp_path: Path, server: Recall) -> None:
    group = Group(tmp_path / "group", server.url, kv=COMPRESSED)
    group.prepare()
    events: list[RunEvent] = []
    assert missing(group.settings(), group.lake) == {1.0: 6, 0.5: 6}
    outcome = group.run(on_event=events.append)
    assert [(each.budget, each.asked, each.answered, each.left) for each in outcome.budgets] == [
        (1.0, 6, 6, 0),
        (0.5, 6, 6, 0),
    ]
    assert server.asked == EXAMPLES * 2
    assert [each.body["kv_budget"] for each in server.received] == [1.0] * 6 + [0.5] * 6
    prompts = [each.body["messages"] for each in server.received]
    assert prompts[:6] == prompts[6:]  # the budget stands beside the prompt, never in it
    assert (events[-1].done, events[-1].total, events[-1].failed) == (12, 12, 0)
    again = group.run()
    assert [(each.asked, each.already, each.run_id) for each in again.budgets] == [(0, 6, None)] * 2
    assert len(server.asked) == 12
    assert missing(group.settings(), group.lake) == {1.0: 0, 0.5: 0}
    group.require_consistent()


def test_a_run_says_what_was_asked_of_what_and_how(tmp_path: Path, server: Recall) -> None:
    group = Group(tmp_path / "group", server.url, examples=2, kv=COMPRESSED)
    prepared = group.prepare().prepared
    server.special["e02"] = lambda: whole(
        {
            "choices": [{"message": {"content": "<think>well</think>answer to e02"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "kept": 0.5},
        }
    )
    group.run()
    run = group.one("select * from kv_runs where budget = 0.5")
    assert (run["dataset_run_id"], run["prompt_hash"]) == (prepared.run_id, prepared.prompt_hash)
    assert (run["engine"], run["how_applied"], run["max_tokens"], run["seed"]) == ("openai", "extra_body", 32, None)
    assert (run["planned_requests"], run["forced"], run["base_url"]) == (2, None, f"{server.url}/v1")
    assert json.loads(run["settings_json"])["kv"]["budgets"] == [1.0, 0.5]
    ledger = group.one(f"select * from runs where run_id = '{run['run_id']}'")
    assert (ledger["kind"], ledger["session_id"], ledger["model"], ledger["batch"]) == (
        "kv_transition",
        GROUP,
        "test-model",
        0,
    )
    assert ledger["power_notes"][0].startswith("power: the model runs behind an endpoint")
    assert ledger["duration_s"] > 0
    told = group.one(f"select * from kv_responses where run_id = '{run['run_id']}' and is_truncated")
    assert (told["text"], told["reasoning"], told["finish_reason"]) == (
        "answer to e02",
        "<think>well</think>",
        "length",
    )
    assert (told["prompt_tokens"], told["completion_tokens"], told["time_to_first_token_ms"]) == (7, 3, None)
    assert (told["kept_fraction"], told["budget_verified"], told["peak_memory_bytes"]) == (0.5, True, None)
    untold = group.one(f"select * from kv_responses where run_id = '{run['run_id']}' and not is_truncated")
    assert (untold["kept_fraction"], untold["budget_verified"]) == (None, None)
    assert 0 < untold["time_to_first_token_ms"] <= untold["latency_ms"]


def test_more_examples_and_more_repeats_are_asked_alone(tmp_path: Path, server: Recall) -> None:
    group = Group(tmp_path / "group", server.url)
    few = "dataset.n_per_bin=1"
    group.prepare(few)
    group.run(few)
    group.prepare()
    assert missing(group.settings(), group.lake) == {1.0: 4}
    group.run()
    assert sorted(server.asked) == EXAMPLES
    group.run("decoding.repeats=2")
    assert sorted(server.asked) == sorted(EXAMPLES * 2)
    budget = group.one("select num_runs, planned_requests from kv_budgets")
    assert (budget["num_runs"], budget["planned_requests"]) == (3, 12)
    parents = group.rows("select parent_run_id from runs where kind = 'kv_transition' order by started_at")
    runs = group.rows("select run_id from kv_runs k join runs r using (run_id) order by r.started_at")
    assert parents == [(None,), runs[0], runs[1]]
    group.require_consistent()


def test_so_many_are_asked_at_a_time_and_no_more(tmp_path: Path) -> None:
    with Recall(meet=3) as server:  # answers only where three are there together
        group = Group(tmp_path / "group", server.url, engine={"base_url": server.url, "concurrency": 3})
        group.prepare()
        assert group.run().answered == 6
        assert server.busiest == 3


def test_only_the_budgets_that_are_named_are_asked(tmp_path: Path, server: Recall) -> None:
    group = Group(tmp_path / "group", server.url, examples=2, kv=COMPRESSED)
    group.prepare()
    assert [each.budget for each in group.run(budgets=[0.5]).budgets] == [0.5]
    assert missing(group.settings(), group.lake) == {1.0: 2, 0.5: 0}


# ---------------------------------------------------------------- identities


def test_requests_have_the_same_identity_in_every_lake_whatever_else_is_chosen(tmp_path: Path, server: Recall) -> None:
    ids = []
    for name, budgets in (("one", [1.0, 0.5]), ("two", [1, 0.5, 0.2])):
        group = Group(tmp_path / name, server.url, kv=COMPRESSED | {"budgets": budgets})
        chosen = [] if name == "one" else ["dataset.n_per_bin=1", "engine.concurrency=2", "run.retries.max_attempts=2"]
        group.prepare(*chosen)
        group.run(*chosen)
        ids.append(dict(group.rows("select request_id, example_id || ' ' || budget from kv_current_requests")))
    one, two = ids
    shared = set(one) & set(two)
    assert (len(one), len(two), len(shared)) == (12, 6, 4)
    assert {one[each] for each in shared} == {two[each] for each in shared}


def test_a_tokenizer_that_was_moved_asks_nothing_again(tmp_path: Path, server: Recall) -> None:
    shipped = CONFIGS.parents[1] / "recall" / "model"
    here, there = (shutil.copytree(shipped, tmp_path / name / "model") for name in ("here", "there"))
    group = Group(tmp_path / "group", server.url, tokenizer={"path": str(here)})
    group.prepare()
    group.run()
    moved = f"tokenizer.path={there}"
    shutil.rmtree(here)
    group.prepare(moved)
    assert group.run(moved).asked == 0
    (there / "tokenizer.json").write_text((there / "tokenizer.json").read_text() + "\n")
    with pytest.raises(UsageError, match=r"was asked with other data\n  tokenizer: "):
        group.prepare(moved)


def test_the_identity_of_a_request_never_changes() -> None:
    told = ("kv-0", "e01", "abc", '{"max_tokens":32,"seed":null,"temperature":0.0}')
    assert request_id(*told, 1) == "2bb1a627612d25586d2fe1cd0c58efb0"
    assert request_id(*told, 2) != request_id(*told, 1)


# ---------------------------------------------------------------- failures


def failing() -> dict[str, tuple[Callable[[], Reply], str]]:
    """By example: how the server fails, and what that is called."""
    return {
        "e01": (lambda: error(429, "Rate limit reached"), "RATE_LIMITED"),
        "e02": (lambda: error(500, "boom"), "ENGINE_ERROR"),
        "e03": (lambda: stream([], ending="hang"), "TIMEOUT"),
        "e04": (lambda: said(""), "EMPTY_OUTPUT"),
        "e05": (lambda: said("ERROR: no backend"), "FORMAT_ERROR"),
        "e06": (lambda: stream(events_of(["half"])[:2], ending="cut"), "CONNECTION"),
        "e07": (lambda: error(400, "This model's maximum context length is 10 tokens"), "CONTEXT_LENGTH_EXCEEDED"),
        "e08": (lambda: said("I'm sorry, but I can't help with that."), "REFUSAL"),
    }


MAY_PASS = ["e01", "e02", "e03", "e06"]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Group, Recall]]:
    """A group whose first run met every failure, and its second one none."""
    with Recall() as server:
        engine = {"base_url": server.url, "concurrency": 4, "timeout_s": 0.3}
        group = Group(tmp_path_factory.mktemp("failed") / "group", server.url, examples=10, engine=engine)
        group.prepare()
        server.special = {name: reply for name, (reply, _) in failing().items()}
        server.special["e09"] = lambda: said("cut sho", finish="length")
        outcome = group.run()
        assert outcome.budgets[0].failures == dict.fromkeys((code for _, code in failing().values()), 1)
        assert (outcome.asked, outcome.answered, outcome.budgets[0].failed) == (10, 2, 8)
        yield group, server


def test_every_failure_has_its_name_in_the_lake_and_none_stops_the_run(failed: tuple[Group, Recall]) -> None:
    group, _ = failed
    first = "(select run_id from kv_runs k join runs r using (run_id) order by r.started_at limit 1)"
    found = group.rows(
        f"select q.example_id, f.failure from kv_failures f join kv_requests q using (run_id, request_id) "
        f"where run_id = {first}"
    )
    assert dict(found) == {name: code for name, (_, code) in failing().items()}
    told = dict(group.rows(f"select failure, http_status from kv_failures where run_id = {first}"))
    assert (told["RATE_LIMITED"], told["ENGINE_ERROR"], told["REFUSAL"]) == (429, 500, 200)
    (text,) = group.rows("select text, message from kv_failures where failure = 'REFUSAL'")
    assert text == (
        "I'm sorry, but I can't help with that.",
        "the model declined to answer, or a filter withheld the answer",
    )
    group.require_consistent()


def test_an_answer_that_was_cut_off_is_an_answer(failed: tuple[Group, Recall]) -> None:
    group, _ = failed
    cut = group.one("select state, is_truncated, finish_reason from kv_current_requests where example_id = 'e09'")
    assert cut == {"state": "answered", "is_truncated": True, "finish_reason": "length"}


def test_failures_that_may_pass_are_asked_again_and_lasting_ones_are_not(failed: tuple[Group, Recall]) -> None:
    group, server = failed
    server.special = {}
    before = len(server.asked)
    assert missing(group.settings(), group.lake) == {1.0: 4}
    outcome = group.run()
    assert sorted(server.asked[before:]) == MAY_PASS
    assert (outcome.budgets[0].already, outcome.answered) == (6, 4)
    assert sorted(group.failures()) == ["e04", "e05", "e07", "e08"]
    group.require_consistent()


def test_attempts_are_rows_of_their_own(tmp_path: Path, server: Recall) -> None:
    group = Group(tmp_path / "group", server.url, examples=1, run={"retries": {"max_attempts": 3, "base_s": 0.0}})
    group.prepare()
    server.special["e01"] = [error(429, "slow down", Retry_After="0"), error(503)]
    assert group.run().answered == 1
    attempts = group.rows("select attempt, status, failure, http_status from kv_attempts order by attempt")
    assert attempts == [(1, "failed", "RATE_LIMITED", 429), (2, "failed", "ENGINE_ERROR", 503), (3, "ok", None, 200)]
    assert group.rows("select num_attempts from kv_requests") == [(3,)]
    times = group.lake.sql("select started_s, duration_s, waited_s from kv_attempts order by attempt").pl()
    assert (times["started_s"].diff().drop_nulls() > 0).all()


def test_an_endpoint_that_is_not_there_ends_the_run_at_once_and_nothing_is_lost(tmp_path: Path, server: Recall) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    group = Group(tmp_path / "group", f"http://127.0.0.1:{port}", examples=12)
    group.prepare()
    with pytest.raises(LakeEnvironmentError, match=r"none of the first 3 was answered: .*\n  nothing is lost"):
        group.run()
    assert list(group.failures().values()) == ["CONNECTION"] * 3
    (run,) = group.lake.runs().filter(kind="kv_transition").to_dicts()
    assert run["warnings"][0].startswith("endpoint_not_there: after 3 of 12 requests")
    assert group.run(f"engine.base_url={server.url}").answered == 12
    group.require_consistent()


def test_an_endpoint_that_lets_nobody_in_ends_the_run_at_once(group: Group, server: Recall) -> None:
    server.special = dict.fromkeys(EXAMPLES, lambda: error(401, "no such key"))
    with pytest.raises(LakeEnvironmentError, match=r"none of the first 3 was answered: .*401"):
        group.run()
    assert len(server.asked) == 3


PAGE = Reply(headers={"Content-Type": "text/html; charset=utf-8"}, pieces=[b"<!doctype html><title>Sign in</title>"])
TEXT = Reply(headers={"Content-Type": "text/plain"}, pieces=[b"ready\n"])
ELSEWHERE = Reply(status=302, headers={"Location": "http://127.0.0.1:9/login"})


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (PAGE, ("what came (text/html; charset=utf-8) is no answer", "<title>Sign in", "the address of the API")),
        (TEXT, ("what came (text/plain) is no answer", "ready", "the address of the API")),
        (ELSEWHERE, ("302", "give that address as the base URL")),
        (error(405), ("405", "is the path of the base URL right?")),
    ],
)
def test_something_else_at_the_address_ends_the_run_at_once_and_is_asked_again_at_another(
    group: Group, server: Recall, reply: Reply, told: tuple[str, ...]
) -> None:
    server.special = dict.fromkeys(EXAMPLES, lambda: reply)
    with pytest.raises(LakeEnvironmentError) as ended:
        group.run()
    words = str(ended.value)
    assert all(each in words for each in ("none of the first 3 was answered", "the same command goes on", *told))
    assert len(words.splitlines()) <= 6
    assert len(server.asked) == 3
    with Recall() as other:  # the address is not among what tells answers apart
        assert group.run(f"engine.base_url={other.url}").answered == 6
    group.require_consistent()


OF_ONE = {"reset": lambda: Reply(ending="drop"), "403": lambda: error(403, "not this one"), "page": lambda: PAGE}


@pytest.mark.parametrize("reply", OF_ONE.values(), ids=OF_ONE)
def test_a_request_that_always_fails_keeps_no_other_from_being_asked(
    tmp_path: Path, server: Recall, reply: Callable[[], Reply]
) -> None:
    group, more = Group(tmp_path / "group", server.url, kv=COMPRESSED), "kv.budgets=[1.0,0.5,0.2]"
    group.prepare()
    server.special["e03"] = reply
    assert [each.failed for each in group.run().budgets] == [1, 1]
    assert [(each.asked, each.failed) for each in group.run(more).budgets] == [(1, 1), (1, 1), (6, 1)]
    server.special["e06"] = reply  # one more, and nothing else is new
    again = group.run(more, "decoding.repeats=2", budgets=[0.2]).budgets
    assert [(each.asked, each.failed) for each in again] == [(7, 3)]


@pytest.mark.parametrize("number", [2, 6])
def test_an_endpoint_that_went_away_since_ends_the_run_at_once(tmp_path: Path, server: Recall, number: int) -> None:
    with Recall() as gone:
        group = Group(tmp_path / "group", gone.url, kv=COMPRESSED, examples=number)
        group.prepare()
        gone.special["e01"] = lambda: error(503)
        group.run(budgets=[1.0])
    with pytest.raises(LakeEnvironmentError, match=r"none of the first 1 was answered: nothing listens"):
        group.run(budgets=[1.0])
    asked = min(number, 3)
    with pytest.raises(LakeEnvironmentError, match=f"none of the first {asked} was answered: nothing listens"):
        group.run(budgets=[0.5])
    assert group.run(f"engine.base_url={server.url}").answered == number + 1


def test_an_address_that_breaks_every_connection_is_given_up_though_it_answered_before(
    tmp_path: Path, server: Recall
) -> None:
    group = Group(tmp_path / "group", server.url, kv=COMPRESSED)
    group.prepare()
    group.run(budgets=[1.0])
    server.special = dict.fromkeys(EXAMPLES, lambda: Reply(ending="drop"))  # a proxy without a server behind it
    with pytest.raises(LakeEnvironmentError, match="none of the first 3 was answered: the connection to"):
        group.run()


def test_an_endpoint_that_once_answered_is_not_given_up(group: Group, server: Recall) -> None:
    server.special = dict.fromkeys(EXAMPLES[1:], lambda: error(404, "gone"))
    assert (group.run().asked, len(server.asked)) == (6, 6)


# ---------------------------------------------------------------- ends before its time


def test_a_killed_run_goes_on_without_asking_twice_or_mixing(group: Group, server: Recall) -> None:
    server.hold_from = 4
    process = group.start()
    assert server.held.wait(WAIT_S), process.communicate()
    process.kill()
    process.communicate()
    (journal,) = left_behind(group.results)
    kept = journal.read_bytes()
    journal.write_bytes(kept + b'{"kv_requests": [{"req')  # the fourth line was being written
    server.hold_from = None
    outcome = group.run()
    assert (outcome.brought_in, outcome.asked, outcome.budgets[0].already) == (3, 3, 3)
    assert server.asked == [*EXAMPLES[:4], *EXAMPLES[3:]]  # only what was under way is asked again
    assert group.texts()["text"].to_list() == [f"answer to {name}" for name in EXAMPLES]
    assert group.texts()["request_id"].is_unique().all()
    assert left_behind(group.results) == []
    warned = group.rows("select warnings from runs where kind = 'kv_transition' order by started_at")
    assert [None if each is None else each[0].split(":")[0] for (each,) in warned] == ["journal_brought_in", None]
    journal.write_bytes(kept)  # as if it had been killed between the lake and the end of its journal
    assert group.run().brought_in == 0
    assert group.texts().height == 6
    group.require_consistent()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_keeps_what_has_come(group: Group, server: Recall, number: signal.Signals) -> None:
    server.hold_from = 3
    process = group.start()
    assert server.held.wait(WAIT_S), process.communicate()
    with pytest.raises(UsageError, match="another process is asking for it"):
        group.run()
    process.send_signal(number)
    out, problem = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, problem
    assert out == "True 2 stopping: what has come is kept, and the same command goes on\n"
    assert left_behind(group.results) == []
    (run,) = group.lake.runs().filter(kind="kv_transition").to_dicts()
    assert run["warnings"] == [f"interrupted: {number.name} after 2 of 6 requests"]
    server.hold_from = None
    assert group.run().asked == 4
    assert server.asked == [*EXAMPLES[:3], *EXAMPLES[2:]]
    group.require_consistent()


def test_two_at_a_time_are_refused_before_anything_is_asked(group: Group, server: Recall) -> None:
    with (
        one_process(group.results, group.lake.root, GROUP),
        pytest.raises(UsageError, match="another process is asking for it"),
    ):
        group.run()
    assert server.asked == []
    assert group.run().asked == 6


def test_an_error_of_the_caller_keeps_what_has_come(group: Group) -> None:
    class OwnError(Exception):
        pass

    def tell(event: RunEvent) -> None:
        if event.done == 2:
            raise OwnError

    with pytest.raises(OwnError):
        group.run(on_event=tell)
    (run,) = group.lake.runs().filter(kind="kv_transition").to_dicts()
    assert run["warnings"][0].startswith("broken_off: OwnError")
    assert group.run().asked == 4


def test_a_journal_that_cannot_be_read_or_is_of_another_lake_is_refused(group: Group, tmp_path: Path) -> None:
    journal = group.results / ".journal-kv-0.jsonl"
    journal.write_text('{"version": 1}\nnonsense\n')
    with pytest.raises(CorruptLakeError, match="cannot be read"):
        group.run()
    journal.write_text('{"version": 1, "run": {"dataset_run_id": "elsewhere"}}\n{}\n')
    with pytest.raises(UsageError, match="has not the data set that it asked"):
        group.run()
    journal.write_text("")  # killed before its first line
    assert group.run().asked == 6


# ---------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def asked_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Group, Recall]]:
    with Recall() as server:
        group = Group(tmp_path_factory.mktemp("asked") / "group", server.url, examples=2, kv=COMPRESSED)
        group.prepare()
        group.run()
        yield group, server


DIFFERENT = {
    "decoding.max_tokens=16": "decoding.max_tokens: nothing before, now 16",
    "decoding.temperature=0.5": "decoding.temperature: 0.0 before, now 0.5",
    "decoding.seed=7": "decoding.seed: nothing before, now 7",
    "model.name=other": "model.name: 'test-model' before, now 'other'",
    "kv.parameters={window_size: 16}": "kv.parameters.window_size: nothing before, now 16",
    "kv.extra_body={budget: '${budget}'}": "kv.extra_body.budget: nothing before, now '${budget}'",
    "model.max_model_len=4096": "model.max_model_len: nothing before, now 4096",
}
ALIKE = ["engine.concurrency=2", "engine.timeout_s=9.0", "run.retries.max_attempts=2", "decoding.repeats=3"]


def test_every_difference_is_named_with_both_values(asked_once: tuple[Group, Recall]) -> None:
    group, _ = asked_once
    before, prepared = held(group.lake, GROUP), require_prepared(group.lake, GROUP)
    assert before is not None
    for override, told in DIFFERENT.items():
        settings = group.settings(override)
        assert epoch_hash(settings, prepared) != before.epoch
        assert list(differences(before, settings, prepared)) == [told]
    assert {epoch_hash(group.settings(each), prepared) for each in ALIKE} == {before.epoch}


def test_other_settings_are_refused_and_nothing_is_asked(asked_once: tuple[Group, Recall]) -> None:
    group, server = asked_once
    before = len(server.asked)
    other = list(DIFFERENT)[:5]
    for ask in (group.run, lambda *overrides: missing(group.settings(*overrides), group.lake)):
        with pytest.raises(UsageError) as refused:
            ask(*other)
        text = str(refused.value)
        assert DIFFERENT["model.name=other"] in text
        assert "and 2 more" in text
        assert "--force" in text
        assert len(text.splitlines()) <= 6
    assert len(server.asked) == before
    assert missing(group.settings(*other), group.lake, force=True) == {1.0: 2, 0.5: 2}


def test_a_data_set_of_other_settings_has_to_be_prepared_first(asked_once: tuple[Group, Recall]) -> None:
    group, _ = asked_once
    with pytest.raises(UsageError, match=r"prepared by other settings[^\n]*\n  lake kv prepare first"):
        group.run("dataset.n_per_bin=1")
    with pytest.raises(UsageError, match="is not prepared"):
        group.run("output.exp_group_id=new")


def test_force_begins_the_group_anew_and_its_answers_count_again_when_it_goes_back(
    group: Group, server: Recall
) -> None:
    group.run()
    forced = group.run("decoding.max_tokens=16", force=True)
    assert (forced.forced, forced.asked) == ("decoding.max_tokens: nothing before, now 16", 6)
    assert group.texts().height == 12
    assert group.one("select forced, settings_hash from kv_budgets")["forced"] == forced.forced
    summary = group.one("select num_asked, num_attempts, num_runs, is_complete from kv_run_summary")
    assert summary == {"num_asked": 6, "num_attempts": 6, "num_runs": 1, "is_complete": True}
    assert group.run("decoding.max_tokens=16", force=True).forced is None  # nothing differs any more
    with pytest.raises(UsageError, match="now nothing"):
        group.run()
    back = group.run(force=True)
    assert (back.asked, len(server.asked)) == (0, 12)
    current = group.one("select num_asked, num_runs, is_complete from kv_run_summary")
    assert current == {"num_asked": 6, "num_runs": 2, "is_complete": True}
    assert group.run().asked == 0
    group.require_consistent()


def test_other_data_are_refused_until_they_are_forced(group: Group, server: Recall) -> None:
    group.run()
    group.write_data(6, words="others")
    with pytest.raises(UsageError, match="source"):
        group.prepare()
    group.prepare(force=True)
    with pytest.raises(UsageError, match=r"source: [0-9a-f]+ before, now [0-9a-f]+"):
        group.run()
    assert group.run(force=True).asked == 6
    assert len(server.asked) == 12


def test_another_tokenizer_is_named(group: Group, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106 - no secret
    made.save(str(tmp_path / "tokenizer.json"))
    own = (f"tokenizer.path={tmp_path}", "tokenizer.name=null")
    group.run()
    group.prepare(*own, force=True)
    with pytest.raises(UsageError, match=r"tokenizer: words \(approximation\) \(\w+\) before, now "):
        group.run(*own)


def test_another_prompt_is_noticed(group: Group) -> None:
    held = "select kv_datasets.* exclude (part) from kv_datasets"
    frame = group.lake.sql(held).pl().drop("hardware_id", "precision", "model", "batch", "run_id")
    examples = group.lake.sql("select * exclude (part, run_id, hardware_id, precision, model, batch) from kv_examples")
    group.lake.write(
        {
            "hardware_id": "none",
            "kind": "kv_dataset",
            "started_at": dt.datetime.now(dt.timezone.utc),
            "started_at_zone_source": "clock",
        },
        kv_datasets=frame,
        kv_examples=examples.pl().with_columns(prompt_sha256=pl.lit("of another template")),
    )
    with pytest.raises(UsageError, match="template of task hotpotqa has changed since"):
        group.run()
