"""What the path of a measurement file says: layout, device, precision, batch."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from groundlake.ground_truth.layouts import Place, batch_of, place_of, plain_name, safe_name


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/d/calibration_data/agx_15w/measurements/fp16/resnet18_b1.json", Place("canonical", "agx_15w", "fp16")),
        ("/d/calibration_data/agx_15w/FP16/measurements/resnet18.json", Place("legacy", "agx_15w", "fp16")),
        ("/d/measurements/agx_15w/bf16/resnet18_b4.json", Place("toplevel", "agx_15w", "bf16")),
        ("/d/calibration_data/i7_12700K/measurements/resnet18.json", Place("flat", "i7_12700K", None)),
        ("/d/agx/measurements/fp8_e4m3/resnet18_b1.json", Place("canonical", "agx", "fp8_e4m3")),
        ("/d/measurements/measurements/fp32/resnet18.json", None),
        ("/d/measurements/fp32/measurements/resnet18.json", None),
        ("/fp32/measurements/resnet18.json", None),
        ("/d/agx/fp32/resnet18.json", None),
        ("/resnet18.json", None),
    ],
)
def test_the_end_of_the_path_gives_layout_device_and_precision(path: str, place: Place | None):
    assert place_of(PurePosixPath(path), "FP8_E4M3" if "e4m3" in path else None) == place


@pytest.mark.parametrize(
    ("stem", "model", "batch_size", "expected"),
    [
        ("resnet18", "resnet18", None, 1),
        ("resnet18_b16", "resnet18", None, 16),
        ("efficientnet_b4", "efficientnet_b4", None, 1),
        ("efficientnet_b4_b4", "efficientnet_b4", None, 4),
        ("efficientnet_b1", "efficientnet", None, 1),
        ("vit_b_16", "vit_b_16", None, 1),
        ("vit_b_16_b2", "vit_b_16", None, 2),
        ("resnet18", "resnet18", 8, 8),
        ("resnet18_b8", "resnet18", 8, 8),
    ],
)
def test_the_batch_is_what_follows_the_model_named_in_the_file(stem, model, batch_size, expected):
    assert batch_of(stem, model, batch_size) == (expected, None)


@pytest.mark.parametrize(
    ("stem", "model", "batch_size", "code"),
    [
        ("vgg16_b1", "resnet18", 1, "contradicting_model"),
        ("resnet18_b4", "resnet1", 4, "contradicting_model"),
        ("resnet18_run2", "resnet18", None, "batch_unknown"),
        ("resnet18_b0", "resnet18", None, "batch_unknown"),
        ("resnet18_b٣", "resnet18", None, "batch_unknown"),
        ("vit_b_16", "vit_b", None, "batch_unknown"),
    ],
)
def test_a_name_that_says_no_batch_or_another_model_is_refused(stem, model, batch_size, code):
    batch, problem = batch_of(stem, model, batch_size)
    assert batch is None
    assert problem is not None
    assert problem.code == code


def test_batch_size_wins_over_the_name_with_a_warning():
    batch, problem = batch_of("resnet18_b4", "resnet18", 8)
    assert batch == 8
    assert problem is not None
    assert problem.code == "batch_mismatch"


@pytest.mark.parametrize(
    "name",
    ["resnet18", "pkg.mod:factory", "a/b", "50%", "a b", ".hidden", "measurements", "fp32", "größe", "%41", "x."],
)
def test_any_name_survives_the_way_through_a_file_name(name: str):
    encoded = safe_name(name)
    assert "/" not in encoded
    assert not encoded.startswith(".")
    assert plain_name(encoded) == name


def test_a_name_with_percent_that_nobody_encoded_is_left_alone():
    assert plain_name("resnet%31") == "resnet%31"
