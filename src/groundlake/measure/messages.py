"""What the parent and the measuring process say to each other. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from groundlake.errors import LakeError
    from groundlake.measure.cut import Subgraph
    from groundlake.measure.doubts import Doubt
    from groundlake.measure.int8.found import Int8Found
    from groundlake.measure.int8.settings import Int8Settings
    from groundlake.measure.plan import Configuration
    from groundlake.power.watch import PowerRecord


@dataclass(frozen=True, kw_only=True)
class Job:
    """One configuration, as the measuring process gets it."""

    model: str
    precision: str
    batch: int
    device: str
    warmup: int
    runs: int
    until_ci: float | None = None
    time_limit_s: float = 600.0
    input_shape: tuple[int, ...] | None = None
    power: str = "none"
    power_hz: float = 20.0
    int8: Int8Settings | None = None


@dataclass(frozen=True)
class Question:
    """Asks whether a sweep can start: configurations whose models must be known, the device, and how int8 is made."""

    configurations: tuple[Configuration, ...]
    device: str
    int8: Int8Settings | None = None


@dataclass(frozen=True)
class Known:
    """A sweep can start.

    Attributes:
        flops: What one input costs by the makers' count, by name; None where nobody says.
        int8_engine: What networks in int8 run on; None where there are none.
    """

    flops: Mapping[str, float | None] = field(default_factory=dict)
    int8_engine: str | None = None

    def settle(self, int8: Int8Settings | None) -> Int8Settings | None:
        """Return how int8 is made, with the engine that is there."""
        engine = self.int8_engine
        return int8 if int8 is None or engine is None else replace(int8, engine=engine)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the measuring process found out about one configuration.

    Attributes:
        subgraphs: Parts of the model; none where parts cannot be timed singly, and timing_method is end_to_end then.
        subgraph_ms: Shape (subgraphs, runs), in ms.
        pass_ms: Shape (runs,): instrumented passes, in ms.
        end_to_end_ms: Shape (runs,): uninstrumented passes, in ms.
        started_at: Aware, UTC.
        software: Versions and fingerprints, named as in the ledger.
        system_under_load: Read between the timed passes of both kinds.
        power: What the power sensors said around the timed passes of the whole model.
        throttle_events: How often the machine held its clocks back during the run; None where it does not say.
        warnings: What is doubtful and only the model shows.
        total_flops: Floating-point operations of one pass; None where only the subgraphs say.
        int8: What quantization came to; None in another precision.
    """

    input_shape: tuple[int, ...]
    subgraphs: tuple[Subgraph, ...]
    flops_method: str
    timing_method: str
    subgraph_ms: tuple[tuple[float, ...], ...]
    pass_ms: tuple[float, ...]
    end_to_end_ms: tuple[float, ...]
    started_at: datetime
    duration_s: float
    software: dict[str, Any]
    system_before: dict[str, Any]
    system_under_load: dict[str, Any]
    system_after: dict[str, Any]
    power: PowerRecord | None = None
    throttle_events: int | None = None
    warnings: tuple[Doubt, ...] = ()
    total_flops: int | None = None
    int8: Int8Found | None = None


@dataclass(frozen=True)
class Ready:
    """The process has imported torch; `software` is what it runs on, for failed runs."""

    software: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Passes done in a phase of the current configuration."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Failed:
    """The request did not work; the message of the error is the reason."""

    error: LakeError


Answer = Ready | Known | Measured | Failed
