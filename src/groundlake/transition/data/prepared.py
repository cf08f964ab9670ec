"""The data set of a group as it was prepared last: what is asked, and by which lengths it is looked at.

It is read from the lake alone; `prepare` writes it there, with a manifest that says the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from groundlake.errors import UsageError
from groundlake.places import is_remote
from groundlake.query_files import quoted
from groundlake.schemas import NO_KEY
from groundlake.transition.data.bins import Bin
from groundlake.transition.data.examples import Example
from groundlake.transition.data.manifest import Entry, Manifest, Source, TokenizerFacts, bin_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundlake.store import Lake

COLUMNS: Final = (
    *("hardware_id", "run_id", "exp_group_id", "dataset_id", "task", "source_uri", "source_sha256", "tokenizer"),
    *("tokenizer_fingerprint", "prompt_hash", "settings_hash", "manifest_sha256", "population", "left_out"),
    "selection_json",
)
SHOWN_GROUPS = 5


@dataclass(frozen=True, kw_only=True)
class PreparedExample:
    """An example that is asked.

    Attributes:
        example: The whole of it.
        position: Place in the manifest, from 0; short ones first.
        bin_index: Bin of its length, from 0 for the shortest.
        prompt_tokens: Tokens of its whole prompt, as the data set's tokenizer counts.
        prompt_sha256: Hash of the prompt whose tokens were counted.
        slice_name: Range of lengths that it was chosen for; None without one.
    """

    example: Example
    position: int
    bin_index: int
    prompt_tokens: int
    prompt_sha256: str
    slice_name: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """The data set of a group as it was prepared last.

    Attributes:
        run_id: Run of kind kv_dataset that prepared it.
        exp_group_id: The group.
        dataset_id: Name and task.
        task: Which metric and prompt.
        source_uri: File it was read from, without its folder; None where that is not known.
        source_sha256: Hash of its lines.
        tokenizer: What counted tokens; an approximation says so in its name.
        tokenizer_fingerprint: Hash of it.
        prompt_hash: Hash of the prompt template.
        settings_hash: Hash of the settings that decide the selection.
        manifest_sha256: Hash of the manifest that says the same.
        population: Examples before the selection, after filters.
        left_out: Examples that filters left out.
        examples: What is asked, in the order of the manifest.
        bins: Rows of `kv_bins`, the shortest first.
        selection: How the examples were chosen: filters, dropped, sampling, remarks, is_approximate, settings.
    """

    run_id: str
    exp_group_id: str
    dataset_id: str
    task: str
    source_uri: str | None
    source_sha256: str | None
    tokenizer: str
    tokenizer_fingerprint: str
    prompt_hash: str
    settings_hash: str
    manifest_sha256: str
    population: int
    left_out: int
    examples: tuple[PreparedExample, ...]
    bins: pl.DataFrame
    selection: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that decided the selection, by their paths, without secrets."""
        told: Mapping[str, Any] = self.selection.get("settings", {})
        return told

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was merged, left out, or fell short."""
        return tuple(self.selection.get("remarks", ()))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a prepared data set is, without its examples: they may be hundreds of megabytes.

    Attributes:
        exp_group_id: The group.
        dataset_id: Name and task.
        task: The task.
        source_sha256: Hash of the lines of its file.
        tokenizer: What counted tokens.
        tokenizer_fingerprint: Hash of it.
        prompt_hash: Hash of the prompt template.
        selected: Examples that are asked.
        settings_hash: Of what decided the selection.
    """

    exp_group_id: str
    dataset_id: str
    task: str
    source_sha256: str | None
    tokenizer: str
    tokenizer_fingerprint: str
    prompt_hash: str
    selected: int
    settings_hash: str


