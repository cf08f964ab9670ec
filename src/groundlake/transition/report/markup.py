"""Markdown: text that cannot become markup, numbers with the same digits everywhere, and tables.

What is not known is `n/a`; 0 is 0. Names and messages of models, servers and data sets are text, whatever is in them:
in Markdown and in the page made from it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

UNKNOWN: Final = "n/a"
SHOWN_LETTERS: Final = 200
_MARKS = re.compile(r"([\\`*_\[\]|~#])")
_MEBI, _GIBI = 2**20, 2**30
_WHOLE_FROM, _TENTHS_FROM = 100, 10


def escaped(text: object, longest: int | None = None) -> str:
    """Return text that is shown as it is: one line, no markup, no HTML, no invisible letters.

    Args:
        text: From wherever.
        longest: Letters that are shown at most.
    """
    plain = " ".join(
        "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in str(text)).split()
    )
    if longest is not None and len(plain) > longest:
        plain = plain[: longest - 3] + "..."
    return _MARKS.sub(r"\\\1", plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def code(text: object) -> str:
    """Return a name as code, or as plain text where it has letters that code in a table cannot have."""
    name = str(text)
    if not name.strip() or not name.isprintable() or any(letter in name for letter in "`|\\"):
        return escaped(name) or UNKNOWN
    return f"`{name.strip()}`"


def told(value: object) -> str:
    """Return a name as code; n/a where there is none."""
    return UNKNOWN if value is None else code(value)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits behind the point."""
    if value is None:
        return UNKNOWN
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def signed(value: float | None, digits: int = 3) -> str:
    """Return a change, with its sign."""
    text = number(value, digits)
    return text if value is None or text[0] == "-" or value <= 0 else f"+{text}"


def between(lower: float | None, upper: float | None) -> str:
    """Return an interval; n/a where there is none, as of one example."""
    return UNKNOWN if lower is None or upper is None else f"[{number(lower)}, {number(upper)}]"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return UNKNOWN if value is None else f"{100 * value:.1f} %".replace(".0 %", " %")


def quantity(value: float | None, unit: str = "") -> str:
    """Return a positive quantity with about three digits: 1,234 or 56.7 or 8.90."""
    if value is None:
        return UNKNOWN
    digits = 0 if value >= _WHOLE_FROM or value == 0 else 1 if value >= _TENTHS_FROM else 2
    return f"{value:,.{digits}f}{f' {unit}' if unit else ''}"


def tokens(value: float | None) -> str:
    """Return a number of tokens, which may lie between two whole ones as a median does."""
    return UNKNOWN if value is None else f"{value:,.1f}".removesuffix(".0")


def count(value: int | None) -> str:
    """Return a whole number."""
    return UNKNOWN if value is None else f"{value:,}"


def counted(value: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def of_all(part: int, whole: int) -> str:
    """Return a number and its share of all: 2 (10 %); 0 of none is 0."""
    return f"{part:,} ({percent(part / whole)})" if part and whole else f"{part:,}"


def memory(value: int | None) -> str:
    """Return a number of bytes in MiB or GiB."""
    if value is None:
        return UNKNOWN
    return f"{value / _GIBI:.2f} GiB" if value >= _GIBI else f"{value / _MEBI:.1f} MiB"


def moment(value: dt.datetime | None) -> str:
    """Return a time, which the lake has in UTC."""
    return UNKNOWN if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """Write a table; the first columns, so many as `texts`, are texts, the others numbers, which stand on the right."""
    marks = ["---" if place < texts else "---:" for place in range(len(heads))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, marks, *rows))


def fenced(text: str, language: str) -> str:
    """Write a block of code whose content cannot end it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def joined(parts: Sequence[str]) -> str:
    """Join parts of a sentence: a, b and c."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
