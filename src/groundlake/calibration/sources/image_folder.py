"""A folder of pictures: one folder for each class, in it the pictures, all of one size.

    pictures/cat/tom.png  pictures/dog/rex.png          or pictures/train/cat/tom.png  pictures/test/cat/kit.png

Classes are numbered by name. Nothing is scaled, cut or turned: a set holds what the files hold. Decoders of JPEG may
differ by a step or two from release to release; PNG is exact everywhere. A picture that was compressed with loss is
another one than the picture it was made of, and is not found to be the same in an evaluation set.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.calibration.images import CHANNELS, UNKNOWN_SPLIT, LabelledImages, printable, shortened, source_hash
from groundlake.errors import LakeEnvironmentError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATASET = "image_folder"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
SIZE_LIMIT = 4 * 2**30
"""Bytes of all pictures together, unpacked: they are in memory at once."""

_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "PPM", "WEBP", "TIFF")
"""Formats of Pillow that are read, whatever a file is called: others may start a program, as EPS does."""

_BYTE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Modes of Pillow that become red, green and blue without losing anything but transparency."""

_DEEP = re.compile(r";16[BLN]")
"""Stands in what Pillow calls the bytes of a picture of 16 bits a channel: it reads one of two bytes of some, and says
nothing."""
_BYTE = 255

_ORIENTATION = 0x0112
"""Tag of EXIF: how a picture should be turned to be looked at; 1 is as it lies."""

_REMARKS = {
    "converted": "were not RGB and are now",
    "several": "hold more than one picture: the first of each was taken",
    "turned": "ask to be turned or mirrored for looking at (EXIF), and are kept as they lie",
    "lossy": "are JPEG or WebP: a copy that was compressed anew is another picture, and not found to be the same",
}
"""What may be unusual about a picture, in words."""


def read(data_dir: str | Path, *, split: str = "train") -> LabelledImages:
    """Read the pictures of a folder, or of its folder `train` or `test` where it has one of these.

    Args:
        data_dir: Folder with a folder for each class.
        split: train or test.

    Raises:
        UsageError: The folder is not there, or empty, or its pictures differ in size or cannot be read.
        MissingDependencyError: Pillow is not installed.
        LakeEnvironmentError: A file may not be read.
    """
    pillow = _pillow()
    folder, its_split = _folder(Path(data_dir), split)
    classes, others = _listed(folder)
    paths = [path for pictures in classes.values() for path in pictures]
    pixels, hashes, odd = _read_all(paths, folder, pillow)
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    return LabelledImages(
        pixels=pixels,
        labels=np.repeat(np.arange(len(classes), dtype=np.int64), [len(pictures) for pictures in classes.values()]),
        class_names=tuple(classes),
        files=names,
        indices=(0,) * len(paths),
        names=tuple(path.name for path in paths),
        dataset=DATASET,
        split=its_split,
        source_sha256=source_hash(zip(names, hashes, strict=True)),
        remarks=tuple(_remarks(others, odd)),
    )


def _pillow() -> Any:  # noqa: ANN401 - Pillow may be missing
    """Return the module that reads pictures."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError(
            f"a folder of pictures is read with Pillow ({error})\n  pip install 'groundlake[calibration]'"
        ) from None
    Image.init()  # so that it knows which of the formats it can read
    return Image


def _folder(data_dir: Path, split: str) -> tuple[Path, str]:
    """Return the folder with the classes, and the split it is of."""
    if not data_dir.is_dir():
        what = "is a file" if data_dir.exists() else "is not there"
        raise UsageError(f"folder of pictures: {data_dir} {what}\n  give a folder with a folder of pictures a class")
    there = [name for name in ("train", "test") if (data_dir / name).is_dir()]
    if split in there:
        return data_dir / split, split
    if there:
        raise UsageError(
            f"folder of pictures: {data_dir} has the folder {there[0]}, and none called {split}\n"
            f"  if that is a class, give its pictures another folder; else put the others into {data_dir / split}"
        )
    return data_dir, UNKNOWN_SPLIT


def _listed(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Return the pictures of each class, by name, and what else lies there."""
    classes: dict[str, list[Path]] = {}
    others: list[str] = []
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            others.append(printable(entry.name))
            continue
        files = sorted((each for each in entry.iterdir() if not each.name.startswith(".")), key=lambda path: path.name)
        classes[entry.name] = [each for each in files if each.suffix.lower() in SUFFIXES and each.is_file()]
        others += [printable(f"{entry.name}/{each.name}") for each in files if each not in set(classes[entry.name])]
    empty = [name for name, pictures in classes.items() if not pictures]
    for name in (*classes, *(path.name for pictures in classes.values() for path in pictures)):
        if printable(name) != name:
            raise UsageError(
                f"folder of pictures: {printable(name)!r} in {folder} is a name that is no UTF-8: rename it"
            )
    if not classes or empty:
        what = f"no picture in {shortened(empty)}" if empty else "no folder in it, and a folder is a class"
        raise UsageError(
            f"folder of pictures: {folder} has {what}\n  pictures are {' '.join(SUFFIXES)}, as in cat/tom.png"
        )
    return classes, others


