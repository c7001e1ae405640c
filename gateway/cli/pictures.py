"""Frames of delivered objects beside their sources, as 8-bit grey for the montage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.dataset import Dataset

from gateway.cli import montage
from gateway.cli.evidence import Received

if TYPE_CHECKING:
    import numpy as np

# More rows would make a picture nobody looks at.
MOST_OBJECTS = 6


def draw(path: Path, received: Sequence[Received], sent: Mapping[str, Path]) -> list[Received]:
    """Write the montage and return the objects in it, a row each: what shows most comes first."""
    made = sorted((found for found in received if found.made), key=_worth, reverse=True)
    rows: list[list[tuple[np.ndarray, np.ndarray]]] = []
    shown: list[Received] = []
    for found in made:
        pairs = _pairs(found, sent) if len(rows) < MOST_OBJECTS else []
        if pairs:
            rows.append(pairs)
            shown.append(found)
    if rows:
        montage.write(path, rows)
    return shown


def _worth(found: Received) -> tuple[int, int]:
    """Objects with three frames to show come before others, large images before small ones."""
    header = pydicom.dcmread(found.path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return min(found.frames, 3), header.Rows * header.Columns


def _pairs(found: Received, sent: Mapping[str, Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    header = pydicom.dcmread(found.path, stop_before_pixels=True)
    indexes = sorted({0, found.frames // 2, found.frames - 1})
    try:
        return [_pair(found, header, index, sent[found.carries[index]]) for index in indexes]
    except (RuntimeError, NotImplementedError, ValueError, AttributeError, KeyError):
        return []  # a compression nobody here can decode, or no plain grey image: it has no picture


def _pair(found: Received, header: Dataset, index: int, source: Path) -> tuple[np.ndarray, np.ndarray]:
    original = pydicom.dcmread(source, force=True, stop_before_pixels=True)
    window = _window(header, index)
    return (
        montage.windowed(_values(source, 0, original), window),
        montage.windowed(_values(found.path, index, _group(header, index, "PixelValueTransformationSequence")), window),
    )


def _values(path: Path, index: int, rescale: Dataset) -> np.ndarray:
    from pydicom.pixels import pixel_array

    stored = pixel_array(path, index=index, raw=True)
    if stored.ndim != 2:
        raise ValueError("no grey image")
    values: np.ndarray = stored * float(rescale.get("RescaleSlope", 1)) + float(rescale.get("RescaleIntercept", 0))
    return values


def _window(header: Dataset, index: int) -> tuple[float | None, float | None]:
    group = _group(header, index, "FrameVOILUTSequence")
    return _first(group.get("WindowCenter")), _first(group.get("WindowWidth"))


def _first(value: Any) -> float | None:
    several = isinstance(value, Sequence) and not isinstance(value, str)
    found = value[0] if several and len(value) else value
    return None if found is None or found == "" else float(found)


def _group(header: Dataset, index: int, keyword: str) -> Dataset:
    for groups in (header.PerFrameFunctionalGroupsSequence[index], header.SharedFunctionalGroupsSequence[0]):
        if groups.get(keyword):
            item: Dataset = groups[keyword].value[0]
            return item
    return Dataset()
