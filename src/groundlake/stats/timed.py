"""Turn the raw latency samples of a subgraph into the statistics that a measurement record holds."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from groundlake.ground_truth import EfficiencyStats, LatencyStats, SubgraphMeasurement
from groundlake.stats.intervals import summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_APPLICABLE = EfficiencyStats(mean=0.0, std=0.0, min=0.0, max=0.0, ci_lower=0.0, ci_upper=0.0, samples=0)
"""Efficiency of a subgraph without FLOPs, or without a known peak: NULL in the lake."""


def timed_subgraph(
    samples_ms: Sequence[float],
    *,
    model: str,
    subgraph_id: int = 0,
    flops: int,
    total_bytes: int,
    node_names: Sequence[str] = (),
    fusion_pattern: str = "Unfused",
    operation_type: str = "unfused",
    theoretical_peak_flops: float | None = None,
) -> SubgraphMeasurement:
    """Describe one subgraph by its samples; the efficiency is computed for each sample and then averaged.

    Args:
        samples_ms: Shape (n,), n >= 1: latency of each timed pass, in ms.
        model: Model that the subgraph belongs to.
        subgraph_id: Position of the subgraph in the model, from 0.
        flops: Floating-point operations of one pass (FLOP); 0 where it has none, and then no efficiency.
        total_bytes: Bytes moved in one pass.
        node_names: Graph nodes of the subgraph, in order.
        fusion_pattern: Kinds of its first three operations, or Unfused.
        operation_type: Class of the pattern.
        theoretical_peak_flops: Peak that the efficiency refers to (FLOP/s); None where it is not known.

    Raises:
        UsageError: No sample was given, or one is not finite.
    """
    achieved, efficiency = _efficiency(flops, samples_ms, theoretical_peak_flops)
    return SubgraphMeasurement(
        subgraph_id=subgraph_id,
        fusion_pattern=fusion_pattern,
        operation_type=operation_type,
        flops=flops,
        total_bytes=total_bytes,
        arithmetic_intensity=flops / max(1, total_bytes),
        theoretical_peak_flops=theoretical_peak_flops or 0.0,
        measured_latency=LatencyStats(**summarize(samples_ms)),
        achieved_flops=achieved,
        efficiency=efficiency,
        node_names=list(node_names),
        source_model=model,
    )


def _efficiency(flops: int, samples_ms: Sequence[float], peak: float | None) -> tuple[float, EfficiencyStats]:
    """Mean achieved rate (FLOP/s) and share of the peak; not applicable without FLOPs or with a time of 0."""
    if not flops or min(samples_ms) <= 0:
        return 0.0, NOT_APPLICABLE
    rates = [flops / (sample / 1e3) for sample in samples_ms]
    if not peak:
        return fmean(rates), NOT_APPLICABLE
    return fmean(rates), EfficiencyStats(**summarize([rate / peak for rate in rates]))
