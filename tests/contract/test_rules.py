"""What a contract refuses, what it lets pass, and how it says so."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.errors import ContractViolationError, LakeError
from groundlake.schemas import TABLES, Estimates, PowerTimeseries, Quarantine, Runs, SubgraphTimings, Table
from groundlake.schemas.calibration import (
    CalibrationBuilds,
    CalibrationSamples,
    EvaluationSamples,
    EvaluationSets,
    Quantizations,
)
from groundlake.schemas.explaining import broken_rules
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

CONTRACTS: list[type[Table]] = [*TABLES.values(), Quarantine]
ULP = 2.0**-52


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.table_name())
def test_valid_rows_pass(contract: type[Table], valid) -> None:
    contract.check(valid(contract))
    contract.check(contract.empty_frame())
    assert broken_rules(contract, valid(contract)) == set()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.table_name())
def test_null_passes_just_where_it_is_allowed(contract: type[Table], valid) -> None:
    for spec in contract.columns():
        broken = broken_rules(contract, valid(contract, **{spec.name: None}))
        assert (("not_nullable" in {rule for _, rule in broken}) and (spec.name, "not_nullable") in broken) == (
            not spec.nullable
        )


NUMBERS = [
    (contract, spec.name, spec.dtype)
    for contract in CONTRACTS
    for spec in contract.columns()
    if spec.dtype in (pl.Float64(), pl.List(pl.Float64()))
]


@pytest.mark.parametrize(("contract", "name", "dtype"), NUMBERS, ids=[f"{c.table_name()}.{n}" for c, n, _ in NUMBERS])
def test_no_number_is_nan_or_infinite(contract: type[Table], name: str, dtype: pl.DataType, valid) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        value = [1.0, bad] if isinstance(dtype, pl.List) else bad
        with pytest.raises(ContractViolationError, match=f"{name}: must be a finite number; 2 of 2 rows break this"):
            contract.check(valid(contract, **{name: value}))


@pytest.mark.parametrize(
    ("contract", "columns", "rule"),
    [
        (SubgraphTimings, {"flops": -1}, "flops: must be at least"),
        (SubgraphTimings, {"latency_mean_ms": -1.0}, "latency_mean_ms: must be at least"),
        (SubgraphTimings, {"latency_samples": 0}, "latency_samples: must be at least"),
        (SubgraphTimings, {"latency_samples_ms": [1.0, -0.1]}, "latency_samples_ms >= 0"),
        (Runs, {"end_to_end_samples_ms": [-1.0]}, "end_to_end_samples_ms >= 0"),
        (SubgraphTimings, {"latency_min_ms": 2.0}, "latency_min <= mean <= max"),
        (SubgraphTimings, {"latency_max_ms": 0.5}, "latency_min <= mean <= max"),
        (SubgraphTimings, {"latency_ci_lower_ms": 1.5}, "latency_ci_lower <= mean <= ci_upper"),
        (SubgraphTimings, {"latency_ci_upper_ms": 0.5}, "latency_ci_lower <= mean <= ci_upper"),
        (SubgraphTimings, {"efficiency_min": 2.0}, "efficiency_min <= mean <= max"),
        (SubgraphTimings, {"efficiency_ci_lower": 2.0}, "efficiency_ci_lower <= mean <= ci_upper"),
        (Runs, {"status": "done"}, "status: must be one of"),
        (Runs, {"timing_method": "stopwatch"}, "timing_method: must be one of"),
        (Runs, {"started_at_zone_source": "guess"}, "started_at_zone_source: must be one of"),
        (Runs, {"started_at_zone_source": None}, "started_at_has_zone_source"),
        (Runs, {"status": "failed", "error": None}, "failed_run_names_its_error"),
        (Runs, {"end_to_end_latency_ms": None}, "end_to_end_std_needs_mean"),
        (Runs, {"kind": "Not A Kind"}, "kind: must match"),
        (Runs, {"run_id": "two words"}, "run_id: must match"),
        (Runs, {"part": "a/b"}, "part: must match"),
        (Runs, {"batch": -1}, "batch: must be at least"),
        (PowerTimeseries, {"phase": "later"}, "phase: must be one of"),
        (PowerTimeseries, {"power_w": -0.1}, "power_w: must be at least"),
        (
            Estimates,
            {"predicted_latency_ms": None, "predicted_energy_j": None, "predicted_memory_bytes": None},
            "predicts_something",
        ),
        (Quarantine, {"code": "Bad JSON"}, "code: must match"),
        (CalibrationBuilds, {"num_samples": 3}, r"num_samples = num_classes \* samples_per_class"),
        (CalibrationBuilds, {"class_names": ["cat", "dog"]}, "each_class_has_a_name"),
        (CalibrationBuilds, {"run_id": "one"}, "one_set_in_a_run"),
        (CalibrationBuilds, {"split": "validation"}, "split: must be one of"),
        (CalibrationSamples, {"run_id": "one", "ordinal": pl.Series([0, 1])}, "sample_once_in_run"),
        (CalibrationSamples, {"run_id": "one", "sample_id": pl.Series(["5e" * 32, "5f" * 32])}, "ordinal_once_in_run"),
        (CalibrationSamples, {"sample_id": "5e" * 31}, "sample_id: must match"),
        (CalibrationSamples, {"sample_id": "5E" * 32}, "sample_id: must match"),
        (CalibrationSamples, {"pixel_min": 2}, "pixel_min <= mean <= max"),
        (CalibrationSamples, {"pixel_mean": 1.01}, "pixel_min <= mean <= max"),
        (CalibrationSamples, {"pixel_max": 256}, "pixel_max: must be at most"),
        (CalibrationSamples, {"pixels": bytes(13)}, "pixels_are_of_three_bytes"),
        (CalibrationSamples, {"pixels": b""}, "pixels_are_of_three_bytes"),
        (
            CalibrationSamples,
            {"run_id": "one", "pixels": pl.Series([bytes(12), bytes(15)])},
            "images_of_a_run_have_one_size",
        ),
        (EvaluationSets, {"run_id": "one"}, "one_set_in_a_run"),
        (EvaluationSets, {"num_samples": 0}, "num_samples: must be at least"),
        (EvaluationSamples, {"sample_id": "image 7"}, "sample_id: must match"),
        (Quantizations, {"accuracy_after": 1.01}, "accuracy_after: must be at most"),
        (Quantizations, {"calibration_batch_size": 0}, "calibration_batch_size: must be at least"),
    ],
)
def test_what_cannot_be_is_refused(contract: type[Table], columns: dict[str, object], rule: str, valid) -> None:
    with pytest.raises(ContractViolationError, match=rule):
        contract.check(valid(contract, **columns))


@pytest.mark.parametrize(
    "columns",
    [
        {"efficiency_mean": 1.4, "efficiency_min": 1.0, "efficiency_max": 2.0, "efficiency_ci_upper": 1.5},
        {"power": None, "latency_std_ms": 5.0},
        {"latency_ci_lower_ms": -0.5},
        {"flops": 0, "efficiency_mean": None, "achieved_flops": None, "efficiency_samples": None},
    ],
)
def test_what_is_only_implausible_passes(columns: dict[str, object], valid) -> None:
    columns.pop("power", None)
    SubgraphTimings.check(valid(SubgraphTimings, **columns))


def test_a_few_ulp_of_disorder_pass_and_more_does_not(valid) -> None:
    mean = 0.1 + 0.2
    for ulps, passes in ((0, True), (1, True), (6, True), (12, False), (1000, False)):
        frame = valid(
            SubgraphTimings,
            latency_mean_ms=mean,
            latency_min_ms=mean * (1 + ulps * ULP),
            latency_max_ms=mean * (1 - ulps * ULP),
            latency_ci_lower_ms=None,
            latency_ci_upper_ms=None,
        )
        assert (broken_rules(SubgraphTimings, frame) == set()) == passes, ulps
        try:
            SubgraphTimings.check(frame)
        except ContractViolationError:
            assert not passes
        else:
            assert passes


BAD_KEYS = ["", "~", "-", "7", "0042", " fp", "fp ", "a\nb", "a\x00b", "x" * 121, "ü" * 21]
BAD_KEYS += ["__HIVE_DEFAULT_PARTITION__"]


@pytest.mark.parametrize("key", ["hardware_id", "precision", "model"])
@pytest.mark.parametrize("value", BAD_KEYS, ids=repr)
def test_a_key_that_an_engine_would_not_read_back_is_refused(key: str, value: str, valid) -> None:
    for contract in (SubgraphTimings, Runs):
        with pytest.raises(ContractViolationError, match=f"{key}: must be a name for a folder"):
            contract.check(valid(contract, **{key: value}))


@pytest.mark.parametrize("value", ["x" * 120, "ü" * 20, "a/b", "7b", ".", "..", "a b", "-1", "1.5", "ab-"], ids=repr)
def test_other_keys_pass(value: str, valid) -> None:
    SubgraphTimings.check(valid(SubgraphTimings, hardware_id=value, precision=value, model=value))


def test_precision_is_lower_case_and_other_keys_keep_their_case(valid) -> None:
    SubgraphTimings.check(valid(SubgraphTimings, hardware_id="i7-12700K", model="ResNet18"))
    for contract in (SubgraphTimings, Runs):
        with pytest.raises(ContractViolationError, match="precision: must be a name for a folder"):
            contract.check(valid(contract, precision="FP32"))


def test_one_error_lists_every_failing_column_rule_count_and_example(valid, lake_root: Path) -> None:
    frame = valid(
        SubgraphTimings,
        5,
        flops=pl.Series([1, -2, 3, -4, 5]),
        latency_mean_ms=pl.Series([1.0, 1.0, math.nan, 1.0, 1.0]),
        fusion_pattern=pl.Series([None, *["x"] * 4], dtype=pl.String),
        latency_min_ms=pl.Series([9.0, 1.0, 1.0, 1.0, 1.0]),
    ).with_columns(pl.lit("two").alias("total_bytes"), pl.lit(1).alias("surprise"))
    with pytest.raises(ContractViolationError) as refused:
        Lake(lake_root).write({"hardware_id": "jetson_orin_agx_maxn"}, subgraph_timings=frame.drop("operation_type"))
    text = str(refused.value)
    assert text.splitlines()[0].startswith("subgraph_timings: the contract (version 1) refuses")
    for expected in (
        "operation_type: column is missing (String)",
        "surprise: column is not in the contract",
        "total_bytes: type is String, the contract says Int64",
        "flops: must be at least 0; 2 of 5 rows break this (row=1, flops=-2; row=3, flops=-4)",
        "latency_mean_ms: must be a finite number; 1 of 5 rows break this (row=2, latency_mean_ms=nan)",
        "fusion_pattern: must not be NULL; 1 of 5 rows break this (row=0, fusion_pattern=None)",
        "latency_min <= mean <= max; 2 of 5 rows break this (row=0,",
    ):
        assert expected in text
    assert not lake_root.exists()
    assert issubclass(ContractViolationError, LakeError)


def test_what_fits_without_loss_is_widened(valid) -> None:
    frame = valid(SubgraphTimings).with_columns(
        pl.col("flops").cast(pl.UInt32),
        pl.col("batch").cast(pl.Int8),
        pl.col("latency_mean_ms").cast(pl.Int32),
        pl.col("latency_std_ms").cast(pl.Float32),
        pl.Series("latency_samples_ms", [[1, 2], [3]]),
    )
    fitted = SubgraphTimings.conform(frame.drop("source_model", "efficiency_mean"))
    SubgraphTimings.check(fitted)
    assert fitted.schema == SubgraphTimings.polars_schema()
    assert fitted["latency_samples_ms"].to_list() == [[1.0, 2.0], [3.0]]
    assert fitted["source_model"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("flops", [1.0, 2.0]),
        ("flops", ["1", "2"]),
        ("latency_mean_ms", ["1", "2"]),
        ("fusion_pattern", [1, 2]),
        ("node_names", ["a", "b"]),
        ("latency_samples_ms", [["a"], ["b"]]),
    ],
)
def test_what_does_not_fit_is_named_and_never_converted(column: str, values: list[object], valid) -> None:
    frame = valid(SubgraphTimings).with_columns(pl.Series(column, values))
    with pytest.raises(ContractViolationError, match=f"{column}: type is"):
        SubgraphTimings.check(SubgraphTimings.conform(frame))


def test_a_ledger_value_of_a_wrong_type_is_named(lake_root: Path) -> None:
    lake = Lake(lake_root)
    wrong = {"batch": "four", "total_flops": 1.5, "started_at": "yesterday", "note": 7, "total_latency_ms": "3.5"}
    for column, value in (wrong | {"input_shape": [1, 2.5], "system_before": {"temperature_c": "hot"}}).items():
        with pytest.raises(ContractViolationError, match=f"{column}: type is"):
            lake.write({"hardware_id": "dev", column: value})
    assert not lake_root.exists()


def test_a_time_with_a_zone_becomes_naive_utc(lake_root: Path) -> None:
    lake = Lake(lake_root)
    local = dt.datetime(2026, 7, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    lake.write({"hardware_id": "dev", "started_at": local, "started_at_zone_source": "clock"})
    assert lake.runs()["started_at"].to_list() == [dt.datetime(2026, 7, 1, 10)]  # noqa: DTZ001 - naive UTC is the point
