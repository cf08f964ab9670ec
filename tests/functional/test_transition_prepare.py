"""Preparing a group's data set: what lake and manifest say, what is never done twice, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import yaml
from transition_lake import asked, frame, right

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.store import Lake
from groundlake.transition.analysis.analysis import analyze, read_requests
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.configuration.settings import AnalysisSettings
from groundlake.transition.data.longbench import read_longbench
from groundlake.transition.data.manifest import read_manifest
from groundlake.transition.data.prepare import Preparation, group_folder, prepare
from groundlake.transition.data.prepared import manifest_of, read_prepared, require_prepared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TASK = "hotpotqa"
GROUP = "mine"
DATA = {"dataset": {"task": TASK, "n_per_bin": 2, "seed": 7}, "binning": {"n_bins": 3}}


def row(number: int, words: int, **more: object) -> dict[str, object]:
    made: dict[str, object] = {
        "_id": f"e{number:02}",
        "input": f"What of {number}?",
        "context": "word " * words,
        "answers": [f"answer {number}", "another"],
        "language": "en",
        "length": words,
    }
    return made | more


ROWS = [row(number, 10 * number) for number in range(1, 25)]
BASE = 58
"""Words and marks of the prompt of this task around a context and this question."""


class Place:
    """A folder with data, a lake and results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = Lake(folder / "lake")
        self.data(ROWS)

    def data(self, rows: Sequence[dict[str, object]], task: str = TASK) -> Path:
        path = self.folder / "data" / f"{task}.jsonl"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        return path

    def prepare(self, *overrides: str, force: bool = False, group: str = GROUP) -> Preparation:
        file = self.folder / "mine.yaml"
        told: dict[str, Any] = {name: dict(keys) for name, keys in DATA.items()}
        told["dataset"]["path"] = "data"
        told |= {"model": {"name": "m"}, "output": {"exp_group_id": group, "folder": str(self.folder / "results")}}
        file.write_text(yaml.safe_dump(told))
        return prepare(load_settings(file, overrides, {}), self.lake, force=force)

    def refusal(self, *overrides: str, force: bool = False) -> str:
        with pytest.raises(UsageError) as told:
            self.prepare(*overrides, force=force)
        return str(told.value)

    @property
    def runs(self) -> list[str]:
        """Runs of the ledger, the latest last."""
        ledger = self.lake.runs("none") if self.lake.exists else pl.DataFrame({"kind": []})
        return (
            ledger.filter(pl.col("kind") == "kv_dataset").sort("recorded_at")["run_id"].to_list() if len(ledger) else []
        )

    def ask(self, prepared: Preparation, hour: float = 1) -> None:
        """Let the group have a run."""
        asked(self.lake, 1.0, {prepared.prepared.examples[0].example.example_id: right()}, hour=hour, group=GROUP)


