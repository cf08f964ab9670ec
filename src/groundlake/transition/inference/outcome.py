"""What asking a group tells: while it goes on, and in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """Something happened while a group is asked.

    Attributes:
        now: What goes on.
        done: Requests that have ended, of all budgets together.
        total: Requests that this call asks.
        failed: Those of them without an answer that can be scored.
    """

    now: str
    done: int
    total: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class BudgetOutcome:
    """What came of one budget.

    Attributes:
        budget: Fraction kept.
        budget_id: Its identity.
        run_id: Its run in the lake; None where nothing was to be written.
        planned: Requests that it has in all.
        already: Those of them that had ended before.
        asked: Requests that ended now.
        answered: Those of them with an answer.
        failures: How many failed, by kind.
    """

    budget: float
    budget_id: str
    run_id: str | None
    planned: int
    already: int
    asked: int
    answered: int
    failures: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Requests that ended now without an answer that can be scored."""
        return sum(self.failures.values())

    @property
    def left(self) -> int:
        """Requests that were not asked, because the run ended early."""
        return self.planned - self.already - self.asked


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What a call of `run` came to.

    Attributes:
        budgets: What came of each budget, in the order of the settings.
        interrupted: Whether somebody ended it early; the same call goes on.
        brought_in: Requests of a process that was killed, which are in the lake now.
        forced: What differs from what the group held, and was let through; None where nothing does.
        remark: That the runs carry a hardware id that was not known before; None of a known one.
    """

    budgets: tuple[BudgetOutcome, ...]
    interrupted: bool
    brought_in: int
    forced: str | None
    remark: str | None = None

    @property
    def asked(self) -> int:
        """Requests that ended now."""
        return sum(each.asked for each in self.budgets)

    @property
    def answered(self) -> int:
        """Those of them with an answer."""
        return sum(each.answered for each in self.budgets)
