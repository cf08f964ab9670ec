"""A lake in memory: the views of a lake over runs that nobody has written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.answer import open_connection
from groundlake.intake import fact_frame, ledger_frame, prepare
from groundlake.layout import new_id
from groundlake.query_files import View, written_views
from groundlake.schemas import FACT_TABLES, TABLES, Quarantine
from groundlake.views import base_views, bind, creation_order, empty_sql, needed_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl


def ask_unwritten(
    runs: Sequence[tuple[Mapping[str, Any], Mapping[str, pl.DataFrame]]], query: str, *reads: str
) -> pl.DataFrame:
    """Ask runs that are not in a lake what `Lake.sql` would say of them.

    What a program shows of a run before it is written comes from the same query as what the lake says of it later.

    Args:
        runs: Ledger columns and fact frames of each run, as `Lake.write_many` takes them.
        query: A question in SQL.
        *reads: Views that the question reads.

    Raises:
        ContractViolationError: A frame breaks its contract.
    """
    part = new_id()
    prepared = [prepare(row, frames) for row, frames in runs]
    frames = {"runs": ledger_frame(prepared, part)} | {
        name: fact_frame(table, prepared, part)
        for name, table in FACT_TABLES.items()
        if any(name in run.frames for run in prepared)
    }
    for name, frame in frames.items():
        TABLES[name].check(frame)
    views = base_views() | {"quarantine": View("quarantine", empty_sql(Quarantine), "", "")} | written_views()
    with open_connection() as connection:
        for name, table in TABLES.items():
            if name in frames:
                connection.register(f"{name}_parts", frames[name].to_arrow())
            else:
                connection.execute(f"CREATE VIEW {name}_parts AS {empty_sql(table)}")
        bind(connection, views, needed_for(reads, {name: views[name] for name in creation_order(views)}))
        answer: pl.DataFrame = connection.sql(query).pl()
        return answer