def read_summary(lake: Lake, exp_group_id: str) -> Summary | None:
    """Read what the data set of a group is, as it was prepared last; None where it was not prepared."""
    if not lake.exists:
        return None
    columns = ", ".join(field.name for field in fields(Summary))
    where = f"exp_group_id = {quoted(exp_group_id)}"
    rows = lake.sql(f"SELECT {columns} FROM kv_current_datasets WHERE {where}").pl().to_dicts()  # noqa: S608 - names of columns, and a literal
    return Summary(**rows[0]) if rows else None


def require_summary(lake: Lake, exp_group_id: str) -> Summary:
    """Read what the data set of a group is.

    Raises:
        UsageError: It was not prepared.
    """
    summary = read_summary(lake, exp_group_id)
    if summary is None:
        raise _not_prepared(lake, exp_group_id)
    return summary


def read_prepared(lake: Lake, exp_group_id: str) -> Prepared | None:
    """Read the data set of a group as it was prepared last; None where it was not.

    Args:
        lake: Where it is; one that is not there yet has none.
        exp_group_id: The group.
    """
    if not lake.exists:
        return None
    where = f"exp_group_id = {quoted(exp_group_id)}"
    rows = lake.sql(f"SELECT {', '.join(COLUMNS)} FROM kv_current_datasets WHERE {where}").pl().to_dicts()  # noqa: S608 - names of columns, and a literal
    return _of_row(lake, rows[0]) if rows else None


def read_run(lake: Lake, run_id: str) -> Prepared:
    """Read the data set that a run prepared, whether it is the group's latest or not."""
    return _of_row(
        lake, lake.frame("kv_datasets", hardware_id=NO_KEY, run_id=run_id).select(COLUMNS).row(0, named=True)
    )


def _of_row(lake: Lake, row: dict[str, Any]) -> Prepared:
    """Make a data set from its row of `kv_datasets` and those of its run in the other tables."""
    keys = {"hardware_id": row["hardware_id"], "run_id": row["run_id"]}
    examples = lake.frame("kv_examples", **keys).sort("position")
    return Prepared(
        **{name: row[name] for name in COLUMNS if name not in ("hardware_id", "selection_json")},
        selection=json.loads(row["selection_json"]),
        examples=tuple(_example(each, row["task"]) for each in examples.iter_rows(named=True)),
        bins=lake.frame("kv_bins", **keys).sort("bin_index"),
    )


def require_prepared(lake: Lake, exp_group_id: str) -> Prepared:
    """Read the data set of a group.

    Raises:
        UsageError: It was not prepared.
    """
    prepared = read_prepared(lake, exp_group_id)
    if prepared is None:
        raise _not_prepared(lake, exp_group_id)
    return prepared


def require_lake(lake: Lake, exp_group_id: str) -> None:
    """Raise where there is no lake in which a group could be.

    Raises:
        UsageError: There is none; the message says what makes one, or that a file is in its place.
    """
    if lake.exists:
        return
    if not is_remote(lake.root) and lake.root.exists():
        raise UsageError(
            f"group {exp_group_id} is not prepared: {lake.root} is a file, not the folder of a lake\n"
            "  --root or LAKE_ROOT names another place"
        )
    raise UsageError(
        f"group {exp_group_id} is not prepared: there is no lake at {lake.root}\n"
        "  lake kv prepare first, which makes one; --root or LAKE_ROOT names another place"
    )


def _not_prepared(lake: Lake, exp_group_id: str) -> UsageError:
    """Say that the group is missing, and what to do."""
    require_lake(lake, exp_group_id)
    rows = lake.sql("SELECT exp_group_id FROM kv_current_datasets ORDER BY exp_group_id").rows()
    shown = ", ".join([*(group for (group,) in rows[:SHOWN_GROUPS]), *(["..."] if len(rows) > SHOWN_GROUPS else [])])
    there = f"; there is {shown}" if rows else ""
    return UsageError(f"group {exp_group_id} is not prepared in {lake.root}{there}\n  lake kv prepare first")


