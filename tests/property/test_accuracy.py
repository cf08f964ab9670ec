"""Accuracies in SQL beside an independent computation with NumPy and SciPy, on generated predictions."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from groundlake.query_files import written_views

FIGURE = st.integers(1, 10**6).map(lambda hundredths: hundredths / 100)  # none nearly equal: those tie
PAIRS = st.lists(st.tuples(FIGURE, FIGURE, st.floats(0.0, 30.0)), min_size=3, max_size=40)


def accuracies(pairs: list[tuple[float, float, float]]) -> dict[str, object]:
    predicted, measured, noise = (np.array(values) for values in zip(*pairs, strict=True))
    signed = (predicted - measured) / measured * 100
    counted = np.where(np.abs(signed) <= noise, 0.0, np.abs(signed))
    errors = pl.DataFrame(
        {
            "model": [f"m{number}" for number in range(len(pairs))],
            "predicted": predicted,
            "measured": measured,
            "signed_error": predicted - measured,
            "signed_error_percent": signed,
            "counted_ape_percent": counted,
            "within_noise": np.abs(signed) <= noise,
        }
    ).with_columns(
        estimator=pl.lit("e"),
        estimator_version=pl.lit("1"),
        level=pl.lit("model"),
        quantity=pl.lit("latency"),
        hardware_id=pl.lit("dev"),
        precision=pl.lit("fp32"),
        batch=pl.lit(1),
        compared_with=pl.lit("total_latency_ms"),
        operation_type=pl.lit(None, pl.String),
        subgraph_id=pl.lit(None, pl.Int64),
        extrapolated=pl.lit(value=False),
        reason=pl.lit(None, pl.String),
    )
    with duckdb.connect() as connection:
        connection.register("estimator_error", errors.to_arrow())
        connection.execute(f"CREATE VIEW estimator_error_by AS {written_views()['estimator_error_by'].sql}")
        connection.execute(f"CREATE VIEW estimator_accuracy_by AS {written_views()['estimator_accuracy_by'].sql}")
        (row,) = connection.sql(written_views()["estimator_accuracy"].sql).pl().to_dicts()
    return row


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_sql_and_numpy_agree(pairs: list[tuple[float, float, float]]) -> None:
    predicted, measured, noise = (np.array(values) for values in zip(*pairs, strict=True))
    signed = (predicted - measured) / measured * 100
    counted = np.where(np.abs(signed) <= noise, 0.0, np.abs(signed))
    row = accuracies(pairs)
    assert row["num_configurations"] == len(pairs)
    assert row["median_ape"] == pytest.approx(np.median(counted))
    assert row["mean_ape"] == pytest.approx(counted.mean())
    assert row["p90_ape"] == pytest.approx(np.percentile(counted, 90))
    assert row["bias"] == pytest.approx(signed.mean(), rel=1e-9, abs=1e-9)
    assert row["rmse"] == pytest.approx(np.sqrt(((predicted - measured) ** 2).mean()))
    for bound in (10, 25, 50):
        assert row[f"within_{bound}_percent"] == pytest.approx((counted < bound).mean())
    spread = ((np.log(measured) - np.log(measured).mean()) ** 2).sum()
    if spread > 1e-9:
        residual = ((np.log(predicted) - np.log(measured)) ** 2).sum()
        assert row["log_r2"] == pytest.approx(1 - residual / spread, rel=1e-6, abs=1e-6)
    if np.unique(predicted).size > 1 and np.unique(measured).size > 1:
        assert row["rank_agreement"] == pytest.approx(spearmanr(predicted, measured).statistic, abs=1e-9)
    else:
        assert row["rank_agreement"] is None
