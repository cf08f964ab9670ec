"""Sides of experiments that were measured differently: what is compared, what is not, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from experiment_lake import energy, made, request

from groundlake.compare.experiments import compare_experiments, select_experiments, without_partner
from groundlake.errors import UsageError
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Cli

ENERGY, LATENCY, SPEED = "energy_per_output_token_j", "ttft_p50_ms", "output_tokens_per_s"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of three repeats that measure other energies, windows and timings, or have other processes or prompts."""
    lake, runs = Lake(tmp_path_factory.mktemp("compared") / "lake"), []

    def study(name: str, *, joules: float = 100.0, each: int = 3, config: str | None = "h", **columns: Any) -> None:
        estimate = columns.pop("estimate", {})
        timing = columns.pop("timing", "streaming")
        run = {key: columns.pop(key) for key in ("precision", "batch", "thermal_profile") if key in columns}
        for number in range(each):
            facts = {
                "energy_estimates": [energy(joules + number, **estimate)],
                "experiment_requests": [request(0, 10.0 + number, token_timing=timing)],
            }
            runs.append(made(study=name, run=run | {"config_hash": config}, facts=facts, **columns))

    study("gpu")
    study("machine", joules=400.0, estimate={"scope": "machine"})
    study("mixed", each=2)
    study("mixed", joules=400.0, estimate={"scope": "machine"})
    study("windowed", measurement_methodology="windowed")
    study("whole batches", timing="per_request_batch")
    study("reported", estimate={"method": "reported", "source": "zeus"})
    for name, joules in (("some", 100.0), ("more", 300.0)):
        for processes in (1, 4):
            for config in "xy":
                settings = {"config": f"{config}{processes}", "num_processes": processes}
                study(name, joules=joules * processes, output_tokens=50 * processes, **settings)
    study("more", config="z9", num_processes=9)
    study("x only", config="x1")
    study("y only", config="y1", joules=500.0)
    for precision, joules in (("fp16", 100.0), ("int8", 50.0)):
        for batch in (32, 64):
            study(precision, joules=joules, config=f"{precision} {batch}", precision=precision, batch=batch)
    study("int8", config="another prompt", precision="int8", batch=64)
    study("15W", thermal_profile="15W")
    study("unhashed", config=None)
    lake.write_many(runs)
    return lake.root


@pytest.fixture(scope="module")
def summary(root: Path) -> pl.DataFrame:
    return Lake(root).sql("SELECT * FROM experiment_summary").pl()


def compared(summary: pl.DataFrame, a: str, b: str) -> pl.DataFrame:
    return compare_experiments(*(select_experiments(summary, each) for each in (a, b)))


def one(rows: pl.DataFrame, figure: str) -> dict:
    return rows.filter(figure=figure).row(0, named=True)


@pytest.mark.parametrize(
    ("b", "figures", "column", "change"),
    [
        ("machine", (ENERGY,), "energy_scope", "gpu → machine"),
        ("reported", (ENERGY,), "energy_source and energy_method", "energy_method: counter → reported"),
        ("windowed", (ENERGY, LATENCY, SPEED), "measurement_methodology", "total → windowed"),
        ("whole batches", (LATENCY,), "token_timing", "streaming → per_request_batch"),
    ],
)
def test_what_was_measured_differently_has_no_verdict(
    b: str, figures: tuple[str, ...], column: str, change: str, summary: pl.DataFrame
) -> None:
    rows = compared(summary, "gpu", b)
    for figure in (ENERGY, LATENCY, SPEED):
        row = one(rows, figure)
        assert None not in (row["a_mean"], row["b_mean"])
        unsaid = [row[name] for name in ("verdict", "difference", "change_percent", "difference_ci_lower")]
        if figure in figures:
            assert unsaid == [None] * 4
            assert row["remark"] == f"no verdict: {column} is not the same on both sides"
            assert change in row["differs_in"]
        else:
            assert None not in unsaid
            assert row["remark"] is None


def test_a_side_whose_runs_were_measured_differently_has_no_mean(summary: pl.DataFrame) -> None:
    row = one(compared(summary, "mixed", "gpu"), ENERGY)
    assert [row[name] for name in ("a_mean", "a_sd", "a_n", "verdict", "difference")] == [None, None, 5, None, None]
    assert (row["b_mean"], row["b_n"]) == (pytest.approx(101 / 50), 3)
    assert row["remark"] == "no mean of A: energy_scope (gpu or machine) differs between its runs"
    assert one(compared(summary, "mixed", "gpu"), SPEED)["verdict"] == "no difference shown"


def test_only_the_same_number_of_processes_and_the_same_settings_are_paired(summary: pl.DataFrame) -> None:
    rows = compared(summary, "some", "more")
    energies = rows.filter(figure=ENERGY)
    pairs = energies.select("num_processes", "config_hash", "a_n", "b_n").sort("config_hash").rows()
    assert pairs == [(1, "x1", 3, 3), (4, "x4", 3, 3), (1, "y1", 3, 3), (4, "y4", 3, 3)]
    assert energies["verdict"].unique().to_list() == ["B is higher"]
    assert without_partner(*(select_experiments(summary, each) for each in ("some", "more")), rows) == 3


def test_a_selector_that_leaves_one_value_a_side_compares_these_and_names_them(summary: pl.DataFrame) -> None:
    row = one(compared(summary, "x only", "y only"), ENERGY)
    assert (row["verdict"], row["differs_in"], row["remark"]) == ("B is higher", "config_hash: x1 → y1", None)
    row = one(compared(summary, "study=some,config_hash=x1", "study=some,config_hash=x4"), ENERGY)
    assert row["differs_in"] == "num_processes: 1 → 4; config_hash: x1 → x4"
    with pytest.raises(UsageError, match="no configuration of A is on side B: they are told apart by config_hash"):
        compared(summary, "study=some,num_processes=1", "study=machine")


def test_settings_that_differ_with_what_is_compared_pair_nothing_and_others_are_never_mixed(
    summary: pl.DataFrame,
) -> None:
    rows = compared(summary, "fp16", "int8").filter(figure=ENERGY).sort("batch")
    assert rows["batch"].to_list() == [32, 64]
    assert rows["verdict"].to_list() == ["B is lower", None]
    assert rows["remark"][1].startswith(
        "no mean of B: config_hash (another prompt or int8 64) differs between its runs"
    )


def test_other_conditions_are_said_and_settings_that_nobody_knows(summary: pl.DataFrame) -> None:
    row = one(compared(summary, "gpu", "15W"), ENERGY)
    assert (row["differs_in"], row["verdict"]) == ("thermal_profile: unknown → 15W", "no difference shown")
    sides = summary.filter(pl.col("study").is_in(["gpu", "15W"])), select_experiments(summary, "x only")
    row = one(compare_experiments(*sides), ENERGY)
    assert row["remark"] == "A: thermal_profile (15W or unknown) differs"
    row = one(compared(summary, "gpu", "unhashed"), ENERGY)
    assert row["remark"] == "not all runs have a config_hash: nobody knows whether their settings are the same"


def test_the_command_prints_why_there_is_no_verdict(root: Path, cli: Cli) -> None:
    said = cli("experiment", "compare", "gpu", "machine", "--root", root).stdout
    assert "no verdict: energy_scope is not the same on both sides" in said
