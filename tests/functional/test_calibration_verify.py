"""Calibration sets against what is recorded of them and against evaluation sets; and registering those."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import cifar
import numpy as np
import polars as pl
import pytest
from calibration_evaluation import write_data

from groundlake.calibration.building import build
from groundlake.calibration.exporting import export
from groundlake.calibration.preprocessing import apply
from groundlake.calibration.reading import open_set
from groundlake.calibration.registering import register_evaluation
from groundlake.calibration.streaming import make_feed
from groundlake.calibration.verifying import verify
from groundlake.errors import UsageError
from groundlake.measure.int8.settings import choose_int8
from groundlake.schemas import NO_KEY
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from groundlake.calibration.reading import CalibrationSet
    from groundlake.calibration.verifying import Check

Change = Any
OWN = (
    "name.unique",
    "samples.complete",
    "source.training",
    "classes.balanced",
    "pixels.range",
    "samples.hashes",
    "set.fingerprint",
    "set.preprocessing",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Lake:
    """A lake with one right set, `right`, to which tests add sets and evaluation sets under names of their own."""
    lake = Lake(tmp_path_factory.mktemp("verify") / "lake")
    build(lake, source="cifar10", data_dir=data / "cifar", samples_per_class=3, name="right")
    return lake


@pytest.fixture
def registered(lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Register the test images with a function of the module, under its name; returns that."""
    monkeypatch.chdir(data)

    def register(function: str) -> str:
        register_evaluation(lake, function, data / "cifar", f"evaluation_of_verify:{function}")
        return function

    return register


def altered(lake: Lake, name: str, *, build: Change = None, samples: Change = None) -> str:
    """Write the right set again under another name, its rows changed as functions of frames say; returns the name."""
    keys = {"hardware_id": NO_KEY, "run_id": open_set(lake, "right").run_id}
    frames = {}
    for table, change in (("calibration_builds", build), ("calibration_samples", samples)):
        rows = lake.frame(table, **keys).drop("run_id", "part")
        frames[table] = (change(rows) if change else rows).with_columns(calibration_set=pl.lit(name))
    lake.write({"hardware_id": NO_KEY, "kind": "calibration", "timing_method": "none"}, **frames)
    return name


