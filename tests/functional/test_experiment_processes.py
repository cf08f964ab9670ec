"""Results of single processes beside whole ones: told apart by tree and content, never half a sum, never twice."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from experiments import old, put, single
from processes import START, process

from groundlake.experiment import aggregate
from groundlake.importers import import_experiments
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN_ID = "0193a0aa-1111-7000-8000-000000000001"
BASELINE = {"raw_j": 0.0, "adjusted_j": None, "baseline_power_w": 12.5, "baseline_method": "fresh"}


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def raw(folder: Path, *indices: int, energy_j: float = 25.0, **fields: object) -> None:
    """Files of processes of 1000 tokens and 10 s, as the existing tool writes them."""
    for index in indices:
        said = process(index, energy_j=energy_j, experiment_id=folder.name).model_dump(
            mode="json", exclude={"requests", "gpu_uuid"}
        )
        put(folder / f"process_{index}.json", said | fields)


def whole(tree: Path, name: str = "exp", **fields: object) -> Path:
    """The aggregated result of two of them."""
    told = {
        "experiment_id": name,
        "total_tokens": 2000,
        "total_energy_j": 50.0,
        "energy_breakdown": None,
        "flops_per_output_token": None,
        "aggregation": {"num_processes": 2},
        "start_time": START.isoformat(),
    }
    return put(tree / "aggregated" / f"{name}.json", old(**told | fields))


def asked(lake: Lake, *columns: str) -> list[tuple[Any, ...]]:
    return lake.sql(f"select {', '.join(columns)} from experiment_summary order by all").rows()


def test_a_process_whose_energy_was_not_measured_makes_that_of_all_unknown(tmp_path: Path, lake: Lake) -> None:
    raw(tmp_path / "raw/exp", 0, energy_j=0.0, compute_metrics={"flops_total": 0.0})
    raw(tmp_path / "raw/exp", 1, energy_j=100.0)
    import_experiments(lake, [tmp_path / "raw"], hardware_id="dev")
    assert asked(lake, "energy_j", "flops", "output_tokens") == [(None, None, 800)]
    assert lake.sql("select process_index, energy_j from energy_estimates").rows() == [(1, 100.0)]
    assert "partial_energy" in lake.sql("select code from measurement_warnings").pl()["code"].to_list()


def test_a_breakdown_of_0_joule_is_no_energy_and_its_baseline_is_kept(tmp_path: Path, lake: Lake) -> None:
    gpus = {"num_gpus": 1, "energy_per_gpu_j": [0.0], "energy_total_j": 0.0, "energy_per_output_token_j": 0.0}
    told = old(total_energy_j=0.0, energy_breakdown=BASELINE, energy_per_device_j=[0.0], multi_gpu=gpus)
    raw(tmp_path / "raw/exp", 0, energy_j=0.0, energy_breakdown=BASELINE)
    import_experiments(lake, [put(tmp_path / "result.json", told), tmp_path / "raw"], hardware_id="dev")
    assert asked(lake, "energy_j", "energy_per_output_token_j") == [(None, None)] * 2
    assert lake.sql("select count(*) from energy_estimates").rows() == [(0,)]
    kept = (
        "select value from experiment_settings where name = 'fields_of_other_tools.energy_breakdown.baseline_power_w'"
    )
    assert lake.sql(kept).rows() == [("12.5",)] * 2


def test_tokens_of_some_processes_are_not_those_of_all(tmp_path: Path, lake: Lake) -> None:
    whole(tmp_path)
    raw(tmp_path / "raw/exp", 0)
    import_experiments(lake, [tmp_path], hardware_id="dev")
    columns = ("output_tokens", "total_tokens", "energy_j", "energy_per_output_token_j", "num_processes")
    assert asked(lake, *columns) == [(None, 2000, 50.0, None, 2)]
    assert lake.sql("select code, message from measurement_warnings where code = 'incomplete'").rows() == [
        ("incomplete", "1 of 2 processes are there: their sums are not those of all")
    ]
    assert lake.sql("select count(*) from experiment_processes").rows() == [(1,)]


def test_tokens_of_all_processes_are_those_of_the_experiment(tmp_path: Path, lake: Lake) -> None:
    whole(tmp_path)
    raw(tmp_path / "raw/exp", 0, 1)
    import_experiments(lake, [tmp_path], hardware_id="dev")
    assert asked(lake, "input_tokens", "output_tokens", "energy_per_output_token_j") == [(1200, 800, 50.0 / 800)]


def test_processes_of_two_machines_with_one_id_stay_with_their_results(tmp_path: Path, lake: Lake) -> None:
    for machine, latency_ms in (("a", 100.0), ("b", 900.0)):
        tree = tmp_path / "all" / machine
        whole(tree, total_energy_j=latency_ms)
        raw(tree / "raw/exp", 0, 1, energy_j=latency_ms / 2, per_request_latencies_ms=[latency_ms])
    report = import_experiments(lake, [tmp_path / "all"], hardware_id="dev")
    assert (report.imported, report.skipped) == (2, {})
    assert asked(lake, "energy_j", "e2e_p50_ms") == [(100.0, 100.0), (900.0, 900.0)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"total_tokens": 1920}, "has the same id, and 1920 tokens, the 2 processes have 2000"),
        ({"start_time": "2026-02-26T13:59:00"}, "and began at 2026-02-26T13:59:00, the processes at"),
        ({"start_time": "2026-02-26T14:00:00Z", "end_time": "2026-02-26T14:00:10Z"}, "has times with a zone"),
    ],
)
def test_processes_that_cannot_be_those_of_the_result_beside_them_are_set_aside(
    fields: dict[str, Any], said: str, tmp_path: Path, lake: Lake
) -> None:
    whole(tmp_path, **fields)
    raw(tmp_path / "raw/exp", 0, 1)
    report = import_experiments(lake, [tmp_path], hardware_id="dev")
    assert (report.imported, [entry.code for entry in report.quarantined]) == (1, ["conflicting_id"])
    assert said in report.quarantined[0].reason
    assert lake.sql("select count(*) from experiment_processes").rows() == [(0,)]


ORDERS = {"aggregated first": ("aggregated", "", "raw"), "raw first": ("raw", "aggregated", "")}


@pytest.mark.parametrize("order", ORDERS)
def test_an_experiment_is_imported_once_whatever_lies_beside_it(order: str, tmp_path: Path, lake: Lake) -> None:
    whole(tmp_path / "tree")
    raw(tmp_path / "tree/raw/exp", 0, 1)
    reports = [import_experiments(lake, [tmp_path / "tree" / part], hardware_id="dev") for part in ORDERS[order]]
    assert [(report.imported, report.already_present) for report in reports] == [(1, 0), (0, 1), (0, 1)]
    shutil.copytree(tmp_path / "tree/raw", tmp_path / "far/raw")
    apart = import_experiments(
        Lake(tmp_path / "other"), [tmp_path / "tree/aggregated", tmp_path / "far"], hardware_id="dev"
    )
    assert (apart.imported, apart.twins) == (1, 1)


def test_two_results_with_one_uuid_are_a_conflict(tmp_path: Path, lake: Lake) -> None:
    first = single(experiment_id=RUN_ID).save(tmp_path / "tree/a")
    other = single(experiment_id=RUN_ID, run=1).save(tmp_path / "tree/b")
    shutil.copytree(first.parent, tmp_path / "tree/c/copy")
    report = import_experiments(lake, [tmp_path / "tree"])
    assert (report.imported, report.twins, [entry.code for entry in report.quarantined]) == (1, 1, ["conflicting_id"])
    assert f"has the same id, {RUN_ID}" in report.quarantined[0].reason
    again = import_experiments(lake, [first])
    assert (again.already_present, again.quarantined) == (1, [])
    (entry,) = import_experiments(lake, [other]).quarantined
    assert (entry.code, "inference_time_s 10.0, here it is 11.0" in entry.reason) == ("conflicting_id", True)


def zoned(folder: Path) -> None:
    raw(folder, 0)
    times = {"start": "2026-02-26T14:00:00+00:00", "end": "2026-02-26T14:00:10+00:00", "duration_sec": 10.0}
    raw(folder, 1, timestamps=times)


def result(**fields: object) -> Callable[[Path], object]:
    return lambda folder: put(folder / "result.json", old(**fields))


MALFORMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "times with and without a zone": (zoned, "only the times of processes [1]"),
    "a sum without end": (lambda folder: raw(folder, 0, 1, energy_j=1.5e308), "total_energy_j: Input should be a fin"),
    "settings of text": (result(effective_config="x", cli_overrides={}), "effective_config: Input should be a valid"),
    "settings of a list": (result(effective_config=[1], preset_chain=[]), "effective_config: Input should be a valid"),
    "packages in a list": (
        result(environment_snapshot={"pip_freeze": ["a==1"], "python_version": "3"}),
        "environment_snapshot.pip_freeze: Extra inputs",
    ),
    "settings of a process that are text": (
        lambda folder: raw(folder, 0, effective_config="zz", config_warnings=[1]),
        "effective_config: Input should be a valid",
    ),
    "tokens without end": (result(total_tokens=10**400), "contract"),
    "half a character": (result(measurement_config_hash="a\ud83d"), "lone surrogate"),
    "a batch without end": (
        result(effective_config={"model": "gpt2", "pytorch": {"batch_size": 10**400}}),
        "no table can hold",
    ),
    "an id that is a number": (result(experiment_id=5), "experiment_id: Input should be a valid string"),
    "a process number that is text": (lambda folder: raw(folder, 0, process_index=[0]), "process_index: Input should"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_file_of_other_kinds_of_values_is_set_aside_and_the_others_come(
    case: str, tmp_path: Path, lake: Lake
) -> None:
    spoil, said = MALFORMED[case]
    spoil(tmp_path / "tree/bad")
    single().save(tmp_path / "tree/good")
    report = import_experiments(lake, [tmp_path / "tree"], hardware_id="dev")
    assert report.imported == 1
    (entry,) = report.quarantined
    assert said in json.dumps([entry.code, entry.reason], ensure_ascii=False)


def test_what_holds_all_processes_is_the_experiment_even_where_a_file_of_one_is_torn(
    tmp_path: Path, lake: Lake
) -> None:
    raw(tmp_path / "raw/exp", 0, 1)
    put(tmp_path / "raw/exp/process_1.json", "{")
    aggregate([process(0), process(1)]).save(tmp_path)
    report = import_experiments(lake, [tmp_path], hardware_id="dev")
    assert (report.imported, report.skipped) == (1, {"process_of_a_result": 1})
