"""The report of a group of evaluations: what it says of small groups that are worked out by hand, or refuses to."""

from __future__ import annotations

import base64
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from chromium import browser, executable
from transition_lake import Outcome, analyzed, asked, epoch_of, lost, prepared, right

from groundlake.errors import UsageError
from groundlake.store import Lake
from groundlake.transition.analysis.analyze import analyze_group
from groundlake.transition.configuration.settings import Settings
from groundlake.transition.report import write_report
from groundlake.transition.report.answer import answer
from groundlake.transition.report.checks import sanity
from groundlake.transition.report.content import read_content, require_content
from groundlake.transition.report.document import document
from groundlake.transition.report.markup import (
    between,
    code,
    escaped,
    fenced,
    memory,
    number,
    of_all,
    percent,
    quantity,
    signed,
)
from groundlake.transition.report.page import page
from groundlake.transition.report.plots import _accuracies, _failures, _latencies
from groundlake.transition.standing import budgets_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from groundlake.transition.report.facts import Content

EXAMPLES = {f"{letter}{number}": number for number in range(3) for letter in "abcd"}
NOTHING_TOLD = dict.fromkeys(("latency_ms", "time_to_first_token_ms", "prompt_tokens", "completion_tokens"))
EVIL = (
    "<script>alert(1)</script> | `x` ](javascript:alert(2)) ![i](http://evil/i.png)\n## Forged\n<img src=x onerror=1>"
)
PNG = b"\x89PNG\r\n\x1a\n"


def settings_of(group: str, budgets: tuple[float, ...], folder: str = "unused", **analysis: float) -> Settings:
    return Settings.model_validate(
        {
            "dataset": {"task": "hotpotqa", "path": "x"},
            "model": {"name": "small"},
            "tokenizer": {"name": "words"},
            "engine": {"type": "transformers"},
            "kv": {"policy": "snapkv", "budgets": budgets},
            "output": {"exp_group_id": group, "folder": folder},
            "analysis": {"n_bootstrap": 200, **analysis},
        }
    )


def kept(budget: float, **more: object) -> dict[str, object]:
    return {
        "kept_fraction": budget,
        "cache_entries": 100,
        "kept_entries": [round(100 * budget)] * 2,
        "budget_verified": True,
        "budget_evidence": "counted in the cache",
        **more,
    }


def ask(lake: Lake, group: str, scores: Mapping[float, Callable[[str, int], Outcome]], **run: object) -> Settings:
    """Write a group: how each example of each bin ends at each budget; the last of its bins is empty."""
    prepared(lake, EXAMPLES, bins=4, group=group, task="hotpotqa", dataset_id="longbench__hotpotqa", tokenizer="tiny")
    settings = settings_of(group, tuple(scores))
    for place, (budget, ending) in enumerate(scores.items()):
        outcomes = {name: ending(name, number) for name, number in EXAMPLES.items()}
        told = {"settings_hash": epoch_of(settings, lake)} | run
        asked(lake, budget, outcomes, bins=EXAMPLES, hour=1 + place, group=group, **told)
    return settings


def steady(accuracy: float, budget: float, **columns: object) -> Callable[[str, int], Outcome]:
    return lambda name, _number: right(accuracy + 0.01 * "abcd".index(name[0]), **kept(budget, **columns))


def found(lake: Lake) -> Settings:
    """A collapse at 0.2 in the longest bin, half of it failures; 0.5 is as good as 1."""

    def smallest(name: str, number: int) -> Outcome:
        if number == 2:
            return lost("TIMEOUT", "no answer within 120 s") if name[0] in "ab" else right(0.1, **kept(0.2))
        return right(0.8 - 0.3 * number, **kept(0.2, latency_ms=50.0, peak_memory_bytes=2**30))

    memory_of = {"peak_memory_bytes": 2**31}
    budgets = {1.0: steady(0.9, 1.0, **memory_of), 0.5: steady(0.9, 0.5), 0.2: smallest}
    return ask(
        lake, "found", budgets, power_w=(10.0, 20.0, 10.0, 20.0, 10.0), settings_json='{"kv": {"policy": "snapkv"}}'
    )


def unfound(lake: Lake) -> Settings:
    """No collapse; nothing is told of times, tokens or caches, at an endpoint that may ignore the budget."""
    bare = {1.0: right(0.9, **NOTHING_TOLD), 0.5: right(0.8, **NOTHING_TOLD, budget_verified=False)}
    return ask(lake, "unfound", {budget: lambda _name, _number, end=end: end for budget, end in bare.items()})


def zero(lake: Lake) -> Settings:
    """Everything fails."""
    return ask(lake, "zero", {budget: lambda _name, _number: lost("ENGINE_ERROR") for budget in (1.0, 0.5)})


def slope(lake: Lake) -> Settings:
    """Small steps: 0.80, 0.68, 0.56."""
    return ask(lake, "slope", {1.0: steady(0.8, 1.0), 0.5: steady(0.68, 0.5), 0.2: steady(0.56, 0.2)})


def unsure(lake: Lake) -> Settings:
    """A mean loss of a quarter that one of two examples may turn round."""
    ending = {1.0: {"a": 0.6, "b": 0.6, "c": 0.6, "d": 0.6}, 0.5: {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0}}
    prepared(lake, dict.fromkeys("abcd", 0), group="unsure", task="hotpotqa")
    for hour, (budget, scores) in enumerate(ending.items(), start=1):
        asked(lake, budget, {name: right(each) for name, each in scores.items()}, hour=hour, group="unsure")
    return settings_of("unsure", (1.0, 0.5))


