"""`lake plot`: every picture in every format, its rows equal to its query, and errors that say what there is."""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pictured import FIRST, NASTY, SCRIPT, assert_alike, power, run, specification, timings, write

from groundlake.errors import UsageError
from groundlake.report.axes import round_values
from groundlake.report.figure import ROWS, Wanted, records
from groundlake.report.files import draw, folded
from groundlake.report.plots import PLOTS, plot
from groundlake.report.style import DARK, LIGHT, by_model
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from groundlake.report.figure import Figure


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write(tmp_path_factory.mktemp("pictures") / "lake")


@pytest.fixture(scope="module")
def drawn(lake: Lake) -> dict[str, list[Figure]]:
    """The figures of every plot, of everything."""
    return {kind: plot(lake, kind, Wanted()) for kind in PLOTS}


def encodings(figure: Figure) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every encoding of the chart that has a field."""
    for layer in figure.spec()["layer"]:
        for channel, encoding in layer.get("encoding", {}).items():
            if isinstance(encoding, dict) and "field" in encoding:
                yield channel, encoding


@pytest.mark.parametrize("kind", sorted(PLOTS))
def test_a_plot_is_written_as_png_svg_and_html(kind: str, drawn, lake: Lake, tmp_path: Path) -> None:
    for suffix in ("png", "svg", "html"):
        draw(lake, drawn[kind][:2], tmp_path / f"plot.{suffix}")
    picture = (tmp_path / "plot.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) > (900, 300)
    text = (tmp_path / "plot.svg").read_text()
    assert text.startswith("<svg")
    words = [re.escape(word) for word in drawn[kind][0].scope.split(" · ")[0].split()]
    assert re.search(r"\s".join(words), text), "the title says what hardware it is"
    assert text.count("mark-symbol") + text.count("mark-rect") > 0
    page = (tmp_path / "plot.html").read_text()
    assert page.count('class="chart"') == len(drawn[kind][:2])


@pytest.mark.parametrize("kind", sorted(PLOTS))
def test_the_rows_of_a_chart_are_those_of_its_query(kind: str, drawn, lake: Lake) -> None:
    for figure in drawn[kind]:
        data = figure.spec()["data"]
        assert data["name"] == ROWS
        assert_alike(data["values"], records(lake.sql(figure.sql).pl()))
        assert data["values"], "a figure without rows is no figure"


@pytest.mark.parametrize("kind", sorted(PLOTS))
def test_axes_say_units_and_titles_say_hardware_precision_and_method(kind: str, drawn) -> None:
    for figure in drawn[kind]:
        titles = [
            e.get("title") for channel, e in encodings(figure) if channel in {"x", "y"} and e["type"] == "quantitative"
        ]
        for title in filter(None, titles):
            assert re.search(r"\[.+\]|Share of the recorded peak|\(inputs of one pass\)", title), title
        assert "board" in figure.scope
        assert "fp" in figure.scope
        assert kind == "coverage" or "timed by node_" in figure.scope


@pytest.mark.parametrize("kind", sorted(PLOTS))
def test_no_tick_lies_outside_its_scale_where_it_would_name_a_wrong_number(kind: str, drawn) -> None:
    logarithmic = 0
    for figure in drawn[kind]:
        for channel, encoding in encodings(figure):
            if channel not in {"x", "y"} or not isinstance((encoding.get("scale") or {}).get("domain"), list):
                continue
            low, high = encoding["scale"]["domain"]
            logarithmic += encoding["scale"].get("type") == "log"
            assert all(low <= tick <= high for tick in (encoding.get("axis") or {}).get("values", [])), encoding
    assert (logarithmic > 0) == (kind not in {"power", "drift", "coverage"})


def test_a_curve_is_drawn_of_one_precision_and_pair_of_methods(drawn, lake: Lake) -> None:
    scopes = [figure.scope for figure in drawn["efficiency"]]
    assert len(scopes) == len(set(scopes)) == 5
    assert "board_maxn · fp16 · timed by node_events · counted by counted" in scopes


def test_a_run_that_cannot_be_compared_is_a_cross_without_a_line(drawn) -> None:
    (figure,) = [f for f in drawn["scaling"] if f.scope.startswith("board_maxn · fp16")]
    odd = figure.rows.filter(pl.col("verdict") == "not_comparable")
    assert odd["batch"].to_list() == [32]
    line, *_, cross = figure.spec()["layer"]
    assert line["transform"] == [{"filter": "datum.verdict == 'comparable'"}]
    assert cross["mark"]["shape"] == "cross"
    assert cross["transform"] == [{"filter": "datum.verdict != 'comparable'"}]
    assert any("cannot be compared" in note for note in figure.notes)


def test_a_run_that_was_forced_is_hollow_and_has_no_whiskers(drawn) -> None:
    figure = next(f for f in drawn["latency"] if f.scope.startswith("board_30w"))
    (row,) = figure.rows.filter(pl.col("machine") == "forced").to_dicts()
    assert (row["batch"], row["lower_ms"], row["noise_method"]) == (32, None, None)
    *_, forced = figure.spec()["layer"]
    assert forced["transform"] == [{"filter": "datum.machine == 'forced'"}]
    assert forced["mark"]["filled"] is False
    assert figure.notes[1].startswith("Hollow (1): forced on a machine")


def test_an_extrapolated_prediction_is_hollow_and_the_device_is_the_shape(drawn) -> None:
    (figure,) = drawn["validation"]
    outside = figure.rows.filter(pl.col("range") == "extrapolated")
    assert set(outside["model"]) == {SCRIPT}
    assert set(figure.rows["range"]) == {"predicted", "extrapolated"}
    (shape,) = {e["field"] for channel, e in encodings(figure) if channel == "shape"}
    assert shape == "hardware_id"
    filled = {
        layer["transform"][0]["filter"]: layer["mark"]["filled"]
        for layer in figure.spec()["layer"]
        if layer["mark"]["type"] == "point"
    }
    assert filled["datum.range == 'predicted'"] is True
    assert filled["datum.range != 'predicted'"] is False
    assert f"Hollow ({outside.height}): extrapolated, as the estimator says." in figure.notes


def test_the_estimator_that_was_written_last_comes_first(lake_root: Path) -> None:
    lake = Lake(lake_root)
    lake.write(run("dev", "fp32", "net", 1, 1.0), subgraph_timings=timings(1))
    for name in ("b", "c", "a"):
        rows = pl.DataFrame(
            {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "predicted_latency_ms": 3.0}
        )
        lake.write_estimates(rows, estimator=name, version="1", sources=[])
    titles = [figure.title.split(":")[0] for figure in plot(lake, "validation", Wanted())]
    assert titles == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("roofline", "board_30w · fp16 · net · batch 8 · timed by node_sync"),
        ("latency", "board_30w · fp16 · net · batch 8 · timed by node_sync"),
        ("speedup", "board_30w · fp16 · net · batch 8 · timed by node_sync"),
        ("coverage", "board_30w · fp16 · net · batch 8 · any method"),
    ],
)
def test_what_was_asked_for_is_in_the_heading(kind: str, told: str, lake: Lake) -> None:
    asked = Wanted(hardware=("board_30w",), precision="fp16", models=("net",), batch=8)
    figures = plot(lake, kind, asked)
    assert figures
    assert all(figure.scope.startswith(told) for figure in figures)


def test_each_model_and_the_batch_are_in_the_heading_of_every_plot_that_takes_them(drawn, lake: Lake) -> None:
    for kind, model, batch in (("scaling", "net", None), ("validation", "net", 8), ("modes", NASTY, 1)):
        for figure in plot(lake, kind, Wanted(models=(model,), batch=batch)):
            assert f" · {model} · " in figure.scope
            assert batch is None or f" · batch {batch} · " in figure.scope
    for figure in plot(lake, "drift", Wanted(models=("net",), batch=1)) + plot(lake, "power", Wanted(models=(NASTY,))):
        assert "batch 1" in figure.scope
        assert figure.scope.count(" · net · ") or NASTY in figure.title
    assert not any(" · net" in figure.scope for figures in drawn.values() for figure in figures)


@pytest.mark.parametrize(
    ("later", "title", "form"),
    [
        ({"seconds": 50}, "Start of the run on 2026-03-01 (UTC)", "%H:%M:%S"),
        ({"hours": 5}, "Start of the run on 2026-03-01 (UTC)", "%H:%M"),
        ({"days": 2}, "Start of the run in 2026 (UTC)", "%m-%d %H:%M"),
        ({"days": 30}, "Start of the run (UTC)", "%Y-%m-%d"),
    ],
)
def test_the_axis_of_time_says_as_much_as_tells_its_ticks_apart(
    later: dict[str, int], title: str, form: str, lake_root: Path
) -> None:
    lake = Lake(lake_root)
    for number, moment in enumerate((FIRST, FIRST + dt.timedelta(**later))):
        lake.write(run("dev", "fp32", "net", 1, 1 + number / 50, started_at=moment), subgraph_timings=timings(1))
    (figure,) = plot(lake, "drift", Wanted())
    (axis,) = {
        (e["title"], e["axis"]["format"]) for channel, e in encodings(figure) if channel == "x" and e.get("axis")
    }
    assert axis == (title, form)


def test_points_above_the_roof_are_counted(lake_root: Path) -> None:
    lake = Lake(lake_root)
    for hardware, scale in (("fast", 1e-4), ("slow", 1e4)):
        lake.write({"hardware_id": hardware, "kind": "hardware_spec"}, hardware=specification(hardware))
        lake.write(run(hardware, "fp32", "net", 1, scale), subgraph_timings=timings(scale))
    fast, slow = plot(lake, "roofline", Wanted(models=("net",)))
    above = [row for row in fast.rows.to_dicts() if row["share_of_roof"] > 1]
    assert above
    assert any(note.startswith(f"Points above it: {len(above)}.") for note in fast.notes)
    assert not any("above" in note for note in slow.notes)


@pytest.mark.parametrize("kind", ["latency", "validation"])
def test_a_whisker_without_a_lower_end_is_an_arrow_at_the_end_of_the_axis(kind: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    for scale in (1.0, 6.0, 1.0):
        made = run("dev", "fp32", "net", 1, scale, end_to_end_latency_ms=None, end_to_end_latency_std_ms=None)
        lake.write(made, subgraph_timings=timings(scale))
    rows = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "predicted_latency_ms": 3.0}
    lake.write_estimates(pl.DataFrame(rows), estimator="guess", version="1", sources=[])
    (figure,) = plot(lake, kind, Wanted())
    lower = "lower_ms" if kind == "latency" else "measured_lower"
    assert figure.rows[lower].to_list()[0] < 0
    (low,) = {e["scale"]["domain"][0] for channel, e in encodings(figure) if channel == "x" and "scale" in e}
    (arrow,) = [
        layer for layer in figure.spec()["layer"] if layer.get("encoding", {}).get("x", {}).get("datum") is not None
    ]
    assert arrow["encoding"]["x"]["datum"] == low
    assert {"filter": f"datum['{lower}'] < {low}"} in arrow["transform"]
    assert any(note.startswith("Arrows (1): the whisker goes on") for note in figure.notes)
    draw(lake, [figure], lake_root.with_name("x.svg"))
    assert "NaN" not in lake_root.with_name("x.svg").read_text()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.75, 1.66, [0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]),
        (0.42, 6.0, [0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0]),
        (9.0, 900.0, [10.0, 20.0, 50.0, 100.0, 200.0, 500.0]),
        (7e3, 2e10, [1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10]),
        (0.99, 1.01, [0.99, 0.992, 0.994, 0.996, 0.998, 1.0, 1.002, 1.004, 1.006, 1.008, 1.01]),
        (2.2, 2.9, [2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9]),
    ],
)
def test_a_log_axis_has_round_ticks_from_end_to_end(low: float, high: float, expected: list[float]) -> None:
    assert round_values(low, high, apart=44 / 640) == expected


@pytest.mark.parametrize("low", [0.013, 0.21, 1.0, 3.7, 96.0])
@pytest.mark.parametrize("factor", [1.02, 1.3, 1.7, 2.4, 5, 11, 60, 800, 1e5, 1e12])
def test_ticks_of_any_log_axis_fit_and_leave_no_half_of_it_without(low: float, factor: float) -> None:
    found = round_values(low, low * factor, apart=44 / 640)
    places = [math.log(value / low) / math.log(factor) for value in found]
    assert min((b - a for a, b in pairwise(places)), default=1) > 44 / 640 * 0.9
    assert any(place <= 0.5 for place in places)
    assert any(place >= 0.5 for place in places)
    assert 0 <= places[0] <= places[-1] <= 1


def test_no_two_models_look_alike() -> None:
    models = [f"m{number:03}" for number in range(60)]
    hue, mark = (encoding.to_dict()["scale"] for encoding in by_model(models))
    assert "range" not in hue, "it is the theme's"
    looks = [(LIGHT[number % len(LIGHT)], mark["range"][number]) for number in range(60)]
    assert len(set(looks)) == 60
    assert len({colour for colour, _ in looks[:12]}) == len({shape for _, shape in looks[:12]}) == 12
    assert len(DARK) == len(LIGHT) == len(set(LIGHT)) == len(set(DARK))


def test_a_line_is_dashed_where_its_colour_was_there_before(lake_root: Path) -> None:
    lake = Lake(lake_root)
    lake.write_many(
        (run("dev", "fp32", f"m{number:02}", batch, 1.0 + number), {"subgraph_timings": timings(1)})
        for number in range(14)
        for batch in (1, 4)
    )
    (figure,) = plot(lake, "scaling", Wanted())
    draw(lake, [figure], lake_root.with_name("x.svg"))
    lines = re.findall(
        r'<path aria-label="[^"]*" role="graphics-symbol"[^>]*line[^>]*>', lake_root.with_name("x.svg").read_text()
    )
    assert sum("stroke-dasharray=" in line and 'stroke-dasharray="6,3"' in line for line in lines) == 2
    assert len(lines) == 14


def test_headings_are_no_wider_than_the_plot() -> None:
    text = (
        "board_one, board_two · fp32, fp16 · roofline registry-427da768 beside total_latency_ms · timed by " + "x" * 200
    )
    lines = folded(text, 12)
    assert "".join(lines).replace("\u00a0", "").replace(" ", "") == text.replace(" ", "")
    assert not any(line.lstrip("\u00a0").startswith("·") for line in lines)
    assert all(len(line) < 125 for line in lines)
    assert len(lines) == 3


def test_crosses_of_the_coverage_are_counted_as_they_are_drawn(lake_root: Path) -> None:
    lake = Lake(lake_root)
    lake.write(run("dev", "fp32", "net", 1, 1.0), subgraph_timings=timings(1))
    for batch in (2, 4, 8):
        lake.write(
            {
                "hardware_id": "dev",
                "precision": "fp32",
                "model": "big",
                "batch": batch,
                "status": "failed",
                "error": "x",
            }
        )
    (figure,) = plot(lake, "coverage", Wanted())
    assert figure.rows.filter(pl.col("failed") > 0).height == 1
    assert "Crosses (1): places with batch sizes that failed and were never measured, 3 in all." in figure.notes


def test_the_line_of_exact_predictions_is_exact_on_both_axes(drawn) -> None:
    spec = drawn["validation"][0].spec()
    domains = [
        e["scale"]["domain"]
        for channel, e in encodings(drawn["validation"][0])
        if channel in {"x", "y"} and "scale" in e
    ]
    assert all(domain == domains[0] for domain in domains)
    factors = [{v["predicted"] / v["measured"] for v in layer["data"]["values"]} for layer in spec["layer"][:3]]
    assert [round(factor, 9) for line in factors for factor in line] == [1.0, 0.75, 1.25]
    low, high = domains[0]
    for layer in spec["layer"][:3]:
        assert all(low <= value <= high * 1.0000001 for v in layer["data"]["values"] for value in v.values())


def test_the_roof_bends_where_peak_and_bandwidth_meet(lake: Lake) -> None:
    (figure,) = plot(lake, "roofline", Wanted(hardware=("board_30w",), precision="fp16"))
    roof = figure.spec()["layer"][0]["data"]["values"]
    assert roof[1] == {"arithmetic_intensity": pytest.approx(40.0), "achieved_flops": 4e12}
    assert roof[0]["achieved_flops"] == pytest.approx(roof[0]["arithmetic_intensity"] * 1e11)
    assert roof[2]["achieved_flops"] == 4e12


def test_a_named_model_is_drawn_subgraph_by_subgraph(lake: Lake) -> None:
    (figure,) = plot(lake, "roofline", Wanted(hardware=("board_30w",), precision="fp32", models=(NASTY,), batch=1))
    assert figure.rows["subgraph_id"].to_list() == [0, 1, 2, 3, 4, 5]


def test_repeated_runs_are_beside_the_first_one(drawn) -> None:
    (figure,) = drawn["drift"]
    rows = figure.rows.filter(pl.col("model") == "net")
    assert rows["change_percent"].to_list() == pytest.approx([0, 2, 4])
    half = 1.96 * (0.02 / 0.8) / 30**0.5 * 100
    assert (rows["upper_percent"] - rows["change_percent"])[0] == pytest.approx(half)


def test_a_long_trace_keeps_its_lowest_and_highest_readings(lake_root: Path) -> None:
    lake = Lake(lake_root)
    rows = power(30.0)
    many = pl.concat([rows.with_columns(pl.col("timestamp_s") + 4.05 * n) for n in range(30)])
    many = many.with_columns(power_w=pl.when(pl.col("timestamp_s") == 2.0).then(99.0).otherwise(pl.col("power_w")))
    lake.write(
        run("dev", "fp32", "net", 1, 1.0, measured_window_s=60.0), power_timeseries=many, subgraph_timings=timings(1)
    )
    (figure,) = plot(lake, "power", Wanted())
    assert figure.rows.height < many.height / 2
    assert figure.rows["num_readings"].sum() == many.height
    assert figure.rows["highest_w"].max() == 99.0
    assert figure.rows["lowest_w"].min() == many["power_w"].min()
    assert any("lowest to highest" in note for note in figure.notes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("efficiency", "--hw", "boart"), "the lake has no hardware id 'boart'\nthere are: board_30w, board_maxn"),
        (("latency", "--model", "nett"), "the lake has no model 'nett'\nthere are: </script><b>x, a<b>&\"c, net"),
        (("latency", "--batch", "7"), "the lake has no batch size 7\nthere are: 1, 8, 32"),
        (("validation", "--estimator", "x"), "the lake has no estimator 'x'\nthere are: guess"),
        (("efficiency", "--model", "net"), "lake plot efficiency takes no --model, only --hw, --precision"),
        (("power", "--hw", "board_30w"), "lake plot power: no power readings: they come from a sensor"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(arguments: tuple[str, ...], said: str, lake: Lake, cli) -> None:
    done = cli("plot", *arguments, "-o", "x.png", "--root", lake.root, code=2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 6
    assert not (cli.folder / "x.png").exists()


@pytest.mark.parametrize(
    ("kind", "file", "code", "said"),
    [
        ("plot", "x.pdf", 2, "a picture is a file that ends in .png, .svg or .html"),
        ("plot", "x", 2, "a picture is a file that ends in .png, .svg or .html"),
        ("report", "x.txt", 2, "a report is a file that ends in .html"),
        ("plot", "nowhere/x.png", 5, "the folder nowhere does not exist"),
        ("report", "nowhere/x", 5, "the folder nowhere does not exist"),
        ("plot", ".", 5, "is a folder"),
    ],
)
def test_a_file_that_cannot_be_is_refused_before_anything_is_read(
    kind: str, file: str, code: int, said: str, cli
) -> None:
    command = ("plot", "latency") if kind == "plot" else ("report",)
    found = cli(*command, "-o", file, code=code).stderr
    assert said in found
    assert file in found


def test_more_panels_than_a_picture_holds_are_refused(lake_root: Path) -> None:
    lake = Lake(lake_root)
    for number in range(13):
        lake.write(run(f"dev{number}", "fp32", "net", 1, 1.0), subgraph_timings=timings(1))
    with pytest.raises(UsageError, match="more than 12 panels"):
        plot(lake, "latency", Wanted())


def test_an_empty_lake_says_what_would_fill_it(cli) -> None:
    cli("init")
    for kind in sorted(PLOTS):
        with pytest.raises(UsageError, match="lake "):
            plot(Lake(cli.folder / "lake"), kind, Wanted())
    assert "lake ingest" in cli("plot", "latency", "-o", "x.svg", code=2).stderr


def test_a_missing_extra_is_named(lake: Lake, cli, tmp_path: Path) -> None:
    for module in ("altair", "vl_convert"):
        folder = tmp_path / module
        folder.mkdir()
        (folder / f"{module}.py").write_text("raise ImportError('left out')")
        for command in (("plot", "latency", "-o", "x.png"), ("report", "-o", "x.html")):
            done = cli(*command, "--root", lake.root, code=3, PYTHONPATH=str(folder))
            assert "pip install 'groundlake[plot]'" in done.stderr


def test_the_command_says_what_it_wrote(lake: Lake, cli) -> None:
    arguments = ("--hw", "board_30w", "--precision", "fp32", "--model", NASTY, "--model", "net")
    assert cli("plot", "scaling", *arguments, "-o", "out.svg", "--root", lake.root).stdout == "out.svg: 1 panel\n"
    assert "resnet" not in (cli.folder / "out.svg").read_text()
