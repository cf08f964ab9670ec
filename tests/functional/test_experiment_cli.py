"""`lake experiment` as a user calls it: list, show, csv and compare."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import polars as pl
import pytest
from experiment_lake import made
from experiments import WARMUP, environment, extended, full_result, single
from processes import process

from groundlake.compare.experiments import compare_experiments, select_experiments, telling_length, without_partner
from groundlake.errors import UsageError
from groundlake.experiment import aggregate
from groundlake.experiment.csv_export import csv_table, csv_text, export_csv, unwritten
from groundlake.experiment.extended import EnergyBreakdown, ThermalThrottleInfo
from groundlake.experiment.rows import ExperimentRun
from groundlake.importers import import_experiments
from groundlake.importers.experiments import runs_of
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conftest import Cli

    from groundlake.experiment import ExperimentResult


def written(results: Sequence[ExperimentResult], path: Path) -> list[dict[str, str]]:
    """Rows of the CSV that `export_csv` writes."""
    return list(csv.DictReader(io.StringIO(export_csv(results, path).read_text())))


def adjusted() -> ExperimentResult:
    """80 J in 10 s, 3 W idle: 50 J of its own; 5 s throttled at 95 degrees."""
    one = process(energy_j=80.0, gpu_name="NVIDIA A100-SXM4-80GB")
    return aggregate(
        [one],
        energy_breakdown=EnergyBreakdown(
            raw_j=80.0, adjusted_j=50.0, baseline_power_w=10.0, baseline_method="fresh", baseline_cache_age_sec=2.5
        ),
        thermal_throttle=ThermalThrottleInfo(detected=True, throttle_duration_sec=5.0, max_temperature_c=95.0),
        environment_snapshot=environment(),
        extended_metrics=extended(),
        warmup_result=WARMUP,
    )


def test_csv_names_the_experiment_first_then_energy_heat_and_the_environment(tmp_path: Path) -> None:
    header = export_csv([adjusted()], tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    assert header[0] == "experiment_id"
    places = {
        part: [at for at, name in enumerate(header) if name.startswith(part)]
        for part in ("energy_", "thermal_", "env_")
    }
    assert max(places["energy_"]) < min(places["thermal_"])
    assert max(places["thermal_"]) < min(places["env_"])
    assert {"backend", "model", "precision", "batch", "process_0_energy_j"} <= set(header)


def test_csv_has_a_row_for_each_result_in_their_order(tmp_path: Path) -> None:
    results = [
        single(run=2, experiment_id="later"),
        single(experiment_id="sooner"),
        single(run=2, experiment_id="later"),
    ]
    rows = written(results, tmp_path / "new/folder/out.csv")
    assert [row["experiment_id"] for row in rows] == ["later", "sooner", "later"]
    assert export_csv([], tmp_path / "none/out.csv") == tmp_path / "none/out.csv"
    assert not (tmp_path / "none").exists()


def test_csv_has_what_is_known_and_empty_cells_for_what_is_not(tmp_path: Path) -> None:
    known, unknown = written([adjusted(), single(energy_j=None)], tmp_path / "out.csv")
    told = {
        "energy_raw_j": "80.0",
        "energy_adjusted_j": "50.0",
        "energy_baseline_w": "10.0",
        "energy_baseline_method": "fresh",
        "thermal_throttle_detected": "True",
        "thermal_throttle_duration_sec": "5.0",
        "thermal_max_temp_c": "95.0",
        "env_gpu_name": "NVIDIA A100-SXM4-80GB",
        "env_gpu_vram_mb": "81920.0",
        "env_cuda_version": "12.6",
        "env_driver_version": "550.54",
        "env_gpu_temp_c": "38.5",
        "env_power_limit_w": "401.0",
        "env_cpu_governor": "performance",
        "env_in_container": "True",
        "kv_cache_hit_rate": "0.6651",
    }
    assert {name: known[name] for name in told} == told
    assert {unknown[name] for name in told} == {""}
    assert (known["process_0_gpu_id"], known["process_0_energy_j"]) == ("0", "80.0")


def test_a_baseline_above_the_energy_adjusts_to_nothing_and_is_told(tmp_path: Path) -> None:
    breakdown = EnergyBreakdown(raw_j=80.0, adjusted_j=0.0, baseline_power_w=10.0)
    (row,) = written([aggregate([process(energy_j=80.0)], energy_breakdown=breakdown)], tmp_path / "out.csv")
    assert (row["energy_adjusted_j"], row["energy_above_baseline_j"]) == ("0.0", "-20.0")


def test_the_use_of_gpus_is_their_mean_in_per_cent_whatever_its_unit() -> None:
    def told(*figures: tuple[str, str, float, str]) -> float | None:
        names = ("metric", "statistic", "value", "value_unit")
        facts = [{"phase": "all"} | dict(zip(names, figure, strict=True)) for figure in figures]
        facts.append(
            {"phase": "warmup", "metric": "gpu_utilization", "statistic": "mean", "value": 7.0, "value_unit": "%"}
        )
        (value,) = unwritten([made(facts={"experiment_metrics": facts})])["gpu_util_mean_pct"]
        return value

    assert told(("gpu_utilization", "mean", 45.5, "%")) == 45.5
    two = [("gpu_utilization", "mean", share, "1") for share in (0.5, 0.75)]
    assert told(*two, ("gpu_utilization", "max", 0.99, "1"), ("gpu_utilization", "count", 9.0, "1")) == 62.5
    assert told(("nvidia_gpu_utilization", "mean", 0.25, "1")) == 25.0
    assert told(("gpu_utilization", "mean", 3.0, "furlong")) is None


def test_csv_of_a_lake_of_folders_and_of_results_is_the_same(tmp_path: Path) -> None:
    results = [full_result(), single(run=1), adjusted()]
    for each in results:
        each.save(tmp_path / "results")
    lake = Lake(tmp_path / "lake")
    import_experiments(lake, [tmp_path / "results"])
    of_lake = csv_text(csv_table(lambda query: lake.sql(query).pl()))
    assert csv_text(unwritten(runs_of([tmp_path / "results"])[0])) == of_lake
    direct = export_csv(results, tmp_path / "out.csv").read_text()
    assert sorted(direct.splitlines()) == sorted(of_lake.splitlines())


def test_the_csv_command_reads_the_lake_or_folders(tmp_path: Path, cli: Cli) -> None:
    single(experiment_id="one").save(tmp_path / "results")
    import_experiments(Lake(tmp_path / "lake"), [tmp_path / "results"])
    (tmp_path / "results/torn").mkdir()
    (tmp_path / "results/torn/result.json").write_text("{")
    of_lake = cli("experiment", "csv").stdout
    done = cli("experiment", "csv", "results", "-o", "out.csv", code=1)
    assert "1 files could not be read\nresults/torn/result.json: truncated_json" in done.stderr
    assert (tmp_path / "out.csv").read_text() == of_lake
    assert [row["experiment_id"] for row in csv.DictReader(io.StringIO(of_lake))] == ["one"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake: four repeats in fp16, three in int8, one in bf16 on another device, and a failed one."""
    folder = tmp_path_factory.mktemp("kept")
    lake = Lake(folder / "lake")
    energies = {"fp16": (50.0, 52.0, 54.0, 52.0), "int8": (40.0, 41.0, 45.0), "bf16": (60.0,)}
    runs = [
        ExperimentRun.of(
            single(
                energy_j=energy,
                run=number,
                experiment_id=f"{precision}-{number}",
                measurement_warnings=["few_prompts: 2 prompts were measured. Measure more."],
                effective_config={
                    "model": "gpt2",
                    "precision": precision,
                    "batch_size": 8,
                    "study": f"{precision} study",
                    "cycle": number + 1,
                },
            ),
            "a100" if precision != "bf16" else "h100",
            layout="groundlake",
        )
        for precision, repeats in energies.items()
        for number, energy in enumerate(repeats)
    ]
    lake.write_many(runs)
    lake.write(
        {"hardware_id": "a100", "kind": "llm_inference", "model": "gpt2", "status": "failed", "error": "no memory"}
    )
    return folder


