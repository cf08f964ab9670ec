"""Tables of a page: numbers short to read and exact to sort, every one from a query."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

DIGITS = 4
"""Significant digits that are shown; the exact value stands beside it, for sorting and for whoever reads the file."""

MOST_ROWS = 1000
"""Rows of a table in a page: more make the file heavy, and nobody reads them there."""

LONG_TEXT = 40
"""Characters from which a column of texts gets more room."""

LARGE = 10_000
"""From here on a number is shown whole, with thousands set apart."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of a query under a title.

    Attributes:
        title: What one row is.
        sql: The query; run on the lake, it returns `rows`.
        rows: Its rows.
        heads: Headings with units, by column; the other columns keep their name.
    """

    title: str
    sql: str
    rows: pl.DataFrame
    heads: dict[str, str]


def table_html(table: Table) -> str:
    """Return a table in a box of its own that scrolls."""
    shown = table.rows.head(MOST_ROWS)
    numeric = [dtype.is_numeric() for dtype in shown.dtypes]
    heads = "".join(
        f'<th scope="col" aria-sort="none" class="{"n" if number else "t"}">'
        f'<button type="button">{escape(table.heads.get(name, name))}</button></th>'
        for name, number in zip(shown.columns, numeric, strict=True)
    )
    long = [
        not number and any(isinstance(value, str) and len(value) > LONG_TEXT for value in shown[name])
        for name, number in zip(shown.columns, numeric, strict=True)
    ]
    body = "".join(
        "<tr>"
        + "".join(_cell(value, number, wide) for value, number, wide in zip(row, numeric, long, strict=True))
        + "</tr>\n"
        for row in shown.iter_rows()
    )
    more = table.rows.height - shown.height
    note = f'<p class="note">{more} more rows: the query returns all.</p>' if more else ""
    return (
        f'<div class="table"><h3>{escape(table.title)}</h3>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table></div>\n{note}"
        f'<details class="sql"><summary>SQL</summary><pre><code>{escape(table.sql)}</code></pre></details></div>\n'
    )


def _cell(value: object, number: bool, wide: bool) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return f'<td class="{"n" if number else "t"}"></td>'
    if number:
        return f'<td class="n" data-v="{value!r}">{shown_number(value)}</td>'
    return f'<td class="{"t long" if wide else "t"}">{escape(shown_text(value))}</td>'


def shown_number(value: object) -> str:
    """Write a number with four significant digits, or whole; very large and small ones in powers of ten."""
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= LARGE else str(value)
    number = float(f"{float(value):.{DIGITS - 1}e}")  # type: ignore[arg-type] # a cell of a numeric column
    if number == 0:
        return "0"
    if abs(number) >= 1e7 or abs(number) < 1e-4:  # noqa: PLR2004 - where digits turn into a row of zeros
        return f"{number:.{DIGITS - 1}e}"
    if abs(number) >= LARGE:
        return f"{float(value):,.0f}".replace(",", "\u202f")  # type: ignore[arg-type] # the same
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(abs(number))))
    return f"{number:.{decimals}f}"


def shown_text(value: object) -> str:
    """Write a text, a truth or a moment."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return str(value)
