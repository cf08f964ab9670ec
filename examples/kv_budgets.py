"""Ask a lake where quality collapses: between which budgets, at which lengths, by wrong answers or by missing ones.

python examples/kv_budgets.py lake [GROUP]

`lake kv all -c sanity` makes a lake with a group to ask about.
"""

from __future__ import annotations

import sys

import polars as pl

from groundlake import Lake
from groundlake.errors import LakeError

VERDICTS = """
    select t.* from kv_current_analyses a
    join kv_transitions t on t.hardware_id = a.hardware_id and t.run_id = a.run_id
"""
HOLDING = 0.15
"""A budget holds if it, and every larger one, loses less accuracy than this against the whole cache."""


def tell(lake: Lake, group: str | None) -> None:
    """Print the verdicts of each group, and for each length the smallest budget that holds."""
    verdicts = lake.sql(VERDICTS).pl().sort("exp_group_id", "comparison")
    chosen = verdicts if group is None else verdicts.filter(exp_group_id=group)
    if chosen.is_empty():
        sys.exit(f"error: {group or 'no group'} was analysed in {lake.root}; lake kv all makes one")
    bins = lake.sql("select * from kv_bin_stats where bin_index >= 0 and accuracy_all is not null").pl()
    lost = pl.col("accuracy_all").first() - pl.col("accuracy_all")
    holds = pl.col("budget").filter((lost < HOLDING).cum_min()).min()
    for (name,), rules in chosen.group_by("exp_group_id", maintain_order=True):
        for row in rules.iter_rows(named=True):
            found = f"{row['from_budget']} to {row['to_budget']}" if row["is_detected"] else "no transition"
            by = "" if row["failure_share"] is None else f", {row['failure_share']:.0%} of that by failures"
            print(f"{name}, {row['comparison']}: {found}; accuracy loses {row['drop'] or 0.0:.3f}{by}")
        own = bins.filter(exp_group_id=name).sort("bin_index", "budget", descending=[False, True])
        lengths = own.group_by("tokens_from", "tokens_to", maintain_order=True)
        print(lengths.agg(holds=holds, budgets="budget", accuracy=pl.col("accuracy_all").round(2)))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        tell(Lake(sys.argv[1]), (*sys.argv, None)[2])
    except LakeError as error:
        sys.exit(f"error: {error}")