@pytest.fixture
def summary(kept: Path) -> pl.DataFrame:
    return Lake(kept / "lake").sql("SELECT * FROM experiment_summary").pl()


def test_list_shows_experiments_and_failures_and_filters(kept: Path, cli: Cli) -> None:
    rows = json.loads(cli("experiment", "list", "--root", kept / "lake", "--format", "json").stdout)
    assert len(rows) == 9
    assert [row["error"] for row in rows if row["status"] == "failed"] == ["no memory"]
    some = cli("experiment", "list", "--root", kept / "lake", "--study", "int8 study", "--hw", "a100").stdout
    assert sorted(line.split()[-1] for line in some.splitlines()[2:]) == ["int8-0", "int8-1", "int8-2"]
    wrong = cli("experiment", "list", "--root", kept / "lake", "--model", "gpt3", code=2).stderr
    assert "no experiment with model 'gpt3'; there are gpt2" in wrong


def test_ids_are_shown_as_long_as_tells_them_apart() -> None:
    assert telling_length(["01a1ff05-aa47", "01a1ff05-bb7b"]) == len("01a1ff05-a")
    assert telling_length(["01a1ff05-aa47"]) == telling_length([]) == 8


def test_show_tells_settings_totals_energies_throughputs_latencies_and_warnings(kept: Path, cli: Cli) -> None:
    text = cli("experiment", "show", "int8-0", "--root", kept / "lake").stdout
    sections = {part.split("\n")[0]: part for part in text.strip().split("\n\n")}
    assert list(sections) == [
        "experiment",
        "totals",
        "ratios",
        "energies (scopes overlap: never add them up)",
        "latencies",
        "warnings",
        "settings",
    ]
    assert "few_prompts: 2 prompts were measured. Measure more." in sections["warnings"]
    for name in ("output_tokens_per_s", "process_tokens_per_s_sum", "process_tokens_per_s_mean"):
        assert name in sections["ratios"]
    assert "40  process  unknown  reported" in sections["energies (scopes overlap: never add them up)"]
    assert "batch_size  8" in sections["settings"]


