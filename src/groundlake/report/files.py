"""Write figures to a file: a picture (png, svg), or a page that opens offline (html)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.errors import UsageError
from groundlake.report.figure import ROWS, load_converter, vegalite_version
from groundlake.report.page import Section, page
from groundlake.report.style import WIDTH, config

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.report.figure import Figure
    from groundlake.store import Lake

KINDS = ("png", "svg", "html")
SCALE = 2.0
"""Pixels of a png for each of the picture's units: sharp on today's screens."""


def check_kind(path: Path) -> str:
    """Return what the file's name asks for: png, svg or html.

    Raises:
        UsageError: It asks for none of them, or its folder is not there.
    """
    kind = path.suffix.lstrip(".").lower()
    if kind not in KINDS:
        raise UsageError(f"-o {path}: a picture is a file that ends in .png, .svg or .html")
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: the folder {path.parent} does not exist")
    return kind


def draw(lake: Lake, figures: list[Figure], path: Path) -> None:
    """Write figures to a file, one below the other.

    Raises:
        UsageError: The file's name ends in none of .png, .svg and .html, or its folder is not there.
    """
    kind = check_kind(path)
    if kind == "html":
        section = Section(key="plot", title=figures[0].title, figures=tuple(figures))
        path.write_text(page(lake.root, figures[0].title, [section]), encoding="utf-8")
        return
    converter, spec = load_converter(), picture(figures)
    if kind == "png":
        path.write_bytes(converter.vegalite_to_png(spec, vl_version=vegalite_version(), scale=SCALE))
    else:
        path.write_text(converter.vegalite_to_svg(spec, vl_version=vegalite_version()), encoding="utf-8")


def picture(figures: list[Figure]) -> dict[str, Any]:
    """Return the Vega-Lite specification of a picture: each figure with its title, one below the other."""
    panels = []
    for number, figure in enumerate(figures):
        panel = figure.spec()
        panel["data"]["name"] = f"{ROWS}_{number}"  # a picture has one name for each
        title = {
            "text": figure.title,
            "subtitle": [figure.scope, *(line for note in figure.notes for line in folded(note))],
        }
        panels.append(panel | {"width": WIDTH, "title": title})
    return {
        "$schema": f"https://vega.github.io/schema/vega-lite/v{vegalite_version()}.json",
        "config": config(),
        "padding": 16,
        "vconcat": panels,
        "spacing": 40,
        "resolve": {"scale": {"color": "independent", "shape": "independent", "strokeDash": "independent"}},
    }


def folded(text: str, width: int = 112) -> list[str]:
    """Fold a note into lines that fit above a picture."""
    import textwrap

    return textwrap.wrap(text.replace("`", ""), width)
