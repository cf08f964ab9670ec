"""The contracts as a document of the Open Data Contract Standard (ODCS 3.2.0), for catalogues and other tools.

https://bitol-io.github.io/open-data-contract-standard/v3.2.0/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake import __version__
from groundlake.places import is_remote
from groundlake.schemas import FACT_TABLES, TABLES, Runs
from groundlake.views import sql_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from groundlake.schemas import Table
    from groundlake.schemas.base import ColumnSpec
    from groundlake.store import Lake

STANDARD = "v3.2.0"

_LOGICAL = {
    pl.String: "string",
    pl.Int64: "integer",
    pl.Float64: "number",
    pl.Boolean: "boolean",
    pl.Datetime: "timestamp",
    pl.Binary: "string",
    pl.List: "array",
    pl.Struct: "object",
}
_OPTIONS = {
    "greater_than_or_equal_to": ("minimum", "min_value"),
    "greater_than": ("exclusiveMinimum", "min_value"),
    "less_than_or_equal_to": ("maximum", "max_value"),
    "str_matches": ("pattern", "pattern"),
}
"""Pandera's checks as the options of a logical type, and the statistic that holds the value."""


def data_contract(lake: Lake, tables: Iterable[type[Table]] = tuple(TABLES.values())) -> dict[str, Any]:
    """Describe tables as one data contract, in the order of the standard's sections.

    Args:
        lake: Where the data is; it need not exist yet.
        tables: Contracts to describe.
    """
    return {
        "apiVersion": STANDARD,
        "kind": "DataContract",
        "id": "groundlake",
        "name": "groundlake",
        "version": __version__,
        "status": "active",
        "description": {
            "purpose": "Measurements of machine-learning models on hardware, and what was derived from them.",
            "usage": "Ask the views: in the DuckDB file, which `lake views` makes anew, or with `lake sql`.",
            "limitations": "NULL is unknown or does not apply. The Parquet files behind the views also hold rows that "
            "were superseded or withdrawn.",
        },
        "servers": [_server(lake)],
        "schema": [_object(table) for table in tables],
    }


def _server(lake: Lake) -> dict[str, Any]:
    """Where the data is: the views, which show what is visible; in object storage there is no file of views."""
    if is_remote(lake.root):
        return {"server": "parts", "type": "s3", "location": f"{lake.root}/*/**/*.parquet", "format": "parquet"}
    return {"server": "views", "type": "duckdb", "database": str(lake.view_file), "schema": "main"}


def _object(table: type[Table]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": table.table_name(),
        "physicalName": table.table_name(),
        "physicalType": "view",
        "description": table.documentation(),
        "logicalType": "object",
        "customProperties": [{"property": "contractVersion", "value": table.version()}],
        "properties": [_property(table, spec) for spec in table.columns()],
    }
    if table.latest_by():
        found["dataGranularityDescription"] = f"The latest row of each {', '.join(table.latest_by())}"
    if table.row_rules():
        found["quality"] = [{"type": "text", "description": f"In each row: {name}"} for name in table.row_rules()]
    return found


def _property(table: type[Table], spec: ColumnSpec) -> dict[str, Any]:
    found = {"name": spec.name, **_typed(spec.dtype), "description": spec.description, "required": not spec.nullable}
    if spec.unit:
        found["customProperties"] = [{"property": "unit", "value": spec.unit}]
    if spec.name in table.keys():
        found |= {"partitioned": True, "partitionKeyPosition": list(table.keys()).index(spec.name) + 1}
    if spec.name == "run_id" and table in FACT_TABLES.values():
        found["relationships"] = [{"type": "foreignKey", "to": f"{Runs.table_name()}.run_id"}]
    options = {}
    for check in table.to_schema().columns[spec.name].checks:
        if check.name == "isin":
            found["enum"] = [{"value": value} for value in check.statistics["allowed_values"]]
        else:
            option, statistic = _OPTIONS[check.name]
            value = check.statistics[statistic]
            options[option] = getattr(value, "pattern", value)
    if options:
        found["logicalTypeOptions"] = options
    return found


def _typed(dtype: pl.DataType) -> dict[str, Any]:
    """Logical and physical type, and what is inside of a list or a struct."""
    found: dict[str, Any] = {"logicalType": _LOGICAL[type(dtype)], "physicalType": sql_type(dtype)}
    if isinstance(dtype, pl.List):
        found["items"] = _typed(dtype.inner)  # type: ignore[arg-type] # an instance in a contract
    if isinstance(dtype, pl.Struct):
        found["properties"] = [{"name": part.name, **_typed(part.dtype)} for part in dtype.fields]  # type: ignore[arg-type] # the same
    return found
