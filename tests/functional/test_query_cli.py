"""`lake query`: it lists the queries, asks one, and refuses what is not declared."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from small_lake import estimated, measured, timing

from groundlake.errors import UsageError
from groundlake.query_files import named_queries, named_query
from groundlake.store import Lake
from groundlake.views import all_views

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scaled(lake_root: Path) -> Lake:
    """A lake with one model at three batch sizes: 100, 200 and 250 inputs a second."""
    lake = Lake(lake_root)
    for batch, ms in ((1, 10.0), (4, 20.0), (16, 64.0)):
        measured(lake, batch=batch, total_latency_ms=ms)
    return lake


def test_it_lists_every_query_with_its_first_sentence_and_parameters(cli: Any, scaled: Lake) -> None:
    rows = {row["name"]: row for row in json.loads(cli("query", "--format", "json").stdout)}
    assert rows.keys() == named_queries().keys()
    assert len(rows) >= 25
    for name, query in named_queries().items():
        assert rows[name]["one_row_is"] == query.one_row_is
        assert query.one_row_is.startswith("One row ")
    assert rows["batch_knee"]["parameters"] == "share=0.9 (>0..1)"
    assert rows["scattered"]["parameters"] == "cv=0.1 (0..), max_to_mean=10 (1..), least_share=0 (0..1)"
    assert "level=model (model|subgraph), quantity=latency (latency|energy)" in rows["worst_estimates"]["parameters"]


def test_it_asks_a_query_with_the_values_given_and_the_defaults(cli: Any, scaled: Lake) -> None:
    def knee(*values: str) -> list[int]:
        done = cli("query", "batch_knee", *values, "--format", "json")
        return [row["knee_batch"] for row in json.loads(done.stdout)]

    assert knee() == [16]
    assert knee("--param", "share=0.8") == [4]
    assert scaled.query("batch_knee", share=0.4).pl()["knee_batch"].to_list() == [1]


def test_queries_without_parameters_are_views_of_the_view_file(scaled: Lake) -> None:
    with duckdb.connect(str(scaled.bind_views()), read_only=True) as connection:
        listed = connection.execute("select view_name from duckdb_views() where not internal").fetchall()
        there = {name for (name,) in listed}
        knee = connection.execute("select count(*) from operation_latency_share").fetchall()
    expected = {name: not query.parameters for name, query in named_queries().items()}
    assert {name: name in there for name in expected} == expected
    assert knee == [(3,)]


def test_of_a_table_it_says_how_to_read_it(cli: Any, lake_root: Path) -> None:
    lake = Lake(lake_root)
    lake.write({"hardware_id": "dev", "model": "net", "precision": "fp32", "batch": 1})
    for name in set(all_views(lake_root)) - set(named_queries()):
        statement = f"select * from {name}"
        lake.sql(statement)
        words = f'{name} is a table, not a query; read it with lake sql "{statement}"'
        with pytest.raises(UsageError, match=re.escape(words)):
            named_query(name)
    assert 'lake sql "select * from kv_transitions"' in cli("query", "kv_transitions", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["batch_knees"], ["there is no query 'batch_knees'", "did you mean batch_knee", "`lake query` lists them"]),
        (["nothing_like_any"], ["there is no query 'nothing_like_any'\n"]),
        (
            ["batch_knee", "--param", "shape=1"],
            ["no parameter 'shape'", "share DOUBLE = 0.9 (>0..1); share of the best"],
        ),
        (["zero_flop_overhead", "--param", "share=1"], ["no parameter 'share'; it has\n  none"]),
        (["batch_knee", "--param", "share=much"], ["parameter share is a number, got 'much'"]),
        (["batch_knee", "--param", "share=nan"], ["parameter share is a number, got 'nan'"]),
        (["slowest_subgraphs", "--param", "top=1.5"], ["parameter top is a whole number, got '1.5'"]),
        (["run_history", "--param", r"model=a\b"], ["parameter model cannot hold a backslash"]),
        (
            ["worst_estimates", "--param", "level=Models"],
            ["parameter level is one of model, subgraph, got 'Models'; did you mean model?"],
        ),
        (["worst_estimates", "--param", "quantity=x"], ["parameter quantity is one of latency, energy, got 'x'\n"]),
        (
            ["worst_estimates", "--param", "levels=x"],
            ["level STRING = model (model|subgraph); what the estimates are of"],
        ),
        (["efficiency_curve", "--param", "holdout=models"], ["model, batch, hardware, kfold, none", "mean model?"]),
        (["efficiency_curve", "--param", "centre=mean"], ["parameter centre is one of geometric, compat, got 'mean'"]),
        (["stale_measurements", "--param", "reference=2026-02-30"], ["newest, YYYY-MM-DD, got '2026-02-30'\n"]),
        (["stale_measurements", "--param", "reference=20260228"], ["newest, YYYY-MM-DD, got '20260228'\n"]),
        (["slowest_subgraphs", "--param", f"top={10**19}"], ["parameter top is a whole number of 64 bits, got"]),
        (["batch_knee", "--param", "share=2"], ["parameter share is above 0 and at most 1, got '2'\n"]),
        (["batch_knee", "--param", "share=0"], ["parameter share is above 0 and at most 1, got '0'\n"]),
        (["slowest_subgraphs", "--param", "top=-1"], ["parameter top is at least 1, got '-1'\n"]),
        (["scattered", "--param", "least_share=1.5"], ["parameter least_share is at least 0 and at most 1, got '1.5'"]),
        (["batch_knee", "--param", "share"], ["--param takes name=value, got 'share'"]),
        (["batch_knee", "--param", "share=1", "--param", "share=2"], ["--param share is given twice"]),
        (["--param", "share=1"], ["name the query that it is for"]),
    ],
)
def test_what_is_not_declared_exits_2_and_says_what_is(
    arguments: list[str], said: list[str], cli: Any, scaled: Lake
) -> None:
    done = cli("query", *arguments, code=2)
    for text in said:
        assert text in done.stderr
    assert done.stdout == ""


def test_a_date_that_is_none_is_an_error_of_usage(cli: Any, scaled: Lake) -> None:
    done = cli("query", "stale_measurements", "--param", "reference=yesterday", code=2)
    assert "parameter reference is one of newest, YYYY-MM-DD, got 'yesterday'" in done.stderr


def test_a_value_with_a_quote_is_a_text_and_no_sql(scaled: Lake) -> None:
    measured(scaled, model="it's")
    assert scaled.query("run_history", model="it's").pl()["model"].to_list() == ["it's"]
    assert scaled.query("run_history", model="' OR '1'='1").pl().is_empty()


def test_python_refuses_the_same(scaled: Lake) -> None:
    with pytest.raises(UsageError, match=r"top BIGINT = 10 \(1\.\.\)"):
        scaled.query("slowest_subgraphs", tops=3)
    with pytest.raises(UsageError, match="whole number"):
        scaled.query("slowest_subgraphs", top="many")
    with pytest.raises(UsageError, match="at least 1"):
        scaled.query("slowest_subgraphs", top=0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["slowest_subgraphs", "model=nets"], ["no model 'nets'; did you mean net?\nthere are net, other\n"]),
        (["run_history", "precision=FP32"], ["no precision 'FP32'; did you mean fp32?\nthere are fp32\n"]),
        (["run_history", "batch=07"], ["no batch '7'\nthere are 1, 4, 16\n"]),
        (["worst_estimates", "hardware_id=abacus"], ["no hardware_id 'abacus'\nthere are dev, dev_2\n"]),
        (["worst_estimates", "estimator=guest"], ["no estimator 'guest'; did you mean guess?\nthere are guess\n"]),
        (["estimate_gaps", "version=1.0"], ["no version '1.0'\nthere are 1, 2\n"]),
        (["efficiency_rebased", "power_mode=99W"], ["no power_mode '99W'\nthere are 30W\n"]),
    ],
)
def test_a_name_that_the_lake_has_nowhere_exits_2_and_says_which_there_are(
    arguments: list[str], said: list[str], cli: Any, scaled: Lake
) -> None:
    measured(scaled, model="other", hardware_id="dev_2", thermal_profile="30W")
    for version in ("1", "2"):
        estimated(scaled, {"predicted_latency_ms": 1.0}, version=version)
    name, parameter = arguments
    done = cli("query", name, "--param", parameter, code=2)
    for text in said:
        assert text in done.stderr
    assert done.stdout == ""


def test_names_that_the_lake_has_may_have_nothing_to_report(cli: Any, scaled: Lake) -> None:
    measured(scaled, model="other", hardware_id="dev_2")
    estimated(scaled, {"predicted_latency_ms": 1.0})
    asked = ["--param", "model=other", "--param", "hardware_id=dev", "--format", "json"]
    assert json.loads(cli("query", "run_history", *asked).stdout) == []
    energies = ["--param", "estimator=guess", "--param", "quantity=energy", "--format", "json"]
    assert json.loads(cli("query", "worst_estimates", *energies).stdout) == []


def test_in_an_empty_lake_there_are_no_names(cli: Any, lake_root: Path) -> None:
    Lake(lake_root).create()
    assert "no model 'net'\nthere are none" in cli("query", "run_history", "--param", "model=net", code=2).stderr
    assert cli("query", "run_history", "--param", "model=all", "--format", "csv").stdout.startswith("hardware_id,")


def test_rows_come_in_the_same_order_each_time(cli: Any, lake_root: Path) -> None:
    lake = Lake(lake_root)
    for number in range(30):
        measured(lake, model=f"m{number * 7 % 30:02}", batch=1)
        measured(lake, model=f"m{number * 7 % 30:02}", batch=2, total_latency_ms=1.5)
    answers = {cli("query", "batch_knee", "--format", "csv").stdout for _ in range(3)}
    (answer,) = answers
    assert [line.split(",")[2] for line in answer.splitlines()[1:]] == [f"m{number:02}" for number in range(30)]


def test_a_query_with_an_order_of_its_own_keeps_it(cli: Any, scaled: Lake) -> None:
    measured(scaled, timing(0, mean=1.0), timing(1, mean=9.0), model="cut")
    done = cli("query", "slowest_subgraphs", "--param", "model=cut", "--format", "json")
    assert [row["subgraph_id"] for row in json.loads(done.stdout)] == [1, 0]


def test_every_query_can_be_sorted(lake_root: Path) -> None:
    Lake(lake_root).create()
    with Lake(lake_root).connect() as connection:
        for query in named_queries().values():
            connection.execute(f"CREATE OR REPLACE VIEW params AS {query.params({}).sql}")
            rows = connection.execute(query.ordered).fetchall()
            assert rows == sorted(rows), query.name