@pytest.fixture(scope="module")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty lake: to copy one takes a tenth of the time that making it takes, with all its tables."""
    lake = Lake(tmp_path_factory.mktemp("empty") / "lake")
    lake.create()
    return lake.root


@pytest.fixture
def place(tmp_path: Path, empty_lake: Path) -> Place:
    shutil.copytree(empty_lake, tmp_path / "lake")
    return Place(tmp_path)


# What is written


def test_the_lake_and_the_manifest_say_the_same(place: Place) -> None:
    place.data([row(1, 5), row(1, 5), *ROWS[1:], row(30, 7, all_classes=["a", "b"], language=None, length=None)])
    made = place.prepare("dataset.n_per_bin=20", "dataset.max_prompt_tokens=280")
    manifest = read_manifest(made.manifest_path)
    assert made.manifest_path == place.folder / "results" / GROUP / "manifest.json"
    (data,) = place.lake.sql("select * from kv_datasets").pl().to_dicts()
    examples = place.lake.sql("select * from kv_examples order by position").pl().to_dicts()
    bins = place.lake.sql("select * from kv_bins order by bin_index").pl().to_dicts()
    assert (data["dataset_id"], data["task"]) == (manifest.dataset_id, manifest.task) == (f"longbench__{TASK}", TASK)
    assert (data["source_uri"], data["source_sha256"]) == (manifest.source.name, manifest.source.sha256)
    assert data["tokenizer"] == manifest.tokenizer.name == "words (approximation)"
    assert data["tokenizer_fingerprint"] == manifest.tokenizer.fingerprint
    assert data["prompt_hash"] == manifest.tokenizer.prompt_template_sha256
    assert data["manifest_sha256"] == manifest.manifest_sha256
    assert data["population"] + data["left_out"] == manifest.source.n_examples == 25
    assert data["left_out"] == sum(manifest.dropped.values()) == 2
    assert data["selected"] == len(examples) == 23
    for entry, example, its in zip(manifest.entries, manifest.examples, examples, strict=True):
        assert (entry.example_id, entry.bin_index, entry.tokens, entry.content_sha256) == (
            *(its["example_id"], its["bin_index"], its["prompt_tokens"], its["content_sha256"]),
        )
        assert (example.question, example.context, list(example.answers)) == (
            *(its["question"], its["context"], its["answers"]),
        )
    for each, its in zip(manifest.bins, bins, strict=True):
        assert (each.low, each.longest, each.population, each.selected) == (
            *(its["tokens_from"], its["tokens_to"], its["population"], its["selected"]),
        )
    said = json.loads(data["selection_json"])
    assert tuple(said["remarks"]) == manifest.remarks == made.remarks
    assert said["sampling"] == manifest.sampling == {"strategy": "uniform", "seed": 7, "n_per_bin": 20}
    assert "lines that repeat another one, taken once: 1 (line 2 is line 1)" in made.remarks
    assert "left out before the bins were made, longer than max_prompt_tokens 280: 2 of 25 examples" in made.remarks
    assert any("no tokenizer is behind these lengths" in each for each in made.remarks)


def test_the_lake_alone_gives_back_what_the_file_holds(place: Place) -> None:
    path = place.data(
        [row(1, 5, all_classes=["a", "b"]), row(2, 9, language=None, length=None), row(3, 20, context="")]
    )
    made = place.prepare()
    there = require_prepared(place.lake, GROUP)
    held = {each.example_id: each for each in read_longbench(path, TASK).examples}
    assert {each.example.example_id: each.example for each in there.examples} == held
    assert [each.position for each in there.examples] == [0, 1, 2]
    assert manifest_of(there) == read_manifest(made.manifest_path)
    assert manifest_of(there).to_bytes() == made.manifest_path.read_bytes()


def test_a_prompt_is_counted_whole_with_what_the_task_puts_around_it(place: Place) -> None:
    assert place.prepare().prepared.examples[0].prompt_tokens in {BASE + 10 * number for number in range(1, 9)}
    folder = place.folder / "tokenizer"
    folder.mkdir()
    words = {"[UNK]": 0, "word": 1}
    pre = {"type": "Whitespace"}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    content = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": pre, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None, "decoder": None}))
    made = place.prepare(f"tokenizer.path={folder}", group="other").prepared
    assert made.tokenizer == "tokenizer/tokenizer.json"
    assert made.selection["is_approximate"] is False
    assert not made.remarks


def test_the_run_in_the_ledger_names_its_group_and_what_is_doubtful(place: Place) -> None:
    made = place.prepare()
    (ledger,) = place.lake.runs("none").to_dicts()
    assert (ledger["kind"], ledger["session_id"], ledger["run_id"]) == ("kv_dataset", GROUP, made.prepared.run_id)
    assert ledger["config_hash"] == made.prepared.settings_hash
    assert ledger["warnings"] == ["approximate_tokens: words (approximation)"]
    more = place.prepare("dataset.n_per_bin=3")
    after = place.lake.runs("none").filter(run_id=more.prepared.run_id)
    assert after["parent_run_id"].to_list() == [made.prepared.run_id]


def test_groups_have_folders_and_manifests_of_their_own(place: Place) -> None:
    one, other = place.prepare(), place.prepare("dataset.n_per_bin=3", group="other")
    assert one.manifest_path.parent != other.manifest_path.parent
    assert len(read_manifest(one.manifest_path).entries) == 6
    assert len(read_manifest(other.manifest_path).entries) == 9
    assert len(require_prepared(place.lake, GROUP).examples) == 6
    assert (other.counted, other.known) == (0, 24)


def test_equal_lengths_are_in_one_bin_and_bins_without_any_are_empty(place: Place) -> None:
    place.data([row(number, 10 if number < 8 else 20) for number in range(1, 11)])
    made = place.prepare("binning.n_bins=4", "dataset.n_per_bin=5")
    bins = made.prepared.bins.select("tokens_from", "tokens_to", "population", "selected").rows()
    low, high = bins[0][0], bins[1][0]
    assert high - low == 10
    assert bins == [(low, low, 7, 5), (high, high, 3, 3), (None, None, 0, 0), (None, None, 0, 0)]
    assert "2 of 4 bins are empty (2, 3): the examples have only 2 different lengths" in made.remarks
    assert any("bin 1" in each and "there are only 3" in each for each in made.remarks)
    assert read_manifest(made.manifest_path) == manifest_of(made.prepared)


def test_filters_come_before_the_bins_so_that_none_is_empty(place: Place) -> None:
    lengths = sorted(each.prompt_tokens for each in place.prepare("dataset.n_per_bin=99").prepared.examples)
    for key in ("dataset.max_prompt_tokens", "binning.max_token_len"):
        made = place.prepare(f"{key}={lengths[8]}").prepared
        assert made.bins["population"].to_list() == [3, 3, 3]
        assert (made.population, made.left_out) == (9, 15)
    assert "all 24 are longer than max_prompt_tokens 3" in place.refusal("dataset.max_prompt_tokens=3")


def test_without_a_seed_the_shortest_of_each_bin_are_taken(place: Place) -> None:
    made = place.prepare("dataset.seed=null").prepared
    assert [each.example.example_id for each in made.examples] == ["e01", "e02", "e09", "e10", "e17", "e18"]
    assert made.selection["sampling"]["seed"] is None
    seeded = place.prepare().prepared
    assert [each.example.example_id for each in seeded.examples] != ["e01", "e02", "e09", "e10", "e17", "e18"]


def test_pinned_examples_and_slices_say_which_are_asked(place: Place) -> None:
    made = place.prepare("dataset.pinned_example_ids=[e20, e03]").prepared
    assert [each.example.example_id for each in made.examples] == ["e03", "e20"]
    slices = "dataset.sanity_slices=[{name: short, n: 2, min_percentile: 0, max_percentile: 20}]"
    sliced = place.prepare(slices)
    assert [each.slice_name for each in sliced.prepared.examples] == ["short", "short"]
    assert [each.slice_name for each in read_manifest(sliced.manifest_path).entries] == ["short", "short"]
    assert "e99" in place.refusal("dataset.pinned_example_ids=[e99]")


# What is not done again


def test_preparing_again_counts_and_writes_nothing(place: Place) -> None:
    first = place.prepare()
    assert (first.was_current, first.counted, first.known) == (False, 24, 0)
    before = first.manifest_path.stat()
    again = place.prepare()
    assert (again.was_current, again.counted, again.known) == (True, 0, 24)
    assert again.prepared.run_id == first.prepared.run_id
    assert again.remarks == first.remarks
    assert len(place.runs) == 1
    assert first.manifest_path.stat().st_ino == before.st_ino
    assert first.manifest_path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_manifest_that_is_gone_or_was_changed_is_written_again_from_the_lake(place: Place) -> None:
    made = place.prepare()
    right_one = made.manifest_path.read_bytes()
    for content in (None, b"{}"):
        made.manifest_path.unlink()
        if content is not None:
            made.manifest_path.write_bytes(content)
        assert place.prepare().was_current
        assert made.manifest_path.read_bytes() == right_one
    assert len(place.runs) == 1


def test_other_bins_or_more_examples_count_no_prompt_again(place: Place) -> None:
    place.prepare()
    for number, change in enumerate(("binning.n_bins=2", "dataset.n_per_bin=4", "dataset.seed=8"), start=2):
        again = place.prepare(change)
        assert (again.was_current, again.counted, again.known) == (False, 0, 24)
        assert len(place.runs) == number
    assert place.lake.sql("select count(*) from kv_token_counts").rows() == [(24,)]


def test_lengths_that_the_lake_knows_are_believed(place: Place) -> None:
    # As if another machine had counted: whatever counts here would never find these.
    first = place.prepare("dataset.n_per_bin=8").prepared
    keys = {"tokenizer_fingerprint": first.tokenizer_fingerprint, "dataset_id": first.dataset_id}
    rows = [
        keys | {"example_id": each.example.example_id, "prompt_sha256": each.prompt_sha256, "prompt_tokens": 10_000 + n}
        for n, each in enumerate(first.examples)
    ]
    other = Place(place.folder / "other")
    other.lake.write(
        {"hardware_id": "none", "kind": "kv_dataset", "timing_method": "none"}, kv_token_counts=frame(rows)
    )
    made = other.prepare("dataset.n_per_bin=8")
    assert (made.counted, made.known) == (0, 24)
    assert [each.prompt_tokens for each in made.prepared.examples] == [10_000 + n for n in range(24)]


def test_only_what_is_new_in_the_data_is_counted(place: Place) -> None:
    place.prepare()
    place.data([*ROWS, row(25, 500)])
    made = place.prepare()
    assert (made.counted, made.known, made.forced) == (1, 24, None)
    assert made.prepared.population == 25


def test_another_tokenizer_counts_anew(place: Place) -> None:
    pytest.importorskip("tokenizers")
    place.prepare()
    made = place.prepare(f"tokenizer.path={load_settings('sanity', environment={}).tokenizer.path}")
    assert (made.counted, made.known) == (24, 0)


def test_progress_goes_up_to_the_number_of_examples(place: Place) -> None:
    place.data([row(number, number) for number in range(1, 151)])
    place.prepare()
    seen: list[tuple[int, int]] = []
    settings = load_settings(place.folder / "mine.yaml", ["dataset.n_per_bin=9"], {})
    prepare(settings, place.lake, on_progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (150, 150)
    assert seen == sorted(seen)
    assert len(seen) > 1


def test_fewer_bins_and_examples_leave_no_row_of_the_old_data_set_in_sight(place: Place) -> None:
    place.prepare("dataset.n_per_bin=5")
    made = place.prepare("binning.n_bins=1", "dataset.n_per_bin=2")
    there = require_prepared(place.lake, GROUP)
    assert there.run_id == made.prepared.run_id
    assert (len(there.examples), there.bins.height) == (2, 1)
    manifest = read_manifest(made.manifest_path)
    assert (len(manifest.entries), len(manifest.bins)) == (2, 1)
    (current,) = place.lake.sql("select selected, num_prepared from kv_current_datasets").rows()
    assert current == (2, 2)


def test_going_back_to_earlier_settings_makes_them_the_current_ones_again(place: Place) -> None:
    first, _, back = place.prepare(), place.prepare("dataset.n_per_bin=3"), place.prepare()
    assert not back.was_current
    assert back.prepared.manifest_sha256 == first.prepared.manifest_sha256
    assert len(require_prepared(place.lake, GROUP).examples) == 6


# What is refused


def test_a_group_that_is_not_prepared_names_the_step(place: Place) -> None:
    assert read_prepared(place.lake, GROUP) is None
    with pytest.raises(UsageError, match=r"(?s)group mine is not prepared.*lake kv prepare"):
        require_prepared(place.lake, GROUP)
    place.prepare(group="other")
    assert read_prepared(place.lake, GROUP) is None


def _other_source(place: Place) -> str:
    place.data(ROWS[:-1])
    return "dataset.n_per_bin=2"


def _other_task(place: Place) -> str:
    place.data(ROWS, task="qasper")
    return "dataset.task=qasper"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_source, ("source: hotpotqa.jsonl (",)),
        (_other_task, ("data set: longbench__hotpotqa before, longbench__qasper now", "prompt: hotpotqa (")),
        (lambda _: "dataset.name=mine", ("data set: longbench__hotpotqa before, mine__hotpotqa now",)),
        (
            lambda _: f"tokenizer.path={load_settings('sanity', environment={}).tokenizer.path}",
            ("tokenizer: words (approximation) (", "before, model/tokenizer.json ("),
        ),
    ],
    ids=["source", "task", "name", "tokenizer"],
)
def test_a_group_that_was_asked_refuses_other_data_unless_that_is_forced(
    place: Place, change: Any, words: tuple[str, ...]
) -> None:
    first = place.prepare()
    place.ask(first)
    override = change(place)
    held = first.manifest_path.read_bytes()
    told = place.refusal(override)
    assert all(each in told for each in (*words, "--force", "output.exp_group_id"))
    assert len(told.splitlines()) <= 6
    assert len(place.runs) == 1
    assert first.manifest_path.read_bytes() == held
    forced = place.prepare(override, force=True)
    assert forced.forced is not None
    assert all(each in forced.forced for each in words)
    assert read_manifest(forced.manifest_path) == manifest_of(require_prepared(place.lake, GROUP))
    ledger = place.lake.runs("none").filter(run_id=forced.prepared.run_id).to_dicts()[0]
    assert f"forced: {forced.forced}" in ledger["warnings"]
    assert place.prepare(override).was_current


def test_a_group_that_was_asked_takes_more_examples_and_other_bins(place: Place) -> None:
    place.ask(place.prepare())
    forced = place.prepare(force=True)
    assert (forced.was_current, forced.forced) == (True, None), "nothing differs, so that nothing is forced"
    for change in ("binning.n_bins=2", "dataset.n_per_bin=4", "dataset.max_prompt_tokens=200"):
        made = place.prepare(change)
        assert (made.was_current, made.forced) == (False, None)


def test_rows_that_do_not_give_the_manifest_they_name_are_prepared_anew(place: Place) -> None:
    first = place.prepare()
    (ledger,) = place.lake.runs("none").to_dicts()
    keys = ("hardware_id", "kind", "timing_method", "started_at", "started_at_zone_source")
    tables = {
        name: place.lake.frame(name, hardware_id="none", run_id=first.prepared.run_id).drop("run_id", "part")
        for name in ("kv_datasets", "kv_examples", "kv_bins")
    }
    tables["kv_examples"] = tables["kv_examples"].with_columns(question=pl.lit("What else?"))
    place.lake.write({name: ledger[name] for name in keys}, **tables)
    again = place.prepare()
    assert (again.was_current, again.counted) == (False, 0)
    assert again.prepared.manifest_sha256 == first.prepared.manifest_sha256
    assert require_prepared(place.lake, GROUP).examples == first.prepared.examples


def test_data_that_are_wrong_leave_no_lake_behind(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.data([row(1, 3), {"input": "?"}])
    assert "1 of 2 lines are wrong" in place.refusal()
    assert "nowhere.jsonl does not exist" in place.refusal("dataset.path=nowhere.jsonl")
    assert "there is no such folder" in place.refusal("tokenizer.name=no/such")
    assert not place.lake.exists
    place.data(ROWS)
    assert not place.prepare().was_current


def test_the_hub_is_asked_where_that_is_told_and_an_unreachable_one_is_said(place: Place) -> None:
    pytest.importorskip("huggingface_hub")
    place.prepare()
    code = (
        "import sys\nfrom groundlake.errors import LakeError\nfrom groundlake.store import Lake\n"
        "from groundlake.transition.configuration.config_file import load_settings\n"
        "from groundlake.transition.data.prepare import prepare\n"
        "try:\n    prepare(load_settings('mine.yaml', ['dataset.download=true'], {}), Lake('lake'))\n"
        "except LakeError as error:\n    print(error.exit_code, str(error))\n"
    )
    settings = {"HF_HOME": str(place.folder / "cache"), "HF_HUB_OFFLINE": "1"}
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=place.folder,
    ).stdout
    assert told.startswith(f"{LakeEnvironmentError.exit_code} data.zip of THUDM/LongBench cannot be downloaded")
    assert len(place.runs) == 1


# A focus

FOCUS = ("sampling.strategy=focus_transition", "sampling.focus_n_per_bin=6")


def analysed(place: Place, made: Preparation, falls_in: int, hour: float) -> None:
    """Ask and analyse what was prepared: all is right, but for one bin at a small budget."""
    bins = {each.example.example_id: each.bin_index for each in made.prepared.examples}
    asked(place.lake, 1.0, {name: right() for name in bins}, bins=bins, hour=hour, group=GROUP)
    outcomes = {name: right(0.0 if number == falls_in else 1.0) for name, number in bins.items()}
    asked(place.lake, 0.2, outcomes, bins=bins, hour=hour + 1, group=GROUP)
    found = analyze(read_requests(place.lake, GROUP), GROUP, AnalysisSettings(n_bootstrap=100))
    ledger = {"hardware_id": "none", "kind": "kv_analysis", "timing_method": "none", "session_id": GROUP}
    place.lake.write(ledger, **found.frames)


def by_bin(made: Preparation) -> list[int]:
    return made.prepared.bins["selected"].to_list()


def test_a_focus_asks_more_where_the_last_analysis_saw_quality_fall(place: Place) -> None:
    assert "was not analysed yet" in place.refusal(*FOCUS)
    first = place.prepare()
    analysed(place, first, falls_in=1, hour=1)
    focused = place.prepare(*FOCUS)
    assert (by_bin(first), by_bin(focused)) == ([2, 2, 2], [2, 6, 2])
    assert (focused.counted, focused.forced) == (0, None)
    kept = {each.example.example_id for each in first.prepared.examples}
    assert kept < {each.example.example_id for each in focused.prepared.examples}
    assert read_manifest(focused.manifest_path).sampling["focus_bins"] == [1]
    assert by_bin(place.prepare(*FOCUS, "sampling.focus_radius_bins=1")) == [6, 6, 6]


def test_a_focus_stays_where_it_is_until_the_new_one_is_asked_for(place: Place) -> None:
    analysed(place, place.prepare(), falls_in=1, hour=1)
    focused = place.prepare(*FOCUS)
    assert place.prepare(*FOCUS).remarks == focused.remarks
    analysed(place, focused, falls_in=2, hour=4)
    again = place.prepare(*FOCUS)
    assert again.was_current
    assert "the focus is on bins [1], the last analysis found [2]; --force takes these" in again.remarks
    moved = place.prepare(*FOCUS, force=True)
    assert (by_bin(moved), moved.forced) == ([2, 2, 6], None)


def test_a_focus_is_not_taken_from_an_analysis_of_other_bins(place: Place) -> None:
    analysed(place, place.prepare(), falls_in=1, hour=1)
    told = place.refusal(*FOCUS, "binning.n_bins=2")
    assert "was analysed in other bins" in told
    assert len(told.splitlines()) <= 6
    assert by_bin(place.prepare(*FOCUS, "binning.n_bins=2", "sampling.focus_bins=[0]")) == [6, 2]


# The profile that everybody can run


def test_the_sanity_profile_pins_short_medium_and_long_examples_of_the_shipped_data(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    settings = load_settings("sanity", [f"output.folder={tmp_path}"], {})
    made = prepare(settings, Lake(tmp_path / "lake"))
    pinned = settings.dataset.pinned_example_ids
    lengths = {each.example.example_id: each.prompt_tokens for each in made.prepared.examples}
    assert list(lengths) == list(pinned)
    counts = made.prepared.population, made.prepared.left_out
    assert counts == (160, 0)
    whole = prepare(
        load_settings(
            "sanity", [f"output.folder={tmp_path}", "dataset.n_per_bin=160", "dataset.pinned_example_ids=[]"], {}
        ),
        Lake(tmp_path / "lake"),
    )
    every = sorted(each.prompt_tokens for each in whole.prepared.examples)
    short, medium, long = (
        every[: len(every) // 4],
        every[40 * len(every) // 100 : len(every) // 2],
        every[-len(every) // 4 :],
    )
    assert [lengths[each] in short for each in pinned] == [True] * 3 + [False] * 7
    assert [lengths[each] in medium for each in pinned] == [False] * 3 + [True] * 3 + [False] * 4
    assert [lengths[each] in long for each in pinned] == [False] * 6 + [True] * 4
    assert made.prepared.bins["selected"].to_list() == [6, 4]
    assert group_folder(settings) == tmp_path / "sanity"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ("dataset.path=nowhere",),
            "dataset.path: {folder}/nowhere does not exist\n  give a JSONL file, or a folder with hotpotqa.jsonl in it",
        ),
        (("tokenizer.path=none",), "tokenizer.path: {folder}/none does not exist\n  give a folder with tokenizer.json"),
        (
            ("engine.type=transformers", "model.path=gone"),
            "model.path: {folder}/gone does not exist\n  give the folder",
        ),
        (
            ("engine.type=transformers", "model.path=data"),
            "model.path: {folder}/data holds no model: there is no config",
        ),
    ],
)
def test_what_is_not_there_is_named_with_its_key_before_anything_is_counted(
    place: Place, overrides: tuple[str, ...], told: str
) -> None:
    assert told.format(folder=place.folder) in place.refusal(*overrides)
    assert place.runs == []


def test_a_folder_of_results_that_cannot_be_written_is_named_by_its_setting(place: Place) -> None:
    (place.folder / "file").touch()
    with pytest.raises(LakeEnvironmentError, match=r"choose another output\.folder") as told:
        place.prepare(f"output.folder={place.folder}/file/results")
    assert "--root" not in str(told.value)


def test_all_that_is_not_there_is_named_at_once(place: Place) -> None:
    said = place.refusal("dataset.path=a", "tokenizer.path=b", "engine.type=transformers", "model.path=c")
    assert [line.partition(":")[0] for line in said.splitlines()[::2]] == [
        "dataset.path",
        "tokenizer.path",
        "model.path",
    ]
