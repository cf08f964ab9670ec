"""Spell values out of files that others wrote, so that any message can be stored and printed."""

from __future__ import annotations

SHOWN = 60
_HUGE = 2**63


def found_text(value: object) -> str:
    """Spell any JSON value in a few words."""
    try:
        return shown(repr(value) if not isinstance(value, int) or abs(value) < _HUGE else "a huge integer")
    except RecursionError:  # JSON can be nested just less deeply than its parser bears
        return "something nested deeply"


def shown(text: str) -> str:
    """Shorten a text, and escape what is no Unicode in it: JSON can smuggle in half of a surrogate pair."""
    return printable(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def printable(text: str) -> str:
    """Escape what is no Unicode in a text."""
    return text.encode(errors="backslashreplace").decode()
