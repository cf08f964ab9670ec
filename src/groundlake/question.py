"""Tell a question from everything else that SQL can say: a query may come from anybody, and only reads.

DuckDB writes from within what it calls a SELECT (`WITH x AS (COPY ...)`, `FROM enable_logging(...)`) and runs whatever
`EXPLAIN ANALYZE` stands before, so the kind of a statement says too little: its parsed form is looked at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb

from groundlake.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARSED = """
SELECT
    json_extract_string(parsed, '$.error_message'),
    json_extract_string(parsed, '$..type'),
    json_extract_string(parsed, '$..function.function_name')
FROM (SELECT json_serialize_sql(?) AS parsed)
"""
"""What is wrong with a SELECT, the kinds of all its parts, and the table functions in it."""

_ASKING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE", "RECURSIVE_CTE_NODE"})

_READING_FUNCTIONS = re.compile(
    r"read_(parquet|csv|csv_auto|text|blob|(nd)?json\w*)|parquet_\w+|sniff_csv|glob"
    r"|range|generate_series|unnest|repeat|repeat_row|json_each|json_tree"
    r"|duckdb_\w+|pragma_\w+|query_table|summary|histogram|histogram_values|icu_calendar_names|pg_timezone_names"
)
"""Table functions that read files, which are held to those of the lake, or none, and change nothing.

Not among them: `query` and `json_execute_serialized_sql`, as nobody sees what they run, and those that make DuckDB
write a log or a profile.
"""

_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_EXPLAIN = re.compile(rf"{_GAP}explain\b(?P<analyze>{_GAP}analy[sz]e\b)?", re.IGNORECASE | re.DOTALL)
_OPTIONS = re.compile(r"\s*(?P<options>\([\w\s,']*\))")


def single_query(connection: duckdb.DuckDBPyConnection, query: str, *, any_function: bool = False) -> str:
    """Return the one SELECT of a query, or the EXPLAIN of one, refusing anything that is not a question.

    Args:
        connection: Parses the query; nothing of it is run.
        query: What somebody asks.
        any_function: Let through table functions that are not known to only read: where another engine is asked, the
            names are its own.

    Raises:
        QueryError: It is none, several, or one that changes something.
        duckdb.ParserException: It is no SQL.
    """
    head, select = _split(connection, query)
    _refuse(connection, select, any_function=any_function)
    return head + select


def _split(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[str, str]:
    """Return the `EXPLAIN ...` before a SELECT, or nothing, and the SELECT.

    What is run is put together of these two, so that a slip in telling them apart never runs anything else.
    """
    statements = connection.extract_statements(query)
    kinds = [statement.type.name for statement in statements]
    if "MULTI" in kinds:  # DuckDB would make a type of the values that it finds first
        raise QueryError("a PIVOT has to name its columns here: pivot ... on precision in ('fp32', 'fp16') ...")
    if kinds == ["SELECT"]:
        return "", statements[0].query
    explained = _EXPLAIN.match(statements[0].query) if kinds == ["EXPLAIN"] else None
    if not explained:
        raise _no_question(kinds)
    head = "EXPLAIN ANALYZE " if explained["analyze"] else "EXPLAIN "
    rest = statements[0].query[explained.end() :]
    select = _select(connection, rest)
    options = _OPTIONS.match(rest)
    if select is None and options and not explained["analyze"]:
        head += f"{options['options']} "
        select = _select(connection, rest[options.end() :])
    if select is None:
        raise _no_question(["EXPLAIN of something else"])
    return head, select


def _select(connection: duckdb.DuckDBPyConnection, text: str) -> str | None:
    """Return a text that is one SELECT, as DuckDB understands it; None where it is something else."""
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error:
        return None
    return statements[0].query if [statement.type.name for statement in statements] == ["SELECT"] else None


def _refuse(connection: duckdb.DuckDBPyConnection, select: str, *, any_function: bool) -> None:
    """Raise where a part of a SELECT writes, or may."""
    [(wrong, kinds, called)] = connection.execute(_PARSED, [select]).fetchall()
    if wrong:
        raise QueryError(f"the query cannot be checked before it runs: {wrong}")
    writing = sorted({str(kind) for kind in kinds if str(kind).endswith("_NODE")} - _ASKING_NODES)
    if writing:
        raise _no_question([f"a SELECT with {kind.split('_')[0]} in it" for kind in writing])
    refused = [name for name in called if not _READING_FUNCTIONS.fullmatch(name.lower())]
    if refused and not any_function:
        raise QueryError(
            f"{refused[0]}() is no function that only reads, and a query only reads the lake; leave it out\n"
            "DuckDB's own command line has it: duckdb -readonly lake.db"
        )


def _no_question(kinds: Iterable[str]) -> QueryError:
    return QueryError(
        f"a single SELECT is run, got {', '.join(kinds) or 'nothing'}\n"
        "write results with -o FILE; the lake itself is changed by ingest and import only"
    )
