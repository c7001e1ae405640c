"""Classic images with overlays, and presentation states read back with pydicom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conversion.material import Conversion, made_of
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.objects.part10 import file_meta


def bitmap(seed: int, rows: int = 8, columns: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 2, (rows, columns), dtype=np.uint8)


def packed(bits: NDArray[np.uint8]) -> bytes:
    """Return a bitmap as Overlay Data, without the padding byte."""
    return np.packbits(bits.ravel(), bitorder="little").tobytes()


def overlay(bits: NDArray[np.uint8], group: int = 0x6000, **changes: Any) -> Callable[[Dataset], None]:
    """Return a change that adds an overlay plane; `changes` are elements by number, None removes one."""
    rows, columns = bits.shape
    data = packed(bits)
    elements: dict[int, tuple[str, Any]] = {
        0x10: ("US", rows),
        0x11: ("US", columns),
        0x40: ("CS", "G"),
        0x50: ("SS", [1, 1]),
        0x100: ("US", 1),
        0x102: ("US", 0),
        0x3000: ("OW", data + bytes(len(data) % 2)),
    }
    elements |= {int(number[1:], 16): value for number, value in changes.items()}

    def change(ds: Dataset) -> None:
        for number, element in elements.items():
            if element is not None:
                ds.add_new(group << 16 | number, *element)

    return change


def embedded(planes: dict[int, int], seed: int = 0, *, signed: int = 0, stored: int = 12) -> Callable[[Dataset], None]:
    """Return a change that puts an overlay plane into each of some bits; `planes` are seeds of bitmaps by position."""

    def change(ds: Dataset) -> None:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = stored, stored - 1, signed
        words = values(seed, ds, signed=signed, stored=stored).astype(np.uint16) & (1 << stored) - 1
        for number, (position, plane) in enumerate(planes.items()):
            bits = bitmap(plane, ds.Rows, ds.Columns)
            words |= (bits.astype(np.uint16) << position).astype(np.uint16)
            overlay(bits, 0x6000 + 2 * number, e3000=None, e100=("US", 16), e102=("US", position))(ds)
        ds.PixelData = words.tobytes()

    return change


def values(seed: int, ds: Dataset, *, signed: int = 0, stored: int = 12) -> np.ndarray:
    low = -(1 << stored - 1) if signed else 0
    return np.random.default_rng(seed).integers(low, low + (1 << stored), (ds.Rows, ds.Columns), dtype=np.int32)


def all_of(*changes: Any) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for one in changes:
            one(ds) if callable(one) else [setattr(ds, keyword, value) for keyword, value in one.items()]

    return change


@dataclass
class Presented:
    """A conversion with its images and presentation states."""

    conversion: Conversion
    states: list[Dataset]
    files: list[Path]

    @property
    def one(self) -> Dataset:
        assert len(self.conversion.files) == 1, self.conversion.kept
        return self.conversion.objects[0]

    @property
    def state(self) -> Dataset:
        assert len(self.states) == 1
        return self.states[0]


def presented(datasets: list[Dataset], folder: Path, **options: Any) -> Presented:
    """Convert data sets and write their presentation states as files."""
    made = made_of(datasets, folder, **options)
    where = {fact.name: fact.path for fact in made.facts}
    files = []
    for one in made.result.companions:
        recipe = one.recipe
        stream = b"".join(recipe.source(where.__getitem__).chunks())
        assert len(stream) == recipe.length
        path = folder / "out" / f"{recipe.sop_instance}.dcm"
        path.write_bytes(file_meta(recipe.sop_class, recipe.sop_instance, recipe.transfer_syntax) + stream)
        files.append(path)
    return Presented(made, [dcmread(path) for path in files], files)


def frames_shown(state: Dataset, image: Dataset) -> list[int]:
    """Return the numbers of the frames that a state applies to."""
    (series,) = state.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    found: list[int] = []
    for item in series.ReferencedImageSequence:
        assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (image.SOPClassUID, image.SOPInstanceUID)
        if "ReferencedFrameNumber" not in item:
            return list(range(1, int(image.NumberOfFrames) + 1))
        numbers = item["ReferencedFrameNumber"]
        found += [int(number) for number in (numbers.value if numbers.VM > 1 else [numbers.value])]
    return found


def elements_of(ds: Dataset) -> list[Any]:
    """Return the tags of all elements at any depth."""
    return [element.tag for element in ds.iterall()]
