"""The report in a real browser: it draws everything without a complaint, and shows what the queries return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from chromium import Page, browser, executable
from pictured import alike, write

from groundlake.report.style import config
from groundlake.report.whole import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from groundlake.store import Lake

pytestmark = pytest.mark.slow

ROWS = """
[...document.querySelectorAll('.chart')].map((chart) => ({
  sql: chart.closest('figure').querySelector('details.sql code').textContent,
  rows: chart.view.data('rows').map((row) => ({ ...row })),
  marks: chart.querySelectorAll('.mark-symbol.role-mark path, .mark-rect.role-mark path').length,
}))
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write(tmp_path_factory.mktemp("browser") / "lake")


@pytest.fixture(scope="module")
def file(lake: Lake) -> Path:
    path = lake.root.with_name("report.html")
    write_report(lake, path)
    return path


@pytest.fixture
def page(need: Callable[..., None], tmp_path: Path, file: Path) -> Iterator[Page]:
    need("chromium", present=executable() is not None, reason="Chromium is not installed (Debian: chromium)")
    with browser(tmp_path) as opened:
        yield opened


def shown(page: Page, file: Path, width: int = 1100, *, dark: bool = False) -> None:
    """Open the report with every fold open and every chart drawn."""
    page.screen(width, 844, dark=dark, phone=width < 500)
    page.open(file)
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.run("drawAll()")


def test_every_figure_is_drawn_without_a_complaint_and_without_the_net(page: Page, file: Path) -> None:
    shown(page, file)
    counts = page.run(
        "[document.querySelectorAll('.chart').length, document.querySelectorAll('.chart svg').length,"
        " document.querySelectorAll('script[id^=spec]').length]"
    )
    assert counts[0] == counts[1] == counts[2] > 20
    assert page.problems == []
    assert page.requests == [file.resolve().as_uri()]


def test_what_the_charts_show_is_what_the_queries_return(page: Page, file: Path, lake: Lake) -> None:
    shown(page, file)
    for chart in page.run(ROWS):
        answer = lake.sql(chart["sql"]).pl()
        assert len(chart["rows"]) == answer.height
        for row, expected in zip(chart["rows"], answer.iter_rows(named=True), strict=True):
            for name, value in expected.items():
                if isinstance(value, (str, int, float)):
                    assert alike(value, row[name])
        assert chart["marks"] >= answer.height, "every row has a mark of its own"


def test_a_click_sorts_a_table_both_ways_and_so_does_the_keyboard(page: Page, file: Path, lake: Lake) -> None:
    shown(page, file)
    head = "[...document.querySelectorAll('#latency th button')].find((b) => b.textContent.startsWith('Sum of'))"
    column = "[...document.querySelectorAll('#latency tbody tr')].map((row) => Number(row.cells[4].dataset.v))"
    expected = sorted(row[0] for row in lake.sql("select total_latency_ms from latest_runs").rows())
    page.run(f"{head}.click()")
    assert page.run(column) == expected
    page.run(f"{head}.focus()")
    for kind in ("keyDown", "keyUp"):
        page.send("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert page.run(column) == expected[::-1]
    assert page.run(f"{head}.parentElement.getAttribute('aria-sort')") == "descending"
    names = "[...document.querySelectorAll('#latency tbody tr')].map((row) => row.cells[2].textContent)"
    page.run("document.querySelectorAll('#latency th button')[2].click()")
    assert page.run(names) == sorted(page.run(names))


def look(page: Page) -> dict[str, Any]:
    """Colours of the page and of a chart in it."""
    found: dict[str, Any] = page.run(
        "({ground: getComputedStyle(document.body).backgroundColor,"
        " label: document.querySelector('#latency .chart .role-axis-label text').getAttribute('fill'),"
        " button: document.getElementById('theme').textContent})"
    )
    return found


def test_dark_mode_follows_the_reader_and_the_switch(page: Page, file: Path) -> None:
    bright, night = config()["axis"]["labelColor"], config(dark=True)["axis"]["labelColor"]
    shown(page, file)
    assert look(page) == {"ground": "rgb(255, 255, 255)", "label": bright, "button": "Dark mode"}
    page.run("document.getElementById('theme').click()")
    page.run("new Promise((done) => setTimeout(done, 50)).then(() => drawAll())")
    page.run(
        "new Promise((done) => { const wait = () => document.querySelector('#latency .chart .role-axis-label text')"
        f"?.getAttribute('fill') === '{night}' ? done() : requestAnimationFrame(wait); wait(); }})"
    )
    assert look(page) == {"ground": "rgb(22, 25, 28)", "label": night, "button": "Light mode"}
    page.run("try { localStorage.clear() } catch {}")
    shown(page, file, dark=True)
    assert look(page) == {"ground": "rgb(22, 25, 28)", "label": night, "button": "Light mode"}
    assert page.problems == []


def test_a_phone_scrolls_the_page_in_one_direction_only(page: Page, file: Path) -> None:
    shown(page, file, width=390)
    wide = page.run("[document.documentElement.scrollWidth, document.body.scrollWidth]")
    assert max(wide) <= 390
    assert page.run("[...document.querySelectorAll('section')].every((s) => s.getBoundingClientRect().right <= 390)")
    boxes = page.run(
        "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth).length"
    )
    assert boxes > 3, "wide tables scroll in their own boxes"
    assert page.problems == []


def test_a_point_tells_its_numbers(page: Page, file: Path) -> None:
    shown(page, file)
    spot = page.run(
        "(() => { const mark = document.querySelector('#latency .chart .mark-symbol.role-mark path');"
        " mark.scrollIntoView({block: 'center', behavior: 'instant'}); const box = mark.getBoundingClientRect();"
        " return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=spot[0] - 30, y=spot[1])
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=spot[0], y=spot[1])
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    told = page.run("document.getElementById('tip').innerText")
    assert "Latency [ms]" in told
    assert "Model" in told
