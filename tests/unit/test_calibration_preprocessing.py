"""What counts of a preprocessing is what it makes of the probe images."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from groundlake.calibration.preprocessing import RAW, apply, fingerprint, probe_images
from groundlake.errors import UsageError

OF_RAW = "94399f0a64fe109c11cef1a3c55ce03c90eb247bf9c3547a3e0e3210b002d491"


def test_a_set_keeps_values_of_0_to_255_as_float32_nhwc() -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3).transpose(0, 2, 1, 3)
    images = apply(pixels)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, pixels)


def test_the_fingerprint_of_raw_pixels_is_the_same_in_every_release() -> None:
    assert fingerprint(apply).preprocessing == OF_RAW


def test_the_fingerprint_is_that_of_the_output_with_its_type_and_shape() -> None:
    data = probe_images().astype("<f4").tobytes()
    found = fingerprint(apply)
    assert found.preprocessing == hashlib.sha256(b"float32 4,32,32,3\n" + data).hexdigest()
    assert found.probe_sha256 == hashlib.sha256(data).hexdigest()
    assert (found.dtype, found.shape, found.low, found.high) == ("float32", (4, 32, 32, 3), 0.0, 255.0)


def test_probe_images_have_all_values_and_are_the_same_each_time() -> None:
    probes = probe_images()
    assert probes.shape == (4, 32, 32, 3)
    assert set(probes.ravel().tolist()) == set(range(256))
    np.testing.assert_array_equal(probes, probe_images())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 16), (224, 224)])
def test_probe_images_have_the_size_that_is_wanted(height: int, width: int) -> None:
    probes = probe_images(height, width)
    assert probes.shape == (4, height, width, 3)
    assert not np.array_equal(probes[0], probes[1])


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images.astype("float32"),
        lambda images: np.array(images, np.float32, order="F"),
        lambda images: images.astype(">f4"),
        lambda images: images / np.float32(1),
        lambda images: np.stack([image.astype(np.float32) for image in images]),
    ],
)
def test_functions_that_do_the_same_have_the_same_fingerprint_whatever_they_are(function: Any) -> None:
    assert fingerprint(function).preprocessing == OF_RAW


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images.astype(np.float32) / 255,
        lambda images: images.astype(np.float64),
        lambda images: images,
        lambda images: images.astype(np.float32).transpose(0, 3, 1, 2),
        lambda images: images.astype(np.float32)[..., ::-1],
        lambda images: (images.astype(np.float32) - 127.5) / 127.5,
        lambda images: images.astype(np.float32) * 255 / np.maximum(images.max(axis=(1, 2, 3), keepdims=True), 1),
        lambda images: np.clip(images.astype(np.float32), 0, 254),
        lambda images: images.astype(np.float32).reshape(-1, 3, 32, 32),
    ],
)
def test_functions_that_do_something_else_have_another_fingerprint(function: Any) -> None:
    assert fingerprint(function).preprocessing != OF_RAW


def test_another_layout_of_the_same_bytes_has_the_same_hash_of_bytes_alone() -> None:
    found = fingerprint(lambda images: images.astype(np.float32).reshape(len(images), -1))
    assert found.preprocessing != OF_RAW
    assert found.probe_sha256 == fingerprint(apply).probe_sha256


def test_a_function_that_writes_into_its_images_does_not_change_the_probe() -> None:
    def halve(images: np.ndarray) -> np.ndarray:
        images //= 2
        return images

    assert fingerprint(halve).preprocessing == fingerprint(lambda images: images // 2).preprocessing
    assert fingerprint(apply).preprocessing == OF_RAW


def test_a_function_that_uses_chance_is_refused() -> None:
    generator = np.random.default_rng()
    with pytest.raises(UsageError, match="another output each time"):
        fingerprint(lambda images: images + generator.random())


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images - images.mean(),
        lambda images: images / images.max(),
        lambda images: images.astype(np.float32) - images[0],
        lambda images: images.astype(np.float32) + len(images),
    ],
)
def test_a_function_that_depends_on_the_other_images_of_a_batch_is_refused(function: Any) -> None:
    with pytest.raises(UsageError, match="of_a_batch: prepares an image otherwise alone than among others"):
        fingerprint(function, called="of_a_batch")


def test_a_rounding_that_depends_on_the_size_of_the_batch_is_no_other_preparation() -> None:
    def rounded(images: np.ndarray) -> np.ndarray:
        return images.astype(np.float32) * np.float32(1 + 1e-7 * (len(images) == 1))

    assert fingerprint(rounded).preprocessing == OF_RAW


def test_a_function_that_fails_is_named_with_its_error() -> None:
    def of_other_size(images: np.ndarray) -> np.ndarray:
        return images.reshape(-1, 224, 224, 3)

    with pytest.raises(UsageError) as raised:
        fingerprint(of_other_size, called="evaluate:prepare")
    assert "preprocessing evaluate:prepare: fails on images uint8 (4, 32, 32, 3): ValueError" in str(raised.value)
    assert fingerprint(of_other_size, height=224, width=224).shape == (4, 224, 224, 3)


def test_a_function_that_ends_the_program_is_an_error_and_does_not_end_it() -> None:
    def ends(images: np.ndarray) -> np.ndarray:
        del images
        raise SystemExit

    with pytest.raises(UsageError, match=r"fails on images .*: SystemExit"):
        fingerprint(ends)


def test_of_an_error_of_many_lines_the_first_is_told() -> None:
    def fails(images: np.ndarray) -> np.ndarray:
        raise RuntimeError("mat1 and mat2\n" + "a frame of its trace\n" * len(images) * 9)

    with pytest.raises(UsageError) as raised:
        fingerprint(fails)
    assert "mat1 and mat2" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    "output", [None, "text", np.array([]), [object()], np.array(["a"]), np.zeros(4, np.longdouble)]
)
def test_a_function_must_give_numbers(output: object) -> None:
    with pytest.raises(UsageError, match="gives no array of numbers"):
        fingerprint(lambda _: output)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    "function", [lambda images: images[None], lambda images: images.mean(), lambda images: images.reshape(-1, 32, 3)]
)
def test_a_function_must_give_an_entry_for_each_image(function: Any) -> None:
    with pytest.raises(UsageError, match=r"of 4 images it makes an array of shape \("):
        fingerprint(function)


def test_the_description_is_canonical_and_says_that_nothing_is_scaled() -> None:
    text = RAW.to_json()
    described = json.loads(text)
    assert (described["layout"], described["dtype"], described["channel_order"]) == ("NHWC", "float32", "RGB")
    assert {described[name] for name in ("scale", "mean", "std")} == {None}
    assert text == json.dumps(described, sort_keys=True, separators=(",", ":"))
