"""Time, power and state of the machine around the work on one budget."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from groundlake.power.watch import PowerWatch
from groundlake.transition.inference.recording import state_of

if TYPE_CHECKING:
    from groundlake.power.watch import PowerRecord
    from groundlake.transition.configuration.settings import PowerSettings
    from groundlake.transition.engines.opening import EngineFacts

NOT_HERE: Final = "power: the model runs behind an endpoint, on a machine whose sensors are not read from here"


class Watch:
    """Looks at the machine around a block, where the model runs in this process; else only at the clock.

    Args:
        settings: Whether power is read, and how often.
        facts: What answers.
    """

    def __init__(self, settings: PowerSettings, facts: EngineFacts) -> None:
        self.record: PowerRecord | None = None
        self.ledger: dict[str, Any] = {}
        self._facts = facts
        self._power = PowerWatch(settings.source, settings.hz) if facts.is_local else None

    def __enter__(self) -> None:
        if self._power is not None:
            self._power.__enter__()
            self._power.mark()
        self._start_s = perf_counter()

    def __exit__(self, *_: object) -> None:
        self.ledger = {"duration_s": perf_counter() - self._start_s, "system_after": state_of(self._facts)}
        if self._power is None:
            self.ledger["power_notes"] = [NOT_HERE]
            return
        self._power.mark()
        self._power.__exit__(None, None, None)  # without an error: what was read of work that broke off counts, too
        self.record = self._power.record()