def _read_all(
    paths: list[Path],
    folder: Path,
    pillow: Any,  # noqa: ANN401 - a module
) -> tuple[NDArray[np.uint8], list[str], dict[str, list[str]]]:
    """Return all pictures, uint8 (n, height, width, 3), the hashes of their files, and which are unusual for what."""
    pixels = np.empty((0, 0, 0, CHANNELS), dtype=np.uint8)
    hashes: list[str] = []
    odd: dict[str, list[str]] = {code: [] for code in _REMARKS}
    for place, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()
        data = _bytes_of(path)
        picture, found = _decode(data, name, pillow, None if place == 0 else pixels.shape[1:3])
        if place == 0:
            _refuse_too_many(len(paths), picture.shape, folder)
            pixels = np.empty((len(paths), *picture.shape), dtype=np.uint8)
        pixels[place] = picture
        hashes.append(hashlib.sha256(data).hexdigest())
        for code in found:
            odd[code].append(name)
    return pixels, hashes, odd


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LakeEnvironmentError(f"cannot read {path}: {error.strerror or error}") from error


def _decode(
    data: bytes,
    name: str,
    pillow: Any,  # noqa: ANN401 - a module
    wanted: tuple[int, ...] | None,
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return one picture, uint8 (height, width, 3), and what is unusual about it, as the keys of `_REMARKS`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of pictures that would fill the memory, and of damaged ones
            warnings.filterwarnings("ignore", "Palette images with Transparency")  # which is left out anyhow
            with pillow.open(io.BytesIO(data), formats=_known(pillow)) as image:
                _refuse_other_size(name, (image.height, image.width), wanted)
                _refuse_other_values(name, image)
                return np.asarray(image.convert("RGB")), _oddities(image)
    except pillow.UnidentifiedImageError:
        raise UsageError(
            f"{name}: cannot be read as a picture: its {len(data)} bytes are none of {', '.join(_known(pillow))}\n"
            "  mend it or take it out"
        ) from None
    except (OSError, SyntaxError, ValueError, Warning, pillow.DecompressionBombError) as error:
        raise UsageError(
            f"{name}: cannot be read as a picture: {error}\n  it has {len(data)} bytes; mend it or take it out"
        ) from None


def _refuse_other_size(name: str, size: tuple[int, int], wanted: tuple[int, ...] | None) -> None:
    """All pictures of a set have one size, that of the first."""
    if wanted is not None and size != wanted:
        raise UsageError(
            f"{name}: has {size[0]} x {size[1]} pixels (height x width), those before it {wanted[0]} x {wanted[1]}\n"
            "  a calibration set has one size: scale the pictures as the evaluation does, then build it"
        )


def _known(pillow: Any) -> list[str]:  # noqa: ANN401 - a module
    """Return the formats that are read, of those that this Pillow was built with."""
    return [each for each in _FORMATS if each in pillow.OPEN]


def _refuse_other_values(name: str, image: Any) -> None:  # noqa: ANN401 - an image of Pillow
    """Refuse a picture whose values are not bytes of red, green and blue, nor become such without a loss."""
    stored = [each[3] for each in image.tile]  # before the picture is read: afterwards Pillow forgets it
    is_deep = any(_DEEP.search(str(each)) for each in stored)
    if image.format == "PPM":  # tells the greatest value
        is_deep = any(isinstance(each, tuple) and max(each[1:], default=0) > _BYTE for each in stored)
    if image.mode not in _BYTE_MODES or is_deep:
        what = "has more than one byte a channel" if is_deep else f"has the mode {image.mode} of Pillow"
        raise UsageError(
            f"{name}: {what}, and would lose some of it\n"
            "  calibration sets hold red, green and blue of 0 to 255: convert it as the evaluation does"
        )


def _oddities(image: Any) -> list[str]:  # noqa: ANN401 - an image of Pillow
    """Return what is unusual about a picture that was read, as the keys of `_REMARKS`."""
    return [
        code
        for code, is_so in {
            "converted": image.mode != "RGB",
            "several": getattr(image, "n_frames", 1) > 1,
            "turned": _is_turned(image),
            "lossy": image.format in ("JPEG", "MPO", "WEBP"),
        }.items()
        if is_so
    ]


def _is_turned(image: Any) -> bool:  # noqa: ANN401 - an image of Pillow
    with warnings.catch_warnings(), suppress(Exception):  # what EXIF says is of no matter to the pixels
        warnings.simplefilter("ignore")
        return bool(image.getexif().get(_ORIENTATION, 1) != 1)
    return False


def _refuse_too_many(count: int, shape: tuple[int, ...], folder: Path) -> None:
    needed = count * int(np.prod(shape))
    if needed > SIZE_LIMIT:
        raise UsageError(
            f"folder of pictures: {folder} has {count} pictures of {shape[0]} x {shape[1]}: {needed / 2**30:.1f} GiB\n"
            f"  at most {SIZE_LIMIT / 2**30:g} GiB are read; a calibration set needs some hundred pictures of a class, "
            "so give a folder with fewer"
        )


def _remarks(others: list[str], odd: dict[str, list[str]]) -> list[str]:
    passed = [f"no_pictures: {len(others)} files were passed over: {shortened(others, 3)}"] if others else []
    return passed + [
        f"{code}: {len(names)} pictures {_REMARKS[code]}: {shortened(names, 3)}" for code, names in odd.items() if names
    ]
