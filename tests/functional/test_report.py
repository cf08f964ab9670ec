"""`lake report`: one file that needs nothing else, whose tables and charts are what their queries return."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pictured import NASTY, SCRIPT, alike, assert_alike, run, timings, write

from groundlake.report.figure import records
from groundlake.report.tables import shown_number, shown_text
from groundlake.report.whole import PARTS, write_report
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

NAMESPACES = {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg", "http://www.w3.org/2000/xmlns/"}
SECTIONS = [*(part.key for part in PARTS), "provenance"]


class Reader(HTMLParser):
    """Reads sections, figures with their queries, tables with theirs, and the embedded data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.headings: list[str] = []
        self.charts: list[dict[str, str]] = []
        self.tables: list[dict[str, Any]] = []
        self.data: dict[str, Any] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.words: dict[str, list[str]] = {}
        self._open: list[str] = []
        self._script: str | None = None
        self._code: dict[str, Any] | None = None
        self._cell: list[Any] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in given.items()]
        self._open.append(tag)
        if tag == "section":
            self.sections.append(given["id"])
        elif given.get("class") == "chart":
            self.charts.append(given | {"sql": ""})
            self._code = self.charts[-1]
        elif tag == "table":
            self.tables.append({"section": self.sections[-1], "heads": [], "rows": [], "sql": ""})
            self._code = self.tables[-1]
        elif tag == "tr" and "tbody" in self._open:
            self.tables[-1]["rows"].append([])
        elif tag == "td":
            self._cell = [given.get("data-v"), ""]
            self.tables[-1]["rows"][-1].append(self._cell)
        elif tag == "th":
            self.tables[-1]["heads"].append("")
        elif tag == "script" and given.get("type") == "application/json":
            self._script = given["id"]

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass
        if tag in {"script", "td"}:
            self._script = self._cell = None

    def handle_data(self, text: str) -> None:
        if self._script:
            self.data[self._script] = json.loads(text)
        elif self._cell is not None:
            self._cell[1] += text
        elif "th" in self._open:
            self.tables[-1]["heads"][-1] += text
        elif "code" in self._open and "pre" in self._open and self._code is not None:
            self._code["sql"] += text
        elif self._open[-1:] and self._open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(self._open[-1])
        elif self.sections and "script" not in self._open:
            self.words.setdefault(self.sections[-1], []).append(text)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write(tmp_path_factory.mktemp("report") / 'lake "<1>')


@pytest.fixture(scope="module")
def file(lake: Lake) -> Path:
    path = lake.root.with_name("report.html")
    written = write_report(lake, path)
    assert written["figures"] > 20
    return path


@pytest.fixture(scope="module")
def text(file: Path) -> str:
    return file.read_text("utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Reader:
    return Reader(text)


def test_nothing_is_loaded_from_elsewhere(text: str, page: Reader) -> None:
    assert set(re.findall(r"https?://[^\s\"'`<>)]+", text)) <= NAMESPACES
    assert not {(tag, name) for tag, name, _ in page.attributes if name in {"src", "srcset", "action", "data"}}
    assert all(value.startswith("#") for _, name, value in page.attributes if name == "href")
    assert "default-src 'none'" in text
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_it_is_small_enough_to_be_sent(text: str) -> None:
    assert len(text.encode()) < 3_000_000


def test_it_has_every_section_with_figures_or_tables(page: Reader) -> None:
    assert page.sections == SECTIONS
    assert {table["section"] for table in page.tables} == set(SECTIONS) - {"efficiency", "roofline", "scaling", "drift"}
    assert {chart["data-spec"] for chart in page.charts} | {"themes"} == set(page.data)
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 20 for chart in page.charts)
    assert page.headings.count("h1") == 1
    assert page.headings.count("h2") == len(SECTIONS)


def test_the_rows_of_every_chart_are_those_of_the_query_beside_it(page: Reader, lake: Lake) -> None:
    for chart in page.charts:
        data = page.data[chart["data-spec"]]["data"]
        expected = records(lake.sql(chart["sql"]).pl())
        assert_alike([dict(zip(data["columns"], row, strict=True)) for row in data["rows"]], expected)


