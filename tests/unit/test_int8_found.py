"""What is said of an int8 network: what it costs, and no gain where nothing could be won. Nothing of it needs torch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from groundlake.measure.int8.found import DESTROYED, Int8Found
from groundlake.measure.int8.settings import Int8Settings

CHOSEN = Int8Settings(
    lake_root="lake",
    calibration_set="set",
    set_fingerprint="fingerprint of set",
    num_images=4,
    image_shape=(3, 32, 32),
    preprocessing_fingerprint="raw",
)
SOUND = Int8Found(
    backend="torch",
    num_calibration_samples=4,
    int8_time_share=0.75,
    int8_kernels=("quantized::conv2d",),
    weights_before_bytes=4,
    weights_after_bytes=1,
    relative_output_error=0.03,
    num_evaluated=20,
    accuracy_before=0.95,
    accuracy_after=0.9,
    chance_accuracy=0.234,
)
MADE = "int8 with set set (4 images as they are (0 to 255)), onednn; 75 % of the time in int8 kernels; "


@pytest.mark.parametrize(
    ("changes", "codes", "cost"),
    [
        ({}, [], "accuracy 0.950 -> 0.900"),
        ({"accuracy_after": 1.0}, [], "accuracy 0.950 -> 1.000"),
        ({"accuracy_after": 0.1}, [], "accuracy 0.950 -> 0.100"),
        (
            {"accuracy_before": 0.0, "accuracy_after": 0.1},
            ["accuracy_by_chance"],
            "accuracy by chance (0.000 and 0.100)",
        ),
        (
            {"accuracy_before": 0.2, "accuracy_after": 0.1, "relative_output_error": 1.0},
            ["accuracy_by_chance", "outputs_destroyed"],
            "outputs off by 1 (relative norm); accuracy by chance (0.200 and 0.100)",
        ),
        (
            {"relative_output_error": DESTROYED, "accuracy_after": 0.1},
            ["outputs_destroyed"],
            "outputs off by 0.5 (relative norm); accuracy 0.950 -> 0.100",
        ),
        (
            {"accuracy_before": None, "accuracy_after": None, "num_evaluated": None, "chance_accuracy": None},
            [],
            "outputs off by 0.03 (relative norm); accuracy not evaluated",
        ),
        (
            dict.fromkeys(("accuracy_before", "accuracy_after", "chance_accuracy", "relative_output_error")),
            [],
            "accuracy not evaluated",
        ),
    ],
)  # fmt: skip
def test_a_network_says_what_it_costs_and_what_is_doubtful_about_that(
    changes: dict[str, float | None], codes: list[str], cost: str
) -> None:
    found = replace(SOUND, **changes)  # type: ignore[arg-type]
    assert found.in_words(CHOSEN) == MADE + cost
    assert [doubt.code for doubt in found.doubts()] == codes
    (row,) = found.row(CHOSEN, "run").to_dicts()
    assert row["chance_accuracy"] == found.chance_accuracy
