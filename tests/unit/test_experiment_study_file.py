"""Files of studies: what they ask for, in which order, and every mistake with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from groundlake.cli.app import app
from groundlake.errors import UsageError
from groundlake.experiment.plan import ExperimentPlan, config_hash
from groundlake.experiment.prompts import Prompts
from groundlake.experiment.study import Study, plan_study, settings_of
from groundlake.experiment.study_file import ELSEWHERE, OPTIONS, StudyFile, is_study_file, read_study

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BASE = "base: {backend: transformers, model: org/name, prompts: p.txt}\n"
PROMPTS = Prompts(items=("a", "b", "c", "d"), name="p.txt", sha256="0" * 64)


def read(folder: Path, text: str, name: str = "study.yaml") -> StudyFile:
    (folder / name).write_text(text)
    return read_study(folder / name)


def plan(settings: Mapping[str, object]) -> ExperimentPlan:
    """A plan of what is said, on one device and with four prompts."""
    told = {name: value for name, value in settings.items() if name != "prompts"}
    return ExperimentPlan(**({"hardware_id": "bench"} | told | {"prompts": PROMPTS}))


def planned(folder: Path, text: str) -> Study:
    return plan_study(read(folder, text), plan)


def cells(study: Study) -> list[tuple[int, int]]:
    """Batch and cycle of each experiment, in order."""
    return [(cell.plan.batch, cell.cycle) for cell in study.cells]


def test_a_grid_is_every_combination_and_further_configurations_follow(tmp_path: Path) -> None:
    text = "study: s\n" + BASE + "grid: {batch: [1, 2], dtype: [fp16, bf16]}\nconfigurations: [{batch: 4, warmup: 0}]\n"
    found = read(tmp_path, text).configurations
    assert [(each.settings["batch"], each.settings.get("dtype")) for each in found] == [
        (1, "fp16"),
        (1, "bf16"),
        (2, "fp16"),
        (2, "bf16"),
        (4, None),
    ]
    assert found[3].places == {
        "backend": "base.backend",
        "model": "base.model",
        "prompts": "base.prompts",
        "batch": "grid.batch[1]",
        "dtype": "grid.dtype[1]",
    }
    assert found[4].places["warmup"] == "configurations[0].warmup"


def test_a_file_with_neither_is_one_configuration(tmp_path: Path) -> None:
    assert [(cell.cycle, cell.plan.batch) for cell in planned(tmp_path, "study: s\ncycles: 2\n" + BASE).cells] == [
        (1, 1),
        (2, 1),
    ]


def test_paths_are_relative_to_the_file_and_names_of_models_are_not(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    base = "study: s\nbase: {backend: transformers, prompts: p.txt, power: trace.parquet}\n"
    found = read(tmp_path, base + "grid: {model: [llama, ./opt, org/name]}\n").configurations
    assert [each.settings["model"] for each in found] == [
        str(tmp_path / "llama"),
        str(tmp_path / "opt"),
        "org/name",
    ]
    assert found[0].settings["prompts"] == str(tmp_path / "p.txt")
    assert found[0].settings["power"] == str(tmp_path / "trace.parquet")
    served = read(tmp_path, base.replace("transformers", "openai") + "grid: {model: [llama], power: [none]}\n")
    assert (served.configurations[0].settings["model"], served.configurations[0].settings["power"]) == ("llama", "none")


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("sequential", [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)]),
        ("interleaved", [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (4, 2)]),
    ],
)
def test_an_order_is_kept(tmp_path: Path, order: str, expected: list[tuple[int, int]]) -> None:
    study = planned(tmp_path, f"study: s\ncycles: 2\norder: {order}\n{BASE}grid: {{batch: [1, 2, 4]}}\n")
    assert cells(study) == expected
    assert [cell.position for cell in study.cells] == list(range(6))


def test_a_shuffled_order_is_the_same_for_a_seed_and_has_each_configuration_once_in_a_cycle(tmp_path: Path) -> None:
    def drawn(seed: int, batches: str = "1, 2, 3, 4") -> list[tuple[int, int]]:
        text = f"study: s\ncycles: 5\norder: shuffled\nseed: {seed}\n{BASE}grid: {{batch: [{batches}]}}\n"
        return cells(planned(tmp_path, text))

    first = drawn(1)
    assert first == drawn(1)
    assert first != drawn(2)
    assert [cycle for _, cycle in first] == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4
    orders = [tuple(batch for batch, cycle in first if cycle == wanted) for wanted in range(1, 6)]
    assert all(sorted(order) == [1, 2, 3, 4] for order in orders)
    assert len(set(orders)) > 1
    assert [cell for cell in first if cell[0] != 4] == drawn(1, "1, 2, 3")


def test_every_option_of_a_run_can_be_set_or_has_another_place() -> None:
    run = get_command(app).commands["experiment"].commands["run"]
    options = {parameter.name for parameter in run.params} - {"root", "quiet", "debug"}
    assert options == set(OPTIONS) | set(ELSEWHERE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "a study is a mapping with the keys study, cycles"),
        ("study: [\n", "line 2: no YAML"),
        ("study: s\nstudy: t\n", "line 1: no YAML: the key 'study' is given twice"),
        (BASE, "study: the name of the study is missing"),
        ("study: 2026\n" + BASE, "study: got 2026, wanted a text; put it in quotes"),
        ("study: s.yaml\n" + BASE, "study: 's.yaml' looks like a file; leave .yaml out"),
        ("study: ' s'\n" + BASE, "cannot be the name of a study"),
        ("study: unknown\n" + BASE, "cannot be the name of a study"),
        ("study: s\ncycle: 3\n" + BASE, "cycle: no such key; did you mean cycles?"),
        ("study: s\ncycles: 0\n" + BASE, "cycles: got 0, wanted a whole number of at least 1"),
        ("study: s\ncycles: true\n" + BASE, "cycles: got True"),
        ("study: s\norder: random\n" + BASE, "order: got 'random', wanted one of sequential, interleaved, shuffled"),
        ("study: s\nseed: 1\n" + BASE, "seed: it is that of order: shuffled; .* base.seed"),
        ("study: s\ngap_s: -1\n" + BASE, "gap_s: got -1"),
        ("study: s\ngap_s: .nan\n" + BASE, "gap_s: got nan"),
        ("study: s\nbase: 3\n", "base: got 3, wanted options"),
        ("study: s\n", "3 mistakes\n  base.backend: missing, and 1 of 1 configurations do not set it\n  base.model"),
        ("study: s\nbase: {bach: 3}\n", r"base.bach: no such key; did you mean batch\?"),
        ("study: s\nbase: {max-new-tokens: 3}\n", r"base.max-new-tokens: no such key; did you mean max_new_tokens\?"),
        ("study: s\nbase: {repeat: 3}\n", "base.repeat: cycles at the top of the file"),
        ("study: s\nbase: {batch: null}\n", "base.batch: got nothing, wanted a whole number"),
        ("study: s\nbase: {precision: 4}\n", "base.precision: got 4, wanted a text; put it in quotes"),
        ("study: s\nbase: {ignore_eos: 1}\n", "base.ignore_eos: got 1, wanted true or false"),
        ("study: s\ngrid: {batch: 4}\n" + BASE, "grid.batch: got 4, wanted a list of values"),
        ("study: s\ngrid: {batch: []}\n" + BASE, r"grid.batch: got \[\], wanted a list of values"),
        ("study: s\ngrid: {batch: [1, two]}\n" + BASE, r"grid.batch\[1\]: got 'two', wanted a whole number"),
        ("study: s\ngrid: {batch: [1, 1]}\n" + BASE, r"grid.batch\[1\]: 1 stands there twice"),
        ("study: s\ngrid: {session: [a]}\n" + BASE, "grid.session: the name of the study is the session"),
        ("study: s\nconfigurations: {batch: 4}\n" + BASE, "configurations: got {'batch': 4}, wanted a list"),
        ("study: s\nconfigurations: [{batch: x}]\n" + BASE, r"configurations\[0\].batch: got 'x'"),
        ("study: s\ncycles: 9999\ngrid: {batch: [1, 2]}\n" + BASE, "cycles: 19998 experiments in all; at most 10000"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(tmp_path, text)


def test_all_mistakes_are_told_in_at_most_six_lines(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, "study: s\ngrid: {batch: [a, b, c], n: [d, e], warmup: [f, 1.5]}\n" + BASE)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("study.yaml: 7 mistakes")
    assert lines[5] == "  and 3 more"
    assert len(lines) == 6


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        read_study(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match=r"ends in \.yaml"):
        read_study(tmp_path / "study.txt")
    (tmp_path / "latin.yaml").write_bytes(b"study: caf\xe9\n")
    with pytest.raises(UsageError, match="byte 10 is no UTF-8"):
        read_study(tmp_path / "latin.yaml")
    assert is_study_file("a/study.yml")
    assert not is_study_file("study")


def test_every_configuration_that_cannot_be_measured_is_named_before_the_first_begins(tmp_path: Path) -> None:
    text = "study: s\ngrid: {batch: [1, 0, 9]}\nconfigurations: [{dtype: int3}]\n" + BASE
    with pytest.raises(UsageError) as error:
        planned(tmp_path, text)
    first, second, third = str(error.value).splitlines()[1:]
    assert first == "  grid.batch[1]: --batch must be at least 1, got 0"
    assert second.startswith("  grid.batch[2]: --batch 9 is more than the 4 prompts of a process; take a smaller one")
    assert third == "  configurations[0].dtype: --dtype must be one of auto, fp32, fp16, bf16, got 'int3'"


def test_a_configuration_that_stands_there_twice_is_measured_once_and_it_is_said(tmp_path: Path) -> None:
    study = planned(tmp_path, "study: s\ngrid: {batch: [1, 2]}\nconfigurations: [{batch: 2}]\n" + BASE)
    assert cells(study) == [(1, 1), (2, 1)]
    assert study.remarks == ("configurations[0]: the same configuration as grid.batch[1]; it is measured once",)


def test_configurations_that_the_lake_could_not_tell_apart_are_refused(tmp_path: Path) -> None:
    text = "study: s\ngrid: {power_hz: [10, 20]}\n" + BASE
    with pytest.raises(UsageError, match=r"grid.power_hz\[1\]: the same .* grid.power_hz\[0\] but for power_hz, which"):
        planned(tmp_path, text)


def test_a_cell_knows_its_study_its_cycle_and_how_it_differs(tmp_path: Path) -> None:
    cell = planned(tmp_path, "study: s\ncycles: 3\ngrid: {batch: [1, 2], seed: [null, 7]}\n" + BASE).cells[-1]
    assert (cell.plan.session, cell.plan.cycle, str(cell)) == ("s", 3, "batch=2 seed=7, cycle 3")
    assert cell.key == ("bench", config_hash(cell.plan), 3)
    told = settings_of(cell.plan)
    assert (told["batch"], told["seed"], told["prompts"]) == (2, 7, {"file": "p.txt", "n": 4, "sha256": "0" * 64})
    assert not {"study", "cycle", "name"} & set(told)
