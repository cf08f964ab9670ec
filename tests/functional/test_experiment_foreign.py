"""Results of optimum-benchmark and AIPerf come into a lake in our units, each figure under what it means."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from foreign_experiments import (
    UUID,
    benchmark,
    benchmark_config,
    benchmark_report,
    put_aiperf,
    put_json,
    put_lines,
    readings,
    records,
    summary,
    telemetry,
)

from groundlake.importers import import_experiments
from groundlake.importers.experiments import runs_of
from groundlake.importers.foreign import Unit
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Cli

HW = "h100"


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def imported(lake: Lake, *paths: Path) -> None:
    """Import everything, and find nothing wrong with it."""
    report = import_experiments(lake, list(paths), hardware_id=HW)
    assert [(entry.uri, entry.reason) for entry in report.quarantined] == []
    assert lake.check() == []


def rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    return lake.sql(query).pl().rows()


def other(lake: Lake) -> dict[str, Any]:
    """What no column holds, of the one experiment."""
    return json.loads(lake.frame("experiments")["other_json"][0])


# ---------------------------------------------------------------------- optimum-benchmark


def test_a_benchmark_is_imported_and_summed_up_by_the_command_line(cli: Cli, tmp_path: Path) -> None:
    path = put_json(tmp_path / "runs/benchmark.json", benchmark())
    said = cli("experiment", "import", path).stdout
    assert "experiments imported 1" in said
    assert "tokens_derived 1" in said
    run = json.loads(cli("sql", "SELECT * FROM experiment_summary", "--format", "json").stdout)[0]
    told = {
        "experiment_id": "gpt2_text_generation",
        "hardware_id": "h100_sxm",
        "model": "openai-community/gpt2",
        "precision": "fp16",
        "batch": 2,
        "device": "cuda",
        "backend": "pytorch",
        "backend_version": "2.4.1",
        "num_processes": 1,
        "num_requests": 6,  # 3 calls of 2 prompts
        "warmup_requests": 20,
        "max_new_tokens": 5,
        "input_tokens": 96,  # 3 calls of 2 prompts with 16 tokens
        "output_tokens": 30,
        "total_tokens": 126,
        "peak_memory_bytes": 1_000_500_000,  # MB of this tool are 1e6 bytes
        "token_timing": "per_request_batch",
        "num_e2e": 3,
        "num_itl": 12,
        "num_ttft": None,  # prefill is no time to first token
        "energy_j": None,  # none is about the whole work
    }
    assert {name: run[name] for name in told} == told
    figures = {"e2e_p50_ms": 600.0, "itl_p50_ms": 105.5, "recorded_tokens_per_second": 8 / 0.49}
    assert {name: run[name] for name in figures} == pytest.approx(figures)


def test_energies_of_targets_are_joules_of_one_call_and_never_of_the_whole_work(tmp_path: Path, lake: Lake) -> None:
    imported(lake, put_json(tmp_path / "runs/benchmark.json", benchmark()))
    energies = {(row[0], row[1]): row[2] for row in rows(lake, "SELECT phase, scope, energy_j FROM energy_estimates")}
    expected = {
        ("load_model", "cpu"): 252.0,
        ("load_model", "ram"): 10.8,
        ("load_model", "machine"): 262.8,
        ("prefill", "cpu"): 3.6,
        ("prefill", "ram"): 1.8,
        ("prefill", "gpu"): 7.2,
        ("prefill", "machine"): 12.6,
        ("generate", "cpu"): 14.4,
        ("generate", "ram"): 1.44,
        ("generate", "gpu"): 28.8,
        ("generate", "machine"): 44.64,
        ("decode", "cpu"): 10.8,
        ("decode", "gpu"): 21.6,
        ("decode", "machine"): 32.04,
    }
    assert energies == pytest.approx(expected)
    notes = dict(rows(lake, "SELECT DISTINCT phase, note FROM energy_estimates WHERE source = 'codecarbon'"))
    assert "generate less prefill" in notes["decode"]
    assert "of one call" in notes["prefill"]
    query = (
        "SELECT phase, metric, value, value_unit FROM experiment_metrics WHERE metric LIKE 'energy_%' ORDER BY value"
    )
    negative, unmeasured = rows(lake, query)
    assert negative == ("decode", "energy_ram", pytest.approx(-0.36), "J")
    assert unmeasured == ("load_model", "energy_gpu", 0.0, "J")
    warnings = dict(rows(lake, "SELECT code, message FROM measurement_warnings"))
    assert "report.decode.energy.ram is -0.36 J" in warnings["negative_energy"]
    assert rows(lake, "SELECT * FROM experiment_energy") == []


def test_latencies_throughputs_and_efficiencies_keep_their_target_and_their_definition(
    tmp_path: Path, lake: Lake
) -> None:
    imported(lake, put_json(tmp_path / "runs/benchmark.json", benchmark()))
    query = "SELECT phase, metric, statistic, value, value_unit, definition FROM experiment_metrics"
    found = {row[:3]: row[3:] for row in rows(lake, query)}
    value, unit, definition = found["prefill", "latency", "mean"]
    assert (value, unit) == (pytest.approx(110.0), "ms")
    assert "until the scores of the first token" in definition
    assert found["load_model", "latency", "sum"][:2] == (pytest.approx(4500.0), "ms")
    assert found["decode", "throughput", "value"] == (
        pytest.approx(8 / 0.49),
        "1/s",
        "tokens of a call over the mean latency",
    )
    value, unit, _ = found["prefill", "efficiency", "value"]
    assert (value, unit) == (pytest.approx(2 / 12.6), "1/J")
    assert found["generate", "max_ram", "max"][:2] == (pytest.approx(1_128_009_728.0), "byte")
    left = other(lake)
    assert left["report.prefill.latency.values_ms"] == pytest.approx([100.0, 120.0, 110.0])
    assert "report.generate.latency.values_ms" not in left  # they are samples


def test_settings_facts_and_packages_of_a_benchmark_are_rows(tmp_path: Path, lake: Lake) -> None:
    imported(lake, put_json(tmp_path / "runs/benchmark.json", benchmark()))
    found = {row[:2]: row[2] for row in rows(lake, "SELECT kind, name, value FROM experiment_settings")}
    assert found["config", "scenario.input_shapes.sequence_length"] == "16"
    assert found["environment", "gpu"] == '["NVIDIA H100 80GB HBM3"]'
    assert found["package", "transformers"] == "4.47.0"
    tool, torch, python = rows(lake, "SELECT tool_version, torch_version, python_version FROM runs")[0]
    assert (tool, torch, python) == ("optimum-benchmark 0.5.0", "2.4.1", "3.10.15")


def test_a_report_with_its_configuration_is_the_same_run_as_the_benchmark(tmp_path: Path, lake: Lake) -> None:
    pair = tmp_path / "pair"
    put_json(pair / "benchmark_report.json", benchmark_report())
    put_json(pair / "benchmark_config.json", benchmark_config())
    whole = put_json(tmp_path / "whole/benchmark.json", benchmark())
    imported(lake, pair)
    report = import_experiments(lake, [whole], hardware_id=HW)
    assert (report.imported, report.already_present) == (0, 1)
    shutil.copytree(pair, whole.parent, dirs_exist_ok=True)
    report = import_experiments(lake, [whole.parent], hardware_id=HW)
    assert (report.imported, report.already_present) == (0, 1)
    assert report.skipped["part_of_a_benchmark"] == 2
    assert lake.runs()["sources"][0].len() == 2


def test_a_report_alone_leaves_unknown_what_only_its_configuration_tells(tmp_path: Path, lake: Lake) -> None:
    imported(lake, put_json(tmp_path / "one/benchmark_report.json", benchmark_report()))
    query = (
        "SELECT model, precision, batch, input_tokens, backend, num_processes, num_e2e, num_itl FROM experiment_summary"
    )
    # Without the settings nobody knows whether all latencies of tokens are between tokens of one call.
    assert rows(lake, query) == [("none", "none", 0, None, "unknown", None, 3, None)]
    assert len(other(lake)["report.per_token.latency.values_ms"]) == 12
    assert "per_token_count" in str(lake.runs()["warnings"][0].to_list())


def test_times_between_calls_are_no_inter_token_latencies(tmp_path: Path, lake: Lake) -> None:
    data = benchmark()
    data["report"]["per_token"]["latency"]["values"] *= 2
    imported(lake, put_json(tmp_path / "runs/benchmark.json", data))
    assert rows(lake, "SELECT DISTINCT metric FROM experiment_latencies") == [("e2e",)]
    assert "24 latencies of tokens, the calls made 12" in str(lake.runs()["warnings"][0].to_list())


def test_figures_over_several_processes_name_how_the_tool_made_them(tmp_path: Path, lake: Lake) -> None:
    data = benchmark()
    data["config"]["launcher"] = {"name": "torchrun", "nproc_per_node": 2}
    imported(lake, put_json(tmp_path / "runs/benchmark.json", data))
    row = lake.frame("experiments").row(0, named=True)
    rules = {each["figure"]: each["rule"] for each in row["aggregation_rules"]}
    assert row["num_processes"] == 2
    assert (row["num_requests"], row["warmup_requests"]) == (None, None)  # whether each has the whole batch
    assert rules["energy"].startswith("mean over processes; each measures the machine")
    assert (row["input_tokens"], row["output_tokens"]) == (None, None)


@pytest.mark.parametrize(
    ("backend", "precision", "model"),
    [
        ({"torch_dtype": None, "model": "/models/llama-3/"}, "none", "llama-3"),
        (
            {"quantization_scheme": "bnb", "quantization_config": {"load_in_4bit": True}},
            "int4",
            "openai-community/gpt2",
        ),
        ({"quantization_scheme": "gptq", "quantization_config": {"bits": 8}}, "int8", "openai-community/gpt2"),
        ({"torch_dtype": "bfloat16"}, "bf16", "openai-community/gpt2"),
    ],
)
def test_precision_and_model_are_those_of_the_backend(
    tmp_path: Path, backend: dict[str, object], precision: str, model: str
) -> None:
    runs, aside = runs_of([put_json(tmp_path / "runs/benchmark.json", benchmark(**backend))])
    assert aside == []
    assert [(row["precision"], row["model"]) for row, _ in runs] == [(precision, model)]


# ---------------------------------------------------------------------- AIPerf


def test_an_export_of_aiperf_is_imported_and_summed_up_by_the_command_line(
    cli: Cli, tmp_path: Path, lake: Lake
) -> None:
    folder = put_aiperf(tmp_path / "artifacts/run_1")
    said = cli("experiment", "import", folder).stdout
    assert "experiments imported 1" in said
    run = lake.sql("SELECT * FROM experiment_summary").pl().row(0, named=True)
    told = {
        "experiment_id": "abc123def456",
        "study": "8c4f9a2e-1234-4567-89ab-0123456789ab",
        "cycle": 1,
        "hardware_id": "h100_sxm",
        "model": "Qwen/Qwen3-0.6B",
        "precision": "none",
        "backend": "openai",
        "concurrency": 4,
        "num_requests": 5,
        "failed_requests": 2,
        "warmup_requests": 1,
        "input_tokens": 210,  # 50 + 100 + 60 of the answered ones
        "output_tokens": 62,  # 20 + (20 + 21 of reasoning) + 1
        "wall_time_s": 2.0,
        "energy_source": "dcgm",
        "energy_method": "counter",
        "energy_scope": "gpu",
        "energy_window_s": 2.0,
        "token_timing": "streaming",
        "num_ttft": 3,
        "num_itl": 22,
        "recorded_tokens_per_second": 31.0,
    }
    assert {name: run[name] for name in told} == pytest.approx(told)
    figures = {
        "energy_j": 600.0,  # 300 W for 2 s, by the counter
        "energy_per_output_token_j": 600 / 62,
        "output_tokens_per_s": 31.0,
        "ttft_p50_ms": 150.0,
        "itl_p50_ms": 20.0,
        "e2e_p50_ms": 240.0,
    }
    assert {name: run[name] for name in figures} == pytest.approx(figures)


def test_requests_keep_their_times_tokens_status_and_error(tmp_path: Path, lake: Lake) -> None:
    imported(lake, put_aiperf(tmp_path / "run"))
    query = """
        SELECT
            phase, request_index, status, sent_at_s, time_to_first_token_ms, input_tokens, output_tokens, token_timing
        FROM experiment_requests ORDER BY phase, request_index
    """
    assert rows(lake, query) == [
        ("measure", 0, "ok", 0.0, 100.0, 50, 20, "streaming"),
        ("measure", 1, "ok", pytest.approx(0.2), 200.0, 100, 41, "streaming"),
        ("measure", 2, "ok", 1.0, 150.0, 60, 1, "streaming"),
        ("measure", 3, "failed", 1.5, None, 70, None, None),
        ("measure", 4, "cancelled", pytest.approx(1.6), None, 80, None, None),
        ("warmup", 0, "ok", -2.0, 300.0, 550, 9, "streaming"),
    ]
    errors = [
        text for (text,) in rows(lake, "SELECT error FROM experiment_requests WHERE error IS NOT NULL ORDER BY 1")
    ]
    assert errors == [
        "499 RequestCancellationError: Request was cancelled after 0.500 seconds",
        "503 ServiceUnavailable: overloaded",
    ]
    started, zone = rows(lake, "SELECT started_at, started_at_zone_source FROM runs")[0]
    assert (started.isoformat(), zone) == ("2025-10-07T05:00:07", "file")


def test_the_mean_inter_token_latency_of_a_request_is_no_interval(tmp_path: Path, lake: Lake) -> None:
    imported(lake, put_lines(tmp_path / "run/profile_export.jsonl", records()))
    intervals = rows(lake, "SELECT latency_ms FROM experiment_latencies WHERE metric = 'itl' ORDER BY latency_ms")
    assert [row[0] for row in intervals] == [10.0, *[20.0] * 20, 30.0]
    query = "SELECT statistic, value, definition FROM experiment_metrics WHERE metric = 'inter_token_latency'"
    found = {row[0]: row[1:] for row in rows(lake, query)}
    means = [400 / 19, 40 / 40]
    assert found["mean"][0] == pytest.approx(sum(means) / 2)
    assert found["min"][0] == 1.0
    assert "one mean a request" in found["mean"][1]
    kept = other(lake)["records"]
    assert kept["metrics.inter_token_latency [ms]"][:2] == pytest.approx([400 / 19, 1.0])
    assert kept["metadata.worker_id"] == ["worker_359d423a"] * 6
    assert kept["metrics.reasoning_token_count [tokens]"][1] == 21


def test_figures_of_the_summary_keep_unit_statistic_phase_and_definition(tmp_path: Path, lake: Lake) -> None:
    imported(lake, put_json(tmp_path / "run/profile_export_aiperf.json", summary()))
    query = "SELECT phase, metric, statistic, value, value_unit FROM experiment_metrics"
    found = {row[:3]: row[3:] for row in rows(lake, query)}
    assert found["all", "ttft", "median"] == (150.0, "ms")
    assert found["all", "e2e", "count"] == (3.0, "1")
    assert found["warmup", "e2e", "mean"] == (500.0, "ms")
    assert found["all", "energy_per_output_token", "value"] == (pytest.approx(9.6774), "J")
    assert found["all", "nvidia_memory_used", "value"] == (92.5e9, "byte")
    assert found["all", "output_token_throughput", "value"] == (31.0, "1/s")
    row = rows(lake, "SELECT num_requests, input_tokens, output_tokens, wall_time_s, energy_j FROM experiment_summary")[
        0
    ]
    assert row == (5, 210, 62, 2.0, pytest.approx(600.0))
    left = other(lake)
    assert left["runtime_submission_invalid_reasons"] == ["context_overflow"]
    assert left["min_request_timestamp"] == {"unit": "datetime", "avg": "2025-10-07T05:00:07"}


def test_raw_readings_of_gpus_are_the_power_of_the_run(tmp_path: Path, lake: Lake) -> None:
    folder = put_aiperf(tmp_path / "run")
    put_lines(folder / "gpu_telemetry_export.jsonl", readings(gpus=2))
    imported(lake, folder)
    query = "SELECT device_index, counter_energy_j, window_s FROM run_energy ORDER BY device_index"
    assert [row[2] for row in rows(lake, query)] == pytest.approx([2.0, 2.0])
    power = lake.frame("power_timeseries").filter(device_index=1).sort("timestamp_s")
    assert power.height == 9
    assert power.row(0, named=True)["timestamp_s"] == pytest.approx(-1.0)
    assert power["power_w"].unique().to_list() == [600.0]
    assert power["temperature_c"].unique().to_list() == [41.0]
    query = """
        SELECT device_index, device_uuid, energy_j, method, note FROM energy_estimates WHERE source = 'dcgm' ORDER BY 3
    """
    one, two, both = rows(lake, query)
    assert one[:4] == (0, UUID, pytest.approx(600.0), "counter")
    assert two[0] == 1
    assert both[:3] == (None, None, pytest.approx(1800.0))
    assert "whether or not they served" in both[4]


def test_a_counter_over_another_time_than_the_measurement_is_not_its_energy(tmp_path: Path, lake: Lake) -> None:
    counter = {"unit": "MJ", "avg": 0.2378, "min": 0.229901671, "max": 0.246497393}
    imported(lake, put_aiperf(tmp_path / "run", raw=False, telemetry_data=telemetry(counter, seconds=52)))
    found = rows(lake, "SELECT phase, energy_j, window_s FROM energy_estimates WHERE device_uuid IS NOT NULL")
    assert found == [("telemetry", pytest.approx(16595.722), 52.0)]
    assert rows(lake, "SELECT energy_j FROM experiment_summary") == [(None,)]
    assert "52.000 s of telemetry, the measurement took 2.000 s" in str(lake.runs()["warnings"][0].to_list())


def test_a_counter_that_was_reset_gives_no_energy(tmp_path: Path, lake: Lake) -> None:
    folder = put_aiperf(tmp_path / "run", telemetry_data={})
    found = readings()
    found[-1]["telemetry_data"]["nvidia_energy_consumption"] = 0.0
    put_lines(folder / "gpu_telemetry_export.jsonl", found)
    imported(lake, folder)
    assert lake.frame("energy_estimates").is_empty()
    assert "energy_counter_reset" in lake.runs()["warnings"][0][0]


def test_an_export_is_one_run_wherever_it_lies_and_whichever_file_of_it_is_named(tmp_path: Path, lake: Lake) -> None:
    folder = put_aiperf(tmp_path / "artifacts/run")
    put_json(folder / "phases/profiling/profile_export_aiperf.json", summary())
    imported(lake, folder)
    moved = shutil.move(folder, tmp_path / "moved")
    for path in (
        moved,
        tmp_path / "moved/profile_export.jsonl",
        tmp_path / "moved/profile_export_aiperf.json",
    ):
        report = import_experiments(lake, [path], hardware_id=HW)
        assert (report.imported, report.already_present) == (0, 1), path
    shutil.rmtree(moved / "phases")
    (moved / "profile_export_aiperf.json").write_text(json.dumps(summary()))  # the same, without indentation
    assert import_experiments(lake, [moved], hardware_id=HW).already_present == 1
    assert lake.runs().height == 1


# ---------------------------------------------------------------------- bad files


def test_repeats_share_a_configuration_whatever_they_are_called_and_wherever_they_were_written(
    tmp_path: Path, lake: Lake
) -> None:
    for number in (1, 2):
        told = summary(benchmark_id=f"run{number}")
        told["input_config"]["output"]["artifact_directory"] = f"artifacts/{number}"
        told["run_info"]["trial"] = number - 1
        put_json(tmp_path / f"aiperf/{number}/profile_export_aiperf.json", told)
        data = benchmark()
        data["config"]["name"] = f"repeat_{number}"
        put_json(tmp_path / f"optimum/{number}/benchmark.json", data)
    imported(lake, tmp_path / "aiperf", tmp_path / "optimum")
    query = "SELECT tool_version, count(*), count(DISTINCT config_hash) FROM runs GROUP BY ALL ORDER BY ALL"
    assert rows(lake, query) == [("aiperf 0.13.0", 2, 1), ("optimum-benchmark 0.5.0", 2, 1)]


def bent(path: str, value: object) -> Callable[[Path], object]:
    """Put a value at a place of a benchmark."""

    def put(folder: Path) -> object:
        data: Any = deepcopy(benchmark())
        *way, name = path.split(".")
        inner = data
        for step in way:
            inner = inner[step]
        inner[name] = value
        return put_json(folder / "benchmark.json", data)

    return put


def line(number: int, path: str, value: object) -> Callable[[Path], object]:
    """Put a value at a place of a record."""

    def put(folder: Path) -> object:
        lines = records()
        *way, name = path.split(".")
        inner: Any = lines[number - 1]
        for step in way:
            inner = inner[step]
        inner[name] = value
        return put_lines(folder / "profile_export.jsonl", lines)

    return put


def text(name: str, content: str) -> Callable[[Path], object]:
    def put(folder: Path) -> object:
        folder.mkdir(parents=True)
        return (folder / name).write_text(content)

    return put


BAD = [
    (bent("report.prefill.latency.unit", "furlong"), "unknown_unit", "report.prefill.latency.unit: 'furlong'"),
    (bent("report.prefill.latency.unit", "MB"), "unknown_unit", "'MB' is no unit of ms"),
    (
        bent("report.prefill.latency.values", [0.1, -0.1]),
        "contract",
        "report.prefill.latency.values[1]: -0.1 is below 0",
    ),
    (bent("report.prefill.latency.values", []), "missing_field", "report.prefill.latency.values: the list is empty"),
    (bent("report.prefill.energy.gpu", "much"), "wrong_type", "report.prefill.energy.gpu: str where a number belongs"),
    (bent("report.prefill.memory.max_ram", 1e308), "contract", "larger than any figure"),
    (bent("report", []), "wrong_type", "report: no JSON object"),
    (bent("report", {"prefill": None}), "missing_field", "no target has a figure"),
    (text("benchmark.json", '{"config": {}, "report": {"prefill": {"latency": {"mean": NaN'), "truncated_json", "ends"),
    (text("benchmark_report.json", '{"prefill": {"energy": {"unit": "kWh", "cpu": NaN}}}'), "not_finite", "NaN"),
    (text("profile_export.jsonl", ""), "truncated_json", "the file is empty"),
    (text("profile_export.jsonl", '{"metadata": {"request_start_ns": 1, "requ'), "truncated_json", "line 1"),
    (line(2, "metadata.request_end_ns", 2**64), "wrong_type", "int where a whole number of 64 bits belongs"),
    (line(2, "metadata.request_end_ns", 5), "negative_latency", "line 2: metadata.request_end_ns: it ended"),
    (line(3, "metadata.benchmark_phase", "cooldown"), "wrong_type", "line 3: metadata.benchmark_phase: 'cooldown'"),
    (line(3, "metadata.request_start_ns", None), "missing_field", "line 3: metadata: request_start_ns"),
    (line(2, "metrics.time_to_first_token.unit", "ticks"), "unknown_unit", "line 2: metrics.time_to_first_token.unit"),
    (line(2, "metrics.time_to_first_token.value", 1e9), "contract", "first_token <= end"),
    (
        line(2, "metrics.inter_chunk_latency.value", [1, "x"]),
        "wrong_type",
        "line 2: metrics.inter_chunk_latency.value[1]",
    ),
]


def test_bad_files_are_set_aside_with_the_place_and_the_others_go_on(cli: Cli, tmp_path: Path, lake: Lake) -> None:
    tree = tmp_path / "tree"
    for number, (put, _, _) in enumerate(BAD):
        put(tree / f"bad{number:02d}")
    put_json(tree / "good/benchmark.json", benchmark())
    put_aiperf(tree / "good/aiperf")
    said = cli("experiment", "import", tree, "--hw", HW, code=1).stdout
    assert "experiments imported 2" in said
    found = lake.sql("SELECT uri, code, reason FROM quarantine").pl().rows(named=True)
    told = {entry["uri"].split("/")[1]: (entry["code"], entry["reason"]) for entry in found}
    assert len(found) == len(BAD)
    for number, (_, code, reason) in enumerate(BAD):
        assert told[f"bad{number:02d}"][0] == code, (number, told[f"bad{number:02d}"])
        assert reason in told[f"bad{number:02d}"][1]


def test_no_run_is_made_of_half_an_export(tmp_path: Path, lake: Lake) -> None:
    folder = put_aiperf(tmp_path / "aiperf")
    whole = (folder / "profile_export.jsonl").read_text()
    (folder / "profile_export.jsonl").write_text(whole[:-20])
    pair = tmp_path / "optimum"
    put_json(pair / "benchmark_report.json", benchmark_report())
    (pair / "benchmark_config.json").write_text('{"backend": {"name"')
    report = import_experiments(lake, [folder, pair], hardware_id=HW)
    assert report.imported == 0
    found = sorted((entry.uri, entry.code, entry.reason) for entry in report.quarantined)
    assert [each[:2] for each in found] == [
        ("aiperf/profile_export.jsonl", "truncated_json"),
        ("aiperf/profile_export_aiperf.json", "incomplete"),
        ("optimum/benchmark_config.json", "truncated_json"),
        ("optimum/benchmark_report.json", "incomplete"),
    ]
    assert found[0][2].startswith("line 6")
    (folder / "profile_export.jsonl").write_text(whole)
    assert import_experiments(lake, [folder], hardware_id=HW).imported == 1


def test_what_is_no_inference_is_left_out_and_counted(tmp_path: Path, lake: Lake) -> None:
    data = benchmark()
    data["report"] = {"overall": data["report"]["prefill"], "train": data["report"]["prefill"]}
    put_json(tmp_path / "tree/train/benchmark.json", data)
    put_json(tmp_path / "tree/alone/benchmark_config.json", benchmark_config())
    put_json(tmp_path / "tree/many/profile_export_aiperf_aggregate.json", {"schema_version": "1.0", "metadata": {}})
    report = import_experiments(lake, [tmp_path / "tree"], hardware_id=HW)
    assert report.imported == 0
    assert report.skipped == {"training_benchmark": 1, "configuration_without_report": 1, "other_json": 1}


@pytest.mark.parametrize(
    ("text", "factor", "name"),
    [
        ("s", 1e3, "ms"),
        ("ns", 1e-6, "ms"),
        ("MB", 1e6, "byte"),
        ("GB", 1e9, "byte"),
        ("kWh", 3.6e6, "J"),
        ("MJ", 1e6, "J"),
        ("tokens/sec/user", 1.0, "1/s"),
        ("samples/kWh", 1 / 3.6e6, "1/J"),
        ("mJ/token", 1e-3, "J"),
        ("tokens/sec/W", 1.0, "1/s/W"),
        ("J*s", 1.0, "J*s"),
        ("%", 0.01, "1"),
        ("°C", 1.0, "°C"),
    ],
)
def test_a_unit_is_converted_to_one_of_the_lake(text: str, factor: float, name: str) -> None:
    unit = Unit.parse(text)
    assert unit is not None
    assert (unit.factor, unit.name) == (pytest.approx(factor), name)
