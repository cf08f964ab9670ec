"""Plans of experiments: what is refused before anything is loaded, and what the hash of the settings is made of."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import UsageError
from groundlake.experiment import model_files
from groundlake.experiment.jobs import warmup_of
from groundlake.experiment.plan import ExperimentPlan, address_of, config_hash
from groundlake.experiment.prompts import Prompts

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = Prompts(items=("a", "b", "c", "d"), name="p.txt", sha256="0" * 64)
CHAT = replace(PROMPTS, items=(({"role": "user", "content": "a"},),))
URL = "http://127.0.0.1:8000/v1"


def local(**changed: object) -> ExperimentPlan:
    return ExperimentPlan(
        **({"backend": "transformers", "model": "org/name", "prompts": PROMPTS, "hardware_id": "bench"} | changed)
    )


def endpoint(**changed: object) -> ExperimentPlan:
    return local(**({"backend": "openai", "base_url": URL} | changed))


@pytest.mark.parametrize(
    ("make", "changed", "said"),
    [
        (local, {"concurrency": 2}, "take --batch"),
        (local, {"base_url": URL}, "--backend openai"),
        (local, {"precision": "int4"}, "take --dtype"),
        (local, {"batch": 5}, "more than the 4 prompts of a process"),
        (local, {"batch": 3, "processes": 2}, "more than the 2 prompts of a process"),
        (local, {"processes": 5}, "--processes 5 are more than the 4 prompts"),
        (local, {"model": "./nowhere"}, "there is no such folder"),
        (local, {"model": " "}, "--model is empty"),
        (local, {"dtype": "int8"}, "--dtype must be one of auto, fp32"),
        (local, {"device": "tpu"}, "--device must be cpu or cuda"),
        (local, {"backend": "vllm"}, "--backend must be one of"),
        (local, {"batch": 0}, "--batch must be at least 1"),
        (local, {"max_new_tokens": 0}, "--max-new-tokens must be at least 1"),
        (local, {"warmup": -1}, "--warmup must be at least 0"),
        (local, {"temperature": float("nan")}, "--temperature must be at least 0"),
        (local, {"baseline_s": float("inf")}, "--baseline must be at least 0"),
        (local, {"timeout_s": 0.0}, "--timeout must be more than 0"),
        (local, {"power": "trace.json"}, "--power must be auto, none, or a recorded trace"),
        (local, {"power_hz": 0.0}, "--power-hz"),
        (local, {"hardware_id": "-"}, "reserved"),
        (endpoint, {"model": "4711"}, "all digits"),
        (endpoint, {"batch": 8}, r"a server makes its batches itself.*--concurrency 8"),
        (endpoint, {"dtype": "fp16"}, "--precision"),
        (endpoint, {"base_url": None}, "--base-url"),
        (endpoint, {"precision": "BF16"}, "lower case"),
        (endpoint, {"processes": 2}, "take --concurrency 2 or more"),
        (endpoint, {"prompts": CHAT, "chat": False}, "messages of a chat"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_loaded(make, changed: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(**changed)


def test_a_folder_without_a_model_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        local(model=str(tmp_path))
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="is a file"):
        local(model=str(tmp_path / "model.bin"))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other", "session": "night", "note": "door open", "cycle": 3},
        {"power": "none", "power_hz": 5.0, "baseline_s": 0.0},
        {"hardware_id": "elsewhere", "thermal_profile": "MAXN", "timeout_s": 5.0, "show_output": True},
        {"temperature": 0, "warmup": 3.0, "max_new_tokens": 64.0},
        {"base_url": "http://10.0.0.1:80/v1", "is_remote": True},
        {"prompts": replace(PROMPTS, name="same_prompts_elsewhere.jsonl")},
    ],
)
def test_the_hash_does_not_depend_on_names_places_and_spellings(changed: dict) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", config_hash(endpoint()))
    assert config_hash(endpoint(**changed)) == config_hash(endpoint())


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "org/other"},
        {"prompts": replace(PROMPTS, sha256="1" * 64)},
        {"max_new_tokens": 65},
        {"concurrency": 2},
        {"warmup": 4},
        {"seed": 1},
        {"temperature": 0.5},
        {"ignore_eos": True},
        {"precision": "int4"},
        {"chat": False},
        {"device": "cuda"},
    ],
)
def test_the_hash_depends_on_what_is_measured(changed: dict) -> None:
    assert config_hash(endpoint(**changed)) != config_hash(endpoint())


def test_the_hash_tells_two_models_of_one_name_apart_wherever_they_lie(tmp_path: Path) -> None:
    hashes = []
    for place, config in (("a", "{}"), ("b", "{}"), ("c", '{"hidden_size": 8}')):
        folder = tmp_path / place / "model"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(config)
        hashes.append(config_hash(local(model=str(folder))))
    assert hashes[0] == hashes[1] != hashes[2]


def model_at(folder: Path, weights: bytes) -> str:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return str(folder)


def test_the_hash_tells_other_weights_of_one_shape_apart_and_no_licence(tmp_path: Path) -> None:
    one, other = model_at(tmp_path / "a" / "m", b"1" * 100), model_at(tmp_path / "b" / "m", b"2" * 100)
    before = config_hash(local(model=one))
    assert before != config_hash(local(model=other))
    (tmp_path / "a" / "m" / "LICENSE.txt").write_text("free")
    assert config_hash(local(model=one)) == before


def test_a_large_file_is_told_by_parts_from_its_beginning_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(model_files, "PART_BYTES", 10)
    weights = bytes(5000)
    changed = (weights, weights[:-1] + b"1", b"1" + weights[1:], weights + b"0")
    hashes = {
        config_hash(local(model=model_at(tmp_path / str(place) / "m", each))) for place, each in enumerate(changed)
    }
    assert len(hashes) == 4


def test_a_folder_may_be_named_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_at(tmp_path / "m", b"1")
    monkeypatch.setenv("HOME", str(tmp_path))
    plan = local(model="~/m")
    assert (plan.model, plan.model_name) == (folder, "m")
    assert config_hash(plan) == config_hash(local(model=folder))


def test_a_server_is_warmed_up_by_prompts_that_are_not_measured() -> None:
    spare = replace(PROMPTS, spare=("e", "f"))
    assert warmup_of(endpoint(prompts=spare, warmup=1), 0) == ["e"]
    plan = endpoint(prompts=spare, processes=2, concurrency=5, warmup=1)
    asked = [warmup_of(plan, process) for process in range(2)]
    assert asked == [["e", "Warm-up 0.1: c", "Warm-up 0.2: a"], ["f", "Warm-up 1.1: d"]]
    (message,) = warmup_of(endpoint(prompts=CHAT, warmup=1), 0)[0]
    assert message == {"role": "user", "content": "Warm-up 0.0: a"}
    assert warmup_of(endpoint(warmup=0, concurrency=4), 0) == []
    assert warmup_of(local(warmup=2, batch=3), 0) == ["a", "b", "c", "d", "a", "b"]


def test_a_process_is_waited_for_longer_than_a_request_may_take() -> None:
    assert endpoint(timeout_s=5.0).silence_s > 10.0
    assert local(timeout_s=5.0).silence_s == 5.0


def test_prompts_and_requests_in_flight_are_dealt_to_the_processes() -> None:
    plan = endpoint(processes=3, concurrency=5)
    assert [plan.prompts_of(index) for index in range(3)] == [["a", "d"], ["b"], ["c"]]
    assert [plan.concurrency_of(index) for index in range(3)] == [2, 2, 1]


def test_processes_take_turns_on_the_gpus_unless_one_is_named() -> None:
    plan = local(processes=3, device="cuda")
    assert [plan.device_of(index, 2) for index in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [local(processes=2, device="cuda:1").device_of(index, 2) for index in range(2)] == ["cuda:1", "cuda:1"]
    assert local(device="cuda").device_of(0, 2) == "cuda"


def test_no_sensor_of_this_machine_is_read_for_another_one_unless_a_trace_is_given(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("timestamp_s,rail,power_w\n0,gpu,1\n")
    assert [endpoint(is_remote=remote).sensors for remote in (False, True)] == ["auto", "none"]
    assert endpoint(is_remote=True, power=str(trace)).sensors == str(trace)


def test_the_settings_of_a_result_name_no_folder_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert str(tmp_path.parent) not in str(local(model=str(tmp_path)).settings())
    for url in ("http://user:secret@host/v1", "http://host/v1?key=secret"):
        with pytest.raises(UsageError) as refused:
            address_of(url)
        assert "secret" not in str(refused.value)
    with pytest.raises(UsageError, match="OPENAI_BASE_URL"):
        address_of(None)
