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
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.errors import LakeNotFoundError, MissingDependencyError
from groundlake.query_files import PARAMS, named_query
from groundlake.schemas import FACT_TABLES, Quarantine, Runs
from groundlake.views import QUARANTINE_FOLDER, all_views, scalar_columns

if TYPE_CHECKING:
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


def bind(session: SparkSession, root: str | Path = "lake") -> list[str]:
    """Create or replace a temporary view for every view of the lake.

    The ledger's files are listed before those of any fact table: facts listed first can miss rows that a compaction
    moves in between, while facts listed later hold at least what the ledger names.

    Args:
        session: A session of Spark 4.3 or newer, which knows QUALIFY.
        root: The data root of the lake, on a path that all executors see.

    Returns:
        Names of the views, in the order in which they were made.

    Raises:
        MissingDependencyError: pyspark is not installed.
        LakeNotFoundError: There is no such folder.
    """
    _require_pyspark()
    folder = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow a link that may move later
    if not folder.is_dir():
        raise LakeNotFoundError(f"{folder}: there is no lake here; give the folder that holds runs/")
    tables: list[type[Table]] = [Runs, *FACT_TABLES.values()]
    for table in tables:
        parts(session, folder, table).createOrReplaceTempView(table.table_name() + RAW)
    _quarantine(session, folder).createOrReplaceTempView(Quarantine.table_name())
    made = [*(table.table_name() + RAW for table in tables), Quarantine.table_name()]
    own = _element_views()
    for name, view in all_views(folder).items():
        if name not in made:
            session.sql(own.get(name, view.sql)).createOrReplaceTempView(name)
            made.append(name)
    return made


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