def first_image(column: str, value: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Change one column of the first image."""
    changed = pl.when(pl.col("ordinal") == 0).then(value).otherwise(pl.col(column))
    return lambda rows: rows.with_columns(changed.alias(column))


def darkened(rows: pl.DataFrame) -> pl.DataFrame:
    pixels = [(np.frombuffer(each, dtype=np.uint8) // 128).tobytes() for each in rows["pixels"]]
    return rows.with_columns(pixels=pl.Series(pixels, dtype=pl.Binary))


def swapped(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(ordinal=pl.col("ordinal").replace({0: 1, 1: 0}))


def failed(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if check.failed}


def detail(checks: list[Check], name: str) -> str:
    (found,) = (check.detail for check in checks if check.name == name)
    return found


def test_a_right_set_passes_every_check_and_says_what_nothing_can_tell(data: Path, lake_root: Path) -> None:
    lake = Lake(lake_root)
    build(lake, source="cifar10", data_dir=data / "cifar", samples_per_class=3, name="right")
    checks = verify(lake, "right")
    assert {check.name: check.passed for check in checks} == dict.fromkeys(OWN, True) | {
        "disjoint": None,
        "classes": None,
        "preprocessing": None,
    }
    assert "no evaluation set is registered" in detail(checks, "disjoint")


@pytest.mark.parametrize(
    ("name", "changes", "expected", "told"),
    [
        (
            "other-pixels",
            {"samples": first_image("pixels", pl.lit(bytes(3072)))},
            {"samples.hashes", "set.fingerprint", "pixels.range"},
            ("samples.hashes", "not the recorded bytes: image 0"),
        ),
        (
            "other-range",
            {"samples": first_image("pixel_mean", pl.col("pixel_min").cast(pl.Float64))},
            {"pixels.range"},
            ("pixels.range", "recorded otherwise than the bytes are: pixel_mean of image 0"),
        ),
        (
            "other-class",
            {"samples": first_image("class_name", pl.lit("zebra"))},
            {"classes.balanced"},
            ("classes.balanced", "not the names of their labels: image 0"),
        ),
        (
            "other-probe",
            {"build": lambda rows: rows.with_columns(probe_sha256=pl.lit("before"))},
            {"set.preprocessing"},
            ("set.preprocessing", "prepares images otherwise"),
        ),
        (
            "other-id",
            {"samples": first_image("sample_id", pl.lit("00" * 32))},
            {"samples.hashes"},
            ("samples.hashes", "image 0"),
        ),
        ("other-order", {"samples": swapped}, {"set.fingerprint"}, ("set.fingerprint", "recorded")),
        (
            "other-label",
            {"samples": first_image("label", pl.lit(9))},
            {"classes.balanced", "set.fingerprint"},
            ("classes.balanced", "expected 3 of each of 10 classes, got airplane: 2, truck: 4"),
        ),
        (
            "no-class",
            {"samples": first_image("label", pl.lit(12))},
            {"classes.balanced", "set.fingerprint"},
            ("classes.balanced", "label 12, which is no class: 1"),
        ),
        (
            "lost",
            {"samples": lambda rows: rows.filter(pl.col("ordinal") != 4)},
            {"samples.complete"},
            ("samples.complete", "29 of the images 0 to 29"),
        ),
        (
            "divided",
            {"samples": darkened},
            {"pixels.range", "samples.hashes", "set.fingerprint"},
            ("pixels.range", "expected about 0 to 255, got 0 to 1: divided by 255"),
        ),
        (
            "from-test",
            {"build": lambda rows: rows.with_columns(split=pl.lit("test"))},
            {"source.training", "set.fingerprint"},
            ("source.training", "from the test images"),
        ),
        (
            "other-code",
            {"build": lambda rows: rows.with_columns(preprocessing_fingerprint=pl.lit("before"))},
            {"set.preprocessing", "set.fingerprint"},
            ("set.preprocessing", "recorded before"),
        ),
        (
            "other-seed",
            {"build": lambda rows: rows.with_columns(seed=pl.col("seed") + 1)},
            {"set.fingerprint"},
            ("set.fingerprint", "is another"),
        ),
    ],
)
def test_each_damage_fails_the_checks_that_are_for_it(
    lake: Lake, name: str, changes: dict[str, Change], expected: set[str], told: tuple[str, str]
) -> None:
    checks = [check for check in verify(lake, altered(lake, name, **changes)) if check.name in OWN]
    assert failed(checks) == expected
    assert told[1] in detail(checks, told[0])


def test_no_images_are_given_out_that_another_version_prepares_otherwise(lake: Lake, tmp_path: Path) -> None:
    name = altered(lake, "older-code", build=lambda rows: rows.with_columns(preprocessing_fingerprint=pl.lit("before")))
    older = open_set(lake, name)
    with pytest.raises(UsageError, match=r"prepares images otherwise.*\n  build the set again"):
        make_feed(older, batch_size=5, layout="NHWC", last="keep")
    with pytest.raises(UsageError, match="prepares images otherwise"):
        export(older, "npz", tmp_path / "older.npz")
    assert not list(tmp_path.iterdir())


def test_a_set_whose_source_does_not_tell_its_split_is_unknown_to_be_from_training(lake: Lake) -> None:
    name = altered(lake, "unknown-split", build=lambda rows: rows.with_columns(split=pl.lit("unknown")))
    (check,) = (check for check in verify(lake, name) if check.name == "source.training")
    assert check.passed is None


def test_a_name_with_two_contents_fails_and_the_last_one_is_checked(lake: Lake) -> None:
    altered(lake, "twice", build=lambda rows: rows.with_columns(set_fingerprint=pl.lit("first")))
    altered(lake, "twice")
    checks = [check for check in verify(lake, "twice") if check.name in OWN]
    assert failed(checks) == {"name.unique"}
    assert "2 sets have it" in detail(checks, "name.unique")


def test_an_evaluation_that_does_the_same_passes_whatever_it_is_called(
    lake: Lake, registered: Callable[[str], str]
) -> None:
    for function in ("raw", "tensor", "Steps.raw"):
        checks = verify(lake, "right", against=registered(function))
        assert not failed(checks)
        assert f"the same as evaluation_of_verify:{function}" in detail(checks, f"preprocessing.{function}")
        assert "none of 20 evaluation images" in detail(checks, f"disjoint.{function}")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("scaled", "evaluation gives 0..1, calibration 0..255 (it divides by 255)"),
        (
            "channels_first",
            "evaluation gives shape (4, 3, 32, 32), calibration shape (4, 32, 32, 3) (it puts channels first",
        ),
        ("as_bytes", "evaluation gives uint8, calibration float32"),
        ("in_double", "evaluation gives float64, calibration float32"),
        ("nested", "evaluation gives float64, calibration float32"),
        ("standardized", "calibration 0..255"),
        ("blue_first", "values are not (its channels are blue, green, red)"),
        ("shifted", "type, shape and range are equal, the values are not"),
    ],
)
def test_an_evaluation_that_prepares_images_otherwise_fails_and_says_what_differs(
    lake: Lake, registered: Callable[[str], str], function: str, told: str
) -> None:
    checks = verify(lake, "right", against=registered(function))
    assert failed(checks) == {f"preprocessing.{function}"}
    assert told in detail(checks, f"preprocessing.{function}")


def test_labels_that_stand_for_other_classes_in_the_evaluation_fail(
    lake: Lake, registered: Callable[[str], str]
) -> None:
    name = registered("raw")
    names = lake.frame("evaluation_sets").filter(pl.col("evaluation_set") == name)["class_names"][0]
    assert names.to_list() == list(open_set(lake, "right").class_names)
    for name, classes in {
        "fewer": names[:9],
        "shifted-names": names[1:],
        "nameless": None,
    }.items():
        rows = lake.frame("evaluation_sets").filter(pl.col("evaluation_set") == "raw").drop("run_id", "part")
        others = pl.Series([classes], dtype=pl.List(pl.String))
        samples = lake.frame("evaluation_samples").filter(pl.col("evaluation_set") == "raw").drop("run_id", "part")
        lake.write(
            {"hardware_id": NO_KEY, "kind": "evaluation_set"},
            evaluation_sets=rows.with_columns(evaluation_set=pl.lit(name), class_names=others),
            evaluation_samples=samples.unique("sample_id").with_columns(evaluation_set=pl.lit(name)),
        )
    checks = verify(lake, "right")
    passed = {check.name: check.passed for check in checks if check.name.startswith("classes.")}
    names = ("classes.raw", "classes.fewer", "classes.shifted-names", "classes.nameless")
    assert [passed[name] for name in names] == [True, True, False, None]
    told = "label 0 is 'airplane' in the calibration set and 'automobile' in the evaluation"
    assert detail(checks, "classes.shifted-names") == told


def test_an_evaluation_may_be_called_like_any_check(lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    for name in ("code", "balanced"):
        register_evaluation(lake, name, data / "cifar", "evaluation_of_verify:raw")
    names = [check.name for check in verify(lake, "right") if check.name != "classes.balanced"]
    assert len(set(names)) == len(names)


def test_every_registered_evaluation_set_is_looked_at_unless_one_is_named(
    lake: Lake, registered: Callable[[str], str]
) -> None:
    registered("raw")
    registered("scaled")
    assert "preprocessing.scaled" in failed(verify(lake, "right"))
    assert not failed(verify(lake, "right", against="raw"))
    with pytest.raises(UsageError, match=r"(?s)no evaluation set 'scale'.*did you mean scaled\?"):
        verify(lake, "right", against="scale")


def test_images_of_the_evaluation_are_found_by_content_whatever_file_they_lie_in(
    lake: Lake, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    opened = open_set(lake, "right")
    strange, labels = cifar.pictures(1, seed=77)
    pixels = np.concatenate([opened.pixels()[[2, 5]], strange])
    cifar.dump(tmp_path / "batches.meta", cifar.meta(2))
    test = cifar.batch(pixels, np.concatenate([[0, 1], labels]), batch_label="testing batch 1 of 1")
    cifar.dump(tmp_path / "test_batch", test)
    register_evaluation(lake, "leaky", tmp_path, "evaluation_of_verify:raw")
    checks = verify(lake, "right", against="leaky")
    assert failed(checks) == {"disjoint.leaky"}
    assert detail(checks, "disjoint.leaky") == "2 images are evaluation images: image 2, image 5"


def test_of_a_set_that_lost_images_all_the_rest_is_told(
    lake: Lake, data: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    copy = Lake(shutil.copytree(lake.root, tmp_path / "copy"))
    monkeypatch.chdir(data)
    register_evaluation(copy, "whole", data / "cifar", "evaluation_of_verify:raw")
    altered(copy, "cut", samples=lambda rows: rows.head(9))
    checks = verify(copy, "cut", against="whole")
    assert failed(checks) == {"samples.complete", "disjoint.whole"}
    assert "the same `lake calibration build` makes the set again" in detail(checks, "samples.complete")
    assert "nothing is known of images that are missing" in detail(checks, "disjoint.whole")

    for part in (copy.root / "evaluation_samples").rglob("*.parquet"):
        part.unlink()
    checks = verify(copy, "right", against="whole")
    assert failed(checks) == {"disjoint.whole"}
    assert "has 0 of its 20 rows" in detail(checks, "disjoint.whole")
    register_evaluation(copy, "whole", data / "cifar", "evaluation_of_verify:raw")
    assert not failed(verify(copy, "right", against="whole"))


def test_an_evaluation_set_that_lost_images_proves_nothing(lake: Lake, registered: Callable[[str], str]) -> None:
    name = registered("raw")
    rows = lake.frame("evaluation_sets").filter(pl.col("evaluation_set") == name).drop("run_id", "part")
    rows = rows.with_columns(evaluation_set=pl.lit("partial"))
    lake.write({"hardware_id": NO_KEY, "kind": "evaluation_set"}, evaluation_sets=rows)
    checks = verify(lake, "right", against="partial")
    assert failed(checks) == {"disjoint.partial"}
    assert "0 of 20 images" in detail(checks, "disjoint.partial")


@pytest.fixture
def scaled(lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch) -> CalibrationSet:
    """A set whose images are divided by 255 for its network."""
    monkeypatch.chdir(data)
    built = build(
        lake, source="cifar10", data_dir=data / "cifar", samples_per_class=3, preprocess="evaluation_of_verify:scaled"
    )
    assert built.name == "cifar10-3-per-class-scaled"
    return open_set(lake, built.name)


def test_a_set_that_a_function_prepares_fits_the_evaluation_that_does_the_same_and_no_other(
    lake: Lake, scaled: CalibrationSet, registered: Callable[[str], str]
) -> None:
    checks = verify(lake, scaled.name, against=registered("scaled"))
    assert not failed(checks)
    assert "the same as evaluation_of_verify:scaled" in detail(checks, "preprocessing.scaled")
    told = "evaluation_of_verify:scaled gave float32 0..1 when the set was built"
    assert told in detail(checks, "set.preprocessing"), "nothing is imported to verify"
    checks = verify(lake, scaled.name, against=registered("raw"))
    assert failed(checks) == {"preprocessing.raw"}
    told = "evaluation_of_verify:raw prepares images otherwise than evaluation_of_verify:scaled of the set: "
    assert detail(checks, "preprocessing.raw") == f"{told}evaluation gives 0..255, calibration 0..1"
    assert failed(verify(lake, "right", against="scaled")) == {"preprocessing.scaled"}
    asked = "select set_preprocess, matches from calibration_preprocessing where evaluation_set = 'scaled'"
    rows = lake.sql(f"{asked} and calibration_set in ('right', '{scaled.name}') order by 1 nulls first").rows()
    assert rows == [(None, False), ("evaluation_of_verify:scaled", True)]


def test_every_reader_gives_the_images_as_the_function_of_the_set_prepares_them(
    lake: Lake, scaled: CalibrationSet, registered: Callable[[str], str], tmp_path: Path
) -> None:
    right = open_set(lake, "right")
    assert (scaled.pixels() == right.pixels()).all(), "raw bytes are stored all the same"
    assert scaled.fingerprint != right.fingerprint
    wanted = right.images() / np.float32(255)
    np.testing.assert_array_equal(scaled.images(), wanted)
    feed = make_feed(scaled, batch_size=30, layout="NCHW", last="keep", evaluation_set=registered("scaled"))
    for batches in (scaled.batches(30, layout="NCHW"), feed.batches()):
        np.testing.assert_array_equal(next(iter(batches)), wanted.transpose(0, 3, 1, 2))
    export(scaled, "npz", tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as written:
        np.testing.assert_array_equal(written["images"], wanted)
    chosen = choose_int8(lake, calibration_set=scaled.name)
    assert (chosen.preprocess, chosen.image_shape) == ("evaluation_of_verify:scaled", (3, 32, 32))
    assert "images that evaluation_of_verify:scaled prepares" in chosen.doubts[0].meaning
    assert choose_int8(lake, calibration_set=scaled.name, evaluation_set="scaled").doubts == ()


def test_a_set_that_a_function_prepares_is_given_to_no_network_that_is_evaluated_otherwise(
    lake: Lake, scaled: CalibrationSet, registered: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options: Any = {"batch_size": 5, "layout": "NHWC", "last": "keep", "evaluation_set": registered("raw")}
    for preprocess, advice in ((None, "build another set"), (apply, "leave preprocess= out")):
        with pytest.raises(UsageError, match=f"(?s)prepare images differently.*{advice}"):
            make_feed(scaled, preprocess=preprocess, **options)
    with pytest.raises(UsageError, match=r"\(evaluation_of_verify:raw\) prepare images differently"):
        choose_int8(lake, calibration_set=scaled.name, evaluation_set="raw")
    monkeypatch.setattr("evaluation_of_verify.SCALE", np.float32(128))
    for read in (scaled.images, lambda: scaled.batches(5), lambda: choose_int8(lake, calibration_set=scaled.name)):
        with pytest.raises(UsageError, match="evaluation_of_verify:scaled does something else than when the set was"):
            read()


@pytest.mark.parametrize("function", ["channels_first", "as_bytes", "in_double", "divided_by_zero", "augmented"])
def test_a_set_is_not_built_with_a_function_whose_output_its_readers_do_not_give(
    data: Path, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    asked: Any = {"source": "cifar10", "data_dir": data / "cifar", "samples_per_class": 3}
    with pytest.raises(UsageError, match=f"preprocessing evaluation_of_verify:{function}: gives "):
        build(Lake(tmp_path / "lake"), preprocess=f"evaluation_of_verify:{function}", **asked)
    assert not (tmp_path / "lake").exists()
