"""Checks that an evaluation is done: what each stage has to leave behind, and that the stages agree with each other.

It reads the lake and the folder of the group, and changes neither. A stage that is missing is a failed check, as is
everything that needs it. Only of a group that was never prepared there is nothing to check.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import polars as pl

from groundlake.query_files import quoted
from groundlake.schemas.transition_analysis import ALL_BINS, COMPARISONS
from groundlake.snapshot import Snapshot
from groundlake.transition.analysis.tables import COLUMNS
from groundlake.transition.data.prepare import group_folder
from groundlake.transition.data.prepared import Prepared, require_prepared
from groundlake.transition.inference.guard import MODEL_FILES
from groundlake.transition.inference.identity import epoch_hash
from groundlake.transition.report.content import read_content
from groundlake.transition.scope import looked_at
from groundlake.transition.scoring.answer import scorer_version
from groundlake.transition.scoring.tasks import find_task
from groundlake.transition.standing import LastAnalysis, hash_of
from groundlake.transition.verification.check import Check, judged
from groundlake.transition.verification.files import manifest_checks, report_checks
from groundlake.transition.verification.otherwise import analysed_otherwise, asked_otherwise, prepared_otherwise
from groundlake.transition.verification.stored import parsed, stored_checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings

NAMES: Final = (
    *("prepare.manifest", "prepare.tables", "prepare.settings"),
    *("run.requests", "run.outcomes", "run.examples", "run.settings", "run.budgets", "run.stored_settings"),
    *("run.secrets", "score.answers", "score.failures", "analyze.current", "analyze.intervals", "analyze.verdicts"),
    *("report.files", "report.plots", "report.tree"),
)
"""The definition of done, in the order of the stages; a name never changes its meaning."""

HELD: Final = ("kv_current_runs", "kv_current_datasets", "kv_budgets", "kv_current_requests")
NEEDED: Final = (
    *HELD,
    *("kv_run_summary", "kv_integrity", "kv_runs", "kv_bin_stats", "kv_scores", "kv_current_analyses", "kv_intervals"),
    *("kv_transitions", "runs"),
)
LEFT_OUT: Final = {
    "kv_examples": ("question", "context", "answers"),
    "kv_responses": ("text", "reasoning", "kept_entries"),
    "kv_scores": ("normalized_answer", "normalized_gold"),
}

OFF = "kept_fraction_off"
STRANGER = "request_without_example"
SCORED = "score_without_answer"
ALWAYS: Final = ("accuracy_all", "failure_rate")
"""Subjects of intervals that every bin with requests has; the others need an answer."""

TOLERANCE = 1e-9
RUN, SCORE, ANALYZE = "lake kv run", "lake kv score", "lake kv analyze"


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the lake has of a group.

    Attributes:
        lake: Where it is.
        settings: The settings of now.
        prepared: Its data set.
        requests: Rows of `kv_current_requests`.
        summary: Rows of `kv_run_summary`.
        violations: Rows of `kv_integrity`.
        runs: Rows of `kv_runs`, those that count no longer included.
        bins: Rows of `kv_bin_stats`.
        scored: Requests and runs whose answers have a score.
        analysis: Its last analysis.
        intervals: Rows of `kv_intervals` of that one.
        verdicts: Rows of `kv_transitions` of that one.
    """

    lake: Lake
    settings: Settings
    prepared: Prepared
    requests: pl.DataFrame
    summary: pl.DataFrame
    violations: pl.DataFrame
    runs: pl.DataFrame
    bins: pl.DataFrame
    scored: pl.DataFrame
    analysis: LastAnalysis | None
    intervals: pl.DataFrame
    verdicts: pl.DataFrame

    @property
    def selected(self) -> pl.DataFrame:
        """Requests of examples that are in the data set."""
        return self.requests.filter("is_selected")

    @cached_property
    def input_hash(self) -> str:
        """Hash of what an analysis would be made of now."""
        return hash_of(self.settings, self.selected.select(list(COLUMNS)))

    @property
    def analysis_hash(self) -> str | None:
        """Hash of what the last analysis was made of; None without one."""
        return self.analysis.config_hash if self.analysis else None


