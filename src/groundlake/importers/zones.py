"""Time zones of dates that were written without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from groundlake.errors import UsageError
from groundlake.ground_truth.dates import parse_date

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Zones:
    """The zone of each device's clock, as far as the user said it; elsewhere UTC is assumed, and marked so."""

    default: ZoneInfo | None = None
    by_hardware: dict[str, ZoneInfo] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Iterable[str]) -> Zones:
        """Read `ZONE` (for all devices) and `HW=ZONE` options, for example `i7_12700K=America/New_York`.

        Raises:
            UsageError: A zone that does not exist, or two for the same device.
        """
        default: ZoneInfo | None = None
        by_hardware: dict[str, ZoneInfo] = {}
        for option in options:
            hardware_id, equals, name = option.rpartition("=")
            zone = _zone(name, option)
            if hardware_id in by_hardware or (not equals and default is not None):
                raise UsageError(f"--tz {option}: the zone of {hardware_id or 'all devices'} is given twice")
            if equals:
                by_hardware[hardware_id] = zone
            else:
                default = zone
        return cls(default, by_hardware)

    def to_utc(self, date: str, hardware_id: str) -> tuple[datetime, str]:
        """Turn a date into naive UTC, and say how its zone is known: `file`, `option` or `assumed_utc`.

        Args:
            date: ISO 8601, checked before.
            hardware_id: Device whose clock wrote it.
        """
        moment = parse_date(date)
        if moment is None:
            raise UsageError(f"not an ISO 8601 date and time: {date!r}")
        if moment.tzinfo is not None:
            return moment.astimezone(timezone.utc).replace(tzinfo=None), "file"
        zone = self.by_hardware.get(hardware_id, self.default)
        if zone is None:
            return moment, "assumed_utc"
        return moment.replace(tzinfo=zone).astimezone(timezone.utc).replace(tzinfo=None), "option"


def _zone(name: str, option: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"--tz {option}: no time zone {name!r}\n"
            "give a name such as UTC, America/New_York or i7_12700K=America/New_York\n"
            "(a machine without a zone database needs `pip install tzdata`)"
        ) from error
