"""Overlays and annotations at the PACS of the demonstration: in presentation states made on the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from gateway.cli.stored import plane_of

# What a plane of a state always has with the same value, or leaves out because its absence says the same.
_SAID_OTHERWISE = frozenset((0x0015, 0x0051, 0x0060, 0x0100, 0x0102))
_GRAPHIC_ANNOTATION, _GRAPHIC_LAYER = 0x00700001, 0x00700060
_REFERENCED_IMAGE = 0x00081140


class States:
    """The presentation states that were made on the way, by the frames they apply to."""

    def __init__(self) -> None:
        self._by_frame: dict[tuple[str, int], list[Path]] = defaultdict(list)
        self._by_image: dict[str, list[Path]] = defaultdict(list)

    def add(self, path: Path, header: Dataset) -> None:
        """Take in a state."""
        for series in header.ReferencedSeriesSequence:
            for item in series.ReferencedImageSequence:
                if "ReferencedFrameNumber" not in item:
                    self._by_image[item.ReferencedSOPInstanceUID].append(path)
                    continue
                numbers = item["ReferencedFrameNumber"]
                for number in numbers.value if numbers.VM > 1 else [numbers.value]:
                    self._by_frame[item.ReferencedSOPInstanceUID, int(number)].append(path)

    def hold(self, image: str, frame: int, element: Any) -> bool:
        """Return whether an element of a source is in a state that applies to its frame."""
        if element.tag.group >> 8 == 0x60 and element.tag.element in _SAID_OTHERWISE:
            return True
        return any(_same(element, state.get(element.tag)) for state in self._of(image, frame))

    def hold_planes(self, image: str, frame: int, original: Dataset, pixels: bytes) -> bool:
        """Return whether every overlay that is in bits of a source's pixels is in a state that applies to its frame."""
        for group in sorted({tag >> 16 for tag in map(int, original.keys()) if moves(tag) and tag >> 24 == 0x60}):
            if group << 16 | 0x3000 in original or _is_apart(original, group):
                continue
            plane = plane_of(pixels, original, original[group << 16 | 0x0102].value)
            found = [state.get(group << 16 | 0x3000) for state in self._of(image, frame)]
            if not any(data is not None and data.value[: len(plane)] == plane for data in found):
                return False
        return True

    def _of(self, image: str, frame: int) -> Iterator[Dataset]:
        paths = [*self._by_frame.get((image, frame), ()), *self._by_image.get(image, ())]
        return (_read(path) for path in paths)


def _is_apart(original: Dataset, group: int) -> bool:
    """Return whether an overlay has bits of its own (PS3.3 C.9.2): without Overlay Data there is none then."""
    allocated, position = original.get((group, 0x0100)), original.get((group, 0x0102))
    return (allocated is None or allocated.value in (None, 1)) and (position is None or not position.value)


def moves(tag: int) -> bool:
    """Return whether an element of an image goes to a presentation state."""
    return (tag >> 24 == 0x60 and not tag >> 16 & 1) or tag in (_GRAPHIC_ANNOTATION, _GRAPHIC_LAYER)


@lru_cache(maxsize=4)
def _read(path: Path) -> Dataset:
    return pydicom.dcmread(path)


def _same(one: Any, other: Any) -> bool:
    if other is None:
        return False
    if one.tag == _GRAPHIC_LAYER:
        return all(layer in other.value for layer in one.value)
    if one.tag == _GRAPHIC_ANNOTATION:
        return [_without_reference(item) for item in one.value] == list(other.value)
    value, found = one.value, other.value
    return bool(value.rstrip(b"\0") == found.rstrip(b"\0") if isinstance(value, bytes) else value == found)


def _without_reference(item: Dataset) -> Dataset:
    """Return an annotation as one that applies to all that its state refers to."""
    found = Dataset()
    found.update({element.tag: element for element in item if element.tag != _REFERENCED_IMAGE})
    return found
