"""Rules that every query file keeps, so that DuckDB 1.4 to 2.0 and Spark 4 run the same text."""

from __future__ import annotations

import re
from importlib.resources import files

import duckdb
import pytest

from groundlake.query_files import FOLDERS, NAMES, PARAMS, named_queries, parse_view
from groundlake.schemas import FACT_TABLES, Runs
from groundlake.views import base_views, element_views

TEXTS = {
    entry.name.removesuffix(".sql"): entry.read_text("utf-8")
    for folder in FOLDERS
    for entry in (files("groundlake") / "queries" / folder).iterdir()
    if entry.name.endswith(".sql")
}

PROMISED = {
    "batch_scaling",
    "coverage",
    "coverage_gaps",
    "data_quality",
    "efficiency_by_operation",
    "good_runs",
    "latest_runs",
    "model_summary",
    "noisy_subgraphs",
    "precision_speedup",
    "run_summary",
}

NOT_PORTABLE = {
    "cast with ::": r"::",
    "select *": r"select\s+\*|\.\*",
    "exclude or except": r"\b(exclude|except)\b",
    "asof join": r"\basof\b",
    "unnest or explode": r"\b(unnest|explode)\b",
    "list function": r"\b(list\w*|array_to_string|array_join|array_size|array_length|cardinality|element_at)\s*\(",
    "lambda": r"->",
    "subscript": r"\w\[",
    "duckdb quantile": r"\bquantile\w*\s*\(",
    "max_by drops NULLs in one engine only": r"\b(max_by|min_by|arg_max|arg_min|any_value|first|last)\s*\(",
    "concat treats NULL differently": r"\bconcat(_ws)?\s*\(",
    "varchar needs a length in Spark": r"\bvarchar\b",
    "timestamp with a zone": r"\b(timestamptz|timestamp)\b",
    "group by all": r"\b(group|order)\s+by\s+all\b",
    "file access": r"\b(read_\w+|parquet_scan|glob)\s*\(",
    "path or template": r"[{}$?]|'[^'\n]*\.(parquet|json|csv)'",
    "backslash in a text means different things": r"\\",
    "statement end": r";",
    "raw relation": r"_parts\b",
    "NULLIF around a window breaks DuckDB 1.4.0": r"nullif\s*\([^)]*\)\s*over\b|nullif\(\s*\w+\([^)]*\)\s+over",
    "integer division": r"//|\bdiv\b",
    "DuckDB 1.5 loses rows where row_number by one key is 1; take rank, or a second key": (
        r"row_number\(\)\s+over\s*\(((?!order\s+by)[^()])*order\s+by\s+([^,()]|\([^()]*\))*\)\s*=\s*1"
    ),
}


def without_comments_and_texts(sql: str) -> str:
    return re.sub(r"'[^'\n]*'", "''", re.sub(r"--[^\n]*", "", sql))


