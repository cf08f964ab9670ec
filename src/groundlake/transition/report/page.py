"""The report as one page: the same Markdown, with its pictures inside, that opens offline and runs nothing."""

from __future__ import annotations

import base64
import html
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the page may do: nothing but show itself."""
_TEMPLATE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<nav aria-label="Sections"><ul>
{links}
</ul></nav>
<main>
{body}</main>
</body>
</html>
"""


def page(title: str, text: str, pictures: Mapping[str, bytes], dark: Mapping[str, bytes]) -> str:
    """Make a page of a report.

    Args:
        title: Of the window.
        text: The report in Markdown; HTML in it is shown as text.
        pictures: Bytes of each png by the address that the text has for it.
        dark: The same pictures for a dark page.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    sections: list[tuple[str, str]] = []
    rules = parser.renderer.rules  # type: ignore[attr-defined]
    plain_image, plain_fence = rules["image"], rules["fence"]

    def heading(tokens: list[Any], place: int, _options: object, _environment: object) -> str:
        found, name = tokens[place], tokens[place + 1].content
        if found.tag != "h2":
            return f"<{found.tag}>"
        sections.append((_anchor(name), name))
        return f'<h2 id="{_anchor(name)}">'

    def image(tokens: list[Any], place: int, options: object, environment: object) -> str:
        address = str(tokens[place].attrs.get("src", ""))
        if address not in pictures:
            return str(plain_image(tokens, place, options, environment))
        other = f'<source media="(prefers-color-scheme: dark)" srcset="{_inside(dark[address])}">'
        told = html.escape(tokens[place].content)
        return f'<picture>{other}<img src="{_inside(pictures[address])}" alt="{told}"></picture>'

    def fence(tokens: list[Any], place: int, options: object, environment: object) -> str:
        shown = plain_fence(tokens, place, options, environment)
        return f"<details><summary>Show</summary>\n{shown}</details>\n"

    rules["heading_open"], rules["image"], rules["fence"] = heading, image, fence
    rules["table_open"] = lambda *_: '<div class="scroll" tabindex="0"><table>\n'
    rules["table_close"] = lambda *_: "</table></div>\n"
    body = parser.render(text)
    links = "\n".join(f'<li><a href="#{anchor}">{html.escape(name)}</a></li>' for anchor, name in sections)
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return _TEMPLATE.format(policy=html.escape(POLICY), title=html.escape(title), style=style, links=links, body=body)


def _inside(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