def verify(settings: Settings, lake: Lake) -> list[Check]:
    """Check a group against the definition of done.

    Args:
        settings: Which group, and what was to be asked.
        lake: Where it is.

    Returns:
        One check for each of `NAMES`, in their order.

    Raises:
        UsageError: There is no such lake, or the group was never prepared in it.
        CorruptLakeError: A part of the lake cannot be read.
        MissingDependencyError: The metric of the task needs a library that is not installed.
    """
    prepared = require_prepared(lake, str(settings.output.exp_group_id))
    facts = _read(settings, lake, prepared)
    folder = group_folder(settings)
    analysis = facts.analysis.run_id if facts.analysis else None
    content = None
    if analysis is not None and facts.input_hash == facts.analysis_hash:
        metric = find_task(prepared.task).metric
        content = partial(read_content, settings, lake, analysis, missing=(), task_metric=metric)
    return [
        *manifest_checks(folder, prepared),
        _preparation(facts),
        *_run_checks(facts),
        *stored_checks(facts.settings, facts.runs),
        *_score_checks(facts),
        *_analysis_checks(facts),
        *report_checks(folder, analysis=analysis, content=content),
    ]


def _read(settings: Settings, lake: Lake, prepared: Prepared) -> _Facts:
    group = quoted(prepared.exp_group_id)
    state = Snapshot(lake, NEEDED, held=HELD, left_out=LEFT_OUT, only=looked_at(settings))

    def rows(table: str, chosen: str = "*", more: str = "") -> pl.DataFrame:
        return state.ask(f"SELECT {chosen} FROM {table} WHERE exp_group_id = {group} {more}")  # noqa: S608 - names and literals

    # A row that names no group belongs to the one whose run holds it.
    own = f"OR exp_group_id IS NULL AND run_id IN (SELECT run_id FROM runs WHERE session_id = {group})"  # noqa: S608 - a literal
    last = rows("kv_current_analyses", "run_id, config_hash").to_dicts()
    analysis = LastAnalysis(**last[0]) if last else None
    of_it = f"AND run_id = {quoted(analysis.run_id if analysis else '')}"
    return _Facts(
        lake=lake,
        settings=settings,
        prepared=prepared,
        requests=rows("kv_current_requests"),
        summary=rows("kv_run_summary"),
        violations=rows("kv_integrity", more=own),
        runs=rows("kv_runs", "run_id, budget_id, budget, settings_hash, settings_json, base_url"),
        bins=rows("kv_bin_stats"),
        scored=rows("kv_scores", "request_id, answer_run_id AS run_id"),
        analysis=analysis,
        intervals=rows("kv_intervals", more=of_it),
        verdicts=rows("kv_transitions", more=of_it),
    )


def _preparation(facts: _Facts) -> Check:
    return judged(
        "prepare.settings",
        prepared_otherwise(facts.settings, facts.prepared),
        fine="prepared with these settings",
        mend="lake kv prepare",
    )


def _run_checks(facts: _Facts) -> Iterator[Check]:
    planned = len(facts.prepared.examples) * facts.settings.decoding.repeats
    yield judged(
        "run.requests",
        [text for budget in facts.settings.kv.budgets for text in _of_budget(facts, budget)],
        fine=f"each of {len(facts.settings.kv.budgets)} budgets has {planned} requests: answers and failures",
        mend=RUN,
    )
    rows = facts.violations.filter(~pl.col("violation").is_in([OFF, STRANGER, SCORED]))
    counted = rows.group_by("violation").len().sort("violation")
    yield judged(
        "run.outcomes",
        [f"{each['violation']}: expected none, found {each['len']}" for each in counted.to_dicts()],
        fine="each request ended in one answer or in one failure, and all that belongs to a request has one",
        mend="kv_integrity names the rows; retract their run and lake kv run again",
    )
    yield judged(
        "run.examples",
        list(_strangers(facts)),
        fine=f"each request is of an example of the data set, and none twice{_how_often(facts)}",
        mend="give the evaluation another output.exp_group_id, or lake kv run --force begins it anew",
    )
    yield judged(
        "run.settings",
        list(_other_settings(facts)),
        fine="asked under these settings, of this data set",
        mend=RUN if facts.runs.is_empty() else "restore the settings, or lake kv run --force begins the group anew",
    )
    yield _applied(facts)


