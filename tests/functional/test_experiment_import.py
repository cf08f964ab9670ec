"""Results of experiments come into a lake once, in every layout, and bad ones stop nobody."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from experiments import (
    OLD,
    OLDER_SNAPSHOT,
    READINGS,
    full_process,
    full_result,
    old,
    put,
    single,
)
from processes import process

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.experiment import aggregate
from groundlake.importers import Zones, import_experiments
from groundlake.importers.experiments import runs_of
from groundlake.schemas import TABLES
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Cli

    Change = Callable[[Path], object]

RUN_ID = "0193a0aa-1111-7000-8000-000000000001"


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def test_a_result_is_imported_with_all_its_rows_once_wherever_it_lies(tmp_path: Path, lake: Lake) -> None:
    path = full_result().save(tmp_path / "results")
    report = import_experiments(lake, [path])
    assert (report.imported, report.already_present, report.quarantined) == (1, 0, [])
    tables = {entry["table"] for entry in lake.runs()["fact_rows"][0]}
    of_experiments = {name for name, table in TABLES.items() if table.__module__ == "groundlake.schemas.experiment"}
    assert tables == of_experiments - {"study_plan"} | {"power_timeseries"}
    assert lake.check() == []
    moved = shutil.move(path.parent, tmp_path / "moved")
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", moved)
    shutil.unpack_archive(archive, tmp_path / "unzipped")
    again = import_experiments(lake, [tmp_path / "moved", tmp_path / "unzipped"])
    assert (again.imported, again.already_present, again.twins) == (0, 1, 1)
    assert "there already            1" in "\n".join(again.lines())
    assert lake.runs().height == 1


def test_a_result_that_a_run_wrote_to_the_lake_is_that_run(tmp_path: Path, lake: Lake) -> None:
    made = single(experiment_id=RUN_ID)
    assert import_experiments(lake, [made.save(tmp_path)]).imported == 1
    assert lake.runs()["run_id"].to_list() == [RUN_ID]


def test_a_retracted_experiment_does_not_come_back(tmp_path: Path, lake: Lake) -> None:
    path = single().save(tmp_path)
    import_experiments(lake, [path])
    run = lake.runs().row(0, named=True)
    lake.retract(run["run_id"], run["hardware_id"], "measured while the machine was busy")
    report = import_experiments(lake, [path])
    assert (report.imported, report.withdrawn) == (0, 1)
    assert "retracted in the lake 1" in "\n".join(report.lines())


@pytest.mark.parametrize(
    ("content", "layout"),
    [
        (old(), "v2.0"),
        (old(environment_snapshot=OLDER_SNAPSHOT), "v2.0-pip-freeze"),
        (old(schema_version="2.0.0"), "v2.0"),
        (
            OLD | {"schema_version": "3.0.0", "parameter_provenance": {"batch": {"value": 8}}, "preset_chain": []},
            "v3.0.0",
        ),
        (old(schema_version="9.9"), "v2.0"),
    ],
)
def test_results_of_the_existing_tool_give_the_figures_of_the_real_one(
    content: dict[str, Any], layout: str, tmp_path: Path, lake: Lake
) -> None:
    """The ratios are those worked out from the real result: by the time of inference, and by the energy."""
    report = import_experiments(lake, [put(tmp_path / "gpt2_v2.0.json", content)], hardware_id="a100")
    assert report.imported == 1
    asked = lake.sql(
        "select s.total_tokens_per_j, s.output_tokens_per_j, s.energy_per_output_token_j, "
        "s.output_tokens / s.inference_time_s, s.total_tokens / s.inference_time_s, s.energy_above_baseline_j, "
        "s.input_tokens, s.output_tokens, s.baseline_power_w, s.wall_time_s, e.result_layout "
        "from experiment_summary s join experiments e on e.run_id = s.run_id"
    ).rows()
    assert asked == [
        (
            pytest.approx(8.4196, abs=5e-5),
            pytest.approx(2.8065, abs=5e-5),
            pytest.approx(0.356311, abs=5e-7),
            pytest.approx(149.01, abs=5e-3),
            pytest.approx(447.03, abs=5e-3),
            68.956,
            1280,
            640,
            35.9478,
            4.42539,
            layout,
        )
    ]
    assert report.warnings == {"tokens_derived": 1, "short_measurement_duration": 1}
    assert lake.sql("select model, precision, batch from runs").rows() == [("openai-community/gpt2", "fp16", 8)]


def test_both_environments_of_one_result_are_one_experiment(tmp_path: Path, lake: Lake) -> None:
    put(tmp_path / "tree/a/result.json", old())
    put(tmp_path / "tree/b/result.json", old(environment_snapshot=OLDER_SNAPSHOT))
    report = import_experiments(lake, [tmp_path / "tree"])
    assert (report.imported, report.twins) == (1, 1)
    packages = lake.sql("select name, value from experiment_settings where kind = 'package' order by name").rows()
    assert packages == [("numpy", "2.2.1"), ("torch", "2.5.0")]


def test_the_age_of_a_baseline_is_that_at_the_start(tmp_path: Path, lake: Lake) -> None:
    import_experiments(lake, [put(tmp_path / "result.json", old())])
    assert lake.sql("select baseline_age_s from energy_estimates").rows() == [(pytest.approx(87.9 - 4.42539),)]


def raw(folder: Path, *indices: int) -> list[Path]:
    """Files of processes as the existing tool writes them."""
    return [
        put(folder / f"process_{index}.json", json.loads(full_process(index).model_dump_json(exclude={"requests"})))
        for index in indices
    ]


def test_results_of_processes_are_put_together_where_nobody_did(tmp_path: Path, lake: Lake) -> None:
    raw(tmp_path / "results/raw/exp", 0, 1)
    report = import_experiments(lake, [tmp_path / "results"])
    assert report.imported == 1
    rows = lake.sql("select experiment_id, num_processes, total_tokens, overlap_verified from experiments").rows()
    assert rows == [("exp", 2, 2000, True)]
    assert [source["uri"] for source in lake.runs()["sources"][0]] == [
        "results/raw/exp/process_0.json",
        "results/raw/exp/process_1.json",
    ]


def test_results_of_processes_are_embedded_in_the_result_that_has_none(tmp_path: Path, lake: Lake) -> None:
    raw(tmp_path / "results/raw/exp", 0, 1)
    told = {"total_tokens": 2000, "aggregation": {"num_processes": 2}}
    put(tmp_path / "results/aggregated/exp.json", old(experiment_id="exp", **told))
    assert import_experiments(lake, [tmp_path / "results"]).imported == 1
    assert lake.sql("select count(*) from experiment_processes").rows() == [(2,)]
    assert lake.sql("select total_tokens, output_tokens from experiments").rows() == [(2000, 800)]


def test_results_of_processes_that_a_result_holds_are_not_counted_twice(tmp_path: Path, lake: Lake) -> None:
    raw(tmp_path / "results/raw/exp", 0, 1)
    aggregate([full_process(0), full_process(1)]).save(tmp_path / "results")
    report = import_experiments(lake, [tmp_path / "results"])
    assert (report.imported, report.skipped) == (1, {"process_of_a_result": 2})


def test_a_torn_process_sets_its_experiment_aside(tmp_path: Path, lake: Lake) -> None:
    _, second = raw(tmp_path / "results/raw/exp", 0, 1)
    good = second.read_text()
    second.write_text(good[:100])
    report = import_experiments(lake, [tmp_path / "results"])
    assert report.imported == 0
    assert {entry.code for entry in report.quarantined} == {"truncated_json", "incomplete"}
    second.write_text(good)
    assert import_experiments(lake, [tmp_path / "results"]).imported == 1


def change(**fields: object) -> Change:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | fields))


BAD: dict[str, tuple[Change, str, str]] = {
    "an unknown field": (change(surprise=1), "contract", "surprise: Extra inputs are not permitted"),
    "a clock that goes backwards": (change(end_time="2026-02-26T13:00:00"), "contract", "is before the start"),
    "torn json": (lambda path: path.write_text(path.read_text()[:-50]), "truncated_json", "middle of its JSON"),
    "nan": (lambda path: path.write_text(path.read_text().replace("50.0", "NaN", 1)), "not_finite", "NaN"),
    "no result": (lambda path: path.write_text('{"a": 1}'), "no_experiment", "none of the fields"),
    "a negative energy": (change(total_energy_j=-1.0), "contract", "total_energy_j"),
    "a window before the start": (
        change(measurement_methodology="windowed", steady_state_window=[-2.0, 1.0]),
        "contract",
        "window_start_s",
    ),
    "a model of digits": (
        change(effective_config={"model": "123", "hardware_id": "dev"}, process_results=[]),
        "bad_key",
        "digits",
    ),
    "more tokens than a table holds": (change(total_tokens=2**70), "contract", "no table can hold"),
    "a torn sidecar": (
        lambda path: (path.parent / "timeseries.parquet").write_bytes(b"PAR1"),
        "torn_sidecar",
        "sidecar",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_result_is_set_aside_and_tried_again(case: str, tmp_path: Path, lake: Lake) -> None:
    spoil, code, said = BAD[case]
    path = single(run=1, experiment_id="bad").with_timeseries(READINGS).save(tmp_path / "tree/bad")
    single().save(tmp_path / "tree/good")
    kept = {file: file.read_bytes() for file in path.parent.iterdir()}
    spoil(path)
    report = import_experiments(lake, [tmp_path / "tree"])
    assert report.imported == 1
    (entry,) = report.quarantined
    assert entry.code == code
    assert said in f"{entry.reason} {entry.what_to_do}"
    assert str(tmp_path) not in entry.reason
    assert lake.sql("select code, uri from quarantine").rows() == [(code, f"tree/bad/{path.parent.name}/result.json")]
    for file, content in kept.items():
        file.write_bytes(content)
    assert import_experiments(lake, [tmp_path / "tree"]).imported == 1


def test_a_missing_sidecar_is_a_warning(tmp_path: Path, lake: Lake) -> None:
    path = single().with_timeseries(READINGS).save(tmp_path)
    content = (path.parent / "timeseries.parquet").read_bytes()
    (path.parent / "timeseries.parquet").unlink()
    report = import_experiments(lake, [path])
    assert (report.imported, report.warnings) == (1, {"sidecar_missing": 1})
    assert lake.runs()["warnings"][0].to_list() == [
        "sidecar_missing: Timeseries sidecar missing: timeseries.parquet; the result has no power readings"
    ]
    assert lake.sql("select timeseries_file from experiments").rows() == [("timeseries.parquet",)]
    (path.parent / "timeseries.parquet").write_bytes(content)
    assert import_experiments(lake, [path]).already_present == 1


def test_a_changed_sidecar_and_a_contradiction_are_warnings(tmp_path: Path, lake: Lake) -> None:
    path = single().with_timeseries(READINGS).save(tmp_path)
    READINGS.head(50).write_parquet(path.parent / "timeseries.parquet")
    change(input_tokens=1)(path)
    report = import_experiments(lake, [path])
    assert report.warnings == {"sidecar_changed": 1, "implausible": 1}


def test_the_energy_of_the_sidecar_is_integrated(tmp_path: Path, lake: Lake) -> None:
    """10 s at 80, 81, 82 W in turn."""
    import_experiments(lake, [single().with_timeseries(READINGS).save(tmp_path)])
    rows = lake.sql("select source, rail, energy_j from run_energy").rows()
    assert rows == [("sidecar", "gpu", pytest.approx(810.0, abs=1.0))]


def test_empty_latencies_and_no_tokens_are_unknown_ratios(tmp_path: Path, lake: Lake) -> None:
    none = process(tokens=(0, 0), energy_j=5.0, gpu_name="NVIDIA H200", length_s=1e-6)
    import_experiments(lake, [aggregate([none]).save(tmp_path)])
    asked = "select energy_j, energy_per_output_token_j, total_tokens_per_j, output_tokens_per_s, ttft_p50_ms"
    assert lake.sql(f"{asked} from experiment_summary").rows() == [(5.0, None, 0.0, 0.0, None)]


def test_a_device_is_that_of_the_option_else_of_the_gpu_else_it_is_asked_for(tmp_path: Path, lake: Lake) -> None:
    known = single().save(tmp_path / "known")
    other = put(tmp_path / "other/result.json", old(environment_snapshot=None))
    assert import_experiments(lake, [known, other], dry_run=True).by_hardware.keys() == {"a100_sxm_80gb"}
    with pytest.raises(UsageError, match=r"no result says on which device .*other/result.json\n.*--hw ID"):
        import_experiments(lake, [other])
    report = import_experiments(lake, [known, other])
    assert [entry.code for entry in report.quarantined] == ["unknown_device"]
    assert import_experiments(lake, [other], hardware_id="desk").by_hardware.keys() == {"desk"}
    new = aggregate([process(gpu_name="ACME Accelerator 9")]).save(tmp_path / "new")
    assert import_experiments(lake, [new]).by_hardware.keys() == {"acme_accelerator_9"}
    said = single(effective_config={"hardware_id": "my_box"}).save(tmp_path / "said")
    assert import_experiments(lake, [said]).by_hardware.keys() == {"my_box"}


def test_a_result_that_is_there_needs_no_device(tmp_path: Path, lake: Lake) -> None:
    path = aggregate([process()]).save(tmp_path)
    import_experiments(lake, [path], hardware_id="my_cpu")
    assert import_experiments(lake, [path]).by_hardware["my_cpu"].already_present == 1


def test_an_experiment_is_not_imported_a_second_time_under_another_device(tmp_path: Path, lake: Lake) -> None:
    path = single().save(tmp_path)
    import_experiments(lake, [path])
    report = import_experiments(lake, [path], hardware_id="other")
    assert (report.imported, report.by_hardware["a100_sxm_80gb"].already_present) == (0, 1)


def test_zones_are_those_of_the_option(tmp_path: Path, lake: Lake) -> None:
    path = single().save(tmp_path)
    with pytest.raises(UsageError, match="no result was measured on 'nowhere'"):
        import_experiments(lake, [path], zones=Zones.parse(["nowhere=UTC"]))
    import_experiments(lake, [path], zones=Zones.parse(["Asia/Tokyo"]))
    assert str(lake.runs()["started_at"][0]) == "2026-02-26 05:00:00"


def test_folders_that_are_being_written_and_other_files_are_left_alone(tmp_path: Path, lake: Lake) -> None:
    path = single().save(tmp_path / "tree")
    shutil.copytree(path.parent, tmp_path / "tree/.partial-host-1-x")
    put(tmp_path / "tree/.partial-host-1-y/result.json", "{")
    put(tmp_path / "tree/study.json", {"name": "study"})
    report = import_experiments(lake, [tmp_path / "tree"])
    assert (report.imported, report.twins, report.quarantined, report.skipped) == (1, 0, [], {"other_json": 1})
    assert runs_of([tmp_path / "tree"])[0][0][0]["run_id"] == lake.runs()["run_id"][0]


@pytest.fixture
def small_disk(disk_of: Callable[[str], Path]) -> Path:
    """A file system of 1 MiB."""
    return disk_of("1m")


def test_a_full_disk_leaves_whole_experiments_only(small_disk: Path, tmp_path: Path) -> None:
    lake = Lake(small_disk / "lake")
    lake.create()
    for number in range(2):
        noise = process(per_request_latencies_ms=[value**0.5 for value in range(1, 100_000)], gpu_name=f"GPU {number}")
        aggregate([noise]).save(tmp_path / "results")
    with pytest.raises(LakeEnvironmentError, match="disk is full"):
        import_experiments(lake, [tmp_path / "results"])
    assert lake.runs().height < 2
    assert lake.check() == []
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    import_experiments(lake, [tmp_path / "results"])
    assert lake.sql("select count(*) from experiment_summary").rows() == [(2,)]


def test_the_command_imports_says_what_it_did_and_ends_with_1_where_input_was_set_aside(
    tmp_path: Path, cli: Cli
) -> None:
    single().save(tmp_path / "results")
    dry = cli("experiment", "import", "results", "--dry-run").stdout
    assert "experiments would be imported 1" in dry
    assert not (tmp_path / "lake").exists()
    put(tmp_path / "results/torn/result.json", '{"experiment_id": ')
    done = cli("experiment", "import", "results", code=1)
    assert "experiments imported 1" in done.stdout
    assert "results/torn/result.json: truncated_json" in done.stdout
    assert "1 files were set aside" in done.stderr


def test_a_path_that_does_not_exist_is_named(tmp_path: Path, lake: Lake) -> None:
    with pytest.raises(UsageError, match=r"nothing to import at .*nowhere: there is no such file or folder"):
        import_experiments(lake, [tmp_path / "nowhere"])
