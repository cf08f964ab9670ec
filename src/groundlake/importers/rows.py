"""Ledger rows of imported runs."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

from groundlake.ground_truth.record import ledger_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from groundlake.importers.candidates import Candidate
    from groundlake.importers.resolve import NewRun
    from groundlake.importers.zones import Zones
    from groundlake.store import Lake

FLOPS_METHOD = "fx_chain_v1"
"""Counting rules of the tool that wrote these trees, as `groundlake.measure` names them."""

FLOPS_TOLERANCE = 1e-3
"""Relative difference of FLOPs per batch from the model's median that is worth a warning; good files reach 3e-4."""

OWN_TOOL = "groundlake"
"""Files that this project wrote name it as their tool: on a GPU it times with events, and what it counted by is
not in the file."""


def ledger_row(run: NewRun, zones: Zones, expected: Mapping[str, float]) -> dict[str, Any]:
    """Return the ledger row of an imported run.

    Args:
        run: The run and its files.
        zones: Zones of dates without one.
        expected: Model to its usual FLOPs per batch element.
    """
    best = run.best
    head = {**best.head, "hardware_id": best.hardware_id, "batch_size": best.batch, "run_id": run.run_id}
    started_at, zone_source = zones.to_utc(best.date, best.hardware_id)
    ours = str(best.head["tool_version"]).startswith(OWN_TOOL)
    state = best.system_state
    warnings = [*best.warnings, *_flops_warning(best, expected.get(best.model))]
    row = {
        **ledger_columns(head, best.summary),
        "started_at": started_at,
        "started_at_zone_source": zone_source,
        "source_measurement_date": best.date,
        "source_hardware_id": best.head["hardware_id"],
        "sources": list({file.found.uri: file.source for file in run.files}.values()),
        "system_under_load": {**state, "throttle_reasons": None} if state else None,
        "flops_method": None if ours else FLOPS_METHOD,
        "warnings": warnings or None,
    }
    if ours and best.head["device"] == "cuda":
        row["timing_method"] = "node_events"
    return row


def expected_flops(lake: Lake, candidates: Iterable[Candidate]) -> dict[str, float]:
    """Median FLOPs per batch element of each model, over the files of an import and the runs in the lake."""
    found: dict[str, dict[tuple[Any, ...], float]] = defaultdict(dict)
    if lake.exists:
        columns = ("hardware_id", "run_id", "model", "batch", "total_flops")
        for hardware_id, run_id, model, batch, flops in lake.runs().select(columns).iter_rows():
            if flops is not None and batch:
                found[model][hardware_id, run_id] = flops / batch
    for file in candidates:
        found[file.model][file.hardware_id, file.run_id] = file.summary["total_flops"] / file.batch
    return {model: median(values.values()) for model, values in found.items()}


def _flops_warning(file: Candidate, expected: float | None) -> list[str]:
    """FLOPs per batch element verify the batch size: they are a property of the model."""
    per_batch = file.summary["total_flops"] / file.batch
    if expected is None or abs(per_batch - expected) <= FLOPS_TOLERANCE * expected:
        return []
    what = f"{per_batch:.0f} FLOP per batch element, other files of {file.model} have {expected:.0f}"
    return [f"flops_per_batch_mismatch: {what}; is the batch size {file.batch}?"]