def evil(lake: Lake) -> Settings:
    """Texts of models, servers and data sets that are markup."""
    prepared(
        lake, {"a": 0, "b": 0}, group="evil", task="hotpotqa", tokenizer=f"{EVIL} (approximation)", source_uri=EVIL
    )
    outcomes = {"a": right(0.5, budget_evidence=EVIL), "b": lost("ENGINE_ERROR", EVIL)}
    run = {"engine_version": EVIL, "base_url": EVIL, "forced": EVIL, "settings_json": f'{{"a": "```{EVIL!r:.40}"}}'}
    asked(lake, 1.0, outcomes, group="evil", policy_json=f"{{}} {EVIL}", **run)
    return settings_of("evil", (1.0,))


def short(lake: Lake) -> Settings:
    """Only the shortest bin falls, under a policy that sees the question."""

    def half(_name: str, number: int) -> Outcome:
        return right(0.2 if number == 0 else 0.9, **kept(0.5))

    return ask(lake, "short", {1.0: steady(0.9, 1.0), 0.5: half}, policy_json='{"query_aware": true}')


def moved(lake: Lake) -> Settings:
    """Resumed on another device, whose sensor nobody read; and at 0.5 a prompt that does not fit, and is not sent.

    The latest run of budget 1 found nothing to ask.
    """
    prepared(lake, {"a": 0, "b": 0}, group="moved", task="hotpotqa")
    unfit = Outcome(answered=False, failure="CONTEXT_LENGTH_EXCEEDED", attempts=())
    readings = (10.0, 20.0, 10.0, 20.0, 10.0)
    asked(lake, 1.0, {"a": right()}, group="moved", hardware_id="box-a", power_w=readings)
    asked(lake, 1.0, {"b": right()}, hour=2, group="moved", hardware_id="box-b")
    asked(lake, 0.5, {"a": right(), "b": unfit}, hour=3, group="moved", hardware_id="box-a", power_w=readings)
    asked(lake, 1.0, {}, hour=9, group="moved", hardware_id="box-a")
    return settings_of("moved", (1.0, 0.5))


def removed(lake: Lake) -> Settings:
    """Budget 0.5 and the second repeats were asked, and then taken out of the settings: all there is wrong."""
    prepared(lake, {"a": 0, "b": 0}, group="removed", task="hotpotqa")
    twice = [right(0.9), Outcome(accuracy=0.0, repeat=2, attempts=("failed", "ok"))]
    for hour, budget in enumerate((1.0, 0.5, 0.2), start=1):
        ending: dict[str, list[Outcome]] = {"a": twice, "b": twice}
        asked(lake, budget, ending if budget != 0.5 else {"a": [lost()]}, hour=hour, group="removed", repeats=2)
    return settings_of("removed", (1.0, 0.2))


GROUPS = (found, unfound, zero, slope, unsure, short, evil, moved, removed)
EARLIER = {"n_bootstrap": 100, "drop_threshold": 0.5}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(tmp_path_factory.mktemp("reports") / "lake")


@pytest.fixture(scope="module")
def contents(lake: Lake) -> dict[str, Content]:
    """What the report of each group is made from."""
    read = {}
    for write in GROUPS:
        settings = write(lake)
        name = write.__name__
        if write is slope:  # it is analysed twice, by other rules
            analyzed(lake, settings_of(name, (1.0,), **EARLIER).analysis, group=name)
        if write is found:  # all of it as the command does it
            analyze_group(settings, lake)
            read[name] = require_content(settings, lake)
            continue
        run_id = analyzed(lake, settings.analysis, group=name)
        read[name] = read_content(settings, lake, run_id, missing=(), task_metric="qa_f1")
    return read


@pytest.fixture(scope="module")
def texts(contents: dict[str, Content]) -> dict[str, str]:
    """The report of each group in Markdown."""
    return {name: document(content, has_pictures=True) for name, content in contents.items()}


@pytest.fixture(scope="module")
def folders(lake: Lake, contents: dict[str, Content]) -> list[Path]:
    """The group with a collapse, reported twice into different folders."""
    budgets = tuple(each.budget for each in contents["found"].budgets)
    places = [lake.root.with_name(name) for name in ("once", "again")]
    return [write_report(settings_of("found", budgets, str(place)), lake).parent for place in places]


