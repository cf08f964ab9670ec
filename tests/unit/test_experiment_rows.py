"""Rows of an experiment: every figure of a result finds its table, and nothing is lost."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from experiments import full_process, full_result, requests, single
from processes import START, process, result
from pydantic import BaseModel

from groundlake.experiment import EnergyMetrics, ExperimentResult, aggregate
from groundlake.experiment.extended import EnergyBreakdown
from groundlake.experiment.quality import Seen, doubts
from groundlake.experiment.rows import ExperimentRun
from groundlake.experiment.statements import EnergyStatement
from groundlake.intake import fact_frame, prepare
from groundlake.schemas import FACT_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Frames = dict[str, pl.DataFrame]


def frames_of(run: ExperimentRun) -> tuple[dict[str, Any], Frames]:
    """The run as its contracts take it."""
    row, frames = run.to_frames()
    prepared = prepare(row, frames)
    for name in prepared.frames:
        table = FACT_TABLES[name]
        table.check(fact_frame(table, [prepared], "part"))
    return row, prepared.frames


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from leaves(each, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from leaves(each, f"{path}[{number}]")
    else:
        yield path, value


def unset(model: BaseModel, path: str = "") -> Iterator[str]:
    """Fields of a result that say nothing."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if value in (None, [], {}, "") and not (name == "requests" or name.endswith("latencies_ms")):
            yield f"{path}{name}"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseModel):
                yield from unset(each, f"{path}{name}.")


def known_values(row: Mapping[str, object], frames: Frames) -> set[object]:
    """Every value that stands anywhere in the run, also inside of JSON."""
    found: set[object] = set()
    for _, value in leaves([dict(row), *(frame.to_dicts() for frame in frames.values())]):
        found.add(spelled(value))
        if isinstance(value, str):
            try:
                found |= {spelled(inner) for _, inner in leaves(json.loads(value))}
            except ValueError:
                continue
    return found


