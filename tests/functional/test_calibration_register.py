"""Registering what accuracy is evaluated on: the hash of every image, and what its preprocessing really does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from calibration_evaluation import write_data

from groundlake.calibration.building import build
from groundlake.calibration.registering import register_evaluation
from groundlake.calibration.verifying import verify
from groundlake.errors import UsageError
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Lake:
    """A lake with a right set, `right`, to which tests add evaluation sets under names of their own."""
    lake = Lake(tmp_path_factory.mktemp("register") / "lake")
    build(lake, source="cifar10", data_dir=data / "cifar", samples_per_class=3, name="right")
    return lake


def failed(lake: Lake, against: str) -> set[str]:
    return {check.name for check in verify(lake, "right", against=against) if check.failed}


def test_registering_stores_hashes_and_what_the_function_really_does(lake: Lake, data: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(data)
    done = register_evaluation(lake, "stored", data / "cifar", "evaluation_of_verify:scaled")
    assert (done.num_samples, done.was_there) == (20, False)
    row = lake.frame("evaluation_sets", run_id=done.run_id).row(0, named=True)
    assert (row["output_dtype"], row["output_shape"]) == ("float32", [4, 32, 32, 3])
    assert (row["output_min"], row["output_max"]) == (0.0, 1.0)
    assert (row["dataset"], row["split"], row["preprocess"]) == ("cifar10", "test", "evaluation_of_verify:scaled")
    samples = lake.frame("evaluation_samples", run_id=done.run_id)
    assert samples["sample_id"].n_unique() == 20
    assert set(samples["source_file"]) == {"test_batch"}
    run = lake.runs().filter(run_id=done.run_id).row(0, named=True)
    assert run["session_id"] == "stored"
    assert run["sources"] == [{"uri": "cifar", "sha256": row["source_sha256"], "layout": "cifar10"}]
    assert run["warnings"] == list(done.remarks) != []
    assert run["tool_version"].startswith("groundlake ")


def test_registering_the_same_again_writes_nothing_and_something_else_takes_the_name(
    lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    first = register_evaluation(lake, "again", data / "cifar", "evaluation_of_verify:raw")
    same = register_evaluation(lake, "again", data / "cifar", "evaluation_of_verify:raw")
    assert (same.was_there, same.run_id) == (True, first.run_id)
    other = register_evaluation(lake, "again", data / "cifar", "evaluation_of_verify:scaled")
    assert not other.was_there
    assert failed(lake, "again") == {"preprocessing.again"}
    back = register_evaluation(lake, "again", data / "cifar", "evaluation_of_verify:raw")
    assert not back.was_there
    assert not failed(lake, "again")


@pytest.mark.parametrize(
    ("preprocess", "told"),
    [
        ("evaluation_of_verify.raw", "a function is named as package.module:function"),
        ("evaluation of verify:raw", "a function is named as package.module:function"),
        (":raw", "a function is named as package.module:function"),
        ("no_such_module_anywhere:raw", "no module 'no_such_module_anywhere', neither installed nor in"),
        ("evaluation_of_verify.sub:raw", "evaluation_of_verify"),
        ("module_of_verify_that_fails:raw", "importing module_of_verify_that_fails fails: No module named"),
        ("module_of_verify_that_ends:raw", "fails: SystemExit: no weights"),
        ("evaluation_of_verify:scale", r"has no 'scale'; did you mean scaled\?"),
        ("evaluation_of_verify:SCALE", "is no function, but float32"),
        ("evaluation_of_verify:LATER.prepare", "'prepare' fails: ImportError: no torch"),
        ("evaluation_of_verify:ending", "ending: fails on images .*: SystemExit"),
        ("evaluation_of_verify:failing", r"(?s)evaluation_of_verify:failing: fails on images.*KeyError: 'mean'"),
        ("evaluation_of_verify:words", "gives no array of numbers"),
        ("evaluation_of_verify:nothing", "gives no array of numbers"),
        ("evaluation_of_verify:divided_by_zero", "gives numbers that are not finite"),
        ("evaluation_of_verify:augmented", "gives another output each time"),
        ("evaluation_of_verify:of_the_batch", "prepares an image otherwise alone than among others"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_with_the_reason(
    lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch, preprocess: str, told: str
) -> None:
    monkeypatch.chdir(data)
    with pytest.raises(UsageError, match=told):
        register_evaluation(lake, "refused", data / "cifar", preprocess)
    assert "refused" not in lake.frame("evaluation_sets")["evaluation_set"].to_list()


@pytest.mark.parametrize("name", ["", " ", "a/b", "-eval", "x" * 81])
def test_the_name_of_an_evaluation_set_is_held_to_the_rule_of_names(lake: Lake, data: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"evaluation set .*: a name has letters, digits"):
        register_evaluation(lake, name, data / "cifar", "math:sqrt")