def _of_budget(facts: _Facts, budget: float) -> Iterator[str]:
    """Say what is wrong with the number of the requests of a budget."""
    keys = {each.example.example_id for each in facts.prepared.examples}
    repeats = range(1, facts.settings.decoding.repeats + 1)
    planned = {(example, repeat) for example in keys for repeat in repeats}
    rows = facts.selected.filter(pl.col("budget") == budget)
    states = {state: rows.filter(pl.col("state") == state).height for state in ("answered", "failed")}
    ended = rows.filter(pl.col("state").is_in(list(states)))
    there = set(ended.select("example_id", "repeat").rows())
    found = f"{states['answered']} answers and {states['failed']} failures"
    if planned - there:
        yield f"budget {budget:g}: expected {len(planned)} requests, found {found}: {len(planned - there)} are missing"


def _strangers(facts: _Facts) -> Iterator[str]:
    strangers = facts.violations.filter(pl.col("violation") == STRANGER).height
    if strangers:
        yield f"{strangers} requests are of examples that the group never had"
    twice = facts.selected.group_by("budget", "example_id", "repeat").len().filter(pl.col("len") > 1)
    for row in twice.sort("budget", "example_id").to_dicts():
        which = f"budget {row['budget']:g}: repeat {row['repeat']} of example {row['example_id']}"
        yield f"{which} is there {row['len']} times, expected once"


def _how_often(facts: _Facts) -> str:
    """Say how often an example was asked at a budget, as it is there; nothing where none was."""
    times = facts.selected.group_by("budget", "example_id").len()["len"].unique().sort().to_list()
    shown = " or ".join("once" if each == 1 else f"{each} times" for each in times)
    return f": each example was asked {shown} at a budget" if times else ""


def _other_settings(facts: _Facts) -> Iterator[str]:
    if facts.runs.is_empty():
        yield "nothing was asked yet"
        return
    latest = facts.runs.join(facts.requests, on="run_id", how="semi")["settings_json"].to_list()
    ours = epoch_hash(facts.settings, facts.prepared, parsed(latest[0]).get(MODEL_FILES) if latest else None)
    counted = facts.runs.join(facts.requests, on="run_id", how="semi")["settings_hash"].unique().sort().to_list()
    if counted != [ours]:
        named = asked_otherwise(facts.settings, facts.prepared, facts.lake)
        yield from named
        if named:
            return
        found = ", ".join(counted) or "no run that counts"
        yield f"asked under other settings, or of another data set: expected {ours}, found {found}"


def _applied(facts: _Facts) -> Check:
    """Check that no budget was shown not to be applied. That nothing shows it is no failure, and is said."""
    off = facts.violations.filter(pl.col("violation") == OFF)
    counted = set(facts.requests["run_id"].to_list())
    off = off.filter(pl.col("run_id").is_in(list(counted)))
    problems = [
        f"budget {row['expected']:g}: request {row['request_id']} kept {row['seen']:.4g} of the cache"
        for row in off.sort("expected", "request_id").to_dicts()
    ]
    states = facts.summary.sort("budget", descending=True).select("budget", "budget_state", "num_refuted").to_dicts()
    problems += [
        f"budget {row['budget']:g}: expected none, found {row['num_refuted']} answers to which it was not applied"
        for row in states
        if row["budget_state"] == "false"
    ]
    if facts.summary.is_empty():
        problems = ["nothing was asked yet"]
    unknown = [f"{row['budget']:g}" for row in states if row["budget_state"] == "unknown"]
    silent = f"no budget was shown not to be applied; of {', '.join(unknown)} nothing shows it, as the report says"
    return judged(
        "run.budgets",
        problems,
        fine=silent if unknown else "each budget was shown to be applied, by what was read back",
        mend=RUN
        if facts.summary.is_empty()
        else "the engine does not do what it is told: mend it, and give the evaluation another output.exp_group_id",
    )


