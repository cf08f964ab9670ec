"""A page of figures and tables in one file that opens offline: no reference leads out of it."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from groundlake import __version__
from groundlake.report.figure import ROWS, load_converter, vegalite_version
from groundlake.report.style import FONT, config
from groundlake.report.tables import Table, table_html

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from groundlake.report.figure import Figure

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data:"
"""What a browser may load for the page: nothing. (Vega compiles its expressions, which counts as eval.)"""

EXPOSED = "window.vegaEmbed = vegaEmbed;"
"""What the page uses of the bundle of Vega, Vega-Lite and Vega-Embed."""

LINKS = re.compile(r"https?://(?!www\.w3\.org/)[^\"'`\s)<]+")
"""Links of the bundle to an editor, a schema, its authors; the page needs none of them. Namespaces stay."""

OPEN_FIGURES = 2
"""Figures of a section that lie open; where there are more, each folds, and one is open."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: what it says, its figures and tables, or why there is nothing and what would fill it."""

    key: str
    title: str
    intro: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    short: str = ""
    empty: str = ""
    left_out: str = ""
    opens_first: bool = False
    """Of folded figures the first is open, not the one with the most rows."""


def page(root: Path, title: str, sections: Iterable[Section], *, tiles: Iterable[tuple[str, str]] = ()) -> str:
    """Return the whole page as text.

    Args:
        root: Root of the lake; only its name is told.
        title: Heading of the page.
        sections: Parts in order; figures are drawn when they come into sight.
        tiles: Names and values above everything.

    Raises:
        MissingDependencyError: The extra `plot` is not installed.
    """
    sections = list(sections)
    numbered = {id(figure): f"spec-{number}" for number, figure in enumerate(_figures(sections))}
    specs = "".join(_json_script(numbered[id(figure)], _compact(figure.spec())) for figure in _figures(sections))
    bundle = _bundle() if numbered else ""
    themes = {"light": config(font=FONT), "dark": config(dark=True, font=FONT)}
    now = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    about = f"From the lake <b>{escape(root.name)}</b>, {now}, by groundlake {escape(__version__)}."
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the content</a>\n'
        f'<header>\n<div><h1>{escape(title)}</h1>\n<p class="soft">{about}</p></div>\n'
        '<button id="theme" type="button">Dark mode</button>\n</header>\n'
        f'{_navigation(sections)}<main id="main">\n{_tiles(tiles)}'
        "<noscript><p>The charts need JavaScript, all of which is in this file; the tables do without.</p></noscript>\n"
        + "".join(_section(section, numbered) for section in sections)
        + "</main>\n<footer>Nothing in this file is loaded from elsewhere. The queries behind the figures and tables "
        'are in their fold-outs.</footer>\n<div id="tip" role="status"></div>\n'
        + specs
        + _json_script("themes", themes)
        + (f"<script>\n{bundle}\n</script>\n" if bundle else "")
        + f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def _figures(sections: Iterable[Section]) -> Iterable[Figure]:
    return (figure for section in sections for figure in section.figures)


def _asset(name: str) -> str:
    return (files("groundlake") / "report" / name).read_text("utf-8")


@lru_cache(maxsize=1)
def _bundle() -> str:
    """Return the JavaScript that draws: no text in it ends a script or leads out of the file."""
    bundle: str = load_converter().javascript_bundle(EXPOSED, vl_version=vegalite_version())
    return LINKS.sub("", bundle).replace("</script", "<\\/script")


def _compact(spec: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of a chart as lists below their columns' names, once: half the size. page.js undoes it."""
    values = spec["data"]["values"]
    columns = list(values[0]) if values else []
    return spec | {"data": {"name": ROWS, "columns": columns, "rows": [list(row.values()) for row in values]}}


def _json_script(name: str, content: object) -> str:
    """Embed data: no text in it can end the script, whatever a model is called."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return f'<script type="application/json" id="{name}">{safe}</script>\n'


def _navigation(sections: list[Section]) -> str:
    if len(sections) < 2:  # noqa: PLR2004 - one section needs no list of them
        return ""
    items = "".join(
        f'<li><a href="#{section.key}">{escape(section.short or section.title)}</a></li>' for section in sections
    )
    return f'<nav aria-label="Sections"><ul>{items}</ul></nav>\n'


def _tiles(tiles: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles)
    return f'<dl class="tiles">{cells}</dl>\n' if cells else ""


def _section(section: Section, numbered: dict[int, str]) -> str:
    intro = f"<p>{_with_code(section.intro)}</p>\n" if section.intro else ""
    empty = f'<p class="empty">{_with_code(section.empty)}</p>\n' if section.empty else ""
    left_out = f'<p class="note">{_with_code(section.left_out)}</p>\n' if section.left_out else ""
    folds = len(section.figures) > OPEN_FIGURES
    titles = {figure.title for figure in section.figures}
    chosen = max(section.figures, key=lambda figure: figure.rows.height, default=None)
    if section.opens_first and section.figures:
        chosen = section.figures[0]
    shown = [
        _folded(figure, numbered[id(figure)], titled=len(titles) > 1, is_open=figure is chosen)
        if folds
        else _figure(figure, numbered[id(figure)])
        for figure in section.figures
    ]
    return (
        f'<section id="{section.key}" aria-labelledby="{section.key}-title">\n'
        f'<h2 id="{section.key}-title">{escape(section.title)}</h2>\n{intro}{empty}{"".join(shown)}{left_out}'
        + "".join(table_html(table) for table in section.tables)
        + "</section>\n"
    )


def _folded(figure: Figure, spec: str, *, titled: bool, is_open: bool) -> str:
    attribute = " open" if is_open else ""
    title = f"{escape(figure.title)} · " if titled else ""
    return (
        f'<details class="panel"{attribute}><summary>{title}{escape(figure.scope)}</summary>\n'
        f"{_figure(figure, spec, headed=False)}</details>\n"
    )


def _figure(figure: Figure, spec: str, *, headed: bool = True) -> str:
    caption = f'<h3>{escape(figure.title)}</h3><p class="scope">{escape(figure.scope)}</p>' if headed else ""
    style = f"min-height:{_height(figure):.0f}px" + (f";min-width:{figure.least_width}px" if figure.least_width else "")
    notes = "".join(f'<p class="note">{_with_code(note)}</p>\n' for note in figure.notes)
    return (
        f"<figure>\n{f'<figcaption>{caption}</figcaption>' if caption else ''}\n"
        f'<div class="box"><div class="chart" role="img" aria-label="{escape(figure.alt)}" data-spec="{spec}" '
        f'style="{style}"></div></div>\n{notes}{sql_html(figure.sql)}</figure>\n'
    )


def _height(figure: Figure) -> float:
    """Height that is kept free until the chart is drawn: the plot, its axis and its legend [px]."""
    return float(figure.chart.height) + 90


def sql_html(sql: str) -> str:
    """Fold out the query behind what is shown."""
    return f'<details class="sql"><summary>SQL</summary><pre><code>{escape(sql)}</code></pre></details>\n'


def _with_code(text: str) -> str:
    """Escape a text; what stands between backticks is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
