"""Estimates of the operations of an experiment, as rows: each keeps its method and confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.schemas.experiment import CONFIDENCES, FLOPS_METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.experiment.result import ExperimentResult


def flops_rows(result: ExperimentResult) -> Iterator[dict[str, object]]:
    """Rows of `flops_estimates`: each of all, the total where none of them says it, and those of the processes."""
    for each in result.flops:
        yield {
            "process_index": None,
            "flops": each.value,
            "method": each.method,
            "confidence": each.confidence,
            "compute_precision": each.precision,
            "note": each.notes,
        }
    parts = [process.compute_metrics for process in result.process_results]
    if result.total_flops is not None and result.total_flops not in {each.value for each in result.flops}:
        kinds = {(part.flops_method, part.flops_confidence, part.compute_precision) for part in parts}
        added = bool(parts) and sum(part.flops_total or 0.0 for part in parts) == result.total_flops
        yield _flops_row(None, result.total_flops, *(kinds.pop() if added and len(kinds) == 1 else (None, None, None)))
    for process, part in zip(result.process_results, parts, strict=True):
        if part.flops_total is not None:
            told = (part.flops_method, part.flops_confidence, part.compute_precision)
            yield _flops_row(process.process_index, part.flops_total, *told)


def _flops_row(
    process_index: int | None, flops: float, method: str | None, confidence: str | None, precision: str | None
) -> dict[str, object]:
    unlisted = [
        f"{what} of the tool: {text}"
        for what, text, known in (
            ("method", method, FLOPS_METHODS),
            ("confidence", confidence, CONFIDENCES),
        )
        if text is not None and text not in known
    ]
    return {
        "process_index": process_index,
        "flops": flops,
        "method": method if method in FLOPS_METHODS else "unknown",
        "confidence": confidence if confidence in CONFIDENCES else "unknown",
        "compute_precision": precision,
        "note": "; ".join(unlisted) or None,
    }
