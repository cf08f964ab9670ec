"""Bind a lake to a Spark session: the same files, the same SQL text, as temporary views.

    from pyspark.sql import SparkSession
    from groundlake import spark

    session = SparkSession.builder.getOrCreate()
    spark.bind(session, "lake")
    session.sql("select * from model_summary").show()
    spark.query(session, "batch_knee", share=0.95).show()

Spark lists a table's files when its view is made, so call `bind` again to see what was written since. Spark plans a
view with all views below it at once: your own SQL over `estimator_accuracy` may need a deeper stack than the usual one,
which `spark.driver.extraJavaOptions=-Xss4m` gives.

`lake sql --engine spark` asks one query of a session of its own.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import duckdb
import polars as pl

from groundlake.answer import named_in, open_connection
from groundlake.errors import LakeNotFoundError, MissingDependencyError, QueryError
from groundlake.places import place_of, require_folder
from groundlake.query_files import PARAMS, named_query
from groundlake.question import single_query
from groundlake.schemas import FACT_TABLES, Quarantine, Runs
from groundlake.views import QUARANTINE_FOLDER, all_views, needed_for, scalar_columns

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

    from groundlake.schemas import Table

_TYPES: dict[type[pl.DataType], str] = {
    pl.String: "STRING",
    pl.Int64: "BIGINT",
    pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN",
    pl.Datetime: "TIMESTAMP_NTZ",  # naive, as DuckDB's TIMESTAMP: the session's time zone never shifts it
    pl.Binary: "BINARY",
}

RAW = "_parts"
"""Ends the names of the raw relations, the only ones that Spark and DuckDB define differently."""


_OF_ALL = {
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.driver.extraJavaOptions": "-Xss4m",  # plans of views over views are deep
}
_OF_ONE_MACHINE = {
    "spark.master": "local[*]",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "3g",
    "spark.sql.shuffle.partitions": "8",  # 200 small tasks for each step would take most of the time
    "spark.sql.warehouse.dir": "/nonexistent",  # nothing is kept: no folder of Spark's beside the lake
}
"""What a session of our own is told, unless Spark's own settings say something."""

_PLANS = "org.apache.spark.sql.catalyst"
_DOING = (
    "plans.logical.Command",
    "plans.logical.ParsedStatement",  # INSERT INTO
    "plans.logical.InsertIntoDir",
    "plans.logical.CompoundPlanStatement",
    "analysis.UnresolvedExecuteImmediate",
)
"""What Spark's parser makes of statements that do something, below their WITH."""

_CALLS_JAVA = re.compile(r"\b(reflect|java_method|try_reflect)\s*\(", re.IGNORECASE)


def bind(
    session: SparkSession,
    root: str | Path = "lake",
    *,
    names: Iterable[str] | None = None,
    as_of: dt.datetime | None = None,
) -> list[str]:
    """Create or replace a temporary view for every view of the lake.

    The ledger's files are listed before those of any fact table: facts listed first can miss rows that a compaction
    moves in between, while facts listed later hold at least what the ledger names.

    Args:
        session: A session of Spark 4.3 or newer, which knows QUALIFY.
        root: The data root of the lake, on a path that all executors see.
        names: Only these, and what they read.
        as_of: Show what had been recorded by this time (naive UTC).

    Returns:
        Names of the views, in the order in which they were made.

    Raises:
        MissingDependencyError: pyspark is not installed.
        LakeNotFoundError: There is no such folder.
    """
    _require_pyspark()
    folder = place_of(root)
    require_folder(folder, "Spark reads a lake")
    if not folder.is_dir():
        raise LakeNotFoundError(f"{folder}: there is no lake here; give the folder that holds runs/")
    views = all_views(folder, as_of)
    wanted = views if names is None else needed_for(names, views)
    tables: list[type[Table]] = [Runs, *FACT_TABLES.values()]
    contracts = {table.table_name() + RAW: table for table in tables}
    made = [name for name in contracts if name in wanted]
    for name in made:
        parts(session, folder, contracts[name]).createOrReplaceTempView(name)
    if Quarantine.table_name() in wanted:
        _quarantine(session, folder).createOrReplaceTempView(Quarantine.table_name())
        made.append(Quarantine.table_name())
    own = _element_views()
    for name in wanted:
        if name not in made:
            session.sql(own.get(name, views[name].sql)).createOrReplaceTempView(name)
            made.append(name)
    return made


