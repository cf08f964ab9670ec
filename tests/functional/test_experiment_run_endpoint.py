"""Experiments against a server on loopback: what it counts, what it says wrong, and what it may remember."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from experiment_runs import HANG, one, plan_of
from llm_server import MODEL, LlmServer, Reply, chunk, error, event, stream, usage, whole

from groundlake.experiment import ExperimentResult
from groundlake.experiment.runner import Event, run_experiment
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("httpx2", reason="httpx2 is not installed: pip install 'groundlake[experiment]'")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A file of three prompts."""
    file = tmp_path / "prompts.txt"
    file.write_text("hello there\nwho are you\nsay something short\n")
    return file


def test_requests_are_in_flight_together_and_the_key_is_kept_nowhere(
    prompts: Path, lake_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0815")
    with LlmServer(meet=4) as server:
        outcome = run_experiment(Lake(lake_root), plan_of(server, prompts, 12, concurrency=4, warmup=0))
        assert server.busiest == 4
        assert {each.headers["Authorization"] for each in server.received} == {"Bearer sk-very-secret-0815"}
        assert {each.body["max_tokens"] for each in server.received} == {64}
    assert outcome.result is not None
    assert "sk-very-secret-0815" not in outcome.result.model_dump_json()
    assert outcome.result.effective_config["concurrency"] == 4
    files = [path for path in lake_root.rglob("*") if path.is_file()]
    assert not [path for path in files if b"very-secret" in path.read_bytes()]
    stored = Lake(lake_root).frame("experiment_settings")["value"].drop_nulls().to_list()
    assert not [value for value in stored if "secret" in value]


def test_failed_requests_are_counted_by_kind_and_kept_in_no_figure(prompts: Path, lake_root: Path) -> None:
    lake = Lake(lake_root)
    replies = (Reply(), error(500), error(429), error(500))  # the first is the warm-up's
    with LlmServer(*replies) as server:
        outcome = run_experiment(lake, plan_of(server, prompts, 10))
    assert outcome.failures == {"http_500": 2, "http_429": 1}
    rows = lake.frame("experiment_requests").filter(phase="measure").sort("request_index")
    assert rows["status"].to_list() == ["failed"] * 3 + ["ok"] * 7
    assert [text.split(":")[0] for text in rows["error"][:3]] == ["http_500", "http_429", "http_500"]
    assert rows["time_to_first_token_ms"].null_count() == 3
    row = one(lake, "select * from experiment_summary")
    assert (row["num_requests"], row["failed_requests"], row["num_ttft"], row["output_tokens"]) == (10, 3, 7, 35)
    codes = lake.frame("measurement_warnings")["code"].to_list()
    assert "failed_requests" in codes


def test_the_energy_of_another_machine_is_unknown_and_it_is_said_why(prompts: Path, lake_root: Path) -> None:
    lake = Lake(lake_root)
    with LlmServer() as server:
        plan = plan_of(server, prompts, is_remote=True, power="auto", baseline_s=1.0, hardware_id="h100_far_away")
        outcome = run_experiment(lake, plan)
    told = "power: the endpoint runs on another machine, whose sensors cannot be read from here"
    assert outcome.why_no_energy == told
    (run,) = lake.runs().to_dicts()
    assert (run["hardware_id"], run["power_notes"]) == ("h100_far_away", [told])
    assert (run["system_before"], run["device"]) == (None, None)
    row = one(lake, "select energy_j, num_energy_estimates from experiment_summary")
    assert row == {"energy_j": None, "num_energy_estimates": 0}
    codes = lake.frame("measurement_warnings")["code"].to_list()
    assert "no_baseline" not in codes


def test_readings_of_a_gpu_are_the_sidecar_of_the_result(prompts: Path, lake_root: Path, tmp_path: Path) -> None:
    trace = tmp_path / "gpu.csv"
    lines = [f"{moment / 100},gpu,{100 + moment % 2},{40 + moment // 2000}" for moment in range(6000)]
    trace.write_text("timestamp_s,rail,power_w,temperature_c\n" + "\n".join(lines))
    with LlmServer() as server:
        outcome = run_experiment(
            Lake(lake_root), plan_of(server, prompts, 60, device="cuda", power=str(trace), power_hz=200.0)
        )
    assert outcome.result is not None
    back = ExperimentResult.from_json(outcome.result.save(tmp_path / "results"))
    assert back.timeseries is not None
    assert back == outcome.result
    assert set(back.timeseries["gpu_power_w"]) <= {100.0, 101.0}
    assert back.timeseries["gpu_index"].unique().to_list() == [0]
    stored = Lake(lake_root).frame("power_timeseries")
    window_s = one(Lake(lake_root), "select measured_window_s from runs")["measured_window_s"]
    inside = pl.col("timestamp_s").is_between(0, window_s)
    assert stored.filter(inside)["power_w"].to_list() == back.timeseries.filter(inside)["gpu_power_w"].to_list()
    assert back.timeseries.filter(~inside).height == 2, "one before the window, one behind it"


def answered(text: str, **fields: object) -> Reply:
    """An answer that comes whole."""
    message = {"role": "assistant", "content": text}
    return whole({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **fields})


def test_answers_that_nobody_counted_have_no_number_of_tokens_and_a_warning(prompts: Path, lake_root: Path) -> None:
    lake = Lake(lake_root)
    replies = [answered("a b c", usage=usage(4, 3) if place % 2 else None) for place in range(9)]
    with LlmServer(*replies) as server:
        outcome = run_experiment(lake, plan_of(server, prompts, 8))
    assert outcome.result is not None
    assert (outcome.result.output_tokens, outcome.result.total_tokens) == (None, None)
    row = one(lake, "select num_requests, failed_requests, output_tokens, output_tokens_per_s from experiment_summary")
    assert row == {"num_requests": 8, "failed_requests": 0, "output_tokens": None, "output_tokens_per_s": None}
    assert [doubt.observed for doubt in outcome.doubts if doubt.code == "tokens_not_counted"] == [4.0]


def test_an_energy_of_tokens_that_nobody_counted_is_not_said_to_be_of_none(
    cli: Callable, prompts: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "gpu.csv"
    trace.write_text("timestamp_s,rail,energy_counter_j\n" + "\n".join(f"{at / 1000},cpu,{at}" for at in range(60000)))
    with LlmServer(*[answered("a b c")] * 60) as server:
        told = ("--backend", "openai", "--model", MODEL, "--base-url", server.url, "--device", "cpu", "--power", trace)
        options = ("--n", "40", "--power-hz", "200", "--baseline", "0", "--hw", "bench")
        done = cli("experiment", "run", "--prompts", prompts, *told, *options)
    assert "energy               nobody counted the tokens: " in done.stdout


def test_a_request_that_hangs_fails_alone(prompts: Path, lake_root: Path) -> None:
    with LlmServer(Reply(), Reply(), HANG) as server:
        outcome = run_experiment(Lake(lake_root), plan_of(server, prompts, 5, timeout_s=1.0, warmup=2))
    assert outcome.reason is None
    assert outcome.failures == {"timeout": 1}
    row = one(Lake(lake_root), "select num_requests, failed_requests, num_ttft from experiment_summary")
    assert row == {"num_requests": 5, "failed_requests": 1, "num_ttft": 4}


def test_half_a_character_in_a_servers_words_loses_no_experiment(prompts: Path, lake_root: Path) -> None:
    said = Reply(
        status=400,
        headers={"Content-Type": "application/json"},
        pieces=[rb'{"error": {"message": "bad \ud83d emoji", "code": 400}}'],
    )
    with LlmServer(Reply(), said) as server:
        outcome = run_experiment(Lake(lake_root), plan_of(server, prompts, 3))
    assert outcome.failures == {"http_400": 1}
    errors = Lake(lake_root).frame("experiment_requests")["error"].drop_nulls()
    assert [text for text in errors if "bad \ufffd emoji" in text]


def test_an_error_behind_the_measurement_is_a_failed_run_with_its_reason(
    prompts: Path, lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(lake_root)
    monkeypatch.setattr("groundlake.experiment.runner.snapshot", lambda *_: {}["no such fact"])
    with LlmServer() as server:
        outcome = run_experiment(lake, plan_of(server, prompts, 3))
    assert str(outcome.reason).startswith("groundlake could not keep what was measured: KeyError: 'no such fact' (")
    run = lake.runs("bench").row(0, named=True)
    assert (run["status"], run["error"]) == ("failed", outcome.reason)


def test_a_result_that_cannot_be_exported_is_in_the_lake(prompts: Path, lake_root: Path) -> None:
    def export(_outcome: object) -> None:
        raise RuntimeError("no such column")

    with LlmServer() as server, pytest.raises(RuntimeError, match="no such column"):
        run_experiment(Lake(lake_root), plan_of(server, prompts, 3), before_writing=export)
    assert Lake(lake_root).runs("bench")["status"].to_list() == ["ok"]


def test_answers_of_thoughts_alone_are_measured(prompts: Path, lake_root: Path) -> None:
    thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm "}, "finish_reason": None}]})
    events = [*[thought] * 5, event(chunk(finish="length")), event({"choices": [], "usage": usage(4, 5)})]
    with LlmServer(*[stream([*events, event("[DONE]")])] * 9) as server:
        outcome = run_experiment(Lake(lake_root), plan_of(server, prompts, 8))
    assert outcome.reason is None
    row = one(Lake(lake_root), "select failed_requests, output_tokens, num_ttft, num_itl from experiment_summary")
    assert row == {"failed_requests": 0, "output_tokens": 40, "num_ttft": 8, "num_itl": 32}


def test_the_warm_up_opens_every_connection_and_asks_nothing_that_is_measured(prompts: Path, lake_root: Path) -> None:
    opened = []

    def look(event: Event) -> None:
        opened.append((event.now, event.done, server.connections))

    with LlmServer(meet=2) as server:
        run_experiment(Lake(lake_root), plan_of(server, prompts, 2, concurrency=2), on_event=look)
        asked = [each.body["messages"][0]["content"] for each in server.received]
    assert ("measuring", 0, 2) in opened
    assert server.connections == 2
    assert sorted(asked[:2]) == ["Warm-up 0.1: who are you", "say something short"]
    assert sorted(asked[2:]) == ["hello there", "who are you"]


def test_prompts_that_are_asked_again_are_a_doubt(prompts: Path, lake_root: Path) -> None:
    with LlmServer() as server:
        again = run_experiment(Lake(lake_root), plan_of(server, prompts, 8))
        once = run_experiment(Lake(lake_root), plan_of(server, prompts, 3))
    assert [doubt.observed for doubt in again.doubts if doubt.code == "repeated_prompts"] == [5.0]
    assert "repeated_prompts" not in {doubt.code for doubt in once.doubts}


def test_the_state_under_load_is_unknown_where_nobody_looked_in_time(prompts: Path, lake_root: Path) -> None:
    lake = Lake(lake_root)
    with LlmServer() as server:
        run_experiment(lake, plan_of(server, prompts, 1, device="cpu"))
    run = lake.runs("bench").row(0, named=True)
    assert run["system_before"] is not None
    assert run["system_under_load"] is None
