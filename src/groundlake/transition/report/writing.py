"""Write the report of a group: report.md, report.html and the pictures, from the lake alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from groundlake.commit import environment_error, write_atomically
from groundlake.errors import MissingDependencyError
from groundlake.transition.configuration.settings import FOLDER
from groundlake.transition.data.prepare import group_folder
from groundlake.transition.report.content import require_content
from groundlake.transition.report.document import document, title
from groundlake.transition.report.page import page
from groundlake.transition.report.plots import draw
from groundlake.transition.report.quality import PLOTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.report.facts import Content

MARKDOWN: Final = "report.md"
HTML: Final = "report.html"
PICTURES: Final = "plots"


def write_report(
    settings: Settings,
    lake: Lake,
    *,
    allow_partial: bool = False,
    on_remark: Callable[[str], None] = lambda _remark: None,
) -> Path:
    """Write the report of a group into its folder, over an earlier one.

    Equal content of the lake gives equal files, byte for byte. Without the extra `plot` the report is written without
    pictures and says so; those of an earlier report are removed, as they may show something else.

    Args:
        settings: Which group.
        lake: Where it is.
        allow_partial: Report what is there where requests or scores are missing; the report says PARTIAL RUN.
        on_remark: Told what could not be done, in words.

    Returns:
        Path of report.md; report.html and plots are beside it.

    Raises:
        UsageError: A step comes first; the message names it.
        LakeEnvironmentError: The folder cannot be written.
    """
    content = require_content(settings, lake, allow_partial=allow_partial)
    drawn = _drawn(content, on_remark)
    text = document(content, has_pictures=bool(drawn))
    addresses = {name: f"{PICTURES}/{name}.png" for name in PLOTS}
    light, dark = ({addresses[name]: picture for name, picture in drawn.get(theme, {}).items()} for theme in THEMES)
    folder = group_folder(settings)
    try:
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        for address in addresses.values():
            if address not in light:
                (folder / address).unlink(missing_ok=True)
    except OSError as error:
        raise environment_error(error, folder, FOLDER) from error
    for address, picture in light.items():
        write_atomically(folder / address, picture, FOLDER)
    write_atomically(folder / HTML, page(title(content), text, light, dark).encode(), FOLDER)
    write_atomically(folder / MARKDOWN, text.encode(), FOLDER)  # last: where it is there, so are the others
    return folder / MARKDOWN


THEMES: Final = ("light", "dark")


def _drawn(content: Content, on_remark: Callable[[str], None]) -> dict[str, dict[str, bytes]]:
    """Draw the pictures for a light and for a dark page; none where what draws them is not installed."""
    try:
        return {theme: draw(content, theme) for theme in THEMES}
    except MissingDependencyError as error:
        on_remark(f"the report has no pictures: {error}")
        return {}