def spelled(value: object) -> object:
    """A value so that a number, a moment and a flag equal themselves in any table."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)):
        return float(f"{value:.12g}")
    return value.isoformat() if isinstance(value, dt.datetime) else value


def is_known(path: str, value: object, known: set[object]) -> bool:
    if spelled(value) in known:
        return True
    if path.endswith("_mb") and isinstance(value, (int, float)):
        return spelled(value * 2**20) in known
    if "installed_packages" in path:
        return set(str(value).split("==")) <= known
    if isinstance(value, str) and ": " in value:
        return value.split(": ", 1)[1] in known
    return False


def test_every_value_of_a_result_is_found_in_some_row() -> None:
    full = full_result()
    not_set = {path for path in unset(full) if not path.startswith("process_results.requests.")}
    assert not_set == {
        "energy_breakdown.baseline_timestamp",  # of several processes
        "energy_breakdown.baseline_samples",
        "energy_statements",  # the totals are told without them
        "measurement_doubts",
        "process_results.inference_metrics.latency_measurements",  # of the process that knows its requests
    }
    row, frames = frames_of(ExperimentRun.of(full, "a100", layout="v2.0"))
    known = known_values(row, frames)
    lost = [
        (path, value)
        for path, value in leaves(full.model_dump())
        if value is not None and not is_known(path, value, known) and path.split(".")[-1] != "timeseries_sha256"
    ]
    assert lost == []
    assert frames["power_timeseries"].height == 102


def test_a_value_without_a_column_stands_in_the_remaining_json() -> None:
    run = ExperimentRun.of(full_result(), "a100", layout="v2.0")
    said = json.loads(frames_of(run)[1]["experiments"]["other_json"][0])
    assert said["warmup_result"] == {"latencies_ms": [205.5, 201.5]}
    assert said["process_results"]["1"]["gpu_utilisation_samples"] == [66.5625, 77.5625]
    assert said["model_info"]["revision"] == "abc123"
    assert "total_tokens" not in said


def test_a_plain_result_has_no_remaining_json() -> None:
    _, frames = frames_of(ExperimentRun.of(result(), "a100"))
    assert frames["experiments"]["other_json"].to_list() == [None]
    assert set(frames) == {"experiments", "energy_estimates", "flops_estimates", "experiment_settings"}


def test_totals_and_memory_are_columns() -> None:
    row, frames = frames_of(ExperimentRun.of(full_result(), "a100", layout="v2.0"))
    told = frames["experiments"].row(0, named=True)
    assert (told["input_tokens"], told["output_tokens"], told["total_tokens"]) == (1200, 800, 2000)
    assert (told["peak_memory_bytes"], told["num_parameters"]) == (8006 * 2**20, 124_439_808)
    assert (told["num_processes"], told["overlap_verified"], told["devices_verified"]) == (2, True, True)
    assert (told["throttled"], told["throttled_s"], told["max_temperature_c"]) == (True, 2.5, 90.5)
    assert (told["num_requests"], told["warmup_requests"]) == (4, 1)
    assert (row["model"], row["precision"], row["batch"]) == ("openai-community/gpt2", "int4", 4)
    assert (row["kind"], row["device"], row["torch_version"]) == ("llm_inference", "cuda", "2.5.0")
    assert {rule["figure"] for rule in told["aggregation_rules"]} > {"total_energy_j", "total_flops"}


def test_one_process_proves_no_overlap() -> None:
    told = frames_of(ExperimentRun.of(single(), "a100"))[1]["experiments"].row(0, named=True)
    assert (told["num_processes"], told["overlap_verified"], told["devices_verified"]) == (1, None, True)
    assert told["throttled"] is None


def test_each_energy_keeps_its_source_method_and_scope() -> None:
    _, frames = frames_of(ExperimentRun.of(full_result(), "a100", layout="groundlake"))
    rows = (
        frames["energy_estimates"]
        .select("process_index", "scope", "device_index", "source", "method", "energy_j", "energy_above_baseline_j")
        .rows()
    )
    assert rows == [
        (None, "process", None, "codecarbon", "sum_of_processes", 303.0, 103.0),
        (0, "process", None, "codecarbon", "counter", 151.0, 51.0),
        (0, "gpu", 0, "codecarbon", "counter", 140.0, None),
        (0, "cpu", None, "codecarbon", "counter", 8.0, None),
        (0, "ram", None, "codecarbon", "counter", 3.0, None),
        (1, "process", None, "codecarbon", "counter", 152.0, 52.0),
        (1, "gpu", 1, "codecarbon", "counter", 141.0, None),
        (1, "cpu", None, "codecarbon", "counter", 8.0, None),
        (1, "ram", None, "codecarbon", "counter", 3.0, None),
        (None, "gpu", 0, "codecarbon", "reported", 141.5, None),
        (None, "gpu", 1, "codecarbon", "reported", 142.5, None),
        (None, "gpu", 0, "codecarbon", "reported", 141.25, None),
        (None, "gpu", 1, "codecarbon", "reported", 142.25, None),
    ]


def test_a_total_that_is_all_of_the_gpu_is_of_the_gpu() -> None:
    told = EnergyMetrics(
        total_energy_j=25.0, gpu_energy_j=25.0, source="nvml", method="power_integral", duration_sec=10
    )
    rows = frames_of(ExperimentRun.of(aggregate([process(energy_metrics=told)]), "a100"))[1]["energy_estimates"]
    assert rows.select("process_index", "scope", "source", "method", "window_s").rows() == [
        (None, "gpu", "nvml", "power_integral", 10.0),
        (0, "process", "nvml", "power_integral", 10.0),
        (0, "gpu", "nvml", "power_integral", 10.0),
    ]


def test_an_energy_that_was_not_measured_is_no_row() -> None:
    assert "energy_estimates" not in frames_of(ExperimentRun.of(single(energy_j=None), "a100"))[1]


@pytest.mark.parametrize(
    ("adjusted", "unclamped", "above"),
    [(60.0, None, 60.0), (0.0, None, -25.0), (0.0, -24.0, -24.0), (None, None, -25.0)],
)
def test_a_baseline_above_the_energy_is_not_clamped(
    adjusted: float | None, unclamped: float | None, above: float
) -> None:
    """50 J in 10 s, idle at 7.5 W: 25 J less than nothing."""
    breakdown = EnergyBreakdown(
        raw_j=100.0 if adjusted else 50.0, adjusted_j=adjusted, baseline_power_w=7.5, adjusted_unclamped_j=unclamped
    )
    one = process(energy_j=breakdown.raw_j, energy_breakdown=breakdown)
    made = aggregate([one])
    found = frames_of(ExperimentRun.of(made, "a100"))[1]["energy_estimates"]["energy_above_baseline_j"].to_list()
    assert found == [above, above]


def test_the_energies_of_a_runner_stand_in_for_those_of_the_result() -> None:
    measured = EnergyStatement(energy_j=47.5, scope="gpu", source="nvml", method="power_integral", window_s=10.0)
    rows = frames_of(ExperimentRun.of(single(), "a100", energy=[measured]))[1]["energy_estimates"]
    assert rows.select("energy_j", "source", "method", "phase").rows() == [(47.5, "nvml", "power_integral", "all")]


def test_operations_keep_method_and_confidence_and_the_total_theirs_where_it_is_their_sum() -> None:
    rows = frames_of(ExperimentRun.of(full_result(), "a100"))[1]["flops_estimates"]
    assert rows.select("process_index", "flops", "method", "confidence", "note").rows() == [
        (None, 2.9e12, "palm_formula", "medium", "2NT"),
        (None, 3e12, "calflops", "high", None),
        (0, 1.5e12, "calflops", "high", None),
        (1, 1.5e12, "calflops", "high", None),
    ]
    told = {"flops_total": 1e12, "flops_method": "ptflops", "flops_confidence": "some"}
    other = aggregate([process(compute_metrics=told)])
    rows = frames_of(ExperimentRun.of(other, "a100"))[1]["flops_estimates"]
    assert rows.select("method", "confidence", "note").unique().rows() == [
        ("unknown", "unknown", "method of the tool: ptflops; confidence of the tool: some")
    ]


def test_latencies_are_samples_only_where_requests_are_not_known() -> None:
    _, frames = frames_of(ExperimentRun.of(full_result(), "a100"))
    assert frames["latency_samples"].select("process_index", "metric", "token_timing").rows() == [
        (0, "e2e", "streaming"),
        (0, "ttft", "streaming"),
        (0, "itl", "streaming"),
        (0, "itl_trimmed", "streaming"),
    ]
    assert frames["experiment_requests"]["process_index"].unique().to_list() == [1]
    assert frames["experiment_requests"]["phase"].to_list() == ["warmup", "measure", "measure"]


def test_latencies_that_contradict_the_requests_are_kept_beside_them() -> None:
    one = process(requests=requests(), per_request_latencies_ms=[171.0])
    said = frames_of(ExperimentRun.of(aggregate([one]), "a100"))[1]["experiments"]["other_json"][0]
    assert "per_request_latencies_ms" not in said
    one = process(requests=requests(), per_request_latencies_ms=[500.0])
    said = json.loads(frames_of(ExperimentRun.of(aggregate([one]), "a100"))[1]["experiments"]["other_json"][0])
    assert said["process_results"]["0"]["per_request_latencies_ms"] == [500.0]


def test_doubts_keep_their_figures_and_texts_of_other_tools_their_code() -> None:
    found = doubts(Seen(duration_s=30.0, num_prompts=3, baseline_taken=True))
    made = single(measurement_warnings=[*map(str, found), "ecc_disabled: off. Turn it on.", "something odd"])
    row, frames = frames_of(ExperimentRun.of(made, "a100", doubts=found))
    assert frames["measurement_warnings"].select(
        "code", "observed", "threshold", "value_unit", "rules_version"
    ).rows() == [
        ("short_duration", 30.0, 60.0, "s", "1"),
        ("few_prompts", 3.0, 30.0, "1", "1"),
        ("ecc_disabled", None, None, None, None),
        ("warning", None, None, None, None),
    ]
    assert len(row["warnings"]) == 4
    assert frames["measurement_warnings"]["advice"][0] == found[0].advice


def test_settings_environment_and_packages_are_rows() -> None:
    config = {"a": {"b": 1}, "a.b": 2, "on": True, "stop": ["x"], "none": None, "text": "1"}
    made = full_result().model_copy(update={"effective_config": config})
    rows = frames_of(ExperimentRun.of(made, "a100"))[1]["experiment_settings"].select("kind", "name", "value").rows()
    assert set(rows) >= {
        ("config", "a.b", "1"),
        ("config", "a.b#2", "2"),
        ("config", "on", "true"),
        ("config", "stop", '["x"]'),
        ("config", "none", None),
        ("config", "text", "1"),
        ("environment", "hardware.gpu.name", "NVIDIA A100-SXM4-80GB"),
        ("package", "torch", "2.5.0"),
    }


@pytest.mark.parametrize(
    ("config", "precision", "model", "batch"),
    [
        ({"model_name": "gpt2", "fp_precision": "float16", "batching": {"batch_size": 4}}, "fp16", "gpt2", 4),
        ({"model": "/data/weights/my-llama/", "dtype": "torch.bfloat16", "batch": 2}, "bf16", "my-llama", 2),
        ({"model": "a/b", "dtype": "auto", "quantization": {"load_in_4bit": True}}, "int4", "a/b", 0),
        ({"pytorch": {"batch_size": "four"}}, "none", "gpt2", 0),
    ],
)
def test_settings_are_found_under_the_names_that_tools_give_them(
    config: dict[str, object], precision: str, model: str, batch: int
) -> None:
    made = result(effective_config=config, experiment_id="gpt2_20260226_140000")
    run = ExperimentRun.of(made, "a100")
    assert (run.precision, run.model, run.batch) == (precision, model, batch)


def test_a_local_time_becomes_utc_by_its_zone() -> None:
    run = ExperimentRun.of(single(), "a100", layout="v2.0", zone=ZoneInfo("Europe/Berlin"))
    row, frames = frames_of(run)
    hour_before = START - dt.timedelta(hours=1)
    assert (row["started_at"], row["started_at_zone_source"]) == (hour_before, "option")
    assert frames["experiment_processes"]["started_at"].to_list() == [hour_before]
    assert frames_of(ExperimentRun.of(single(), "a100"))[0]["started_at_zone_source"] == "assumed_utc"
    aware = single(start_time=START.replace(tzinfo=dt.timezone.utc), end_time=START.replace(tzinfo=dt.timezone.utc))
    assert frames_of(ExperimentRun.of(aware, "a100", layout="v2.0"))[0]["started_at_zone_source"] == "file"


def test_a_run_is_known_by_its_own_id_or_by_what_it_says() -> None:
    own = "0193a0aa-1111-7000-8000-000000000001"
    assert ExperimentRun.of(single(experiment_id=own), "a100", layout="groundlake").identity == own
    assert ExperimentRun.of(single(experiment_id=own), "a100").identity == own
    assert ExperimentRun.of(single(), "a100").identity is None
    foreign = ExperimentRun.of(single(), "a100", layout="v2.0").identity
    assert foreign is not None
    assert foreign == ExperimentRun.of(single(schema_version="2.0"), "other", layout="groundlake").identity
    assert foreign != ExperimentRun.of(single(run=1), "a100", layout="v2.0").identity


def test_means_over_a_second_are_told_from_readings(tmp_path: Any) -> None:
    seconds = pl.DataFrame(
        {
            "timestamp_s": [0.0, 1.0, 2.0],
            "gpu_power_w": [80.0, 81.0, 82.0],
            "gpu_temperature_c": [40.0, 41.0, 42.0],
            "gpu_index": [0, 0, 0],
        }
    )
    made = single().with_timeseries(seconds)
    row, frames = frames_of(ExperimentRun.of(made, "a100", layout="v2.0"))
    assert frames["power_timeseries"]["averaging_s"].to_list() == [1.0] * 3
    assert "means over a second" in row["power_notes"][0]
    row, frames = frames_of(ExperimentRun.of(made, "a100", layout="groundlake"))
    assert frames["power_timeseries"].select("source", "rail", "averaging_s").unique().rows() == [
        ("sidecar", "gpu", None)
    ]
    assert (row["power_notes"], row["power_series"][0]["observed_period_s"]) == (None, 1.0)
    path = made.save(tmp_path)
    assert ExperimentResult.from_json(path) == made


def test_processes_know_their_devices() -> None:
    _, frames = frames_of(ExperimentRun.of(full_result(), "a100"))
    rows = frames["experiment_processes"].select("process_index", "device_index", "device_uuid", "mig_profile").rows()
    assert rows == [(0, 0, "GPU-0", "1g.10gb"), (1, 1, "GPU-1", "1g.10gb")]
    on_cpu = ExperimentRun.of(aggregate([full_process(0)]), "cpu", ledger={"device": "cpu"})
    assert frames_of(on_cpu)[1]["experiment_processes"]["device_index"].to_list() == [None]


def test_statements_and_doubts_that_a_result_keeps_are_its_rows_wherever_it_is_imported(tmp_path: Path) -> None:
    """A runner knows scope, window and baseline, which totals do not tell."""
    measured = EnergyStatement(
        energy_j=30.0, scope="cpu", source="rapl", method="counter", window_s=10.5, baseline_age_s=-3.5, note="package"
    )
    found = doubts(Seen(duration_s=30.0, num_prompts=3, baseline_taken=True))
    made = single(
        energy_statements=[measured],
        measurement_doubts=list(found),
        measurement_warnings=[*map(str, found), "mig: a slice"],
    )
    here, here_frames = frames_of(ExperimentRun.of(made, "a100", energy=[measured], doubts=found))
    back = ExperimentResult.from_json(made.save(tmp_path))
    there, frames = frames_of(ExperimentRun.of(back, "a100", layout="groundlake"))
    for name in ("energy_estimates", "measurement_warnings"):
        assert frames[name].drop("run_id").equals(here_frames[name].drop("run_id"))
    assert frames["energy_estimates"].height == 1
    assert frames["measurement_warnings"]["observed"].to_list() == [30.0, 3.0, None]
    assert frames["experiments"]["other_json"].equals(here_frames["experiments"]["other_json"])
    assert there["warnings"] == here["warnings"]
