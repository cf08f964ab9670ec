"""Shows answers of a group beside what counts as right, to be read by eye: does the score say what a reader would say?

Rows are drawn at random, and the same rows always: their order is that of sha256 of seed and request id, which no
version of a random generator and no order of the table changes. A larger sample begins with the smaller one.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from groundlake.errors import UsageError
from groundlake.query_files import quoted
from groundlake.transition.data.prepared import require_lake
from groundlake.transition.scope import of_requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings


@dataclass(frozen=True, kw_only=True)
class SampleRow:
    """One request as it ended.

    Attributes:
        request_id: Which.
        budget: Fraction of the cache that is kept.
        bin_index: Bin of its length.
        example_id: What was asked.
        repeat: Which of the repeats of the example.
        prompt_tokens: Tokens of the prompt, as the data set's tokenizer counts.
        state: answered, failed or missing.
        question: What was asked about the context.
        text: The answer as it came, unchanged; of a failure what came nevertheless. None where nothing came.
        answers: Answers that count as right.
        metric: What it was scored by; None without a score.
        accuracy: By that metric, from 0 to 1; None without a score.
        exact_match: 1 where the normalised answer is a right one, else 0; None without a score.
        f1: Token overlap with the closest right answer, from 0 to 1; None without a score.
        normalized_answer: The answer as it was compared; None without a score.
        normalized_gold: The right answer it is closest to, as it was compared; None without a score.
        finish_reason: What ended the answer.
        is_truncated: Whether the limit of tokens ended it; None without an answer.
        failure: Why there is no answer that can be scored; None of an answer.
        message: What the engine said of a failure.
    """

    request_id: str
    budget: float
    bin_index: int
    example_id: str
    repeat: int
    prompt_tokens: int
    state: str
    question: str
    text: str | None
    answers: tuple[str, ...]
    metric: str | None
    accuracy: float | None
    exact_match: float | None
    f1: float | None
    normalized_answer: str | None
    normalized_gold: str | None
    finish_reason: str | None
    is_truncated: bool | None
    failure: str | None
    message: str | None


SCHEMA: Final[Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "request_id": pl.String,
    "budget": pl.Float64,
    "bin_index": pl.Int64,
    "example_id": pl.String,
    "repeat": pl.Int64,
    "prompt_tokens": pl.Int64,
    "state": pl.String,
    "question": pl.String,
    "text": pl.String,
    "answers": pl.List(pl.String),
    "metric": pl.String,
    "accuracy": pl.Float64,
    "exact_match": pl.Float64,
    "f1": pl.Float64,
    "normalized_answer": pl.String,
    "normalized_gold": pl.String,
    "finish_reason": pl.String,
    "is_truncated": pl.Boolean,
    "failure": pl.String,
    "message": pl.String,
}


def sample(
    settings: Settings,
    lake: Lake,
    *,
    n: int = 10,
    seed: int = 1337,
    budget: float | None = None,
    bin_index: int | None = None,
    run_id: str | None = None,
) -> list[SampleRow]:
    """Draw requests of a group: of those that all figures are made of.

    Args:
        settings: Which group, and what of it is looked at.
        lake: Where it is.
        n: How many at most.
        seed: Decides which, and their order.
        budget: Only of this budget.
        bin_index: Only of this bin.
        run_id: Only of this run, or of the budget with this id.

    Raises:
        UsageError: There is no such group, budget or bin, or nothing was asked there; the message names what there is.
    """
    if n < 1:
        raise UsageError(f"a sample has at least 1 row, got {n}")
    exp_group_id, where = str(settings.output.exp_group_id), of_requests(settings)
    require_lake(lake, exp_group_id)
    rows = lake.sql(f"SELECT {', '.join(SCHEMA)} FROM kv_answers WHERE {where}").pl()  # noqa: S608 - names and a literal
    if rows.is_empty():
        raise UsageError(_nothing(settings, lake))
    if run_id is not None:
        mine = f"SELECT request_id FROM kv_answers WHERE {where} AND {quoted(run_id)} IN (run_id, budget_id)"  # noqa: S608 - literals
        rows = rows.filter(pl.col("request_id").is_in(lake.sql(mine).pl()["request_id"].to_list()))
        if rows.is_empty():
            raise UsageError(f"group {exp_group_id}: run {run_id} has no request that counts now")
    for column, value in (("budget", budget), ("bin_index", bin_index)):
        rows = _only(rows, column, value, exp_group_id)
    drawn = sorted(rows["request_id"].to_list(), key=lambda each: (_place(seed, each), each))[:n]
    by_id = {row["request_id"]: row for row in rows.iter_rows(named=True)}
    return [SampleRow(**by_id[each] | {"answers": tuple(by_id[each]["answers"])}) for each in drawn]


def as_frame(rows: Sequence[SampleRow]) -> pl.DataFrame:
    """Return a sample as a frame with a column for each attribute, in the order of the sample."""
    return pl.DataFrame([asdict(row) | {"answers": list(row.answers)} for row in rows], schema=SCHEMA)


def _place(seed: int, request_id: str) -> str:
    return hashlib.sha256(f"{seed}:{request_id}".encode()).hexdigest()


def _only(rows: pl.DataFrame, column: str, value: float | None, exp_group_id: str) -> pl.DataFrame:
    if value is None:
        return rows
    found = rows.filter(pl.col(column) == value)
    if found.is_empty():
        what = {"budget": "budget", "bin_index": "bin"}[column]
        there = ", ".join(f"{each:g}" for each in sorted(rows[column].unique().to_list()))
        raise UsageError(f"group {exp_group_id}: nothing was asked in {what} {value:g}\n  there is: {there}")
    return found


def _nothing(settings: Settings, lake: Lake) -> str:
    """Say why a group has no rows."""
    exp_group_id = str(settings.output.exp_group_id)
    groups = [row[0] for row in lake.sql("SELECT exp_group_id FROM kv_current_datasets ORDER BY 1").rows()]
    if exp_group_id in groups:
        budgets = ", ".join(f"{each:g}" for each in settings.kv.budgets)
        return f"group {exp_group_id}: nothing was asked yet at budget {budgets}\n  lake kv run first"
    there = f"there is: {', '.join(groups)}" if groups else "nothing is prepared yet; lake kv prepare first"
    return f"{lake.root}: there is no group {exp_group_id}\n  {there}"
