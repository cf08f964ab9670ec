"""Withdraw a run: a statement of its own, behind which no earlier one comes back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from groundlake.commit import Commit
from groundlake.errors import UsageError
from groundlake.intake import leaves, utc_now
from groundlake.layout import new_id
from groundlake.ledger import retry
from groundlake.schemas import Runs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from groundlake.ledger import Ledger


def retract(root: Path, ledger: Ledger, hardware_ids: Sequence[str], run_id: str, why: str) -> str:
    """Publish the statement that a run is withdrawn, as `Lake.retract` describes; returns the run's hardware id."""
    if not why.strip():
        raise UsageError("a run is withdrawn for a reason: say why; it stays in the ledger")
    of_run = pl.col("run_id") == run_id
    found = [
        known for name in hardware_ids if not (known := retry(partial(ledger.current, name)).filter(of_run)).is_empty()
    ]
    if len(found) != 1:
        raise UsageError(_why_not(root, ledger, hardware_ids, run_id, len(found)))
    row = found[0].with_columns(
        revision=pl.col("revision") + 1,
        recorded_at=pl.lit(utc_now()),
        status=pl.lit("retracted"),
        error=pl.lit(why),
    )
    Runs.check(row)
    with Commit(root) as commit:
        commit.stage(Runs, new_id(), leaves(Runs, row))
        commit.publish()
    return str(row["hardware_id"][0])


def _why_not(root: Path, ledger: Ledger, hardware_ids: Sequence[str], run_id: str, found: int) -> str:
    """Say why a run cannot be withdrawn: it is not there, not there any more, or on several devices."""
    if found:
        return f"{found} devices have a run {run_id}; name one with --hw"
    for name in hardware_ids:
        withdrawn = ledger.all_rows(name).filter(pl.col("run_id") == run_id, pl.col("status") == "retracted")
        if not withdrawn.is_empty():
            return f"run {run_id} of {name} was withdrawn before: {withdrawn['error'][-1]}"
    device = f" of {hardware_ids[0]}" if len(hardware_ids) == 1 else ""
    return f"run {run_id}{device} is not in {root}; the table runs lists all of them"