def _score_checks(facts: _Facts) -> Iterator[Check]:
    version = scorer_version(find_task(facts.prepared.task))
    answers = facts.selected.filter(pl.col("state") == "answered")
    unscored = answers.filter(~pl.col("is_scored")).height
    other = answers.filter(pl.col("is_scored") & (pl.col("scorer_version") != version))
    problems = [] if facts.selected.height else ["nothing was asked yet, so that there is nothing to score"]
    if unscored:
        problems.append(f"expected {answers.height} scores, found {answers.height - unscored}")
    if other.height:
        versions = ", ".join(sorted(other["scorer_version"].unique().to_list()))
        problems.append(f"expected scores by scorer {version}, found {other.height} by {versions}")
    yield judged(
        "score.answers", problems, fine=f"each of {answers.height} answers is scored by scorer {version}", mend=SCORE
    )
    failures = facts.requests.filter(pl.col("state") == "failed")
    without = facts.violations.filter(pl.col("violation") == SCORED)["request_id"].to_list()
    scored = len(
        {*without, *failures.join(facts.scored, on=["request_id", "run_id"], how="semi")["request_id"].to_list()}
    )
    yield judged(
        "score.failures",
        [f"expected no score without an answer, found {scored}"] if scored else [],
        fine=f"none of {failures.height} failures has a score",
        mend="retract the run of kind kv_score that holds them",
    )


def _analysis_checks(facts: _Facts) -> Iterator[Check]:
    if facts.analysis is None:
        for name in ("current", "intervals", "verdicts"):
            yield Check(name=f"analyze.{name}", passed=False, detail=f"the group is not analysed; {ANALYZE}")
        return
    yield judged(
        "analyze.current",
        list(_outdated(facts)),
        fine="the last analysis was made of what is there",
        mend=ANALYZE,
    )
    expected = _expected_intervals(facts)
    yield judged(
        "analyze.intervals",
        list(_interval_problems(facts, expected)),
        fine=f"{len(expected)} means have an interval: of each budget, bin with examples and subject",
        mend=ANALYZE,
    )
    there = set(facts.verdicts["comparison"].to_list())
    yield judged(
        "analyze.verdicts",
        [f"expected a verdict by the rule {each}, found none" for each in COMPARISONS if each not in there],
        fine=f"a verdict by each rule: {', '.join(COMPARISONS)}",
        mend=ANALYZE,
    )


def _outdated(facts: _Facts) -> Iterator[str]:
    now, made = facts.input_hash, facts.analysis_hash
    if now != made:
        named = analysed_otherwise(facts.settings, facts.runs, facts.intervals, facts.verdicts)
        yield from named or [f"made of other answers, failures or scores: expected {now}, found {made}"]


def _expected_intervals(facts: _Facts) -> dict[tuple[str, int, str], tuple[float, float | None]]:
    """Return the budget, and the mean by the views, of every interval that there has to be."""
    expected: dict[tuple[str, int, str], tuple[float, float | None]] = {}
    for row in facts.bins.filter(pl.col("selected") > 0).to_dicts():
        for subject in (*ALWAYS, "accuracy", "exact_match"):
            if subject in ALWAYS or row[subject] is not None:
                expected[row["budget_id"], row["bin_index"], subject] = (row["budget"], row[subject])
    return expected


def _interval_problems(
    facts: _Facts, expected: dict[tuple[str, int, str], tuple[float, float | None]]
) -> Iterator[str]:
    there = {(row["budget_id"], row["bin_index"], row["subject"]): row["mean"] for row in facts.intervals.to_dicts()}
    if not expected:
        yield "expected intervals, and there are no bins with answers"
    for key, (budget, mean) in sorted(expected.items(), key=lambda item: (-item[1][0], item[0][1:])):
        bin_index, subject = key[1:]
        which = f"budget {budget:g}, {'all bins' if bin_index == ALL_BINS else f'bin {bin_index}'}, {subject}"
        if key not in there:
            yield f"{which}: expected an interval, found none"
        elif mean is not None and abs(there[key] - mean) > TOLERANCE:
            yield f"{which}: expected a mean of {mean:.6g}, found {there[key]:.6g}"
