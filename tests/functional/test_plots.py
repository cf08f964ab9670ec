"""`lake plot`: every picture in every format, its rows equal to its query, and errors that say what there is."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pictured import NASTY, SCRIPT, assert_alike, power, run, timings, write

from groundlake.errors import UsageError
from groundlake.report.figure import ROWS, Wanted, records
from groundlake.report.files import draw
from groundlake.report.plots import PLOTS, plot
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


def test_an_extrapolated_prediction_has_another_shape(drawn) -> None:
    (figure,) = drawn["validation"]
    outside = figure.rows.filter(pl.col("range") == "extrapolated")
    assert set(outside["model"]) == {SCRIPT}
    (shape,) = {e["field"] for channel, e in encodings(figure) if channel == "shape"}
    assert shape == "range"
    assert any(f"Crosses: {outside.height} predictions" in note for note in figure.notes)


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


@pytest.mark.parametrize("file", ["x.pdf", "x", "nowhere/x.png"])
def test_a_file_that_is_no_picture_is_refused_before_anything_is_read(file: str, cli) -> None:
    assert file in cli("plot", "latency", "-o", file, code=2).stderr


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
