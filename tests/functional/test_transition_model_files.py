"""Other weights at the same place are another model: their answers are never mixed."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from groundlake.errors import UsageError
from groundlake.store import Lake
from groundlake.transition.configuration.config_file import CONFIGS, load_settings
from groundlake.transition.configuration.settings import Settings
from groundlake.transition.data.prepare import prepare
from groundlake.transition.inference.model_files import READ_WHOLE, model_files
from groundlake.transition.inference.run import missing, run
from groundlake.transition.scoring.score import score_group
from groundlake.transition.verification.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # together they take minutes

RECALL = CONFIGS.parents[1] / "recall"
MIB = 2**20


def settings_of(**model: str) -> Settings:
    told: dict[str, Any] = {
        "dataset": {"task": "kv_recall", "path": "data"},
        "model": model,
        "engine": {"type": "transformers"},
        "output": {"exp_group_id": "g"},
    }
    return Settings.model_validate(told)


def fingerprint(folder: Path) -> str:
    found = model_files(settings_of(path=str(folder)))
    assert found is not None
    return found


def change(file: Path, place: int) -> None:
    """Change one byte."""
    with file.open("r+b") as opened:
        opened.seek(place)
        byte = opened.read(1)
        opened.seek(place)
        opened.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return shutil.copytree(RECALL / "model", tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_each_byte_of_a_small_model_counts(model: Path, name: str) -> None:
    before, file = fingerprint(model), model / name
    change(file, file.stat().st_size // 2)
    assert fingerprint(model) != before
    change(file, file.stat().st_size // 2)
    assert fingerprint(model) == before


def test_a_model_is_the_same_wherever_it_lies_and_whatever_lies_beside_it(model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("changed")
    moved = shutil.copytree(model, tmp_path / "moved")
    assert fingerprint(moved) == fingerprint(model) == fingerprint(RECALL / "model")
    shutil.copy(model / "model.safetensors", model / "more.safetensors")
    assert fingerprint(model) != fingerprint(moved)


def test_of_much_the_names_sizes_header_and_both_ends_count(tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = folder / "model-00001-of-00001.safetensors"
    header = 3 * MIB
    with weights.open("wb") as opened:
        opened.write(header.to_bytes(8, "little"))
        opened.truncate(READ_WHOLE + 8 * MIB)  # nothing is stored of what is not written
    found = [fingerprint(folder)]
    for place in (100, header, READ_WHOLE + 8 * MIB - 1):
        change(weights, place)
        found.append(fingerprint(folder))
    with weights.open("r+b") as opened:
        opened.truncate(READ_WHOLE + 9 * MIB)
    found.append(fingerprint(folder))
    weights.rename(folder / "other.safetensors")
    found.append(fingerprint(folder))
    assert len(set(found)) == len(found)
    change(folder / "other.safetensors", 32 * MIB)
    assert fingerprint(folder) == found[-1], "the middle is not read"


def test_a_model_of_the_hub_is_the_commit_that_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert model_files(settings_of(name="org/model")) is None
    refs = tmp_path / "models--org--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("0123abcd\n")
    assert model_files(settings_of(name="org/model")) == "0123abcd"


def test_an_endpoint_and_a_model_that_is_elsewhere_have_no_files(tmp_path: Path) -> None:
    assert model_files(settings_of(path=str(tmp_path / "none"))) is None
    asked = settings_of(name="org/model").model_dump() | {"tokenizer": {"name": "words"}}
    asked["engine"] |= {"type": "openai", "base_url": "http://127.0.0.1:9"}
    assert model_files(Settings.model_validate(asked)) is None


@pytest.mark.skipif(
    any(find_spec(each) is None for each in ("torch", "transformers", "kvpress")), reason="no model runs without them"
)
def test_other_weights_at_the_same_path_are_refused_and_asked_anew_with_force(model: Path, tmp_path: Path) -> None:
    chosen = ["dataset.pinned_example_ids=[recall-016-0-0016]", "binning.n_bins=1", "kv.budgets=[1.0]"]
    places = [f"model.path={model}", f"output.folder={tmp_path / 'results'}"]
    settings, lake = load_settings("sanity", [*chosen, *places], {}), Lake(tmp_path / "lake")
    prepare(settings, lake)
    assert run(settings, lake).asked == 1
    assert missing(settings, lake) == {1.0: 0}
    before = fingerprint(model)
    change(model / "model.safetensors", (model / "model.safetensors").stat().st_size // 2)
    wanted = f"model files: {before[:12]} before, now {fingerprint(model)[:12]}"
    for ask in (missing, run):
        with pytest.raises(UsageError, match=wanted):
            ask(settings, lake)
    outcome = run(settings, lake, force=True)
    assert (outcome.asked, outcome.forced) == (1, wanted)
    assert run(settings, lake).asked == 0
    shutil.rmtree(model)  # on another machine, where the lake is looked at
    assert missing(settings, lake) == {1.0: 0}
    assert run(settings, lake).asked == 0
    assert score_group(settings, lake).scored == 1
    (check,) = [each for each in verify(settings, lake) if each.name == "run.settings"]
    assert check.passed, check.detail