def ask(root: Path, text: str, as_of: dt.datetime | None = None) -> pl.DataFrame:
    """Answer one query on Spark, as `Lake.sql` does on DuckDB: in the session that is there, or a new one.

    A new one is of `spark.master`, where `spark-defaults.conf` names one, else of this machine's cores.

    Raises:
        MissingDependencyError: pyspark or Java is not installed.
        LakeNotFoundError: There is no such folder.
        QueryError: It is no single SELECT that both engines can read, or Spark refuses it.
    """
    _require_pyspark()
    from pyspark.errors import PySparkException

    with open_connection() as parser:
        try:
            query = single_query(parser, text, any_function=True)
        except duckdb.Error as error:
            raise QueryError(f"{error}\nwhat both engines read is asked of Spark") from error
    calls = _CALLS_JAVA.search(query)
    if calls:
        raise QueryError(f"{calls[1]} runs Java, and a query only reads the lake; leave it out")
    session = _session()
    logging.getLogger("SQLQueryContextLogger").disabled = True  # pyspark prints an error with its stack, then raises it
    try:
        session.conf.set("spark.sql.runSQLOnFiles", "false")  # no file but those of the lake
        _refuse_command(session, query)
        bind(session, root, names=named_in(query, all_views(root, as_of)), as_of=as_of)
        return cast("pl.DataFrame", pl.from_arrow(session.sql(query).toArrow()))
    except PySparkException as error:
        raise QueryError(_first_line(error)) from error


def _refuse_command(session: SparkSession, query: str) -> None:
    """Raise where Spark reads something else than a question in a text that DuckDB read as one.

    They differ in where comments and strings end. A session of Spark Connect has no parser here to ask, so these texts
    are without what the two read differently.
    """
    refused = QueryError(
        "Spark reads more than one SELECT in it: leave out comments, and backslashes and quotes in strings"
    )
    from py4j.java_gateway import is_instance_of

    java = getattr(session, "_jsparkSession", None)
    if java is None:
        if re.search(r"\\|--|/\*", query):
            raise refused
        return
    plan = java.sessionState().sqlParser().parsePlan(query)
    while plan.getClass().getSimpleName() == "UnresolvedWith":
        plan = plan.children().apply(0)
    kind = plan.getClass().getSimpleName()
    gateway = session.sparkContext._gateway  # noqa: SLF001 - pyspark has no other way to it
    writes = any(is_instance_of(gateway, plan, f"{_PLANS}.{name}") for name in _DOING)
    if writes and not kind.startswith(("Show", "Describe", "Explain")):
        raise refused


def _first_line(error: Exception) -> str:
    """What Spark says of a query, without its advice, plan and stack."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:500]


def _session() -> SparkSession:
    """Return the session that is there, or begin one that says little and keeps to this machine's address."""
    from pyspark import SparkConf
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    there = SparkSession.getActiveSession()
    if there is not None:
        return there
    configured = SparkConf()
    builder = SparkSession.builder.appName("groundlake")
    for name, value in (_OF_ALL if configured.contains("spark.master") else _OF_ALL | _OF_ONE_MACHINE).items():
        if not configured.contains(name):
            builder = builder.config(name, value)
    with tempfile.TemporaryFile("w+") as said:
        try:
            with _errors_into(said.fileno()):
                return builder.getOrCreate()
        except PySparkRuntimeError as error:
            said.seek(0)
            last = (said.read().splitlines() or [_first_line(error)])[-1][:300]
            raise MissingDependencyError(
                f"Spark does not start: {last}\nit needs Java 17 or newer: install it, or set JAVA_HOME"
            ) from error


