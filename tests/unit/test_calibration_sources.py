"""Folders of pictures and arrays of an .npz file give what CIFAR-10's files give of the same pictures."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cifar
import numpy as np
import pytest

from groundlake.calibration.sources import read
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def pillow(need: Callable[..., None]) -> Any:
    """The module that writes pictures, where it is installed."""
    try:
        from PIL import Image
    except ImportError:
        need("pillow", present=False, reason="Pillow is not installed: pip install 'groundlake[calibration]'")
    return Image


def refusal(source: str, data_dir: Path, split: str = "train") -> str:
    with pytest.raises(UsageError) as raised:
        read(source, data_dir, split=split)
    assert len(str(raised.value).splitlines()) <= 6
    return str(raised.value)


def write_pictures(folder: Path, pillow: Any, per_class: int = 2, seed: int = 0, size: int = 32) -> Path:
    pixels, labels = cifar.pictures(per_class, seed=seed, size=size)
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / cifar.CLASSES[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(picture).save(path)
    return folder


def write_npz(path: Path, **arrays: Any) -> Path:
    pixels, labels = cifar.pictures(2)
    found = {"images": pixels, "labels": labels, "class_names": np.array(cifar.CLASSES)} | arrays
    np.savez(path, **{name: array for name, array in found.items() if array is not None})
    return path


class TestFolders:
    def test_pictures_are_the_same_samples_as_in_batches_of_cifar10(self, tmp_path: Path, pillow: Any) -> None:
        images = read("image_folder", write_pictures(tmp_path / "pictures", pillow))
        batches = read("cifar10", cifar.write_cifar10(tmp_path / "cifar", per_class=2, test_per_class=0))
        of_batches = dict(zip(batches.sample_ids(), batches.labels.tolist(), strict=True))
        assert dict(zip(images.sample_ids(), images.labels.tolist(), strict=True)) == of_batches
        assert images.class_names == batches.class_names

    def test_files_and_split_are_told(self, tmp_path: Path, pillow: Any) -> None:
        images = read("image_folder", write_pictures(tmp_path, pillow))
        assert images.files == tuple(sorted(images.files))
        assert images.files[0].startswith("airplane/")
        assert images.names[0] == images.files[0].split("/")[1]
        assert (images.dataset, images.split) == ("image_folder", "unknown")

    def test_a_folder_of_the_split_is_taken_where_there_is_one(self, tmp_path: Path, pillow: Any) -> None:
        write_pictures(tmp_path / "train", pillow, seed=1)
        write_pictures(tmp_path / "test", pillow, seed=2)
        train, test = (read("image_folder", tmp_path, split=split) for split in ("train", "test"))
        assert (train.split, test.split) == ("train", "test")
        assert not set(train.sample_ids()) & set(test.sample_ids())

    def test_test_pictures_alone_are_not_taken_for_training(self, tmp_path: Path, pillow: Any) -> None:
        write_pictures(tmp_path / "test", pillow)
        assert "none called train" in refusal("image_folder", tmp_path)

    def test_a_folder_that_is_called_test_is_not_taken_for_training(self, tmp_path: Path, pillow: Any) -> None:
        folder = write_pictures(tmp_path / "test", pillow)
        for named in (folder, folder / "." / ".." / "test", tmp_path / "test" / ""):
            assert "is called test: calibrated with test images" in refusal("image_folder", named)
        assert read("image_folder", folder, split="test").split == "unknown"
        write_pictures(tmp_path / "other" / "Test" / "train", pillow)
        assert read("image_folder", tmp_path / "other" / "Test").split == "train", "what is in it says more"

    def test_a_changed_picture_gives_another_hash_of_the_source(self, tmp_path: Path, pillow: Any) -> None:
        before = read("image_folder", write_pictures(tmp_path, pillow))
        pillow.new("RGB", (32, 32)).save(tmp_path / before.files[0])
        assert read("image_folder", tmp_path).source_sha256 != before.source_sha256

    def test_grey_pictures_become_rgb_with_a_remark(self, tmp_path: Path, pillow: Any) -> None:
        (tmp_path / "cat").mkdir()
        pillow.new("L", (4, 3), 77).save(tmp_path / "cat" / "grey.png")
        images = read("image_folder", tmp_path)
        assert images.pixels.shape == (1, 3, 4, 3)
        assert set(images.pixels.ravel().tolist()) == {77}
        assert images.remarks == ("converted: 1 pictures were not RGB and are now: cat/grey.png",)

    def test_files_that_are_no_pictures_are_passed_over_with_a_remark(self, tmp_path: Path, pillow: Any) -> None:
        write_pictures(tmp_path, pillow)
        (tmp_path / "cat" / "notes.txt").touch()
        (tmp_path / "cat" / ".DS_Store").touch()
        (tmp_path / "LICENSE").touch()
        (remark,) = read("image_folder", tmp_path).remarks
        assert remark == "no_pictures: 2 files were passed over: LICENSE, cat/notes.txt"

    def test_unequal_sizes_are_refused_with_both_sizes(self, tmp_path: Path, pillow: Any) -> None:
        write_pictures(tmp_path, pillow)
        pillow.new("RGB", (30, 32)).save(tmp_path / "truck" / "wide.png")
        message = refusal("image_folder", tmp_path)
        assert "truck/wide.png" in message
        assert "32 x 30" in message
        assert "32 x 32" in message

    def test_a_picture_of_sixteen_bits_is_refused(self, tmp_path: Path, pillow: Any) -> None:
        (tmp_path / "cat").mkdir()
        pillow.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "cat" / "deep.png")
        assert "more than one byte" in refusal("image_folder", tmp_path)

    @pytest.mark.parametrize("channels", [2, 3, 4])
    def test_sixteen_bits_are_refused_where_pillow_would_drop_eight_of_them(
        self, tmp_path: Path, channels: int
    ) -> None:
        (tmp_path / "cat").mkdir()
        values = np.arange(4 * 4 * channels, dtype=">u2").reshape(4, -1) * 999
        kind = {2: 4, 3: 2, 4: 6}[channels]  # grey, colours, colours and transparency
        header = struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0)
        lines = b"".join(b"\0" + line.tobytes() for line in values)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
        parts = [
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        ]
        (tmp_path / "cat" / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
        assert "more than one byte a channel" in refusal("image_folder", tmp_path)

    @pytest.mark.usefixtures("pillow")
    def test_sixteen_bits_of_a_portable_pixmap_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "deep.ppm").write_bytes(b"P6\n2 2\n65535\n" + bytes(24))
        assert "more than one byte a channel" in refusal("image_folder", tmp_path)

    def test_transparency_is_left_out_with_a_remark(self, tmp_path: Path, pillow: Any) -> None:
        (tmp_path / "cat").mkdir()
        picture = pillow.fromarray(cifar.pictures(1)[0][0]).quantize(4)
        picture.save(tmp_path / "cat" / "clear.png", transparency=bytes([0, 128, 255, 255]))
        images = read("image_folder", tmp_path)
        np.testing.assert_array_equal(images.pixels[0], np.asarray(picture.convert("RGB")))
        assert images.remarks == ("converted: 1 pictures were not RGB and are now: cat/clear.png",)

    def test_pictures_of_a_camera_are_kept_as_they_lie_and_told(self, tmp_path: Path, pillow: Any) -> None:
        (tmp_path / "cat").mkdir()
        exif = pillow.Exif()
        exif[0x0112] = 6  # to be turned to the right
        pillow.new("RGB", (4, 3), (200, 0, 0)).save(tmp_path / "cat" / "tom.jpg", exif=exif)
        images = read("image_folder", tmp_path)
        assert images.image_shape == (3, 4, 3)
        assert [remark.split(":")[0] for remark in images.remarks] == ["turned", "lossy"]

    def test_of_several_pictures_in_a_file_the_first_is_taken_and_told(self, tmp_path: Path, pillow: Any) -> None:
        (tmp_path / "cat").mkdir()
        first, second = (pillow.new("RGB", (4, 3), (shade, 0, 0)) for shade in (1, 2))
        first.save(tmp_path / "cat" / "tom.tif", save_all=True, append_images=[second])
        images = read("image_folder", tmp_path)
        assert images.pixels.max() == 1
        assert images.remarks[0].startswith("several: 1 pictures hold more than one")

    def test_a_kind_of_file_that_starts_programs_is_not_opened_whatever_it_is_called(
        self, tmp_path: Path, pillow: Any
    ) -> None:
        (tmp_path / "cat").mkdir()
        pillow.new("RGB", (4, 3)).save(tmp_path / "cat" / "tom.png", format="EPS")
        assert "bytes are none of PNG, JPEG" in refusal("image_folder", tmp_path)

    def test_a_name_that_cannot_be_stored_is_told(self, tmp_path: Path, pillow: Any) -> None:
        write_pictures(tmp_path, pillow)
        try:
            pillow.new("RGB", (32, 32)).save(os.fsdecode(os.fsencode(tmp_path) + b"/cat/\xff.png"))
        except OSError:
            pytest.skip("this file system takes no such name")
        assert "is a name that is no UTF-8: rename it" in refusal("image_folder", tmp_path)

    @pytest.mark.parametrize("kept", [0, 20, 1000])
    def test_a_picture_that_is_cut_off_is_named(self, tmp_path: Path, pillow: Any, kept: int) -> None:
        images = read("image_folder", write_pictures(tmp_path, pillow))
        path = tmp_path / images.files[3]
        path.write_bytes(path.read_bytes()[:kept])
        assert f"{images.files[3]}: cannot be read" in refusal("image_folder", tmp_path)

    def test_a_picture_that_would_fill_the_memory_is_refused(self, tmp_path: Path, pillow: Any) -> None:
        (tmp_path / "cat").mkdir()
        pillow.new("L", (1, 1)).save(tmp_path / "cat" / "bomb.png")
        data = bytearray((tmp_path / "cat" / "bomb.png").read_bytes())
        data[16:24] = struct.pack(">II", 20000, 20000)  # says that it is 20000 x 20000
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / "cat" / "bomb.png").write_bytes(data)
        assert "exceeds limit" in refusal("image_folder", tmp_path)

    def test_a_class_without_pictures_is_named(self, tmp_path: Path, pillow: Any) -> None:
        (write_pictures(tmp_path, pillow) / "zebra").mkdir()
        assert "no picture in zebra" in refusal("image_folder", tmp_path)

    @pytest.mark.usefixtures("pillow")
    def test_an_empty_folder_is_told(self, tmp_path: Path) -> None:
        assert "a folder is a class" in refusal("image_folder", tmp_path)

    @pytest.mark.usefixtures("pillow")
    def test_a_folder_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        assert "is not there" in refusal("image_folder", tmp_path / "nowhere")

    def test_without_pillow_the_extra_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "PIL").mkdir()
        (tmp_path / "PIL" / "__init__.py").write_text("raise ImportError('as on a machine without it')\n")
        program = f"from groundlake.calibration.sources import read; read('image_folder', {str(tmp_path)!r})"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "MissingDependencyError" in done.stderr
        assert "pip install 'groundlake[calibration]'" in done.stderr


class TestArrays:
    def test_arrays_are_the_same_samples_as_in_batches_of_cifar10(self, tmp_path: Path) -> None:
        images = read("npz", write_npz(tmp_path / "a.npz"))
        batches = read("cifar10", cifar.write_cifar10(tmp_path / "cifar", per_class=2, test_per_class=0))
        assert images.sample_ids() == batches.sample_ids()
        np.testing.assert_array_equal(images.labels, batches.labels)
        assert images.class_names == batches.class_names
        assert (images.dataset, images.split, images.files[0]) == ("npz", "unknown", "a.npz")

    def test_compressed_and_column_by_column_arrays_are_the_same(self, tmp_path: Path) -> None:
        pixels, labels = cifar.pictures(2)
        np.savez_compressed(tmp_path / "b.npz", images=np.asfortranarray(pixels), labels=labels.astype(np.uint8))
        images = read("npz", tmp_path / "b.npz")
        np.testing.assert_array_equal(images.pixels, pixels)
        assert images.pixels.flags.c_contiguous
        assert images.labels.dtype == np.int64

    def test_without_names_the_classes_are_called_by_their_numbers(self, tmp_path: Path) -> None:
        images = read("npz", write_npz(tmp_path / "a.npz", class_names=None))
        assert images.class_names == tuple("0123456789")

    def test_a_folder_has_a_file_for_each_split(self, tmp_path: Path) -> None:
        write_npz(tmp_path / "train.npz")
        assert read("npz", tmp_path).split == "train"
        assert "has no test.npz" in refusal("npz", tmp_path, "test")

    @pytest.mark.parametrize("missing", ["images", "labels"])
    def test_a_missing_array_is_named(self, tmp_path: Path, missing: str) -> None:
        path = write_npz(tmp_path / "a.npz", **{missing: None, "pictures": np.zeros(3)})
        message = refusal("npz", path)
        assert f"has no array {missing}" in message
        assert "pictures" in message

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"images": np.zeros((20, 32, 32, 3), np.float32)}, "images should be uint8, got float32"),
            ({"images": np.zeros((20, 3, 32, 32), np.uint8)}, "these look like NCHW"),
            ({"images": np.zeros((20, 3072), np.uint8)}, "got (20, 3072)"),
            ({"images": np.zeros((0, 32, 32, 3), np.uint8), "labels": np.zeros(0, int)}, "got (0, 32, 32, 3)"),
            ({"labels": np.zeros((20, 10), int)}, "of shape (20, 10)"),
            ({"labels": np.zeros(19, int)}, "of shape (19,)"),
            ({"labels": np.zeros(20)}, "got float64"),
            ({"labels": np.full(20, -1)}, "0 and above, got -1 to -1"),
            ({"labels": np.full(20, 10)}, "labels go up to 10, class_names has 10 names"),
            ({"labels": np.full(20, 2**60), "class_names": None}, "only 1 of these classes have images"),
            ({"class_names": np.zeros((2, 2), int)}, "class_names should be a list of text"),
            ({"class_names": np.array(["a"] * 10)}, "class_names should be different names"),
        ],
    )
    def test_an_array_of_another_form_is_told(self, tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
        assert words in refusal("npz", write_npz(tmp_path / "a.npz", **arrays))

    def test_objects_are_refused_and_never_made(self, tmp_path: Path) -> None:
        class Shell:
            def __reduce__(self) -> Any:
                return os.system, (f"touch {tmp_path / 'ran'}",)

        path = write_npz(tmp_path / "a.npz", labels=np.array([Shell()] * 20, dtype=object))
        assert "array labels holds Python objects" in refusal("npz", path)
        assert not (tmp_path / "ran").exists()

    def test_a_header_that_asks_for_more_than_there_is_is_refused(self, tmp_path: Path) -> None:
        stream = io.BytesIO()
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 32, 32, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("images.npy", stream.getvalue() + b"few")
            archive.writestr("labels.npy", b"")
        assert "images is cut off or damaged" in refusal("npz", tmp_path / "a.npz")

    @pytest.mark.parametrize(
        ("header", "data", "words"),
        [
            ("(", b"", "is no array of NumPy"),
            ("{'descr': " + "-" * 5000 + "1}", b"", "is no array of NumPy"),
            ("{'descr': ('|u1', (3,)), 'fortran_order': False, 'shape': (2, 4, 4)}", bytes(96), "has 3 axes of"),
            ("{'descr': '<U0', 'fortran_order': False, 'shape': (2,)}", b"", "has 1 axes of <U0"),
            ("{'descr': '|u1', 'fortran_order': False, 'shape': (%s)}" % ("9" * 90 + ",") * 80, b"", "images"),
            ("{'descr': '|u1', 'fortran_order': False, 'shape': (%s)}" % ("1," * 80), b"0", "has 80 axes"),
        ],
    )
    def test_a_header_that_makes_no_sense_is_told(self, tmp_path: Path, header: str, data: bytes, words: str) -> None:
        length = struct.pack("<H", len(header))
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + length + header.encode() + data)
            archive.writestr("labels.npy", b"")
        assert words in refusal("npz", tmp_path / "a.npz")

    def test_more_than_a_header_asks_for_is_not_unpacked(self, tmp_path: Path) -> None:
        path = write_npz(tmp_path / "a.npz")
        with zipfile.ZipFile(path) as archive:
            images, labels = (archive.read(f"{name}.npy") for name in ("images", "labels"))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", images)
            archive.writestr("labels.npy", labels + bytes(2**26))
        tracemalloc.start()
        try:
            assert "has 160 bytes, more are there" in refusal("npz", path)
            assert tracemalloc.get_traced_memory()[1] < 2**24
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("names", [np.array([b"caf\xe9", b"dog"]), np.array([2**31, 100], "<u4").view("<U1")])
    def test_names_that_are_no_text_are_told(self, tmp_path: Path, names: Any) -> None:
        path = write_npz(tmp_path / "a.npz", labels=np.arange(20) % 2, class_names=names)
        assert "class_names should be text" in refusal("npz", path)

    @pytest.mark.parametrize("place", [-6, -5])
    def test_a_damaged_archive_is_an_error_of_the_file_and_not_of_the_machine(self, tmp_path: Path, place: int) -> None:
        path = write_npz(tmp_path / "a.npz")
        data = bytearray(path.read_bytes())
        data[place] ^= 0x70
        path.write_bytes(data)
        assert "cannot be read as .npz" in refusal("npz", path)

    def test_a_file_whose_name_is_no_text_is_stored_with_another_sign(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.npz"))
        try:
            write_npz(path)
        except OSError:
            pytest.skip("this file system takes no such name")
        assert read("npz", path).files[0] == "\ufffd.npz"

    def test_an_entry_that_is_no_array_is_named(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("images.npy", b"no array")
            archive.writestr("labels.npy", b"")
        assert "images is no array of NumPy" in refusal("npz", tmp_path / "a.npz")

    @pytest.mark.parametrize("kept", [0, 100, -100])
    def test_a_file_that_is_cut_off_is_named(self, tmp_path: Path, kept: int) -> None:
        path = write_npz(tmp_path / "a.npz")
        path.write_bytes(path.read_bytes()[:kept])
        assert "cannot be read as .npz" in refusal("npz", path)

    def test_a_file_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        assert "is not there" in refusal("npz", tmp_path / "a.npz")
