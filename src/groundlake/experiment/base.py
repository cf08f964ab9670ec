"""What all models of an experiment have in common: frozen, finite, nothing unknown, and contradictions are told."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, model_validator
from typing_extensions import Self

if TYPE_CHECKING:
    from collections.abc import Iterator


class ImplausibleWarning(UserWarning):
    """Figures of a result contradict each other or physics; they are kept as they are."""


Amount = Annotated[float, Field(ge=0)]
"""A quantity that is never negative."""

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]

TOLERANCE = 0.05
"""Relative difference up to which two figures of the same thing agree: clocks and sensors are not better."""


class Model(BaseModel):
    """A frozen model that refuses unknown fields, negative amounts, NaN and infinity.

    What only cannot be true in physics (tokens that do not add up, 280 W for 2.5 s that are 140 J) is kept, and told
    with an `ImplausibleWarning`: files with such figures exist, and the reader has to see them.

    Attributes:
        spellings: Other names under which files and documents write a field: other name to name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    spellings: ClassVar[dict[str, str]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _read_spellings_and_doubt(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Self:  # noqa: ANN401 - any input
        if isinstance(data, cls):
            return data  # it was told about when it was made
        if isinstance(data, dict):
            data = _respelled(data, cls.spellings)
        made: Self = handler(data)
        for doubt in made.contradictions():
            warnings.warn(f"{cls.__name__}: {doubt}", ImplausibleWarning, stacklevel=3)
        return made

    def contradictions(self) -> Iterator[str]:
        """Name what cannot all be true, a sentence each with both figures."""
        return iter(())


def _respelled(data: dict[str, Any], spellings: dict[str, str]) -> dict[str, Any]:
    """The same fields under our names; a field given under two names is left for the model to refuse."""
    return {
        spellings[name] if name in spellings and spellings[name] not in data else name: value
        for name, value in data.items()
    }


def differ(one: float, other: float) -> bool:
    """Whether two figures of the same thing differ by more than the tolerance."""
    return abs(one - other) > TOLERANCE * max(abs(one), abs(other))