@contextmanager
def _errors_into(descriptor: int) -> Iterator[None]:
    """Lead what processes that begin meanwhile say on stderr somewhere else: Java greets at length."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        os.dup2(descriptor, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def query(session: SparkSession, name: str, **parameters: object) -> DataFrame:
    """Ask one of the hand-written queries by its name, after `bind`; `lake query` lists them with their parameters.

    The temporary view `params` is replaced with each call; a frame keeps the values that it was made with.

    Args:
        session: A session in which a lake was bound.
        name: Name of the query.
        **parameters: Values for its parameters; those left out have their defaults.

    Returns:
        The frame, with the rows that `Lake.query` gives.

    Raises:
        MissingDependencyError: pyspark is not installed.
        UsageError: There is no such query or parameter, or a value of another type.
        LakeNotFoundError: No lake was bound in this session.
    """
    _require_pyspark()
    found = named_query(name)
    params = found.params(parameters)
    if not session.catalog.tableExists(Runs.table_name() + RAW):
        raise LakeNotFoundError("no lake is bound in this session; call groundlake.spark.bind(session, root) first")
    session.sql(params.sql).createOrReplaceTempView(PARAMS)
    return session.sql(found.sql)


def parts(session: SparkSession, root: Path, table: type[Table]) -> DataFrame:
    """Read every part of a table, visible or not, with the types of the contract.

    Keys come from the path, with the contract's types; columns that an older part lacks are NULL, for the schema is
    given, not found in the files. A file that is being written ends in `.tmp` and is left out.
    """
    folder = root / table.table_name()
    schema = spark_schema(table)
    if not folder.is_dir():
        return session.createDataFrame([], schema)
    reader = session.read.schema(schema).option("basePath", str(folder)).option("pathGlobFilter", "*.parquet")
    return reader.parquet(str(folder)).selectExpr(*_columns(table))


def _columns(table: type[Table]) -> list[str]:
    """Expressions for the columns of a contract in its order, with the text of keys repaired.

    Spark decodes each %XX of a path to one character, so UTF-8 beyond ASCII arrives as one character for each byte:
    read those as bytes (ISO-8859-1) and decode them again. ASCII stays as it is, and files are still pruned by key.
    """
    texts = {key for key in table.keys() if table.polars_schema()[key] == pl.String}
    return [
        f"decode(encode(`{spec.name}`, 'ISO-8859-1'), 'UTF-8') AS `{spec.name}`"
        if spec.name in texts
        else f"`{spec.name}`"
        for spec in table.columns()
    ]


def _element_views() -> dict[str, str]:
    """Spark's text of the views with one row for each element of a list column."""
    found = {}
    for table in FACT_TABLES.values():
        for element in table.elements():
            columns = ", ".join([*scalar_columns(table), "CAST(position AS BIGINT) AS position", element.value])
            exploded = f"LATERAL VIEW posexplode({element.column}) e AS position, {element.value}"
            found[element.view] = f"SELECT {columns}\nFROM {table.table_name()} {exploded}"
    return found


def spark_schema(table: type[Table]) -> str:
    """Columns of a contract as a Spark schema in DDL form, partition keys included."""
    return ", ".join(f"`{spec.name}` {spark_type(spec.dtype)}" for spec in table.columns())


def spark_type(dtype: pl.DataType | type[pl.DataType]) -> str:
    """Spark SQL type of a contract's polars type."""
    if isinstance(dtype, pl.List):
        return f"ARRAY<{spark_type(dtype.inner)}>"  # type: ignore[arg-type] # an instance in a contract
    if isinstance(dtype, pl.Struct):
        fields = ", ".join(f"`{part.name}`: {spark_type(part.dtype)}" for part in dtype.fields)  # type: ignore[arg-type] # the same
        return f"STRUCT<{fields}>"
    return _TYPES[dtype if isinstance(dtype, type) else type(dtype)]


def _quarantine(session: SparkSession, root: Path) -> DataFrame:
    """Read the quarantine's JSON lines; no rows where nothing was ever set aside."""
    schema = spark_schema(Quarantine)
    files = sorted(str(path) for path in (root / QUARANTINE_FOLDER).glob("*.jsonl"))
    if not files:
        return session.createDataFrame([], schema)
    return session.read.schema(schema).json(files)


def _require_pyspark() -> Any:  # noqa: ANN401 - a module without type information
    try:
        import pyspark
    except ImportError as error:
        raise MissingDependencyError(
            "Spark is not installed (the module pyspark is missing)\ninstall it with: pip install 'groundlake[spark]'"
        ) from error
    return pyspark
