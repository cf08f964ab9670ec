"""Results on disk: one folder each, whole or not there, named for what they hold, and read back as they were."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import polars as pl
import pytest
from processes import process, result

from groundlake.errors import CorruptLakeError, LakeEnvironmentError, UsageError
from groundlake.experiment import ExperimentResult, aggregate
from groundlake.experiment.extended import EnvironmentSnapshot

PROGRAM = Path(__file__).parent / "programs" / "result_writer.py"
READINGS = pl.DataFrame(
    {
        "timestamp_s": [0.0, 0.01, 0.1, 0.11],
        "gpu_power_w": [100.0, 90.0, None, 95.0],
        "gpu_temperature_c": [40.0, 41.0, 40.5, 41.0],
        "gpu_index": [0, 1, 0, 1],
    }
)


def test_one_call_writes_a_folder_that_is_read_back_equal(tmp_path: Path) -> None:
    made = aggregate([process(0), process(1)], measurement_config_hash="0123456789abcdef").with_timeseries(READINGS)
    path = made.save(tmp_path / "results")
    assert path.name == "result.json"
    assert [folder.name for folder in (tmp_path / "results").iterdir()] == [path.parent.name]
    assert sorted(file.name for file in path.parent.iterdir()) == ["result.json", "timeseries.parquet"]
    back = ExperimentResult.from_json(path)
    assert back.timeseries is not None
    assert back.timeseries.equals(READINGS)
    assert back.timeseries_file == "timeseries.parquet"
    assert back == made
    assert back.model_dump_json() == made.model_dump_json()
    assert ExperimentResult.from_json(back.save(tmp_path / "again")) == made
    assert back.process_results == made.process_results


def test_a_folder_is_named_for_model_backend_and_time(tmp_path: Path) -> None:
    assert re.fullmatch(r"[a-z0-9-]+_[a-z]+_\d{4}-\d\d-\d\dT\d\d-\d\d", result().save(tmp_path).parent.name)
    long = result(effective_config={"model": "meta-llama/Llama-3.1-8B"}).save(tmp_path).parent.name
    assert long.startswith("meta-llama-llama-3.1-8b_pytorch_2026-02-26T14-00")


@pytest.mark.parametrize("name", ["a:b*c?", "..", "a\\b", " two  words ", "x" * 300, "модель", "/home/me/weights", ""])
def test_any_model_name_makes_a_safe_folder(name: str, tmp_path: Path) -> None:
    path = result(effective_config={"model": name}).save(tmp_path)
    assert path.parent.parent == tmp_path
    assert re.fullmatch(r"[a-z0-9._T-]+", path.parent.name)
    assert len(path.parent.name) < 200
    assert ExperimentResult.from_json(path).effective_config == {"model": name}


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    names = [result().save(tmp_path).parent.name for _ in range(5)]
    assert names == [names[0], *(f"{names[0]}_{number}" for number in range(1, 5))]
    (tmp_path / "file" / names[0]).parent.mkdir()
    (tmp_path / "file" / names[0]).write_text("not a folder")
    assert result().save(tmp_path / "file").parent.name == f"{names[0]}_1"


def test_sixteen_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, PROGRAM, tmp_path, "30"], stderr=subprocess.PIPE) for _ in range(16)]
    said = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 16, said
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == 480
    assert {ExperimentResult.from_json(folder).total_tokens for folder in folders} == {1000}


def test_a_writer_that_is_killed_leaves_whole_results_only(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, PROGRAM, tmp_path, "100000"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    (tmp_path / f".partial-{os.uname().nodename}-{writer.pid}-left").mkdir(exist_ok=True)
    shown = [folder for folder in tmp_path.iterdir() if not folder.name.startswith(".")]
    assert len(shown) >= 20
    for folder in shown:
        assert ExperimentResult.from_json(folder).timeseries is not None
    result().save(tmp_path)  # the next writer removes what the killed one left
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_result_without_readings_has_no_sidecar(tmp_path: Path) -> None:
    for made in (result(), result().with_timeseries(None), result().with_timeseries(READINGS.clear())):
        path = made.save(tmp_path)
        assert [file.name for file in path.parent.iterdir()] == ["result.json"]
        assert ExperimentResult.from_json(path).timeseries_file is None


def test_a_result_can_be_moved(tmp_path: Path) -> None:
    path = result().with_timeseries(READINGS).save(tmp_path / "here")
    moved = shutil.move(path.parent, tmp_path / "there")
    back = ExperimentResult.from_json(Path(moved) / "result.json")
    assert back.timeseries is not None
    assert ExperimentResult.from_json(moved) == back


def test_a_missing_sidecar_warns_and_keeps_its_name(tmp_path: Path) -> None:
    path = result().with_timeseries(READINGS).save(tmp_path)
    (path.parent / "timeseries.parquet").unlink()
    with pytest.warns(UserWarning, match="Timeseries sidecar missing"):
        back = ExperimentResult.from_json(path)
    assert (back.timeseries, back.timeseries_file) == (None, "timeseries.parquet")


def test_a_sidecar_that_changed_is_told_and_a_torn_one_refused(tmp_path: Path) -> None:
    path = result().with_timeseries(READINGS).save(tmp_path)
    sidecar = path.parent / "timeseries.parquet"
    READINGS.head(2).write_parquet(sidecar)
    with pytest.warns(UserWarning, match="changed since it was saved"):
        ExperimentResult.from_json(path)
    sidecar.write_bytes(sidecar.read_bytes()[:-20])
    with pytest.raises(CorruptLakeError, match=r"timeseries\.parquet: no readable power readings"):
        ExperimentResult.from_json(path)


def test_a_sidecar_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    path = result().save(tmp_path)
    data = json.loads(path.read_text()) | {"timeseries": "../../secret.parquet"}
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="names a file beside the result"):
        ExperimentResult.from_json(path)


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        (READINGS.drop("gpu_index"), "missing gpu_index"),
        (READINGS.with_columns(x=1), "unknown columns x"),
        (READINGS.with_columns(gpu_power_w=-pl.col("gpu_power_w")), "gpu_power_w is negative"),
        (READINGS.with_columns(gpu_power_w=pl.lit(float("nan"))), "NaN or infinite"),
        (READINGS.with_columns(timestamp_s=-pl.col("timestamp_s")), "goes backwards"),
        (READINGS.with_columns(gpu_index=pl.lit(None, pl.Int64)), "gpu_index is missing in 4 of 4 rows"),
    ],
)
def test_readings_that_cannot_be_are_refused(readings: pl.DataFrame, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        result().with_timeseries(readings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "a result is a JSON object, got list"),
        ('{"total_energy_j": NaN}', "NaN is no number of JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"experiment_id": "a"}', "total_tokens: Field required"),
    ],
)
def test_what_is_no_result_is_refused_with_the_field(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        ExperimentResult.from_json(file)


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    path = result().save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"surprise": 1}))
    with pytest.raises(UsageError, match="surprise: Extra inputs are not permitted, got 1"):
        ExperimentResult.from_json(path)
    with pytest.raises(UsageError, match="there is no such file"):
        ExperimentResult.from_json(tmp_path / "nothing.json")


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeEnvironmentError, match="file"):
        result().save(tmp_path / "file" / "results")


OLD = {
    "schema_version": "2.0",
    "experiment_id": "gpt2_20260226_140000",
    "measurement_config_hash": "0123456789abcdef",
    "measurement_methodology": "total",
    "total_tokens": 1920,
    "total_energy_j": 0.0,
    "total_inference_time_sec": 4.294966,
    "avg_tokens_per_second": 447.03,
    "avg_energy_per_token_j": 0.0,
    "total_flops": 0.0,
    "start_time": "2026-02-26T14:00:00",
    "end_time": "2026-02-26T14:00:05",
    "process_results": [],
}


def read(tmp_path: Path, **fields: object) -> ExperimentResult:
    file = tmp_path / "old.json"
    file.write_text(json.dumps(OLD | fields))
    return ExperimentResult.from_json(file)


def test_zeros_of_the_existing_tool_are_unknown(tmp_path: Path) -> None:
    old = read(tmp_path, extended_metrics={"memory": {"peak_memory_mb": 263.1, "total_vram_mb": 0.0}})
    assert (old.total_energy_j, old.total_flops, old.avg_energy_per_token_j) == (None, None, None)
    assert old.extended_metrics is not None
    assert (old.extended_metrics.memory.peak_memory_mb, old.extended_metrics.memory.total_vram_mb) == (263.1, None)


def test_both_environments_of_the_existing_tool_are_read(tmp_path: Path) -> None:
    told = {"python_version": "3.11", "tool_version": "0.8.0"}
    one = read(tmp_path, environment_snapshot=told | {"installed_packages": ["a==1", "b==2"]})
    other = read(tmp_path, environment_snapshot=told | {"pip_freeze": "b==2\na==1\n", "conda_list": None})
    assert isinstance(one.environment_snapshot, EnvironmentSnapshot)
    assert one.environment_snapshot == other.environment_snapshot


def test_fields_of_older_layouts_are_kept(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the sidecar that is named is not there
        old = read(
            tmp_path,
            schema_version="3.0.0",
            effective_config={"model": "gpt2"},
            parameter_provenance={"batch": {"value": 1, "source": "cli"}},
            preset_chain=["fast"],
            timeseries_path="/home/someone/timeseries.parquet",
        )
    assert old.effective_config["model"] == "gpt2"
    assert old.effective_config["fields_of_other_tools"]["preset_chain"] == ["fast"]
    assert old.timeseries_file == "timeseries.parquet"


def test_the_sidecar_of_the_existing_tool_is_read(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "timestamp_s": [0.0, 1.0],
            "gpu_index": [0, 0],
            "power_w": [80.0, 82.0],
            "temperature_c": [40.0, 41.0],
            "memory_used_mb": [1.0, 1.0],
        }
    ).write_parquet(tmp_path / "timeseries.parquet")
    old = read(tmp_path, timeseries="timeseries.parquet")
    assert old.timeseries is not None
    assert old.timeseries["gpu_power_w"].to_list() == [80.0, 82.0]


def test_a_result_can_be_zipped_and_unzipped_elsewhere(tmp_path: Path) -> None:
    made = aggregate([process(0), process(1)]).with_timeseries(READINGS)
    path = made.save(tmp_path / "here")
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "here")
    shutil.rmtree(tmp_path / "here")
    shutil.unpack_archive(archive, tmp_path / "there")
    back = ExperimentResult.from_json(tmp_path / "there" / path.parent.name / "result.json")
    assert back == made
    assert back.timeseries is not None
    assert back.timeseries.equals(READINGS)


CIRCLE: dict[str, object] = {}
CIRCLE["again"] = CIRCLE


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"effective_config": {"sampler": {"t": [1.0, float("nan")]}}}, r"effective_config\.sampler\.t\[1\] is no fin"),
        ({"effective_config": {"top": float("inf")}}, r"effective_config\.top is no finite number: inf"),
        ({"effective_config": {"prompt": "a\ud83d"}}, r"effective_config\.prompt is a text with half a character"),
        ({"effective_config": {"a\ud83d": 1}}, r"effective_config\.'a\\ud83d' is a text with half"),
        ({"effective_config": {"model": object()}}, r"effective_config\.model is of type object"),
        ({"effective_config": CIRCLE}, "cannot be saved as JSON"),
        ({"total_energy_j": float("nan")}, "total_energy_j is no finite number: nan"),
        (
            {
                "process_results": [
                    process(compute_metrics=process().compute_metrics.model_copy(update={"flops_total": float("-inf")}))
                ]
            },
            r"process_results\[0\]\.compute_metrics\.flops_total is no finite number: -inf",
        ),
    ],
)
def test_what_no_json_can_hold_is_refused_before_anything_is_written(
    fields: dict[str, object], said: str, tmp_path: Path
) -> None:
    made = result().model_copy(update=fields)
    with pytest.raises(UsageError, match=said) as raised:
        made.save(tmp_path / "results")
    assert len(str(raised.value).splitlines()) <= 6
    assert not (tmp_path / "results").exists()


def test_settings_that_json_writes_as_text_are_saved(tmp_path: Path) -> None:
    config = {"output_dir": tmp_path, "layers": (1, 2), "limits": {1: None, "big": 10**30}, "quoted": 'a "b"\n'}
    back = ExperimentResult.from_json(result(effective_config=config).save(tmp_path))
    assert back.effective_config == {
        "output_dir": str(tmp_path),
        "layers": [1, 2],
        "limits": {"1": None, "big": 10**30},
        "quoted": 'a "b"\n',
    }
