"""Views over small lakes of calibration sets whose answers are worked out by hand, and sets read back from a lake."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from calibration_lake import CLASSES, built, fill, image_id, pixels, quantized, registered

from groundlake.calibration.reading import open_set
from groundlake.errors import CorruptLakeError, LakeNotFoundError, UsageError
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VIEWS = (
    "calibration_classes",
    "calibration_current_sets",
    "calibration_distribution",
    "calibration_overlap",
    "calibration_preprocessing",
    "calibration_sets",
    "quantization_results",
)
Rows = list[dict[str, Any]]
INT8 = {"hardware_id": "dev", "precision": "int8", "model": "small", "batch": 1}


class Asked:
    """A lake whose views are asked once, however many tests look at the answer."""

    def __init__(self, root: Path, write: Callable[[Lake], None] = lambda _: None) -> None:
        self.lake = Lake(root)
        write(self.lake)
        self.all_rows = cache(lambda view: self.lake.sql(f"SELECT * FROM {view}").pl().to_dicts())

    def rows(self, view: str, **where: object) -> Rows:
        return [row for row in self.all_rows(view) if where.items() <= row.items()]

    def row(self, view: str, **where: object) -> dict[str, Any]:
        (row,) = self.rows(view, **where)
        return row


def write_alone(lake: Lake) -> None:
    """Sets without an evaluation set: right, uneven, too large, and recorded twice."""
    built(lake)
    built(lake, "uneven", ((3, 1), (4, 1), (5, 1)))
    built(lake, "too large", ((0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)))
    built(lake, "changed", set_fingerprint="first")
    built(lake, "changed", ((7, 0), (8, 0), (9, 1), (10, 1)), set_fingerprint="second", hour=1)
    built(lake, "again")
    built(lake, "again", hour=1)
    built(lake, "lost", ((0, 0), (1, 0), (2, 1)))
    built(lake, "flat", height=3)


def write_fitting(lake: Lake) -> None:
    """A set that fits both evaluation sets; one of them was wrong before it was registered again."""
    built(lake)
    registered(lake, images=(0, 1), preprocessing_fingerprint="divided")
    registered(lake, images=(7,), hour=2)
    registered(lake, "other")
    timed = lake.write(INT8 | {"end_to_end_latency_ms": 1.5, "timing_method": "end_to_end"})
    quantized(lake, measured_run_id=timed)
    quantized(lake, set_fingerprint="of long ago", hour=3)
    quantized(lake, "gone", weights_after_bytes=0, hour=4)


def write_unfit(lake: Lake) -> None:
    """A set with images of two evaluation sets, and a third that prepares images otherwise."""
    built(lake)
    built(lake, "clean", ((10, 0), (11, 0), (12, 1), (13, 1)))
    registered(lake, images=(7, 100))
    registered(lake, "twice", images=(0, 0, 100))
    other = {"preprocessing_fingerprint": "divided", "preprocess": "evaluation:scaled", "output_max": 1.0}
    registered(lake, "scaled", **other)
    quantized(lake)
    quantized(lake, evaluation_set="scaled", hour=3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(tmp_path_factory.mktemp("alone") / "lake", write_alone)


@pytest.fixture(scope="module")
def fitting(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(tmp_path_factory.mktemp("fitting") / "lake", write_fitting)


@pytest.fixture(scope="module")
def unfit(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(tmp_path_factory.mktemp("unfit") / "lake", write_unfit)


def test_no_view_of_the_shared_lake_is_empty(lake_root: Path) -> None:
    shared = Asked(lake_root, fill)
    assert all(shared.rows(view) for view in VIEWS)


def test_a_set_is_one_row_with_its_balance_and_its_bytes(alone: Asked) -> None:
    row = alone.row("calibration_sets", calibration_set="set")
    assert (row["num_samples"], row["stored_samples"], row["smallest_class"], row["largest_class"]) == (4, 4, 2, 2)
    assert row["is_balanced"]
    assert (row["pixel_min"], row["pixel_max"]) == (0, 255)
    assert row["pixel_mean"] == pytest.approx(np.mean([list(pixels(number)) for number in (0, 1, 100, 244)]))
    assert row["class_names"] == list(CLASSES)


def test_without_an_evaluation_set_it_is_unknown_whether_a_set_fits(alone: Asked) -> None:
    for row in alone.rows("calibration_sets"):
        assert row["num_evaluation_sets"] == 0
        assert (row["num_overlapping"], row["is_disjoint"], row["preprocessing_matches"]) == (None, None, None)


def test_of_images_that_are_not_in_the_lake_it_is_unknown_whether_an_evaluation_has_them(lake_root: Path) -> None:
    lake = Lake(lake_root)
    built(lake, "whole")
    built(lake, "lost", ((0, 0), (1, 0), (2, 1)))
    built(lake, "lost and leaky", ((7, 0), (1, 0), (2, 1)))
    quantized(lake, "whole")
    quantized(lake, "whole", evaluation_set="partial", hour=3)
    quantized(lake, "lost", hour=4)
    registered(lake)
    before = {row["calibration_set"]: row["is_disjoint"] for row in Asked(lake_root).rows("calibration_sets")}
    assert before == {"whole": True, "lost": None, "lost and leaky": False}
    registered(lake, "partial", num_samples=3)
    after = {row["calibration_set"]: row["num_overlapping"] for row in Asked(lake_root).rows("calibration_sets")}
    assert after == {"whole": None, "lost": None, "lost and leaky": 1}
    results = sorted(Asked(lake_root).rows("quantization_results"), key=lambda row: row["started_at"])
    assert [row["num_overlapping"] for row in results] == [0, None, None]


def test_each_class_is_a_row_and_one_without_images_too(alone: Asked) -> None:
    first, second = sorted(alone.rows("calibration_distribution", calibration_set="uneven"), key=lambda r: r["label"])
    assert (first["class_name"], first["samples"], first["share"], first["is_balanced"]) == ("cat", 0, 0.0, False)
    assert (second["class_name"], second["samples"], second["share"]) == ("dög", 3, 1.0)
    assert (second["expected"], second["is_balanced"]) == (2, False)
    assert (first["pixel_mean"], second["pixel_min"], second["pixel_max"]) == (None, 3, 16)
    row = alone.row("calibration_sets", calibration_set="uneven")
    assert (row["is_balanced"], row["smallest_class"], row["largest_class"]) == (False, 0, 3)


def test_classes_that_are_even_but_too_large_are_not_balanced(alone: Asked) -> None:
    row = alone.row("calibration_sets", calibration_set="too large")
    assert (row["is_balanced"], row["smallest_class"], row["largest_class"]) == (False, 3, 3)


def test_a_name_that_was_recorded_with_two_contents_shows_the_last_one_and_says_so(alone: Asked) -> None:
    row = alone.row("calibration_sets", calibration_set="changed")
    assert (row["set_fingerprint"], row["num_contents"], row["stored_samples"]) == ("second", 2, 4)
    assert row["pixel_max"] == 21
    opened = open_set(alone.lake, "changed")
    assert opened.fingerprint == "second"
    assert opened.sample_ids == tuple(map(image_id, (7, 8, 9, 10)))


def test_the_same_set_recorded_twice_is_one_content(alone: Asked) -> None:
    row = alone.row("calibration_sets", calibration_set="again")
    assert (row["num_contents"], row["stored_samples"]) == (1, 4)


def test_a_set_that_fits_every_evaluation_set_says_so_by_how_they_are_registered_now(fitting: Asked) -> None:
    row = fitting.row("calibration_sets")
    assert row["num_evaluation_sets"] == 2
    assert (row["num_overlapping"], row["is_disjoint"], row["preprocessing_matches"]) == (0, True, True)


def test_an_image_that_both_sets_have_is_a_row_with_both_places(unfit: Asked) -> None:
    shared = unfit.row("calibration_overlap", evaluation_set="test")
    assert (shared["calibration_set"], shared["sample_id"]) == ("set", image_id(100))
    assert (shared["ordinal"], shared["class_name"]) == (2, "dög")
    assert (shared["source_file"], shared["source_index"]) == ("train.npz", 100)
    assert (shared["evaluation_file"], shared["evaluation_index"]) == ("test.npz", 1)


def test_an_image_is_counted_once_however_often_evaluation_sets_have_it(unfit: Asked) -> None:
    assert len(unfit.rows("calibration_overlap")) == 4
    row = unfit.row("calibration_sets", calibration_set="set")
    assert (row["num_overlapping"], row["is_disjoint"]) == (2, False)
    clean = unfit.row("calibration_sets", calibration_set="clean")
    assert (clean["num_overlapping"], clean["is_disjoint"]) == (0, True)


def test_one_evaluation_that_prepares_images_otherwise_is_enough_for_a_mismatch(unfit: Asked) -> None:
    assert unfit.row("calibration_sets", calibration_set="clean")["preprocessing_matches"] is False
    pairs = {row["evaluation_set"]: row for row in unfit.rows("calibration_preprocessing", calibration_set="set")}
    assert {name: row["matches"] for name, row in pairs.items()} == {"test": True, "twice": True, "scaled": False}
    assert (pairs["scaled"]["preprocess"], pairs["scaled"]["output_max"]) == ("evaluation:scaled", 1.0)


def test_a_quantization_shows_what_it_costs_how_fast_it_is_and_that_its_set_fits(fitting: Asked) -> None:
    row = fitting.row("quantization_results", set_is_here=True)
    assert row["accuracy_loss"] == pytest.approx(0.025)
    assert row["weights_ratio"] == pytest.approx(400 / 110)
    assert (row["num_overlapping"], row["preprocessing_matches"]) == (0, True)
    assert (row["end_to_end_latency_ms"], row["timing_method"]) == (1.5, "end_to_end")


def test_where_nothing_could_be_lost_an_accuracy_by_chance_is_no_gain(lake_root: Path) -> None:
    lake = Lake(lake_root)
    for before, chance in ((0.0, 0.19), (0.9, 0.19), (0.9, None)):
        quantized(lake, accuracy_before=before, accuracy_after=0.1, chance_accuracy=chance)
    rows = lake.sql(
        "select accuracy_before, chance_accuracy, accuracy_loss from quantization_results order by all"
    ).rows()
    assert rows == [(0.0, 0.19, None), (0.9, 0.19, pytest.approx(0.8)), (0.9, None, pytest.approx(0.8))]


def test_a_quantization_with_a_leaky_or_unlike_set_is_shown_as_such(unfit: Asked) -> None:
    leaky = unfit.row("quantization_results", evaluation_set="test")
    assert (leaky["num_overlapping"], leaky["preprocessing_matches"]) == (1, True)
    unlike = unfit.row("quantization_results", evaluation_set="scaled")
    assert (unlike["num_overlapping"], unlike["preprocessing_matches"]) == (0, False)
    assert unlike["end_to_end_latency_ms"] is None


def test_of_a_quantization_with_a_set_that_is_not_here_nothing_is_claimed(fitting: Asked) -> None:
    changed = fitting.row("quantization_results", set_fingerprint="of long ago")
    assert (changed["set_is_here"], changed["num_overlapping"], changed["preprocessing_matches"]) == (False, None, None)
    gone = fitting.row("quantization_results", calibration_set="gone")
    assert (gone["set_is_here"], gone["num_overlapping"], gone["weights_ratio"]) == (None, None, None)


def test_a_quantization_is_judged_by_the_evaluation_as_it_was_registered_then(lake_root: Path) -> None:
    """Its name stands for other images and another preparation since; the row keeps its verdict."""
    lake = Lake(lake_root)
    built(lake)
    for name, images, prepared in (("mended", (0, 7), "divided"), ("spoilt", (7, 8), "raw")):
        first = registered(lake, name, images, preprocessing_fingerprint=prepared)
        used = {"evaluation_run_id": first, "evaluation_fingerprint": prepared}
        quantized(lake, evaluation_set=name, preprocessing_fingerprint="raw", **used)
    before = {row["evaluation_set"]: row for row in Asked(lake_root).rows("quantization_results")}
    assert {name: row["evaluation_is_here"] for name, row in before.items()} == {"mended": True, "spoilt": True}
    registered(lake, "mended", hour=9)
    registered(lake, "spoilt", (0, 1), hour=9, preprocessing_fingerprint="divided")
    after = {row["evaluation_set"]: row for row in Asked(lake_root).rows("quantization_results")}
    verdict = ("num_overlapping", "preprocessing_matches", "evaluation_is_here")
    assert [after["mended"][name] for name in verdict] == [1, False, False]
    assert [after["spoilt"][name] for name in verdict] == [0, True, False]
    quantized(lake, hour=9, evaluation_set=None, num_evaluated=None)
    (none,) = (row for row in Asked(lake_root).rows("quantization_results") if row["evaluation_set"] is None)
    assert [none[name] for name in verdict] == [None] * 3


def test_images_come_back_raw_and_as_float32_in_the_order_of_the_set(alone: Asked) -> None:
    opened = open_set(alone.lake, "set")
    stored = np.array([list(pixels(number)) for number in (0, 1, 100, 244)], dtype=np.uint8).reshape(4, 2, 2, 3)
    np.testing.assert_array_equal(opened.pixels(), stored)
    images = opened.images()
    assert (images.dtype, images.shape, images.max()) == (np.float32, (4, 2, 2, 3), 255.0)
    np.testing.assert_array_equal(images, stored)
    assert opened.labels.tolist() == [0, 0, 1, 1]
    assert (opened.class_names, len(opened), opened.image_shape) == (CLASSES, 4, (2, 2, 3))
    assert opened.preprocessing == {"layout": "NHWC"}


@pytest.mark.parametrize("size", [1, 3, 4, 9])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_batches_are_the_images_cut_in_pieces(
    alone: Asked, size: int, layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundlake.calibration.reading.BYTES_AT_ONCE", 24)  # several reads, as for a large set
    opened = open_set(alone.lake, "set")
    batches = list(opened.batches(size, layout=layout))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    expected = opened.images() if layout == "NHWC" else opened.images().transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(np.concatenate(batches), expected)
    assert all(batch.flags.c_contiguous and batch.dtype == np.float32 for batch in batches)
    whole = list(opened.batches(size, layout=layout, drop_last=True))
    assert [len(batch) for batch in whole] == [size] * (4 // size)


def test_a_reader_of_batches_holds_few_images_at_a_time(alone: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundlake.calibration.reading.BYTES_AT_ONCE", 24)
    batches = open_set(alone.lake, "set").batches(1)
    next(batches)
    assert len(batches.gi_frame.f_locals["pixels"]) == 2  # type: ignore[attr-defined]


def test_a_set_that_lost_images_is_refused_by_name(alone: Asked) -> None:
    with pytest.raises(CorruptLakeError, match="calibration set lost has 3 of the images 0 to 3"):
        open_set(alone.lake, "lost").pixels()


def test_an_image_of_another_size_is_refused_with_its_place(alone: Asked) -> None:
    with pytest.raises(CorruptLakeError, match=r"image 0 has 12 bytes, 3 x 2 x 3 need 18"):
        next(open_set(alone.lake, "flat").batches(2))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"size": 0}, "at least 1 image, got 0"), ({"size": 1, "layout": "CHWN"}, "one of NHWC, NCHW, got 'CHWN'")],
)
def test_an_impossible_batch_is_refused_at_once(alone: Asked, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_set(alone.lake, "set").batches(**arguments)


def test_an_unknown_set_is_refused_with_near_names_or_all_there_are(lake_root: Path) -> None:
    lake = Lake(lake_root)
    with pytest.raises(LakeNotFoundError):
        open_set(lake, "set")
    lake.root.mkdir()
    with pytest.raises(UsageError, match="there is none yet; lake calibration build makes one"):
        open_set(lake, "set")
    built(lake, "cifar10-100")
    with pytest.raises(UsageError, match=r"did you mean cifar10-100\?"):
        open_set(lake, "cifar10-10")
    with pytest.raises(UsageError, match="there are cifar10-100"):
        open_set(lake, "imagenet")


def test_an_open_set_is_readable_after_a_compaction(lake_root: Path) -> None:
    lake = Lake(lake_root)
    built(lake)
    registered(lake)
    opened = open_set(lake, "set")
    assert lake.compact_runs()
    assert len(list(opened.batches(2))) == 2
    assert open_set(lake, "set").run_id == opened.run_id
