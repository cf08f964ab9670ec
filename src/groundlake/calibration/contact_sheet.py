"""A contact sheet of a calibration set: its classes in rows, the first images of each from left to right."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.calibration.reading import CalibrationSet

COLUMNS = 10
"""Images of each class that are shown."""

SIDE = 64
"""Smaller images are enlarged until their longer side has so many pixels."""

GAP = 4
INK, PAPER = (20, 20, 20), (255, 255, 255)
FONT_SIZE = 16


def write_contact_sheet(opened: CalibrationSet, output: Path, *, columns: int = COLUMNS) -> int:
    """Draw the first images of each class, as they are stored, and write the picture.

    The names of the classes stand at the left. Name and fingerprint of the set are in the file's text.

    Args:
        opened: The set.
        output: A .png file.
        columns: Images of each class at most.

    Returns:
        Images that are shown.

    Raises:
        UsageError: Another kind of file, no folder for it, or no column.
        MissingDependencyError: Pillow is not installed.
        CorruptLakeError: Images are missing.
    """
    if output.suffix.lower() != ".png":
        raise UsageError(f"--picture {output}: a contact sheet is a .png file")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--picture {output}: its folder does not exist")
    if columns < 1:
        raise UsageError(f"a contact sheet shows at least 1 image of each class, got {columns}")
    image, draw, font, text = _pillow()
    pixels, labels = opened.pixels(), opened.labels
    rows = [np.flatnonzero(labels == label)[:columns] for label in range(len(opened.class_names))]
    scale = max(1, SIDE // max(opened.height, opened.width))
    width, height = opened.width * scale, opened.height * scale
    # A name is one line, whatever it holds.
    told = [" ".join(name.split()) for name in opened.class_names]
    names = [f"{name} ({int((labels == label).sum())})" for label, name in enumerate(told)]
    left = GAP + max(int(font.getlength(name)) for name in names) + 2 * GAP
    size = left + max(map(len, rows)) * (width + GAP), GAP + len(rows) * (height + GAP)
    sheet = image.new("RGB", size, PAPER)
    pen = draw.Draw(sheet)
    for row, (name, places) in enumerate(zip(names, rows, strict=True)):
        top = GAP + row * (height + GAP)
        pen.text((GAP, top + height // 2), name, fill=INK, font=font, anchor="lm")
        for column, place in enumerate(places):
            enlarged = pixels[place].repeat(scale, axis=0).repeat(scale, axis=1)
            sheet.paste(image.fromarray(enlarged), (left + column * (width + GAP), top))
    text.add_text("calibration_set", opened.name)
    text.add_text("set_fingerprint", opened.fingerprint)
    data = io.BytesIO()
    sheet.save(data, format="PNG", pnginfo=text)
    output.write_bytes(data.getvalue())
    return sum(map(len, rows))


def _pillow() -> tuple[Any, Any, Any, Any]:
    """Import what draws: the modules of images and of drawing, a font, and an empty text for the file."""
    try:
        from PIL import Image, ImageDraw, ImageFont
        from PIL.PngImagePlugin import PngInfo
    except ImportError as error:
        raise MissingDependencyError(
            f"a contact sheet needs Pillow ({error})\n  pip install 'groundlake[calibration]'"
        ) from error
    return Image, ImageDraw, ImageFont.load_default(FONT_SIZE), PngInfo()
