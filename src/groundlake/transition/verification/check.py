"""What a check of an evaluation says: what was expected, what was found, and which command mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the definition of done.

    Attributes:
        name: The stage, a dot, and what is checked of it; it never changes its meaning.
        passed: Whether it holds.
        detail: What was found; where it does not hold also what was expected, and which command mends it.
    """

    name: str
    passed: bool
    detail: str


def judged(name: str, problems: Sequence[str], *, fine: str, mend: str) -> Check:
    """Make a check of what is wrong with something.

    Args:
        name: Name of the check.
        problems: What is wrong, each with what was expected and what was found; nothing where it holds.
        fine: What to say where it holds.
        mend: What to do where it does not.
    """
    if not problems:
        return Check(name=name, passed=True, detail=fine)
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return Check(name=name, passed=False, detail=f"{'; '.join([*problems[:SHOWN], *more])}; {mend}")