def test_show_finds_a_run_by_the_begin_of_its_id_and_says_why_one_failed(kept: Path, cli: Cli) -> None:
    runs = Lake(kept / "lake").sql("select run_id, status from runs order by status").rows()
    failed = next(run for run, status in runs if status == "failed")
    assert "failed: no memory" in cli("experiment", "show", failed, "--root", kept / "lake").stdout
    good = next(run for run, status in runs if status == "ok")
    found = json.loads(cli("experiment", "show", good[:8], "--root", kept / "lake", "--format", "json").stdout)
    assert [row["run_id"] for row in found] == [good]


def test_the_interval_of_a_difference_is_that_of_welch(summary: pl.DataFrame) -> None:
    from scipy.stats import ttest_ind

    a, b = select_experiments(summary, "fp16 study"), select_experiments(summary, "precision=int8")
    row = compare_experiments(a, b).filter(figure="energy_per_output_token_j").row(0, named=True)
    sides = [[energy / 400 for energy in each] for each in ((40.0, 41.0, 45.0), (50.0, 52.0, 54.0, 52.0))]
    interval = ttest_ind(*sides, equal_var=False).confidence_interval(0.95)
    assert (row["difference_ci_lower"], row["difference_ci_upper"]) == pytest.approx((interval.low, interval.high))
    assert (row["a_n"], row["b_n"], row["unit"], row["verdict"]) == (4, 3, "J", "B is lower")
    assert (row["a_mean"], row["b_mean"]) == pytest.approx((0.13, 0.105))
    assert row["change_percent"] == pytest.approx(100 * (0.105 / 0.13 - 1))
    assert row["differs_in"] == "precision: fp16 → int8"


def test_two_repeats_prove_nothing(summary: pl.DataFrame) -> None:
    two = select_experiments(summary, "fp16 study").head(2)
    rows = compare_experiments(two, select_experiments(summary, "int8 study"))
    assert rows["verdict"].unique().to_list() == ["too few repeats: at least 3 a side"]
    assert rows["difference_ci_lower"].null_count() == rows.height
    assert rows["difference"].null_count() == 0


def test_sides_of_several_configurations_are_paired_by_what_they_share(summary: pl.DataFrame) -> None:
    """Repeats in fp16 and int8 beside the same with more energy: each is compared with its own."""
    a = summary.filter(pl.col("precision") != "bf16")
    b = a.with_columns(energy_per_output_token_j=pl.col("energy_per_output_token_j") * 2, run_id="x" + pl.col("run_id"))
    rows = compare_experiments(a, pl.concat([b, summary.filter(precision="bf16").with_columns(run_id=pl.lit("y"))]))
    energies = rows.filter(figure="energy_per_output_token_j")
    assert dict(energies.select("precision", "change_percent").iter_rows()) == pytest.approx({"fp16": 100, "int8": 100})
    assert without_partner(a, summary.filter(precision="bf16").with_columns(run_id=pl.lit("y")).vstack(b), rows) == 1


def test_single_experiments_are_shown_with_what_they_differ_in(summary: pl.DataFrame) -> None:
    rows = compare_experiments(select_experiments(summary, "fp16-0"), select_experiments(summary, "bf16-0"))
    assert rows["differs_in"].unique().to_list() == ["hardware_id: a100 → h100; precision: fp16 → bf16"]
    assert rows["verdict"].unique().to_list() == ["too few repeats: at least 3 a side"]


def test_sides_that_cannot_be_compared_are_refused(summary: pl.DataFrame) -> None:
    fp16, int8 = (select_experiments(summary, f"{name} study") for name in ("fp16", "int8"))
    with pytest.raises(UsageError, match="is on both sides"):
        compare_experiments(fp16, fp16)
    with pytest.raises(UsageError, match="no configuration of A is on side B"):
        compare_experiments(pl.concat([fp16, summary.filter(precision="bf16")]), int8)
    with pytest.raises(UsageError, match="stands for no good experiment"):
        select_experiments(summary, "nothing")


def test_the_compare_command_prints_both_sides(kept: Path, cli: Cli) -> None:
    text = cli("experiment", "compare", "fp16 study", "int8 study", "--root", kept / "lake").stdout
    assert "precision: fp16 → int8" in text
    assert "A: fp16 study, 4 experiments; B: int8 study, 3; difference: B less A" in text
