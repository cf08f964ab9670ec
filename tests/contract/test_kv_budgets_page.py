"""The page on KV-cache budgets has every profile, setting, failure, check, flag and task of the code, and no other."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transition_lake
import yaml

from groundlake.store import Lake
from groundlake.transition.configuration.config_file import CONFIGS, DEFAULT, load_settings, profiles
from groundlake.transition.configuration.projections import PROJECTIONS
from groundlake.transition.configuration.settings import AnalysisSettings, Section, Settings
from groundlake.transition.engines.presses import DEFAULTS
from groundlake.transition.inference.recording import MAY_PASS
from groundlake.transition.report.checks import CHECKS, CUT, POINTS
from groundlake.transition.scoring.failures import FAILURES
from groundlake.transition.scoring.tasks import TASKS
from groundlake.transition.verification.files import TREE
from groundlake.transition.verification.verify import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "kv-budgets.md").read_text(encoding="utf-8")
SQL = re.findall(r'^    lake sql "(.*?)"', PAGE, re.DOTALL | re.MULTILINE)
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
MORE = {"kv.budgets", "decoding.repeats"}
"""Settings that only add requests."""


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def table(heading: str, first: str) -> list[list[str]]:
    """The rows of the table of a section whose first column is called so, without the marks of code."""
    lines = section(heading).split(f"| {first} |", 1)[1].splitlines()[2:]
    rows = itertools.takewhile(bool, lines)
    return [[cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def paths(model: type[Section], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from paths(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def decided_by(stage: str) -> set[str]:
    """Settings that decide what a stage makes."""
    keys = set(PROJECTIONS[stage][1])
    keys |= {"tokenizer.name", "tokenizer.path"} if "tokenizer_source" in keys else set()
    return {path for path in paths(Settings) if any(path == key or path.startswith(f"{key}.") for key in keys)}


def test_every_profile_is_listed_with_its_first_comment() -> None:
    assert [tuple(row) for row in table("Settings", "profile")] == profiles()


def test_every_setting_is_listed_with_its_default() -> None:
    default: dict[str, Any] = yaml.safe_load((CONFIGS / f"{DEFAULT}.yaml").read_text(encoding="utf-8"))
    listed = {path: value for path, value, *_ in table("Settings", "setting")}
    assert list(listed) == list(paths(Settings))
    for path, value in listed.items():
        name, _, inner = path.partition(".")
        expected = default[name]
        for key in inner.split("."):
            expected = expected[key]
        assert yaml.safe_load(f"value: {value}" if value != "{}" else "value: {}")["value"] == expected, path


def test_defaults_are_what_resolved_settings_show() -> None:
    told = {"dataset.task": "trec", "model.name": "m", "output.exp_group_id": "g"}
    shown = load_settings(DEFAULT, [f"{key}={value}" for key, value in told.items()], {}).resolved()
    for path, value, *_ in table("Settings", "setting"):
        found = shown
        for key in path.split("."):
            found = found[key]
        if path not in told and "${" not in value:
            assert found == yaml.safe_load(value), path


def test_what_a_change_of_a_setting_means_is_what_the_stages_are_made_of() -> None:
    listed = {path: change for path, _, change, _ in table("Settings", "setting")}
    meant = {word: {path for path, change in listed.items() if change == word} for word in {*listed.values()}}
    anew, chosen = decided_by("run"), decided_by("prepare")
    assert meant.pop("anew") == anew
    assert meant.pop("choice") == chosen - anew
    assert meant.pop("more") == MORE
    assert meant.pop("analysis") == {path for path in listed if path.startswith("analysis.")}
    assert set(meant) == {"-"}


def test_every_failure_is_explained_and_whether_it_is_asked_again() -> None:
    rows = table("Known failure modes and how to read them", "code")
    assert [code for code, *_ in rows] == list(FAILURES)
    assert {code for code, *_, again in rows if again == "yes"} == MAY_PASS
    assert {again for *_, again in rows} == {"yes", "no"}


def test_every_check_is_explained_with_what_mends_it() -> None:
    rows = table("Definition of done", "check")
    assert tuple(name for name, *_ in rows) == NAMES
    assert all(len(what) > 10 and len(mended) > 10 for _, what, mended in rows)


def test_every_flag_of_the_analysis_is_explained() -> None:
    assert {name for name, *_ in table("When a drop counts", "flag")} == set(CHECKS)


def test_the_thresholds_of_the_checks_of_a_report_are_those_of_the_page() -> None:
    told = " ".join(section("When a drop counts").split("The report adds what it reads itself: ")[1].split())
    assert f"tokens ended {CUT:.0%}".replace("%", " %") in told
    assert f"loses {POINTS:.2f} or more beyond chance" in told


def test_every_task_is_listed_with_its_metric() -> None:
    rows = table("Data, lengths, bins", "metric")
    listed = {task: metric for metric, tasks, _ in rows for task in re.findall(r"[\w-]+", tasks)}
    assert listed == {name: task.metric for name, task in TASKS.items()}


def test_every_policy_is_named_with_its_parameters() -> None:
    told = section("What a budget is")
    for policy, parameters in DEFAULTS.items():
        assert f"`{policy}`" in told
        assert all(f"`{name}`" in told for name in parameters)


def test_the_quickstart_has_five_commands_and_every_command_of_kv_is_shown() -> None:
    quick = re.findall(r"^    (\S.*)$", section("Quickstart"), re.MULTILINE)
    assert 1 < len(quick) <= 5
    commands = re.findall(r"^## lake (kv .+)$", (REPOSITORY / "docs/cli.md").read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 11
    assert [name for name in commands if f"lake {name}" not in PAGE] == []
    assert set(re.findall(r"lake (kv [a-z]+)", PAGE)) == set(commands), "no command is named that is not there"


def test_the_tree_of_the_quickstart_is_the_one_that_verify_demands() -> None:
    told = section("Quickstart").split("```text\nresults/kv/sanity/\n", 1)[1].split("```", 1)[0]
    assert sorted(told.split()) == sorted(TREE)


@pytest.mark.parametrize("text", YAML, ids=range(len(YAML)))
def test_files_of_settings_on_the_page_are_right(text: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    assert load_settings(tmp_path / "my.yaml", environment={"MY_KEY": "a key"}).kv.budgets[0] == 1


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    lake = Lake(tmp_path_factory.mktemp("page") / "lake")
    right, wrong, lost = transition_lake.right(), transition_lake.right(0.0), transition_lake.lost()
    transition_lake.prepared(lake, {"a": 0, "b": 1, "c": 2})
    answers = {1.0: (right, right, right), 0.5: (wrong, right, lost), 0.2: (right, wrong, lost)}
    for hour, (budget, those) in enumerate(answers.items(), start=1):
        transition_lake.asked(lake, budget, dict(zip("abc", those, strict=True)), hour=hour)
    transition_lake.analyzed(lake, AnalysisSettings(n_bootstrap=100))
    with lake.connect() as connection:
        yield connection


@pytest.mark.parametrize("query", SQL, ids=range(len(SQL)))
def test_queries_on_the_page_have_rows(asked: duckdb.DuckDBPyConnection, query: str) -> None:
    assert asked.sql(query).fetchall()


def test_the_smallest_budget_that_holds_is_that_of_the_hand(asked: duckdb.DuckDBPyConnection) -> None:
    query = next(query for query in SQL if "as holds" in query)
    rows = asked.sql(query).select("bin_index", "tokens_to", "holds").fetchall()
    assert rows == [(-1, 300, 1.0), (0, 100, 1.0), (1, 200, 0.5), (2, 300, 1.0)], "a loss that a smaller budget lacks"
