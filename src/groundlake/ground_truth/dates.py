"""Dates of measurements: ISO 8601, aware or naive."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, datetime, timezone


def parse_date(text: str) -> datetime | None:
    """Read an ISO 8601 date and time, aware or naive; None when it is none.

    The years 1 and 9999 are refused: in another time zone such a moment may lie beyond the calendar.
    """
    try:  # a trailing Z is ISO 8601, which Python 3.10 does not read
        date = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        return None
    return date if MINYEAR < date.year < MAXYEAR else None


def start_in_utc(text: str) -> tuple[datetime, str]:
    """Read a measurement date: naive UTC, and how its zone is known (`clock` or `assumed_utc`).

    Args:
        text: ISO 8601, checked before.
    """
    date = parse_date(text)
    if date is None:
        raise ValueError(f"not an ISO 8601 date: {text!r}")
    if date.tzinfo is None:
        return date, "assumed_utc"
    return date.astimezone(timezone.utc).replace(tzinfo=None), "clock"
