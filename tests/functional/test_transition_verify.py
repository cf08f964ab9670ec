"""The definition of done: every check holds for an evaluation that is whole, and fails when its cause is planted."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from transition_lake import GROUP, Outcome, asked, frame, lost, right, score

from groundlake.errors import UsageError
from groundlake.store import Lake
from groundlake.transition.analysis.analyze import analyze_group
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.data.manifest import FILE_NAME, Manifest, read_manifest
from groundlake.transition.data.prepare import prepare
from groundlake.transition.data.prepared import Prepared, require_prepared
from groundlake.transition.inference.identity import epoch_hash
from groundlake.transition.report import write_report
from groundlake.transition.scoring.score import score_group
from groundlake.transition.standing import last_analysis
from groundlake.transition.verification.files import PLOTS, PNG_END, PNG_HEAD, manifest_checks, report_checks
from groundlake.transition.verification.otherwise import asked_otherwise
from groundlake.transition.verification.verify import NAMES, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.verification.check import Check

ANALYSIS = "the-run-of-the-analysis"
SECRET = "sk-abcdefgh"  # noqa: S105 - made up
CONFIG = """
dataset: {task: hotpotqa, path: data.jsonl, n_per_bin: 3}
binning: {n_bins: 2}
tokenizer: {name: words}
model: {name: m}
engine: {type: openai, base_url: "http://127.0.0.1:1/v1", api_key_env: SOME_API_KEY, headers: {X-Team: red}}
kv: {policy: snapkv, budgets: [1.0, 0.5], apply: extra_body, extra_body: {keep: "${budget}"}}
analysis: {n_bootstrap: 100}
output: {exp_group_id: g}
"""


@dataclass(frozen=True)
class Group:
    """An evaluation in a folder: its file of settings, its lake, and its results."""

    home: Path

    @property
    def lake(self) -> Lake:
        return Lake(self.home / "lake")

    @property
    def folder(self) -> Path:
        return self.home / "results" / GROUP

    def settings(self, *overrides: str) -> Settings:
        told = [f"output.folder={self.home / 'results'}", *overrides]
        return load_settings(self.home / "kv.yaml", told, {"SOME_API_KEY": SECRET})

    def asked(self, budget: float, outcomes: dict[str, Outcome], hour: float, **run: Any) -> str:
        """Answers as they come under the settings of the file."""
        settings, data = self.settings(), require_prepared(self.lake, GROUP)
        bins = {each.example.example_id: each.bin_index for each in data.examples}
        stored = json.dumps(settings.resolved())
        told: dict[str, Any] = {"settings_hash": epoch_hash(settings, data), "settings_json": stored} | run
        return asked(self.lake, budget, outcomes, bins=bins, hour=hour, **told)


def report(folder: Path, analysis: str) -> None:
    """The files of a report, as far as they are checked."""
    pictures = "".join(f"![a plot]({each})\n" for each in PLOTS)
    (folder / "report.md").write_text(f"# Report\n{pictures}Made of the analysis {analysis}.\n")
    (folder / "report.html").write_text(f"<p>{analysis}</p>")
    (folder / "plots").mkdir()
    for each in PLOTS:
        (folder / each).write_bytes(PNG_HEAD + b"pixels" + PNG_END)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """Six examples in two bins, asked at two budgets with one failure each, scored, analysed and reported."""
    group = Group(tmp_path_factory.mktemp("whole"))
    lines = [
        {"_id": f"e{number}", "input": "Which?", "context": "word " * 10 * (number + 1), "answers": ["this"]}
        for number in range(6)
    ]
    (group.home / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (group.home / "kv.yaml").write_text(CONFIG)
    prepare(group.settings(), group.lake)
    outcomes = {f"e{number}": right(None) for number in range(6)} | {"e0": lost()}
    for hour, budget in ((1, 1.0), (2, 0.5)):
        group.asked(budget, outcomes, hour)
    score_group(group.settings(), group.lake)
    analyze_group(group.settings(), group.lake)
    write_report(group.settings(), group.lake)
    return group


@pytest.fixture
def copied(whole: Group, tmp_path: Path) -> Group:
    """The same evaluation, to be spoiled."""
    return Group(shutil.copytree(whole.home, tmp_path / "copy"))


def failing(checks: Iterable[Check]) -> dict[str, str]:
    """Names of the checks that do not hold, and what they say."""
    return {check.name: check.detail for check in checks if not check.passed}


def test_an_evaluation_that_is_whole_passes_every_check_and_is_not_changed(whole: Group) -> None:
    before = {path: path.read_bytes() for path in whole.home.rglob("*") if path.is_file()}
    checks = verify(whole.settings(), whole.lake)
    assert failing(checks) == {}
    assert [check.name for check in checks] == list(NAMES)
    assert {path: path.read_bytes() for path in whole.home.rglob("*") if path.is_file()} == before


def test_a_lake_or_a_group_that_is_not_there_is_said_once_with_what_to_do(whole: Group, lake_root: Path) -> None:
    for lake, group, words in (
        (Lake(lake_root), GROUP, f"is not prepared: there is no lake at {lake_root}\n  lake kv prepare first"),
        (
            Lake(whole.home / "kv.yaml"),
            GROUP,
            f"is not prepared: {whole.home}/kv.yaml is a file, not the folder of a l",
        ),
        (whole.lake, "other", f"is not prepared in {whole.lake.root}; there is {GROUP}\n  lake kv prepare first"),
    ):
        with pytest.raises(UsageError, match=re.escape(f"group {group} {words}")) as raised:
            verify(whole.settings(f"output.exp_group_id={group}"), lake)
        assert raised.value.exit_code == 2


def test_a_group_that_is_only_prepared_fails_for_each_stage_behind(copied: Group) -> None:
    shutil.rmtree(copied.home / "lake")
    shutil.rmtree(copied.folder)
    prepare(copied.settings(), copied.lake)
    told = failing(verify(copied.settings(), copied.lake))
    # Without any request none is wrong; everything that should be there fails.
    assert set(NAMES) - set(told) == {
        *("prepare.manifest", "prepare.tables", "prepare.settings"),
        *("run.outcomes", "run.examples", "score.failures"),
    }
    assert "budget 1: expected 6 requests, found 0 answers and 0 failures: 6 are missing" in told["run.requests"]
    assert "lake kv run" in told["run.requests"]
    assert told["run.settings"] == told["run.budgets"] == "nothing was asked yet; lake kv run"
    assert told["analyze.intervals"] == "the group is not analysed; lake kv analyze"
    assert "lake kv report" in told["report.files"]


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


REPORT_CAUSES: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "no plot": (
        lambda folder: (folder / PLOTS[0]).unlink(),
        {"report.plots": f"shows {PLOTS[0]}, which is not there", "report.tree": f"{PLOTS[0]} is missing"},
    ),
    "a torn plot": (
        lambda folder: (folder / PLOTS[1]).write_bytes(PNG_HEAD + b"pix"),
        {"report.plots": f"{PLOTS[1]} is no whole PNG: 11 bytes"},
    ),
    "no report": (
        lambda folder: (folder / "report.md").unlink(),
        {"report.files": "report.md is missing", "report.plots": "no report.md", "report.tree": "report.md is missing"},
    ),
    "no page": (
        lambda folder: (folder / "report.html").unlink(),
        {"report.files": "report.html is missing", "report.tree": "report.html is missing"},
    ),
    "an earlier report": (
        lambda folder: edited(folder / "report.md", ANALYSIS, "another"),
        {"report.files": f"does not name the last analysis ({ANALYSIS})"},
    ),
    "a partial report": (
        lambda folder: edited(folder / "report.md", "# Report", "# Report - PARTIAL RUN"),
        {"report.files": "report.md says PARTIAL RUN"},
    ),
    "a plot that is not shown": (
        lambda folder: edited(folder / "report.md", f"![a plot]({PLOTS[2]})", ""),
        {"report.plots": f"does not show {PLOTS[2]}"},
    ),
    "a plot elsewhere": (
        lambda folder: edited(folder / "report.md", "# Report", "# Report\n![x](../other/acc.png)"),
        {"report.plots": "shows ../other/acc.png, which is not in its folder"},
    ),
    "a file of nobody": (
        lambda folder: (folder / "plots" / "acc.svg").touch(),
        {"report.tree": "plots/acc.svg is of none of the stages"},
    ),
    "a journal": (
        lambda folder: (folder / ".journal-kv-1.jsonl").touch(),
        {"report.tree": ".journal-kv-1.jsonl is of a run that was interrupted, and lake kv run brings it"},
    ),
}


@pytest.mark.parametrize("cause", REPORT_CAUSES)
def test_what_is_wrong_with_a_report_is_named(cause: str, tmp_path: Path) -> None:
    spoil, expected = REPORT_CAUSES[cause]
    report(tmp_path, ANALYSIS)
    (tmp_path / FILE_NAME).touch()
    assert failing(report_checks(tmp_path, analysis=ANALYSIS)) == {}
    spoil(tmp_path)
    told = failing(report_checks(tmp_path, analysis=ANALYSIS))
    assert set(told) == set(expected)
    assert all(text in told[name] for name, text in expected.items()), told


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("report.md", "at budget 1; 0.833 at 0.5", "at budget 1; 0.933 at 0.5", ("line ", "0.933 at", "0.833 at")),
        ("report.md", "## Limitations", "## Limits", ("line ", "has '## Limits', expected '## Limitations'")),
        ("report.html", "<td>passed</td>", "<td>fine</td>", ("report.html is not what the lake says: line ", "fine")),
    ],
)
def test_a_report_that_was_altered_is_named_with_its_first_other_line(
    copied: Group, name: str, old: str, new: str, told: tuple[str, ...]
) -> None:
    edited(copied.folder / name, old, new)
    (said,) = failing(verify(copied.settings(), copied.lake)).items()
    assert said[0] == "report.files"
    assert all(text in said[1] for text in (f"{name} is not what the lake says", *told)), said


def without_the_last_example(manifest: Manifest) -> Manifest:
    bins = (*manifest.bins[:-1], manifest.bins[-1].model_copy(update={"selected": manifest.bins[-1].selected - 1}))
    shorter = {"entries": manifest.entries[:-1], "examples": manifest.examples[:-1], "bins": bins}
    return manifest.model_copy(update=shorter)


@pytest.fixture(scope="module")
def data(whole: Group) -> Prepared:
    return require_prepared(whole.lake, GROUP)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda _: None, {"prepare.manifest": "there is no manifest", "prepare.tables": "lake kv prepare writes it"}),
        (
            lambda manifest: manifest.to_bytes().replace(b"Which?", b"Who?", 1),
            {"prepare.manifest": "it was changed", "prepare.tables": "no manifest to compare"},
        ),
        (
            lambda manifest: without_the_last_example(manifest).to_bytes(),
            {"prepare.tables": "bins: number 1 is another one in the manifest than in the tables; entries: the "},
        ),
        (
            lambda manifest: manifest.model_copy(update={"remarks": ("odd",)}).to_bytes(),
            {"prepare.tables": "remarks: the manifest has ('odd',), the tables ("},
        ),
    ],
    ids=["deleted", "changed by hand", "of fewer examples", "of another preparation"],
)
def test_a_manifest_that_is_not_that_of_the_tables_is_named(
    spoil: Callable[[Manifest], bytes | None], expected: dict[str, str], whole: Group, data: Prepared, tmp_path: Path
) -> None:
    content = spoil(read_manifest(whole.folder / FILE_NAME))
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    told = failing(manifest_checks(tmp_path, data))
    assert set(told) == set(expected)
    assert all(text in told[name] for name, text in expected.items()), told


def test_settings_that_are_not_those_of_the_stages_are_named(whole: Group) -> None:
    others = ["dataset.n_per_bin=2", "decoding.temperature=1", "decoding.repeats=2", "analysis.drop_threshold=0.5"]
    told = failing(verify(whole.settings(*others), whole.lake))
    assert set(told) == {"prepare.settings", "run.requests", "run.settings", "analyze.current"}
    assert "expected 12 requests, found 5 answers and 1 failures: 6 are missing" in told["run.requests"]
    assert told["prepare.settings"].startswith("prepared with dataset.n_per_bin 3; the settings say 2; ")
    assert told["run.settings"].startswith("asked with ")
    assert "lake kv run --force" in told["run.settings"]
    analysed = "analysed with analysis.drop_threshold 0.15; the settings say 0.5; lake kv analyze"
    assert told["analyze.current"] == analysed


@pytest.mark.parametrize(
    ("change", "was", "now", "stage"),
    [
        ("kv.budgets=[1.0, 0.5, 0.2]", "kv.budgets [1.0, 0.5]", "[1.0, 0.5, 0.2]", "analyze"),
        ("kv.budgets=[1.0]", "kv.budgets [1.0, 0.5]", "[1.0]", "analyze"),
        ("analysis.seed=1", "analysis.seed 1337", "1", "analyze"),
        ("analysis.n_bootstrap=200", "analysis.n_bootstrap 100", "200", "analyze"),
        ("analysis.confidence=0.9", "analysis.confidence 0.95", "0.9", "analyze"),
        ("analysis.significance=none", "analysis.significance 'interval'", "'none'", "analyze"),
        ("binning.n_bins=3", "binning.n_bins 2", "3", "prepare"),
        ("dataset.pinned_example_ids=[e1]", "dataset.pinned_example_ids []", "['e1']", "prepare"),
    ],
)
def test_a_setting_that_differs_from_that_of_a_stage_is_named(
    whole: Group, change: str, was: str, now: str, stage: str
) -> None:
    told = failing(verify(whole.settings(change), whole.lake))
    check, done = {"analyze": ("analyze.current", "analysed"), "prepare": ("prepare.settings", "prepared")}[stage]
    assert told[check] == f"{done} with {was}; the settings say {now}; lake kv {stage}"


def test_another_tokenizer_is_named_by_the_setting_that_says_it(whole: Group) -> None:
    told = failing(verify(whole.settings("tokenizer.name=tiktoken:o200k_base"), whole.lake))
    assert told["prepare.settings"] == (
        "prepared with tokenizer 'words'; tokenizer.name says 'tiktoken:o200k_base'; lake kv prepare"
    )
    told = failing(verify(whole.settings("engine.type=transformers", "model.path=moved"), whole.lake))
    assert "tokenizer 'words'; model.path says '" in told["prepare.settings"]


def test_a_model_that_was_moved_and_has_lost_its_name_is_told_to_be_given_it(whole: Group) -> None:
    prepared = require_prepared(whole.lake, GROUP)
    moved = ["engine.type=transformers", "model.path=moved"]
    dropped = "model.name: 'm' before, now nothing (another model.path does not inherit it: give model.name as well)"
    assert f"asked with {dropped}" in asked_otherwise(whole.settings(*moved), prepared, whole.lake)
    named = asked_otherwise(whole.settings(*moved, "model.name=m"), prepared, whole.lake)
    assert named
    assert not [each for each in named if "model.name" in each]


def test_how_often_examples_were_asked_is_told_as_it_is(copied: Group) -> None:
    def told(*overrides: str) -> str:
        (check,) = [each for each in verify(copied.settings(*overrides), copied.lake) if each.name == "run.examples"]
        assert check.passed, check.detail
        return check.detail

    assert told("decoding.repeats=2").endswith("and none twice: each example was asked once at a budget")
    again = {f"e{number}": Outcome(repeat=2) for number in range(6)}
    for hour, budget in ((3, 1.0), (4, 0.5)):
        copied.asked(budget, again, hour)
    assert told("decoding.repeats=2").endswith("each example was asked 2 times at a budget")


def test_a_lost_answer_is_missed_by_all_that_count_it(copied: Group) -> None:
    copied.asked(0.5, {"e1": Outcome(answered=False)}, 3)
    told = failing(verify(copied.settings(), copied.lake))
    assert set(told) == {"run.requests", "run.outcomes", "analyze.current", "analyze.intervals"}
    assert "budget 0.5: expected 6 requests, found 4 answers and 1 failures: 1 are missing" in told["run.requests"]
    assert "no_outcome: expected none, found 1" in told["run.outcomes"]
    assert told["analyze.current"].startswith("made of other answers, failures or scores: expected ")


def test_strangers_budgets_that_were_not_applied_and_secrets_are_named(copied: Group) -> None:
    shown = copied.settings().resolved()
    shown["engine"]["headers"] = {"X-Team": "red"}
    ignored = right(kept_fraction=1.0, cache_entries=100, budget_verified=False)
    copied.asked(0.5, {"e1": ignored, "stranger": right()}, 3, settings_json=json.dumps(shown))
    copied.asked(1.0, {"e1": right()}, 4, settings_json=json.dumps({"model": {"name": SECRET}}))
    told = failing(verify(copied.settings(), copied.lake))
    assert set(told) == {"run.examples", "run.budgets", "run.stored_settings", "run.secrets", "analyze.current"}
    assert "1 requests are of examples that the group never had" in told["run.examples"]
    assert "kept 1 of the cache; budget 0.5: expected none, found 1 answers to which" in told["run.budgets"]
    assert "found no analysis, binning" in told["run.stored_settings"]
    assert told["run.secrets"].count("holds a secret") == 2
    assert SECRET not in str(told)


def test_scores_that_are_missing_or_old_or_of_failures_are_named(copied: Group) -> None:
    keys = {"hardware_id": "dev", "precision": "fp32", "model": "small", "batch": 1, "kind": "kv_score"}
    (old, *_) = copied.lake.sql("SELECT run_id FROM runs WHERE kind = 'kv_score' ORDER BY run_id").rows()
    scores = copied.lake.frame("kv_scores", hardware_id="dev", run_id=old[0]).sort("request_id")
    rows, answered_by = scores["request_id"].to_list(), scores["answer_run_id"][0]
    copied.lake.retract(old[0], "dev", "to be made again")
    half = rows[0].split("_")[1]
    made = [score(each, 1.0, answer_run_id=answered_by) for each in (rows[0], f"g_{half}_e0_1")]
    made[0]["scorer_version"] = "0"
    copied.lake.write(keys, kv_scores=frame(made))
    told = failing(verify(copied.settings(), copied.lake))
    assert set(told) == {"score.answers", "score.failures", "analyze.current", "analyze.intervals"}
    assert (
        "expected 10 scores, found 6; expected scores by scorer 1, found 1 by 0; lake kv score" in told["score.answers"]
    )
    assert "expected no score without an answer, found 1" in told["score.failures"]


def test_an_analysis_that_lacks_bins_or_verdicts_or_has_other_means_is_named(copied: Group) -> None:
    last = last_analysis(copied.lake, GROUP)
    assert last is not None
    rows = copied.lake.frame("kv_intervals", hardware_id="none", run_id=last.run_id)
    few = rows.filter(bin_index=0, subject="accuracy").with_columns(mean=0.25)
    ledger = {"hardware_id": "none", "kind": "kv_analysis", "session_id": GROUP, "config_hash": last.config_hash}
    columns = ("hardware_id", "precision", "model", "batch", "run_id", "part")
    copied.lake.write(ledger, kv_intervals=few.drop(columns))
    told = failing(verify(copied.settings(), copied.lake))
    assert set(told) == {"analyze.intervals", "analyze.verdicts", "report.files"}
    assert "budget 1, all bins, accuracy: expected an interval, found none" in told["analyze.intervals"]
    assert "and 21 more; lake kv analyze" in told["analyze.intervals"]
    assert "expected a verdict by the rule adjacent, found none" in told["analyze.verdicts"]
    assert "does not name the last analysis" in told["report.files"]