def test_the_cells_of_every_table_are_those_of_the_query_below_it(page: Reader, lake: Lake) -> None:
    assert sum(len(table["rows"]) for table in page.tables) > 60
    for table in page.tables:
        answer = lake.sql(table["sql"]).pl()
        assert len(table["heads"]) == answer.width
        for cells, row in zip(table["rows"], answer.rows(), strict=True):
            for (exact, shown), value in zip(cells, row, strict=True):
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    assert alike(float(exact), float(value))
                    assert shown == shown_number(value)
                else:
                    assert exact is None
                    assert shown == ("" if value is None else shown_text(value))


def test_names_are_text_wherever_they_stand(text: str, page: Reader) -> None:
    assert text.count("<script") == text.lower().count("</script")
    assert "<b>x" not in text
    assert "a<b>" not in text
    models = {row["model"] for row in _rows(page, "net")}
    assert {NASTY, SCRIPT, "net"} <= models
    assert any(NASTY in cell[1] for table in page.tables for row in table["rows"] for cell in row)


def _rows(page: Reader, model: str) -> list[dict[str, Any]]:
    found = []
    for name, spec in page.data.items():
        if name != "themes" and "model" in spec["data"]["columns"]:
            found += [dict(zip(spec["data"]["columns"], row, strict=True)) for row in spec["data"]["rows"]]
    assert any(row["model"] == model for row in found)
    return found


def test_a_report_of_one_device_has_nothing_of_another(lake: Lake, tmp_path: Path) -> None:
    write_report(lake, tmp_path / "one.html", ("board_30w",))
    page = Reader((tmp_path / "one.html").read_text("utf-8"))
    hardware = {row.get("hardware_id") for row in _rows(page, "net")} - {None}
    assert hardware == {"board_30w"}
    for table in page.tables:
        answer = lake.sql(table["sql"]).pl()
        assert "hardware_id" not in answer.columns or set(answer["hardware_id"]) == {"board_30w"}
    assert not [chart for chart in page.charts if "board_maxn" in chart["aria-label"]]


def test_a_section_without_data_says_in_a_line_what_would_fill_it(lake_root: Path, tmp_path: Path) -> None:
    Lake(lake_root).create()
    write_report(Lake(lake_root), tmp_path / "empty.html")
    page = Reader((tmp_path / "empty.html").read_text("utf-8"))
    assert page.sections == SECTIONS
    assert not page.charts
    for section in SECTIONS[:-1]:
        assert "lake " in " ".join(page.words[section])


def test_of_many_estimators_the_one_written_last_lies_open(lake_root: Path, tmp_path: Path) -> None:
    made = Lake(lake_root)
    made.write(run("dev", "fp32", "net", 1, 1.0), subgraph_timings=timings(1.0))
    for name in ("older", "zero", "last"):
        rows = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "predicted_latency_ms": 3.0}
        made.write_estimates(pl.DataFrame(rows), estimator=name, version="1", sources=[])
    write_report(made, tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text("utf-8")
    section = text[text.index('<section id="estimators"') : text.index('<section id="drift"')]
    assert re.findall(r'<details class="panel"( open)?><summary>(\w+):', section) == [
        (" open", "last"),
        ("", "zero"),
        ("", "older"),
    ]


def test_the_command_writes_the_file_and_says_how_large_it_is(lake: Lake, cli) -> None:
    done = cli("report", "--hw", "board_30w", "-o", "out.html", "--root", lake.root)
    assert re.fullmatch(r"out\.html: \d+ figures, \d+ rows of tables, 1\.\d MB\n", done.stdout)
    assert "--hw board_30w -o out.html" in (cli.folder / "out.html").read_text("utf-8")


def test_a_report_that_cannot_be_made_says_why(lake: Lake, cli) -> None:
    assert "there are: board_30w, board_maxn" in cli("report", "--hw", "x", "--root", lake.root, code=2).stderr
    assert "ends in .html" in cli("report", "-o", "x.png", "--root", lake.root, code=2).stderr
    assert "lake init" in cli("report", "--root", "nowhere", code=2).stderr
    assert not list(cli.folder.iterdir())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (12, "12"),
        (123456, "123\u202f456"),
        (9.99996, "10.00"),
        (0.001234567, "0.001235"),
        (12345.6, "12\u202f346"),
        (1.5e12, "1.500e+12"),
        (-2.5, "-2.500"),
        (3e-7, "3.000e-07"),
    ],
)
def test_numbers_are_short_to_read(value: float, shown: str) -> None:
    assert shown_number(value) == shown
