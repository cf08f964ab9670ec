"""Does an answer name the right class, and no other?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


def classification(answer: str, gold: str, classes: Sequence[str] | None) -> float:
    """Return 1 / n where the answer names the right class among n classes, and 0 where it does not name it.

    A class whose name is part of the right one's name ("Event" beside "Other event") was not named but is found, and
    is taken out again. LongBench takes it out of the list that it walks, so that the class behind it is never looked
    at and may stay: of three such names in a row only the first and the third go. Published values have been made that
    way; so is this one. (LongBench also has a comparison by similarity for answers that name no class. It is never
    reached, because a list is compared with 0 there.)

    Args:
        answer: The answer.
        gold: Name of the right class.
        classes: Names of all classes, in the order of the data set.

    Raises:
        UsageError: The classes are not known.
    """
    if not classes:
        raise UsageError(
            "an answer of a classification task needs all classes: the data set has no all_classes here\n"
            "  fill that field of each example, or choose another metric"
        )
    named = [name for name in classes if name in answer]
    place = 0
    while place < len(named):
        name = named[place]
        if name in gold and name != gold:
            named.remove(name)  # the next name moves to this place, and is passed over
        place += 1
    return 1.0 / len(named) if gold in named else 0.0
