"""Write figures to a file: a picture (png, svg), or a page that opens offline (html)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.report.figure import ROWS, load_converter, vegalite_version
from groundlake.report.page import Section, page
from groundlake.report.style import SUBTITLE_SIZE, TITLE_SIZE, WIDTH, config

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.report.figure import Figure
    from groundlake.store import Lake

KINDS = ("png", "svg", "html")
WIDTHS = (
    ("ijl|'", 0.23),
    (" ft.,:;/\\!()[]I\u00a0·", 0.29),
    ('r-`"', 0.35),
    ("ckvxyzsJ", 0.51),
    ("abdeghnopqu0123456789_?#$+=<>~", 0.57),
    ("ABEKPSVXYTFLZ&", 0.67),
    ("CDHNRUw", 0.73),
    ("GOQmM", 0.81),
    ("%W@", 0.94),
)
"""Widths of the letters of Helvetica and its like, for letters of size 1, a little on the large side."""

SCALE = 2.0
"""Pixels of a png for each of the picture's units: sharp on today's screens."""


def check_kind(path: Path, kinds: tuple[str, ...] = KINDS, noun: str = "picture") -> str:
    """Return what the file's name asks for: png, svg or html.

    Raises:
        LakeEnvironmentError: Its folder is not there, or it is a folder itself.
        UsageError: It asks for none of these kinds.
    """
    if not path.parent.is_dir():
        raise LakeEnvironmentError(f"-o {path}: the folder {path.parent} does not exist; nothing was written")
    if path.is_dir():
        raise LakeEnvironmentError(f"-o {path}: is a folder; name a file in it")
    kind = path.suffix.lstrip(".").lower()
    if kind not in kinds:
        endings = " or ".join(filter(None, (", ".join(f".{each}" for each in kinds[:-1]), f".{kinds[-1]}")))
        raise UsageError(f"-o {path}: a {noun} is a file that ends in {endings}")
    return kind


def draw(lake: Lake, figures: list[Figure], path: Path) -> None:
    """Write figures to a file, one below the other.

    Raises:
        LakeEnvironmentError: The file's folder is not there.
        UsageError: Its name ends in none of .png, .svg and .html.
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
            "text": folded(figure.title, TITLE_SIZE * 1.06),  # bold letters are wider
            "subtitle": [line for text in (figure.scope, *figure.notes) for line in folded(text, SUBTITLE_SIZE)],
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


def folded(text: str, size: float, width: float = WIDTH) -> list[str]:
    """Fold a text into lines that are no wider than the plot; a separator stays at the end of its line.

    Args:
        text: The text.
        size: Of its letters [px].
        width: Of a line [px].
    """
    lines: list[str] = []
    line = ""
    for word in text.replace("`", "").replace(" ·", "\u00a0·").split(" "):
        longer = f"{line} {word}" if line else word
        while line and _width(longer) * size > width:
            lines.append(line)
            line, longer = "", word
        while _width(longer) * size > width:  # a name longer than a line
            fits = next(n for n in range(len(longer), 0, -1) if n == 1 or _width(longer[:n]) * size <= width)
            lines.append(longer[:fits])
            longer = longer[fits:]
        line = longer
    return [*lines, line]


def _width(text: str) -> float:
    """Estimate the width of a text in a sans-serif font, for letters of size 1."""
    return sum(next((wide for letters, wide in WIDTHS if letter in letters), 1.0) for letter in text)
