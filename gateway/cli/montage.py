"""A picture of source and delivered frames side by side: one row an object, pairs of first, middle and last frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TILE = 256
GAP = 4
PAIR_GAP = 16
BACKGROUND = 96


def windowed(values: np.ndarray, window: tuple[float | None, float | None]) -> np.ndarray:
    """Return 8-bit grey of values through a window, centre and width (PS3.3 C.11.2.1.2), or min to max."""
    import numpy as np

    center, width = window
    if center is None or width is None or width < 1:
        low, high = float(values.min()), float(values.max())
    else:
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    scaled = (values - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def tile(image: np.ndarray) -> np.ndarray:
    """Return an image scaled into a square tile by repeating or leaving out pixels: nothing is made up."""
    import numpy as np

    rows, columns = image.shape
    scale = TILE / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    picked = image[np.arange(height) * rows // height][:, np.arange(width) * columns // width]
    result = np.zeros((TILE, TILE), np.uint8)
    top, left = (TILE - height) // 2, (TILE - width) // 2
    result[top : top + height, left : left + width] = picked
    return result


def write(path: Path, objects: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> None:
    """Write a PNG: for each object a row of (source, delivered) pairs of 8-bit images."""
    import numpy as np
    import png

    pairs = max(len(row) for row in objects)
    width = pairs * (2 * TILE + GAP) + (pairs - 1) * PAIR_GAP + 2 * GAP
    height = len(objects) * (TILE + GAP) + GAP
    sheet = np.full((height, width), BACKGROUND, np.uint8)
    for r, row in enumerate(objects):
        top = GAP + r * (TILE + GAP)
        for p, pair in enumerate(row):
            left = GAP + p * (2 * TILE + GAP + PAIR_GAP)
            for n, image in enumerate(pair):
                at = left + n * (TILE + GAP)
                sheet[top : top + TILE, at : at + TILE] = tile(image)
    with path.open("wb") as file:
        png.Writer(width, height, greyscale=True, bitdepth=8, compression=6).write(file, sheet)