def manifest_of(prepared: Prepared) -> Manifest:
    """Return the manifest of a data set, from the tables alone."""
    chosen = prepared.selection
    return Manifest(
        dataset_id=prepared.dataset_id,
        task=prepared.task,
        source=Source(
            name=str(prepared.source_uri),
            sha256=str(prepared.source_sha256),
            n_examples=prepared.population + prepared.left_out,
        ),
        tokenizer=TokenizerFacts(
            name=prepared.tokenizer,
            fingerprint=prepared.tokenizer_fingerprint,
            is_approximate=chosen["is_approximate"],
            prompt_template_sha256=prepared.prompt_hash,
        ),
        filters=chosen["filters"],
        dropped=chosen["dropped"],
        sampling=chosen["sampling"],
        bins=bin_facts(bins_of_rows(prepared.bins.to_dicts())),
        entries=tuple(
            Entry(
                example_id=each.example.example_id,
                bin_index=each.bin_index,
                tokens=each.prompt_tokens,
                content_sha256=each.example.content_sha256,
                slice_name=each.slice_name,
            )
            for each in prepared.examples
        ),
        examples=tuple(each.example for each in prepared.examples),
        remarks=prepared.remarks,
    )


def frames_of(prepared: Prepared) -> dict[str, pl.DataFrame]:
    """Return the rows that say it, by table, to be written."""
    shared = {"exp_group_id": prepared.exp_group_id, "dataset_id": prepared.dataset_id}
    dataset = {name: getattr(prepared, name) for name in COLUMNS if hasattr(prepared, name) and name != "run_id"}
    dataset |= {
        "selected": len(prepared.examples),
        "selection_json": json.dumps(prepared.selection, ensure_ascii=False, sort_keys=True),
    }
    examples = [shared | _row(each) for each in prepared.examples]
    return {
        "kv_datasets": _frame([dataset]),
        "kv_examples": _frame(examples),
        "kv_bins": prepared.bins.with_columns(pl.lit(value).alias(name) for name, value in shared.items()),
    }


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(each: PreparedExample) -> dict[str, Any]:
    """Return the row of `kv_examples` of an example."""
    example = each.example
    return {
        "example_id": example.example_id,
        "position": each.position,
        "bin_index": each.bin_index,
        "prompt_tokens": each.prompt_tokens,
        "question": example.question,
        "context": example.context,
        "answers": list(example.answers),
        "all_classes": None if example.all_classes is None else list(example.all_classes),
        "language": example.language,
        "source_length": example.source_length,
        "content_sha256": example.content_sha256,
        "line_sha256": example.source_sha256,
        "prompt_sha256": each.prompt_sha256,
        "slice_name": each.slice_name,
    }


def bins_of_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Bin, ...]:
    """Bring rows of `kv_bins` into the form that has edges: a bin ends where the next one begins.

    Args:
        rows: All bins, the shortest first; empty ones are the last.
    """
    filled = [row for row in rows if row["population"]]
    longest = filled[-1]["tokens_to"] if filled else 0
    ends = [row["tokens_from"] for row in filled[1:]]
    return tuple(
        Bin(
            index=row["bin_index"],
            low=row["tokens_from"] if row["population"] else longest,
            high=ends[place] if place < len(ends) else longest,
            is_closed=place == len(filled) - 1,
            longest=row["tokens_to"],
            population=row["population"],
            selected=row["selected"],
        )
        for place, row in enumerate(rows)
    )


def _example(row: Mapping[str, Any], task: str) -> PreparedExample:
    """Make an example from its row of `kv_examples`."""
    return PreparedExample(
        example=Example(
            example_id=row["example_id"],
            task=task,
            question=row["question"],
            context=row["context"],
            answers=tuple(row["answers"]),
            all_classes=None if row["all_classes"] is None else tuple(row["all_classes"]),
            language=row["language"],
            source_length=row["source_length"],
            source_sha256=row["line_sha256"],
        ),
        position=row["position"],
        bin_index=row["bin_index"],
        prompt_tokens=row["prompt_tokens"],
        prompt_sha256=row["prompt_sha256"],
        slice_name=row["slice_name"],
    )
