"""What sensors said of the devices that worked: temperatures within the window, and the readings beside a result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import polars as pl

from groundlake.experiment.energy import GPU, scope_of, worked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundlake.experiment.energy import Rail
    from groundlake.power.watch import PowerRecord

RAIL = ("source", "rail", "device_index")
"""Columns that name a rail."""


@dataclass(frozen=True, kw_only=True)
class Heat:
    """Temperatures of the devices that worked, inside the window, in degrees C; None where none was read.

    Attributes:
        first_c: First one of the device that changed the most.
        last_c: Last one of the same device.
        highest_c: Highest one of any device.
    """

    first_c: float | None = None
    last_c: float | None = None
    highest_c: float | None = None


def heat_of(power: PowerRecord, *, device: str | None, gpus: Sequence[int] | None) -> Heat:
    """Read off the temperatures, each rail on its own: a cool device beside a hot one is no drift.

    Args:
        power: The readings.
        device: Kind of the device that worked: cpu, cuda; None where it is not known.
        gpus: GPUs that worked; None for all that there are.
    """
    inside = pl.col("timestamp_s").is_between(0, power.window_s)
    rows = _chosen(power.rows, lambda rail: worked(rail, device, gpus)).filter(inside)
    each = (
        rows.filter(pl.col("temperature_c").is_not_null())
        .sort("timestamp_s")
        .group_by(RAIL, maintain_order=True)
        .agg(
            first_c=pl.col("temperature_c").first(),
            last_c=pl.col("temperature_c").last(),
            highest_c=pl.col("temperature_c").max(),
        )
    )
    if each.is_empty():
        return Heat()
    most = each.sort((pl.col("last_c") - pl.col("first_c")).abs(), descending=True).row(0, named=True)
    return Heat(first_c=most["first_c"], last_c=most["last_c"], highest_c=max(each["highest_c"]))


def sidecar(power: PowerRecord, *, device: str | None, gpus: Sequence[int] | None) -> pl.DataFrame | None:
    """Readings of the GPUs that worked, as they were made; None where there are none.

    Of each GPU there are the readings within the window, and the one before and behind it: the trapezoid rule over
    them, interpolated at 0 and at the end of the window, gives the energy that the view run_energy gives.

    Args:
        power: The readings.
        device: Kind of the device that worked: cpu, cuda; None where it is not known.
        gpus: GPUs that worked; None for all that there are.

    Returns:
        timestamp_s, gpu_power_w, gpu_temperature_c and gpu_index; a rail of a trace without an index has the number in
        its name, else 0.
    """
    rows = _chosen(power.rows, lambda rail: scope_of(rail) == GPU and worked(rail, device, gpus))
    rows = rows.filter(pl.col("power_w").is_not_null())
    if rows.is_empty():
        return None
    moment = pl.col("timestamp_s")
    before = moment.filter(moment <= 0).max().over(RAIL)
    behind = moment.filter(moment >= power.window_s).min().over(RAIL)
    rows = rows.filter((moment >= before.fill_null(0)) & (moment <= behind.fill_null(power.window_s)))
    in_name = pl.col("rail").str.extract(r"(\d+)$").cast(pl.Int64)
    return rows.select(
        timestamp_s="timestamp_s",
        gpu_power_w="power_w",
        gpu_temperature_c="temperature_c",
        gpu_index=pl.coalesce("device_index", in_name, pl.lit(0)),
    ).sort("gpu_index", "timestamp_s", maintain_order=True)


def _chosen(rows: pl.DataFrame, is_wanted: Callable[[Rail], bool]) -> pl.DataFrame:
    """Rows of the rails that are wanted."""
    rails = filter(is_wanted, rows.select(RAIL).unique().to_dicts())
    each = [
        (pl.col("source") == rail["source"])
        & (pl.col("rail") == rail["rail"])
        & pl.col("device_index").eq_missing(rail["device_index"])
        for rail in rails
    ]
    return rows.filter(reduce(or_, each, pl.lit(value=False)))