def without_heads(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", sql)


def broken_rules(sql: str) -> list[str]:
    code = without_comments_and_texts(sql)
    raw = {"path or template", "backslash in a text means different things"}
    return [
        rule
        for rule, pattern in NOT_PORTABLE.items()
        if re.search(pattern, re.sub(r"--[^\n]*", "", sql) if rule in raw else code, re.IGNORECASE)
    ]


def unguarded_divisors(sql: str) -> list[str]:
    """What stands after each division sign, unless it is a number, NULLIF, or known to be above 0."""
    divisors = re.findall(r"/\s*(NULLIF|\(|[\w.]+)", without_comments_and_texts(sql))
    safe = {"NULLIF", "b.batch", "b.smallest_batch", "("}
    return [found for found in divisors if found not in safe and not re.fullmatch(r"[1-9]\d*(e0)?", found)]


@pytest.fixture(scope="module")
def described() -> dict[str, list[tuple[str, str]]]:
    """Column names and DuckDB types of every written view."""
    connection = duckdb.connect()
    for table in (Runs, *FACT_TABLES.values()):
        connection.register(table.table_name(), table.empty_frame().to_arrow())
    for name, view in element_views().items():
        connection.execute(f"CREATE VIEW {name} AS {view.sql}")
    waiting = dict(named_queries())
    while waiting:
        name = next(n for n, view in waiting.items() if not view.reads() & (set(waiting) - {n}))
        view = waiting.pop(name)
        if view.parameters:
            connection.execute(f"CREATE OR REPLACE TABLE {PARAMS} AS {view.params({}).sql}")
        connection.execute(f"CREATE TABLE {name} AS {view.sql}")
    return {
        name: [(row[0], row[1]) for row in connection.execute(f"DESCRIBE {name}").fetchall()]
        for name in named_queries()
    }


def test_the_promised_views_are_there() -> None:
    assert set(TEXTS) >= PROMISED


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_text_is_portable(name: str) -> None:
    assert broken_rules(TEXTS[name]) == []


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_division_can_be_by_zero(name: str) -> None:
    assert unguarded_divisors(TEXTS[name]) == []


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_descending_or_nullable_order_says_where_nulls_go(name: str) -> None:
    code = without_comments_and_texts(TEXTS[name])
    for expression in re.findall(r"\bstarted_at\b(?=[^,\n]*\bDESC\b)[^,\n]*", code):
        assert "NULLS LAST" in expression


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_file_is_one_select_with_a_head(name: str) -> None:
    view = parse_view(name, TEXTS[name])
    assert len(duckdb.extract_statements(view.sql)) == 1
    assert duckdb.extract_statements(view.sql)[0].type == duckdb.StatementType.SELECT
    assert view.documentation.startswith("One row ")
    assert view.documentation.endswith(".")
    asked = (f"lake query {name}",) if view.parameters else ("select ", f" from {name}")
    assert view.example.startswith(asked[0])
    assert asked[-1] in view.example
    assert TEXTS[name].endswith("\n")
    assert not TEXTS[name].endswith("\n\n")


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_line_of_a_parameter_is_read_and_its_default_is_allowed(name: str) -> None:
    view = parse_view(name, TEXTS[name])
    assert len(view.parameters) == TEXTS[name].count("-- param:")
    for parameter in view.parameters:
        assert parameter.kind in {"DOUBLE", "BIGINT", "BOOLEAN", "STRING"}
        assert parameter.kind == "STRING" or not parameter.values
        assert parameter.description
        parameter.literal(parameter.default)
        if parameter.kind in {"DOUBLE", "BIGINT"}:
            assert parameter.range is not None, f"{parameter.name} is a number without a range"
        elif parameter.kind == "STRING":
            assert parameter.values or parameter.name in NAMES, f"{parameter.name} is neither a choice nor a known name"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_parameter_that_picks_among_texts_of_the_query_allows_these_only(name: str) -> None:
    view = parse_view(name, TEXTS[name])
    for parameter in view.parameters:
        compared = {
            text
            for case in re.findall(rf"CASE p\.{parameter.name}\b.*?\bEND\b", view.sql, re.DOTALL)
            for text in re.findall(r"WHEN '(\w+)'", case)
        } | set(re.findall(rf"\bp\.{parameter.name} = '(\w+)'", view.sql))
        if compared - {"all"}:
            assert compared <= set(parameter.values)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_view_reads_only_views_that_exist(name: str) -> None:
    own = {found.lower() for found in re.findall(r"\b(\w+) AS \(", TEXTS[name])}
    known = {*base_views(), *TEXTS, "quarantine", *([PARAMS] if "-- param:" in TEXTS[name] else [])}
    assert not own & known, "a common table expression hides a view"
    no_views = {"lateral", *re.findall(r"DISTINCT FROM (\w+)[.(]", TEXTS[name])}
    assert parse_view(name, TEXTS[name]).reads() - own - no_views <= known


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_column_is_described_with_its_unit(name: str, described: dict[str, list[tuple[str, str]]]) -> None:
    contracts = {spec.name for table in (Runs, *FACT_TABLES.values()) for spec in table.columns()}
    own = parse_view(name, TEXTS[name]).columns
    heads = dict(re.findall(r"^-- column (\w+)(.*?):", TEXTS[name], re.MULTILINE))
    assert set(own) <= {column for column, _ in described[name]}, "a description of a column that is not there"
    for column, dtype in described[name]:
        numeric = dtype in {"BIGINT", "DOUBLE", "INTEGER", "HUGEINT"} or dtype.startswith("DECIMAL")
        assert column in own or column in contracts, f"{column} has no description"
        if column in heads:
            assert bool(heads[column]) == numeric, f"{column} is {dtype}: a number has a unit, nothing else has"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_column_has_a_type_that_only_one_engine_has(name: str, described: dict[str, list[tuple[str, str]]]) -> None:
    allowed = {"VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "VARCHAR[]"}
    assert {dtype for _, dtype in described[name]} <= allowed


def test_what_makes_a_run_good_stands_in_one_view_for_each_kind_of_run() -> None:
    asks = re.compile(r"[\"']not_representative")  # of the warnings; a view may tell its reader what good_runs says
    told = {name for name, text in TEXTS.items() if asks.search(without_heads(text))}
    assert told == {"good_runs", "experiment_summary"}


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT x::int FROM t", "cast with ::"),
        ("SELECT t.* FROM t", "select *"),
        ("SELECT list(a) FROM t", "list function"),
        ("SELECT a FROM read_parquet('x')", "file access"),
        ("SELECT a FROM 'lake/runs.parquet'", "path or template"),
        ("SELECT a[1] FROM t", "subscript"),
        ("SELECT CAST(a AS VARCHAR) FROM t", "varchar needs a length in Spark"),
        ("SELECT quantile_cont(a, 0.5) FROM t", "duckdb quantile"),
        (
            "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY a, b ORDER BY coalesce(c, 0) DESC) = 1",
            "DuckDB 1.5 loses rows where row_number by one key is 1; take rank, or a second key",
        ),
    ],
)
def test_the_rules_catch_what_they_are_for(sql: str, rule: str) -> None:
    assert broken_rules(sql) == [rule]


def test_the_first_by_two_keys_or_by_rank_is_fine() -> None:
    for order in ("row_number() OVER (PARTITION BY a ORDER BY b, c) = 1", "rank() OVER (ORDER BY b) = 1"):
        assert broken_rules(f"SELECT a FROM t QUALIFY {order}") == []


def test_an_unguarded_division_is_caught() -> None:
    assert unguarded_divisors("SELECT a / b FROM t") == ["b"]