class Reader(HTMLParser):
    """Reads tags, attributes and the texts of headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in {"h1", "h2"} and data.strip():
            self.headings.append(data.strip())


def section(text: str, name: str) -> str:
    return re.split(r"\n## ", text.split(f"\n## {name}\n", 1)[1])[0]


def row(text: str, *starts: str) -> list[str]:
    """Return the cells of the row of a table that begins with these."""
    start = "| " + " | ".join(starts) + " |"
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


# ------------------------------------------------------------------ files


def test_a_report_has_exactly_its_files_and_they_are_the_same_each_time(folders: list[Path]) -> None:
    once, again = ({str(path.relative_to(each)): path.read_bytes() for path in each.rglob("*.*")} for each in folders)
    plots = {f"plots/{name}_by_bin.png" for name in ("acc", "fail", "latency_p50")}
    assert set(once) == {"report.md", "report.html"} | plots
    assert once == again


def test_the_report_shows_pictures_that_are_there(folders: list[Path]) -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folders[0] / "report.md").read_text())
    assert shown == [f"plots/{name}_by_bin.png" for name in ("acc", "fail", "latency_p50")]
    for address in shown:
        assert (folders[0] / address).read_bytes().startswith(PNG)


def test_the_page_has_the_same_pictures_inside_and_needs_nothing_else(folders: list[Path]) -> None:
    reader = Reader((folders[0] / "report.html").read_text())
    inside = [value for tag, name, value in reader.attributes if (tag, name) == ("img", "src")]
    plots = sorted((folders[0] / "plots").iterdir())
    assert [base64.b64decode(each.removeprefix("data:image/png;base64,")) for each in inside] == [
        path.read_bytes() for path in plots
    ]
    assert reader.tags.count("source") == len(plots)  # each has one for a dark page
    assert {"script", "link", "iframe"}.isdisjoint(reader.tags)
    addresses = [value for _, name, value in reader.attributes if name in {"src", "href", "srcset"}]
    assert all(each.startswith(("data:image/png;base64,", "#")) for each in addresses)


def test_the_page_has_the_sections_of_the_markdown(folders: list[Path]) -> None:
    headings = re.findall(r"(?m)^## (.+)$", (folders[0] / "report.md").read_text())
    reader = Reader((folders[0] / "report.html").read_text())
    assert reader.headings[1:] == headings
    assert {f"#{value}" for tag, name, value in reader.attributes if (tag, name) == ("h2", "id")} == {
        value for tag, name, value in reader.attributes if (tag, name) == ("a", "href")
    }


def test_without_altair_the_report_is_written_and_says_that_pictures_are_missing(
    folders: list[Path], lake: Lake
) -> None:
    folder = lake.root.with_name("bare")
    old = folder / "found" / "plots" / "acc_by_bin.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(PNG)
    program = (
        "import sys; sys.modules['altair'] = None\n"
        "from groundlake.store import Lake\n"
        "from groundlake.transition.report import write_report\n"
        "from groundlake.transition.configuration.settings import Settings\n"
        "write_report(Settings.model_validate_json(sys.argv[2], strict=False), Lake(sys.argv[1]), on_remark=print)"
    )
    told = settings_of("found", (1.0, 0.5, 0.2), str(folder)).model_dump_json()
    done = subprocess.run([sys.executable, "-c", program, lake.root, told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "groundlake[plot]" in done.stdout
    assert not old.exists()
    text = (folder / "found" / "report.md").read_text()
    assert "The pictures are missing" in text
    assert ".png" not in text
    assert (folder / "found" / "report.html").exists()


# ------------------------------------------------------------------ what it says


def test_a_collapse_is_told_with_its_budgets_its_interval_its_bin_and_its_cause(
    texts: dict[str, str], contents: dict[str, Content]
) -> None:
    told, content = section(texts["found"], "Answer"), contents["found"]
    verdict = content.verdict("adjacent")
    assert verdict is not None
    drop = f"{verdict.drop:.3f} [{verdict.drop_ci_lower:.3f}, {verdict.drop_ci_upper:.3f}]"
    assert told.startswith(f"\n**Quality collapses between budget 0.5 and 0.2: it loses {drop}.**")
    assert f"budget 0.2 is the first that loses 0.15 or more: {drop}, from budget 0.5" in told
    assert "budget 0.2 is the first that loses 0.15 or more" in told.split("(baseline rule)")[1]
    assert f"failures explain {100 * (verdict.failure_share or 0):.1f} % of the drop" in told
    assert "the failure rate goes from 0 % to 16.7 %" in told
    assert f"{100 / 6 / (verdict.drop or 0):.1f} % of it, were all that failed right" in told
    assert f"Bin 2 (300 tokens) loses most from budget 0.5 to 0.2: {verdict.worst_bin_drop:.3f}." in told
    assert "a budget holds where less than 0.15 is lost, and fails where 0.15 or more is lost, beyond chance." in told
    assert "Budget 0.5: holds at all lengths. Budget 0.2: holds at bin 0 (100 tokens); fails at bins 1 to 2" in told
    assert "Peak memory: 2.00 GiB at budget 1; 1.00 GiB at budget 0.2 (-50.0 %)" in told
    delta = content.delta("baseline", (1.0, 0.2), "log_latency")
    assert delta is not None
    change, lower, upper = (100 * math.expm1(each or 0.0) for each in (delta.change, delta.ci_lower, delta.ci_upper))
    assert f" Paired by example: {change:+.1f} % [{lower:+.1f} %, {upper:+.1f} %]. Peak memory" in told
    assert "what failed is left out" in told


def test_a_change_of_latency_whose_interval_holds_zero_is_said_to_be_chance_perhaps(
    contents: dict[str, Content],
) -> None:
    content = contents["found"]
    told = {"change": math.log(1.6), "ci_lower": math.log(0.9), "ci_upper": math.log(2.5)}
    for figures, words in (
        (told, "Paired by example: +60.0 % [-10.0 %, +150.0 %], which may be chance. Peak"),
        (
            told | {"ci_lower": None, "ci_upper": None},
            "Paired by example: +60.0 %, of one example, which may be chance.",
        ),
        (dict.fromkeys(told), " %). Peak memory"),
    ):
        deltas = [replace(each, **figures) if each.subject == "log_latency" else each for each in content.deltas]
        assert words in answer(replace(content, deltas=tuple(deltas)))


def test_memory_on_a_processor_is_said_to_be_that_of_the_whole_process(contents: dict[str, Content]) -> None:
    content = contents["found"]
    on_processor = replace(content, devices=tuple(replace(each, device="cpu") for each in content.devices))
    assert "Peak memory of the whole process: 2.00 GiB at budget 1" in answer(on_processor)


def test_tables_have_the_figures_of_the_views(texts: dict[str, str], lake: Lake) -> None:
    columns = "num_examples, accuracy, accuracy_std, exact_match, failure_rate, accuracy_all, latency_p50_ms"
    figures = lake.sql(
        f"SELECT {columns} FROM kv_bin_stats WHERE exp_group_id = 'found' AND budget = 0.2 AND bin_index = 2"
    ).rows()[0]
    text = section(texts["found"], "By prompt length").split("### Budget 0.2")[1]
    cells = row(text, "2", "300")
    assert [cells[2], cells[3], *cells[5:9]] == [
        f"{figures[0]}",
        f"{figures[1]:.3f}",
        f"{figures[2]:.3f}",
        f"{figures[3]:.3f}",
        f"{100 * figures[4]:.0f} %",
        f"{figures[5]:.3f}",
    ]
    assert cells[9].startswith(f"{figures[6]:,.0f} / ")
    lower, upper = lake.sql(
        "SELECT ci_lower, ci_upper FROM kv_intervals JOIN kv_budgets USING (exp_group_id, budget_id)"
        " WHERE exp_group_id = 'found' AND budget = 0.2 AND bin_index = 2 AND subject = 'accuracy'"
    ).rows()[0]
    assert cells[4] == f"[{lower:.3f}, {upper:.3f}]"


def test_figures_are_those_of_the_last_analysis_alone(lake: Lake, contents: dict[str, Content]) -> None:
    content = contents["slope"]
    assert lake.sql("SELECT num_analyses FROM kv_current_analyses WHERE exp_group_id = 'slope'").rows() == [(2,)]
    assert {each.resamples for each in content.intervals} == {200}
    assert {each.drop_threshold for each in content.verdicts} == {0.15}
    assert content.analysis.run_id in document(content, has_pictures=False)
    with pytest.raises(UsageError, match=r"other answers or settings than(.|\n)*lake kv analyze first"):
        require_content(settings_of("slope", (1.0, 0.5, 0.2), **EARLIER), lake)


def test_a_slope_of_small_steps_is_told_as_one(texts: dict[str, str]) -> None:
    told = section(texts["slope"], "Answer")
    assert "**Quality slides: no single step loses 0.15, but budget 0.2 loses 0.240" in told
    assert "the largest drop seen is 0.120 [0.120, 0.120], from budget 1 to 0.5: below the threshold of 0.15" in told


def test_no_transition_is_said_plainly_with_the_largest_drop(texts: dict[str, str]) -> None:
    told = section(texts["unfound"], "Answer")
    assert "**No transition was found.**" in told
    assert "the largest drop seen is 0.100 [0.100, 0.100], from budget 1 to 0.5: below the threshold of 0.15" in told
    assert "Accuracy: failures explain none of the largest drop seen" in told


def test_a_drop_whose_interval_holds_zero_is_no_transition_and_the_report_says_why(texts: dict[str, str]) -> None:
    told = section(texts["unsure"], "Answer")
    assert "**No transition was found.**" in told
    assert "the threshold of 0.15 is reached, but the interval does not exclude 0" in told


def test_one_budget_is_reported_without_a_comparison(texts: dict[str, str]) -> None:
    assert "No transition was found: there is one budget" in texts["evil"]
    assert "nothing to compare it with" in section(texts["evil"], "Paired changes")
    assert row(section(texts["evil"], "Sanity Validation"), "Budgets change answers")[1] == "not tested"
    assert row(section(texts["evil"], "Sanity Validation"), "There is something to compare")[1] == "**FLAG**"


def test_a_group_without_a_single_score_is_reported(texts: dict[str, str], contents: dict[str, Content]) -> None:
    text = texts["zero"]
    assert "No transition was found: no answer could be scored." in text
    assert "every figure of quality is about failures" in text
    assert row(section(text, "By prompt length"), "0", "100")[3:9] == ["n/a", "n/a", "n/a", "n/a", "100 %", "0.000"]
    assert "12 (100 %)" in row(section(text, "Integrity summary"), "**1**", "*all*")
    assert "What holds cannot be said" in text
    assert contents["zero"].metric == "qa_f1"


def test_empty_bins_are_shown_as_empty(texts: dict[str, str]) -> None:
    text = section(texts["found"], "By prompt length")
    assert "Bins without an example: 3." in text
    assert row(text, "3", "none")[2:6] == ["0", "n/a", "n/a", "n/a"]


def test_what_no_answer_tells_is_unknown_and_not_zero(texts: dict[str, str]) -> None:
    text = texts["unfound"]
    assert "Median latency: N/A, no answer tells it." in text
    assert row(section(text, "By prompt length"), "0", "100")[9] == "n/a"
    profile = section(text, "Efficiency profile")
    assert row(profile, "Prompt tokens in all, answered requests")[1:] == ["n/a", "n/a"]
    assert row(profile, "**Cost proxy**: prompt + answer tokens, answered requests")[1:] == ["n/a", "n/a"]
    assert row(profile, "Peak memory")[1:] == ["N/A", "N/A"]
    assert row(profile, "Attempts that failed")[1:] == ["0", "0"]
    assert "N/A: no power sensor was read" in profile
    assert "latency of 12 (100 %)" in section(text, "Integrity summary")


def test_the_efficiency_profile_has_tokens_throughput_cost_and_energy(texts: dict[str, str]) -> None:
    profile = section(texts["found"], "Efficiency profile")
    assert row(profile, "Prompt tokens in all, answered requests")[1:] == ["1,200", "1,200", "1,000"]
    assert row(profile, "**Cost proxy**: prompt + answer tokens, answered requests")[1:] == ["1,248", "1,248", "1,040"]
    assert row(profile, "Mean prompt tokens, answered requests")[1:] == ["100.0"] * 3
    assert "what failed, and what was sent again, is in no figure of tokens" in profile  # two failed at 0.2
    assert float(row(profile, "Requests per minute")[1]) == pytest.approx(12 / 23 * 60, abs=0.05)
    assert row(profile.split("### Trade-off")[1], "0.2")[4] == "0.50 x"
    assert row(profile.split("### Energy")[1], "1", "nvml", "gpu")[3:5] == ["60.0", "5.00"]  # 15 W over 4 s


def test_failures_are_counted_by_kind_and_explained(texts: dict[str, str]) -> None:
    text = section(texts["found"], "Integrity summary")
    heads = row(text, "Budget", "Bin")
    cells = dict(zip(heads, row(text, "0.2", "2"), strict=True))
    assert cells["Requests"] == "4"
    assert cells["Answered"] == "2"
    assert cells["Failed"] == cells["Timeout"] == "2 (50 %)"
    assert cells["Empty output"] == cells["Rate limited"] == "0"
    assert cells["Sum"] == "holds"
    assert "budget 0.2: 16.7 % (high)" in text
    assert re.search(r"Failures explain \*\*\d+\.\d %\*\* of the drop", text)
    assert row(text, "`TIMEOUT`")[1] == "2"
    assert "no answer within 120 s" in text
    assert "2 failures of these may pass" in text


def test_what_is_odd_is_flagged_and_what_is_not_passed(texts: dict[str, str]) -> None:
    checks = section(texts["found"], "Sanity Validation")
    assert row(checks, "Scores do not rise as the budget falls")[1] == "passed"
    assert row(checks, "Budgets were applied, as read back")[1] == "passed"
    assert row(checks, "Answers + failures = requests, none both")[1] == "passed"
    assert row(checks, "Lengths differ enough to compare")[1:] == [
        "passed",
        "median prompts of 100 tokens in bin 0 and 300 in bin 2",
    ]
    assert row(checks, "A drop is seen at several lengths")[1:] == [
        "passed",
        "3 of 3 bins lose 0.10 or more, 3 of them beyond chance",
    ]
    failing = section(texts["zero"], "Sanity Validation")
    assert row(failing, "A drop is seen at several lengths")[1:] == ["not tested", "no transition was found"]
    assert row(failing, "Budgets change answers")[1] == "**FLAG**"
    assert row(failing, "The baseline leaves room for a drop")[1] == "**FLAG**"
    assert row(failing, "Scores do not rise as the budget falls")[1] == "not tested"


@pytest.mark.parametrize(
    ("task", "cut", "result", "told"),
    [
        ("hotpotqa", 0, "passed", "fewer than 10 % of any budget's answers reached the limit of tokens"),
        ("hotpotqa", 1, "**FLAG**", "1 (10 %) of budget 0.2 reached the limit of tokens, from 10 % on a flag"),
        ("trec", 9, "not tested", "only the first line of an answer is scored"),
    ],
)
def test_answers_that_the_limit_of_tokens_ended_are_flagged_where_they_are_many(
    contents: dict[str, Content], task: str, cut: int, result: str, told: str
) -> None:
    content = contents["found"]
    assert content.budgets[-1].num_answered == 10
    budgets = (*content.budgets[:-1], replace(content.budgets[-1], num_truncated=cut))
    text = sanity(replace(content, budgets=budgets, dataset=replace(content.dataset, task=task)))
    assert f"| Answers end by themselves | {result} | {told}" in text
    assert "| Answers end by themselves | not tested | there is no answer |" in sanity(contents["zero"])


def test_lengths_that_are_alike_and_a_drop_of_one_bin_are_flagged(contents: dict[str, Content]) -> None:
    content = contents["found"]
    bins = tuple(replace(each, prompt_tokens_p50=each.prompt_tokens_p50 and 100.0) for each in content.bins)
    deltas = tuple(replace(each, change=-0.05) if each.bin_index in (0, 1) else each for each in content.deltas)
    text = sanity(replace(content, bins=bins, deltas=deltas))
    assert "| Lengths differ enough to compare | **FLAG** | median prompts of 100 tokens in bin 0 and 100 in" in text
    drop = "| A drop is seen at several lengths | **FLAG** |"
    assert f"{drop} 1 of 3 bins lose 0.10 or more, 1 of them beyond chance |" in text
    unsure = tuple(replace(each, ci_upper=0.1) if each.bin_index in (0, 1) else each for each in content.deltas)
    single = tuple(replace(each, ci_upper=None) if each.bin_index == 0 else each for each in unsure)
    for each in (unsure, single):
        text = sanity(replace(content, deltas=each))
        assert f"{drop} 3 of 3 bins lose 0.10 or more, 1 of them beyond chance |" in text


def test_provenance_names_what_decided_the_figures(texts: dict[str, str], contents: dict[str, Content]) -> None:
    text, content = section(texts["found"], "Configuration and provenance"), contents["found"]
    for what, value in {
        "Group": "`found`",
        "Metric": "`qa_f1`",
        "Manifest, SHA-256": "`m`",
        "Tokenizer": "tiny",
        "Prompt template, hash": "`p`",
        "Bins, in tokens": "0: 100; 1: 200; 2: 300; 3: no examples",
        "Policy": "`snapkv`",
        "Bootstrap": "200 resamples, seed 1337, 95 % intervals (percentile, paired)",
        "Forced": "no",
    }.items():
        assert row(text, what)[1] == value
    assert content.analysis.run_id in text
    assert "```yaml\nkv:\n  policy: snapkv\n```" in text


def test_a_report_shows_the_settings_of_its_analysis_and_not_those_of_then(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    budgets = (1.0, 0.5)
    stored = json.dumps(settings_of("changed", budgets).resolved())
    assert '"drop_threshold": 0.15' in stored
    ask(lake, "changed", {1.0: steady(0.9, 1.0), 0.5: steady(0.7, 0.5)}, settings_json=stored)
    analysis = {"drop_threshold": 0.3, "confidence": 0.9, "n_bootstrap": 300, "seed": 7}
    settings = settings_of("changed", budgets, **analysis)
    analyze_group(settings, lake)
    text = document(require_content(settings, lake), has_pictures=False)
    assert "below the threshold of 0.30" in text
    assert row(text, "A drop counts")[1] == "from 0.300, with its whole interval below 0"
    assert row(text, "Bootstrap")[1].startswith("300 resamples, seed 7, 90 % intervals")
    shown = text.split("### Settings")[1].split("```")[1]
    assert "kv:" in shown
    for gone in ("analysis:", "drop_threshold", "0.15", "confidence"):
        assert gone not in shown
    assert "0.15" not in text


def test_new_failures_of_short_prompts_are_not_looked_for_where_one_bin_has_all(texts: dict[str, str]) -> None:
    title = "No new failures in the shortest bin"
    assert row(section(texts["unsure"], "Sanity Validation"), title)[1:] == [
        "not tested",
        "fewer than two bins have examples",
    ]
    assert row(section(texts["found"], "Sanity Validation"), title)[1] == "passed"


def test_words_are_defined_and_limits_are_named(texts: dict[str, str]) -> None:
    assert "**Accuracy**: the mean of the task's own metric (`qa_f1`)" in section(texts["found"], "Terminology")
    assert "at least 0.15 lower, with its whole interval below 0" in section(texts["found"], "Terminology")
    assert "The smallest bin has 4 examples" in section(texts["found"], "Limitations")


def test_longer_prompts_that_hold_are_named_where_the_shortest_fall(
    texts: dict[str, str], contents: dict[str, Content]
) -> None:
    told = section(texts["short"], "Answer")
    assert "Budget 0.5: holds at bins 1 to 2 (200 to 300 tokens); fails at bin 0 (100 tokens)." in told
    content = contents["found"]
    fallen = {"change": -0.5, "ci_lower": -0.6, "ci_upper": -0.4}
    deltas = tuple(replace(each, **fallen) if each.bin_index == 1 else each for each in content.deltas)
    told = section(document(replace(content, deltas=deltas), has_pictures=False), "Answer")
    assert "Budget 0.5: holds at bin 0 (100 tokens) and bin 2 (300 tokens); fails at bin 1 (200 tokens)." in told


def test_a_bin_that_loses_the_threshold_within_chance_is_not_said_to_hold(
    texts: dict[str, str], contents: dict[str, Content]
) -> None:
    told = section(texts["unsure"], "Answer")
    assert "Budget 0.5: undecided at all lengths." in told
    assert "Undecided: 0.15 or more is lost, but it may be chance, or nothing could be compared" in told
    assert "ndecided" not in texts["found"]
    content = contents["found"]
    alone = tuple(
        replace(each, num_examples=1, ci_lower=None, ci_upper=None) if each.bin_index == 1 else each
        for each in content.deltas
    )
    told = section(document(replace(content, deltas=alone), has_pictures=False), "Answer")
    assert "Budget 0.5: holds at all lengths. Budget 0.2: holds at bin 0 (100 tokens); fails at bin 2 (300 " in told
    assert "fails at bin 2 (300 tokens); undecided at bin 1 (200 tokens)." in told
    bare = tuple(replace(each, change=None) if each.bin_index == 1 else each for each in alone)
    told = section(document(replace(content, deltas=bare), has_pictures=False), "Answer")
    assert "Budget 0.5: holds at bin 0 (100 tokens) and bin 2 (300 tokens); undecided at bin 1 (200 tokens)." in told


def test_a_step_that_loses_the_threshold_within_chance_is_not_said_to_lose_less(contents: dict[str, Content]) -> None:
    content = contents["slope"]
    large = tuple(replace(each, drop=0.3) if each.comparison == "adjacent" else each for each in content.verdicts)
    text = document(replace(content, verdicts=large), has_pictures=False)
    assert "**Quality slides: no single step loses 0.15 beyond chance, but budget 0.2 loses 0.240" in text


def test_a_policy_that_sees_the_question_is_called_so_from_the_first_line_on(texts: dict[str, str]) -> None:
    assert "policy `snapkv` (which sees the question), at" in texts["short"].split("## Answer")[0]
    assert "sees the question" not in texts["found"]


# ------------------------------------------------------------------ banners


def test_a_budget_that_nothing_verifies_has_a_banner_with_counts_and_evidence(texts: dict[str, str]) -> None:
    assert "BUDGET NOT VERIFIED" not in texts["found"]
    told = texts["unfound"].split("## Answer")[0]
    assert "**BUDGET NOT VERIFIED.**" in told
    assert "> - budget 1: unknown. Of 12 answers, 0 verified, 0 refuted, 12 unknown." in told
    assert "budget 0.5" not in told.split("**BUDGET NOT VERIFIED.**")[1]
    refuted = told.split("**BUDGET NOT APPLIED.**")[1].split("**BUDGET NOT VERIFIED.**")[0]
    assert "> - budget 0.5: not applied. Of 12 answers, 0 verified, 12 refuted, 0 unknown." in refuted
    assert "budget 1: unknown, as there is no answer" in texts["zero"]


def test_several_devices_are_named_with_their_requests_and_flagged(texts: dict[str, str]) -> None:
    told = texts["moved"].split("## Answer")[0].split("**SEVERAL DEVICES.**")[1]
    assert "> - budget 1: box-a in fp32 (1) and box-b in fp32 (1)" in told
    assert "> - budget 0.5: box-a in fp32 (2)" in told
    assert (
        row(section(texts["moved"], "Configuration and provenance"), "Device")[1]
        == "1: `box-a and box-b`; 0.5: `box-a`"
    )
    title = "One device answered, in one precision"
    assert row(section(texts["moved"], "Sanity Validation"), title)[1:] == [
        "**FLAG**",
        "box-a (fp32) and box-b (fp32): their times are pooled",
    ]
    assert "SEVERAL DEVICES" not in texts["found"]
    assert row(section(texts["found"], "Sanity Validation"), title)[1] == "passed"


def test_times_are_those_of_requests_that_count_and_not_of_a_run_that_asked_nothing(
    texts: dict[str, str], contents: dict[str, Content]
) -> None:
    assert "Asked 2026-01-01 13:00:00 UTC to 2026-01-01 15:00:00 UTC; analysed" in texts["moved"]
    whole, half = (each.budget_id for each in contents["moved"].budgets)
    pieces = [(each.budget_id, each.num_requests) for each in contents["moved"].pieces]
    assert sorted(pieces) == [(half, 2), (whole, 1), (whole, 1)]
    runs = texts["moved"].split("### Runs")[1].split("###")[0]
    assert re.findall(r"(\d\d:\d\d):00 UTC \| .*? (\d\d:\d\d):00 UTC \| (\d+) \|", runs) == [
        ("13:00", "13:00", "1"),
        ("14:00", "14:00", "1"),
        ("15:00", "15:00", "2"),  # one does not fit, and was not sent
    ]
    assert "Asked n/a; analysed" not in texts["zero"]


def test_energy_is_not_shown_where_a_run_was_not_read_and_is_of_requests_that_were_sent(texts: dict[str, str]) -> None:
    energy = section(texts["moved"], "Efficiency profile").split("### Energy")[1]
    assert row(energy, "1", "nvml")[3:] == ["n/a", "n/a", "not every run of the budget has readings"]
    assert row(energy, "0.5", "nvml")[3:] == ["60.0", "60.0", ""]  # 15 W over 4 s, for one request


def test_only_budgets_and_repeats_of_the_settings_are_reported(
    texts: dict[str, str], contents: dict[str, Content]
) -> None:
    content = contents["removed"]
    assert [each.budget for each in content.budgets] == [1.0, 0.2]
    assert {each.budget_id for each in content.bins} == {each.budget_id for each in content.budgets}
    assert [(each.num_answered, each.num_failed, each.repeats) for each in content.budgets] == [(2, 0, 1)] * 2
    assert {each.accuracy for each in content.bins} == {0.9}
    assert content.failures == content.messages == ()
    assert "0.5" not in section(texts["removed"], "By prompt length")


def test_lengths_that_were_counted_by_words_are_called_approximate(texts: dict[str, str]) -> None:
    assert "**LENGTHS ARE APPROXIMATE.**" in texts["evil"]
    assert "APPROXIMATE" not in texts["found"]


def test_a_forced_group_says_what_differed(texts: dict[str, str]) -> None:
    assert "> **FORCED.** The group was begun anew by `--force`, because this differed: " in texts["evil"]
    assert "sets it again. A group of another `output.exp_group_id` has none." in texts["evil"]
    assert "FORCED" not in texts["found"]


# ------------------------------------------------------------------ what it refuses


def test_a_report_names_the_step_that_comes_first_and_a_partial_one_says_so(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    settings = settings_of("late", (1.0, 0.5), str(tmp_path))
    for partly in (False, True):
        with pytest.raises(UsageError, match="lake kv prepare"):
            require_content(settings, lake, allow_partial=partly)
    prepared(lake, {"a": 0, "b": 0}, group="late", task="hotpotqa")
    for partly, more in ((False, ""), (True, "; --allow-partial takes what is there, and there is nothing")):
        nothing = rf"^group late: nothing was asked yet at budget 1, 0\.5\n  lake kv run first{more}$"
        with pytest.raises(UsageError, match=nothing):
            require_content(settings, lake, allow_partial=partly)
    with pytest.raises(UsageError, match=r"(?s)nothing was asked yet.*--override 'kv\.budgets=\[1\.0, 0\.5\]'"):
        budgets_named(lake, "late", "0.5")
    epoch = epoch_of(settings, lake)
    asked(lake, 1.0, {"a": right(0.5), "b": right(None)}, group="late", settings_hash=epoch)
    with pytest.raises(UsageError, match="lake kv run first"):
        require_content(settings, lake)
    with pytest.raises(UsageError, match=r"budgets are \S+ \(1\)\n  .*--override 'kv\.budgets="):
        budgets_named(lake, "late", "0.5")
    with pytest.raises(UsageError, match="lake kv analyze --allow-partial first"):
        require_content(settings, lake, allow_partial=True)
    analyze_group(settings, lake, allow_partial=True)
    wanted = r"group late is not complete: requests of it have neither an answer nor a failure\n.*: 2 of 2 requests\n"
    with pytest.raises(UsageError, match=wanted):
        require_content(settings, lake)
    text = document(require_content(settings, lake, allow_partial=True), has_pictures=False)
    assert "> **PARTIAL RUN.**" in text
    assert "> - budget 0.5: 2 of 2 requests have neither an answer nor a failure" in text
    assert not (tmp_path / "late").exists()


def test_answers_without_a_score_are_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    prepared(lake, {"a": 0}, group="late", task="hotpotqa")
    settings = settings_of("late", (1.0,))
    asked(lake, 1.0, {"a": right(None)}, group="late", settings_hash=epoch_of(settings, lake))
    with pytest.raises(UsageError, match="lake kv score first"):
        require_content(settings, lake)


# ------------------------------------------------------------------ text that is markup


def test_texts_of_models_and_servers_stay_texts(texts: dict[str, str]) -> None:
    text = texts["evil"]
    outside = re.sub(r"(?s)````yaml.*?````", "", text)
    assert "<script" not in outside
    assert "<img" not in outside
    assert not re.search(r"(?m)^## Forged", text)
    reader = Reader(page("evil", text, {}, {}))
    assert "script" not in reader.tags
    sources = [value for tag, name, value in reader.attributes if (tag, name) == ("img", "src")]
    assert all(each.startswith("plots/") for each in sources)
    assert not any(value.startswith(("javascript:", "http")) for _, name, value in reader.attributes if name == "href")
    assert not any(name.startswith("on") for _, name, _ in reader.attributes)
    assert "Forged" not in reader.headings
    assert "alert(1)" in text  # it is shown, as text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (escaped("a|b\n# c <d> *e* `f` [g](h)"), r"a\|b \# c &lt;d&gt; \*e\* \`f\` \[g\](h)"),
        (escaped("\u202eabc\u200b", 10), "abc"),
        (escaped("x" * 50, 10), "xxxxxxx..."),
        (code("qa_f1"), "`qa_f1`"),
        (code("a|b"), r"a\|b"),
        (code(""), "n/a"),
        (fenced("a\n````\nb", "yaml"), "`````yaml\na\n````\nb\n`````"),
        (number(0.0), "0.000"),
        (number(-0.0001), "0.000"),
        (number(None), "n/a"),
        (signed(0.25), "+0.250"),
        (signed(-0.25), "-0.250"),
        (signed(0.0), "0.000"),
        (between(None, 0.5), "n/a"),
        (between(0.25, 0.5), "[0.250, 0.500]"),
        (percent(0.0), "0 %"),
        (percent(0.125), "12.5 %"),
        (percent(None), "n/a"),
        (quantity(0.0), "0"),
        (quantity(1234.5), "1,234"),
        (quantity(8.9), "8.90"),
        (of_all(0, 0), "0"),
        (of_all(1, 4), "1 (25 %)"),
        (memory(3 * 2**20), "3.0 MiB"),
        (memory(None), "n/a"),
    ],
)
def test_unknown_is_not_zero_and_text_is_not_markup(written: str, expected: str) -> None:
    assert written == expected


# ------------------------------------------------------------------ pictures


def values(rows: list[dict[str, Any]]) -> list[float | None]:
    return [each["value"] for each in rows]


def test_pictures_name_the_metric_and_have_a_point_for_each_budget_and_bin(contents: dict[str, Content]) -> None:
    whole, answered = _accuracies(contents["found"])
    assert (whole.axis, answered.axis) == ("Accuracy, failures as 0 (qa_f1)", "Accuracy (qa_f1)")
    assert len(answered.rows) == 3 * 4
    assert values(answered.rows)[3::4] == [None, None, None]  # the empty bin
    assert values(whole.rows)[-2] == pytest.approx(0.05)
    assert all(each["lower"] <= each["value"] <= each["upper"] for each in whole.rows if each["value"] is not None)
    assert values(_failures(contents["found"]).rows)[-2] == 0.5
    assert _latencies(contents["found"]).axis == "Latency p50 (ms)"
    assert set(values(_latencies(contents["unfound"]).rows)) == {None}


# ------------------------------------------------------------------ in a browser


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1240, False), (390, True)])
def test_a_browser_shows_the_whole_page_and_asks_for_nothing(
    need: Callable[..., None], tmp_path: Path, folders: list[Path], width: int, *, dark: bool
) -> None:
    need("chromium", present=executable() is not None, reason="Chromium is not installed (Debian: chromium)")
    with browser(tmp_path) as opened:
        opened.screen(width, 900, dark=dark, phone=width < 500)
        opened.open(folders[0] / "report.html")
        drawn = opened.run("[...document.images].map((each) => each.complete && each.naturalWidth > 0)")
        shown = opened.run("[...document.images].map((each) => each.currentSrc === each.src)")
        assert drawn == [True] * 3
        assert shown == [not dark] * 3  # a dark page has pictures of its own
        assert opened.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert opened.problems == []
        assert all(each.startswith(("file:", "data:image/png")) for each in opened.requests)
