"""What of a group the settings look at: exactly their budgets, and no more repeats than they have.

The lake keeps whatever was asked, also of budgets and repeats that were taken out of the settings since; no figure is
made of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.query_files import quoted

if TYPE_CHECKING:
    from groundlake.transition.configuration.settings import Settings


def of_budgets(settings: Settings) -> str:
    """Return the condition, in SQL, that a row is of a budget of the settings."""
    budgets = ", ".join(f"CAST('{float(each)!r}' AS DOUBLE)" for each in settings.kv.budgets)
    return f"exp_group_id = {quoted(str(settings.output.exp_group_id))} AND budget IN ({budgets})"


def of_requests(settings: Settings) -> str:
    """Return the condition, in SQL, that a row is of a request that the settings have."""
    return f"{of_budgets(settings)} AND repeat <= {settings.decoding.repeats}"


def looked_at(settings: Settings) -> dict[str, str]:
    """Return the conditions on the views that all others are made of, so that every figure is of the same requests."""
    return {"kv_current_runs": of_budgets(settings), "kv_current_requests": of_requests(settings)}
