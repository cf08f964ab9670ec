"""The built-in estimators: their SQL is in `queries/estimators/`, and what it predicts is written to `estimates`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import UsageError
from groundlake.hardware import register_known
from groundlake.query_files import named_query
from groundlake.schemas import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from groundlake.estimates import EstimatesWritten
    from groundlake.store import Lake

ESTIMATORS = {"roofline": "roofline", "efficiency-curve": "efficiency_curve"}
"""Name of an estimator to the query that computes it."""

PREDICTED = (*KEYS, "subgraph_id", "predicted_latency_ms", "extrapolated")
HOLDOUTS = ("model", "hardware", "batch", "kfold")
CENTRES = ("geometric", "compat")
DIGEST_LENGTH = 8


@dataclass(frozen=True)
class Fitted:
    """What a fit did.

    Attributes:
        version: Version that the predictions have.
        written: What came into the lake.
        without: Subgraphs that the estimator has no prediction for.
        registered: Hardware ids whose specification was copied from the registry into the lake.
    """

    version: str
    written: EstimatesWritten
    without: int
    registered: tuple[str, ...]


def fit(
    lake: Lake,
    estimator: str,
    *,
    version: str | None = None,
    hardware_id: str | None = None,
    parameters: Mapping[str, object] | None = None,
    on_published: Callable[[int], None] | None = None,
) -> Fitted:
    """Compute the predictions of a built-in estimator and write them.

    Args:
        lake: Measurements to fit on and to predict, and where the predictions go.
        estimator: roofline or efficiency-curve.
        version: Name of this version; None makes one of the hold-out, of parameters that were given, and of a hash of
            all that the fit depends on, so that fitting again without new measurements finds everything present.
        hardware_id: Only what is measured on this device is predicted; the fit sees all the same.
        parameters: Parameters of the query, for example `holdout`.
        on_published: Called with 1 after each run.

    Raises:
        UsageError: An unknown estimator or parameter, a fit that would see what it predicts, or nothing to predict.
        RunExistsError: The version is there with other figures.
    """
    given = dict(parameters or {})
    if estimator not in ESTIMATORS:
        raise UsageError(f"there is no built-in estimator {estimator!r}; there are {', '.join(ESTIMATORS)}")
    query = named_query(ESTIMATORS[estimator])
    _refuse(given)
    params = query.params(given).sql
    known = lake.hardware_ids()
    if hardware_id is not None and hardware_id not in known:
        raise UsageError(f"nothing was measured on {hardware_id!r}; there are {', '.join(known) or 'none'}")
    registered = register_known(lake)
    rows = lake.query(query.name, **given).pl().select(PREDICTED)
    if hardware_id is not None:
        rows = rows.filter(pl.col("hardware_id") == hardware_id)
    predicted = rows.filter(pl.col("predicted_latency_ms").is_not_null())
    if predicted.is_empty():
        raise UsageError(_nothing(estimator, rows))
    standard = {parameter.name: parameter.default for parameter in query.parameters}
    label = given.pop("holdout", None) or standard.get("holdout") or "registry"
    changed = [f"{name}={value}" for name, value in sorted(given.items()) if str(value) != str(standard[name])]
    name = version or "-".join([str(label), *changed, _digest(lake, query.sql + params)])
    written = lake.write_estimates(predicted, estimator=estimator, version=name, on_published=on_published)
    return Fitted(name, written, rows.height - predicted.height, tuple(registered))


def _refuse(given: Mapping[str, object]) -> None:
    """Refuse values that the query would take without a word."""
    holdout, centre = given.get("holdout", HOLDOUTS[0]), given.get("centre", CENTRES[0])
    if holdout == "none":
        raise UsageError("holdout none: an estimate of what it was fitted on says nothing; `lake query` still shows it")
    if holdout not in HOLDOUTS:
        raise UsageError(f"holdout is one of {', '.join(HOLDOUTS)}, got {holdout!r}")
    for name in ("compute_share", "bandwidth_share", "folds"):
        least = 2 if name == "folds" else 0
        text = str(given.get(name, least + 1))
        if text.replace(".", "", 1).replace("-", "", 1).isdigit() and (float(text) < least or float(text) == 0):
            raise UsageError(f"{name} must be {'at least 2' if least else 'more than 0'}, got {text}")
    if centre not in CENTRES:
        raise UsageError(f"centre is one of {', '.join(CENTRES)}, got {centre!r}")


def _digest(lake: Lake, text: str) -> str:
    """Hash all that predictions depend on: the query, its parameters, the runs and the hardware."""
    runs = lake.sql("SELECT hardware_id, run_id FROM latest_runs ORDER BY hardware_id, run_id").rows()
    hardware = lake.sql("SELECT hardware_id, run_id FROM hardware ORDER BY hardware_id, run_id").rows()
    content = json.dumps([text, runs, hardware]).encode()
    return hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]


def _nothing(estimator: str, rows: pl.DataFrame) -> str:
    if rows.is_empty():
        return "there are no subgraph timings to predict; `lake ingest` or `lake migrate-v1` brings some in"
    advice = {
        "roofline": "the lake knows no peak or bandwidth of these devices; `lake hw add FILE` tells them",
        "efficiency-curve": "the fit saw nothing else to learn from; measure more, or take another --holdout",
    }
    return f"{estimator} has no prediction for any of {rows.height} subgraphs: {advice[estimator]}"
